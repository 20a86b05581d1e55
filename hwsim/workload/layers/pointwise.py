"""Functions over the values of one tensor: activation, normalization, softmax."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import ClassVar

from hwsim.errors import excerpt
from hwsim.workload.layer import ACTIVATIONS, Shape, kind, whole
from hwsim.workload.layers.shaped import Shaped, shaped
from hwsim.workload.line import Line
from hwsim.workload.product import Stream

__all__ = ["Activation", "Normalization", "Softmax"]


@kind
class Activation(Shaped):
    """A function of each value on its own, where it is not fused into the layer before."""

    type: str = "relu"

    _lines: ClassVar[tuple[Line, ...]] = (
        shaped("activation", "A function of each value that no other layer has fused.", "type shape", needs="type"),
    )
    _names: ClassVar[dict[str, tuple[str, ...]]] = {"type": ACTIVATIONS[1:]}

    @property
    def op(self) -> str:
        """The function: ``relu``, ``gelu``, ..."""
        return self.type

    def lower(self, batch: int) -> Stream:
        """A pass over the values."""
        return self._stream(batch, "activation", self.type)


#: Normalizations without parameters.
_PLAIN = ("lrn", "mvn", "lp")


@kind
class Normalization(Shaped):
    """A normalization that is not folded into other weights.

    ``layer`` and ``rms`` have a scale for each value of the last axis, ``batch``, ``instance`` and ``group`` for each
    channel (the first axis). ``lrn`` (local response), ``mvn`` (mean and variance) and ``lp`` (by a norm) have none.
    """

    type: str = "layer"

    _lines: ClassVar[tuple[Line, ...]] = (
        shaped("norm", "A normalization that is not folded into other weights.", "type shape", needs="type"),
    )
    _op: ClassVar[str] = "norm"
    _names: ClassVar[dict[str, tuple[str, ...]]] = {"type": ("layer", "rms", "batch", "instance", "group", *_PLAIN)}

    @property
    def _features(self) -> int:
        return self.shape[-1] if self.type in ("layer", "rms") else self.shape[0]

    def _weight_shape(self) -> Shape:
        return (0,) if self.type in _PLAIN else (self._features,)

    @property
    def weights(self) -> int:
        """Stored scales."""
        return 0 if self.type in _PLAIN else self._features

    @property
    def biases(self) -> int:
        """Stored offsets."""
        return 0 if self.type in (*_PLAIN, "rms") else self._features

    @property
    def ops(self) -> int:
        """A mean, a variance (two operations), a scale and an offset for each value."""
        return 5 * self.outputs

    def lower(self, batch: int) -> Stream:
        """A pass over the values."""
        return self._stream(batch, "norm", self.type)


@kind
class Softmax(Shaped):
    """The softmax over an axis of a shape, by default the last, which is -1."""

    axis: int = -1

    _lines: ClassVar[tuple[Line, ...]] = (shaped("softmax", "A softmax over an axis.", "shape axis"),)
    _op: ClassVar[str] = "softmax"

    def _settle(self) -> list[str]:
        faults = super()._settle()
        axis, rank = whole(self.axis), len(self.shape)
        if axis is None or not -rank <= axis < rank:
            return [*faults, f"axis must be one of the {rank} axes of the shape, not {excerpt(self.axis)}"]
        self._put("axis", -1 if axis % rank == rank - 1 else axis % rank)
        return faults

    @property
    def ops(self) -> int:
        """A maximum, a difference, an exponential, a sum and a quotient for each value."""
        return 5 * self.outputs

    def lower(self, batch: int) -> Stream:
        """A pass over the values."""
        beside = self.axis >= 0 and prod(self.shape[self.axis + 1 : -1]) == 1
        return replace(self._stream(batch, "softmax"), axis="last" if self.axis < 0 else "next" if beside else "far")
