"""How long a batch takes, by its size and by how many streams are busy: from plans of the machine, planned once."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hwsim.errors import InputError
from hwsim.machines import Machine
from hwsim.machines.loader import read_machine
from hwsim.machines.memory import MemoryUse
from hwsim.requests.arrivals import TICKS_PER_S
from hwsim.simulation import simulate
from hwsim.units import format_count
from hwsim.workload import Workload

__all__ = ["ServiceTimes", "Share", "shares_of", "ways"]

_GPU_STREAMS = (1, 2, 4)
_EXACT, _EXACT_BUSY = 8, 4


@dataclass(frozen=True, slots=True)
class Share:
    """How the machine is divided: streams, and the threads of each where it has threads."""

    streams: int
    threads: int | None = None

    def changes(self, busy: int) -> dict[str, object]:
        """What it sets of the machine while so many of its streams run."""
        threads: dict[str, object] = {} if self.threads is None else {"threads": self.threads}
        return {"streams": busy, **threads}


def shares_of(machine: Machine, streams: int | None = None) -> list[Share]:
    """The ways to divide a machine: those of so many streams, else of those that it says, else all worth a trial.

    On a processor these are from all cores of a socket for each stream down to one; on a GPU one, two and four streams.
    """
    keys = type(machine.spec).model_fields
    if "streams" not in keys:
        if streams is not None and streams != 1:
            raise InputError(f"streams must be 1: {machine.name} runs one batch at a time, not {streams}")
        return [Share(1)]
    spec: Any = machine.spec
    own = streams if streams is not None else None if spec.streams == 1 else spec.streams
    if "threads" not in keys:
        return [Share(int(own))] if own is not None else [Share(number) for number in _GPU_STREAMS]
    all_cores = spec.cores * spec.sockets
    if own is not None:
        number = spec.all_cores if own == "all" else int(own)
        if number > spec.all_cores:
            raise InputError(f"streams must be at most the {spec.all_cores} cores of {machine.name}, not {number}")
        threads = spec.threads if spec.threads != "all" else max(1, min(spec.cores, all_cores // number))
        return [Share(number, threads)]
    if spec.threads != "all":
        return [Share(max(1, all_cores // spec.threads), spec.threads)]
    threads = {spec.cores, *(2**power for power in range(spec.cores.bit_length()))}
    threads |= {spec.cores // parts for parts in (2, 3, 4) if spec.cores % parts == 0}
    return [Share(spec.cores // number * spec.sockets, number) for number in sorted(threads) if number <= spec.cores]


class ServiceTimes:
    """Seconds of a batch on one of several streams.

    Each size up to 8, then four in an octave are planned, and of busy streams each up to 4, then two in an octave;
    between them the time is interpolated. The plan of `busy` streams has that many: the machine says how they contend.

    Parameters
    ----------
    machine : Machine
    workload : Workload
    share : Share
    call_s, copy_s : float, optional
        Of a batch and of each of its samples before the plan; by default those of the machine.
    """

    def __init__(
        self,
        machine: Machine,
        workload: Workload,
        share: Share,
        call_s: float | None = None,
        copy_s: float | None = None,
    ) -> None:
        self.machine, self.workload, self.share = machine, workload, share
        call, copied = machine.request_s(workload)
        self.call_s = call if call_s is None else call_s
        self.copy_s = copied if copy_s is None else copy_s
        self._machines: dict[int, Machine] = {}
        self._planned: dict[tuple[int, int], float] = {}
        self._dynamic: dict[tuple[int, int], float] = {}
        self._fits: dict[int, bool] = {}
        self._ticks: dict[tuple[int, int], int] = {}

    @cached_property
    def divides(self) -> bool:
        """Whether the machine has streams at all."""
        return "streams" in type(self.machine.spec).model_fields

    def _with(self, busy: int) -> Machine:
        if not self.divides:
            return self.machine
        if busy not in self._machines:
            document = copy.deepcopy(self.machine.document)
            document.override(self.share.changes(busy))
            self._machines[busy] = read_machine(document, self.machine.folder)
        return self._machines[busy]

    def _plan(self, batch: int, busy: int) -> float:
        key = batch, busy
        if key not in self._planned:
            report = simulate(self._with(busy), self.workload, batch)
            summary = report.summary
            self._planned[key] = summary.latency_s
            self._dynamic[key] = summary.energy_pj - math.fsum(result.static_pj for result in report.results)
            if busy == self.share.streams:
                self._fits[batch] = summary.fits
            if not summary.latency_s > 0:
                raise InputError(f"{self.workload.name} must take time on {self.machine.name}, it takes none")
        return self._planned[key]

    def fits(self, batch: int) -> bool:
        """Whether a batch of every stream fits the memory."""
        self._plan(batch, self.share.streams)
        return self._fits[batch]

    def memories(self, batch: int) -> tuple[MemoryUse, ...]:
        """What batches of every stream need of each memory."""
        return self._with(self.share.streams).memories(self.workload, batch)

    def seconds(self, batch: int, busy: int) -> float:
        """Time of a batch while so many streams run, that before its kernels included."""
        return self.call_s + batch * self.copy_s + self._kernels_s(batch, busy)

    def _kernels_s(self, batch: int, busy: int) -> float:
        return _between(batch, _EXACT, lambda size: self._of(size, busy))

    def _of(self, batch: int, busy: int) -> float:
        return _between(busy, _EXACT_BUSY, lambda number: self._plan(batch, number), self.share.streams)

    def dynamic_pj(self, batch: int, busy: int) -> float:
        """Energy of a batch without static power while so many streams run; not a number where it is unknown."""

        def planned(size: int, number: int) -> float:
            self._plan(size, number)
            return self._dynamic[size, number]

        return _between(
            batch,
            _EXACT,
            lambda size: _between(busy, _EXACT_BUSY, lambda number: planned(size, number), self.share.streams),
        )

    @property
    def static_w(self) -> float:
        """Power that the machine draws with all its streams, whatever they do; of a board the active power."""
        return self._with(self.share.streams).prices.static_w

    def ticks(self, batch: int, busy: int) -> int:
        """Of its kernels in ticks."""
        key = batch, busy
        if (ticks := self._ticks.get(key)) is None:
            ticks = self._ticks[key] = max(1, round(self._kernels_s(batch, busy) * TICKS_PER_S))
        return ticks

    def before(self, batch: int) -> int:
        """Ticks before the kernels of a batch."""
        return round((self.call_s + batch * self.copy_s) * TICKS_PER_S)

    def per_s(self, batch: int) -> float:
        """Samples a second with every stream busy with batches of a size: calls and copies are beside the kernels."""
        streams, before = self.share.streams, self.call_s + batch * self.copy_s
        return min(streams * batch / self._kernels_s(batch, streams), batch / before if before else math.inf)

    @property
    def plans(self) -> int:
        """How many plans were made."""
        return len(self._planned)


def _between(number: int, exact: int, value: Callable[[int], float], most: int | None = None) -> float:
    """The value at a number: its own, or interpolated between those that have one; `most`, the last, has one."""
    step = 2 ** (number.bit_length() - exact.bit_length() + 1) if number > exact else 1
    low = number // step * step
    if number in (low, most):
        return value(number)
    high = low + step if most is None else min(low + step, most)
    a, b = value(low), value(high)
    return a + (b - a) * (number - low) / (high - low)


def ways(streams: int, threads: int | None) -> str:
    """Streams and their threads."""
    text = format_count(streams, "stream")
    return text if threads is None else f"{text} x {format_count(threads, 'thread')}"
