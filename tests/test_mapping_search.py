"""Dataflow templates and the search for the mapping with the least cost."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import product
from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from hwsim.engine.program import Pipeline, Program, Run, Stage
from hwsim.engine.simulation import simulate
from hwsim.errors import MappingError
from hwsim.mapping import (
    DATAFLOWS,
    Cost,
    Counts,
    Level,
    Mapping,
    Optimum,
    Policy,
    Problem,
    Rate,
    Timing,
    check_capacity,
    compile_template,
    conv_problem,
    counts,
    evaluate,
    gemm_problem,
    search,
    templates,
    timing,
)
from hwsim.mapping.chains import chains, multiples
from hwsim.mapping.cost import OBJECTIVES

ALL = ("ifmap", "weight", "ofmap")
LEVELS = [Level("dram", ALL), Level("glb", ALL), Level("spad", ALL, inside=True)]
conv = conv_problem(k=6, c=4, p=13, q=5, r=3, s=3)


def cost_of(
    problem: Problem, objective: str = "latency", dram: int = 8, static: float = 0.0, double_buffered: bool = True
) -> Cost:
    """Words of DRAM at 200, of the buffer at 6, of a PE at 1; DRAM moves so many bytes a tick."""
    bits = {operand.name: operand.sum_bits for operand in problem.operands}
    output = problem.output
    spare = (output.sum_bits - output.bits) * problem.words(output.name)
    prices = {
        (memory, tensor, action): price * bits[tensor] / 16
        for memory, price in (("dram", 200.0), ("glb", 6.0), ("spad", 1.0))
        for tensor in ALL
        for action in ("read", "fill", "update", "drain")
        if memory != "dram" or action in ("read", "update")
    }
    loads = {("dram", tensor, "read"): bits[tensor] for tensor in ALL}
    stores = {("dram", "ofmap", "update"): bits["ofmap"]}
    ticks = Fraction(1, dram)
    rates = (Rate("dram", "load", ticks, loads), Rate("dram", "store", ticks, stores, -spare))
    traffic = {counter: float(width) for counter, width in (loads | stores).items()}
    return Cost(objective, 1, rates, prices, 0.0, static, traffic, double_buffered)


def value_of(cost: Cost, problem: Problem, mapping: Mapping) -> tuple[float, int, float]:
    """Objective, ticks and energy of a mapping."""
    counted = counts(problem, mapping)
    ticks = timing(cost, problem, mapping, counted).ticks
    energy = cost.energy(counted, ticks)
    traffic = sum(weight * counted.of(*counter) for counter, weight in (cost.traffic or {}).items())
    return (
        {"latency": ticks, "energy": energy, "edp": energy * ticks, "traffic": traffic}[cost.objective],
        ticks,
        energy,
    )


# ---- the stream of tiles


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_tiles_take_what_the_engine_takes(data: st.DataObject) -> None:
    """The closed recurrence of load, work and store on one channel, jumps included, is the event simulation."""
    tiles = data.draw(st.sampled_from([1, 2, 3, 4, 5, 7, 31, 127, 257]))
    top = data.draw(st.sampled_from([3, 50, 1000])) * tiles
    load, work, store = (data.draw(st.integers(0, top)) for _ in range(3))
    first, last = data.draw(st.integers(0, load)), data.draw(st.integers(0, store))
    if tiles == 1:
        first, last = load, store
    time = Timing(tiles, load, work, store, first, last, "compute", data.draw(st.sampled_from([1, 2])))
    runs = time.runs
    for place, total in ((1, load), (2, work), (3, store)):
        assert sum(run[0] * run[place] for run in runs) == total
    stages = (Stage("load", "dram", buffer=time.slots), Stage("compute", "array"), Stage("store", "dram"))
    stream = tuple(Run(number, tuple(ticks)) for number, *ticks in runs)
    program = Program({"dram": 1, "array": 1}, (Pipeline("tiles", stages, stream),))
    assert simulate(program).end == time.ticks


def test_a_million_tiles_are_jumped_over() -> None:
    time = Timing(10**12, 10**15, 2 * 10**15, 10**14, 1000, 100, "compute", 2)
    assert time.ticks == 1000 + 2 * 10**15 + 100  # the work hides all loads and stores but the first and the last


# ---- the space


@pytest.mark.parametrize(
    ("words", "bits", "units", "ticks"), [(7, 7, 3, 3), (7, 7, 7, 1), (49, 1, 7, 1), (50, 1, 6, 2)]
)
def test_units_share_what_their_memories_move(words: int, bits: int, units: int, ticks: int) -> None:
    """7 words of 7 bits over 3 units: one of them moves at least 17 bits, which are 3 bytes."""
    counter = ("spad", "weight", "read")
    counted = Counts(macs=words, cycles=words, instances=units, actions={counter: words}, used={})
    rate = Rate("spad", "unit", Fraction(1), {counter: bits})
    assert rate.ticks(counted) == ticks == ceil(Fraction(ceil(Fraction(words * bits, units)), 8))


@pytest.mark.parametrize("width", [1, 8, 9, 16])
def test_the_first_load_is_one_of_all_loads(width: int) -> None:
    """Words of a tile may be wider than those of all loads are on average; one tile of 31 words takes no longer for it."""
    problem = gemm_problem(31, 1, 1)
    mapping = Mapping.parse(["dram keeps ifmap, weight, ofmap", "glb keeps ifmap, weight, ofmap", "for M by 1"])
    loads = {("dram", tensor, "read"): 8 for tensor in ("ifmap", "weight")}
    rate = Rate("dram", "load", Fraction(1), loads, tile={"ifmap": width, "weight": width})
    time = timing(Cost(rates=(rate,)), problem, mapping, counts(problem, mapping))
    assert time.load == 32
    assert time.first == min(32, 4 * width)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 12, 13, 31, 64, 127, 257])
def test_chains_hold_a_larger_dim_cut_to_size(size: int) -> None:
    """Why costs are monotone: tiles of a larger dim, cut to this one, are tiles of this one, or beaten by one of them."""
    small = {tuple(row) for row in chains(size, 1, 4, 3, 5).tolist()}

    def shape(of: int, row: tuple[int, ...]) -> tuple[int, ...]:
        outer, array, column, unit = (min(of, tile) for tile in row)
        return -(-of // outer), -(-outer // array), -(-array // column), -(-column // unit), unit

    shapes = {shape(size, row) for row in small}
    for row in chains(size + 1, 1, 4, 3, 5).tolist():
        pieces, steps, down, across, unit = shape(size, tuple(row))
        assert any(p <= pieces and s <= steps and d <= down and a <= across and u <= unit for p, s, d, a, u in shapes)


def test_multiples_are_all_small_ones_and_four_an_octave() -> None:
    assert multiples(12) == tuple(range(1, 13))
    assert multiples(64) == (*range(1, 13), 14, 16, 20, 24, 28, 32, 40, 48, 56, 64)
    assert multiples(19) == (*range(1, 13), 14, 16, 19)


@pytest.mark.parametrize("problem", [conv, gemm_problem(13, 6, 9)], ids=["conv", "gemm"])
@pytest.mark.parametrize("name", DATAFLOWS)
def test_every_dataflow_gives_complete_nests(name: str, problem: Problem) -> None:
    for nest in templates(problem, name, LEVELS):
        best = search(problem, [nest], cost_of(problem), array=(4, 4), effort=300_000)
        best.mapping.validate(problem)
        assert best.counts.macs == problem.macs
        assert all(extent <= 4 for extent in best.mapping.spatial_extents(problem).values())
        assert ("spad" in best.mapping.memories) == (name != "no_local_reuse")


@pytest.mark.parametrize(
    ("name", "tensor"),
    [("weight_stationary", "weight"), ("output_stationary", "ofmap"), ("input_stationary", "ifmap")],
)
def test_the_stationary_tensor_moves_least_often(name: str, tensor: str) -> None:
    """A unit takes its word once for all steps of the innermost loops."""
    problem = gemm_problem(4, 4, 4)
    (template,) = templates(problem, name, [Level("dram", ALL), Level("reg", ALL, inside=True)])
    result = counts(problem, template.with_tiles([1] * len(template.loops)))
    assert result.of("reg", tensor, "drain" if tensor == "ofmap" else "fill") == 16
    for other in set(ALL) - {tensor}:
        assert result.of("reg", other, "drain" if other == "ofmap" else "fill") == 64


@pytest.mark.parametrize(("g", "size", "array"), [(32, 14, (16, 16)), (31, 7, (8, 12)), (1, 13, (3, 5))])
def test_groups_and_pixels_fill_the_array(g: int, size: int, array: tuple[int, int]) -> None:
    """Any dim lies on either axis, or on both: a depthwise layer takes as many PEs as its shape allows."""
    problem = conv_problem(g=g, p=size, q=size, r=3, s=3)
    best = search(problem, templates(problem, "weight_stationary", LEVELS), cost_of(problem, dram=10**6), array=array)
    ideal = -(-problem.macs // (array[0] * array[1]))
    assert ideal <= best.counts.cycles <= 1.2 * ideal


# ---- the optimum


def every_mapping(nest: Mapping, problem: Problem, array: tuple[int, int]) -> Iterator[Mapping]:
    """All tile sizes that there are."""
    for tiles in product(*[range(1, problem.dims[loop.dim] + 1) for loop in nest.loops]):
        mapping = nest.with_tiles(tiles)
        try:
            mapping.validate(problem)
        except MappingError:
            continue
        extents = mapping.spatial_extents(problem)
        if extents.get("rows", 1) <= array[0] and extents.get("cols", 1) <= array[1]:
            yield mapping


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(st.data())
def test_the_search_is_brute_force_on_small_problems(data: st.DataObject) -> None:
    """Two levels, all orders, every tile size: the same least cost, for each objective."""
    m, n, k = (data.draw(st.integers(1, 12)) for _ in range(3))
    problem = gemm_problem(m, n, k, bits=(8, 8, 8), accumulator_bits=data.draw(st.sampled_from([8, 32])))
    levels = [Level("dram", ALL), Level("glb", ALL)]
    nests = templates(problem, "no_local_reuse", levels)
    capacities = {"glb": 8 * data.draw(st.integers(6, 400))}
    objective = data.draw(st.sampled_from(["latency", "energy", "edp", "traffic"]))
    cost = cost_of(problem, objective, dram=data.draw(st.sampled_from([1, 4, 64])), static=0.5)
    # dims are cut above the buffer and nowhere else: all that two levels can do
    values = []
    for nest in nests:
        outer = {}
        for loop in nest.loops:
            if loop.spatial is None:
                outer.setdefault(loop.dim, []).append(loop)
        for tiles in product(*[range(1, problem.dims[dim] + 1) for dim in outer]):
            size = dict(zip(outer, tiles, strict=True))
            seen: set[str] = set()
            cut = []
            for loop in nest.loops:
                cut.append(1 if loop.dim in seen or loop.spatial else size[loop.dim])
                seen.add(loop.dim)
            mapping = nest.with_tiles(cut)
            try:
                check_capacity(problem, mapping, capacities)
            except MappingError:
                continue
            values.append(value_of(cost, problem, mapping)[0])
    if not values:
        with pytest.raises(MappingError, match="too much"):
            search(problem, nests, cost, capacities=capacities)
        return
    best = search(problem, nests, cost, capacities=capacities)
    assert best.proved
    assert best.objective == pytest.approx(min(values), rel=1e-12)
    check_capacity(problem, best.mapping, capacities)


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["latency", "energy", "edp"])
def test_the_search_is_brute_force_on_an_array(objective: str) -> None:
    problem = gemm_problem(3, 2, 3)
    nest = templates(problem, "output_stationary", [Level("dram", ALL), Level("glb", ALL)])[0]
    capacities = {"glb": 11 * 16}
    cost = cost_of(problem, objective)
    values = []
    for mapping in every_mapping(nest, problem, (2, 2)):
        try:
            check_capacity(problem, mapping, capacities)
        except MappingError:
            continue
        values.append(value_of(cost, problem, mapping)[0])
    best = search(problem, [nest], cost, array=(2, 2), capacities=capacities)
    assert best.objective == pytest.approx(min(values), rel=1e-12)


shapes = st.fixed_dictionaries(
    {
        "g": st.sampled_from([1, 1, 3]),
        "k": st.sampled_from([1, 5, 13, 31]),
        "c": st.sampled_from([1, 3, 7, 16]),
        "p": st.sampled_from([1, 7, 13]),
        "q": st.sampled_from([1, 5, 14]),
        "r": st.sampled_from([1, 3]),
        "s": st.sampled_from([1, 2]),
        "stride": st.sampled_from([(1, 1), (2, 2)]),
    }
)


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(st.data(), shapes)
def test_no_tiling_beats_the_search(data: st.DataObject, shape: dict[str, object]) -> None:
    """Random tiles of random nests: none that fits costs less, and what the search says it costs it costs."""
    problem = conv_problem(**shape, bits=(8, 8, 8), accumulator_bits=data.draw(st.sampled_from([8, 32])))  # type: ignore[arg-type]
    array = data.draw(st.sampled_from([(1, 1), (4, 3), (16, 16)]))
    units = dict.fromkeys(problem.dims, data.draw(st.sampled_from([1, 4])))
    nests = templates(problem, data.draw(st.sampled_from(sorted(DATAFLOWS))), LEVELS, units=units)
    capacities = {"glb": data.draw(st.sampled_from([2048, 16384, 262144])), "spad": 256}
    objective = data.draw(st.sampled_from(["latency", "energy", "edp"]))
    cost = cost_of(problem, objective, static=data.draw(st.sampled_from([0.0, 3.0])))
    best = search(problem, nests, cost, array=array, capacities=capacities, units=units)
    value, ticks, energy = value_of(cost, problem, best.mapping)
    assert (best.ticks, best.energy) == (ticks, pytest.approx(energy, rel=1e-12))
    assert best.objective == pytest.approx(value, rel=1e-12)
    assert best.bound <= best.objective
    check_capacity(problem, best.mapping, capacities)
    for _ in range(60):
        nest = data.draw(st.sampled_from(nests))
        current, tiles = dict(problem.dims), []
        last = {loop.dim: i for i, loop in enumerate(nest.loops)}
        for i, loop in enumerate(nest.loops):
            tile = 1 if last[loop.dim] == i else data.draw(st.integers(1, current[loop.dim]))
            current[loop.dim] = tile
            tiles.append(tile)
        mapping = nest.with_tiles(tiles)
        extents = mapping.spatial_extents(problem)
        if extents.get("rows", 1) > array[0] or extents.get("cols", 1) > array[1]:
            continue
        try:
            check_capacity(problem, mapping, capacities)
        except MappingError:
            continue
        assert value_of(cost, problem, mapping)[0] >= best.objective * (1 - 1e-9)


def best_of(glb_kib: float, rows: int, bandwidth: int) -> Optimum:
    problem = gemm_problem(12, 10, 9)
    levels = [Level("dram", ALL), Level("glb", ALL), Level("reg", ("weight",), inside=True)]
    return search(
        problem,
        templates(problem, "weight_stationary", levels),
        cost_of(problem, dram=bandwidth),
        array=(rows, 3),
        capacities={"glb": round(glb_kib * 8192)},
    )


def test_more_of_anything_is_never_slower() -> None:
    base = best_of(0.2, 3, 2)
    assert base.proved
    for other in (best_of(0.4, 3, 2), best_of(0.2, 4, 2), best_of(0.2, 3, 4)):
        assert other.ticks <= base.ticks


def test_the_search_is_repeatable_and_stops() -> None:
    problem = conv_problem(k=32, c=16, p=27, q=27, r=5, s=5)
    capacities = {"glb": 16 * 8192, "spad": {"ifmap": 12 * 16, "weight": 224 * 16, "ofmap": 24 * 16}}
    units = dict.fromkeys(problem.dims, 224)
    nests = templates(problem, "row_stationary", LEVELS, units=units)[:1]
    cost = cost_of(problem, "energy")
    best = [
        search(problem, nests, cost, array=(12, 14), capacities=capacities, units=units, effort=600_000)
        for _ in range(2)
    ]
    assert best[0] == best[1]
    assert not best[0].proved
    assert 0 < best[0].gap < 1
    assert best[0].branches <= 600_000
    check_capacity(problem, best[0].mapping, capacities)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_the_objective_is_what_its_name_says(size: int) -> None:
    """Also of a single MAC, whose nest has no loops."""
    problem = gemm_problem(size, 1, 1)
    nests = templates(problem, "output_stationary", [Level("dram", ALL), Level("glb", ALL)])
    if size == 1:
        nests = [Mapping.parse(["dram keeps ifmap, weight, ofmap", "glb keeps ifmap, weight, ofmap"])]
    best = {name: search(problem, nests, cost_of(problem, name, static=3.0)) for name in OBJECTIVES}
    for name, value in best.items():
        of = {
            "latency": value.ticks,
            "energy": value.energy,
            "edp": value.energy * value.ticks,
            "traffic": value.traffic,
        }
        assert value.objective == pytest.approx(of[name])


def test_nothing_fits() -> None:
    with pytest.raises(MappingError, match=r"^glb holds 1 B; ifmap .* too much$"):
        search(conv, templates(conv, "row_stationary", LEVELS), cost_of(conv), capacities={"glb": 8})


def test_search_errors() -> None:
    with pytest.raises(MappingError, match=r"^objective must be latency, energy, edp or traffic, not 'speed'$"):
        Cost("speed")
    with pytest.raises(MappingError, match=r"^there must be at least one nest to search$"):
        search(conv, [], cost_of(conv))


def test_template_errors() -> None:
    with pytest.raises(MappingError, match=r"^a dataflow must be one of row_stationary, .*, not 'systolic'$"):
        templates(conv, "systolic", LEVELS)
    with pytest.raises(MappingError, match=r"^levels must begin with a shared memory"):
        templates(conv, "row_stationary", LEVELS[::-1])


def test_a_batch_equals_single_mappings() -> None:
    template = Mapping.parse(
        ["dram keeps ifmap, weight, ofmap", "for P by 1", "for K by 1", "glb keeps ifmap, ofmap",
         "spatial P by 1 on cols", "spatial R by 1 on rows", "for Q by 1", "spad keeps ifmap, weight", "for C by 1",
         "for S by 1", "for K by 1"]
    )  # fmt: skip
    rows = [(p, k, 1, 1, 1, 1, 1, 1) for p in (13, 7, 5, 4, 3, 2, 1) for k in (6, 3, 2, 1)]
    for policy in (Policy(), Policy("keep", "word")):
        compiled = compile_template(conv, template, policy)
        batch = evaluate(conv, template, np.array(rows), policy)
        for row, tiles in zip(batch.tolist(), rows, strict=True):
            single = counts(conv, template.with_tiles(tiles), policy)
            assert row[:3] == [single.macs, single.cycles, single.instances]
            assert dict(zip(compiled.counters[3:], row[3:], strict=True)) == dict(single.actions)


def test_a_batch_refuses_tiles_that_are_no_nest() -> None:
    template = Mapping.parse(["dram keeps ifmap, weight, ofmap", "for M by 1", "for M by 1"])
    problem = gemm_problem(8, 1, 1)
    with pytest.raises(
        MappingError, match=r"^'for M by 3': the tile must be .* at most the piece of M here, 2, not 3$"
    ):
        evaluate(problem, template, np.array([(4, 1), (2, 3)]))
    with pytest.raises(MappingError, match=r"^tiles must have 2 columns, one for each loop, not shape \(1, 3\)$"):
        evaluate(problem, template, np.array([(4, 1, 1)]))
