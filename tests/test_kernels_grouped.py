"""Products with int4 weights in groups: by hand, within the roundings of float64, and as MatMulNBits has them."""

from __future__ import annotations

import numpy as np
import pytest

from hwsim import kernels
from hwsim.errors import InputError
from hwsim.kernels.grouped import GROUPS
from hwsim.validation.oracles import onnx_run

ROUNDING = 2.0**-24


def weights(
    rng: np.random.Generator, n: int, k: int, group: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Values, their bytes, scales and zero points."""
    values, groups = rng.integers(0, 16, (n, k)).astype(np.uint8), -(-k // group)
    scales = (rng.standard_normal((n, groups)) * 0.1).astype(np.float32)
    return values, kernels.pack_int4_grouped(values, group), scales, rng.integers(0, 16, (n, groups)).astype(np.uint8)


def test_a_product_by_hand() -> None:
    """1, -2, 0.5, 0, ... have scale 2/127: 63.5, -127, 31.75 round to 64, -127, 32; weights 9, 8, 12 less 8 are 1, 0, 4."""
    a = np.zeros((1, 16), np.float32)
    a[0, :3] = 1, -2, 0.5
    values, scales = kernels.quantize_groups(a, 16)
    assert values[0, 0, :4].tolist() == [64, -127, 32, 0]
    assert scales[0, 0] == np.float32(2) / np.float32(127)
    b = np.full((1, 16), 8, np.uint8)
    b[0, :3] = 9, 8, 12
    out = kernels.gemm_int4_grouped(a, kernels.pack_int4_grouped(b, 16), np.full((1, 1), 0.5, np.float32), group=16)
    assert out[0, 0] == pytest.approx((64 + 4 * 32) * 2 / 127 * 0.5, rel=1e-6)


def test_halves_round_to_even() -> None:
    a = np.zeros((1, 16), np.float32)
    a[0, :6] = 127, 0.5, 1.5, 2.5, -0.5, -1.5
    assert kernels.quantize_groups(a, 16)[0][0, 0, :6].tolist() == [127, 0, 2, 2, 0, -2]


@pytest.mark.parametrize("group", GROUPS)
def test_outputs_are_exact_to_the_roundings_of_the_sums(group: int) -> None:
    """Sums in a group are exact; each group adds a rounding for its scale and one for its sum, on both sides."""
    rng = np.random.default_rng(group)
    for m, n, k in ((1, 1, 1), (3, 31, 257), (2, 127, 3 * group), (5, 7, 8 * group + 5)):
        a = rng.standard_normal((m, k)).astype(np.float32)
        whole, packed, scales, zeros = weights(rng, n, k, group)
        out = kernels.gemm_int4_grouped(a, packed, scales, zeros, group=group)
        values, a_scales = kernels.quantize_groups(a, group)
        groups = values.shape[1]
        filled = np.zeros((n, groups * group))
        filled[:, :k] = whole
        filled = filled.reshape(n, groups, group)
        each = np.einsum("mg,ng,mgk,ngk->mn", a_scales, scales, values, filled - zeros[..., None], optimize=True)
        size = np.einsum(
            "mg,ng,mgk,ngk->mn", a_scales, np.abs(scales), np.abs(values.astype(float)), filled + zeros[..., None]
        )
        roundings = 2 * groups * max(1, group // 128) + 10
        assert np.all(np.abs(out - each) <= size * roundings * ROUNDING / (1 - roundings * ROUNDING))


def test_the_default_zero_point_is_eight() -> None:
    rng = np.random.default_rng(2)
    a = rng.standard_normal((3, 77)).astype(np.float32)
    _, packed, scales, zeros = weights(rng, 5, 77, 32)
    out = kernels.gemm_int4_grouped(a, packed, scales, group=32)
    np.testing.assert_array_equal(out, kernels.gemm_int4_grouped(a, packed, scales, np.full_like(zeros, 8), group=32))


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("size", [1e-42, 1e-37, 1.0, 1e30])
def test_every_bit_is_that_of_matmul_nbits(group: int, size: float) -> None:
    """Odd sizes, and activations so small that 127 over the largest is infinite, which makes them zero there too."""
    pytest.importorskip("onnxruntime")
    if "avx512vnni" not in kernels.available():
        pytest.skip("onnxruntime adds in another order where the processor has no AVX512-VNNI")
    rng = np.random.default_rng(group)
    for m, n, k in ((1, 1, group), (1, 31, 257), (2, 127, 640), (33, 5, 4 * group + 1)):
        a = (rng.standard_normal((m, k)) * size).astype(np.float32)
        _, packed, scales, zeros = weights(rng, n, k, group)
        padded = np.pad(zeros, ((0, 0), (0, zeros.shape[1] % 2)))
        inputs = {"a": a, "b": packed, "s": scales, "z": (padded[:, 0::2] | padded[:, 1::2] << 4)}
        attributes = {"K": k, "N": n, "bits": 4, "block_size": group, "accuracy_level": 4}
        theirs = onnx_run("MatMulNBits", inputs, attributes, "float32", "com.microsoft")
        ours = kernels.gemm_int4_grouped(a, packed, scales, zeros, group=group)
        np.testing.assert_array_equal(ours.view(np.int32), theirs.view(np.int32))


def test_what_cannot_be_multiplied_is_refused() -> None:
    a, b, scales = np.ones((2, 40), np.float32), np.zeros((3, 2, 16), np.uint8), np.ones((3, 2), np.float32)
    for change, message in (
        ({"group": 24}, "group: must be one of 16, 32, 64, 128, 256, got 24"),
        ({"group": 64}, "b: must have 1 groups of 32 bytes a row"),
        ({"scales": scales[:2]}, r"scales: must have shape \(3, 2\), got \(2, 2\)"),
        ({"scales": scales * np.float32(np.nan)}, "scales: must be finite"),
        ({"zeros": np.full((3, 2), 16, np.uint8)}, r"zeros: must lie in 0..15, got 16"),
        ({"a": a * np.float32(np.inf)}, "a: must be finite"),
        ({"a": a.astype(np.float64)}, "a: must be a C-contiguous 2-D array of float32, got float64"),
    ):
        arguments = {"a": a, "b": b, "scales": scales, "zeros": None, "group": 32} | change
        with pytest.raises(InputError, match=message):
            kernels.gemm_int4_grouped(**arguments)
    with pytest.raises(InputError, match=r"values: must lie in 0..15, got 16"):
        kernels.pack_int4_grouped(np.full((1, 1), 16, np.uint8), 16)
