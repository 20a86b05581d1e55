"""What a layer would cost on a microcontroller otherwise: dead channels, number formats, libraries."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hwsim.machines.mcu.features import number_format
from hwsim.machines.mcu.library import McuLibrary
from hwsim.message import Message, Row
from hwsim.workload import Layer
from hwsim.workload.number_format import DTYPES, weight_formats

__all__ = ["layer_options"]


def layer_options(
    layer: Layer,
    mine: McuLibrary,
    libraries: Sequence[McuLibrary],
    core: str,
    latency: Callable[[McuLibrary, bool, Layer], float],
) -> list[Message]:
    """Tables of the options of a layer.

    Parameters
    ----------
    mine : McuLibrary
        The library of the machine, one of `libraries`.
    latency : callable
        Seconds of a layer under a library, with dead channels dropped or not.
    """
    now, dead = latency(mine, mine.drops, layer), 1 - layer.macs_live / layer.macs if layer.macs else 0.0

    def row(kind: str, choice: str, seconds: float | None, current: bool, *remarks: str) -> Row:
        change = seconds / now - 1 if seconds is not None and now else None
        words = ", ".join([*filter(None, remarks), *(["current"] if current else [])])
        return {kind: choice, "latency_s": seconds, "change": change, "remark": words}

    messages: list[Message] = []
    if dead:
        rows = [
            row("dead channels", word, latency(mine, drop, layer), drop == mine.drops)
            for word, drop in (("computed", False), ("dropped", True))
        ]
        template = "with dead channels ({share:.0%} of its MACs) computed or dropped:"
        messages.append(Message("mcu.dead_channel_options", template, {"share": dead}, rows=tuple(rows)))
    if layer.macs and layer.weights:
        rows = []
        for dtype in (name for name in DTYPES if any(name in other.runs for other in libraries)):
            if dtype not in mine.runs:
                rows.append(row("format", dtype, None, False, "not supported"))
                continue
            other = layer.with_dtype(input=dtype, weight=weight_formats(dtype)[0], output=dtype)
            estimate = f"estimate; {mine.kernels(dtype).name} kernels" if dtype != "int8" else ""
            rows.append(
                row("format", dtype, latency(mine, mine.drops, other), mine.format_of(layer) == dtype, estimate)
            )
        values = {"library": mine.name}
        messages.append(Message("mcu.formats", "by number format, with {library}:", values, rows=tuple(rows)))
    kind = number_format(layer)
    able = [library for library in libraries if kind in library.runs or not layer.macs]
    by_time = sorted((latency(library, library.drops, layer), library.name, library) for library in able)
    rows = []
    for seconds, choice, library in by_time:
        drops = "drops dead channels" if library.drops and dead else ""
        scaled = "scaled to this core" if library.scaled(core) else ""
        rows.append(row("library", choice, seconds, choice == mine.name, drops, scaled))
    messages.append(Message("mcu.libraries", "by library, on {core}:", {"core": core}, rows=tuple(rows)))
    return messages
