"""How each operator of TFLite is counted and priced, for the docs."""

from __future__ import annotations

from collections.abc import Iterable

from hwsim.workload.fate import Fate
from hwsim.workload.tflite.arena_requests import SCRATCH
from hwsim.workload.tflite.batch_axis import SHAPE_OPERATORS
from hwsim.workload.tflite.converter import OF_VARIABLES
from hwsim.workload.tflite.operators import ACTIVATIONS, BYTES, ELEMENTWISE, MAKERS, MOVES, REDUCTIONS
from hwsim.workload.tflite.recurrent import RECURRENT
from hwsim.workload.tflite.subgraphs import BRANCHES, CALLS

__all__ = ["operator_fates", "scratch_operators"]

_STREAM = "a pass over its values"
_MOVED = "bytes read and written; `RESHAPE` and its like are views"
_RECURRENT = "a product a step that waits for the step before"


def _fates() -> Iterable[Fate]:
    yield Fate("outputs x taps x input channels of a group; taps on padding count", "a convolution", ("CONV_2D",))
    yield Fate("outputs x taps", "a depthwise convolution", ("DEPTHWISE_CONV_2D",))
    yield Fate("outputs x taps x input channels of a group", "a GEMM by im2col", ("CONV_3D",))
    yield Fate(
        "inputs x taps x filters", "a pointwise convolution to all taps, a pass that sums them, one for the bias",
        ("TRANSPOSE_CONV", "CONV_3D_TRANSPOSE", "Convolution2DTransposeBias"),
    )  # fmt: skip
    yield Fate("rows x inputs x outputs", "a GEMM with stored weights, or of two activations", ("FULLY_CONNECTED",))
    yield Fate(
        "matrices x m x n x k, after broadcasting", "a GEMM with stored weights, or of two activations; a factor that "
        "is used again is copied where its matrices are not next to each other", ("BATCH_MATMUL",),
    )  # fmt: skip
    yield Fate("filters x (inputs + steps)", "a GEMM, a move of the state, a grouped convolution", ("SVDF",))
    yield Fate(
        "sequences x steps x gates x hidden x (input + state), and hidden x state of a projection; four gates of an "
        "LSTM, three where input and forget gate are coupled, one of an RNN", _RECURRENT, RECURRENT,
    )  # fmt: skip
    yield Fate("a row of the table for each id", "bytes of those rows", ("EMBEDDING_LOOKUP", "GATHER"))
    yield Fate("no MACs; an operation a value of each window", "a pool", _of("POOL_2D"))
    yield Fate("no MACs; an operation a value read", "a pool", tuple(REDUCTIONS))
    yield Fate("no MACs; an operation a value for each operand but the first", _STREAM, (*ELEMENTWISE, "SQUARE"))
    yield Fate("no MACs; an operation a value", _STREAM, tuple(ACTIVATIONS))
    yield Fate("no MACs; five operations a value", _STREAM, ("SOFTMAX", "LOG_SOFTMAX", *_of("NORMALIZATION")))
    yield Fate("no MACs", _MOVED, (*MOVES, "CONCATENATION", "PACK"))
    yield Fate("no MACs; stored constants as weights", "bytes read and written", BYTES)
    yield Fate(
        "of the branch that runs or has more MACs; of one trip of a loop, with its condition",
        "the operators inside",
        BRANCHES,
    )
    yield Fate("of the subgraph that it runs", "the operators inside", CALLS)
    yield Fate("no MACs", "a copy where a variable is written; else no layer", OF_VARIABLES)
    yield Fate("none: a constant, with what is computed of it", "no layer", SHAPE_OPERATORS)


def _of(ending: str) -> tuple[str, ...]:
    return tuple(name for name in MAKERS if name.endswith(ending))


def operator_fates(names: Iterable[str]) -> list[Fate]:
    """The operators of TFLite by how they are counted and priced; last, those of `names` without a model."""
    fates = [Fate(fate.counted, fate.priced, tuple(sorted(fate.operators))) for fate in _fates()]
    modeled = [name for fate in fates for name in fate.operators]
    readable = (*MAKERS, *SHAPE_OPERATORS, *BRANCHES, *CALLS, *OF_VARIABLES)
    if sorted(modeled) != sorted(readable):
        raise AssertionError(f"each operator must be in one row: {sorted({*modeled} ^ {*readable})}")
    others = {name if not name.startswith("STABLEHLO_") else "STABLEHLO_..." for name in {*names} - {*modeled}}
    unknown = tuple(sorted(others - {"CUSTOM", "DELEGATE", "PLACEHOLDER_FOR_GREATER_OP_CODES"}))
    return [*fates, Fate("no MACs; stored constants as weights", "bytes read and written, and a warning", unknown)]


def scratch_operators() -> tuple[str, ...]:
    """Operators whose reference kernels ask for working memory."""
    return tuple(sorted(SCRATCH))
