"""What a run on a microcontroller rests on: scaled cycle counts, estimated kernels, scaled power."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from hwsim.machines.mcu.library import McuLibrary
from hwsim.machines.mcu.spec import McuSpec
from hwsim.message import Message
from hwsim.workload import Workload

__all__ = ["assumptions", "format_notes", "power_notes"]


def assumptions(spec: McuSpec, library: McuLibrary, clock_hz: Fraction, scale: float) -> tuple[Message, ...]:
    """What cycle counts were scaled by: the core, the clock, a measured network."""
    messages = [scaled] if (scaled := library.scaled(spec.core)) else []
    at, measured = spec.power.at, spec.measured
    if at is not None and at != clock_hz:
        template = (
            "at {clock_hz:si Hz} the cycle counts are those measured at {measured_hz:si Hz}; "
            "if the flash wait states differ, set flash.weight_byte"
        )
        messages.append(Message("mcu.clock", template, {"clock_hz": float(clock_hz), "measured_hz": float(at)}))
    if measured is not None:
        template = "scaled by {scale:.4g} to match the {latency_s:si s} measured for {workload}"
        values = {"scale": scale, "latency_s": float(measured.latency), "workload": measured.workload}
        messages.append(Message("mcu.measured", template, values))
    return tuple(messages)


def format_notes(library: McuLibrary, workload: Workload) -> Iterator[Message]:
    """Whose kernels run what is not int8, and how far to trust them."""
    for dtype in dict.fromkeys(library.format_of(layer) for layer in workload if layer.macs):
        if dtype == "int8":
            continue
        kernels = library.kernels(dtype)
        how, origin = (o.formats[dtype] for o in (library, kernels))
        values = {
            "format": dtype, "library": kernels.name,
            "source": [how.source] if kernels is library else [how.source, origin.source],
        }  # fmt: skip
        template = "{format} layers run on kernels of {library}, whose costs are estimated: {source}"
        yield Message("mcu.format", template, values)


def power_notes(spec: McuSpec, clock_hz: Fraction, active_w: float | None, supply_factor: float) -> Iterator[Message]:
    """Active power, and what it was scaled from: another clock, another supply."""
    power = spec.power
    if active_w is None:
        return
    values = {"power_w": active_w, "source": spec.energy.static_source}
    changes = []
    if power.at is not None and power.at != clock_hz:
        changes.append("from {measured_hz:si Hz} to {clock_hz:si Hz}")
        values |= {"measured_hz": float(power.at), "clock_hz": float(clock_hz)}
    if supply_factor != 1.0 and power.measured_supply is not None and power.supply is not None:
        changes.append("from {measured_v:g} V to {supply_v:g} V at the same current (linear regulator)")
        values |= {"measured_v": float(power.measured_supply), "supply_v": float(power.supply)}
    scaled = f"scaled {' and '.join(changes)}; " if changes else ""
    if power.spread is not None:
        scaled += "published runs spread by {spread:.0%}; "
        values["spread"] = power.spread
    yield Message("mcu.power", f"power: {{power_w:si W}}, {scaled}{{source}}", values)
