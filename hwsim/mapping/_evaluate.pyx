# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, nonecheck=False
"""The closed form of the counts, for a batch of tile sizes of one loop nest. `counts.py` says what is counted.

Everything is a sum over the steps of the odometer of temporal loops and over the instances that spatial loops make. A step
increments one loop j; loops outside it stand anywhere, loops inside it wrap to 0. Dims are independent, so the sum of a
product over axes is the product of sums over each axis, and for one axis only a few different pieces exist (full ones and
ragged ones): `walk` lists these with their multiplicities. Per axis three sums are enough:

U  words needed in the new tile (1 for a dim that the tensor does not have),
N  the same, where no loop of the axis inside j wraps,
V  the words of them that the previous tile held too.

There are three roads to them, and the file is long because each is needed: products where nothing is ragged (most mappings
of a search), lists of pieces where something is, and lists of instances where windows overlap in ways without a short form.
"""

from libc.stdint cimport int64_t as i64
from libc.stdlib cimport free, malloc
from libc.string cimport memset

__all__ = ["evaluate_batch"]

cdef inline i64 low(i64 a, i64 b) noexcept nogil:
    return a if a < b else b


cdef inline i64 high(i64 a, i64 b) noexcept nogil:
    return a if a > b else b


cdef inline i64 cut(i64 size, i64 start, i64 tile) noexcept nogil:
    """Length of the piece at `start` of `size`, 0 if it does not reach there."""
    size -= start
    return 0 if size <= 0 else (tile if size > tile else size)


cdef inline i64 floor_div(i64 a, i64 b) noexcept nogil:
    return a // b if a >= 0 else -((b - 1 - a) // b)


cdef inline i64 distinct(i64 u, i64 d, i64 p, i64 r) noexcept nogil:
    """Different values of u*i + d*k, i < p, k < r, with u and d coprime."""
    if r == 1:
        return p
    return p * r - high(0, p - d) * high(0, r - u)


cdef int holds(i64 u, i64 d, i64 p, i64 r, i64 p0, i64 pn, i64 r0, i64 rn) noexcept nogil:
    """Is u*p + d*r a word of the tile p0..p0+pn, r0..r0+rn? (p - d*t, r + u*t) are the same word."""
    cdef i64 lo = high(-floor_div(p0 + pn - 1 - p, d), -floor_div(r - r0, u))
    cdef i64 hi = low(floor_div(p - p0, d), floor_div(r0 + rn - 1 - r, u))
    return lo <= hi


cdef i64 overlap(i64 u, i64 d, i64 pn, i64 rn, i64 p0, i64 pm, i64 r0, i64 rm) noexcept nogil:
    """Words that the tile 0..pn, 0..rn shares with the tile p0..p0+pm, r0..r0+rm."""
    cdef i64 total = 0, r, first, lo, hi, t
    if p0 == 0 and r0 == 0 and pn <= pm and rn <= rm:
        return distinct(u, d, pn, rn)
    if u * (pn - 1) + d * (rn - 1) < u * p0 + d * r0 or u * (p0 + pm - 1) + d * (r0 + rm - 1) < 0:
        return 0
    for r in range(rn):
        # of all (p, r) of one word, the one with the smallest r stands for it
        first = 0 if r < u else high(0, pn - d)
        lo = -floor_div(r - r0, u)
        hi = floor_div(r0 + rm - 1 - r, u)
        if lo > hi:
            continue
        if pm >= d:
            total += high(0, low(pn, p0 + pm + d * hi) - high(first, p0 + d * lo))
        else:
            for t in range(lo, hi + 1):
                total += high(0, low(pn, p0 + pm + d * t) - high(first, p0 + d * t))
    return total


cdef inline int push(Piece* out, int n, i64 mult, i64 size, i64 lock, i64 before, i64 moved, int still) noexcept nogil:
    """Append a piece, or count it with an equal one."""
    cdef Piece* last
    cdef int i
    if mult <= 0 or size <= 0:
        return n
    if n > MAX_PIECES:
        return n
    for i in range(n):
        last = &out[i]
        if (last.size == size and last.lock == lock and last.before == before and last.moved == moved
                and last.still == still):
            last.mult += mult
            return n
    if n >= MAX_PIECES:
        return n + 1
    out[n].mult = mult
    out[n].size = size
    out[n].lock = lock
    out[n].before = before
    out[n].moved = moved
    out[n].still = still
    return n + 1


cdef int walk(Nest* w, int d, int j, int increment, int inner, int shared, int whole, Piece* out) noexcept nogil:
    """List the pieces of dim `d` below the loops before `inner`, in the step that increments loop `j`.

    Without `increment`, loop j is inside the one that moves. Spatial loops from `shared` on are not summed: with `whole`
    their instances count as one piece, otherwise only instance 0 is looked at.
    """
    cdef Piece other[MAX_PIECES]
    cdef Piece* old = other
    cdef Piece* new = out
    cdef Piece* swap
    cdef int n = 1, m, k, e, i, still
    cdef i64 t, c, q, r, s, mult, moved, size
    if w.ragged_at[d] >= inner:
        mult = 1
        moved = 0
        still = 1
        size = w.size[d]
        for k in range(w.chain_length[d]):
            e = w.chain[d][k]
            if e >= inner:
                break
            t = w.tile[e]
            if w.spatial[e]:
                if e < shared:
                    mult *= w.count[e]
                elif whole:
                    continue
            elif e < j:
                mult *= w.count[e]
            elif e == j and increment:
                mult *= w.count[e] - 1
                moved += t
            else:
                still = 0
                moved -= size - t
            size = t
        out[0].mult = mult
        out[0].size = size
        out[0].lock = size
        out[0].before = size
        out[0].moved = moved
        out[0].still = still
        return 1 if mult > 0 else 0

    old[0].mult = 1
    old[0].size = w.size[d]
    old[0].lock = w.size[d]
    old[0].before = w.size[d]
    old[0].moved = 0
    old[0].still = 1
    for k in range(w.chain_length[d]):
        e = w.chain[d][k]
        if e >= inner:
            break
        t = w.tile[e]
        m = 0
        for i in range(n):
            s = old[i].size
            if w.spatial[e]:
                c = low(old[i].lock, t)
                if e >= shared:
                    if whole:
                        m = push(new, m, old[i].mult, s, old[i].lock, old[i].before, old[i].moved, old[i].still)
                    else:
                        m = push(new, m, old[i].mult, low(s, t), c, low(old[i].before, t), old[i].moved, old[i].still)
                    continue
                q = low(s // t, old[i].before // t)
                m = push(new, m, old[i].mult * q, t, c, t, old[i].moved, old[i].still)
                r = s - q * t
                if r > 0:
                    m = push(new, m, old[i].mult, low(r, t), c, cut(old[i].before, q * t, t), old[i].moved,
                             old[i].still)
                    r -= t
                    if r > 0:  # instances that were idle in the previous step
                        m = push(new, m, old[i].mult * (r // t), t, c, 0, old[i].moved, old[i].still)
                        m = push(new, m, old[i].mult, r % t, c, 0, old[i].moved, old[i].still)
            elif e < j:
                q = s // t
                m = push(new, m, old[i].mult * q, t, t, t, 0, 1)
                r = s - q * t
                if r > 0:
                    m = push(new, m, old[i].mult, r, cut(old[i].lock, q * t, t), r, 0, 1)
            elif e == j and increment:
                q = s // t
                m = push(new, m, old[i].mult * (q - 1), t, t, t, t, 1)
                if q > 0:
                    m = push(new, m, old[i].mult, s - q * t, t, t, t, 1)
            elif old[i].lock > t:
                c = (old[i].lock - 1) // t * t
                m = push(new, m, old[i].mult, low(s, t), old[i].lock - c, cut(old[i].before, c, t), old[i].moved - c, 0)
            else:
                m = push(new, m, old[i].mult, low(s, t), old[i].lock, low(old[i].before, t), old[i].moved, old[i].still)
            if m > MAX_PIECES:
                w.error = TOO_MANY
                return 0
        swap = old
        old = new
        new = swap
        n = m
    if old is not out:
        for i in range(n):
            out[i] = old[i]
    return n


cdef inline void add_part(Parts* out, i64 mult, i64 size, i64 lock, int still) noexcept nogil:
    """Append a piece, or count it with an equal one."""
    cdef Part* part
    cdef int i
    if mult > 0 and size > 0:
        for i in range(min(out.n, <int>MAX_PARTS)):
            part = &out.items[i]
            if part.size == size and part.lock == lock and part.still == still:
                part.mult += mult
                return
        if out.n < MAX_PARTS:
            part = &out.items[out.n]
            part.mult = mult
            part.size = size
            part.lock = lock
            part.still = still
        out.n += 1


cdef inline int first_summed(Axis* a, int inner, int shared, int multicast) noexcept nogil:
    """Spatial loops from here on are not summed (as `shared` of `walk`)."""
    if a.n_dims == 2:
        return shared if multicast == WORD else inner
    return inner if a.relevant or multicast == ALONE else shared


cdef void cut_parts(Nest* w, int e, int increment, int shared, int whole, Parts* old, Parts* new) noexcept nogil:
    """Cut pieces by loop `e`, whose index stands anywhere (with `increment`: anywhere but at 0)."""
    cdef i64 t = w.tile[e], q, r, c
    cdef int i
    cdef Part* p
    new.n = 0
    for i in range(old.n):
        p = &old.items[i]
        if w.spatial[e]:
            c = low(p.lock, t)
            if e >= shared:
                add_part(new, p.mult, p.size if whole else low(p.size, t), c, 1)
                continue
            q = p.size // t
            add_part(new, p.mult * q, t, c, 1)
            add_part(new, p.mult, p.size - q * t, c, 1)
        elif increment:
            q = p.size // t
            if q > 0:
                add_part(new, p.mult * (q - 1), t, t, 1)
                add_part(new, p.mult, p.size - q * t, t, 1)
        else:
            q = p.size // t
            r = p.size - q * t
            add_part(new, p.mult * q, t, t, 1)
            if r > 0:
                add_part(new, p.mult, r, cut(p.lock, q * t, t), 1)


cdef inline void copy_parts(Parts* old, Parts* new) noexcept nogil:
    cdef int i
    new.n = old.n
    for i in range(min(old.n, <int>MAX_PARTS)):
        new.items[i] = old.items[i]


cdef void finish_parts(Nest* w, int d, int k, int inner, int shared, int whole, Parts* out) noexcept nogil:
    """Cut pieces by the loops from place `k` of the chain on, which wrap."""
    cdef int e, i, n
    cdef i64 t, q, r
    cdef Part* p
    for k in range(k, w.chain_length[d]):
        e = w.chain[d][k]
        if e >= inner or out.n > MAX_PARTS:
            return
        t = w.tile[e]
        n = out.n
        for i in range(n):
            p = &out.items[i]
            if not w.spatial[e]:
                if p.lock > t:
                    p.still = 0
                p.size = low(p.size, t)
            elif e < shared:
                p.lock = low(p.lock, t)
                if p.size > t:
                    q = p.size // t
                    r = p.size - q * t
                    add_part(out, p.mult, r, p.lock, p.still)
                    p.mult *= q
                    p.size = t
            else:
                p.lock = low(p.lock, t)
                if not whole:
                    p.size = low(p.size, t)


cdef void sum_parts(Axis* a, Parts* x, Parts* y) noexcept nogil:
    """Set U and N of an axis from the pieces of its dim or two."""
    cdef int i, k
    cdef i64 words
    a.U = 0
    a.N = 0
    for i in range(x.n):
        if a.n_dims == 2:
            for k in range(y.n):
                words = x.items[i].mult * y.items[k].mult * distinct(
                    a.step[0], a.step[1], x.items[i].size, y.items[k].size)
                a.U += words
                if x.items[i].still and y.items[k].still:
                    a.N += words
            continue
        words = x.items[i].mult * (x.items[i].size if a.relevant else 1)
        a.U += words
        if x.items[i].still:
            a.N += words


cdef int windows_meet(Nest* w, Axis* a, int e, int inner) noexcept nogil:
    """Can the tile overlap with the one before when loop `e` of a two-dim axis goes up alone?"""
    cdef i64 length[2]
    cdef int i, k
    for i in range(2):
        length[i] = w.size[a.dim[i]]
        for k in range(w.chain_length[a.dim[i]]):
            if w.chain[a.dim[i]][k] >= inner:
                break
            length[i] = w.tile[w.chain[a.dim[i]][k]]
    return (a.step[w.dim[e] == a.dim[1]] * w.tile[e]
            <= a.step[0] * (length[0] - 1) + a.step[1] * (length[1] - 1))


cdef void list_members(Nest* w, int which, int d, int k, int j, int increment, int inner, int shared, i64 mult, int still,
                       i64 lock, int n, Group* group) noexcept nogil:
    """As `walk`, but each group of instances that share words becomes a context with its members one by one.

    The members at chain depth k lie in scratch[k], n times (start, size, start before, size before).
    """
    cdef int e, i, m
    cdef i64 t, c, index, run, top, step
    cdef i64* now = w.scratch + <i64>k * 4 * MAX_MEMBERS
    cdef i64* below = now + 4 * MAX_MEMBERS
    cdef Context* context
    if w.error or n == 0 or mult <= 0:
        return
    e = w.chain[d][k] if k < w.chain_length[d] else inner
    if e >= inner:
        if group.n >= MAX_CONTEXTS:
            w.error = TOO_MANY
            return
        context = &group.contexts[group.n]
        context.mult = mult
        context.still = still
        context.n = n
        context.members = w.pool[which] + <i64>group.n * 4 * MAX_MEMBERS
        for i in range(4 * n):
            context.members[i] = now[i]
        group.n += 1
        return
    if k + 1 >= MAX_CHAIN:
        w.error = TOO_MANY
        return
    t = w.tile[e]
    if w.spatial[e] and e >= shared:
        m = 0
        for i in range(n):
            for index in range((now[4 * i + 1] + t - 1) // t):
                if m >= MAX_MEMBERS:
                    w.error = TOO_MANY
                    return
                c = index * t
                below[4 * m] = now[4 * i] + c
                below[4 * m + 1] = cut(now[4 * i + 1], c, t)
                below[4 * m + 2] = now[4 * i + 2] + c
                below[4 * m + 3] = cut(now[4 * i + 3], c, t)
                m += 1
        list_members(w, which, d, k + 1, j, increment, inner, shared, mult, still, low(lock, t), m, group)
        return
    if not w.spatial[e] and not (e < j or (e == j and increment)):
        c = (lock - 1) // t * t
        for i in range(n):
            below[4 * i] = now[4 * i]
            below[4 * i + 1] = low(now[4 * i + 1], t)
            below[4 * i + 2] = now[4 * i + 2] + c
            below[4 * i + 3] = cut(now[4 * i + 3], c, t)
        list_members(w, which, d, k + 1, j, increment, inner, shared, mult, still and c == 0, lock - c, n, group)
        return
    # any index of a loop outside j, of j itself, or of a spatial loop above the parent
    step = t if (not w.spatial[e] and e == j) else 0
    index = 1 if step else 0
    while True:
        # how many indices from here on give every member a full piece before and after?
        top = -1
        run = -1
        for i in range(n):
            if now[4 * i + 1] > index * t:
                c = now[4 * i + 1] // t - index
                if w.spatial[e]:
                    c = low(c, now[4 * i + 3] // t - index)
                run = c if run < 0 else low(run, c)
                top = high(top, now[4 * i + 1])
        if top < 0:
            return
        run = high(run, 1)
        m = 0
        for i in range(n):
            c = cut(now[4 * i + 1], index * t, t)
            if c == 0:
                continue
            # starts relative to the piece: a common shift of all members changes nothing
            below[4 * m] = now[4 * i]
            below[4 * m + 1] = c
            below[4 * m + 2] = now[4 * i + 2] - step
            below[4 * m + 3] = cut(now[4 * i + 3], index * t - step, t)
            m += 1
        c = low(lock, t) if w.spatial[e] else cut(lock, index * t - step, t)
        list_members(w, which, d, k + 1, j, increment, inner, shared, mult * run, still, c, m, group)
        if w.error:
            return
        index += run


cdef void list_group(Nest* w, int which, int d, int j, int increment, int inner, int shared, Group* group) noexcept nogil:
    """All contexts of dim `d`."""
    group.contexts = w.contexts[which]
    group.n = 0
    w.scratch[0] = 0
    w.scratch[1] = w.size[d]
    w.scratch[2] = 0
    w.scratch[3] = w.size[d]
    list_members(w, which, d, 0, j, increment, inner, shared, 1, 1, w.size[d], 1, group)


cdef void axis_by_members(Nest* w, Axis* a, int j, int increment, int inner, int shared, int policy) noexcept nogil:
    """U, N and V where instances share words and each of them must be looked at."""
    cdef Group first, second
    cdef Context *x
    cdef Context *y
    cdef i64 p, r, u, v, need, mult, extent, rows
    cdef i64* f
    cdef i64* g
    cdef int i, k, m, n, idle, still
    a.U = 0
    a.N = 0
    a.V = 0
    list_group(w, 0, a.dim[0], j, increment, inner, shared, &first)
    if not a.relevant:
        for i in range(first.n):
            x = &first.contexts[i]
            idle = 0
            for m in range(x.n):
                if x.members[4 * m + 3] == 0:
                    idle = 1
            a.U += x.mult
            if x.still:
                a.N += x.mult
            if not idle:
                a.V += x.mult
        return
    list_group(w, 1, a.dim[1], j, increment, inner, shared, &second)
    if w.error:
        return
    u = a.step[0]
    v = a.step[1]
    extent = u * (w.size[a.dim[0]] - 1) + v * (w.size[a.dim[1]] - 1) + 1
    for i in range(first.n):
        x = &first.contexts[i]
        for k in range(second.n):
            y = &second.contexts[k]
            mult = x.mult * y.mult
            memset(w.marks, 0, extent)
            for m in range(x.n):
                f = &x.members[4 * m]
                for n in range(y.n):
                    g = &y.members[4 * n]
                    for p in range(f[0], f[0] + f[1]):
                        for r in range(g[0], g[0] + g[1]):
                            if f[3] > 0 and g[3] > 0 and holds(u, v, p, r, f[2], f[3], g[2], g[3]):
                                w.marks[u * p + v * r] |= 1
                            else:
                                w.marks[u * p + v * r] |= 2
            need = 0
            rows = 0
            for p in range(extent):
                need += w.marks[p] != 0
                rows += w.marks[p] == 1
            a.U += mult * need
            still = x.still and y.still
            if still:
                a.N += mult * need
            if policy == KEEP or (policy == SLIDE and still):
                a.V += mult * rows


cdef void sum_axis(Nest* w, Axis* a, int j, int increment, int inner, int shared, int multicast, int policy) noexcept nogil:
    """Set U, N and V of one axis for the step that increments loop j."""
    cdef Piece p[MAX_PIECES]
    cdef Piece r[MAX_PIECES]
    cdef int n, m, i, k
    cdef i64 words, mult, common
    if a.listed == 1 or (a.listed == 2 and increment):
        axis_by_members(w, a, j, increment, inner, shared, policy)
        return
    a.U = 0
    a.N = 0
    a.V = 0
    if a.n_dims == 1:
        n = walk(w, a.dim[0], j, increment, inner, inner if a.relevant or multicast == ALONE else shared, 0, p)
        if a.relevant:
            for i in range(n):
                words = p[i].mult * p[i].size
                a.U += words
                if p[i].still:
                    a.N += words
            if not increment:
                a.V = a.N
        else:
            for i in range(n):
                a.U += p[i].mult
                if p[i].still:
                    a.N += p[i].mult
                if p[i].before > 0:
                    a.V += p[i].mult
        return
    if multicast != WORD:
        shared = inner
    n = walk(w, a.dim[0], j, increment, inner, shared, 1, p)
    m = walk(w, a.dim[1], j, increment, inner, shared, 1, r)
    for i in range(n):
        for k in range(m):
            mult = p[i].mult * r[k].mult
            words = distinct(a.step[0], a.step[1], p[i].size, r[k].size)
            a.U += mult * words
            if p[i].still and r[k].still:
                a.N += mult * words
            elif policy != KEEP:
                continue
            if policy <= KEEP and (increment or policy == KEEP) and p[i].before > 0 and r[k].before > 0:
                common = overlap(a.step[0], a.step[1], p[i].size, r[k].size,
                                 -p[i].moved, p[i].before, -r[k].moved, r[k].before)
                a.V += mult * common


cdef int must_list(Nest* w, Axis* a, int inner, int shared, int multicast, int policy) noexcept nogil:
    """Do instances between parent and child share words in a way that has no short form?"""
    cdef int i, k, e, found = 0, later = 0, temporal = 0, ragged = 0
    for i in range(a.n_dims):
        k = 0
        ragged |= w.ragged_at[a.dim[i]] < inner
        later = 0
        for k in range(w.chain_length[a.dim[i]]):
            e = w.chain[a.dim[i]][k]
            if e >= inner:
                break
            if w.spatial[e] and e >= shared:
                found = 1
                later = 1
            elif not w.spatial[e]:
                temporal |= 1 | (later << 1)
    if not found:
        return 0
    if not a.relevant:
        return multicast != ALONE and policy == KEEP and ragged and temporal != 0
    if a.n_dims == 1 or multicast != WORD:
        return 0
    if temporal > 1 or (temporal and policy == KEEP):
        return 1
    return 2 if temporal and policy == SLIDE else 0   # 2: only for steps of a loop of this axis


cdef inline void set_even(Nest* w, Axis* a, int inner, int shared, int policy) noexcept nogil:
    """Set up an axis without ragged pieces before the first step (if policy is ALWAYS: over all steps)."""
    cdef i64 mult = 1
    cdef i64 length[2]
    cdef int i, k, d, e
    a.by_parts = 0
    length[0] = length[1] = 1
    for i in range(a.n_dims):
        d = a.dim[i]
        length[i] = w.size[d]
        for k in range(w.chain_length[d]):
            e = w.chain[d][k]
            if e >= inner:
                break
            if w.spatial[e]:
                if e < shared:
                    mult *= w.count[e]
                elif a.n_dims == 2:
                    continue
            elif policy == ALWAYS:
                mult *= w.count[e]
            else:
                a.left += 1
            length[i] = w.tile[e]
    if a.n_dims == 2:
        mult *= distinct(a.step[0], a.step[1], length[0], length[1])
    elif a.relevant:
        mult *= length[0]
    a.U = mult
    a.N = 0 if a.left else mult
    a.V = a.N if a.relevant else mult


cdef i64 transfer(Nest* w, int tensor, int above_parent, int above_child, int multicast, int policy,
                  int first) noexcept nogil:
    """Words that move from a parent to its children over the whole run, each shared word once."""
    cdef Axis axes[MAX_DIMS]
    cdef Axis step
    cdef Axis* a
    cdef int of_dim[MAX_DIMS]
    cdef int n = 0, d, i, k, e, mine, shared = w.at[above_parent], inner = w.at[above_child]
    # the product of U over all axes before the step, and over those that the step does not touch
    cdef i64 product = 1, others, total, same, kept, both, ju, jv
    # pieces of ragged dims: cut by the loops outside e, and cut by all
    cdef Parts open_parts[MAX_DIMS]
    cdef Parts closed[MAX_DIMS]
    cdef Parts moved
    cdef int place[MAX_DIMS]
    cdef int apart
    for d in range(w.n_dims):
        of_dim[d] = -1
    if tensor >= 0:
        for i in range(w.n_axes[tensor]):
            axes[n] = w.axes[tensor][i]
            for d in range(axes[n].n_dims):
                of_dim[axes[n].dim[d]] = n
            n += 1
    for d in range(w.n_dims):
        if of_dim[d] < 0 and w.chain_length[d] > 0 and w.chain[d][0] < inner:
            axes[n].n_dims = 1
            axes[n].dim[0] = d
            axes[n].relevant = 0
            of_dim[d] = n
            n += 1
    for i in range(n):
        a = &axes[i]
        a.listed = 0
        if multicast == WORD or (multicast == TILE and policy == KEEP):
            a.listed = must_list(w, a, inner, shared, multicast, policy)
        a.even = a.listed != 1 and w.ragged_at[a.dim[0]] >= inner and (
            a.n_dims == 1 or w.ragged_at[a.dim[1]] >= inner)
        a.left = 0
        if a.even and (policy != KEEP or a.n_dims == 1):
            set_even(w, a, inner, first_summed(a, inner, shared, multicast), policy)
            product *= a.U
            continue
        for k in range(a.n_dims):
            for d in range(w.chain_length[a.dim[k]]):
                e = w.chain[a.dim[k]][d]
                if e >= inner:
                    break
                a.left += not w.spatial[e]
        a.by_parts = not a.even and a.listed != 1 and policy != KEEP and policy != ALWAYS
        if a.by_parts:
            apart = first_summed(a, inner, shared, multicast)
            for k in range(a.n_dims):
                d = a.dim[k]
                place[d] = 0
                open_parts[d].n = 0
                add_part(&open_parts[d], 1, w.size[d], w.size[d], 1)
                closed[d].n = 0
                add_part(&closed[d], 1, w.size[d], w.size[d], 1)
                finish_parts(w, d, 0, inner, apart, a.n_dims == 2, &closed[d])
                if closed[d].n > MAX_PARTS:
                    w.error = TOO_MANY
                    return 0
            sum_parts(a, &closed[a.dim[0]], &closed[a.dim[a.n_dims - 1]])
        else:
            sum_axis(w, a, inner if policy == ALWAYS else 0, 0, inner, shared, multicast, policy)
        product *= a.U
    if w.error:
        return 0
    if policy == ALWAYS or first:
        return product
    total = product
    for e in range(inner):
        if w.spatial[e]:
            continue
        mine = of_dim[w.dim[e]]
        a = &axes[mine]
        a.left -= 1
        jv = 0
        if a.even:
            ju = a.U * (w.count[e] - 1)
            if not a.relevant:
                jv = ju
            elif a.n_dims == 2 and (policy == KEEP or (policy == SLIDE and a.left == 0)):
                if policy == KEEP or windows_meet(w, a, e, inner):
                    step = a[0]
                    sum_axis(w, &step, e, 1, inner, shared, multicast, policy)
                    jv = step.V
        elif a.by_parts:
            d = w.dim[e]
            apart = first_summed(a, inner, shared, multicast)
            while w.chain[d][place[d]] < e:
                cut_parts(w, w.chain[d][place[d]], 0, apart, a.n_dims == 2, &open_parts[d], &moved)
                copy_parts(&moved, &open_parts[d])
                place[d] += 1
            place[d] += 1
            cut_parts(w, e, 1, apart, a.n_dims == 2, &open_parts[d], &moved)
            finish_parts(w, d, place[d], inner, apart, a.n_dims == 2, &moved)
            if moved.n > MAX_PARTS:
                w.error = TOO_MANY
                return 0
            step = a[0]
            sum_parts(&step, &moved if d == a.dim[0] else &closed[a.dim[0]],
                      &moved if d == a.dim[a.n_dims - 1] else &closed[a.dim[a.n_dims - 1]])
            ju = step.U
            if policy == SLIDE and a.n_dims == 2 and step.N and windows_meet(w, a, e, inner):
                sum_axis(w, &step, e, 1, inner, shared, multicast, policy)
                jv = step.V
            cut_parts(w, e, 0, apart, a.n_dims == 2, &open_parts[d], &closed[d])
            if a.left:   # another loop will cut them further
                copy_parts(&closed[d], &open_parts[d])
            finish_parts(w, d, place[d], inner, apart, a.n_dims == 2, &closed[d])
            if closed[d].n > MAX_PARTS:
                w.error = TOO_MANY
                return 0
        else:
            step = a[0]
            sum_axis(w, &step, e, 1, inner, shared, multicast, policy)
            ju = step.U
            jv = step.V
        if a.even:
            others = 0
            total += product * (w.count[e] - 1)
            product *= w.count[e]
        else:
            others = product // a.U
            total += ju * others
        if a.relevant:
            if policy == SLIDE:
                for i in range(n):
                    if i != mine:
                        jv *= axes[i].N
                total -= jv
            elif policy == KEEP:
                for i in range(n):
                    if i != mine:
                        jv *= axes[i].V
                total -= jv
        else:
            same = ju   # no index that the tensor sees moved: nothing to do
            for i in range(n):
                if i != mine:
                    same *= axes[i].N if axes[i].relevant else axes[i].U
            total -= same
            if policy == KEEP:
                kept = jv
                both = jv
                for i in range(n):
                    if i != mine:
                        kept *= axes[i].V
                        both *= axes[i].N if axes[i].relevant else axes[i].V
                total -= kept - both
        # from here on loop e stands anywhere
        if a.by_parts:
            sum_parts(a, &closed[a.dim[0]], &closed[a.dim[a.n_dims - 1]])
            product = others * a.U
            continue
        if a.even and (policy != KEEP or a.n_dims == 1):
            a.U += ju
            a.N = 0 if a.left else a.U
            a.V = a.N if a.relevant else a.U
            continue
        sum_axis(w, a, e + 1, 0, inner, shared, multicast, policy)
        if w.error:
            return 0
        if not a.even:
            product = others * a.U
    return total


cdef int set_tiles(Nest* w, int n_loops, const i64* loop_dim, const i64* loop_spatial, const i64* tiles) noexcept nogil:
    """Keep the loops that run more than once; 0 if the tile sizes are not a nest."""
    cdef i64 current[MAX_DIMS]
    cdef int i, d, e = 0
    cdef i64 t
    for d in range(w.n_dims):
        current[d] = w.size[d]
        w.chain_length[d] = 0
        w.ragged_at[d] = MAX_LOOPS
    for i in range(n_loops):
        w.at[i] = e
        d = <int>loop_dim[i]
        t = tiles[i]
        if t < 1 or t > current[d]:
            return 0
        if t == current[d]:
            continue
        w.dim[e] = d
        w.spatial[e] = <int>loop_spatial[i]
        w.tile[e] = t
        w.count[e] = current[d] // t
        if w.count[e] * t != current[d]:
            w.count[e] += 1
            if w.ragged_at[d] > e:
                w.ragged_at[d] = e
        w.chain[d][w.chain_length[d]] = e
        w.chain_length[d] += 1
        current[d] = t
        e += 1
    w.at[n_loops] = e
    w.n = e
    for d in range(w.n_dims):
        if current[d] != 1:
            return 0
    return 1


cdef void lay_out(Nest* w, const i64[::1] sizes, const i64[:, ::1] axis_table) noexcept nogil:
    """Sizes of the dims and axes of the tensors; `evaluate_batch` says what the rows are."""
    cdef int i, tensor
    cdef Axis* axis
    w.n_dims = <int>sizes.shape[0]
    w.error = 0
    w.scratch = NULL
    w.marks = NULL
    for i in range(2):
        w.pool[i] = NULL
        w.contexts[i] = NULL
    for i in range(w.n_dims):
        w.size[i] = sizes[i]
    for i in range(MAX_TENSORS):
        w.n_axes[i] = 0
    for i in range(axis_table.shape[0]):
        tensor = <int>axis_table[i, 0]
        axis = &w.axes[tensor][w.n_axes[tensor]]
        w.n_axes[tensor] += 1
        axis.relevant = 1
        axis.dim[0] = <int>axis_table[i, 1]
        axis.step[0] = axis_table[i, 2]
        axis.n_dims = 1
        if axis_table[i, 3] >= 0:
            axis.n_dims = 2
            axis.dim[1] = <int>axis_table[i, 3]
            axis.step[1] = axis_table[i, 4]


def evaluate_batch(
    const i64[::1] sizes,
    const i64[:, ::1] axis_table,
    const i64[::1] loop_dim,
    const i64[::1] loop_spatial,
    const i64[:, ::1] transfers,
    const i64[:, ::1] terms,
    const i64[:, ::1] tiles,
    i64[:, ::1] out,
):
    """Fill `out`; returns (0, row) or (error, row): 1 tile sizes that are no nest, 2 too many instances to list.

    axis_table rows: tensor, dim, coefficient, second dim or -1, its coefficient (coefficients coprime).
    transfers rows: tensor (-1: none), loops above the parent, loops above the child, multicast, policy,
    1 for the first step alone.
    terms rows: output column, transfer (-1: constant 1), factor.
    """
    cdef Nest w
    cdef i64 values[256]
    cdef int n_loops = <int>loop_dim.shape[0], n_transfers = <int>transfers.shape[0], n_terms = <int>terms.shape[0]
    cdef int i, k, listing = 0
    cdef i64 row = 0, extent = 1, n_rows = tiles.shape[0]
    cdef const i64* dims = &loop_dim[0] if n_loops else NULL
    cdef const i64* spatial = &loop_spatial[0] if n_loops else NULL
    if sizes.shape[0] > MAX_DIMS or n_loops > MAX_LOOPS or n_transfers > 256:
        raise ValueError("the tables exceed the limits that compile_template checks")
    lay_out(&w, sizes, axis_table)
    for i in range(axis_table.shape[0]):
        if axis_table[i, 3] >= 0:
            extent = max(extent, axis_table[i, 2] * sizes[axis_table[i, 1]] + axis_table[i, 4] * sizes[axis_table[i, 3]])
    for i in range(n_transfers):
        if (transfers[i, 3] == WORD) or (transfers[i, 3] == TILE and transfers[i, 4] == KEEP):
            listing = 1
    try:
        if listing:
            w.scratch = <i64*>malloc((MAX_CHAIN + 1) * 4 * MAX_MEMBERS * sizeof(i64))
            w.marks = <char*>malloc(extent)
            for i in range(2):
                w.pool[i] = <i64*>malloc(<i64>MAX_CONTEXTS * 4 * MAX_MEMBERS * sizeof(i64))
                w.contexts[i] = <Context*>malloc(MAX_CONTEXTS * sizeof(Context))
                if w.pool[i] == NULL or w.contexts[i] == NULL:
                    raise MemoryError
            if w.scratch == NULL or w.marks == NULL:
                raise MemoryError
        with nogil:
            for row in range(n_rows):
                if not set_tiles(&w, n_loops, dims, spatial, &tiles[row, 0]):
                    w.error = BAD_TILE
                    break
                for i in range(n_transfers):
                    values[i] = transfer(&w, <int>transfers[i, 0], <int>transfers[i, 1], <int>transfers[i, 2],
                                         <int>transfers[i, 3], <int>transfers[i, 4], <int>transfers[i, 5])
                if w.error:
                    break
                for k in range(out.shape[1]):
                    out[row, k] = 0
                for k in range(n_terms):
                    out[row, terms[k, 0]] += terms[k, 2] * (values[terms[k, 1]] if terms[k, 1] >= 0 else 1)
    finally:
        free(w.scratch)
        free(w.marks)
        for i in range(2):
            free(w.pool[i])
            free(w.contexts[i])
    return (w.error, row if w.error else 0)
