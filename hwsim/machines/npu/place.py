"""What a layer takes on a neural processor, and where it stands in its network: weights loaded before, copies."""

from __future__ import annotations

from dataclasses import dataclass

from hwsim.machines.npu.engine import Part

__all__ = ["Place", "Work"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a layer stands in its network.

    Attributes
    ----------
    first : bool
        Whether an inference begins with it.
    kept : int
        Bytes of its weights that are on the chip when the inference begins.
    loaded : int
        Of the others, those that were loaded while the layer before was computed.
    ahead : int
        Bytes of the next layer's weights that are loaded beside it.
    copied_in, copied_out : int
        Bytes that cross from the host before it, and to the host behind it, for an inference.
    """

    first: bool = True
    kept: int = 0
    loaded: int = 0
    ahead: int = 0
    copied_in: int = 0
    copied_out: int = 0


@dataclass(frozen=True, slots=True)
class Work:
    """What a layer takes in an inference: its parts, and bytes of weights as they are stored, with their reads."""

    parts: tuple[Part, ...]
    weight_bytes: int
    weight_reads: int

    @property
    def mac_cycles(self) -> float:
        """Of the multipliers."""
        return sum(part.mac_cycles for part in self.parts)

    @property
    def output_cycles(self) -> float:
        """Of the output unit."""
        return sum(part.output_cycles for part in self.parts)

    @property
    def map_bytes(self) -> int:
        """Read from and written to the memory of maps."""
        return sum(part.map_bytes for part in self.parts)

    @property
    def engine_cycles(self) -> float:
        """Of both units, one behind the other block by block."""
        return sum(part.cycles for part in self.parts)
