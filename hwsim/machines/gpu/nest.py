"""The tiled product as a loop nest over DRAM, L2, shared memory and registers."""

from __future__ import annotations

from math import ceil

from hwsim.machines.gpu.parts import Tile
from hwsim.machines.gpu.timing import Unit
from hwsim.machines.gpu.work import TiledProduct, Types
from hwsim.mapping import Keep, Loop, Mapping, Node, Problem, batched_gemm_problem
from hwsim.workload.product import Product

__all__ = ["stream_nest", "tile_nest"]

_WARP = 64


def tile_nest(
    work: TiledProduct, tile: Tile, split: int, unit: Unit, types: Types, sms: int
) -> tuple[Problem, Mapping]:
    """The nest of one kernel: blocks of tiles that run at a time, tiles over SMs, steps of the inner dimension, warps.

    A convolution is shown as the product that it is computed as.
    """
    problem = batched_gemm_problem(
        work.b * work.times, work.m, work.n, work.unpadded, bits=(types.a, types.w, max(types.o, 1))
    )
    per_wave = max(1, sms * tile.ctas // split)
    rows, columns = -(-work.m // tile.rows), -(-work.n // tile.columns)
    wide = max(1, min(rows, round((per_wave * tile.columns / tile.rows) ** 0.5)))
    deep = max(1, min(columns, per_wave // wide))
    tm, tn = min(tile.rows, work.m), min(tile.columns, work.n)
    ks = min(work.unpadded, ceil(ceil(work.unpadded / split) / unit.menu.step) * unit.menu.step)
    kt = min(unit.menu.step, ks)
    wm, wn = min(_WARP, tm), min(_WARP, tn)
    nodes: list[Node] = [
        Keep("dram", ("ifmap", "weight", "ofmap")),
        Loop("B", 1),
        Loop("N", min(work.n, deep * tn)),
        Loop("M", min(work.m, wide * tm)),
        Keep("l2", ("ifmap", "weight", "ofmap")),
        Loop("M", tm, "sms"),
        Loop("N", tn, "sms"),
        Loop("K", ks, "split"),
        Loop("K", kt),
        Keep("shared", ("ifmap", "weight")),
        Loop("M", wm, "warps"),
        Loop("N", wn, "warps"),
        Keep("register", ("ofmap",)),
        Loop("K", 1),
        Loop("M", 1, "lanes"),
        Loop("N", 1, "lanes"),
    ]
    return problem, Mapping(tuple(nodes))


def stream_nest(product: Product, types: Types) -> tuple[Problem, Mapping]:
    """The nest of a convolution without tiles: a thread for each output, weights from the cache."""
    bits = (types.a, types.w, types.o)
    problem = batched_gemm_problem(product.b, product.m, product.n, product.k, bits=bits)
    nodes = (
        Keep("dram", ("ifmap", "weight", "ofmap")),
        Loop("B", 1, "sms"),
        Loop("M", min(product.m, _WARP), "sms"),
        Keep("register", ("ofmap",)),
        Loop("K", 1),
        Loop("N", 1),
        Loop("M", 1, "lanes"),
    )
    return problem, Mapping(nodes)
