"""Zero-skipping: formats give the matrix back in a size known by hand, products equal the dense ones, counts add up."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.typing import NDArray

from hwsim.errors import InputError
from hwsim.kernels.sparse import (
    SparseCounts,
    conv2d_binary,
    conv2d_sparse,
    conv2d_ternary,
    gemm_binary,
    gemm_sparse,
    gemm_ternary,
)
from hwsim.kernels.sparse_formats import (
    Format,
    encode_2_4,
    encode_bitmask,
    encode_codebook,
    encode_csc,
    encode_csr,
    encode_rlc,
)

Array = NDArray[Any]
Encoder = Callable[[Array], Format]
ENCODERS: dict[str, Encoder] = {
    "csr": encode_csr,
    "csc": encode_csc,
    "csr, 2-bit runs": lambda w: encode_csr(w, relative_bits=2),
    "csc, 4-bit runs": lambda w: encode_csc(w, relative_bits=4),
    "bitmask": encode_bitmask,
    "rlc": encode_rlc,
    "rlc, 2-bit runs": lambda w: encode_rlc(w, run_bits=2, value_bits=16),
    "codebook": lambda w: encode_codebook(w, index_bits=8),
}
every = pytest.mark.parametrize("encode", ENCODERS.values(), ids=ENCODERS.keys())
shapes = st.tuples(st.integers(0, 7), st.integers(0, 70), st.integers(0, 70))
densities = st.sampled_from([0.0, 0.03, 0.3, 0.7, 1.0])
seeds = st.integers(0, 2**32 - 1)
types = st.sampled_from([np.int8, np.uint8])


def draw(rng: np.random.Generator, shape: tuple[int, ...], density: float, dtype: Any = np.int8) -> Array:
    limits = np.iinfo(dtype)
    values = rng.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
    live: Array = rng.random(shape) < density
    values[~live] = 0
    return values


def two_four(rng: np.random.Generator, groups: int, columns: int, density: float) -> Array:
    """At most two values in every four of a column."""
    kept = np.argsort(rng.random((groups, 4, columns)), axis=1) < 2
    return (draw(rng, (groups, 4, columns), density) * kept).reshape(4 * groups, columns).astype(np.int8)


def expected_counts(a: Array, w: Array) -> tuple[int, int, int, int]:
    """Products executed and skipped for the weight, the activation, both: from the dense matrices."""
    live_a, live_w = (a != 0).astype(int), (w != 0).astype(int)
    dead_a, dead_w = 1 - live_a, 1 - live_w
    return tuple(
        int((x @ y).sum()) for x, y in ((live_a, live_w), (live_a, dead_w), (dead_a, live_w), (dead_a, dead_w))
    )  # type: ignore[return-value]


def classes(counts: SparseCounts) -> tuple[int, int, int, int]:
    return counts.executed, counts.skipped_weight, counts.skipped_activation, counts.skipped_both


def dense(a: Array, w: Array) -> Array:
    return a.astype(np.int64) @ w.astype(np.int64)


# --- formats -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@every
@given(shapes, densities, types, seeds)
def test_decoding_gives_the_matrix_back(encode: Encoder, shape: Any, density: float, dtype: Any, seed: int) -> None:
    matrix = draw(np.random.default_rng(seed), shape[1:], density, dtype)
    back = encode(matrix).decode()
    assert back.dtype == matrix.dtype
    assert np.array_equal(back, matrix)


@given(st.integers(0, 9), st.integers(0, 9), densities, seeds)
def test_2_4_gives_the_matrix_back_in_half_the_values(groups: int, columns: int, density: float, seed: int) -> None:
    matrix = two_four(np.random.default_rng(seed), groups, columns, density)
    packed = encode_2_4(matrix)
    assert np.array_equal(packed.decode(), matrix)
    assert packed.size_bits == matrix.size // 2 * 10
    assert (packed.places[:, 0] < packed.places[:, 1]).all()


MATRIX = np.array([[0, 5, 0, 0], [0, 0, 0, 0], [7, 0, 0, 7]], np.int8)


def test_sizes_by_hand() -> None:
    """Three values in 3 x 4: 2-bit columns or rows, 2-bit pointers to 0..3."""
    assert encode_csr(MATRIX).size_bits == 3 * (8 + 2) + 4 * 2
    assert encode_csc(MATRIX).size_bits == 3 * (8 + 2) + 5 * 2
    assert encode_csc(MATRIX, relative_bits=4, value_bits=4, pointer_bits=16).size_bits == 3 * (4 + 4) + 5 * 16
    assert encode_bitmask(MATRIX).size_bits == 12 + 3 * 8
    assert encode_rlc(MATRIX).size_bits == 64
    assert encode_codebook(MATRIX, index_bits=2).size_bits == 12 * 2 + 3 * 8
    assert encode_2_4(np.zeros((4, 3), np.int8)).size_bits == 3 * 2 * (8 + 2)


def test_a_column_of_eie_by_hand() -> None:
    """Han et al., ISCA 2016, section 3: 0 0 1 2 (18 zeros) 3 is v = 1 2 0 3, z = 2 0 15 2."""
    column = np.array([0, 0, 1, 2, *[0] * 18, 3], np.int8).reshape(-1, 1)
    packed = encode_csc(column, relative_bits=4)
    assert packed.values.tolist() == [1, 2, 0, 3]
    assert packed.indices.tolist() == [2, 0, 15, 2]
    assert packed.pointers.tolist() == [0, 4]


@pytest.mark.slow
@every
@given(seeds)
def test_more_zeros_never_take_more_bits(encode: Encoder, seed: int) -> None:
    rng = np.random.default_rng(seed)
    more = draw(rng, (20, 12), 0.6)
    fewer = more * (rng.random(more.shape) < 0.5).astype(np.int8)
    assert encode(fewer).size_bits <= encode(more).size_bits


# --- products ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@every
@given(shapes, densities, densities, types, seeds, st.booleans())
def test_products_equal_the_dense_ones(
    encode: Encoder, shape: Any, a_density: float, w_density: float, dtype: Any, seed: int, skip: bool
) -> None:
    (m, k, n), rng = shape, np.random.default_rng(seed)
    a, w = draw(rng, (m, k), a_density, dtype), draw(rng, (k, n), w_density)
    output, counts = gemm_sparse(a, encode(w), skip_activations=skip)
    assert np.array_equal(output, dense(a, w))
    executed, weight, activation, both = expected_counts(a, w)
    if not skip:
        executed, activation = executed + activation, 0
    assert classes(counts) == (executed, weight, activation, both)
    assert counts.macs == m * k * n


@given(st.integers(0, 5), st.integers(0, 6), st.integers(0, 7), densities, densities, seeds)
def test_2_4_executes_stored_zeros_too(
    m: int, groups: int, n: int, a_density: float, w_density: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    a, w = draw(rng, (m, 4 * groups), a_density), two_four(rng, groups, n, w_density)
    output, counts = gemm_sparse(a, encode_2_4(w))
    assert np.array_equal(output, dense(a, w))
    assert classes(counts) == expected_counts(a, w)
    assert counts.weight_reads == counts.index_reads == 2 * groups * n
    _, counts = gemm_sparse(a, encode_2_4(w), skip_activations=False)
    assert counts.executed + counts.padded == m * 2 * groups * n  # half of the products, as the sparse tensor core does


@pytest.mark.slow
@pytest.mark.parametrize("weights", [encode_csr, ENCODERS["csr, 2-bit runs"], encode_csc])
@every
@given(shapes, densities, densities, seeds)
def test_compressed_activations_too(
    encode: Encoder, weights: Encoder, shape: Any, a_density: float, w_density: float, seed: int
) -> None:
    (m, k, n), rng = shape, np.random.default_rng(seed)
    a, w = draw(rng, (m, k), a_density), draw(rng, (k, n), w_density)
    output, counts = gemm_sparse(encode(a), weights(w))
    assert np.array_equal(output, dense(a, w))
    assert classes(counts) == expected_counts(a, w)


def test_eie_reads_only_what_meets_a_live_activation() -> None:
    """Two live activations meet 2 and 1 stored weights, one of them a cut: nothing else is read."""
    w = np.zeros((3, 20), np.int8)
    w[0, 19], w[1, 3], w[2, 0] = 5, 6, 7
    a = np.array([[2, 0, 3]], np.int8)
    output, counts = gemm_sparse(encode_csr(a), encode_csr(w, relative_bits=4))
    assert output[0, [0, 3, 19]].tolist() == [21, 0, 10]
    assert (counts.executed, counts.padded, counts.weight_reads) == (2, 1, 3)
    assert counts.activation_reads == 2
    assert counts.pointer_reads == 2 * 2 + 2  # first and last of two rows of weights, and those of a
    assert counts.index_reads == 3 + 2


def test_reads_of_a_bitmask_are_its_words() -> None:
    w = np.eye(3, 70, dtype=np.int8)
    _, counts = gemm_sparse(np.ones((5, 3), np.int8), encode_bitmask(w))
    assert counts.index_reads == 3 * 2
    assert (counts.weight_reads, counts.activation_reads) == (3, 15)


@pytest.mark.slow
@every
@given(
    st.integers(1, 2),
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(1, 2),
    st.integers(0, 2),
    seeds,
)
def test_convolution_equals_the_dense_one(
    encode: Encoder, n: int, c: int, k: int, r: int, stride: int, pad: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x, w = draw(rng, (n, c, 6, 5), 0.5), draw(rng, (k, c, r, 2), 0.4)
    output, counts = conv2d_sparse(x, w, encode=encode, stride=stride, pad=pad)
    truth = convolve(x, w, stride, pad, 0)
    assert np.array_equal(output, truth)
    assert counts.macs == truth.size * c * r * 2


def convolve(x: Array, w: Array, stride: int, pad: int, border: int) -> Array:
    """Direct convolution, one output at a time."""
    k, _, r, s = w.shape
    frame = np.pad(x.astype(np.int64), ((0, 0), (0, 0), (pad, pad), (pad, pad)), constant_values=border)
    p, q = (frame.shape[2] - r) // stride + 1, (frame.shape[3] - s) // stride + 1
    out = np.zeros((len(x), k, p, q), np.int64)
    for i in range(p):
        for j in range(q):
            window = frame[:, :, i * stride : i * stride + r, j * stride : j * stride + s]
            out[:, :, i, j] = np.tensordot(window, w.astype(np.int64), ((1, 2, 3), (1, 2, 3)))
    return out


# --- bits ----------------------------------------------------------------------------------------------------------

natives = st.sampled_from([None, False])
bit_shapes = st.tuples(st.integers(0, 6), st.integers(0, 200), st.integers(0, 6))


@given(bit_shapes, seeds, natives)
def test_binary_product_equals_the_dense_one(shape: Any, seed: int, native: bool | None) -> None:
    (m, k, n), rng = shape, np.random.default_rng(seed)
    a, b = (rng.choice(np.array([-1, 1], np.int8), size) for size in ((m, k), (k, n)))
    output, counts = gemm_binary(a, b, native=native)
    assert np.array_equal(output, dense(a, b))
    assert counts.executed == m * k * n
    assert counts.xors == counts.popcounts == m * n * -(-k // 64)


@given(bit_shapes, densities, densities, seeds, natives)
def test_ternary_product_equals_the_dense_one(
    shape: Any, a_density: float, b_density: float, seed: int, native: bool | None
) -> None:
    (m, k, n), rng = shape, np.random.default_rng(seed)
    a, b = (np.sign(draw(rng, size, density)) for size, density in (((m, k), a_density), ((k, n), b_density)))
    output, counts = gemm_ternary(a, b, native=native)
    assert np.array_equal(output, dense(a, b))
    found = (counts.executed, counts.skipped_weight, counts.skipped_activation, counts.skipped_both)
    assert found == expected_counts(a, b)


@given(st.integers(1, 9), st.integers(1, 4), st.integers(1, 3), st.integers(1, 2), st.integers(0, 2), seeds)
def test_binary_and_ternary_convolution(c: int, k: int, r: int, stride: int, pad: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, w = (rng.choice(np.array([-1, 1], np.int8), size) for size in ((2, c, 5, 6), (k, c, r, r)))
    for border in (-1, 0, 1):
        output, counts = conv2d_binary(x, w, stride=stride, pad=pad, pad_value=border)
        assert np.array_equal(output, convolve(x, w, stride, pad, border))
        assert (counts.skipped_activation > 0) == (border == 0 and pad > 0)
    x, w = x * (rng.random(x.shape) < 0.6).astype(np.int8), w * (rng.random(w.shape) < 0.6).astype(np.int8)
    assert np.array_equal(conv2d_ternary(x, w, stride=stride, pad=pad)[0], convolve(x, w, stride, pad, 0))


# --- bad input -----------------------------------------------------------------------------------------------------

A, W = np.ones((2, 4), np.int8), np.eye(4, dtype=np.int8)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: gemm_sparse(A, W), "w: must be a compressed matrix, got ndarray"),  # type: ignore[arg-type]
        (lambda: gemm_sparse(A[:, :3].copy(), encode_csr(W)), "a: must have as many columns as w has rows (4), got 3"),
        (lambda: gemm_sparse(A[:, ::2], encode_csr(W[:2])), "a: must be a C-contiguous 2-D array"),
        (lambda: gemm_sparse(A * np.float32(1), encode_csr(W)), "a: must be a C-contiguous 2-D array"),
        (
            lambda: gemm_sparse(encode_csr(A), encode_csr(W), skip_activations=False),
            "skip_activations: must be true for compressed activations",
        ),
        (
            lambda: encode_2_4(np.ones((4, 2), np.int8)),
            "matrix: must have at most 2 values that are not zero in every 4 rows, got [1, 1, 1, 1] in rows 0..3 of",
        ),
        (lambda: encode_2_4(W[:3]), "matrix: must have a multiple of 4 rows, got 3"),
        (
            lambda: encode_codebook(np.arange(6, dtype=np.int8).reshape(2, 3), index_bits=2),
            "matrix: must have at most 4 different values for 2-bit indices, got 6",
        ),
        (lambda: encode_codebook(W, index_bits=9), "index_bits: must be 1 to 8, got 9"),
        (lambda: encode_csr(W, index_bits=1), "index_bits: must be at least 2, got 1"),
        (lambda: encode_csr(W, pointer_bits=2), "pointer_bits: must be at least 3, got 2"),
        (lambda: encode_csc(W, relative_bits=0), "relative_bits: must be 1 to 16, got 0"),
        (
            lambda: encode_rlc(W, value_bits=4),
            "value_bits: must hold the 8 bits of int8, and fit 63 with run_bits, got 4",
        ),
        (lambda: gemm_binary(A, W), "b: must hold -1 and 1 alone, got 0"),
        (lambda: gemm_ternary(A * np.int8(2), W), "a: must hold -1, 0 and 1 alone, got 2"),
        (lambda: gemm_ternary(A, W[:3]), "a: must have as many columns as b has rows (3), got 4"),
        (lambda: conv2d_binary(A, A), "x: must be a C-contiguous 4-D array of int8"),
    ],
)
def test_bad_input_is_told(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message)}"):
        call()


def test_sums_that_could_leave_int32_are_told() -> None:
    a, w = np.full((1, 3), 2**15 - 1, np.int16), np.full((3, 1), 2**15 - 1, np.int16)
    with pytest.raises(InputError, match=r"must stay below 2\*\*31"):
        gemm_sparse(a, encode_csr(w))
