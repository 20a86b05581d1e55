# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, nonecheck=False
"""Register tiles of matrix products, walked with one instruction sequence each; `instructions.py` checks what comes in.

`tally` holds, in this order: instructions of the inner sequence, vector loads of b, word loads of a, scalar leftovers.
"""

from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint32_t

__all__ = ["gemm_dot4", "gemm_hmma", "gemm_imma", "gemm_pmaddubsw", "gemm_smlad", "has_avx2", "has_vnni", "smlad", "sxtb16"]

cdef extern from "_instructions.h" nogil:
    ctypedef struct hwsim_clips:
        int64_t total, capacity
        int64_t *where
        int32_t *per_output
        int64_t m, n0, columns
    int hwsim_has_avx2()
    int hwsim_has_vnni()
    void hwsim_dot4(int32_t *acc, const uint8_t *a, const uint8_t *b, int64_t steps, int lanes, int a_signed, int b_signed,
                    int saturate, int native)
    void hwsim_pmaddubsw(int32_t *acc, const uint8_t *a, const uint8_t *b, int64_t steps, hwsim_clips *clips, int native)
    uint32_t hwsim_sxtb16(uint32_t x, int rotate)
    int32_t hwsim_smlad(uint32_t x, uint32_t y, int32_t acc, uint8_t *q)
    int32_t hwsim_smlad_dot(const int8_t *x, const int8_t *w, int64_t length, uint32_t offset, int32_t acc, uint8_t *q)
    int32_t hwsim_imma_dot(const int16_t *a, const int16_t *b, int64_t length, int64_t step, int32_t acc, int saturate)
    float hwsim_hmma_dot(const float *a, const float *b, int64_t length, int64_t block, float acc, int truncate, int extra)


def has_avx2():
    return bool(hwsim_has_avx2())


def has_vnni():
    return bool(hwsim_has_vnni())


def gemm_dot4(const uint8_t[:, ::1] a, const uint8_t[:, :, :, ::1] b, int32_t[:, :, ::1] acc, int rows, int vectors,
              bint a_signed, bint b_signed, bint saturate, bint native, int64_t[::1] tally):
    """acc[m, v, lane] += a[m, 4k..] . b[v, k, lane, 0..3], a tile of `rows` by `vectors` accumulators at a time."""
    cdef Py_ssize_t m, v, mt, vt, m0, v0, m1, v1
    cdef int64_t steps = b.shape[1]
    cdef int lanes = <int>b.shape[2]
    if steps == 0:
        return
    with nogil:
        for mt in range((acc.shape[0] + rows - 1) // rows):
            m0 = mt * rows
            m1 = min(m0 + rows, acc.shape[0])
            for vt in range((acc.shape[1] + vectors - 1) // vectors):
                v0 = vt * vectors
                v1 = min(v0 + vectors, acc.shape[1])
                for m in range(m0, m1):
                    for v in range(v0, v1):
                        hwsim_dot4(&acc[m, v, 0], &a[m, 0], &b[v, 0, 0, 0], steps, lanes, a_signed, b_signed, saturate, native)
                        tally[0] += steps
                tally[1] += steps * (v1 - v0)
                tally[2] += steps * (m1 - m0)


def gemm_pmaddubsw(const uint8_t[:, ::1] a, const uint8_t[:, :, :, ::1] b, int32_t[:, :, ::1] acc, int rows, int vectors,
                   bint native, int64_t[:, ::1] where, int32_t[:, ::1] per_output, int64_t[::1] tally):
    """The same with eight lanes and 16-bit sums of pairs; returns how many of these were clipped."""
    cdef Py_ssize_t m, v, mt, vt, m0, v0, m1, v1
    cdef int64_t steps = b.shape[1]
    cdef hwsim_clips clips
    if steps == 0 or acc.shape[0] == 0 or acc.shape[1] == 0:
        return 0
    with nogil:
        clips.total = 0
        clips.capacity = where.shape[0]
        clips.where = &where[0, 0] if where.shape[0] else NULL
        clips.per_output = &per_output[0, 0]
        clips.columns = per_output.shape[1]
        for mt in range((acc.shape[0] + rows - 1) // rows):
            m0 = mt * rows
            m1 = min(m0 + rows, acc.shape[0])
            for vt in range((acc.shape[1] + vectors - 1) // vectors):
                v0 = vt * vectors
                v1 = min(v0 + vectors, acc.shape[1])
                for m in range(m0, m1):
                    clips.m = m
                    for v in range(v0, v1):
                        clips.n0 = 8 * v
                        hwsim_pmaddubsw(&acc[m, v, 0], &a[m, 0], &b[v, 0, 0, 0], steps, &clips, native)
                        tally[0] += steps
                tally[1] += steps * (v1 - v0)
                tally[2] += steps * (m1 - m0)
    return clips.total


def sxtb16(uint32_t x, int rotate):
    return hwsim_sxtb16(x, rotate)


def smlad(const uint32_t[::1] x, const uint32_t[::1] y, int32_t[::1] acc, uint8_t[::1] q):
    """acc += both halfword products, element by element; q is set where the sum wrapped."""
    cdef Py_ssize_t i
    with nogil:
        for i in range(acc.shape[0]):
            acc[i] = hwsim_smlad(x[i], y[i], acc[i], &q[i])


def gemm_smlad(const int8_t[:, ::1] a, const int8_t[:, ::1] b, int32_t[:, ::1] acc, uint8_t[:, ::1] q, int offset, int rows,
               int columns, int64_t[::1] tally):
    """acc[m, n] += (a[m] + offset) . b[n]: b is transposed, as CMSIS-NN keeps its weights."""
    cdef Py_ssize_t m, n, mt, nt, m0, n0, m1, n1
    cdef int64_t words = a.shape[1] // 4, rest = a.shape[1] % 4
    cdef uint32_t halves = (<uint32_t>offset & 0xFFFF) | (<uint32_t>offset & 0xFFFF) << 16
    if a.shape[1] == 0:
        return
    with nogil:
        for mt in range((acc.shape[0] + rows - 1) // rows):
            m0 = mt * rows
            m1 = min(m0 + rows, acc.shape[0])
            for nt in range((acc.shape[1] + columns - 1) // columns):
                n0 = nt * columns
                n1 = min(n0 + columns, acc.shape[1])
                for m in range(m0, m1):
                    for n in range(n0, n1):
                        acc[m, n] = hwsim_smlad_dot(&a[m, 0], &b[n, 0], a.shape[1], halves, acc[m, n], &q[m, n])
                        tally[0] += 2 * words
                        tally[3] += rest
                tally[1] += words * (n1 - n0)
                tally[2] += words * (m1 - m0)
                tally[4] += rest * (n1 - n0)
                tally[5] += rest * (m1 - m0)


def gemm_imma(const int16_t[:, ::1] a, const int16_t[:, ::1] b, int32_t[:, ::1] acc, int64_t step, bint saturate):
    """acc[m, n] += a[m] . b[n], `step` products a time."""
    cdef Py_ssize_t m, n
    if a.shape[1] == 0:
        return
    with nogil:
        for m in range(acc.shape[0]):
            for n in range(acc.shape[1]):
                acc[m, n] = hwsim_imma_dot(&a[m, 0], &b[n, 0], a.shape[1], step, acc[m, n], saturate)


def gemm_hmma(const float[:, ::1] a, const float[:, ::1] b, float[:, ::1] acc, int64_t block, bint truncate, int extra):
    """acc[m, n] += a[m] . b[n] in fp32, `block` products a time."""
    cdef Py_ssize_t m, n
    if a.shape[1] == 0:
        return
    with nogil:
        for m in range(acc.shape[0]):
            for n in range(acc.shape[1]):
                acc[m, n] = hwsim_hmma_dot(&a[m, 0], &b[n, 0], a.shape[1], block, acc[m, n], truncate, extra)
