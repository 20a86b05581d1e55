"""Fast-forward = full run, to the last tick; what it costs does not grow with the counts; laws that any run obeys."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import example, given, settings, strategies as st

from hwsim.engine import Pipeline, Program, Run, Stage, Timeline, simulate

RESOURCES = ("dram", "pe", "noc")


def streams(width: int) -> st.SearchStrategy[tuple[Run, ...]]:
    """Nested runs of a few tiles; durations small, so that ties are common, or larger, so that phases drift."""
    ticks = st.one_of(st.integers(0, 4), st.integers(0, 40), st.sampled_from((0, 98, 99, 100, 101)))
    leaf = st.builds(Run, st.integers(0, 60), st.tuples(*[ticks] * width))
    nest = st.recursive(
        leaf, lambda run: st.builds(Run, st.integers(0, 8), st.lists(run, max_size=3).map(tuple)), max_leaves=5
    )
    return st.lists(nest, max_size=3).map(tuple)


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """One to three pipelines on three resources, some after others."""
    pipelines: list[Pipeline] = []
    for i in range(draw(st.integers(1, 3))):
        width = draw(st.integers(1, 4))
        stages = tuple(Stage(f"s{j}", draw(st.sampled_from(RESOURCES)), draw(st.integers(1, 3))) for j in range(width))
        names = [pipeline.name for pipeline in pipelines]
        after = draw(st.lists(st.sampled_from(names), unique=True, max_size=1)) if names else []
        pipelines.append(Pipeline(f"p{i}", stages, draw(streams(width)), tuple(after)))
    return Program({name: draw(st.integers(1, 2)) for name in RESOURCES}, tuple(pipelines))


def written_out(timeline: Timeline) -> Counter[tuple[str, str, int, int]]:
    """Every tile's work, the skipped ones too."""
    found: Counter[tuple[str, str, int, int]] = Counter()
    for interval in timeline.intervals:
        starts = [interval.start]
        for repeat, period in (*interval.outer, (interval.repeat, interval.period)):
            starts = [start + i * period for start in starts for i in range(repeat)]
        ticks = interval.end - interval.start
        found.update((interval.pipeline, interval.stage, start, start + ticks) for start in starts)
        assert interval.last_end == max(starts) + ticks
    return found


def assert_same(fast: Timeline, full: Timeline) -> None:
    assert fast.end == full.end
    assert fast.tiles == full.tiles
    assert fast.resources == full.resources
    assert fast.stages == full.stages
    assert fast.pipelines == full.pipelines
    if full.complete:  # a run of very many tiles keeps its first intervals alone, and says so
        assert fast.complete
        assert written_out(fast) == written_out(full)
    else:
        assert full.tiles > 10_000


def on(stages: tuple[Stage, ...], *tiles: Run, servers: int = 1) -> Program:
    return Program({"dram": servers, "pe": 1, "noc": 1}, (Pipeline("p", stages, tiles),))


LOAD_COMPUTE_STORE = (Stage("load", "dram"), Stage("compute", "pe"), Stage("store", "dram"))
DEEP_BUFFER = (Stage("load", "dram", 3), Stage("compute", "pe"))


@pytest.mark.slow
@settings(deadline=None)
@given(programs())
@example(on(LOAD_COMPUTE_STORE, Run(20, (Run(30, (40, 100, 10)), Run(1, (20, 50, 10))))))
@example(on(DEEP_BUFFER, Run(500, (99, 100))))
@example(on(LOAD_COMPUTE_STORE, Run(17_000, (4, 27, 3))))
def test_fast_forward_is_exact(program: Program) -> None:
    assert_same(simulate(program), simulate(program, fast_forward=False))


@pytest.mark.slow
@settings(deadline=None)
@given(programs())
def test_laws_of_any_run(program: Program) -> None:
    timeline = simulate(program)
    for name, totals in timeline.resources.items():
        assert totals.servers == program.resources[name]
        assert totals.busy + totals.idle == totals.servers * timeline.end
        assert totals.idle >= 0  # latency is at least what each resource has to do
        assert totals.busy == sum(interval.busy for interval in timeline.intervals if interval.resource == name)
    for totals_ in timeline.stages.values():
        assert totals_.busy + sum(totals_.stalls().values()) == totals_.end - totals_.start
    for pipeline in program.pipelines:
        span = timeline.pipelines[pipeline.name]
        assert all(timeline.pipelines[name].end <= span.start for name in pipeline.after)
        for tile in (tile for run in pipeline.tiles for tile in written_down(run)):
            assert span.end - span.start >= sum(tile)  # and at least what one tile takes from end to end


def numbers(draw: random.Random, width: int, choices: list[int]) -> tuple[int, ...]:
    return tuple(draw.choice(choices) for _ in range(width))


def crowded(draw: random.Random) -> Program:
    """Three and more stages of two and more pipelines on one resource, with short tiles: the queue is never empty."""
    pipelines = []
    for i in range(draw.choice((2, 3, 3, 4))):
        width = draw.choice((1, 2, 2, 3))
        stages = tuple(Stage(f"s{j}", "bus", draw.choice((1, 1, 2, 3))) for j in range(width))
        ticks = [1, 1, 2, 3, 4, 5, 7]
        tiles = [Run(draw.choice((3, 8, 20, 40)), numbers(draw, width, ticks)) for _ in range(draw.choice((1, 2, 3)))]
        pipelines.append(Pipeline(f"p{i}", stages, tuple(tiles)))
    return Program({"bus": draw.choice((1, 1, 2))}, tuple(pipelines))


def drifting(draw: random.Random) -> Program:
    """Pipelines of nearly the same period that share a resource: who comes first there changes now and then."""
    resources, pipelines = {"bus": draw.choice((1, 1, 1, 2))}, []
    base = draw.choice((10, 30, 100))
    for i in range(draw.choice((2, 2, 3))):
        first, more, bus = base + draw.choice((-1, 0, 1)), draw.randrange(base), base // draw.choice((3, 4, 10))
        stages = (Stage("own", f"own{i}", draw.choice((2, 3))), Stage("bus", "bus"))
        resources[f"own{i}"] = 1
        tiles = (Run(1, (first + more, bus)), Run(draw.choice((20, 50, 150)), (first, bus)))
        pipelines.append(Pipeline(f"p{i}", stages, tiles))
    return Program(resources, tuple(pipelines))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [crowded, drifting])
def test_fast_forward_is_exact_where_stages_queue(kind: Callable[[random.Random], Program]) -> None:
    for seed in range(400):
        program = kind(random.Random(seed))
        fast, full = simulate(program), simulate(program, fast_forward=False)
        assert (fast.end, fast.stages) == (full.end, full.stages), program


@pytest.mark.parametrize("gap", [1, 2, 19, 20, 200])
def test_a_drift_ends_when_two_requests_meet(gap: int) -> None:
    """Tile i of p asks for the bus at 2p + g + ip, that of q at 2p + 1 + i (p + 1), so q comes first until i = g - 1.

    From there on p does: in the tick in which both ask, the first of the program is served first. Who comes second waits
    for what is left of the other's turn, and nothing else waits.
    """
    period, of_p, of_q, n = 1000, 50, 300, 2 * gap + 100
    program = Program(
        {"p": 1, "q": 1, "bus": 1},
        (
            Pipeline(
                "p", (Stage("own", "p"), Stage("bus", "bus")), (Run(1, (2 * period + gap, 0)), Run(n, (period, of_p)))
            ),
            Pipeline(
                "q", (Stage("own", "q"), Stage("bus", "bus")), (Run(1, (2 * period, 0)), Run(n, (period + 1, of_q)))
            ),
        ),
    )
    ahead = [(1 + i) - gap for i in range(n)]  # by how much p asks before q
    timeline = simulate(program)
    assert timeline.events < 400
    assert sum(timeline.stages["p", "bus"].blocked.values()) == sum(of_q + x for x in ahead if x < 0)
    assert sum(timeline.stages["q", "bus"].blocked.values()) == sum(max(of_p - x, 0) for x in ahead if x >= 0)
    assert timeline.stages == simulate(program, fast_forward=False).stages


def test_who_is_first_in_a_queue_is_part_of_a_state() -> None:
    """Six stages on two servers: the same stages wait in another order when the program seems to repeat."""
    tiles = (
        (Run(8, (1, 1)),),
        (Run(7, (3, 3)),),
        (Run(8, (7, 5)), Run(12, (Run(150, (3, 5)), Run(20, (11, 5)), Run(60, (11, 7))))),
    )
    program = Program(
        {"bus": 2},
        tuple(
            Pipeline(f"p{i}", (Stage("s0", "bus", buffer), Stage("s1", "bus", 1)), runs)
            for i, (buffer, runs) in enumerate(zip((2, 3, 2), tiles, strict=True))
        ),
    )
    assert_same(simulate(program), simulate(program, fast_forward=False))


def written_down(run: Run) -> list[tuple[int, ...]]:
    if not run.count or not run.body:
        return []
    if isinstance(run.body[0], int):
        return [run.body]
    return [tile for inner in run.body for tile in written_down(inner)]


def stretched(run: Run, factor: int) -> Run:
    return Run(
        run.count,
        tuple(x * factor if isinstance(x, int) else stretched(x, factor) for x in run.body),  # type: ignore[arg-type]
    )


@pytest.mark.slow
@settings(deadline=None)
@given(programs(), st.integers(2, 5))
def test_a_slower_clock_stretches_everything(program: Program, factor: int) -> None:
    slow = replace(
        program,
        pipelines=tuple(
            replace(pipeline, tiles=tuple(stretched(run, factor) for run in pipeline.tiles))
            for pipeline in program.pipelines
        ),
    )
    one, other = simulate(program), simulate(slow)
    assert other.end == factor * one.end
    assert other.events == one.events
    for key, totals in one.stages.items():
        assert {cause: factor * ticks for cause, ticks in totals.stalls().items()} == other.stages[key].stalls()


@pytest.mark.slow
@settings(deadline=None)
@given(programs())
def test_the_same_program_runs_the_same(program: Program) -> None:
    one, other = simulate(program), simulate(program)
    assert one.intervals == other.intervals
    assert one.events == other.events
    assert one.stages == other.stages


NESTED = (Run(3, (40, 100, 10)), Run(1, (20, 50, 10)))


@pytest.mark.parametrize(
    ("few", "many"),
    [
        (on(DEEP_BUFFER, Run(10, (40, 100))), on(DEEP_BUFFER, Run(10**7, (40, 100)))),
        (on(DEEP_BUFFER, Run(20, (9990, 10000))), on(DEEP_BUFFER, Run(10**7, (9990, 10000)))),
        (on(LOAD_COMPUTE_STORE, Run(10, NESTED)), on(LOAD_COMPUTE_STORE, Run(10**6, NESTED))),
        (
            on(LOAD_COMPUTE_STORE, Run(10, (Run(10, NESTED), Run(10, (60, 7, 60))))),
            on(LOAD_COMPUTE_STORE, Run(10**5, (Run(10**5, NESTED), Run(10**5, (60, 7, 60))))),
        ),
    ],
    ids=["flat", "a buffer that fills slowly", "nested", "nested twice"],
)
def test_cost_does_not_grow_with_counts(few: Program, many: Program) -> None:
    short, long = simulate(few), simulate(many)
    assert long.tiles >= 10**5 * short.tiles
    assert long.events <= short.events + 100
    assert len(long.intervals) <= len(short.intervals) + 300


def test_a_million_tiles_end_when_the_formula_says() -> None:
    n = 10**6
    assert simulate(on(DEEP_BUFFER, Run(n, (40, 100)))).end == 40 + n * 100


def test_a_long_transfer_beside_short_tiles_is_no_obstacle() -> None:
    program = Program(
        {"dram": 2, "pe": 1},
        (
            Pipeline("prefetch", (Stage("load", "dram"),), (Run(1, (10**9,)),)),
            Pipeline("p", (Stage("load", "dram"), Stage("compute", "pe")), (Run(10**7, (70, 77)),)),
            Pipeline("next", (Stage("load", "dram"),), (Run(1, (5,)),), after=("prefetch",)),
        ),
    )
    timeline = simulate(program)
    assert timeline.end == 10**9 + 5
    assert timeline.pipelines["p"].end == 70 + 77 * 10**7
    assert timeline.events < 100


def test_pipelines_that_never_meet_do_not_hold_each_other_up() -> None:
    # Their common period is the product of the two: together they would never repeat.
    program = Program(
        {"a": 1, "b": 1},
        (
            Pipeline("a", (Stage("s", "a"),), (Run(10**6, (700_001,)),)),
            Pipeline("b", (Stage("s", "b"),), (Run(10**6, (1_000_003,)),)),
        ),
    )
    timeline = simulate(program)
    assert timeline.end == 1_000_003 * 10**6
    assert timeline.events < 50


def test_memory_is_bounded_where_nothing_repeats() -> None:
    # The same tile never comes twice in a row, and no loop is written down that could be skipped.
    tiles = tuple(Run(1, (1 + i % 97, 1 + i % 89)) for i in range(30_000))
    timeline = simulate(on((Stage("load", "dram"), Stage("compute", "pe")), *tiles))
    assert timeline.tiles == 30_000
    assert len(timeline.intervals) == 50_000
    assert not timeline.complete
    assert timeline.resources["dram"].busy == sum(1 + i % 97 for i in range(30_000))
