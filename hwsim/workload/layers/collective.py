"""What ranks that share a layer exchange: sums and parts of a tensor over the links between machines."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from hwsim.workload.layer import kind
from hwsim.workload.layers.shaped import Shaped, shaped
from hwsim.workload.line import Line
from hwsim.workload.product import Stream

__all__ = ["COLLECTIVES", "Collective"]

COLLECTIVES = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all")


@kind
class Collective(Shaped):
    """A tensor of `shape` on each of `ranks` machines: summed on all (``all_reduce``), collected, scattered, exchanged.

    Examples
    --------
    >>> Collective("sum", shape=(7, 4096), ranks=4, input="bf16", output="bf16").ops
    86016
    """

    type: str = "all_reduce"
    ranks: int = 2

    _lines: ClassVar[tuple[Line, ...]] = (
        shaped(
            "collective",
            "An exchange of a tensor between ranks, over the links of the machine.",
            "type shape ranks",
            notes={"ranks": "machines that take part"},
        ),
    )
    _op: ClassVar[str] = "collective"
    _sizes: ClassVar[tuple[str, ...]] = ("ranks",)
    _names: ClassVar[dict[str, tuple[str, ...]]] = {"type": COLLECTIVES}

    def _settle(self) -> list[str]:
        faults = super()._settle()
        if self.ranks < 2:
            faults.append("ranks must be at least 2")
        return faults

    @property
    def op(self) -> str:
        """What is exchanged: ``all_reduce``, ``all_gather``, ..."""
        return self.type

    @property
    def ops(self) -> int:
        """Additions of the values of all other ranks, where they are summed."""
        return (self.ranks - 1) * self.outputs if self.type in ("all_reduce", "reduce_scatter") else 0

    def lower(self, batch: int) -> Stream:
        """What one rank sends; nothing else runs meanwhile."""
        return replace(self._stream(batch, "collective", self.type), ranks=self.ranks)
