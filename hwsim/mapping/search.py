"""The search for the mapping with the least cost: every nest of a dataflow, every tiling, by branch and bound.

The tilings of a nest are chains of tile sizes, one for each dim (`chains`). A branch that has picked some of them is
bounded from below (`space`), so what cannot be better is never counted; what is counted costs what it is reported at
(`cost`). Where the bound closes, the mapping is proved to be the best of the space. Same arguments, same answer.
"""

from __future__ import annotations

from collections.abc import Mapping as ReadMapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from hwsim.errors import MappingError
from hwsim.mapping._search import NestSearch
from hwsim.mapping.capacity import check_capacity
from hwsim.mapping.cost import OBJECTIVES, Cost, timing
from hwsim.mapping.counts import Counter, Counts, Policy, counts
from hwsim.mapping.nest import Capacity, Mapping
from hwsim.mapping.problem import Operand, Problem
from hwsim.mapping.space import Space

__all__ = ["EFFORT", "Optimum", "search"]

EFFORT = 100_000_000
"""Tile sizes that are looked at before the search settles for the best so far: a lower bound counts as 8 of them, a
mapping as 100. It takes a second or two."""

_RATIOS = (1.01, 1.04, 1.08, 1.15, 1.22, 1.3, 1.4, 1.5, 1.65, 1.8, 2.0, 2.5, 3.0, 4.0, 8.0)
"""A mapping within so much of the lower bound is looked for first: what must be beaten prunes what cannot."""

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
    tilings : float
        Tilings of the space, whether they fit or not; all but those counted are proved away, or left.
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
    tilings: float
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
    effort: int = EFFORT,
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
    effort : int
        Tile sizes that are looked at before the search settles for the best so far; nests share them.

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
    searches = [_search_of(Space(problem, nest, policy, array, units or {}, capacities), cost) for nest in nests]
    bounds = _look(searches, effort)
    best, index = min(
        ((part.result, i) for i, part in enumerate(searches) if part.result), key=_rank, default=(None, 0)
    )
    if best is None:
        for nest in nests:
            check_capacity(problem, nest.with_tiles([1] * len(nest.loops)), capacities)
        raise MappingError(f"{problem.name}: no mapping fits the memories and an array of {array[0]} x {array[1]}")
    tiles, cost_key, ticks, energy, traffic = best
    mapping = nests[index].with_tiles(tiles).simplify(problem)
    return Optimum(
        mapping, counts(problem, mapping, policy), cost_key[0], ticks, energy, traffic, len(nests),
        sum(part.nodes for part in searches), sum(part.leaves for part in searches),
        sum(part.tilings for part in searches), min(cost_key[0], *bounds),
    )  # fmt: skip


def _look(searches: Sequence[NestSearch], effort: int) -> list[float]:
    """Look for the best tiling of each nest that beats the others'; a lower bound for each nest."""
    key: tuple[float, float] | None = None
    bounds: list[float] = []
    for part in searches:
        bounds.append(part.dive(key))
        key = part.result[1] if part.result else key
    order = sorted(range(len(searches)), key=lambda i: bounds[i])
    goals = [bounds[order[0]] * ratio for ratio in _RATIOS]
    while True:
        last = not goals
        goal = (inf, inf) if last else (goals.pop(0), inf)
        if last:  # the proof is out of reach: a good mapping is not
            for part in searches:
                part.polish(effort // 10)
            key = min((part.result[1] for part in searches if part.result), default=None)
        unproved = [i for i in order if key is None or bounds[i] < key[0]]
        for n, i in enumerate(unproved):
            left = effort - sum(part.effort for part in searches)
            to_beat = goal if key is None else min(key, goal)
            bound = searches[i].prove(to_beat, max(1, (left if last else left // 4) // (len(unproved) - n)))
            bounds[i] = max(bounds[i], to_beat[0] if bound is None else bound)
            if bound is not None:
                goals.clear()  # too much to look at: what is left of the effort goes to the last round
            result = searches[i].result
            if result is not None and (key is None or result[1] < key):
                key = result[1]
        if last or (key is not None and all(bound >= key[0] for bound in bounds)):
            return bounds


def _rank(candidate: tuple[Any, int]) -> tuple[Any, int]:
    """Order of the best tilings of nests: by what they cost, then by the order of the nests."""
    return candidate[0][1], candidate[1]


def _search_of(space: Space, cost: Cost) -> NestSearch:
    sizes, axes, dims, spatial = space.compiled.tables[:4]
    classes = [len(row.limits) for row in space.rows]
    return NestSearch(
        sizes, axes, dims, spatial, space.transfers, classes, space.tables(), space.memories, space.array,
        _by_transfer(cost, space),
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
    return Optimum(nest, counted, objective, ticks, energy, traffic, 1, 1, 1, 1.0, objective)


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

    def lower(total: list[float]) -> tuple[list[float], float]:
        """Without weights below 0: words that are shared are at most as many as those that are not, or as MACs."""
        result, constant = list(total), 0.0
        for x, weight in enumerate(total):
            if weight < 0:
                same = [y for y, row in enumerate(rows) if row[:3] == rows[x][:3] and row[3] == 0 and y != x]
                if same:
                    result[same[0]] += weight
                else:
                    constant += weight * space.problem.macs
                result[x] = 0.0
        return result, constant

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
             *lower(bits))
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
