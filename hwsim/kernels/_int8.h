/* int8 GEMM and convolution. Operands are packed for the instruction set that runs them:

   portable      rows and columns as int16, each contiguous along k, k padded to 8; panels of 4 columns
   avx2          int16 pairs:  a[k/2][rows][2], b[k/2][16][2]
   avx512vnni    byte quads:   a[k/4][rows][4] unsigned, b[k/4][32][4] signed

   Inside, a is always unsigned and b signed: int8 a becomes a + 128 and uint8 b becomes b - 128 (both are `x ^ 0x80`), and
   their zero points move along, so that one identity covers every pair of types:
       sum (a - az)(b - bz) = sum a b - az * sum b - bz * sum a + k * az * bz
   Sums wrap (the build has -fwrapv), so the result is right whenever the true one fits in an int32. */

#ifndef HWSIM_INT8_H
#define HWSIM_INT8_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#define X86 1
#include <immintrin.h>
#define TARGET_AVX2 __attribute__((target("avx2")))
#define TARGET_VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))
/* sum += four products of unsigned and signed bytes a lane. As an instruction, since with the intrinsic gcc 12 copies
   accumulators from register to register and to the stack, which costs two thirds of the speed. */
#define DPBUSD(sum, u, s) __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(u), "v"(s))
#else
#define X86 0
#endif

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 12")
#define UNROLL16 _Pragma("GCC unroll 16")

typedef int64_t i64;

enum { PORTABLE, AVX2, AVX512VNNI };
enum { A_BLOCK_BYTES = 384 * 1024 }; /* of packed rows: with a panel of b beside them they stay in an L2 cache of 1 MiB */

typedef struct {
    i64 mr, nr, kg, bytes; /* rows and columns of a tile, what k is padded to, bytes of a packed element */
} format_t;

static const format_t FORMATS[3] = {{2, 4, 8, 2}, {6, 16, 2, 2}, {12, 32, 4, 1}};

typedef struct {
    i64 macs, executed, loads, stores; /* on real data; with the lanes of padding; bytes read and written by the tiles */
} tally_t;

INLINE i64 round_up(i64 value, i64 step) { return (value + step - 1) / step * step; }

INLINE int32_t load32(const void *from) {
    int32_t value;
    memcpy(&value, from, 4);
    return value;
}

static uint8_t *aligned_bytes(i64 bytes) { return (uint8_t *)aligned_alloc(64, (size_t)round_up(bytes + 64, 64)); }

static int isa_supported(int isa) {
#if X86
    __builtin_cpu_init();
    if (isa == AVX2) return __builtin_cpu_supports("avx2") != 0;
    if (isa == AVX512VNNI)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
#endif
    return isa == PORTABLE;
}

static i64 packed_b_bytes(int isa, i64 k, i64 n) {
    const format_t f = FORMATS[isa];
    return round_up(n, f.nr) * round_up(k, f.kg) * f.bytes;
}

static int32_t sum_row(const uint8_t *a, i64 k, int flip) {
    int32_t sum = 0;
    for (i64 x = 0; x < k; x++) sum += (uint8_t)(a[x] ^ flip);
    return sum;
}

/* One tile of rows of a, in the form that its tile loop reads. */
static void pack_rows(int isa, const uint8_t *a, i64 lda, i64 rows, i64 k, int flip, uint8_t *to) {
    const format_t f = FORMATS[isa];
    const i64 kp = round_up(k, f.kg);
    if (isa == PORTABLE) {
        int16_t *o = (int16_t *)to;
        for (i64 i = 0; i < rows; i++, o += kp) {
            const uint8_t *row = a + i * lda;
            for (i64 x = 0; x < k; x++) o[x] = (uint8_t)(row[x] ^ flip);
            for (i64 x = k; x < kp; x++) o[x] = 0;
        }
    } else if (isa == AVX2) {
        int16_t *o = (int16_t *)to;
        for (i64 i = 0; i < rows; i++) {
            const uint8_t *row = a + i * lda;
            i64 x = 0;
            for (; x + 1 < k; x += 2) {
                o[(x * rows) + 2 * i] = (uint8_t)(row[x] ^ flip);
                o[(x * rows) + 2 * i + 1] = (uint8_t)(row[x + 1] ^ flip);
            }
            if (x < k) {
                o[(x * rows) + 2 * i] = (uint8_t)(row[x] ^ flip);
                o[(x * rows) + 2 * i + 1] = 0;
            }
        }
    } else {
        const uint32_t flips = (uint32_t)flip * 0x01010101u;
        i64 i = 0;
#if X86
        const __m128i toggles = _mm_set1_epi32((int32_t)flips);
        for (; i + 4 <= rows; i += 4) { /* 4 x 4 transposes of quads */
            const uint8_t *r0 = a + i * lda, *r1 = r0 + lda, *r2 = r1 + lda, *r3 = r2 + lda;
            i64 x = 0;
            for (; x + 16 <= k; x += 16) {
                __m128i v0 = _mm_loadu_si128((const __m128i *)(r0 + x)), v1 = _mm_loadu_si128((const __m128i *)(r1 + x));
                __m128i v2 = _mm_loadu_si128((const __m128i *)(r2 + x)), v3 = _mm_loadu_si128((const __m128i *)(r3 + x));
                __m128i a0 = _mm_xor_si128(_mm_unpacklo_epi32(v0, v1), toggles);
                __m128i a1 = _mm_xor_si128(_mm_unpacklo_epi32(v2, v3), toggles);
                __m128i a2 = _mm_xor_si128(_mm_unpackhi_epi32(v0, v1), toggles);
                __m128i a3 = _mm_xor_si128(_mm_unpackhi_epi32(v2, v3), toggles);
                uint8_t *o = to + x * rows + 4 * i;
                _mm_storeu_si128((__m128i *)o, _mm_unpacklo_epi64(a0, a1));
                _mm_storeu_si128((__m128i *)(o + 4 * rows), _mm_unpackhi_epi64(a0, a1));
                _mm_storeu_si128((__m128i *)(o + 8 * rows), _mm_unpacklo_epi64(a2, a3));
                _mm_storeu_si128((__m128i *)(o + 12 * rows), _mm_unpackhi_epi64(a2, a3));
            }
            for (i64 r = 0; r < 4; r++)
                for (i64 y = x; y < kp; y++)
                    to[y / 4 * 4 * rows + 4 * (i + r) + y % 4] = y < k ? (uint8_t)(a[(i + r) * lda + y] ^ flip) : 0;
        }
#endif
        for (; i < rows; i++) {
            const uint8_t *row = a + i * lda;
            i64 x = 0;
            for (; x + 4 <= k; x += 4) {
                uint32_t quad = (uint32_t)load32(row + x) ^ flips;
                memcpy(to + x * rows + 4 * i, &quad, 4);
            }
            for (; x < kp; x++) to[x / 4 * 4 * rows + 4 * i + x % 4] = x < k ? (uint8_t)(row[x] ^ flip) : 0;
        }
    }
}

/* Packs b, whose element (k, n) is at b[k * sk + n * sn], and sums its columns. Both `to` and `sums` cover whole panels. */
static void pack_b(int isa, const uint8_t *b, i64 sk, i64 sn, i64 k, i64 n, int flip, uint8_t *to, int32_t *sums) {
    const format_t f = FORMATS[isa];
    const i64 kp = round_up(k, f.kg), np = round_up(n, f.nr);
    memset(to, 0, (size_t)(kp * np * f.bytes));
    memset(sums, 0, (size_t)np * sizeof(int32_t));
    for (i64 j0 = 0; j0 < np; j0 += f.nr) {
        const i64 width = n - j0 < f.nr ? n - j0 : f.nr;
        uint8_t *panel = to + j0 * kp * f.bytes;
        for (i64 x0 = 0; x0 < k; x0 += 64) { /* short runs of k, so that either stride stays in cache */
            const i64 x1 = k - x0 < 64 ? k : x0 + 64;
            for (i64 j = 0; j < width; j++) {
                const uint8_t *from = b + (j0 + j) * sn;
                int32_t sum = 0;
                for (i64 x = x0; x < x1; x++) {
                    int8_t value = (int8_t)(from[x * sk] ^ flip);
                    sum += value;
                    if (isa == PORTABLE) ((int16_t *)panel)[j * kp + x] = value;
                    else if (isa == AVX2) ((int16_t *)panel)[x / 2 * 32 + 2 * j + x % 2] = value;
                    else ((int8_t *)panel)[x / 4 * 128 + 4 * j + x % 4] = value;
                }
                sums[j0 + j] += sum;
            }
        }
    }
}

#define COUNTED 0
#include "_loops.h"
#define COUNTED 1
#include "_loops.h"

#endif
