# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, nonecheck=False
"""Branch and bound over the tilings of one nest: the least cost, proved, or the least within an effort.

A tiling picks one chain of tile sizes for each axis (a dim, or the two of a window). Chains of an axis are in groups:
those that cut it alike for the outermost buffer, or, for the latency of a layer that computes longer than it loads, those
that take the same places in the array. First a group is picked for each axis (a plan), least lower bound first; then the
chains inside. `space.py` says what the tables hold. A leaf is counted by `transfer`, so it costs what it is reported at.
"""

from libc.math cimport cbrt, ceil, sqrt
from libc.stdint cimport int64_t as i64
from libc.stdlib cimport free, malloc, qsort
from libc.string cimport memcpy, memset

from hwsim.mapping._evaluate cimport Nest, lay_out, set_tiles, transfer
from hwsim.mapping._stream cimport Part, run_parts, stream_parts

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
    FIRST_EFFORT = 3000
    BOUND = 8           # effort of a lower bound
    LEAF = 100          # ... of counting a mapping

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


cdef struct Child:
    double key[2]
    int chain


cdef struct Group:
    # chains of an axis that are alike in something, and the least of each of their figures
    int first                            # of `member`
    int last
    int rows
    int cols
    double most                          # most units of a chain
    double cycles
    double tiles                         # most tiles of a chain
    double factors[MAX_ROWS * MAX_CLASSES]
    signed char classes[MAX_ROWS]
    double spans[MAX_SPANS]
    double units[MAX_ROWS]               # least units of a chain that does not move the tensor of a transfer
    double reuse[8]                      # of a set of tensors: product of their reads and of the units taken
    double reuse_still[3][8]             # ... of chains that do not move a tensor
    double cycles_still[3]


cdef struct Search:
    Nest nest
    Child* children[MAX_AXES]
    i64 plan_effort                      # effort at which the search leaves a plan for the next one
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
    const int* outer[MAX_AXES]           # chain: number of its cut for the outermost buffer
    const int* inner[MAX_AXES]           # ... of its place in the array and in a unit
    int n_outer[MAX_AXES]
    int n_inner[MAX_AXES]
    int n_chains[MAX_AXES]
    int n_groups[MAX_AXES]
    int* member[MAX_AXES]                # chains, group by group
    Group* groups[MAX_AXES]              # then one of all chains, and room for one of a single chain
    # the state of the branch, by depth
    double product[MAX_AXES + 1][MAX_ROWS * MAX_CLASSES]
    signed char cls[MAX_AXES + 1][MAX_ROWS]
    double span[MAX_AXES + 1][MAX_SPANS]
    int used_rows[MAX_AXES + 1]
    int used_cols[MAX_AXES + 1]
    double cyc[MAX_AXES + 1]
    double most_tiles[MAX_AXES + 1]
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
    int rest_rows[MAX_AXES + 1]          # least rows and columns, most units, least cycles
    int rest_cols[MAX_AXES + 1]
    double rest_most[MAX_AXES + 1]
    double rest_cycles[MAX_AXES + 1]
    double rest_tiles[MAX_AXES + 1]      # most tiles
    double rest_reuse[MAX_AXES + 1][8]
    double rest_reuse_still[3][MAX_AXES + 1][8]
    int has[3][MAX_AXES]                 # whether a tensor has a dim of the axis
    double rest_cycles_still[3][MAX_AXES + 1]
    double rest_macs_other[3][MAX_AXES + 1]
    int reads[3]                         # transfers into the array, -1 if there is none
    int whole[3]                         # their class in which all loops count
    double lower_energy[MAX_ROWS]
    double lower_bits[MAX_RATES][MAX_ROWS]
    double lower_fixed                   # energy, and bits of a rate, besides
    double lower_fixed_bits[MAX_RATES]
    int pick[MAX_AXES]
    i64 best_tiles[MAX_TILES]
    int best_pick[MAX_AXES]
    Value best
    int have
    double root_channel
    double root_work
    double channel                       # ticks of loads and stores, and of work, that the last bound says
    double work
    i64 nodes
    i64 effort                           # chains looked at; see BOUND and LEAF
    i64 leaves
    i64 most_effort
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


cdef inline double moves_of(Search* s, int depth, int x, int q) noexcept nogil:
    """Least words of a transfer of class `q`: the pieces of each class up to it move at least so."""
    cdef int k
    cdef double v = 0
    for k in range(x * MAX_CLASSES, x * MAX_CLASSES + q + 1):
        v = fhigh(v, s.product[depth][k] * s.rest[depth][k])
    return v


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
    cdef double energy = c.fixed + s.lower_fixed - c.gated_price * c.gated, traffic = c.traffic_fixed, bits, t, ticks, load = 0, store = 0, work, cyc, first = 0, last
    cdef Rate* rate
    cdef int cls[MAX_ROWS]
    units = (s.array_rows // s.used_rows[depth]) * (s.array_cols // s.used_cols[depth])
    if s.rest_most[depth] < units:
        units = s.rest_most[depth]
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
        v[x] = moves_of(s, depth, x, q)
        energy += s.lower_energy[x] * v[x]
        traffic += c.traffic[x] * v[x]
    if motion == STILL:
        t = units // s.rest_units[depth][s.reads[tensor]]  # what its dims leave to the others
        cyc = fhigh(
            cycles_left(s, depth, s.least_cycles_still[tensor]),
            s.rest_cycles_still[tensor][depth] * fhigh(1, s.rest_macs_other[tensor][depth] / t))
    else:
        cyc = cycles_left(s, depth, s.least_cycles)
    cyc = fhigh(s.least_cycles[0][0], s.cyc[depth] * fhigh(cyc, s.rest_cycles[depth]))
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
        bits = rate.fixed + s.lower_fixed_bits[r]
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
    s.channel = load + store
    s.work = work
    ticks = fhigh(load + store, first + work + last)
    if not c.double_buffered:
        ticks = fhigh(ticks, load + work + last)
    elif c.tiles >= 0 and v[c.tiles] >= 3:
        # the channel waits for the first work with two tiles loaded, and for the last with one left to store
        t = work / (s.most_tiles[depth] * s.rest_tiles[depth]) - 2
        ticks = fhigh(ticks, load + store + fhigh(0, t - load / (v[c.tiles] - 1)) + fhigh(0, t - store / (v[c.tiles] - 1)))
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
        v[x] = <i64>(moves_of(s, s.n_axes, x, s.cls[s.n_axes][x]) * (1 + 1e-13))
    for x in range(s.cost.n_first):
        first[x] = <i64>(s.span[s.n_axes][s.cost.first[x]] + 0.5)
    last = <i64>(s.span[s.n_axes][s.cost.last] + 0.5)
    if s.have:
        value_of(s.cost, v, first, last, &value)
        if value.key[0] > s.best.key[0] or (value.key[0] == s.best.key[0] and value.key[1] >= s.best.key[1]):
            return
    s.leaves += 1
    s.effort += LEAF
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
        memcpy(s.best_pick, s.pick, sizeof(int) * MAX_AXES)


cdef int take(Search* s, int depth, int chain) noexcept nogil:
    """Put a chain of the axis `depth` on the branch; 0 if it does not fit."""
    cdef int x, k, m, q
    cdef double bits
    cdef const double* f = s.factors[depth] + <i64>chain * s.n_rows * MAX_CLASSES
    cdef const signed char* c = s.classes[depth] + <i64>chain * s.n_rows
    cdef const double* sp = s.spans[depth] + <i64>chain * s.n_spans
    cdef double total, least
    s.used_rows[depth + 1] = s.used_rows[depth] * s.places[depth][2 * chain]
    s.used_cols[depth + 1] = s.used_cols[depth] * s.places[depth][2 * chain + 1]
    if (s.used_rows[depth + 1] * s.rest_rows[depth + 1] > s.array_rows
            or s.used_cols[depth + 1] * s.rest_cols[depth + 1] > s.array_cols):
        return 0
    s.cyc[depth + 1] = s.cyc[depth] * s.cycles[depth][chain]
    if s.cost.tiles >= 0:
        s.most_tiles[depth + 1] = s.most_tiles[depth] * f[s.cost.tiles * MAX_CLASSES]
    if s.have and s.cost.objective == LATENCY:  # most branches of a layer that computes long end here
        least = fhigh(cycles_left(s, depth + 1, s.least_cycles), s.rest_cycles[depth + 1])
        if s.cyc[depth + 1] * least * s.cost.tick_cycle > s.best.key[0]:
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
    cdef int chain, i, n = 0
    cdef Group* group = s.groups[depth] + groups[depth]
    cdef Child* children = s.children[depth]
    cdef double key[2]
    for i in range(group.first, group.last):
        chain = s.member[depth][i]
        s.nodes += 1
        s.effort += 1
        if s.effort > s.most_effort:
            s.stopped = 1
            return
        if not take(s, depth, chain):
            continue
        s.effort += BOUND
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
        if s.stopped or s.effort > s.plan_effort:
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
    s.rest_rows[n] = s.rest_cols[n] = 1
    s.rest_most[n] = s.rest_cycles[n] = s.rest_tiles[n] = 1
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
    cdef Group* group = s.groups[a] + g
    cdef int k
    for k in range(s.n_spans):
        s.rest_span[a][k] = s.rest_span[a + 1][k] * group.spans[k]


cdef void add_rest(Search* s, int a, int g) noexcept nogil:
    """The least that the axes from `a` on add, with a group of `a`."""
    cdef Group* group = s.groups[a] + g
    cdef int x, k
    s.rest_rows[a] = s.rest_rows[a + 1] * group.rows
    s.rest_cols[a] = s.rest_cols[a + 1] * group.cols
    s.rest_most[a] = s.rest_most[a + 1] * group.most
    s.rest_cycles[a] = s.rest_cycles[a + 1] * group.cycles
    s.rest_tiles[a] = s.rest_tiles[a + 1] * group.tiles
    for x in range(s.n_rows):
        s.rest_cls[a][x] = s.rest_cls[a + 1][x] if s.rest_cls[a + 1][x] > group.classes[x] else group.classes[x]
        s.rest_units[a][x] = s.rest_units[a + 1][x]
        if s.row[x][0] < 0 or s.has[s.row[x][0]][a]:  # other axes may take what is left
            s.rest_units[a][x] *= group.units[x]
        for k in range(s.n_classes[x]):
            s.rest[a][x * MAX_CLASSES + k] = s.rest[a + 1][x * MAX_CLASSES + k] * group.factors[x * MAX_CLASSES + k]
    for x in range(3):
        s.rest_cycles_still[x][a] = s.rest_cycles_still[x][a + 1]
        s.rest_macs_other[x][a] = s.rest_macs_other[x][a + 1]
        if s.has[x][a]:
            s.rest_cycles_still[x][a] *= group.cycles_still[x]
        else:
            s.rest_macs_other[x][a] *= s.size[a]
    for k in range(8):
        s.rest_reuse[a][k] = s.rest_reuse[a + 1][k] * group.reuse[k]
        for x in range(3):
            s.rest_reuse_still[x][a][k] = s.rest_reuse_still[x][a + 1][k] * group.reuse_still[x][k]


cdef void set_rest(Search* s, const int* groups) noexcept nogil:
    """The least that the axes from each depth on add, for these groups."""
    cdef int a
    for a in range(s.n_axes - 1, -1, -1):
        add_spans(s, a, groups[a])
        add_rest(s, a, groups[a])


cdef void gather(Search* s, int a, Group* group) noexcept nogil:
    """The least of each figure of a group's chains."""
    cdef int i, chain, x, k, units, moved
    cdef const double* factors
    cdef const signed char* classes
    cdef const double* spans
    cdef double v
    group.rows = group.cols = 1 << 30
    group.most = group.tiles = 0
    group.cycles = 1e300
    for k in range(s.n_rows * MAX_CLASSES):
        group.factors[k] = 1e300
    for x in range(s.n_rows):
        group.classes[x] = 127
        group.units[x] = 1e30
    for k in range(s.n_spans):
        group.spans[k] = 1e300
    for k in range(8):
        group.reuse[k] = 1e300
        for x in range(3):
            group.reuse_still[x][k] = 1e100
    for x in range(3):
        group.cycles_still[x] = 1e100
    for i in range(group.first, group.last):
        chain = s.member[a][i]
        factors = s.factors[a] + <i64>chain * s.n_rows * MAX_CLASSES
        classes = s.classes[a] + <i64>chain * s.n_rows
        spans = s.spans[a] + <i64>chain * s.n_spans
        if s.places[a][2 * chain] < group.rows:
            group.rows = s.places[a][2 * chain]
        if s.places[a][2 * chain + 1] < group.cols:
            group.cols = s.places[a][2 * chain + 1]
        units = s.places[a][2 * chain] * s.places[a][2 * chain + 1]
        if units > group.most:
            group.most = units
        if s.cycles[a][chain] < group.cycles:
            group.cycles = s.cycles[a][chain]
        if s.cost.tiles >= 0 and factors[s.cost.tiles * MAX_CLASSES] > group.tiles:
            group.tiles = factors[s.cost.tiles * MAX_CLASSES]
        for x in range(s.n_rows):
            for k in range(x * MAX_CLASSES, x * MAX_CLASSES + s.n_classes[x]):
                if factors[k] < group.factors[k]:
                    group.factors[k] = factors[k]
            if classes[x] < group.classes[x]:
                group.classes[x] = classes[x]
            if classes[x] < s.n_classes[x] - 1 and units < group.units[x]:
                group.units[x] = units
        for k in range(s.n_spans):
            if spans[k] < group.spans[k]:
                group.spans[k] = spans[k]
        moved = 0
        for x in range(3):
            if s.reads[x] >= 0 and classes[s.reads[x]] >= s.whole[x]:
                moved |= 1 << x
            elif s.cycles[a][chain] < group.cycles_still[x]:
                group.cycles_still[x] = s.cycles[a][chain]
        for k in range(8):
            v = units
            for x in range(3):
                if k >> x & 1 and s.reads[x] >= 0:
                    v *= factors[s.reads[x] * MAX_CLASSES + s.whole[x]]
            if v < group.reuse[k]:
                group.reuse[k] = v
            for x in range(3):
                if not moved >> x & 1 and v < group.reuse_still[x][k]:
                    group.reuse_still[x][k] = v


cdef int arrange(Search* s, int a, const int* ids, int n) except -1:
    """Put the chains of an axis into groups by a number each; behind them, one of all chains and room for another."""
    cdef int i, g, at = 0
    free(s.groups[a])
    s.groups[a] = <Group*>malloc((n + 2) * sizeof(Group))
    if s.groups[a] == NULL:
        raise MemoryError
    s.n_groups[a] = n
    for g in range(n):
        s.groups[a][g].first = s.groups[a][g].last = 0
    for i in range(s.n_chains[a]):
        s.groups[a][ids[i]].last += 1
    for g in range(n):
        s.groups[a][g].first = at
        at += s.groups[a][g].last
        s.groups[a][g].last = s.groups[a][g].first
    for i in range(s.n_chains[a]):
        g = ids[i]
        s.member[a][s.groups[a][g].last] = i
        s.groups[a][g].last += 1
    s.groups[a][n].first = s.groups[a][n + 1].first = 0
    s.groups[a][n].last = s.groups[a][n + 1].last = s.n_chains[a]
    for g in range(n + 1):
        gather(s, a, s.groups[a] + g)
    return 0


cdef int alone(Search* s, int a, int chain) noexcept nogil:
    """Number of a group of an axis that has this chain only."""
    cdef int g = s.n_groups[a] + 1, i = 0
    while s.member[a][i] != chain:
        i += 1
    s.groups[a][g].first = i
    s.groups[a][g].last = i + 1
    gather(s, a, s.groups[a] + g)
    return g


cdef struct Plan:
    double key[2]
    int groups[MAX_AXES]
    int open                             # whether something of it was left out


cdef struct Plans:
    Plan* list
    i64 n
    i64 room
    i64 most_effort                      # of listing them
    int short                            # whether some were not listed
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
    """The root of the tree: nothing is picked."""
    cdef int x, k
    for x in range(s.n_rows):
        s.cls[0][x] = 0
        for k in range(MAX_CLASSES):
            s.product[0][x * MAX_CLASSES + k] = 1
    for k in range(s.n_spans):
        s.span[0][k] = 1
    s.used_rows[0] = s.used_cols[0] = 1
    s.cyc[0] = s.most_tiles[0] = 1
    end_rest(s)


cdef void start_least(Search* s) noexcept nogil:
    """The least of all chains of the axes before each depth, as if they were picked."""
    cdef int a, x, k
    cdef Group* all
    start(s)
    for a in range(s.n_axes):
        all = s.groups[a] + s.n_groups[a]
        s.used_rows[a + 1] = s.used_cols[a + 1] = 1
        for x in range(s.n_rows):
            s.cls[a + 1][x] = 0
            for k in range(x * MAX_CLASSES, x * MAX_CLASSES + s.n_classes[x]):
                s.product[a + 1][k] = s.product[a][k] * all.factors[k]
        for k in range(s.n_spans):
            s.span[a + 1][k] = s.span[a][k] * all.spans[k]
        s.cyc[a + 1] = s.cyc[a] * all.cycles
        s.most_tiles[a + 1] = s.most_tiles[a] * all.tiles


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


cdef int fits(Search* s, int a) noexcept nogil:
    """Whether the least words of all axes fit the memories: those before `a` and the groups of those from it on."""
    cdef int k, m
    cdef double total
    for m in range(s.n_memories):
        total = 0
        for k in range(s.memory_first[m], s.memory_first[m + 1]):
            total += s.span_bits[k] * s.span[a][k] * s.rest_span[a][k]
        if total > s.capacity[m]:
            return 0
    return 1


cdef void plans_by_cut(Search* s, int a, int* groups, Plans* plans) noexcept nogil:
    """Groups of the axes before `a`, the last first; keeps those that can fit, with their lower bounds."""
    cdef int g
    cdef double key[2]
    if a == 0:
        s.effort += BOUND
        lower(s, 0, key)
        if refine(s, 0, key):
            add_plan(s, groups, key, plans)
        return
    a -= 1
    for g in range(s.n_groups[a]):
        s.effort += 1
        if s.effort > plans.most_effort:
            plans.short = 1
            return
        add_spans(s, a, g)
        if not fits(s, a):
            continue
        add_rest(s, a, g)
        if s.have or plans.crowded:
            s.effort += BOUND
            lower(s, a, key)
            if not beats(s, key[0], key[1]) or (plans.crowded and key[0] >= plans.dropped):
                continue
        groups[a] = g
        plans_by_cut(s, a, groups, plans)


cdef void plans_by_place(Search* s, int a, int* groups, double least, Plans* plans) noexcept nogil:
    """Groups of the axes from `a` on; keeps those that an array has room for, with their lower bounds.

    `least` is the least energy of all.
    """
    cdef int g
    cdef double key[2]
    cdef double ticks
    cdef Group* group
    if a == s.n_axes:
        s.effort += BOUND
        set_rest(s, groups)
        if fits(s, 0):
            lower(s, 0, key)
            if refine(s, 0, key):
                add_plan(s, groups, key, plans)
        return
    for g in range(s.n_groups[a]):
        s.effort += 1
        if s.effort > plans.most_effort:
            plans.short = 1
            return
        group = s.groups[a] + g
        s.used_rows[a + 1] = s.used_rows[a] * group.rows
        s.used_cols[a + 1] = s.used_cols[a] * group.cols
        if s.used_rows[a + 1] > s.array_rows or s.used_cols[a + 1] > s.array_cols:
            continue
        s.cyc[a + 1] = s.cyc[a] * group.cycles
        ticks = s.cyc[a + 1] * cycles_left(s, a + 1, s.least_cycles) * s.cost.tick_cycle
        set_key(s.cost, ticks, least, 0, key)
        if not beats(s, key[0], key[1]) or (plans.crowded and key[0] >= plans.dropped):
            continue
        groups[a] = g
        plans_by_place(s, a + 1, groups, least, plans)


cdef int fill_table(Search* s, double** table, int tensor, list lefts) except -1:
    """Least cycles of the axes from each on, by what is left of rows and columns; of all chains, or of those that let a
    tensor stand still."""
    cdef int a, i, j, chain, r, c, k, at, x = s.reads[tensor] if tensor >= 0 else -1
    cdef int n_rows = len(lefts[0]), n_cols = len(lefts[1]), n = n_rows * n_cols
    cdef int width = s.array_cols + 1
    cdef double v
    cdef double* least = <double*>malloc((s.array_rows + 1) * width * sizeof(double))
    cdef int* rows = <int*>malloc(n_rows * sizeof(int))
    cdef int* cols = <int*>malloc(n_cols * sizeof(int))
    try:
        if least == NULL or rows == NULL or cols == NULL:
            raise MemoryError
        for i in range(n_rows):
            rows[i] = lefts[0][i]
        for i in range(n_cols):
            cols[i] = lefts[1][i]
        for a in range(s.n_axes, -1, -1):
            table[a] = <double*>malloc(n * sizeof(double))
            if table[a] == NULL:
                raise MemoryError
            for at in range(n):
                table[a][at] = 1 if a == s.n_axes else 1e300
            if a == s.n_axes:
                continue
            for at in range((s.array_rows + 1) * width):
                least[at] = 1e300
            for chain in range(s.n_chains[a]):
                if x >= 0 and s.classes[a][chain * s.n_rows + x] >= s.whole[tensor]:
                    continue
                at = s.places[a][2 * chain] * width + s.places[a][2 * chain + 1]
                if s.cycles[a][chain] < least[at]:
                    least[at] = s.cycles[a][chain]
            for r in range(1, s.array_rows + 1):
                for c in range(1, width):
                    if least[r * width + c] >= 1e300:
                        continue
                    for i in range(n_rows):
                        if rows[i] < r:
                            break
                        for j in range(n_cols):
                            if cols[j] < c:
                                break
                            k = s.row_index[rows[i] // r] * n_cols + s.col_index[cols[j] // c]
                            v = least[r * width + c] * table[a + 1][k]
                            at = i * n_cols + j
                            if v < table[a][at]:
                                table[a][at] = v
    finally:
        free(least)
        free(rows)
        free(cols)
    return 0


cdef int fill_tables(Search* s) except -1:
    """The tables of least cycles. Axes before take whole multiples, so what is left is one of few quotients."""
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
    fill_table(s, s.least_cycles, -1, lefts)
    for a in range(3):
        fill_table(s, s.least_cycles_still[a], a if s.reads[a] >= 0 else -1, lefts)
    return 0


cdef class NestSearch:
    """The search of one nest: `dive` for a good tiling, then `prove` that none is better.

    Parameters
    ----------
    sizes, axis_table, loop_dim, loop_spatial, transfers
        As `evaluate_batch` takes them.
    classes : sequence of int
        Classes of each transfer.
    axes : sequence of tuple
        Of each axis: MACs, loops, tiles (chain, loop), factors (chain, transfer, class), classes (chain, transfer),
        spans (chain, span), places (chain, 2), cycles (chain), numbers of the outer and inner group of each chain.
    memories : dict
        `first` span and `capacity` in bits of each memory, `end` of their spans, `bits` of a word of each span, and
        `sums`: bits of a partial sum and the transfer that updates the span; `words` of the output.
    array : tuple of int
        Rows and columns.
    cost : dict
        See `search._by_transfer`.

    Attributes
    ----------
    nodes, leaves, effort : int
        Chains looked at, tilings counted, and the effort of both.
    tilings : float
        Tilings of the nest.
    result : tuple or None
        (tiles, key, ticks, energy, traffic) of the last tiling that beat what was to beat.
    """

    cdef Search* s
    cdef Cost* c
    cdef object tables
    cdef readonly object result
    cdef int by_place
    cdef double least

    def __cinit__(self, sizes, axis_table, loop_dim, loop_spatial, transfers, classes, axes, memories, array, cost):
        self.s = <Search*>malloc(sizeof(Search))
        self.c = <Cost*>malloc(sizeof(Cost))
        if self.s == NULL or self.c == NULL:
            raise MemoryError
        memset(self.s, 0, sizeof(Search))
        memset(self.c, 0, sizeof(Cost))
        self.s.cost = self.c
        self.tables = [loop_dim, loop_spatial]
        self._lay_out(sizes, axis_table, loop_dim, loop_spatial, transfers, classes, len(axes))
        self._set_memories(memories, array)
        self._set_cost(cost)
        self._set_axes(axes)
        fill_tables(self.s)

    def __dealloc__(self):
        cdef int a, x
        cdef Search* s = self.s
        if s != NULL:
            for a in range(MAX_AXES):
                free(s.groups[a])
                free(s.member[a])
                free(s.children[a])
            for a in range(MAX_AXES + 1):
                free(s.least_cycles[a])
                for x in range(3):
                    free(s.least_cycles_still[x][a])
            free(s.row_index)
            free(s.col_index)
        free(s)
        free(self.c)

    cdef _lay_out(self, sizes, axis_table, loop_dim, loop_spatial, transfers, classes, n_axes):
        cdef Search* s = self.s
        cdef const i64[::1] dim_view = loop_dim, spatial_view = loop_spatial
        cdef int x, k
        lay_out(&s.nest, sizes, axis_table)
        s.n_axes = n_axes
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

    cdef _set_memories(self, memories, array):
        cdef Search* s = self.s
        cdef int k
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

    cdef _set_cost(self, cost):
        cdef Search* s = self.s
        cdef Cost* c = self.c
        cdef int a, k, x
        for k in range(3):
            s.reads[k], s.whole[k], relevant = cost["reads"][k]
            for a in range(len(relevant)):
                s.has[k][a] = relevant[a]
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
            s.lower_energy[x] = cost["lower_energy"][0][x]
        s.lower_fixed = cost["lower_energy"][1]
        c.n_rates = len(cost["rates"])
        if c.n_rates > MAX_RATES:
            raise ValueError("too many rates")
        for k in range(c.n_rates):
            role, num, den, fixed, bits, lower_bits, s.lower_fixed_bits[k] = cost["rates"][k]
            c.rate[k].role, c.rate[k].num, c.rate[k].den, c.rate[k].fixed = role, num, den, fixed
            for x in range(s.n_rows):
                c.rate[k].bits[x] = bits[x]
                s.lower_bits[k][x] = lower_bits[x]
        c.n_first = len(cost["first"])
        for k in range(c.n_first):
            c.first[k], c.first_bits[k] = cost["first"][k]
        c.last, c.last_bits = cost["last"]

    cdef _set_axes(self, axes):
        cdef Search* s = self.s
        cdef const i64[:, ::1] tile_view
        cdef const double[:, :, ::1] factor_view
        cdef const signed char[:, ::1] class_view
        cdef const double[:, ::1] span_view
        cdef const int[:, ::1] place_view
        cdef const double[::1] cycle_view
        cdef const int[::1] outer_view, inner_view
        cdef int a, k, n = 0
        for a in range(s.n_axes):
            macs, loops, tiles, factors, kinds, spans, places, cycles, outer, inner = axes[a]
            s.size[a] = macs
            s.first_loop[a] = n
            for k in loops:
                s.loop_at[n] = k
                n += 1
            tile_view, factor_view, class_view, span_view = tiles, factors, kinds, spans
            place_view, cycle_view, outer_view, inner_view = places, cycles, outer, inner
            self.tables.append(axes[a])
            s.chain_tiles[a] = &tile_view[0, 0] if tile_view.shape[1] else NULL
            s.factors[a] = &factor_view[0, 0, 0]
            s.classes[a] = &class_view[0, 0]
            s.spans[a] = &span_view[0, 0]
            s.places[a] = &place_view[0, 0]
            s.cycles[a] = &cycle_view[0]
            s.outer[a] = &outer_view[0]
            s.inner[a] = &inner_view[0]
            s.n_chains[a] = factor_view.shape[0]
            s.n_outer[a] = s.n_inner[a] = 0
            for k in range(s.n_chains[a]):
                s.n_outer[a] = max(s.n_outer[a], s.outer[a][k] + 1)
                s.n_inner[a] = max(s.n_inner[a], s.inner[a][k] + 1)
            s.children[a] = <Child*>malloc(s.n_chains[a] * sizeof(Child))
            s.member[a] = <int*>malloc(s.n_chains[a] * sizeof(int))
            if s.children[a] == NULL or s.member[a] == NULL:
                raise MemoryError
            arrange(s, a, s.outer[a], s.n_outer[a])
        s.first_loop[s.n_axes] = n

    @property
    def nodes(self):
        return self.s.nodes

    @property
    def effort(self):
        return self.s.effort

    @property
    def tilings(self):
        cdef int a
        cdef double total = 1
        for a in range(self.s.n_axes):
            total *= self.s.n_chains[a]
        return total

    @property
    def leaves(self):
        return self.s.leaves

    cdef _beat(self, best):
        """Set what is to beat."""
        self.s.have = best is not None
        self.s.best.key[0], self.s.best.key[1] = best or (0.0, 0.0)
        self.s.best.ticks = -1

    cdef _keep(self):
        """Keep what beats it."""
        cdef Search* s = self.s
        if s.stopped == 2:
            raise AssertionError("a chain is no nest")
        if s.best.ticks >= 0:
            self.result = ([s.best_tiles[i] for i in range(s.n_loops)], (s.best.key[0], s.best.key[1]), s.best.ticks,
                           s.best.energy, s.best.traffic)
        s.stopped = 0

    def dive(self, best):
        """Go down the tree, best lower bound first, for a good tiling.

        Returns
        -------
        float
            Lower bound of all tilings.
        """
        cdef Search* s = self.s
        cdef int groups[MAX_AXES]
        cdef int a
        cdef double key[2]
        self._beat(best)
        s.most_effort = s.effort
        for a in range(s.n_axes):
            groups[a] = s.n_groups[a]
            s.most_effort += 3 * (1 + BOUND) * s.n_chains[a]
        with nogil:
            start(s)
            set_rest(s, groups)
            lower(s, 0, key)
            self.least = key[0]
            s.root_channel, s.root_work = s.channel, s.work
            s.plan_effort = s.most_effort
            descend(s, 0, groups)
        self._keep()
        if s.cost.objective == LATENCY and s.root_work >= s.root_channel:
            self.by_place = 1
            for a in range(s.n_axes):
                arrange(s, a, s.inner[a], s.n_inner[a])
        return key[0]

    def polish(self, i64 most_effort):
        """Change the chains of two axes at a time as long as the last tiling becomes better."""
        cdef Search* s = self.s
        cdef int groups[MAX_AXES]
        cdef int a, b, i, tries
        cdef double before[2]
        if self.result is None:
            return
        self._beat(self.result[1])
        s.most_effort = s.effort + most_effort
        with nogil:
            start(s)
            a = tries = 0
            b = 1 % s.n_axes
            while tries < s.n_axes * s.n_axes and not s.stopped:
                for i in range(s.n_axes):
                    groups[i] = s.n_groups[i] if i == a or i == b else alone(s, i, s.best_pick[i])
                before[0], before[1] = s.best.key[0], s.best.key[1]
                set_rest(s, groups)
                s.plan_effort = s.effort + most_effort // (4 * s.n_axes * s.n_axes)
                descend(s, 0, groups)
                tries += 1
                if s.best.key[0] != before[0] or s.best.key[1] != before[1]:
                    tries = 0
                b += 1
                if b >= s.n_axes:
                    a += 1
                    if a >= s.n_axes:
                        a = 0
                    b = a
        self._keep()

    def prove(self, best, i64 most_effort):
        """Look at all that can beat the best, within an effort.

        Parameters
        ----------
        best : tuple or None
            Key to beat.

        Returns
        -------
        float or None
            Lower bound of what was not looked at; None if nothing is left.
        """
        cdef Search* s = self.s
        cdef Plans plans
        cdef i64 i
        cdef int a, g
        cdef int groups[MAX_AXES]
        cdef double opened = -1
        cdef i64 patience = FIRST_EFFORT
        cdef int unfinished, stopped
        self._beat(best)
        plans.n = 0
        plans.room = 400_000
        plans.crowded = plans.short = 0
        plans.most_effort = s.effort + most_effort // 2
        plans.list = <Plan*>malloc(plans.room * sizeof(Plan))
        if plans.list == NULL:
            raise MemoryError
        s.most_effort = s.effort + most_effort
        try:
            with nogil:
                if self.by_place:
                    start(s)
                    plans_by_place(s, 0, groups, 0, &plans)
                else:
                    start_least(s)
                    plans_by_cut(s, s.n_axes, groups, &plans)
                qsort(plans.list, plans.n, sizeof(Plan), by_key)
                start(s)
                # each plan gets a little effort, then those with something left get more: a good mapping is met early
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
                        s.plan_effort = s.effort + patience
                        for a in range(s.n_axes):  # enough for one mapping at least
                            g = plans.list[i].groups[a]
                            s.plan_effort += (1 + BOUND) * (s.groups[a][g].last - s.groups[a][g].first)
                        set_rest(s, plans.list[i].groups)
                        descend(s, 0, plans.list[i].groups)
                        plans.list[i].open = s.stopped or s.effort > s.plan_effort
                        unfinished |= plans.list[i].open
                    if not unfinished:
                        break
                    patience *= 8
                for i in range(plans.n):
                    if plans.list[i].open and beats(s, plans.list[i].key[0], plans.list[i].key[1]):
                        opened = plans.list[i].key[0]
                        break
        finally:
            free(plans.list)
        stopped = s.stopped
        self._keep()
        # what is left unopened is bounded by the least of it
        bound = opened if stopped and opened >= 0 else None
        if plans.crowded and not (s.have and plans.dropped > s.best.key[0]) and (bound is None or plans.dropped < bound):
            bound = plans.dropped
        if plans.short:
            bound = self.least
        return bound
