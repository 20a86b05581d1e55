"""The timeline: where the ticks go, layers one after the other, the trace file."""

from __future__ import annotations

import json
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from hwsim.engine import Pipeline, Program, Run, Stage, Timebase, Timeline, concatenate, simulate
from hwsim.simulation import _busy

STAGES = (Stage("load", "dram"), Stage("compute", "pe"), Stage("store", "dram"))


def layer(load: int, compute: int, store: int, n: int = 1000, dram: int = 1) -> Timeline:
    program = Program({"dram": dram, "pe": 1}, (Pipeline("main", STAGES, (Run(n, (load, compute, store)),)),))
    return simulate(program)


def busiest(timeline: Timeline) -> tuple[str, Fraction]:
    """The resource whose servers work for the largest share of the run, and that share."""
    shares = {name: Fraction(r.busy, r.busy + r.idle) for name, r in timeline.resources.items()}
    return max(shares.items(), key=lambda item: item[1])


def longest_stall(timeline: Timeline, pipeline: str, stage: str) -> str:
    """What a stage waits for longest."""
    stalls = timeline.stages[pipeline, stage].stalls()
    return max(stalls, key=lambda cause: stalls[cause])


def test_the_slowest_stage_keeps_its_resource_busy() -> None:
    assert busiest(layer(30, 100, 20))[0] == "pe"
    assert longest_stall(layer(30, 100, 20), "main", "load") == "output"  # it is ahead and has no free slot
    assert busiest(layer(130, 100, 20))[0] == "dram"
    assert longest_stall(layer(130, 100, 20), "main", "compute") == "input"
    # Neither transfer takes as long as the computation, but the channel has to do both.
    assert busiest(layer(70, 100, 60))[0] == "dram"
    assert busiest(layer(70, 100, 60, dram=2))[0] == "pe"


def test_share_of_the_busiest_resource() -> None:
    assert busiest(layer(30, 100, 20, n=1)) == ("pe", Fraction(100, 150))
    assert busiest(layer(30, 100, 20, n=7)) == ("pe", Fraction(700, 30 + 700 + 20))


def test_threads_that_fill_all_channels_at_once_are_bound_by_what_each_does_longest() -> None:
    """Four threads, each 3 ticks on one of four channels and 5 on its own core: no channel works for 12."""
    resources = {"dram": 4} | {f"core{number}": 1 for number in range(4)}
    threads = tuple(
        Pipeline(f"thread{number}", (Stage("load", "dram"), Stage("compute", f"core{number}")), (Run(1, (3, 5)),))
        for number in range(4)
    )
    program = Program(resources, threads)
    timeline = simulate(program)
    assert timeline.end == 8
    assert _busy(timeline, program) == {"load": 3, "compute": 5}
    narrow = Program(resources | {"dram": 1}, threads)
    assert _busy(simulate(narrow), narrow) == {"load": 12, "compute": 5}


def test_contention_is_charged_to_who_holds_the_resource() -> None:
    program = Program(
        {"dram": 1},
        (
            Pipeline("bulk", (Stage("copy", "dram"),), (Run(50, (1000,)),)),
            Pipeline("fine", (Stage("copy", "dram"),), (Run(50, (1,)),)),
        ),
    )
    assert longest_stall(simulate(program), "fine", "copy") == "bulk/copy"


def test_layers_one_after_the_other() -> None:
    one, two = layer(30, 100, 20), layer(70, 100, 60, n=10)
    whole = concatenate([("conv1", one), ("conv2", two), ("conv3", one)])
    assert whole.end == 2 * one.end + two.end
    assert whole.events == 2 * one.events + two.events
    assert whole.tiles == 2010
    assert whole.pipelines["conv3/main"].start == one.end + two.end
    assert whole.stages["conv2/main", "load"].start == one.end
    assert whole.stages["conv2/main", "load"].blocked == {
        ("conv2/main", stage): ticks for (_, stage), ticks in two.stages["main", "load"].blocked.items()
    }
    assert whole.resources["dram"].busy == 1000 * 100 + 10 * 130
    for name, totals in whole.resources.items():
        assert totals.busy + totals.idle == whole.end
        assert totals.busy == sum(interval.busy for interval in whole.intervals if interval.resource == name)
    assert whole.stages["conv1/main", "compute"].stalls() == one.stages["main", "compute"].stalls()
    assert concatenate([("net", whole)]).end == whole.end


def test_layers_must_have_different_names() -> None:
    with pytest.raises(ValueError, match=r"^Names of timelines must differ, 'conv1' was given twice$"):
        concatenate([("conv1", layer(1, 2, 3)), ("conv1", layer(1, 2, 3))])


def test_shifted() -> None:
    timeline = layer(30, 100, 20, n=3)
    later = timeline.shifted(500)
    assert later.end == timeline.end + 500
    assert later.pipelines["main"].start == 500
    assert [i.start - 500 for i in later.intervals] == [i.start for i in timeline.intervals]
    assert later.resources["pe"].idle == timeline.resources["pe"].idle + 500


def slices(trace: dict[str, Any], pid: int) -> list[dict[str, Any]]:
    return [event for event in trace["traceEvents"] if event["ph"] == "X" and event["pid"] == pid]


def test_trace_in_microseconds(tmp_path: Path) -> None:
    timebase = Timebase({"core": 200_000_000, "link": 60_000_000})
    timeline = layer(600, 1200, 60, n=2)
    timeline.to_perfetto(tmp_path / "trace.json", timebase)
    text = (tmp_path / "trace.json").read_text(encoding="utf-8")
    assert text == timeline.to_json(timebase)
    trace = json.loads(text)
    first = min(slices(trace, 1), key=lambda event: event["ts"])
    assert first["name"] == "main/load"
    assert (first["ts"], first["dur"]) == (0.0, 1.0)
    assert len(slices(trace, 1)) == 6
    (pipeline,) = slices(trace, 2)
    assert pipeline["dur"] == pytest.approx(1e6 * timebase.seconds(timeline.end))
    assert pipeline["args"]["compute busy (us)"] == 4.0
    assert trace["otherData"] == {"tick rate (Hz)": "600000000", "all intervals shown": True}


def test_a_stretch_is_one_slice_and_tracks_do_not_overlap() -> None:
    trace = json.loads(layer(70, 100, 60, n=10**6).to_json(Timebase({"core": 10**6})))
    found = slices(trace, 1)
    assert len(found) < 100
    assert sum(event["args"].get("tiles", 1) for event in found) == 3 * 10**6
    tracks = {event["tid"]: event["args"]["name"] for event in trace["traceEvents"] if event["name"] == "thread_name"}
    assert {"dram", "pe", "dram (2)"} <= set(tracks.values())
    for tid in {event["tid"] for event in found}:
        track = sorted((event["ts"], event["ts"] + event["dur"]) for event in found if event["tid"] == tid)
        assert all(end <= start for (_, end), (start, _) in pairwise(track))


@pytest.mark.slow
def test_a_trace_is_bounded() -> None:
    tiles = tuple(Run(1, (1 + i % 7, 1 + i % 5, 1)) for i in range(300))
    one = simulate(Program({"dram": 1, "pe": 1}, (Pipeline("main", STAGES, tiles),)))
    whole = concatenate((f"layer{i}", one) for i in range(120))
    trace = json.loads(whole.to_json(Timebase({"core": 10**6})))
    assert len(slices(trace, 1)) == 100_000
    assert trace["otherData"]["all intervals shown"] is False
