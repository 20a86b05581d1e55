"""`hwsim validate MACHINE WORKLOAD`: the nests of a plan, run on real data."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import hwsim
import hwsim.validation.attention
import hwsim.validation.nests
from hwsim import cli
from hwsim.kernels import attention
from hwsim.kernels.nest import Execution, execute
from hwsim.machines.gpu.attention import AttentionShapes
from hwsim.machines.gpu.attention_plan import FusedAttention
from hwsim.mapping import batched_gemm_problem, conv_problem
from hwsim.validation.attention import attention_formula, attention_nest
from hwsim.validation.nests import LayerCheck, validate_layers
from hwsim.validation.tensors import layer_tensors, reference

LAYERS = hwsim.Workload(
    "mixed",
    [
        hwsim.Conv2d("plain", c=6, h=13, w=11, k=10, r=3, pad=1),
        hwsim.Conv2d("strided", c=3, h=23, w=23, k=8, r=5, stride=2, pad=2),
        hwsim.Conv2d("dilated", c=4, h=15, w=15, k=6, r=3, dilation=2),
        hwsim.Conv2d("groups", c=8, h=9, w=9, k=12, r=3, groups=4, pad=1).with_density(input=0.4, weight=0.7),
        hwsim.Conv2d("depthwise", c=8, h=9, w=9, k=8, r=3, groups=8, pad=1),
        hwsim.Gemm("fc", m=1, n=40, k=70),
        hwsim.Gemm("matrix", m=9, n=33, k=50),
    ],
)


def checks(machine: str, batch: int = 1, sample: int | None = None) -> list[LayerCheck]:
    return list(validate_layers(hwsim.load_machine(machine).plan(LAYERS, batch), sample))


#: Machines that plan loop nests; the kernel libraries of a microcontroller are priced by operator.
KINDS = {name: hwsim.load_machine(name).spec.kind for name in hwsim.machine_names()}
NESTED = [name for name, kind in KINDS.items() if kind not in ("mcu", "npu")]


def test_microcontrollers_npus_and_sparse_arrays_plan_no_loop_nests() -> None:
    without = [name for name in KINDS if not hwsim.load_machine(name).plan(LAYERS["plain"], 1).nests]
    assert without == [name for name, kind in KINDS.items() if kind in ("mcu", "npu", "sparse_array")]


@pytest.mark.slow
@pytest.mark.parametrize("sample", [None, 5])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("machine", [name for name in NESTED if "isca16" not in name])
def test_every_machine_runs_what_it_plans(machine: str, batch: int, sample: int | None) -> None:
    found = checks(machine, batch, sample)
    assert not [(check.name, check.difference, check.skipped) for check in found if not check.passed or check.skipped]
    for check, layer in zip(found, LAYERS):
        assert check.sampled == (sample is not None)
        if sample is None:
            assert check.macs == layer.macs * batch
            if (
                hwsim.load_machine(machine).spec.kind != "gpu"
            ):  # a GPU prices the bytes of its kernels, not the nest's words
                assert check.own >= check.priced - 4  # words over DRAM are priced as the link moves them
        else:
            assert check.macs < layer.macs * batch


def test_the_reference_convolution_by_its_definition() -> None:
    layer = LAYERS["groups"].with_(stride=2)
    problem = conv_problem(2, 4, 3, 2, layer.p, layer.q, 3, 3, (2, 2))
    tensors, output = layer_tensors(layer, problem, 2, 1)
    n, g, k, p, q = 1, 2, 1, 3, 4
    window = tensors["ifmap"][n, g, :, 2 * p : 2 * p + 3, 2 * q : 2 * q + 3].astype(int)
    assert output[n, g, k, p, q] == (window * tensors["weight"][g, k]).sum()
    rows = batched_gemm_problem(4, 2 * layer.p * layer.q, 3, 18)
    matrices, products = layer_tensors(layer, rows, 2, 1)
    assert (reference(rows, matrices) == products).all()
    assert sorted(products.ravel()) == sorted(output.ravel())


def test_densities_are_those_of_the_layer() -> None:
    layer = hwsim.Conv2d("c", c=32, h=40, w=40, k=32, r=3).with_density(input=0.3, weight=0.6)
    problem = conv_problem(1, 1, 32, 32, layer.p, layer.q, 3, 3)
    tensors, _ = layer_tensors(layer, problem, 1, 0)
    assert np.mean(tensors["ifmap"] != 0) == pytest.approx(0.3, abs=0.01)
    assert np.mean(tensors["weight"] != 0) == pytest.approx(0.6, abs=0.02)


def wrong(monkeypatch: pytest.MonkeyPatch, change: dict[str, object]) -> LayerCheck:
    def lie(*arguments: object) -> Execution:
        ran = execute(*arguments)  # type: ignore[arg-type]
        for key, value in change.items():
            if key == "output":
                ran.output[0, 0, 2, 3, 7] += 1
            else:
                memory, tensor, action = key.split()
                ran.counts[memory, tensor, action] += value  # type: ignore[operator]
        return ran

    monkeypatch.setattr(hwsim.validation.nests, "execute", lie)
    return next(validate_layers(hwsim.load_machine("eyeriss_v1").plan(LAYERS)))


def test_a_wrong_word_is_told_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    told = wrong(monkeypatch, {"output": 1}).difference
    assert told is not None
    assert re.match(r"ofmap at N 0, G 0, K 2, P 3, Q 7 must be (-?[\d,]+), not -?[\d,]+ \(1 words differ\)", told)
    assert "'for Q by 1' at 7" in told


def test_a_wrong_count_is_told_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    told = wrong(monkeypatch, {"glb ifmap fill": 3, "psum_spad ofmap drain": 1}).difference
    assert told is not None
    assert re.match(
        r"glb ifmap fill: [\d,]+ expected, [\d,]+ measured \(glb keeps ifmap inside 'for C by \d', loop \d of 16\)",
        told,
    )


def test_what_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hwsim.validation.nests, "LARGEST_BYTES", 1 << 12)
    check = checks("systolic_ws")[0]
    assert check.refused
    assert not check.passed
    assert "--sample runs a part" in str(check.skipped)


def test_a_price_that_is_not_what_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan that agrees with the closed form is held against the measurement too."""
    check = LayerCheck("x", "conv2d")
    plan = hwsim.load_machine("systolic_ws").plan(LAYERS["matrix"])
    key = ("pe", "weight", "fill")
    closed = {key: plan.counts[key]}
    assert hwsim.validation.nests._check_prices(check, plan, closed, closed).difference is None
    told = hwsim.validation.nests._check_prices(check, plan, closed, {key: 1}).difference
    assert told == f"pe weight fill: {plan.counts[key]:,} are priced, 1 were measured"


def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["hwsim", *words])
    try:
        cli.main()
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    return code, *capsys.readouterr()


def test_the_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = call(
        capsys, monkeypatch, "validate", "systolic_ws", "lenet5_caffe", "--layer", "conv*", "--batch", "2"
    )
    assert code == 0
    assert re.search(r"conv1 +576,000 .* equal", out)
    assert "2 layers executed" in out
    code, out, _ = call(capsys, monkeypatch, "validate", "eyeriss_v1", "lenet5_caffe", "--sample", "6")
    assert code == 0
    assert "truncated to the sample" in out
    assert "skipped: pool has no loop nest" in out


def test_names_that_begin_alike_stay_apart_and_what_is_not_verified_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A depthwise layer of NVDLA reads more from DRAM than its nest: the tiles of its weights are padded."""
    path = tmp_path / "a.csv"
    long = "a_network/of_layers/whose_names_begin_alike"
    path.write_text(f"name,type,c,h,k,r\n{long}/first,conv,7,9,5,3\n{long}/second,dwconv,7,9,7,3\n")
    code, out, _ = call(capsys, monkeypatch, "validate", "nvdla_256", str(path))
    assert code == 0
    assert "alike/first " in out
    assert "alike/second " in out
    assert "priced by a rule of the machine, not as the words that the nest moves: " in out


def test_the_command_fails_where_something_differs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lie(*arguments: object) -> Execution:
        ran = execute(*arguments)  # type: ignore[arg-type]
        return replace(ran, counts=ran.counts | {("pe", "weight", "fill"): 1})

    monkeypatch.setattr(hwsim.validation.nests, "execute", lie)
    code, out, _ = call(capsys, monkeypatch, "validate", "systolic_ws", "lenet5_caffe", "--layer", "conv1")
    assert code == 1
    assert "conv1: pe weight fill: 500 expected, 1 measured" in out


def test_options_need_both_arguments(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code, _, err = call(capsys, monkeypatch, "validate", "eyeriss_v1", "--sample", "8")
    assert code == 2
    assert "both MACHINE and WORKLOAD" in err


ATTENTION = [
    {"queries": 131, "context": 131, "heads": 14, "kv_heads": 2},
    {"queries": 1, "context": 1031, "heads": 28, "kv_heads": 4},
    {"queries": 31, "context": 257, "heads": 3, "kv_heads": 3},
    {"queries": 97, "context": 127, "heads": 5, "kv_heads": 5, "causal": False},
]


@pytest.mark.slow
@pytest.mark.parametrize("library", ["tensorrt-llm", "vllm", "sglang"])
@pytest.mark.parametrize("formats", [("bf16", "bf16"), ("bf16", "fp8"), ("fp8", "fp8")])
@pytest.mark.parametrize("batch", [1, 3])
def test_attention_runs_in_the_tiles_that_are_priced(library: str, formats: tuple[str, str], batch: int) -> None:
    """Scores, exponentials, queries, keys and values of the tiles, blocks and splits of each library's kernels."""
    for name in ("h100", "a100"):
        machine = hwsim.load_machine(name, set={"library": library})
        layers = [
            hwsim.Attention(
                str(i), dim=128, input=formats[0], weight=formats[1], output="bf16", **{"causal": True} | sizes
            )
            for i, sizes in enumerate(ATTENTION)
        ]
        layers = [layer for layer in layers if machine.runs_whole(layer)]
        assert layers or formats != ("bf16", "bf16")
        if not layers:
            continue
        plan = machine.plan(hwsim.Workload("attention", layers), batch)
        for check, layer in zip(validate_layers(plan), layers, strict=True):
            assert check.difference is None
            assert (check.own, check.priced) == (6, 6)
            assert check.macs - check.gated >= layer.macs / layer.kv_heads
            assert bool(check.share) == (batch > 1)
        for check in validate_layers(plan, sample=29):
            assert check.passed
            assert check.sampled


@pytest.mark.slow
@pytest.mark.parametrize("library", ["tensorrt-llm", "vllm", "sglang"])
@pytest.mark.parametrize("name", ["h100", "a100", "l40s"])
def test_exponentials_that_are_priced_are_those_of_the_tiles(name: str, library: str) -> None:
    """Of random shapes: all that the tiles run; a prefill with a window is priced as if each of its tiles were full."""
    machine = hwsim.load_machine(name, set={"library": library})
    fused = FusedAttention.of(machine.timer, "bf16", "bf16")
    assert fused is not None
    rng, number = np.random.default_rng([len(library), len(name)]), 200
    kv_heads, context = rng.integers(1, 9, number), rng.integers(1, 3000, number)
    queries = np.where(rng.random(number) < 0.4, 1, np.minimum(context, rng.integers(1, 3000, number)))
    window, dim = rng.integers(1, 3500, number) * rng.integers(0, 2, number), rng.choice([40, 64, 96, 128, 192], number)
    heads = kv_heads * rng.integers(1, 9, number)
    shapes = AttentionShapes(
        np.ones(number, np.int64), queries, context, heads, kv_heads, dim, dim, window, queries, True, 2, 2, 2
    )
    timing = fused.timing(shapes)
    equal = 0
    for i in np.flatnonzero(timing.kernel >= 0):
        kernel = fused.kernels[int(timing.kernel[i])]
        tile = int(timing.rows[i]), int(kernel.blocks(dim[i : i + 1] * 1.0)[0]), int(timing.splits[i])
        nest = attention_nest(kernel, *tile, True, int(window[i]))
        sizes = {
            "heads": heads,
            "kv_heads": kv_heads,
            "queries": queries,
            "context": context,
            "dim": dim,
            "value_dim": dim,
        }
        runs = attention_formula(**{size: int(values[i]) for size, values in sizes.items()}, **nest).exponentials
        priced = int(timing.exponentials[i])
        assert runs <= priced <= 2 * runs
        assert priced == runs or (window[i] and queries[i] > 1)
        equal += priced == runs
    assert equal > 0.85 * number


@pytest.mark.parametrize("error", ["output", "scores"])
def test_a_wrong_attention_is_told(monkeypatch: pytest.MonkeyPatch, error: str) -> None:
    def lie(*arguments: object, **options: object) -> object:
        out, ran = attention(*arguments, **options)  # type: ignore[arg-type]
        if error == "output":
            out[1, 2, 3] += 0.001
            return out, ran
        return out, replace(ran, scores=ran.scores + 1)

    monkeypatch.setattr(hwsim.validation.attention, "attention", lie)
    layer = hwsim.Attention("a", queries=7, context=7, heads=2, dim=128, causal=True, input="bf16", weight="bf16")
    told = next(validate_layers(hwsim.load_machine("h100").plan(hwsim.Workload("w", [layer])))).difference
    assert told is not None
    assert re.match(
        "the output of head 1, query 2 at 3 must be .* to within" if error == "output" else "scores: ", told
    )
