"""The error to expect of a run, in words."""

from __future__ import annotations

from collections.abc import Mapping

from hwsim.machines.uncertainty import ExpectedError
from hwsim.message import Message
from hwsim.report.quantity import counted

__all__ = ["error_messages", "percent"]


def percent(error: float) -> str:
    """An error as a percentage of two digits."""
    return f"{error:.1%}" if error < 0.0995 else f"{error:.0%}"


def _ground(error: ExpectedError) -> str:
    """Which measured values it is from, or that there are none."""
    if error.measured:
        return f"{counted(error.rows, 'measured value')}: {error.words}"
    return f"not measured: {error.words}"


def error_messages(errors: Mapping[str, ExpectedError]) -> tuple[Message, ...]:
    """What measurements of a run are expected to be within, or that nothing like it was measured, by ground."""
    grounds: dict[str, list[str]] = {}
    for quantity, error in errors.items():
        grounds.setdefault(_ground(error), []).append(quantity)
    messages = []
    for ground, quantities in grounds.items():
        values: dict[str, str] = {"ground": ground}
        parts = []
        for quantity in quantities:
            error = errors[quantity]
            values |= {quantity: percent(error.error), f"{quantity}_95": percent(error.error_95)}
            reach = f"(95 of 100 within {{{quantity}_95}})" if error.measured else "or worse"
            parts.append(f"{quantity} {{{quantity}}} {reach}")
        messages.append(Message("run.expected_error", f"expected error: {', '.join(parts)}; {{ground}}", values))
    return tuple(messages)
