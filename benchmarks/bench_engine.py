"""Cost of the engine. Events are asserted beside the time, so that more work is seen on any machine."""

from __future__ import annotations

from pytest_benchmark.fixture import BenchmarkFixture

from hwsim.engine import Pipeline, Program, Run, Stage, Timeline, concatenate, simulate

LOAD_COMPUTE = (Stage("load", "dram"), Stage("compute", "pe"))
LOAD_COMPUTE_STORE = (*LOAD_COMPUTE, Stage("store", "dram"))
RESOURCES = {"dram": 1, "pe": 1}


def layer(strips: int, load: int = 40) -> Program:
    """A layer as it is lowered: strips of like tiles with a smaller one at the end of each."""
    strip = (Run(13, (load, 100, 10)), Run(1, (load // 2, 50, 10)))
    return Program(RESOURCES, (Pipeline("main", LOAD_COMPUTE_STORE, (Run(strips, strip),)),))


def test_events_of_a_tile(benchmark: BenchmarkFixture) -> None:
    """Every tile simulated: two works and one wake-up each, for the stage that waits."""
    program = Program(RESOURCES, (Pipeline("main", LOAD_COMPUTE, (Run(2_000, (40, 100)),)),))
    timeline: Timeline = benchmark(simulate, program, fast_forward=False)
    assert timeline.events == 3 * 2_000 + 3


def test_events_of_a_tile_on_a_shared_channel(benchmark: BenchmarkFixture) -> None:
    program = Program(RESOURCES, (Pipeline("main", LOAD_COMPUTE_STORE, (Run(2_000, (40, 100, 10)),)),))
    timeline: Timeline = benchmark(simulate, program, fast_forward=False)
    assert timeline.events <= 5 * 2_000 + 6


def test_ten_million_tiles(benchmark: BenchmarkFixture) -> None:
    program = Program(RESOURCES, (Pipeline("main", LOAD_COMPUTE, (Run(10**7, (40, 100)),)),))
    timeline: Timeline = benchmark(simulate, program)
    assert timeline.end == 40 + 10**7 * 100
    assert timeline.events <= 20


def test_a_million_strips(benchmark: BenchmarkFixture) -> None:
    timeline: Timeline = benchmark(simulate, layer(10**6))
    assert timeline.tiles == 14 * 10**6
    assert timeline.events <= 150


def test_a_network_of_54_layers(benchmark: BenchmarkFixture) -> None:
    """As many layers as ResNet-50, each another program."""
    programs = [layer(56, load) for load in range(20, 128, 2)]

    def network() -> Timeline:
        return concatenate((f"layer{i}", simulate(program)) for i, program in enumerate(programs))

    timeline = benchmark(network)
    assert timeline.tiles == 54 * 56 * 14
    assert timeline.events <= 54 * 150
