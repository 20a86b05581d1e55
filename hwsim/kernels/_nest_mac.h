/* The loops below all memories: MACs on the words that the innermost memories hold.
 *
 * Nothing moves between two of their steps, so a loop over a dim is one loop over its piece; where pieces differ between
 * instances, its loops are stepped one by one. A step moves the addresses of all instances by the same amount: who
 * shares a word with whom is found once, from the addresses.
 */
#ifndef HWSIM_NEST_MAC_H
#define HWSIM_NEST_MAC_H

typedef struct {
    i64 n, by[3];
} NestLoop;

/* n MACs in a row; returns how many have an operand of zero. */
static inline __attribute__((always_inline)) i64 nest_row(
    const int8_t *x, i64 sx, const int8_t *w, i64 sw, int32_t *o, i64 so, i64 n) {
    int32_t zeros = 0;
    if (so == 0 && sx == 1 && sw == 1) {
        int32_t sum = 0;
        for (i64 i = 0; i < n; i++) {
            int32_t product = (int32_t)x[i] * w[i];
            sum += product;
            zeros += product == 0;
        }
        *o += sum;
    } else if (so == 1 && sx == 0 && sw == 1) {
        int32_t value = *x;
        if (!value) return n;
        for (i64 i = 0; i < n; i++) {
            o[i] += value * w[i];
            zeros += w[i] == 0;
        }
    } else if (so == 1 && sx == 1 && sw == 0) {
        int32_t value = *w;
        if (!value) return n;
        for (i64 i = 0; i < n; i++) {
            o[i] += value * x[i];
            zeros += x[i] == 0;
        }
    } else if (so == 0) {
        int32_t sum = 0;
        for (i64 i = 0; i < n; i++) {
            int32_t product = (int32_t)x[i * sx] * w[i * sw];
            sum += product;
            zeros += product == 0;
        }
        *o += sum;
    } else {
        for (i64 i = 0; i < n; i++) {
            int32_t product = (int32_t)x[i * sx] * w[i * sw];
            o[i * so] += product;
            zeros += product == 0;
        }
    }
    return zeros;
}

/* Three loops around a row. */
static i64 nest_block(const int8_t *x, const int8_t *w, int32_t *o, const NestLoop *l) {
    i64 zeros = 0;
    for (i64 a = 0; a < l[2].n; a++)
        for (i64 b = 0; b < l[1].n; b++) {
            i64 dx = a * l[2].by[0] + b * l[1].by[0], dw = a * l[2].by[1] + b * l[1].by[1];
            i64 so = a * l[2].by[2] + b * l[1].by[2];
            zeros += nest_row(x + dx, l[0].by[0], w + dw, l[0].by[1], o + so, l[0].by[2], l[0].n);
        }
    return zeros;
}

static i64 nest_score(const NestLoop *l) {
    i64 x = l->by[0], w = l->by[1], o = l->by[2], n = l->n > 32 ? 32 : l->n;
    if (l->n < 2) return 0;
    if ((o == 0 && x == 1 && w == 1) || (o == 1 && x + w == 1 && x * w == 0)) return 8 * n;
    return o == 0 ? 2 * n : n;
}

/* All MACs of the active instances in a block of steps. */
static void nest_multiply(Nest *z, i64 active, NestLoop *loops, int n) {
    const int8_t *x = z->level[z->inner[0]].data, *w = z->level[z->inner[1]].data;
    int32_t *o = z->level[z->inner[2]].sums;
    i64 **off = z->offset;
    /* Loops that continue each other are one. */
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            NestLoop *a = &loops[i], *b = &loops[j];
            if (i == j || a->by[0] != b->by[0] * b->n || a->by[1] != b->by[1] * b->n || a->by[2] != b->by[2] * b->n) continue;
            b->n *= a->n;
            loops[i] = loops[--n];
            i = -1;
            break;
        }
    /* The instances may be the row, if they lie side by side. */
    NestLoop side = {1, {0, 0, 0}};
    if (active > 1) {
        for (int t = 0; t < 3; t++) side.by[t] = off[t][1] - off[t][0];
        while (side.n < active && off[0][side.n] - off[0][side.n - 1] == side.by[0] &&
               off[1][side.n] - off[1][side.n - 1] == side.by[1] && off[2][side.n] - off[2][side.n - 1] == side.by[2])
            side.n++;
    }
    int best = 0;
    for (int i = 1; i < n; i++)
        if (nest_score(&loops[i]) > nest_score(&loops[best])) best = i;
    int across = side.n > 1 && (!n || nest_score(&side) > nest_score(&loops[best]));
    NestLoop l[NEST_LOOPS + 3];
    int m = 0;
    if (across) l[m++] = side;
    if (n) {
        l[m++] = loops[best];
        for (int i = 0; i < n; i++)
            if (i != best) l[m++] = loops[i];
    }
    /* The shortest loops outermost. */
    for (int i = 1; i < m; i++)
        for (int j = i + 1; j < m; j++)
            if (l[j].n > l[i].n) {
                NestLoop t = l[i];
                l[i] = l[j];
                l[j] = t;
            }
    while (m < 3) l[m++] = (NestLoop){1, {0, 0, 0}};
    i64 zeros = 0;
    for (i64 at = 0; at < active;) {
        i64 run = 1;
        if (across) {
            i64 dx = 0, dw = 0, d = 0;
            if (at + 1 < active) {
                dx = off[0][at + 1] - off[0][at];
                dw = off[1][at + 1] - off[1][at];
                d = off[2][at + 1] - off[2][at];
                while (at + run < active && off[0][at + run] - off[0][at + run - 1] == dx &&
                       off[1][at + run] - off[1][at + run - 1] == dw && off[2][at + run] - off[2][at + run - 1] == d)
                    run++;
            }
            l[0] = (NestLoop){run, {dx, dw, d}};
        }
        i64 index[NEST_LOOPS + 3] = {0}, ox = off[0][at], ow = off[1][at], oo = off[2][at];
        int k;
        do {
            zeros += nest_block(x + ox, w + ow, o + oo, l);
            for (k = 3; k < m; k++) {
                ox += l[k].by[0];
                ow += l[k].by[1];
                oo += l[k].by[2];
                if (++index[k] < l[k].n) break;
                ox -= l[k].by[0] * l[k].n;
                ow -= l[k].by[1] * l[k].n;
                oo -= l[k].by[2] * l[k].n;
                index[k] = 0;
            }
        } while (k < m);
        at += run;
    }
    z->gated += zeros;
}

/* How many words a tensor's innermost memory reads (or receives) for the active instances in one step; of a word of the
 * output, `first` marks the instance that comes first. */
static i64 nest_words(Nest *z, int t, i64 active) {
    if (z->share[t] == NEST_ALONE) return active;
    nest_event(z->stamp[t], z->stamps[t], &z->now[t]);
    uint32_t now = z->now[t], *stamp = z->stamp[t];
    i64 n = 0;
    for (i64 i = 0; i < active; i++) {
        i64 at = z->share[t] == NEST_TILE ? z->group[t][z->who[i]] : z->offset[t][i];
        if (t == 2 && stamp[at] != now) z->first[n] = i;
        n += stamp[at] != now;
        stamp[at] = now;
    }
    return n;
}

/* Words of the output that get their first product in this block. */
static i64 nest_first(Nest *z, i64 words, const NestLoop *loops, int n) {
    NestLevel *l = &z->level[z->inner[2]];
    NestLoop out[NEST_LOOPS];
    i64 fresh = 0;
    int m = 0;
    for (int i = 0; i < n; i++)
        if (loops[i].by[2]) out[m++] = loops[i];
    for (i64 i = 0; i < words; i++) {
        i64 index[NEST_LOOPS] = {0}, at = z->offset[2][z->share[2] == NEST_ALONE ? i : z->first[i]];
        int k;
        do {
            i64 steps = m ? out[0].n : 1, by = m ? out[0].by[2] : 0;
            for (i64 x = 0; x < steps; x++) {
                fresh += !l->seen[at + x * by];
                l->seen[at + x * by] = 1;
            }
            for (k = 1; k < m; k++) {
                at += out[k].by[2];
                if (++index[k] < out[k].n) break;
                at -= out[k].by[2] * out[k].n;
                index[k] = 0;
            }
        } while (k < m);
    }
    return fresh;
}

/* The active instances, and the addresses of their operands at the first step. */
static i64 nest_addresses(Nest *z) {
    i64 n = 0, base[3];
    for (int t = 0; t < 3; t++) {
        base[t] = 0;
        for (int d = 0; d < z->n_dims; d++)
            if (!z->place[d]) base[t] += z->coefficient[t][d] * z->start[z->at_upper[d]][0];
    }
    for (i64 i = 0; i < z->n_inst; i++) {
        i64 at[3] = {base[0], base[1], base[2]};
        int idle = 0;
        for (int k = 0; k < z->n_split; k++) {
            int d = z->split[k];
            i64 j = z->place[d][i], start = z->start[z->final[d]][j];
            idle |= !z->length[z->final[d]][j];
            for (int t = 0; t < 3; t++) at[t] += z->coefficient[t][d] * start;
        }
        if (idle) continue;
        for (int t = 0; t < 3; t++) {
            NestLevel *l = &z->level[z->inner[t]];
            z->offset[t][n] = at[t] + nest_base(l, z->home[t] ? z->home[t][i] : 0);
        }
        z->who[n++] = (int32_t)i;
    }
    return n;
}

/* One block of steps, in which the same instances are active. */
static void nest_block_of_steps(Nest *z, const NestLoop *loops, int n) {
    NestLoop copy[NEST_LOOPS];
    i64 active = nest_addresses(z), steps = 1;
    for (int i = 0; i < n; i++) steps *= loops[i].n;
    for (int t = 0; t < 2; t++) {
        NestLevel *l = &z->level[z->inner[t]];
        l->n_deliver += active * steps;
        l->n_read += nest_words(z, t, active) * steps;
    }
    NestLevel *l = &z->level[z->inner[2]];
    i64 side = nest_words(z, 2, active), words = side * steps, added = active * steps - words;
    l->n_update += z->tree ? words : words + added;
    if (z->tree) l->n_reduce += added;
    else l->n_read += added;
    l->n_read += words - nest_first(z, side, loops, n);
    z->macs += active * steps;
    memcpy(copy, loops, (size_t)n * sizeof *copy);
    nest_multiply(z, active, copy, n);
}

/* All steps of the loops below the memories. */
static int nest_macs(Nest *z) {
    NestLoop loops[NEST_LOOPS];
    int n = 0, stepped[NEST_LOOPS], m = 0, uneven[NEST_DIMS] = {0};
    for (int d = 0; d < z->n_dims; d++) {
        if (!z->place[d]) { /* one piece: all its loops are one */
            i64 length = z->length[z->at_upper[d]][0];
            if (length > 1)
                loops[n++] = (NestLoop){length, {z->coefficient[0][d], z->coefficient[1][d], z->coefficient[2][d]}};
            continue;
        }
        int from = n;
        for (int loop = z->upper; loop < z->n_loops; loop++) {
            if (z->dim[loop] != d) continue;
            nest_reset(z, loop);
            if (z->spatial[loop]) continue;
            int before = z->prev[loop];
            i64 length = z->length[before][0], tile = z->tile[loop];
            for (i64 j = 1; j < z->pieces[before]; j++) uneven[d] |= z->length[before][j] && z->length[before][j] != length;
            uneven[d] |= length % tile != 0;
            if (z->steps[loop] > 1)
                loops[n++] = (NestLoop){z->steps[loop],
                    {z->coefficient[0][d] * tile, z->coefficient[1][d] * tile, z->coefficient[2][d] * tile}};
        }
        if (uneven[d]) n = from;
    }
    for (int loop = z->upper; loop < z->n_loops; loop++)
        if (uneven[z->dim[loop]]) stepped[m++] = loop;
    for (;;) {
        nest_block_of_steps(z, loops, n);
        int at = m - 1;
        while (at >= 0 && (z->spatial[stepped[at]] || z->index[stepped[at]] + 1 >= z->steps[stepped[at]])) at--;
        if (at < 0) return NEST_OK;
        z->index[stepped[at]]++;
        nest_cut(z, stepped[at]);
        for (int i = at + 1; i < m; i++) nest_reset(z, stepped[i]);
    }
}

#endif
