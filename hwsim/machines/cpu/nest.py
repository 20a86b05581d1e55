"""The loop nest of a layer on a processor: slices, blocks and register tile of its kernel, for the counts of words."""

from __future__ import annotations

from hwsim.machines.cpu.core_model import CoreModel
from hwsim.machines.cpu.library import TileSpec
from hwsim.machines.cpu.work import Share, Work
from hwsim.mapping import Keep, Loop, Mapping, Node, Problem, batched_gemm_problem, conv_problem
from hwsim.workload import Layer
from hwsim.workload.product import Product

__all__ = ["nest_of"]

_ALL = ("ifmap", "weight", "ofmap")


class _Nest:
    """Nodes with the piece of each dim that is left; loops that would not cut anything are left out."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.left = dict(problem.dims)
        self.nodes: list[Node] = []

    def loop(self, dim: str, tile: int | None, spatial: str | None = None) -> None:
        """Cut a dim, if the tile is smaller than what is left of it."""
        if tile is not None and tile < self.left[dim]:
            self.nodes.append(Loop(dim, tile, spatial))
            self.left[dim] = tile

    def keep(self, memory: str, *tensors: str) -> None:
        """Hold tensors from here inwards."""
        self.nodes.append(Keep(memory, tensors))

    def bytes(self, tensor: str) -> int:
        """Bytes of the piece of a tensor that is left; sums have four."""
        operand = self.problem.operand(tensor)
        return operand.words(self.left) * (4 if operand.output else operand.bits // 8)


def nest_of(layer: Layer, work: Work, model: CoreModel, share: Share, batch: int) -> tuple[Problem, Mapping]:
    """The problem of a layer and the nest that its kernel walks, from L3 inwards.

    What comes from DRAM follows from the layers around it, not from the nest; it goes to the core's own L2.
    """
    bits = (8 * model.word,) * 3
    tile = model.type.conv if work.conv else model.type.gemm
    x = layer.lower(batch)
    shape = x.geometry if isinstance(x, Product) else None
    if shape is not None:
        problem = conv_problem(
            batch, shape.groups, shape.filters, shape.channels, shape.p, shape.q, shape.r, shape.s,
            shape.stride, shape.dilation, bits,
        )  # fmt: skip
    else:
        problem = batched_gemm_problem(work.b, work.m, work.n, work.k, bits=bits)
    nest = _Nest(problem)
    nest.keep("l3", *_ALL)
    if shape is not None:
        _convolution(nest, work, model, tile, share)
    else:
        _product(nest, work, model, tile, share)
    for dim in problem.dims:
        nest.loop(dim, 1)
    return problem, Mapping(tuple(nest.nodes))


def _hold(nest: _Nest, model: CoreModel, *tensors: str) -> None:
    """Keep tensors in L2 as long as they fit together."""
    room, held = model.l2_size, []
    for tensor in tensors:
        if nest.bytes(tensor) <= room:
            room -= nest.bytes(tensor)
            held.append(tensor)
    if held:
        nest.keep("l2", *(tensor for tensor in _ALL if tensor in held))


def _product(nest: _Nest, work: Work, model: CoreModel, tile: TileSpec, share: Share) -> None:
    ports = model.ports
    nest.loop("B", 1)
    if share.threads > 1:
        nest.loop("N" if share.n < work.n else "M", share.n if share.n < work.n else share.m, "threads")
    nest.loop("N", tile.columns)
    _hold(nest, model, "ofmap", "ifmap")
    nest.loop("K", tile.depth)
    if not any(isinstance(node, Keep) and "ifmap" in node.tensors and node.memory == "l2" for node in nest.nodes):
        _hold(nest, model, "weight", "ifmap")
    else:
        _hold(nest, model, "weight")
    nest.loop("M", tile.rows[0])
    if nest.bytes("ifmap") <= 2**14:
        nest.keep("l1", "ifmap")
    nest.loop("N", tile.vectors * ports.lanes)
    _registers(nest, ports.depth, ("N", "K"), "K")


def _convolution(nest: _Nest, work: Work, model: CoreModel, tile: TileSpec, share: Share) -> None:
    ports = model.ports
    nest.loop("N", 1)
    if share.threads > 1:
        nest.loop("P", -(-nest.left["P"] // share.threads), "threads")
    if work.depthwise:
        nest.loop("G", ports.lanes)
        _hold(nest, model, "weight", "ifmap", "ofmap")
        nest.loop("P", 1)
        nest.loop("Q", tile.rows[0])
        _registers(nest, 1, ("G",), "C")
        return
    nest.loop("G", 1)
    _hold(nest, model, "weight", "ofmap", "ifmap")
    nest.loop("P", 1)
    nest.loop("Q", tile.rows[0])
    if nest.bytes("ifmap") <= 2**14:
        nest.keep("l1", "ifmap")
    nest.loop("K", tile.vectors * ports.lanes)
    _registers(nest, ports.depth, ("K", "C"), "C")


def _registers(nest: _Nest, depth: int, lanes: tuple[str, ...], reduced: str) -> None:
    """The tile of sums, one step of it, and the lanes of a vector side by side."""
    nest.keep("registers", "ofmap")
    for dim in ("R", "S"):
        if dim in nest.left:
            nest.loop(dim, 1)
    nest.loop(reduced, depth)
    nest.keep("registers", "ifmap", "weight")
    for dim in lanes:
        nest.loop(dim, 1, "lanes")
