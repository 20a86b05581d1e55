"""What following a batch axis through the graph of a model file asks, whatever the file's format.

An axis is a batch if no operator mixes along it: then the file does the same for each index, and its layers are those
of one. Each format has a rule for each of its operators, which says where the axis goes, as `jax.vmap` has.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from hwsim.message import Message
from hwsim.workload.layer import Shape

__all__ = ["BatchAxis", "MixedError", "Place", "batch_note", "gathered", "mixed_note"]

Key = TypeVar("Key", str, int)
"""How a format names a tensor."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the batch lies in a tensor: `axis` has a size of ``outer * batch * inner``."""

    axis: int
    inner: int = 1


class MixedError(Exception):
    """Why an axis is no batch."""


def batch_note(size: int) -> Message:
    """The note of a file whose layers are read for one input."""
    template = "the file has a batch of {batch}: its layers are read for one input"
    return Message("import.batch", template, {"batch": size}, "warning")


def mixed_note(size: int, reason: str) -> Message:
    """The note of a file whose first axis is no batch."""
    template = "the first axis, {size}, is no batch: {reason}; the layers are those of the whole file"
    return Message("import.no_batch", template, {"size": size, "reason": reason})


class BatchAxis(ABC, Generic[Key]):
    """The place of the batch in each tensor that has one."""

    def __init__(self, batch: int, places: Mapping[Key, Place]) -> None:
        self.batch = batch
        self.places: dict[Key, Place] = dict(places)

    @abstractmethod
    def shape(self, key: Key) -> Shape:
        """The shape of a tensor."""

    @abstractmethod
    def values(self, key: Key) -> np.ndarray[Any, Any] | None:
        """The values of a constant that is small enough to be searched; None of other tensors."""

    def put(self, key: Key, place: Place) -> None:
        """Note where the batch lies in a tensor that an operator writes."""
        if self.shape(key)[place.axis] % (self.batch * place.inner):
            raise MixedError("may mix along it")
        self.places[key] = place

    def shape_of_one(self, key: Key) -> Shape:
        """The shape of a tensor for one of the batch."""
        shape, place = list(self.shape(key)), self.places[key]
        shape[place.axis] //= self.batch
        return tuple(shape)

    def alike(self, key: Key, axis: int, inner: int) -> None:
        """Check that a tensor without the batch is the same for each index of an axis that has the batch elsewhere."""
        shape = self.shape(key)
        if not 0 <= axis < len(shape) or shape[axis] == 1:
            return
        values = self.values(key) if shape[axis] % (self.batch * inner) == 0 else None
        if values is None:
            raise MixedError("reads other values for each index of it")
        parts = values.reshape(math.prod(shape[:axis]), -1, self.batch, inner, math.prod(shape[axis + 1 :]))
        if not np.array_equal(parts, np.broadcast_to(parts[:, :, :1], parts.shape)):
            raise MixedError("reads other values for each index of it")

    def broadcast(self, keys: Iterable[Key], rank: int) -> Place:
        """The place that these inputs have in a result of `rank` axes, as numpy broadcasts."""
        keys = list(keys)
        places = {
            Place(place.axis + rank - len(self.shape(key)), place.inner)
            for key in keys
            if (place := self.places.get(key))
        }
        sizes = {self.shape(key)[self.places[key].axis] for key in keys if key in self.places}
        if len(places) > 1 or len(sizes) > 1:
            raise MixedError("pairs each index of it with every other")
        (place,) = places
        for key in keys:
            if key not in self.places:
                self.alike(key, place.axis - (rank - len(self.shape(key))), place.inner)
        return place

    def reshaped(self, place: Place, source: Shape, out: Shape) -> Place:
        """The place after a reshape: the batch is a run of values at a stride, with others around it in one axis."""
        stride, step = place.inner * math.prod(source[place.axis + 1 :]), 1
        if math.prod(source) != math.prod(out):
            raise MixedError("may mix along it")
        for axis in reversed(range(len(out))):
            after = step * out[axis]
            if step <= stride < after:
                if stride % step or after % (stride * self.batch):
                    break
                return Place(axis, stride // step)
            step = after
        raise MixedError("cuts across it")


def gathered(data: Place | None, indices: Place | None, axis: int, index_rank: int) -> Place:
    """The place after values are picked along an axis by indices of so many axes."""
    if data is not None and (indices is not None or data.axis == axis):
        raise MixedError("picks from it")
    if data is not None:
        return Place(data.axis + (index_rank - 1 if data.axis > axis else 0), data.inner)
    assert indices is not None
    return Place(axis + indices.axis, indices.inner)
