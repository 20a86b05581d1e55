/* Tiles between a memory and its parent: filled, shifted, drained, every word of them. */
#ifndef HWSIM_NEST_MOVE_H
#define HWSIM_NEST_MOVE_H

/* A new event for the stamps. */
static inline void nest_event(uint32_t *stamp, i64 n, uint32_t *now) {
    if (!++*now) {
        memset(stamp, 0, (size_t)n * sizeof *stamp);
        *now = 1;
    }
}

/* What an event needs of every instance: where its tile starts, as sums over the dims that are cut side by side. */
typedef struct {
    int n;
    const int32_t *place[NEST_DIMS];
    const i64 *start[NEST_DIMS], *length[NEST_DIMS];
    i64 own[NEST_DIMS], from[NEST_DIMS], id[NEST_DIMS];
    i64 own0, from0, id0;
} NestSpots;

/* Where an instance's tile lies in its own memory's numbering, in its parent's, and in that of the whole tensor. */
typedef struct {
    i64 own, from, id;
    int idle;
} NestSpot;

static NestSpots nest_spots(const Nest *z, const NestLevel *c) {
    const NestLevel *p = &z->level[c->parent], *root = p;
    NestSpots s = {0};
    while (root->parent >= 0) root = &z->level[root->parent];
    for (int d = 0; d < z->n_dims; d++) {
        const i64 *start = z->start[c->state[d]];
        if (!c->place[d]) {
            s.own0 += c->step[d] * start[0];
            s.from0 += p->step[d] * start[0];
            s.id0 += root->step[d] * start[0];
            continue;
        }
        s.place[s.n] = c->place[d];
        s.start[s.n] = start;
        s.length[s.n] = z->length[c->state[d]];
        s.own[s.n] = c->step[d];
        s.from[s.n] = p->step[d];
        s.id[s.n++] = root->step[d];
    }
    return s;
}

static inline NestSpot nest_spot(const NestSpots *s, i64 inst) {
    NestSpot at = {s->own0, s->from0, s->id0, 0};
    for (int i = 0; i < s->n; i++) {
        i64 j = s->place[i][inst], start = s->start[i][j];
        at.idle |= !s->length[i][j];
        at.own += s->own[i] * start;
        at.from += s->from[i] * start;
        at.id += s->id[i] * start;
    }
    return at;
}

static inline int nest_active(const Nest *z, const NestLevel *c, i64 inst) {
    for (int i = 0; i < c->n_split; i++) {
        int d = c->split[i];
        if (!z->length[c->state[d]][c->place[d][inst]]) return 0;
    }
    return 1;
}

/* The iterations that select an instance's tile: start and length of both terms of each axis. */
static inline void nest_box(const Nest *z, const NestLevel *c, i64 inst, i64 *box) {
    for (int a = 0; a < c->n_axes; a++, box += 4) {
        int d = c->first[a], s = c->state[d];
        i64 j = c->place[d] ? c->place[d][inst] : 0;
        box[0] = z->start[s][j];
        box[1] = z->length[s][j];
        d = c->second[a];
        if (d < 0) {
            box[2] = 0;
            box[3] = 1;
            continue;
        }
        s = c->state[d];
        j = c->place[d] ? c->place[d][inst] : 0;
        box[2] = z->start[s][j];
        box[3] = z->length[s][j];
    }
}

static inline i64 nest_corner(const NestLevel *c, const i64 *box, int a) {
    return c->u[a] * box[4 * a] + c->v[a] * box[4 * a + 2];
}

static int nest_append(NestRecipe *r, i64 src, i64 dst, int old) {
    if (r->n) {
        NestRun *last = &r->runs[r->n - 1];
        if (last->old == old && last->src + last->len == src && last->dst + last->len == dst) {
            last->len++;
            return NEST_OK;
        }
    }
    if (r->n == r->room) {
        i64 room = r->room ? 2 * r->room : 64;
        NestRun *runs = (NestRun *)realloc(r->runs, (size_t)room * sizeof *runs);
        if (!runs) return NEST_NO_MEMORY;
        r->runs = runs;
        r->room = room;
    }
    r->runs[r->n++] = (NestRun){src, dst, 1, old};
    return NEST_OK;
}

/* List the words of a tile, axis by axis, and which of them the tile `had` has. */
static int nest_list(const NestLevel *p, NestLevel *c, const i64 *box, const i64 *had, NestRecipe *r) {
    i64 n[NEST_AXES], at[NEST_AXES] = {0}, span[NEST_AXES], total = 0;
    for (int a = 0; a < c->n_axes; a++) {
        span[a] = c->u[a] * (box[4 * a + 1] - 1) + c->v[a] * (box[4 * a + 3] - 1) + 1;
        total += span[a];
    }
    /* Per axis: its coordinates, relative to the first, and their marks: 1 in the tile, 2 in the old one as well. */
    uint8_t *marks = (uint8_t *)calloc((size_t)total, 1), *mark = marks;
    i64 *lists = (i64 *)malloc((size_t)total * sizeof(i64)), *list[NEST_AXES], *next = lists;
    uint8_t *flag[NEST_AXES];
    if (!marks || !lists) {
        free(marks);
        free(lists);
        return NEST_NO_MEMORY;
    }
    r->words = 1;
    for (int a = 0; a < c->n_axes; a++) {
        const i64 *b = box + 4 * a;
        for (i64 i = 0; i < b[1]; i++)
            for (i64 k = 0; k < b[3]; k++) mark[c->u[a] * i + c->v[a] * k] = 1;
        if (had) {
            const i64 *h = had + 4 * a;
            i64 shift = nest_corner(c, had, a) - nest_corner(c, box, a);
            for (i64 i = 0; i < h[1]; i++)
                for (i64 k = 0; k < h[3]; k++) {
                    i64 x = c->u[a] * i + c->v[a] * k + shift;
                    if (x >= 0 && x < span[a] && mark[x]) mark[x] = 2;
                }
        }
        list[a] = next;
        flag[a] = mark;
        n[a] = 0;
        for (i64 x = 0; x < span[a]; x++)
            if (mark[x]) list[a][n[a]++] = x;
        r->words *= n[a];
        next += span[a];
        mark += span[a];
    }
    r->n = r->keeps = 0;
    int error = NEST_OK, a = 0;
    while (a >= 0 && !error) {
        i64 src = 0, dst = 0;
        int old = had != NULL;
        for (int b = 0; b < c->n_axes; b++) {
            i64 x = list[b][at[b]];
            src += p->stride[b] * x;
            dst += c->stride[b] * x;
            old &= flag[b][x] == 2;
        }
        r->keeps |= old;
        error = nest_append(r, src, dst, old);
        for (a = c->n_axes - 1; a >= 0 && ++at[a] == n[a]; a--) at[a] = 0;
    }
    r->shift = 0;
    if (had)
        for (int b = 0; b < c->n_axes; b++) r->shift += c->stride[b] * (nest_corner(c, box, b) - nest_corner(c, had, b));
    free(marks);
    free(lists);
    return error;
}

/* The recipe for a tile, looked up by its lengths (and the old tile's, and how far that is away). */
static NestRecipe *nest_recipe(const NestLevel *p, NestLevel *c, const i64 *box, const i64 *had) {
    i64 key[NEST_AXES * 5];
    int n = 0;
    for (int a = 0; a < c->n_axes; a++) {
        key[n++] = box[4 * a + 1];
        key[n++] = box[4 * a + 3];
        if (had) {
            key[n++] = had[4 * a + 1];
            key[n++] = had[4 * a + 3];
            key[n++] = nest_corner(c, had, a) - nest_corner(c, box, a);
        }
    }
    size_t size = (size_t)n * sizeof *key;
    for (int i = 0, at = c->last; i < c->filled; i++, at = at ? at - 1 : NEST_RECIPES - 1) {
        NestRecipe *r = &c->recipes[at];
        int same = r->n_key == n;
        for (int k = 0; same && k < n; k++) same = r->key[k] == key[k];
        if (same) return r;
    }
    c->last = (c->last + 1) % NEST_RECIPES;
    if (c->filled < NEST_RECIPES) c->filled++;
    NestRecipe *r = &c->recipes[c->last];
    memcpy(r->key, key, size);
    r->n_key = n;
    if (nest_list(p, c, box, had, r)) {
        r->n_key = 0;
        return NULL;
    }
    return r;
}

/* Where word 0 of the parent's tensor would lie in its storage, for a child instance. */
static inline i64 nest_base(const NestLevel *l, i64 inst) { return inst * l->size - l->origin[inst]; }

static inline void nest_place(NestLevel *c, i64 inst, const i64 *box, i64 origin) {
    memcpy(c->box + inst * c->n_axes * 4, box, (size_t)c->n_axes * 4 * sizeof *box);
    c->origin[inst] = origin;
    c->held[inst] = 1;
}

/* Whether what the memory holds now is more than it can. */
static int nest_room(Nest *z, NestLevel *c, i64 words) {
    i64 bits = 0;
    c->words = words;
    if (words > c->peak) c->peak = words;
    if (z->limit[c->memory] < 0) return NEST_OK;
    for (int i = 0; i < z->n_levels; i++)
        if (z->level[i].memory == c->memory) bits += z->level[i].words * z->level[i].bits;
    return bits > z->limit[c->memory] ? NEST_FULL : NEST_OK;
}

/* Fill tiles of one word. */
static void nest_fill_words(Nest *z, NestLevel *c, int retain) {
    NestLevel *p = &z->level[c->parent];
    NestSpots spots = nest_spots(z, c);
    i64 delivered = 0, read = 0, in_parent = 0, home = -1, base = 0;
    int32_t group = -1;
    if (c->share == NEST_WORD) nest_event(c->stamp, c->stamps, &c->now);
    for (i64 q = 0; q < c->n_inst; q++) {
        i64 inst = c->order ? c->order[q] : q;
        NestSpot at = nest_spot(&spots, inst);
        if (at.idle) {
            c->held[inst] = 0;
            continue;
        }
        i64 *id = c->box + inst * c->n_axes * 4;
        if (retain && c->held[inst] && *id == at.id) continue;
        if (home < 0 || inst - in_parent >= c->per_parent || inst < in_parent) {
            home = inst / c->per_parent;
            in_parent = home * c->per_parent;
            base = nest_base(p, home);
        }
        i64 src = base + at.from;
        c->data[inst] = p->data[src];
        c->origin[inst] = at.own;
        c->held[inst] = 1;
        *id = at.id;
        delivered++;
        if (c->share == NEST_ALONE) continue;
        if (c->share == NEST_TILE && c->group[inst] != group) {
            group = c->group[inst];
            nest_event(c->stamp, c->stamps, &c->now);
        }
        read += c->stamp[src] != c->now;
        c->stamp[src] = c->now;
    }
    c->n_fill += delivered;
    p->n_deliver += delivered;
    p->n_read += c->share == NEST_ALONE ? delivered : read;
}

/* Fill the tiles of an input for a new step. */
static int nest_fill(Nest *z, NestLevel *c, int first) {
    NestLevel *p = &z->level[c->parent];
    uint64_t moved = z->moved & c->all;
    if (!first && !(moved & c->shown)) {
        /* Everyone has what it needs; but who is idle now must fetch all of its next tile. */
        if (c->n_split)
            for (i64 i = 0; i < c->n_inst; i++) c->held[i] = (uint8_t)nest_active(z, c, i);
        return NEST_OK;
    }
    int single = !(moved & (moved - 1));
    int retain = !first && !c->whole && (z->reuse == NEST_KEEP || (z->reuse == NEST_SLIDE && single));
    if (c->size == 1) {
        nest_fill_words(z, c, retain);
        return nest_room(z, c, 1);
    }
    NestSpots spots = nest_spots(z, c);
    i64 box[NEST_AXES * 4], most = 0, delivered = 0, read = 0;
    int32_t group = -1;
    if (c->share == NEST_WORD) nest_event(c->stamp, c->stamps, &c->now);
    for (i64 q = 0; q < c->n_inst; q++) {
        i64 inst = c->order ? c->order[q] : q;
        NestSpot at = nest_spot(&spots, inst);
        if (at.idle) {
            c->held[inst] = 0;
            continue;
        }
        nest_box(z, c, inst, box);
        const i64 *had = retain && c->held[inst] ? c->box + inst * c->n_axes * 4 : NULL;
        NestRecipe *r = nest_recipe(p, c, box, had);
        if (!r) return NEST_NO_MEMORY;
        if (r->words > most) most = r->words;
        i64 src = nest_base(p, inst / c->per_parent) + at.from;
        int8_t *to = c->data + inst * c->size;
        const int8_t *from = p->data + src;
        if (r->keeps) memcpy(c->scratch, to, (size_t)c->size);
        if (c->share == NEST_TILE && c->group[inst] != group) {
            group = c->group[inst];
            nest_event(c->stamp, c->stamps, &c->now);
        }
        for (i64 i = 0; i < r->n; i++) {
            NestRun run = r->runs[i];
            if (run.old) {
                memcpy(to + run.dst, c->scratch + run.dst + r->shift, (size_t)run.len);
                continue;
            }
            if (run.len < 16)
                for (i64 x = 0; x < run.len; x++) to[run.dst + x] = from[run.src + x];
            else
                memcpy(to + run.dst, from + run.src, (size_t)run.len);
            delivered += run.len;
            if (c->share == NEST_ALONE) continue;
            uint32_t *stamp = c->stamp + src + run.src, now = c->now;
            for (i64 x = 0; x < run.len; x++) {
                read += stamp[x] != now;
                stamp[x] = now;
            }
        }
        nest_place(c, inst, box, at.own);
    }
    c->n_fill += delivered;
    p->n_deliver += delivered;
    p->n_read += c->share == NEST_ALONE ? delivered : read;
    return nest_room(z, c, most);
}

/* Begin a visit of the output's tiles: of the instances that add to one word, the first gets what was added so far. */
static int nest_fill_sums(Nest *z, NestLevel *c) {
    NestLevel *p = &z->level[c->parent];
    i64 box[NEST_AXES * 4], most = 0, filled = 0;
    NestSpots spots = nest_spots(z, c);
    NestRecipe *r = NULL;
    c->even = 1;
    for (int i = 0; i < spots.n; i++)
        for (i64 j = 1; j < z->pieces[c->state[c->split[i]]]; j++)
            c->even &= !spots.length[i][j] || spots.length[i][j] == spots.length[i][0];
    if (c->stamp) nest_event(c->stamp, c->stamps, &c->now);
    for (i64 inst = 0; inst < c->n_inst; inst++) {
        NestSpot at = nest_spot(&spots, inst);
        if (at.idle) {
            c->held[inst] = 0;
            continue;
        }
        if (!r || !c->even) {
            nest_box(z, c, inst, box);
            r = nest_recipe(p, c, box, NULL);
            if (!r) return NEST_NO_MEMORY;
            if (r->words > most) most = r->words;
            memcpy(c->box + inst * c->n_axes * 4, box, (size_t)c->n_axes * 4 * sizeof *box);
        }
        i64 src = nest_base(p, inst / c->per_parent) + at.from;
        for (i64 i = 0; i < r->n; i++) {
            i64 from = src + r->runs[i].src, to = inst * c->size + r->runs[i].dst;
            for (i64 x = 0; x < r->runs[i].len; x++, from++, to++) {
                int mine = p->seen[from];
                if (c->stamp) {
                    mine &= c->stamp[from] != c->now;
                    c->stamp[from] = c->now;
                }
                c->sums[to] = mine ? p->sums[from] : 0;
                c->seen[to] = (uint8_t)mine;
                filled += mine;
            }
        }
        c->from[inst] = src;
        c->origin[inst] = at.own;
        c->held[inst] = 1;
    }
    c->n_fill += filled;
    p->n_read += filled;
    return nest_room(z, c, most);
}

/* End a visit: what arrives first at a word of the parent replaces it, the rest is added. */
static int nest_drain(Nest *z, NestLevel *c) {
    NestLevel *p = &z->level[c->parent];
    i64 words = 0, added = 0;
    int bad = 0;
    NestRecipe *r = NULL;
    if (c->stamp) nest_event(c->stamp, c->stamps, &c->now);
    for (i64 inst = 0; inst < c->n_inst; inst++) {
        if (!c->held[inst]) continue;
        if (!r || !c->even) r = nest_recipe(p, c, c->box + inst * c->n_axes * 4, NULL);
        if (!r) return NEST_NO_MEMORY;
        i64 to0 = c->from[inst];
        words += r->words;
        for (i64 i = 0; i < r->n; i++) {
            i64 to = to0 + r->runs[i].src, from = inst * c->size + r->runs[i].dst;
            for (i64 x = 0; x < r->runs[i].len; x++, from++, to++) {
                int again = 0;
                bad |= !c->seen[from];
                if (c->stamp) {
                    again = c->stamp[to] == c->now;
                    c->stamp[to] = c->now;
                }
                p->sums[to] = (again ? p->sums[to] : 0) + c->sums[from];
                p->seen[to] = 1;
                added += again;
            }
        }
        c->held[inst] = 0;
    }
    c->n_drain += words;
    p->n_update += z->tree ? words - added : words;
    if (z->tree) p->n_reduce += added;
    else p->n_read += added;
    return bad ? NEST_NO_SUM : NEST_OK;
}

#endif
