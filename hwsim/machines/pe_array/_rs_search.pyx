# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, nonecheck=False
"""The search of the row-stationary mapper.

DRAM words and the PEs that the array can use follow from (e, n, m) alone, so that the least words among those with enough
PEs come first; (q, r, p, t) are then compared only for the (e, n, m) that move so few.
"""

from libc.math cimport rint
from libc.stdint cimport int64_t as i64

__all__ = ["search"]

cdef double MOST = 4e18  # above it words are as good as infinite, and 64 bits would not hold them


cdef inline i64 ceil_div(i64 a, i64 b) noexcept nogil:
    return (a + b - 1) // b


cdef inline i64 capped(double words) noexcept nogil:
    return <i64>min(words, MOST)


cdef struct Space:
    i64 N, G, K, C, P, Q, R, S, up, dilation, width, tiles, f
    i64 rows, cols, filter_buffer, banks, bank, channels
    double psum_port, ifmap_port, filter_port, pass_cycles


cdef inline i64 sets_of(Space* w, i64 e) noexcept nogil:
    if e <= w.cols:
        return w.rows // w.R * (w.cols // e)
    return w.rows // w.R // ceil_div(e, w.cols)


cdef i64 room_of(Space* w, i64 e, i64 n, i64 m) noexcept nogil:
    """Channels of which the banks hold the ifmap beside the psums."""
    cdef i64 high = (e - 1) * w.up + (w.R - 1) * w.dilation + 1
    cdef i64 psums = ceil_div(n * m * e * w.f, w.bank)
    return (w.banks - psums) * w.bank // (n * high * w.width) if psums < w.banks else 0


cdef i64 most_active(Space* w, i64 e, i64 room) noexcept nogil:
    """Most PEs that a mapping of strips of e rows uses on a layer that fills it."""
    cdef i64 sets, t, most = 0, last = e
    while True:
        sets = sets_of(w, last)
        for t in range(1, sets + 1):
            most = max(most, w.R * last * t * min(min(sets // t, room), min(w.channels, w.filter_buffer // (t * w.R * w.S))))
        last += 1
        if e < w.P or last > w.rows // w.R * w.cols:  # one strip of all rows is what is left of a taller one
            return most


cdef double cycles_of(Space* w, i64 e, i64 n, i64 m, i64 p, i64 q, i64 r, i64 t, i64 stride) noexcept nogil:
    """Cycles of all passes: groups of full size and those that are left, of rows, channels and filters."""
    cdef i64 heights[2]
    cdef i64 channels[2]
    cdef i64 filters[3]
    cdef i64 passes[3]
    cdef i64 i, j, k, high, starts = ceil_div(w.N, n) * w.tiles, whole = min(p * t, m)
    cdef double total = 0, column
    heights[0], heights[1] = e, w.P % e
    channels[0], channels[1] = min(q * r, w.C), w.C % (q * r) if q * r < w.C else 0
    filters[0], passes[0] = whole, w.K // m * (m // whole) + w.K % m // whole
    filters[1], passes[1] = m % whole, w.K // m
    filters[2], passes[2] = w.K % m % whole, 1
    for i in range(2):
        high = (heights[i] - 1) * w.up + (w.R - 1) * w.dilation + 1
        for j in range(2):
            for k in range(3):
                if not heights[i] or not channels[j] or not filters[k]:
                    continue
                column = max(
                    <double>(ceil_div(filters[k], t) * min(q, ceil_div(channels[j], r)) * w.S),
                    max(heights[i] * filters[k] / w.psum_port, channels[j] * stride * high / w.ifmap_port),
                )
                column = column * w.N * w.Q + starts * (
                    filters[k] * channels[j] * w.R * w.S / w.filter_port + channels[j] * w.S * high / w.ifmap_port + w.pass_cycles
                )
                total += column * passes[k] * (1 if i else w.P // e) * (1 if j else max(1, w.C // (q * r)))
    return total * w.G


def search(
    i64 N, i64 G, i64 K, i64 C, i64 P, i64 Q, i64 R, i64 S, i64 up, i64 stride, i64 dilation,
    i64 width, i64 widths, i64 tiles, i64 f,
    i64 rows, i64 cols, i64 weight_spad, i64 ifmap_spad, i64 psum_spad, i64 filter_buffer, i64 banks, i64 bank,
    i64 row_words, double min_occupation, double psum_port, double ifmap_port, double filter_port, double pass_cycles,
    list images, list filters,
):
    """(n, m, e, p, q, r, t), and how many mappings are as good; None where there is none.

    `images` and `filters` are the sizes of groups of N and K. A mapping must have `min_occupation` of the most active PEs;
    then least DRAM words, most active PEs, least buffer words and most filters in a PE decide, then the order e, n, m, q,
    r, p, t.
    """
    cdef i64 most_sets = rows // R * cols, channels = max(1, row_words // ceil_div(width, stride))
    cdef Space w = Space(
        N, G, K, C, P, Q, R, S, up, dilation, width, tiles, f, rows, cols, filter_buffer, banks, bank, channels,
        psum_port, ifmap_port, filter_port, pass_cycles,
    )
    if not most_sets or S > ifmap_spad or S > weight_spad or R * S > filter_buffer:
        return None
    cdef i64 qs = min(ifmap_spad // S, C), es = min(P, most_sets)
    cdef i64 q, r, e, n, m, p, t, bound, glb, dram, active, room, sets, most = 0, top = 0, ties = 0
    cdef i64 least = -1, passes
    cdef double enough, fetched, cycles, cycles_best = 0
    cdef list places = []
    cdef tuple best = None, rank, best_rank = ()
    for e in range(1, most_sets + 1):
        top = max(top, R * e * sets_of(&w, e))
    enough = min_occupation * top
    while not places:
        for e in range(1, es + 1):
            # rows of all strips times columns of all tiles; the mapper counts padding like any word
            fetched = <double>((P - ceil_div(P, e)) * up + ceil_div(P, e) * ((R - 1) * dilation + 1)) * widths
            for n in images:
                for m in filters:
                    dram = capped(<double>G * (
                        fetched * C * N * ceil_div(K, m)
                        + <double>K * C * R * S * ceil_div(P, e) * tiles * ceil_div(N, n)
                        + <double>N * K * P * Q
                    ))
                    if least >= 0 and dram > least:
                        continue
                    room = room_of(&w, e, n, m)
                    active = most_active(&w, e, room) if room else 0
                    most = max(most, active)
                    if not active or active < enough:
                        continue
                    if dram != least:
                        least, places = dram, []
                    places.append((e, n, m, room, fetched))
        if not most:
            return None
        enough = min_occupation * most
    for e, n, m, room, fetched in places:
        sets = sets_of(&w, e)
        t = 1
        while t <= sets and t < 2 * m:
            p = 1
            while p <= psum_spad and p * t < 2 * m:
                passes = K // m * ceil_div(m, p * t) + ceil_div(K % m, p * t)
                for q in range(1, min(qs, weight_spad // (p * S)) + 1):
                    bound = min(min(sets // t, room // q), filter_buffer // (p * t * q * R * S))
                    bound = min(bound, min(channels // q, ceil_div(C, q)))
                    for r in range(1, bound + 1):
                        # sums of the same cycles in another order are a tie
                        cycles = rint(cycles_of(&w, e, n, m, p, q, r, t, stride) * 1e4) / 1e4
                        if best is not None and cycles > cycles_best:
                            continue
                        active = R * e * r * t
                        glb = capped(<double>G * N * (2.0 * ceil_div(C, q * r) * K * P * Q + fetched * C * passes))
                        rank = (cycles, -active, glb, -p)
                        if best is None or rank < best_rank:
                            ties, best, best_rank, cycles_best = 1, (e, n, m, q, r, p, t), rank, cycles
                        elif rank == best_rank:
                            ties += 1
                            best = min(best, (e, n, m, q, r, p, t))
                p *= 2
            t *= 2
    e, n, m, q, r, p, t = best
    return (n, m, e, min(p, m), q, r, min(t, ceil_div(m, p))), ties
