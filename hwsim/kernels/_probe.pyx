# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, nonecheck=False
# cython: freethreading_compatible=True
"""Bindings of the probes. Each returns its nanoseconds and what shows that the work was done; lengths are checked here."""

from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free

cdef extern from "_probe.h" nogil:
    ctypedef struct probe_t:
        const char *name
        const char *type
        int isa, bits
        int64_t macs
        int (*supported)()

    ctypedef struct stream_t:
        int what, width
        char *from_ "from"
        char *to
        int64_t bytes, passes
        uint64_t sum

    ctypedef struct task_t:
        int what, index
        stream_t stream
        int64_t n
        double sum, start, end

    const probe_t PROBES[]
    int PROBE_COUNT, PROBE_BLOCK, MAX_THREADS
    double probe_instruction(int index, int dependent, int64_t n, double *sum)
    double probe_clock(int load, int64_t n, int64_t *sum)
    int probe_clock_load(int isa)
    int stream_width(int isa)
    double probe_chase(const int64_t *next, int64_t first, int64_t n, int64_t *end)
    int probe_flush(const char *start, int64_t bytes)
    double run_tasks(task_t *tasks, int threads)
    double probe_start(int64_t n, int64_t *ran)

MAX_TURNS = 40000  # the lanes of a chain count in fp32, exact to 2^24: 12 x 32 a turn at most
BLOCK = PROBE_BLOCK
THREADS = MAX_THREADS


cdef void need(bint holds, str what) except *:
    if not holds:
        raise ValueError(what)


def instructions():
    """(name, type, isa, bits, MACs, whether it runs here) of every probe; its place is its index."""
    return [(PROBES[i].name.decode(), PROBES[i].type.decode(), PROBES[i].isa, PROBES[i].bits, PROBES[i].macs,
             PROBES[i].supported() != 0) for i in range(PROBE_COUNT)]


def instruction(int index, bint dependent, int64_t turns):
    """Nanoseconds of `turns` x 12 instructions, and the MACs that their accumulators counted."""
    cdef double time, total
    need(0 <= index < PROBE_COUNT and PROBES[index].supported() != 0, "no such instruction runs here")
    need(1 <= turns <= MAX_TURNS, "turns")
    with nogil:
        time = probe_instruction(index, dependent, turns, &total)
    return time, total


def clock_load(int isa):
    """Bits of the vector multiplies that can run beside the clock's chain; 0 for none."""
    return probe_clock_load(isa)


def clock(int load, int64_t turns):
    """Nanoseconds of `turns` x 20 additions in a chain, and their sum."""
    cdef double time
    cdef int64_t total
    need(load in (0, probe_clock_load(1), probe_clock_load(2)) and turns >= 1, "load or turns")
    with nogil:
        time = probe_clock(load, turns, &total)
    return time, total


def width(int isa):
    """Bytes of the registers that streams move on an instruction set."""
    return stream_width(isa)


def streams(int what, int wide, uint64_t[:, ::1] source, uint64_t[:, ::1] target, int64_t passes):
    """Read, write or copy (0, 1, 2) a row of the buffers on each of as many threads: nanoseconds, sums of the words read."""
    cdef int64_t threads = source.shape[0], size = source.shape[1] * 8
    cdef double time
    need(0 <= what <= 2 and passes >= 1 and 1 <= threads <= MAX_THREADS, "what, passes or threads")
    need(wide in (16, 32, 64) and wide <= stream_width(2), "no registers of this width here")
    need(size >= PROBE_BLOCK and size % PROBE_BLOCK == 0, "rows must be whole blocks")
    need(target.shape[0] == threads and target.shape[1] == source.shape[1], "target has another shape")
    cdef task_t *tasks = <task_t *>calloc(threads, sizeof(task_t))
    if tasks == NULL:
        raise MemoryError
    try:
        for t in range(threads):
            tasks[t].stream.what, tasks[t].stream.width = what, wide
            tasks[t].stream.from_, tasks[t].stream.to = <char *>&source[t, 0], <char *>&target[t, 0]
            tasks[t].stream.bytes, tasks[t].stream.passes = size, passes
        with nogil:
            time = run_tasks(tasks, <int>threads)
        return time, [tasks[t].stream.sum for t in range(threads)]
    finally:
        free(tasks)


def side_by_side(int index, int64_t turns, int threads):
    """As `instruction`, on so many threads at once: nanoseconds from the first start to the last end, and the MACs of each."""
    cdef double time
    need(0 <= index < PROBE_COUNT and PROBES[index].supported() != 0, "no such instruction runs here")
    need(1 <= turns <= MAX_TURNS and 1 <= threads <= MAX_THREADS, "turns or threads")
    cdef task_t *tasks = <task_t *>calloc(threads, sizeof(task_t))
    if tasks == NULL:
        raise MemoryError
    try:
        for t in range(threads):
            tasks[t].what, tasks[t].index, tasks[t].n = 1, index, turns
        with nogil:
            time = run_tasks(tasks, threads)
        return time, [tasks[t].sum for t in range(threads)]
    finally:
        free(tasks)


def barriers(int64_t turns, int threads):
    """Nanoseconds of `turns` barriers that all threads meet at, and how many each has passed."""
    cdef double time
    need(turns >= 1 and 1 <= threads <= MAX_THREADS, "turns or threads")
    cdef task_t *tasks = <task_t *>calloc(threads, sizeof(task_t))
    if tasks == NULL:
        raise MemoryError
    try:
        for t in range(threads):
            tasks[t].what, tasks[t].n = 2, turns
        with nogil:
            time = run_tasks(tasks, threads)
        return time, [int(tasks[t].sum) for t in range(threads)]
    finally:
        free(tasks)


def chase(const int64_t[::1] following, int64_t first, int64_t steps, int64_t pieces=1):
    """Nanoseconds of each of `pieces` times `steps` steps from an entry to the one that it names, and where they end."""
    cdef double time
    cdef int64_t end = first, i
    need(steps >= 1 and pieces >= 1 and 0 <= first < following.shape[0], "steps, pieces or first")
    for i in range(following.shape[0]):
        need(0 <= following[i] < following.shape[0], "an entry names none of the entries")
    times = []
    for _ in range(pieces):
        with nogil:
            time = probe_chase(&following[0], end, steps, &end)
        times.append(time)
    return times, end


def flush(const uint64_t[:, ::1] buffer):
    """Drop a buffer from every cache, so that what comes next comes from memory; whether this processor lets us."""
    cdef int done = 0
    if buffer.shape[0] and buffer.shape[1]:
        with nogil:
            done = probe_flush(<const char *>&buffer[0, 0], buffer.shape[0] * buffer.shape[1] * 8)
    return done != 0


def starts(int64_t turns):
    """Nanoseconds of starting and joining `turns` threads one after the other, and how many ran."""
    cdef double time
    cdef int64_t ran
    need(turns >= 1, "turns")
    with nogil:
        time = probe_start(turns, &ran)
    return time, ran


def nothing():
    """A call that does no work: what it takes to get here from Python."""
    return None
