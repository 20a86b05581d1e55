"""Winograd: equal to direct convolution bit for bit, its published counts, and what rounding costs."""

import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray

from hwsim.errors import InputError
from hwsim.kernels import available, force_isa
from hwsim.kernels.winograd import winograd_counts, winograd_int8, winograd_quantized

Array = NDArray[Any]
#: Lavin and Gray, CVPR 2016, table 1: multiplications and operations of transforms per output, and their counts.
PUBLISHED = {
    2: {"alpha": 4.0, "beta": 2.0, "gamma": 1.75, "delta": 1.5, "speedup": 2.25, "flops": (32, 28, 24)},
    4: {"alpha": 2.25, "beta": 4.33, "gamma": 2.0, "delta": 2.78, "speedup": 4, "flops": (156, 72, 100)},
}

layers = st.tuples(st.integers(1, 2), st.integers(1, 20), st.integers(1, 20), st.integers(1, 11), st.integers(1, 11))
pads = st.tuples(*[st.integers(0, 3)] * 4)
tile = st.sampled_from([2, 4])
types = st.sampled_from([np.int8, np.uint8])
seeds = st.integers(0, 2**32 - 1)


def direct(x: Array, w: Array, pad: tuple[int, int, int, int], zero: int) -> Array:
    """Convolution in int64, a shifted product for each of the nine weights."""
    top, left, bottom, right = pad
    frame = np.pad(x.astype(np.int64) - zero, ((0, 0), (0, 0), (top, bottom), (left, right)))
    p, q = frame.shape[2] - 2, frame.shape[3] - 2
    shifted = [(frame[:, :, r : r + p, s : s + q], w[:, :, r, s].astype(np.int64)) for r in range(3) for s in range(3)]
    total = np.zeros((len(x), len(w), p, q), np.int64)
    for part, weight in shifted:
        total += np.einsum("nchw,kc->nkhw", part, weight)
    return total


def draw(seed: int, layer: tuple[int, ...], dtype: Any, extreme: bool = False) -> tuple[Array, Array]:
    n, c, k, h, w = layer
    rng, limits = np.random.default_rng(seed), np.iinfo(dtype)
    if extreme:
        ends = np.array([limits.min, limits.max], dtype)
        return rng.choice(ends, (n, c, h, w)), rng.choice(np.array([-128, 127], np.int8), (k, c, 3, 3))
    x = rng.integers(limits.min, limits.max, (n, c, h, w), dtype=dtype, endpoint=True)
    return x, rng.integers(-128, 127, (k, c, 3, 3), dtype=np.int8, endpoint=True)


@pytest.mark.slow
@pytest.mark.parametrize("isa", available())
@settings(max_examples=60)
@given(layers, pads, tile, types, seeds, st.booleans(), st.data())
def test_equal_to_direct_convolution(
    isa: str, layer: Any, pad: Any, m: Any, dtype: Any, seed: int, extreme: bool, data: st.DataObject
) -> None:
    pad = tuple(max(p, 1) if layer[3 + i % 2] < 3 else p for i, p in enumerate(pad))
    zero = data.draw(st.integers(np.iinfo(dtype).min, np.iinfo(dtype).max))
    x, w = draw(seed, layer, dtype, extreme)
    with force_isa(isa):
        assert np.array_equal(winograd_int8(x, w, m=m, pad=pad, x_zero=zero), direct(x, w, pad, zero))


@pytest.mark.parametrize("isa", available())
@pytest.mark.parametrize("m", [2, 4])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_no_intermediate_overflows_at_the_limits(isa: str, m: Any, dtype: Any) -> None:
    """Every input and weight as large as can be, with the signs that each position of a tile likes least.

    600 channels of 9 x 255 x 128 pass 2^25 five times over and 2^32 / 576 far sooner.
    """
    zero = 0 if dtype == np.uint8 else 127
    low, high = (0, 255) if dtype == np.uint8 else (-128, 127)
    signs = np.indices((9, 9)).sum(0) % 2
    for pattern in (np.zeros((9, 9)), signs, np.indices((9, 9))[0] % 2, np.indices((9, 9))[1] % 4 < 2):
        x = np.where(pattern, low, high).astype(dtype)[None, None].repeat(600, 1)
        for weight in (-128, 127):
            w = np.full((1, 600, 3, 3), weight, np.int8)
            with force_isa(isa):
                assert np.array_equal(winograd_int8(x, w, m=m, x_zero=zero), direct(x, w, (0, 0, 0, 0), zero))


@pytest.mark.parametrize("m", [2, 4])
def test_the_bound_of_transformed_values_fits_16_bits(m: Any) -> None:
    """Norms of the rows of B^T and of the scaled G bound what a tile grows to: the claim of the C header."""
    b = {2: [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]]}
    b[4] = [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0], [0, -2, -1, 2, 1, 0]]
    b[4] += [[0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]]
    g = {2: [[1, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 1]]}
    g[4] = [[1, 0, 0], [1, 1, 1], [1, -1, 1], [1, 2, 4], [1, -2, 4], [0, 0, 1]]
    data, filters = (max(sum(map(abs, row)) for row in rows[m]) for rows in (b, g))
    assert data**2 * 255 < 2**15
    assert filters**2 * 128 < 2**15


@pytest.mark.parametrize("m", [2, 4])
def test_counts_are_the_published_ones(m: Any) -> None:
    """Lavin and Gray: operations of one tile, and multiplications per output."""
    row, counts = PUBLISHED[m], winograd_counts(m)
    assert (counts.data_flops, counts.filter_flops, counts.inverse_flops) == row["flops"]
    assert counts.alpha == row["alpha"]
    assert 9 / counts.alpha == row["speedup"]
    for name, value in (("beta", counts.beta), ("gamma", counts.gamma), ("delta", counts.delta)):
        assert value == pytest.approx(row[name], abs=0.005)


def test_counts_of_the_two_forms() -> None:
    """Published: 32, 28, 24 and 156, 72, 100. Scaled filters of F(2x2) need no products by a half."""
    two, four = winograd_counts(2), winograd_counts(4)
    assert (two.data_flops, two.filter_flops, two.inverse_flops, two.alpha) == (32, 28, 24, 4.0)
    assert (four.data_flops, four.filter_flops, four.inverse_flops, four.alpha) == (156, 72, 100, 2.25)
    scaled = winograd_counts(2, scaled=True)
    assert (scaled.multiplications, scaled.data_flops, scaled.filter_flops, scaled.inverse_flops) == (16, 32, 21, 24)
    scaled = winograd_counts(4, scaled=True)
    assert (scaled.multiplications, scaled.data_flops, scaled.filter_flops) == (36, 156, 54)


def test_counts_of_a_layer() -> None:
    """14 x 14 outputs are 4 x 4 tiles of F(4x4), the last ones ragged."""
    assert winograd_counts(4).layer(n=2, c=3, k=5, p=14, q=14) == {
        "multiplications": 32 * 15 * 36,
        "data_flops": 32 * 3 * 156,
        "filter_flops": 15 * 72,
        "inverse_flops": 32 * 5 * 100,
    }


@settings(max_examples=30)
@given(layers, tile, types, seeds)
def test_many_bits_lose_nothing(layer: Any, m: Any, dtype: Any, seed: int) -> None:
    """F(2x2) weights are multiples of a quarter: 16 bits hold both sides almost to the step."""
    x, w = draw(seed, layer, dtype)
    result = winograd_quantized(x, w, m=m, pad=1, bits=16)
    truth = direct(x, w, (1, 1, 1, 1), 0)
    error = np.abs(result.output - truth)
    assert result.max_error == error.max()
    assert result.max_error <= 2e-3 * 9 * layer[1] * 255 * 128
    assert result.rms_error <= result.max_error


def test_fewer_bits_and_larger_tiles_cost_more() -> None:
    x, w = draw(1, (1, 16, 16, 12, 12), np.int8)
    snr = {(m, bits): winograd_quantized(x, w, m=m, pad=1, bits=bits).snr_db for m in (2, 4) for bits in (6, 8, 10)}
    assert snr[2, 6] < snr[2, 8] < snr[2, 10]
    assert snr[4, 6] < snr[4, 8] < snr[4, 10]
    assert all(snr[4, bits] < snr[2, bits] for bits in (6, 8, 10))
    assert 15 < snr[4, 8] < snr[2, 8] < 50


def test_error_is_that_of_the_output() -> None:
    x, w = draw(2, (2, 5, 3, 9, 7), np.uint8)
    result = winograd_quantized(x, w, m=4, pad=(1, 0), x_zero=100, bits=(8, 10))
    truth = direct(x, w, (1, 0, 1, 0), 100)
    error = result.output - truth
    assert result.rms_error == pytest.approx(math.sqrt(np.mean(error**2)))
    assert result.snr_db == pytest.approx(10 * math.log10(np.mean(truth.astype(float) ** 2) / np.mean(error**2)))
    assert result.data_scales.shape == result.weight_scales.shape == (6, 6)
    rounded = winograd_int8(x, w, m=4, pad=(1, 0), x_zero=100, exact=False)
    assert np.abs(rounded - truth).max() <= 2 * winograd_quantized(x, w, m=4, pad=(1, 0), x_zero=100).max_error + 1


def test_zeros_are_exact() -> None:
    result = winograd_quantized(np.zeros((1, 2, 5, 5), np.int8), np.zeros((3, 2, 3, 3), np.int8))
    assert (result.max_error, result.snr_db) == (0, math.inf)


X, W = np.zeros((1, 2, 5, 5), np.int8), np.zeros((3, 2, 3, 3), np.int8)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: winograd_int8(X, W, m=3), "m: must be 2 or 4, got 3"),  # type: ignore[arg-type]
        (lambda: winograd_int8(X, W[:, :, :2]), "w: must be a C-contiguous 4-D array of int8, got strides"),
        (
            lambda: winograd_int8(X, np.zeros((3, 2, 1, 1), np.int8)),
            "w: must hold filters of 3 x 3, got shape (3, 2, 1, 1)",
        ),
        (lambda: winograd_int8(X, np.zeros((3, 1, 3, 3), np.int8)), "w: filters must have 2 input channels"),
        (
            lambda: winograd_int8(X.astype(np.int16), W),
            "x: must be a C-contiguous 4-D array of int8 or uint8, got int16",
        ),
        (lambda: winograd_int8(X[:, :, :2].copy(), W), "w: the padded input (2 x 5) must hold"),
        (lambda: winograd_int8(X, W, x_zero=128), "x_zero: must be an integer in -128..127"),
        (
            lambda: winograd_quantized(X, W, bits=1),
            "bits: must be one or two integers in 2..16 (inputs, weights), got 1",
        ),
    ],
)
def test_bad_input_is_told(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message)}"):
        call()


def test_sums_that_could_leave_int32_are_told() -> None:
    x, w = np.full((1, 7400, 3, 3), 255, np.uint8), np.full((1, 7400, 3, 3), 127, np.int8)
    with pytest.raises(InputError, match=r"must stay below 2\*\*31"):
        winograd_int8(x, w)
