# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, nonecheck=False
"""A stream of tiles through load, work and store, in closed form: ticks that the event simulation says too."""

from libc.stdint cimport int64_t as i64


cdef inline i64 high(i64 a, i64 b) noexcept nogil:
    return a if a > b else b


cdef int spread3(i64 tiles, i64 load, i64 work, i64 store, Part* out) noexcept nogil:
    """Totals over so many tiles in whole ticks, as `spread` of the engine's programs."""
    cdef i64 cuts[5]
    cdef i64 extra[3]
    cdef i64 t
    cdef int i, j, n = 0, m
    extra[0] = load % tiles
    extra[1] = work % tiles
    extra[2] = store % tiles
    cuts[0] = 0
    m = 1
    for i in range(3):
        cuts[m] = extra[i]
        m += 1
    cuts[m] = tiles
    m += 1
    for i in range(1, m):
        t = cuts[i]
        j = i - 1
        while j >= 0 and cuts[j] > t:
            cuts[j + 1] = cuts[j]
            j -= 1
        cuts[j + 1] = t
    for i in range(m - 1):
        if cuts[i + 1] > cuts[i]:
            out[n].count = cuts[i + 1] - cuts[i]
            out[n].load = load // tiles + (cuts[i] < extra[0])
            out[n].work = work // tiles + (cuts[i] < extra[1])
            out[n].store = store // tiles + (cuts[i] < extra[2])
            n += 1
    return n


cdef int stream_parts(i64 tiles, i64 load, i64 work, i64 store, i64 first, i64 last, Part* out) noexcept nogil:
    """A stream of tiles: the first load and the last store are of a whole tile, the others spread evenly."""
    cdef int k
    if tiles <= 1:
        out[0].count = 1
        out[0].load = load
        out[0].work = work
        out[0].store = store
        return 1
    # work is spread over all tiles, loads over all but the first, stores over all but the last
    out[0].count = 1
    out[0].load = first
    out[0].work = work // tiles
    out[0].store = (store - last) // (tiles - 1)
    k = 1
    if tiles > 2:
        k += spread3(tiles - 2, (load - first) - (load - first) // (tiles - 1),
                     work - 2 * (work // tiles),
                     (store - last) - (store - last) // (tiles - 1), out + 1)
    out[k].count = 1
    out[k].load = (load - first) // (tiles - 1)
    out[k].work = work // tiles if tiles > 2 else work - work // tiles
    out[k].store = last
    return k + 1


cdef i64 run_parts(Part* parts, int n_parts, int slots) noexcept nogil:
    """Ticks of the tiles through load, work and store.

    Load and store share a channel that serves who came first, the load of two that came in one tick. A load needs a
    free slot (`slots` before the array, two behind it). A state that repeats is jumped over.
    """
    cdef i64 channel = 0, ready_load, ready_store, start, skip, gain
    cdef i64 loaded[8]              # ends by tile modulo 8
    cdef i64 worked[8]
    cdef i64 stored[8]
    cdef i64 i = 0, j = 0, k = 0    # the next tile to load, to store, to work on
    cdef i64 n = 0
    cdef i64 left[3]                # tiles left in the parts of the next load, work, store
    cdef int at[3]
    cdef i64 snap[8][16]
    cdef i64* now
    cdef i64* old
    cdef int q, m, same
    cdef i64 taken = 0
    for q in range(n_parts):
        n += parts[q].count
    for q in range(3):
        at[q] = 0
        left[q] = parts[0].count
    for q in range(8):
        loaded[q] = 0
        worked[q] = 0
        stored[q] = 0
    while j < n:
        while k < i and j >= k - 1:  # a work starts with its tile, the array, and a slot behind it
            start = high(loaded[k & 7], worked[(k - 1) & 7])
            start = high(start, stored[(k - 2) & 7])
            worked[k & 7] = start + parts[at[1]].work
            k += 1
            left[1] -= 1
            if left[1] == 0 and at[1] + 1 < n_parts:
                at[1] += 1
                left[1] = parts[at[1]].count
        ready_load = ready_store = -1
        if i < n and i - slots < k:
            ready_load = high(loaded[(i - 1) & 7], worked[(i - slots) & 7])
        if j < k:
            ready_store = high(worked[j & 7], stored[(j - 1) & 7])
        if ready_load >= 0 and (ready_store < 0 or ready_load <= ready_store):
            loaded[i & 7] = ready_load
            if parts[at[0]].load > 0:
                channel = loaded[i & 7] = high(channel, ready_load) + parts[at[0]].load
            i += 1
            left[0] -= 1
            if left[0] == 0 and at[0] + 1 < n_parts:
                at[0] += 1
                left[0] = parts[at[0]].count
                taken = 0
        else:
            stored[j & 7] = ready_store
            if parts[at[2]].store > 0:
                channel = stored[j & 7] = high(channel, ready_store) + parts[at[2]].store
            j += 1
            left[2] -= 1
            if left[2] == 0 and at[2] + 1 < n_parts:
                at[2] += 1
                left[2] = parts[at[2]].count
            continue
        if at[0] != at[1] or at[0] != at[2] or left[0] < 4:
            taken = 0
            continue
        # the state after a load, relative to its end
        now = snap[taken & 7]
        gain = loaded[(i - 1) & 7]
        now[0] = gain
        now[1] = i - k
        now[2] = i - j
        now[3] = channel - gain
        for q in range(4):
            now[4 + q] = worked[(k - 1 - q) & 7] - gain
            now[8 + q] = stored[(j - 1 - q) & 7] - gain
            now[12 + q] = loaded[(i - 1 - q) & 7] - gain
        taken += 1
        for m in range(1, 5):
            if taken <= m:
                break
            old = snap[(taken - 1 - m) & 7]
            same = 1
            for q in range(1, 16):
                if now[q] != old[q]:
                    same = 0
                    break
            if same:
                skip = (left[0] - 1) // m * m
                if skip < 8:
                    break
                skip = skip // 8 * 8 // m * m
                while skip % 8:      # places in the rings stay
                    skip -= m
                gain = (gain - old[0]) * (skip // m)
                for q in range(8):
                    loaded[q] += gain
                    worked[q] += gain
                    stored[q] += gain
                channel += gain
                i += skip
                j += skip
                k += skip
                for q in range(3):
                    left[q] -= skip
                taken = 0
                break
    return stored[(n - 1) & 7]


def pipeline_ticks(i64 tiles, i64 load, i64 work, i64 store, i64 first, i64 last, int slots):
    """Ticks of a stream of tiles through load, work and store; the engine says the same."""
    cdef Part parts[8]
    cdef int n = stream_parts(tiles, load, work, store, first, last, parts)
    return run_parts(parts, n, slots)


def pipeline_runs(i64 tiles, i64 load, i64 work, i64 store, i64 first, i64 last):
    """The runs of a stream, as (count, load, work, store)."""
    cdef Part parts[8]
    cdef int i, n = stream_parts(tiles, load, work, store, first, last, parts)
    return [(parts[i].count, parts[i].load, parts[i].work, parts[i].store) for i in range(n)]
