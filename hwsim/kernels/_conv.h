/* int8 convolution as implicit GEMM: patches of the image are gathered a block at a time, so that the memory beside the
   tensors is bounded by one padded image and one block. `x` is raw (int8 or uint8); padding is the raw zero point. */

#ifndef HWSIM_CONV_H
#define HWSIM_CONV_H

#include "_int8.h"
#include "_requantize.h"

typedef struct {
    i64 n, g, c, h, w; /* c: input channels of a group */
    i64 k, p, q, r, s; /* k: output channels of a group */
    i64 sh, sw, top, left, dh, dw;
    int nhwc;
} shape_t;

enum { PIXEL_BLOCK = 96 };

/* One (image, group) as padded [hp][wp][c] bytes: what windows reach, no more. */
static void pad_image(const uint8_t *x, const shape_t *z, i64 image, i64 group, int zero, uint8_t *to, i64 hp, i64 wp) {
    memset(to, zero, (size_t)(hp * wp * z->c));
    const i64 channels = z->g * z->c;
    const i64 c0 = z->left < wp ? z->left : wp, c1 = z->left + z->w < wp ? z->left + z->w : wp;
    for (i64 i = 0; i < hp; i++) {
        const i64 row = i - z->top;
        if (row < 0 || row >= z->h) continue;
        uint8_t *line = to + i * wp * z->c;
        if (z->nhwc) {
            for (i64 j = c0; j < c1; j++)
                memcpy(line + j * z->c,
                       x + ((image * z->h + row) * z->w + (j - z->left)) * channels + group * z->c, (size_t)z->c);
        } else {
            for (i64 y = 0; y < z->c; y++) {
                const uint8_t *from = x + ((image * channels + group * z->c + y) * z->h + row) * z->w - z->left;
                for (i64 j = c0; j < c1; j++) line[j * z->c + y] = from[j];
            }
        }
    }
}

/* Writes a block of int32 results [pixels][k] of one image and group, from pixel `start` on. */
static void store_pixels(int isa, const int32_t *acc, const shape_t *z, i64 image, i64 group, i64 start, i64 pixels,
                         requant_t q, int32_t *out32, uint8_t *out8) {
    const i64 area = z->p * z->q, channels = z->g * z->k;
    if (z->nhwc) {
        for (i64 i = 0; i < pixels; i++) {
            const i64 at = (image * area + start + i) * channels + group * z->k;
            if (q.kind) all_channels(isa, acc + i * z->k, z->k, q, group * z->k, out8 + at);
            else memcpy(out32 + at, acc + i * z->k, (size_t)z->k * sizeof(int32_t));
        }
    } else {
        for (i64 y = 0; y < z->k; y++) {
            const i64 at = (image * channels + group * z->k + y) * area + start;
            if (q.kind) same_channel(isa, acc + y, z->k, pixels, q, group * z->k + y, out8 + at);
            else
                for (i64 i = 0; i < pixels; i++) out32[at + i] = acc[i * z->k + y];
        }
    }
}

/* Any instruction set. `weights` of each group are packed as b with k in the order (row, column, channel); `init` and `bz`
   as in gemm, a stretch of round_up(k, nr) for each group. */
static int conv_rows(int isa, const uint8_t *x, int flip, int zero, const shape_t *z, const uint8_t *weights,
                     const int32_t *init, const int32_t *bz, requant_t q, int32_t *out32, uint8_t *out8, tally_t *tally) {
    const i64 depth = z->r * z->s * z->c, area = z->p * z->q;
    const i64 hp = (z->p - 1) * z->sh + (z->r - 1) * z->dh + 1, wp = (z->q - 1) * z->sw + (z->s - 1) * z->dw + 1;
    const i64 step_b = packed_b_bytes(isa, depth, z->k), step_n = round_up(z->k, FORMATS[isa].nr);
    uint8_t *padded = aligned_bytes(hp * wp * z->c), *patches = aligned_bytes(PIXEL_BLOCK * depth);
    int32_t *acc = (int32_t *)aligned_bytes(PIXEL_BLOCK * z->k * (i64)sizeof(int32_t));
    int status = padded && patches && acc ? 0 : -1;
    for (i64 image = 0; image < z->n && !status; image++)
        for (i64 group = 0; group < z->g && !status; group++) {
            pad_image(x, z, image, group, zero, padded, hp, wp);
            for (i64 start = 0; start < area && !status; start += PIXEL_BLOCK) {
                const i64 pixels = area - start < PIXEL_BLOCK ? area - start : PIXEL_BLOCK;
                for (i64 i = 0; i < pixels; i++) {
                    const uint8_t *corner =
                        padded + ((start + i) / z->q * z->sh * wp + (start + i) % z->q * z->sw) * z->c;
                    uint8_t *to = patches + i * depth;
                    for (i64 r = 0; r < z->r; r++) {
                        const uint8_t *line = corner + r * z->dh * wp * z->c;
                        if (z->dw == 1) {
                            memcpy(to, line, (size_t)(z->s * z->c));
                            to += z->s * z->c;
                        } else {
                            for (i64 s = 0; s < z->s; s++, to += z->c)
                                memcpy(to, line + s * z->dw * z->c, (size_t)z->c);
                        }
                    }
                }
                const uint8_t *b = weights + group * step_b;
                const int32_t *from = init + group * step_n, *zeros = bz ? bz + group * step_n : NULL;
                const i64 panels = step_n / FORMATS[isa].nr;
                status = tally ? gemm_counted(isa, patches, depth, flip, pixels, depth, b, z->k, 0, panels, from, zeros,
                                              acc, z->k, tally)
                               : gemm_fast(isa, patches, depth, flip, pixels, depth, b, z->k, 0, panels, from, zeros,
                                           acc, z->k, NULL);
                if (!status) store_pixels(isa, acc, z, image, group, start, pixels, q, out32, out8);
            }
        }
    free(padded);
    free(patches);
    free(acc);
    return status;
}

/* ---- depthwise: no reduction over channels, so the loops run along a row (NCHW) or along the channels (NHWC) ----
   Weights are int16 with their zero point taken off, [channel][r][s] or [r][s][channel]; `depth` outputs an input channel. */

INLINE void depthwise_row(int32_t *restrict acc, const int16_t *restrict line, i64 step, i64 n, int32_t weight) {
    if (step == 1)
        for (i64 i = 0; i < n; i++) acc[i] += line[i] * weight;
    else if (step == 2)
        for (i64 i = 0; i < n; i++) acc[i] += line[2 * i] * weight;
    else
        for (i64 i = 0; i < n; i++) acc[i] += line[i * step] * weight;
}

INLINE void depthwise_pixel(int32_t *restrict acc, const int16_t *restrict x, const int16_t *restrict w, i64 n,
                            i64 depth) {
    if (depth == 1)
        for (i64 i = 0; i < n; i++) acc[i] += (int32_t)x[i] * w[i];
    else
        for (i64 i = 0; i < n; i++)
            for (i64 d = 0; d < depth; d++) acc[i * depth + d] += (int32_t)x[i] * w[i * depth + d];
}

INLINE int depthwise_body(int isa, const uint8_t *x, int flip, int zero, const shape_t *z, i64 depth,
                          const int16_t *weights, const int32_t *bias, requant_t q, int32_t *out32, uint8_t *out8) {
    /* here z->c is the number of input channels, z->g is 1 and z->k = c * depth */
    const i64 hp = (z->p - 1) * z->sh + (z->r - 1) * z->dh + 1, wp = (z->q - 1) * z->sw + (z->s - 1) * z->dw + 1;
    const i64 wide = z->nhwc ? z->c : 1; /* channels that a padded image holds side by side */
    int16_t *padded = (int16_t *)aligned_bytes(hp * wp * wide * (i64)sizeof(int16_t));
    int32_t *acc = (int32_t *)aligned_bytes((z->nhwc ? z->k : z->q) * (i64)sizeof(int32_t));
    const int offset = zero ^ flip;
    if (!padded || !acc) {
        free(padded);
        free(acc);
        return -1;
    }
    for (i64 image = 0; image < z->n; image++)
        for (i64 y = 0; y < (z->nhwc ? 1 : z->c); y++) {
            memset(padded, 0, (size_t)(hp * wp * wide) * sizeof(int16_t));
            const i64 c1 = z->left + z->w < wp ? z->left + z->w : wp;
            for (i64 i = z->top; i < hp && i < z->top + z->h; i++) {
                int16_t *restrict line = padded + (i * wp + z->left) * wide;
                const uint8_t *restrict from =
                    x + (z->nhwc ? (image * z->h + i - z->top) * z->w * z->c
                                 : ((image * z->c + y) * z->h + i - z->top) * z->w);
                for (i64 j = 0; j < (c1 - z->left) * wide; j++)
                    line[j] = (int16_t)((uint8_t)(from[j] ^ flip) - offset);
            }
            if (z->nhwc) {
                for (i64 pixel = 0; pixel < z->p * z->q; pixel++) {
                    const int16_t *corner = padded + (pixel / z->q * z->sh * wp + pixel % z->q * z->sw) * wide;
                    memcpy(acc, bias, (size_t)z->k * sizeof(int32_t));
                    for (i64 r = 0; r < z->r; r++)
                        for (i64 s = 0; s < z->s; s++)
                            depthwise_pixel(acc, corner + (r * z->dh * wp + s * z->dw) * wide,
                                            weights + (r * z->s + s) * z->k, z->c, depth);
                    const i64 at = (image * z->p * z->q + pixel) * z->k;
                    if (q.kind) all_channels_body(acc, z->k, q, 0, out8 + at);
                    else memcpy(out32 + at, acc, (size_t)z->k * sizeof(int32_t));
                }
            } else {
                for (i64 k = y * depth; k < (y + 1) * depth; k++)
                    for (i64 p = 0; p < z->p; p++) {
                        for (i64 i = 0; i < z->q; i++) acc[i] = bias[k];
                        for (i64 r = 0; r < z->r; r++)
                            for (i64 s = 0; s < z->s; s++)
                                depthwise_row(acc, padded + (p * z->sh + r * z->dh) * wp + s * z->dw, z->sw, z->q,
                                              weights[(k * z->r + r) * z->s + s]);
                        const i64 at = ((image * z->k + k) * z->p + p) * z->q;
                        if (q.kind) same_channel_body(acc, 1, z->q, q, k, out8 + at);
                        else memcpy(out32 + at, acc, (size_t)z->q * sizeof(int32_t));
                    }
            }
        }
    (void)isa;
    free(padded);
    free(acc);
    return 0;
}

static int depthwise_c(const uint8_t *x, int flip, int zero, const shape_t *z, i64 depth, const int16_t *weights,
                       const int32_t *bias, requant_t q, int32_t *out32, uint8_t *out8) {
    return depthwise_body(PORTABLE, x, flip, zero, z, depth, weights, bias, q, out32, out8);
}

#if X86
TARGET_AVX2 static int depthwise_avx2(const uint8_t *x, int flip, int zero, const shape_t *z, i64 depth,
                                      const int16_t *weights, const int32_t *bias, requant_t q, int32_t *out32,
                                      uint8_t *out8) {
    return depthwise_body(AVX2, x, flip, zero, z, depth, weights, bias, q, out32, out8);
}
TARGET_VNNI static int depthwise_vnni(const uint8_t *x, int flip, int zero, const shape_t *z, i64 depth,
                                      const int16_t *weights, const int32_t *bias, requant_t q, int32_t *out32,
                                      uint8_t *out8) {
    return depthwise_body(AVX512VNNI, x, flip, zero, z, depth, weights, bias, q, out32, out8);
}
#endif

static int depthwise(int isa, const uint8_t *x, int flip, int zero, const shape_t *z, i64 depth, const int16_t *weights,
                     const int32_t *bias, requant_t q, int32_t *out32, uint8_t *out8) {
#if X86
    if (isa == AVX512VNNI) return depthwise_vnni(x, flip, zero, z, depth, weights, bias, q, out32, out8);
    if (isa == AVX2) return depthwise_avx2(x, flip, zero, z, depth, weights, bias, q, out32, out8);
#endif
    return depthwise_c(x, flip, zero, z, depth, weights, bias, q, out32, out8);
}

#endif
