"""Composed layers on every machine: conserved, planned as their sublayers, and told by name."""

import sys
from fractions import Fraction

import pytest
from hypothesis import given, settings, strategies as st

import hwsim
from hwsim import cli
from hwsim.engine import simulate as run_program
from hwsim.machines import machine_names
from hwsim.validation.nests import validate_layers
from hwsim.workload import ExpertGemm

MACHINES = {name: hwsim.load_machine(name) for name in machine_names()}
EACH = pytest.mark.parametrize("name", MACHINES)
ARRAYS = pytest.mark.parametrize("name", [name for name, machine in MACHINES.items() if machine.kind == "pe_array"])
#: One of each kind and wiring.
SOME = ("h100", "epyc_zen5", "systolic_ws", "nvdla_256", "eyeriss_v1", "tpu_v1", "rp2040")


def network(dtype: str = "int8", queries: int = 31, **changes: object) -> hwsim.Workload:
    """Odd sizes: 5 heads of 7 values that share one of keys, 3 of 13 experts and one that all tokens go through."""
    attention = {"context": 127, "heads": 5, "kv_heads": 1, "dim": 7, "causal": True} | changes
    types = {"input": dtype, "weight": dtype, "output": dtype}
    return hwsim.Workload(
        "odd",
        [
            hwsim.Attention("attn", queries=queries, **attention, **types),
            hwsim.Moe("moe", tokens=queries, hidden=35, intermediate=11, experts=13, topk=3, shared=1, **types),
        ],
        graph=False,
    )


@EACH
@pytest.mark.parametrize(("queries", "batch"), [(31, 1), (1, 2), (1, 7)])
def test_every_machine_runs_the_products(name: str, queries: int, batch: int) -> None:
    net = network(queries=queries)
    report = hwsim.simulate(MACHINES[name], net, batch=batch)
    assert [result.name for result in report.results] == [layer.name for layer in net.lowered()]
    assert report.messages[:2] == net.lowering_notes(batch)
    for layer, result in zip(net.lowered(), report.results, strict=True):
        plan = result.plan
        done = sum(
            n for (component, tensor, _), n in plan.counts.items() if component in ("mac", "host mac") and not tensor
        )
        assert plan.macs == layer.macs * batch == done
        assert plan.macs_executed <= plan.macs
        assert result.cycles * plan.peak_macs_per_cycle >= plan.macs_executed
        for memory in report.machine.traffic(plan):
            assert memory.bytes <= memory.bytes_per_s * result.latency_s * (1 + 1e-9)
    masked = net.lowered().macs - net.macs
    assumed = report.messages[0].values["assumed"]
    assert (assumed.values["macs"] if assumed else 0) == masked * batch
    assert bool(masked) == (queries > 1)


@EACH
def test_other_types_run_or_are_refused_by_name(name: str) -> None:
    for dtype in ("bf16", "fp32", "fp8"):
        try:
            assert hwsim.simulate(MACHINES[name], network(dtype)).summary.latency_s > 0
        except hwsim.HwsimError as error:
            assert dtype in str(error) or "computes on words of" in str(error), error


@EACH
def test_a_composed_layer_has_no_plan_of_its_own(name: str) -> None:
    for layer in network():
        with pytest.raises(hwsim.InputError, match=rf"{layer.name}: {layer.op} is planned as its products"):
            MACHINES[name].plan(layer)


@st.composite
def experts(draw: st.DrawFn) -> ExpertGemm:
    number = draw(st.integers(1, 17))
    sizes = {size: draw(st.integers(1, 40)) for size in ("n", "k")}
    topk = draw(st.integers(1, number))
    type_ = draw(st.sampled_from(["up", "down"]))
    return ExpertGemm("e", tokens=draw(st.integers(1, 13)), experts=number, topk=topk, type=type_, **sizes)


@pytest.mark.parametrize("name", SOME)
@given(layer=experts(), batch=st.sampled_from([1, 2, 3, 7]))
@settings(max_examples=12, deadline=None)
def test_laws_of_products_of_experts(name: str, layer: ExpertGemm, batch: int) -> None:
    machine = MACHINES[name]
    result = hwsim.simulate(machine, hwsim.Workload("one", [layer], graph=False), batch=batch).results[0]
    plan = result.plan
    done = sum(n for (component, tensor, _), n in plan.counts.items() if component == "mac" and not tensor)
    assert plan.macs == layer.macs * batch == done
    fast, full = run_program(plan.program), run_program(plan.program, fast_forward=False)
    assert (fast.end, fast.resources, fast.stages) == (full.end, full.resources, full.stages)
    if (bound := machine.lower_bound(layer, batch)) is not None:
        assert bound.seconds <= Fraction(result.timeline.end) / machine.timebase.rate_hz
        assert bound.dram_bytes <= plan.dram_bytes
        assert not {action: n for action, n in bound.counts.items() if n > plan.counts.get(action, 0)}


@ARRAYS
@pytest.mark.parametrize("batch", [1, 7])
def test_executed_counts_are_those_that_are_priced(name: str, batch: int) -> None:
    checks = list(validate_layers(MACHINES[name].plan(network(queries=5), batch)))
    assert not [check for check in checks if check.difference is not None]
    ran = {check.name for check in checks if check.skipped is None}
    assert {"attn.scores", "attn.context", "moe.router"} <= ran


@ARRAYS
def test_only_experts_that_are_used_are_read(name: str) -> None:
    """A token that uses 2 of 61 experts reads the weights of two; 31 tokens those of all."""
    machine = MACHINES[name]

    def bytes_of(tokens: int, experts: int) -> int:
        layer = ExpertGemm("e", tokens=tokens, experts=experts, topk=2, n=64, k=64)
        return hwsim.simulate(machine, hwsim.Workload("one", [layer], graph=False)).results[0].plan.dram_bytes

    assert bytes_of(1, 61) == bytes_of(1, 2)
    assert bytes_of(1, 61) >= 2 * 64 * 64
    assert bytes_of(31, 61) >= 61 * 64 * 64


@pytest.mark.parametrize("name", SOME)
def test_shared_heads_never_move_more(name: str) -> None:
    """Of 12 heads: with fewer of keys and values, no product reads more of them from afar, in a prompt or a step."""
    machine = MACHINES[name]
    for queries, batch in ((31, 1), (1, 7)):
        moved, cached = [], []
        for heads in (12, 6, 4, 3, 2, 1):
            layer = hwsim.Attention("a", queries=queries, context=257, heads=12, kv_heads=heads, dim=16, causal=True)
            report = hwsim.simulate(machine, hwsim.Workload("one", [layer], graph=False), batch=batch)
            moved.append(sum(result.plan.dram_bytes for result in report.results))
            cached.append(layer.cache_bytes(batch))
        assert cached == sorted(cached, reverse=True)
        assert moved == sorted(moved, reverse=True), (queries, batch)


def test_a_window_leaves_the_rest_of_the_cache_unread() -> None:
    def step(window: int, cached: int | None = None) -> hwsim.Report:
        layer = hwsim.Attention(
            "a", context=65536, heads=32, kv_heads=8, dim=128, causal=True, window=window, cached=cached,
            input="bf16", weight="bf16", output="bf16",
        )  # fmt: skip
        return hwsim.simulate(MACHINES["h100"], hwsim.Workload("one", [layer], graph=False), batch=4)

    whole, part = step(0), step(4096)
    values = 2 * 8 * 128 * 2 * 4
    assert whole.summary.dram_bytes >= 65536 * values > 8 * part.summary.dram_bytes
    assert part.summary.latency_s < whole.summary.latency_s
    assert dict(whole.memories[0].parts)["key and value cache"] == 65535 * values
    assert dict(part.memories[0].parts)["key and value cache"] == 4095 * values
    assert dict(step(0, cached=65536).memories[0].parts)["key and value cache"] == 65536 * values


def test_narrow_keys_and_values_are_read_narrow() -> None:
    def decode(dtype: str) -> hwsim.Report:
        layer = hwsim.Attention(
            "a", context=8191, heads=32, kv_heads=8, dim=128, input="bf16", weight=dtype, output="bf16"
        )
        return hwsim.simulate(MACHINES["h100"], hwsim.Workload("one", [layer], graph=False), batch=31)

    wide, narrow = decode("bf16"), decode("fp8")
    assert narrow.summary.dram_bytes < 0.6 * wide.summary.dram_bytes
    assert narrow.summary.latency_s < wide.summary.latency_s


@pytest.mark.parametrize(
    ("name", "pattern", "rows"),
    [("v100", "attn", 3), ("v100", "attn*", 3), ("v100", "attn.softmax", 1), ("h100", "attn", 1)],
)
def test_explain_takes_the_layer_or_its_products(name: str, pattern: str, rows: int, capsys, monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", ["hwsim", "explain", name, "llama3_8b_block_decode", pattern, "--batch", "3"])
    cli.main()
    assert capsys.readouterr().out.count(f") on {name}, batch 3: ") == rows


def test_a_block_of_llama_takes_what_its_bytes_and_macs_do() -> None:
    """Lower bounds of an H100 SXM: 989.4 TFLOP/s in bf16, 3.35 TB/s; each weight and cached value is read once."""
    machine = MACHINES["h100"]
    prefill = hwsim.simulate(machine, hwsim.load_workload("llama3_8b_block_prefill"))
    assert prefill.summary.latency_s > 2 * hwsim.load_workload("llama3_8b_block_prefill").macs / 989.4e12
    decode = hwsim.load_workload("llama3_8b_block_decode")
    for batch in (1, 31, 128):
        report = hwsim.simulate(machine, decode, batch=batch)
        compulsory = 2 * decode.weights + decode.cache_bytes(batch)
        assert report.summary.latency_s > compulsory / 3.35e12
        assert report.summary.latency_s < 4 * compulsory / 3.35e12
