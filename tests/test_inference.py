"""int8 graphs run as TFLite's reference interpreter runs them: every value of every operator."""

from dataclasses import replace
from io import StringIO
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tflite")

from rich.console import Console
from tflite_networks import each_model, each_origin, model_path

from hwsim import cli
from hwsim.errors import InputError
from hwsim.validation import tflite as inference
from hwsim.validation.oracles import activation, scale, some, tflite_padding, tflite_run
from hwsim.workload.buffers import ArenaRequests
from hwsim.workload.tflite import Model, Operator, Quantization, Tensor, read_model

oracle = pytest.mark.skipif(not inference.has_reference(), reason="needs ai-edge-litert")


def tensor(index: int, shape: tuple[int, ...], scales: Any, zero: int, data: Any = None) -> Tensor:
    scales = np.atleast_1d(np.asarray(scales, np.float32))
    quantization = Quantization(scales, np.full(scales.size, zero, np.int64))
    stored = None if data is None else np.frombuffer(data.tobytes(), np.uint8)
    return Tensor(index, f"t{index}", shape, "int8" if data is None else data.dtype.name, quantization, data=stored)


def single(code: str, tensors: list[Tensor], options: dict[str, int | float | str] | None = None) -> Model:
    """One operator; the first tensor is given, the last one made, the others are constants."""
    last = len(tensors) - 1
    op = Operator(0, code, 1, tuple(range(last)), (last,), options or {})
    workload: Any = None
    return Model(
        "net", "net", "", 0, tuple(tensors), (op,), (0,), (last,), workload, {}, (), ArenaRequests((), (), {}, 0)
    )


def made(net: Model, x: Any) -> Any:
    return inference.run(net, [x])[net.outputs[0]]


@pytest.mark.slow
@oracle
@each_model
def test_every_operator_of_a_network_is_exact(name: str, origin: str) -> None:
    net = read_model(model_path(name, origin))
    for seed in range(3):
        inputs = inference.random_inputs(net, seed)
        given, expected = inference.run(net, inputs), inference.reference(net, inputs)
        assert inference.difference(net, given, expected) is None
        assert {index for op in net.operators for index in op.outputs} <= set(expected)


@oracle
def test_add_is_exact() -> None:
    for seed in range(40):
        rng = np.random.default_rng(seed)
        a, b = some(rng, "int8", (2, 5, 7)), some(rng, "int8", (2, 5, 7) if seed % 3 else (7,))
        scales, zeros = [scale(rng), scale(rng)], [int(some(rng, "int8")) for _ in range(3)]
        y = np.float32(max(scales) * rng.uniform(0.3, 3))
        act, _, _ = activation(rng, float(y), zeros[2], -128)
        expected = tflite_run(
            "ADD",
            ("AddOptions", {"fusedActivationFunction": act}),
            [(a, scales[0], zeros[0], 0), (b, scales[1], zeros[1], 0)],
            (np.empty(a.shape, np.int8), y, zeros[2]),
            version=2,
        )
        parts = [tensor(0, a.shape, scales[0], zeros[0]), tensor(1, b.shape, scales[1], zeros[1], b)]
        net = single("ADD", [*parts, tensor(2, a.shape, y, zeros[2])], {"fused_activation_function": name_of(act)})
        assert (made(net, a) == expected).all()


def name_of(act: int) -> str:
    return {0: "NONE", 1: "RELU", 3: "RELU6"}[act]


@oracle
@pytest.mark.parametrize("code", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
def test_pooling_is_exact(code: str) -> None:
    for seed in range(30):
        rng = np.random.default_rng(seed)
        h, w, c, r, s = (int(rng.integers(low, high)) for low, high in ((4, 11), (4, 11), (1, 9), (1, 5), (1, 5)))
        stride, same = (int(rng.integers(1, 4)), int(rng.integers(1, 4))), bool(seed % 2)
        x, x_scale, zero = some(rng, "int8", (2, h, w, c)), scale(rng), int(some(rng, "int8"))
        act, _, _ = activation(rng, float(x_scale), zero, -128)
        shape = 2, tflite_padding(same, h, r, stride[0])[2], tflite_padding(same, w, s, stride[1])[2], c
        fields = {"padding": 0 if same else 1, "strideH": stride[0], "strideW": stride[1], "filterHeight": r}
        fields |= {"filterWidth": s, "fusedActivationFunction": act}
        output = np.empty(shape, np.int8), x_scale, zero
        expected = tflite_run(code, ("Pool2DOptions", fields), [(x, x_scale, zero, 0)], output, version=2)
        options: dict[str, Any] = {"padding": "SAME" if same else "VALID", "stride_h": stride[0], "stride_w": stride[1]}
        options |= {"filter_height": r, "filter_width": s, "fused_activation_function": name_of(act)}
        net = single(code, [tensor(0, x.shape, x_scale, zero), tensor(1, shape, x_scale, zero)], options)
        assert (made(net, x) == expected).all()


@oracle
def test_softmax_is_exact() -> None:
    for seed in range(30):
        rng = np.random.default_rng(seed)
        x = some(rng, "int8", (200, int(rng.integers(2, 40))))
        x_scale, beta = np.float32(rng.uniform(0.002, 0.5)), float(np.float32(rng.uniform(0.3, 2)))
        output = np.empty(x.shape, np.int8), np.float32(1 / 256), -128
        expected = tflite_run("SOFTMAX", ("SoftmaxOptions", {"beta": beta}), [(x, x_scale, 5, 0)], output, version=2)
        net = single("SOFTMAX", [tensor(0, x.shape, x_scale, 5), tensor(1, x.shape, 1 / 256, -128)], {"beta": beta})
        assert (made(net, x) == expected).all()


@oracle
def test_pad_is_exact() -> None:
    rng = np.random.default_rng(0)
    x, around = some(rng, "int8", (1, 4, 5, 3)), np.array([[0, 0], [1, 2], [0, 3], [0, 0]], np.int32)
    output = np.empty((1, 7, 8, 3), np.int8), np.float32(0.5), 9
    none = np.float32(1), 0, 0
    expected = tflite_run("PAD", ("PadOptions", {}), [(x, np.float32(0.5), 9, 0), (around, *none)], output, version=2)
    parts = [tensor(0, x.shape, 0.5, 9), tensor(1, (4, 2), 1, 0, around), tensor(2, (1, 7, 8, 3), 0.5, 9)]
    assert (made(single("PAD", parts), x) == expected).all()


def test_average_of_a_window_rounds_half_away_from_zero() -> None:
    options: dict[str, Any] = {"padding": "VALID", "stride_h": 1, "stride_w": 2, "filter_height": 1, "filter_width": 2}
    net = single("AVERAGE_POOL_2D", [tensor(0, (1, 1, 4, 1), 1, 0), tensor(1, (1, 1, 2, 1), 1, 0)], options)
    x = np.array([1, 2, -1, -2], np.int8).reshape(1, 1, 4, 1)
    assert made(net, x).ravel().tolist() == [2, -2]


def test_sum_of_two_scales() -> None:
    """0.5 * 10 + 0.25 * 8 = 7, stored at 0.5 and zero point 1."""
    b = np.array([8], np.int8)
    net = single("ADD", [tensor(0, (1,), 0.5, 0), tensor(1, (1,), 0.25, 0, b), tensor(2, (1,), 0.5, 1)])
    assert made(net, np.array([10], np.int8)).tolist() == [15]


def test_what_does_not_run_is_named() -> None:
    x = np.zeros(3, np.int8)
    with pytest.raises(InputError, match=r"operator 0, LSTM: must be one of ADD, .*, not LSTM"):
        made(single("LSTM", [tensor(0, (3,), 1, 0), tensor(1, (3,), 1, 0)]), x)
    with pytest.raises(InputError, match=r"input 0: must be int8 of shape \(3,\), not int16 of shape \(3,\)"):
        made(single("RESHAPE", [tensor(0, (3,), 1, 0), tensor(1, (3,), 1, 0)]), x.astype(np.int16))
    with pytest.raises(InputError, match="operator 0, RESHAPE: its output: must hold 3 values"):
        made(single("RESHAPE", [tensor(0, (3,), 1, 0), tensor(1, (4,), 1, 0)]), x)
    with pytest.raises(InputError, match="must be one for each of the 1 inputs, not 0"):
        inference.run(single("RESHAPE", [tensor(0, (3,), 1, 0), tensor(1, (3,), 1, 0)]), [])


def test_the_first_difference_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    net = single("RESHAPE", [tensor(0, (2, 2), 1, 0), tensor(1, (4,), 1, 0)])
    monkeypatch.setattr(inference, "has_reference", lambda: True)
    right = inference.run(net, inference.random_inputs(net))[1]
    wrong = right.copy()
    wrong[2] ^= 1

    def printed() -> tuple[bool, str]:
        stream = StringIO()
        return inference.print_graph(net, Console(file=stream)), stream.getvalue()

    monkeypatch.setattr(inference, "reference", lambda *_: {1: wrong})
    passed, text = printed()
    assert not passed
    assert f"operator 0, RESHAPE: tensor 1 at (2,) must be {wrong[2]}, not {right[2]} (1 of 4 values differ" in text
    monkeypatch.setattr(inference, "reference", lambda *_: {1: right})
    assert printed()[0]
    monkeypatch.setattr(inference, "has_reference", lambda: False)
    passed, text = printed()
    assert passed
    assert "not compared, as ai-edge-litert is not installed" in text
    net = replace(net, operators=(replace(net.operators[0], code="LSTM"),))
    assert "graph not executed: operator 0, LSTM" in printed()[1]


@each_origin
def test_validate_fails_on_a_difference(
    origin: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    net = read_model(model_path("str_ww_ref_model", origin))
    command = ["hwsim", "validate", "systolic_ws", net.path, "--sample", "2"]
    monkeypatch.setattr("sys.argv", command)
    monkeypatch.setattr(inference, "has_reference", lambda: True)
    exact = inference.run(net, inference.random_inputs(net))
    monkeypatch.setattr(inference, "reference", lambda *_: exact)
    cli.main()
    assert "values equal TFLite's reference interpreter's" in capsys.readouterr().out
    last = net.outputs[0]
    monkeypatch.setattr(inference, "reference", lambda *_: exact | {last: exact[last] ^ 1})
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 1
    assert f"differs first in {net.operators[-1]}: tensor {last} at (0, 0)" in capsys.readouterr().out
