"""The form of a trace file: what keys a network, a block and a line for each kind of layer have.

Only the form is checked here: what a size may be is checked by the layer that is made of it. The module is long because
it is a list: one small class for each kind of line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Annotated, Any, ClassVar, TypeAlias

from pydantic import BeforeValidator, Discriminator, Field, Tag
from pydantic_core import CoreSchema, core_schema

from hwsim.errors import nearest
from hwsim.fields import Name, Share, Spec
from hwsim.workload.layer import ACTIVATIONS
from hwsim.workload.number_format import DTYPES
from hwsim.workload.pointwise import ELEMENTWISE
from hwsim.workload.tensor import FORMATS

__all__ = ["KINDS", "SPECS", "LayerLine", "LayerSpec", "UseSpec", "WorkloadSpec", "parameter"]

_PARAMETER = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]{0,39})\Z")
_PARAMETER_SCHEMA = {"type": "string", "pattern": r"^\$[A-Za-z_]\w*$", "description": "a parameter of the block"}


def parameter(value: object) -> str | None:
    """The name of the parameter that a value stands for: ``k`` of ``$k``."""
    match = _PARAMETER.match(value) if isinstance(value, str) else None
    return match[1] if match else None


class _Value:
    """Pydantic metadata of a field that takes what `fits`, or the parameter of a block in its place."""

    def __init__(
        self, wanted: str, fits: Callable[[object], bool], schema: dict[str, Any], names: Collection[str] = ()
    ):
        self.wanted = wanted
        self.fits = fits
        self.schema = {"anyOf": [schema, _PARAMETER_SCHEMA]}
        self.names = names

    def read(self, value: object) -> object:
        if parameter(value) is None and not self.fits(value):
            near = nearest(value, self.names) if self.names else ""
            raise ValueError(f"must be {self.wanted}, not {value!r:.60}{near}")
        return value

    def __get_pydantic_core_schema__(self, source: object, handler: object) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, core: object, handler: object) -> dict[str, Any]:
        if self.names:  # those that there are now
            self.schema["anyOf"][0]["enum"] = list(self.names)
        return self.schema


def _one_of(names: Collection[str]) -> _Value:
    """A name of a registry, as it is when a file is read."""
    return _Value("one of the known names", lambda value: isinstance(value, str) and value in names, {}, names)


def _words(*names: str) -> _Value:
    return _one_of(names)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_ints(value: object) -> bool:
    return isinstance(value, list) and 0 < len(value) <= 64 and all(_is_int(item) for item in value)


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _is_shapes(value: object) -> bool:
    return isinstance(value, list) and 0 < len(value) <= 1000 and all(map(_is_ints, value))


_INT = {"type": "integer", "minimum": 0}
_INTS = {"type": "array", "items": _INT}
Int: TypeAlias = Annotated[Any, _Value("an integer", _is_int, _INT)]
Ints: TypeAlias = Annotated[Any, _Value("a list of integers", _is_ints, _INTS)]
OneOrMore: TypeAlias = Annotated[
    Any, _Value("an integer or a list of them", lambda v: _is_int(v) or _is_ints(v), {"anyOf": [_INT, _INTS]})
]
Pad: TypeAlias = Annotated[
    Any,
    _Value(
        "an integer, a list of 2 or 4 of them, 'same' or 'valid'",
        lambda v: _is_int(v) or _is_ints(v) or v in ("same", "valid"),
        {"anyOf": [_INT, _INTS, {"enum": ["same", "valid"]}]},
    ),
]
Flag: TypeAlias = Annotated[Any, _Value("true or false", lambda value: isinstance(value, bool), {"type": "boolean"})]
Act: TypeAlias = Annotated[Any, _words(*ACTIVATIONS)]
Dtype: TypeAlias = Annotated[Any, _one_of(DTYPES)]
Format: TypeAlias = Annotated[Any, _words(*FORMATS)]
PoolType: TypeAlias = Annotated[Any, _words("max", "avg")]
ElementwiseType: TypeAlias = Annotated[Any, _words(*ELEMENTWISE)]
NormType: TypeAlias = Annotated[Any, _words("layer", "rms", "batch", "instance", "group", "lrn")]
ExpertType: TypeAlias = Annotated[Any, _words("up", "down")]
MoveType: TypeAlias = Annotated[Any, _words("reshape", "transpose", "copy", "slice", "pad", "resize")]
Shapes: TypeAlias = Annotated[Any, _Value("a list of shapes", _is_shapes, {"type": "array", "items": _INTS})]
Text: TypeAlias = Annotated[Any, _Value("a word", lambda value: isinstance(value, str), {"type": "string"})]
Argument: TypeAlias = Annotated[
    Any,
    _Value(
        "an integer, a word, true, false or a list of integers",
        lambda value: isinstance(value, (int, str)) or _is_ints(value),
        {"type": ["integer", "string", "boolean", "array"]},
    ),
]
From: TypeAlias = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=200)]],
    BeforeValidator(_listed, json_schema_input_type=str | list[str]),
    Field(min_length=1, max_length=1000),
]


class TensorChange(Spec):
    """Properties of a tensor that differ from the file's own."""

    dtype: Dtype | None = None
    density: Share | None = None
    pattern: str | None = None
    format: Format | None = None


def _tensor(value: object) -> object:
    return {"dtype": value} if isinstance(value, str) else value


def _density(value: object) -> object:
    return {"density": value} if isinstance(value, (int, float)) and not isinstance(value, bool) else value


TensorGiven: TypeAlias = Annotated[TensorChange, BeforeValidator(_tensor, json_schema_input_type=str | TensorChange)]
DensityGiven: TypeAlias = Annotated[
    TensorChange, BeforeValidator(_density, json_schema_input_type=float | TensorChange)
]


class Dtypes(Spec):
    """The number formats of all layers that say nothing else."""

    input: Dtype = "int8"
    weight: Dtype = "int8"
    output: Dtype = "int8"


def _dtypes(value: object) -> object:
    return {"input": value, "weight": value, "output": value} if isinstance(value, str) else value


class Densities(Spec):
    """Shares of values that are not zero, of one layer."""

    input: DensityGiven | None = None
    weight: DensityGiven | None = None
    output: DensityGiven | None = None


class LayerSpec(Spec):
    """What a line of any kind may have."""

    from_: From | None = Field(None, alias="from", description="the layers that are read; the one before if left out")
    input: TensorGiven | None = None
    weight: TensorGiven | None = None
    output: TensorGiven | None = None
    kind: ClassVar[str] = ""


class _ImageSpec(LayerSpec):
    c: Int | None = None
    h: Int | None = None
    w: Int | None = None
    r: Int | None = None
    s: Int | None = None
    stride: OneOrMore | None = None
    pad: Pad | None = None
    dilation: OneOrMore | None = None


class _ConvSpec(_ImageSpec):
    bias: Flag | None = None
    act: Act | None = None
    dead_out: Int | None = None
    dead_in: Int | None = None


class ConvSpec(_ConvSpec):
    """A convolution."""

    conv: Name
    k: Int
    groups: Int | None = None
    kind: ClassVar[str] = "conv"


class DwconvSpec(_ConvSpec):
    """A depthwise convolution: `multiplier` output channels for each input channel."""

    dwconv: Name
    multiplier: Int | None = None
    kind: ClassVar[str] = "dwconv"


class PoolSpec(_ImageSpec):
    """A pooling; over the whole input where no window is given."""

    pool: Name
    type: PoolType | None = None
    ceil: Flag | None = None
    kind: ClassVar[str] = "pool"


class _DenseSpec(LayerSpec):
    n: Int
    k: Int | None = None
    bias: Flag | None = None
    act: Act | None = None
    dead_out: Int | None = None
    dead_in: Int | None = None


class FcSpec(_DenseSpec):
    """A fully connected layer: all of its input at once, n outputs."""

    fc: Name
    kind: ClassVar[str] = "fc"


class GemmSpec(_DenseSpec):
    """A matrix product with stored weights: m rows of k inputs, n outputs."""

    gemm: Name
    m: Int | None = None
    kind: ClassVar[str] = "gemm"


class MatmulSpec(LayerSpec):
    """b products of two activations: m x k by k x n."""

    matmul: Name
    b: Int | None = None
    m: Int
    n: Int
    k: Int
    cached: Int | None = Field(None, description="values of the second operand that are cached in memory")
    kind: ClassVar[str] = "matmul"


class AttentionSpec(LayerSpec):
    """softmax(Q K^T) V; it reads queries, new keys and new values, or queries alone where all others are cached."""

    attention: Name
    queries: Int | None = None
    context: Int | None = Field(None, description="positions of keys and values, new and cached ones")
    heads: Int
    kv_heads: Int | None = Field(None, description="heads of keys and values; heads if left out")
    dim: Int = Field(description="values of a query and key of one head")
    value_dim: Int | None = Field(None, description="values of a value of one head; dim if left out")
    causal: Flag | None = None
    window: Int | None = Field(None, description="the last positions that a query attends to; 0: all")
    cached: Int | None = Field(None, description="positions whose keys and values are cached in memory")
    kind: ClassVar[str] = "attention"


class MoeSpec(LayerSpec):
    """A mixture of experts in place of a feed-forward block."""

    moe: Name
    tokens: Int | None = None
    hidden: Int | None = None
    intermediate: Int
    experts: Int
    topk: Int
    shared: Int | None = Field(None, description="shared experts, which every token uses in addition")
    gated: Flag | None = Field(None, description="three matrices per expert (default), or two")
    act: Act | None = None
    router: Flag | None = Field(None, description="whether the router GEMM is part of the layer; default true")
    bias: Flag | None = None
    kind: ClassVar[str] = "moe"


class ExpertGemmSpec(LayerSpec):
    """A matrix product with the weights of topk experts for each token; it reads rows and the shares of experts."""

    expert_gemm: Name
    type: ExpertType | None = None
    tokens: Int | None = None
    experts: Int | None = None
    topk: Int
    n: Int
    k: Int | None = None
    bias: Flag | None = None
    act: Act | None = None
    kind: ClassVar[str] = "expert_gemm"


class _ShapedSpec(LayerSpec):
    shape: Ints | None = None


class _OperandsSpec(_ShapedSpec):
    n: Int | None = None
    act: Act | None = None


class AddSpec(_OperandsSpec):
    """The sum of tensors of one shape; in a plain trace there are n of them, else as many as it reads."""

    add: Name
    kind: ClassVar[str] = "add"


class MulSpec(_OperandsSpec):
    """The product, value by value, of tensors of one shape."""

    mul: Name
    kind: ClassVar[str] = "mul"


class ElementwiseSpec(_OperandsSpec):
    """Tensors of one shape combined value by value."""

    elementwise: Name
    type: ElementwiseType
    kind: ClassVar[str] = "elementwise"


class ActivationSpec(_ShapedSpec):
    """A function of each value that no other layer has fused."""

    activation: Name
    type: Act
    kind: ClassVar[str] = "activation"


class NormSpec(_ShapedSpec):
    """A normalization that is not folded into other weights."""

    norm: Name
    type: NormType
    kind: ClassVar[str] = "norm"


class SoftmaxSpec(_ShapedSpec):
    """A softmax over the last axis."""

    softmax: Name
    kind: ClassVar[str] = "softmax"


class ConcatSpec(LayerSpec):
    """Tensors concatenated along an axis, by default 0 (channels)."""

    concat: Name
    axis: Int | None = None
    before: Ints | None = None
    parts: Ints | None = None
    rest: Ints | None = None
    kind: ClassVar[str] = "concat"


class MoveSpec(_ShapedSpec):
    """Values that only move."""

    move: Name
    type: MoveType | None = None
    to: Ints | None = None
    kind: ClassVar[str] = "move"


class _RecurrentSpec(LayerSpec):
    hidden: Int
    input_size: Int | None = None
    steps: Int | None = None
    bias: Flag | None = None


class LstmSpec(_RecurrentSpec):
    """A long short-term memory."""

    lstm: Name
    kind: ClassVar[str] = "lstm"


class GruSpec(_RecurrentSpec):
    """A gated recurrent unit."""

    gru: Name
    kind: ClassVar[str] = "gru"


class EmbeddingSpec(LayerSpec):
    """The look-up of rows in a table."""

    embedding: Name
    rows: Int
    dim: Int
    tokens: Int | None = None
    kind: ClassVar[str] = "embedding"


class OpaqueSpec(LayerSpec):
    """An operator that hwsim has no model of: what it moves, and the constants that it stores."""

    opaque: Name
    type: Text
    shapes: Shapes | None = None
    to: Ints
    stored: Int | None = None
    kind: ClassVar[str] = "opaque"


class UseSpec(Spec):
    """A block in place: its layers are called NAME_layer, and what reads NAME reads its last layer."""

    use: Name
    name: Name
    with_: dict[str, Argument] = Field({}, alias="with", description="the parameters of the block")
    from_: From | None = Field(None, alias="from")
    kind: ClassVar[str] = "use"


SPECS: tuple[type[Spec], ...] = (
    ConvSpec, DwconvSpec, PoolSpec, FcSpec, GemmSpec, MatmulSpec, AttentionSpec, MoeSpec, ExpertGemmSpec,
    AddSpec, MulSpec, ElementwiseSpec, ActivationSpec, NormSpec, SoftmaxSpec, ConcatSpec, MoveSpec,
    LstmSpec, GruSpec, EmbeddingSpec, OpaqueSpec, UseSpec,
)  # fmt: skip
#: The key of each kind of line, whose value is the layer's name.
KINDS: tuple[str, ...] = tuple(str(spec.kind) for spec in SPECS)  # type: ignore[attr-defined]


def _one_kind(line: object) -> object:
    if not isinstance(line, dict):
        raise ValueError(f"must be a layer such as {{conv: conv1, k: 64, r: 3}}, not {line!r:.60}")
    if not any(key in line for key in KINDS):
        near = next((hint for hint in (nearest(key, KINDS) for key in line) if "nearest" in hint), nearest("", KINDS))
        raise ValueError(f"must start with a kind of layer and its name, such as 'conv: conv1'{near}")
    return line


def _tag(line: Any) -> str:
    """Which kind a line is. The tag stands in the place of a fault, so it may not be a key of the line itself."""
    keys = line if isinstance(line, dict) else (getattr(line, "kind", ""),)
    return f"a {next((key for key in keys if key in KINDS), '')}"


LayerLine: TypeAlias = Annotated[
    Annotated[ConvSpec, Tag("a conv")]
    | Annotated[DwconvSpec, Tag("a dwconv")]
    | Annotated[PoolSpec, Tag("a pool")]
    | Annotated[FcSpec, Tag("a fc")]
    | Annotated[GemmSpec, Tag("a gemm")]
    | Annotated[MatmulSpec, Tag("a matmul")]
    | Annotated[AttentionSpec, Tag("a attention")]
    | Annotated[MoeSpec, Tag("a moe")]
    | Annotated[ExpertGemmSpec, Tag("a expert_gemm")]
    | Annotated[AddSpec, Tag("a add")]
    | Annotated[MulSpec, Tag("a mul")]
    | Annotated[ElementwiseSpec, Tag("a elementwise")]
    | Annotated[ActivationSpec, Tag("a activation")]
    | Annotated[NormSpec, Tag("a norm")]
    | Annotated[SoftmaxSpec, Tag("a softmax")]
    | Annotated[ConcatSpec, Tag("a concat")]
    | Annotated[MoveSpec, Tag("a move")]
    | Annotated[LstmSpec, Tag("a lstm")]
    | Annotated[GruSpec, Tag("a gru")]
    | Annotated[EmbeddingSpec, Tag("a embedding")]
    | Annotated[OpaqueSpec, Tag("a opaque")]
    | Annotated[UseSpec, Tag("a use")],
    Discriminator(_tag),
    BeforeValidator(_one_kind),
]


class WorkloadSpec(Spec):
    """A network: its layers, or another network (`base`) with other number formats and densities."""

    name: Name
    source: str = Field(min_length=1, max_length=2000, description="where the shapes are from")
    digest: str | None = Field(
        None, pattern=r"^sha256:[0-9a-f]{64}$", description="of the model file that the layers are from"
    )
    base: Name | None = Field(None, description="another workload whose layers these are")
    graph: bool = Field(True, strict=True, description="false: layers are an unordered list without dataflow edges")
    input: list[int] | None = Field(None, min_length=1, max_length=8, description="its shape: [3, 224, 224]")
    dtype: Annotated[Dtypes, BeforeValidator(_dtypes, json_schema_input_type=str | Dtypes)] | None = None
    blocks: dict[Name, Annotated[list[LayerLine], Field(min_length=1)]] = Field({}, description="lines to use again")
    layers: list[LayerLine] = Field([], description="one line a layer, each after those it reads")
    density: dict[str, Densities] = Field({}, description="shares of values that are not zero, by layer")
