"""What machines gain by a compressed network: each run before and after, and why there is no more to gain."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console

from hwsim.compression.compressed import Compressed
from hwsim.errors import HwsimError
from hwsim.machines import Machine
from hwsim.machines.limits import check_batch
from hwsim.message import Message, sentence
from hwsim.report.quantity import shown
from hwsim.report.report import Report
from hwsim.report.terminal import Column, print_columns, wrapped
from hwsim.report.unused import unused_messages
from hwsim.simulation import simulate
from hwsim.units import format_size

__all__ = ["Cost", "Gain", "gains_of", "print_gains"]


_GAINED = ("held_bytes", "dram_bytes", "latency_s", "energy_pj")


@dataclass(frozen=True, slots=True)
class Cost:
    """What a network takes on a machine: bytes of its weights there, bytes over DRAM, time and energy."""

    held_bytes: float
    dram_bytes: float
    latency_s: float
    energy_pj: float
    fits: bool


@dataclass(frozen=True, slots=True)
class Gain:
    """A network on a machine before and after; `error` where it does not run there."""

    machine: str
    before: Cost | None
    after: Cost | None
    reasons: tuple[Message, ...] = ()
    error: str = ""

    @property
    def whole(self) -> bool:
        """Whether the machine gains in bytes, time and energy alike."""
        if self.before is None or self.after is None:
            return False
        pairs = [(getattr(self.before, key), getattr(self.after, key)) for key in _GAINED]
        return all(after < before for before, after in pairs if before)

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        data: dict[str, Any] = {"machine": self.machine}
        for name, cost in (("before", self.before), ("after", self.after)):
            if cost is not None:
                data[name] = {key: getattr(cost, key) for key in Cost.__dataclass_fields__}
        return (
            data
            | {"reasons": [reason.to_dict() for reason in self.reasons]}
            | ({"error": self.error} if self.error else {})
        )


def gains_of(packed: Compressed, machines: Mapping[str, Machine], batch: int = 1) -> tuple[Gain, ...]:
    """Simulate the network before and after on each machine, by its label."""
    check_batch(batch)
    gains: list[Gain] = []
    for label, machine in machines.items():
        try:
            before, after = (simulate(machine.plan(w, batch)) for w in (packed.original, packed.workload))
            gains.append(Gain(label, _cost(before), _cost(after), _reasons(after)))
        except HwsimError as error:
            gains.append(Gain(label, None, None, error=_advice("; ".join(str(error).splitlines()[:3]), label)))
    return tuple(gains)


def _advice(text: str, label: str) -> str:
    """An error of a machine, with its advice of ``--set`` as ``--on`` takes it."""

    def option(match: re.Match[str]) -> str:
        others = [part for part in label.split("+") if not part.startswith(f"{match[1]}=")]
        return "--on " + "+".join((*others, f"{match[1]}={match[2]}"))

    return re.sub(r"--set ([\w.]+)=([\w.-]*\w)", option, text)


def _cost(report: Report) -> Cost:
    s = report.summary
    return Cost(_held(report), s.dram_bytes, s.latency_s, s.energy_pj, s.fits)


def _held(report: Report) -> float:
    """Bytes of the weights where the machine keeps them: as its memory says, or in words of its outermost memory."""
    for use in report.memories:
        if "weights" in (parts := dict(use.parts)):
            return parts["weights"]
    total = 0.0
    arrays: set[str] = set()
    for name, plan in zip(report.plan.names, report.plan, strict=True):
        layer = report.plan.workload[name]
        array = layer.weight.spec.array
        if array and array in arrays:
            continue
        arrays.add(array)
        if (stored := report.machine.stored_weight_bits(layer)) is not None:
            total += stored / 8
            continue
        if stored_bytes := [why.values["stored_bytes"] for why in plan.why if why.code == "csr.stored"]:
            total += stored_bytes[0]
            continue
        words = [bits for key, bits in plan.word_bits.items() if key == "weight" or key.endswith(".weight")]
        total += layer.weights * (words[0] if words else layer.weight.bits) / 8
    return total


def _reasons(report: Report) -> tuple[Message, ...]:
    """Why properties of the weights have no effect."""
    items = [item for item in report.unused if item.what == "unused" and item.property.startswith("weight.")]
    return tuple(replace(message, layers=()) for message in unused_messages(items, report.plan))


def print_gains(gains: Sequence[Gain], console: Console) -> None:
    """Print a line a machine, and below why it has no more to gain."""
    ran = [gain for gain in gains if gain.before is not None and gain.after is not None]
    if ran:
        console.print()
        pairs = [(gain.before, gain.after) for gain in ran]

        def column(head: str, key: str) -> list[Column]:
            cells = [[_cell(key, getattr(cost, key)) for cost in pair if cost is not None] for pair in pairs]
            change = [
                "=" if one == two != "-" else _change(*(getattr(cost, key) for cost in pair))
                for pair, (one, two) in zip(pairs, cells)
            ]
            return [
                Column(head, [one for one, _ in cells], right=True),
                Column("after", [two for _, two in cells], right=True),
                Column("", change),
            ]

        heads = {"held": "held_bytes", "DRAM": "dram_bytes", "latency": "latency_s", "energy": "energy_pj"}
        columns = [Column("machine", [gain.machine for gain in ran], least=8)]
        for head, key in heads.items():
            columns += column(head, key)
        print_columns(console, columns, width=_WIDTH)
    for gain in gains:
        if gain.error:
            wrapped(console, f"{gain.machine}: {gain.error}")
        if gain.before is not None and gain.after is not None and not (gain.before.fits and gain.after.fits):
            only = "fits its memory only when compressed" if gain.after.fits else "fits its memory only uncompressed"
            fits = only if gain.before.fits or gain.after.fits else "does not fit its memory"
            wrapped(console, f"{gain.machine}: the network {fits}")
        for reason in () if gain.whole else gain.reasons:
            wrapped(console, f"{gain.machine}: {sentence(reason)}")


_WIDTH = 150


def _cell(key: str, value: float) -> str:
    if key.endswith("_bytes"):
        return format_size(value) if value else "-"
    return shown(key, value)


def _change(before: float, after: float) -> str:
    """How many times less, with the digits that tell it from 1."""
    if not after or not before or math.isnan(before):  # none, or unknown
        return ""
    factor = before / after
    digits = -math.floor(math.log10(abs(factor - 1))) if factor != 1 else 0
    return f"{factor:.{digits}f}x" if digits > 2 else f"{factor:.3g}x"
