"""Whatever a kernel is called with, it computes or says what must hold."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hwsim import kernels
from hwsim.errors import HwsimError, excerpt
from hwsim.kernels import checks, instructions, sparse, sparse_formats, winograd

warnings.simplefilter("ignore", PendingDeprecationWarning)  # of numpy.matrix
A = np.arange(-8, 8, dtype=np.int8).reshape(4, 4)
SIGNS = np.where(A < 0, -1, 1).astype(np.int8)
F = A.astype(np.float32)[None]
X, W = np.ones((1, 4, 5, 5), np.int8), np.ones((4, 4, 3, 3), np.int8)
WINDOW = {"stride": 1, "pad": 0, "dilation": 1}
ACC = np.arange(-8, 8, dtype=np.int32).reshape(4, 4)

CALLS: list[tuple[Callable[..., Any], dict[str, Any]]] = [
    (kernels.gemm_int8, {"a": A, "b": A, "a_zero": 0, "b_zero": 0, "threads": 1}),
    (kernels.count_gemm_int8, {"a": A, "b": A, "a_zero": 0, "b_zero": 0}),
    (kernels.fully_connected_int8, {"x": A, "w": A, "x_zero": 0, "w_zero": 0, "bias": None, "threads": 1}),
    (kernels.gemm_int4, {"a": A, "b": kernels.pack_int4(A), "n": 4, "a_zero": 0, "threads": 1}),
    (kernels.gemm_int16, {"a": A.astype(np.int16), "b": A, "a_zero": 0, "b_zero": 0}),
    (kernels.gemm_fp32, {"a": A.astype(np.float32), "b": A.astype(np.float32)}),
    (
        kernels.attention,
        {"q": F, "k": F, "v": F, "causal": True, "window": 0, "start": None, "rows": 2, "columns": 3, "splits": 2,
         "packed": True, "skips": True, "scale": None, "q_scale": 1.0, "k_scale": 1.0, "v_scale": 1.0, "fp8": "e4m3"},
    ),
    (kernels.attention, {"q": F, "k": A[None], "v": A[None], "scale": 0.5, "k_scale": 0.1, "start": None, "fp8": "e5m2"}),
    (kernels.fp8_values, {"kind": "e4m3"}),
    (kernels.quantize_fp8, {"values": F, "kind": "e5m2"}),
    (
        kernels.gemm_int4_grouped,
        {"a": F[0], "b": np.zeros((4, 1, 8), np.uint8), "scales": F[0, :, :1].copy(), "zeros": None, "group": 16},
    ),
    (kernels.pack_int4_grouped, {"values": np.zeros((4, 4), np.uint8), "group": 16}),
    (kernels.quantize_groups, {"a": F[0], "group": 32}),
    (kernels.pack_b, {"b": A}),
    (kernels.pack_int4, {"values": A}),
    (kernels.unpack_int4, {"octets": kernels.pack_int4(A), "shape": (4, 4)}),
    (
        kernels.conv2d_int8,
        {"x": X, "w": W, **WINDOW, "groups": 1, "x_zero": 0, "w_zero": 0, "bias": None, "layout": "NCHW"},
    ),
    (kernels.conv2d_int8, {"x": X, "w": kernels.pack_conv(W), "groups": 1, "layout": "NCHW"}),
    (kernels.count_conv2d_int8, {"x": X, "w": W, **WINDOW}),
    (kernels.depthwise_int8, {"x": X, "w": W[:, :1].copy(), **WINDOW, "x_zero": 0, "w_zero": 0, "layout": "NCHW"}),
    (kernels.pack_conv, {"w": W, "groups": 1, "layout": "NCHW"}),
    (kernels.conv2d_int16, {"x": X.astype(np.int16), "w": W, **WINDOW, "groups": 1, "layout": "NCHW"}),
    (kernels.conv2d_fp32, {"x": X.astype(np.float32), "w": W.astype(np.float32), **WINDOW, "layout": "NCHW"}),
    (kernels.requantize_onnx, {"acc": ACC, "scale": 0.5, "zero": 0, "dtype": "int8", "axis": -1}),
    (
        kernels.requantize_tflite,
        {"acc": ACC, "multiplier": 2**30, "shift": 0, "zero": 0, "lo": -9, "hi": 9, "axis": 0, "rounding": "single"},
    ),
    (kernels.requantize_tflite, {"acc": ACC.astype(np.int64), "multiplier": 2**30, "shift": 0, "axis": 0}),
    (kernels.onnx_scale, {"x_scale": 0.5, "w_scale": 0.5, "y_scale": 0.5}),
    (kernels.quantize_multiplier, {"real": 0.5}),
    (kernels.quantize_multipliers, {"reals": [0.5, 0.25]}),
    (kernels.accumulator_bound, {"k": 3, "a_range": (0, 255), "b_range": (-127, 127)}),
    (winograd.winograd_int8, {"x": X, "w": W, "m": 2, "pad": 1, "x_zero": 0}),
    (winograd.winograd_quantized, {"x": X, "w": W, "m": 2, "pad": 1, "x_zero": 0, "bits": 8}),
    (winograd.pack_winograd, {"w": W, "m": 4}),
    (sparse.gemm_sparse, {"a": A, "w": sparse_formats.encode_csr(A)}),
    (sparse.conv2d_sparse, {"x": X, "w": W, **WINDOW}),
    (sparse.gemm_binary, {"a": SIGNS, "b": SIGNS}),
    (sparse.gemm_ternary, {"a": SIGNS, "b": SIGNS}),
    (sparse.conv2d_binary, {"x": X, "w": W, **WINDOW, "pad_value": -1}),
    (sparse.conv2d_ternary, {"x": X, "w": W, **WINDOW}),
    (sparse_formats.encode_csr, {"matrix": A, "relative_bits": 4, "value_bits": 8, "pointer_bits": 8}),
    (sparse_formats.encode_csc, {"matrix": A, "index_bits": 4}),
    (sparse_formats.encode_bitmask, {"matrix": A}),
    (sparse_formats.encode_rlc, {"matrix": A, "run_bits": 5, "value_bits": 16}),
    (sparse_formats.encode_2_4, {"matrix": A * np.array([[1], [0], [0], [1]], np.int8)}),
    (sparse_formats.encode_codebook, {"matrix": SIGNS, "index_bits": 4}),
    (instructions.gemm_vpdpbusd, {"a": A, "b": A, "lanes": 16, "tile": (12, 2)}),
    (instructions.gemm_pmaddubsw, {"a": A, "b": A, "tile": (4, 2), "max_events": 4}),
    (instructions.gemm_dp4a, {"a": A, "b": A, "tile": (8, 8)}),
    (instructions.gemm_sdot, {"a": A, "b": A, "tile": (8, 3)}),
    (instructions.gemm_smlad, {"a": A, "b": A, "offset": 0, "start": None, "tile": (2, 2)}),
    (instructions.gemm_imma, {"a": A, "b": A, "c": None, "shape": "m8n8k16"}),
    (
        instructions.gemm_hmma,
        {"a": A.astype(np.float16), "b": A.astype(np.float16), "c": None, "shape": "m16n8k8", "block": 4,
         "rounding": "truncate", "extra_bits": 1},
    ),
    (instructions.dp4a, {"acc": ACC[:, :1].copy(), "a": A, "b": A}),
    (instructions.vpmaddubsw, {"a": A.view(np.uint8), "b": A}),
    (instructions.vpmaddwd, {"a": A.astype(np.int16), "b": A.astype(np.int16)}),
    (instructions.vpaddd, {"a": ACC, "b": ACC}),
    (instructions.sxtb16, {"word": 1, "rotate": 8}),
    (instructions.smlad, {"acc": ACC, "x": ACC.view(np.uint32), "y": ACC.view(np.uint32)}),
]  # fmt: skip


def read_only(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    values = values.copy()
    values.flags.writeable = False
    return values


class _Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no text")


HOSTILE: list[Any] = [
    10**5000, _Unprintable(), None, True, 0, -1, 3, 2**31, 2**63, 2**70, -(2**40), 1.5, math.nan, math.inf, "x", b"x", "", [], {}, set(), object(),
    [1], (1,), [1, 2], (1, 2, 3), (1, 2, 3, 4), (2**30, 2**30), (2**31, 2**31), (2**20,) * 4, (-1, 1), [[1], [1, 2]],
    np.int64(2), np.float32(0.5), np.array(3), np.array([1, 2]), np.array([]), np.array(["x"]),
    A.T, A[::2], A[:, ::2], A[::-1], A[:, 1:], A.astype(">i2"), A.astype(object), A.astype(complex), A.astype(bool),
    A.astype(np.float64), A.astype(np.int64), A.astype(np.uint8), A.tolist(), A[0], A[None], A[:0].copy(),
    np.zeros((4, 0), np.int8), np.zeros((0, 0), np.int8), np.broadcast_to(np.int8(1), (4, 4)), read_only(A), read_only(X),
    np.lib.stride_tricks.as_strided(A, (2**31, 4), (0, 1)), np.ma.masked_array(A, A > 0), np.matrix(A),
    np.rec.array(A), np.zeros((1, 4, 0, 5), np.int8), X[:, :, ::2], X.transpose(0, 2, 3, 1), np.asfortranarray(X),
    F[:, ::2], F[..., :2], F.transpose(0, 2, 1), np.full((1, 4, 4), math.inf, np.float32), np.full((1, 4, 4), 3e38, np.float32),
    np.full((1, 4, 4), 0x7F, np.uint8), np.zeros((1, 0, 4), np.float32), read_only(F), np.full((4, 4), 127, np.int8), np.full((4, 4), math.nan, np.float32), np.full((4, 4), 2**31 - 1, np.int32),
]  # fmt: skip


@pytest.mark.parametrize(("kernel", "arguments"), CALLS, ids=[call.__name__ for call, _ in CALLS])
def test_hostile_arguments_are_refused_by_name(kernel: Callable[..., Any], arguments: dict[str, Any]) -> None:
    parameters = inspect.signature(kernel).parameters

    def call(values: dict[str, Any]) -> None:
        by_place = [values[name] for name, p in parameters.items() if name in values and p.kind != p.KEYWORD_ONLY]
        kernel(
            *by_place,
            **{name: v for name, v in values.items() if parameters[name].kind == inspect.Parameter.KEYWORD_ONLY},
        )

    call(arguments)
    for name in arguments:
        for value in HOSTILE:
            try:
                call(arguments | {name: value})
            except HwsimError as error:
                assert str(error), (name, value)
            except Exception as error:
                raise AssertionError(f"{name}={excerpt(value)}: {type(error).__name__}: {error}") from error


def _odd_address(values: np.ndarray) -> np.ndarray:
    """The same values one byte beside a multiple of their size."""
    room = np.zeros(values.nbytes + 64, np.uint8)
    start = 1 - room.ctypes.data % 64 + 64 * (room.ctypes.data % 64 > 1)
    moved = room[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
    moved[...] = values
    assert not moved.flags.aligned
    return moved


def test_values_at_odd_addresses_are_moved() -> None:
    """C may not read a halfword or a word from there: a processor without unaligned loads would stop.

    Results are right on a processor that has them; `python -m tests.sanitize -k odd` ends at a read that is not aligned.
    """
    wide = A.astype(np.int16) * 257
    assert checks.array("a", _odd_address(wide), ("int16",), 2).flags.aligned
    np.testing.assert_array_equal(kernels.gemm_int16(_odd_address(wide), A), wide.astype(np.int64) @ A)
    floats = A.astype(np.float32)
    np.testing.assert_array_equal(kernels.gemm_fp32(_odd_address(floats), _odd_address(floats)), floats @ floats)
    words = np.arange(16, dtype=np.uint32).reshape(4, 4) * 0x01020304
    expected = instructions.smlad(ACC, words, words)[0]
    np.testing.assert_array_equal(instructions.smlad(ACC, _odd_address(words), _odd_address(words))[0], expected)
