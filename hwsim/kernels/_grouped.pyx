# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, nonecheck=False
# cython: freethreading_compatible=True
"""Binding of the product with int4 weights in groups; arguments are checked in Python."""

from libc.stdint cimport int8_t, int64_t, uint8_t

cdef extern from "_grouped.h" nogil:
    void grouped_gemm(const int8_t *a, const float *a_scale, const float *a_sums, const uint8_t *b, const float *b_scale,
                      const float *b_sums, int64_t m, int64_t n, int64_t groups, int64_t group, uint8_t *column, float *out)


def gemm(const int8_t[:, :, ::1] a, const float[:, ::1] a_scale, const float[:, ::1] a_sums, const uint8_t[:, :, ::1] b,
         const float[:, ::1] b_scale, const float[:, ::1] b_sums, uint8_t[::1] column, float[:, ::1] out):
    """out (m x n) = a (m x groups x group) x b (n x groups x group / 2) transposed."""
    cdef int64_t m = a.shape[0], groups = a.shape[1], group = a.shape[2], n = b.shape[0]
    if (a_scale.shape[0] != m or a_scale.shape[1] != groups or a_sums.shape[0] != m or a_sums.shape[1] != groups
            or b.shape[1] != groups or b.shape[2] * 2 != group or b_scale.shape[0] != n or b_scale.shape[1] != groups
            or b_sums.shape[0] != n or b_sums.shape[1] != groups or column.shape[0] != groups * group
            or out.shape[0] != m or out.shape[1] != n):
        raise ValueError("an array has another shape")
    if group not in (16, 32, 64, 128, 256):
        raise ValueError("group is another size")
    if m and n and groups:
        with nogil:
            grouped_gemm(&a[0, 0, 0], &a_scale[0, 0], &a_sums[0, 0], &b[0, 0, 0], &b_scale[0, 0], &b_sums[0, 0], m, n, groups,
                         group, &column[0], &out[0, 0])
