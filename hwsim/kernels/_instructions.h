/* Instructions of the machines that hwsim models, bit for bit: a portable form of each, and the real one on x86.

   Unsigned arithmetic stands wherever the hardware wraps, since signed overflow is undefined in C. Every function takes
   a run of steps along the inner dimension, so the caller's loop over register tiles is the same for both forms. */
#ifndef HWSIM_INSTRUCTIONS_H
#define HWSIM_INSTRUCTIONS_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define HWSIM_X86 1
#else
#define HWSIM_X86 0
#endif

enum { HWSIM_MAX_LANES = 16 };

static int hwsim_has_avx2(void) {
#if HWSIM_X86
    return __builtin_cpu_supports("avx2") != 0;
#else
    return 0;
#endif
}

static int hwsim_has_vnni(void) {
#if HWSIM_X86
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vnni");
#else
    return 0;
#endif
}

static inline int32_t hwsim_wrap32(int64_t x) {
    uint32_t low = (uint32_t)(uint64_t)x;
    int32_t y;
    memcpy(&y, &low, sizeof y);
    return y;
}

static inline int32_t hwsim_clamp32(int64_t x) {
    return x > INT32_MAX ? INT32_MAX : x < INT32_MIN ? INT32_MIN : (int32_t)x;
}

/* Four-way dot product per 32-bit lane: vpdpbusd, dp4a and sdot differ in lanes, signs and saturation only. */
#define HWSIM_DOT4(NAME, TA, TB)                                                                                      \
    static void NAME(int32_t *acc, const uint8_t *a8, const uint8_t *b8, int64_t steps, int lanes, int saturate) {    \
        const TA *a = (const TA *)a8;                                                                                 \
        const TB *b = (const TB *)b8;                                                                                 \
        for (int64_t k = 0; k < steps; k++, a += 4, b += 4 * lanes) {                                                 \
            const int32_t a0 = a[0], a1 = a[1], a2 = a[2], a3 = a[3];                                                 \
            for (int l = 0; l < lanes; l++) {                                                                         \
                const int32_t sum = a0 * b[4 * l] + a1 * b[4 * l + 1] + a2 * b[4 * l + 2] + a3 * b[4 * l + 3];        \
                if (saturate) acc[l] = hwsim_clamp32((int64_t)acc[l] + sum);                                          \
                else acc[l] = (int32_t)((uint32_t)acc[l] + (uint32_t)sum);                                            \
            }                                                                                                         \
        }                                                                                                             \
    }
HWSIM_DOT4(hwsim_dot4_uu, uint8_t, uint8_t)
HWSIM_DOT4(hwsim_dot4_us, uint8_t, int8_t)
HWSIM_DOT4(hwsim_dot4_su, int8_t, uint8_t)
HWSIM_DOT4(hwsim_dot4_ss, int8_t, int8_t)

#if HWSIM_X86
__attribute__((target("avx512f,avx512bw,avx512vnni"))) static void hwsim_dot4_vnni(
    int32_t *acc, const uint8_t *a, const uint8_t *b, int64_t steps, int saturate) {
    __m512i sum = _mm512_loadu_si512((const void *)acc);
    for (int64_t k = 0; k < steps; k++) {
        int32_t word;
        memcpy(&word, a + 4 * k, 4);
        const __m512i x = _mm512_set1_epi32(word), y = _mm512_loadu_si512((const void *)(b + 64 * k));
        sum = saturate ? _mm512_dpbusds_epi32(sum, x, y) : _mm512_dpbusd_epi32(sum, x, y);
    }
    _mm512_storeu_si512((void *)acc, sum);
}
#endif

static void hwsim_dot4(int32_t *acc, const uint8_t *a, const uint8_t *b, int64_t steps, int lanes, int a_signed,
                       int b_signed, int saturate, int native) {
#if HWSIM_X86
    if (native) {
        hwsim_dot4_vnni(acc, a, b, steps, saturate);
        return;
    }
#else
    (void)native;
#endif
    if (a_signed) (b_signed ? hwsim_dot4_ss : hwsim_dot4_su)(acc, a, b, steps, lanes, saturate);
    else (b_signed ? hwsim_dot4_us : hwsim_dot4_uu)(acc, a, b, steps, lanes, saturate);
}

/* Where vpmaddubsw clipped a sum of two products to 16 bits. */
typedef struct {
    int64_t total, capacity;
    int64_t *where;        /* capacity rows of m, n, k */
    int32_t *per_output;   /* row-major, `columns` wide */
    int64_t m, n0, columns;
} hwsim_clips;

static inline void hwsim_clip(hwsim_clips *clips, int64_t n, int64_t k) {
    if (clips->total < clips->capacity) {
        int64_t *row = clips->where + 3 * clips->total;
        row[0] = clips->m;
        row[1] = n;
        row[2] = k;
    }
    clips->total++;
    clips->per_output[clips->m * clips->columns + n]++;
}

static inline int32_t hwsim_pair(const uint8_t *a, const int8_t *b) { return a[0] * b[0] + a[1] * b[1]; }

static inline int32_t hwsim_clamp16(int32_t x) { return x > INT16_MAX ? INT16_MAX : x < INT16_MIN ? INT16_MIN : x; }

/* vpmaddubsw, vpmaddwd with ones, vpaddd: eight lanes of 32 bits. */
static void hwsim_maddubs(int32_t *acc, const uint8_t *a, const uint8_t *b8, int64_t steps, hwsim_clips *clips) {
    for (int64_t k = 0; k < steps; k++) {
        const int8_t *b = (const int8_t *)b8 + 32 * k;
        int clipped = 0;
        for (int l = 0; l < 8; l++) {
            const int32_t low = hwsim_pair(a + 4 * k, b + 4 * l), high = hwsim_pair(a + 4 * k + 2, b + 4 * l + 2);
            const int32_t low16 = hwsim_clamp16(low), high16 = hwsim_clamp16(high);
            clipped |= (low != low16) | (high != high16);
            acc[l] = (int32_t)((uint32_t)acc[l] + (uint32_t)(low16 + high16));
        }
        if (clipped)
            for (int p = 0; p < 16; p++) {
                const int32_t sum = hwsim_pair(a + 4 * k + 2 * (p & 1), b + 2 * p);
                if (sum != hwsim_clamp16(sum)) hwsim_clip(clips, clips->n0 + p / 2, 4 * k + 2 * (p & 1));
            }
    }
}

#if HWSIM_X86
__attribute__((target("avx2"))) static void hwsim_maddubs_avx2(int32_t *acc, const uint8_t *a, const uint8_t *b,
                                                               int64_t steps, hwsim_clips *clips) {
    const __m256i ones = _mm256_set1_epi16(1), top = _mm256_set1_epi16(INT16_MAX), bottom = _mm256_set1_epi16(INT16_MIN);
    __m256i sum = _mm256_loadu_si256((const __m256i *)acc);
    for (int64_t k = 0; k < steps; k++) {
        int32_t word;
        memcpy(&word, a + 4 * k, 4);
        const __m256i y = _mm256_loadu_si256((const __m256i *)(b + 32 * k));
        const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi32(word), y);
        /* A clipped pair stands at a limit; one that stands there may be exact, so those few are worked out again. */
        if (_mm256_movemask_epi8(_mm256_or_si256(_mm256_cmpeq_epi16(pairs, top), _mm256_cmpeq_epi16(pairs, bottom))))
            for (int p = 0; p < 16; p++) {
                const int32_t exact = hwsim_pair(a + 4 * k + 2 * (p & 1), (const int8_t *)b + 32 * k + 2 * p);
                if (exact != hwsim_clamp16(exact)) hwsim_clip(clips, clips->n0 + p / 2, 4 * k + 2 * (p & 1));
            }
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, ones));
    }
    _mm256_storeu_si256((__m256i *)acc, sum);
}
#endif

static void hwsim_pmaddubsw(int32_t *acc, const uint8_t *a, const uint8_t *b, int64_t steps, hwsim_clips *clips,
                            int native) {
#if HWSIM_X86
    if (native) {
        hwsim_maddubs_avx2(acc, a, b, steps, clips);
        return;
    }
#else
    (void)native;
#endif
    hwsim_maddubs(acc, a, b, steps, clips);
}

/* Cortex-M4/M7: two halfwords in a register. */
static inline uint32_t hwsim_sxtb16(uint32_t x, int rotate) {
    if (rotate) x = x >> rotate | x << (32 - rotate);
    const uint32_t low = (uint16_t)(int16_t)(int8_t)(x & 0xFF), high = (uint16_t)(int16_t)(int8_t)(x >> 16 & 0xFF);
    return low | high << 16;
}

static inline uint32_t hwsim_sxtab16(uint32_t add, uint32_t x, int rotate) {
    x = hwsim_sxtb16(x, rotate);
    return ((add + x) & 0xFFFF) | (((add >> 16) + (x >> 16)) & 0xFFFF) << 16;
}

/* Both products and the accumulator are summed exactly; Q is set where 32 bits do not hold the sum. */
static inline int32_t hwsim_smlad(uint32_t x, uint32_t y, int32_t acc, uint8_t *q) {
    const int64_t sum = (int64_t)(int16_t)(x & 0xFFFF) * (int16_t)(y & 0xFFFF) + (int64_t)(int16_t)(x >> 16) * (int16_t)(y >> 16) + acc;
    const int32_t wrapped = hwsim_wrap32(sum);
    *q |= wrapped != sum;
    return wrapped;
}

static inline uint32_t hwsim_word(const int8_t *p) { /* little endian, as the core reads it */
    return (uint32_t)(uint8_t)p[0] | (uint32_t)(uint8_t)p[1] << 8 | (uint32_t)(uint8_t)p[2] << 16 | (uint32_t)(uint8_t)p[3] << 24;
}

/* One output: bytes 0 and 2 first, then 1 and 3; what is left of four goes one by one through MLA, which sets no Q. */
static int32_t hwsim_smlad_dot(const int8_t *x, const int8_t *w, int64_t length, uint32_t offset, int32_t acc, uint8_t *q) {
    const int32_t one = (int16_t)(offset & 0xFFFF);
    int64_t k = 0;
    for (; k + 4 <= length; k += 4) {
        const uint32_t xs = hwsim_word(x + k), ws = hwsim_word(w + k);
        acc = hwsim_smlad(hwsim_sxtab16(offset, xs, 0), hwsim_sxtb16(ws, 0), acc, q);
        acc = hwsim_smlad(hwsim_sxtab16(offset, xs, 8), hwsim_sxtb16(ws, 8), acc, q);
    }
    for (; k < length; k++) acc = hwsim_wrap32((int64_t)acc + (int64_t)(x[k] + one) * w[k]);
    return acc;
}

/* One output of a matrix unit: `step` products a time, exact, added to the accumulator. */
static int32_t hwsim_imma_dot(const int16_t *a, const int16_t *b, int64_t length, int64_t step, int32_t acc, int saturate) {
    for (int64_t k0 = 0; k0 < length; k0 += step) {
        int64_t sum = acc;
        for (int64_t k = k0; k < k0 + step && k < length; k++) sum += (int32_t)a[k] * b[k];
        acc = saturate ? hwsim_clamp32(sum) : hwsim_wrap32(sum);
    }
    return acc;
}

static inline int hwsim_exponent(float x) { /* of an fp16 number: subnormals share the least exponent */
    const int e = ilogbf(x);
    return e < -14 ? -14 : e;
}

static float hwsim_truncated(double x) {
    const float y = (float)x;
    return fabs((double)y) > fabs(x) && isfinite(y) ? nextafterf(y, 0.0f) : y;
}

/* One output: fp16 products, exact in fp32, and fp32 accumulation, `block` products a time.
   nearest:  the products of a block are added in order, then the block to the accumulator, each sum rounded to nearest.
   truncate: the products of a block and the accumulator are shifted to the largest exponent among them, cut to
             23 + extra fraction bits, added exactly, and the sum cut to fp32. */
static float hwsim_hmma_dot(const float *a, const float *b, int64_t length, int64_t block, float acc, int truncate, int extra) {
    for (int64_t k0 = 0; k0 < length; k0 += block) {
        const int64_t end = k0 + block < length ? k0 + block : length;
        float sum = a[k0] * b[k0];
        int finite = isfinite(sum) && isfinite(acc);
        for (int64_t k = k0 + 1; k < end; k++) {
            const float product = a[k] * b[k];
            finite &= isfinite(product) != 0;
            sum += product;
        }
        if (!truncate || !finite) {
            acc += sum;
            continue;
        }
        int top = INT32_MIN;
        if (acc != 0) top = ilogbf(acc) < -126 ? -126 : ilogbf(acc);
        for (int64_t k = k0; k < end; k++)
            if (a[k] != 0 && b[k] != 0) {
                const int e = hwsim_exponent(a[k]) + hwsim_exponent(b[k]); /* of the product before it is normalized */
                if (e > top) top = e;
            }
        if (top == INT32_MIN) continue;
        const int shift = 23 + extra - top;
        int64_t fixed = (int64_t)ldexp((double)acc, shift);
        for (int64_t k = k0; k < end; k++) fixed += (int64_t)ldexp((double)a[k] * b[k], shift);
        acc = hwsim_truncated(ldexp((double)fixed, -shift));
    }
    return acc;
}

#endif
