/* Simple loops: 16-bit activations with 64-bit sums, and the fp32 reference. */

#ifndef HWSIM_WIDE_H
#define HWSIM_WIDE_H

#include <stdint.h>

typedef int64_t i64;

/* rows of a times rows of bt (b transposed), both contiguous along k */
static void gemm_wide(const int16_t *restrict a, const int16_t *restrict bt, i64 m, i64 n, i64 k, int32_t az, int32_t bz,
                      i64 *restrict out) {
    for (i64 i = 0; i < m; i++)
        for (i64 j = 0; j < n; j++) {
            const int16_t *restrict x = a + i * k, *restrict y = bt + j * k;
            i64 sum = 0;
            for (i64 l = 0; l < k; l++) sum += (i64)(x[l] - az) * (y[l] - bz);
            out[i * n + j] = sum;
        }
}

/* out[i, j] starts at 0 and takes a[i, l] * b[l, j] for l = 0, 1, ...: one rounding a product, one a sum, no fusing
   (the build says -ffp-contract=off). Vectors run along j, so they cannot change the order. */
static void gemm_float(const float *restrict a, const float *restrict b, i64 m, i64 n, i64 k, float *restrict out) {
    for (i64 i = 0; i < m; i++) {
        float *restrict line = out + i * n;
        for (i64 j = 0; j < n; j++) line[j] = 0.0f;
        for (i64 l = 0; l < k; l++) {
            const float x = a[i * k + l];
            const float *restrict y = b + l * n;
            for (i64 j = 0; j < n; j++) line[j] += x * y[j];
        }
    }
}

#endif
