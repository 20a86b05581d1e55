/* The hot loops of the int8 GEMM, for every instruction set. Included twice: with COUNTED 0 they are the fast build, with
   COUNTED 1 the same loops also count what they execute. `_int8.h` says what the packed operands look like. */

#if COUNTED
#define LOOP(name) name##_counted
#define TALLY(field, amount) (tally->field += (amount))
#else
#define LOOP(name) name##_fast
#define TALLY(field, amount) ((void)0)
#endif

/* ---- portable: dot products along k, which a compiler turns into multiply-add of int16 pairs ---- */

static void LOOP(tile_portable)(i64 rows, i64 cols, i64 k, const int16_t *restrict a, const int16_t *restrict b,
                                const int32_t *restrict init, int32_t *restrict out, i64 ldc, tally_t *tally) {
    const i64 kp = round_up(k, 8);
    (void)tally;
    (void)k;
    for (i64 i = 0; i < rows; i += 2) {
        int two = i + 1 < rows;
        const int16_t *restrict a0 = a + i * kp, *restrict a1 = two ? a0 + kp : a0;
        const int16_t *restrict b0 = b, *restrict b1 = b + kp, *restrict b2 = b + 2 * kp, *restrict b3 = b + 3 * kp;
        int32_t s[2][4];
        if (two) {
            int32_t s00 = 0, s01 = 0, s02 = 0, s03 = 0, s10 = 0, s11 = 0, s12 = 0, s13 = 0;
            for (i64 x = 0; x < kp; x++) {
                s00 += (int32_t)a0[x] * b0[x];
                s01 += (int32_t)a0[x] * b1[x];
                s02 += (int32_t)a0[x] * b2[x];
                s03 += (int32_t)a0[x] * b3[x];
                s10 += (int32_t)a1[x] * b0[x];
                s11 += (int32_t)a1[x] * b1[x];
                s12 += (int32_t)a1[x] * b2[x];
                s13 += (int32_t)a1[x] * b3[x];
                TALLY(executed, 8);
                TALLY(macs, x < k ? 2 * cols : 0);
                TALLY(loads, 12);
            }
            s[0][0] = s00, s[0][1] = s01, s[0][2] = s02, s[0][3] = s03;
            s[1][0] = s10, s[1][1] = s11, s[1][2] = s12, s[1][3] = s13;
        } else {
            int32_t s00 = 0, s01 = 0, s02 = 0, s03 = 0;
            for (i64 x = 0; x < kp; x++) {
                s00 += (int32_t)a0[x] * b0[x];
                s01 += (int32_t)a0[x] * b1[x];
                s02 += (int32_t)a0[x] * b2[x];
                s03 += (int32_t)a0[x] * b3[x];
                TALLY(executed, 4);
                TALLY(macs, x < k ? cols : 0);
                TALLY(loads, 10);
            }
            s[0][0] = s00, s[0][1] = s01, s[0][2] = s02, s[0][3] = s03;
        }
        for (int r = 0; r <= two; r++)
            for (i64 j = 0; j < cols; j++) {
                out[(i + r) * ldc + j] = s[r][j] + init[j];
                TALLY(stores, 4);
            }
    }
}

#if X86

/* ---- AVX2: vpmaddwd on int16 pairs, 6 x 16. (vpmaddubsw would saturate: 255*127 + 255*127 is no int16.) ---- */

TARGET_AVX2 INLINE void LOOP(body_avx2)(const int rows, i64 cols, i64 k, const int16_t *a, const int16_t *b,
                                        const int32_t *init, int32_t *out, i64 ldc, tally_t *tally) {
    __m256i acc[6][2];
    (void)tally;
    UNROLL for (int i = 0; i < rows; i++) for (int v = 0; v < 2; v++)
        acc[i][v] = _mm256_loadu_si256((const __m256i *)(init + 8 * v));
    for (i64 x = 0; x < k; x += 2, a += 2 * rows, b += 32) {
        __m256i b0 = _mm256_loadu_si256((const __m256i *)b), b1 = _mm256_loadu_si256((const __m256i *)(b + 16));
        UNROLL for (int i = 0; i < rows; i++) {
            __m256i w = _mm256_set1_epi32(load32(a + 2 * i));
            acc[i][0] = _mm256_add_epi32(acc[i][0], _mm256_madd_epi16(w, b0));
            acc[i][1] = _mm256_add_epi32(acc[i][1], _mm256_madd_epi16(w, b1));
        }
        TALLY(executed, rows * 32);
        TALLY(macs, rows * cols * (k - x < 2 ? k - x : 2));
        TALLY(loads, rows * 4 + 64);
    }
    if (cols >= 16) {
        UNROLL for (int i = 0; i < rows; i++) for (int v = 0; v < 2; v++)
            _mm256_storeu_si256((__m256i *)(out + i * ldc + 8 * v), acc[i][v]);
    } else {
        int32_t line[16];
        UNROLL for (int i = 0; i < rows; i++) {
            _mm256_storeu_si256((__m256i *)line, acc[i][0]);
            _mm256_storeu_si256((__m256i *)(line + 8), acc[i][1]);
            memcpy(out + i * ldc, line, (size_t)cols * 4);
        }
    }
    TALLY(stores, rows * cols * 4);
}

TARGET_AVX2 static void LOOP(tile_avx2)(i64 rows, i64 cols, i64 k, const int16_t *a, const int16_t *b,
                                        const int32_t *init, int32_t *out, i64 ldc, tally_t *tally) {
#define CASE(r) case r: LOOP(body_avx2)(r, cols, k, a, b, init, out, ldc, tally); break;
    switch (rows) { CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) }
#undef CASE
}

/* ---- AVX512-VNNI: vpdpbusd, 12 x 32 or 6 x 64. `swapped` says that the broadcast operand is the signed one (and is
   initialized by row), as where weights meet a vector of pixels. ---- */

TARGET_VNNI INLINE void LOOP(body_vnni)(const int rows, const int vectors, const int swapped, i64 cols, i64 k,
                                        const uint8_t *a, const uint8_t *b, i64 panel, const int32_t *init,
                                        int32_t *out, i64 ldc, tally_t *tally) {
    __m512i acc[12][4];
    (void)tally;
    UNROLL for (int i = 0; i < rows; i++) UNROLL for (int v = 0; v < vectors; v++)
        acc[i][v] = swapped ? _mm512_set1_epi32(init[i]) : _mm512_loadu_si512(init + 16 * v);
    for (i64 x = 0; x < k; x += 4, a += 4 * rows, b += 128) {
        __m512i w[4];
        UNROLL for (int v = 0; v < vectors; v++) w[v] = _mm512_loadu_si512(b + (v >> 1) * panel + 64 * (v & 1));
        _mm_prefetch((const char *)b + 1024, _MM_HINT_T0);
        if (vectors > 1) _mm_prefetch((const char *)b + 1088, _MM_HINT_T0);
        if (vectors > 2) {
            _mm_prefetch((const char *)b + panel + 1024, _MM_HINT_T0);
            _mm_prefetch((const char *)b + panel + 1088, _MM_HINT_T0);
        }
        UNROLL for (int i = 0; i < rows; i++) {
            const __m512i one = _mm512_set1_epi32(load32(a + 4 * i));
            UNROLL for (int v = 0; v < vectors; v++)
                if (swapped) DPBUSD(acc[i][v], w[v], one);
                else DPBUSD(acc[i][v], one, w[v]);
        }
        TALLY(executed, rows * vectors * 64);
        TALLY(macs, rows * cols * (k - x < 4 ? k - x : 4));
        TALLY(loads, rows * 4 + vectors * 64);
    }
    UNROLL for (int v = 0; v < vectors; v++) {
        const i64 left = cols - 16 * v;
        const __mmask16 mask = left >= 16 ? 0xffff : left <= 0 ? 0 : (__mmask16)((1u << left) - 1);
        UNROLL for (int i = 0; i < rows; i++) _mm512_mask_storeu_epi32(out + i * ldc + 16 * v, mask, acc[i][v]);
    }
    TALLY(stores, rows * cols * 4);
}

/* Up to 12 rows by up to 32 columns (one panel), or up to 6 rows by up to 64 columns (two panels). */
TARGET_VNNI static void LOOP(tile_vnni)(i64 rows, i64 cols, i64 k, const uint8_t *a, const uint8_t *b, i64 panel,
                                        const int32_t *init, int32_t *out, i64 ldc, tally_t *tally) {
#define CASE(r, v) case r: LOOP(body_vnni)(r, v, 0, cols, k, a, b, panel, init, out, ldc, tally); break;
    if (cols > 32) {
        switch (rows) { CASE(1, 4) CASE(2, 4) CASE(3, 4) CASE(4, 4) CASE(5, 4) CASE(6, 4) }
    } else {
        switch (rows) {
            CASE(1, 2) CASE(2, 2) CASE(3, 2) CASE(4, 2) CASE(5, 2) CASE(6, 2)
            CASE(7, 2) CASE(8, 2) CASE(9, 2) CASE(10, 2) CASE(11, 2) CASE(12, 2)
        }
    }
#undef CASE
}

/* Rows are signed weights of output channels, columns unsigned pixels. */
TARGET_VNNI static void LOOP(tile_vnni_swapped)(i64 rows, i64 cols, i64 k, const uint8_t *a, const uint8_t *b,
                                                const int32_t *init, int32_t *out, i64 ldc, tally_t *tally) {
#define CASE(r, v) case r: LOOP(body_vnni)(r, v, 1, cols, k, a, b, 0, init, out, ldc, tally); break;
    if (cols > 16) {
        switch (rows) {
            CASE(1, 2) CASE(2, 2) CASE(3, 2) CASE(4, 2) CASE(5, 2) CASE(6, 2)
            CASE(7, 2) CASE(8, 2) CASE(9, 2) CASE(10, 2) CASE(11, 2) CASE(12, 2)
        }
    } else {
        switch (rows) {
            CASE(1, 1) CASE(2, 1) CASE(3, 1) CASE(4, 1) CASE(5, 1) CASE(6, 1)
            CASE(7, 1) CASE(8, 1) CASE(9, 1) CASE(10, 1) CASE(11, 1) CASE(12, 1)
        }
    }
#undef CASE
}

#endif

/* out[i, j] for rows of `a` and the panels [first, last) of b: packs rows in blocks that stay in the L2 cache, then walks
   the panels. `init` is what each column starts from; where `bz` is given, bz[j] * (sum of row i) is taken off. */
static int LOOP(gemm)(int isa, const uint8_t *a, i64 lda, int flip, i64 m, i64 k, const uint8_t *b, i64 n, i64 first,
                      i64 last, const int32_t *init, const int32_t *bz, int32_t *out, i64 ldc, tally_t *tally) {
    const format_t f = FORMATS[isa];
    const i64 kp = round_up(k, f.kg), row_bytes = kp * f.bytes, panel = kp * f.nr * f.bytes;
    i64 block = (A_BLOCK_BYTES / (row_bytes ? row_bytes : 1)) / f.mr * f.mr;
    if (block < f.mr) block = f.mr;
    if (block > m) block = m;
    if (last * f.nr > n) last = (n + f.nr - 1) / f.nr;
    uint8_t *packed = aligned_bytes(block * row_bytes);
    int32_t *sums = (int32_t *)malloc((size_t)(block ? block : 1) * sizeof(int32_t));
    if (!packed || !sums) {
        free(packed);
        free(sums);
        return -1;
    }
    for (i64 top = 0; top < m; top += block) {
        const i64 height = m - top < block ? m - top : block, tiles = (height + f.mr - 1) / f.mr;
        for (i64 t = 0; t < tiles; t++) {
            i64 r0 = height * t / tiles, r1 = height * (t + 1) / tiles;
            pack_rows(isa, a + (top + r0) * lda, lda, r1 - r0, k, flip, packed + r0 * row_bytes);
        }
        if (bz)
            for (i64 i = 0; i < height; i++) sums[i] = sum_row(a + (top + i) * lda, k, flip);
        for (i64 j = first; j < last;) {
            const i64 c0 = j * f.nr;
            i64 width = 1;
            for (i64 t = 0; t < tiles; t++) {
                const i64 r0 = height * t / tiles, r1 = height * (t + 1) / tiles, rows = r1 - r0;
                int32_t *c = out + (top + r0) * ldc + c0;
                const uint8_t *pa = packed + r0 * row_bytes, *pb = b + j * panel;
                i64 cols = n - c0 < f.nr ? n - c0 : f.nr;
                if (isa == PORTABLE) {
                    LOOP(tile_portable)(rows, cols, k, (const int16_t *)pa, (const int16_t *)pb, init + c0, c, ldc, tally);
#if X86
                } else if (isa == AVX2) {
                    LOOP(tile_avx2)(rows, cols, k, (const int16_t *)pa, (const int16_t *)pb, init + c0, c, ldc, tally);
                } else {
                    if (tiles == 1 && rows <= 6 && j + 1 < last) {
                        width = 2;
                        cols = n - c0 < 2 * f.nr ? n - c0 : 2 * f.nr;
                    }
                    LOOP(tile_vnni)(rows, cols, k, pa, pb, panel, init + c0, c, ldc, tally);
#endif
                }
                if (bz)
                    for (i64 i = 0; i < rows; i++)
                        for (i64 x = 0; x < cols; x++) c[i * ldc + x] -= bz[c0 + x] * sums[r0 + i];
            }
            j += width;
        }
    }
    free(packed);
    free(sums);
    return 0;
}

#undef LOOP
#undef TALLY
#undef COUNTED
