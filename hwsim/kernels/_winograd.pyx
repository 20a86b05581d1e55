# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, nonecheck=False
"""Exact Winograd convolution of checked tensors; `_winograd.h` has the arithmetic and its proof.

`tally`: operations of the data, filter and output transforms in registers (counting build only), then what was executed:
tiles of input channels, tiles of output channels, multiplications.
"""

from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t

import numpy as np

__all__ = ["convolve", "supported", "transform_filters"]

cdef extern from "_winograd.h" nogil:
    ctypedef struct wino_shape:
        int64_t m, c, k, cp, kp, h, w, pad_top, pad_left, p, q
    int wino_supported(int isa)
    void wino_plan(wino_shape *z, int isa, int counting, int64_t channels)
    int64_t wino_filter_values(const wino_shape *z)
    void wino_filters(int isa, int counting, const wino_shape *z, const int8_t *w, int64_t depth, int16_t *u, int64_t *tally)
    int wino_images(int isa, int counting, const wino_shape *z, int64_t n, int64_t depth, const uint8_t *x, int is_signed,
                    int32_t zero, const int16_t *u, int add, int32_t *out, int64_t *tally)


def supported(int isa):
    return bool(wino_supported(isa))


def transform_filters(int isa, bint counting, int m, const int8_t[:, :, :, ::1] w, int first, int last, int64_t[::1] tally):
    """The filters of channels `first` to `last`, in the order that `convolve` reads them."""
    cdef wino_shape z
    cdef int16_t[::1] u
    z.m, z.k, z.p, z.q = m, w.shape[0], m, m
    wino_plan(&z, isa, counting, last - first)
    values = np.zeros(wino_filter_values(&z), np.int16)
    u = values
    with nogil:
        wino_filters(isa, counting, &z, &w[0, first, 0, 0], w.shape[1], &u[0], &tally[0])
    return values


def convolve(int isa, bint counting, int m, const uint8_t[:, :, :, ::1] x, bint is_signed, int zero, const int16_t[::1] u, int first,
             int last, int pad_top, int pad_left, bint add, int32_t[:, :, :, ::1] out, int64_t[::1] tally):
    """Fill `out` with the convolution over channels `first` to `last`, or add that to it."""
    cdef wino_shape z
    cdef bint good
    z.m, z.k, z.h, z.w, z.pad_top, z.pad_left = m, out.shape[1], x.shape[2], x.shape[3], pad_top, pad_left
    z.p, z.q = out.shape[2], out.shape[3]
    wino_plan(&z, isa, counting, last - first)
    with nogil:
        good = wino_images(isa, counting, &z, x.shape[0], x.shape[1], &x[0, first, 0, 0], is_signed, zero, &u[0], add,
                           &out[0, 0, 0, 0], &tally[0])
    if not good:
        raise MemoryError("no memory for the transformed tiles of one image")
