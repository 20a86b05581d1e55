"""What became of one layer that was executed."""

from __future__ import annotations

from dataclasses import dataclass

from hwsim.message import Message

__all__ = ["LayerCheck"]


@dataclass(frozen=True)
class LayerCheck:
    """What became of one layer.

    Attributes
    ----------
    macs, gated : int
        MACs that were executed; those of them with an operand of zero.
    seconds : float
        Time of the execution alone.
    compared : int
        Measured counts compared with the closed form.
    priced, own : int
        Counts of words that the plan prices, and those of them that are the nest's own (the others follow a convention
        of the machine, such as compressed DRAM words or words that gated MACs leave unread).
    sampled : bool
        Whether the dims were cut.
    difference : str or None
        The first error.
    skipped : Message or None
        The reason why the layer was not run.
    refused : bool
        Whether it was not run although it has a nest.
    apart : tuple of str
        Counts that are priced and are not the nest's own.
    share : str
        How much of a layer of like parts was executed, where it is not all.
    """

    name: str
    op: str
    macs: int = 0
    gated: int = 0
    seconds: float = 0.0
    compared: int = 0
    priced: int = 0
    own: int = 0
    sampled: bool = False
    difference: str | None = None
    skipped: Message | None = None
    refused: bool = False
    apart: tuple[str, ...] = ()
    share: str = ""

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return self.difference is None and not self.refused
