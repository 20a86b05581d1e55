/* int4 weights in groups of k, each with a scale and a zero point, times int8 activations with a scale a row and group. */

#ifndef HWSIM_GROUPED_H
#define HWSIM_GROUPED_H

#include <math.h>
#include <stdint.h>

typedef int64_t i64;

enum { LANES = 16, SPAN = 128 }; /* sums of a vector of 512 bits; values of a step */

static inline int32_t grp_quad(const int8_t *a, const uint8_t *b) {
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2] + a[3] * b[3];
}

static inline float grp_tree8(const float *x) {
    float four[4];
    for (int i = 0; i < 4; i++) four[i] = x[i] + x[i + 4];
    return (four[0] + four[2]) + (four[1] + four[3]);
}

/* Quarters of a vector, each from left to right. */
static inline float grp_quarter(const float *x) { return ((x[0] + x[1]) + x[2]) + x[3]; }

static inline float grp_fold8(const float *x) { return grp_quarter(x) + grp_quarter(x + 4); }

static inline float grp_tree16(const float *x) {
    float eight[8];
    for (int i = 0; i < 8; i++) eight[i] = x[i] + x[i + 8];
    return grp_tree8(eight);
}

static inline float grp_fold16(const float *x) {
    return (grp_quarter(x) + grp_quarter(x + 8)) + (grp_quarter(x + 4) + grp_quarter(x + 12));
}

/* One result before its zero points, summed in the lanes of AVX512-VNNI: 128 values a step, whose sums of four meet in
   a lane by pairs; each lane takes its sum times both scales with one rounding. Groups that fill no step are last. */
static float grp_dot(const int8_t *a, const uint8_t *b, const float *a_scale, const float *b_scale, i64 groups, i64 group,
                     int folded) {
    static const int both[LANES] = {0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1};
    static const int four[LANES] = {0, 0, 2, 2, 0, 0, 2, 2, 1, 1, 3, 3, 1, 1, 3, 3};
    static const int eight[LANES] = {0, 0, 4, 4, 1, 1, 5, 5, 2, 2, 6, 6, 3, 3, 7, 7};
    const int *of = group == 64 ? both : group == 32 ? four : eight;
    float sums[LANES] = {0}, half[8];
    if (group >= SPAN) {
        for (i64 g = 0; g < groups; g++) {
            const float scale = a_scale[g] * b_scale[g];
            for (i64 s = 0; s < group; s += SPAN, a += SPAN, b += SPAN)
                for (int i = 0; i < LANES; i++)
                    sums[i] = fmaf((float)(grp_quad(a + 4 * i, b + 4 * i) + grp_quad(a + 64 + 4 * i, b + 64 + 4 * i)),
                                   scale, sums[i]);
        }
        return folded ? grp_fold16(sums) : grp_tree16(sums);
    }
    const i64 many = SPAN / group;
    i64 g = 0;
    for (; g + many <= groups; g += many, a += SPAN, b += SPAN) {
        float scale[8];
        for (i64 i = 0; i < many; i++) scale[i] = a_scale[g + i] * b_scale[g + i];
        for (int i = 0; i < LANES; i++) { /* which half of the step, and which of four sums of a quarter */
            const int upper = group == 64 ? i & 1 : i >> 1 & 1, place = group == 64 ? i >> 1 & 1 : i & 1;
            const int at = 64 * upper + 16 * (i >> 2) + 4 * place;
            sums[i] = fmaf((float)(grp_quad(a + at, b + at) + grp_quad(a + at + 8, b + at + 8)), scale[of[i]], sums[i]);
        }
    }
    if (group == 64) {
        if (g < groups) {
            const float scale = a_scale[g] * b_scale[g];
            for (int i = 0; i < LANES; i++) sums[i] = fmaf((float)grp_quad(a + 4 * i, b + 4 * i), scale, sums[i]);
        }
        return folded ? grp_fold16(sums) : grp_tree16(sums);
    }
    for (int i = 0; i < 8; i++) half[i] = sums[i] + sums[i + 8];
    for (; g < groups; g++, a += group, b += group) {
        const float scale = a_scale[g] * b_scale[g];
        for (int i = 0; i < 8; i++) {
            const int32_t sum = group == 32 ? grp_quad(a + 4 * i, b + 4 * i)
                                            : a[2 * i] * b[2 * i] + a[2 * i + 1] * b[2 * i + 1];
            half[i] = fmaf((float)sum, scale, half[i]);
        }
    }
    return folded ? grp_fold8(half) : grp_tree8(half);
}

/* a: m x groups x group, b: n x groups x group / 2 bytes; a_sums, b_sums: scale times sum, minus scale times zero point. */
static void grouped_gemm(const int8_t *a, const float *a_scale, const float *a_sums, const uint8_t *b, const float *b_scale,
                         const float *b_sums, i64 m, i64 n, i64 groups, i64 group, uint8_t *column, float *out) {
    const i64 k = groups * group;
    for (i64 j = 0; j < n; j++) {
        const uint8_t *octets = b + j * (k / 2);
        for (i64 i = 0; i < k / 2; i++) {
            column[2 * i] = octets[i] & 15;
            column[2 * i + 1] = octets[i] >> 4;
        }
        for (i64 i = 0; i < m; i++) {
            /* Columns in fours; the last row of an odd number of rows is on its own. */
            const int fours = j < n / 4 * 4, folded = fours && (group < 64 || i >= m / 2 * 2);
            const float dot = grp_dot(a + i * k, column, a_scale + i * groups, b_scale + j * groups, groups, group, folded);
            float zeros = 0.0f;
            for (i64 g = 0; g < groups; g++) zeros = fmaf(a_sums[i * groups + g], b_sums[j * groups + g], zeros);
            out[i * n + j] = zeros + dot;
        }
    }
}

#endif
