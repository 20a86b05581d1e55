"""The int8 kernels against plain integer arithmetic, on every instruction set that runs here, and what they refuse."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from hwsim import kernels
from hwsim.errors import InputError

Array = np.ndarray[Any, Any]
EIGHT_BITS = st.sampled_from(["int8", "uint8"])
SEEDS = st.integers(0, 2**32 - 1)


def every_isa() -> Iterator[str]:
    """Runs what follows once on each instruction set of this processor."""
    for name in kernels.available():
        with kernels.force_isa(name):
            yield name


def some(rng: np.random.Generator, dtype: str, shape: tuple[int, ...] = ()) -> Array:
    """Random values of a type, its two ends more often than not."""
    bounds = np.iinfo(dtype)
    values = rng.integers(bounds.min, bounds.max + 1, shape)
    ends = rng.choice([bounds.min, bounds.max], shape)
    return np.asarray(np.where(rng.random(shape) < 0.3, ends, values), dtype)


def product(a: Array, b: Array, a_zero: Any, b_zero: Any) -> Array:
    return (a.astype(np.int64) - a_zero) @ (b.astype(np.int64) - np.asarray(b_zero, np.int64))


def convolution(
    x: Array, w: Array, how: dict[str, Any], groups: int, x_zero: int, w_zero: Any, bias: Array | None
) -> Array:
    """NCHW and OIHW, in int64, from the definition: one filter tap after the other."""
    (sh, sw), (dh, dw), (top, left, bottom, right) = how["stride"], how["dilation"], how["pad"]
    k, c, r, s = w.shape
    shifted = np.pad(x.astype(np.int64) - x_zero, ((0, 0), (0, 0), (top, bottom), (left, right)))
    filters = w.astype(np.int64) - np.broadcast_to(np.asarray(w_zero, np.int64), (k,)).reshape(-1, 1, 1, 1)
    p, q = (shifted.shape[2] - (r - 1) * dh - 1) // sh + 1, (shifted.shape[3] - (s - 1) * dw - 1) // sw + 1
    out = np.zeros((x.shape[0], k, p, q), np.int64)
    each = k // groups
    for group in range(groups):
        inputs, outputs = slice(group * c, (group + 1) * c), slice(group * each, (group + 1) * each)
        for i in range(r):
            for j in range(s):
                rows = slice(i * dh, i * dh + (p - 1) * sh + 1, sh)
                columns = slice(j * dw, j * dw + (q - 1) * sw + 1, sw)
                taps = filters[outputs, :, i, j]
                out[:, outputs] += np.einsum("nchw,kc->nkhw", shifted[:, inputs, rows, columns], taps, optimize=False)
    return out if bias is None else out + bias.reshape(-1, 1, 1)


# ---- GEMM ----


@settings(deadline=None, max_examples=40)
@given(SEEDS, st.integers(1, 70), st.integers(1, 90), st.integers(0, 200), EIGHT_BITS, EIGHT_BITS, st.integers(0, 2))
def test_gemm(seed: int, m: int, n: int, k: int, a_type: str, b_type: str, zeros: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = some(rng, a_type, (m, k)), some(rng, b_type, (k, n))
    a_zero = int(some(rng, a_type)) if zeros else 0
    b_zero: Any = 0 if not zeros else int(some(rng, b_type)) if zeros == 1 else some(rng, b_type, (n,))
    expected = product(a, b, a_zero, b_zero)
    for name in every_isa():
        packed = kernels.pack_b(b)
        for operand in (b, packed):
            out = kernels.gemm_int8(a, operand, a_zero=a_zero, b_zero=b_zero)
            assert out.dtype == np.int32
            np.testing.assert_array_equal(out, expected, name)
        divided = kernels.gemm_int8(a, packed, a_zero=a_zero, b_zero=b_zero, threads=1 + seed % 3)
        np.testing.assert_array_equal(divided, expected, name)
        counted, counts = kernels.count_gemm_int8(a, b, a_zero=a_zero, b_zero=b_zero)
        np.testing.assert_array_equal(counted, expected, name)
        assert counts.macs == m * n * k
        assert counts.macs_executed >= counts.macs
        assert counts.store_bytes == 4 * m * n


def test_gemm_of_many_rows_is_packed_in_blocks() -> None:
    """More rows than one block of packed rows holds, with a ragged end."""
    rng = np.random.default_rng(0)
    a, b = some(rng, "uint8", (701, 600)), some(rng, "int8", (600, 37))
    for name in every_isa():
        np.testing.assert_array_equal(kernels.gemm_int8(a, b, a_zero=3), product(a, b, 3, 0), name)


def test_counted_lanes_by_hand() -> None:
    """13 x 5 x 33: the portable loop runs 2 x 4 tiles with k padded to 8, VNNI 12 x 32 ones with k padded to 4."""
    a, b = np.ones((13, 5), np.int8), np.ones((5, 33), np.int8)
    with kernels.force_isa("portable"):
        counts = kernels.count_gemm_int8(a, b)[1]
        assert counts.macs == 13 * 5 * 33
        assert counts.macs_executed == 13 * 8 * 36
        # a pair of rows with 4 columns reads 6 int16 a step of k, the single last row 5
        assert counts.load_bytes == 9 * 8 * (6 * 6 * 2 + 5 * 2)
    if "avx512vnni" in kernels.available():
        with kernels.force_isa("avx512vnni"):
            counts = kernels.count_gemm_int8(a, b)[1]
            assert counts.macs_executed == 13 * 8 * 64
            # rows are split 6 + 7, columns 32 + 1: for each quad of k a tile reads its rows and one panel of 128 bytes
            assert counts.load_bytes == 2 * 2 * ((6 + 7) * 4 + 2 * 128)


def test_extremes_do_not_saturate() -> None:
    """255 * -128 twice leaves int16, where the instruction before VNNI would saturate."""
    a, b = np.full((3, 64), 255, np.uint8), np.full((64, 5), -128, np.int8)
    for name in every_isa():
        assert (kernels.gemm_int8(a, b) == -255 * 128 * 64).all(), name


@settings(deadline=None, max_examples=30)
@given(SEEDS, st.integers(1, 20), st.integers(1, 60), st.integers(1, 90), EIGHT_BITS, EIGHT_BITS)
def test_fully_connected(seed: int, m: int, n: int, k: int, x_type: str, w_type: str) -> None:
    rng = np.random.default_rng(seed)
    x, w, bias = some(rng, x_type, (m, k)), some(rng, w_type, (n, k)), rng.integers(-(2**20), 2**20, n).astype(np.int32)
    x_zero, w_zero = int(some(rng, x_type)), some(rng, w_type, (n,))
    for name in every_isa():
        out = kernels.fully_connected_int8(x, w, x_zero=x_zero, w_zero=w_zero, bias=bias)
        np.testing.assert_array_equal(out, product(x, w.T, x_zero, w_zero) + bias, name)


# ---- convolution ----


@st.composite
def convolutions(draw: st.DrawFn, depthwise: bool = False) -> tuple[Any, ...]:
    """Arguments of a random convolution."""
    rng = np.random.default_rng(draw(SEEDS))
    groups = draw(st.integers(1, 9)) if depthwise else draw(st.sampled_from([1, 1, 2, 3]))
    c = 1 if depthwise else draw(st.integers(1, 9))
    k = draw(st.integers(1, 3)) if depthwise else draw(st.integers(1, 40))
    r, s = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    stride, dilation = draw(st.tuples(*[st.integers(1, 3)] * 2)), draw(st.tuples(*[st.integers(1, 3)] * 2))
    pad = draw(st.tuples(*[st.integers(0, 4)] * 4))
    least_h = max(1, (r - 1) * dilation[0] + 1 - pad[0] - pad[2])
    least_w = max(1, (s - 1) * dilation[1] + 1 - pad[1] - pad[3])
    h, w = least_h + draw(st.integers(0, 12)), least_w + draw(st.integers(0, 25))
    x = some(rng, draw(EIGHT_BITS), (draw(st.integers(1, 2)), groups * c, h, w))
    filters = some(rng, draw(EIGHT_BITS), (groups * k, c, r, s))
    symmetric = 0 if filters.dtype == np.int8 else 128
    w_zero: Any = some(rng, filters.dtype.name, (groups * k,)) if draw(st.booleans()) else symmetric
    bias = rng.integers(-(2**24), 2**24, groups * k).astype(np.int32) if draw(st.booleans()) else None
    how = {"stride": stride, "dilation": dilation, "pad": pad}
    return x, filters, how, groups, int(some(rng, x.dtype.name)), w_zero, bias


def swap(x: Array) -> Array:
    """NCHW to NHWC (and OIHW to OHWI)."""
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))


@settings(deadline=None, max_examples=40)
@given(convolutions())
def test_conv2d(case: tuple[Any, ...]) -> None:
    x, w, how, groups, x_zero, w_zero, bias = case
    expected = convolution(x, w, how, groups, x_zero, w_zero, bias)
    more = {"x_zero": x_zero, "w_zero": w_zero, "bias": bias, **how}
    for name in every_isa():
        out, counts = kernels.count_conv2d_int8(x, w, groups=groups, **more)
        np.testing.assert_array_equal(out, expected, name)
        assert counts.macs == expected.size * w[0].size
        np.testing.assert_array_equal(kernels.conv2d_int8(x, w, groups=groups, **more), expected, name)
        packed = kernels.pack_conv(swap(w), groups=groups, layout="NHWC")
        for _ in range(2):
            np.testing.assert_array_equal(kernels.conv2d_int8(swap(x), packed, **more), swap(expected), name)


@settings(deadline=None, max_examples=40)
@given(convolutions(depthwise=True))
def test_depthwise(case: tuple[Any, ...]) -> None:
    x, w, how, groups, x_zero, w_zero, bias = case
    expected = convolution(x, w, how, groups, x_zero, w_zero, bias)
    more = {"x_zero": x_zero, "w_zero": w_zero, "bias": bias, **how}
    for name in every_isa():
        np.testing.assert_array_equal(kernels.depthwise_int8(x, w, **more), expected, name)
        last = np.ascontiguousarray(w.transpose(1, 2, 3, 0))
        out = kernels.depthwise_int8(swap(x), last, layout="NHWC", **more)
        np.testing.assert_array_equal(out, swap(expected), name)
        np.testing.assert_array_equal(kernels.conv2d_int8(x, w, groups=groups, **more), expected, name)


@settings(deadline=None, max_examples=30)
@given(st.one_of(convolutions(), convolutions(depthwise=True)), st.booleans(), st.booleans(), EIGHT_BITS)
def test_requantization_in_the_same_pass(case: tuple[Any, ...], onnx: bool, single: bool, dtype: str) -> None:
    """Equal to the two passes, in both layouts and both semantics."""
    x, w, how, groups, x_zero, w_zero, bias = case
    rng = np.random.default_rng(x.size)
    more = {"x_zero": x_zero, "w_zero": w_zero, "bias": bias, **how}
    scale = rng.uniform(1e-6, 1e-2, len(w))
    multiplier, shift = kernels.quantize_multipliers(scale)
    rounding = "single" if single else "double"
    to_eight: Any
    for name in every_isa():
        acc = kernels.conv2d_int8(x, w, groups=groups, **more)
        if onnx:
            to_eight = kernels.OnnxRequantization(scale.astype(np.float32), 7, dtype)
            expected = kernels.requantize_onnx(acc, scale.astype(np.float32), 7, dtype, axis=1)
        else:
            to_eight = kernels.TfliteRequantization(multiplier, shift, 7, 1, 100, dtype, rounding)
            expected = kernels.requantize_tflite(
                acc, multiplier, shift, 7, 1, 100, axis=1, dtype=dtype, rounding=rounding
            )
        given = kernels.conv2d_int8(x, w, groups=groups, requantize=to_eight, **more)
        np.testing.assert_array_equal(given, expected, name)
        given = kernels.conv2d_int8(swap(x), swap(w), groups=groups, layout="NHWC", requantize=to_eight, **more)
        np.testing.assert_array_equal(given, swap(expected), name)


@pytest.mark.parametrize("area", [(7, 7), (14, 14), (33, 40)])
def test_convolution_of_several_blocks(area: tuple[int, int]) -> None:
    """Patches that do not fit one block, more filters than one tile, and few pixels."""
    rng = np.random.default_rng(1)
    x, w = some(rng, "uint8", (1, 150, *area)), some(rng, "int8", (70, 150, 3, 3))
    how = {"stride": (1, 1), "dilation": (1, 1), "pad": (1, 1, 1, 1)}
    expected = convolution(x, w, how, 1, 9, 0, None)
    for name in every_isa():
        np.testing.assert_array_equal(kernels.conv2d_int8(x, w, x_zero=9, **how), expected, name)
        np.testing.assert_array_equal(
            kernels.conv2d_int8(swap(x), swap(w), x_zero=9, layout="NHWC", **how), swap(expected), name
        )


# ---- requantization ----


def doubling_high_mul(a: int, b: int) -> int:
    """gemmlowp's SaturatingRoundingDoublingHighMul, as written there."""
    product = a * b
    nudged = product + (1 << 30 if product >= 0 else 1 - (1 << 30))
    return abs(nudged) // 2**31 * (1 if nudged >= 0 else -1)  # C truncates


def divide_by_power(x: int, exponent: int) -> int:
    """gemmlowp's RoundingDivideByPOT, as written there."""
    mask = (1 << exponent) - 1
    return (x >> exponent) + ((x & mask) > (mask >> 1) + (x < 0))


@pytest.mark.slow
@settings(deadline=None, max_examples=200)
@given(
    st.integers(-(2**31), 2**31 - 1) | st.sampled_from([-(2**31), 2**31 - 1, -(2**30), 2**30, -1, 0]),
    st.integers(2**30, 2**31 - 1) | st.sampled_from([0, 2**30, 2**31 - 1]),
    st.integers(-31, 8),
    st.integers(-128, 127),
)
def test_requantize_tflite(acc: int, multiplier: int, shift: int, zero: int) -> None:
    left = (acc << max(shift, 0)) & 0xFFFFFFFF
    left -= (left >> 31) << 32  # the left shift wraps
    double = divide_by_power(doubling_high_mul(left, multiplier), max(-shift, 0))
    single = (acc * multiplier + (1 << (30 - shift))) >> (31 - shift)
    values = np.array([[acc] * 40], np.int32)
    for name in every_isa():
        given = kernels.requantize_tflite(values, multiplier, shift, zero)
        assert (given == min(max(double + zero, -128), 127)).all(), name
        if abs(single) < 2**31 - 256:  # beyond, TFLite's int32 wraps
            given = kernels.requantize_tflite(values, multiplier, shift, zero, rounding="single")
            assert (given == min(max(single + zero, -128), 127)).all(), name


def test_the_two_roundings_differ() -> None:
    """23.49989 rounds to 24 when it passes 23.5 on the way; from a fully connected layer of TFLite."""
    multiplier, shift = kernels.quantize_multiplier(23.49989689894416 / 22235)
    acc = np.array([22235], np.int32)
    assert kernels.requantize_tflite(acc, multiplier, shift).tolist() == [24]
    assert kernels.requantize_tflite(acc, multiplier, shift, rounding="single").tolist() == [23]


@pytest.mark.parametrize(
    ("real", "expected"),
    [
        (1.0, (2**30, 1)),
        (0.5, (2**30, 0)),
        (0.25, (2**30, -1)),
        (0.75, (3 * 2**29, 0)),
        (1 - 2**-40, (2**30, 1)),
        (2**-33, (0, 0)),
        (3.0, (3 * 2**29, 2)),
    ],
)
def test_quantize_multiplier(real: float, expected: tuple[int, int]) -> None:
    assert kernels.quantize_multiplier(real) == expected


def test_requantize_onnx_rounds_half_to_even_and_saturates() -> None:
    acc = np.array([1, 3, 5, -1, -3, 1000, -1000, 2**31 - 1, -(2**31)] * 5, np.int32)
    for name in every_isa():
        signed = kernels.requantize_onnx(acc, 0.5, 0, "int8")
        assert signed[:9].tolist() == [0, 2, 2, 0, -2, 127, -128, 127, -128], name
        unsigned = kernels.requantize_onnx(acc, 0.5, 100, "uint8")
        assert unsigned[:9].tolist() == [100, 102, 102, 100, 98, 255, 0, 255, 0], name


@settings(deadline=None, max_examples=40)
@given(SEEDS, st.integers(1, 4), st.integers(1, 40), st.integers(1, 40), EIGHT_BITS)
def test_requantize_along_an_axis(seed: int, n: int, c: int, area: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    acc = rng.integers(-(2**31), 2**31, (n, c, area)).astype(np.int32)
    scale = np.asarray(10 ** rng.uniform(-9, 0, c), np.float32)
    zero = int(some(rng, dtype))
    bounds = np.iinfo(dtype)
    real = np.rint(acc.astype(np.float32) * scale.reshape(-1, 1)).astype(np.float64) + zero
    expected = np.clip(real, bounds.min, bounds.max).astype(dtype)
    for name in every_isa():
        np.testing.assert_array_equal(kernels.requantize_onnx(acc, scale, zero, dtype, axis=1), expected, name)
        last = np.ascontiguousarray(acc.transpose(0, 2, 1))
        given = kernels.requantize_onnx(last, scale, zero, dtype)
        np.testing.assert_array_equal(given, expected.transpose(0, 2, 1), name)


# ---- other widths ----


@settings(deadline=None, max_examples=30)
@given(SEEDS, st.integers(1, 20), st.integers(1, 20), st.integers(0, 50), st.sampled_from(["int8", "int16"]))
def test_gemm_int16(seed: int, m: int, n: int, k: int, b_type: str) -> None:
    rng = np.random.default_rng(seed)
    a, b = some(rng, "int16", (m, k)), some(rng, b_type, (k, n))
    a_zero, b_zero = int(some(rng, "int16")), int(some(rng, b_type))
    expected = product(a, b, a_zero, b_zero)
    np.testing.assert_array_equal(kernels.gemm_int16(a, b, a_zero=a_zero, b_zero=b_zero), expected)


@settings(deadline=None, max_examples=30)
@given(convolutions())
def test_conv2d_int16_and_fp32(case: tuple[Any, ...]) -> None:
    x, w, how, groups, *_ = case
    wide, signed = x.astype(np.int16) * 128, w.astype(np.int8)
    expected = convolution(wide, signed, how, groups, 0, 0, None)
    out = kernels.conv2d_int16(wide, signed, groups=groups, layout="NCHW", **how)
    np.testing.assert_array_equal(out, expected)
    out = kernels.conv2d_int16(swap(wide), swap(signed), groups=groups, **how)
    np.testing.assert_array_equal(out, swap(expected))
    expected = convolution(x, w, how, groups, 0, 0, None)  # below 2**24, so fp32 is exact
    given = kernels.conv2d_fp32(x.astype(np.float32), w.astype(np.float32), groups=groups, **how)
    np.testing.assert_array_equal(given, expected)


def test_gemm_fp32_adds_in_the_order_of_k() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((5, 70)).astype(np.float32), rng.standard_normal((70, 33)).astype(np.float32)
    expected = np.zeros((5, 33), np.float32)
    for k in range(70):
        expected = expected + a[:, k : k + 1] * b[k]
    np.testing.assert_array_equal(kernels.gemm_fp32(a, b), expected)


def test_int4() -> None:
    values = np.array([[1, -2, 7], [-8, 0, -1], [3, 4, 5]], np.int8)
    octets = kernels.pack_int4(values)
    assert octets.tolist() == [0xE1, 0x87, 0xF0, 0x43, 0x05]
    np.testing.assert_array_equal(kernels.unpack_int4(octets, (3, 3)), values)
    a = np.arange(6, dtype=np.uint8).reshape(2, 3)
    np.testing.assert_array_equal(kernels.gemm_int4(a, octets, 3, a_zero=1), product(a, values, 1, 0))


# ---- overflow ----


def test_accumulator_bound() -> None:
    assert kernels.accumulator_bound(66311, (0, 255), (-127, 127)) < 2**31
    assert kernels.accumulator_bound(66312, (0, 255), (-127, 127)) >= 2**31
    assert kernels.accumulator_bound(10, (-128, 127), (-128, 127)) == 10 * 2**14
    assert kernels.accumulator_bound(0, (-128, 127), (-128, 127)) == 0


def test_overflow_is_told_before_any_work() -> None:
    k = 66312
    a, b = np.full((1, k), 255, np.uint8), np.full((k, 2), 127, np.int8)
    with pytest.raises(InputError, match=r"below 2\*\*31.*can reach 2147514120.*k <= 66311 is safe"):
        kernels.gemm_int8(a, b)
    for name in every_isa():  # as large, and yet safe on the data that is there
        assert (kernels.gemm_int8(a - np.uint8(1), b) == 254 * 127 * k).all(), name
    x, w = np.full((1, 1, 1, 1), 255, np.uint8), np.full((1, 1, 1, 1), 127, np.int8)
    with pytest.raises(InputError, match="can reach"):
        kernels.conv2d_int8(x, w, bias=np.array([2**31 - 1], np.int32))


def test_sums_that_wrap_on_the_way_are_right() -> None:
    """The sum of unsigned a and b passes 2**31; the true one, less the zero points, is 0."""
    k = 70000
    a, b = np.full((2, k), 127, np.int8), np.full((k, 3), 127, np.int8)
    for name in every_isa():
        assert (kernels.gemm_int8(a, b, a_zero=127) == 0).all(), name


# ---- bad input ----


def int8(*shape: int) -> Array:
    return np.zeros(shape, np.int8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: kernels.gemm_int8(int8(2, 3), int8(4, 5)),
            "a: must have as many columns as b has rows (4), got shape (2, 3)",
        ),
        (
            lambda: kernels.gemm_int8([[1]], int8(1, 1)),
            "a: must be a C-contiguous 2-D array of int8 or uint8, got list",
        ),
        (lambda: kernels.gemm_int8(int8(2, 3).astype(int), int8(3, 5)), "got int64"),
        (lambda: kernels.gemm_int8(int8(3, 2).T, int8(3, 5)), "a: must be a C-contiguous"),
        (lambda: kernels.gemm_int8(int8(3), int8(3, 5)), "got shape (3,)"),
        (lambda: kernels.gemm_int8(int8(2, 3), int8(3, 5), a_zero=128), "a_zero: must be an integer in -128..127"),
        (lambda: kernels.gemm_int8(int8(2, 3), int8(3, 5), a_zero=0.5), "a_zero: must be an integer"),
        (
            lambda: kernels.gemm_int8(int8(2, 3), int8(3, 5), b_zero=[1, 2]),
            "b_zero: must be one integer, or one for each of the 5",
        ),
        (lambda: kernels.gemm_int8(int8(2, 3), int8(3, 5), b_zero=[200] * 5), "b_zero: must lie in -128..127"),
        (lambda: kernels.gemm_int8(int8(2, 3), int8(3, 5), threads=0), "threads: must be an integer of at least 1"),
        (lambda: kernels.conv2d_int8(int8(1, 3, 4, 4), int8(2, 4, 1, 1)), "w: filters must have 3 input channels"),
        (lambda: kernels.conv2d_int8(int8(1, 3, 4, 4), int8(2, 3, 5, 1)), "must hold the dilated filter (5 x 1)"),
        (lambda: kernels.conv2d_int8(int8(1, 4, 4, 4), int8(3, 2, 1, 1), groups=2), "groups: must divide"),
        (
            lambda: kernels.conv2d_int8(int8(1, 4, 4, 4), int8(3, 4, 1, 1), groups=0),
            "groups: must be an integer of at least 1",
        ),
        (
            lambda: kernels.conv2d_int8(int8(1, 3, 4, 4), int8(2, 3, 1, 1), stride=0),
            "stride: must be an integer or a pair",
        ),
        (
            lambda: kernels.conv2d_int8(int8(1, 3, 4, 4), int8(2, 3, 1, 1), stride=1.0),
            "stride: must be an integer or a pair",
        ),
        (lambda: kernels.conv2d_int8(int8(1, 3, 4, 4), int8(2, 3, 1, 1), pad=-1), "pad: must be one, two"),
        (
            lambda: kernels.conv2d_int8(int8(1, 3, 4, 4), int8(2, 3, 1, 1), layout="CHWN"),
            "layout: must be NCHW or NHWC",
        ),
        (lambda: kernels.conv2d_int8(int8(1, 0, 4, 4), int8(2, 0, 1, 1)), "must have no empty dim"),
        (
            lambda: kernels.conv2d_int8(int8(1, 3, 4, 4), int8(2, 3, 1, 1), bias=np.zeros(3, np.int32)),
            "bias: must have one value",
        ),
        (lambda: kernels.conv2d_int8(int8(1, 3, 4, 4), int8(2, 3, 1, 1), bias=np.zeros(2)), "got float64"),
        (
            lambda: kernels.conv2d_int8(int8(1, 3, 4, 4), kernels.pack_conv(int8(2, 3, 1, 1)), groups=3),
            "groups: must be as the filters were packed (1), got 3",
        ),
        (lambda: kernels.depthwise_int8(int8(1, 3, 4, 4), int8(3, 2, 1, 1)), "w: must be (outputs, 1, r, s)"),
        (lambda: kernels.depthwise_int8(int8(1, 3, 4, 4), int8(4, 1, 1, 1)), "groups: must divide"),
        (lambda: kernels.requantize_onnx(np.zeros(3, np.int32), 0.0), "scale: must be finite and above 0, got 0.0"),
        (
            lambda: kernels.requantize_onnx(np.zeros(3, np.int32), [1, np.nan, 1]),
            "scale: must be finite and above 0, got nan",
        ),
        (lambda: kernels.requantize_onnx(np.zeros(3, np.int32), 1.0, 300), "zero: must be an integer in 0..255"),
        (
            lambda: kernels.requantize_onnx(np.zeros(3, np.int32), 1.0, dtype="int16"),
            "dtype: must be int8 or uint8, got int16",
        ),
        (
            lambda: kernels.requantize_onnx(np.zeros(3), 1.0),
            "acc: must be a C-contiguous 1-D array of int32, got float64",
        ),
        (lambda: kernels.requantize_tflite(np.zeros(3, np.int32), 2**30, 31), "shift: must lie in -31..30, got 31"),
        (
            lambda: kernels.requantize_tflite(np.zeros(3, np.int32), -1, 0),
            "multiplier: must lie in 0..2147483647, got -1",
        ),
        (
            lambda: kernels.requantize_tflite(np.zeros(3, np.int32), 1, 0, 0, 5, 4),
            "lo: must hold -128 <= lo <= hi <= 127",
        ),
        (
            lambda: kernels.requantize_tflite(np.zeros(3, np.int32), 1, 0, rounding="up"),
            "rounding: must be double or single",
        ),
        (lambda: kernels.requantize_tflite(np.full(3, 2**50), 1, 0), "acc: must lie in"),
        (lambda: kernels.quantize_multiplier(float("nan")), "real: must be finite and above 0"),
        (lambda: kernels.quantize_multiplier(0.0), "real: must be finite and above 0"),
        (lambda: kernels.onnx_scale(1.0, float("inf"), 1.0), "w_scale: must be finite and above 0"),
        (lambda: kernels.pack_int4(np.array([8], np.int8)), "values: must lie in -8..7"),
        (lambda: kernels.unpack_int4(np.zeros(2, np.uint8), (5,)), "octets: must have 3 bytes"),
        (lambda: kernels.accumulator_bound(1, (1, 0), (0, 1)), "a_range: must be (smallest, largest)"),
    ],
)
def test_bad_input(call: Any, message: str) -> None:
    with pytest.raises(InputError) as raised:
        call()
    assert message in str(raised.value)


@contextmanager
def environment(monkeypatch: pytest.MonkeyPatch, value: str) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("HWSIM_ISA", value)
        yield


def test_isa_by_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with environment(monkeypatch, "portable"):
        assert kernels.isa() == "portable"
    with environment(monkeypatch, "avx51"), pytest.raises(InputError, match=r"HWSIM_ISA: .*got 'avx51'"):
        kernels.gemm_int8(int8(1, 1), int8(1, 1))
    with environment(monkeypatch, ""):
        assert kernels.isa() == kernels.available()[-1]


def test_isa_that_the_processor_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["hwsim.kernels.isa"], "available", lambda: ("portable",))
    with environment(monkeypatch, "avx512vnni"), pytest.raises(InputError, match="runs portable, not avx512vnni"):
        kernels.isa()
