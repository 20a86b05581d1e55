"""A mapping of Timeloop as a loop nest of ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

from hwsim.errors import excerpt, nearest
from hwsim.timeloop.architecture import Architecture, Storage
from hwsim.timeloop.problem import Problem
from hwsim.timeloop.source import Source
from hwsim.yaml_source import Path_

__all__ = ["Level", "memory_name", "nest_lines", "read_levels"]

_FACTOR = re.compile(r"([A-Za-z_]\w*?)\s*=?\s*(\d{1,12})(?:,(\d{1,12})(?![\w=]))?[\s,]*")
_SPACES = ("dataspace", "datatype", "bypass")
_TENSORS = ("ifmap", "weight", "ofmap")


@dataclass
class Level:
    """What a mapping says of a memory or a fan-out: the tensors that it keeps, and its loops from the outermost in."""

    storage: Storage
    keeps: tuple[str, ...]
    loops: list[tuple[str, int, int, str | None, Path_]] = field(default_factory=list)
    """Dimension, factor (0: what is left), factor in the last round, axis of the array, place."""


def memory_name(name: str) -> str:
    """The name of a memory of ours."""
    text = re.sub(r"[^\w.-]", "_", name, flags=re.ASCII)
    return f"{text}_memory" if text in ("mac", "noc", "pe", "host") else text


def read_levels(source: Source | None, tensors: Mapping[str, str], dims: list[str], built: Architecture) -> list[Level]:
    """The levels of an architecture with what a mapping says of them, if there is one."""
    levels = [Level(storage, _kept(storage, tensors)) for storage in built.storages]
    if source is None:
        return levels
    by_name: dict[str, Level] = {}
    for level in levels:
        by_name[level.storage.name] = level
        if not level.storage.kind:
            by_name[f"inter_{level.storage.name}_spatial"] = level
    for index, item in enumerate(source.items(source.data["mapping"], ("mapping",))):
        here: Path_ = ("mapping", index)
        entry = source.mapping(item, here)
        target = source.text(entry.get("target"), (*here, "target")).partition("[")[0]
        if target not in by_name:
            raise source.fault((*here, "target"), f"{target!r} is not in the architecture{nearest(target, by_name)}")
        level, kind = by_name[target], entry.get("type")
        if kind in _SPACES:
            level.keeps = _directive(source, entry, here, tensors, level)
        elif kind in ("temporal", "spatial"):
            level.loops += _loops(source, entry, here, dims, spatial=kind == "spatial")
        else:
            raise source.fault((*here, "type"), f"must be temporal, spatial or dataspace, not {excerpt(kind)}")
    for level in levels:
        level.loops.sort(key=lambda loop: loop[3] is not None)  # those over time lie outside
    return levels


def _kept(storage: Storage, tensors: Mapping[str, str]) -> tuple[str, ...]:
    """What the architecture's own constraints let a memory keep."""
    if not storage.kind:
        return ()
    kept = {tensors[name] for name in tensors if name not in storage.bypass}
    if storage.keep is not None and not {"All", "*"} & set(storage.keep):
        kept &= {tensors[name] for name in storage.keep if name in tensors} | {
            tensors[name]
            for name in tensors
            if name not in storage.keep and storage.bypass and name not in storage.bypass
        }
    return tuple(tensor for tensor in _TENSORS if tensor in kept)


def _directive(
    source: Source, entry: dict[str, Any], here: Path_, tensors: Mapping[str, str], level: Level
) -> tuple[str, ...]:
    kept = set(level.keeps)
    for key in ("keep", "bypass"):
        for name in source.words(entry.get(key) or [], (*here, key)):
            if name not in tensors:
                raise source.fault((*here, key), f"{name!r} is not a data space{nearest(name, tensors)}")
            (kept.add if key == "keep" else kept.discard)(tensors[name])
    if kept and not level.storage.kind:
        raise source.fault(here, f"{level.storage.name} is a fan-out and keeps nothing")
    return tuple(tensor for tensor in _TENSORS if tensor in kept)


def _loops(
    source: Source, entry: dict[str, Any], here: Path_, dims: list[str], spatial: bool
) -> list[tuple[str, int, int, str | None, Path_]]:
    """The loops of an entry, from the outermost in; `permutation` has the innermost first."""
    given = entry.get("factors") or ""
    text = " ".join(map(str, given)) if isinstance(given, list) else given
    if not isinstance(text, str) or len(text) > 2000:
        raise source.fault((*here, "factors"), f"must be factors such as 'C=2 K=16', not {excerpt(given)}")
    factors: dict[str, tuple[int, int]] = {}
    at = 0
    while at < len(text):
        match = _FACTOR.match(text, at)
        if match is None or match[1] in factors:
            raise source.fault(
                (*here, "factors"), f"must be one factor a dimension, such as 'C=2 K=16', not {excerpt(text)}"
            )
        if match[1] not in dims:
            raise source.fault((*here, "factors"), f"{match[1]!r} is not a dimension{nearest(match[1], dims)}")
        factor = int(match[2])
        factors[match[1]] = factor, int(match[3] or factor)
        at = match.end()
    order = _permutation(source, entry, here, dims)
    split = entry.get("split")
    split = len(order) if split is None else source.integer(split, (*here, "split"), least=0)
    loops = []
    for place, dim in enumerate(order):
        axis = ("cols" if place < split else "rows") if spatial else None
        if factors.get(dim, (1, 1)) != (1, 1):
            loops.append((dim, *factors[dim], axis, here))
    return loops[::-1]


def _permutation(source: Source, entry: dict[str, Any], here: Path_, dims: list[str]) -> list[str]:
    given = entry.get("permutation")
    place = (*here, "permutation")
    if isinstance(given, str) and not re.search(r"[\s,]", given) and given not in dims:
        words = list(given)
    else:
        words = source.words(given or [], place)
    for word in words:
        if word not in dims:
            raise source.fault(place, f"{word!r} is not a dimension{nearest(word, dims)}")
    if len(set(words)) < len(words):
        raise source.fault(place, "must name each dimension once")
    return words + [dim for dim in dims if dim not in words]


def nest_lines(source: Source, levels: list[Level], problem: Problem) -> list[str]:
    """The nest, a line a node; raises InputError where the factors of a dimension are not those of its size."""
    loops = [loop for level in levels for loop in level.loops]
    steps: dict[str, list[tuple[int, int]]] = {dim: [] for dim in problem.sizes}
    for dim, factor, last, _, _ in loops:
        steps[dim].append((factor, last))
    for dim, factors in steps.items():
        if sum(factor == 0 for factor, _ in factors) == 1:
            rest = prod(factor for factor, _ in factors if factor)
            steps[dim] = [(f, r) if f else (-(-problem.sizes[dim] // rest),) * 2 for f, r in factors]
        size = 1
        for factor, last in steps[dim]:
            size = (size - 1) * factor + last
        if size != problem.sizes[dim]:
            path = next((path for name, _, _, _, path in loops if name == dim), ("mapping",))
            raise source.fault(path, f"the factors of {dim} make {size}; its size is {problem.sizes[dim]}")
    lines, seen = [], dict.fromkeys(problem.sizes, 0)
    for level in levels:
        if level.keeps:
            lines.append(f"{memory_name(level.storage.name)} keeps {', '.join(level.keeps)}")
        for dim, _, _, axis, path in level.loops:
            factor = steps[dim][seen[dim]][0]
            seen[dim] += 1
            if factor == 1:
                continue
            if dim in problem.flat:
                raise source.fault(path, f"{dim} is one dimension with another here: no loop of its own can be mapped")
            tile = prod(factor for factor, _ in steps[dim][seen[dim] :])
            ours = problem.dims[dim]
            lines.append(f"for {ours} by {tile}" if axis is None else f"spatial {ours} by {tile} on {axis}")
    return lines
