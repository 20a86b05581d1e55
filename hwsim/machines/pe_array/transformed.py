"""Winograd on an array: its products of matrices by the array's own planner, between units that transform the tiles.

Tiles are transformed on their way from DRAM into the array's memories, which hold transformed values; sums leave
through the unit that makes outputs of them. So DRAM holds inputs and outputs as they are; weights lie there transformed
unless the unit transforms them too. Adder trees, whose cells sum the points of a tile as they sum channels, take tiles
from the buffer as they are and transform them on the way into the cells, as NVDLA does (hardware manual v1, Winograd
mode): the points of a tile are channels there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import partial
from math import ceil

from hwsim.algorithms import Winograd
from hwsim.energy import word_width
from hwsim.engine.program import Program, Run, Stage
from hwsim.errors import HwsimError, InputError
from hwsim.machines.pe_array.array import Array
from hwsim.machines.pe_array.broadcast import plan_broadcast
from hwsim.machines.pe_array.spec import TransformSpec
from hwsim.machines.plan import LayerPlan
from hwsim.message import Message
from hwsim.workload import Conv2d, Layer
from hwsim.workload.number_format import DTYPES
from hwsim.workload.product import Geometry

__all__ = ["inner_layer", "plan_transformed", "whole_numbers"]

_WORDS = ("int8", "int16", "int32")
IN, OUT = "transform", "inverse transform"


def inner_layer(array: Array, layer: Layer, shape: Geometry, how: Winograd) -> Conv2d | Message:
    """The products of the points as a layer, in the words that the transform unit writes; or why there is none."""
    spec = array.spec.transform
    assert spec is not None
    inner = how.product(layer, shape, folded=array.planner == "adder trees")
    if not whole_numbers(layer):
        return inner
    bits = how.bits(layer.input.bits, layer.weight.bits, shape.channels)
    need = max(bits.data, bits.filter)
    if spec.operands == "exact" and need > min(inner.input.bits, inner.weight.bits):
        room = array.spec.word_bits or 32
        fits = [name for name in _WORDS if need <= DTYPES[name].bits <= room]
        if not fits:
            values = {"data": bits.data, "filter": bits.filter, "room": room}
            template = "exact takes {data} bits for inputs, {filter} for weights; words have {room}"
            return Message("algorithm.bits", template, values)
        inner = inner.with_dtype(input=fits[0], weight=fits[0])
        try:
            array.prices.of("mac", fits[0])
        except HwsimError:
            lack = {"bits": need, "dtype": fits[0]}
            template = "{bits} bits: no price of {dtype} MACs"
            return Message("algorithm.no_mac", template, lack)
    return inner if array.spec.word_bits is not None else inner.with_dtype(output="int32")


def plan_transformed(
    array: Array, layer: Layer, batch: int, shape: Geometry, how: Winograd,
    planner: Callable[[Array, Layer, int], LayerPlan],
) -> LayerPlan | Message:  # fmt: skip
    """Plan a convolution through Winograd's transforms, or say why it cannot be."""
    spec = array.spec.transform
    assert spec is not None
    inner = inner_layer(array, layer, shape, how)
    if isinstance(inner, Message):
        return inner
    dram, folded = array.spec.dram, array.planner == "adder trees"
    # In the buffer tiles overlap, and lie once; its cells make all outputs of a tile.
    each = how.outputs if folded else 1
    if folded:
        planner = partial(plan_broadcast, stored=Fraction(how.outputs, how.points), outputs=each)
    try:
        plan = planner(array, inner, batch)
    except InputError as error:
        return Message("algorithm.refused", "{reason}", {"reason": error.faults[0].message})
    costs = how.exact if whole_numbers(layer) and spec.operands == "exact" else how
    raw = {"ifmap": layer.inputs * batch, "weight": layer.weights, "ofmap": layer.outputs * batch}
    made = {"ifmap": inner.inputs * batch, "weight": inner.weights, "ofmap": inner.outputs * each * batch}
    share = {tensor: Fraction(raw[tensor], made[tensor]) for tensor in raw}
    if spec.weights == "offline":
        share["weight"] = Fraction(1)
    if folded:
        share["ifmap"] = Fraction(1)
    counts, before = dict(plan.counts), {"read": Fraction(0), "update": Fraction(0)}
    after = dict(before)
    widths = dict(plan.word_bits) | {f"{dram}.ofmap": float(array.bits(layer)[2])}
    if spec.weights == "online":
        widths[f"{dram}.weight"] = float(array.bits(layer)[1])
    widths[f"{dram}.ifmap"] = float(array.bits(layer)[0])
    for (memory, tensor, action), words in plan.counts.items():
        if memory != dram or action not in before:
            continue
        before[action] += words * Fraction(word_width(plan.word_bits, dram, tensor) or 0)
        counts[memory, tensor, action] = moved = ceil(words * share.get(tensor, 1))
        after[action] += moved * Fraction(word_width(widths, dram, tensor) or 0)
    tiles = _tiles(array, plan, how, shape, batch, folded)
    work = {
        "ifmap": costs.data.times(tiles["ifmap"]),
        "weight": costs.filter.times(tiles["weight"] if spec.weights == "online" else 0),
        "ofmap": costs.inverse.times(tiles["ofmap"]),
    }
    for tensor, cost in work.items():
        counts["transform", tensor, "add"] = cost.adds
        counts["transform", tensor, "shift"] = cost.shifts
    clock = spec.clock
    cycles = ceil((work["ifmap"].adds + work["weight"].adds) / spec.adders), ceil(work["ofmap"].adds / spec.inverse)
    program = _program(
        plan.program, dram, (array.cycle_ticks(cycles[0], clock), array.cycle_ticks(cycles[1], clock)),
        tuple(after[action] / before[action] if before[action] else Fraction(0) for action in ("read", "update")),
    )  # fmt: skip
    bounds = plan.bounds | {IN: IN, OUT: OUT}
    return replace(
        plan,
        layer=layer,
        algorithm=f"Winograd {how}, {plan.algorithm}",
        program=program,
        counts={action: n for action, n in counts.items() if n},
        word_bits=widths,
        macs=layer.macs * batch,
        macs_live=layer.macs_live * batch,
        dram_bytes=ceil(sum(after.values()) / 8),
        bounds=bounds,
        cycles=plan.cycles | {"transform": cycles[0], "inverse": cycles[1]},
        why=(*_why(layer, shape, how, spec, costs, inner), *plan.why),
    )


def whole_numbers(layer: Layer) -> bool:
    """Whether a layer is of integers."""
    return DTYPES[layer.input.dtype].sort == "integer"


def _tiles(array: Array, plan: LayerPlan, how: Winograd, shape: Geometry, batch: int, folded: bool) -> dict[str, int]:
    """Tiles of each tensor that are transformed: those that are fetched again are transformed again."""
    dram = array.spec.dram
    if folded:
        # Transformed between the buffer and the cells, and summed up in the cells, in each of their operations.
        buffer = next(name for name, m in list(array.spec.memories.items())[1:] if {"ifmap", "weight"} <= set(m.holds))
        reads = plan.counts.get((buffer, "ifmap", "read"), 0)
        sums = batch * how.tiles(shape) * shape.k * ceil(how.points * shape.channels / array.spec.array.cols)
    else:
        reads = plan.counts.get((dram, "ifmap", "read"), 0)
        sums = batch * how.tiles(shape) * shape.k
    filters = plan.counts.get((dram, "weight", "read"), 0)
    return {"ifmap": ceil(reads / how.points), "weight": ceil(filters / how.points), "ofmap": sums}


def _program(program: Program, dram: str, ticks: tuple[int, int], shares: tuple[Fraction, ...]) -> Program:
    """The program with the transforms as stages around the array, and with the bytes that DRAM really moves."""
    pipelines = []
    for pipeline in program.pipelines:
        names = [stage.resource for stage in pipeline.stages]
        place = names.index("array")
        total = sum(body[place] * n for n, body in _bodies(pipeline.tiles))
        scales = [
            None if name != dram else shares[0] if index < place else shares[1] for index, name in enumerate(names)
        ]

        def change(
            body: tuple[int, ...], place: int = place, total: int = total, scales: list[Fraction | None] = scales
        ) -> tuple[int, ...]:
            own = [t if scale is None else ceil(t * scale) for t, scale in zip(body, scales, strict=True)]
            around = [ceil(Fraction(t * body[place], total)) if total else 0 for t in ticks]
            return (*own[:place], around[0], own[place], around[1], *own[place + 1 :])

        stages = pipeline.stages
        stages = (*stages[:place], Stage(IN, IN), stages[place], Stage(OUT, OUT), *stages[place + 1 :])
        pipelines.append(replace(pipeline, stages=stages, tiles=_mapped(pipeline.tiles, change)))
    return Program({**program.resources, IN: 1, OUT: 1}, tuple(pipelines))


def _bodies(runs: tuple[Run, ...], times: int = 1) -> list[tuple[int, tuple[int, ...]]]:
    """Every tile that is written down, and how often it comes."""
    out: list[tuple[int, tuple[int, ...]]] = []
    for run in runs:
        inner = tuple(item for item in run.body if isinstance(item, Run))
        if inner:
            out += _bodies(inner, times * run.count)
        else:
            out.append((times * run.count, tuple(item for item in run.body if isinstance(item, int))))
    return out


def _mapped(runs: tuple[Run, ...], change: Callable[[tuple[int, ...]], tuple[int, ...]]) -> tuple[Run, ...]:
    """The runs with each tile changed."""
    out = []
    for run in runs:
        inner = tuple(item for item in run.body if isinstance(item, Run))
        tile = tuple(item for item in run.body if isinstance(item, int))
        out.append(Run(run.count, _mapped(inner, change) if inner else change(tile) if tile else ()))
    return tuple(out)


def _why(
    layer: Layer, shape: Geometry, how: Winograd, spec: TransformSpec, costs: Winograd, inner: Layer
) -> tuple[Message, ...]:
    rows, columns = how.grid(shape)
    values = {
        "points": how.points, "rows": rows, "columns": columns,
        "saved": layer.macs / how.multiplications(shape), "gain": how.gain,
    }  # fmt: skip
    template = "{points} products a tile and channel, {rows} x {columns} tiles: {saved:.2f} times fewer multiplications"
    if rows * how.down.m != shape.p or columns * how.across.m != shape.q:
        template += " ({gain:.2f} where tiles divide the map)"
    adds = {"inputs": costs.data.adds, "outputs": costs.inverse.adds}
    if spec.weights == "online":
        adds["weights"] = costs.filter.adds
    out = [
        Message("algorithm.tiles", template, values),
        Message("algorithm.adds", "additions a tile and channel: {adds}", {"adds": adds}),
    ]
    if whole_numbers(layer):
        bits = how.bits(layer.input.bits, layer.weight.bits, shape.channels)
        template = "exact integers take {data} bits for inputs, {filter} for weights, {sum} for sums; words have {word}"
        word = {"data": bits.data, "filter": bits.filter, "sum": bits.sum, "word": inner.input.bits}
        rounded = max(bits.data, bits.filter) > inner.input.bits
        out.append(Message("algorithm.width", template + (": values are rounded" if rounded else ""), word))
    if min(layer.input.density, layer.weight.density) < 1:
        out.append(Message("algorithm.dense", "transformed tiles and filters have no zeros left to gain from"))
    return tuple(out)
