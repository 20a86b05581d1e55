"""Requests of a language model: laws of the event log, continuous batching by hand, bounds, hostile input."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import call
from hypothesis import given, settings, strategies as st

import hwsim
from hwsim.errors import InputError
from hwsim.machines.serving import BatchingSpec
from hwsim.requests.arrivals import TICKS_PER_S, poisson
from hwsim.serving import Served
from hwsim.serving.batching import Batcher, Lengths, TokenRecords, draw_lengths
from hwsim.serving.log import TokenLog
from hwsim.serving.steps import Chunk, StepTimes, knot
from hwsim.serving.table import with_library
from hwsim.serving.trace import read_token_trace
from hwsim.workload.transformer import LlmSpec

SMALL = LlmSpec(
    kind="llm", name="small", source="made", layers=4, hidden=512, heads=8, kv_heads=2, ffn=1024, vocabulary=1009
)
MS = TICKS_PER_S // 1000


class Costs:
    """Steps of 1 ms, and 1 ms for every 100 tokens of prompts; contexts cost nothing."""

    def seconds(self, sequences: int, context: float, chunks: Any = ()) -> float:
        return 1e-3 + 1e-5 * sum(end - start for start, end in chunks)


class Growing(Costs):
    """A step takes longer with its contexts and its sequences."""

    def seconds(self, sequences: int, context: float, chunks: Any = ()) -> float:
        return super().seconds(sequences, context, chunks) + 1e-7 * sequences * context


def lengths_of(*pairs: tuple[int, int]) -> Lengths:
    return Lengths(np.array([a for a, _ in pairs]), np.array([b for _, b in pairs]))


RULES = st.builds(
    BatchingSpec,
    prompts=st.sampled_from(["mixed", "first"]),
    chunked=st.booleans(),
    tokens=st.sampled_from([7, 127, 2048]),
    sequences=st.sampled_from([1, 3, 31, 1024]),
    reserve=st.sampled_from(["prompt", "all"]),
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    rules=RULES,
    rate=st.sampled_from([1.0, 40.0, 3000.0]),
    capacity=st.sampled_from([None, 331, 400, 1009, 20_011]),
    seed=st.integers(0, 9),
)
def test_laws_of_the_event_log(rules: BatchingSpec, rate: float, capacity: int | None, seed: int) -> None:
    lengths = draw_lengths(61, 257, 73, 0.9, seed)
    times = poisson(rate, 61, seed)
    batcher = Batcher(Growing(), rules, lengths, capacity, host=MS // 7, sequence=MS // 31)  # type: ignore[arg-type]
    records = batcher.run_open(times)
    arrivals, starts, firsts, ends = (
        np.array(row) for row in (records.arrivals, records.starts, records.firsts, records.ends)
    )
    assert (arrivals == times).all()
    assert (arrivals <= starts).all()
    assert (starts < firsts).all()
    assert (firsts[lengths.outputs > 1] < ends[lengths.outputs > 1]).all()
    assert (ends[lengths.outputs == 1] == firsts[lengths.outputs == 1]).all()
    assert (np.diff(starts) >= 0).all(), "first come, first served"
    assert max(records.sequences) <= rules.sequences
    assert area(records) == int((ends - arrivals).sum()), "Little's law, exactly"
    # Each token of each request was computed once, or again after its cache was given up.
    once = int((lengths.inputs + lengths.outputs - 1).sum())
    assert records.tokens == once if not records.preemptions else records.tokens > once
    assert not (records.preemptions and rules.reserve == "all")
    if capacity is not None:
        assert records.peak_tokens <= capacity, "the cache never holds more than the memory"
    assert records.sequences.total() == records.busy <= ends.max()
    assert not batcher._generated
    assert not batcher._left
    assert not batcher._used
    assert not batcher._contexts


def area(records: TokenRecords) -> int:
    """The integral of the number in the system over time."""
    steps = sorted([(time, 1) for time in records.arrivals] + [(time, -1) for time in records.ends])
    total = inside = before = 0
    for time, step in steps:
        total += inside * (time - before)
        before, inside = time, inside + step
    assert inside == 0
    return total


class OneByOne(Batcher):
    """Every step an event of its own."""

    def _advance(self, chunks: Any, full: bool) -> list[int]:
        if not chunks and self._running:
            ticks = self._ticks(len(self._running), self._contexts / len(self._running), [])
            self._coming.append((self.now + ticks, -1))
            self._coming.sort()
            ended = super()._advance(chunks, full)
            self._coming = [(time, request) for time, request in self._coming if request >= 0]
            return ended
        return super()._advance(chunks, full)


def test_equal_steps_are_one_event() -> None:
    """As one step after the other, but for the rounding of each to a tick."""
    lengths, times = draw_lengths(31, 127, 67, 0.5, 3), poisson(30, 31, 3)
    logs = [kind(Growing(), BatchingSpec(), lengths).run_open(times) for kind in (Batcher, OneByOne)]  # type: ignore[arg-type]
    assert len(logs[0].segments) < len(logs[1].segments) / 3
    for name in ("firsts", "ends"):
        one, other = (np.array(getattr(log, name)) for log in logs)
        assert np.abs(one - other).max() < 5000  # ticks of a picosecond


def test_prompts_with_answers_and_before_them() -> None:
    """Two requests, the second 1 ms after the first; a step takes 1 ms, a prompt of 300 tokens 3 ms more."""
    lengths = lengths_of((300, 5), (300, 3))
    times = np.array([0, MS])
    mixed = Batcher(Costs(), BatchingSpec(), lengths).run_open(times)  # type: ignore[arg-type]
    # Prompt of the first up to 4 ms; that of the second with a token of the first up to 8 ms; then tokens of both.
    assert list(mixed.firsts) == [4 * MS, 8 * MS]
    assert list(mixed.ends) == [11 * MS, 10 * MS]
    before = Batcher(Costs(), BatchingSpec(prompts="first"), lengths).run_open(times)  # type: ignore[arg-type]
    assert list(before.firsts) == [4 * MS, 8 * MS]
    assert list(before.ends) == [12 * MS, 10 * MS], "no token of the first while the prompt of the second runs"


def test_parts_of_a_prompt() -> None:
    """100 tokens a step: 300 take three steps of 2 ms; a prompt that must be whole takes one of 4 ms."""
    lengths = lengths_of((300, 1))
    for chunked, time in ((True, 6), (False, 4)):
        rules = BatchingSpec(tokens=100, chunked=chunked)
        assert list(Batcher(Costs(), rules, lengths).run_open(np.array([0])).ends) == [time * MS]  # type: ignore[arg-type]


def test_loads_of_months_are_refused() -> None:
    class Slow(Costs):
        def seconds(self, sequences: int, context: float, chunks: Any = ()) -> float:
            return 86_400.0

    lengths = lengths_of((1, 31))
    assert Batcher(Slow(), BatchingSpec(), lengths).run_closed(1).ends[0] == 31 * 86_400 * TICKS_PER_S  # type: ignore[arg-type]
    with pytest.raises(InputError, match="at most 100 days"):
        Batcher(Slow(), BatchingSpec(), lengths_of((1, 127))).run_closed(1)  # type: ignore[arg-type]


def test_memory_by_hand() -> None:
    """Room for 200 tokens: with 90 + 20 each, one request at a time if all are kept, two by their prompts."""
    lengths, times = lengths_of((90, 20), (90, 20)), np.array([0, 0])
    kept = Batcher(Costs(), BatchingSpec(reserve="all"), lengths, 200).run_open(times)  # type: ignore[arg-type]
    assert kept.starts[1] == kept.ends[0]
    assert not kept.preemptions
    assert kept.full > 0
    together = Batcher(Costs(), BatchingSpec(), lengths, 200).run_open(times)  # type: ignore[arg-type]
    assert together.starts[1] == 0
    assert together.preemptions == 1, "180 tokens of prompts and 10 of each answer fit; the last gives way"
    assert together.ends[0] < kept.ends[1]
    assert together.tokens == 2 * 109 + 90 + 10, "its prompt and the ten tokens that were cached run again"


def test_a_closed_loop_has_as_many_requests_as_clients() -> None:
    lengths = draw_lengths(60, 31, 17, 0.5, 1)
    records = Batcher(Growing(), BatchingSpec(), lengths).run_closed(7)  # type: ignore[arg-type]
    assert max(records.sequences) <= 7
    ends = sorted(records.ends)
    assert sorted(records.arrivals)[7:] == ends[:53], "each end but the last seven sends a request"


def test_spread_of_lengths() -> None:
    lengths = draw_lengths(2003, 1000, 500, 0.2, 0)
    assert lengths.inputs.min() >= 800
    assert lengths.inputs.max() <= 1000
    assert lengths.outputs.mean() == pytest.approx(450, rel=0.01)
    assert (draw_lengths(2003, 1000, 500, 0.2, 0).inputs == lengths.inputs).all()
    assert set(draw_lengths(7, 31, 1, 0.0, 0).inputs) == {31}


@cache
def served(library: str = "vllm") -> Served:
    return Served(with_library("h100", library), SMALL)


@pytest.mark.slow
def test_a_step_is_that_of_its_plan() -> None:
    """At planned sizes, from a few of the blocks, exactly; a prompt alone is its prefill."""
    many = SMALL.model_copy(update={"layers": 31})
    whole = Served(with_library("h100", "vllm"), many)
    times = StepTimes(whole.machine, many, whole.formats, 1)
    for batch, context in ((1, 31), (7, 127), (80, 1024)):
        known = knot(context - 1)
        assert times.seconds(batch, known) == pytest.approx(whole.decode(batch, known).summary.latency_s, rel=1e-9)
    assert times.seconds(0, 0, [Chunk(0, 1024)]) == pytest.approx(whole.prefill(1024).summary.latency_s, rel=0.05)
    parts = sum(times.seconds(0, 0, [Chunk(a, a + 256)]) for a in range(0, 1024, 256))
    assert parts >= times.seconds(0, 0, [Chunk(0, 1024)])


@pytest.mark.slow
def test_steps_grow_with_what_is_in_them() -> None:
    times = served().steps
    sizes = [times.seconds(n, 1021) for n in (1, 2, 3, 7, 13, 31, 64, 127)]
    assert sizes == sorted(sizes)
    contexts = [times.seconds(13, c) for c in (1, 31.5, 127, 257.25, 1021, 4099)]
    assert contexts == sorted(contexts)
    prompts = [times.seconds(5, 257, [Chunk(0, n)]) for n in (1, 31, 127, 1021, 4099)]
    assert prompts == sorted(prompts)
    assert times.seconds(5, 257) < prompts[0]


@pytest.mark.slow
def test_without_load_a_request_takes_its_steps() -> None:
    load = hwsim.serve_llm(served().machine, SMALL, rate_per_s=0.01, input=128, output=2, spread=0, requests=7)
    one, around = served(), served().constants
    host = float(one.host.host) + float(one.host.sequence)
    first = one.steps.seconds(0, 0, [Chunk(0, 128)]) + host + float(around.first) + 128 * float(around.token)
    assert load.log.ttft_s == pytest.approx([first] * 7, rel=1e-9)
    assert load.log.tpot_s == pytest.approx([one.steps.seconds(1, 129) + host] * 7, rel=1e-6)
    assert load.utilization < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("library", ["vllm", "tensorrt-llm", "sglang"])
def test_the_highest_rate_is_within_the_bounds(library: str) -> None:
    device = served(library).machine
    load = hwsim.serve_llm(
        device, SMALL, bound_ttft_s=0.2, bound_tpot_s=0.0025, input=257, output=31, requests=151, percentile=90
    )
    assert load.ttft_s <= 0.2
    assert load.tpot_s <= 0.0025
    assert load.rate_per_s is not None
    assert 0 < load.rate_per_s <= load.saturation_per_s
    assert load.messages[0].code == "serving.limit"
    assert load.curve[0].mean_tpot_s < load.curve[-1].mean_tpot_s
    looser = hwsim.serve_llm(
        device, SMALL, bound_ttft_s=0.2, bound_tpot_s=0.004, input=257, output=31, requests=151, percentile=90
    )
    assert looser.rate_per_s is not None
    assert looser.rate_per_s >= load.rate_per_s


@pytest.mark.slow
def test_energy_is_power_over_time() -> None:
    load = hwsim.serve_llm(served().machine, SMALL, concurrency=13, input=257, output=31, requests=151)
    power = load.energy_per_token_pj * load.tokens_per_s / 1e12
    board = served().machine.spec.power  # type: ignore[attr-defined]
    assert float(board.idle) < power <= float(board.board)


@pytest.mark.slow
def test_the_command_writes_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "small.yaml"
    model.write_text(
        "kind: llm\nname: small\nsource: made\nlayers: 4\nhidden: 512\nheads: 8\nkv_heads: 2\nffn: 1024\nvocabulary: 1009\n"
    )
    files = {name: tmp_path / f"load.{name}" for name in ("json", "csv", "html", "timeline")}
    words = ["serve", "h100", model, "--rate", 40, "--in", 257, "--out", 31, "--queries", 127, "--library", "vllm"]
    code, out, err = call(capsys, *words, *(word for name, path in files.items() for word in (f"--{name}", path)))
    assert code == 0, err
    assert "40 requests/s" in out
    data = json.loads(files["json"].read_text())
    assert data["requests"] == 127
    assert sum(data["sequences"].values()) == pytest.approx(1)
    rows = files["csv"].read_text().splitlines()
    assert len(rows) == 128
    assert rows[0].split(",")[:3] == ["arrival_s", "input", "output"]
    assert files["html"].read_text().count("<svg") == 3
    events = json.loads(files["timeline"].read_text())["traceEvents"]
    slices = [event for event in events if event["ph"] == "X"]
    tokens = sum(e["args"]["steps"] * e["args"]["sequences"] + e["args"]["prompt tokens"] for e in slices)
    table = np.array([[int(cell) for cell in row.split(",")[1:3]] for row in rows[1:]])
    assert tokens == table.sum() - 127, "the last token of an answer is not computed on"
    assert call(capsys, *words, "--json", "-")[1] == call(capsys, *words, "--json", "-")[1]


def test_a_trace_has_its_own_lengths(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("arrival_s,in,out\n0,31,7\n0,127,1\n2.5,257,3\n")
    times, lengths = read_token_trace(path)
    assert times.tolist() == [0, 0, 5 * TICKS_PER_S // 2]
    assert lengths is not None
    assert lengths.inputs.tolist() == [31, 127, 257]
    assert lengths.outputs.tolist() == [7, 1, 3]
    load = hwsim.serve_llm(served().machine, SMALL, trace=path)
    assert load.table.output.tolist() == [7, 1, 3]
    assert load.log.tpot_s.size == 2
    assert isinstance(load.log, TokenLog)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "at least one arrival"),
        ("0\n2\n1\n", "in order"),
        ("0,31,0\n", "tokens from 1"),
        ("0,31,1.5\n", "tokens from 1"),
        ("0,31\n", "tokens in and out"),
        ("0,31,7\n1\n", "columns"),
        ("nan\n", "at least 0 s"),
        ("0,1e300,1\n", "tokens from 1"),
    ],
)
def test_a_bad_trace_is_refused(text: str, wrong: str, tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=wrong):
        hwsim.serve_llm(served().machine, SMALL, trace=path)


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (["--rate", "0"], "more than 0"),
        (["--rate", "nan"], "more than 0"),
        (["--rate", "3", "--concurrency", "3"], "one of"),
        ([], "give a rate"),
        (["--concurrency", "0"], "whole number"),
        (["--rate", "3", "--in", "0"], "input: must be"),
        (["--rate", "3", "--in", "1000000", "--out", "1000000"], "tokens of a sequence"),
        (["--rate", "3", "--spread", "1"], "less than 1"),
        (["--rate", "3", "--spread", "-0.1"], "at least 0"),
        (["--rate", "3", "--percentile", "101"], "at most 100"),
        (["--rate", "3", "--seed", "-1"], "seed"),
        (["--rate", "3", "--queries", "0"], "whole number"),
        (["--bound-ttft", "1 us"], "at least what one request takes"),
        (["--bound-tpot", "1 us"], "at least what one request takes"),
        (["--bound-ttft", "15"], "the unit is missing"),
        (["--rate", "3", "--streams", "2"], "--streams must be given with a network"),
        (["--rate", "3", "--scenario", "single", "--max-wait", "1 s"], "--scenario, --max-wait"),
        (["--rate", "3", "--tp", "3"], "must divide"),
    ],
)
def test_bad_options_are_refused(words: list[str], wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "serve", "h100", "llama3_8b", *words)
    assert code == 2
    assert not out
    assert wrong in err


def test_options_of_models_are_refused_for_networks(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "serve", "a100", "kws", "--rate", 3, "--in", 7, "--library", "vllm")
    assert code == 2
    assert "--in, --library must be given with a language model" in err


def test_several_numbers_of_clients_are_a_curve() -> None:
    load = hwsim.serve_llm("h100", "llama3_8b", concurrency=[7, 1], output=31, requests=67)
    assert [point.clients for point in load.curve] == [1, 7]
    assert load.concurrency == 7
    alone = hwsim.serve_llm("h100", "llama3_8b", concurrency=1, output=31, requests=67)
    assert alone.curve == ()
    assert load.curve[0].ttft_s == pytest.approx(alone.ttft_s)
    assert load.curve[0].rate_per_s < load.curve[1].rate_per_s
    with pytest.raises(InputError, match="concurrency"):
        hwsim.serve_llm("h100", "llama3_8b", concurrency=[0, 1])
    with pytest.raises(InputError, match="one to 100 numbers"):
        hwsim.serve_llm("h100", "llama3_8b", concurrency=[])
