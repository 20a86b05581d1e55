"""The base of every layer kind: a name, three tensors, and counts that follow from the shape."""

from __future__ import annotations

import copy
import math
import operator
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Generic, Self, TypeAlias, TypeVar, dataclass_transform, overload

from hwsim.errors import Fault, InputError, excerpt, nearest
from hwsim.message import Message
from hwsim.workload.line import LINES, Line, Shape
from hwsim.workload.product import Product, Stream, StreamKind
from hwsim.workload.tensor import TensorLike, TensorSpec, TensorType

__all__ = [
    "ACTIVATIONS",
    "MAX_COUNT",
    "MAX_RANK",
    "MAX_SIZE",
    "Converted",
    "Layer",
    "OptionalInt",
    "Pads",
    "Pair",
    "Shape",
    "ShapeField",
    "ShapesField",
    "Sizes",
    "Sublayer",
    "kind",
    "tensor",
    "whole",
]

MAX_SIZE = 2**31
MAX_COUNT = 2**63 - 1
MAX_RANK = 8
ACTIVATIONS = (
    "none", "relu", "relu6", "leaky_relu", "prelu", "elu", "gelu", "silu", "swish", "hardswish", "sigmoid",
    "hardsigmoid", "tanh", "exp", "clip", "mish", "softplus", "selu", "celu", "softsign", "erf", "sqrt", "log", "abs",
    "neg", "reciprocal", "sin", "cos", "round", "sign", "not",
)  # fmt: skip

Given = TypeVar("Given")
Kept = TypeVar("Kept")
T = TypeVar("T")


class Converted(Generic[Given, Kept]):
    """A dataclass field that takes several forms and gives one, which the layer's `_settle` puts in place."""

    def __init__(self, default: Given) -> None:
        self._default = default

    def __set_name__(self, owner: object, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, layer: None, owner: object) -> Given: ...

    @overload
    def __get__(self, layer: object, owner: object) -> Kept: ...

    def __get__(self, layer: object | None, owner: object) -> Given | Kept:
        if layer is None:
            return self._default  # dataclasses ask the class for the default
        return layer.__dict__[self._name]  # type: ignore[no-any-return]

    def __set__(self, layer: object, value: Given) -> None:
        layer.__dict__[self._name] = value


Pair: TypeAlias = Converted[int | Sequence[int], tuple[int, int]]
Sizes: TypeAlias = Converted[int | Sequence[int], tuple[int, ...]]
OptionalInt: TypeAlias = Converted[int | None, int]
Pads: TypeAlias = Converted[int | str | Sequence[int], tuple[int, int, int, int]]
ShapeField: TypeAlias = Converted[Sequence[int], Shape]
ShapesField: TypeAlias = Converted[Sequence[Sequence[int]], tuple[Shape, ...]]
TensorField: TypeAlias = Converted[TensorLike, TensorType]
Sublayer: TypeAlias = "tuple[Layer, tuple[int | str, ...]]"
"""A layer that another is composed of, and what it reads: operands of the whole by number, other sublayers by name."""


def tensor(default: str) -> TensorField:
    """A field for a tensor's type, with a default dtype."""
    return Converted(default)


def whole(value: object) -> int | None:
    """The value as a plain int (numpy's ints are taken, bools and floats are not), or None."""
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except Exception:  # what an object's own __index__ raises
        return None


@dataclass_transform(kw_only_default=True, field_specifiers=(field,))
def kind(cls: type[T]) -> type[T]:
    """Make a frozen dataclass of a layer kind and register the lines that give it in a trace.

    It is frozen at run time only: for a frozen dataclass mypy forgets that `Converted` fields give another type than
    they take.
    """
    made = dataclass(frozen=True, kw_only=True)(cls)
    hints = made.__init__.__annotations__  # what is inherited is named as in the module of the base
    for base in cls.__mro__[1:-1]:
        scope = vars(sys.modules[base.__module__])
        hints.update({name: scope[hints[name]] for name in base.__annotations__ if hints.get(name) in scope})
    for line in cls.__dict__.get("_lines", ()):
        LINES[line.key] = replace(line, layer=made)
    return made


@kind
class Layer:
    """One layer of a network, as one inference (a batch of one) sees it.

    Every kind has these; shapes are without the batch, images are (channels, rows, columns).

    Attributes
    ----------
    name : str
    op : str
        The short name of the kind: ``conv``, ``dwconv``, ``gemm``, ``pool``, ...
    input, weight, output : TensorType
        Given as a dtype name, a mapping or a `TensorSpec`; default ``int8``. `weight` has the shape
        ``(0,)`` where a kind has none.
    macs, macs_live : int
        Multiply-accumulates by the shape, and without dead channels.
    weights, biases : int
        Stored parameters.
    inputs, outputs : int
        Values read (all operands together) and written.
    ops : int
        Scalar operations that are not multiply-accumulates: comparisons of a max pool, additions, exponentials.
    """

    name: str = field(kw_only=False)
    input: TensorField = tensor("int8")
    weight: TensorField = tensor("int8")
    output: TensorField = tensor("int8")

    _lines: ClassVar[tuple[Line, ...]] = ()  # of a trace; the first that gives a layer is written
    _op: ClassVar[str] = ""
    _sizes: ClassVar[tuple[str, ...]] = ()  # fields that must be positive integers
    _counts: ClassVar[tuple[str, ...]] = ()  # fields that must be integers, zero allowed
    _flags: ClassVar[tuple[str, ...]] = ()
    _names: ClassVar[dict[str, tuple[str, ...]]] = {}  # fields that must be one of some names

    def __post_init__(self) -> None:
        faults: list[str] = []
        for name in ("name", *self._names):
            if isinstance(value := getattr(self, name), str):
                self._put(name, str.__str__(value))  # a class of the caller's own may have methods of its own
        if not isinstance(self.name, str) or not 1 <= len(self.name.strip()) <= 200 or not self.name.isprintable():
            raise InputError(f"the name of a layer must be 1 to 200 printable characters, not {excerpt(self.name)}")
        for name, low in [(f, 1) for f in self._sizes] + [(f, 0) for f in self._counts]:
            self._put(name, self._integer(name, getattr(self, name), low, faults))
        flags = {name: getattr(self, name) for name in self._flags}
        faults.extend(
            f"{f} must be true or false, not {excerpt(v)}" for f, v in flags.items() if not isinstance(v, bool)
        )
        for name, valid in self._names.items():
            value = getattr(self, name)
            if not isinstance(value, str) or value not in valid:
                faults.append(f"{name} must be one of the known names, not {excerpt(value)}{nearest(value, valid)}")
        if not faults:
            faults.extend(self._settle())
        if not faults:
            faults.extend(self._tensors())
        if faults:
            raise InputError([Fault("", self.name, fault) for fault in faults])

    def _put(self, field: str, value: object) -> None:
        object.__setattr__(self, field, value)

    @staticmethod
    def _integer(field: str, given: object, low: int, faults: list[str]) -> int:
        value = whole(given)
        if value is None or not low <= value <= MAX_SIZE:
            faults.append(f"{field} must be an integer from {low} to 2^31, not {excerpt(given)}")
            return max(low, 1)
        return value

    def _optional(self, field: str, default: int, low: int, faults: list[str]) -> int:
        """Settle a field that may be left out."""
        given = self.__dict__[field]
        value = default if given is None else self._integer(field, given, low, faults)
        self._put(field, value)
        return value

    def _integers(self, field: str, given: object, count: int, low: int, faults: list[str]) -> tuple[int, ...]:
        """`given` as `count` integers; one integer stands for all of them."""
        if isinstance(given, (list, tuple)):
            if len(given) == count:
                return tuple(self._integer(field, item, low, faults) for item in given)
            faults.append(f"{field} must be one integer or {count} of them, not {excerpt(given)}")
            return (max(low, 1),) * count
        return (self._integer(field, given, low, faults),) * count

    def _shape(self, field: str, given: object, faults: list[str]) -> Shape:
        """`given` as a shape of 1 to 8 sizes."""
        if not isinstance(given, (list, tuple)) or not 1 <= len(given) <= MAX_RANK:
            faults.append(f"{field} must be a list of 1 to {MAX_RANK} sizes such as [64, 56, 56], not {excerpt(given)}")
            return (1,)
        return tuple(self._integer(field, size, 1, faults) for size in given)

    def _settle(self) -> list[str]:
        """Bring converted fields in their one form; returns what does not hold."""
        return []

    def _tensors(self) -> list[str]:
        faults: list[str] = []
        shapes = {"input": self._input_shape(), "weight": self._weight_shape(), "output": self._output_shape()}
        for name, shape in shapes.items():
            try:
                spec = TensorSpec.of(self.__dict__[name])
                if spec.mask is not None or spec.nonzeros:
                    spec = spec.counted(shape, self._channels(name, shape))
                self._put(name, TensorType(shape, spec))
            except InputError as error:
                faults.extend(f"{name}: {fault.message}" for fault in error.faults)
            if math.prod(shape) > MAX_COUNT:
                faults.append(f"{name} must have fewer than 2^63 values, not {shape}")
        if not faults and max(self.macs, self.inputs, self.ops) > MAX_COUNT:
            faults.append(f"macs must be fewer than 2^63, not {self.macs}")
        return faults

    def _channels(self, tensor: str, shape: Shape) -> int:
        """Channels that the values of a tensor are counted by; raises InputError where there is no such count."""
        raise InputError(f"nonzeros and mask are of convolutions and matrix products, not of {self.op}")

    def nonzeros(self, tensor: str) -> tuple[int, ...]:
        """Values that are not zero in each input channel of ``input`` or ``weight``; none where that is not known."""
        return ()

    def _input_shape(self) -> Shape:
        raise NotImplementedError

    def _weight_shape(self) -> Shape:
        return (0,)

    def _output_shape(self) -> Shape:
        raise NotImplementedError

    @property
    def op(self) -> str:
        """The short name of the kind."""
        return self._op

    @property
    def operands(self) -> tuple[Shape, ...]:
        """The shape of each input that another layer gives."""
        return (self.input.shape,)

    @property
    def likeness(self) -> tuple[object, ...]:
        """All but the name, and what is kept of other fields: layers that agree in it run alike."""
        return (type(self), *(value for field, value in vars(self).items() if field != "name" and field[0] != "_"))

    def named(self, name: str) -> Self:
        """A copy under another name, which is that of a layer already: nothing is checked again."""
        twin = copy.copy(self)
        twin._put("name", name)
        return twin

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return 0

    @property
    def macs_live(self) -> int:
        """Multiply-accumulates of one inference without dead channels."""
        return self.macs

    @property
    def weights(self) -> int:
        """Stored weights."""
        return 0

    @property
    def biases(self) -> int:
        """Stored biases."""
        return 0

    @property
    def inputs(self) -> int:
        """Values read of one inference, all operands together."""
        return sum(math.prod(shape) for shape in self.operands)

    @property
    def outputs(self) -> int:
        """Values written of one inference."""
        return self.output.elements

    @property
    def ops(self) -> int:
        """Scalar operations of one inference that are not multiply-accumulates."""
        return 0

    @property
    def sublayers(self) -> tuple[Sublayer, ...]:
        """The layers that it is composed of and planned as, the last of which gives its output; none of most kinds."""
        return ()

    def lowering(self, batch: int = 1) -> Message | None:
        """What is assumed where the layer is planned as its sublayers."""
        return None

    def cache_bytes(self, batch: int = 1) -> int:
        """Bytes that must be in memory from earlier inferences, such as the keys and values of earlier tokens."""
        return 0

    def lower(self, batch: int) -> Product | Stream:
        """What the layer asks of a machine for a batch: the one thing that machines see of its kind."""
        return self._stream(batch, "opaque")

    def _stream(self, batch: int, kind: StreamKind, function: str = "", activation: str = "none") -> Stream:
        stored = self.weights + self.biases
        inputs, outputs = self.inputs * batch, self.outputs * batch
        return Stream(kind, inputs, outputs, self.ops * batch, stored, len(self.operands), function, activation)

    def grouped(self, batch: int) -> tuple[Layer, ...]:
        """Layers that together do what this one does, where its products have uneven numbers of rows; else none."""
        return ()

    def share(self, channels: int, rows: int) -> Layer | None:
        """The largest part of the layer for one of devices that share its output channels, and its rows.

        A product of no image is shared by channels in both. None: the kind is not cut.
        """
        return None

    def dense(self) -> Self:
        """A copy whose tensors have no zeros."""
        return self.with_tensors(input={"density": 1.0}, weight={"density": 1.0}, output={"density": 1.0})

    def weights_read(self, batch: int) -> int:
        """Stored weights that a batch reads: all of them, but for tables and experts."""
        return self.weights

    def accepts(self, shape: Shape, operand: int) -> bool:
        """Whether an output of `shape` fits the operand: equal but for sizes of 1, or flattened or folded in place."""
        operand_shape = self.operands[operand]
        if len(shape) != len(operand_shape):
            return math.prod(shape) == math.prod(operand_shape)
        return shape == operand_shape or [size for size in shape if size != 1] == [
            size for size in operand_shape if size != 1
        ]

    def with_(self, **changes: Any) -> Self:
        """A copy with other fields, checked like a new layer."""
        return replace(self, **changes)

    def with_tensors(
        self, *, input: TensorLike | None = None, weight: TensorLike | None = None, output: TensorLike | None = None
    ) -> Self:
        """A copy whose tensors have other properties; a mapping changes only what it names."""
        tensors = {"input": input, "weight": weight, "output": output}
        faults: list[str] = []
        changes: dict[str, Any] = {}
        for name, change in tensors.items():
            if change is not None:
                try:
                    changes[name] = getattr(self, name).spec.merged(change)
                except InputError as error:
                    faults.extend(f"{name}: {fault.message}" for fault in error.faults)
        if faults:
            raise InputError([Fault("", self.name, fault) for fault in faults])
        return replace(self, **changes)

    def with_density(
        self, *, input: float | None = None, weight: float | None = None, output: float | None = None
    ) -> Self:
        """A copy with other shares of values that are not zero."""
        densities = {"input": input, "weight": weight, "output": output}
        return self.with_tensors(**{f: {"density": d} for f, d in densities.items() if d is not None})

    def with_dtype(self, *, input: str | None = None, weight: str | None = None, output: str | None = None) -> Self:
        """A copy with other number formats."""
        return self.with_tensors(input=input, weight=weight, output=output)
