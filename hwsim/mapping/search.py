"""The search for the best tile sizes of nest templates, ragged ones included.

For each dim of a template all chains of tile sizes are listed. If few enough vectors remain they are all evaluated,
in chunks; otherwise seeded samples are drawn and the best of them are improved dim by dim (all chains of one dim at a
time) and by sampled pairs of dims, until nothing gets better. Vectors that do not fit the array or the memories are
dropped before they are evaluated. Same arguments, same answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping as ReadMapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from math import gcd, prod

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import MappingError
from hwsim.mapping.counts import DEFAULT_POLICY, Compiled, Counter, Counts, Policy, compile_template, counts
from hwsim.mapping.nest import Capacity, Keep, Loop, Mapping
from hwsim.mapping.problem import Problem

__all__ = ["Bound", "Found", "candidates", "search"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bound = Callable[[Compiled, Ints], Floats]
"""Extra lower bound on cycles, from the compiled template and its counters (a row each)."""

_CHUNK = 1 << 16
_MOVING = ("fill", "read", "update", "drain")


@dataclass(frozen=True)
class Found:
    """The best mapping of a search.

    Parameters
    ----------
    latency_cycles : float
        The larger of compute cycles, bits moved over bandwidth of each memory, and the caller's bound.
    energy : float
        Counters times prices, 0 without prices.
    evaluated : int
        Mappings whose counts were evaluated.
    considered : int
        The same and those dropped because they do not fit.
    exhaustive : bool
        Whether every candidate vector of every template was considered.
    """

    mapping: Mapping
    counts: Counts
    latency_cycles: float
    energy: float
    evaluated: int
    considered: int
    exhaustive: bool


def candidates(size: int, kind: str = "ragged") -> tuple[int, ...]:
    """Tile sizes worth trying for a piece of `size`, largest first.

    "ragged": the distinct ceil(size / i). A larger tile that makes as many pieces only makes the last one smaller, so
    these hold the best tile for every number of pieces, whatever the size of the array. "divisors": those without a
    rest. "powers": powers of two, and `size` itself.
    """
    if kind == "ragged":
        return tuple(sorted({-(-size // i) for i in range(1, size + 1)}, reverse=True))
    if kind == "divisors":
        return tuple(i for i in range(size, 0, -1) if size % i == 0)
    if kind == "powers":
        return tuple(sorted({size, *(1 << i for i in range(size.bit_length()))}, reverse=True))
    raise MappingError(f"candidates must be ragged, divisors or powers, not {kind!r}")


@lru_cache(maxsize=4096)
def _chains(size: int, loops: int, kind: str) -> Ints:
    """All descending chains of `loops` tile sizes for a dim, the last one 1, a row each."""
    if loops == 0:
        if size > 1:
            raise MappingError(f"every dim larger than 1 must have a loop in the template; one of {size} has none")
        return np.empty((1, 0), dtype=np.int64)
    if loops == 1:
        return np.ones((1, 1), dtype=np.int64)
    parts = []
    for tile in candidates(size, kind):
        rest = _chains(tile, loops - 1, kind)
        parts.append(np.hstack([np.full((len(rest), 1), tile, dtype=np.int64), rest]))
    return np.vstack(parts)


class _Space:
    """The candidate vectors of one template and what they cost."""

    def __init__(
        self,
        problem: Problem,
        template: Mapping,
        policy: Policy,
        kind: str,
        capacities: ReadMapping[str, Capacity],
        limits: ReadMapping[str, int],
        costs: _Costs,
    ) -> None:
        self.problem, self.template, self.costs = problem, template, costs
        self.compiled = compile_template(problem, template, policy)
        self.energy_of, self.bits_of = costs.vectors(self.compiled)
        self.limits = limits
        self.loops: list[list[int]] = []
        self.chains: list[Ints] = []
        for dim, size in problem.dims.items():
            where = [i for i, loop in enumerate(template.loops) if loop.dim == dim]
            chains = _chains(size, len(where), kind)
            fits = np.ones(len(chains), dtype=bool)
            for axis, count in self._counts(where, chains, size).items():
                if axis in limits:
                    fits &= count <= limits[axis]
            self.loops.append(where)
            self.chains.append(chains[fits])
        self.radix = [len(chains) for chains in self.chains]
        self.size = prod(self.radix)
        self.needs = self._needs(capacities)

    def _counts(self, where: Sequence[int], chains: Ints, size: int) -> dict[str, Ints]:
        """Positions that the loops of one dim use on each spatial axis."""
        result: dict[str, Ints] = {}
        before = np.full(len(chains), size, dtype=np.int64)
        for column, index in enumerate(where):
            axis = self.template.loops[index].spatial
            if axis is not None:
                result[axis] = result.get(axis, np.ones(1, dtype=np.int64)) * -(-before // chains[:, column])
            before = chains[:, column]
        return result

    def _needs(self, capacities: ReadMapping[str, Capacity]) -> list[tuple[int, list[tuple[int, list[_Term]]]]]:
        """Per bounded memory: its bits, and per tensor the bits of a word and the loops that give its tile."""
        last = dict.fromkeys(self.problem.dims, -1)
        above = -1
        tiles: dict[str, dict[str, tuple[int, list[_Term]]]] = {}
        for node in self.template.nodes:
            if isinstance(node, Loop):
                above += 1
                last[node.dim] = above
                continue
            assert isinstance(node, Keep)
            for tensor in node.tensors:
                operand = self.problem.operand(tensor)
                terms = [tuple((last[dim], self.problem.dims[dim], c) for dim, c in axis) for axis in operand.axes]
                tiles.setdefault(node.memory, {})[tensor] = (operand.bits, terms)
        result = []
        for memory, capacity in capacities.items():
            parts = tiles.get(memory, {})
            if isinstance(capacity, ReadMapping):
                result += [(capacity.get(tensor, 0), [part]) for tensor, part in parts.items()]
            elif parts:
                result.append((capacity, list(parts.values())))
        return result

    def tiles(self, picks: Ints) -> Ints:
        """Tile sizes of vectors given as an index into each dim's chains."""
        out = np.empty((len(picks), len(self.template.loops)), dtype=np.int64)
        for column, (where, chains) in enumerate(zip(self.loops, self.chains, strict=True)):
            if where:
                out[:, where] = chains[picks[:, column]]
        return out

    def fits(self, tiles: Ints) -> NDArray[np.bool_]:
        """Whether each vector fits the array and the memories."""
        good = np.ones(len(tiles), dtype=bool)
        extents: dict[str, Ints] = {}
        for size, where in zip(self.problem.dims.values(), self.loops, strict=True):
            for axis, count in self._counts(where, tiles[:, where], size).items():
                extents[axis] = extents.get(axis, np.ones(1, dtype=np.int64)) * count
        for axis, extent in extents.items():
            if axis in self.limits:
                good &= extent <= self.limits[axis]
        for capacity, parts in self.needs:
            total = np.zeros(len(tiles), dtype=np.int64)
            for bits, terms in parts:
                words = np.full(len(tiles), bits, dtype=np.int64)
                for axis_terms in terms:
                    words *= _span(axis_terms, tiles)
                total += words
            good &= total <= capacity
        return good

    def score(self, tiles: Ints) -> Floats:
        """Latency, energy, instances of each vector, a column each."""
        counters = self.compiled.evaluate(tiles)
        latency = counters[:, 1].astype(np.float64)
        if self.bits_of.shape[1]:
            latency = np.maximum(latency, (counters @ self.bits_of).max(axis=1))
        if self.costs.bound is not None:
            latency = np.maximum(latency, self.costs.bound(self.compiled, counters))
        return np.column_stack([latency, counters @ self.energy_of, counters[:, 2].astype(np.float64)])


_Term = tuple[tuple[int, int, int], ...]
"""One axis of a tile: per dim the loop that gives its length (-1: the whole dim), the dim's size, the coefficient."""


def _span(terms: _Term, tiles: Ints) -> Ints:
    """Distinct words along one axis."""
    lengths: list[Ints] = [
        tiles[:, loop] if loop >= 0 else np.full(len(tiles), size, dtype=np.int64) for loop, size, _ in terms
    ]
    if len(terms) == 1:
        return lengths[0]
    u, d = terms[0][2], terms[1][2]
    g = gcd(u, d)
    p, r = lengths
    words: Ints = p * r - np.maximum(0, p - d // g) * np.maximum(0, r - u // g)
    return words


@dataclass(frozen=True)
class _Costs:
    """Prices and bandwidths, looked up per counter."""

    prices: ReadMapping[tuple[str, ...], float]
    bandwidths: ReadMapping[str, float]
    bound: Bound | None

    def vectors(self, compiled: Compiled) -> tuple[Floats, Floats]:
        """Price of each counter; cycles of each counter on each memory that has a bandwidth."""
        energy = np.zeros(len(compiled.counters))
        memories = {memory for memory, _, _ in compiled.counters}
        used = [memory for memory in self.bandwidths if memory in memories]
        bits = np.zeros((len(compiled.counters), len(used)))
        for column, (memory, tensor, action) in enumerate(compiled.counters):
            energy[column] = self._price(memory, tensor, action)
            if action in _MOVING and memory in used:
                word = compiled.problem.operand(tensor).bits
                bits[column, used.index(memory)] = word / self.bandwidths[memory]
        return energy, bits

    def _price(self, memory: str, tensor: str, action: str) -> float:
        """The price under the most exact key that was given."""
        if not memory:
            return self.prices.get((action,), 0.0)
        key: Counter = (memory, tensor, action)
        return self.prices.get(key, self.prices.get((memory, action), 0.0))


def search(
    problem: Problem,
    templates: Sequence[Mapping],
    *,
    capacities: ReadMapping[str, Capacity] | None = None,
    limits: ReadMapping[str, int] | None = None,
    objective: str = "latency",
    prices: ReadMapping[tuple[str, ...], float] | None = None,
    bandwidths: ReadMapping[str, float] | None = None,
    bound: Bound | None = None,
    policy: Policy = DEFAULT_POLICY,
    tiles: str = "ragged",
    exhaustive_limit: int = 200_000,
    samples: int = 1_500,
    starts: int = 3,
    seed: int = 0,
) -> Found:
    """The best mapping among the tile sizes of `templates`.

    Parameters
    ----------
    capacities : mapping
        Memory to the bits of one instance, shared by its tensors or (as a mapping) split between them.
    limits : mapping
        Spatial axis to its size.
    objective : str
        "latency", "energy" or "edp". Ties: the other metric, then fewer instances, then the earlier candidate.
    prices : mapping
        Energy of one `(memory, tensor, action)`, or `(memory, action)` for all tensors, or `("macs",)`, `("cycles",)`.
    bandwidths : mapping
        Memory to the bits per cycle that all its instances together move (fills, reads, updates and drains).
    bound : callable
        Another lower bound on cycles, from the compiled template and its counters.
    tiles : str
        Candidate sizes: "ragged", "divisors" or "powers".
    exhaustive_limit : int
        Up to this many vectors of a template are all considered; beyond that, `samples` are drawn and the best `starts`
        of them improved.
    """
    if objective not in ("latency", "energy", "edp"):
        raise MappingError(f"objective must be latency, energy or edp, not {objective!r}")
    if objective != "latency" and not prices:
        raise MappingError(f"objective {objective} needs prices")
    if not templates:
        raise MappingError("there must be at least one template to search")
    costs = _Costs(prices or {}, bandwidths or {}, bound)
    best = _Best(objective)
    exhaustive = True
    for template in templates:
        space = _Space(problem, template, policy, tiles, capacities or {}, limits or {}, costs)
        if space.size <= exhaustive_limit:
            for picks in _all_vectors(space.radix, space.size):
                best.offer(space, picks)
        else:
            exhaustive = False
            _descend(space, best, np.random.default_rng(seed), samples, starts)
    if best.space is None:
        raise MappingError(
            f"{problem.name}: no mapping fits: {best.considered} candidates of {len(templates)} templates exceed "
            f"the limits {dict(limits or {})} or the capacities {dict(capacities or {})}"
        )
    mapping = best.space.template.with_tiles(best.vector.tolist())
    latency, energy, _ = best.metrics
    return Found(
        mapping, counts(problem, mapping, policy), latency, energy, best.evaluated, best.considered, exhaustive
    )


class _Best:
    """The best vector so far, and how many were looked at."""

    def __init__(self, objective: str) -> None:
        self.objective = objective
        self.key: tuple[float, ...] | None = None
        self.metrics: tuple[float, float, float] = (0.0, 0.0, 0.0)
        self.space: _Space | None = None
        self.vector: Ints = np.empty(0, dtype=np.int64)
        self.evaluated = 0
        self.considered = 0

    def keys(self, metrics: Floats) -> list[Floats]:
        """Sort keys, most important first."""
        latency, energy, instances = metrics.T
        first = {"latency": [latency, energy], "energy": [energy, latency], "edp": [latency * energy, latency]}
        return [*first[self.objective], instances]

    def offer(self, space: _Space, picks: Ints, keep: int = 1) -> list[tuple[tuple[float, ...], Ints]]:
        """Evaluate what fits; the best `keep` of them, best first, as (key, pick)."""
        self.considered += len(picks)
        tiles = space.tiles(picks)
        good = np.flatnonzero(space.fits(tiles))
        if not len(good):
            return []
        self.evaluated += len(good)
        tiles = tiles[good]
        metrics = space.score(tiles)
        keys = self.keys(metrics)
        order = np.lexsort(keys[::-1])[:keep]
        top = [(tuple(float(key[i]) for key in keys), picks[good[i]]) for i in order]
        if self.key is None or top[0][0] < self.key:
            winner = order[0]
            self.key, self.space, self.vector = top[0][0], space, tiles[winner].copy()
            self.metrics = (float(metrics[winner, 0]), float(metrics[winner, 1]), float(metrics[winner, 2]))
        return top


def _all_vectors(radix: Sequence[int], size: int) -> Iterator[Ints]:
    """Every vector of chain indices, in chunks; the last dim varies fastest."""
    for start in range(0, size, _CHUNK):
        left = np.arange(start, min(size, start + _CHUNK), dtype=np.int64)
        picks = np.empty((len(left), len(radix)), dtype=np.int64)
        for column in range(len(radix) - 1, -1, -1):
            left, picks[:, column] = np.divmod(left, radix[column])
        yield picks


def _descend(space: _Space, best: _Best, rng: np.random.Generator, samples: int, starts: int) -> None:
    """Draw vectors, then improve the best of them by one dim or two at a time."""
    if not space.size:
        return
    radix = np.array(space.radix, dtype=np.int64)
    drawn = rng.integers(0, radix, size=(samples, len(radix)))
    # the last chain of every dim has the smallest tiles: if anything fits the memories, this does
    drawn[0] = radix - 1
    free = [d for d in range(len(radix)) if radix[d] > 1]
    moves: list[tuple[int, ...]] = [(d,) for d in free]
    moves += combinations(free, 2)
    for key, pick in best.offer(space, drawn, starts):
        better = True
        while better:
            better = False
            for dims in moves:
                top = best.offer(space, _neighbors(pick, radix, dims, rng, samples))
                if top and top[0][0] < key:
                    (key, pick), better = top[0], True


def _neighbors(pick: Ints, radix: Ints, dims: tuple[int, ...], rng: np.random.Generator, samples: int) -> Ints:
    """Vectors that differ from `pick` in `dims`: all chains of one dim, samples of two."""
    alone = len(dims) == 1
    n = int(min(radix[dims[0]], 4 * samples)) if alone else max(1, samples // 4)
    result = np.repeat(pick[None], n, axis=0)
    for d in dims:
        result[:, d] = np.arange(n) if alone and n == radix[d] else rng.integers(0, radix[d], size=n)
    return result
