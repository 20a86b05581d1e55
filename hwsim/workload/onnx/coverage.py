"""How each operator of ONNX is counted and priced, for the docs."""

from __future__ import annotations

from collections.abc import Iterable

from hwsim.workload.fate import Fate
from hwsim.workload.onnx.canonical import MS, QUANTIZED
from hwsim.workload.onnx.control_flow import INLINED
from hwsim.workload.onnx.folding import FOLDED
from hwsim.workload.onnx.lowering import FREE, UNARY
from hwsim.workload.onnx.operators import BYTES, ELEMENTWISE, MAKERS, MOVES, NORMS, POOLS, REDUCED

__all__ = ["operator_fates"]

_SKIP = ("SkipLayerNormalization", "SkipSimplifiedLayerNormalization", "SkipGroupNorm", "GroupNorm")
_STREAM = "a pass over its values"
_ATTENTION = "a GEMM of activations for scores, a softmax, a GEMM for the weighted sums"


def _fates() -> Iterable[Fate]:
    yield Fate(
        "outputs x taps x input channels of a group; taps on padding count", "a convolution; of volumes, and with "
        "computed weights, a GEMM by im2col", ("Conv",),
    )  # fmt: skip
    yield Fate(
        "inputs x taps x filters of a group",
        "a pointwise convolution to all taps, a pass that sums them, one for the bias",
        ("ConvTranspose",),
    )  # fmt: skip
    yield Fate(
        "outputs x taps x input channels of a group",
        "bytes of the samples, and a pointwise convolution",
        ("DeformConv",),
    )
    yield Fate(
        "matrices x m x n x k, after broadcasting", "a GEMM with stored weights, or of two activations",
        ("Gemm", "MatMul", f"{MS}FusedMatMul"),
    )  # fmt: skip
    yield Fate("rows x n x k", "a GEMM with stored weights of 2 to 8 bits", (f"{MS}MatMulNBits", f"{MS}MatMulBnb4"))
    yield Fate(
        "of each two operands in turn: the sizes of all their axes multiplied",
        "GEMMs; sums, transpositions and diagonals as rows of their own", ("Einsum",),
    )  # fmt: skip
    yield Fate(
        "directions x steps x sequences x gates x hidden x (inputs + hidden); four gates of an LSTM, three of a GRU, "
        "one of an RNN", "a product a step that waits for the step before", ("LSTM", "GRU", "RNN"),
    )  # fmt: skip
    yield Fate(
        "heads x attended pairs x (values of a query + values of a value); cached positions are attended too; "
        "a causal query attends to no later position", f"{_ATTENTION}; all pairs are executed",
        ("Attention", f"{MS}MultiHeadAttention", f"{MS}DecoderMaskedMultiHeadAttention", f"{MS}GroupQueryAttention"),
    )  # fmt: skip
    yield Fate(
        "as attention, and positions x inputs x all projections", f"a GEMM with stored weights, slices, {_ATTENTION}",
        (f"{MS}Attention",),
    )  # fmt: skip
    yield Fate(
        "tokens x chosen experts x matrices x hidden x intermediate", "GEMMs of the experts that the tokens use",
        (f"{MS}MoE", f"{MS}QMoE"),
    )  # fmt: skip
    yield Fate(
        "no MACs; a row of the table for each id", "bytes of those rows", ("Gather", f"{MS}GatherBlockQuantized")
    )
    yield Fate(
        "no MACs; look-ups of words, positions and segments, a sum and a norm", "rows of these kinds",
        (f"{MS}EmbedLayerNormalization",),
    )  # fmt: skip
    yield Fate("no MACs; an operation a value of each window", "a pool", tuple(POOLS))
    yield Fate("no MACs; an operation a value read", "a pool", tuple(REDUCED))
    yield Fate("no MACs; an operation a value for each operand but the first", _STREAM, tuple(ELEMENTWISE))
    yield Fate("no MACs; an operation a value", _STREAM, (*UNARY, "RotaryEmbedding"))
    yield Fate("no MACs; five operations a value", _STREAM, ("Softmax", "LogSoftmax", *NORMS))
    yield Fate(
        "no MACs; a sum and five operations a value", "two passes over its values",
        tuple(f"{MS}{name}" for name in _SKIP),
    )  # fmt: skip
    moves = [name for name in (*MOVES, "Concat") if name not in FREE and name != "Gather"]
    yield Fate(
        "no MACs; nothing where no value moves, as in a full slice or a transposition of axes of size 1",
        "bytes read and written", tuple(moves),
    )  # fmt: skip
    yield Fate("no MACs; constants count as stored", "bytes read and written", tuple(BYTES))
    yield Fate("nothing: another shape of the same bytes", "no row", tuple(FREE))


def operator_fates(names: Iterable[str]) -> list[Fate]:
    """The operators of ONNX and onnxruntime by how they are counted and priced; last, those of `names` without a model.

    A quantized operator is in the row of the plain one.
    """
    forms: dict[str, list[str]] = {}
    for name, (plain, _) in QUANTIZED.items():
        forms.setdefault(plain, []).append(name)
    fates = [
        Fate(
            fate.counted,
            fate.priced,
            tuple(sorted({x for name in fate.operators for x in (name, *forms.get(name, ()))})),
        )
        for fate in _fates()
    ]
    modeled = [name for fate in fates for name in fate.operators]
    readable = {*MAKERS, *QUANTIZED, *FREE}
    if sorted(modeled) != sorted(readable):
        raise AssertionError(f"each operator must be in one row: {sorted({*modeled} ^ readable)}")
    constant = sorted(({*FOLDED, "Constant", "Shape", "Size"}) - {*modeled})
    fates.append(Fate("nothing: its values follow from shapes and constants", "no row", tuple(constant)))
    lines = sorted({*INLINED} & {*names})
    unknown = tuple(sorted({*names} - {*modeled, *constant, *lines}))
    fates.append(Fate("what is inside of it", "the rows of its body", tuple(lines)))
    return [*fates, Fate("no MACs; stored constants as weights", "bytes read and written, and a warning", unknown)]
