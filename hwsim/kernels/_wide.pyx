# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, nonecheck=False
# cython: freethreading_compatible=True
"""Bindings of the 16-bit and fp32 loops."""

from libc.stdint cimport int16_t, int32_t, int64_t

cdef extern from "_wide.h" nogil:
    void gemm_wide(const int16_t *a, const int16_t *bt, int64_t m, int64_t n, int64_t k, int32_t az, int32_t bz, int64_t *out)
    void gemm_float(const float *a, const float *b, int64_t m, int64_t n, int64_t k, float *out)


def gemm_int16(const int16_t[:, ::1] a, const int16_t[:, ::1] bt, int32_t az, int32_t bz, int64_t[:, ::1] out):
    """out = (a - az) x (bt - bz) transposed, in 64 bits."""
    if a.shape[1] != bt.shape[1] or out.shape[0] != a.shape[0] or out.shape[1] != bt.shape[0]:
        raise ValueError("out has another shape")
    if out.shape[0] and out.shape[1]:
        with nogil:
            gemm_wide(&a[0, 0], &bt[0, 0], a.shape[0], bt.shape[0], a.shape[1], az, bz, &out[0, 0])


def gemm_fp32(const float[:, ::1] a, const float[:, ::1] b, float[:, ::1] out):
    """out = a x b, products added one by one in the order of k."""
    if a.shape[1] != b.shape[0] or out.shape[0] != a.shape[0] or out.shape[1] != b.shape[1]:
        raise ValueError("out has another shape")
    if out.shape[0] and out.shape[1]:
        with nogil:
            gemm_float(&a[0, 0], &b[0, 0], a.shape[0], b.shape[1], a.shape[1], &out[0, 0])
