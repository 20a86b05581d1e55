/* Attention as fused kernels run it: tiles of query rows, blocks of keys and values, an online softmax, splits of the
   context that are combined at the end. Every count is of what the loops did. */

#ifndef HWSIM_ATTENTION_H
#define HWSIM_ATTENTION_H

#include <math.h>
#include <stdint.h>
#include <string.h>

typedef int64_t i64;

enum { ATT_FP32, ATT_INT8, ATT_FP8 };

enum {
    ATT_TILES, ATT_BLOCKS, ATT_SCORES, ATT_ATTENDED, ATT_SCORE_MACS, ATT_VALUE_MACS, ATT_EXPONENTIALS, ATT_RESCALES,
    ATT_COMBINED, ATT_Q_WORDS, ATT_KV_WORDS, ATT_KV_PADDING, ATT_OUTPUT_WORDS, ATT_COUNTS
};

typedef struct {
    const void *q, *k, *v; /* heads x queries x dim, kv_heads x context x dim or value_dim */
    float *out;            /* heads x queries x value_dim */
    const float *table;    /* 256 values of fp8 codes */
    i64 heads, kv_heads, queries, context, dim, value_dim;
    i64 start, window; /* position of the first query; window 0: none */
    int causal, packed, skips, q_type, kv_type;
    i64 rows, columns, splits; /* splits: at most as many parts as the longest tile has blocks */
    float score_scale, value_scale;
    float *tile;         /* rows x dim */
    float *key, *value;  /* dim x columns, columns x value_dim */
    int32_t *sums;       /* columns */
    float *scores;       /* rows x columns */
    float *accumulators; /* splits x rows x value_dim */
    float *most, *total; /* splits x rows */
    i64 *counts;
} attention_args;

static inline float att_value(const void *data, i64 at, int type, const float *table) {
    if (type == ATT_FP32) return ((const float *)data)[at];
    if (type == ATT_INT8) return (float)((const int8_t *)data)[at];
    return table[((const uint8_t *)data)[at]];
}

/* Row r of what a tile may hold: its query, and its head among those of one head of keys. */
static inline void att_row(const attention_args *a, i64 shared, i64 r, i64 *query, i64 *head) {
    *query = r / shared;
    *head = r % shared;
}

/* The positions [first, last) that a query attends to. */
static inline void att_seen(const attention_args *a, i64 query, i64 *first, i64 *last) {
    *first = 0;
    *last = a->context;
    if (!a->causal) return;
    const i64 place = a->start + query;
    if (place + 1 < *last) *last = place + 1;
    if (a->window && place + 1 > a->window) *first = place + 1 - a->window;
}

static void att_load_block(const attention_args *a, i64 kv, i64 first, i64 size) {
    const i64 columns = a->columns;
    for (i64 c = 0; c < size; c++) {
        const i64 at = kv * a->context + first + c;
        for (i64 d = 0; d < a->dim; d++) {
            a->key[d * columns + c] = att_value(a->k, at * a->dim + d, a->kv_type, a->table);
            a->counts[ATT_KV_WORDS]++;
        }
        for (i64 e = 0; e < a->value_dim; e++) {
            a->value[c * a->value_dim + e] = att_value(a->v, at * a->value_dim + e, a->kv_type, a->table);
            a->counts[ATT_KV_WORDS]++;
        }
    }
    for (i64 c = size; c < columns; c++) { /* of the last block, what lies behind its end is zero */
        for (i64 d = 0; d < a->dim; d++) a->key[d * columns + c] = 0.0f;
        for (i64 e = 0; e < a->value_dim; e++) a->value[c * a->value_dim + e] = 0.0f;
        a->counts[ATT_KV_PADDING] += a->dim + a->value_dim;
    }
}

/* The scores of one row: int8 by int8 with int32 sums, all else in fp32 in the order of dim. */
static void att_scores(const attention_args *a, const float *restrict row, float *restrict line) {
    const i64 columns = a->columns;
    if (a->q_type == ATT_INT8 && a->kv_type == ATT_INT8) {
        int32_t *restrict sums = a->sums;
        memset(sums, 0, (size_t)columns * sizeof *sums);
        for (i64 d = 0; d < a->dim; d++) {
            const int32_t x = (int32_t)row[d];
            const float *restrict y = a->key + d * columns;
            for (i64 c = 0; c < columns; c++) sums[c] += x * (int32_t)y[c];
        }
        for (i64 c = 0; c < columns; c++) line[c] = (float)sums[c] * a->score_scale;
    } else {
        for (i64 c = 0; c < columns; c++) line[c] = 0.0f;
        for (i64 d = 0; d < a->dim; d++) {
            const float x = row[d];
            const float *restrict y = a->key + d * columns;
            for (i64 c = 0; c < columns; c++) line[c] += x * y[c];
        }
        for (i64 c = 0; c < columns; c++) line[c] *= a->score_scale;
    }
    a->counts[ATT_SCORES] += columns;
    a->counts[ATT_SCORE_MACS] += a->dim * columns;
}

/* One block: scores, mask, the new maximum, what was summed so far scaled to it, the products with the values. */
static void att_block(const attention_args *a, i64 shared, i64 low, i64 high, i64 first, i64 last, i64 split, int fresh) {
    const i64 columns = a->columns, width = a->value_dim;
    for (i64 i = 0; i < a->rows; i++) {
        float *restrict line = a->scores + i * columns;
        float *restrict sum = a->accumulators + (split * a->rows + i) * width;
        float *most = a->most + split * a->rows + i, *total = a->total + split * a->rows + i;
        i64 query, head, seen = first, end = last;
        if (low + i < high) { /* rows that fill a tile up see the whole block */
            att_row(a, shared, low + i, &query, &head);
            att_seen(a, query, &seen, &end);
            if (seen < first) seen = first;
            if (end > last) end = last;
            if (end < seen) end = seen;
            a->counts[ATT_ATTENDED] += end - seen;
        }
        att_scores(a, a->tile + i * a->dim, line);
        for (i64 c = 0; c < columns; c++)
            if (first + c < seen || first + c >= end) line[c] = -INFINITY;
        float top = *most;
        for (i64 c = 0; c < columns; c++) top = line[c] > top ? line[c] : top;
        /* No score yet: every exponential is that of minus infinity, whatever it is relative to. */
        const float base = top == -INFINITY ? 0.0f : top;
        if (!fresh) {
            const float factor = expf(*most - base);
            for (i64 e = 0; e < width; e++) sum[e] *= factor;
            *total *= factor;
            a->counts[ATT_RESCALES]++;
        }
        *most = top;
        for (i64 c = 0; c < columns; c++) {
            line[c] = expf(line[c] - base);
            *total += line[c];
            a->counts[ATT_EXPONENTIALS]++;
        }
        for (i64 c = 0; c < columns; c++) {
            const float p = line[c];
            const float *restrict y = a->value + c * width;
            for (i64 e = 0; e < width; e++) sum[e] += p * y[e];
        }
        a->counts[ATT_VALUE_MACS] += columns * width;
    }
    a->counts[ATT_BLOCKS]++;
}

/* The sums of the parts of a context, scaled to the largest maximum, and their quotient. */
static void att_store(const attention_args *a, i64 q_head, i64 shared, i64 low, i64 high, i64 parts) {
    const i64 width = a->value_dim;
    for (i64 r = low; r < high; r++) {
        i64 query, head;
        att_row(a, shared, r, &query, &head);
        float *restrict out = a->out + ((q_head + head) * a->queries + query) * width;
        float top = -INFINITY, total = 0.0f;
        for (i64 s = 0; s < parts; s++) top = fmaxf(top, a->most[s * a->rows + r - low]);
        for (i64 e = 0; e < width; e++) out[e] = 0.0f;
        for (i64 s = 0; s < parts; s++) {
            const i64 at = s * a->rows + r - low;
            const float factor = parts > 1 ? expf(a->most[at] - top) : 1.0f;
            total += factor * a->total[at];
            for (i64 e = 0; e < width; e++) out[e] += factor * a->accumulators[at * width + e];
            if (parts > 1) a->counts[ATT_COMBINED]++;
        }
        for (i64 e = 0; e < width; e++) {
            out[e] = out[e] / total * a->value_scale;
            a->counts[ATT_OUTPUT_WORDS]++;
        }
    }
}

static void att_tile(const attention_args *a, i64 kv, i64 q_head, i64 shared, i64 low, i64 high) {
    i64 query, head, first, last, unused;
    att_row(a, shared, low, &query, &head);
    att_seen(a, query, &first, &unused);
    att_row(a, shared, high - 1, &query, &head);
    att_seen(a, query, &unused, &last);
    if (!a->skips) first = 0;
    memset(a->tile, 0, (size_t)(a->rows * a->dim) * sizeof(float));
    for (i64 r = low; r < high; r++) {
        att_row(a, shared, r, &query, &head);
        const i64 at = ((q_head + head) * a->queries + query) * a->dim;
        for (i64 d = 0; d < a->dim; d++) {
            a->tile[(r - low) * a->dim + d] = att_value(a->q, at + d, a->q_type, a->table);
            a->counts[ATT_Q_WORDS]++;
        }
    }
    const i64 blocks = (last - first + a->columns - 1) / a->columns;
    const i64 each = (blocks + a->splits - 1) / a->splits;
    i64 parts = 0;
    for (i64 begin = 0; begin < blocks; begin += each, parts++) {
        const i64 until = begin + each < blocks ? begin + each : blocks;
        for (i64 i = 0; i < a->rows; i++) {
            a->most[parts * a->rows + i] = -INFINITY;
            a->total[parts * a->rows + i] = 0.0f;
        }
        memset(a->accumulators + parts * a->rows * a->value_dim, 0, (size_t)(a->rows * a->value_dim) * sizeof(float));
        for (i64 block = begin; block < until; block++) {
            const i64 from = first + block * a->columns, left = last - from;
            const i64 size = left < a->columns ? left : a->columns;
            att_load_block(a, kv, from, size);
            att_block(a, shared, low, high, from, from + size, parts, block == begin);
        }
        a->counts[ATT_TILES]++;
    }
    att_store(a, q_head, shared, low, high, parts);
}

/* Tiles hold the rows of all heads that share keys and values, query by query, or those of one head; from the last on. */
static void attention_run(const attention_args *a) {
    const i64 group = a->heads / a->kv_heads, shared = a->packed ? group : 1;
    for (i64 kv = 0; kv < a->kv_heads; kv++)
        for (i64 first = 0; first < group; first += shared)
            for (i64 high = a->queries * shared; high > 0; high -= a->rows)
                att_tile(a, kv, kv * group + first, shared, high > a->rows ? high - a->rows : 0, high);
}

#endif
