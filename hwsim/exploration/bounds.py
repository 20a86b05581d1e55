"""Bounds of the totals of a point from shapes and sizes alone, many times faster than a simulation."""

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
"""Tolerance for the rounding of float sums in different orders."""

_ABOVE = ("inferences_per_s", "tops_per_w")
"""Columns with upper bounds."""


def _shapes(layers: Iterable[Layer]) -> list[tuple[Layer, int]]:
    """Distinct layers, ignoring names, with their multiplicity."""
    groups: dict[tuple[object, ...], tuple[Layer, int]] = {}
    for layer in layers:
        groups[layer.likeness] = layer, groups.get(layer.likeness, (layer, 0))[1] + 1
    return list(groups.values())


def bounds_of(machine: Machine, shapes: Iterable[tuple[Layer, int]], batch: int) -> dict[str, float]:
    """Bounds of the totals of a run, never worse than its results; empty if the kind of machine has none.

    Latency is the sum of the lower bounds of the layers. Energy is the price of their minimum counts, plus static
    power over that latency.

    Raises
    ------
    HwsimError
        If a layer cannot run here, or an action has no price.
    """
    prices = machine.prices
    seconds, energy, dram_bytes, macs = 0.0, 0.0, 0, 0
    for layer, times in shapes:
        least = machine.lower_bound(layer, batch)
        if least is None:
            return {}
        seconds += times * float(least.seconds)
        energy += times * math.fsum(dynamic_energy(least.counts, least.word_bits, prices).values())
        dram_bytes += times * least.dram_bytes
        macs += times * layer.macs * batch
    seconds *= _SLACK
    energy = (energy + prices.static_w * seconds * 1e12) * _SLACK
    totals = {
        "latency_s": seconds,
        "energy_pj": energy,
        "energy_per_inference_pj": energy / batch,
        "edp_pj_s": seconds * energy,
        "dram_bytes": float(dram_bytes),
    }
    if seconds:
        totals["inferences_per_s"] = batch / seconds
    if energy:
        totals["tops_per_w"] = 2 * macs / energy
    return {column: value for column, value in totals.items() if not math.isnan(value)}


class Bounds:
    """Bounds of the points of a space."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self._shapes: dict[tuple[int, tuple[str, ...]], tuple[Workload, list[tuple[Layer, int]]]] = {}
        self._cache: dict[int, dict[str, float]] = {}

    def of(self, number: int) -> dict[str, float]:
        """Bounds of the columns of a point, and its exact area and cost, without a simulation."""
        if number not in self._cache:
            self._cache[number] = self._of(number)
        return self._cache[number]

    def _of(self, number: int) -> dict[str, float]:
        point = self.space.point(number)
        try:
            machine = self.space.machines[point.machine].machine(point.machine_changes)
            source = self.space.workloads[point.workload]
            workload, patterns = source.workload(point.workload_changes), source.selection(point.workload_changes)
            key = (id(workload), patterns)
            if key not in self._shapes:
                self._shapes[key] = workload, _shapes((workload.select(*patterns) if patterns else workload).lowered())
            bounds = {} if point.serving_changes else bounds_of(machine, self._shapes[key][1], point.batch)
        except HwsimError:
            return {}  # its simulation reports the error
        exact = {"area_mm2": machine.area_mm2, "cost_usd": machine.cost_usd}
        return bounds | {column: value for column, value in exact.items() if value is not None}

    @staticmethod
    def from_above(column: str) -> bool:
        """Whether a column has an upper rather than a lower bound."""
        return column in _ABOVE
