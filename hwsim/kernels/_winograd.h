/* Exact Winograd convolution of 8-bit tensors.

   Transformed inputs and filters are integers of 16 bits: with |x| <= 255 an input tile grows to at most 100 x 255 = 25,500
   (the rows of B^T have norms up to 10), with |w| <= 128 a filter to at most 49 x 128 = 6,272 (rows up to 7). The products
   and what follows may pass 32 bits; they are kept modulo 2^32, where sums and products stay true. The last transform gives
   S x y with S = 4 or 576 = 64 x 9. Times the inverse of 9 modulo 2^32 that is 4 y or 64 y modulo 2^32, and an arithmetic
   shift leaves y itself, if only |y| < 2^29 or 2^25: the caller proves that, and splits the channels where it must. */
#ifndef HWSIM_WINOGRAD_H
#define HWSIM_WINOGRAD_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define WINO_X86 1
#else
#define WINO_X86 0
#endif

typedef struct {
    int64_t m, c, k, cp, kp, h, w, pad_top, pad_left, p, q;
    int64_t down, across, high, wide, block; /* tiles; the padded image; tiles of a block */
    int64_t u_place, v_place, m_place;       /* values of one position of filters, data, products */
} wino_shape;

typedef int32_t wino_ints __attribute__((vector_size(16), aligned(4), may_alias));

static inline void wino_turn(const wino_ints *x, wino_ints *y) { /* 4 x 4 */
    const wino_ints a = {x[0][0], x[1][0], x[0][1], x[1][1]}, b = {x[0][2], x[1][2], x[0][3], x[1][3]};
    const wino_ints c = {x[2][0], x[3][0], x[2][1], x[3][1]}, d = {x[2][2], x[3][2], x[2][3], x[3][3]};
    y[0] = (wino_ints){a[0], a[1], c[0], c[1]};
    y[1] = (wino_ints){a[2], a[3], c[2], c[3]};
    y[2] = (wino_ints){b[0], b[1], d[0], d[1]};
    y[3] = (wino_ints){b[2], b[3], d[2], d[3]};
}

typedef int16_t wino_pairs __attribute__((vector_size(16), aligned(2), may_alias));
typedef uint32_t wino_sums __attribute__((vector_size(16), aligned(4), may_alias));

static inline int32_t wino_word(const int16_t *p) {
    int32_t word;
    memcpy(&word, p, 4);
    return word;
}

static inline wino_pairs wino_spread(const int16_t *p) {
    const int32_t word = wino_word(p);
    return (wino_pairs)(wino_ints){word, word, word, word};
}

static inline wino_sums wino_madd(wino_sums acc, wino_pairs a, wino_pairs b) {
#if WINO_X86
    return acc + (wino_sums)_mm_madd_epi16((__m128i)a, (__m128i)b); /* every x86-64 has it */
#else
    for (int i = 0; i < 4; i++) acc[i] += (uint32_t)(a[2 * i] * b[2 * i]) + (uint32_t)(a[2 * i + 1] * b[2 * i + 1]);
    return acc;
#endif
}

#define WINO(name) wino_##name##_portable
#define WINO_TARGET
#define WINO_BYTES 16
#define WINO_ROWS 4
#define WINO_MADD(acc, a, b) wino_madd(acc, a, b)
#define WINO_SPREAD(p) wino_spread(p)
#define OP(n, x) (x)
#include "_winograd_loops.h"

#define WINO(name) wino_##name##_counting
#define WINO_TARGET
#define WINO_BYTES 16
#define WINO_ROWS 4
#define WINO_MADD(acc, a, b) wino_madd(acc, a, b)
#define WINO_SPREAD(p) wino_spread(p)
#define OP(n, x) (tally[n]++, (x))
#include "_winograd_loops.h"

#if WINO_X86
#define WINO(name) wino_##name##_avx2
#define WINO_TARGET __attribute__((target("avx2")))
#define WINO_BYTES 32
#define WINO_ROWS 6
#define WINO_MADD(acc, a, b) ((acc) + (wino_v32_avx2)_mm256_madd_epi16((__m256i)(a), (__m256i)(b)))
#define WINO_SPREAD(p) ((wino_v16_avx2)_mm256_set1_epi32(wino_word(p)))
#define OP(n, x) (x)
#include "_winograd_loops.h"

#define WINO(name) wino_##name##_vnni
#define WINO_TARGET __attribute__((target("avx512f,avx512bw,avx512vnni")))
#define WINO_BYTES 64
#define WINO_ROWS 12
#define WINO_MADD(acc, a, b) ((wino_v32_vnni)_mm512_dpwssd_epi32((__m512i)(acc), (__m512i)(a), (__m512i)(b)))
#define WINO_SPREAD(p) ((wino_v16_vnni)_mm512_set1_epi32(wino_word(p)))
#define OP(n, x) (x)
#include "_winograd_loops.h"
#endif

static int wino_supported(int isa) {
#if WINO_X86
    if (isa == 1) return __builtin_cpu_supports("avx2") != 0;
    if (isa == 2)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vnni");
#endif
    return isa == 0;
}

static int64_t wino_lanes(int isa) { return isa == 2 ? 32 : isa == 1 ? 16 : 8; } /* 16-bit ones; and outputs of a panel */

/* Filters of `depth` channels, of which z->c from the first given. */
static void wino_filters(int isa, int counting, const wino_shape *z, const int8_t *w, int64_t depth, int16_t *u, int64_t *tally) {
    if (counting) wino_filters_counting(z, w, depth, u, tally);
#if WINO_X86
    else if (isa == 1) wino_filters_avx2(z, w, depth, u, tally);
    else if (isa == 2) wino_filters_vnni(z, w, depth, u, tally);
#endif
    else wino_filters_portable(z, w, depth, u, tally);
}

/* Fill in what follows from the layer. Positions are kept off one another's cache sets by an odd number of lines. */
static void wino_plan(wino_shape *z, int isa, int counting, int64_t channels) {
    const int64_t lanes = counting ? 8 : wino_lanes(isa);
    z->c = channels;
    z->cp = (channels + lanes - 1) / lanes * lanes;
    z->kp = (z->k + lanes - 1) / lanes * lanes;
    z->down = (z->p + z->m - 1) / z->m;
    z->across = (z->q + z->m - 1) / z->m;
    z->high = z->down * z->m + 2;
    z->wide = z->across * z->m + 2;
    z->block = 48; /* a multiple of 12, 6 and 4 */
    z->u_place = z->cp * z->kp + 32;
    z->v_place = z->block * z->cp + 32;
    z->m_place = z->block * z->kp + 16;
}

static int64_t wino_filter_values(const wino_shape *z) { return (z->m + 2) * (z->m + 2) * z->u_place; }

/* NCHW bytes to 16 bits, less the zero point, channels last, in a frame of zeros. */
static void wino_frame(const wino_shape *z, const uint8_t *x, int is_signed, int32_t zero, int16_t *image) {
    const uint8_t flip = is_signed ? 0x80 : 0;
    const int32_t less = is_signed ? zero + 128 : zero;
    for (int64_t row = 0; row < z->h; row++)
        for (int64_t c = 0; c < z->c; c++) {
            const uint8_t *from = x + (c * z->h + row) * z->w;
            int16_t *to = image + ((row + z->pad_top) * z->wide + z->pad_left) * z->cp + c;
            for (int64_t i = 0; i < z->w; i++) to[i * z->cp] = (int16_t)((from[i] ^ flip) - less);
        }
}

/* The images of a batch, over channels from the first that x and u start at. Returns 0 without memory. */
static int wino_images(int isa, int counting, const wino_shape *z, int64_t n, int64_t depth, const uint8_t *x, int is_signed,
                       int32_t zero, const int16_t *u, int add, int32_t *out, int64_t *tally) {
    const int64_t a = z->m + 2;
    int16_t *image = (int16_t *)calloc((size_t)(z->high * z->wide * z->cp), sizeof *image);
    int16_t *v = (int16_t *)calloc((size_t)(a * a * z->v_place), sizeof *v); /* rows past the last tile are multiplied too */
    uint32_t *products = (uint32_t *)malloc((size_t)(a * a * z->m_place) * sizeof *products);
    int32_t *tile = (int32_t *)malloc((size_t)(z->m * z->m * z->kp) * sizeof *tile);
    const int good = image && v && products && tile;
    for (int64_t i = 0; good && i < n; i++, x += depth * z->h * z->w, out += z->k * z->p * z->q) {
        wino_frame(z, x, is_signed, zero, image);
        if (counting) wino_run_counting(z, image, u, add, v, products, tile, out, tally);
#if WINO_X86
        else if (isa == 1) wino_run_avx2(z, image, u, add, v, products, tile, out, tally);
        else if (isa == 2) wino_run_vnni(z, image, u, add, v, products, tile, out, tally);
#endif
        else wino_run_portable(z, image, u, add, v, products, tile, out, tally);
        tally[3] += z->down * z->across * z->c;
        tally[4] += z->down * z->across * z->k;
        tally[5] += z->down * z->across * z->c * z->k * a * a;
    }
    free(image);
    free(v);
    free(products);
    free(tile);
    return good;
}

#endif
