/* Set bits of a word, by the processor's instruction where it has one. */
#ifndef HWSIM_SPARSE_H
#define HWSIM_SPARSE_H

#include <stdint.h>

static inline int64_t bits_count(uint64_t x) {
    x -= x >> 1 & 0x5555555555555555u;
    x = (x & 0x3333333333333333u) + (x >> 2 & 0x3333333333333333u);
    x = (x + (x >> 4)) & 0x0F0F0F0F0F0F0F0Fu;
    return (int64_t)(x * 0x0101010101010101u >> 56);
}

static inline int bits_lowest(uint64_t x) { /* position of the lowest set bit; x must have one */
#ifdef __GNUC__
    return __builtin_ctzll(x);
#else
    return (int)bits_count((x & (0 - x)) - 1);
#endif
}

#define BITS_XOR(NAME, TARGET, COUNT)                                                                                 \
    TARGET static int64_t NAME(const uint64_t *a, const uint64_t *b, int64_t words) {                                 \
        int64_t total = 0;                                                                                            \
        for (int64_t i = 0; i < words; i++) total += COUNT(a[i] ^ b[i]);                                              \
        return total;                                                                                                 \
    }

/* Non-zero products, negative ones among them, and zeros of b alone and of a alone. */
#define BITS_MASKED(NAME, TARGET, COUNT)                                                                              \
    TARGET static void NAME(const uint64_t *a, const uint64_t *an, const uint64_t *b, const uint64_t *bn,             \
                            int64_t words, int64_t *sums) {                                                           \
        int64_t both = 0, negative = 0, only_a = 0, only_b = 0;                                                       \
        for (int64_t i = 0; i < words; i++) {                                                                         \
            const uint64_t live = a[i] & b[i];                                                                        \
            both += COUNT(live);                                                                                      \
            negative += COUNT((an[i] ^ bn[i]) & live);                                                                \
            only_a += COUNT(a[i] & ~b[i]);                                                                            \
            only_b += COUNT(b[i] & ~a[i]);                                                                            \
        }                                                                                                             \
        sums[0] = both;                                                                                               \
        sums[1] = negative;                                                                                           \
        sums[2] = only_a;                                                                                             \
        sums[3] = only_b;                                                                                             \
    }

BITS_XOR(bits_xor_portable, , bits_count)
BITS_MASKED(bits_masked_portable, , bits_count)

#if defined(__x86_64__) && defined(__GNUC__)
BITS_XOR(bits_xor_popcnt, __attribute__((target("popcnt"))), __builtin_popcountll)
BITS_MASKED(bits_masked_popcnt, __attribute__((target("popcnt"))), __builtin_popcountll)
static int bits_native(void) { return __builtin_cpu_supports("popcnt") != 0; }
#else
#define bits_xor_popcnt bits_xor_portable
#define bits_masked_popcnt bits_masked_portable
static int bits_native(void) { return 0; }
#endif

#endif
