"""Winograd and FFT: matrices proved, operations published and executed, and what arrays gain by them."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import call
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray
from rich.console import Console

import hwsim
from hwsim.algorithms import Fft, Matrices, Tally, Winograd, algorithm_of, apply, integers, matrices, shape_of
from hwsim.algorithms.execute import Arithmetic, execute
from hwsim.errors import InputError
from hwsim.kernels.rounding import signal_to_noise_db
from hwsim.machines import PeArray
from hwsim.machines.plan import LayerPlan
from hwsim.validation.algorithm import check_algorithm, print_algorithm

Array = NDArray[Any]
SIZES = [(m, r) for m in range(1, 9) for r in range(1, 8) if m + r - 1 <= 14]
#: Lavin and Gray, CVPR 2016, table 1 and the counts behind it: operations of a tile of inputs, a filter, a tile of sums.
PUBLISHED = {2: (32, 28, 24), 4: (156, 72, 100), 6: (416, 143, 280)}


@pytest.mark.parametrize("m, r", SIZES)
@pytest.mark.parametrize("form", [lambda of: of, integers], ids=["fractions", "integers"])
def test_matrices_convolve(m: int, r: int, form: Any) -> None:
    """Both sides are linear in the inputs and in the taps: equal on all pairs of units, they are equal."""
    own: Matrices = form(matrices(m, r))
    n = m + r - 1
    assert own.points == n
    for i in range(n):
        data = [row[i] for row in own.data]
        for j in range(r):
            products = [d * row[j] for d, row in zip(data, own.filter, strict=True)]
            y = [sum((a * p for a, p in zip(row, products, strict=True)), Fraction(0)) for row in own.output]
            assert [value / own.scale for value in y] == [int(i == j + k) for k in range(m)]
    if own.scale != 1 or form is integers:
        assert all(
            value.denominator == 1
            for name in ("data", "filter", "output")
            for row in getattr(own, name)
            for value in row
        )


@given(st.sampled_from(SIZES), st.data())
@settings(max_examples=60, deadline=None)
def test_transforms_apply_their_matrix(size: tuple[int, int], data: st.DataObject) -> None:
    own = data.draw(st.sampled_from([matrices(*size), integers(matrices(*size))]))
    matrix = data.draw(st.sampled_from([own.data, own.filter, own.output]))
    values = data.draw(st.lists(st.integers(-99, 99), min_size=len(matrix[0]), max_size=len(matrix[0])))
    tally = Tally()
    expected = [sum((a * v for a, v in zip(row, values, strict=True)), Fraction(0)) for row in matrix]
    assert apply(matrix, [Fraction(v) for v in values], tally) == expected
    assert tally.flops <= sum(max(0, sum(1 for a in row if a)) for row in matrix)


@pytest.mark.parametrize("m", PUBLISHED)
def test_operations_are_those_published(m: int) -> None:
    """The transform of filters of F(6x6, 3x3) takes 132 operations here, and 143 in print."""
    how = Winograd.of(m, 3, 3)
    data, filters, inverse = PUBLISHED[m]
    assert (how.data.flops, how.inverse.flops) == (data, inverse)
    assert how.filter.flops == (filters if m < 6 else 132)
    assert how.gain == pytest.approx({2: 2.25, 4: 4.0, 6: 5.0625}[m])


@pytest.mark.parametrize("m", [2, 4])
def test_operations_are_those_of_the_compiled_kernel(m: Any) -> None:
    """The exact kernel runs the same whole matrices; its sums of four take their last factors elsewhere."""
    kernels = pytest.importorskip("hwsim.kernels.winograd")
    counts, how = kernels.winograd_counts(m, scaled=True), Winograd.of(m, 3, 3).exact
    assert (counts.multiplications, counts.data_flops, counts.filter_flops) == (
        how.points,
        how.data.flops,
        how.filter.flops,
    )
    if m == 2:
        assert counts.inverse_flops == how.inverse.flops


def direct(x: Array, w: Array, pad: tuple[int, int, int, int]) -> Array:
    """Convolution in float64 or int64, a shifted product for each tap."""
    top, left, bottom, right = pad
    kind = np.int64 if x.dtype.kind in "iu" else np.float64
    frame = np.pad(x.astype(kind), ((0, 0), (0, 0), (top, bottom), (left, right)))
    r, s = w.shape[2:]
    p, q = frame.shape[2] - r + 1, frame.shape[3] - s + 1
    return sum(
        np.einsum("nchw,kc->nkhw", frame[:, :, i : i + p, j : j + q], w[:, :, i, j].astype(kind))
        for i in range(r)
        for j in range(s)
    )  # type: ignore[return-value]


@given(
    st.sampled_from([(2, 3, 3), (4, 3, 3), (6, 3, 3), (2, 1, 3), (4, 3, 1), (2, 5, 5), (4, 5, 3), (2, 2, 2)]),
    st.tuples(st.integers(1, 2), st.integers(1, 5), st.integers(1, 5), st.integers(5, 13), st.integers(5, 13)),
    st.tuples(*[st.integers(0, 2)] * 4),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=60, deadline=None)
def test_executed_integers_are_exact_and_counts_the_closed_form(
    size: tuple[int, int, int], shape: tuple[int, ...], pad: Any, seed: int
) -> None:
    n, c, k, h, wide = shape
    how = Winograd.of(*size)
    rng = np.random.default_rng(seed)
    x = rng.integers(-128, 128, (n, c, h, wide), dtype=np.int8)
    w = rng.integers(-128, 128, (k, c, *size[1:]), dtype=np.int8)
    ran = execute(how, x, w, pad)
    assert np.array_equal(ran.output, direct(x, w, pad))
    layer = hwsim.Conv2d("c", c=c, h=h, w=wide, k=k, r=size[1], s=size[2], pad=pad)
    geometry = shape_of(layer)
    assert geometry is not None
    tiles = how.tiles(geometry) * n
    assert ran.multiplications == how.multiplications(geometry) * n
    for tally, cost, times in (
        (ran.data, how.exact.data, tiles * c), (ran.filter, how.exact.filter, c * k), (ran.inverse, how.exact.inverse, tiles * k),
    ):  # fmt: skip
        assert (tally.adds, tally.shifts) == (cost.adds * times, cost.shifts * times)
    bits = how.bits(8, 8, c)
    assert np.abs(ran.output).max() < 2 ** (bits.sum + 8)


@pytest.mark.parametrize("arithmetic, least", [("fp32", {2: 120, 4: 100, 6: 90}), ("fp16", {2: 60, 4: 40, 6: 20})])
def test_larger_tiles_lose_precision(arithmetic: Arithmetic, least: dict[int, int]) -> None:
    """Signal to noise falls with the tile, in single and in half precision, and never as far as to be noise."""
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal((1, 31, 25, 25)), rng.standard_normal((17, 31, 3, 3))
    kind = {"fp16": np.float16, "fp32": np.float32}[arithmetic]
    x, w = x.astype(kind).astype(np.float64), w.astype(kind).astype(np.float64)
    truth = direct(x, w, (1, 1, 1, 1))
    ratios = [
        signal_to_noise_db(execute(Winograd.of(m, 3, 3), x, w, (1, 1, 1, 1), arithmetic).output, truth) for m in least
    ]
    assert ratios == sorted(ratios, reverse=True)
    assert all(ratio > low for ratio, low in zip(ratios, least.values(), strict=True))


def test_bits_by_hand() -> None:
    """F(2x2, 3x3): rows of B^T reach 2, so values grow 4 times, 2 bits; whole rows of G reach 3, so 9 times, 4 bits."""
    bits = Winograd.of(2, 3, 3).bits(8, 8, 64)
    assert (bits.data, bits.filter, bits.sum) == (10, 12, 10 + 12 - 1 + 6)
    bits = Winograd.of(4, 3, 3).bits(8, 8, 1)
    assert (bits.data, bits.filter) == (15, 14)


@pytest.mark.parametrize(
    "changes, name, why",
    [
        ({"stride": 2}, "winograd-2x2", "stride of 2 x 2"),
        ({"dilation": 2}, "winograd-2x2", "dilated"),
        ({"groups": 32, "k": 32}, "winograd-2x2", "depthwise"),
        ({"r": 1}, "winograd-4x4", "nothing to save"),
        ({"r": 1, "s": 3}, "winograd-4x4", "one row or column"),
        ({"r": 3}, "winograd-4", "square tiles"),
        ({"r": 7}, "winograd-4x4", "more than 8 points"),
        ({"r": 7}, "fft-8x8", "more than half of a tile"),
    ],
)
def test_what_does_not_apply_says_why(changes: dict[str, int], name: Any, why: str) -> None:
    layer = hwsim.Conv2d("c", **{"c": 32, "h": 31, "w": 31, "k": 64, "r": 3, "pad": 1} | changes)  # type: ignore[arg-type]
    shape = shape_of(layer)
    assert shape is not None
    assert why in str(algorithm_of(name, shape))


def test_products_of_a_spectrum_by_hand() -> None:
    """Of 8 x 8 values 34 are no mirror of another, 4 of which are real: 30 x 4 + 4 products for 36 outputs of 3 x 3."""
    shape = shape_of(hwsim.Conv2d("c", c=3, h=12, w=12, k=5, r=3, pad=1))
    assert shape is not None
    how = algorithm_of("fft-8x8", shape)
    assert isinstance(how, Fft)
    assert (how.values, how.products, how.outputs) == (34, 124, (6, 6))
    assert how.multiplications(shape) == 4 * 124 * 3 * 5


def test_an_fft_convolves() -> None:
    """Tiles overlap by r - 1; the kept part of each is the convolution, and spectra have the counted values."""
    rng = np.random.default_rng(3)
    x, w = rng.standard_normal((1, 3, 31, 31)), rng.standard_normal((5, 3, 3, 3))
    how = Fft(16, 3, 3)
    out, step = np.zeros((1, 5, 29, 29)), how.outputs[0]
    for i in range(0, 29, step):
        for j in range(0, 29, step):
            tile = np.fft.rfft2(x[:, :, i : i + 16, j : j + 16], (16, 16))
            filters = np.conj(np.fft.rfft2(w, (16, 16)))
            part = np.fft.irfft2(np.einsum("nchw,kchw->nkhw", tile, filters), (16, 16))[:, :, :step, :step]
            out[:, :, i : i + step, j : j + step] = part[:, :, : 29 - i, : 29 - j]
    assert np.allclose(out, direct(x, w, (0, 0, 0, 0)))
    spectrum = np.fft.rfft2(rng.standard_normal((16, 16)))
    assert len(np.unique(np.round(spectrum.real, 9))) == how.values


ARRAY = """\
kind: pe_array
name: mine
source: "made up"
clocks: {core: 500 MHz}
dataflow: weight_stationary
array: {rows: 16, cols: 16, wiring: noc}
mapper: {objective: latency}
transform: {adders: 64, inverse: 64, source: "made up"}
memories:
  dram: {holds: [ifmap, weight, ofmap], bandwidth: 16 B/cycle}
  buffer: {holds: [ifmap, weight, ofmap], size: 256 KiB}
  rf: {holds: [weight, ifmap, ofmap], size: 256 B, per: pe}
energy:
  table: horowitz_45nm
  prices:
    mac: {entry: int8_mac, format: [int8, int16, int32]}
    dram: {entry: dram_32b}
    buffer: {sram: memory}
    rf: {entry: register_32b}
    pe: {entry: register_32b}
    noc: {entry: register_32b}
    transform: {entry: int32_add}
    transform.shift: {energy: 0 pJ, source: "wires of a constant shift"}
"""
WIRINGS: dict[str, dict[str, Any]] = {
    "noc": {},
    "systolic": {"array.wiring": "systolic"},
    "output stationary": {"array.wiring": "systolic", "dataflow": "output_stationary"},
    "energy": {"mapper.objective": "energy", "memories.rf.size": "64 B"},
    "rounded": {"transform.operands": "rounded", "transform.weights": "online"},
}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("array") / "mine.yaml"
    path.write_text(ARRAY)
    return path


def array(file: Path, **changes: Any) -> PeArray:
    machine = hwsim.load_machine(file, set=changes)
    assert isinstance(machine, PeArray)
    return machine


def plan_of(machine: PeArray, layer: hwsim.Layer, batch: int = 1) -> LayerPlan:
    plan = machine.plan(layer, batch)
    assert isinstance(plan, LayerPlan)
    return plan


@pytest.mark.parametrize("name, gain", [("winograd-2x2", 2.25), ("winograd-4x4", 4.0), ("winograd-6x6", 5.0625)])
def test_gain_of_free_transforms_is_that_of_multiplications(file: Path, name: str, gain: float) -> None:
    """With units and memories that never bind, on sizes that divide: (m r / (m + r - 1))^2."""
    free = {"transform.adders": 10**9, "transform.inverse": 10**9, "memories.dram.bandwidth": "1000000 B/cycle"}
    free |= {"transform.operands": "rounded", "memories.buffer.size": "1 GiB", "memories.rf.size": "64 KiB"}
    layer = hwsim.Conv2d("c", c=32, h=24, w=24, k=32, r=3, pad=1)
    direct = plan_of(array(file, algorithm="direct", **free), layer)
    fast = plan_of(array(file, algorithm=name, **free), layer)
    assert direct.compute_cycles / fast.compute_cycles == gain
    assert direct.macs == fast.macs == direct.macs_executed == round(fast.macs_executed * gain)


@pytest.mark.slow
@pytest.mark.parametrize("wiring", WIRINGS)
@pytest.mark.parametrize(
    "layer",
    [
        hwsim.Conv2d("odd", c=31, h=17, w=13, k=37, r=3, pad=1),
        hwsim.Conv2d("one channel", c=1, h=31, w=31, k=7, r=3),
        hwsim.Conv2d("line", c=19, h=1, w=127, k=23, r=1, s=3, pad=(0, 1)),
        hwsim.Conv2d("grouped", c=34, h=9, w=9, k=26, r=3, groups=2),
        hwsim.Conv2d("five", c=13, h=11, w=11, k=17, r=5, pad=2),
    ],
    ids=lambda layer: layer.name,
)
def test_auto_is_never_worse_than_any_one(file: Path, wiring: str, layer: hwsim.Layer) -> None:
    own = WIRINGS[wiring]
    batch = 3 if layer.name == "odd" else 1
    names = array(file, **own).algorithms()
    reports = {
        n: hwsim.simulate(array(file, algorithm=n, **own), hwsim.Workload("n", [layer]), batch)
        for n in (*names, "auto")
    }
    energy = own.get("mapper.objective") == "energy"
    value = {n: r.summary.energy_pj if energy else r.summary.latency_s for n, r in reports.items()}
    assert value["auto"] == min(value.values())
    for name, report in reports.items():
        (result,) = report.results
        machine = report.machine
        bound = machine.lower_bound(layer, batch)
        assert bound is not None
        assert result.latency_s >= float(bound.seconds)
        assert result.plan.dram_bytes >= bound.dram_bytes
        assert result.plan.macs == layer.macs * batch
        assert result.utilization <= 1
        for traffic in machine.traffic(result.plan):
            assert result.latency_s * (1 + 1e-9) >= traffic.bytes / traffic.bytes_per_s, (name, traffic)


@pytest.mark.parametrize("dtype, words", [("int4", 8), ("int8", 16)])
def test_exact_words_hold_what_the_transforms_grow_to(file: Path, dtype: str, words: int) -> None:
    """F(2x2, 3x3): 4 bits grow to 6 and 8, 8 bits to 10 and 12."""
    layer = hwsim.Conv2d("c", c=31, h=9, w=9, k=7, r=3, input=dtype, weight=dtype)
    exact = plan_of(array(file, algorithm="winograd-2x2"), layer)
    assert exact.word_bits["weight"] == words
    assert not any("rounded" in str(message) for message in exact.why)


def test_slower_transforms_bind(file: Path) -> None:
    layer = hwsim.Conv2d("c", c=31, h=29, w=29, k=37, r=3, pad=1)
    times = []
    for adders in (1, 7, 64, 10**6):
        report = hwsim.simulate(
            array(file, algorithm="winograd-4x4", **{"transform.adders": adders}), hwsim.Workload("n", [layer])
        )
        times.append(report.summary.latency_s)
        if adders == 1:
            assert report.results[0].bound == "transform"
    assert times == sorted(times, reverse=True)


def test_weights_that_are_transformed_on_the_way_move_fewer_bytes_and_add_more(file: Path) -> None:
    """U has 16 values for each 9 weights."""
    layer = hwsim.Conv2d("c", c=32, h=8, w=8, k=32, r=3, pad=1)
    plans = {
        way: plan_of(
            array(file, algorithm="winograd-2x2", **{"transform.weights": way, "transform.operands": "rounded"}), layer
        )
        for way in ("offline", "online")
    }
    words = {way: plan.counts["dram", "weight", "read"] for way, plan in plans.items()}
    assert words["offline"] * 9 == words["online"] * 16
    adds = {way: plan.counts.get(("transform", "weight", "add"), 0) for way, plan in plans.items()}
    assert adds == {"offline": 0, "online": 32 * 32 * Winograd.of(2, 3, 3).filter.adds}


def test_nvdla_multiplies_four_ninths_and_waits_for_its_weights() -> None:
    """Cells take 4 channels of a 4 x 4 tile a cycle (manual v1): 28 x 28 tiles, 16 steps of 4 channels, 2 kernel groups.

    Weights are transformed by software: 16 bytes for each 9, which late layers wait for at 20 GB/s.
    """
    machine = hwsim.load_machine("nvdla_2048", set={"algorithm": "winograd-2x2"})
    plan = machine.plan(hwsim.load_workload("resnet50_v1"))
    early, late = plan["res2b_3x3b"], plan["res5b_3x3b"]
    assert early.compute_cycles == 28 * 28 * 16 * 2
    assert early.macs_executed * 9 == early.macs * 4
    assert early.counts["dram", "weight", "read"] == 64 * 64 * 16
    report = hwsim.simulate(plan.part({early.layer.name, late.layer.name}))
    assert [result.bound for result in report.results] == ["compute", "dram"]


def test_a_library_of_a_gpu_has_some_and_auto_is_the_best_of_them() -> None:
    layer = hwsim.Conv2d("c", c=127, h=31, w=31, k=131, r=3, pad=1, input="fp32", weight="fp32", output="fp32")
    network = hwsim.Workload(
        "n", [layer, layer.with_(name="wide", r=5, pad=2), layer.with_(name="s", stride=2)], graph=False
    )
    own = {"harness": "loop", "library": "cudnn-7"}
    names = hwsim.load_machine("p100", set=own).algorithms()
    assert {"direct", "winograd-2x2", "winograd-4x4"} <= set(names)
    reports = {
        n: hwsim.simulate(hwsim.load_machine("p100", set={"algorithm": n} | own), network, 7) for n in (*names, "auto")
    }
    for place in range(3):
        times = {n: report.results[place].latency_s for n, report in reports.items()}
        assert times["auto"] <= min(times.values()) * (1 + 1e-9)
    first = {n: report.results[0].plan for n, report in reports.items()}
    assert first["direct"].macs_executed == first["direct"].macs
    assert first["winograd-2x2"].macs_executed < first["direct"].macs_executed
    why = str(reports["winograd-4x4"].results[2].plan.why[0])
    assert (
        why
        == "algorithm direct, not winograd-4x4, which the file asks for: a stride of 2 x 2: outputs of a tile are not neighbors"
    )
    depthwise = hwsim.Conv2d("d", c=31, h=9, w=9, k=31, r=3, groups=31, input="fp32", weight="fp32", output="fp32")
    plan = hwsim.load_machine("p100", set={"algorithm": "winograd-2x2"} | own).plan(depthwise)
    assert "not winograd-2x2, which the file asks for: depthwise" in str(plan.why[0])
    with pytest.raises(InputError, match="has no other kernels on ampere"):
        hwsim.load_machine("a100", set={"algorithm": "winograd-2x2"})


def test_an_algorithm_is_asked_for_where_it_is(file: Path) -> None:
    with pytest.raises(InputError, match="the array has no transform units"):
        hwsim.load_machine("eyeriss_v1", set={"algorithm": "winograd-2x2"})
    with pytest.raises(InputError, match="are modeled without transforms"):
        hwsim.load_machine("nucleo_l4r5zi", set={"algorithm": "winograd-4x4"})
    with pytest.raises(InputError, match="winograd-2x2"):
        array(file, algorithm="winograd-2x3")
    network = hwsim.Workload(
        "n", [hwsim.Conv2d(name, c=16, h=12, w=12, k=16, r=3, pad=1) for name in ("a1", "a2", "b")], graph=False
    )
    plan = array(file, algorithm={"a*": "winograd-2x2", "a2": "direct", "b": "winograd-4"}).plan(network)
    assert [plan[name].macs_executed / plan[name].macs for name in ("a1", "a2", "b")] == [pytest.approx(4 / 9), 1, 1]
    assert "which the file asks for: filters of 3 x 3: square tiles" in str(plan["b"].why[0])


def test_whole_numbers_are_equal_and_rounding_costs_more_with_larger_tiles(capsys: pytest.CaptureFixture[str]) -> None:
    """Executed on each convolution of a network; fp32 keeps far more than 8 bits do."""
    network = hwsim.Workload(
        "n",
        [
            hwsim.Conv2d("a", c=31, h=17, w=19, k=7, r=3, pad=1),
            hwsim.Conv2d("b", c=12, h=9, w=9, k=12, r=3, groups=3),
            hwsim.Conv2d("c", c=4, h=9, w=9, k=4, r=3, stride=2),
            hwsim.Gemm("fc", m=1, n=10, k=10),
        ],
        graph=False,
    )
    rounded = []
    for name in ("winograd-2x2", "winograd-4x4", "winograd-6x6"):
        checks = list(check_algorithm(network, name))  # type: ignore[arg-type]
        assert [check.exact for check in checks] == [True, True, None]
        first = checks[0].ratio_db
        assert first is not None
        assert first["fp32"] >= first["fp16"] > first["rounded"]
        rounded.append(first["rounded"])
        assert print_algorithm(checks, name, Console(width=140))
    assert rounded == sorted(rounded, reverse=True)
    assert "direct: c: a stride of 2 x 2" in capsys.readouterr().out


def test_commands_compare_and_execute_algorithms(capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: str) -> tuple[int, str, str]:
        return call(capsys, *arguments)

    code, out, _ = run("compare", "nvdla_2048", "resnet50_v1", "--algorithm", "all", "--layers", "res2*")
    assert code == 0
    assert [name in out for name in ("algorithm=direct", "algorithm=winograd-2x2", "algorithm=auto")] == [True] * 3
    code, out, _ = run("validate", "nvdla_2048", "resnet50_v1", "--algorithm", "winograd-2x2", "--layer", "res2a_3x3b")
    assert code == 0
    assert "F(2x2, 3x3)" in out
    code, _, err = run("compare", "eyeriss_v1", "alexnet", "--algorithm", "all")
    assert code == 2
    assert "the array has no transform units" in err
    code, _, err = run("validate", "--algorithm", "winograd-2x2")
    assert code == 2
    assert "must come with both MACHINE and WORKLOAD" in err
    code, _, err = run("compare", "nvdla_2048", "alexnet", "--algorithm", "winograd-9x9")
    assert code == 2
    assert "winograd-9x9" in err
