"""Each kind of ONNX operator against an execution: MACs from the shapes that onnxruntime ran with."""

import contextlib
import math

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import helper
from onnx.defs import onnx_opset_version
from onnx_builder import Graph, runtime_tensors

from hwsim.errors import InputError
from hwsim.workload import Opaque
from hwsim.workload.onnx import read_model
from hwsim.workload.onnx.canonical import QUANTIZED
from hwsim.workload.onnx.coverage import operator_fates
from hwsim.workload.onnx.operators import MAKERS

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
    "convolution with a computed bias": Case("Conv", (1, 6, 9, 7), stored(31, 6, 3, 3), (31,), macs=conv, weights=31 * 54),
    "transposed convolution with computed weights": Case("ConvTranspose", (1, 4, 5, 6), (4, 3, 3, 2), (6,), macs=transposed, group=2),
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


def with_lengths(kind, *lengths, directions=1):
    """Sequences that end before the last step: a batch runs until its longest one ends."""
    case = recurrent(kind, 7, len(lengths), 5, 6, directions)
    case.operands = (*case.operands, np.array(lengths, np.int32))

    def macs(run):
        last = max(step for step in range(7) if np.any(run["op_out"][step])) + 1
        return gates(GATES[kind])(run) * last // 7

    case.macs = macs
    return case


CASES |= {
    "LSTM of sequences that end early": with_lengths("LSTM", 5, 3, 4),
    "GRU of sequences that end early": with_lengths("GRU", 2, 6, directions=2),
    "RNN of one sequence that ends early": with_lengths("RNN", 3),
    "LSTM with computed weights": Case(
        "LSTM", (7, 3, 5), (1, 24, 5), (1, 24, 6), macs=gates(4), outputs=3, hidden_size=6, weights=24 * 11
    ),
    "GRU with computed weights in both directions": Case(
        "GRU", (7, 1, 31), (2, 18, 31), (2, 18, 6), stored(2, 36), macs=gates(3), outputs=2, hidden_size=6,
        direction="bidirectional", weights=2 * 18 * 37,
    ),
}  # fmt: skip


def pairs(queries, context, causal=False, window=0, start=None):
    """Pairs of a query and a position that it attends to, one by one; the first query is at `start`."""
    total = 0
    for query in range(queries):
        seen = min((context - queries if start is None else start) + query + 1, context) if causal else context
        total += min(seen, window) if window else seen
    return total


def attention(heads, past=0, **mask):
    """Scores and weighted sums: a product over the values of a head for each pair of a query and a position."""

    def macs(run):
        query, key = run.operand(0), run.operand(1)
        positions, keys = query[-2], key[-2] + (run.operand(past)[2] if past else 0)
        dim = query[-1] if len(query) == 4 else query[-1] // heads
        value_dim = run["op_out"].shape[-1] // (1 if run["op_out"].ndim == 4 else heads)
        return query[0] * heads * pairs(positions, keys, **mask) * (dim + value_dim)

    return macs


def einsum(*names):
    """Of each product in turn: the sizes of all letters of both operands."""

    def macs(run):
        return sum(math.prod(sizes) for sizes in names)

    return macs


def product(run):
    """An output value is a sum over the last axis of the first operand."""
    return run["op_out"].size * run.operand(0)[-1]


def projected(run):
    """The projections to query, key and value, and both products of attention in each head."""
    batch, positions, width = run.operand(0)
    return batch * positions * width * run.operand(1)[1] + 2 * batch * positions**2 * width


def nbits(rows, k, n):
    return np.random.default_rng(1).integers(0, 255, (n, k // 32, 16)).astype(np.uint8)


def bits8(*shape):
    return np.random.default_rng(1).integers(0, 255, shape).astype(np.uint8)


def ids(*shape):
    return Given(np.random.default_rng(1).integers(0, 5, shape).astype(np.int32))


GQA = {"num_heads": 4, "kv_num_heads": 2}
CASES |= {
    "Einsum of scores": Case("Einsum", (1, 4, 16, 8), (1, 4, 20, 8), macs=einsum((4, 16, 20, 8)), equation="bhqd,bhkd->bhqk"),
    "Einsum with heads inside": Case("Einsum", (3, 16, 4, 8), (3, 20, 4, 8), macs=einsum((3, 4, 16, 20, 8)), equation="bqhd,bkhd->bhqk"),
    "Einsum of weighted sums": Case("Einsum", (1, 4, 16, 20), (1, 20, 4, 7), macs=einsum((4, 16, 20, 7)), equation="bhqk,bkhd->bqhd"),
    "Einsum of a stored matrix": Case("Einsum", (1, 16, 8), stored(8, 31), macs=einsum((16, 8, 31)), weights=248, equation="bsd,dk->bsk"),
    "Einsum of stored matrices": Case("Einsum", (1, 16, 4, 8), stored(4, 8, 31), macs=einsum((16, 4, 8, 31)), weights=992, equation="bshd,hdk->bshk"),
    "Einsum with the stored matrix first": Case("Einsum", stored(31, 8), (1, 8, 17), macs=einsum((31, 8, 17)), weights=248, equation="kd,bds->bks"),
    "Einsum of an outer product": Case("Einsum", (7,), (11,), macs=einsum((7, 11)), equation="i,j->ij"),
    "Einsum without an arrow": Case("Einsum", (7, 11), (11, 5), macs=einsum((7, 11, 5)), equation="ij,jk"),
    "Einsum with an ellipsis": Case("Einsum", (1, 2, 3, 7, 11), (1, 1, 3, 11, 5), macs=einsum((2, 3, 7, 11, 5)), equation="...ij,...jk->...ik"),
    "Einsum of three": Case("Einsum", (7, 11), (11, 5), (5, 3), macs=einsum((7, 11, 5), (7, 5, 3)), equation="ij,jk,kl->il"),
    "Einsum with a sum before": Case("Einsum", (6, 7, 11), (11, 5), macs=einsum((7, 11, 5)), equation="aij,jk->ik"),
    "Einsum of one, a sum": Case("Einsum", (6, 7, 11), macs=none, equation="aij->ja"),
    "Einsum of one, a transposition": Case("Einsum", (6, 7, 11), macs=none, equation="aij->jai"),
    "Einsum of a diagonal": Case("Einsum", (7, 7, 3), macs=none, equation="iij->ij"),
    "attention": Case("Attention", (1, 10, 64), (1, 12, 16), (1, 12, 32), opset=23, macs=attention(8), q_num_heads=8, kv_num_heads=2),
    "attention with a cache": Case(
        "Attention", (1, 4, 3, 8), (1, 2, 3, 8), (1, 2, 3, 8), None, (1, 2, 128, 8), (1, 2, 128, 8), opset=23, outputs=3, macs=attention(4, 4)
    ),
    "causal attention with a cache": Case(
        "Attention", (1, 4, 3, 8), (1, 4, 3, 8), (1, 4, 3, 8), None, (1, 4, 31, 8), (1, 4, 31, 8), opset=23, outputs=3,
        macs=attention(4, 4, causal=True), is_causal=1,
    ),
    "causal attention, fewer queries than keys": Case(
        "Attention", (1, 1, 5, 16), (1, 1, 6, 16), (1, 1, 6, 16), opset=23, macs=attention(1, causal=True, start=0), is_causal=1
    ),
    "causal attention, more queries than keys": Case(
        "Attention", (1, 1, 6, 16), (1, 1, 3, 16), (1, 1, 3, 16), opset=23, macs=attention(1, causal=True, start=0), is_causal=1
    ),
    "causal attention, fewer queries than new keys": Case(
        "Attention", (1, 1, 5, 16), (1, 1, 6, 16), (1, 1, 6, 16), None, (1, 1, 3, 16), (1, 1, 3, 16), opset=23, outputs=3,
        macs=attention(1, 4, causal=True, start=3), is_causal=1,
    ),
    "causal attention, more queries than new keys": Case(
        "Attention", (1, 1, 5, 16), (1, 1, 2, 16), (1, 1, 2, 16), None, (1, 1, 8, 16), (1, 1, 8, 16), opset=23, outputs=3,
        macs=attention(1, 4, causal=True, start=8), is_causal=1,
    ),
    "causal MultiHeadAttention, fewer queries than keys": Case(
        f"{MS}/MultiHeadAttention", (1, 5, 16), (1, 6, 16), (1, 6, 16), macs=attention(2, causal=True, start=0), num_heads=2,
        unidirectional=1,
    ),
    "GroupQueryAttention with room in its cache": Case(
        f"{MS}/GroupQueryAttention", (3, 1, 64), (3, 1, 32), (3, 1, 32), (3, 2, 128, 16), (3, 2, 128, 16),
        Given(np.array([30] * 3, np.int32)), np.array([31], np.int32), outputs=3, macs=lambda run: 3 * 4 * 31 * 32, **GQA,
    ),
    "attention to a cache with room": Case(
        "Attention", (1, 2, 1, 16), (1, 2, 128, 16), (1, 2, 128, 16), None, None, None, np.array([31]), opset=24,
        macs=lambda run: 2 * 31 * 32,
    ),
    "attention of a stored query": Case(
        "Attention", stored(1, 10, 64), (1, 12, 16), (1, 12, 32), opset=23, macs=attention(8), weights=640, q_num_heads=8, kv_num_heads=2
    ),
    "attention to stored keys and values": Case(
        "Attention", (1, 4, 3, 8), stored(1, 4, 31, 8), stored(1, 4, 31, 7), opset=23, macs=attention(4), weights=4 * 31 * 15
    ),
    "MultiHeadAttention of a stored query": Case(
        f"{MS}/MultiHeadAttention", stored(1, 10, 64), (1, 13, 64), (1, 13, 32), macs=attention(8), weights=640, num_heads=8
    ),
    "MultiHeadAttention": Case(f"{MS}/MultiHeadAttention", (1, 10, 64), (1, 13, 64), (1, 13, 32), macs=attention(8), num_heads=8),
    "MultiHeadAttention with biases": Case(
        f"{MS}/MultiHeadAttention", (3, 10, 64), (3, 13, 64), (3, 13, 64), stored(192), macs=attention(8), num_heads=8
    ),
    "MultiHeadAttention with a cache": Case(
        f"{MS}/MultiHeadAttention", (1, 1, 64), (1, 1, 64), (1, 1, 64), None, None, None, (1, 8, 30, 8), (1, 8, 30, 8),
        outputs=3, macs=attention(8, 6), num_heads=8,
    ),
    "GroupQueryAttention of a prompt": Case(
        f"{MS}/GroupQueryAttention", (1, 10, 64), (1, 10, 32), (1, 10, 32), None, None,
        Given(np.array([9], np.int32)), np.array([10], np.int32), outputs=3, macs=attention(4, causal=True), **GQA,
    ),
    "GroupQueryAttention of one token": Case(
        f"{MS}/GroupQueryAttention", (1, 1, 64), (1, 1, 32), (1, 1, 32), (1, 2, 30, 16), (1, 2, 30, 16),
        Given(np.array([30], np.int32)), np.array([31], np.int32), outputs=3, macs=attention(4, 3, causal=True), **GQA,
    ),
    "GroupQueryAttention with a window, packed, rotated": Case(
        f"{MS}/GroupQueryAttention", (1, 10, 128), None, None, None, None,
        Given(np.array([9], np.int32)), np.array([10], np.int32), stored(16, 8), stored(16, 8), outputs=3,
        macs=lambda run: 4 * pairs(10, 10, True, 4) * 32, do_rotary=1, local_window_size=4, **GQA,
    ),
    "onnxruntime's Attention": Case(
        f"{MS}/Attention", (1, 10, 64), stored(64, 192), stored(192), macs=projected, weights=64 * 192, num_heads=8
    ),
    "QAttention": Case(
        f"{MS}/QAttention", Given(bits8(1, 10, 64)), bits8(64, 192), stored(192), np.array([0.1], F), np.array([0.1], F), None,
        np.array([3], np.uint8), np.array([3], np.uint8), macs=projected, weights=64 * 192, num_heads=8,
    ),
    "FusedConv with a sum": Case(
        f"{MS}/FusedConv", (1, 6, 9, 7), stored(10, 6, 3, 3), stored(10), (1, 10, 7, 5), macs=conv, weights=540, activation="Relu"
    ),
    "FusedMatMul": Case(f"{MS}/FusedMatMul", (1, 3, 7, 11), (1, 3, 5, 11), macs=product, transB=1),
    "FusedMatMul with the batch inside": Case(
        f"{MS}/FusedMatMul", (2, 3, 7), (2, 3, 7), macs=lambda run: 3 * 2 * 2 * 7, transB=1, transBatchA=1, transBatchB=1
    ),
    "FusedMatMul with a vector": Case(f"{MS}/FusedMatMul", (2, 3, 7), stored(7), macs=lambda run: 42, weights=7, transA=0),
    "FusedGemm with an activation": Case(f"{MS}/FusedGemm", (3, 7), stored(7, 5), stored(5), macs=product, weights=35, activation="Softplus"),
    "MatMulNBits": Case(
        f"{MS}/MatMulNBits", (1, 7, 64), nbits(7, 64, 31), np.ones(62, F), macs=product, weights=64 * 31, K=64, N=31, bits=4, block_size=32
    ),
    "a matrix for each, broadcast": Case("MatMul", (1, 3, 7, 11), stored(3, 11, 5), macs=product, weights=165),
    "several matrices for one": Case("MatMul", (7, 11), stored(3, 11, 5), macs=product, weights=165),
    "several matrices for several": Case("MatMul", (2, 1, 7, 11), stored(3, 11, 5), macs=product, weights=165),
    "SkipLayerNormalization": Case(
        f"{MS}/SkipLayerNormalization", (1, 10, 64), (1, 10, 64), stored(64), stored(64), macs=none, weights=64
    ),
    "EmbedLayerNormalization": Case(
        f"{MS}/EmbedLayerNormalization", ids(1, 10), ids(1, 10), stored(100, 64), stored(31, 64), stored(5, 64), stored(64), stored(64),
        outputs=2, macs=none, weights=136 * 64 + 64,
    ),
    "RotaryEmbedding": Case("RotaryEmbedding", (1, 4, 10, 16), stored(1, 10, 8), stored(1, 10, 8), opset=23, macs=none),
    "onnxruntime's RotaryEmbedding": Case(
        f"{MS}/RotaryEmbedding", (1, 10, 64), Given(np.zeros(1, np.int64)), stored(31, 8), stored(31, 8), macs=none, num_heads=4
    ),
    "BiasGelu": Case(f"{MS}/BiasGelu", (1, 10, 64), stored(64), macs=none),
    "FastGelu": Case(f"{MS}/FastGelu", (1, 10, 64), stored(64), macs=none),
    "QuickGelu": Case(f"{MS}/QuickGelu", (1, 10, 64), macs=none),
    "MeanVarianceNormalization": Case("MeanVarianceNormalization", (1, 10, 7, 5), opset=13, macs=none, axes=[2, 3]),
    "LpNormalization": Case("LpNormalization", (1, 10, 7), macs=none),
    "GreaterOrEqual": Case("GreaterOrEqual", (1, 10, 7), (1, 1, 7), opset=13, macs=none),
    "LessOrEqual": Case("LessOrEqual", (1, 10, 7), stored(7), opset=15, macs=none),
    "CumSum": Case("CumSum", (1, 10, 7), np.array(1), macs=none),
    "ReduceLogSumExp": Case("ReduceLogSumExp", (1, 10, 7), macs=none, axes=[1]),
    "TopK": Case("TopK", (1, 10, 31), np.array([5]), outputs=2, macs=none),
    "ScatterND": Case("ScatterND", (10, 31), np.array([[3], [5]]), (2, 31), macs=none),
    "GridSample": Case("GridSample", (1, 3, 9, 7), (1, 5, 4, 2), macs=none),
    "OneHot": Case("OneHot", Given(np.array([[1, 2]])), np.array(5), np.array([0, 1], F), macs=none),
}  # fmt: skip


def ints(*shape):
    return Given(np.random.default_rng(1).integers(1, 5, shape).astype(np.int64))


def flags(*shape):
    return Given(np.random.default_rng(1).integers(0, 2, shape).astype(np.bool_))


def unsigned(*shape):
    return Given(np.random.default_rng(1).integers(0, 5, shape).astype(np.uint32))


X = (1, 6, 9, 7)
PAIRS = ("Add", "Sum", "Sub", "Mul", "Div", "Max", "Min", "Mean", "Pow", "Equal", "Less", "Greater")
FLOATS = (
    "Relu", "LeakyRelu", "Elu", "HardSwish", "Sigmoid", "HardSigmoid", "Tanh", "Exp", "Clip", "Softplus",
    "ThresholdedRelu", "Erf", "Sqrt", "Log", "Abs", "Neg", "Reciprocal", "Sin", "Cos", "Floor", "Ceil", "Round", "Sign",
    "Selu", "Celu", "Softsign", "Tan", "Sinh", "Cosh", "Asin", "Acos", "Atan", "Asinh", "Acosh", "Atanh", "Shrink",
    "Softmax", "LogSoftmax", "Hardmax", "GlobalMaxPool", "GlobalAveragePool", "GlobalLpPool", "IsNaN", "IsInf",
    "RandomNormalLike", "RandomUniformLike", "NonZero", "Bernoulli",
)  # fmt: skip
SUMS = (
    "ReduceMean", "ReduceSumSquare", "ReduceL1", "ReduceL2", "ReduceProd", "ReduceLogSum", "ReduceMax", "ReduceMin",
)  # fmt: skip
CASES |= {f"a {kind}": Case(kind, X, X, macs=none) for kind in PAIRS}
CASES |= {f"a {kind}": Case(kind, X, macs=none) for kind in FLOATS}
CASES |= {f"a {kind}": Case(kind, X, macs=none, axes=[2, 3]) for kind in SUMS}
CASES |= {f"a {kind}": Case(kind, X, macs=none, axis=1) for kind in ("ArgMax", "ArgMin")}
CASES |= {f"a {kind}": Case(kind, flags(*X), flags(*X), macs=none) for kind in ("And", "Or", "Xor")}
CASES |= {
    f"a {kind}": Case(kind, ints(*X), ints(*X), opset=18, macs=none)
    for kind in ("BitwiseAnd", "BitwiseOr", "BitwiseXor", "Mod")
}
CASES |= {f"a {kind}": Case(kind, X, opset=20, macs=none) for kind in ("Gelu",)}
CASES |= {
    "a PRelu": Case("PRelu", X, stored(6, 1, 1), macs=none),
    "a Not": Case("Not", flags(*X), macs=none),
    "a BitwiseNot": Case("BitwiseNot", ints(*X), opset=18, macs=none),
    "a Mish": Case("Mish", X, opset=18, macs=none),
    "a Swish": Case("Swish", X, opset=24, macs=none),
    "a BitShift": Case("BitShift", unsigned(*X), unsigned(*X), macs=none, direction="LEFT"),
    "a Where": Case("Where", flags(*X), X, X, macs=none),
    "a ReduceSum": Case("ReduceSum", X, np.array([2, 3]), macs=none),
    "a MaxPool": Case("MaxPool", X, macs=none, kernel_shape=[3, 2]),
    "an AveragePool": Case("AveragePool", X, macs=none, kernel_shape=[3, 2], strides=[2, 1]),
    "an LpPool": Case("LpPool", X, macs=none, kernel_shape=[3, 2]),
    "a BatchNormalization": Case("BatchNormalization", X, *[np.ones(6, F)] * 4, macs=none, weights=6),
    "an InstanceNormalization": Case("InstanceNormalization", X, *[np.ones(6, F)] * 2, macs=none, weights=6),
    "a GroupNormalization": Case("GroupNormalization", X, *[np.ones(6, F)] * 2, opset=21, macs=none, weights=6, num_groups=2),
    "a LayerNormalization": Case("LayerNormalization", X, *[np.ones(7, F)] * 2, macs=none, weights=7),
    "an RMSNormalization": Case("RMSNormalization", X, np.ones(7, F), opset=23, macs=none, weights=7),
    "an LRN": Case("LRN", X, macs=none, size=3),
    "a Gemm": Case("Gemm", (7, 11), stored(31, 11), stored(31), macs=product, weights=341, transB=1),
    "a Gemm of activations": Case("Gemm", (7, 11), (11, 31), macs=product),
    "a Gemm with the first transposed": Case("Gemm", (11, 7), stored(11, 31), macs=lambda run: 7 * 11 * 31, weights=341, transA=1),
    "a look-up of rows": Case("Gather", stored(100, 31), ids(1, 7), macs=none, weights=3100),
    "a SkipSimplifiedLayerNormalization": Case(
        f"{MS}/SkipSimplifiedLayerNormalization", (1, 10, 64), (1, 10, 64), stored(64), macs=none, weights=64
    ),
    "a GatherND": Case("GatherND", X, np.array([[0, 3], [0, 5]]), macs=none),
    "a GatherElements": Case("GatherElements", X, np.zeros((1, 6, 2, 7), np.int64), macs=none, axis=2),
    "a Transpose": Case("Transpose", X, macs=none, perm=[0, 2, 3, 1]),
    "a DepthToSpace": Case("DepthToSpace", (1, 8, 9, 7), macs=none, blocksize=2),
    "a SpaceToDepth": Case("SpaceToDepth", (1, 2, 10, 8), macs=none, blocksize=2),
    "a Slice": Case("Slice", X, np.array([2]), np.array([9]), np.array([2]), macs=none),
    "a Split": Case("Split", X, np.array([4, 2]), outputs=2, macs=none, axis=1),
    "a Pad": Case("Pad", X, np.array([0, 0, 1, 2, 0, 0, 3, 4]), macs=none),
    "a Resize": Case("Resize", X, None, np.array([1, 1, 2, 2], F), macs=none),
    "an Expand": Case("Expand", (1, 6, 1, 7), np.array([1, 6, 9, 7]), macs=none),
    "a Tile": Case("Tile", X, np.array([1, 1, 2, 3]), macs=none),
    "a Cast": Case("Cast", X, macs=none, to=7),
    "a CastLike": Case("CastLike", X, np.zeros(1, np.int32), macs=none),
    "a QuantizeLinear": Case("QuantizeLinear", X, np.array(0.1, F), np.array(3, np.uint8), macs=none),
    "a DequantizeLinear": Case("DequantizeLinear", Given(bits8(*X)), np.array(0.1, F), np.array(3, np.uint8), macs=none),
    "a DynamicQuantizeLinear": Case("DynamicQuantizeLinear", X, outputs=3, macs=none),
    "a Trilu": Case("Trilu", X, macs=none),
    "a CenterCropPad": Case("CenterCropPad", X, np.array([5, 5]), opset=18, macs=none, axes=[2, 3]),
    "a Concat of tensors and constants": Case("Concat", (1, 3, 7), stored(1, 5, 7), (1, 2, 7), stored(1, 1, 7), macs=none, axis=1),
    "a mean along several axes": Case("ReduceMean", (3, 5, 7, 2, 4), macs=none, axes=[1, 3]),
    "a maximum along all but the channels": Case("ReduceMax", (3, 5, 7, 4), macs=none, axes=[0, 2, 3], keepdims=0),
    "a Concat of rows": Case("Concat", (1, 3, 7), (1, 3, 7), (2, 3, 7), macs=none, axis=0),
    "a Concat": Case("Concat", X, (1, 4, 9, 7), macs=none, axis=1),
    "a Compress": Case("Compress", X, Given(np.ones(9, np.bool_)), macs=none, axis=2),
    "a ReverseSequence": Case("ReverseSequence", (9, 3, 7), np.array([4, 5, 9]), macs=none),
    "a Scatter": Case("Scatter", (9, 7), np.array([[1, 2]]), (1, 2), opset=10, macs=none),
    "a ScatterElements": Case("ScatterElements", (9, 7), np.array([[1, 2]]), (1, 2), macs=none),
    "an EyeLike": Case("EyeLike", (9, 7), macs=none),
    "a Multinomial": Case("Multinomial", (1, 7), macs=none, sample_size=31),
    "a Unique": Case("Unique", (31,), macs=none),
    "an AffineGrid": Case("AffineGrid", (1, 2, 3), np.array([1, 3, 9, 7]), opset=20, macs=none),
    "a Col2Im": Case("Col2Im", (1, 12, 20), np.array([6, 5]), np.array([2, 2]), opset=18, macs=none),
    "a MaxRoiPool": Case("MaxRoiPool", X, Given(np.array([[0, 0, 0, 3, 3]], F)), macs=none, pooled_shape=[2, 2]),
    "a RoiAlign": Case("RoiAlign", X, Given(np.array([[0, 0, 3, 3]], F)), np.array([0]), macs=none, output_height=3, output_width=3),
    "a MaxUnpool": Case("MaxUnpool", (1, 1, 2, 2), Given(np.array([[[[0, 2], [8, 10]]]])), macs=none, kernel_shape=[2, 2], strides=[2, 2]),
    "a NonMaxSuppression": Case(
        "NonMaxSuppression", Given(np.array([[[0, 0, 1, 1], [2, 2, 3, 3]]], F)), (1, 1, 2), np.array([2]), macs=none
    ),
    "a mixture of experts": Case(
        f"{MS}/MoE", (10, 32), (10, 5), stored(5, 48, 32), stored(5, 48), stored(5, 32, 48), stored(5, 32),
        macs=lambda run: run.operand(0)[0] * 3 * 2 * 32 * 48, weights=5 * 2 * 32 * 48, k=3, activation_type="gelu",
    ),
    "a mixture of experts of four bits": Case(
        f"{MS}/QMoE", (10, 32), (10, 5), bits8(5, 64, 16), np.ones((5, 64), F), None, bits8(5, 32, 32), np.ones((5, 32), F),
        macs=lambda run: run.operand(0)[0] * 3 * 2 * 32 * 64, weights=5 * 2 * 32 * 64, k=3, activation_type="gelu",
    ),
    "a table of four bits": Case(
        f"{MS}/GatherBlockQuantized", bits8(100, 16), ids(1, 7), np.ones((100, 2), F), macs=none, weights=3200, block_size=16, bits=4
    ),
    "a MatMulBnb4": Case(
        f"{MS}/MatMulBnb4", (1, 7, 64), np.ones(64 * 31 // 2, np.uint8), np.ones(62, F), macs=product, weights=64 * 31, K=64, N=31,
        block_size=32, quant_type=1,
    ),
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


#: What the oldest onnxruntime has no kernel for.
NEWER = {
    "deformable convolution",
    "Einsum of one, a sum",
    "a mixture of experts of four bits",
    "attention to a cache with room",
}


@pytest.mark.parametrize("name", CASES)
def test_macs_are_those_of_the_shapes_that_ran(tmp_path, name):
    if name in NEWER and onnx_opset_version() < max(23, CASES[name].opset):
        pytest.skip("needs an onnxruntime of the time of opset 23 or later")
    case = CASES[name]
    model = case.model()
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    net = read_model(tmp_path / "net.onnx")
    feeds = feeds_of(case, model)
    run = Run(model, feeds, runtime_tensors(model, feeds))
    batch = next((note.values["batch"] for note in net.warnings if note.code == "import.batch"), 1)
    assert batch * net.workload.macs == case.macs(run)
    assert sum(layer.weights for layer in net.workload if not isinstance(layer, Opaque)) == case.weights
    assert not [warning for warning in net.warnings if warning.code == "import.opaque"]
    assert run["op_out"].size in {batch * layer.outputs for layer in net.workload}


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


@pytest.mark.parametrize(
    "shapes, positions, keys", [(((1, 10, 64), (1, 13, 8, 2, 8)), 10, 13), (((1, 11, 8, 3, 8),), 11, 11)]
)
def test_packed_heads_that_the_processor_has_no_kernel_for(tmp_path, shapes, positions, keys):
    """Eight heads of eight values, as the shapes of a GPU's kernel say."""
    case = Case(f"{MS}/MultiHeadAttention", *shapes, macs=none, num_heads=8)
    (tmp_path / "net.onnx").write_bytes(case.model().SerializeToString())
    net = read_model(tmp_path / "net.onnx").workload
    assert net.macs == 2 * positions * keys * 64
    assert net["op"].output.shape == (positions, 64)


def test_the_room_of_a_shared_cache_is_not_attended(tmp_path):
    """One new position behind 30 in a buffer of 128, by the operator's definition: processors have no kernel."""
    g = Graph()
    names = [g.input(name, [1, 1, 16]) for name in "qkv"]
    past = [g.input(name, [1, 2, 128, 8]) for name in ("keys", "values")]
    length = g.constant("length", np.array([30], np.int32))
    out = g.op("DecoderMaskedMultiHeadAttention", *names, "", "", *past, length, domain=MS, outputs=3, num_heads=2,
               past_present_share_buffer=1, name="op")  # fmt: skip
    for name in out:
        g.output(name)
    (tmp_path / "net.onnx").write_bytes(g.model(domains=[MS], check=False).SerializeToString())
    net = read_model(tmp_path / "net.onnx").workload
    assert (net.macs, [layer.name for layer in net]) == (2 * 31 * 16, ["op"])


def test_stored_keys_say_what_a_causal_mask_leaves(tmp_path):
    case = Case("Attention", (1, 1, 5, 16), stored(1, 1, 5, 16), stored(1, 1, 5, 16), macs=none, opset=23, is_causal=1)
    (tmp_path / "net.onnx").write_bytes(case.model().SerializeToString())
    (told,) = (w for w in read_model(tmp_path / "net.onnx").warnings if w.code == "import.stored_mask")
    assert (told.values["pairs"], told.values["seen"]) == (25, 15)


@pytest.mark.parametrize("opset", [7, 9, 10, 12, 13])
def test_a_mask_of_dropout_has_the_shape_of_its_input(tmp_path, opset):
    g = Graph(opset=opset)
    out, mask = g.op("Dropout", g.input("x", [1, 31, 7]), name="drop", outputs=2)
    g.output(g.op("Relu", out, name="relu"))
    g.output(g.op("Not", mask, name="not") if opset > 9 else mask)
    (tmp_path / "net.onnx").write_bytes(g.model(check=False).SerializeToString())
    net = read_model(tmp_path / "net.onnx")
    assert net.workload["relu"].output.shape == (31, 7)
    assert not net.warnings


@pytest.mark.parametrize(
    "equation, shapes",
    [
        (",".join(["abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"] * 2) + "->a", [(1,) * 52] * 2),
        ("ij,jk->ik", [(10**9, 10**9), (10**9, 10**9)]),
        ("ij,jk", [(3, 4), (5, 6)]),
        ("ij,jk->il", [(3, 4), (4, 6)]),
        ("ij", [(3, 4), (4, 6)]),
        ("...,...->...", [(3, 4), (4, 6)]),
        ("ijk,jk->i", [(3, 4), (4, 6)]),
        (",".join("ij" for _ in range(300)), [(31, 31)] * 300),
    ],
)
def test_equations_that_fit_nothing_are_named_or_are_rows(tmp_path, equation, shapes):
    """None hangs, none ends in a traceback."""
    model = Case("Einsum", *shapes, macs=none, equation=equation).model()
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    with contextlib.suppress(InputError):
        assert read_model(tmp_path / "net.onnx").workload.macs >= 0


#: Operators that onnxruntime has no kernel for on processors, or that stand in other tests in networks.
ELSEWHERE = {
    "com.microsoft.BiasAdd", "com.microsoft.GroupNorm", "com.microsoft.NhwcMaxPool", "com.microsoft.SkipGroupNorm", "CumProd", "TensorScatter",
    "BitCast", "com.microsoft.DecoderMaskedMultiHeadAttention", "Upsample", "GRU", "RNN", "LSTM", "Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze",
}  # fmt: skip


def test_every_operator_of_the_table_runs():
    kinds = {case.kind.replace("/", ".") for case in CASES.values()}
    plain = {QUANTIZED[kind][0] if kind in QUANTIZED else kind for kind in kinds}
    assert {*MAKERS} - plain - ELSEWHERE == set()


def test_the_table_says_who_has_macs():
    counted = {name: not fate.counted.startswith("no") for fate in operator_fates([]) for name in fate.operators}
    for case in CASES.values():
        if case.kind != "Einsum":  # of one operand it has none
            assert counted[case.kind.replace("/", ".")] == (case.macs is not none)


def test_a_size_that_is_a_question_mark_has_no_name(tmp_path):
    """Paddle's exporter calls all open sizes so; they need not be equal."""
    g = Graph()
    g.output(g.op("Relu", g.input("x", ["?", 3, "?", "?"]), name="relu"))
    (tmp_path / "net.onnx").write_bytes(g.model(check=False).SerializeToString())
    net = read_model(tmp_path / "net.onnx", shape={"x": (1, 3, 31, 127)}).workload
    assert net["relu"].output.shape == (3, 31, 127)


@pytest.mark.parametrize("place", [5, 6])
def test_states_that_do_not_fit_are_refused(tmp_path, place):
    def case(hidden):
        states = [None, None, None, None]
        states[place - 3] = (1, 3, hidden)
        weights = stored(1, 20, 13), stored(1, 20, 5)
        return Case("LSTM", (31, 3, 13), *weights, *states, macs=gates(4), outputs=3, hidden_size=5).model()

    (tmp_path / "net.onnx").write_bytes(case(5).SerializeToString())
    assert read_model(tmp_path / "net.onnx").workload.macs == 31 * 3 * 20 * 18
    (tmp_path / "net.onnx").write_bytes(case(7).SerializeToString())
    with pytest.raises(InputError, match=r"its state must be 1 x \d x 5, not 1 x \d x 7"):
        read_model(tmp_path / "net.onnx")


def test_a_sparse_constant_is_a_matrix(tmp_path):
    g = Graph()
    values = helper.make_tensor("v", 1, [3], [1.0, 2.0, 3.0])
    places = helper.make_tensor("i", 7, [3], [0, 9, 130])
    w = g.op("Constant", sparse_value=helper.make_sparse_tensor(values, places, [31, 7]), name="w")
    g.output(g.op("MatMul", g.input("x", [1, 31]), w, name="op"))
    model = g.model(check=False)
    runtime_tensors(model, {"x": np.ones((1, 31), np.float32)})
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    net = read_model(tmp_path / "net.onnx").workload
    assert (net.macs, net.weights) == (31 * 7, 31 * 7)
    assert net["op"].weight.density == pytest.approx(3 / (31 * 7))


def test_scales_of_blocks_are_a_note(tmp_path):
    """A scale of 4 bytes for each block of 32 of the 31 columns, and a zero point of half a byte."""
    packed, scales, zeros = nbits(1, 128, 31), np.ones((31 * 4,), F), np.zeros((31 * 2,), np.uint8)
    case = Case(f"{MS}/MatMulNBits", (1, 128), packed, scales, zeros, macs=none, K=128, N=31, bits=4, block_size=32)
    (tmp_path / "net.onnx").write_bytes(case.model().SerializeToString())
    (told,) = (w for w in read_model(tmp_path / "net.onnx").warnings if w.code == "import.scales")
    assert told.values == {"bytes": 31 * 4 * 4 + 31 * 2}
