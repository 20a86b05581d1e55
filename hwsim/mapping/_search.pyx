# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, nonecheck=False
"""Branch and bound over the tilings of one nest: the least cost, proved, or the least within a number of nodes.

A tiling picks one chain of tile sizes for each axis (a dim, or the two of a window). Chains of an axis that cut it
alike for the outermost buffer are a group. First a group is picked for each axis, least lower bound first; then the
chains inside. `space.py` says what the tables hold. A leaf is counted by `transfer`, so it costs what it is reported at.
"""

from libc.math cimport cbrt, ceil, sqrt
from libc.stdint cimport int64_t as i64
from libc.stdlib cimport free, malloc, qsort
from libc.string cimport memcpy, memset

from hwsim.mapping._evaluate cimport Nest, lay_out, set_tiles, transfer

cdef extern from *:
    """
    typedef __int128 hwsim_i128;
    static inline long long hwsim_ticks(long long bytes, long long num, long long den) {
        if (bytes <= 0) return 0;
        hwsim_i128 x = (hwsim_i128)bytes * num;
        return (long long)((x + den - 1) / den);
    }
    """
    i64 hwsim_ticks(i64 size, i64 num, i64 den) noexcept nogil

cdef enum:
    MAX_AXES = 8
    MAX_ROWS = 24       # transfers
    MAX_CLASSES = 8
    MAX_SPANS = 24
    MAX_MEMORIES = 24
    MAX_RATES = 32
    MAX_TILES = 64
    FIRST_NODES = 300

    LATENCY = 0
    ENERGY = 1
    EDP = 2
    TRAFFIC = 3

    LOAD = 0
    STORE = 1
    WORK = 2
    EACH = 3            # a memory in every unit: what it moves is spread over the units in use


cdef struct Rate:
    int role
    i64 num
    i64 den
    i64 fixed                 # bits
    i64 bits[MAX_ROWS]        # for each word of a transfer


cdef struct Cost:
    int objective
    int double_buffered
    double energy[MAX_ROWS]   # for a word of each transfer
    double fixed
    double static_tick        # for a tick
    double traffic[MAX_ROWS]
    double traffic_fixed
    i64 tick_cycle            # ticks of a cycle
    int cycles                # transfer that is the cycles
    int tiles                 # ... the tiles, or -1
    int units                 # ... the units in use
    int n_rates
    Rate rate[MAX_RATES]
    int n_first               # spans that the first load fills, and the bits of a word
    int first[MAX_SPANS]
    i64 first_bits[MAX_SPANS]
    double gated_price        # for a word that a gated MAC does not read
    double gated              # ... of which there are at most so many
    double gated_fixed
    double gated_words[MAX_ROWS]
    int last                  # span of the last store
    i64 last_bits


cdef struct Value:
    double key[2]
    i64 ticks
    double energy
    double traffic


cdef inline i64 high(i64 a, i64 b) noexcept nogil:
    return a if a > b else b


cdef struct Part:
    i64 count
    i64 load
    i64 work
    i64 store


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


cdef struct Child:
    double key[2]
    int chain


cdef struct Search:
    Nest nest
    Child* children[MAX_AXES]
    i64 plan_nodes                       # nodes at which the search leaves a plan for the next one
    Cost* cost
    int n_axes
    int n_rows
    int n_classes[MAX_ROWS]
    int n_spans
    int n_memories
    int memory_first[MAX_MEMORIES + 1]   # spans of each memory
    double capacity[MAX_MEMORIES]
    double span_bits[MAX_SPANS]
    double sum_bits[MAX_SPANS]           # of a partial sum; those of a word where the span holds none
    int span_row[MAX_SPANS]              # transfer that updates the span, -1 if it holds no sums
    double words                         # of the output
    int array_rows
    int array_cols
    double size[MAX_AXES]                # MACs of an axis
    # tables
    i64 row[MAX_ROWS][6]
    int n_loops
    const i64* loop_dim
    const i64* loop_spatial
    int first_loop[MAX_AXES + 1]         # of `loop_at`
    int loop_at[MAX_TILES]
    i64 tiles[MAX_TILES]
    double* factors[MAX_AXES]            # chain, row, class
    const signed char* classes[MAX_AXES]       # chain, row
    const double* spans[MAX_AXES]        # chain, span
    const int* places[MAX_AXES]          # chain, (rows, cols)
    const i64* chain_tiles[MAX_AXES]     # chain, loop of the axis
    const double* cycles[MAX_AXES]
    const int* group_first[MAX_AXES]
    int n_groups[MAX_AXES]
    # least of each group
    double* group_factors[MAX_AXES]
    signed char* group_classes[MAX_AXES]
    double* group_spans[MAX_AXES]
    # the state of the branch, by depth
    double product[MAX_AXES + 1][MAX_ROWS * MAX_CLASSES]
    signed char cls[MAX_AXES + 1][MAX_ROWS]
    double span[MAX_AXES + 1][MAX_SPANS]
    int used_rows[MAX_AXES + 1]
    int used_cols[MAX_AXES + 1]
    double cyc[MAX_AXES + 1]
    # what is left from a depth on
    double rest[MAX_AXES + 1][MAX_ROWS * MAX_CLASSES]
    signed char rest_cls[MAX_AXES + 1][MAX_ROWS]
    double rest_span[MAX_AXES + 1][MAX_SPANS]
    # least cycles of the axes from a depth on, by what is left of rows and columns
    double* least_cycles[MAX_AXES + 1]
    double* least_cycles_still[3][MAX_AXES + 1]  # ... while a tensor stands still in the array
    int* row_index                       # of what is left of the rows: its place in the table
    int* col_index
    int n_cols_left
    double rest_units[MAX_AXES + 1][MAX_ROWS]
    double* group_units[MAX_AXES]        # group, transfer: least units of a chain that does not move the tensor
    double rest_reuse[MAX_AXES + 1][8]
    double rest_reuse_still[3][MAX_AXES + 1][8]
    int has[3][MAX_AXES]                 # whether a tensor has a dim of the axis
    double rest_cycles_still[3][MAX_AXES + 1]
    double rest_macs_other[3][MAX_AXES + 1]
    double* group_cycles_still[3][MAX_AXES]
    double* group_reuse_still[3][MAX_AXES]
    double* group_reuse[MAX_AXES]        # group, set of tensors: least product of their reads and of the units that it takes
    int reads[3]                         # transfers into the array, -1 if there is none
    int whole[3]                         # their class in which all loops count
    double lower_energy[MAX_ROWS]
    double lower_bits[MAX_RATES][MAX_ROWS]
    int pick[MAX_AXES]
    i64 best_tiles[MAX_TILES]
    Value best
    int have
    i64 nodes
    i64 leaves
    i64 most_nodes
    int stopped


cdef inline double fhigh(double a, double b) noexcept nogil:
    return a if a > b else b


cdef void set_key(Cost* c, double ticks, double energy, double traffic, double* key) noexcept nogil:
    if c.objective == LATENCY:
        key[0] = ticks
        key[1] = energy
    elif c.objective == ENERGY:
        key[0] = energy
        key[1] = ticks
    elif c.objective == EDP:
        key[0] = energy * ticks
        key[1] = ticks
    else:
        key[0] = traffic
        key[1] = ticks


cdef int beats(Search* s, double a, double b) noexcept nogil:
    """Whether a bound leaves hope."""
    if not s.have:
        return 1
    if a < s.best.key[0] * (1 - 1e-11):
        return 1
    return a <= s.best.key[0] * (1 + 1e-11) and b < s.best.key[1] * (1 - 1e-11)


cdef inline double cycles_left(Search* s, int depth, double** table) noexcept nogil:
    """Least cycles of the axes that are not on the branch, on what it leaves of the array."""
    return table[depth][s.row_index[s.array_rows // s.used_rows[depth]] * s.n_cols_left
                                 + s.col_index[s.array_cols // s.used_cols[depth]]]


cdef double least_sum(const double* weight, const double* least, int n, double product) noexcept nogil:
    """Least of the sum of weight * v with v >= least and the product of all v at least `product`."""
    cdef int fixed[3]
    cdef int i, free = n, changed = 1
    cdef double rest, level, total = 0
    for i in range(n):
        fixed[i] = weight[i] <= 0
        if fixed[i]:  # costs nothing: takes all of the product
            return least_total(weight, least, n)
    while changed and free:
        changed = 0
        rest = product
        for i in range(n):
            if fixed[i]:
                rest /= least[i]
            else:
                rest *= weight[i]
        if rest <= 0:
            return least_total(weight, least, n)
        level = rest if free == 1 else (sqrt(rest) if free == 2 else cbrt(rest))
        for i in range(n):
            if not fixed[i] and level / weight[i] < least[i]:
                fixed[i] = 1
                free -= 1
                changed = 1
        if not changed:
            break
    for i in range(n):
        total += weight[i] * least[i] if fixed[i] else level
    return total


cdef double least_total(const double* weight, const double* least, int n) noexcept nogil:
    cdef double total = 0
    cdef int i
    for i in range(n):
        total += weight[i] * least[i]
    return total


cdef enum:
    EITHER = 0
    MOVES = 1
    STILL = 2


cdef int refine(Search* s, int depth, double* key) noexcept nogil:
    """Raise the lower bounds: each tensor moves with every step, or it stands still and its dims take units.

    Stops where nothing better is left; returns whether something is.
    """
    cdef double moves[2]
    cdef double still[2]
    cdef double* least
    cdef int j, i, x
    if not beats(s, key[0], key[1]):
        return 0
    for i in range(3):
        j = 2 - i
        x = s.reads[j]
        if x < 0 or s.whole[j] == 0 or s.cls[depth][x] == s.whole[j] or s.rest_cls[depth][x] == s.whole[j]:
            continue
        bound(s, depth, j, STILL, still)
        bound(s, depth, j, MOVES, moves)
        least = still
        if moves[0] < still[0] or (moves[0] == still[0] and moves[1] < still[1]):
            least = moves
        if least[0] > key[0]:
            key[0] = least[0]
            key[1] = least[1] if moves[0] != still[0] else (moves[1] if moves[1] < still[1] else still[1])
            if not beats(s, key[0], key[1]):
                return 0
    return 1


cdef void lower(Search* s, int depth, double* key) noexcept nogil:
    """Lower bounds of what a branch can become, into `key`."""
    bound(s, depth, 0, EITHER, key)


cdef void bound(Search* s, int depth, int tensor, int motion, double* key) noexcept nogil:
    """Lower bounds of what a branch can become if a tensor moves with every step, or stands still, or either.

    Reads into the array fall by spatial reuse, of which there is as much as there are units: the product of the reads
    of tensors that move with every step is bounded, so their sum is.
    """
    cdef int j, mask = 0, m = 0
    cdef double reach = 1, units
    cdef double weight[3]
    cdef double least[3]
    cdef int member[3]
    cdef Cost* c = s.cost
    cdef int x, q, r
    cdef double v[MAX_ROWS]
    cdef double energy = c.fixed - c.gated_price * c.gated, traffic = c.traffic_fixed, bits, t, ticks, load = 0, store = 0, work, cyc, first = 0, last
    cdef Rate* rate
    cdef int cls[MAX_ROWS]
    units = (s.array_rows // s.used_rows[depth]) * (s.array_cols // s.used_cols[depth])
    for x in range(s.n_rows):
        q = s.cls[depth][x]
        if s.rest_cls[depth][x] > q:
            q = s.rest_cls[depth][x]
        if s.rest_units[depth][x] > units:
            q = s.n_classes[x] - 1  # the array is too small for the tensor to stand still
            if motion == STILL and s.row[x][0] == tensor and x == s.reads[tensor]:
                key[0] = key[1] = 1e300
                return
        if motion == MOVES and s.row[x][0] == tensor and s.row[x][2] == s.row[s.reads[tensor]][2]:
            q = s.n_classes[x] - 1
        cls[x] = q
        v[x] = s.product[depth][x * MAX_CLASSES + q] * s.rest[depth][x * MAX_CLASSES + q]
        energy += s.lower_energy[x] * v[x]
        traffic += c.traffic[x] * v[x]
    if motion == STILL:
        t = units // s.rest_units[depth][s.reads[tensor]]  # what its dims leave to the others
        cyc = s.cyc[depth] * fhigh(
            cycles_left(s, depth, s.least_cycles_still[tensor]),
            s.rest_cycles_still[tensor][depth] * fhigh(1, s.rest_macs_other[tensor][depth] / t))
    else:
        cyc = s.cyc[depth] * cycles_left(s, depth, s.least_cycles)
    for j in range(3):
        x = s.reads[j]
        if x >= 0 and cls[x] == s.whole[j] and not (motion == STILL and j == tensor):
            mask |= 1 << j
            member[m] = x
            least[m] = v[x]
            reach *= s.product[depth][x * MAX_CLASSES + s.whole[j]]
            m += 1
    if m > 1 or (m == 1 and motion == STILL):
        reach *= (s.rest_reuse_still[tensor][depth][mask] if motion == STILL else s.rest_reuse[depth][mask]) / units
        for j in range(m):
            weight[j] = s.lower_energy[member[j]]
        energy += fhigh(0, least_sum(weight, least, m, reach) - least_total(weight, least, m))
    work = cyc * c.tick_cycle
    for r in range(c.n_rates):
        rate = &c.rate[r]
        bits = rate.fixed
        for x in range(s.n_rows):
            bits += s.lower_bits[r][x] * v[x]
        if (m > 1 or (m == 1 and motion == STILL)) and rate.role == WORK:
            for j in range(m):
                weight[j] = s.lower_bits[r][member[j]]
            bits += fhigh(0, least_sum(weight, least, m, reach) - least_total(weight, least, m))
        if rate.role == EACH:
            bits /= s.array_rows * s.array_cols
        t = bits / 8 * rate.num / rate.den
        if rate.role == LOAD:
            load += t
        elif rate.role == STORE:
            store += t
        else:
            work = fhigh(work, t)
    for x in range(c.n_first):
        first += s.span[depth][c.first[x]] * s.rest_span[depth][c.first[x]] * c.first_bits[x]
    last = s.span[depth][c.last] * s.rest_span[depth][c.last] * c.last_bits
    for r in range(c.n_rates):
        rate = &c.rate[r]
        if rate.role == LOAD:
            first = first / 8 * rate.num / rate.den
            if first > load:
                first = load
        elif rate.role == STORE:
            last = last / 8 * rate.num / rate.den
            if last > store:
                last = store
    ticks = fhigh(load + store, first + work + last)
    if not c.double_buffered:
        ticks = fhigh(ticks, load + work + last)
    ticks = ceil(ticks * (1 - 1e-12) - 1e-6)
    energy += c.static_tick * ticks
    set_key(c, ticks, energy, traffic, key)


cdef void value_of(Cost* c, const i64* v, const i64* first_words, i64 last_words, Value* out) noexcept nogil:
    """What a tiling costs: `v` are its transfers."""
    cdef int x, r
    cdef i64 bits, load = 0, store = 0, work, t, first = 0, last = 0, tiles
    cdef double energy = c.fixed, traffic = c.traffic_fixed, words
    cdef Rate* rate
    cdef Part parts[8]
    cdef int n
    for x in range(MAX_ROWS):
        if c.energy[x] != 0:
            energy += c.energy[x] * v[x]
        if c.traffic[x] != 0:
            traffic += c.traffic[x] * v[x]
    if c.gated > 0:
        words = c.gated_fixed
        for x in range(MAX_ROWS):
            if c.gated_words[x] != 0:
                words += c.gated_words[x] * v[x]
        energy -= c.gated_price * (c.gated if words > c.gated else words)
    work = v[c.cycles] * c.tick_cycle
    for x in range(c.n_first):
        first += first_words[x] * c.first_bits[x]
    last = last_words * c.last_bits
    for r in range(c.n_rates):
        rate = &c.rate[r]
        bits = rate.fixed
        for x in range(MAX_ROWS):
            if rate.bits[x] != 0:
                bits += rate.bits[x] * v[x]
        if rate.role == EACH:
            bits = (bits + v[c.units] - 1) // v[c.units]
        t = hwsim_ticks((bits + 7) // 8, rate.num, rate.den)
        if rate.role == LOAD:
            load = t
            first = hwsim_ticks((first + 7) // 8, rate.num, rate.den)
        elif rate.role == STORE:
            store = t
            last = hwsim_ticks((last + 7) // 8, rate.num, rate.den)
        elif t > work:
            work = t
    if first > load:
        first = load
    if last > store:
        last = store
    tiles = v[c.tiles] if c.tiles >= 0 else 1
    n = stream_parts(tiles, load, work, store, first, last, parts)
    out.ticks = run_parts(parts, n, 2 if c.double_buffered else 1)
    out.energy = energy + c.static_tick * out.ticks
    out.traffic = traffic
    set_key(c, <double>out.ticks, out.energy, traffic, out.key)


cdef void leaf(Search* s) noexcept nogil:
    """Count a tiling and keep it if it is the best so far."""
    cdef i64 v[MAX_ROWS]
    cdef i64 first[MAX_SPANS]
    cdef int a, x, k, m
    cdef double total
    cdef Value value
    cdef const i64* tiles
    cdef i64 last
    for x in range(MAX_ROWS):
        v[x] = 0
    for x in range(s.n_rows):
        k = s.cls[s.n_axes][x]
        v[x] = <i64>(s.product[s.n_axes][x * MAX_CLASSES + k] * (1 + 1e-13))
    for x in range(s.cost.n_first):
        first[x] = <i64>(s.span[s.n_axes][s.cost.first[x]] + 0.5)
    last = <i64>(s.span[s.n_axes][s.cost.last] + 0.5)
    if s.have:
        value_of(s.cost, v, first, last, &value)
        if value.key[0] > s.best.key[0] or (value.key[0] == s.best.key[0] and value.key[1] >= s.best.key[1]):
            return
    s.leaves += 1
    s.nodes += 16  # counting a mapping takes as long
    for a in range(s.n_axes):
        tiles = s.chain_tiles[a] + <i64>s.pick[a] * (s.first_loop[a + 1] - s.first_loop[a])
        for k in range(s.first_loop[a + 1] - s.first_loop[a]):
            s.tiles[s.loop_at[s.first_loop[a] + k]] = tiles[k]
    if not set_tiles(&s.nest, s.n_loops, s.loop_dim, s.loop_spatial, s.tiles):
        s.stopped = 2
        return
    for x in range(MAX_ROWS):
        v[x] = 0
    for x in range(s.n_rows):
        v[x] = transfer(&s.nest, <int>s.row[x][0], <int>s.row[x][1], <int>s.row[x][2], <int>s.row[x][3],
                        <int>s.row[x][4], <int>s.row[x][5])
    for m in range(s.n_memories):
        total = 0
        for k in range(s.memory_first[m], s.memory_first[m + 1]):
            x = s.span_row[k]
            total += (s.sum_bits[k] if x >= 0 and v[x] > s.words + 0.5 else s.span_bits[k]) * s.span[s.n_axes][k]
        if total > s.capacity[m]:
            return
    value_of(s.cost, v, first, last, &value)
    if (not s.have or value.key[0] < s.best.key[0]
            or (value.key[0] == s.best.key[0] and value.key[1] < s.best.key[1])):
        s.have = 1
        s.best = value
        memcpy(s.best_tiles, s.tiles, sizeof(i64) * MAX_TILES)


cdef int take(Search* s, int depth, int chain) noexcept nogil:
    """Put a chain of the axis `depth` on the branch; 0 if it does not fit."""
    cdef int x, k, m, q
    cdef double bits
    cdef const double* f = s.factors[depth] + <i64>chain * s.n_rows * MAX_CLASSES
    cdef const signed char* c = s.classes[depth] + <i64>chain * s.n_rows
    cdef const double* sp = s.spans[depth] + <i64>chain * s.n_spans
    cdef double total
    s.used_rows[depth + 1] = s.used_rows[depth] * s.places[depth][2 * chain]
    s.used_cols[depth + 1] = s.used_cols[depth] * s.places[depth][2 * chain + 1]
    if s.used_rows[depth + 1] > s.array_rows or s.used_cols[depth + 1] > s.array_cols:
        return 0
    s.cyc[depth + 1] = s.cyc[depth] * s.cycles[depth][chain]
    if s.have and s.cost.objective == LATENCY:  # most branches of a layer that computes long end here
        if s.cyc[depth + 1] * cycles_left(s, depth + 1, s.least_cycles) * s.cost.tick_cycle > s.best.key[0]:
            return 0
    for k in range(s.n_spans):
        s.span[depth + 1][k] = s.span[depth][k] * sp[k]
    for m in range(s.n_memories):
        total = 0
        for k in range(s.memory_first[m], s.memory_first[m + 1]):
            total += s.span_bits[k] * s.span[depth + 1][k] * s.rest_span[depth + 1][k]
        if total > s.capacity[m]:
            return 0
    for x in range(s.n_rows):
        s.cls[depth + 1][x] = s.cls[depth][x] if s.cls[depth][x] > c[x] else c[x]
        for k in range(s.n_classes[x]):
            s.product[depth + 1][x * MAX_CLASSES + k] = s.product[depth][x * MAX_CLASSES + k] * f[x * MAX_CLASSES + k]
    for m in range(s.n_memories):  # partial sums are wider than outputs
        total = 0
        for k in range(s.memory_first[m], s.memory_first[m + 1]):
            x = s.span_row[k]
            bits = s.span_bits[k]
            if x >= 0:
                q = s.cls[depth + 1][x]
                if s.rest_cls[depth + 1][x] > q:
                    q = s.rest_cls[depth + 1][x]
                q += x * MAX_CLASSES
                if s.product[depth + 1][q] * s.rest[depth + 1][q] > s.words * 1.000000001:
                    bits = s.sum_bits[k]
            total += bits * s.span[depth + 1][k] * s.rest_span[depth + 1][k]
        if total > s.capacity[m]:
            return 0
    return 1


cdef void descend(Search* s, int depth, const int* groups) noexcept nogil:
    """Chains of the groups from an axis on, those with the least lower bound first."""
    cdef int chain, i, n = 0, g = groups[depth]
    cdef Child* children = s.children[depth]
    cdef double key[2]
    for chain in range(s.group_first[depth][g], s.group_first[depth][g + 1]):
        s.nodes += 1
        if s.nodes > s.most_nodes:
            s.stopped = 1
            return
        if not take(s, depth, chain):
            continue
        lower(s, depth + 1, key)
        if not refine(s, depth + 1, key):
            continue
        children[n].key[0] = key[0]
        children[n].key[1] = key[1]
        children[n].chain = chain
        n += 1
    if n > 1:
        qsort(children, n, sizeof(Child), by_child)
    for i in range(n):
        if s.stopped or s.nodes > s.plan_nodes:
            return
        if not beats(s, children[i].key[0], children[i].key[1]):
            if children[i].key[0] > s.best.key[0] * (1 + 1e-11):
                return
            continue
        take(s, depth, children[i].chain)
        s.pick[depth] = children[i].chain
        if depth + 1 == s.n_axes:
            leaf(s)
        else:
            descend(s, depth + 1, groups)


cdef int by_child(const void* a, const void* b) noexcept nogil:
    cdef Child* x = <Child*>a
    cdef Child* y = <Child*>b
    if x.key[0] != y.key[0]:
        return -1 if x.key[0] < y.key[0] else 1
    if x.key[1] != y.key[1]:
        return -1 if x.key[1] < y.key[1] else 1
    return -1 if x.chain < y.chain else 1


cdef void end_rest(Search* s) noexcept nogil:
    """Nothing is left behind the last axis."""
    cdef int n = s.n_axes, x, k
    for x in range(s.n_rows):
        s.rest_cls[n][x] = 0
        s.rest_units[n][x] = 1
        for k in range(MAX_CLASSES):
            s.rest[n][x * MAX_CLASSES + k] = 1
    for k in range(s.n_spans):
        s.rest_span[n][k] = 1
    for x in range(3):
        s.rest_cycles_still[x][n] = 1
        s.rest_macs_other[x][n] = 1
    for k in range(8):
        s.rest_reuse[n][k] = 1
        for x in range(3):
            s.rest_reuse_still[x][n][k] = 1


cdef void add_spans(Search* s, int a, int g) noexcept nogil:
    """The least words that the axes from `a` on hold, with a group of `a`."""
    cdef int k
    for k in range(s.n_spans):
        s.rest_span[a][k] = s.rest_span[a + 1][k] * s.group_spans[a][g * s.n_spans + k]


cdef void add_rest(Search* s, int a, int g) noexcept nogil:
    """The least that the axes from `a` on add, with a group of `a`."""
    cdef double* f = s.group_factors[a] + <i64>g * s.n_rows * MAX_CLASSES
    cdef signed char* c = s.group_classes[a] + <i64>g * s.n_rows
    cdef int x, k
    for x in range(s.n_rows):
        s.rest_cls[a][x] = s.rest_cls[a + 1][x] if s.rest_cls[a + 1][x] > c[x] else c[x]
        s.rest_units[a][x] = s.rest_units[a + 1][x] * s.group_units[a][g * s.n_rows + x]
        for k in range(s.n_classes[x]):
            s.rest[a][x * MAX_CLASSES + k] = s.rest[a + 1][x * MAX_CLASSES + k] * f[x * MAX_CLASSES + k]
    for x in range(3):
        s.rest_cycles_still[x][a] = s.rest_cycles_still[x][a + 1]
        s.rest_macs_other[x][a] = s.rest_macs_other[x][a + 1]
        if s.has[x][a]:
            s.rest_cycles_still[x][a] *= s.group_cycles_still[x][a][g]
        else:
            s.rest_macs_other[x][a] *= s.size[a]
    for k in range(8):
        s.rest_reuse[a][k] = s.rest_reuse[a + 1][k] * s.group_reuse[a][g * 8 + k]
        for x in range(3):
            s.rest_reuse_still[x][a][k] = s.rest_reuse_still[x][a + 1][k] * s.group_reuse_still[x][a][g * 8 + k]


cdef void set_rest(Search* s, const int* groups) noexcept nogil:
    """The least that the axes from each depth on add, for these groups."""
    cdef int a
    for a in range(s.n_axes - 1, -1, -1):
        add_spans(s, a, groups[a])
        add_rest(s, a, groups[a])


cdef struct Plan:
    double key[2]
    int groups[MAX_AXES]
    int open                             # whether something of it was left out


cdef struct Plans:
    Plan* list
    i64 n
    i64 room
    int crowded                          # whether some were dropped ...
    double dropped                       # ... and the least lower bound of these


cdef int by_key(const void* a, const void* b) noexcept nogil:
    cdef Plan* x = <Plan*>a
    cdef Plan* y = <Plan*>b
    cdef int i
    if x.key[0] != y.key[0]:
        return -1 if x.key[0] < y.key[0] else 1
    if x.key[1] != y.key[1]:
        return -1 if x.key[1] < y.key[1] else 1
    for i in range(MAX_AXES):  # no two are alike, so that every machine sorts them alike
        if x.groups[i] != y.groups[i]:
            return -1 if x.groups[i] < y.groups[i] else 1
    return 0


cdef void start(Search* s) noexcept nogil:
    cdef int x, k
    for x in range(s.n_rows):
        s.cls[0][x] = 0
        for k in range(MAX_CLASSES):
            s.product[0][x * MAX_CLASSES + k] = 1
    for k in range(s.n_spans):
        s.span[0][k] = 1
    s.used_rows[0] = s.used_cols[0] = 1
    s.cyc[0] = 1


cdef void add_plan(Search* s, const int* groups, const double* key, Plans* plans) noexcept nogil:
    """Keep a plan; of more than there is room for, those with the least lower bounds."""
    cdef Plan* plan
    cdef int k
    if plans.crowded and key[0] >= plans.dropped:
        return
    if plans.n == plans.room:
        qsort(plans.list, plans.n, sizeof(Plan), by_key)
        plans.n = plans.room // 2
        plans.crowded = 1
        plans.dropped = plans.list[plans.n].key[0]
        if key[0] >= plans.dropped:
            return
    plan = &plans.list[plans.n]
    plan.key[0] = key[0]
    plan.key[1] = key[1]
    plan.open = 1
    for k in range(MAX_AXES):
        plan.groups[k] = groups[k] if k < s.n_axes else 0
    plans.n += 1


cdef void enumerate_groups(Search* s, int a, int* groups, Plans* plans) noexcept nogil:
    """Groups of the axes before `a`, the last first; keeps those that can fit, with their lower bounds."""
    cdef int g, k, m, fits
    cdef double total
    cdef double key[2]
    if a == 0:
        lower(s, 0, key)
        if refine(s, 0, key):
            add_plan(s, groups, key, plans)
        return
    a -= 1
    for g in range(s.n_groups[a]):
        add_spans(s, a, g)
        fits = 1
        for m in range(s.n_memories):
            total = 0
            for k in range(s.memory_first[m], s.memory_first[m + 1]):
                total += s.span_bits[k] * s.span[a][k] * s.rest_span[a][k]
            if total > s.capacity[m]:
                fits = 0
                break
        if not fits:
            continue
        add_rest(s, a, g)
        if s.have or plans.crowded:
            lower(s, a, key)
            if not beats(s, key[0], key[1]) or (plans.crowded and key[0] >= plans.dropped):
                continue
        groups[a] = g
        enumerate_groups(s, a, groups, plans)


cdef int table_of(Search* s, double** table, int tensor, list lefts) except -1:
    """Fill a table of `table_cycles`, with all chains or those that let a tensor stand still."""
    cdef int a, i, j, chain, r, c, k, at, x = s.reads[tensor] if tensor >= 0 else -1
    cdef int n = len(lefts[0]) * len(lefts[1])
    cdef double v, least
    for a in range(s.n_axes, -1, -1):
        table[a] = <double*>malloc(n * sizeof(double))
        if table[a] == NULL:
            raise MemoryError
        for at in range(n):
            table[a][at] = 1 if a == s.n_axes else 1e300
        if a == s.n_axes:
            continue
        pairs = {}
        for chain in range(s.group_first[a][s.n_groups[a]]):
            if x >= 0 and s.classes[a][chain * s.n_rows + x] >= s.whole[tensor]:
                continue
            pair = (s.places[a][2 * chain], s.places[a][2 * chain + 1])
            v = s.cycles[a][chain]
            if v < pairs.get(pair, 1e300):
                pairs[pair] = v
        for (r, c), least in pairs.items():
            for i, rows in enumerate(lefts[0]):
                if rows < r:
                    break
                for j, cols in enumerate(lefts[1]):
                    if cols < c:
                        break
                    k = s.row_index[<int>rows // r] * s.n_cols_left + s.col_index[<int>cols // c]
                    v = least * table[a + 1][k]
                    at = i * s.n_cols_left + j
                    if v < table[a][at]:
                        table[a][at] = v
    return 0


cdef int table_cycles(Search* s) except -1:
    """Least cycles of the axes from each on, for all that other axes can leave of rows and columns.

    Axes before take whole multiples, so what is left is one of few quotients.
    """
    cdef int a
    lefts = []
    for size in (s.array_rows, s.array_cols):
        lefts.append(sorted({size // part for part in range(1, size + 1)} | {0}, reverse=True))
    s.row_index = <int*>malloc((s.array_rows + 1) * sizeof(int))
    s.col_index = <int*>malloc((s.array_cols + 1) * sizeof(int))
    if s.row_index == NULL or s.col_index == NULL:
        raise MemoryError
    for index, value in enumerate(lefts[0]):
        s.row_index[value] = index
    for index, value in enumerate(lefts[1]):
        s.col_index[value] = index
    s.n_cols_left = len(lefts[1])
    table_of(s, s.least_cycles, -1, lefts)
    for a in range(3):
        table_of(s, s.least_cycles_still[a], a if s.reads[a] >= 0 else -1, lefts)
    return 0


def search_nest(sizes, axis_table, loop_dim, loop_spatial, transfers, classes, axes, memories, array, cost, best, most_nodes):
    """The best tiling of a nest, or the best within `most_nodes` branches.

    Parameters
    ----------
    sizes, axis_table, loop_dim, loop_spatial, transfers
        As `evaluate_batch` takes them.
    classes : sequence of int
        Classes of each transfer.
    axes : sequence of tuple
        Of each axis: MACs, loops, tiles (chain, loop), factors (chain, transfer, class), classes (chain, transfer),
        spans (chain, span), places (chain, 2), cycles (chain), first chain of each group.
    memories : dict
        `first` span and `capacity` in bits of each memory, `end` of their spans, `bits` of a word of each span, and
        `sums`: bits of a partial sum and the transfer that updates the span; `words` of the output.
    array : tuple of int
        Rows and columns.
    cost : dict
        See `search._by_transfer`.
    best : tuple or None
        Key to beat.

    Returns
    -------
    result : tuple or None
        (tiles, key, ticks, energy, traffic) if one beats `best`.
    nodes, leaves : int
        Branches bounded, tilings counted.
    bound : float or None
        Lower bound of what was not looked at; None if nothing is left.
    """
    cdef Search* s = <Search*>malloc(sizeof(Search))
    cdef Cost* c = <Cost*>malloc(sizeof(Cost))
    cdef Plans plans
    cdef i64 i
    cdef int a, k, x, g, chain, n
    cdef int groups[MAX_AXES]
    cdef const i64[::1] dim_view = loop_dim, spatial_view = loop_spatial
    cdef const i64[:, ::1] tile_view
    cdef double[:, :, ::1] factor_view
    cdef const signed char[:, ::1] class_view
    cdef const double[:, ::1] span_view
    cdef const int[:, ::1] place_view
    cdef const double[::1] cycle_view
    cdef const int[::1] group_view
    cdef double* f
    cdef double v, opened = -1
    cdef i64 patience
    cdef int unfinished
    held = []
    plans.list = NULL
    plans.n = 0
    plans.room = 400_000
    plans.crowded = 0
    if s == NULL or c == NULL:
        raise MemoryError
    memset(s, 0, sizeof(Search))
    memset(c, 0, sizeof(Cost))
    try:
        plans.list = <Plan*>malloc(plans.room * sizeof(Plan))
        if plans.list == NULL:
            raise MemoryError
        lay_out(&s.nest, sizes, axis_table)
        s.cost = c
        s.n_axes = len(axes)
        s.n_rows = len(transfers)
        s.n_loops = len(loop_dim)
        if s.n_axes > MAX_AXES or s.n_rows > MAX_ROWS or s.n_loops > MAX_TILES:
            raise ValueError("too many axes, transfers or loops")
        s.loop_dim = &dim_view[0] if s.n_loops else NULL
        s.loop_spatial = &spatial_view[0] if s.n_loops else NULL
        for x in range(s.n_rows):
            s.n_classes[x] = classes[x]
            for k in range(6):
                s.row[x][k] = transfers[x][k]
        for k in range(3):
            s.reads[k], s.whole[k], relevant = cost["reads"][k]
            for a in range(len(relevant)):
                s.has[k][a] = relevant[a]
        s.n_memories = len(memories["first"])
        s.n_spans = len(memories["bits"])
        if s.n_spans > MAX_SPANS or s.n_memories > MAX_MEMORIES:
            raise ValueError("too many memories")
        for k in range(s.n_memories):
            s.memory_first[k] = memories["first"][k]
            s.capacity[k] = memories["capacity"][k]
        s.memory_first[s.n_memories] = memories["end"]
        for k in range(s.n_spans):
            s.span_bits[k] = memories["bits"][k]
            s.sum_bits[k], s.span_row[k] = memories["sums"][k]
        s.words = memories["words"]
        s.array_rows, s.array_cols = array
        c.objective = cost["objective"]
        c.double_buffered = cost["double_buffered"]
        c.fixed = cost["fixed"]
        c.static_tick = cost["static_tick"]
        c.gated_price, c.gated, c.gated_fixed = cost["gated"][:3]
        c.traffic_fixed = cost["traffic_fixed"]
        c.tick_cycle = cost["tick_cycle"]
        c.cycles, c.tiles, c.units = cost["cycles"], cost["tiles"], cost["units"]
        for x in range(s.n_rows):
            c.energy[x] = cost["energy"][x]
            c.traffic[x] = cost["traffic"][x]
            c.gated_words[x] = cost["gated"][3][x]
            s.lower_energy[x] = cost["lower_energy"][x]
        c.n_rates = len(cost["rates"])
        if c.n_rates > MAX_RATES:
            raise ValueError("too many rates")
        for k in range(c.n_rates):
            role, num, den, fixed, bits, lower_bits = cost["rates"][k]
            c.rate[k].role, c.rate[k].num, c.rate[k].den, c.rate[k].fixed = role, num, den, fixed
            for x in range(s.n_rows):
                c.rate[k].bits[x] = bits[x]
                s.lower_bits[k][x] = lower_bits[x]
        c.n_first = len(cost["first"])
        for k in range(c.n_first):
            c.first[k], c.first_bits[k] = cost["first"][k]
        c.last, c.last_bits = cost["last"]
        n = 0
        for a in range(s.n_axes):
            macs, loops, tiles, factors, kinds, spans, places, cycles, firsts = axes[a]
            s.size[a] = macs
            s.first_loop[a] = n
            for k in loops:
                s.loop_at[n] = k
                n += 1
            tile_view, factor_view, class_view, span_view = tiles, factors, kinds, spans
            place_view, cycle_view, group_view = places, cycles, firsts
            held.append((tiles, factors, kinds, spans, places, cycles, firsts))
            s.chain_tiles[a] = &tile_view[0, 0] if tile_view.shape[1] else NULL
            s.factors[a] = &factor_view[0, 0, 0]
            s.classes[a] = &class_view[0, 0]
            s.spans[a] = &span_view[0, 0]
            s.places[a] = &place_view[0, 0]
            s.cycles[a] = &cycle_view[0]
            s.group_first[a] = &group_view[0]
            s.n_groups[a] = group_view.shape[0] - 1
            k = 1
            for g in range(s.n_groups[a]):
                k = max(k, s.group_first[a][g + 1] - s.group_first[a][g])
            s.children[a] = <Child*>malloc(k * sizeof(Child))
            if s.children[a] == NULL:
                raise MemoryError
            s.group_factors[a] = <double*>malloc(s.n_groups[a] * s.n_rows * MAX_CLASSES * sizeof(double))
            s.group_classes[a] = <signed char*>malloc(s.n_groups[a] * s.n_rows)
            s.group_spans[a] = <double*>malloc(s.n_groups[a] * s.n_spans * sizeof(double))
            s.group_units[a] = <double*>malloc(s.n_groups[a] * s.n_rows * sizeof(double))
            s.group_reuse[a] = <double*>malloc(s.n_groups[a] * 8 * sizeof(double))
            for x in range(3):
                s.group_reuse_still[x][a] = <double*>malloc(s.n_groups[a] * 8 * sizeof(double))
                s.group_cycles_still[x][a] = <double*>malloc(s.n_groups[a] * sizeof(double))
                if s.group_reuse_still[x][a] == NULL or s.group_cycles_still[x][a] == NULL:
                    raise MemoryError
            if (s.group_factors[a] == NULL or s.group_spans[a] == NULL
                    or s.group_classes[a] == NULL or s.group_reuse[a] == NULL
                    or s.group_units[a] == NULL):
                raise MemoryError
            for g in range(s.n_groups[a]):
                for chain in range(s.group_first[a][g], s.group_first[a][g + 1]):
                    first_one = chain == s.group_first[a][g]
                    for x in range(s.n_rows):
                        for k in range(MAX_CLASSES):
                            f = s.group_factors[a] + (<i64>g * s.n_rows + x) * MAX_CLASSES + k
                            v = s.factors[a][(<i64>chain * s.n_rows + x) * MAX_CLASSES + k]
                            if first_one or v < f[0]:
                                f[0] = v
                        if first_one or s.classes[a][chain * s.n_rows + x] < s.group_classes[a][g * s.n_rows + x]:
                            s.group_classes[a][g * s.n_rows + x] = s.classes[a][chain * s.n_rows + x]
                    for k in range(s.n_spans):
                        v = s.spans[a][chain * s.n_spans + k]
                        if first_one or v < s.group_spans[a][g * s.n_spans + k]:
                            s.group_spans[a][g * s.n_spans + k] = v
                    for x in range(s.n_rows):
                        f = s.group_units[a] + g * s.n_rows + x
                        if first_one:
                            f[0] = 1e30
                        v = s.places[a][2 * chain] * s.places[a][2 * chain + 1]
                        if s.classes[a][chain * s.n_rows + x] < s.n_classes[x] - 1 and v < f[0]:
                            f[0] = v
                    for x in range(3):
                        f = s.group_cycles_still[x][a] + g
                        if first_one:
                            f[0] = 1e100
                        v = s.cycles[a][chain]
                        if v < f[0] and (s.reads[x] < 0 or s.classes[a][chain * s.n_rows + s.reads[x]] < s.whole[x]):
                            f[0] = v
                    for k in range(8):
                        v = s.places[a][2 * chain] * s.places[a][2 * chain + 1]
                        for x in range(3):
                            if k >> x & 1 and s.reads[x] >= 0:
                                v *= s.factors[a][(<i64>chain * s.n_rows + s.reads[x]) * MAX_CLASSES + s.whole[x]]
                        f = s.group_reuse[a] + g * 8 + k
                        if first_one or v < f[0]:
                            f[0] = v
                        for x in range(3):
                            f = s.group_reuse_still[x][a] + g * 8 + k
                            if first_one:
                                f[0] = 1e100
                            if v < f[0] and (s.reads[x] < 0 or s.classes[a][chain * s.n_rows + s.reads[x]] < s.whole[x]):
                                f[0] = v
        s.first_loop[s.n_axes] = n
        table_cycles(s)
        s.most_nodes = most_nodes
        if best is not None:
            s.have = 1
            s.best.key[0], s.best.key[1] = best
        with nogil:
            # the least of all groups of the axes before each
            start(s)
            for a in range(s.n_axes):
                s.used_rows[a + 1] = s.used_cols[a + 1] = 1
                for x in range(s.n_rows):
                    s.cls[a + 1][x] = 0
                    for k in range(s.n_classes[x]):
                        v = s.group_factors[a][x * MAX_CLASSES + k]
                        for g in range(1, s.n_groups[a]):
                            if s.group_factors[a][(g * s.n_rows + x) * MAX_CLASSES + k] < v:
                                v = s.group_factors[a][(g * s.n_rows + x) * MAX_CLASSES + k]
                        s.product[a + 1][x * MAX_CLASSES + k] = s.product[a][x * MAX_CLASSES + k] * v
                for k in range(s.n_spans):
                    v = s.group_spans[a][k]
                    for g in range(1, s.n_groups[a]):
                        if s.group_spans[a][g * s.n_spans + k] < v:
                            v = s.group_spans[a][g * s.n_spans + k]
                    s.span[a + 1][k] = s.span[a][k] * v
                s.cyc[a + 1] = s.least_cycles[0][0] / s.least_cycles[a + 1][0]
            end_rest(s)
            enumerate_groups(s, s.n_axes, groups, &plans)
            qsort(plans.list, plans.n, sizeof(Plan), by_key)
            start(s)
            # each plan gets a few nodes, then those with something left get more: a good mapping is met early
            patience = FIRST_NODES
            while not s.stopped:
                unfinished = 0
                for i in range(plans.n):
                    if s.stopped:
                        break
                    if not plans.list[i].open:
                        continue
                    if not beats(s, plans.list[i].key[0], plans.list[i].key[1]):
                        if plans.list[i].key[0] > s.best.key[0] * (1 + 1e-11):
                            break
                        continue
                    s.plan_nodes = s.nodes + patience
                    for a in range(s.n_axes):  # enough for one mapping at least
                        g = plans.list[i].groups[a]
                        s.plan_nodes += s.group_first[a][g + 1] - s.group_first[a][g]
                    set_rest(s, plans.list[i].groups)
                    descend(s, 0, plans.list[i].groups)
                    plans.list[i].open = s.stopped or s.nodes > s.plan_nodes
                    unfinished |= plans.list[i].open
                if not unfinished:
                    break
                patience *= 8
            for i in range(plans.n):
                if plans.list[i].open and beats(s, plans.list[i].key[0], plans.list[i].key[1]):
                    opened = plans.list[i].key[0]
                    break
        if s.stopped == 2:
            raise AssertionError("a chain is no nest")
        # what is left unopened is bounded by the least of it
        bound = None
        if s.stopped and opened >= 0:
            bound = opened
        if plans.crowded and not (s.have and plans.dropped > s.best.key[0]) and (bound is None or plans.dropped < bound):
            bound = plans.dropped
        result = None
        if s.leaves and s.best.ticks:
            result = ([s.best_tiles[i] for i in range(s.n_loops)], (s.best.key[0], s.best.key[1]), s.best.ticks,
                      s.best.energy, s.best.traffic)
        return result, s.nodes, s.leaves, bound
    finally:
        for a in range(MAX_AXES):
            free(s.group_factors[a])
            free(s.children[a])
            free(s.group_classes[a])
            free(s.group_spans[a])
            free(s.group_reuse[a])
            for x in range(3):
                free(s.group_reuse_still[x][a])
                free(s.group_cycles_still[x][a])
            free(s.group_units[a])
        for a in range(MAX_AXES + 1):
            free(s.least_cycles[a])
            for x in range(3):
                free(s.least_cycles_still[x][a])
        free(s.row_index)
        free(s.col_index)
        free(plans.list)
        free(s)
        free(c)
