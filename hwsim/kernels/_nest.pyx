# cython: language_level=3, boundscheck=False, wraparound=False
"""The compiled walk of a loop nest: hands arrays to the C of _nest.h and keeps them alive."""

from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset

cdef extern from "_nest.h":
    enum:
        NEST_DIMS
        NEST_LOOPS
        NEST_AXES
        NEST_LEVELS
        NEST_MEMORIES

    ctypedef struct NestLevel:
        int parent, output, above, n_axes, n_split, whole, share
        int first[8]
        int second[8]
        int64_t u[8]
        int64_t v[8]
        int64_t stride[8]
        int64_t n_inst, size, per_parent
        int state[12]
        int split[12]
        int32_t *place[12]
        int32_t *order
        int32_t *group
        int64_t step[12]
        uint64_t shown, all
        int8_t *data
        int32_t *sums
        uint8_t *seen
        int64_t *box
        int64_t *origin
        int64_t *from_ "from"
        uint8_t *held
        uint32_t *stamp
        int64_t stamps
        int8_t *scratch
        int memory, bits
        int64_t words, peak
        int64_t n_fill, n_read, n_deliver, n_update, n_drain, n_reduce

    ctypedef struct NestState "Nest":
        int n_dims, n_loops, n_levels, upper
        int dim[64]
        int spatial[64]
        int prev[64]
        int64_t tile[64]
        int64_t copies[64]
        int64_t index[64]
        int64_t pieces[76]
        int64_t *start[76]
        int64_t *length[76]
        NestLevel level[32]
        int reuse, tree
        int64_t limit[16]
        int done, failed
        int64_t n_inst
        int n_split
        int split[12]
        int final[12]
        int at_upper[12]
        int32_t *place[12]
        int inner[3]
        int32_t *home[3]
        int share[3]
        int32_t *group[3]
        uint32_t *stamp[3]
        int64_t stamps[3]
        int64_t *offset[3]
        int32_t *who
        int64_t *first
        int64_t coefficient[3][12]
        int64_t macs, gated

    int nest_run(NestState *z, int64_t budget) nogil
    void nest_free(NestState *z)

LIMITS = {
    "dims": NEST_DIMS, "loops": NEST_LOOPS, "axes of a tensor": NEST_AXES,
    "places that hold a tensor": NEST_LEVELS, "memories": NEST_MEMORIES,
}


cdef class Walk:
    """One nest with its buffers; `run` it in parts."""

    cdef NestState z
    cdef list alive

    def __cinit__(self):
        memset(&self.z, 0, sizeof(self.z))
        self.alive = []

    def __dealloc__(self):
        nest_free(&self.z)

    cdef int64_t *longs(self, int64_t[::1] array):
        if array is None or not array.shape[0]:
            return NULL
        self.alive.append(array)
        return &array[0]

    cdef int32_t *ints(self, int32_t[::1] array):
        if array is None or not array.shape[0]:
            return NULL
        self.alive.append(array)
        return &array[0]

    cdef uint32_t *marks(self, uint32_t[::1] array):
        if array is None or not array.shape[0]:
            return NULL
        self.alive.append(array)
        return &array[0]

    cdef int8_t *words(self, int8_t[::1] array):
        if array is None or not array.shape[0]:
            return NULL
        self.alive.append(array)
        return &array[0]

    cdef uint8_t *flags(self, uint8_t[::1] array):
        if array is None or not array.shape[0]:
            return NULL
        self.alive.append(array)
        return &array[0]

    def set_loops(self, loops, roots, upper, reuse, tree, limits):
        """`loops`: (dim, spatial, before, tile, copies, starts, lengths) each; `roots`: (starts, lengths) of each dim."""
        cdef int i
        self.z.n_loops, self.z.n_dims, self.z.upper = len(loops), len(roots), upper
        self.z.reuse, self.z.tree = reuse, tree
        for i, (dim, spatial, before, tile, copies, starts, lengths) in enumerate(loops):
            self.z.dim[i], self.z.spatial[i], self.z.prev[i] = dim, spatial, before
            self.z.tile[i], self.z.copies[i], self.z.pieces[i] = tile, copies, len(starts)
            self.z.start[i], self.z.length[i] = self.longs(starts), self.longs(lengths)
        for i, (starts, lengths) in enumerate(roots, start=len(loops)):
            self.z.pieces[i] = 1
            self.z.start[i], self.z.length[i] = self.longs(starts), self.longs(lengths)
        for i, bits in enumerate(limits):
            self.z.limit[i] = bits

    def add_level(
        self, *, parent, output, above, whole, share, axes, strides, size, instances, per_parent, state, place, order,
        group, shown, all_, data, sums, seen, box, origin, from_, held, stamp, scratch, memory, bits, words,
    ):
        """One tensor in one memory, after its parent; `axes` are (dim, coefficient, second dim, coefficient)."""
        cdef NestLevel *l = &self.z.level[self.z.n_levels]
        cdef int i
        l.parent, l.output, l.above, l.whole, l.share = parent, output, above, whole, share
        l.n_axes = len(axes)
        for i, (first, u, second, v) in enumerate(axes):
            l.first[i], l.u[i], l.second[i], l.v[i] = first, u, second, v
            l.stride[i] = strides[i]
            l.step[first] += u * strides[i]
            if second >= 0:
                l.step[second] += v * strides[i]
        l.n_inst, l.size, l.per_parent = instances, size, per_parent
        for i in range(self.z.n_dims):
            l.state[i] = state[i]
            l.place[i] = self.ints(place[i])
            if place[i] is not None:
                l.split[l.n_split] = i
                l.n_split += 1
        l.order, l.group = self.ints(order), self.ints(group)
        l.shown, l.all = shown, all_
        l.data, l.sums, l.seen = self.words(data), self.ints(sums), self.flags(seen)
        l.box, l.origin, l.from_, l.held = self.longs(box), self.longs(origin), self.longs(from_), self.flags(held)
        l.stamp = self.marks(stamp)
        l.stamps = 0 if stamp is None else len(stamp)
        l.scratch = self.words(scratch)
        l.memory, l.bits, l.words, l.peak = memory, bits, words, words
        self.z.n_levels += 1

    def set_macs(self, *, instances, place, final, at_upper, inner, homes, shares, groups, stamps, offsets, who, first, coefficients):
        """The loops below all memories: who reads from where."""
        cdef int i, t
        self.z.n_inst = instances
        for i in range(self.z.n_dims):
            self.z.final[i], self.z.at_upper[i] = final[i], at_upper[i]
            self.z.place[i] = self.ints(place[i])
            if place[i] is not None:
                self.z.split[self.z.n_split] = i
                self.z.n_split += 1
        for t in range(3):
            self.z.inner[t], self.z.share[t] = inner[t], shares[t]
            self.z.home[t], self.z.group[t] = self.ints(homes[t]), self.ints(groups[t])
            self.z.stamp[t] = self.marks(stamps[t])
            self.z.stamps[t] = 0 if stamps[t] is None else len(stamps[t])
            self.z.offset[t] = self.longs(offsets[t])
            for i in range(self.z.n_dims):
                self.z.coefficient[t][i] = coefficients[t][i]
        self.z.who, self.z.first = self.ints(who), self.longs(first)

    def run(self, int64_t budget):
        """Do about `budget` more MACs; the C error code (0: none)."""
        cdef int error
        with nogil:
            error = nest_run(&self.z, budget)
        return error

    @property
    def done(self):
        """Whether the last step is done and all sums are drained."""
        return bool(self.z.done)

    @property
    def macs(self):
        """MACs done."""
        return self.z.macs

    @property
    def gated(self):
        """MACs done with an operand of zero."""
        return self.z.gated

    @property
    def failed(self):
        """The level that an error is about."""
        return self.z.failed

    @property
    def indices(self):
        """Where each loop stands."""
        return [self.z.index[i] for i in range(self.z.n_loops)]

    def level(self, int i):
        """(fill, read, deliver, update, drain, reduce, words now, words at most) of a level."""
        cdef NestLevel *l = &self.z.level[i]
        return l.n_fill, l.n_read, l.n_deliver, l.n_update, l.n_drain, l.n_reduce, l.words, l.peak
