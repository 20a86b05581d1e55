"""A layer's work as stages on the engine's resources: multipliers, output unit, port, memories and links."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from hwsim.engine import Timebase
from hwsim.engine.program import Pipeline, Program, Run, Stage, spread
from hwsim.machines.npu.engine import Part
from hwsim.machines.npu.place import Work
from hwsim.machines.npu.spec import NpuSpec

__all__ = ["NOTHING", "Moved", "Ticks", "program_of"]

NOTHING = Program({}, ())


@dataclass(frozen=True, slots=True)
class Moved:
    """Bytes that a batch moves: maps, weights that were not there before, weights of the next layer, copies."""

    maps: int = 0
    loads: int = 0
    ahead: int = 0
    copies: int = 0


@dataclass(frozen=True, slots=True)
class Ticks:
    """Ticks of cycles of the engine and of bytes over its memories."""

    spec: NpuSpec
    timebase: Timebase

    def rate(self, memory: str) -> Fraction | None:
        """Bytes a second of a memory; None where it is not told."""
        bandwidth = self.spec.memories[memory].bandwidth
        return None if bandwidth is None else bandwidth.bytes_per_second(self.spec.clock_hz(self.spec.clock), 8)

    def of_cycles(self, cycles: float) -> int:
        """Ticks of cycles, begun ones whole."""
        return self.timebase.ticks(self.spec.clock, ceil(cycles))

    def of_bytes(self, memory: str, size: int) -> int:
        """Ticks of bytes over a memory or link."""
        rate = self.rate(memory) if size else None
        return 0 if rate is None else ceil(Fraction(size) / rate * self.timebase.rate_hz)


def program_of(ticks: Ticks, work: Work, batch: int, moved: Moved, first: bool) -> Program:
    """Blocks through multipliers and output unit, beside the transfers of maps and of weights.

    Where products and transfers take turns, each follows the one before it. The next layer's weights follow this one's.
    """
    spec = ticks.spec
    start = ticks.of_cycles(spec.layer_cycles * batch)
    if first and spec.setup is not None:
        start += ceil(Fraction(spec.setup) * batch * ticks.timebase.rate_hz)
    pipelines: list[Pipeline] = []

    def add(stage: str, resource: str, length: int, after: str = "") -> None:
        if length:
            began = [one.name for one in pipelines]
            waits = began[-1:] if spec.in_turns else [one for one in ("start", after) if one in began]
            pipelines.append(Pipeline(stage, (Stage(stage, resource),), (Run(1, (length,)),), tuple(waits)))

    copies, store, maps = spec.home("copies"), spec.home("weights"), spec.home("maps")
    add("start", "control", start)
    if copies:
        add("copy", copies, ticks.of_bytes(copies, moved.copies))
    add("load", store, ticks.of_bytes(store, moved.loads))
    add("maps", maps, ticks.of_bytes(maps, moved.maps))
    behind = pipelines[-1:] if spec.in_turns else [one for one in pipelines if one.name == "start"]
    for number, part in enumerate(work.parts):
        if tiles := _tiles(ticks, part, batch):
            stages = (Stage("fill", "port"), Stage("mac", "multipliers"), Stage("output", "output unit"))
            pipelines.append(Pipeline(f"operator {number}", stages, tiles, tuple(one.name for one in behind)))
            behind = pipelines[-1:]
    add("ahead", store, ticks.of_bytes(store, moved.ahead), after="load")
    resources = dict.fromkeys(("control", "port", "multipliers", "output unit", *spec.memories), 1)
    return Program(resources, tuple(pipelines)) if pipelines else NOTHING


def _tiles(ticks: Ticks, part: Part, batch: int) -> tuple[Run, ...]:
    """Blocks through multipliers and output unit, which together take the cycles of the part."""
    short, long = sorted((part.mac_cycles, part.output_cycles))
    number = ceil(part.tiles * batch)
    whole = ticks.of_cycles(part.cycles * batch)
    if not whole or not number:
        return ()
    last = ticks.of_cycles(short / part.tiles)
    ends = ticks.of_cycles(long * batch)
    waits = max(0, whole - ends - last)
    mac, output = (ends, last * number) if part.mac_cycles >= part.output_cycles else (last * number, ends)
    first = (mac // number, output // number)
    rest = spread(number - 1, 0, mac - first[0], output - first[1]) if number > 1 else ()
    return (Run(1, (waits, *first)), *rest)
