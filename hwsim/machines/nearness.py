"""What makes a measured row near to a run: the facts of both that must be equal, by degree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from hwsim.workload import Layer

__all__ = ["Conditions", "Level", "of_most_macs"]

Conditions = Mapping[str, str | int]
"""What was run, as words and whole numbers: machine, core, library, format, threads."""


@dataclass(frozen=True, slots=True)
class Level:
    """One degree of nearness.

    Attributes
    ----------
    same : tuple of str
        Conditions that a row and the run must share.
    apart : str
        What was left out of the fit for the errors of this degree: the run's own network, machine, core, ...
    words : str
        Which rows these are, as in ``this library on other boards with this core``.
    measured : bool
        Whether such rows are measurements of what was run; else they say how far off things that were not measured are.
    between : tuple of str
        Numbers of the run that must lie within those of the rows.
    pooled : bool
        Whether rows count too that no fit could leave out, as they are the only ones of their library: the size of
        their errors is then that of the kind.
    """

    same: tuple[str, ...]
    apart: str
    words: str
    measured: bool = True
    between: tuple[str, ...] = ()
    pooled: bool = False


def of_most_macs(layers: Iterable[Layer], label: Callable[[Layer], str]) -> str:
    """The label, as of a number format, under which most MACs of a network run."""
    macs = Counter[str]()
    for layer in layers:
        macs[label(layer)] += layer.macs
    return macs.most_common(1)[0][0]
