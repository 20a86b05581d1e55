"""What a point cannot beat: bounds of its totals from shapes and sizes alone, many times faster than a simulation."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from hwsim.energy import dynamic_energy
from hwsim.errors import HwsimError

if TYPE_CHECKING:
    from hwsim.machines import Machine
    from hwsim.sweeps.space import Space
    from hwsim.workload import Layer, Workload

__all__ = ["Bounds", "bounds_of"]

_SLACK = 1 - 1e-9
"""Bounds and results are sums of floats in another order: a bound gives way by more than these can differ."""

_ABOVE = ("inferences_per_s", "tops_per_w")
"""Columns that are bounded from above."""


def _shapes(layers: Iterable[Layer]) -> list[tuple[Layer, int]]:
    """Layers that differ in more than their name, and how many there are of each."""
    found: dict[tuple[object, ...], tuple[Layer, int]] = {}
    for layer in layers:
        found[layer.likeness] = layer, found.get(layer.likeness, (layer, 0))[1] + 1
    return list(found.values())


def bounds_of(machine: Machine, shapes: Iterable[tuple[Layer, int]], batch: int) -> dict[str, float]:
    """Bounds of the totals of a run: never worse than its results; empty where the kind of machine has none.

    Time is the sum over layers of what no plan can be faster than, energy the prices of actions that no plan can do
    without, and static power over that time.

    Raises
    ------
    HwsimError
        If a layer cannot run here, or an action has no price.
    """
    prices = machine.prices
    seconds, energy, moved, macs = 0.0, 0.0, 0, 0
    for layer, times in shapes:
        least = machine.lower_bound(layer, batch)
        if least is None:
            return {}
        seconds += times * float(least.seconds)
        energy += times * math.fsum(dynamic_energy(least.counts, least.word_bits, prices).values())
        moved += times * least.dram_bytes
        macs += times * layer.macs * batch
    seconds *= _SLACK
    energy = (energy + prices.static_w * seconds * 1e12) * _SLACK
    found = {
        "latency_s": seconds,
        "energy_pj": energy,
        "energy_per_inference_pj": energy / batch,
        "edp_pj_s": seconds * energy,
        "dram_bytes": float(moved),
    }
    if seconds:
        found["inferences_per_s"] = batch / seconds
    if energy:
        found["tops_per_w"] = 2 * macs / energy
    return {column: value for column, value in found.items() if not math.isnan(value)}


class Bounds:
    """Bounds of the points of a space."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self._shapes: dict[tuple[int, tuple[str, ...]], tuple[Workload, list[tuple[Layer, int]]]] = {}
        self._known: dict[int, dict[str, float]] = {}

    def of(self, number: int) -> dict[str, float]:
        """What the point is known to be without being simulated: bounds of columns, and its area and cost."""
        if number not in self._known:
            self._known[number] = self._of(number)
        return self._known[number]

    def _of(self, number: int) -> dict[str, float]:
        point = self.space.point(number)
        try:
            machine = self.space.machines[point.machine].machine(point.machine_changes)
            source = self.space.workloads[point.workload]
            workload, patterns = source.workload(point.workload_changes), source.selection(point.workload_changes)
            key = (id(workload), patterns)
            if key not in self._shapes:
                self._shapes[key] = workload, _shapes((workload.select(*patterns) if patterns else workload).lowered())
            found = bounds_of(machine, self._shapes[key][1], point.batch)
        except HwsimError:
            return {}  # its simulation tells why
        exact = {"area_mm2": machine.area_mm2, "cost_usd": machine.cost_usd}
        return found | {column: value for column, value in exact.items() if value is not None}

    @staticmethod
    def from_above(column: str) -> bool:
        """Whether the bound of a column is one that no result exceeds, rather than falls below."""
        return column in _ABOVE
