"""Concurrent inferences on one GPU: shared resources, the extra latency of each stream, and the throughput.

A stream has one kernel at a time. While it launches, and on SMs for which its kernel has no tile, kernels of other
streams run. What none of them can have more of than there is are SM-time, L2, DRAM and power: of the work w of kernel i
on resource r (at its full rate), and the kernels' times t alone,

    interval >= max(sum_i t_i / N, max_r sum_i w_ir)       time in which one inference is finished
    latency  = N interval                                  of each; at least that alone

Up to eight streams, the interval is that of their kernels as events (`hwsim.machines.gpu.concurrency`); of more, who
keep the scarcest resource busy, it is the least that the formula says. A board at its limit stretches the interval as
it does the time of one stream. Nothing is fitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from hwsim.machines.gpu.concurrency import interval_of
from hwsim.machines.gpu.demand import GpuKernelPlan, StreamShare
from hwsim.machines.gpu.lower import lower_concurrent, nothing
from hwsim.machines.gpu.timing import Timer
from hwsim.message import Message

__all__ = ["ConcurrentStreams", "concurrent_idle_plan", "concurrent_plan", "total_energy"]

_SHARED = ("SMs", "L2", "DRAM")


def total_energy(timer: Timer, plans: Sequence[GpuKernelPlan]) -> tuple[float, float, float]:
    """Microseconds of kernels one after the other, their energy in pJ, and of that off the chip."""
    runs = [(_microseconds(plan), plan.load.us, timer.picojoules(plan.load)) for plan in plans]
    times = [us / max(one, 1e-9) for us, one, _ in runs]
    energy, off_chip = (sum(n * each[i] for n, (*_, each) in zip(times, runs, strict=True)) for i in (0, 1))
    return sum(us for us, *_ in runs), energy, off_chip


class ConcurrentStreams:
    """A network on each of N streams.

    Parameters
    ----------
    timer : Timer
    alone, free : list of GpuKernelPlan
        The network with the GPU to itself; the same without the power cap.
    """

    def __init__(self, timer: Timer, alone: list[GpuKernelPlan], free: list[GpuKernelPlan]) -> None:
        self.streams = int(timer.spec.streams)
        self.alone = alone
        self.timer = timer
        self._tick = timer.rate_hz * 1e-6
        self.work = [
            {
                "SMs": plan.load.sms, "L2": plan.load.l2, "DRAM": plan.load.dram,
                "power": timer.draw_w(plan.load) * _microseconds(plan) / timer.budget,
            }
            for plan in free
        ]  # fmt: skip
        self.once = sum(map(_microseconds, alone))
        self._free, *self._energy = total_energy(timer, free)
        self._times = [_microseconds(plan) for plan in free]

    @cached_property
    def total(self) -> dict[str, float]:
        """Microseconds of an inference on each shared resource at its full rate."""
        return {name: sum(work[name] for work in self.work) for name in _SHARED}

    @cached_property
    def cool(self) -> float:
        """Microseconds in which one inference would be finished without a power cap."""
        return interval_of(self._times, [tuple(work[name] for name in _SHARED) for work in self.work], self.streams)

    @cached_property
    def slow(self) -> float:
        """How much slower the power cap makes the clock."""
        energy, off_chip = (np.full(1, each) for each in self._energy)
        over = self.timer.stretch(np.full(1, self.cool), energy, off_chip)
        # The power cap applies as for a single inference: how long a run is does not depend on the streams.
        return float((1 + (over - 1) * self.timer.capped_share(np.full(1, self._free)))[0])

    @cached_property
    def interval(self) -> float:
        """Microseconds in which one inference is finished."""
        return min(self.once, max(self.cool * self.slow, self.once / self.streams))

    @cached_property
    def bound(self) -> str:
        """The saturated resource, or "" if none is."""
        if self.interval <= 1.0001 * self.once / self.streams:
            return ""
        return "power" if self.slow > 1 else max(_SHARED, key=lambda name: self.total[name])

    def message(self) -> Message:
        """The bottleneck and the utilization of each shared resource."""
        limit = "bottleneck {bound}" if self.bound else "no shared resource is saturated"
        template = f"{{streams}} concurrent streams (an estimate, not fitted): {limit}; utilization: {{shares:.0%}}"
        shares = {name: min(1.0, self.total[name] / self.interval) for name in _SHARED if self.interval}
        return Message("gpu.streams", template, {"streams": self.streams, "bound": self.bound, "shares": shares})

    def shares(self) -> list[StreamShare | None]:
        """The share of each kernel; None for a layer without one."""
        n, times = self.streams, [_microseconds(plan) for plan in self.alone]
        # The extra latency is distributed in proportion to demand on the saturated resource.
        demand = [max(0.0, n * max(work.values()) - us) for work, us in zip(self.work, times, strict=True)]
        late = max(0.0, n * self.interval - self.once)
        share = late / sum(demand) if sum(demand) else 0.0
        own = [self._own(plan, work) for plan, work in zip(self.alone, self.work, strict=True)]
        totals = {name: sum(each[name] for each in own) for name in _SHARED}
        whole = n * self.interval * self._tick
        # Utilization of a resource by others while the stream's own kernels do not use it.
        busy = {
            name: max(0.0, min(1.0, (n * self.total[name] * self._tick - totals[name]) / (whole - totals[name])))
            for name in _SHARED
            if whole > totals[name]
        }
        return [
            self._share(plan, us, work["SMs"], share * more, mine, busy)
            for plan, us, work, more, mine in zip(self.alone, times, self.work, demand, own, strict=True)
        ]

    def _own(self, plan: GpuKernelPlan, work: dict[str, float]) -> dict[str, int]:
        """Ticks for which a kernel uses each resource; pending writes count among the others."""
        after = plan.load.phases.total - plan.load.phases.launch
        return {name: min(round(work[name] * self._tick), after) for name in _SHARED}

    def _share(
        self, plan: GpuKernelPlan, us: float, hold: float, wait: float, own: dict[str, int], busy: dict[str, float]
    ) -> StreamShare | None:
        n, phases = self.streams, plan.load.phases
        if not phases.total:
            return None
        late = round(wait * self._tick)
        others = tuple(int((phases.total + late - own[name]) * busy.get(name, 0.0)) for name in _SHARED)
        # A layer's part of the interval is its SM-time and, of SM-time that nobody uses, as much as it takes of the
        # latency: so no layer does more than the SMs can, though streams are in different layers.
        spare = max(0.0, self.interval - self.total["SMs"])
        part = hold + spare * (us + wait) / (n * self.interval)
        bound = self.bound if wait > us else ""
        slow = max(self.slow, plan.load.slow)
        return StreamShare(n, late, tuple(own.values()), others, part, bound, slow)


def concurrent_plan(plan: GpuKernelPlan, share: StreamShare, tick: float) -> GpuKernelPlan:
    """The plan of a kernel on one of several streams; `tick` is the ticks in a microsecond."""
    phases, n = plan.load.phases, share.streams
    word = f"shared {share.bound}" if share.bound else plan.bounds[""]
    stages = ("tiles", "other streams", "wait")
    why = Message(
        "gpu.stream",
        "{late_s:si s} slower for {others:count other stream}: {alone_s:si s} alone, "
        "{interval_s:si s} of the time between inferences",
        {
            "late_s": share.late / tick * 1e-6,
            "others": n - 1,
            "alone_s": _microseconds(plan) * 1e-6,
            "interval_s": share.part * 1e-6,
        },
    )
    return replace(
        plan,
        program=lower_concurrent(phases, share.late, dict(zip(_SHARED, share.own)), dict(zip(_SHARED, share.others))),
        bounds=dict.fromkeys((*plan.bounds, *stages), word),
        columns={**plan.columns, "wait_s": share.late / tick * 1e-6},
        why=(*plan.why, why),
        streams=(phases.total + share.late) / tick / share.part,
        on_chip_energy=1 / share.slow,
    )


def concurrent_idle_plan(plan: GpuKernelPlan, streams: int) -> GpuKernelPlan:
    """The plan of a layer without a kernel on one of several streams."""
    return replace(plan, program=nothing(concurrent=True), streams=float(streams))


def _microseconds(plan: GpuKernelPlan) -> float:
    return plan.seconds * 1e6
