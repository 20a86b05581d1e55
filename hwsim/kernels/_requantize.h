/* int32 accumulators to 8 bits, in the two standard semantics. Plain C, compiled once more for AVX2 (and the ONNX one
   by hand for AVX-512): the loops have no order to keep, so every build gives the same bits. */

#ifndef HWSIM_REQUANTIZE_H
#define HWSIM_REQUANTIZE_H

#include "_int8.h"

/* How to leave int32. Channel arrays have one entry a channel. */
typedef struct {
    int kind; /* 0: not at all, 1: ONNX float scale, 2: TFLite fixed point with two roundings, 3: with one */
    const float *scale;
    const int32_t *multiplier, *shift;
    int32_t zero, lo, hi;
} requant_t;

/* ONNX: float(acc) * scale, clamped, rounded half to even by adding 1.5 * 2^23, plus the zero point.
   Clamping first is what onnxruntime does; it cannot change the result, as the bounds are whole numbers. */
INLINE int32_t onnx_one(int32_t acc, float scale, float lo, float hi, int32_t zero) {
    float v = (float)acc * scale;
    v = v > lo ? v : lo;
    v = v < hi ? v : hi;
    v += 12582912.0f;
    int32_t bits;
    memcpy(&bits, &v, 4);
    return bits - 0x4B400000 + zero;
}

/* TFLite: SaturatingRoundingDoublingHighMul, then RoundingDivideByPOT (ties away from zero): two roundings.
   Its truncating division with a nudge by sign equals the arithmetic shift of acc * multiplier + 2^30. The left shift wraps,
   and a product of two INT32_MIN cannot occur as multipliers are not negative. */
INLINE int32_t tflite_one(int32_t acc, int32_t multiplier, int32_t shift) {
    int32_t left = shift > 0 ? shift : 0, right = shift > 0 ? 0 : -shift;
    int32_t shifted = (int32_t)((uint32_t)acc << left);
    int32_t high = (int32_t)(((int64_t)shifted * multiplier + (1 << 30)) >> 31);
    int32_t mask = (int32_t)(((int64_t)1 << right) - 1);
    int32_t threshold = (mask >> 1) + (high < 0);
    return (high >> right) + ((high & mask) > threshold);
}

/* The other TFLite rounding: once, half up. Its fully connected kernels do so. */
INLINE int32_t tflite_single(int32_t acc, int32_t multiplier, int32_t shift) {
    int32_t total = 31 - shift;
    return (int32_t)(((int64_t)acc * multiplier + ((int64_t)1 << (total - 1))) >> total);
}

INLINE int32_t clamp32(int32_t v, int32_t lo, int32_t hi) { return v < lo ? lo : v > hi ? hi : v; }

/* A run of `n` accumulators `step` apart that share a channel. */
INLINE void same_channel_body(const int32_t *restrict acc, i64 step, i64 n, requant_t q, i64 channel,
                              uint8_t *restrict out) {
    if (q.kind == 1) {
        const float scale = q.scale[channel], lo = (float)(q.lo - q.zero), hi = (float)(q.hi - q.zero);
        if (step == 1)
            for (i64 i = 0; i < n; i++) out[i] = (uint8_t)onnx_one(acc[i], scale, lo, hi, q.zero);
        else
            for (i64 i = 0; i < n; i++) out[i] = (uint8_t)onnx_one(acc[i * step], scale, lo, hi, q.zero);
    } else {
        const int32_t multiplier = q.multiplier[channel], shift = q.shift[channel];
        const int32_t lo = q.lo - q.zero, hi = q.hi - q.zero; /* the zero point comes last, where nothing can wrap */
        if (q.kind == 2)
            for (i64 i = 0; i < n; i++)
                out[i] = (uint8_t)(clamp32(tflite_one(acc[i * step], multiplier, shift), lo, hi) + q.zero);
        else
            for (i64 i = 0; i < n; i++)
                out[i] = (uint8_t)(clamp32(tflite_single(acc[i * step], multiplier, shift), lo, hi) + q.zero);
    }
}

/* A run of `n` accumulators of consecutive channels. */
INLINE void all_channels_body(const int32_t *restrict acc, i64 n, requant_t q, i64 channel, uint8_t *restrict out) {
    if (q.kind == 1) {
        const float *restrict scale = q.scale + channel;
        const float lo = (float)(q.lo - q.zero), hi = (float)(q.hi - q.zero);
        for (i64 i = 0; i < n; i++) out[i] = (uint8_t)onnx_one(acc[i], scale[i], lo, hi, q.zero);
    } else {
        const int32_t *restrict multiplier = q.multiplier + channel, *restrict shift = q.shift + channel;
        const int32_t lo = q.lo - q.zero, hi = q.hi - q.zero;
        if (q.kind == 2)
            for (i64 i = 0; i < n; i++)
                out[i] = (uint8_t)(clamp32(tflite_one(acc[i], multiplier[i], shift[i]), lo, hi) + q.zero);
        else
            for (i64 i = 0; i < n; i++)
                out[i] = (uint8_t)(clamp32(tflite_single(acc[i], multiplier[i], shift[i]), lo, hi) + q.zero);
    }
}

static void same_channel_c(const int32_t *acc, i64 step, i64 n, requant_t q, i64 channel, uint8_t *out) {
    same_channel_body(acc, step, n, q, channel, out);
}
static void all_channels_c(const int32_t *acc, i64 n, requant_t q, i64 channel, uint8_t *out) {
    all_channels_body(acc, n, q, channel, out);
}
#if X86
TARGET_AVX2 static void same_channel_avx2(const int32_t *acc, i64 step, i64 n, requant_t q, i64 channel, uint8_t *out) {
    same_channel_body(acc, step, n, q, channel, out);
}
TARGET_AVX2 static void all_channels_avx2(const int32_t *acc, i64 n, requant_t q, i64 channel, uint8_t *out) {
    all_channels_body(acc, n, q, channel, out);
}
#endif

#if X86

/* 16 results of the ONNX semantics; the conversion rounds half to even, as every other path does. */
TARGET_VNNI INLINE __m128i onnx_sixteen(__m512i acc, __m512 scale, __m512 lo, __m512 hi, __m512i zero) {
    __m512 v = _mm512_mul_ps(_mm512_cvtepi32_ps(acc), scale);
    v = _mm512_min_ps(_mm512_max_ps(v, lo), hi);
    return _mm512_cvtepi32_epi8(_mm512_add_epi32(_mm512_cvtps_epi32(v), zero));
}

TARGET_VNNI static void onnx_run(const int32_t *acc, i64 n, float scale, requant_t q, uint8_t *out) {
    const __m512 scales = _mm512_set1_ps(scale), lo = _mm512_set1_ps((float)(q.lo - q.zero));
    const __m512 hi = _mm512_set1_ps((float)(q.hi - q.zero));
    const __m512i zero = _mm512_set1_epi32(q.zero);
    i64 i = 0;
    for (; i + 16 <= n; i += 16)
        _mm_storeu_si128((__m128i *)(out + i), onnx_sixteen(_mm512_loadu_si512(acc + i), scales, lo, hi, zero));
    if (i < n) {
        const __mmask16 mask = (__mmask16)((1u << (n - i)) - 1);
        _mm_mask_storeu_epi8(out + i, mask, onnx_sixteen(_mm512_maskz_loadu_epi32(mask, acc + i), scales, lo, hi, zero));
    }
}

/* Rows of 32 channels (a panel) to rows of 32 bytes. */
TARGET_VNNI static void onnx_panel(const int32_t *acc, i64 rows, const float *scale, requant_t q, uint8_t *out) {
    const __m512 s0 = _mm512_loadu_ps(scale), s1 = _mm512_loadu_ps(scale + 16);
    const __m512 lo = _mm512_set1_ps((float)(q.lo - q.zero)), hi = _mm512_set1_ps((float)(q.hi - q.zero));
    const __m512i zero = _mm512_set1_epi32(q.zero);
    for (i64 i = 0; i < rows; i++, acc += 32, out += 32) {
        _mm_storeu_si128((__m128i *)out, onnx_sixteen(_mm512_loadu_si512(acc), s0, lo, hi, zero));
        _mm_storeu_si128((__m128i *)(out + 16), onnx_sixteen(_mm512_loadu_si512(acc + 16), s1, lo, hi, zero));
    }
}

#endif

static void same_channel(int isa, const int32_t *acc, i64 step, i64 n, requant_t q, i64 channel, uint8_t *out) {
#if X86
    if (isa == AVX512VNNI && q.kind == 1 && step == 1) {
        onnx_run(acc, n, q.scale[channel], q, out);
        return;
    }
    if (isa != PORTABLE) {
        same_channel_avx2(acc, step, n, q, channel, out);
        return;
    }
#endif
    same_channel_c(acc, step, n, q, channel, out);
}

static void all_channels(int isa, const int32_t *acc, i64 n, requant_t q, i64 channel, uint8_t *out) {
#if X86
    if (isa != PORTABLE) {
        all_channels_avx2(acc, n, q, channel, out);
        return;
    }
#endif
    all_channels_c(acc, n, q, channel, out);
}

#endif
