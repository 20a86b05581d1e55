/* Winograd's F(2x2, 3x3) and F(4x4, 3x3) for one register width. Included once for each, by _winograd.h, with

   WINO(name)    the name of this build's functions
   WINO_TARGET   the processor they need
   WINO_BYTES    of a register
   WINO_ROWS     tiles of a register tile of the products; it is two registers wide
   WINO_MADD(acc, a, b)  acc += a[2i] * b[2i] + a[2i + 1] * b[2i + 1], wrapping
   WINO_SPREAD(p)        the two 16-bit values at p in every lane
   OP(n, x)      x, and in the counting build one more operation of transform n

   An operation is an addition, a multiplication by a constant, or both at once, as the published counts have it. */

typedef int16_t WINO(v16) __attribute__((vector_size(WINO_BYTES), aligned(2), may_alias));
typedef uint32_t WINO(v32) __attribute__((vector_size(WINO_BYTES), aligned(4), may_alias));
enum { WINO(L16) = WINO_BYTES / 2, WINO(L32) = WINO_BYTES / 4, WINO(NR) = WINO_BYTES / 2 };

#define FMA(n, c, x, y) OP(n, (y) + (c) * (x))
#define ADD(n, x, y) OP(n, (x) + (y))
#define SUB(n, x, y) OP(n, (x) - (y))
#define MUL(n, c, x) OP(n, (c) * (x))

/* One dimension of the input transform: o[i * os] from d[i * ds]. */
#define DATA2(T, o, os, d, ds)                                                                                        \
    do {                                                                                                              \
        const T d0 = (d)[0], d1 = (d)[ds], d2 = (d)[2 * (ds)], d3 = (d)[3 * (ds)];                                    \
        (o)[0] = SUB(0, d0, d2);                                                                                      \
        (o)[os] = ADD(0, d1, d2);                                                                                     \
        (o)[2 * (os)] = SUB(0, d2, d1);                                                                               \
        (o)[3 * (os)] = SUB(0, d1, d3);                                                                               \
    } while (0)
#define DATA4(T, o, os, d, ds)                                                                                        \
    do {                                                                                                              \
        const T d0 = (d)[0], d1 = (d)[ds], d2 = (d)[2 * (ds)], d3 = (d)[3 * (ds)], d4 = (d)[4 * (ds)],                \
                d5 = (d)[5 * (ds)];                                                                                   \
        const T even = FMA(0, -4, d2, d4), odd = FMA(0, -4, d1, d3);                                                  \
        const T near = SUB(0, d4, d2), far = MUL(0, 2, SUB(0, d3, d1));                                               \
        (o)[0] = FMA(0, 4, d0, FMA(0, -5, d2, d4));                                                                   \
        (o)[os] = ADD(0, even, odd);                                                                                  \
        (o)[2 * (os)] = SUB(0, even, odd);                                                                            \
        (o)[3 * (os)] = ADD(0, near, far);                                                                            \
        (o)[4 * (os)] = SUB(0, near, far);                                                                            \
        (o)[5 * (os)] = FMA(0, 4, d1, FMA(0, -5, d3, d5));                                                            \
    } while (0)

/* Filters, each row of G scaled to integers: by 1, 2, 2, 1 and by 4, -6, -6, 24, 24, 1. */
#define FILTER2(T, o, os, g, gs)                                                                                      \
    do {                                                                                                              \
        const T g0 = (g)[0], g1 = (g)[gs], g2 = (g)[2 * (gs)], ends = ADD(1, g0, g2);                                 \
        (o)[0] = g0;                                                                                                  \
        (o)[os] = ADD(1, ends, g1);                                                                                   \
        (o)[2 * (os)] = SUB(1, ends, g1);                                                                             \
        (o)[3 * (os)] = g2;                                                                                           \
    } while (0)
#define FILTER4(T, o, os, g, gs)                                                                                      \
    do {                                                                                                              \
        const T g0 = (g)[0], g1 = (g)[gs], g2 = (g)[2 * (gs)], ends = ADD(1, g0, g2), four = FMA(1, 4, g2, g0);       \
        (o)[0] = g0;                                                                                                  \
        (o)[os] = ADD(1, ends, g1);                                                                                   \
        (o)[2 * (os)] = SUB(1, ends, g1);                                                                             \
        (o)[3 * (os)] = FMA(1, 2, g1, four);                                                                          \
        (o)[4 * (os)] = FMA(1, -2, g1, four);                                                                         \
        (o)[5 * (os)] = g2;                                                                                           \
    } while (0)

/* Outputs, times 2 and times 24: the scales of the filters are made up for here. */
#define OUTPUT2(T, o, os, m, ms)                                                                                      \
    do {                                                                                                              \
        const T m1 = (m)[ms], m2 = (m)[2 * (ms)], sum = ADD(2, m1, m2), less = SUB(2, m1, m2);                        \
        (o)[0] = FMA(2, 2, (m)[0], sum);                                                                              \
        (o)[os] = FMA(2, -2, (m)[3 * (ms)], less);                                                                    \
    } while (0)
#define OUTPUT4(T, o, os, m, ms)                                                                                      \
    do {                                                                                                              \
        const T m1 = (m)[ms], m2 = (m)[2 * (ms)], m3 = (m)[3 * (ms)], m4 = (m)[4 * (ms)];                             \
        const T sum = ADD(2, m1, m2), less = SUB(2, m1, m2), sum2 = ADD(2, m3, m4), less2 = SUB(2, m3, m4);           \
        (o)[0] = FMA(2, 6, (m)[0], FMA(2, -4, sum, sum2));                                                            \
        (o)[os] = MUL(2, 2, FMA(2, -2, less, less2));                                                                 \
        (o)[2 * (os)] = MUL(2, 4, SUB(2, sum2, sum));                                                                 \
        (o)[3 * (os)] = FMA(2, 24, (m)[5 * (ms)], MUL(2, 4, FMA(2, 2, less2, MUL(2, -1, less))));                     \
    } while (0)

/* K x C filters of 3 x 3 to u[position][panel of NR outputs][pair of channels][NR][2]: two registers of filters a time. */
WINO_TARGET static void WINO(filters)(const wino_shape *z, const int8_t *w, int64_t depth, int16_t *u, int64_t *tally) {
    const int64_t a = z->m + 2;
    (void)tally;
    for (int64_t k0 = 0; k0 < z->kp; k0 += WINO(NR))
        for (int64_t c = 0; c < z->cp; c += 2) {
            int16_t taps[9][2 * WINO(NR)];
            memset(taps, 0, sizeof taps);
            for (int64_t k = 0; k < WINO(NR) && k0 + k < z->k; k++)
                for (int64_t e = 0; e < 2 && c + e < z->c; e++) {
                    const int8_t *g = w + ((k0 + k) * depth + c + e) * 9;
                    for (int i = 0; i < 9; i++) taps[i][2 * k + e] = g[i];
                }
            for (int r = 0; r < 2; r++) {
                WINO(v16) g[9], half[6 * 3], whole[36];
                for (int i = 0; i < 9; i++) g[i] = *(const WINO(v16) *)(taps[i] + r * WINO(L16));
                if (z->m == 2) {
                    for (int i = 0; i < 3; i++) FILTER2(WINO(v16), half + i, 3, g + i, 3);
                    for (int i = 0; i < 4; i++) FILTER2(WINO(v16), whole + 4 * i, 1, half + 3 * i, 1);
                } else {
                    for (int i = 0; i < 3; i++) FILTER4(WINO(v16), half + i, 3, g + i, 3);
                    for (int i = 0; i < 6; i++) FILTER4(WINO(v16), whole + 6 * i, 1, half + 3 * i, 1);
                }
                int16_t *to = u + k0 * z->cp + c * WINO(NR) + r * WINO(L16);
                for (int64_t i = 0; i < a * a; i++) *(WINO(v16) *)(to + i * z->u_place) = whole[i];
            }
        }
}

/* Tiles first .. first + count of the image to v[position][tile][channel]. */
WINO_TARGET static void WINO(data)(const wino_shape *z, const int16_t *image, int64_t first, int64_t count, int16_t *v,
                                   int64_t *tally) {
    const int64_t m = z->m, a = m + 2, place = z->v_place;
    (void)tally;
    for (int64_t t = 0; t < count; t++) {
        const int64_t row = (first + t) / z->across * m, column = (first + t) % z->across * m;
        const int16_t *from = image + (row * z->wide + column) * z->cp;
        for (int64_t c = 0; c < z->cp; c += WINO(L16)) {
            WINO(v16) d[36], half[36];
            for (int64_t i = 0; i < a; i++)
                for (int64_t j = 0; j < a; j++) d[6 * i + j] = *(const WINO(v16) *)(from + (i * z->wide + j) * z->cp + c);
            int16_t *to = v + t * z->cp + c;
            if (m == 2) {
                for (int j = 0; j < 4; j++) DATA2(WINO(v16), half + j, 6, d + j, 6);
                for (int i = 0; i < 4; i++) DATA2(WINO(v16), d + 6 * i, 1, half + 6 * i, 1);
            } else {
                for (int j = 0; j < 6; j++) DATA4(WINO(v16), half + j, 6, d + j, 6);
                for (int i = 0; i < 6; i++) DATA4(WINO(v16), d + 6 * i, 1, half + 6 * i, 1);
            }
            for (int64_t i = 0; i < a; i++)
                for (int64_t j = 0; j < a; j++) *(WINO(v16) *)(to + (i * a + j) * place) = d[6 * i + j];
        }
    }
}

/* products[tile][output] of one position: rows of v times panels of u, a register tile at a time. */
WINO_TARGET static void WINO(products)(const wino_shape *z, const int16_t *v, const int16_t *u, int64_t count, uint32_t *out) {
    for (int64_t n = 0; n < z->kp; n += WINO(NR)) {
        const int16_t *panel = u + n * z->cp;
        for (int64_t t = 0; t < count; t += WINO_ROWS) {
            WINO(v32) sum[WINO_ROWS][2];
            for (int i = 0; i < WINO_ROWS; i++) sum[i][0] = sum[i][1] = (WINO(v32)){0};
            const int16_t *rows = v + t * z->cp;
            for (int64_t c = 0; c < z->cp; c += 2) {
                const WINO(v16) b0 = *(const WINO(v16) *)(panel + c * WINO(NR));
                const WINO(v16) b1 = *(const WINO(v16) *)(panel + c * WINO(NR) + WINO(L16));
#pragma GCC unroll 16
                for (int i = 0; i < WINO_ROWS; i++) {
                    const WINO(v16) x = WINO_SPREAD(rows + i * z->cp + c);
                    sum[i][0] = WINO_MADD(sum[i][0], x, b0);
                    sum[i][1] = WINO_MADD(sum[i][1], x, b1);
                }
            }
#pragma GCC unroll 16
            for (int i = 0; i < WINO_ROWS; i++) {
                *(WINO(v32) *)(out + (t + i) * z->kp + n) = sum[i][0];
                *(WINO(v32) *)(out + (t + i) * z->kp + n + WINO(L32)) = sum[i][1];
            }
        }
    }
}

/* Products of a block of tiles to outputs, divided by 4 or 576: exact, see _winograd.h. */
WINO_TARGET static void WINO(outputs)(const wino_shape *z, const uint32_t *products, int64_t first, int64_t count, int add,
                                      int32_t *tile, int32_t *out, int64_t *tally) {
    typedef int32_t signed_lanes __attribute__((vector_size(WINO_BYTES), aligned(4), may_alias));
    const int64_t m = z->m, a = m + 2, plane = z->p * z->q;
    (void)tally;
    for (int64_t t = 0; t < count; t++) {
        for (int64_t k = 0; k < z->kp; k += WINO(L32)) {
            WINO(v32) d[36], half[36];
            for (int64_t i = 0; i < a; i++)
                for (int64_t j = 0; j < a; j++)
                    d[6 * i + j] = *(const WINO(v32) *)(products + (i * a + j) * z->m_place + t * z->kp + k);
            if (m == 2) {
                for (int j = 0; j < 4; j++) OUTPUT2(WINO(v32), half + j, 6, d + j, 6);
                for (int i = 0; i < 2; i++) OUTPUT2(WINO(v32), d + 6 * i, 1, half + 6 * i, 1);
                for (int i = 0; i < 2; i++)
                    for (int j = 0; j < 2; j++) *(signed_lanes *)(tile + (i * 2 + j) * z->kp + k) = (signed_lanes)d[6 * i + j] >> 2;
            } else {
                for (int j = 0; j < 6; j++) OUTPUT4(WINO(v32), half + j, 6, d + j, 6);
                for (int i = 0; i < 4; i++) OUTPUT4(WINO(v32), d + 6 * i, 1, half + 6 * i, 1);
                for (int i = 0; i < 4; i++)
                    for (int j = 0; j < 4; j++)
                        *(signed_lanes *)(tile + (i * 4 + j) * z->kp + k) = (signed_lanes)(d[6 * i + j] * 0x38E38E39u) >> 6;
            }
        }
        const int64_t row = (first + t) / z->across * m, column = (first + t) % z->across * m;
        const int64_t rows = row + m < z->p ? m : z->p - row, columns = column + m < z->q ? m : z->q - column;
        int32_t *corner = out + row * z->q + column;
        int64_t k = 0;
        if (columns == 4) /* four outputs of four channels are turned round in registers */
            for (; k + 4 <= z->k; k += 4)
                for (int64_t i = 0; i < rows; i++) {
                    wino_ints x[4], y[4];
                    for (int j = 0; j < 4; j++) x[j] = *(const wino_ints *)(tile + (i * 4 + j) * z->kp + k);
                    wino_turn(x, y);
                    for (int e = 0; e < 4; e++) {
                        wino_ints *to = (wino_ints *)(corner + (k + e) * plane + i * z->q);
                        if (add) *to += y[e];
                        else *to = y[e];
                    }
                }
        for (; k < z->k; k++)
            for (int64_t i = 0; i < rows; i++) {
                int32_t *to = corner + k * plane + i * z->q;
                for (int64_t j = 0; j < columns; j++) {
                    const int32_t y = tile[(i * m + j) * z->kp + k];
                    to[j] = add ? to[j] + y : y;
                }
            }
    }
}

static void WINO(run)(const wino_shape *z, const int16_t *image, const int16_t *u, int add, int16_t *v, uint32_t *products,
                      int32_t *tile, int32_t *out, int64_t *tally) {
    const int64_t a = z->m + 2, tiles = z->down * z->across;
    for (int64_t first = 0; first < tiles; first += z->block) {
        const int64_t count = first + z->block < tiles ? z->block : tiles - first;
        WINO(data)(z, image, first, count, v, tally);
        for (int64_t i = 0; i < a * a; i++)
            WINO(products)(z, v + i * z->v_place, u + i * z->u_place, count, products + i * z->m_place);
        WINO(outputs)(z, products, first, count, add, tile, out, tally);
    }
}

#undef FMA
#undef ADD
#undef SUB
#undef MUL
#undef DATA2
#undef DATA4
#undef FILTER2
#undef FILTER4
#undef OUTPUT2
#undef OUTPUT4
#undef WINO
#undef WINO_TARGET
#undef WINO_BYTES
#undef WINO_ROWS
#undef WINO_MADD
#undef WINO_SPREAD
#undef OP
