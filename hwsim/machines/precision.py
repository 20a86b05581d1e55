"""A network in another number format, for machines that run layers in the formats of their tensors."""

from __future__ import annotations

from typing import Annotated

from hwsim.errors import Fault, InputError
from hwsim.fields import OneOf
from hwsim.message import Message
from hwsim.workload import Workload
from hwsim.workload.number_format import DTYPES

__all__ = ["Precision", "in_precision", "is_value", "precision_notes", "too_wide"]

_INDEX_BITS = 32
"""Integers as wide as these count or point; they are no values of a network."""

Precision = Annotated[str, OneOf(lambda: ("workload", *DTYPES))]


def is_value(dtype: str) -> bool:
    """Whether a number format is that of values, not of indices."""
    form = DTYPES[dtype]
    return form.sort == "float" or form.bits < _INDEX_BITS


def too_wide(machine: str, layer: str, dtype: str, bits: int, word: int) -> InputError:
    """The error of a layer with values of more bits than the words of a machine, and what to do."""
    formats = [name for name, form in DTYPES.items() if form.sort == "integer" and form.bits <= word]
    able = max(formats, key=lambda name: DTYPES[name].bits)
    message = (
        f"{machine} computes on words of {word} bits, but {dtype} has {bits}: quantize the network, "
        f"or run it as if it were with --set precision={able}"
    )
    return InputError([Fault("", layer, message)])


def in_precision(network: Workload, precision: str) -> Workload:
    """The network as if its weights and activations had been converted to a number format.

    Integers of 32 bits and more stay: they are indices. ``workload`` leaves the network as it is.
    """
    if precision == "workload":
        return network
    changed = []
    for layer in network:
        kinds = {name: getattr(layer, name).dtype for name in ("input", "weight", "output")}
        wanted = {name: precision for name, dtype in kinds.items() if is_value(dtype) and dtype != precision}
        if wanted:
            changed.append(layer.with_dtype(**wanted))
    return network.replace(changed) if changed else network


def precision_notes(precision: str) -> tuple[Message, ...]:
    """That the formats of the network are not those that it runs in."""
    if precision == "workload":
        return ()
    template = "weights and activations are taken as {precision}, whatever format the network has (key precision)"
    return (Message("precision", template, {"precision": precision}),)
