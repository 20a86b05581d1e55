"""What other extensions of the package may call: the ticks of a stream of tiles."""

from libc.stdint cimport int64_t as i64


cdef struct Part:
    i64 count
    i64 load
    i64 work
    i64 store


cdef int stream_parts(i64 tiles, i64 load, i64 work, i64 store, i64 first, i64 last, Part* out) noexcept nogil
cdef i64 run_parts(Part* parts, int n_parts, int slots) noexcept nogil
