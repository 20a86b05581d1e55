"""What other extensions of the package may call: a nest ready to count, and its transfers."""

from libc.stdint cimport int64_t as i64


cdef enum:
    MAX_DIMS = 12
    MAX_LOOPS = 64
    MAX_PIECES = 64      # different pieces of one dim
    MAX_PARTS = 48       # the same, where their past does not matter
    MAX_TENSORS = 4
    MAX_MEMBERS = 1024   # instances of one group that shares words, listed one by one
    MAX_CONTEXTS = 96
    MAX_CHAIN = 16       # loops of one dim

    SLIDE = 0
    KEEP = 1
    REFILL = 2
    ALWAYS = 3           # MAC units: operands are fetched at every step

    ALONE = 0            # no multicast
    TILE = 1
    WORD = 2

    BAD_TILE = 1
    TOO_MANY = 2


cdef struct Piece:
    i64 mult
    i64 size       # of this instance now
    i64 lock       # of instance 0 in the previous step: it decides how often temporal loops run
    i64 before     # of this instance in the previous step, 0 if it was idle
    i64 moved      # start now minus start in the previous step
    int still      # no loop inside j wrapped


cdef struct Part:  # a piece without its past, for sums that need no V
    i64 mult
    i64 size
    i64 lock
    int still


cdef struct Parts:
    int n
    Part items[MAX_PARTS]


cdef struct Context:
    i64 mult
    int still
    int n
    i64* members   # n times (start, size, start before, size before)


cdef struct Group:
    Context* contexts
    int n


cdef struct Axis:
    int n_dims
    int dim[2]
    i64 step[2]    # coefficients divided by their common divisor
    int relevant
    int listed     # members of a group must be listed one by one
    int even       # nothing ragged
    int left       # temporal loops of the axis inside j
    int by_parts   # U and N from Parts that are cut further with every step
    i64 U
    i64 N
    i64 V


cdef struct Nest:
    int n_dims
    i64 size[MAX_DIMS]
    # loops that run more than once, outermost first
    int n
    int dim[MAX_LOOPS]
    int spatial[MAX_LOOPS]
    i64 tile[MAX_LOOPS]
    i64 count[MAX_LOOPS]
    int at[MAX_LOOPS + 1]           # template position -> first such loop at or after it
    int chain_length[MAX_DIMS]
    int chain[MAX_DIMS][MAX_LOOPS]
    int ragged_at[MAX_DIMS]        # the first loop that makes ragged pieces
    # tensors
    int n_axes[MAX_TENSORS]
    Axis axes[MAX_TENSORS][MAX_DIMS]
    # scratch of the slow path
    i64* scratch
    i64* pool[2]
    Context* contexts[2]
    char* marks
    int error


cdef void lay_out(Nest* w, const i64[::1] sizes, const i64[:, ::1] axis_table) noexcept nogil
cdef int set_tiles(Nest* w, int n_loops, const i64* loop_dim, const i64* loop_spatial, const i64* tiles) noexcept nogil
cdef i64 transfer(Nest* w, int tensor, int above_parent, int above_child, int multicast, int policy,
                  int first) noexcept nogil
