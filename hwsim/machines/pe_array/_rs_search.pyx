# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, nonecheck=False
"""The search of the row-stationary mapper: all mappings of a layer, most of them counted without being listed.

Of a mapping (n, m, e, p, q, r, t), each limit bounds r from above once the others stand. So all r up to a bound are legal,
and the most active PEs are those of the bound: three passes over (e, n, m) find how many mappings there are and the most
active PEs; the least DRAM words of those with enough PEs; and among these the one that the chip takes.
"""

from libc.stdint cimport int64_t as i64
from libc.stdlib cimport free, malloc

__all__ = ["search"]

cdef double MOST = 4e18  # above it words are as good as infinite, and 64 bits would not hold them


cdef inline i64 ceil_div(i64 a, i64 b) noexcept nogil:
    return (a + b - 1) // b


cdef inline i64 capped(double words, i64 exact) noexcept nogil:
    return <i64>MOST if words > MOST else exact


cdef struct Space:
    i64 N, G, K, C, P, Q, R, S, up, dilation, width, widths, tiles, f
    i64 rows, cols, banks, bank


cdef struct Place:     # of one (e, n, m)
    i64 dram, fetched, sets, most
    i64 room           # words of q r that the banks leave


cdef void place(Space* w, i64 e, i64 n, i64 m, Place* out) noexcept nogil:
    """What an (e, n, m) costs and leaves; `room` is 0 where the psums alone fill the buffer."""
    cdef i64 high = (e - 1) * w.up + (w.R - 1) * w.dilation + 1
    cdef i64 full = w.P // e, rest = w.P % e
    cdef i64 strips = full + (1 if rest else 0)
    cdef i64 psums = ceil_div(n * m * e * w.f, w.bank)
    cdef double words
    out.fetched = high * full + (((rest - 1) * w.up + (w.R - 1) * w.dilation + 1) if rest else 0)
    if e <= w.cols:
        out.sets = w.rows // w.R * (w.cols // e)
    else:
        out.sets = w.rows // w.R // ceil_div(e, w.cols)
    out.room = 0
    if psums < w.banks and out.sets > 0:
        out.room = (w.banks - psums) * w.bank // (n * high * w.width)
    words = <double>w.G * (
        <double>w.C * w.N * out.fetched * w.widths * (w.K // m)
        + <double>w.K * w.C * w.R * w.S * strips * w.tiles * (w.N // n)
        + <double>w.N * w.K * w.P * w.Q
    )
    out.dram = capped(words, w.G * (
        w.C * w.N * out.fetched * w.widths * (w.K // m)
        + w.K * w.C * w.R * w.S * strips * w.tiles * (w.N // n)
        + w.N * w.K * w.P * w.Q
    ))


def search(
    i64 N, i64 G, i64 K, i64 C, i64 P, i64 Q, i64 R, i64 S, i64 up, i64 stride, i64 dilation,
    i64 width, i64 widths, i64 tiles, i64 f,
    i64 rows, i64 cols, i64 weight_spad, i64 ifmap_spad, i64 psum_spad, i64 filter_buffer, i64 banks, i64 bank,
    i64 row_words, double min_occupation, list images, list filters,
):
    """(n, m, e, p, q, r, t), how many mappings there are, how many are as good; None where there is none.

    `images` and `filters` are the divisors of N and K. A mapping must have `min_occupation` of the most active PEs; then
    least DRAM words, most active PEs, least buffer words and most filters in a PE decide, then the order e, n, m, q, r, p, t.
    """
    cdef Space w = Space(N, G, K, C, P, Q, R, S, up, dilation, width, widths, tiles, f, rows, cols, banks, bank)
    cdef i64 most_sets = rows // R * cols
    if not most_sets or S > ifmap_spad:
        return None
    cdef i64 qs = min(ifmap_spad // S, C), es = min(P, most_sets)
    cdef i64 ns = len(images), ms = len(filters)
    cdef i64 spaced = ceil_div(width, stride)
    cdef i64 pairs = 0, i, j, a, b, c, q, r, e, n, m, p, t, bound, here, glb, active, top = 0, count = 0, ties = 0
    cdef i64 least = -1, glb_best = 0, active_best = 0, p_best = 0, passes
    cdef double enough, words
    cdef bint better, equal
    cdef tuple best = None
    cdef Place at
    cdef i64* image = <i64*>malloc(ns * sizeof(i64))
    cdef i64* filter = <i64*>malloc(ms * sizeof(i64))
    cdef i64* pair_p = <i64*>malloc(ms * ms * sizeof(i64))
    cdef i64* pair_t = <i64*>malloc(ms * ms * sizeof(i64))
    cdef i64* limit = <i64*>malloc(ms * ms * qs * sizeof(i64))  # of r, by pair and q
    cdef i64* actives = <i64*>malloc(es * ns * ms * sizeof(i64))  # most active PEs of each (e, n, m), 0: no mapping
    cdef i64* drams = <i64*>malloc(es * ns * ms * sizeof(i64))
    try:
        if not (image and filter and pair_p and pair_t and limit and actives and drams):
            raise MemoryError
        for i in range(ns):
            image[i] = images[i]
        for i in range(ms):
            filter[i] = filters[i]
        for i in range(ms):
            p = filter[i]
            for j in range(ms):
                t = filter[j]
                if p > psum_spad or t > most_sets or K % (p * t):
                    continue
                for q in range(1, qs + 1):
                    bound = 0
                    if p * q * S <= weight_spad:
                        bound = min(most_sets // t, min(C, most_sets))
                        bound = min(bound, filter_buffer // (p * t * q * R * S))
                        bound = min(bound, (C + q - 1) // q)
                        here = row_words // spaced // q
                        bound = min(bound, 1 if q == 1 and here < 1 else here)
                    limit[pairs * qs + q - 1] = bound
                pair_p[pairs] = p
                pair_t[pairs] = t
                pairs += 1
        with nogil:
            for a in range(es):
                for b in range(ns):
                    for c in range(ms):
                        e, n, m = a + 1, image[b], filter[c]
                        i = (a * ns + b) * ms + c
                        actives[i] = 0
                        place(&w, e, n, m, &at)
                        drams[i] = at.dram
                        if not at.room:
                            continue
                        for j in range(pairs):
                            if m % (pair_p[j] * pair_t[j]):
                                continue
                            for q in range(1, qs + 1):
                                bound = min(limit[j * qs + q - 1], min(at.sets // pair_t[j], at.room // q))
                                if bound > 0:
                                    count += bound
                                    actives[i] = max(actives[i], R * e * bound * pair_t[j])
                        top = max(top, actives[i])
        if not count:
            return None
        enough = min_occupation * top
        for i in range(es * ns * ms):
            if actives[i] and actives[i] >= enough and (least < 0 or drams[i] < least):
                least = drams[i]
        for a in range(es):
            for b in range(ns):
                for c in range(ms):
                    i = (a * ns + b) * ms + c
                    if not actives[i] or actives[i] < enough or drams[i] != least:
                        continue
                    e, n, m = a + 1, image[b], filter[c]
                    place(&w, e, n, m, &at)
                    for j in range(pairs):
                        p, t = pair_p[j], pair_t[j]
                        if m % (p * t):
                            continue
                        for q in range(1, qs + 1):
                            bound = min(limit[j * qs + q - 1], min(at.sets // t, at.room // q))
                            for r in range(1, bound + 1):
                                active = R * e * r * t
                                if active < enough:
                                    continue
                                passes = ceil_div(C, q * r)
                                words = <double>G * N * (
                                    2.0 * passes * K * P * Q + <double>C * at.fetched * widths * (K // (p * t))
                                )
                                glb = capped(words, G * N * (
                                    2 * passes * K * P * Q + C * at.fetched * widths * (K // (p * t))
                                ))
                                equal = best is not None and active == active_best and glb == glb_best and p == p_best
                                better = best is None or active > active_best or (
                                    active == active_best and (glb < glb_best or (glb == glb_best and p > p_best))
                                )
                                if equal:
                                    ties += 1
                                    better = (e, n, m, q, r, p, t) < best
                                elif better:
                                    ties = 1
                                if better:
                                    active_best, glb_best, p_best = active, glb, p
                                    best = (e, n, m, q, r, p, t)
        e, n, m, q, r, p, t = best
        return (n, m, e, p, q, r, t), count, ties
    finally:
        free(image)
        free(filter)
        free(pair_p)
        free(pair_t)
        free(limit)
        free(actives)
        free(drams)
