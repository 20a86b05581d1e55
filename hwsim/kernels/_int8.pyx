# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, nonecheck=False
# cython: freethreading_compatible=True
"""Bindings of the int8 loops. The dispatchers beside this file check shapes and types; lengths are checked again here, so
that no call, however wrong, reads or writes outside of its arrays."""

from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t

cdef extern from "_conv.h" nogil:
    ctypedef struct tally_t:
        int64_t macs, executed, loads, stores

    ctypedef struct format_t:
        int64_t mr, nr, kg, bytes

    ctypedef struct requant_t:
        int kind
        const float *scale
        const int32_t *multiplier
        const int32_t *shift
        int32_t zero, lo, hi

    ctypedef struct shape_t:
        int64_t n, g, c, h, w, k, p, q, r, s, sh, sw, top, left, dh, dw
        int nhwc

    format_t FORMATS[3]
    int isa_supported(int isa)
    int64_t packed_b_bytes(int isa, int64_t k, int64_t n)
    void c_pack_b "pack_b"(int isa, const uint8_t *b, int64_t sk, int64_t sn, int64_t k, int64_t n, int flip, uint8_t *to,
                           int32_t *sums)
    int gemm_fast(int isa, const uint8_t *a, int64_t lda, int flip, int64_t m, int64_t k, const uint8_t *b, int64_t n,
                  int64_t first, int64_t last, const int32_t *init, const int32_t *bz, int32_t *out, int64_t ldc,
                  tally_t *tally)
    int gemm_counted(int isa, const uint8_t *a, int64_t lda, int flip, int64_t m, int64_t k, const uint8_t *b, int64_t n,
                     int64_t first, int64_t last, const int32_t *init, const int32_t *bz, int32_t *out, int64_t ldc,
                     tally_t *tally)
    int conv_rows(int isa, const uint8_t *x, int flip, int zero, const shape_t *z, const uint8_t *weights,
                  const int32_t *init, const int32_t *bz, requant_t q, int32_t *out32, uint8_t *out8, tally_t *tally)
    int c_depthwise "depthwise"(int isa, const uint8_t *x, int flip, int zero, const shape_t *z, int64_t depth,
                                const int16_t *weights, const int32_t *bias, requant_t q, int32_t *out32, uint8_t *out8)
    void same_channel(int isa, const int32_t *acc, int64_t step, int64_t n, requant_t q, int64_t channel, uint8_t *out)
    void all_channels(int isa, const int32_t *acc, int64_t n, requant_t q, int64_t channel, uint8_t *out)

cdef extern from "_conv_vnni.h" nogil:
    int64_t conv_vnni_weight_bytes(const shape_t *z)
    void conv_vnni_pack(const uint8_t *w, int flip, const shape_t *z, uint8_t *to, int32_t *sums)
    int conv_vnni(const uint8_t *x, int flip, int zero, const shape_t *z, const uint8_t *weights, const int32_t *init,
                  requant_t q, int32_t *out32, uint8_t *out8, tally_t *tally)


cdef void need(bint holds, str what) except *:
    if not holds:
        raise ValueError(what)


def supported(int isa):
    """Whether this processor runs the instruction set."""
    return isa >= 0 and isa <= 2 and isa_supported(isa) != 0


def padded_columns(int isa, int64_t n):
    """n, up to whole panels."""
    return (n + FORMATS[isa].nr - 1) // FORMATS[isa].nr * FORMATS[isa].nr


def packed_bytes(int isa, int64_t k, int64_t n):
    """Size of a packed k x n matrix."""
    return packed_b_bytes(isa, k, n)


def pack_b(int isa, const uint8_t[::1] b, int64_t sk, int64_t sn, int64_t k, int64_t n, int flip, uint8_t[::1] to,
           int32_t[::1] sums):
    """Packs the k x n matrix with strides sk and sn, and sums its columns."""
    need(k == 0 or n == 0 or ((k - 1) * sk + (n - 1) * sn < b.shape[0] and sk >= 0 and sn >= 0), "b is too short")
    need(to.shape[0] >= packed_b_bytes(isa, k, n) and sums.shape[0] >= padded_columns(isa, n), "no room for packed b")
    with nogil:
        c_pack_b(isa, &b[0], sk, sn, k, n, flip, &to[0], &sums[0])


def gemm(int isa, const uint8_t[:, ::1] a, int flip, const uint8_t[::1] b, int64_t n, int64_t first, int64_t last,
         const int32_t[::1] init, const int32_t[::1] bz, int32_t[:, ::1] out, bint counted):
    """out = a x packed b + init - bz x row sums, panels [first, last); returns (macs, executed, loads, stores)."""
    cdef int64_t m = a.shape[0], k = a.shape[1], panels = padded_columns(isa, n) // FORMATS[isa].nr
    cdef tally_t tally = tally_t(0, 0, 0, 0)
    cdef int status
    cdef const int32_t *zeros = NULL
    need(b.shape[0] >= packed_b_bytes(isa, k, n) and init.shape[0] >= panels * FORMATS[isa].nr, "b or init is too short")
    need(out.shape[0] == m and out.shape[1] == n and first >= 0 and last <= panels, "out has another shape")
    if bz is not None:
        need(bz.shape[0] >= n, "bz is too short")
        zeros = &bz[0]
    with nogil:
        if counted:
            status = gemm_counted(isa, &a[0, 0], k, flip, m, k, &b[0], n, first, last, &init[0], zeros, &out[0, 0], n, &tally)
        else:
            status = gemm_fast(isa, &a[0, 0], k, flip, m, k, &b[0], n, first, last, &init[0], zeros, &out[0, 0], n, &tally)
    if status:
        raise MemoryError
    return tally.macs, tally.executed, tally.loads, tally.stores


cdef requant_t requant_of(tuple q, int64_t channels) except *:
    """(kind, float32 scales, int32 multipliers, int32 shifts, zero, lo, hi), or None to stay in int32."""
    cdef requant_t out = requant_t(0, NULL, NULL, NULL, 0, 0, 0)
    cdef const float[::1] scale
    cdef const int32_t[::1] multiplier, shift
    if q is None:
        return out
    out.kind, out.zero, out.lo, out.hi = q[0], q[4], q[5], q[6]
    if out.kind == 1:
        scale = q[1]
        need(scale.shape[0] >= channels, "one scale a channel")
        out.scale = &scale[0]
    else:
        multiplier, shift = q[2], q[3]
        need(multiplier.shape[0] >= channels and shift.shape[0] >= channels, "one multiplier a channel")
        out.multiplier, out.shift = &multiplier[0], &shift[0]
    return out


cdef shape_t shape_of(tuple z, bint nhwc) except *:
    cdef shape_t out
    (out.n, out.g, out.c, out.h, out.w, out.k, out.p, out.q, out.r, out.s, out.sh, out.sw, out.top, out.left, out.dh,
     out.dw) = z
    out.nhwc = nhwc
    for value in z[:12] + z[14:]:
        need(value > 0, "dims, strides and dilations are positive")
    need(out.top >= 0 and out.left >= 0, "padding is not negative")
    return out


cdef void check_out(const shape_t *z, const uint8_t[::1] x, const int32_t[::1] out32, const uint8_t[::1] out8,
                    bint quantized) except *:
    cdef int64_t words = z.n * z.g * z.k * z.p * z.q
    need(x.shape[0] >= z.n * z.g * z.c * z.h * z.w, "x is too short")
    if quantized:
        need(out8 is not None and out8.shape[0] >= words, "out is too short")
    else:
        need(out32 is not None and out32.shape[0] >= words, "out is too short")


def conv(int isa, const uint8_t[::1] x, int flip, int zero, tuple shape, bint nhwc, const uint8_t[::1] weights,
         const int32_t[::1] init, const int32_t[::1] bz, tuple q, int32_t[::1] out32, uint8_t[::1] out8, bint counted):
    """Convolution with weights packed by group; returns (macs, executed, loads, stores)."""
    cdef shape_t z = shape_of(shape, nhwc)
    cdef requant_t how = requant_of(q, z.g * z.k)
    cdef tally_t tally = tally_t(0, 0, 0, 0)
    cdef const int32_t *zeros = NULL
    cdef int32_t *words = NULL
    cdef uint8_t *octets = NULL
    cdef int status
    cdef int64_t columns = padded_columns(isa, z.k)
    check_out(&z, x, out32, out8, q is not None)
    need(weights.shape[0] >= z.g * packed_b_bytes(isa, z.r * z.s * z.c, z.k), "weights are too short")
    need(init.shape[0] >= z.g * columns, "init is too short")
    if bz is not None:
        need(bz.shape[0] >= z.g * columns, "bz is too short")
        zeros = &bz[0]
    if q is None:
        words = &out32[0]
    else:
        octets = &out8[0]
    with nogil:
        status = conv_rows(isa, &x[0], flip, zero, &z, &weights[0], &init[0], zeros, how, words, octets,
                           &tally if counted else NULL)
    if status:
        raise MemoryError
    return tally.macs, tally.executed, tally.loads, tally.stores


def vnni_weight_bytes(tuple shape, bint nhwc):
    """Size of weights packed for `conv_blocks`."""
    cdef shape_t z = shape_of(shape, nhwc)
    return conv_vnni_weight_bytes(&z)


def vnni_pack(const uint8_t[::1] w, int flip, tuple shape, bint nhwc, uint8_t[::1] to, int32_t[::1] sums):
    """Packs [output channel][row][column][channel] weights for `conv_blocks`, and sums them by output channel."""
    cdef shape_t z = shape_of(shape, nhwc)
    need(w.shape[0] >= z.g * z.k * z.r * z.s * z.c and sums.shape[0] >= z.g * z.k, "w is too short")
    need(to.shape[0] >= conv_vnni_weight_bytes(&z), "no room for packed weights")
    with nogil:
        conv_vnni_pack(&w[0], flip, &z, &to[0], &sums[0])


def conv_blocks(const uint8_t[::1] x, int flip, int zero, tuple shape, bint nhwc, const uint8_t[::1] weights,
                const int32_t[::1] init, tuple q, int32_t[::1] out32, uint8_t[::1] out8, bint counted):
    """Convolution on VNNI, from weights of `vnni_pack`; returns (macs, executed, loads, stores)."""
    cdef shape_t z = shape_of(shape, nhwc)
    cdef requant_t how = requant_of(q, z.g * z.k)
    cdef tally_t tally = tally_t(0, 0, 0, 0)
    cdef int32_t *words = NULL
    cdef uint8_t *octets = NULL
    cdef int status
    need(isa_supported(2) != 0, "needs AVX512-VNNI")
    check_out(&z, x, out32, out8, q is not None)
    need(weights.shape[0] >= conv_vnni_weight_bytes(&z) and init.shape[0] >= z.g * z.k, "weights are too short")
    if q is None:
        words = &out32[0]
    else:
        octets = &out8[0]
    with nogil:
        status = conv_vnni(&x[0], flip, zero, &z, &weights[0], &init[0], how, words, octets, &tally if counted else NULL)
    if status:
        raise MemoryError
    return tally.macs, tally.executed, tally.loads, tally.stores


def depthwise(int isa, const uint8_t[::1] x, int flip, int zero, tuple shape, bint nhwc, int64_t depth,
              const int16_t[::1] weights, const int32_t[::1] bias, tuple q, int32_t[::1] out32, uint8_t[::1] out8):
    """Depthwise convolution: one group of shape.c channels, shape.k = shape.c * depth."""
    cdef shape_t z = shape_of(shape, nhwc)
    cdef requant_t how = requant_of(q, z.k)
    cdef int32_t *words = NULL
    cdef uint8_t *octets = NULL
    cdef int status
    check_out(&z, x, out32, out8, q is not None)
    need(z.g == 1 and depth > 0 and z.k == z.c * depth, "k is c * depth")
    need(weights.shape[0] >= z.k * z.r * z.s and bias.shape[0] >= z.k, "weights are too short")
    if q is None:
        words = &out32[0]
    else:
        octets = &out8[0]
    with nogil:
        status = c_depthwise(isa, &x[0], flip, zero, &z, depth, &weights[0], &bias[0], how, words, octets)
    if status:
        raise MemoryError


def requantize(int isa, const int32_t[:, :, ::1] acc, tuple q, uint8_t[:, :, ::1] out):
    """8-bit values of accumulators [outer][channel][inner]."""
    cdef requant_t how = requant_of(q, acc.shape[1])
    cdef int64_t i, j
    need(q is not None and acc.shape[0] == out.shape[0] and acc.shape[1] == out.shape[1] and acc.shape[2] == out.shape[2],
         "out has another shape")
    if acc.shape[2] == 0 or acc.shape[1] == 0:
        return
    with nogil:
        for i in range(acc.shape[0]):
            if acc.shape[2] == 1:
                all_channels(isa, &acc[i, 0, 0], acc.shape[1], how, 0, &out[i, 0, 0])
            else:
                for j in range(acc.shape[1]):
                    same_channel(isa, &acc[i, j, 0], 1, acc.shape[2], how, j, &out[i, j, 0])
