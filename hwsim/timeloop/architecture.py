"""An architecture of Timeloop as memories from the outermost in and an array of MACs.

Version 0.4 has a list of nodes, tagged as components, containers with a fan-out, or parallel branches; older ones have
subtrees of local components, whose names carry their number, as ``PE[0..15]``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from hwsim.errors import excerpt
from hwsim.timeloop.source import TAG, Source
from hwsim.yaml_source import Path_

__all__ = ["Architecture", "Storage", "read_architecture"]

_RANGE = re.compile(r"(.*?)\[\s*(\d+)\s*\.\.\s*(\d+)\s*\]\Z")
_ONE = re.compile(r"(.*?)\[\s*(\d+)\s*\]\Z")
_DUMMY = ("dummy", "dummy_storage", "nothing")
_NETWORKS = ("noc", "network", "wire")


@dataclass(frozen=True)
class Storage:
    """A memory, or a fan-out (no words of its own): its sizes in words, and how many there are.

    `rows` and `cols` are the fan-out from the level above to this one.
    """

    name: str
    path: Path_
    kind: str
    instances: int
    words: int | None
    word_bits: int
    block: int
    read: float | None
    write: float | None
    buffering: float
    keep: tuple[str, ...] | None
    bypass: tuple[str, ...]
    dram: bool


@dataclass
class Architecture:
    """Memories from the outermost in, the fan-outs among them, and the MACs."""

    name: str
    storages: list[Storage] = field(default_factory=list)
    mac: str = ""
    rows: int = 1
    cols: int = 1
    cycle_s: float = 1e-9
    constrained: bool = False

    @property
    def macs(self) -> int:
        """MAC units."""
        return self.rows * self.cols


@dataclass(frozen=True)
class _Item:
    """A component, or a container with a fan-out, as found."""

    name: str
    path: Path_
    attributes: dict[str, Any]
    node: dict[str, Any]
    instances: int
    container: bool


def read_architecture(source: Source) -> Architecture:
    """The memories and the array; raises InputError for what no PE array of ours has."""
    path: Path_ = ("architecture",)
    top = source.mapping(source.data["architecture"], path)
    if "nodes" in top:
        items = list(_nodes(source, top["nodes"], (*path, "nodes"), _Scope()))
    elif "subtree" in top:
        items = list(_subtrees(source, top["subtree"], (*path, "subtree"), {}, 1))
    else:
        raise source.fault(path, "must have nodes (version 0.4) or subtree (older versions)")
    components = [item for item in items if not item.container]
    if len(components) < 2:
        raise source.fault(path, "must have a memory and a compute unit")
    compute = components[-1]
    result = Architecture(compute.name, mac=compute.name)
    total = compute.instances
    mesh = source.integer(compute.attributes.get("meshX") or total, compute.path)
    if total % mesh:
        raise source.fault(compute.path, f"meshX must divide the {total} instances of {compute.name}, not {mesh}")
    result.cols, result.rows = mesh, total // mesh
    result.cycle_s = source.number(compute.attributes.get("global_cycle_seconds", 1e-9), compute.path) or 1e-9
    for item in items:
        if item is compute:
            continue
        if item.node.get("constraints"):
            result.constrained = True
        result.storages.append(_storage(source, item))
    return result


@dataclass(frozen=True)
class _Scope:
    """What containers above a node give it."""

    attributes: dict[str, Any] = field(default_factory=dict)
    x: int = 1
    y: int = 1


def _mesh(source: Source, node: dict[str, Any], path: Path_) -> tuple[int, int]:
    spatial = source.mapping(node.get("spatial") or {}, (*path, "spatial"))
    x, y = (source.integer(spatial.get(key, 1), (*path, "spatial", key)) for key in ("meshX", "meshY"))
    return x, y


def _nodes(source: Source, nodes: Any, path: Path_, scope: _Scope) -> Iterator[_Item]:
    """The nodes of version 0.4, each fan-out on all that follow it."""
    for index, item in enumerate(source.items(nodes, path)):
        here = (*path, index)
        if isinstance(item, str):
            continue
        node = source.mapping(item, here)
        tag = node.get(TAG, "Component" if "class" in node else "Container")
        if tag in ("Parallel", "Hierarchical", "Pipelined"):
            if tag == "Pipelined":
                raise source.fault(here, "!Pipelined is not modeled")
            yield from _nodes(source, node.get("nodes"), (*here, "nodes"), scope)
            continue
        if tag == "Nothing" or str(node.get("enabled")).lower() == "false":
            continue
        if tag not in ("Component", "Container", "ArrayContainer"):
            raise source.fault(here, f"must be a component, a container or parallel nodes, not {tag!r}")
        name = source.text(node.get("name"), (*here, "name"))
        x, y = _mesh(source, node, here)
        attributes = scope.attributes | source.mapping(node.get("attributes") or {}, (*here, "attributes"))
        inner = _Scope(scope.attributes, scope.x * x, scope.y * y)
        counted = attributes | {"meshX": inner.x, "meshY": inner.y}
        if tag == "Component":
            yield _Item(name, here, counted, node, inner.x * inner.y, False)
        elif x * y > 1 or node.get("constraints"):
            yield _Item(name, here, counted, node, inner.x * inner.y, True)
        if tag != "Component":
            inherited = {key: value for key, value in attributes.items() if key not in ("meshX", "meshY")}
            inner = _Scope(inherited, inner.x, inner.y)
        scope = inner


def _split(name: str) -> tuple[str, int]:
    """A name and its number."""
    if match := _RANGE.match(name):
        return match[1].strip(), int(match[3]) - int(match[2]) + 1
    if match := _ONE.match(name):
        return match[1].strip(), 1
    return name, 1


def _subtrees(source: Source, trees: Any, path: Path_, attributes: dict[str, Any], number: int) -> Iterator[_Item]:
    """The components of older versions: those of a tree, then those of its subtrees."""
    for index, item in enumerate(source.items(trees, path)):
        here = (*path, index)
        tree = source.mapping(item, here)
        _, count = _split(str(tree.get("name", "")))
        own = attributes | source.mapping(tree.get("attributes") or {}, (*here, "attributes"))
        if not 1 <= number * count <= 2**24:
            raise source.fault(here, f"must be at most {2**24} instances, not {number * count}")
        for place, local in enumerate(source.items(tree.get("local") or [], (*here, "local"))):
            spot = (*here, "local", place)
            node = source.mapping(local, spot)
            if str(node.get("enabled")).lower() == "false":
                continue
            name, several = _split(source.text(node.get("name"), (*spot, "name")))
            inside = own | source.mapping(node.get("attributes") or {}, (*spot, "attributes"))
            instances = source.integer(inside.get("instances", number * count * several), spot)
            if instances > 2**24:
                raise source.fault(spot, f"must be at most {2**24} instances, not {instances}")
            yield _Item(name, spot, inside, node, instances, False)
        yield from _subtrees(source, tree.get("subtree") or [], (*here, "subtree"), own, number * count)


def _storage(source: Source, item: _Item) -> Storage:
    attributes, path = item.attributes, (*item.path, "attributes")
    kind = "" if item.container else str(item.node.get("class", ""))
    lower = kind.lower()
    if any(word in lower for word in _NETWORKS):
        raise source.fault(item.path, f"a network is not modeled: {item.name} of class {excerpt(kind)}")

    def of(*keys: str) -> Any:
        return next((attributes[key] for key in keys if attributes.get(key) is not None), None)

    bits = source.integer(of("datawidth", "word-bits", "word_bits") or 16, path)
    width = of("width", "memory_width")
    block = of("block-size", "block_size")
    block = source.integer(block, path) if block is not None else max(1, source.integer(width or bits, path) // bits)
    dram = "dram" in lower
    words: int | None = None
    if item.container or lower in _DUMMY:
        kind = ""
    elif (entries := of("entries")) is not None:
        words = source.integer(entries, path)
    elif (depth := of("depth", "memory_depth")) is not None and not dram:
        words = source.integer(depth, path) * block
    elif (size := of("sizeKB", "size_kb")) is not None:
        words = source.integer(size, path) * 8192 // bits
    rates = [of(f"{way}_bandwidth", f"{way}-bandwidth") for way in ("read", "write", "shared")]
    read, write, shared = (None if rate is None else source.number(rate, path) or None for rate in rates)
    constraints = item.node.get("constraints") or {}
    space = constraints.get("dataspace") if isinstance(constraints, dict) else None
    space = source.mapping(space or {}, (*item.path, "constraints", "dataspace"))
    keep = space.get("keep")
    return Storage(
        item.name,
        item.path,
        kind,
        item.instances,
        words,
        bits,
        block,
        shared if shared is not None else read,
        None if shared is not None else write,
        source.number(of("multiple_buffering", "multiple-buffering") or 1, path) or 1,
        None if keep is None else tuple(source.words(keep, item.path)),
        tuple(source.words(space.get("bypass") or [], item.path)),
        dram,
    )
