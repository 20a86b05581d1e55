# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, nonecheck=False
# cython: freethreading_compatible=True
"""Binding of the attention nest; arguments are checked in Python."""

from libc.stdint cimport int32_t, int64_t, uint8_t

cdef extern from "_attention.h" nogil:
    int ATT_COUNTS
    ctypedef struct attention_args:
        const void *q
        const void *k
        const void *v
        float *out
        const float *table
        int64_t heads, kv_heads, queries, context, dim, value_dim
        int64_t start, window
        int causal, packed, skips, q_type, kv_type
        int64_t rows, columns, splits
        float score_scale, value_scale
        float *tile
        float *key
        float *value
        int32_t *sums
        float *scores
        float *accumulators
        float *most
        float *total
        int64_t *counts
    void attention_run(const attention_args *a)


def attention(const uint8_t[::1] q, const uint8_t[::1] k, const uint8_t[::1] v, int q_type, int kv_type, const float[::1] table,
              sizes, mask, tiles, float score_scale, float value_scale, float[::1] out, float[::1] work, int32_t[::1] sums,
              int64_t[::1] counts):
    """One sequence. `sizes`: heads, kv_heads, queries, context, dim, value_dim; `mask`: causal, start, window;
    `tiles`: rows, columns, splits, packed, skips; `work` holds all buffers of floats, one after the other."""
    cdef attention_args a
    a.heads, a.kv_heads, a.queries, a.context, a.dim, a.value_dim = sizes
    a.causal, a.start, a.window = mask
    a.rows, a.columns, a.splits, a.packed, a.skips = tiles
    cdef int64_t parts = a.splits * a.rows
    cdef int64_t width = 1 if q_type else 4, kv_width = 1 if kv_type else 4
    cdef int64_t need = a.rows * (a.dim + a.columns) + a.columns * (a.dim + a.value_dim) + parts * (a.value_dim + 2)
    if (q.shape[0] != a.heads * a.queries * a.dim * width or k.shape[0] != a.kv_heads * a.context * a.dim * kv_width
            or v.shape[0] != a.kv_heads * a.context * a.value_dim * kv_width or table.shape[0] != 256
            or out.shape[0] != a.heads * a.queries * a.value_dim or work.shape[0] != need or sums.shape[0] != a.columns
            or counts.shape[0] != ATT_COUNTS):
        raise ValueError("an array has another size")
    a.q, a.k, a.v, a.out, a.table = &q[0], &k[0], &v[0], &out[0], &table[0]
    a.q_type, a.kv_type, a.score_scale, a.value_scale = q_type, kv_type, score_scale, value_scale
    a.tile = &work[0]
    a.scores = a.tile + a.rows * a.dim
    a.key = a.scores + a.rows * a.columns
    a.value = a.key + a.columns * a.dim
    a.accumulators = a.value + a.columns * a.value_dim
    a.most = a.accumulators + parts * a.value_dim
    a.total = a.most + parts
    a.sums, a.counts = &sums[0], &counts[0]
    with nogil:
        attention_run(&a)
