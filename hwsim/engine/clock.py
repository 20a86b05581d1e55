"""Exact time: several clocks on one integer tick.

No float enters simulated time. The tick rate is the least common multiple of the clock frequencies, so that a cycle of
every clock is a whole number of ticks: 200 MHz and 60 MHz give 600 MHz ticks, a cycle of the one is 3 ticks and of the
other 10.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import gcd, lcm

__all__ = ["Timebase"]

MAX_TICK_RATE_HZ = 10**18
"""Above an attosecond tick the frequencies are surely a mistake (a measured 199999999 Hz beside 60000001 Hz)."""


class Timebase:
    """The common integer tick of a set of clocks.

    Parameters
    ----------
    clocks
        Frequency of each clock in Hz, as an int or a `Fraction`. Floats are refused: they are seldom the number meant.
    """

    def __init__(self, clocks: Mapping[str, int | Fraction]) -> None:
        if not clocks:
            raise ValueError("A timebase must have at least one clock, none was given")
        rates: dict[str, Fraction] = {}
        for name, hz in clocks.items():
            if isinstance(hz, bool) or not isinstance(hz, (int, Fraction)):
                raise ValueError(f"Frequency of clock {name!r} must be an int or a Fraction in Hz, not {hz!r}")
            if hz <= 0:
                raise ValueError(f"Frequency of clock {name!r} must be positive, not {hz} Hz")
            rates[name] = Fraction(hz)
        # lcm of fractions in lowest terms: lcm of the numerators over gcd of the denominators.
        rate = Fraction(lcm(*(r.numerator for r in rates.values())), gcd(*(r.denominator for r in rates.values())))
        if rate > MAX_TICK_RATE_HZ:
            listing = ", ".join(f"{name} = {hz} Hz" for name, hz in rates.items())
            raise ValueError(
                f"The common multiple of all clocks must be at most 10**18 Hz, not {rate} Hz ({listing}). "
                "Round the frequencies to what the data sheet says."
            )
        self.clocks: Mapping[str, Fraction] = rates
        """Frequency of each clock in Hz."""
        self.rate_hz = rate
        """Ticks in a second. A whole number unless a clock is slower than 1 Hz or runs at a fraction of it."""
        self._ticks = {name: int(rate / hz) for name, hz in rates.items()}

    def __repr__(self) -> str:
        return f"Timebase({', '.join(f'{name}={hz} Hz' for name, hz in self.clocks.items())}; tick {self.rate_hz} Hz)"

    def period(self, clock: str) -> int:
        """Ticks in one cycle of *clock*."""
        try:
            return self._ticks[clock]
        except KeyError:
            raise ValueError(f"A clock must be one of {', '.join(sorted(self._ticks))}, not {clock!r}") from None

    def ticks(self, clock: str, cycles: int) -> int:
        """Ticks in *cycles* cycles of *clock*."""
        return self.period(clock) * cycles

    def cycles(self, clock: str, ticks: int) -> int:
        """Cycles of *clock* that *ticks* reach into: the last one, if only begun, counts."""
        return -(-ticks // self.period(clock))

    def fraction(self, ticks: int) -> Fraction:
        """*ticks* in seconds, exactly."""
        return ticks / self.rate_hz

    def seconds(self, ticks: int) -> float:
        """*ticks* in seconds, rounded once."""
        return float(self.fraction(ticks))
