/* A loop nest executed on real data: the odometer of its temporal loops, and what every memory holds.
 *
 * All instances run in lock-step. A step of the loops above the innermost memories ("upper" loops) moves tiles between
 * memories (_nest_move.h); then the loops below them run, with nothing in between but MACs (_nest_mac.h).
 */
#ifndef HWSIM_NEST_H
#define HWSIM_NEST_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef int64_t i64;

enum { NEST_DIMS = 12, NEST_LOOPS = 64, NEST_AXES = 8, NEST_LEVELS = 32, NEST_MEMORIES = 16, NEST_RECIPES = 12 };
enum { NEST_SLIDE = 0, NEST_KEEP = 1, NEST_REFILL = 2 };
enum { NEST_ALONE = 0, NEST_TILE = 1, NEST_WORD = 2 };
enum { NEST_OK = 0, NEST_FULL = 1, NEST_NO_SUM = 2, NEST_NO_MEMORY = 3 };

/* Words that lie side by side in parent and child; `old` ones are in the child already, elsewhere. */
typedef struct {
    i64 src, dst, len;
    int old;
} NestRun;

/* How a tile of one shape is moved, relative to where it starts. */
typedef struct {
    i64 key[NEST_AXES * 5];
    int n_key, keeps; /* keeps: whether any run is old */
    NestRun *runs;
    i64 n, room, words, shift;
} NestRecipe;

/* One tensor in one memory. */
typedef struct {
    int parent, output, above, n_axes, n_split, whole, share;
    int first[NEST_AXES], second[NEST_AXES]; /* dims of the terms of an axis, second < 0 for none */
    i64 u[NEST_AXES], v[NEST_AXES];          /* their coefficients */
    i64 stride[NEST_AXES];                   /* of the stored tile */
    i64 n_inst, size, per_parent;
    int state[NEST_DIMS];                    /* the loop that cuts each dim last above this memory */
    int split[NEST_DIMS];                    /* dims with spatial loops above */
    int32_t *place[NEST_DIMS];               /* instance -> piece of the dim, NULL where there is one */
    int32_t *order, *group;                  /* instances that share a tile, one after the other */
    i64 step[NEST_DIMS];                     /* words of storage between neighbors along a dim */
    uint64_t shown, all;                     /* loops above: those of the tensor's dims, all of them */
    int8_t *data;                            /* inputs */
    int32_t *sums;                           /* the output: sums, and whether anything was added to them */
    uint8_t *seen;
    i64 *box, *origin;                       /* of each instance's tile: (start, length) of both terms of each axis */
    i64 *from;                               /* the output: where the tile lies in the parent */
    uint8_t *held;
    int even;                                /* whether all tiles of a visit have the same lengths */
    uint32_t *stamp, now;                    /* on the parent's words: the event that touched a word last */
    i64 stamps;
    int8_t *scratch;
    int memory, bits;
    i64 words, peak;                         /* the largest tile of the last event, and ever */
    NestRecipe recipes[NEST_RECIPES];
    int last, filled;
    i64 n_fill, n_read, n_deliver, n_update, n_drain, n_reduce;
} NestLevel;

typedef struct {
    int n_dims, n_loops, n_levels, upper; /* loops before `upper` have memories below them */
    int dim[NEST_LOOPS], spatial[NEST_LOOPS], prev[NEST_LOOPS];
    i64 tile[NEST_LOOPS], copies[NEST_LOOPS];  /* copies: of a spatial loop */
    i64 index[NEST_LOOPS], steps[NEST_LOOPS];  /* of a temporal loop */
    /* start and length of each piece that the spatial loops make of a dim, after each loop; then of whole dims */
    i64 pieces[NEST_LOOPS + NEST_DIMS];
    i64 *start[NEST_LOOPS + NEST_DIMS], *length[NEST_LOOPS + NEST_DIMS];
    NestLevel level[NEST_LEVELS];
    int reuse, tree;
    i64 limit[NEST_MEMORIES]; /* bits, < 0 for none */
    uint64_t moved;
    int begun, done, failed; /* failed: the level that did not fit */
    /* the MACs */
    i64 n_inst;
    int n_split, split[NEST_DIMS], final[NEST_DIMS], at_upper[NEST_DIMS];
    int32_t *place[NEST_DIMS];
    int inner[3];            /* innermost levels of the two inputs and the output */
    int32_t *home[3];        /* instance -> instance of that level */
    int share[3];
    int32_t *group[3];
    uint32_t *stamp[3], now[3];
    i64 stamps[3];
    i64 *offset[3]; /* of the active instances; `who` they are */
    int32_t *who;
    i64 *first;
    i64 coefficient[3][NEST_DIMS];
    i64 macs, gated;
} Nest;

/* Cut the pieces of the loop before this one of the same dim. */
static void nest_cut(Nest *z, int loop) {
    int before = z->prev[loop];
    i64 tile = z->tile[loop], n = z->pieces[before];
    const i64 *start = z->start[before], *length = z->length[before];
    i64 copies = z->spatial[loop] ? z->copies[loop] : 1, from = z->spatial[loop] ? 0 : z->index[loop];
    i64 *to = z->start[loop], *len = z->length[loop];
    for (i64 j = 0; j < n; j++)
        for (i64 k = from; k < from + copies; k++) {
            i64 left = length[j] - k * tile;
            *to++ = start[j] + k * tile;
            *len++ = left <= 0 ? 0 : left < tile ? left : tile;
        }
}

/* Put a loop at its beginning; it runs as often as in the first instance. */
static void nest_reset(Nest *z, int loop) {
    z->index[loop] = 0;
    if (!z->spatial[loop]) z->steps[loop] = (z->length[z->prev[loop]][0] + z->tile[loop] - 1) / z->tile[loop];
    nest_cut(z, loop);
}

#include "_nest_move.h"
#include "_nest_mac.h"

/* Set the upper loops to the next step; the loop that went up, or -1 after the last step. */
static int nest_advance(Nest *z) {
    int at = z->upper - 1;
    while (at >= 0 && (z->spatial[at] || z->index[at] + 1 >= z->steps[at])) at--;
    if (at < 0) return -1;
    z->moved = (uint64_t)1 << at;
    z->index[at]++;
    nest_cut(z, at);
    for (int loop = at + 1; loop < z->upper; loop++) {
        if (!z->spatial[loop] && z->index[loop]) z->moved |= (uint64_t)1 << loop;
        nest_reset(z, loop);
    }
    return at;
}

/* Run until about `budget` more MACs are done. */
static int nest_run(Nest *z, i64 budget) {
    i64 until = z->macs + budget;
    while (!z->done && z->macs < until) {
        int error, at = -1, first = !z->begun;
        if (first) {
            for (int loop = 0; loop < z->upper; loop++) nest_reset(z, loop);
            z->begun = 1;
        } else {
            at = nest_advance(z);
            /* A visit ends where an index of the output's dims changes: inner memories hand their sums up first. */
            for (int i = z->n_levels - 1; i >= 0; i--) {
                NestLevel *c = &z->level[i];
                if (c->output && c->parent >= 0 && (at < 0 || (z->moved & c->shown)))
                    if ((error = nest_drain(z, c))) { z->failed = i; return error; }
            }
            if (at < 0) { z->done = 1; break; }
        }
        for (int i = 0; i < z->n_levels; i++) {
            NestLevel *c = &z->level[i];
            if (c->parent < 0 || !(first || at < c->above)) continue;
            error = c->output ? (first || (z->moved & c->shown) ? nest_fill_sums(z, c) : NEST_OK) : nest_fill(z, c, first);
            if (error) { z->failed = i; return error; }
        }
        if ((error = nest_macs(z))) return error;
    }
    return NEST_OK;
}

static void nest_free(Nest *z) {
    for (int i = 0; i < NEST_LEVELS; i++)
        for (int k = 0; k < NEST_RECIPES; k++) {
            free(z->level[i].recipes[k].runs);
            z->level[i].recipes[k].runs = NULL;
        }
}

#endif
