"""int8 kernels against onnxruntime in one run, one thread each, and what the portable path reaches.

Both sides take turns and the fastest of several runs counts: whatever else runs on the machine can only slow one down.
Ratios are ours to theirs; above 1 ours is faster. Run with `-s` to see them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hwsim import kernels

Array = np.ndarray[Any, Any]

GEMMS = [(64, 1024, 1024), (256, 1024, 1024), (1024, 1024, 1024), *((m, 4096, 4096) for m in (1, 2, 4, 8, 12, 16))]
"""m, k, n."""

STAGES = ((64, 3, 56), (128, 4, 28), (256, 6, 14), (512, 3, 7))


def resnet50() -> list[tuple[int, int, int, int, int, int, int]]:
    """(input channels, input size, filters, filter size, stride, pad, how often) of its convolutions."""
    layers, c = [(3, 224, 64, 7, 2, 3, 1)], 64
    for width, blocks, size in STAGES:
        stride = 1 if width == 64 else 2
        layers += [
            (c, size * stride, width, 1, 1, 0, 1),
            (width, size * stride, width, 3, stride, 1, 1),
            (width, size, 4 * width, 1, 1, 0, blocks),
            (c, size * stride, 4 * width, 1, stride, 0, 1),
            (4 * width, size, width, 1, 1, 0, blocks - 1),
            (width, size, width, 3, 1, 1, blocks - 1),
        ]
        c = 4 * width
    return layers


def fastest(calls: list[Callable[[], object]], rounds: int) -> list[float]:
    """Shortest seconds of each call, run in turns."""
    best = [float("inf")] * len(calls)
    for _ in range(rounds):
        for i, call in enumerate(calls):
            start = time.perf_counter()
            call()
            best[i] = min(best[i], time.perf_counter() - start)
    return best


def session(operator: str, inputs: dict[str, Array], attributes: dict[str, Any]) -> Callable[[], Array]:
    """One onnxruntime node on one thread; all inputs but the first are constants, so that it may pack them."""
    onnx, ort = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    helper = onnx.helper
    (first, fed), *constants = inputs.items()
    kind = helper.np_dtype_to_tensor_dtype
    output = np.dtype(np.int32) if "Integer" in operator else fed.dtype
    graph = helper.make_graph(
        [helper.make_node(operator, list(inputs), ["out"], **attributes)],
        "one",
        [helper.make_tensor_value_info(first, kind(fed.dtype), fed.shape)],
        [helper.make_tensor_value_info("out", kind(output), None)],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    made = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda: made.run(None, {first: fed})[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize(("m", "k", "n"), GEMMS)
def test_gemm(m: int, k: int, n: int) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 256, (m, k)).astype(np.uint8), rng.integers(-128, 128, (k, n)).astype(np.int8)
    theirs, packed = session("MatMulInteger", {"a": a, "b": b}, {}), kernels.pack_b(b)
    out, counts = kernels.count_gemm_int8(a, packed)
    assert counts.macs == m * k * n
    assert (out == theirs()).all()
    them, us = fastest([theirs, lambda: kernels.gemm_int8(a, packed)], 15)
    print(f"\n{kernels.isa()} gemm {m}x{k}x{n}: {m * k * n / us / 1e9:.0f} GMAC/s, {them / us:.2f} of MatMulInteger")


def test_resnet50_convolutions() -> None:
    rng = np.random.default_rng(0)
    total, macs = np.zeros(2), 0
    for c, size, k, r, stride, pad, times in resnet50():
        x = rng.integers(0, 256, (1, c, size, size)).astype(np.uint8)
        w, bias = rng.integers(-127, 128, (k, c, r, r)).astype(np.int8), rng.integers(-5000, 5000, k).astype(np.int32)
        x_scale, w_scale = np.float32(0.02), rng.uniform(0.001, 0.01, k).astype(np.float32)
        y_scale = np.float32(0.05 * r * np.sqrt(c))
        inputs = {"x": x, "xs": x_scale, "xz": np.uint8(114), "w": w, "ws": w_scale, "wz": np.zeros(k, np.int8)}
        inputs |= {"ys": y_scale, "yz": np.uint8(120), "b": bias}
        constants = {name: np.asarray(value) for name, value in inputs.items()}
        theirs = session("QLinearConv", constants, {"strides": [stride] * 2, "pads": [pad] * 4})
        packed = kernels.pack_conv(w)
        to_eight = kernels.OnnxRequantization(kernels.onnx_scale(x_scale, w_scale, y_scale), 120, "uint8")
        how: dict[str, Any] = {"stride": stride, "pad": pad, "x_zero": 114, "bias": bias, "requantize": to_eight}
        out, counts = kernels.count_conv2d_int8(x, packed, **how)
        assert counts.macs == out.size * c * r * r
        assert (out == theirs()).all()
        times_taken = fastest([theirs, lambda x=x, packed=packed, how=how: kernels.conv2d_int8(x, packed, **how)], 7)
        total += np.array(times_taken) * times
        macs += counts.macs * times
    assert macs == RESNET50_MACS
    them, us = total
    rate = macs / us / 1e9
    print(f"\n{kernels.isa()} ResNet-50: {us * 1e3:.1f} ms, {rate:.0f} GMAC/s, {them / us:.2f} of QLinearConv in sum")


RESNET50_MACS = 4_087_136_256
"""Of its 53 convolutions at 224 x 224, with the stride in the 3x3 (version 1.5)."""


def test_every_instruction_set() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 256, (256, 1024)).astype(np.uint8), rng.integers(-128, 128, (1024, 1024)).astype(np.int8)
    expected = kernels.gemm_int8(a, b)
    for name in kernels.available():
        with kernels.force_isa(name):
            packed = kernels.pack_b(b)
            assert (kernels.gemm_int8(a, packed) == expected).all()
            (seconds,) = fastest([lambda packed=packed: kernels.gemm_int8(a, packed)], 7)  # type: ignore[misc]
        print(f"\n{name}: {expected.size * 1024 / seconds / 1e9:.0f} GMAC/s")
