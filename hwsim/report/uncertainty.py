"""The error to expect of a run, in words."""

from __future__ import annotations

from collections.abc import Mapping

from hwsim.machines.uncertainty import ExpectedError
from hwsim.message import Message
from hwsim.report.quantity import counted

__all__ = ["error_message", "percent"]


def percent(error: float) -> str:
    """An error as a percentage of two digits at most."""
    return f"{error:.1%}" if error < 0.0995 else f"{error:.0%}"


def error_message(errors: Mapping[str, ExpectedError]) -> Message:
    """What measurements of a run are expected to be within; or that nothing like it was measured."""
    parts: list[str] = []
    values: dict[str, str] = {}
    for quantity, error in errors.items():
        basis = f"{counted(error.rows, 'value')} measured on {error.words}" if error.measured else error.words
        again = basis in values.values()
        if error.measured:
            ground = f"from {'the same' if again else f'{{{quantity}_from}}'}"
            parts.append(f"{quantity} {{{quantity}}} (95 of 100 within {{{quantity}_95}}), {ground}")
        else:
            ground = "" if again else f" ({{{quantity}_from}})"
            parts.append(f"{quantity} not measured{ground}, expect {{{quantity}}} or worse")
        values |= {quantity: percent(error.error), f"{quantity}_95": percent(error.error_95), f"{quantity}_from": basis}
    return Message("run.expected_error", f"expected error: {'; '.join(parts)}", values)
