"""What makes a measured row near to a run: the facts of both that must be equal, by degree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hwsim.workload import Layer
from hwsim.workload.product import Attended, Stream

__all__ = ["Conditions", "Level", "class_of", "shares"]

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


def class_of(layer: Layer) -> str:
    """The class of layers that a layer is one of, whose costs a model predicts alike well."""
    x = layer.lower(1)
    if isinstance(x, Attended):
        return "attention"
    if isinstance(x, Stream):
        return "spectra" if x.spectrum is not None else "layers without MACs"
    if x.recurrent:
        return "recurrent layers"
    if x.geometry is not None:
        g = x.geometry
        if g.groups == 1 and not g.depthwise:
            return "convolutions"
        return "depthwise convolutions" if g.depthwise and g.filters == 1 else "grouped convolutions"
    if x.spread:
        return "experts"
    return "matrix products" if x.stored else "products of activations"


def shares(labels: Iterable[str], seconds: Iterable[float]) -> dict[str, float]:
    """The share of the time that layers of each label take, the largest first."""
    times: dict[str, float] = {}
    for label, time in zip(labels, seconds, strict=True):
        times[label] = times.get(label, 0.0) + time
    total = sum(times.values()) or 1.0
    return {label: time / total for label, time in sorted(times.items(), key=lambda item: -item[1])}
