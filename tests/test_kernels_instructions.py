"""Instruction sequences bit for bit: against exact arithmetic, against the processor's own instructions, by hand."""

import itertools
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray

from hwsim.errors import InputError
from hwsim.kernels.instructions import (
    dp4a,
    gemm_dp4a,
    gemm_hmma,
    gemm_imma,
    gemm_pmaddubsw,
    gemm_sdot,
    gemm_smlad,
    gemm_vpdpbusd,
    has_native,
    hmma_tile,
    imma_tile,
    sdot,
    smlad,
    sxtb16,
    vpaddd,
    vpdpbusd,
    vpmaddubsw,
    vpmaddwd,
)

Array = NDArray[Any]
vnni = pytest.mark.skipif(not has_native("vpdpbusd"), reason="no AVX512-VNNI here")
avx2 = pytest.mark.skipif(not has_native("vpmaddubsw"), reason="no AVX2 here")
sizes = st.tuples(st.integers(0, 9), st.integers(0, 40), st.integers(0, 21))
signs = st.tuples(st.sampled_from([np.int8, np.uint8]), st.sampled_from([np.int8, np.uint8]))
seeds = st.integers(0, 2**32 - 1)
tiles = st.tuples(st.integers(1, 5), st.integers(1, 5))


def bytes_of(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any, extreme: bool = False) -> Array:
    """Random bytes, or only the greatest and the least."""
    limits = np.iinfo(dtype)
    if extreme:
        return rng.choice(np.array([limits.min, limits.max], dtype), shape)
    return rng.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)


def exact(a: Array, b: Array) -> Array:
    return a.astype(np.int64) @ b.astype(np.int64)


# --- single instructions by hand --------------------------------------------------------------------------------


def test_vpdpbusd_wraps_and_vpdpbusds_clips() -> None:
    acc = np.array([2**31 - 1, 5], np.int32)
    a = np.array([1, 0, 0, 0, 255, 255, 255, 255], np.uint8)
    b = np.array([1, 9, 9, 9, -128, -128, -128, -128], np.int8)
    assert vpdpbusd(acc, a, b).tolist() == [-(2**31), 5 - 4 * 255 * 128]
    assert vpdpbusd(acc, a, b, saturate=True).tolist() == [2**31 - 1, 5 - 4 * 255 * 128]


def test_vpmaddubsw_clips_the_sum_of_two_products() -> None:
    a = np.array([255, 255, 255, 255, 255, 1], np.uint8)
    b = np.array([127, 127, -128, -128, 127, 1], np.int8)
    pairs = vpmaddubsw(a, b)  # 64770 and -65280 do not fit 16 bits; 32386 does
    assert pairs.tolist() == [32767, -32768, 32386]
    assert vpmaddwd(pairs[:2], np.ones(2, np.int16)).tolist() == [-1]


def test_vpmaddwd_wraps_only_at_four_least_values() -> None:
    least = np.full(2, -(2**15), np.int16)
    assert vpmaddwd(least, least).tolist() == [-(2**31)]


def test_vpaddd_wraps() -> None:
    assert vpaddd(np.array([2**31 - 1], np.int32), np.array([1], np.int32)).tolist() == [-(2**31)]


def test_dp4a_takes_each_sign_from_its_type() -> None:
    a, b, zero = np.full(4, 0xFF, np.uint8), np.full(4, 2, np.uint8), np.zeros(1, np.int32)
    assert dp4a(zero, a, b).tolist() == [4 * 255 * 2]
    assert dp4a(zero, a.view(np.int8), b).tolist() == [-8]
    assert sdot(zero, a.view(np.int8), b.view(np.int8)).tolist() == [-8]


def test_sxtb16_takes_bytes_0_and_2_or_1_and_3() -> None:
    assert sxtb16(0x80FF7F01) == 0xFFFF0001  # bytes FF and 01
    assert sxtb16(0x80FF7F01, 8) == 0xFF80007F


def test_smlad_sets_q_where_it_wraps() -> None:
    x = np.array([0x80008000, 0x00010002], np.uint32)  # both halves -32768: the sum is 2^31
    y = np.array([0x80008000, 0x00030004], np.uint32)
    acc, q = smlad(np.array([0, 7], np.int32), x, y)
    assert acc.tolist() == [-(2**31), 7 + 3 + 8]
    assert q.tolist() == [True, False]


# --- matrix products ---------------------------------------------------------------------------------------------


@given(sizes, seeds, st.sampled_from([np.int8, np.uint8]), tiles, st.sampled_from([4, 8, 16]), st.booleans())
def test_vpdpbusd_gives_the_exact_product(
    size: tuple[int, int, int], seed: int, dtype: Any, tile: tuple[int, int], lanes: Any, saturate: bool
) -> None:
    (m, k, n), rng = size, np.random.default_rng(seed)
    a, b = bytes_of(rng, (m, k), dtype), bytes_of(rng, (k, n), np.int8)
    run = gemm_vpdpbusd(a, b, tile=tile, lanes=lanes, saturate=saturate)
    assert np.array_equal(run.output, exact(a, b))
    groups, vectors = -(-k // 4), -(-n // lanes)
    assert run.counts.multiplies == run.counts.adds == m * groups * 4 * vectors * lanes
    assert run.counts.instructions["vmovdqu"] == groups * vectors * -(-m // tile[0])
    assert run.counts.instructions["vpbroadcastd"] == groups * m * -(-vectors // tile[1])
    assert run.counts.stores == m * vectors


@vnni
@given(sizes, seeds, st.sampled_from([np.int8, np.uint8]), st.booleans(), st.booleans())
def test_vpdpbusd_of_this_processor_is_the_same(
    size: tuple[int, int, int], seed: int, dtype: Any, saturate: bool, extreme: bool
) -> None:
    (m, k, n), rng = size, np.random.default_rng(seed)
    a, b = bytes_of(rng, (m, k), dtype, extreme), bytes_of(rng, (k, n), np.int8, extreme)
    ours, real = (gemm_vpdpbusd(a, b, saturate=saturate, native=native) for native in (False, True))
    assert np.array_equal(ours.output, real.output)
    assert ours.counts == real.counts


@pytest.mark.parametrize("native", [False, pytest.param(True, marks=vnni)])
def test_a_long_dot_product_wraps_or_clips(native: bool) -> None:
    """65,793 x 4 products of 255 x 127 pass 2^31 for the first time: 8,522,825,220 = 4 x 65793 x 32385."""
    k = 4 * 65793
    a, b = np.full((1, k), 255, np.uint8), np.full((k, 1), 127, np.int8)
    total = k * 255 * 127
    wrapped = (total + 2**31) % 2**32 - 2**31
    assert gemm_vpdpbusd(a, b, native=native).output.item() == wrapped
    assert gemm_vpdpbusd(a, b, native=native, saturate=True).output.item() == 2**31 - 1


@given(sizes, seeds, st.sampled_from([np.int8, np.uint8]), tiles, st.booleans())
def test_pmaddubsw_clips_where_single_instructions_do(
    size: tuple[int, int, int], seed: int, dtype: Any, tile: tuple[int, int], extreme: bool
) -> None:
    (m, k, n), rng = size, np.random.default_rng(seed)
    a, b = bytes_of(rng, (m, k), dtype, extreme), bytes_of(rng, (k, n), np.int8)
    run = gemm_pmaddubsw(a, b, tile=tile)
    up = 128 if dtype == np.int8 else 0
    raised = np.pad((a.astype(np.int32) + up).astype(np.uint8), ((0, 0), (0, k % 2)))
    padded = np.pad(b, ((0, k % 2), (0, 0)))
    expected, clips = -up * b.sum(0, dtype=np.int64) + np.zeros((m, 1), np.int64), []
    for i, j in itertools.product(range(m), range(n)):
        expected[i, j] += vpmaddubsw(raised[i], padded[:, j]).astype(np.int64).sum()
        pairs = (raised[i].astype(int) * padded[:, j].astype(int)).reshape(-1, 2).sum(1)
        clips += [(i, j, 2 * int(p)) for p in np.flatnonzero((pairs > 32767) | (pairs < -32768))]
    assert np.array_equal(run.output, expected)
    assert sorted(map(tuple, run.events.tolist())) == clips
    assert run.saturations == len(clips)
    assert run.saturated is not None
    assert run.saturated.sum() == len(clips)
    assert (run.output == exact(a, b))[run.saturated == 0].all()


@avx2
@given(sizes, seeds, st.sampled_from([np.int8, np.uint8]), st.booleans())
def test_pmaddubsw_of_this_processor_is_the_same(
    size: tuple[int, int, int], seed: int, dtype: Any, extreme: bool
) -> None:
    (m, k, n), rng = size, np.random.default_rng(seed)
    a, b = bytes_of(rng, (m, k), dtype, extreme), bytes_of(rng, (k, n), np.int8, extreme)
    ours, real = (gemm_pmaddubsw(a, b, native=native, max_events=9) for native in (False, True))
    assert np.array_equal(ours.output, real.output)
    assert (ours.saturations, ours.counts) == (real.saturations, real.counts)
    assert np.array_equal(ours.events, real.events)
    assert ours.saturated is not None
    assert real.saturated is not None
    assert np.array_equal(ours.saturated, real.saturated)


def test_seven_bit_weights_never_clip() -> None:
    """The usual cure: 2 x 255 x 64 = 32640 still fits 16 bits."""
    a, b = np.full((2, 64), 255, np.uint8), np.full((64, 3), 64, np.int8)
    run = gemm_pmaddubsw(a, b)
    assert run.saturations == 0
    assert (run.output == 64 * 255 * 64).all()


@given(sizes, seeds, signs, tiles)
def test_dp4a_takes_any_mix_of_signs(
    size: tuple[int, int, int], seed: int, types: tuple[Any, Any], tile: tuple[int, int]
) -> None:
    (m, k, n), rng = size, np.random.default_rng(seed)
    a, b = bytes_of(rng, (m, k), types[0]), bytes_of(rng, (k, n), types[1])
    run = gemm_dp4a(a, b, tile=tile)
    assert np.array_equal(run.output, exact(a, b))
    assert run.counts.instructions["dp4a"] == m * n * -(-k // 4)
    words = -(-k // 4) * (n * -(-m // tile[0]) + m * -(-n // tile[1]))
    assert (run.counts.loads, run.counts.load_bytes) == (words, 4 * words)


@given(sizes, seeds, tiles)
def test_sdot_gives_the_exact_product(size: tuple[int, int, int], seed: int, tile: tuple[int, int]) -> None:
    (m, k, n), rng = size, np.random.default_rng(seed)
    a, b = bytes_of(rng, (m, k), np.int8), bytes_of(rng, (k, n), np.int8)
    run = gemm_sdot(a, b, tile=tile)
    assert np.array_equal(run.output, exact(a, b))
    assert run.counts.multiplies == 16 * run.counts.instructions["sdot"]


@given(sizes, seeds, tiles, st.integers(-255, 255))
def test_smlad_gives_the_exact_product(
    size: tuple[int, int, int], seed: int, tile: tuple[int, int], offset: int
) -> None:
    (m, k, n), rng = size, np.random.default_rng(seed)
    a, b = bytes_of(rng, (m, k), np.int8), bytes_of(rng, (k, n), np.int8)
    bias = rng.integers(-1000, 1000, n, dtype=np.int32)
    run = gemm_smlad(a, b, offset=offset, start=bias, tile=tile)
    assert np.array_equal(run.output, exact(a.astype(np.int16) + offset, b) + bias)
    assert run.q is not None
    assert not run.q.any()
    assert run.counts.multiplies == m * k * n


def test_smlad_counts_of_a_2_by_2_tile() -> None:
    """CMSIS-NN's inner loop: 4 words, 8 extensions, 8 SMLAD for 16 MACs."""
    a, b = np.ones((2, 4), np.int8), np.ones((4, 2), np.int8)
    counts = gemm_smlad(a, b, offset=3).counts
    assert counts.instructions == {"ldr": 4, "sxtb16": 4, "sxtab16": 4, "smlad": 8, "ldrsb": 0, "mla": 0}
    assert counts.load_bytes == 16


def test_smlad_keeps_q_when_a_later_sum_wraps_back() -> None:
    """Bytes 0 and 2 pass 2^31, bytes 1 and 3 come back."""
    a, b = np.array([[100, -100, 100, -100]], np.int8), np.full((4, 1), 100, np.int8)
    run = gemm_smlad(a, b, start=np.array([2**31 - 1], np.int32))
    assert run.output.item() == 2**31 - 1
    assert run.q is not None
    assert run.q.all()


@given(sizes, seeds, signs, st.sampled_from(["m8n8k16", "m16n8k16", "m16n8k32"]), st.booleans())
def test_imma_gives_the_exact_product(
    size: tuple[int, int, int], seed: int, types: tuple[Any, Any], shape: Any, saturate: bool
) -> None:
    (m, k, n), rng = size, np.random.default_rng(seed)
    a, b = bytes_of(rng, (m, k), types[0]), bytes_of(rng, (k, n), types[1])
    run = gemm_imma(a, b, shape=shape, saturate=saturate)
    assert np.array_equal(run.output, exact(a, b))
    rows, columns, step = (int(x) for x in re.findall(r"\d+", shape))
    assert run.counts.instructions[f"imma.{shape}"] == -(-m // rows) * -(-n // columns) * -(-k // step)


def test_imma_wraps_or_clips_at_each_instruction() -> None:
    a, b = np.full((16, 32), 1, np.int8), np.full((32, 8), 1, np.int8)
    top = np.full((16, 8), 2**31 - 1, np.int32)
    assert (imma_tile(a, b, top) == -(2**31) + 31).all()
    assert (imma_tile(a, b, top, saturate=True) == 2**31 - 1).all()


def test_a_warp_loads_six_registers_for_an_imma() -> None:
    """m16n8k32: four registers of a, two of b, four accumulators, for 4,096 MACs."""
    counts = gemm_imma(np.zeros((16, 32), np.int8), np.zeros((32, 8), np.int8)).counts
    assert (counts.loads, counts.load_bytes, counts.stores, counts.multiplies) == (6, 768, 4, 4096)


def halves(rng: np.random.Generator, shape: tuple[int, ...], spread: int) -> NDArray[np.float16]:
    return (rng.standard_normal(shape) * 2.0 ** rng.integers(-spread, spread + 1, shape)).astype(np.float16)


@given(sizes, seeds, st.sampled_from([1, 2, 4, 8]))
def test_hmma_rounds_each_sum_to_nearest(size: tuple[int, int, int], seed: int, block: int) -> None:
    (m, k, n), rng = size, np.random.default_rng(seed)
    a, b = halves(rng, (m, k), 6), halves(rng, (k, n), 6)
    c = rng.standard_normal((m, n)).astype(np.float32)
    expected = c.copy()
    for k0 in range(0, k, block):
        products = [
            np.outer(a[:, i].astype(np.float32), b[i].astype(np.float32)) for i in range(k0, min(k0 + block, k))
        ]
        total = products[0]
        for product in products[1:]:
            total = total + product
        expected = expected + total
    assert np.array_equal(gemm_hmma(a, b, c, block=block).output, expected)


@given(sizes, seeds, st.sampled_from(["nearest", "truncate"]), st.sampled_from([1, 4, 8]), st.integers(0, 24))
def test_hmma_is_exact_where_the_accumulator_holds_every_bit(
    size: tuple[int, int, int], seed: int, rounding: Any, block: int, extra: int
) -> None:
    (m, k, n), rng = size, np.random.default_rng(seed)
    a, b = (rng.integers(-64, 65, shape).astype(np.float16) for shape in ((m, k), (k, n)))
    run = gemm_hmma(a, b, block=block, rounding=rounding, extra_bits=extra)
    assert np.array_equal(run.output, exact(a, b))


def test_truncation_cuts_what_nearest_rounds() -> None:
    """1 + 3 x 2^-24: three halves of the last place of fp32 round up to two, and are cut to one with a spare bit.

    Without one each addend is cut by itself, and nothing is left of them.
    """
    tiny = 2.0**-12
    a, b = np.zeros((16, 16), np.float16), np.zeros((16, 8), np.float16)
    a[0, :3], b[:3, 0] = tiny, tiny
    c = np.zeros((16, 8), np.float32)
    c[0, 0] = 1

    def last_places(**options: Any) -> float:
        return (float(hmma_tile(a, b, c, **options)[0, 0]) - 1) * 2**23

    assert last_places() == 2
    assert last_places(rounding="truncate") == 0
    assert last_places(rounding="truncate", extra_bits=1) == 1
    assert last_places(rounding="truncate", extra_bits=1, block=1) == 0
    assert last_places(block=1) == 0  # one half at a time is a tie, and goes to even


@given(seeds)
@settings(max_examples=30)
def test_truncation_errs_towards_zero_and_less_with_more_bits(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = np.abs(halves(rng, (4, 64), 2)), np.abs(halves(rng, (64, 4), 2))
    truth = a.astype(np.float64) @ b.astype(np.float64)
    runs = [gemm_hmma(a, b, rounding="truncate", extra_bits=bits).output for bits in (0, 1, 2, 24)]
    assert all((run <= truth).all() for run in runs)
    assert all((less <= more).all() for less, more in itertools.pairwise(runs))
    assert np.allclose(runs[-1], truth, rtol=64 * 2.0**-23)


@pytest.mark.parametrize("rounding", ["nearest", "truncate"])
def test_infinities_and_nan_go_through(rounding: Any) -> None:
    a, b = np.ones((3, 4), np.float16), np.ones((4, 1), np.float16)
    a[0, 1], a[1, 1], a[1, 2], a[2, 3] = np.inf, np.inf, -np.inf, np.nan
    assert np.array_equal(gemm_hmma(a, b, rounding=rounding).output[:, 0], [np.inf, np.nan, np.nan], equal_nan=True)


# --- bad input -----------------------------------------------------------------------------------------------------

A, B = np.zeros((2, 4), np.uint8), np.zeros((4, 3), np.int8)


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda: gemm_vpdpbusd(A.astype(np.int16), B),
            "a: must be a C-contiguous 2-D array of uint8 or int8, got int16 (<i2)",
        ),
        (lambda: gemm_vpdpbusd(A, B.view(np.uint8)), "b: must be a C-contiguous 2-D array of int8, got uint8 (|u1)"),
        (lambda: gemm_vpdpbusd([1], B), "a: must be a C-contiguous 2-D array of uint8 or int8, got list"),  # type: ignore[arg-type]
        (lambda: gemm_vpdpbusd(A, B[:3]), "a must have as many columns as b has rows, got shapes (2, 4) and (3, 3)"),
        (
            lambda: gemm_vpdpbusd(A[:, ::2], B[:2]),
            "a: must be a C-contiguous 2-D array of uint8 or int8, got strides (4, 2) for shape (2, 2)",
        ),
        (lambda: gemm_vpdpbusd(A[0], B), "a: must be a C-contiguous 2-D array of uint8 or int8, got shape (4,)"),
        (lambda: gemm_vpdpbusd(A, B, tile=(0, 1)), "tile must be two numbers of 1 or more, got (0, 1)"),
        (lambda: gemm_vpdpbusd(A, B, lanes=5), "lanes must be 4, 8 or 16, got 5"),  # type: ignore[arg-type]
        (lambda: gemm_pmaddubsw(A, B, max_events=-1), "max_events must be zero or more, got -1"),
        (lambda: gemm_smlad(A, B), "a: must be a C-contiguous 2-D array of int8, got uint8 (|u1)"),
        (
            lambda: gemm_smlad(A.view(np.int8), B, offset=2**15),
            "offset must keep the sum with a byte in 16 bits, got 32768",
        ),
        (lambda: gemm_imma(A, B, shape="m4"), "shape must be one of m8n8k16, m16n8k16, m16n8k32, got 'm4'"),  # type: ignore[arg-type]
        (lambda: imma_tile(A, B, A), "a and b must have shapes (16, 32) and (32, 8), got (2, 4) and (4, 3)"),
        (lambda: gemm_hmma(A, B), "a: must be a C-contiguous 2-D array of float16, got uint8 (|u1)"),
        (lambda: sxtb16(1, 3), "rotate must be 0, 8, 16 or 24, got 3"),  # type: ignore[arg-type]
        (lambda: sxtb16(-1), "word must be an unsigned integer of 32 bits, got -1"),
        (
            lambda: dp4a(np.zeros(1, np.int32), A[0, :3], A[0, :3]),
            "a and b must have one shape, a multiple of 4 last, got (3,) and (3,)",
        ),
    ],
)
def test_bad_input_is_told(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        call()
