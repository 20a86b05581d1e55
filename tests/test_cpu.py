"""Processors: ports and tiles worked by hand, measured operators and published throughputs, laws, and bad files."""

import contextlib
import math
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from tables import DATA

import hwsim
from hwsim.errors import InputError
from hwsim.machines import Cpu, machine_folder, machine_names
from hwsim.machines.cpu import core_names, load_core
from hwsim.machines.cpu.library import TileSpec
from hwsim.machines.cpu.tiles import Ports, blocks, step, walk
from hwsim.machines.cpu.work import live_taps, work_of
from hwsim.report.published import measurements_of
from hwsim.validation.nests import validate_layers
from hwsim.validation.predictions import comparisons

CPUS = [name for name in machine_names() if hwsim.load_machine(name).spec.kind == "cpu"]
PUBLISHED = [
    name
    for name in CPUS
    if (measurements := measurements_of(name, machine_folder())) is not None
    and measurements.source.startswith("OpenVINO 2024.3")
]
ZEN5 = DATA / "zen5_onnxruntime.csv"


def one(machine: Cpu, layer: hwsim.Layer, batch: int = 1) -> hwsim.Report:
    return hwsim.simulate(machine, hwsim.Workload("one", [layer]), batch=batch)


RATES = (  # MACs a cycle of one core: uops.info, Agner Fog, Intel's manuals
    ("skylake-client", "maddubs", 32), ("skylake-client", "fma", 16), ("skylake-sp", "maddubs", Fraction(128, 3)),
    ("skylake-sp", "fma", 32), ("cascade-lake", "vnni", 128), ("cascade-lake-1fma", "vnni", 64),
    ("cascade-lake-1fma", "fma", 16), ("tiger-lake", "vnni", 64), ("ice-lake-sp", "vnni", 128),
    ("sapphire-rapids", "amx_int8", 1024), ("sapphire-rapids", "amx_bf16", 512), ("golden-cove", "vnni", 64),
    ("gracemont", "vnni", 32), ("gracemont", "fma", 8), ("tremont", "maddubs", 8), ("zen4", "vnni", 64),
    ("zen4", "fma", 16), ("zen5", "vnni", 128), ("zen5", "fma", 32),
)  # fmt: skip


@pytest.mark.parametrize(("core", "sequence", "macs"), RATES)
def test_rates_follow_from_the_ports(core: str, sequence: str, macs: Fraction) -> None:
    """Of three instructions on two ports of Skylake-SP, each set of 64 MACs takes 1.5 cycles; and so on."""
    assert load_core(core).rate(sequence) == macs


def test_the_fastest_sequence_is_taken_unless_the_file_says_otherwise() -> None:
    assert hwsim.load_machine("xeon_8480").core_model("int8").sequence == "amx_int8"
    assert hwsim.load_machine("xeon_8480", set={"instructions.int8": "vnni"}).core_model("int8").rate == 128


VNNI = Ports(cycles=0.5, latency=4, vector_bytes=64, lanes=16, depth=4)


@pytest.mark.parametrize(
    ("rows", "vectors", "bandwidth", "cycles", "bound"),
    [
        (6, 3, 32, 9, "compute"),  # 18 vpdpbusd on two ports
        (6, 1, 32, 4, "latency"),  # 3 cycles of ports, but each sum comes back after 4
        (1, 3, 32, 6, "l2"),  # 192 bytes of weights at 32 a cycle
        (6, 3, 16, 12, "l2"),
    ],
)
def test_steps_of_a_tile_by_hand(rows: int, vectors: int, bandwidth: float, cycles: float, bound: str) -> None:
    assert step(rows, vectors, VNNI, bandwidth) == (cycles, bound)


def test_a_walk_by_hand() -> None:
    """14 x 64 x 512 in tiles of 6 rows by 48 columns and K slices of 256, on near weights.

    Blocks of 6, 6 and 2 rows; tiles of 3 and 1 vectors; two slices of 64 steps: 2 (9 + 4) + (6 + 4) cycles each.
    """
    tile = TileSpec(rows=[6], vectors=3, columns=384, depth=256)
    found = walk(14, 64, 512, tile, VNNI, 32, far=False)
    assert sum(found.cycles.values()) == 128 * (2 * (9 + 4) + (6 + 4))
    assert found.cycles["compute"] == 128 * 2 * 9
    assert (found.stored, found.added) == (14 * 4, 14 * 4)
    pulled = walk(14, 64, 512, tile, VNNI, 32, far=True)
    assert sum(steps * size for steps, _, size in pulled.far) == 64 * 512
    assert sum(pulled.cycles.values()) + sum(n * near for n, near, _ in pulled.far) == sum(found.cycles.values())


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_a_step_that_is_not_full_takes_as_long_as_a_full_one(depth: int) -> None:
    ports = replace(VNNI, depth=depth)
    tile = TileSpec(rows=[6], vectors=3, columns=384, depth=256)
    cycles = [sum(walk(6, 48, k, tile, ports, 32, far=False).cycles.values()) for k in range(1, 14)]
    assert cycles == [9 * -(-k // depth) for k in range(1, 14)]


@given(rows=st.integers(1, 500), menu=st.sampled_from([[6], [12, 6], [8, 4, 1]]))
def test_blocks_are_all_rows(rows: int, menu: list[int]) -> None:
    assert sum(size * count for size, count in blocks(rows, menu)) == rows


@given(
    size=st.integers(1, 20), window=st.integers(1, 5), stride=st.integers(1, 3), pad=st.integers(0, 3),
    dilation=st.integers(1, 2),
)  # fmt: skip
def test_live_taps_are_those_that_read_a_value(size: int, window: int, stride: int, pad: int, dilation: int) -> None:
    out = (size + 2 * pad - (window - 1) * dilation - 1) // stride + 1
    positions = [o * stride - pad + tap * dilation for o in range(out) for tap in range(window)]
    assert live_taps(size, window, stride, pad, max(out, 0), dilation) == sum(0 <= p < size for p in positions)


def test_padding_is_skipped_where_the_library_does() -> None:
    """ResNet-50: 3.948 of 4.089 G MACs read a value."""
    network = hwsim.load_workload("resnet50_v1_5")
    live = sum(work.live for layer in network if (work := work_of(layer, 1)) is not None)
    assert (network.macs, live) == (4_089_184_256, 3_948_251_904)
    summary = hwsim.simulate(hwsim.load_machine("xeon_8280"), network).summary
    assert (summary.macs, summary.macs_executed) == (network.macs, live)


@pytest.mark.parametrize("name", ["bert_base", "bert_large"])
def test_bert_has_the_macs_of_its_formula(name: str) -> None:
    """A layer has 4 s d^2 + 2 s^2 d + 2 s d ff."""
    s, d, layers = {"bert_base": (128, 768, 12), "bert_large": (384, 1024, 24)}[name]
    span = 2 * s * d if name == "bert_large" else 0
    assert hwsim.load_workload(name).macs == layers * (4 * s * d * d + 2 * s * s * d + 8 * s * d * d) + span


def operator(row: object) -> hwsim.Layer:
    """A row of the table as a layer."""
    if row.op == "gemm":
        return hwsim.Gemm("g", m=int(row.M), n=int(row.N), k=int(row.K))
    names = {
        "c": "C",
        "h": "H",
        "w": "W",
        "k": "Kout",
        "r": "R",
        "s": "S",
        "stride": "stride",
        "pad": "pad",
        "groups": "groups",
    }
    return hwsim.Conv2d("c", **{key: int(getattr(row, column)) for key, column in names.items()})


def group(row: object) -> str:
    if row.op == "gemm":
        return "gemm"
    if row.groups > 1:
        return "depthwise"
    return "stem" if row.C == 3 else "conv"


@pytest.mark.parametrize("precision", ["int8", "fp32"])
@pytest.mark.parametrize("threads", [1, 2])
def test_operators_of_onnxruntime_on_zen5(precision: str, threads: int) -> None:
    """Mean error: products 4 %, dense and pointwise convolutions 6 %, depthwise ones 7 %, 3-channel ones 12 %."""
    table = pd.read_csv(ZEN5, comment="#")
    table = table[(table.dtype == precision) & (table.threads == threads) & ((threads == 1) | table.clean)]
    machine = hwsim.load_machine("epyc_zen5", set={"threads": threads, "precision": precision})
    errors: dict[str, list[float]] = {}
    for row in table.itertuples():
        predicted = one(machine, operator(row)).summary.latency_s * 1e6
        errors.setdefault(group(row), []).append(predicted / row.min_us - 1)
    limits = {"gemm": 0.04, "conv": 0.06, "depthwise": 0.07, "stem": 0.12}
    for name, found in errors.items():
        assert np.mean(np.abs(found)) <= limits[name], name


@pytest.mark.slow
def test_published_throughputs_and_latencies() -> None:
    """OpenVINO: 12 % in the mean; int8 over fp32 within 10 % for each class of CPU; CPUs in the right order."""
    rows = [
        (
            name,
            row.column,
            row.workload.partition(",")[0],
            "int8" if "int8" in row.workload else "fp32",
            row.predicted,
            row.published,
        )
        for name in PUBLISHED
        if name != "atom_x6425e"
        for row in comparisons(name)[name]
    ]
    table = pd.DataFrame(rows, columns=["cpu", "column", "network", "precision", "predicted", "published"])
    for column, size in (("inferences_per_s", 96), ("latency_s", 47)):
        same = table[table.column == column]
        assert len(same) == size
        assert np.mean(np.abs(same.predicted / same.published - 1)) <= 0.12
    table = table[table.column == "inferences_per_s"]
    for _, same in table.groupby(["network", "precision"]):
        assert same.predicted.rank().corr(same.published.rank()) >= 0.97  # Spearman
    wide = table.pivot_table(index=["cpu", "network"], columns="precision", values=["predicted", "published"])
    gain = pd.DataFrame({k: wide[k]["int8"] / wide[k]["fp32"] for k in ("predicted", "published")}).reset_index()
    gain["kind"] = [
        hwsim.load_machine(cpu).core_model("int8").sequence + str(load_core(hwsim.load_machine(cpu).spec.core).lanes)
        for cpu in gain.cpu
    ]
    for kind, same in gain.groupby("kind"):
        assert same.predicted.mean() == pytest.approx(same.published.mean(), rel=0.10), kind


@pytest.mark.slow
@pytest.mark.parametrize("name", CPUS)
@pytest.mark.parametrize("change", ["l1.load", "l2.bandwidth", "l3.core", "dram.bandwidth"])
def test_more_bandwidth_is_never_slower(name: str, change: str) -> None:
    memory, key = change.split(".")
    rate = getattr(hwsim.load_machine(name).spec.memories[memory], key)
    more = f"{float(2 * rate.amount):g} B/{rate.per}"
    layers = [
        hwsim.Gemm("g", m=7, n=500, k=900),
        hwsim.Conv2d("c", c=64, h=28, w=28, k=96, r=3, pad=1),
        hwsim.Conv2d("d", c=96, h=28, w=28, k=96, r=3, pad=1, groups=96),
        hwsim.Elementwise("e", shape=(64, 56, 56)),
    ]
    network = hwsim.Workload("w", layers, graph=False)
    for streams in (1, "all"):
        base = hwsim.simulate(hwsim.load_machine(name, set={"streams": streams}), network)
        wide = hwsim.simulate(hwsim.load_machine(name, set={"streams": streams, f"memories.{change}": more}), network)
        assert wide.summary.latency_s <= base.summary.latency_s


@given(m=st.integers(1, 80), n=st.integers(1, 300), k=st.integers(1, 600), precision=st.sampled_from(["int8", "fp32"]))
@settings(max_examples=25, deadline=None)
def test_more_work_is_never_faster(m: int, n: int, k: int, precision: str) -> None:
    machine = hwsim.load_machine("epyc_zen5", set={"threads": 1, "precision": precision})

    def cycles(m: int, n: int, k: int) -> int:
        return one(machine, hwsim.Gemm("g", m=m, n=n, k=k)).summary.cycles

    base = cycles(m, n, k)
    assert base <= cycles(m, n, 2 * k)
    assert base <= cycles(m, 2 * n, k)
    assert base <= cycles(2 * m, n, k)


def seconds(machine: Cpu, layer: hwsim.Layer, batch: int = 1) -> float:
    return machine.estimate(hwsim.Workload("one", [layer], graph=False), batch)[0]


SIZES = [1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 96, 97, 127, 128, 129, 191, 193, 255, 256, 257]
FAMILIES = {
    "batch": lambda size: (hwsim.Gemm("g", m=127, n=255, k=511), size),
    "m": lambda size: (hwsim.Gemm("g", m=size, n=127, k=257), 1),
    "n": lambda size: (hwsim.Gemm("g", m=127, n=size, k=257), 1),
    "k": lambda size: (hwsim.Gemm("g", m=127, n=129, k=size), 1),
    "conv batch": lambda size: (hwsim.Conv2d("c", c=31, h=13, w=13, k=31, r=3, pad=1), size),
    "conv channels": lambda size: (hwsim.Conv2d("c", c=size, h=31, w=31, k=64, r=3, pad=1), 1),
    "conv filters": lambda size: (hwsim.Conv2d("c", c=64, h=31, w=31, k=size, r=3, pad=1), 1),
    "pointwise channels": lambda size: (hwsim.Conv2d("c", c=size, h=14, w=14, k=96, r=1), 1),
    "pointwise filters": lambda size: (hwsim.Conv2d("c", c=96, h=14, w=14, k=size, r=1), 1),
    "depthwise channels": lambda size: (hwsim.Conv2d("c", c=size, h=28, w=28, k=size, r=3, pad=1, groups=size), 1),
    "depthwise batch": lambda size: (hwsim.Conv2d("c", c=31, h=14, w=14, k=31, r=3, pad=1, groups=31), size),
}


def worst_fall(machine: Cpu, family: str) -> float:
    """How much longer a size takes than a larger one, at most."""
    times = [seconds(machine, *FAMILIES[family](size)) for size in SIZES]
    return max(time / min(times[i:]) for i, time in enumerate(times))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["xeon_8280", "core_i9_13900k"])
def test_generated_kernels_never_take_less_for_more_work(name: str, family: str) -> None:
    cores = hwsim.load_machine(name).spec.cores
    for precision in ("fp32", "int8"):
        for threads in {1, 2, 7, min(16, cores), cores}:
            machine = hwsim.load_machine(name, set={"precision": precision, "threads": threads})
            assert worst_fall(machine, family) <= 1 + 1e-9, (precision, threads)


@pytest.mark.parametrize(
    ("family", "precision", "threads", "fall"),
    [
        # A thread for each 65,536 MACs, and rows cut only where they are as many as the columns.
        *[("m", "fp32", threads, fall) for threads, fall in ((1, 1), (2, 1), (7, 1.17), (16, 1.3), (96, 2.1))],
        *[("n", "fp32", threads, fall) for threads, fall in ((1, 1), (2, 1.47), (7, 2.25), (16, 2.4), (96, 2.4))],
        *[("batch", "fp32", threads, fall) for threads, fall in ((1, 1), (2, 1), (7, 1), (16, 1), (96, 3.1))],
        *[("batch", "int8", threads, fall) for threads, fall in ((1, 1), (2, 1), (7, 1), (16, 1), (96, 1.9))],
        # Rows of outputs of a block of filters are whole.
        *[("conv filters", "fp32", threads, fall) for threads, fall in ((1, 1), (2, 1), (7, 1), (16, 1), (96, 1.06))],
        *[("pointwise filters", "fp32", threads, fall) for threads, fall in ((2, 1), (7, 1), (16, 1), (96, 1.03))],
        *[("conv channels", "fp32", threads, 1) for threads in (1, 2, 7, 16, 96)],
        *[("depthwise channels", "fp32", threads, 1.02) for threads in (1, 2, 7, 16, 96)],
        *[("conv batch", "fp32", threads, 1.02) for threads in (1, 2, 7, 16, 96)],
        *[("depthwise batch", "fp32", threads, 1.02) for threads in (1, 2, 7, 16, 96)],
        # Kernels of 8 bits take whole groups of four channels and vectors of 16: measured on this core on one thread.
        *[("conv channels", "int8", threads, 1.5) for threads in (1, 2, 7, 16, 96)],
        *[
            ("conv filters", "int8", threads, fall)
            for threads, fall in ((1, 1.9), (2, 1.7), (7, 1.5), (16, 1.6), (96, 2.1))
        ],
        *[("depthwise channels", "int8", threads, 4.1) for threads in (1, 2, 7, 16, 96)],
        *[("conv batch", "int8", threads, 1.02) for threads in (1, 2, 7, 16, 96)],
    ],
)
def test_less_work_takes_longer_only_where_onnxruntime_makes_it(
    family: str, precision: str, threads: int, fall: float
) -> None:
    """MLAS deals out work by its shape: docs/cpu.md has these bounds."""
    machine = hwsim.load_machine("epyc_zen4", set={"precision": precision, "threads": threads})
    assert worst_fall(machine, family) <= fall + 1e-9


@st.composite
def drawn(draw: st.DrawFn) -> hwsim.Layer:
    kind, size = draw(st.sampled_from(["gemm", "conv", "depthwise", "pool"])), st.integers(1, 300)
    if kind == "gemm":
        return hwsim.Gemm("g", m=draw(size), n=draw(st.integers(1, 3000)), k=draw(st.integers(1, 3000)))
    c, h, w = draw(size), draw(st.integers(5, 113)), draw(st.integers(5, 113))
    if kind == "pool":
        return hwsim.Pool2d("p", c=c, h=h, w=w, r=2, stride=2)
    if kind == "depthwise":
        return hwsim.Conv2d("c", c=c, h=h, w=w, k=c, r=3, pad=1, groups=c)
    return hwsim.Conv2d("c", c=c, h=h, w=w, k=draw(size), r=draw(st.sampled_from([1, 3])))


@given(layer=drawn(), precision=st.sampled_from(["int8", "fp32"]), batch=st.sampled_from([1, 3]))
@settings(max_examples=25, deadline=None)
@pytest.mark.parametrize(("name", "clock"), [("xeon_8280", "2.4 GHz"), ("core_i9_13900k", "5 GHz")])
def test_n_threads_are_at_most_n_times_as_fast_and_never_slower_but_for_their_start(
    name: str, clock: str, layer: hwsim.Layer, precision: str, batch: int
) -> None:
    """At one clock, which fewer busy cores raise. What one thread writes, another reads from L3."""
    change = {"precision": precision, "clocks.core": clock}
    times = {n: seconds(hwsim.load_machine(name, set=change | {"threads": n}), layer, batch) for n in (1, 2, 3, 7, 8)}
    start = 69_100 / 2.4e9
    assert times[1] > 0
    for few, many in ((1, 2), (1, 3), (1, 7), (2, 3), (2, 8), (3, 7), (7, 8)):
        assert many * times[many] >= few * times[few] * (1 - 1e-9)
        assert times[many] <= times[few] * (1 + 1e-9) + (start if few == 1 else 0)


@given(layer=drawn(), precision=st.sampled_from(["int8", "fp32"]))
@settings(max_examples=25, deadline=None)
@pytest.mark.parametrize("name", ["epyc_zen4", "cortex_a72"])
def test_threads_of_onnxruntime_gain_no_more_than_private_caches_add(
    name: str, layer: hwsim.Layer, precision: str
) -> None:
    """Values or weights may come from the L2 of each of two cores where they come from L3 on one."""
    machines = [hwsim.load_machine(name, set={"precision": precision, "threads": n}) for n in (1, 2, 3, 4)]
    model = machines[0].core_model(precision)
    spills = isinstance(layer, hwsim.Pool2d) or layer.weights * model.word > model.library.resident * model.l2_size
    most = max(1.02, model.l2 / model.dram) if spills else 1.02
    times = [seconds(machine, layer) for machine in machines]
    for n, time in enumerate(times, 1):
        assert n * most * time >= times[0]
    assert times[3] <= times[1] * (1 + 1e-9) + 1e-6


def test_products_side_by_side_use_all_threads() -> None:
    """MLAS cuts two products for 16 threads in eight pieces each: about as long as one product of as many rows."""
    machine = hwsim.load_machine("epyc_zen4", set={"precision": "fp32", "threads": 16})
    two = seconds(machine, hwsim.BatchedMatmul("b", b=2, m=512, n=256, k=257))
    assert two == pytest.approx(seconds(machine, hwsim.Gemm("g", m=1024, n=256, k=257)), rel=0.35)
    assert two < 0.3 * seconds(
        hwsim.load_machine("epyc_zen4", set={"precision": "fp32", "threads": 2}),
        hwsim.BatchedMatmul("b", b=2, m=512, n=256, k=257),
    )


def test_every_operator_that_is_not_fused_has_a_call() -> None:
    """Of the keyword-spotting network, fully connected layers of a few hundred MACs too."""
    report = hwsim.simulate(hwsim.load_machine("xeon_8280", set={"threads": 1}), hwsim.load_workload("kws"))
    for result in report.results:
        if result.plan.bounds[""] == "fused" and not result.plan.macs:
            continue
        assert result.latency_s >= 900 / 5e9, result.name


def test_streams_share_memory_and_idle_power() -> None:
    """More streams finish more a second, each later; together at most as much more as there are cores."""
    network = hwsim.load_workload("resnet50_v1_5")
    found = [
        hwsim.simulate(hwsim.load_machine("xeon_8280", set={"streams": n, "threads": 1}), network).summary
        for n in (1, 8, 56)
    ]
    assert [round(s.streams) for s in found] == [1, 8, 56]
    latencies = [s.latency_s for s in found]
    assert latencies == sorted(latencies)
    rates = [s.inferences_per_s for s in found]
    assert rates == sorted(rates)
    assert rates[2] <= 56 * rates[0]
    for s in found:
        assert s.inferences_per_s == pytest.approx(s.streams / s.latency_s)
        assert s.power_w <= 2 * 205 * 1.1


def test_threads_of_streams_are_all_cores_over_the_streams() -> None:
    """Two sockets of 40 cores: 40 streams have two cores each, as with `threads=2`; an odd core stays idle."""

    def spec(**change: object) -> object:
        return hwsim.load_machine("xeon_8380", set=change).spec

    threads = {n: spec(streams=n).threads_of_stream for n in (1, 2, 3, 7, 40, 41, 79, 80)}
    assert threads == {1: 40, 2: 40, 3: 26, 7: 11, 40: 2, 41: 1, 79: 1, 80: 1}
    assert spec(streams=40).hz == spec(streams=40, threads=2).hz == spec(streams=80).hz
    network = hwsim.load_workload("resnet50_v1_5")
    rates = [
        hwsim.simulate(hwsim.load_machine("xeon_8380", set=change), network).summary.inferences_per_s
        for change in ({"streams": 40}, {"streams": 40, "threads": 2}, {"streams": 80})
    ]
    assert rates[0] == rates[1] < rates[2]


def test_peak_and_idle_power_are_those_of_the_cores_used() -> None:
    """One thread of 128: its core alone has a peak and idles, at 1/128 of 0.3 TDP (390 W)."""
    product = hwsim.Gemm("g", m=960, n=1024, k=1024)
    one_thread = one(hwsim.load_machine("epyc_zen5", set={"threads": 1}), product)
    assert one_thread.results[0].utilization > 0.8
    assert one_thread.results[0].static_w == pytest.approx(hwsim.load_machine("epyc_zen5").spec.tdp * 0.3 / 128)
    words = "are those of 1 of 128 cores"
    assert any(words in str(note) for note in one_thread.notes)
    every = one(hwsim.load_machine("epyc_zen5"), product)
    assert every.results[0].static_w == pytest.approx(128 * one_thread.results[0].static_w)
    assert not any("are those of" in str(note) for note in every.notes)


def test_smaller_cores_count_by_what_they_do() -> None:
    report = hwsim.simulate(
        hwsim.load_machine("core_i9_13900k", set={"streams": "all", "precision": "int8"}),
        hwsim.load_workload("resnet50_v1_5"),
    )
    assert 8 < report.summary.streams < 24


def test_threads_wait_for_each_other_and_for_dram() -> None:
    """128 threads and a memory that serves 11 of them at full speed: the others wait, which the timeline shows."""
    machine = hwsim.load_machine("epyc_zen5", set={"precision": "fp32"})
    result = one(machine, hwsim.Gemm("g", m=8, n=32768, k=16384)).results[0]
    assert result.bound == "dram"
    assert any(totals.blocked for totals in result.timeline.stages.values())
    ragged = one(hwsim.load_machine("epyc_zen5", set={"threads": 2}), hwsim.Gemm("g", m=101, n=64, k=4096)).results[0]
    spans = [span for name, span in ragged.timeline.pipelines.items() if name.startswith("thread")]
    assert len(spans) == 2
    assert spans[0].end > spans[1].end


@pytest.mark.parametrize("name", ["epyc_zen5", "xeon_8280", "core_i3_8100"])
def test_counts_are_those_of_the_executed_nest(name: str) -> None:
    network = hwsim.Workload(
        "w",
        [
            hwsim.Gemm("g", m=13, n=70, k=300),
            hwsim.BatchedMatmul("b", b=3, m=9, n=20, k=16),
            hwsim.Conv2d("c", c=12, h=9, w=9, k=20, r=3, pad=1),
            hwsim.Conv2d("s", c=3, h=12, w=12, k=20, r=3, stride=2, pad=1),
            hwsim.Conv2d("d", c=20, h=9, w=9, k=20, r=3, pad=1, groups=20),
            hwsim.Conv2d("q", c=16, h=8, w=8, k=32, r=3, groups=4),
        ],
        graph=False,
    )
    checks = list(validate_layers(hwsim.load_machine(name, set={"threads": 2}).plan(network)))
    assert [check.difference for check in checks] == [None] * len(network)
    assert all(check.priced == check.own > 0 for check in checks)


def test_explain_says_why_depthwise_gains_nothing(capsys, monkeypatch) -> None:
    from hwsim import cli

    words = ["explain", "epyc_zen5", "mobilenet_v2_1.0_224", "b3_dw", "--set", "precision=int8", "--set", "threads=1"]
    monkeypatch.setattr(sys, "argv", ["hwsim", *words])
    with contextlib.suppress(SystemExit):
        cli.main()
    out = " ".join(capsys.readouterr().out.split())
    assert "bound by load ports" in out
    assert "int8" in out.partition("time in each number format, without waiting for DRAM: ")[2]
    assert "fp32" in out.partition("time in each number format, without waiting for DRAM: ")[2]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"instructions.int8": "vnni"}, r"vpdpbusd, which must run on a port of the core \(p05, p5\)"),
        ({"instructions.int8": "vnny"}, "no instruction sequence is called 'vnny'; nearest: 'vnni'"),
        ({"instructions.int8": "fma"}, "must be a sequence for int8, fma is for fp32"),
        ({"core": "skylake-cp"}, "no core is called 'skylake-cp'; nearest: 'skylake-sp'"),
        ({"library": "openvino"}, "no inference library is called 'openvino'; nearest: 'openvino-2024.3'"),
        ({"costs.cal": 3}, "costs names 'cal', which is no cost; nearest: 'call'"),
        ({"streams": 1000}, "streams must be at most the 56 cores, not 1000"),
        ({"threads": 57}, "threads must be at most the 56 cores, not 57"),
        ({"memories.l4.size": "1 MiB"}, "memories"),
        ({"memories": {}}, r"memories\.l3\.size must be given"),
        ({"core": {"like": "zen4", "vector": "3 B"}}, "vector must be whole 32-bit lanes"),
        ({"core": {"like": "zen4", "ports": 3}}, "must be a mapping of keys to values, not 3"),
        ({"efficient": {"core": "gracemond", "cores": 4}}, "no core is called 'gracemond'; nearest: 'gracemont'"),
        ({"cores": 10**9}, "cores: must be less than or equal to 4096"),
        ({"clocks": {"q": "1 GHz"}}, "clock names 'core', which is not defined"),
        ({"sustained_clock.turbo": "1 GHz"}, "turbo must be at least base"),
    ],
)
def test_bad_files(changes: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        hwsim.load_machine("xeon_8180", set=changes)


def test_a_format_that_the_core_cannot_run_is_told() -> None:
    machine = hwsim.load_machine("xeon_8280", set={"precision": "bf16"})
    with pytest.raises(InputError, match="precision: must be a number format that the core has instructions for"):
        one(machine, hwsim.Gemm("g", m=1, n=4, k=4))


def test_a_core_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "kind: cpu\nname: mine\nsource: test\nclocks: {core: 3 GHz}\n"
        "core: {like: zen4, cycles: {vpdpbusd: 1}}\ncores: 4\nlibrary: onnxruntime-1.31\n"
        "rates: {fp32: 15.5}\ncosts: {call: 9000}\n"
        "memories: {l3: {size: 16 MiB}, dram: {bandwidth: 40 GB/s}}\n"
    )
    machine = hwsim.load_machine(path)
    assert machine.core_model("int8").rate == 128
    assert machine.core_model("fp32").rate == 15.5
    assert machine.core_model("int8").cost("call") == 9000
    assert math.isnan(one(machine, hwsim.Gemm("g", m=1, n=4, k=4)).summary.energy_pj)


def test_every_core_loads_and_has_both_formats() -> None:
    for name in core_names():
        core = load_core(name)
        assert {"int8", "fp32"} <= {dtype for dtype in ("int8", "fp32") if core.best(dtype)}


@pytest.mark.parametrize("change", [{}, {"precision": "fp32"}, {"streams": "all"}, {"threads": 1, "precision": "fp32"}])
@pytest.mark.parametrize("name", ["epyc_zen5", "xeon_8280", "core_i3_8100"])
def test_a_layer_is_bound_by_what_its_busiest_thread_spends_most_on(name: str, change: dict[str, object]) -> None:
    """However many threads wait side by side; but all of them may wait for a memory, of which each takes little."""
    report = hwsim.simulate(hwsim.load_machine(name, set=change), hwsim.load_workload("resnet50_v1_5"))
    for row, result in zip(report.rows, report.results, strict=True):
        waits = any(totals.blocked for totals in result.timeline.stages.values())
        if row["latency_s"] and row["bound"] not in ("l3", "dram") and not waits:
            cycles = {key.removesuffix("_cycles"): row[key] for key in row if key.endswith("_cycles")}
            most = max(cycles, key=lambda word: cycles[word])
            same = {"requantize": "outputs"}
            assert same.get(row["bound"], row["bound"].replace(" ", "_")) == same.get(most, most), row["layer"]


def test_a_fully_connected_layer_waits_for_its_weights() -> None:
    """8 MB of fp32 weights, of 102 MB that an L3 of 6 MiB does not keep: nearly all come over 38.4 GB/s."""
    report = hwsim.simulate(
        hwsim.load_machine("core_i3_8100", set={"precision": "fp32"}), hwsim.load_workload("resnet50_v1_5")
    )
    row = next(row for row in report.rows if row["layer"] == "fc")
    assert row["bound"] == "dram"
    assert row["latency_s"] == pytest.approx(0.97 * 2048 * 1000 * 4 / 38.4e9, rel=0.05)


def test_constants_are_those_of_the_library_in_the_format_that_runs() -> None:
    found = {c.name: c for c in hwsim.load_machine("xeon_8480", set={"precision": "int8"}).constants()}
    assert found["openvino-2024.3 int8: output"].value.startswith("10.69 cycles per vector")
    assert found["openvino-2024.3 int8: function"].value.startswith("89.3 "), "half of 178.6 on AMX"
    assert not any("fp32" in name for name in found)
    assert all(constant.source for constant in found.values())


SHARED_L3 = """
kind: cpu
name: shared
source: "made for the test"
clocks: {core: 4 GHz}
core: zen4
cores: 2
library: onnxruntime-1.31
costs: {restart: 300}
memories: {l3: {size: 32 MiB, core: 100 GB/s, kept: KEPT}, dram: {core: 40 GB/s, bandwidth: 80 GB/s}}
"""


def test_weights_outlast_an_inference_only_where_nobody_drives_them_out(tmp_path: Path) -> None:
    """4 MiB of weights at 100 GB/s of L3; from memory at 40 GB/s and 300 cycles for each of 1024 pages."""
    product = hwsim.Gemm("fc", m=1, n=1024, k=1024, bias=False)
    seconds = {}
    for kept in ("1000 s", "1 ms", "1 ns"):
        path = tmp_path / "shared.yaml"
        path.write_text(SHARED_L3.replace("KEPT", kept))
        machine = hwsim.load_machine(path, set={"threads": 1, "precision": "fp32"})
        seconds[kept] = hwsim.simulate(machine, hwsim.Workload("one", [product])).summary.latency_s
        path.write_text(SHARED_L3.replace(", kept: KEPT", ""))
        alone = hwsim.load_machine(path, set={"threads": 1, "precision": "fp32"})
        forever = hwsim.simulate(alone, hwsim.Workload("one", [product])).summary.latency_s
    assert forever <= seconds["1000 s"] < seconds["1 ms"] < seconds["1 ns"]
    assert seconds["1000 s"] == pytest.approx(forever, rel=1e-2)
    added = 2**22 / 40e9 - 2**22 / 100e9 + 1024 * 300 / 4e9
    assert seconds["1 ns"] - forever == pytest.approx(added, rel=0.1)


HYBRID = {
    "convolution": hwsim.Conv2d("c", c=31, h=47, w=47, k=127, r=3, pad=1),
    "dense": hwsim.Gemm("g", m=1, n=4096, k=2047),
}


@pytest.mark.parametrize("name", ["pixel_2", "raspberry_pi_4", "raspberry_pi_2"])
@pytest.mark.parametrize("kind", HYBRID)
def test_float_activations_beside_integer_weights_cost_their_quantization(name: str, kind: str) -> None:
    """Between int8 and fp32; nothing like it is measured, and the run says so."""
    machine = hwsim.load_machine(name, set={"library": "xnnpack" if "pi_" in name else "tflite-2018", "threads": 1})
    times = {}
    for formats in (("int8", "int8"), ("fp32", "int8"), ("fp32", "fp32")):
        layer = HYBRID[kind].with_dtype(input=formats[0], weight=formats[1], output=formats[0])
        report = hwsim.simulate(machine, hwsim.Workload("w", [layer], graph=False))
        times[formats] = report.summary.latency_s
        hybrid = formats == ("fp32", "int8")
        assert ("cpu.hybrid" in [message.code for message in report.messages]) == hybrid
        assert not (hybrid and report.expected_error["latency"].measured)
    assert times["int8", "int8"] < times["fp32", "int8"] < times["fp32", "fp32"]
    if kind == "convolution":
        # 9 instructions for four inputs and 2 for four outputs, beside their way through the caches.
        cycles = (times["fp32", "int8"] - times["int8", "int8"]) * machine.hz
        least = (9 * 31 * 47 * 47 + 2 * 127 * 47 * 47) / 4
        moved = 9 * 31 * 47 * 47 + 3 * 127 * 47 * 47
        assert least * 0.99 < cycles < least + 1.01 * moved / machine.core_model("int8").dram


#: ms on one to four threads of a Raspberry Pi 4 in 64 bits, TensorFlow Lite 2.5 (NobuoTsukamoto/benchmarks @422e0a0).
DETECTORS = {
    "fp32": [(210.46, 130.44, 111.67, 109.6), (498.06, 327.27, 320.19, 318.97), (21784, 13699, 11959, 11594)],
    "int8": [(168.15, 93.39, 69.49, 57.36), (276.5, 153.73, 113.04, 95.02)],
}


@pytest.mark.parametrize("precision", DETECTORS)
def test_threads_of_a_raspberry_pi_share_its_memory(precision: str) -> None:
    """Times of detectors over that on one thread, against the backbone of the first: 15 % in the mean."""
    times = []
    for threads in (1, 2, 3, 4):
        machine = hwsim.load_machine("raspberry_pi_4", set={"precision": precision, "threads": threads})
        times.append(hwsim.simulate(machine, "mobilenet_v2_1.0_224").summary.latency_s)
    assert times == sorted(times, reverse=True)
    errors = [
        times[n] / times[0] / (measured[n] / measured[0]) - 1 for measured in DETECTORS[precision] for n in (1, 2, 3)
    ]
    assert sum(map(abs, errors)) / len(errors) < 0.15


def test_half_floats_run_where_the_core_multiplies_them() -> None:
    """Twice as many in a vector; no row measures them, and a Cortex-A72 has none."""
    machines = {
        dtype: hwsim.load_machine("raspberry_pi_5", set={"precision": dtype}) for dtype in ("fp32", "fp16", "int8")
    }
    reports = {dtype: hwsim.simulate(machine, "mobilenet_v1_1.0_224") for dtype, machine in machines.items()}
    assert machines["fp16"].core_model("fp16").rate == 2 * machines["fp32"].core_model("fp32").rate
    times = {dtype: report.summary.latency_s for dtype, report in reports.items()}
    assert times["int8"] < times["fp16"] < times["fp32"] < 2 * times["fp16"]
    assert not reports["fp16"].expected_error["latency"].measured
    with pytest.raises(hwsim.InputError, match="instructions for, not 'fp16'"):
        hwsim.simulate(hwsim.load_machine("raspberry_pi_4", set={"precision": "fp16"}), "mobilenet_v1_1.0_224")
