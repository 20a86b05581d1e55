"""Energy of a load: what batches take beyond static power, and the power of the machine while it has nothing to do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from hwsim.machines.board import Board
from hwsim.requests.service import ServiceTimes

__all__ = ["LoadEnergy", "load_energy"]


@dataclass(frozen=True, slots=True)
class LoadEnergy:
    """Energy of a load; None is unknown.

    Attributes
    ----------
    query_pj : float, optional
        Of a query that is answered, with its share of the time in which the machine is idle.
    work_pj : float, optional
        The same without that time.
    average_w, idle_w : float, optional
        Mean power over the span, and power while nothing runs.
    """

    query_pj: float | None
    work_pj: float | None
    average_w: float | None
    idle_w: float | None


def load_energy(
    times: ServiceTimes, batches: Mapping[int, int], span_s: float, utilization: float, queries: int
) -> LoadEnergy:
    """Energy of batches over a span in which streams are busy for a share of the time.

    A board draws active power while it infers and that of light sleep while it waits. Other machines draw their static
    power all the time; where the file has none, what they draw while idle is unknown.
    """
    if not span_s or not queries:
        return LoadEnergy(None, None, None, None)
    busy = max(1, round(utilization * times.share.streams))
    dynamic = math.fsum(number * times.dynamic_pj(size, busy) for size, number in batches.items())
    static_w, busy_s = times.static_w, utilization * span_s
    idle_w: float | None = static_w
    if isinstance(times.machine, Board):
        idle_w = times.machine.state_w("sleep")
    elif not static_w:
        idle_w = None
    rest_s = max(0.0, span_s - busy_s)
    work = dynamic + static_w * busy_s * 1e12
    if not math.isfinite(work):
        return LoadEnergy(None, None, None, idle_w)
    idle = 0.0 if rest_s < 1e-9 * span_s else None if idle_w is None else idle_w * rest_s * 1e12
    if idle is None:
        return LoadEnergy(None, work / queries, None, None)
    return LoadEnergy((work + idle) / queries, work / queries, (work + idle) / span_s / 1e12, idle_w)
