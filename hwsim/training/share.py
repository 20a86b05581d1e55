"""The share of each layer that one of several devices computes, where they share the layers and the inputs.

For n devices that share the output channels, a device has k / n filters; of n that share the rows of maps, a band of
p / n output rows, for which it reads (p / n - 1) stride + window rows: its own and those beyond its borders. Where n
does not divide, the largest share is taken, which all wait for.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from hwsim.errors import InputError
from hwsim.machines.limits import MAX_BATCH
from hwsim.workload import Layer

__all__ = ["Share"]


@dataclass(frozen=True, slots=True)
class Share:
    """How many devices share output channels, and rows of maps; products of no rows are shared by channels in both."""

    channels: int = 1
    maps: int = 1

    @property
    def devices(self) -> int:
        """Devices that share each layer, and a batch of inputs of each of them."""
        return self.channels * self.maps

    def check(self, batch: int) -> None:
        """Refuse batches that are too many together."""
        if batch * self.devices > MAX_BATCH:
            raise InputError(
                f"inputs of the {self.devices} devices that share layers must be at most {MAX_BATCH:,} together, not "
                f"{batch * self.devices:,}"
            )

    def part(self, layer: Layer) -> Layer | None:
        """The largest share of a layer; None of a kind that is not cut."""
        return layer if self.devices == 1 else layer.share(self.channels, self.maps)

    def of_values(self, layer: Layer) -> Fraction:
        """The share of its outputs that a device has: the largest."""
        part = self.part(layer)
        return Fraction(1, self.devices) if part is None else Fraction(part.outputs, layer.outputs)
