"""Layers that change or move values without multiplying matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, TypeAlias

from hwsim.workload.layer import ACTIVATIONS, Converted, Layer, Shape, kind
from hwsim.workload.product import Stream

__all__ = ["ELEMENTWISE", "Activation", "Concat", "DataMovement", "Elementwise", "Normalization", "Opaque", "Softmax"]

MAX_OPERANDS = 1000
ELEMENTWISE = ("add", "sub", "mul", "div", "max", "min", "pow", "mod", "compare", "logic", "select")

ShapeField: TypeAlias = Converted[Sequence[int], Shape]
Sizes: TypeAlias = Converted[Sequence[int], tuple[int, ...]]
Shapes: TypeAlias = Converted[Sequence[Sequence[int]], tuple[Shape, ...]]


@kind
class _Shaped(Layer):
    """A layer that is given by the shape of its input, which its output has too."""

    shape: ShapeField = Converted(())

    def _settle(self) -> list[str]:
        faults: list[str] = []
        self._put("shape", self._shape("shape", self.shape, faults))
        return faults

    def _input_shape(self) -> Shape:
        return self.shape

    def _output_shape(self) -> Shape:
        return self.shape

    @property
    def ops(self) -> int:
        """One operation a value."""
        return self.outputs


@kind
class Elementwise(_Shaped):
    """`n` tensors of one shape combined value by value: ``add``, ``mul``, ``max`` and the others of `ELEMENTWISE`.

    An operand may have a size of 1, or none, where the shape has another: it is used again for each value.
    """

    type: str = "add"
    n: int = 2
    activation: str = "none"

    _sizes: ClassVar[tuple[str, ...]] = ("n",)
    _names: ClassVar[dict[str, tuple[str, ...]]] = {
        "type": ELEMENTWISE,
        "activation": ACTIVATIONS,
    }

    def _settle(self) -> list[str]:
        faults = super()._settle()
        if self.n > MAX_OPERANDS:
            faults.append(f"n must be at most {MAX_OPERANDS}, not {self.n}")
        return faults

    @property
    def op(self) -> str:
        """The operation: ``add``, ``mul``, ..."""
        return self.type

    @property
    def operands(self) -> tuple[Shape, ...]:
        """The shape, `n` times."""
        return (self.shape,) * self.n

    @property
    def inputs(self) -> int:
        """Values read of one inference."""
        return self.n * math.prod(self.shape)

    def accepts(self, shape: Shape, operand: int) -> bool:
        """Whether the shape fits, or does once it is spread: its sizes but 1 are some of the shape's, in its order."""
        sizes = iter(self.shape)
        return all(size in sizes for size in shape if size != 1) or super().accepts(shape, operand)

    @property
    def ops(self) -> int:
        """Operations of one inference."""
        return self.outputs * max(self.n - 1, 1)

    def lower(self, batch: int) -> Stream:
        """A pass over all operands."""
        return self._stream(batch, "elementwise", self.type, self.activation)


@kind
class Activation(_Shaped):
    """A function of each value on its own, where it is not fused into the layer before."""

    type: str = "relu"

    _names: ClassVar[dict[str, tuple[str, ...]]] = {"type": ACTIVATIONS[1:]}

    @property
    def op(self) -> str:
        """The function: ``relu``, ``gelu``, ..."""
        return self.type

    def lower(self, batch: int) -> Stream:
        """A pass over the values."""
        return self._stream(batch, "activation", self.type)


@kind
class Normalization(_Shaped):
    """A normalization that is not folded into other weights.

    ``layer`` and ``rms`` have a scale for each value of the last axis, ``batch``, ``instance`` and ``group`` for each
    channel (the first axis), ``lrn`` (local response) has none.
    """

    type: str = "layer"

    _op: ClassVar[str] = "norm"
    _names: ClassVar[dict[str, tuple[str, ...]]] = {"type": ("layer", "rms", "batch", "instance", "group", "lrn")}

    @property
    def _features(self) -> int:
        return self.shape[-1] if self.type in ("layer", "rms") else self.shape[0]

    def _weight_shape(self) -> Shape:
        return (0,) if self.type == "lrn" else (self._features,)

    @property
    def weights(self) -> int:
        """Stored scales."""
        return 0 if self.type == "lrn" else self._features

    @property
    def biases(self) -> int:
        """Stored offsets."""
        return 0 if self.type in ("lrn", "rms") else self._features

    @property
    def ops(self) -> int:
        """A mean, a variance (two operations), a scale and an offset for each value."""
        return 5 * self.outputs

    def lower(self, batch: int) -> Stream:
        """A pass over the values."""
        return self._stream(batch, "norm", self.type)


@kind
class Softmax(_Shaped):
    """The softmax over the last axis of a shape."""

    _op: ClassVar[str] = "softmax"

    @property
    def ops(self) -> int:
        """A maximum, a difference, an exponential, a sum and a quotient for each value."""
        return 5 * self.outputs

    def lower(self, batch: int) -> Stream:
        """A pass over the values."""
        return self._stream(batch, "softmax")


@kind
class Concat(Layer):
    """Tensors joined along one axis: `parts` are their sizes on it, `before` and `rest` those on the axes around it.

    Nothing before the axis, the default, joins images by their channels.

    Examples
    --------
    >>> Concat("3a", parts=(64, 128, 32, 32), rest=(28, 28)).output.shape
    (256, 28, 28)
    """

    parts: Sizes = Converted(())
    rest: Sizes = Converted(())
    before: Sizes = Converted(())

    _op: ClassVar[str] = "concat"

    def _settle(self) -> list[str]:
        faults: list[str] = []
        parts: object = self.__dict__["parts"]
        if not isinstance(parts, (list, tuple)) or not parts:
            return [f"parts must be a list of sizes such as [64, 128], not {parts!r:.60}"]
        self._put("parts", tuple(self._integer("parts", part, 1, faults) for part in parts))
        for name in ("rest", "before"):
            given: object = self.__dict__[name]
            self._put(name, () if given in ((), []) else self._shape(name, given, faults))
        return faults

    def _input_shape(self) -> Shape:
        return (*self.before, sum(self.parts), *self.rest)

    def _output_shape(self) -> Shape:
        return (*self.before, sum(self.parts), *self.rest)

    @property
    def operands(self) -> tuple[Shape, ...]:
        """The shape of each part."""
        return tuple((*self.before, part, *self.rest) for part in self.parts)

    def lower(self, batch: int) -> Stream:
        """A copy, if the parts are not written in place."""
        return self._stream(batch, "concat")


@kind
class DataMovement(_Shaped):
    """Values that only move: ``reshape`` and ``transpose`` keep them all, ``slice``, ``pad`` and ``resize`` do not.

    Parameters
    ----------
    name : str
    shape : sequence of int
        The shape of the input.
    to : sequence of int
        The shape of the output; default: that of the input.
    type : str
    """

    to: ShapeField = Converted(())
    type: str = "reshape"

    _names: ClassVar[dict[str, tuple[str, ...]]] = {"type": ("reshape", "transpose", "copy", "slice", "pad", "resize")}

    def _settle(self) -> list[str]:
        faults = super()._settle()
        self._put("to", self._shape("to", self.to, faults) if self.to != () else self.shape)
        if not faults and self.type in ("reshape", "transpose", "copy") and math.prod(self.to) != math.prod(self.shape):
            faults.append(f"a {self.type} must keep the number of values, not change {self.shape} to {self.to}")
        return faults

    def _output_shape(self) -> Shape:
        return self.to

    @property
    def op(self) -> str:
        """What is done: ``reshape``, ``transpose``, ..."""
        return self.type

    @property
    def ops(self) -> int:
        """None: values only move."""
        return 0

    def lower(self, batch: int) -> Stream:
        """A copy, or a view where the order of the values stays."""
        return self._stream(batch, "view" if self.type == "reshape" else "copy", self.type)


@kind
class Opaque(Layer):
    """An operator that hwsim has no model of: a row with its name and the values that it moves.

    Parameters
    ----------
    name : str
    type : str
        What the model that it is from calls it, such as ``space_to_depth``.
    shapes : sequence of shapes
        Of each operand.
    to : sequence of int
        The shape of the output.
    stored : int
        Constants that it reads: they count as weights, for what they take in memory.
    """

    type: str
    shapes: Shapes = Converted(())
    to: ShapeField = Converted(())
    stored: int = 0

    _counts: ClassVar[tuple[str, ...]] = ("stored",)

    def _settle(self) -> list[str]:
        faults: list[str] = []
        if not isinstance(self.type, str) or not 1 <= len(self.type) <= 80 or not self.type.isprintable():
            faults.append(f"type must be 1 to 80 printable characters, not {self.type!r:.60}")
        shapes: object = self.__dict__["shapes"]
        if not isinstance(shapes, (list, tuple)) or not 1 <= len(shapes) <= MAX_OPERANDS:
            return [*faults, f"shapes must be a list of 1 to {MAX_OPERANDS} shapes, not {shapes!r:.60}"]
        self._put("shapes", tuple(self._shape("shapes", shape, faults) for shape in shapes))
        self._put("to", self._shape("to", self.to, faults))
        return faults

    def _input_shape(self) -> Shape:
        return self.shapes[0]

    def _weight_shape(self) -> Shape:
        return (self.stored,)

    def _output_shape(self) -> Shape:
        return self.to

    @property
    def op(self) -> str:
        """What it is called."""
        return self.type

    @property
    def operands(self) -> tuple[Shape, ...]:
        """The shape of each operand."""
        return self.shapes

    @property
    def weights(self) -> int:
        """Stored constants."""
        return self.stored
