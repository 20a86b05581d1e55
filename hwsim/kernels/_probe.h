/* What the processor does in a cycle: chains of one instruction, streams through a buffer, pointer chases, threads.

   Every loop does work that can be checked. Operands are ones, so that a chain's sum is the number of MACs it ran; a read
   returns the sum of what it read; a chase ends on a known line. Loops are written as assembly where a compiler would choose
   other instructions; the portable ones are vectors of 16 bytes that every compiler knows. */

#ifndef HWSIM_PROBE_H
#define HWSIM_PROBE_H

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if defined(__x86_64__) && defined(__GNUC__)
#define PROBE_X86 1
#include <cpuid.h>
#if (defined(__clang__) && __clang_major__ >= 12) || (!defined(__clang__) && __GNUC__ >= 11)
#define PROBE_NEW 1 /* the assembler knows AMX, AVX-VNNI and bf16 */
#endif
#elif defined(__aarch64__) && defined(__GNUC__)
#define PROBE_ARM 1
#if defined(__linux__)
#include <sys/auxv.h>
#endif
#endif

typedef int64_t i64;
typedef float probe_f32 __attribute__((vector_size(16)));
typedef int32_t probe_i32 __attribute__((vector_size(16)));
typedef uint64_t probe_u64 __attribute__((vector_size(16)));

static double probe_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static inline void probe_pause(void) {
#if PROBE_X86
    __builtin_ia32_pause();
#elif PROBE_ARM
    __asm__ volatile("yield");
#endif
}

/* ---- instructions ---- */

enum { F32, I32 }; /* what the lanes of an accumulator hold */
enum { CHAINS = 12 };

typedef struct {
    const char *name, *type; /* of the operands: fp32, int8 or bf16 */
    int isa;                 /* as hwsim.kernels.isa numbers them */
    int bits;                /* of a register */
    i64 macs;                /* of one instruction, or one sequence that does what one would */
    int lanes;               /* F32 or I32 */
    int (*supported)(void);
    void (*many)(i64 n, void *out), (*one)(i64 n, void *out);
} probe_t;

/* 12 instructions a turn: on 12 accumulators, or all on the first */
#define PROBE_MANY(I) I(0) I(1) I(2) I(3) I(4) I(5) I(6) I(7) I(8) I(9) I(10) I(11)
#define PROBE_ONE(I) I(0) I(0) I(0) I(0) I(0) I(0) I(0) I(0) I(0) I(0) I(0) I(0)

static const float PROBE_FLOATS[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
static int probe_always(void) { return 1; }

#define PORTABLE_PROBE(NAME, VECTOR)                                                                                  \
    static void NAME##_many(i64 n, void *out) {                                                                       \
        VECTOR x[CHAINS] = {{0}}, a, b;                                                                               \
        for (int l = 0; l < 4; l++) a[l] = PROBE_FLOATS[l], b[l] = PROBE_FLOATS[l];                                   \
        __asm__ volatile("" : "+m"(a), "+m"(b)); /* so that nobody knows that they are ones */                        \
        for (i64 i = 0; i < n; i++)                                                                                   \
            for (int c = 0; c < CHAINS; c++) x[c] = x[c] * a + b;                                                     \
        memcpy(out, x, sizeof x);                                                                                     \
    }                                                                                                                 \
    static void NAME##_one(i64 n, void *out) {                                                                        \
        VECTOR x = {0}, a, b;                                                                                         \
        for (int l = 0; l < 4; l++) a[l] = PROBE_FLOATS[l], b[l] = PROBE_FLOATS[l];                                   \
        __asm__ volatile("" : "+m"(a), "+m"(b));                                                                      \
        for (i64 i = 0; i < n * CHAINS; i++) x = x * a + b;                                                           \
        memcpy(out, &x, sizeof x);                                                                                    \
    }
PORTABLE_PROBE(portable_fp32, probe_f32)
PORTABLE_PROBE(portable_int32, probe_i32)

#if PROBE_X86
#define PROBE_CLOBBERS                                                                                                \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",        \
        "xmm13", "xmm14", "xmm15", "cc", "memory"
#define PROBE_ZERO(r) "vpxor %%xmm" #r ", %%xmm" #r ", %%xmm" #r "\n\t"
#define PROBE_SSE_ZERO(r) "pxor %%xmm" #r ", %%xmm" #r "\n\t"
#define PROBE_X_OUT(r) "vmovups %%xmm" #r ", 16*" #r "(%1)\n\t"
#define PROBE_Y_OUT(r) "vmovups %%ymm" #r ", 32*" #r "(%1)\n\t"
#define PROBE_Z_OUT(r) "vmovups %%zmm" #r ", 64*" #r "(%1)\n\t"
#define PROBE_SSE_OUT(r) "movups %%xmm" #r ", 16*" #r "(%1)\n\t"

/* registers 14 and 15 hold the two operands */
#define PROBE_LOOP(ZERO, LOAD, BODY, OUT, END, ones, twos)                                                            \
    __asm__ volatile(PROBE_MANY(ZERO) LOAD ".p2align 5\n1:\n\t" BODY "dec %0\n\tjnz 1b\n\t" PROBE_MANY(OUT) END       \
                     : "+r"(n)                                                                                        \
                     : "r"(out), "r"(ones), "r"(twos)                                                                 \
                     : PROBE_CLOBBERS)
#define X86_PROBE(NAME, W, ZERO, LOAD, OUT, END, INS, ones, twos)                                                     \
    static void NAME##_many(i64 n, void *out) { PROBE_LOOP(ZERO, LOAD, PROBE_MANY(INS), OUT, END, ones, twos); }      \
    static void NAME##_one(i64 n, void *out) { PROBE_LOOP(ZERO, LOAD, PROBE_ONE(INS), OUT, END, ones, twos); }
#define LOAD_X "vmovups (%2), %%xmm14\n\tvmovups (%3), %%xmm15\n\t"
#define LOAD_Y "vmovups (%2), %%ymm14\n\tvmovups (%3), %%ymm15\n\t"
#define LOAD_Z "vmovups (%2), %%zmm14\n\tvmovups (%3), %%zmm15\n\t"
#define LOAD_SSE "movups (%2), %%xmm14\n\tmovups (%3), %%xmm15\n\t"
#define DONE "vzeroupper\n\t"
#define X_PROBE(NAME, INS, ones, twos) X86_PROBE(NAME, x, PROBE_ZERO, LOAD_X, PROBE_X_OUT, DONE, INS, ones, twos)
#define Y_PROBE(NAME, INS, ones, twos) X86_PROBE(NAME, y, PROBE_ZERO, LOAD_Y, PROBE_Y_OUT, DONE, INS, ones, twos)
#define Z_PROBE(NAME, INS, ones, twos) X86_PROBE(NAME, z, PROBE_ZERO, LOAD_Z, PROBE_Z_OUT, DONE, INS, ones, twos)
#define SSE_PROBE(NAME, INS, ones, twos)                                                                              \
    X86_PROBE(NAME, x, PROBE_SSE_ZERO, LOAD_SSE, PROBE_SSE_OUT, "", INS, ones, twos)

static const uint32_t PROBE_BYTES[16] = {0x01010101, 0x01010101, 0x01010101, 0x01010101, 0x01010101, 0x01010101,
                                         0x01010101, 0x01010101, 0x01010101, 0x01010101, 0x01010101, 0x01010101,
                                         0x01010101, 0x01010101, 0x01010101, 0x01010101};
static const uint32_t PROBE_WORDS[16] = {0x00010001, 0x00010001, 0x00010001, 0x00010001, 0x00010001, 0x00010001,
                                         0x00010001, 0x00010001, 0x00010001, 0x00010001, 0x00010001, 0x00010001,
                                         0x00010001, 0x00010001, 0x00010001, 0x00010001};
static const uint32_t PROBE_BF16[16] = {0x3f803f80, 0x3f803f80, 0x3f803f80, 0x3f803f80, 0x3f803f80, 0x3f803f80,
                                        0x3f803f80, 0x3f803f80, 0x3f803f80, 0x3f803f80, 0x3f803f80, 0x3f803f80,
                                        0x3f803f80, 0x3f803f80, 0x3f803f80, 0x3f803f80};

#define SS_FMA(r) "vfmadd231ss %%xmm15, %%xmm14, %%xmm" #r "\n\t"
#define X_FMA(r) "vfmadd231ps %%xmm15, %%xmm14, %%xmm" #r "\n\t"
#define Y_FMA(r) "vfmadd231ps %%ymm15, %%ymm14, %%ymm" #r "\n\t"
#define Z_FMA(r) "vfmadd231ps %%zmm15, %%zmm14, %%zmm" #r "\n\t"
#define SSE_MUL_ADD(r) "movaps %%xmm14, %%xmm12\n\tmulps %%xmm15, %%xmm12\n\taddps %%xmm12, %%xmm" #r "\n\t"
#define SSE_MADD(r)                                                                                                   \
    "movdqa %%xmm14, %%xmm12\n\tpmaddubsw %%xmm14, %%xmm12\n\tpmaddwd %%xmm15, %%xmm12\n\tpaddd %%xmm12, %%xmm" #r "\n\t"
#define Y_MADD(r)                                                                                                     \
    "vpmaddubsw %%ymm14, %%ymm14, %%ymm12\n\tvpmaddwd %%ymm15, %%ymm12, %%ymm12\n\tvpaddd %%ymm12, %%ymm" #r          \
    ", %%ymm" #r "\n\t"
#define Z_MADD(r)                                                                                                     \
    "vpmaddubsw %%zmm14, %%zmm14, %%zmm12\n\tvpmaddwd %%zmm15, %%zmm12, %%zmm12\n\tvpaddd %%zmm12, %%zmm" #r          \
    ", %%zmm" #r "\n\t"
#define Y_DOT(r) "vpdpbusd %%ymm15, %%ymm14, %%ymm" #r "\n\t"
#define Z_DOT(r) "vpdpbusd %%zmm15, %%zmm14, %%zmm" #r "\n\t"
SSE_PROBE(mul_add_sse, SSE_MUL_ADD, PROBE_FLOATS, PROBE_FLOATS)
SSE_PROBE(madd_sse, SSE_MADD, PROBE_BYTES, PROBE_WORDS)
X_PROBE(fma_ss, SS_FMA, PROBE_FLOATS, PROBE_FLOATS)
X_PROBE(fma_128, X_FMA, PROBE_FLOATS, PROBE_FLOATS)
Y_PROBE(fma_256, Y_FMA, PROBE_FLOATS, PROBE_FLOATS)
Z_PROBE(fma_512, Z_FMA, PROBE_FLOATS, PROBE_FLOATS)
Y_PROBE(madd_256, Y_MADD, PROBE_BYTES, PROBE_WORDS)
Z_PROBE(madd_512, Z_MADD, PROBE_BYTES, PROBE_WORDS)
Y_PROBE(dot_256, Y_DOT, PROBE_BYTES, PROBE_BYTES)
Z_PROBE(dot_512, Z_DOT, PROBE_BYTES, PROBE_BYTES)

static int probe_ssse3(void) { return __builtin_cpu_supports("ssse3") != 0; }
static int probe_fma(void) { return __builtin_cpu_supports("avx") && __builtin_cpu_supports("fma"); }
static int probe_avx2(void) { return __builtin_cpu_supports("avx2") != 0; }
static int probe_avx512(void) { return __builtin_cpu_supports("avx512f") != 0; }
static int probe_avx512bw(void) { return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw"); }
static int probe_vnni512(void) { return probe_avx512bw() && __builtin_cpu_supports("avx512vnni"); }
static int probe_vnni256(void) { return probe_vnni512() && __builtin_cpu_supports("avx512vl"); }

#if PROBE_NEW
#define Y_VEX_DOT(r) "%{vex%} vpdpbusd %%ymm15, %%ymm14, %%ymm" #r "\n\t"
#define Z_BF16(r) "vdpbf16ps %%zmm15, %%zmm14, %%zmm" #r "\n\t"
Y_PROBE(dot_vex_256, Y_VEX_DOT, PROBE_BYTES, PROBE_BYTES)
Z_PROBE(bf16_512, Z_BF16, PROBE_BF16, PROBE_BF16)

static unsigned probe_leaf7(unsigned sub, int which) {
    unsigned r[4] = {0, 0, 0, 0};
    if (!__get_cpuid_count(7, sub, &r[0], &r[1], &r[2], &r[3])) return 0;
    return r[which];
}
static int probe_avxvnni(void) { return probe_avx2() && (probe_leaf7(1, 0) >> 4 & 1); }
static int probe_bf16(void) { return probe_avx512() && (probe_leaf7(1, 0) >> 5 & 1); }

/* Tile registers: the kernel grants their state to a process that asks (feature 18, ARCH_REQ_XCOMP_PERM). */
static int probe_amx(int bit) {
    if (!(probe_leaf7(0, 3) >> 24 & 1) || !(probe_leaf7(0, 3) >> bit & 1)) return 0;
#if defined(__linux__) && defined(SYS_arch_prctl)
    return syscall(SYS_arch_prctl, 0x1023, 18) == 0;
#else
    return 0;
#endif
}
static int probe_amx_int8(void) { return probe_amx(25); }
static int probe_amx_bf16(void) { return probe_amx(22); }

typedef struct {
    uint8_t palette, start, reserved[14];
    uint16_t columns[16]; /* bytes of a row */
    uint8_t rows[16];
} probe_tiles_t;

#define TILES_MANY(I) I(0) I(1) I(2) I(3) I(4) I(5)
#define TILES_ONE(I) I(0) I(0) I(0) I(0) I(0) I(0)
#define TILE_ZERO(r) "tilezero %%tmm" #r "\n\t"
#define TILE_OUT(r) "tilestored %%tmm" #r ", 1024*" #r "(%1,%4,1)\n\t"
#define TILE_INT8(r) "tdpbusd %%tmm7, %%tmm6, %%tmm" #r "\n\t"
#define TILE_BF16(r) "tdpbf16ps %%tmm7, %%tmm6, %%tmm" #r "\n\t"
#define TILE_LOOP(BODY, ones)                                                                                         \
    probe_tiles_t tiles = {1, 0, {0}, {0}, {0}};                                                                      \
    uint32_t from[256];                                                                                               \
    for (int t = 0; t < 8; t++) tiles.columns[t] = 64, tiles.rows[t] = 16;                                            \
    for (int w = 0; w < 256; w++) from[w] = (ones)[0];                                                                \
    const i64 line = 64;                                                                                              \
    __asm__ volatile("ldtilecfg (%2)\n\t" TILES_MANY(TILE_ZERO) "tileloadd (%3,%4,1), %%tmm6\n\t"                     \
                     "tileloadd (%3,%4,1), %%tmm7\n\t.p2align 5\n1:\n\t" BODY BODY "dec %0\n\tjnz 1b\n\t"             \
                     TILES_MANY(TILE_OUT) "tilerelease\n\t"                                                           \
                     : "+r"(n)                                                                                        \
                     : "r"(out), "r"(&tiles), "r"(from), "r"(line)                                                    \
                     : "cc", "memory")
#define AMX_PROBE(NAME, INS, ones)                                                                                    \
    static void NAME##_many(i64 n, void *out) { TILE_LOOP(TILES_MANY(INS), ones); }                                   \
    static void NAME##_one(i64 n, void *out) { TILE_LOOP(TILES_ONE(INS), ones); }
AMX_PROBE(amx_int8, TILE_INT8, PROBE_BYTES)
AMX_PROBE(amx_bf16, TILE_BF16, PROBE_BF16)
#endif
#endif

#if PROBE_ARM
#define NEON_ZERO(r) "movi v" #r ".16b, #0\n\t"
#define NEON_OUT(r) "str q" #r ", [%1, 16*" #r "]\n\t"
#define NEON_LOOP(BODY, SET)                                                                                          \
    __asm__ volatile(PROBE_MANY(NEON_ZERO) SET ".p2align 4\n1:\n\t" BODY "subs %0, %0, #1\n\tb.ne 1b\n\t"             \
                     PROBE_MANY(NEON_OUT)                                                                             \
                     : "+r"(n)                                                                                        \
                     : "r"(out)                                                                                       \
                     : "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v14", "v15", \
                       "cc", "memory")
#define NEON_PROBE(NAME, INS, SET)                                                                                    \
    static void NAME##_many(i64 n, void *out) { NEON_LOOP(PROBE_MANY(INS), SET); }                                    \
    static void NAME##_one(i64 n, void *out) { NEON_LOOP(PROBE_ONE(INS), SET); }
#define NEON_FLOATS "fmov v14.4s, #1.0\n\tfmov v15.4s, #1.0\n\t"
#define NEON_BYTES "movi v14.16b, #1\n\tmovi v15.16b, #1\n\t"
#define NEON_FMLA(r) "fmla v" #r ".4s, v14.4s, v15.4s\n\t"
/* sdot v<r>.4s, v14.16b, v15.16b, as its number: assemblers know the name only for later processors */
#define NEON_SDOT(r) ".inst 0x4e8f95c0 + " #r "\n\t"
#define NEON_SMULL(r) "smull v12.8h, v14.8b, v15.8b\n\tsadalp v" #r ".4s, v12.8h\n\t"
NEON_PROBE(fmla_128, NEON_FMLA, NEON_FLOATS)
NEON_PROBE(smull_128, NEON_SMULL, NEON_BYTES)
NEON_PROBE(sdot_128, NEON_SDOT, NEON_BYTES)
static int probe_dotprod(void) {
#if defined(__linux__)
    return (getauxval(AT_HWCAP) >> 20 & 1) != 0; /* HWCAP_ASIMDDP */
#else
    return 0;
#endif
}
#endif

#define PROBE(NAME, TYPE, ISA, BITS, MACS, SUMS, SUPPORTED)                                                           \
    {#NAME, TYPE, ISA, BITS, MACS, SUMS, SUPPORTED, NAME##_many, NAME##_one}
static const probe_t PROBES[] = {
    PROBE(portable_fp32, "fp32", 0, 128, 4, F32, probe_always),
    PROBE(portable_int32, "int32", 0, 128, 4, I32, probe_always),
#if PROBE_X86
    PROBE(mul_add_sse, "fp32", 1, 128, 4, F32, probe_always),
    PROBE(madd_sse, "int8", 1, 128, 16, I32, probe_ssse3),
    PROBE(fma_ss, "fp32", 1, 32, 1, F32, probe_fma),
    PROBE(fma_128, "fp32", 1, 128, 4, F32, probe_fma),
    PROBE(fma_256, "fp32", 1, 256, 8, F32, probe_fma),
    PROBE(madd_256, "int8", 1, 256, 32, I32, probe_avx2),
#if PROBE_NEW
    PROBE(dot_vex_256, "int8", 1, 256, 32, I32, probe_avxvnni),
#endif
    PROBE(fma_512, "fp32", 2, 512, 16, F32, probe_avx512),
    PROBE(madd_512, "int8", 2, 512, 64, I32, probe_avx512bw),
    PROBE(dot_256, "int8", 2, 256, 32, I32, probe_vnni256),
    PROBE(dot_512, "int8", 2, 512, 64, I32, probe_vnni512),
#if PROBE_NEW
    PROBE(bf16_512, "bf16", 2, 512, 32, F32, probe_bf16),
    PROBE(amx_int8, "int8", 2, 8192, 16384, I32, probe_amx_int8),
    PROBE(amx_bf16, "bf16", 2, 8192, 8192, F32, probe_amx_bf16),
#endif
#endif
#if PROBE_ARM
    PROBE(fmla_128, "fp32", 0, 128, 4, F32, probe_always),
    PROBE(smull_128, "int8", 0, 128, 8, I32, probe_always),
    PROBE(sdot_128, "int8", 0, 128, 16, I32, probe_dotprod),
#endif
};
enum { PROBE_COUNT = sizeof PROBES / sizeof *PROBES };

/* Nanoseconds of n turns of 12 instructions, all independent or each on the result of the one before; *sum takes the MACs
   that the lanes counted. */
static double probe_instruction(int index, int dependent, i64 n, double *sum) {
    const probe_t *p = PROBES + index;
    static _Thread_local char space[6 * 1024 + 64];
    void *out = (void *)(((uintptr_t)space + 63) & ~(uintptr_t)63);
    memset(out, 0, 6 * 1024);
    const double start = probe_now();
    if (dependent) p->one(n, out);
    else p->many(n, out);
    const double time = probe_now() - start;
    double total = 0;
    /* the scalar instruction leaves three lanes of its register at zero */
    for (int l = 0; l < 6 * 256; l++) total += p->lanes == F32 ? (double)((float *)out)[l] : (double)((int32_t *)out)[l];
    *sum = total;
    return time;
}

/* ---- the clock ---- */

#define TEN(x) x x x x x x x x x x
/* Nanoseconds of n turns of 20 additions, each on the sum of the last: 20 cycles a turn on every processor known. By
   register, since some fold a chain of small constants. `load` runs vector multiplies beside them: 0 none, else bits. */
static double probe_clock(int load, i64 n, int64_t *sum) {
    int64_t total = 0, one = 1;
    const double start = probe_now();
#if PROBE_X86
#define CLOCK_LOOP(V, Z)                                                                                              \
    __asm__ volatile(Z "1:\n\t" V(0) TEN("add %2, %1\n\t") V(6) TEN("add %2, %1\n\t") "dec %0\n\tjnz 1b\n\t"          \
                     : "+r"(n), "+r"(total)                                                                           \
                     : "r"(one)                                                                                       \
                     : PROBE_CLOBBERS)
#define NOTHING(r) ""
#define Y_EIGHT(r) Y_FMA(0) Y_FMA(1) Y_FMA(2) Y_FMA(3) Y_FMA(4) Y_FMA(5) Y_FMA(6) Y_FMA(7)
#define Z_EIGHT(r) Z_FMA(0) Z_FMA(1) Z_FMA(2) Z_FMA(3) Z_FMA(4) Z_FMA(5) Z_FMA(6) Z_FMA(7)
#define ALL_ZERO PROBE_MANY(PROBE_ZERO) PROBE_ZERO(14) PROBE_ZERO(15)
    if (load == 512) CLOCK_LOOP(Z_EIGHT, ALL_ZERO);
    else if (load == 256) CLOCK_LOOP(Y_EIGHT, ALL_ZERO);
    else CLOCK_LOOP(NOTHING, "");
    if (load) __asm__ volatile("vzeroupper" ::: PROBE_CLOBBERS);
#elif PROBE_ARM
#define ARM_FOUR "fmla v0.4s, v14.4s, v15.4s\n\tfmla v1.4s, v14.4s, v15.4s\n\tfmla v2.4s, v14.4s, v15.4s\n\t"         \
                 "fmla v3.4s, v14.4s, v15.4s\n\t"
#define ARM_CLOCK(V)                                                                                                  \
    __asm__ volatile("1:\n\t" V TEN("add %1, %1, %2\n\t") V TEN("add %1, %1, %2\n\t") "subs %0, %0, #1\n\tb.ne 1b\n\t" \
                     : "+r"(n), "+r"(total)                                                                           \
                     : "r"(one)                                                                                       \
                     : "v0", "v1", "v2", "v3", "cc", "memory")
    if (load) ARM_CLOCK(ARM_FOUR);
    else ARM_CLOCK("");
#else
    for (; n > 0; n--)
        for (int i = 0; i < 20; i++) {
            total += one;
            __asm__ volatile("" : "+r"(total));
        }
#endif
    const double time = probe_now() - start;
    *sum = total;
    return time;
}

static int probe_clock_load(int isa) {
#if PROBE_X86
    return isa >= 2 && probe_avx512() ? 512 : isa >= 1 && probe_fma() ? 256 : 0;
#elif PROBE_ARM
    (void)isa; /* NEON is there on every one of them */
    return 128;
#else
    (void)isa;
    return 0;
#endif
}

/* ---- streams ---- */

enum { READ, WRITE, COPY };
enum { PROBE_BLOCK = 512 }; /* bytes of a turn; buffers are multiples of it */

typedef struct {
    int what, width; /* width: bytes of a register */
    char *from, *to; /* COPY reads the one and writes the other */
    i64 bytes, passes;
    uint64_t sum; /* of the 64-bit words read; of the last word stored */
} stream_t;

#if PROBE_X86
#define E8(I) I(0) I(1) I(2) I(3) I(4) I(5) I(6) I(7)
/* %0 turns left, %1 and %2 where to read and write, %3 passes left; %4 and %5 sums and ones, %6 bytes, %7 turns of a pass */
#define STREAM_LOOP(BODY, step, FIRST, LAST)                                                                          \
    do {                                                                                                              \
        i64 left = 0, passes = s->passes;                                                                             \
        const char *from = s->from;                                                                                   \
        char *to = s->to;                                                                                             \
        __asm__ volatile(FIRST "2:\n\tmov %7, %0\n\t.p2align 5\n1:\n\t" BODY                                          \
                         "add %8, %1\n\tadd %8, %2\n\tdec %0\n\tjnz 1b\n\tsub %6, %1\n\tsub %6, %2\n\t"               \
                         "dec %3\n\tjnz 2b\n\t" LAST                                                                  \
                         : "+r"(left), "+r"(from), "+r"(to), "+r"(passes)                                             \
                         : "r"(lanes), "r"(ones), "r"(s->bytes), "r"(s->bytes / (step)), "i"(step)                    \
                         : PROBE_CLOBBERS);                                                                           \
    } while (0)
#define Y_READ(r) "vpaddq 32*" #r "(%1), %%ymm" #r ", %%ymm" #r "\n\t"
#define Z_READ(r) "vpaddq 64*" #r "(%1), %%zmm" #r ", %%zmm" #r "\n\t"
#define Y_WRITE(r) "vmovups %%ymm15, 32*" #r "(%2)\n\t"
#define Z_WRITE(r) "vmovups %%zmm15, 64*" #r "(%2)\n\t"
#define Y_COPY(r) "vmovups 32*" #r "(%1), %%ymm" #r "\n\tvmovups %%ymm" #r ", 32*" #r "(%2)\n\t"
#define Z_COPY(r) "vmovups 64*" #r "(%1), %%zmm" #r "\n\tvmovups %%zmm" #r ", 64*" #r "(%2)\n\t"
#define Y_KEEP(r) "vmovups %%ymm" #r ", 32*" #r "(%4)\n\t"
#define Z_KEEP(r) "vmovups %%zmm" #r ", 64*" #r "(%4)\n\t"
#define Y_TAKE(r) "vmovups 32*" #r "(%4), %%ymm" #r "\n\t"
#define Z_TAKE(r) "vmovups 64*" #r "(%4), %%zmm" #r "\n\t"

static void stream_x86(stream_t *s) {
    uint64_t lanes[64] __attribute__((aligned(64))) = {0}, ones[8];
    for (int i = 0; i < 8; i++) ones[i] = 1;
    if (s->width == 64 && s->what == READ) STREAM_LOOP(E8(Z_READ), 512, E8(Z_TAKE), E8(Z_KEEP) DONE);
    else if (s->width == 64 && s->what == WRITE) STREAM_LOOP(E8(Z_WRITE), 512, "vmovups (%5), %%zmm15\n\t", DONE);
    else if (s->width == 64) STREAM_LOOP(E8(Z_COPY), 512, "", DONE);
    else if (s->what == READ) STREAM_LOOP(E8(Y_READ), 256, E8(Y_TAKE), E8(Y_KEEP) DONE);
    else if (s->what == WRITE) STREAM_LOOP(E8(Y_WRITE), 256, "vmovups (%5), %%ymm15\n\t", DONE);
    else STREAM_LOOP(E8(Y_COPY), 256, "", DONE);
    for (int i = 0; i < 64; i++) s->sum += lanes[i];
}
#endif

static void stream_portable(stream_t *s) {
    probe_u64 x[4] = {{0}}, one = {1, 1};
    for (i64 p = 0; p < s->passes; p++) {
        const probe_u64 *from = (const probe_u64 *)s->from;
        probe_u64 *to = (probe_u64 *)s->to;
        for (i64 i = 0; i < s->bytes / 16; i += 4)
            for (int u = 0; u < 4; u++) {
                if (s->what == READ) x[u] += from[i + u];
                else to[i + u] = s->what == COPY ? from[i + u] : one;
            }
        __asm__ volatile("" ::: "memory"); /* each pass is run */
    }
    for (int u = 0; u < 4; u++) s->sum += x[u][0] + x[u][1];
}

static void stream(stream_t *s) {
    s->sum = 0;
#if PROBE_X86
    if (s->width >= 32) {
        stream_x86(s);
        return;
    }
#endif
    stream_portable(s);
}

/* Bytes of the widest register that loads and stores move on an instruction set. */
static int stream_width(int isa) {
#if PROBE_X86
    return isa >= 2 && probe_avx512() ? 64 : isa >= 1 && probe_avx2() ? 32 : 16;
#else
    (void)isa;
    return 16;
#endif
}

/* Drop lines of a buffer from every cache; 0 where a program may not. */
static int probe_flush(const char *from, i64 bytes) {
#if PROBE_X86
    for (i64 i = 0; i < bytes; i += 64) __builtin_ia32_clflush(from + i);
    __builtin_ia32_mfence();
    return 1;
#elif PROBE_ARM && defined(__linux__)
    for (i64 i = 0; i < bytes; i += 64) __asm__ volatile("dc civac, %0" ::"r"(from + i) : "memory");
    __asm__ volatile("dsb sy" ::: "memory");
    return 1;
#else
    (void)from, (void)bytes;
    return 0;
#endif
}

/* Nanoseconds of n steps from line to line; *end takes where it ends. */
static double probe_chase(const int64_t *next, i64 first, i64 n, int64_t *end) {
    int64_t at = first;
    const double start = probe_now();
    for (i64 i = 0; i < n; i++) at = next[at];
    const double time = probe_now() - start;
    *end = at;
    return time;
}

/* ---- threads ---- */

enum { MAX_THREADS = 1024 };

typedef struct {
    atomic_int arrived, turn;
    int threads;
} barrier_t;

/* Spins; gives the processor away now and then, for where there are more threads than processors. */
static void barrier_wait(barrier_t *b) {
    const int turn = atomic_load(&b->turn);
    if (atomic_fetch_add(&b->arrived, 1) + 1 == b->threads) {
        atomic_store(&b->arrived, 0);
        atomic_fetch_add(&b->turn, 1);
        return;
    }
    for (i64 spin = 1; atomic_load(&b->turn) == turn; spin++) {
        probe_pause();
        if (!(spin & 4095)) sched_yield();
    }
}

typedef struct {
    int what; /* 0: a stream, 1: turns of an instruction, 2: barriers */
    stream_t stream;
    int index;
    i64 n;
    double sum, start, end;
    barrier_t *barrier;
} task_t;

static void *run_task(void *given) {
    task_t *t = given;
    barrier_wait(t->barrier);
    t->start = probe_now();
    if (t->what == 0) stream(&t->stream);
    else if (t->what == 1) probe_instruction(t->index, 0, t->n, &t->sum);
    else
        for (i64 i = 0; i < t->n; i++, t->sum++) barrier_wait(t->barrier);
    t->end = probe_now();
    return 0;
}

/* Nanoseconds from the first start to the last end of tasks side by side, one thread each; -1 where threads cannot start.
   Nobody runs before all have started, so a thread that cannot start frees the others by taking its place. */
static double run_tasks(task_t *tasks, int threads) {
    pthread_t ids[MAX_THREADS];
    barrier_t barrier;
    atomic_init(&barrier.arrived, 0);
    atomic_init(&barrier.turn, 0);
    barrier.threads = threads;
    int started = 0, failed = 0;
    for (int t = 0; t < threads; t++) tasks[t].barrier = &barrier;
    for (; started < threads - 1; started++)
        if (pthread_create(ids + started, 0, run_task, tasks + started + 1)) {
            failed = 1;
            break;
        }
    if (failed) {
        for (int t = 0; t <= started; t++) tasks[t].what = 1, tasks[t].n = 1;
        barrier.threads = started + 1;
    }
    run_task(tasks);
    double first = tasks[0].start, last = tasks[0].end;
    for (int t = 0; t < started; t++) {
        pthread_join(ids[t], 0);
        if (tasks[t + 1].start < first) first = tasks[t + 1].start;
        if (tasks[t + 1].end > last) last = tasks[t + 1].end;
    }
    return failed ? -1 : last - first;
}

static void *count_one(void *given) {
    atomic_fetch_add((atomic_llong *)given, 1);
    return 0;
}

/* Nanoseconds of starting and joining n threads, one after the other; *ran counts them. */
static double probe_start(i64 n, int64_t *ran) {
    atomic_llong count;
    atomic_init(&count, 0);
    const double start = probe_now();
    for (i64 i = 0; i < n; i++) {
        pthread_t id;
        if (pthread_create(&id, 0, count_one, &count)) break;
        pthread_join(id, 0);
    }
    const double time = probe_now() - start;
    *ran = atomic_load(&count);
    return time;
}

#endif
