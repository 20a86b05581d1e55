/* int8 convolution on AVX512-VNNI, symmetric weights. An image becomes padded quads of channels [c/4][hp][wp][4], so that
   gathering the patches of neighboring pixels is copying short runs of 4-byte elements, never single bytes.

   Two ways to lay the product out:
     pixels in vectors     rows are 12 output channels (signed, broadcast), columns 32 pixels: results come out as NCHW
     channels in vectors   rows are 12 pixels (unsigned, broadcast), columns 32 channels: results come out as NHWC, and few
                           pixels (7 x 7 = 49 = 2 x 32 - 15) leave no lanes idle
   k runs in the order (channel quad, filter row, filter column, channel in the quad). */

#ifndef HWSIM_CONV_VNNI_H
#define HWSIM_CONV_VNNI_H

#include "_conv.h"

enum { PATCH_BYTES = 576 * 1024 }; /* of gathered patches: they stay in an L2 of 1 MiB beside a tile of weights */

static int conv_vnni_by_channel(const shape_t *z) {
    const i64 area = z->p * z->q;
    return z->nhwc || (round_up(area, 16) - area) * 8 > area;
}

static i64 conv_vnni_groups(const shape_t *z) { return (z->c + 3) / 4 * z->r * z->s; }

static i64 conv_vnni_weight_bytes(const shape_t *z) {
    const i64 rows = conv_vnni_by_channel(z) ? round_up(z->k, 32) : z->k;
    return z->g * rows * conv_vnni_groups(z) * 4;
}

/* Rows of a balanced tile t of `tiles`. */
INLINE i64 tile_start(i64 total, i64 t, i64 tiles) { return total * t / tiles; }

/* w is [group][k][r][s][c] bytes. */
static void conv_vnni_pack(const uint8_t *w, int flip, const shape_t *z, uint8_t *to, int32_t *sums) {
    const i64 taps = z->r * z->s, groups = conv_vnni_groups(z), tiles = (z->k + 11) / 12;
    const int by_channel = conv_vnni_by_channel(z);
    memset(to, 0, (size_t)conv_vnni_weight_bytes(z));
    for (i64 g = 0; g < z->g; g++) {
        uint8_t *base = to + g * (by_channel ? round_up(z->k, 32) : z->k) * groups * 4;
        i64 t = 0;
        for (i64 k = 0; k < z->k; k++) {
            if (t + 1 < tiles && k >= tile_start(z->k, t + 1, tiles)) t++;
            const i64 first = tile_start(z->k, t, tiles), width = tile_start(z->k, t + 1, tiles) - first;
            int32_t sum = 0;
            for (i64 tap = 0; tap < taps; tap++)
                for (i64 c = 0; c < z->c; c++) {
                    const int8_t value = (int8_t)(*w++ ^ flip);
                    const i64 x = c / 4 * taps + tap;
                    sum += value;
                    if (by_channel) base[k / 32 * groups * 128 + x * 128 + k % 32 * 4 + c % 4] = (uint8_t)value;
                    else base[first * groups * 4 + x * width * 4 + (k - first) * 4 + c % 4] = (uint8_t)value;
                }
            sums[g * z->k + k] = sum;
        }
    }
}

#if X86

/* `n` pixels of up to 4 channels, `step` bytes apart, as quads; channels that do not exist are whatever meets zero weights. */
TARGET_VNNI static void quad_line(const uint8_t *from, i64 step, i64 live, i64 n, __m128i toggle, uint8_t *to) {
    const uint8_t *r1 = from + (live > 1 ? step : 0), *r2 = from + (live > 2 ? 2 * step : 0);
    const uint8_t *r3 = from + (live > 3 ? 3 * step : 0);
    for (i64 j = 0; j < n; j += 16) {
        const __mmask16 mask = n - j >= 16 ? 0xffff : (__mmask16)((1u << (n - j)) - 1);
        const __m128i a = _mm_maskz_loadu_epi8(mask, from + j), b = _mm_maskz_loadu_epi8(mask, r1 + j);
        const __m128i c = _mm_maskz_loadu_epi8(mask, r2 + j), d = _mm_maskz_loadu_epi8(mask, r3 + j);
        const __m128i ab0 = _mm_xor_si128(_mm_unpacklo_epi8(a, b), toggle);
        const __m128i ab1 = _mm_xor_si128(_mm_unpackhi_epi8(a, b), toggle);
        const __m128i cd0 = _mm_xor_si128(_mm_unpacklo_epi8(c, d), toggle);
        const __m128i cd1 = _mm_xor_si128(_mm_unpackhi_epi8(c, d), toggle);
        const __m256i low = _mm256_set_m128i(_mm_unpackhi_epi16(ab0, cd0), _mm_unpacklo_epi16(ab0, cd0));
        const __m256i high = _mm256_set_m128i(_mm_unpackhi_epi16(ab1, cd1), _mm_unpacklo_epi16(ab1, cd1));
        const __m512i all = _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
        if (n - j >= 16) _mm512_storeu_si512(to + 4 * j, all);
        else _mm512_mask_storeu_epi32(to + 4 * j, mask, all);
    }
}

/* 16 x 16 bytes, rows `from_step` and `to_step` apart, transposed. */
INLINE void transpose16(const uint8_t *from, i64 from_step, uint8_t *to, i64 to_step) {
    __m128i a[16], b[16];
    UNROLL16 for (int i = 0; i < 16; i++) a[i] = _mm_loadu_si128((const __m128i *)(from + i * from_step));
    UNROLL16 for (int i = 0; i < 8; i++) { /* interleaving rows i and i + 8 four times is the transpose */
        b[2 * i] = _mm_unpacklo_epi8(a[i], a[i + 8]);
        b[2 * i + 1] = _mm_unpackhi_epi8(a[i], a[i + 8]);
    }
    UNROLL16 for (int i = 0; i < 8; i++) {
        a[2 * i] = _mm_unpacklo_epi8(b[i], b[i + 8]);
        a[2 * i + 1] = _mm_unpackhi_epi8(b[i], b[i + 8]);
    }
    UNROLL16 for (int i = 0; i < 8; i++) {
        b[2 * i] = _mm_unpacklo_epi8(a[i], a[i + 8]);
        b[2 * i + 1] = _mm_unpackhi_epi8(a[i], a[i + 8]);
    }
    UNROLL16 for (int i = 0; i < 8; i++) {
        a[2 * i] = _mm_unpacklo_epi8(b[i], b[i + 8]);
        a[2 * i + 1] = _mm_unpackhi_epi8(b[i], b[i + 8]);
    }
    UNROLL16 for (int i = 0; i < 16; i++) _mm_storeu_si128((__m128i *)(to + i * to_step), a[i]);
}

/* Results [pixels][32] of one panel of channels to 8 bits, as NCHW (`out` at the first channel and pixel) or NHWC.
   `octets` has room for whole blocks of 16 pixels. */
TARGET_VNNI static void store_panel(const int32_t *acc, i64 pixels, i64 cols, requant_t q, i64 channel, uint8_t *octets,
                                    uint8_t *out, i64 pixel_step, i64 channel_step) {
    if (q.kind == 1) {
        float scale[32] = {0};
        memcpy(scale, q.scale + channel, (size_t)cols * sizeof(float));
        onnx_panel(acc, pixels, scale, q, octets);
    } else {
        for (i64 i = 0; i < pixels; i++) all_channels(AVX512VNNI, acc + 32 * i, cols, q, channel, octets + 32 * i);
    }
    if (channel_step == 1) {
        for (i64 i = 0; i < pixels; i++) memcpy(out + i * pixel_step, octets + 32 * i, (size_t)cols);
        return;
    }
    i64 i = 0;
    for (; i + 16 <= pixels && cols == 32; i += 16) {
        transpose16(octets + 32 * i, 32, out + i, channel_step);
        transpose16(octets + 32 * i + 16, 32, out + i + 16 * channel_step, channel_step);
    }
    for (; i < pixels; i++)
        for (i64 c = 0; c < cols; c++) out[c * channel_step + i] = octets[32 * i + c];
}

/* One (image, group) as quads. */
TARGET_VNNI static void quad_image(const uint8_t *x, int flip, int zero, const shape_t *z, i64 image, i64 group,
                                   uint8_t *to, i64 hp, i64 wp) {
    const i64 channels = z->g * z->c, quads = (z->c + 3) / 4;
    const i64 c0 = z->left < wp ? z->left : wp, c1 = z->left + z->w < wp ? z->left + z->w : wp;
    const __m128i toggle = _mm_set1_epi8((char)flip);
    if (c0 > 0 || c1 < wp || z->top > 0 || z->top + z->h < hp || z->c % 4)
        memset(to, zero ^ flip, (size_t)(quads * hp * wp * 4));
    for (i64 y = 0; y < quads; y++) {
        const i64 live = z->c - 4 * y < 4 ? z->c - 4 * y : 4;
        for (i64 i = z->top; i < hp && i < z->top + z->h; i++) {
            uint8_t *line = to + ((y * hp + i) * wp + c0) * 4;
            const i64 n = c1 - c0;
            if (z->nhwc) {
                const uint8_t *from = x + ((image * z->h + i - z->top) * z->w) * channels + group * z->c + 4 * y;
                const uint32_t flips = (uint32_t)flip * 0x01010101u;
                if (live == 4)
                    for (i64 j = 0; j < n; j++) {
                        const uint32_t quad = (uint32_t)load32(from + j * channels) ^ flips;
                        memcpy(line + 4 * j, &quad, 4);
                    }
                else
                    for (i64 j = 0; j < n; j++)
                        for (i64 c = 0; c < live; c++) line[4 * j + c] = (uint8_t)(from[j * channels + c] ^ flip);
                continue;
            }
            const i64 area = z->h * z->w;
            const uint8_t *from = x + (image * channels + group * z->c + 4 * y) * area + (i - z->top) * z->w;
            const int whole = c0 == 0 && c1 == z->w && wp == z->w && z->top == 0 && hp == z->h; /* as one long row */
            quad_line(from, area, live, whole ? area : n, toggle, line);
            if (whole) break;
        }
    }
}

enum { SLACK = 256 }; /* bytes that copies of whole vectors may touch behind a buffer */

/* Patches of `count` pixels from `start` on, as [k/4][width][4]. A run is copied in whole vectors: what it writes too much
   is overwritten by the run or the quad that follows, or falls in the slack. */
TARGET_VNNI static void gather(const uint8_t *padded, const shape_t *z, i64 hp, i64 wp, i64 start, i64 count, i64 width,
                               uint8_t *to) {
    i64 from[32], length[32];
    int runs = 0;
    for (i64 done = 0; done < count; runs++) {
        const i64 p = (start + done) / z->q, q = (start + done) % z->q;
        i64 n = z->q - q < count - done ? z->q - q : count - done;
        if (z->sh == 1 && z->sw == 1 && z->q == wp) n = count - done; /* rows touch: one run */
        from[runs] = (p * z->sh * wp + q * z->sw) * 4;
        length[runs] = n;
        done += n;
    }
    const i64 quads = (z->c + 3) / 4;
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    for (i64 y = 0; y < quads; y++)
        for (i64 r = 0; r < z->r; r++)
            for (i64 s = 0; s < z->s; s++, to += width * 4) {
                const uint8_t *base = padded + ((y * hp + r * z->dh) * wp + s * z->dw) * 4;
                uint8_t *o = to;
                for (int i = 0; i < runs; i++) {
                    const uint8_t *f = base + from[i];
                    const i64 n = length[i];
                    if (z->sw == 1) {
                        _mm512_storeu_si512(o, _mm512_loadu_si512(f));
                        if (n > 16) _mm512_storeu_si512(o + 64, _mm512_loadu_si512(f + 64));
                    } else if (z->sw == 2) {
                        for (i64 x = 0; x < n; x += 16)
                            _mm512_storeu_si512(o + 4 * x,
                                                _mm512_permutex2var_epi32(_mm512_loadu_si512(f + 8 * x), even,
                                                                          _mm512_loadu_si512(f + 8 * x + 64)));
                    } else {
                        for (i64 x = 0; x < n; x++) memcpy(o + 4 * x, f + 4 * x * z->sw, 4);
                    }
                    o += 4 * n;
                }
            }
}

static int conv_vnni(const uint8_t *x, int flip, int zero, const shape_t *z, const uint8_t *weights, const int32_t *init,
                     requant_t q, int32_t *out32, uint8_t *out8, tally_t *tally) {
    const i64 area = z->p * z->q, groups = conv_vnni_groups(z), depth = groups * 4, quads = (z->c + 3) / 4;
    const i64 hp = (z->p - 1) * z->sh + (z->r - 1) * z->dh + 1, wp = (z->q - 1) * z->sw + (z->s - 1) * z->dw + 1;
    const int by_channel = conv_vnni_by_channel(z);
    const i64 rows = by_channel ? round_up(z->k, 32) : z->k, unit = by_channel ? 12 : 32;
    i64 block = PATCH_BYTES / (depth * unit) * unit;
    if (block < unit) block = unit;
    const i64 blocks = (area + block - 1) / block; /* even ones: each reads all weights once */
    block = round_up((area + blocks - 1) / blocks, unit);
    uint8_t *padded = aligned_bytes(quads * hp * wp * 4 + SLACK), *patches = aligned_bytes(block * depth + SLACK);
    int32_t *acc = (int32_t *)aligned_bytes(block * (by_channel ? rows : 12) * (i64)sizeof(int32_t));
    uint8_t *octets = aligned_bytes(block * 32);
    if (!padded || !patches || !acc || !octets) {
        free(padded);
        free(patches);
        free(acc);
        free(octets);
        return -1;
    }
    memset(patches, 0, (size_t)(block * depth + SLACK)); /* lanes without a pixel: never stored, but read */
    for (i64 image = 0; image < z->n; image++)
        for (i64 g = 0; g < z->g; g++) {
            const uint8_t *w = weights + g * rows * depth;
            quad_image(x, flip, zero, z, image, g, padded, hp, wp);
            for (i64 start = 0; start < area; start += block) {
                const i64 pixels = area - start < block ? area - start : block;
                if (by_channel) {
                    const i64 tiles = (pixels + 11) / 12;
                    for (i64 t = 0; t < tiles; t++) {
                        const i64 a = tile_start(pixels, t, tiles), b = tile_start(pixels, t + 1, tiles);
                        gather(padded, z, hp, wp, start + a, b - a, b - a, patches + a * depth);
                    }
                    const i64 wide = q.kind ? 32 : z->k; /* with 8-bit results a panel leaves before the next one starts */
                    for (i64 k = 0; k < z->k; k += 32) {
                        int32_t line[32] = {0};
                        int32_t *to = q.kind ? acc : acc + k;
                        const i64 cols = z->k - k < 32 ? z->k - k : 32;
                        memcpy(line, init + g * z->k + k, (size_t)cols * sizeof(int32_t));
                        for (i64 t = 0; t < tiles; t++) {
                            const i64 a = tile_start(pixels, t, tiles), b = tile_start(pixels, t + 1, tiles);
                            if (tally)
                                tile_vnni_counted(b - a, cols, depth, patches + a * depth, w + k * depth, 0, line,
                                                  to + a * wide, wide, tally);
                            else
                                tile_vnni_fast(b - a, cols, depth, patches + a * depth, w + k * depth, 0, line,
                                               to + a * wide, wide, NULL);
                        }
                        if (!q.kind) continue;
                        const i64 channel = g * z->k + k, channels = z->g * z->k;
                        if (z->nhwc)
                            store_panel(acc, pixels, cols, q, channel, octets,
                                        out8 + (image * area + start) * channels + channel, channels, 1);
                        else
                            store_panel(acc, pixels, cols, q, channel, octets,
                                        out8 + (image * channels + channel) * area + start, 1, area);
                    }
                    if (!q.kind) store_pixels(AVX512VNNI, acc, z, image, g, start, pixels, q, out32, out8);
                    continue;
                }
                for (i64 a = 0; a < pixels; a += 32)
                    gather(padded, z, hp, wp, start + a, pixels - a < 32 ? pixels - a : 32, 32, patches + a * depth);
                const i64 tiles = (z->k + 11) / 12;
                for (i64 t = 0; t < tiles; t++) {
                    const i64 k0 = tile_start(z->k, t, tiles), k1 = tile_start(z->k, t + 1, tiles);
                    const i64 channel = g * z->k + k0;
                    const i64 at = (image * z->g * z->k + channel) * area + start;
                    int32_t *c = q.kind ? acc : out32 + at;
                    const i64 ldc = q.kind ? block : area;
                    for (i64 a = 0; a < pixels; a += 32) {
                        const i64 cols = pixels - a < 32 ? pixels - a : 32;
                        if (tally)
                            tile_vnni_swapped_counted(k1 - k0, cols, depth, w + k0 * depth, patches + a * depth,
                                                      init + channel, c + a, ldc, tally);
                        else
                            tile_vnni_swapped_fast(k1 - k0, cols, depth, w + k0 * depth, patches + a * depth,
                                                   init + channel, c + a, ldc, NULL);
                    }
                    if (q.kind)
                        for (i64 i = 0; i < k1 - k0; i++)
                            same_channel(AVX512VNNI, acc + i * block, 1, pixels, q, channel + i, out8 + at + i * area);
                }
            }
        }
    if (tally) tally->macs = tally->macs / depth * (z->c * z->r * z->s); /* a last quad may hold less than 4 channels */
    free(padded);
    free(patches);
    free(acc);
    free(octets);
    return 0;
}

#else

static int conv_vnni(const uint8_t *x, int flip, int zero, const shape_t *z, const uint8_t *weights, const int32_t *init,
                     requant_t q, int32_t *out32, uint8_t *out8, tally_t *tally) {
    (void)x, (void)flip, (void)zero, (void)z, (void)weights, (void)init, (void)q, (void)out32, (void)out8, (void)tally;
    return -1;
}

#endif

#endif
