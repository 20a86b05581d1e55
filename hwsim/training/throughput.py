"""What follows from the time and the energy of a step, of one device or of many."""

from __future__ import annotations

from typing import Protocol

from hwsim.units import format_si

__all__ = ["Throughput"]


class _Timed(Protocol):
    @property
    def workload(self) -> str: ...

    @property
    def machine(self) -> str: ...

    @property
    def samples(self) -> int: ...

    @property
    def step_s(self) -> float: ...

    @property
    def energy_pj(self) -> float: ...

    @property
    def samples_per_s(self) -> float: ...

    @property
    def power_w(self) -> float: ...


class Throughput:
    """Rates of a step, and what a schedule takes; all devices together."""

    __slots__ = ()

    def __repr__(self: _Timed) -> str:
        return (
            f"<{type(self).__name__} {self.workload} on {self.machine}: {format_si(self.step_s, 's')}, "
            f"{self.samples_per_s:,.4g} samples/s>"
        )

    @property
    def samples_per_s(self: _Timed) -> float:
        """Inputs a second."""
        return self.samples / self.step_s

    @property
    def power_w(self: _Timed) -> float:
        """Mean power."""
        return self.energy_pj * 1e-12 / self.step_s

    def schedule(self: _Timed, samples: int, epochs: float = 1) -> tuple[float, float]:
        """Hours and kWh of so many epochs of so many samples."""
        seconds = samples * epochs / self.samples_per_s
        return seconds / 3600, seconds / 3600 * self.power_w / 1000
