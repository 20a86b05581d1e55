"""Which boards a network fits: flash, RAM, latency with its error, and battery life, or by how much it does not fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

from hwsim.errors import HwsimError
from hwsim.machines import Machine, MemoryUse, load_machine, machine_names
from hwsim.machines.board import Board
from hwsim.machines.memory import ARENA
from hwsim.machines.uncertainty import ExpectedError, expected_error
from hwsim.scenario.cycle import duty_cycle
from hwsim.scenario.result import DutyCycle
from hwsim.simulation import simulate
from hwsim.workload import Workload

__all__ = ["Fit", "board_names", "fits"]

_WEIGHTS = "weights"


@dataclass(frozen=True, slots=True)
class Fit:
    """A network on one board.

    Attributes
    ----------
    machine : Machine
    memories : tuple of MemoryUse
        What it needs of each memory that has a size.
    latency_s, energy_pj : float or None
        Of an inference, as if it fitted; None where the board does not run it.
    error : ExpectedError or None
        Of the latency.
    cycle : DutyCycle or None
    refusal : str
        Why the board does not run it.
    """

    machine: Machine
    memories: tuple[MemoryUse, ...] = ()
    latency_s: float | None = None
    energy_pj: float | None = None
    error: ExpectedError | None = None
    cycle: DutyCycle | None = None
    refusal: str = ""

    @property
    def fits(self) -> bool:
        """Whether the board runs it and every memory is large enough."""
        return not self.refusal and all(use.fits for use in self.memories)

    @property
    def times_too_large(self) -> float:
        """The need over the size of the memory that is shortest; 0 where none has a size."""
        return max((use.need_bytes / max(1, use.size_bytes) for use in self.memories), default=0.0)

    @property
    def short_bytes(self) -> int:
        """Bytes that all memories together lack."""
        return sum(max(0, -use.margin_bytes) for use in self.memories)

    def memory(self, part: str) -> MemoryUse | None:
        """The memory of activations (``arena``) or of ``weights``; None where it has no size."""
        return next((use for use in self.memories if any(name == part for name, _ in use.parts)), None)

    @property
    def ram(self) -> MemoryUse | None:
        """Where activations are."""
        return self.memory(ARENA)

    @property
    def flash(self) -> MemoryUse | None:
        """Where weights are, if not beside the activations."""
        use = self.memory(_WEIGHTS)
        return None if use is self.ram else use

    def to_dict(self) -> dict[str, Any]:
        """The row as plain data, with the unit of each number in its name."""
        cycle, error = self.cycle, self.error
        row: dict[str, Any] = {"machine": self.machine.name, "kind": self.machine.kind, "fits": self.fits}
        for name, use in (("flash", self.flash), ("ram", self.ram)):
            row |= {f"{name}_need_bytes": None if use is None else use.need_bytes,
                    f"{name}_size_bytes": None if use is None else use.size_bytes}  # fmt: skip
        row |= {
            "short_bytes": self.short_bytes,
            "latency_s": self.latency_s,
            "latency_error": None if error is None else error.error,
            "latency_measured": None if error is None else error.measured,
            "energy_pj": self.energy_pj,
            "life_s": None if cycle is None else cycle.life_s,
            "missed": None if cycle is None else cycle.missed,
            "refusal": self.refusal,
        }
        return row


def board_names() -> list[str]:
    """Microcontrollers, neural processors, and the phones and boards of application cores."""
    return [name for name in machine_names() if _is_board(load_machine(name))]


def _is_board(machine: Machine) -> bool:
    return isinstance(machine, Board) or str(getattr(machine.spec, "core", "")).startswith(("cortex-a", "kryo"))


def fits(workload: Workload, machines: Sequence[Machine], every: str, battery: str) -> list[Fit]:
    """The network on each board: those that it fits by latency, then the others, the nearest to fitting first."""
    rows = [_fit(workload, machine, every, battery) for machine in machines]
    return sorted(rows, key=lambda row: (not row.fits, bool(row.refusal),
                                         row.latency_s or 0.0 if row.fits else row.times_too_large))  # fmt: skip


def _fit(workload: Workload, machine: Machine, every: str, battery: str) -> Fit:
    network = machine.converted(workload)
    try:
        memories = machine.memories(network, 1)
    except HwsimError as error:
        return Fit(machine, refusal=_first(error))
    try:
        report = simulate(machine.plan(workload, 1))
    except HwsimError as error:
        return Fit(machine, memories, refusal=_first(error))
    seconds = [result.latency_s for result in report.results]
    cycle = duty_cycle(report, every, battery) if isinstance(machine, Board) else None
    energy = report.summary.energy_pj
    return Fit(
        machine, memories, report.summary.latency_s, None if isnan(energy) else energy,
        expected_error(report.plan, "latency", seconds), cycle,
    )  # fmt: skip


def _first(error: HwsimError) -> str:
    return str(error).splitlines()[0]
