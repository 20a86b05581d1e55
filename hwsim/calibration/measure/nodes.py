"""Layers of each runtime node: runtimes fuse, rename and add nodes.

The graph that ran still names most of its outputs as the file does, or names a node after what it replaced. From such
an output all nodes of the file are gone back over, as far as outputs that other nodes of the runtime give: what lies
between is what the node does. Where the runtime renamed what a node reads (another layout), what lies between is taken
to be the end of the node before: an activation or a sum that was fused into it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["Covering", "GraphNode", "Group", "cover", "groups", "parts_of"]


@dataclass(frozen=True, slots=True)
class GraphNode:
    """A node of a graph: its name, operator, and the tensors that it reads and writes."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


Covering = Mapping[str, frozenset[str]]
"""Name of a node of the runtime -> names of the file's nodes that it does."""

_SUFFIX = re.compile(r"(_token_\d+|(_bn|_mul)?_nchwc|/[A-Za-z]+Fusion/?|_nhwc)+$")
"""Suffixes that onnxruntime's optimizers append to the name of a replaced node."""
_FUSIONS = {"QuickGelu"}
"""Kernels that no operator of the file has the name of."""


_MOVES = {"Flatten", "Identity", "ReorderInput", "ReorderOutput", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
"""Kernels that compute nothing: the node before them computes the output."""
_CONVERSIONS = {"DequantizeLinear", "QuantizeLinear"}
_COPY = "/duplicated"
"""What onnxruntime appends to the name of a conversion that it copies for each reader."""


def cover(runtime: Sequence[GraphNode], file: Sequence[GraphNode]) -> Covering:
    """What each node of the runtime's graph, in the order they run, does of the file's."""
    writer = {output: node for node in file for output in node.outputs}
    roots = _roots(runtime, file, writer)
    roots_in_use = {root.name for root in roots.values()}
    covers = {ran.name: {roots[ran.name].name} if ran.name in roots else set() for ran in runtime}
    outputs = {output for ran in runtime for output in ran.outputs}
    for ran in runtime:
        if ran.name in roots:
            # Whether it reads another node's output under a name of the runtime's own.
            is_renamed = any(tensor in outputs and tensor not in writer for tensor in ran.inputs)
            upto = ran.op if is_renamed and ran.op not in _FUSIONS else ""
            covers[ran.name] |= _above(roots[ran.name], roots_in_use, writer, upto)
    _absorb(runtime, file, writer, covers)
    _adopt(runtime, file, covers)
    return {name: frozenset(names) for name, names in covers.items()}


def _adopt(runtime: Sequence[GraphNode], file: Sequence[GraphNode], covers: dict[str, set[str]]) -> None:
    """Give changes of layout and type to the node that they serve: its input or its output is moved.

    A copy of a conversion does what the conversion does.
    """
    maker = {output: ran for ran in runtime for output in ran.outputs}
    reader = {tensor: ran for ran in reversed(runtime) for tensor in ran.inputs}
    names = {node.name for node in file}
    for ran in runtime:
        if covers[ran.name] or ran.op not in _MOVES | _CONVERSIONS:
            continue
        if (whole := ran.name.partition(_COPY)[0]) != ran.name and whole in names:
            covers[ran.name] = {whole}
            continue
        before = next((maker[tensor] for tensor in ran.inputs if tensor in maker), None)
        after = next((reader[tensor] for tensor in ran.outputs if tensor in reader), None)
        to_input = ran.op == "ReorderInput" or ran.name.startswith("gemm_input")
        order = (after, before) if to_input else (before, after)
        owner = next((node for node in order if node is not None and covers[node.name]), None)
        if owner is not None:
            covers[ran.name] = set(covers[owner.name])


def _roots(
    runtime: Sequence[GraphNode], file: Sequence[GraphNode], writer: Mapping[str, GraphNode]
) -> dict[str, GraphNode]:
    """Runtime node by name -> the file's node with the same output, at most one each."""
    by_name = {node.name: node for node in file if node.name}
    maker = {output: ran for ran in runtime for output in ran.outputs}
    roots: dict[str, GraphNode] = {}
    producers: dict[str, str] = {}
    for ran in runtime:
        plain = _SUFFIX.sub("", ran.name)
        namesake = by_name.get(plain) or writer.get(plain)
        root = next((writer[output] for output in ran.outputs if output in writer), None)
        to = ran
        if ran.op in _MOVES and root is not None and root.op not in _MOVES:
            if namesake is not None and namesake.op in _MOVES:
                root = namesake
            else:
                to = next((maker[tensor] for tensor in ran.inputs if tensor in maker), ran)
        root = root or namesake
        if root is None or root.name in producers:
            continue
        if to.name in roots:  # the later output is that of the whole node
            del producers[roots[to.name].name]
        roots[to.name] = root
        producers[root.name] = to.name
    return roots


def _above(root: GraphNode, roots_in_use: Set[str], writer: Mapping[str, GraphNode], upto: str) -> set[str]:
    """Unassigned nodes that `root` depends on; with a kernel `upto`, back to the operator of that kernel."""
    ancestors: set[str] = set()
    active = not upto
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if upto and (node.op in upto or (node.op == "MatMul" and upto == "Gemm")):
            active = True
            continue
        for tensor in node.inputs:
            above = writer.get(tensor)
            if above is not None and above.name not in roots_in_use and above.name not in ancestors:
                ancestors.add(above.name)
                waiting.append(above)
    return ancestors if active else set()


def _absorb(
    runtime: Sequence[GraphNode],
    file: Sequence[GraphNode],
    writer: Mapping[str, GraphNode],
    covers: dict[str, set[str]],
) -> None:
    """Assign each unassigned node of the file to the last runtime node before it."""
    place = {ran.name: index for index, ran in enumerate(runtime)}
    last: dict[str, str] = {}  # file's node -> the node of the runtime that does it
    for name, names in covers.items():
        for original in names:
            if original not in last or place[name] > place[last[original]]:
                last[original] = name
    for node in file:
        if node.name in last:
            continue
        above = {writer[tensor].name for tensor in node.inputs if tensor in writer}
        does = [last[name] for name in above if name in last]
        if does:
            last[node.name] = max(does, key=lambda name: place[name])
            covers[last[node.name]].add(node.name)


@dataclass(frozen=True, slots=True)
class Group:
    """Layers and nodes of the runtime that can be compared only together; either may be empty."""

    layers: tuple[str, ...]
    nodes: tuple[str, ...]


def parts_of(file: Sequence[GraphNode], layer_of: Mapping[str, str]) -> dict[str, str]:
    """Name of a node of the file that is no layer -> the layer before it, or behind one that reads constants."""
    writer = {output: node.name for node in file for output in node.outputs}
    parts: dict[str, str] = {}
    for node in file:
        before = next((writer[tensor] for tensor in node.inputs if tensor in writer), "")
        layer = layer_of.get(before) or parts.get(before)
        if node.name not in layer_of and layer:
            parts[node.name] = layer
    reader = {tensor: node.name for node in reversed(file) for tensor in node.inputs}
    for node in reversed(file):
        behind = next((reader[tensor] for tensor in node.outputs if tensor in reader), "")
        layer = layer_of.get(behind) or parts.get(behind)
        of_constants = not any(tensor in writer for tensor in node.inputs)
        if node.name and node.name not in layer_of and layer and of_constants:
            parts[node.name] = layer
    return parts


def groups(
    layers: Iterable[str],
    nodes: Iterable[str],
    covering: Covering,
    layer_of: Mapping[str, str],
    parts: Mapping[str, str] = MappingProxyType({}),
    together: Iterable[Sequence[str]] = (),
) -> list[Group]:
    """The smallest groups of layers and nodes of the runtime that belong together, in the layers' order.

    Parameters
    ----------
    layers, nodes : iterables of str
        Names of the workload's layers, and of the nodes that the runtime ran, in their order.
    covering : mapping
        From `cover`.
    layer_of : mapping
        Name of a node of the file -> the layer that it became.
    parts : mapping
        Name of another node of the file -> the layer that it was fused into.
    together : iterable of sequences
        Names of layers that one operator of the file became.
    """
    layers, nodes = list(layers), list(nodes)
    parent: dict[tuple[str, str], tuple[str, str]] = {}

    def top(key: tuple[str, str]) -> tuple[str, str]:
        while parent.setdefault(key, key) != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    for node in nodes:
        names = [layer_of[name] for name in covering.get(node, ()) if name in layer_of]
        # What the reader of the file fused and the runtime did not: a part of the layer that it was fused into.
        for layer in names or [parts[name] for name in covering.get(node, ()) if name in parts]:
            parent[top(("node", node))] = top(("layer", layer))
    for first, *others in together:
        for other in others:
            parent[top(("layer", other))] = top(("layer", first))
    members: dict[tuple[str, str], tuple[list[str], list[str]]] = {}
    for kind, names in (("layer", layers), ("node", nodes)):
        for name in names:
            members.setdefault(top((kind, name)), ([], []))[kind == "node"].append(name)
    return [Group(tuple(of_layers), tuple(of_nodes)) for of_layers, of_nodes in members.values()]
