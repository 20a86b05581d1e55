"""The search for the mapping with the least cost: every nest of a dataflow, every tiling, by branch and bound.

The tilings of a nest are chains of tile sizes, one for each dim (`chains`). A branch that has picked some of them is
bounded from below (`space`), so what cannot be better is never counted; what is counted costs what it is reported at
(`cost`). Where the bound closes, the mapping is proved to be the best of the space. Same arguments, same answer.
"""

from __future__ import annotations

from collections.abc import Mapping as ReadMapping, Sequence
from dataclasses import dataclass

from hwsim.errors import MappingError
from hwsim.mapping._search import search_nest
from hwsim.mapping.capacity import check_capacity
from hwsim.mapping.cost import OBJECTIVES, Cost, timing
from hwsim.mapping.counts import Counter, Counts, Policy, counts
from hwsim.mapping.nest import Capacity, Mapping
from hwsim.mapping.problem import Operand, Problem
from hwsim.mapping.space import Space

__all__ = ["MOST_BRANCHES", "Optimum", "search"]

MOST_BRANCHES = 2_000_000
"""Branches that are looked at before the search settles for the best so far."""

_ROLES = {"load": 0, "store": 1, "work": 2, "unit": 3}


@dataclass(frozen=True)
class Optimum:
    """The best mapping of a search.

    Attributes
    ----------
    ticks, energy, traffic : int, float, float
        What it costs.
    nests, branches, mappings : int
        Nests that were searched, branches that were bounded, mappings that were counted.
    bound : float
        Lower bound of the objective over the whole space: the objective itself where the optimum is proved.
    """

    mapping: Mapping
    counts: Counts
    objective: float
    ticks: int
    energy: float
    traffic: float
    nests: int
    branches: int
    mappings: int
    bound: float

    @property
    def proved(self) -> bool:
        """Whether no mapping of the space is better."""
        return self.bound >= self.objective

    @property
    def gap(self) -> float:
        """How much better a mapping could be at most, as a share of the objective."""
        return 0.0 if self.proved or not self.objective else 1 - self.bound / self.objective


def search(
    problem: Problem,
    nests: Sequence[Mapping],
    cost: Cost,
    *,
    array: tuple[int, int] = (1, 1),
    units: ReadMapping[str, int] | None = None,
    capacities: ReadMapping[str, Capacity] | None = None,
    policy: Policy | None = None,
    most_branches: int = MOST_BRANCHES,
) -> Optimum:
    """The mapping with the least cost.

    Parameters
    ----------
    nests : sequence of Mapping
        Templates, as `templates` gives them; their tile sizes do not matter.
    array : tuple of int
        Rows and columns of the array.
    units : mapping, optional
        The largest tile of each dim inside a unit (default: 1).
    capacities : mapping, optional
        Memory to the bits of one instance, shared by its tensors or (as a mapping) split between them.
    most_branches : int
        Branches before the search settles for the best so far; nests share them.

    Raises
    ------
    MappingError
        If no mapping fits: which memory is too small, and by how much.
    """
    if not nests:
        raise MappingError("there must be at least one nest to search")
    policy = policy or Policy()
    capacities = capacities or {}
    if not nests[0].loops:  # one MAC
        return _single(problem, nests[0], cost, capacities, policy)
    best: tuple[Mapping, tuple[float, float], int, float, float] | None = None
    key: tuple[float, float] | None = None
    branches = mappings = 0
    bounds: list[float] = []
    for index, nest in enumerate(nests):
        share = max(1, (most_branches - branches) // (len(nests) - index))
        space = Space(problem, nest, policy, array, units or {}, capacities)
        sizes, axes, dims, spatial = space.compiled.tables[:4]
        classes = [len(row.limits) for row in space.rows]
        result, nodes, leaves, bound = search_nest(
            sizes, axes, dims, spatial, space.transfers, classes, space.tables(), space.memories, array,
            _by_transfer(cost, space), key, share,
        )  # fmt: skip
        branches += nodes
        mappings += leaves
        if bound is not None:
            bounds.append(bound)
        if result is not None and (key is None or result[1] < key):
            tiles, key, ticks, energy, traffic = result
            best = nest.with_tiles(tiles).simplify(problem), key, ticks, energy, traffic
    if best is None:
        for nest in nests:
            check_capacity(problem, nest.with_tiles([1] * len(nest.loops)), capacities)
        raise MappingError(f"{problem.name}: no mapping fits the memories and an array of {array[0]} x {array[1]}")
    mapping, least, ticks, energy, traffic = best
    return Optimum(
        mapping, counts(problem, mapping, policy), least[0], ticks, energy, traffic, len(nests), branches, mappings,
        min([least[0], *bounds]),
    )  # fmt: skip


def _single(
    problem: Problem, nest: Mapping, cost: Cost, capacities: ReadMapping[str, Capacity], policy: Policy
) -> Optimum:
    """The one mapping of a problem without loops."""
    check_capacity(problem, nest, capacities)
    counted = counts(problem, nest, policy)
    ticks = timing(cost, problem, nest, counted).ticks
    energy = cost.energy(counted, ticks)
    traffic = sum(weight * counted.of(*counter) for counter, weight in (cost.traffic or {}).items())
    objective = {"latency": float(ticks), "energy": energy, "edp": energy * ticks, "traffic": traffic}[cost.objective]
    return Optimum(nest, counted, objective, ticks, energy, traffic, 1, 1, 1, objective)


def _by_transfer(cost: Cost, space: Space) -> dict[str, object]:
    """The cost by transfers, of which every counter is a sum."""
    compiled = space.compiled
    rows = space.transfers
    index = {counter: column for column, counter in enumerate(compiled.counters)}
    terms: dict[int, list[tuple[int, int]]] = {}
    for column, row, factor in compiled.tables[5].tolist():
        terms.setdefault(column, []).append((row, factor))

    def linear(weights: ReadMapping[Counter, float]) -> tuple[list[float], float]:
        total, fixed = [0.0] * len(rows), 0.0
        for counter, weight in weights.items():
            for row, factor in terms.get(index.get(counter, -1), ()):  # a counter that does not happen is 0
                if row < 0:
                    fixed += weight * factor
                else:
                    total[row] += weight * factor
        return total, fixed

    def lower(total: list[float]) -> list[float]:
        """Without weights below 0: words that are shared are at most as many as those that are not."""
        result = list(total)
        for x, weight in enumerate(total):
            if weight < 0:
                same = next(y for y, row in enumerate(rows) if row[:3] == rows[x][:3] and row[3] == 0 and y != x)
                result[same] += weight
                result[x] = 0.0
        return result

    def width(role: str, operand: Operand) -> int:
        """Bits of a word of the first load or the last store."""
        return next((rate.tile_bits(operand) for rate in cost.rates if rate.role == role), operand.bits)

    energy, fixed = linear(cost.prices or {})
    traffic, traffic_fixed = linear(cost.traffic or {})
    rates = []
    for rate in cost.rates:
        bits, constant = linear(rate.words)
        ticks = rate.ticks_byte
        rates.append(
            (_ROLES[rate.role], ticks.numerator, ticks.denominator, rate.fixed + int(constant), [int(b) for b in bits],
             lower(bits))
        )  # fmt: skip
    gated, price, macs = cost.gated or (("", "", ""), 0.0, 0)
    words, constant = linear({gated: 1.0})
    end = space.memories["end"]
    operands = list(enumerate(space.problem.operands))
    return {
        "objective": OBJECTIVES.index(cost.objective),
        "double_buffered": int(cost.double_buffered),
        "fixed": fixed + cost.fixed,
        "static_tick": cost.static_tick,
        "gated": (price, float(macs), constant, words),
        "traffic_fixed": traffic_fixed,
        "tick_cycle": cost.tick_cycle,
        "cycles": terms[index["", "", "cycles"]][0][0],
        "units": terms[index["", "", "instances"]][0][0],
        "tiles": len(rows) - 1,
        "energy": energy,
        "traffic": traffic,
        "lower_energy": lower(energy),
        "rates": rates,
        "reads": space.reads(),
        "first": [(end + i, width("load", operand)) for i, operand in operands if not operand.output],
        "last": next((end + i, width("store", operand)) for i, operand in operands if operand.output),
    }
