"""Power of each state of a duty cycle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hwsim.energy.battery import Battery
from hwsim.machines.board import Board
from hwsim.message import Message

__all__ = ["rest_state", "state_watts", "unknown_power"]

_KEYS = {"inference": "active", "wake-up": "wake_up", "sleep": "sleep", "deep sleep": "deep_sleep"}
_LOWEST_V = 1.7
"""Supply below which no Cortex-M of these data sheets runs from flash."""


def rest_state(machine: Board) -> tuple[str, list[Message]]:
    """The state of the core between inferences, and the note of one that is not deep sleep."""
    power = machine.spec.power
    if power.deep_sleep != "unknown" or power.sleep == "unknown":
        return "deep sleep", []
    template = "power.deep_sleep of {machine} is unknown; light sleep is used instead"
    return "sleep", [Message("scenario.light_sleep", template, {"machine": machine.name})]


def state_watts(machine: Board, battery: Battery | None) -> tuple[dict[str, float | None], list[Message]]:
    """Power by state in watts, None if unknown, and the note of a supply that scales it."""
    power, factor, notes = machine.spec.power, 1.0, list[Message]()
    lowest = float(power.supply or power.measured_supply or _LOWEST_V)
    if battery is not None and battery.voltage < lowest:
        template = (
            "{battery} has {battery_v:g} V, and the machine runs at {supply_v:g} V or more: it needs a step-up "
            "converter, whose losses are left out"
        )
        values = {"battery": battery.name, "battery_v": float(battery.voltage), "supply_v": lowest}
        notes.append(Message("scenario.step_up", template, values))
    elif (
        battery is not None and power.regulator == "ldo" and power.measured_supply is not None and power.supply is None
    ):
        # A linear regulator draws the same current at any voltage; with a converter before it, power.supply is set.
        factor = float(battery.voltage / power.measured_supply)
        template = (
            "powered directly by {battery}: the current measured at {measured_v:g} V, at {battery_v:g} V, "
            "is {factor:.3g} times the power; behind a converter, set power.supply"
        )
        values = {
            "battery": battery.name, "measured_v": float(power.measured_supply), "battery_v": float(battery.voltage),
            "factor": factor,
        }  # fmt: skip
        notes.append(Message("scenario.unregulated", template, values))
    watts = {
        "inference": machine.active_w,
        "wake-up": None if power.wake_up == "unknown" else machine.state_w("waking"),
        "sleep": machine.state_w("sleep"),
        "deep sleep": machine.state_w("deep_sleep"),
    }
    return {state: None if w is None else w * factor for state, w in watts.items()}, notes


def unknown_power(machine: Board, energy: Mapping[str, float | None]) -> Iterable[Message]:
    """The note of the states whose energy is unknown."""
    keys = [f"power.{_KEYS[state]}" for state, joules in energy.items() if joules is None]
    if keys:
        template = "{machine} has no value for {keys}; set it with --set"
        yield Message("scenario.unknown_power", template, {"machine": machine.name, "keys": keys}, "warning")
