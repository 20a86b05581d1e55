"""What the counting build of the loops saw."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LoopCounts"]


@dataclass(frozen=True, slots=True)
class LoopCounts:
    """Counted inside the loops, as they ran.

    Attributes
    ----------
    macs
        Multiply-accumulates on real data: m x n x k of a GEMM.
    macs_executed
        All of them, lanes that hold padding included.
    load_bytes, store_bytes
        What the tile loops read of packed operands and wrote of results.
    """

    macs: int
    macs_executed: int
    load_bytes: int
    store_bytes: int
