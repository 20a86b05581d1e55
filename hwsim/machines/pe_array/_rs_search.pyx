# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, nonecheck=False
"""The search of the row-stationary mapper.

DRAM words and the PEs that the array can use follow from (e, n, m) alone, so that the least words among those with enough
PEs come first; (q, r, p, t) are then compared only for the (e, n, m) that move so few.
"""

from libc.math cimport ceil, rint
from libc.stdint cimport int64_t as i64

__all__ = ["cheapest", "price_of", "search"]

cdef double GRID = 2**20  # steps in a byte of an expected size, as in row_stationary
cdef double MOST = 4e18  # above it words are as good as infinite, and 64 bits would not hold them


cdef inline i64 ceil_div(i64 a, i64 b) noexcept nogil:
    return (a + b - 1) // b


cdef inline i64 capped(double words) noexcept nogil:
    return <i64>min(words, MOST)


cdef struct Space:
    i64 N, G, K, C, P, Q, R, S, up, stride, dilation, width, tiles, f
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


cdef double cycles_of(Space* w, i64 e, i64 n, i64 m, i64 p, i64 q, i64 r, i64 t) noexcept nogil:
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
                    max(heights[i] * filters[k] / w.psum_port, channels[j] * w.stride * high / w.ifmap_port),
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
    list images, list filters, tuple inputs=(), list bands=[], double most_ticks=0, double most_energy=0,
):
    """(n, m, e, p, q, r, t), and how many mappings are as good; None where there is none.

    `images` and `filters` are the sizes of groups of N and K. A mapping must have `min_occupation` of the most active PEs;
    then least DRAM words, most active PEs, least buffer words and most filters in a PE decide, then the order e, n, m, q,
    r, p, t. With `inputs`, those of `price_of`, it takes no more than the given ticks and pJ.
    """
    cdef i64 most_sets = rows // R * cols, channels = max(1, row_words // ceil_div(width, stride))
    cdef Space w = Space(
        N, G, K, C, P, Q, R, S, up, stride, dilation, width, tiles, f, rows, cols, filter_buffer, banks, bank, channels,
        psum_port, ifmap_port, filter_port, pass_cycles,
    )
    if not most_sets or S > ifmap_spad or S > weight_spad or R * S > filter_buffer:
        return None
    cdef i64 qs = min(ifmap_spad // S, C), es = min(P, most_sets)
    cdef i64 q, r, e, n, m, p, t, last, bound, glb, dram, active, room, sets, most = 0, top = 0, ties = 0, full = 0
    cdef i64 least = -1, passes
    cdef double enough, fetched, cycles, cycles_best = 0, ticks, energy
    cdef bint bounded = bool(inputs)
    cdef Rates x
    cdef list places = []
    if bounded:
        shape, low, ports, rates, codes, columns, prices = inputs
        _read(&w, &x, shape, low, ports, rates, codes, columns, prices)
    cdef tuple best = None, rank, best_rank = ()
    for e in range(1, most_sets + 1):
        top = max(top, R * e * sets_of(&w, e))
    enough = min_occupation * top
    while not full:
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
                    if least >= 0 and dram > least and not bounded:
                        continue
                    room = room_of(&w, e, n, m)
                    active = most_active(&w, e, room) if room else 0
                    most = max(most, active)
                    if not active or active < enough:
                        continue
                    full += 1
                    if bounded:
                        ticks, energy = least_of(&w, &x, bands[e - 1], e, n, m, room, weight_spad, ifmap_spad, psum_spad)
                        if ticks > most_ticks or energy > most_energy:
                            continue
                    if dram != least and not bounded:
                        least, places = dram, []
                    places.append((dram, e, n, m, room, fetched))
        if not most:
            return None
        enough = min_occupation * most
    places.sort()
    for dram, e, n, m, room, fetched in places:
        if best is not None and dram > least:
            break
        least, sets = dram, sets_of(&w, e)
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
                        cycles = rint(cycles_of(&w, e, n, m, p, q, r, t) * 1e4) / 1e4
                        if best is not None and cycles > cycles_best:
                            continue
                        active = R * e * r * t
                        glb = capped(<double>G * N * (2.0 * ceil_div(C, q * r) * K * P * Q + fetched * C * passes))
                        rank = (cycles, -active, glb, -p)
                        if bounded:
                            if best is not None and rank > best_rank:
                                continue
                            last = min(t, ceil_div(m, min(p, m)))
                            ticks, energy = cost_of(
                                &w, &x, bands[e - 1], e, n, m, min(p, m), q, r, last, swaps_of(&w, e, q, r, last)
                            )
                            if ticks > most_ticks or energy > most_energy:
                                continue
                        if best is None or rank < best_rank:
                            ties, best, best_rank, cycles_best = 1, (e, n, m, q, r, p, t), rank, cycles
                        elif rank == best_rank:
                            ties += 1
                            best = min(best, (e, n, m, q, r, p, t))
                p *= 2
            t *= 2
    if best is None:
        return None
    e, n, m, q, r, p, t = best
    return (n, m, e, min(p, m), q, r, min(t, ceil_div(m, p))), ties


cdef enum:
    LINEAR, RLC_ROWS, RLC, CSR, CSC, CODEBOOK


cdef struct Code:
    # A tensor on the link: bits of a value, bytes (LINEAR) or pairs (RLC) of one, the most and the least bytes of one
    int form
    double bits, density, rate, most, least


cdef struct Rates:
    # ticks a byte of the link and a cycle of the array; columns of a full and of the last tile; MACs executed of all
    double link, cycle, executed, word_bytes
    Code ifmap, weight, ofmap
    i64 columns[2]
    i64 number[2]
    i64 fetched[2]
    i64 stored[2]
    i64 idle
    bint slides
    double[18] price
    double fixed, static_tick


cdef enum:
    DRAM_IFMAP, DRAM_WEIGHT, DRAM_OFMAP, GLB_FILL, GLB_READ, PSUM_READ, PSUM_UPDATE, PSUM_DRAIN, FILTER_FILL, FILTER_READ
    NOC_IFMAP, NOC_WEIGHT, NOC_PSUM, IFMAP_FILL, WEIGHT_FILL, SUM_FILL, SUM_DRAIN, SUM_READ


cdef inline double up_to(double value) noexcept nogil:
    """The next whole number; a hair above one is rounding of the doubles."""
    return ceil(value - 1e-9 * max(1.0, value * 1e-3))


cdef inline i64 bit_length(double value) noexcept nogil:
    cdef i64 bits = 0, left = <i64>value
    while left:
        left, bits = left >> 1, bits + 1
    return max(<i64>1, bits)


cdef inline double size_of(Code* c, i64 rows, i64 columns) noexcept nogil:
    """Expected bytes of a matrix, as `hwsim.compression.storage` has them."""
    cdef double values = <double>rows * columns, nonzero = values * c.density, bits, pairs, index
    if c.form == LINEAR:
        return rint(values * c.rate * GRID) / GRID
    if c.form == RLC_ROWS:  # each row is a stream of its own
        return rows * min(columns * c.most, 8 * max(1.0, columns * c.rate / 3 + 1 / 3.0))
    if c.form == RLC:
        pairs = max(<i64>1, 63 // <i64>(5 + c.bits))
        bits = 64 * ceil((5 + c.bits + 1) / 64) * max(1.0, values * c.rate / pairs + (pairs - 1) / (2 * pairs))
    elif c.form == CSR:
        bits = nonzero * (c.bits + bit_length(columns - 1)) + (rows + 1) * bit_length(ceil(nonzero))
    elif c.form == CSC:
        bits = nonzero * (c.bits + bit_length(rows - 1)) + (columns + 1) * bit_length(ceil(nonzero))
    else:
        index = min(4.0, c.bits)
        bits = values * index + min(<double>(1 << <i64>index), ceil(nonzero) + 1) * c.bits
    return min(rint(bits / 8 * GRID) / GRID, values * c.most)


cdef inline double least_row(Code* c, i64 columns) noexcept nogil:
    """Bytes that a row takes at the least, in a matrix of however many."""
    return size_of(c, 1, columns) if c.form <= RLC_ROWS else columns * c.least


cdef inline i64 gcd(i64 a, i64 b) noexcept nogil:
    while b:
        a, b = b, a % b
    return a


cdef inline i64 distinct(i64 u, i64 d, i64 p, i64 r) noexcept nogil:
    cdef i64 g = gcd(u, d)
    return p * r - max(<i64>0, p - d // g) * max(<i64>0, r - u // g)


cdef int split(i64 total, i64 size, i64* sizes, i64* numbers) noexcept nogil:
    """Groups of full size and the one that is left."""
    cdef int n = 0
    if total >= size:
        sizes[0], numbers[0], n = size, total // size, 1
    if total % size:
        sizes[n], numbers[n] = total % size, 1
        n += 1
    return n


cdef (double, double) cost_of(
    Space* w, Rates* x, i64[:, ::1] bands, i64 e, i64 n, i64 m, i64 p, i64 q, i64 r, i64 t, i64 swaps
) noexcept nogil:
    """Ticks and pJ of a mapping, as the plan times and counts it."""
    cdef i64 ns[2]
    cdef i64 nn[2]
    cdef i64 ms[2]
    cdef i64 mn[2]
    cdef i64 cs[2]
    cdef i64 cn[2]
    cdef i64 ps[2]
    cdef i64 pn[2]
    cdef int n_n = split(w.N, n, ns, nn), n_m = split(w.K, m, ms, mn), n_c, n_p
    cdef int b, a, i, j, k, l
    cdef i64 height, inside, number, high, rr, tt, per, wide, groups, runs
    cdef double ticks = 0, before = 0, out, drain, tile, first_work = 0, first_rest = 0, image, cycles, body
    cdef double filters, loaded, first, load, rest, work, bytes_in = 0, bytes_w = 0, bytes_out = 0, energy
    for b in range(bands.shape[0]):
        height, inside, number = bands[b, 0], bands[b, 1], bands[b, 2]
        high = (height - 1) * w.up + (w.R - 1) * w.dilation + 1
        rr = r << swaps if height < e else r
        tt = t >> swaps if height < e else t
        n_c = split(w.C, q * rr, cs, cn)
        for a in range(2):
            if not x.number[a]:
                continue
            for i in range(n_n):
                for j in range(n_m):
                    groups = w.G * nn[i] * mn[j] * number * x.number[a]
                    out = size_of(&x.ofmap, ns[i] * ms[j] * height, x.columns[a])
                    bytes_out += groups * out
                    drain = up_to(out * x.link)
                    tile = 0
                    n_p = split(ms[j], p * tt, ps, pn)
                    for k in range(n_c):
                        per = min(q, ceil_div(cs[k], rr))
                        image = size_of(&x.ifmap, cs[k] * inside, x.stored[a])
                        cycles = loaded = first = 0
                        for l in range(n_p):
                            body = max(
                                ceil_div(ps[l], tt) * per * w.S * x.executed,
                                max(height * ps[l] / w.psum_port, cs[k] * w.stride * high / w.ifmap_port),
                            )
                            cycles += pn[l] * (
                                up_to(ns[i] * x.columns[a] * body)
                                + up_to(ps[l] * cs[k] * w.R * w.S / w.filter_port + cs[k] * w.S * high / w.ifmap_port)
                                + w.pass_cycles
                            )
                            filters = size_of(&x.weight, ps[l], cs[k] * w.R * w.S)
                            loaded += pn[l] * filters
                            if l == 0:
                                first = filters
                        bytes_in += groups * cn[k] * ns[i] * image
                        bytes_w += groups * cn[k] * loaded
                        load = up_to((image + first) * x.link)
                        rest = max(1.0, up_to(((ns[i] - 1) * image + loaded - first) * x.link))
                        work = cycles * x.cycle
                        tile += cn[k] * (load + max(work, rest))
                        if k == 0:
                            first_work, first_rest = work, rest
                    # psums leave while the first channel group of the next tile is loaded and processed
                    ticks += groups * tile - max(first_work, first_rest) * groups
                    ticks += (groups - 1) * max(first_work, first_rest + drain) + max(first_work, first_rest + before)
                    before = drain
    ticks += before
    energy = x.fixed + (
        x.price[DRAM_IFMAP] * up_to(up_to(bytes_in) / x.word_bytes)
        + x.price[DRAM_WEIGHT] * up_to(up_to(bytes_w) / x.word_bytes)
        + x.price[DRAM_OFMAP] * up_to(up_to(bytes_out) / x.word_bytes)
    )
    cdef i64 strip, strips, q_, p_, sets, groups_c, passes, used, once, tiles_n, left, kinds, deep, top
    cdef double outputs, summed, macs, moved, sent, places, read
    cdef bint stays
    cdef i64 turns
    tiles_n = ceil_div(w.N, n)
    macs = read = 0
    for kinds in range(2):
        strip = e if kinds == 0 else w.P % e
        strips = w.P // e if kinds == 0 else 1
        if not strip or not strips:
            continue
        rr = r << swaps if strip < e else r
        tt = t >> swaps if strip < e else t
        q_, p_ = min(q, min(q * rr, w.C)), min(p, min(p * tt, m))
        n_c = split(w.C, q * rr, cs, cn)
        groups_c = used = 0
        for k in range(n_c):
            groups_c += cn[k]
            used += cn[k] * ceil_div(cs[k], q_)
        passes = sets = once = deep = 0  # passes, their sets of PEs, those of the first passes, the most passes of a group
        for j in range(n_m):
            n_p = split(ms[j], p * tt, ps, pn)
            left = 0
            for l in range(n_p):
                left += pn[l]
                sets += mn[j] * pn[l] * ceil_div(ps[l], p_)
            passes += mn[j] * left
            deep = max(deep, left)
            once += mn[j] * ceil_div(ps[0], p_)
        top = ceil_div(w.K, m)
        for i in range(n_n):
            for a in range(2):
                for j in range(n_m):
                    outputs = <double>w.G * ns[i] * nn[i] * ms[j] * mn[j] * x.columns[a] * x.number[a] * strip * strips
                    # psums of one position stay in the PEs from one channel group to the next if one pass has them all
                    stays = ns[i] * x.columns[a] == 1 and ms[j] <= p * tt
                    turns = 1 if stays else groups_c
                    summed = outputs * w.R * (ceil_div(cs[0], q_) if stays else used)
                    energy += x.price[PSUM_DRAIN] * outputs + (x.price[PSUM_READ] + x.price[SUM_FILL]) * outputs * (turns - 1)
                    energy += x.price[PSUM_UPDATE] * outputs * turns + x.price[SUM_DRAIN] * summed
                    energy += x.price[NOC_PSUM] * (summed - outputs * turns)
                    read += outputs * (turns - 1) - summed
                    macs += outputs * w.C * w.R * w.S
        places = <double>w.G * w.K * w.C * w.R * w.S
        if top * groups_c * deep > 1:
            places *= tiles_n * strips * w.tiles
        energy += places * (
            x.price[FILTER_FILL] + x.price[FILTER_READ] + strip * (x.price[NOC_WEIGHT] + x.price[WEIGHT_FILL])
        )
        high = distinct(w.up, w.dilation, strip, w.R)
        moved = <double>w.G * w.N * w.C * (top if groups_c > 1 else 1)
        wide = x.fetched[0] * x.number[0] + (x.fetched[1] * x.number[1] if x.number[1] else 0)
        if x.slides and groups_c == 1 and w.tiles == 1:
            energy += x.price[GLB_FILL] * moved * wide * distinct(w.up, w.dilation, strip * strips, w.R)
        else:
            energy += x.price[GLB_FILL] * moved * wide * high * strips
        for i in range(n_n):
            for a in range(2):
                if not x.number[a]:
                    continue
                sent = <double>w.G * ns[i] * nn[i] * w.C * x.fetched[a] * x.number[a] * strips
                if ns[i] * x.columns[a] > 1:
                    energy += sent * (
                        x.price[GLB_READ] * high * passes + (x.price[NOC_IFMAP] + x.price[IFMAP_FILL]) * strip * w.R * sets
                    )
                else:  # a window that stays where it is serves the filters of all passes
                    if groups_c == 1:
                        top, once = 1, ceil_div(min(p * tt, m), p_)
                    energy += sent * (
                        x.price[GLB_READ] * high * top + (x.price[NOC_IFMAP] + x.price[IFMAP_FILL]) * strip * w.R * once
                    )
    energy += x.price[SUM_READ] * max(0.0, macs + read - x.idle)
    return ticks, energy + x.static_tick * ticks


def price_of(
    tuple shape, tuple limits, tuple ports, tuple rates, tuple codes, list tiles, tuple prices, i64[:, ::1] bands,
    i64 e, i64 n, i64 m, i64 p, i64 q, i64 r, i64 t, i64 swaps,
):
    """Ticks and pJ of one mapping; `swaps` below 0 are those of a mapping that does not say."""
    cdef Space w
    cdef Rates x
    _read(&w, &x, shape, limits, ports, rates, codes, tiles, prices)
    return cost_of(&w, &x, bands, e, n, m, p, q, r, t, swaps_of(&w, e, q, r, t) if swaps < 0 else swaps)


cdef void _read_code(Code* c, tuple code) except *:
    c.form, c.bits, c.density, c.rate, c.most, c.least = code


cdef void _read(
    Space* w, Rates* x, tuple shape, tuple limits, tuple ports, tuple rates, tuple codes, list tiles, tuple prices
) except *:
    """Fill the structs from what Python hands over."""
    cdef int i
    w.N, w.G, w.K, w.C, w.P, w.Q, w.R, w.S, w.up, w.stride, w.dilation, w.width, w.tiles, w.f = shape
    w.rows, w.cols, w.filter_buffer, w.banks, w.bank, w.channels = limits
    w.psum_port, w.ifmap_port, w.filter_port, w.pass_cycles = ports
    x.link, x.cycle, x.executed, x.word_bytes, x.fixed, x.static_tick, x.idle, x.slides = rates
    _read_code(&x.ifmap, codes[0])
    _read_code(&x.weight, codes[1])
    _read_code(&x.ofmap, codes[2])
    for i in range(2):
        x.columns[i], x.number[i], x.fetched[i], x.stored[i] = tiles[i]
    for i in range(18):
        x.price[i] = prices[i]


cdef double goal(double ticks, double energy, int objective) noexcept nogil:
    return ticks if objective == 0 else energy if objective == 1 else ticks * energy


cdef i64 doublings(Space* w, i64 e, i64 q, i64 r, i64 t) noexcept nogil:
    """How often a short last strip may double r and halve t: its channels still share a bank."""
    cdef i64 height = w.P % e, high = (height - 1) * w.up + (w.R - 1) * w.dilation + 1, most = 0
    if not height:
        return 0
    while t % 2 == 0 and min(2 * q * r, w.C) * high * w.width <= w.bank:
        r, t, most = 2 * r, t // 2, most + 1
    return most


cdef i64 swaps_of(Space* w, i64 e, i64 q, i64 r, i64 t) noexcept nogil:
    """How often a short last strip doubles r and halves t where the mapping does not say."""
    cdef i64 height = w.P % e, high = (height - 1) * w.up + (w.R - 1) * w.dilation + 1, swaps = 0
    while height and t % 2 == 0 and 2 * q * r <= w.C and 2 * q * r * high * w.width <= w.bank:
        r, t, swaps = 2 * r, t // 2, swaps + 1
    return swaps


cdef (double, double) least_of(
    Space* w, Rates* x, i64[:, ::1] strips, i64 e, i64 n, i64 m, i64 room, i64 weight_spad, i64 ifmap_spad, i64 psum_spad
) noexcept nogil:
    """Ticks and pJ that no mapping of these groups goes below."""
    cdef double inward = 0, words, outward, ticks, energy, body, outputs, positions = <double>w.N * w.G * w.Q
    cdef i64 i, sets = sets_of(w, e), deep, wide, high = (e - 1) * w.up + (w.R - 1) * w.dilation + 1
    cdef double turns
    for i in range(strips.shape[0]):
        inward += strips[i, 1] * strips[i, 2]
    inward *= w.G * w.C * w.N * ceil_div(w.K, m) * (
        least_row(&x.ifmap, x.stored[0]) * x.number[0] + least_row(&x.ifmap, x.stored[1]) * x.number[1]
    )
    words = <double>w.G * w.K * w.C * w.R * w.S * x.weight.least * ceil_div(w.P, e) * w.tiles * ceil_div(w.N, n)
    outward = <double>w.G * w.N * w.K * w.P * (
        least_row(&x.ofmap, x.columns[0]) * x.number[0] + least_row(&x.ofmap, x.columns[1]) * x.number[1]
    )
    # the most channels and filters of a pass; a short last strip may have more of either
    deep = min(min(ifmap_spad // w.S * sets, room), min(w.channels, w.filter_buffer // (w.R * w.S)))
    wide = min(min(psum_spad, weight_spad // w.S) * sets, w.filter_buffer // (w.R * w.S))
    turns = (w.P // e * e * ceil_div(w.C, deep) + w.P % e) / <double>w.P
    outputs = positions * w.K * w.P
    body = max(
        outputs * w.C * w.R * w.S * x.executed / (w.R * e * sets),
        max(
            outputs * turns / w.psum_port,
            positions * w.C * w.stride * high * (w.P // e) * (w.K // m * ceil_div(m, wide)) / w.ifmap_port,
        ),
    )
    # every tile runs its passes, of as many filters and channels as the PEs hold, and waits for an image in n
    ticks = <double>w.G * ceil_div(w.N, n) * ceil_div(w.P, e) * w.tiles * (
        w.pass_cycles * ceil_div(w.K * w.C, min(weight_spad // w.S * sets, w.filter_buffer // (w.R * w.S)))
        + <double>w.K * w.C * w.R * w.S / w.filter_port
    ) * x.cycle + body * x.cycle + inward / n * x.link
    ticks = max((inward + words + outward) * x.link, ticks) * (1 - 1e-6)
    energy = x.fixed + ticks * x.static_tick + (
        x.price[DRAM_IFMAP] * inward + x.price[DRAM_WEIGHT] * words + x.price[DRAM_OFMAP] * outward
    ) / x.word_bytes * (1 - 1e-6)
    if x.columns[0] > 1 and x.columns[1] != 1:  # psums of one position may stay in the PEs
        energy += outputs * (
            x.price[PSUM_DRAIN] + (x.price[PSUM_READ] + x.price[SUM_FILL]) * (turns - 1) + x.price[PSUM_UPDATE] * turns
        ) * (1 - 1e-6)
    return ticks, energy


cdef double busy_of(Space* w, Rates* x, i64 e, i64 n, i64 m, i64 p, i64 q, i64 r, i64 t) noexcept nogil:
    """Ticks that the passes of all full strips take at least."""
    cdef i64 left = w.K % m, pt = p * t, groups = ceil_div(w.C, q * r)
    cdef i64 passes = w.K // m * ceil_div(m, pt) + ceil_div(left, pt)
    cdef i64 filters = w.K // m * (m // pt * p + ceil_div(m % pt, t)) + left // pt * p + ceil_div(left % pt, t)
    cdef i64 channels = w.C // (q * r) * q + min(q, ceil_div(w.C % (q * r), r))
    cdef double column = max(<double>filters * channels * w.S * x.executed, <double>e * w.K * groups / w.psum_port)
    return <double>w.G * (w.P // e) * (
        w.N * w.Q * column + <double>ceil_div(w.N, n) * w.tiles * passes * groups * w.pass_cycles
    ) * x.cycle * (1 - 1e-6)


def cheapest(
    tuple shape, tuple limits, tuple ports, tuple rates, tuple codes, list tiles, tuple prices, list bands,
    i64 weight_spad, i64 ifmap_spad, i64 psum_spad, list images, list filters, list sizes, int objective, double below=-1,
):
    """(n, m, e, p, q, r, t), doublings of a short strip, and how many mappings cost as little; None where there is none.

    `objective` is 0 for ticks, 1 for energy, 2 for their product; of equals, the one that is better in the other (energy
    before ticks) is taken, then the one with the fewest DRAM words. `bands` has, for each e, the strips of
    the image; `sizes` are those of p and t. Only mappings that cost less than `below` count, if it is positive.
    """
    cdef Space w
    cdef Rates x
    _read(&w, &x, shape, limits, ports, rates, codes, tiles, prices)
    cdef i64 most_sets = w.rows // w.R * w.cols
    if not most_sets or w.S > ifmap_spad or w.S > weight_spad or w.R * w.S > w.filter_buffer:
        return None
    cdef i64 e, n, m, p, q, r, t, d, room, sets, ties = 0, high, bound
    cdef i64 es = min(w.P, most_sets), qs = min(ifmap_spad // w.S, w.C)
    cdef double ticks, energy, value, other, best = below, best_other = 0, least, least_time, least_work
    cdef i64[:, ::1] strips
    cdef list places = []
    cdef tuple winner = None
    for e in range(1, es + 1):
        strips = bands[e - 1]
        for n in images:
            for m in filters:
                room = room_of(&w, e, n, m)
                if not room:
                    continue
                ticks, energy = least_of(&w, &x, strips, e, n, m, room, weight_spad, ifmap_spad, psum_spad)
                places.append((goal(ticks, energy, objective), -m * n * e, e, n, m, room, ticks, energy))
    places.sort()
    for least, _, e, n, m, room, least_time, least_work in places:
        if best >= 0 and least > best:
            break
        sets, strips = sets_of(&w, e), bands[e - 1]
        for t in sizes:
            if t > sets:
                break
            for p in sizes:
                if p > psum_spad:
                    break
                for q in range(1, min(qs, weight_spad // (p * w.S)) + 1):
                    bound = min(min(sets // t, room // q), w.filter_buffer // (p * t * q * w.R * w.S))
                    for r in range(1, min(bound, min(w.channels // q, w.C)) + 1):
                        ticks = max(least_time, busy_of(&w, &x, e, n, m, p, q, r, t))
                        if best >= 0 and goal(ticks, least_work + (ticks - least_time) * x.static_tick, objective) > best:
                            continue
                        for d in range(doublings(&w, e, q, r, t) + 1):
                            ticks, energy = cost_of(&w, &x, strips, e, n, m, p, q, r, t, d)
                            value = goal(ticks, energy, objective)
                            if best >= 0 and value > best * (1 + 1e-12):
                                continue
                            other = energy if objective == 0 else ticks
                            if best < 0 or value < best * (1 - 1e-12) or other < best_other * (1 - 1e-12):
                                if best < 0 or value < best * (1 - 1e-12):
                                    ties = 0
                                best, best_other, winner = value, other, (n, m, e, p, q, r, t, d)
                            ties += 1
                if p >= m:
                    break
            if t >= m and w.P % e == 0:  # a short strip may halve t
                break
    return None if winner is None else (winner, ties)
