"""How a network is split over devices: the ways of parallelism and their product."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import Field

from hwsim.errors import InputError, excerpt, nearest
from hwsim.fields import OneOf, Size, Spec, check
from hwsim.workload.layer import whole
from hwsim.workload.number_format import DTYPES
from hwsim.yaml_source import Document

__all__ = ["SPLITS", "Parallel", "parallel_of"]

SPLITS = ("data", "layers", "pipeline", "channels", "maps", "tensor")
Ways = Annotated[int, Field(ge=1, le=2**20, strict=True)]


class Parallel(Spec):
    """How many devices share what; together they are the product of all.

    Attributes
    ----------
    data : int
        Replicas of the network, each with inputs of its own; their gradients are summed.
    layers, pipeline : int
        Stages that have consecutive layers and pass micro-batches on, one forward and one backward at a time; two
        names of one split.
    channels : int
        Devices that have a share of the output channels of each layer, and gather the rest.
    maps : int
        Devices that have a share of the rows of each map, and exchange the rows at its borders.
    tensor : int
        Devices that share the heads and the inner values of each block of a transformer.
    micro : int
        Micro-batches of a step that a pipeline has; 0: as many as stages, times the accumulation.
    bucket : Size
        Gradients leave when so many bytes are there.
    overlap : float
        Share of their time that the backward pass may hide: 1 where they leave during it, 0 where they leave after it.
    gradient : str
        The number format in which gradients are sent; "": that in which they are.
    reduce : str
        ``all_reduce``, or ``server``: parameter servers sum gradients and send weights.
    servers : int
        Parameter servers.
    """

    data: Ways = 1
    layers: Ways = 1
    pipeline: Ways = 1
    channels: Ways = 1
    maps: Ways = 1
    tensor: Ways = 1
    micro: Annotated[int, Field(ge=0, le=2**20, strict=True)] = 0
    bucket: Size = Fraction(25 * 10**6)
    overlap: Annotated[float, Field(ge=0, le=1)] = 1.0
    gradient: Annotated[str, OneOf(lambda: ["", *DTYPES])] = ""
    reduce: Literal["all_reduce", "server"] = "all_reduce"
    servers: Ways = 1

    @property
    def stages(self) -> int:
        """Stages of the pipeline."""
        return self.layers * self.pipeline

    @property
    def inside(self) -> int:
        """Devices that share each layer."""
        return self.channels * self.maps * self.tensor

    @property
    def devices(self) -> int:
        """All devices."""
        return self.data * self.stages * self.inside

    @property
    def inputs(self) -> int:
        """Batches of one device that a micro-batch has: where devices share layers, they share the inputs too."""
        return self.channels * self.maps

    def __str__(self) -> str:
        ways = [f"{name}={getattr(self, name)}" for name in SPLITS if getattr(self, name) > 1]
        return ",".join(ways) or "data=1"


def parallel_of(value: object = None, **changes: object) -> Parallel:
    """A split from text such as ``data=8,layers=2``, a mapping or a `Parallel`; InputError with all faults."""
    if isinstance(value, Parallel):
        return value
    values: dict[str, Any] = {}
    if isinstance(value, str):
        for part in filter(None, value.split(",")):
            name, _, number = part.partition("=")
            key, size = name.strip(), number.strip()
            if key not in (*SPLITS, "micro"):
                near = nearest(key, [*SPLITS, "micro"])
                raise InputError(
                    f"parallel must be {', '.join(SPLITS)} or micro with a number, not {excerpt(key)}{near}"
                )
            if key in values:
                raise InputError(f"parallel has {key} twice")
            if not (size.isascii() and size.isdigit()):
                raise InputError(f"parallel must have a whole number of devices, as {key}=8, not {excerpt(size)}")
            values[key] = int(size[:20])
    elif isinstance(value, Mapping):
        values = {str(key): whole(item) if whole(item) is not None else item for key, item in value.items()}
    elif value is not None:
        raise InputError(f"parallel must be text such as 'data=8,layers=2', or a mapping, not {excerpt(value)}")
    values |= {key: item for key, item in changes.items() if item is not None}
    parallel = check(Parallel, Document("parallel", values))
    if parallel.layers > 1 and parallel.pipeline > 1:
        raise InputError("layers and pipeline are two names of one split: give one")
    if math.prod((parallel.data, parallel.stages, parallel.inside)) > 2**20:
        raise InputError(f"parallel must be of at most {2**20:,} devices, not {parallel.devices:,}")
    return parallel
