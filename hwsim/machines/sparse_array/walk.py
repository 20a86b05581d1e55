"""What the PEs of a sparse array do for a layer: cycles, stored entries, and where cycles go that multiply nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

__all__ = ["STALLS", "Walk"]

STALLS = ("imbalance", "empty", "fragments", "fillers", "outside", "handover")


@dataclass(frozen=True, slots=True)
class Walk:
    """Sums over the PEs, of the mean of the draws where masks are not known.

    Attributes
    ----------
    cycles : float
        From the first to the last multiplication.
    busy : float
        Cycles of all PEs in which they work; the rest of ``PEs x cycles`` is the imbalance.
    products : float
        Multiplications, fillers among them.
    effectual : float
        Multiplications of two values that are not zero, those for no output among them.
    empty : float
        Cycles of all PEs on columns without a weight.
    handover : float
        Cycles of all PEs that hand sums over.
    entries : float
        Stored weights that are read, fillers among them, each time that one is.
    columns : float
        Pieces of compressed weights that are begun, for each of which pointers are read.
    inputs : float
        Values of the ifmap that are read.
    spread : float
        Standard deviation of the cycles over the draws as a share of their mean; 0 where masks are known.
    exact : bool
        Whether masks are known.
    """

    cycles: float
    busy: float
    products: float
    effectual: float
    entries: float
    columns: float
    inputs: float
    empty: float = 0.0
    handover: float = 0.0
    spread: float = 0.0
    exact: bool = False

    def times(self, number: float) -> Walk:
        """So many such walks, one after the other."""
        names = ("cycles", "busy", "products", "effectual", "entries", "columns", "inputs", "empty", "handover")
        return replace(self, **{name: getattr(self, name) * number for name in names})

    def parts(self, pes: int, lanes: int, effectual: float) -> dict[str, float]:
        """The cycles by what they are for: ``compute`` and `STALLS`, which add up to all of them.

        `effectual` multiplications are those that a layer needs; a product of planes has others too, of values and
        weights that meet for no output.
        """
        slots = pes * lanes
        needed = min(effectual, self.effectual)
        return {
            "compute": needed / slots,
            "outside": (self.effectual - needed) / slots,
            "imbalance": self.cycles - self.busy / pes,
            "empty": self.empty / pes,
            "fragments": (self.busy - self.empty - self.handover) / pes - self.products / slots,
            "fillers": (self.products - self.effectual) / slots,
            "handover": self.handover / pes,
        }

    @property
    def whole_cycles(self) -> int:
        """Cycles: a whole number where they are counted, the nearest one to what is expected."""
        return max(round(self.cycles), ceil(min(1.0, self.cycles)))
