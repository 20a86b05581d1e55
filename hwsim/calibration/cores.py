"""Whether threads that run side by side share an L3, which a hypervisor can change from one second to the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from time import perf_counter

from hwsim.calibration.host import Binding
from hwsim.kernels import probe

__all__ = ["Cores", "Runs", "run_counts"]

NEAR = 1.8
"""How many times the least time of a barrier threads may take that share an L3."""
GROUP_S = 0.05
"""Runs between two looks."""
BARRIERS, LOOKS, LEAST = 500, 24, 3


class Cores:
    """A look at how far apart the cores of an operator's threads are: the time of a barrier.

    The system does not see on which cores of the hardware a hypervisor runs its processors. Measured on two virtual
    processors of an EPYC with nothing else running: a barrier takes 42 ns and DenseNet-121 42 ms, or 150 ns and 66 ms,
    as on one thread, for seconds at a time: what one core wrote, the other reads from another L3.
    """

    def __init__(self, binding: Binding) -> None:
        self.binding = binding
        self.nearest = inf

    def distance(self) -> float:
        """Nanoseconds of a barrier of all threads, now; 0 of one thread."""
        threads = len(self.binding.processors)
        if threads < 2:
            return 0.0
        with self.binding.released():
            ns = sorted(probe.barrier(threads, times=LOOKS, n=BARRIERS).ns)
        self.nearest = min(self.nearest, ns[LEAST] / BARRIERS)
        return ns[LEAST] / BARRIERS

    def runs(
        self, run: Callable[[], float], seconds: float, enough: int, tell: Callable[[int], None] = lambda _: None
    ) -> Runs:
        """Time runs until `enough` of them count, or for five times the seconds.

        Those count that lie between two looks that saw the threads near each other. Of each group of runs, the first
        wakes the threads and does not count. `tell` is called with how many count so far.
        """
        times: list[float] = []
        if len(self.binding.processors) < 2:
            for index in range(enough):
                tell(index)
                times.append(run())
            return Runs(self, times)
        groups: list[int] = []
        looks = [self.distance()]
        until = perf_counter() + 5 * seconds
        counted = 0
        while not times or (counted < enough and perf_counter() < until):
            tell(min(enough, counted))
            start, group = perf_counter(), 0
            while group < 3 or perf_counter() < start + GROUP_S:
                times.append(run())
                group += 1
            groups.append(group)
            looks.append(self.distance())
            counted = sum(run_counts(groups, looks, self.nearest))
        return Runs(self, times, groups, looks)


@dataclass(slots=True)
class Runs:
    """Times of runs; what was nearest may be seen only later, so which of them count is told when asked."""

    cores: Cores
    times: list[float]
    groups: list[int] = field(default_factory=list)
    looks: list[float] = field(default_factory=list)

    @property
    def counts(self) -> list[bool]:
        """Which runs count."""
        if not self.groups:
            return [True] * len(self.times)
        return run_counts(self.groups, self.looks, self.cores.nearest)

    @property
    def near(self) -> list[float]:
        """The times of those that count."""
        return [time for time, good in zip(self.times, self.counts, strict=True) if good]


def run_counts(groups: list[int], looks: list[float], nearest: float) -> list[bool]:
    """Which runs of the groups count, by the looks before and after each."""
    most = NEAR * min(*looks, nearest)
    counts: list[bool] = []
    for group, before, after in zip(groups, looks, looks[1:], strict=False):
        counts += [False] + [max(before, after) <= most] * (group - 1)
    return counts
