"""What a mapping costs: ticks of its tiles through load, work and store, and energy, as a machine reports them."""

from __future__ import annotations

from collections.abc import Mapping as ReadMapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

from hwsim.errors import MappingError
from hwsim.mapping._stream import pipeline_runs, pipeline_ticks
from hwsim.mapping.counts import Counter, Counts
from hwsim.mapping.nest import Loop, Mapping
from hwsim.mapping.problem import Operand, Problem

__all__ = ["OBJECTIVES", "Cost", "Linear", "Rate", "Timing", "tile_loops", "timing"]

OBJECTIVES = ("latency", "energy", "edp", "traffic")

Linear = ReadMapping[Counter, float]
"""A factor for each counter."""


@dataclass(frozen=True)
class Rate:
    """A memory or a port that moves words at a bandwidth.

    Parameters
    ----------
    role : {"load", "store", "work", "unit"}
        What waits for it: the loads or the stores of tiles on the outermost channel, or the work on a tile; "unit": the
        same, for a memory in every unit, each of which moves its share.
    ticks_byte : Fraction
        Ticks for a byte.
    words : mapping
        Counter to the bits of a word.
    fixed : int
        Bits besides; less than 0 where final outputs are narrower than partial sums.
    tile : mapping
        Tensor to the bits of a word in the first load or the last store; those of the operand where it is left out.

    Where words do not have whole bits on average, all widths may be given in the same fraction of a bit, and
    `ticks_byte` for eight of these.
    """

    name: str
    role: Literal["load", "store", "work", "unit"]
    ticks_byte: Fraction
    words: ReadMapping[Counter, int]
    fixed: int = 0
    tile: ReadMapping[str, int] = field(default_factory=dict)

    def tile_bits(self, operand: Operand) -> int:
        """Bits of a word of a tile's tensor."""
        return self.tile.get(operand.name, operand.bits)

    def ticks(self, counted: Counts) -> int:
        """Ticks of a mapping."""
        bits = self.fixed + sum(width * counted.of(*counter) for counter, width in self.words.items())
        if self.role == "unit":
            bits = -(-bits // counted.instances)
        return self.of_bits(bits)

    def of_bits(self, bits: int) -> int:
        """Ticks of so many bits, in whole bytes."""
        size = -(-bits // 8) * self.ticks_byte
        return -(-size.numerator // size.denominator)


@dataclass(frozen=True)
class Cost:
    """What is minimized, and what it is made of.

    Parameters
    ----------
    objective : {"latency", "energy", "edp", "traffic"}
        Ties of latency and traffic go to the least energy and ticks, the others to the least ticks.
    tick_cycle : int
        Ticks of a cycle of the array.
    prices : mapping
        Energy of a word of each counter.
    fixed : float
        Energy besides, alike for all mappings.
    static_tick : float
        Energy of a tick.
    traffic : mapping
        Weight of each counter under the objective "traffic".
    gated : tuple, optional
        Counter, energy of a word and MACs: gated MACs do not read so many words of it, or all that there are.
    double_buffered : bool
        Whether a tile is loaded while the one before it is worked on.
    """

    objective: str = "latency"
    tick_cycle: int = 1
    rates: tuple[Rate, ...] = ()
    prices: Linear | None = None
    fixed: float = 0.0
    static_tick: float = 0.0
    traffic: Linear | None = None
    double_buffered: bool = True
    gated: tuple[Counter, float, int] | None = None

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise MappingError(
                f"objective must be {', '.join(OBJECTIVES[:-1])} or {OBJECTIVES[-1]}, not {self.objective!r}"
            )

    def energy(self, counted: Counts, ticks: int) -> float:
        """Energy of a mapping that takes so many ticks."""
        prices = self.prices or {}
        energy = self.fixed + self.static_tick * ticks + sum(p * counted.of(*counter) for counter, p in prices.items())
        if self.gated is not None:
            counter, price, macs = self.gated
            energy -= price * min(macs, counted.of(*counter))
        return energy


@dataclass(frozen=True)
class Timing:
    """Ticks of a mapping by part.

    `first` is what the load of the first tile takes, `last` the store of the last one: nothing hides them. The other
    loads and stores are spread evenly over the tiles. `busiest` names what the work waits for.
    """

    tiles: int
    load: int
    work: int
    store: int
    first: int
    last: int
    busiest: str
    slots: int

    @property
    def ticks(self) -> int:
        """From the first load to the last store."""
        return int(pipeline_ticks(self.tiles, self.load, self.work, self.store, self.first, self.last, self.slots))

    @property
    def runs(self) -> list[tuple[int, int, int, int]]:
        """Like tiles, as (how many, load, work, store)."""
        return list(pipeline_runs(self.tiles, self.load, self.work, self.store, self.first, self.last))


def timing(cost: Cost, problem: Problem, mapping: Mapping, counted: Counts) -> Timing:
    """Ticks of a mapping's tiles, which are what lies below its `tile_loops`."""
    above = tile_loops(mapping)
    box = dict(problem.dims)
    for loop in mapping.loops[:above]:
        box[loop.dim] = loop.tile
    parts = {"compute": counted.cycles * cost.tick_cycle}
    load = store = first = last = 0
    for rate in cost.rates:
        ticks = rate.ticks(counted)
        if rate.role == "load":
            load = ticks
            first = rate.of_bits(sum(rate.tile_bits(o) * o.words(box) for o in problem.operands if not o.output))
        elif rate.role == "store":
            store = ticks
            last = rate.of_bits(rate.tile_bits(problem.output) * problem.output.words(box))
        else:
            parts[rate.name] = ticks
    busiest = max(parts, key=lambda name: parts[name])
    slots = 2 if cost.double_buffered else 1
    tiles = _steps(problem, mapping.loops[:above])
    return Timing(tiles, load, parts[busiest], store, min(first, load), min(last, store), busiest, slots)


def tile_loops(mapping: Mapping) -> int:
    """Loops above the tile that is loaded, worked on and stored at a time.

    It lies in the innermost memory above the array; where there is but the outermost one, it is what the array takes.
    """
    above = shared = memories = 0
    for node in mapping.nodes:
        if isinstance(node, Loop):
            if node.spatial is not None:
                break
            above += 1
        else:
            memories += node.memory != mapping.memories[0]
            shared = above
    return shared if memories else above


def _steps(problem: Problem, loops: Sequence[Loop]) -> int:
    """Steps of temporal loops."""
    total = 1
    for dim, size in problem.dims.items():
        pieces = {size: 1}
        for loop in loops:
            if loop.dim != dim:
                continue
            cut: dict[int, int] = {}
            for piece, times in pieces.items():
                full, rest = divmod(piece, loop.tile)
                for part, number in ((loop.tile, full), (rest, 1 if rest else 0)):
                    if number:
                        cut[part] = cut.get(part, 0) + times * number
            pieces = cut
        total *= sum(pieces.values())
    return total
