"""Run-length compression of the Eyeriss chip: 64-bit words of three (5-bit run, 16-bit value) pairs and a last bit."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from hwsim.compression.sizes import run_lengths
from hwsim.compression.storage import expected_bits, least_bits, rlc_expected_bytes
from hwsim.kernels import sparse_formats

values = st.lists(st.one_of(st.just(0), st.just(0), st.integers(-(2**15), 2**15 - 1)), max_size=300)


def encoded(stream: list[int]) -> sparse_formats.Rlc:
    return sparse_formats.encode_rlc(np.array(stream, np.int16).reshape(1, -1))


def test_a_word_by_hand() -> None:
    """ISSCC 2016, fig. 14.5.2: 0 0 12 | 0 x 4 53 | 0 0 22 make one word of runs 2, 4, 2."""
    words = encoded([0, 0, 12, 0, 0, 0, 0, 53, 0, 0, 22]).words()
    assert words == [1 << 63 | (2 << 16 | 12) | (4 << 16 | 53) << 21 | (2 << 16 | 22) << 42]


@given(values)
def test_decoding_gives_the_values_back(stream: list[int]) -> None:
    assert encoded(stream).decode().ravel().tolist() == stream


@given(values)
def test_every_word_is_64_bits_and_the_last_is_marked(stream: list[int]) -> None:
    words = encoded(stream).words()
    assert all(0 <= word < 2**64 for word in words)
    assert [word >> 63 for word in words] == [0] * (len(words) - 1) + [1] * bool(words)


def test_long_runs_take_a_pair_for_every_32_zeros() -> None:
    assert encoded([0] * 31 + [7]).size_bits == 64
    assert len(encoded([0] * 96 + [7]).words()) == 2  # three pairs of 32 zeros, then the value
    assert len(encoded([7] + [0] * 96).words()) == 1  # zeros at the end are not sent


@pytest.mark.parametrize("density", [0.1, 0.2, 0.5, 0.7])
def test_expected_size_is_the_mean_of_real_sizes(density: float) -> None:
    rng = np.random.default_rng(1)
    row, rows = 1000, 100
    data = rng.integers(1, 1000, (rows, row)) * (rng.random((rows, row)) < density)
    exact = sum(encoded(line.tolist()).size_bits for line in data) / 8
    assert rlc_expected_bytes(rows, row, density) == pytest.approx(min(exact, 2.0 * rows * row), rel=0.02)


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 500))
def test_more_zeros_never_take_more(a: float, b: float, row: int) -> None:
    low, high = sorted((a, b))
    assert rlc_expected_bytes(3, row, low) <= rlc_expected_bytes(3, row, high) * (1 + 1e-9) + 1e-9


ENCODERS = {
    "csr": sparse_formats.encode_csr,
    "csc": sparse_formats.encode_csc,
    "bitmask": sparse_formats.encode_bitmask,
    "rlc": lambda matrix: sparse_formats.encode_rlc(matrix, value_bits=8 * matrix.dtype.itemsize),
    "codebook": sparse_formats.encode_codebook,
}
FORMS = [*ENCODERS, "2:4", "dense"]


@pytest.mark.parametrize("density", [0.01, 0.09, 0.3, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("dtype", ["int8", "int16"])
@pytest.mark.parametrize("form", ENCODERS)
def test_expected_sizes_are_those_of_real_tensors(form: str, dtype: str, density: float) -> None:
    """Odd sizes; 15 values beside zero, which a codebook of 16 holds."""
    rng = np.random.default_rng(3)
    matrix = (rng.integers(1, 16, (127, 257)) * (rng.random((127, 257)) < density)).astype(dtype)
    bits = 8 * matrix.dtype.itemsize
    exact = ENCODERS[form](matrix).size_bits
    assert expected_bits(form, (127, 257), np.count_nonzero(matrix) / matrix.size, bits) == pytest.approx(
        exact, rel=0.02
    )


@pytest.mark.parametrize("density", [0.01, 0.09, 0.5, 1.0])
@pytest.mark.parametrize("bits", [2, 4, 5])
def test_runs_in_place_of_indices_are_one_stream(bits: int, density: float) -> None:
    mask = np.random.default_rng(5).random((127, 257)) < density
    exact = len(run_lengths(mask, bits).runs) * (16 + bits)
    assert expected_bits("csc", mask.shape, float(mask.mean()), 16, bits) == pytest.approx(exact, rel=0.02)


def test_a_2_4_tensor_keeps_half_of_its_values_with_their_places() -> None:
    matrix = np.tile(np.array([[1], [0], [0], [7]], np.int8), (31, 13))
    assert expected_bits("2:4", matrix.shape, 0.5, 8) == sparse_formats.encode_2_4(matrix).size_bits == 62 * 13 * 10


@given(
    st.sampled_from(FORMS), st.floats(0, 1), st.floats(0, 1), st.integers(1, 300), st.integers(1, 300),
    st.integers(1, 64), st.integers(1, 64),
)  # fmt: skip
def test_more_zeros_and_fewer_bits_never_take_more_in_any_format(
    form: str, a: float, b: float, rows: int, columns: int, c: int, d: int
) -> None:
    """Law 7; and no cut into matrices takes less than the least."""
    (sparse, full), (narrow, wide) = sorted((a, b)), sorted((c, d))
    least = expected_bits(form, (rows, columns), sparse, narrow)
    assert least <= expected_bits(form, (rows, columns), full, wide) * (1 + 1e-9)
    assert least_bits(form, rows * columns, sparse, narrow) <= least * (1 + 1e-9)
    assert least_bits(form, rows * columns, sparse, narrow) <= least_bits(form, rows * columns, full, wide) * (1 + 1e-9)
