"""A mapping by hand: whether this array can run it, node by node."""

from __future__ import annotations

from collections.abc import Iterator

from hwsim.errors import Fault, InputError, MappingError, nearest
from hwsim.machines.pe_array.array import Array
from hwsim.machines.pe_array.spec import PeArraySpec
from hwsim.mapping.capacity import check_capacity
from hwsim.mapping.nest import Keep, Loop, Mapping, Node
from hwsim.mapping.problem import Problem

__all__ = ["bypasses", "halves", "mapping_by_hand"]


def mapping_by_hand(array: Array, problem: Problem, name: str, lines: list[str]) -> Mapping:
    """The loop nest that the file gives a layer.

    Raises
    ------
    InputError
        If a line is no node, a node is not of this array, a tile or a side is exceeded, or a buffer is too small
        (which, by how much); at the place of the line.
    """
    nodes: list[Node] = []
    places: list[int] = []
    for index, line in enumerate(lines):
        try:
            parsed = Mapping.parse([line]).nodes
        except MappingError as error:
            raise _refusal(array, name, index, str(error).removeprefix("node 1: ")) from None
        nodes += parsed
        places += [index] * len(parsed)
    for index, message in _strangers(array.spec, nodes):
        raise _refusal(array, name, places[index], message)
    mapping = Mapping(tuple(nodes))
    try:
        mapping.validate(problem)
        mapping = _with_array(array.spec, mapping, problem)
        sides = {"rows": array.spec.array.rows, "cols": array.spec.array.cols}
        for axis, extent in mapping.spatial_extents(problem).items():
            if extent > sides[axis]:
                index = next(i for i, node in enumerate(nodes) if isinstance(node, Loop) and node.spatial == axis)
                message = f"the array has {sides[axis]} {axis}; the spatial loops need {extent}"
                raise _refusal(array, name, places[index], message)
        try:
            check_capacity(problem, mapping, array.capacity_bits())
        except MappingError as error:
            raise MappingError(f"{error}{halves(array, str(error))}") from None
    except MappingError as error:
        text = str(error)
        at = next((places[i] for i, node in enumerate(nodes) if text.startswith(f"'{node}': ")), None)
        raise _refusal(array, name, at, text) from None
    return mapping


def bypasses(spec: PeArraySpec, mapping: Mapping) -> dict[str, list[str]]:
    """Memory to the tensors that it may hold and that pass it by."""
    keeps: dict[str, set[str]] = {}
    for node in mapping.nodes:
        if isinstance(node, Keep):
            keeps.setdefault(node.memory, set()).update(node.tensors)
    passed: dict[str, list[str]] = {
        name: [str(tensor) for tensor in memory.holds if tensor not in keeps.get(name, ())]
        for name, memory in spec.memories.items()
        if name != spec.dram and not (memory.per == "pe" and not spec.flow.private)
    }
    return {name: tensors for name, tensors in passed.items() if tensors}


def halves(array: Array, text: str) -> str:
    """What double buffering leaves of the memory that an error names."""
    memory = array.spec.memories.get(text.partition(" holds ")[0].rpartition(" ")[2])
    return " (double_buffered: half of its size holds tiles)" if memory is not None and memory.double_buffered else ""


def _refusal(array: Array, name: str, index: int | None, message: str) -> InputError:
    entry = array.mapping_key(name) or name
    where = array.document.where(("mappings", entry, *(() if index is None else (index,))))
    key = f"mappings.{entry}" if entry == name else f"mappings.{entry}: {name}"
    line = "" if index is None else f"node {index + 1}: "
    return InputError([Fault(where, "" if key in where else key, line + message)])


def _strangers(spec: PeArraySpec, nodes: list[Node]) -> Iterator[tuple[int, str]]:
    """Nodes that this array does not have, or not there."""
    first = nodes[0] if nodes else None
    if isinstance(first, Keep) and first.memory != spec.dram and first.memory in spec.memories:
        yield 0, f"the first node must be that of the outermost memory, {spec.dram}, not of {first.memory}"
    shared = [name for name, memory in spec.memories.items() if memory.per != "pe"]
    spatial = [i for i, node in enumerate(nodes) if isinstance(node, Loop) and node.spatial is not None]
    outer = 0
    for index, node in enumerate(nodes):
        if isinstance(node, Loop):
            if node.spatial is not None and node.spatial not in ("rows", "cols"):
                yield index, f"{node.spatial!r} is not an axis of the array{nearest(node.spatial, ('rows', 'cols'))}"
            continue
        memory = spec.memories.get(node.memory)
        if memory is None:
            yield index, f"{node.memory!r} is not a memory of {spec.name}{nearest(node.memory, spec.memories)}"
            continue
        if extra := [tensor for tensor in node.tensors if tensor not in memory.holds]:
            key = f"memories.{node.memory}.holds"
            yield index, f"{node.memory} holds {', '.join(memory.holds)}, not {', '.join(extra)} ({key})"
        if memory.per == "pe":
            if spatial and index < spatial[-1]:
                yield index, f"{node.memory} is in each PE: it must come after the spatial loops"
            continue
        if spatial and index > spatial[0]:
            yield index, f"{node.memory} is outside the array: it must come before the spatial loops"
        if any(isinstance(n, Keep) and n.memory in spec.memories and spec.memories[n.memory].per == "pe"
               for n in nodes[:index]):  # fmt: skip
            yield index, f"{node.memory} is outside the array: it must come before the memories of PEs"
        if shared.index(node.memory) < outer:
            yield index, f"{node.memory} lies outside {shared[outer]} in the file, so it must come before it"
        outer = shared.index(node.memory)


def _with_array(spec: PeArraySpec, mapping: Mapping, problem: Problem) -> Mapping:
    """A spatial loop that runs once, where a nest has none: it says where the array begins."""
    if any(loop.spatial is not None for loop in mapping.loops) or not problem.dims:
        return mapping
    nodes = list(mapping.nodes)
    inside = [i for i, n in enumerate(nodes) if isinstance(n, Keep) and spec.memories[n.memory].per == "pe"]
    if not inside:
        return mapping
    dim = next(iter(problem.dims))
    tiles = [n.tile for n in nodes[: inside[0]] if isinstance(n, Loop) and n.dim == dim]
    tile = tiles[-1] if tiles else problem.dims[dim]
    return Mapping((*nodes[: inside[0]], Loop(dim, tile, "rows"), *nodes[inside[0] :]))
