"""Fused attention of GPU libraries: published times, laws over odd shapes, and the plan of a layer."""

import csv
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray

import hwsim
from hwsim.errors import InputError

DATA = Path(__file__).parent / "data" / "gpu" / "attention_a100_h100.csv"
LIBRARIES = ("tensorrt-llm", "vllm", "sglang")
MACHINES = ("a100", "h100", "h200", "l40s")
EACH = [(name, library) for name in MACHINES for library in LIBRARIES]
DIMS = [40, 64, 96, 128, 192, 256]


@cache
def gpu(name: str, library: str = "tensorrt") -> hwsim.Gpu:
    machine = hwsim.load_machine(name, set={"library": library})
    assert isinstance(machine, hwsim.Gpu)
    return machine


@cache
def published() -> dict[tuple[str, str, str], list[dict[str, str]]]:
    """Rows by machine, library and phase."""
    lines = DATA.read_text().splitlines()
    sets: dict[tuple[str, str, str], list[dict[str, str]]] = {}
    for row in csv.DictReader(line for line in lines if not line.startswith("#")):
        sets.setdefault((row["machine"], row["library"], row["phase"]), []).append(row)
    return sets


def errors(machine: hwsim.Gpu, rows: list[dict[str, str]]) -> NDArray[np.float64]:
    """Relative errors of the times of published rows."""
    sizes = ("batch", "queries", "context", "heads", "kv_heads", "dim")
    times = [
        machine.attention_times(
            *(int(row[key]) for key in sizes), row["dtype"], row["kv_dtype"], window=int(row["window"])
        ).item()
        for row in rows
    ]
    return np.array(times) * 1e6 / np.array([float(row["latency_us"]) for row in rows]) - 1


# Mean, median and largest error of 64 rows each, evenly spaced by their error among 800 with the worst: docs/gpu.md.
BOUNDS = {
    ("a100", "tensorrt-llm", "prefill"): (0.07, 0.05, 0.5),
    ("a100", "vllm", "prefill"): (0.09, 0.05, 0.65),
    ("a100", "sglang", "prefill"): (0.06, 0.04, 0.55),
    ("h100", "tensorrt-llm", "prefill"): (0.10, 0.08, 0.5),
    ("h100", "vllm", "prefill"): (0.11, 0.08, 0.6),
    ("h100", "sglang", "prefill"): (0.14, 0.09, 0.95),
    ("a100", "vllm", "decode"): (0.13, 0.07, 0.95),
    ("a100", "sglang", "decode"): (0.08, 0.05, 0.45),
    ("h100", "tensorrt-llm", "decode"): (0.14, 0.10, 0.75),
    ("h100", "vllm", "decode"): (0.13, 0.09, 0.9),
    ("h100", "sglang", "decode"): (0.12, 0.08, 1.35),
}


@pytest.mark.parametrize("key", BOUNDS)
def test_published_times(key: tuple[str, str, str]) -> None:
    rows = published()[key]
    error = np.abs(errors(gpu(*key[:2]), rows))
    mean, median, worst = BOUNDS[key]
    assert len(rows) >= 60
    assert error.mean() < mean
    assert np.median(error) < median
    assert error.max() < worst


def shape(draw: st.DrawFn) -> dict[str, int]:
    kv_heads = draw(st.sampled_from([1, 2, 3, 8]))
    return {
        "batch": draw(st.sampled_from([1, 2, 7, 31, 61])),
        "queries": draw(st.sampled_from([1, 2, 31, 127, 257])),
        "context": draw(st.sampled_from([257, 258, 1021, 4099, 40009])),
        "heads": kv_heads * draw(st.sampled_from([1, 3, 8, 64])),
        "kv_heads": kv_heads,
        "dim": draw(st.sampled_from(DIMS)),
        "window": draw(st.sampled_from([0, 0, 1, 31, 127, 1000])),
    }


shapes = st.composite(shape)()
FORMATS = st.sampled_from([("bf16", "bf16"), ("bf16", "fp8")])


def seconds(machine: hwsim.Gpu, x: dict[str, int], formats: tuple[str, str] = ("bf16", "bf16")) -> float:
    sizes = [x[key] for key in ("batch", "queries", "context", "heads", "kv_heads", "dim")]
    return machine.attention_times(*sizes, *formats, window=x["window"]).item()


@pytest.mark.parametrize(("name", "library"), EACH)
@given(x=shapes, formats=FORMATS)
@settings(max_examples=60, deadline=None)
def test_nothing_is_faster_than_the_data_sheet(
    name: str, library: str, x: dict[str, int], formats: tuple[str, str]
) -> None:
    machine = gpu(name, library)
    time = seconds(machine, x, formats)
    layer = hwsim.Attention(
        "a", **{key: value for key, value in x.items() if key != "batch"}, causal=True, input=formats[0],
        weight=formats[1], output="bf16",
    )  # fmt: skip
    spec = machine.spec
    peak = float(spec.sms * spec.sm.macs["bf16"]) * machine.timer.clock * 1e6
    assert time >= layer.macs * x["batch"] / peak
    cache = layer.span * x["kv_heads"] * 2 * x["dim"] * (2 if formats[1] == "bf16" else 1) * x["batch"]
    if cache > 2 * machine.timer.l2:
        assert time >= cache / (machine.timer.dram * 1e6)


@pytest.mark.parametrize(("name", "library"), EACH)
@given(x=shapes, formats=FORMATS, key=st.sampled_from(["batch", "context", "queries"]), data=st.data())
@settings(max_examples=120, deadline=None)
def test_more_of_a_size_takes_no_less(
    name: str, library: str, x: dict[str, int], formats: tuple[str, str], key: str, data: st.DataObject
) -> None:
    most = x["context"] if key == "queries" else 3 * x[key]
    more = x | {key: data.draw(st.integers(x[key], most))}
    assert seconds(gpu(name, library), more, formats) >= seconds(gpu(name, library), x, formats) * (1 - 1e-9)


@pytest.mark.parametrize(("name", "library"), EACH)
@given(x=shapes, formats=FORMATS)
@settings(max_examples=60, deadline=None)
def test_shared_heads_take_no_longer_and_more_of_them_no_less(
    name: str, library: str, x: dict[str, int], formats: tuple[str, str]
) -> None:
    machine, group = gpu(name, library), x["heads"] // x["kv_heads"]
    own = seconds(machine, x | {"kv_heads": x["heads"]}, formats)
    if library != "tensorrt-llm" or group <= 32:
        assert seconds(machine, x, formats) <= own * (1 + 1e-9)
    both = x | {"heads": 2 * x["heads"], "kv_heads": 2 * x["kv_heads"]}
    assert seconds(machine, both, formats) >= seconds(machine, x, formats) * (1 - 1e-9)


@pytest.mark.parametrize(("name", "library"), EACH)
@given(x=shapes, formats=FORMATS, times=st.integers(2, 5))
@settings(max_examples=60, deadline=None)
def test_more_heads_that_share_take_no_less(
    name: str, library: str, x: dict[str, int], formats: tuple[str, str], times: int
) -> None:
    """TensorRT-LLM has another decode kernel for two heads than for one, which takes less."""
    if library == "tensorrt-llm" and x["heads"] == x["kv_heads"]:
        x = x | {"heads": 3 * x["heads"]}
    machine, x = gpu(name, library), x | {"window": 0}
    more = x | {"heads": times * x["heads"]}
    assert seconds(machine, more, formats) >= seconds(machine, x, formats) * (1 - 1e-9)


@pytest.mark.parametrize(("name", "library"), EACH)
@given(x=shapes)
@settings(max_examples=40, deadline=None)
def test_a_window_takes_no_longer_than_none(name: str, library: str, x: dict[str, int]) -> None:
    machine = gpu(name, library)
    assert seconds(machine, x) <= seconds(machine, x | {"window": 0}) * (1 + 1e-9)


def attention(queries: int = 1, context: int = 2053, **changes: object) -> hwsim.Attention:
    sizes = {"heads": 32, "kv_heads": 8, "dim": 128, "causal": True, "weight": "bf16"} | changes
    return hwsim.Attention("attn", queries=queries, context=context, input="bf16", output="bf16", **sizes)


@pytest.mark.parametrize(("name", "library"), [*EACH, ("h100", "tensorrt")])
@pytest.mark.parametrize("queries", [1, 31, 2053])
@pytest.mark.parametrize("weight", ["bf16", "fp8"])
def test_a_layer_is_one_kernel_that_takes_the_same_time(name: str, library: str, queries: int, weight: str) -> None:
    machine, layer = gpu(name, library), attention(queries, weight=weight)
    report = hwsim.simulate(machine, hwsim.Workload("one", [layer], graph=False), batch=7)
    (row,) = report.rows
    seconds = machine.attention_times(7, queries, 2053, 32, 8, 128, "bf16", weight).item()
    assert row["latency_s"] == pytest.approx(seconds, rel=1e-4)
    plan = report.results[0].plan
    assert plan.counts["mac", "", "bf16"] == plan.macs == layer.macs * 7
    assert plan.counts.get(("mac", "masked", "bf16"), 0) > 0
    assert sum(n for (part, _, _), n in plan.counts.items() if part == "dram") == plan.dram_bytes
    assert plan.dram_bytes <= machine.timer.dram * 1e6 * row["latency_s"]
    assert row["bound"] in {"launch", "tensor", "exponential", "L2", "dram", "cta overhead", "wave tail"}


def test_a_step_of_64_sequences_counts_what_it_reads() -> None:
    """64 x 4096 positions of 8 heads of a key and a value of 128: 1 GiB, by hand; 4 heads of queries read it once."""
    plan = gpu("h100", "vllm").plan(attention(context=4096), 64)
    cache = 64 * 4096 * 8 * 2 * 128 * 2
    query = 64 * 32 * 2 * 128 * 2
    assert plan.counts["l2", "weight", "read"] == cache
    assert plan.dram_bytes == pytest.approx(cache + query, rel=1e-3)
    assert plan.counts["instruction", "", "MUFU.EX2"] == 64 * 8 * 4096 * 8 // 32
    half = gpu("h100", "vllm").plan(attention(context=4096, weight="fp8"), 64)
    assert half.counts["l2", "weight", "read"] == cache // 2


def test_masked_halves_of_the_tiles_on_the_diagonal_are_executed() -> None:
    """FlashAttention 2: 8 tiles of 128 rows go through 2, 4, ... 16 blocks of 64 positions."""
    plan = gpu("a100", "vllm").plan(attention(1024, 1024))
    executed = 32 * 128 * 64 * sum(range(2, 17, 2)) * 2 * 128
    assert plan.counts["mac", "", "bf16"] + plan.counts["mac", "masked", "bf16"] == executed


def test_what_has_no_fused_kernel_runs_as_products() -> None:
    for machine, layer in (
        (hwsim.load_machine("v100"), attention(31)),
        (hwsim.load_machine("a100", set={"library": "cudnn-7"}), attention(31)),
        (gpu("h100"), attention(31, weight="int8")),
        (gpu("h100"), attention(31, context=40, start=30)),
    ):
        network = hwsim.Workload("one", [layer], graph=False)
        try:
            report = hwsim.simulate(machine, network)
        except InputError as error:
            assert "kernels" in str(error)
            continue
        assert [row["layer"] for row in report.rows] == ["attn.scores", "attn.softmax", "attn.context"]
        assert report.messages[0].code == "workload.composed"


def test_streams_share_the_gpu() -> None:
    one, four = gpu("h100"), hwsim.load_machine("h100", set={"streams": 4})
    network = hwsim.Workload("one", [attention()], graph=False)
    alone, shared = (hwsim.simulate(machine, network).summary for machine in (one, four))
    assert alone.latency_s <= shared.latency_s <= 4 * alone.latency_s
    assert shared.interval_s <= alone.latency_s


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kv_heads": 3}, r"kv_heads must divide heads, 32, not 3"),
        ({"context": 0}, r"context must be whole numbers of 1 to"),
        ({"batch": 1.5}, r"batch must be whole numbers of 1 to .*, not 1.5"),
        ({"queries": 4096}, r"context must be at least queries, 4096, where causal, not 2048"),
        ({"dtype": "bf61"}, r"dtype must be a number format, not 'bf61'; nearest: 'bf16'|dtype must be .*bf16"),
        ({"kv_dtype": "int8"}, r"attention kernels for bf16 queries with int8 keys and values under .*: it has bf16 with"),
        ({"causal": False, "window": 7}, r"window must be 0 where causal is not true, not 7"),
        ({"batch": 2**30, "queries": 2048}, r"at most 2\^58 MACs"),
    ],
)  # fmt: skip
def test_bad_sizes_are_told(changes: dict[str, object], message: str) -> None:
    sizes = {"batch": 3, "queries": 1, "context": 2048, "heads": 32, "kv_heads": 8, "dim": 128} | changes
    with pytest.raises(InputError, match=message):
        gpu("h100").attention_times(**sizes)


def test_who_has_kernels_is_told() -> None:
    assert gpu("h100", "vllm-fp8").attention_times(3, 1, 257, 8, 1, 64) == gpu("h100", "vllm").attention_times(
        3, 1, 257, 8, 1, 64
    )
    with pytest.raises(InputError, match=r"under cudnn-7: it has none; name another library, as with --set library=sg"):
        gpu("a100", "cudnn-7").attention_times(3, 1, 257, 8, 1, 64)
    with pytest.raises(InputError, match=r"v100 must have attention kernels .* under tensorrt: it has none$"):
        gpu("v100").attention_times(3, 1, 257, 8, 1, 64)


def test_a_hundred_thousand_shapes() -> None:
    rng = np.random.default_rng(7)
    heads = 2 ** rng.integers(0, 4, 100_000)
    context = rng.integers(1, 131072, 100_000)
    queries = np.where(rng.random(100_000) < 0.5, 1, np.minimum(context, rng.integers(1, 8192, 100_000)))
    batch = rng.integers(1, 64, 100_000)
    times = gpu("h100").attention_times(batch, queries, context, heads * rng.integers(1, 9, 100_000), heads, 128)
    assert times.shape == (100_000,)
    assert np.isfinite(times).all()
    assert times.min() > 5e-6
