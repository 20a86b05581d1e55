"""Sizes of batches and layers that machines plan."""

from __future__ import annotations

from hwsim.errors import Fault, InputError
from hwsim.workload import Layer
from hwsim.workload.network import batch_size

__all__ = ["MAX_BATCH", "MAX_MACS", "check_batch", "check_size"]

MAX_BATCH = 65536
"""The largest batch size."""

MAX_MACS = 2**52
"""MACs of one layer that are planned: a thousand times the largest there is, and every count of words fits 64 bits."""


def check_batch(batch: object) -> int:
    """The batch size as a plain int; raises InputError for one that no machine plans."""
    return batch_size(batch, MAX_BATCH)


def check_size(layer: Layer, batch: int, whole: bool = False) -> None:
    """Refuse a layer whose counts would not fit, or which is not planned `whole`: raises InputError."""
    if layer.sublayers and not whole:
        message = f"{layer.op} is planned as its products: plan a workload that has it, and select({layer.name!r})"
        raise InputError([Fault("", layer.name, message)])
    if layer.macs * batch > MAX_MACS:
        message = f"at most 2^52 MACs run at a time, not {layer.macs * batch:,}; is the batch right?"
        raise InputError([Fault("", layer.name, message)])
