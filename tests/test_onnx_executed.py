"""Each kind of ONNX operator against an execution: MACs from the shapes that onnxruntime ran with."""

import math

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import helper
from onnx_builder import Graph, runtime_tensors

from hwsim.workload import Opaque
from hwsim.workload.onnx import read_model

MS = "com.microsoft"
TYPES = {1: np.float32, 6: np.int32, 7: np.int64, 9: np.bool_, 10: np.float16, 2: np.uint8, 3: np.int8}


class Case:
    """A model of one operator: float inputs by shape, stored arrays, and what its execution has of MACs and weights."""

    def __init__(self, kind, *operands, opset=17, outputs=1, macs, weights=0, **options):
        self.kind, self.operands, self.opset, self.outputs, self.options = kind, operands, opset, outputs, options
        self.macs, self.weights = macs, weights

    def model(self):
        g = Graph(opset=self.opset)
        names = []
        for place, operand in enumerate(self.operands):
            if operand is None:
                names.append("")
            elif isinstance(operand, tuple):
                names.append(g.input(f"i{place}", list(operand)))
            elif isinstance(operand, Given):
                names.append(g.input(f"i{place}", list(operand.values.shape), operand.dtype))
            else:
                names.append(g.constant(f"c{place}", operand))
        domain, _, kind = self.kind.rpartition("/")
        made = g.op(kind, *names, domain=domain, outputs=self.outputs, name="op", **self.options)
        for name in [made] if self.outputs == 1 else made:
            g.output(name)
        return g.model(domains=[domain] if domain else [], check=False)


class Given:
    """An input whose values matter."""

    def __init__(self, values):
        self.values = np.asarray(values)
        self.dtype = helper.np_dtype_to_tensor_dtype(self.values.dtype)


def stored(*shape, dtype=np.float32):
    return np.random.default_rng(1).normal(size=shape).astype(dtype)


def conv(run):
    """An output value is a sum over the channels of its group and the window."""
    return run["op_out"].size * math.prod(run.operand(1)[1:])


def transposed(run):
    return math.prod(run.operand(0)) * math.prod(run.operand(1)[1:])


def gates(count):
    """Every step multiplies all gates by the input and by the state before, in each direction."""

    def macs(run):
        steps, sequences, size = run.operand(0)
        directions = run["op_out"].shape[1]
        hidden = run["op_out"].shape[3]
        return steps * sequences * directions * count * hidden * (size + hidden)

    return macs


def none(run):
    return 0


F = np.float32
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def recurrent(kind, steps, sequences, size, hidden, directions=1, **more):
    n = GATES[kind] * hidden
    arrays = [stored(directions, n, size), stored(directions, n, hidden), stored(directions, 2 * n)]
    if kind == "LSTM" and more.pop("peepholes", False):
        arrays += [None, None, None, stored(directions, 3 * hidden)]
    way = "bidirectional" if directions == 2 else "forward"
    outputs = 3 if kind == "LSTM" else 2
    return Case(
        kind, (steps, sequences, size), *arrays, macs=gates(GATES[kind]), outputs=outputs, hidden_size=hidden,
        direction=way, weights=directions * n * (size + hidden), **more,
    )  # fmt: skip


def dynamic_lstm(steps, sequences, size, hidden, directions=1):
    n = 4 * hidden
    scale, zero = np.full(directions, 0.1, F), np.zeros(directions, np.int8)
    arrays = [np.ones((directions, rows, n), np.int8) for rows in (size, hidden)]
    return Case(
        f"{MS}/DynamicQuantizeLSTM", (steps, sequences, size), *arrays, stored(directions, 2 * n), None, None, None,
        None, scale, zero, scale, zero, macs=gates(4), outputs=3, hidden_size=hidden,
        direction="bidirectional" if directions == 2 else "forward", weights=directions * n * (size + hidden),
    )  # fmt: skip


CASES = {
    "convolution": Case("Conv", (1, 6, 9, 7), stored(10, 3, 3, 2), macs=conv, weights=10 * 18, group=2, pads=[1, 0, 2, 1]),
    "convolution of a sequence": Case("Conv", (1, 6, 31), stored(7, 6, 5), macs=conv, weights=210, strides=[3]),
    "convolution of a volume": Case(
        "Conv", (1, 6, 5, 9, 7), stored(31, 6, 3, 2, 1), stored(31), macs=conv, weights=31 * 36, strides=[2, 1, 3],
        pads=[1, 0, 2, 1, 1, 0], dilations=[1, 2, 1],
    ),
    "depthwise convolution of a volume": Case(
        "Conv", (1, 6, 5, 9, 7), stored(6, 1, 3, 3, 3), macs=conv, weights=6 * 27, group=6, auto_pad="SAME_UPPER"
    ),
    "convolution with computed weights": Case("Conv", (1, 6, 9, 7), (31, 6, 3, 3), macs=conv, pads=[1, 1, 1, 1]),
    "grouped convolution with computed weights": Case("Conv", (1, 6, 9, 7), (4, 3, 3, 2), (4,), macs=conv, group=2),
    "pointwise convolution with computed weights": Case("Conv", (1, 6, 9, 7), (31, 6, 1, 1), stored(31), macs=conv),
    "computed weights of a volume": Case("Conv", (1, 2, 5, 9, 7), (3, 2, 3, 3, 3), macs=conv),
    "transposed convolution": Case(
        "ConvTranspose", (1, 4, 5, 6), stored(4, 3, 3, 2), macs=transposed, weights=72, group=2, strides=[2, 3]
    ),
    "transposed convolution of a volume": Case(
        "ConvTranspose", (1, 4, 5, 6, 3), stored(4, 3, 3, 2, 1), stored(6), macs=transposed, weights=72, group=2, strides=[2, 3, 1]
    ),
    "deformable convolution": Case(
        "DeformConv", (1, 6, 9, 7), stored(4, 3, 3, 3), (1, 2 * 9, 7, 5), stored(4), (1, 9, 7, 5), opset=19, macs=conv,
        weights=108, group=2,
    ),
    "pool of volumes": Case("MaxPool", (1, 3, 7, 9, 11), macs=none, kernel_shape=[3, 2, 3], strides=[2, 1, 3]),
    "mean of volumes": Case("AveragePool", (1, 3, 7, 9, 11), macs=none, kernel_shape=[3, 2, 3], pads=[1, 0, 1] * 2),
    "mean of whole volumes": Case("GlobalAveragePool", (1, 3, 7, 9, 11), macs=none),
    "LSTM": recurrent("LSTM", 7, 1, 5, 6),
    "LSTM of three sequences": recurrent("LSTM", 7, 3, 5, 6),
    "LSTM in both directions": recurrent("LSTM", 7, 3, 5, 6, 2),
    "LSTM with peepholes": recurrent("LSTM", 7, 3, 5, 6, peepholes=True),
    "GRU": recurrent("GRU", 7, 1, 5, 31, linear_before_reset=1),
    "GRU in both directions": recurrent("GRU", 1, 3, 5, 6, 2),
    "RNN": recurrent("RNN", 7, 1, 31, 6),
    "RNN in both directions": recurrent("RNN", 7, 3, 31, 6, 2),
    "LSTM in int8": dynamic_lstm(7, 3, 5, 6),
    "LSTM in int8 in both directions": dynamic_lstm(7, 1, 5, 6, 2),
}  # fmt: skip


class Run(dict):
    """The tensors of a run by name."""

    def __init__(self, model, feeds, tensors):
        super().__init__(tensors)
        self.model, self.feeds = model, feeds
        self.stored = {item.name: tuple(item.dims) for item in model.graph.initializer}

    def operand(self, place):
        """The shape of an operand."""
        name = self.model.graph.node[0].input[place]
        return self.stored[name] if name in self.stored else np.shape(self.feeds[name])


def feeds_of(case, model):
    draw, feeds = np.random.default_rng(2), {}
    for value in model.graph.input:
        operand = case.operands[int(value.name[1:])]
        feeds[value.name] = operand.values if isinstance(operand, Given) else draw.random(operand, F)
    return feeds


@pytest.mark.parametrize("name", CASES)
def test_macs_are_those_of_the_shapes_that_ran(tmp_path, name):
    case = CASES[name]
    model = case.model()
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    net = read_model(tmp_path / "net.onnx")
    feeds = feeds_of(case, model)
    run = Run(model, feeds, runtime_tensors(model, feeds))
    assert net.workload.macs == case.macs(run)
    assert sum(layer.weights for layer in net.workload if not isinstance(layer, Opaque)) == case.weights
    assert not [warning for warning in net.warnings if warning.code == "import.opaque"]
    assert run["op_out"].size in {layer.outputs for layer in net.workload}


@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize("size, pad, stride", [(2, 1, 2), (5, 1, 3), (6, 0, 4), (7, 2, 3), (31, 1, 2)])
def test_a_rounded_up_pool_has_no_window_that_starts_in_the_padding(tmp_path, kind, size, pad, stride):
    case = Case(
        kind, (1, 3, size, size), macs=none, kernel_shape=[3, 3], strides=[stride] * 2, pads=[pad] * 4, ceil_mode=1
    )
    model = case.model()
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    net = read_model(tmp_path / "net.onnx").workload
    run = runtime_tensors(model, feeds_of(case, model))
    assert net["op"].output.shape == run["op_out"].shape[1:]
