"""The engine on pipelines that can be worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from hwsim.engine import Pipeline, Program, Run, Stage, Timeline, simulate

ONE_EACH = {"dram": 1, "pe": 1, "out": 1}


def run(*pipelines: Pipeline, **resources: int) -> Timeline:
    return simulate(Program({**ONE_EACH, **resources}, pipelines))


def two_stages(buffer: int, *tiles: Run) -> Timeline:
    return run(Pipeline("p", (Stage("load", "dram", buffer), Stage("compute", "pe")), tiles))


durations = st.integers(1, 50)


@given(durations, durations, st.integers(1, 500))
def test_double_buffer_overlaps_load_and_compute(load: int, compute: int, n: int) -> None:
    # The first tile fills the pipe, each further one costs what the slower of the two stages takes.
    assert two_stages(2, Run(n, (load, compute))).end == load + compute + (n - 1) * max(load, compute)


@given(durations, durations, st.integers(1, 500))
def test_single_buffer_takes_turns(load: int, compute: int, n: int) -> None:
    timeline = two_stages(1, Run(n, (load, compute)))
    assert timeline.end == n * (load + compute)
    assert timeline.stages["p", "load"].output == (n - 1) * compute
    assert timeline.stages["p", "compute"].input == n * load


@given(durations, durations, durations, st.integers(1, 500))
def test_three_stages_run_at_the_pace_of_the_slowest(load: int, compute: int, store: int, n: int) -> None:
    stages = (Stage("load", "dram"), Stage("compute", "pe"), Stage("store", "out"))
    timeline = run(Pipeline("p", stages, (Run(n, (load, compute, store)),)))
    assert timeline.end == load + compute + store + (n - 1) * max(load, compute, store)


def test_load_and_store_share_a_channel() -> None:
    # Store 0 asks at 5, while load 1 has the channel, and gets it at 8, before load 2, which asks only then. So load 2
    # waits until 10. Store 1 asks at 10 (its tile is there at 9, but store 0 is not done before) and waits for load 2.
    stages = (Stage("load", "dram"), Stage("compute", "pe"), Stage("store", "dram"))
    timeline = run(Pipeline("p", stages, (Run(3, (4, 1, 2)),)))
    work = {(i.stage, i.tile): (i.start, i.end) for i in timeline.intervals}
    assert work == {
        ("load", 0): (0, 4), ("load", 1): (4, 8), ("load", 2): (10, 14),
        ("compute", 0): (4, 5), ("compute", 1): (8, 9), ("compute", 2): (14, 15),
        ("store", 0): (8, 10), ("store", 1): (14, 16), ("store", 2): (16, 18),
    }  # fmt: skip
    assert timeline.resources["dram"].busy == 18
    assert timeline.resources["dram"].idle == 0
    assert timeline.stages["p", "store"].blocked == {("p", "load"): (8 - 5) + (14 - 10)}
    assert timeline.stages["p", "load"].blocked == {("p", "store"): 2}


@given(durations, durations, durations, st.integers(3, 300))
def test_a_saturated_channel_never_rests(load: int, compute: int, store: int, n: int) -> None:
    stages = (Stage("load", "dram"), Stage("compute", "pe"), Stage("store", "dram"))
    timeline = run(Pipeline("p", stages, (Run(n, (load, min(compute, load, store), store)),)))
    # Only the last compute can leave it idle: nothing is left to load, nothing is there to store.
    assert n * (load + store) <= timeline.end <= n * (load + store) + min(compute, load, store)


def test_a_read_goes_before_a_write_that_asks_in_the_same_tick() -> None:
    stages = (Stage("load", "dram", 1), Stage("compute", "pe"), Stage("store", "dram"))
    timeline = run(Pipeline("p", stages, (Run(2, (5, 10, 3)),)))
    # At 15 compute is done: its slot is free for load 1, and its result is there for store 0.
    work = {(i.stage, i.tile): i.start for i in timeline.intervals}
    assert work["load", 1] == 15
    assert work["store", 0] == 20


def test_two_pipelines_take_turns_on_a_channel() -> None:
    one = Pipeline("one", (Stage("load", "dram"),), (Run(10, (3,)),))
    two = Pipeline("two", (Stage("load", "dram"),), (Run(10, (5,)),))
    timeline = run(one, two)
    assert timeline.end == 10 * (3 + 5)
    assert timeline.pipelines["one"].end == 10 * 3 + 9 * 5  # the first of the program goes first
    assert timeline.stages["one", "load"].blocked == {("two", "load"): 9 * 5}
    assert timeline.stages["two", "load"].blocked == {("one", "load"): 10 * 3}
    assert run(one, two, dram=2).end == 50


def test_two_that_leave_in_one_tick_are_one_wait_and_the_first_of_the_program_is_charged() -> None:
    stage = (Stage("load", "dram"),)
    tiles = {"a": 5, "b": 5, "c": 1}
    timeline = run(*(Pipeline(name, stage, (Run(1, (ticks,)),)) for name, ticks in tiles.items()), dram=2)
    assert timeline.end == 5 + 1
    assert timeline.stages["c", "load"].blocked == {("a", "load"): 5}
    assert timeline.stages["a", "load"].blocked == timeline.stages["b", "load"].blocked == {}


def test_a_pipeline_starts_after_those_before_it() -> None:
    stage = (Stage("s", "pe"),)
    timeline = run(
        Pipeline("last", (Stage("s", "out"),), (Run(1, (7,)),), after=("a", "b")),
        Pipeline("a", stage, (Run(2, (10,)),)),
        Pipeline("b", (Stage("s", "dram"),), (Run(3, (4,)),)),
        Pipeline("empty", stage, (), after=("b",)),
        Pipeline("behind", (Stage("s", "dram"),), (Run(1, (1,)),), after=("empty",)),
    )
    spans = {name: (span.start, span.end) for name, span in timeline.pipelines.items()}
    assert spans == {"a": (0, 20), "b": (0, 12), "empty": (12, 12), "behind": (12, 13), "last": (20, 27)}


def test_a_stage_of_no_time_is_skipped() -> None:
    # Weights are loaded with the first tile of each strip only.
    stages = (Stage("weights", "dram"), Stage("compute", "pe"))
    timeline = run(Pipeline("p", stages, (Run(4, (Run(1, (30, 10)), Run(9, (0, 10)))),)))
    # A double buffer looks one tile ahead: the next strip's weights are fetched while the last tile of ten is computed.
    assert timeline.end == 30 + 100 + 3 * (30 - 10 + 100)
    assert timeline.stages["p", "weights"].busy == 4 * 30
    assert timeline.stages["p", "weights"].tiles == 40


def test_a_tile_without_any_work_is_left_out() -> None:
    assert two_stages(2, Run(10**9, (0, 0)), Run(2, (3, 4)), Run(5, (Run(7, (0, 0)),))).tiles == 2


def test_nothing_to_do() -> None:
    assert two_stages(2).end == 0
    assert simulate(Program({}, ())).end == 0


def test_loops_are_read_in_order() -> None:
    timeline = two_stages(2, Run(2, (Run(2, (1, 2)), Run(1, (Run(1, (3, 4)), Run(1, (5, 6)))))), Run(1, (7, 8)))
    loads = [i.end - i.start for i in timeline.intervals if i.stage == "load"]
    assert loads == [1, 1, 3, 5, 1, 1, 3, 5, 7]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Stage("s", "pe", 0), r"^Buffer of stage 's' must have at least 1 slot, not 0$"),
        (lambda: Run(-1, (1,)), r"^Count of a run must not be negative, it is -1$"),
        (lambda: Pipeline("p", (), ()), r"^Stages of pipeline 'p' must be at least one, none was given$"),
        (
            lambda: Pipeline("p", (Stage("s", "pe"), Stage("s", "pe")), ()),
            r"^Stage names of pipeline 'p' must differ, they are s, s$",
        ),
        (
            lambda: Pipeline("p", (Stage("s", "pe"),), (Run(1, (1, 2)),)),
            r"^A tile of pipeline 'p' must have 1 durations \(s\), not \(1, 2\)$",
        ),
        (
            lambda: Pipeline("p", (Stage("s", "pe"),), (Run(3, (Run(1, (-4,)),)),)),
            r"^Durations of pipeline 'p' must be whole ticks, 0 or more, not -4 in \(-4,\)$",
        ),
        (
            lambda: Pipeline("p", (Stage("s", "pe"),), (Run(1, (1.5,)),)),  # type: ignore[arg-type]
            r"^Durations of pipeline 'p' must be whole ticks, 0 or more, not 1\.5 in \(1\.5,\)$",
        ),
        (
            lambda: Pipeline("p", (Stage("s", "pe"),), ((1,),)),  # type: ignore[arg-type]
            r"^Tiles of pipeline 'p' must be runs, not \(1,\); use Run\(1, \.\.\.\) for a single tile$",
        ),
        (
            lambda: Pipeline("p", (Stage("s", "pe"),), (Run(1, (1,)),) * 100_001),
            r"^Tiles of pipeline 'p' must be folded into at most 100000 runs, more were given$",
        ),
        (
            lambda: Program({"dram": 1, "pe": 1}, (Pipeline("p", (Stage("s", "dma"),), ()),)),
            r"^Resource of stage p/s must be a resource of the program \(dram, pe\), not 'dma'$",
        ),
        (lambda: Program({"pe": 0}, ()), r"^Resource 'pe' must have at least 1 server, not 0$"),
        (
            lambda: Program({"pe": 1}, (Pipeline("p", (Stage("s", "pe"),), ()),) * 2),
            r"^Pipeline names must differ, they are p, p$",
        ),
        (
            lambda: Program({"pe": 1}, (Pipeline("p", (Stage("s", "pe"),), (), after=("q",)),)),
            r"^Pipeline 'p' must come after a pipeline of the program, not 'q'$",
        ),
        (
            lambda: Program(
                {"pe": 1},
                (
                    Pipeline("p", (Stage("s", "pe"),), (), after=("q",)),
                    Pipeline("q", (Stage("s", "pe"),), (), after=("p",)),
                ),
            ),
            r"^Pipelines must not wait for each other in a circle: p, q$",
        ),
    ],
)
def test_refused(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=message):
        make()


def recurrence(buffers: list[int], tiles: list[tuple[int, ...]]) -> list[list[int]]:
    """When each stage is done with each tile if no resource is shared: the recurrence of a buffered pipeline."""
    depth = len(buffers)
    done: list[list[int]] = [[] for _ in range(depth)]
    # Stage j can begin tile i when it is done with tile i - 1, stage j - 1 with tile i, and stage j + 1 with the tile
    # that had the slot before.
    for i, tile in enumerate(tiles):
        for j in range(depth):
            begin = done[j][i - 1] if i else 0
            if j:
                begin = max(begin, done[j - 1][i])
            if j < depth - 1 and i >= buffers[j]:
                begin = max(begin, done[j + 1][i - buffers[j]])
            done[j].append(begin + tile[j])
    return done


@given(st.data(), st.lists(st.integers(1, 4), min_size=1, max_size=5))
def test_stages_of_their_own_resources_follow_the_recurrence(data: st.DataObject, buffers: list[int]) -> None:
    tile = st.tuples(*[st.integers(0, 9)] * len(buffers)).filter(any)
    runs = data.draw(st.lists(st.tuples(st.integers(1, 20), tile), max_size=8))
    stages = tuple(Stage(f"s{j}", f"r{j}", buffer) for j, buffer in enumerate(buffers))
    program = Program(
        {stage.resource: 1 for stage in stages}, (Pipeline("p", stages, tuple(Run(n, tile) for n, tile in runs)),)
    )
    timeline = simulate(program)
    done = recurrence(buffers, [tile for n, tile in runs for _ in range(n)])
    for stage, ends in zip(stages, done, strict=True):
        assert timeline.stages["p", stage.name].end == (ends[-1] if ends else 0)
