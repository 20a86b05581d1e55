"""Dataflow templates and the search for tile sizes."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from hwsim.errors import MappingError
from hwsim.mapping import (
    DATAFLOWS,
    Found,
    Level,
    Mapping,
    Policy,
    Problem,
    candidates,
    check_capacity,
    compile_template,
    conv_problem,
    counts,
    evaluate,
    gemm_problem,
    search,
    templates,
)

ALL = ("ifmap", "weight", "ofmap")
LEVELS = [Level("dram", ALL), Level("glb", ALL), Level("spad", ALL, inside=True)]
PRICES: dict[tuple[str, ...], float] = {
    ("dram", "read"): 200.0,
    ("dram", "update"): 200.0,
    ("glb", "read"): 6.0,
    ("spad", "read"): 1.0,
}
conv = conv_problem(k=6, c=4, p=13, q=5, r=3, s=3)


def test_ragged_candidates_hold_the_smallest_tile_for_every_number_of_pieces() -> None:
    for size in range(1, 80):
        tiles = candidates(size)
        for pieces in {-(-size // tile) for tile in range(1, size + 1)}:
            assert min(t for t in range(1, size + 1) if -(-size // t) == pieces) in tiles
    assert candidates(13) == (13, 7, 5, 4, 3, 2, 1)
    assert candidates(12, "divisors") == (12, 6, 4, 3, 2, 1)
    assert candidates(12, "powers") == (12, 8, 4, 2, 1)


@pytest.mark.parametrize(("problem", "kind"), [(conv, "conv"), (gemm_problem(13, 6, 9), "gemm")])
@pytest.mark.parametrize("name", DATAFLOWS)
def test_every_dataflow_gives_complete_nests(name: str, problem: Problem, kind: str) -> None:
    for template in templates(problem, name, LEVELS):
        found = search(problem, [template], limits={"rows": 4, "cols": 4}, exhaustive_limit=500, samples=40, starts=1)
        found.mapping.validate(problem)
        assert found.counts.macs == problem.macs
        assert all(extent <= 4 for extent in found.mapping.spatial_extents(problem).values())
        assert ("spad" in found.mapping.memories) == (name != "no_local_reuse")


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


def test_13_rows_on_14_columns() -> None:
    """The natural tile is the best one, and it is no divisor of anything."""
    template = Mapping.parse(["dram keeps ifmap, weight, ofmap", "for M by 1", "spatial M by 1 on cols", "for K by 1"])
    for size, cols, passes in ((13, 14, 1), (256, 12, 22), (27, 14, 2)):
        found = search(gemm_problem(size, 1, 3), [template], limits={"cols": cols})
        assert found.latency_cycles == passes * 3
        assert found.exhaustive
        # of the tiles with as few passes, the one that needs the fewest columns
        assert found.counts.instances == -(-size // passes)


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["latency", "energy", "edp"])
def test_exhaustive_search_finds_the_minimum(objective: str) -> None:
    problem = gemm_problem(4, 3, 3)
    template = templates(problem, "output_stationary", [Level("dram", ALL), Level("glb", ALL)])[0]
    capacity = 14 * 16
    best: list[tuple[float, float]] = []
    # every tile size there is, not only the candidates
    for tiles in product(*[range(1, problem.dims[loop.dim] + 1) for loop in template.loops]):
        mapping = template.with_tiles(tiles)
        try:
            mapping.validate(problem)
            check_capacity(problem, mapping, {"glb": capacity})
        except MappingError:
            continue
        if any(extent > 2 for extent in mapping.spatial_extents(problem).values()):
            continue
        result = counts(problem, mapping)
        dram = result.total("dram", "read", "update")
        latency = max(result.cycles, dram * 16 / 8)
        energy = dram * 200.0 + result.total("glb", "read") * 6.0
        first = {"latency": latency, "energy": energy, "edp": latency * energy}[objective]
        best.append((first, energy if objective == "latency" else latency))
    found = search(problem, [template], capacities={"glb": capacity}, limits={"rows": 2, "cols": 2},
                   objective=objective, prices=PRICES, bandwidths={"dram": 8.0})  # fmt: skip
    value = {
        "latency": (found.latency_cycles, found.energy),
        "energy": (found.energy, found.latency_cycles),
        "edp": (found.latency_cycles * found.energy, found.latency_cycles),
    }[objective]
    assert value == min(best)
    assert found.evaluated <= found.considered


def best_of(glb_kib: float, rows: int, bandwidth: float) -> Found:
    problem = gemm_problem(12, 10, 9)
    levels = [Level("dram", ALL), Level("glb", ALL), Level("reg", ("weight",), inside=True)]
    return search(
        problem,
        templates(problem, "weight_stationary", levels),
        capacities={"glb": round(glb_kib * 8192)},
        limits={"rows": rows, "cols": 3},
        prices=PRICES,
        bandwidths={"dram": bandwidth},
        exhaustive_limit=10**7,
    )


def test_more_of_anything_is_never_slower() -> None:
    base = best_of(0.2, 3, 16.0)
    assert base.exhaustive
    for other in (best_of(0.4, 3, 16.0), best_of(0.2, 4, 16.0), best_of(0.2, 3, 32.0)):
        assert other.latency_cycles <= base.latency_cycles


def test_descent_is_repeatable_and_respects_capacity() -> None:
    problem = conv_problem(k=32, c=16, p=27, q=27, r=5, s=5)
    found = [
        search(
            problem,
            templates(problem, "row_stationary", LEVELS)[:1],
            capacities={"glb": 16 * 8192, "spad": {"ifmap": 12 * 16, "weight": 224 * 16, "ofmap": 24 * 16}},
            limits={"rows": 12, "cols": 14},
            samples=200,
            starts=1,
        )
        for _ in range(2)
    ]
    assert found[0] == found[1]
    assert not found[0].exhaustive
    check_capacity(problem, found[0].mapping, {"glb": 16 * 8192, "spad": {"ifmap": 192, "weight": 3584, "ofmap": 384}})
    assert found[0].latency_cycles >= problem.macs / 168


def test_a_bound_of_the_caller_counts() -> None:
    template = Mapping.parse(["dram keeps ifmap, weight, ofmap", "for M by 1", "for K by 1"])
    found = search(gemm_problem(3, 1, 5), [template], bound=lambda compiled, counters: np.full(len(counters), 99.0))
    assert (found.latency_cycles, found.counts.cycles) == (99.0, 15)


def test_nothing_fits() -> None:
    template = templates(conv, "row_stationary", LEVELS)[0]
    with pytest.raises(MappingError, match=r"^conv: no mapping fits: \d+ candidates of 1 templates exceed the limits"):
        search(conv, [template], capacities={"glb": 15}, exhaustive_limit=100, samples=50)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": "speed"}, "objective must be latency, energy or edp, not 'speed'"),
        ({"objective": "energy"}, "objective energy needs prices"),
        ({"tiles": "odd"}, "candidates must be ragged, divisors or powers, not 'odd'"),
    ],
)
def test_search_errors(options: dict[str, str], message: str) -> None:
    with pytest.raises(MappingError, match=f"^{message}$"):
        search(conv, templates(conv, "row_stationary", LEVELS), **options)  # type: ignore[arg-type]


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
    rows = [(p, k, 1, 1, 1, 1, 1, 1) for p in candidates(13) for k in candidates(6)]
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
