"""Laws of every machine, for drawn layers: those of hwsim, a kind of the docs, and each --machine FILE."""

import re
import types
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings, strategies as st

import hwsim
from hwsim.engine import simulate as run_program
from hwsim.machines import kinds, machine_names
from hwsim.units import format_si

HARDWARE = Path(__file__).parent.parent / "docs" / "hardware.md"
FOLDER = TemporaryDirectory()
PLUG_IN = Path(FOLDER.name) / "scalar.yaml"
PLUG_IN.write_text("""kind: scalar
name: scalar
source: test
clocks: {core: 100 MHz}
cycles_per_mac: 2
energy: {table: horowitz_45nm, prices: {mac: {entry: int8_mac}}}
""")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "name" in metafunc.fixturenames:
        names = [*machine_names(), str(PLUG_IN), *metafunc.config.getoption("machine")]
        metafunc.parametrize("name", names, ids=lambda name: Path(name).stem)


@pytest.fixture(autouse=True, scope="module")
def plug_in() -> Iterator[None]:
    """The kind that the docs add, as its entry point would."""
    module = types.ModuleType("scalar_kind")
    blocks = re.findall(r"```python\n(.*?)```", HARDWARE.read_text(encoding="utf-8"), re.DOTALL)
    (code,) = (block for block in blocks if "class Scalar(" in block)
    exec(code, vars(module))
    kinds()["scalar"] = module.Scalar
    yield
    del kinds()["scalar"]


@cache
def machine_of(name: str) -> hwsim.Machine:
    return hwsim.load_machine(name)


@st.composite
def layers(draw: st.DrawFn) -> hwsim.Layer:
    """A small convolution (grouped, depthwise, strided) or product of matrices."""
    if draw(st.booleans()):
        return hwsim.Gemm("g", m=draw(st.integers(1, 40)), n=draw(st.integers(1, 200)), k=draw(st.integers(1, 200)))
    groups = draw(st.sampled_from([1, 1, 2, 8]))
    r, s = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    return hwsim.Conv2d(
        "c",
        c=groups * draw(st.integers(1, 12)),
        h=draw(st.integers(5, 30)),
        w=draw(st.integers(5, 30)),
        k=groups * draw(st.integers(1, 12)),
        r=r,
        s=s,
        stride=draw(st.integers(1, 2)),
        pad=draw(st.integers(0, 2)),
        groups=groups,
    )


def one(machine: hwsim.Machine, layer: hwsim.Layer, batch: int = 1) -> hwsim.Report:
    return hwsim.simulate(machine, hwsim.Workload("one", [layer]), batch=batch)


@pytest.mark.slow
@given(layer=layers(), batch=st.integers(1, 4))
@settings(max_examples=12, deadline=None)
def test_work_is_conserved_and_time_respects_every_lower_bound(name: str, layer: hwsim.Layer, batch: int) -> None:
    machine = machine_of(name)
    result = one(machine, layer, batch).results[0]
    plan, spec = result.plan, machine.spec
    assert plan.macs == layer.macs * batch
    multiplied = sum(n for (component, tensor, _), n in plan.counts.items() if component == "mac" and not tensor)
    if spec.kind == "sparse_array":  # padding is skipped, and planes have products for no output
        assert plan.macs_executed + plan.columns["skipped_macs"] == plan.macs
        assert multiplied >= plan.macs_executed
    else:
        assert multiplied == plan.macs
    assert plan.macs_executed <= plan.macs
    assert all(isinstance(n, int) and n >= 0 for n in plan.counts.values())
    assert isinstance(result.cycles, int)
    assert result.cycles * plan.peak_macs_per_cycle >= plan.macs_executed
    if spec.kind != "pe_array":
        return
    outer = spec.memories[spec.dram]
    speed = spec.bytes_per_second(outer.bandwidth, outer, machine.array.bits(layer)[0])
    assert Fraction(result.timeline.end) / machine.timebase.rate_hz >= plan.dram_bytes / speed
    assert plan.dram_bytes >= layer.weights * machine.array.bits(layer)[1] // 8


ODD_LAYERS = [
    hwsim.Conv2d("dead", c=127, h=31, w=31, k=257, r=3, pad=1, dead_in=126, dead_out=256),
    hwsim.Conv2d("one", c=1, h=31, w=31, k=1, r=3, pad=1),
    hwsim.Conv2d("padded", c=257, h=5, w=5, k=31, r=5, pad=4),
    hwsim.Conv2d("mostly_padding", c=512, h=1, w=1, k=512, r=3, pad=1),
    hwsim.Conv2d("dense", c=256, h=14, w=14, k=256, r=3, pad=1),
    hwsim.Conv2d("depthwise", c=127, h=31, w=31, k=127, r=3, pad=1, groups=127),
    hwsim.Conv2d("grouped", c=62, h=31, w=31, k=254, r=3, pad=1, groups=2),
    hwsim.Gemm("gemm", m=127, n=257, k=31),
    hwsim.Gemm("scalar", m=1, n=1, k=1),
    hwsim.Gemm("pruned", m=31, n=257, k=127).with_density(input=0.3, weight=0.1),
]


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 7])
def test_utilization_is_that_of_executed_macs_and_at_most_one(name: str, batch: int) -> None:
    """Dropped channels and skipped padding take no cycles: they are no use of the machine either."""
    changes = USES.get(machine_of(name).kind, [{}])
    for machine in (hwsim.load_machine(name, set=change) for change in changes):
        report = hwsim.simulate(machine, hwsim.Workload("odd", ODD_LAYERS, graph=False), batch)
        for result in report.results:
            plan = result.plan
            peak = plan.peak_macs_per_cycle * result.cycles
            assert result.utilization == plan.macs_executed * plan.streams / peak <= 1, result.name
        assert 0 < report.summary.utilization <= 1


@pytest.mark.slow
@pytest.mark.parametrize("network", ["mobilenet_v2_1.0_224", "resnet50_v1_5"])
@pytest.mark.parametrize("streams", ["all", 12])
def test_utilization_of_streams_on_efficient_cores_is_at_most_one(network: str, streams: str | int) -> None:
    """They are worth as many cores as in the mean of the network, in each of its layers."""
    for processor in ("core_i7_1360p", "core_i9_13900k"):
        machine = hwsim.load_machine(processor, set={"precision": "fp32", "streams": streams})
        report = hwsim.simulate(machine, hwsim.load_workload(network), 32)
        assert max(result.utilization for result in report.results) <= 1


PROCESSORS = [name for name in machine_names() if machine_of(name).kind in ("cpu", "gpu")]
USES = {
    "cpu": [{"precision": "fp32"}, {"precision": "int8", "threads": 1}, {"precision": "fp32", "streams": "all"}],
    "gpu": [{}, {"precision": "fp16"}],
}


@pytest.mark.slow
@pytest.mark.parametrize("processor", PROCESSORS)
@pytest.mark.parametrize(("network", "batch"), [("resnet50_v1_5", 32), ("mobilenet_v2_1.0_224", 1)])
def test_no_layer_moves_more_than_its_time_allows(processor: str, network: str, batch: int) -> None:
    """Of whole networks, where the weights of all others push a layer's own out of the caches."""
    for change in USES[machine_of(processor).kind]:
        machine = hwsim.load_machine(processor, set=change)
        report = hwsim.simulate(machine, hwsim.load_workload(network), batch)
        for result in report.results:
            for memory in machine.traffic(result.plan):
                assert memory.bytes <= memory.bytes_per_s * result.latency_s * (1 + 1e-9), (change, result.name)
                words = sum(n for (component, _, _), n in result.plan.counts.items() if component == memory.memory)
                assert (words > 0) == (memory.bytes > 0), "what is priced is what is moved"


@pytest.mark.slow
@given(layer=layers(), batch=st.integers(1, 4), density=st.floats(0, 1))
@settings(max_examples=12, deadline=None)
def test_no_plan_beats_its_lower_bound(name: str, layer: hwsim.Layer, batch: int, density: float) -> None:
    """Lower bounds from the shape alone, which exploration trusts: of time, of every action, and of bytes over DRAM."""
    machine = machine_of(name)
    layer = layer.with_density(input=density, output=1 - density)
    bound = machine.lower_bound(layer, batch)
    if bound is None:
        return
    result = one(machine, layer, batch).results[0]
    assert bound.seconds <= Fraction(result.timeline.end) / machine.timebase.rate_hz
    assert bound.dram_bytes <= result.plan.dram_bytes
    assert not {action: n for action, n in bound.counts.items() if n > result.plan.counts.get(action, 0)}
    assert all(bound.word_bits.get(tensor) == bits for tensor, bits in result.plan.word_bits.items())


@pytest.mark.slow
@given(layer=layers(), batch=st.integers(1, 3))
@settings(max_examples=10, deadline=None)
def test_fast_forward_is_the_full_run(name: str, layer: hwsim.Layer, batch: int) -> None:
    program = machine_of(name).plan(layer, batch).program
    fast, full = run_program(program), run_program(program, fast_forward=False)
    assert fast.end == full.end
    assert fast.resources == full.resources
    assert fast.stages == full.stages


@pytest.mark.slow
@given(layer=layers())
@settings(max_examples=6, deadline=None)
def test_doubling_every_clock_and_rate_halves_the_time(name: str, layer: hwsim.Layer) -> None:
    spec = machine_of(name).spec
    change = {f"clocks.{clock}": f"{int(2 * hz)} Hz" for clock, hz in spec.clocks.items()}
    for memory, level in getattr(spec, "memories", {}).items():
        if level.bandwidth is not None and level.bandwidth.per == "s":
            change[f"memories.{memory}.bandwidth"] = f"{float(2 * level.bandwidth.amount)} B/s"
        if getattr(level, "latency", None) is not None:
            change[f"memories.{memory}.latency"] = format_si(float(level.latency) / 2, "s", 12)
    if getattr(spec, "setup", None) is not None:
        change["setup"] = format_si(float(spec.setup) / 2, "s", 12)
    if spec.kind == "gpu":
        floor = machine_of(name).timer.floor
        change |= {"launch": f"{floor / 2:.9f} us", "power.board": f"{float(2 * spec.power.board)} W"}
    slow = one(machine_of(name), layer).results[0]
    fast = one(hwsim.load_machine(name, set=change), layer).results[0]
    # A transfer ends on a whole tick: each tile may round once.
    assert fast.latency_s == pytest.approx(slow.latency_s / 2, rel=1e-3, abs=slow.timeline.tiles * 3e-9)


def test_same_input_same_bytes_out(name: str) -> None:
    layer = hwsim.Conv2d("c", c=16, h=20, w=20, k=24, r=3, pad=1)
    first, second = (one(hwsim.load_machine(name), layer, 2).to_json() for _ in range(2))
    assert first == second


@given(layer=layers(), a=st.floats(0, 1), b=st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_more_zeros_never_move_more_bytes_in_a_format_chosen_for_them(layer: hwsim.Layer, a: float, b: float) -> None:
    machine = machine_of("eyeriss_v1")
    low, high = sorted((a, b))
    few, many = (one(machine, layer.with_density(input=d, output=d)).results[0].plan for d in (low, high))
    assert few.dram_bytes <= many.dram_bytes
    assert few.counts[few_key] <= many.counts[few_key] if (few_key := ("dram", "ifmap", "read")) in few.counts else True


@given(layer=layers())
@settings(max_examples=15, deadline=None)
def test_a_larger_buffer_never_moves_more_words_over_dram(layer: hwsim.Layer) -> None:
    """The chip's mapper minimizes DRAM words among mappings with enough active PEs, so with 0 required it is monotonic."""
    words = []
    for size in (60, 100, 200, 400):
        change = {"memories.glb.size": f"{size} KiB", "mapper.min_occupation": 0.0, "memories.dram.compress": {}}
        plan = one(hwsim.load_machine("eyeriss_v1", set=change), layer).results[0].plan
        words.append(plan.mapping and plan.dram_bytes)
    assert words == sorted(words, reverse=True)


def test_absurdly_large_layers_are_told(name: str) -> None:
    huge = hwsim.Conv2d("huge", c=65536, h=1000, w=1000, k=720720, r=3, pad=1)
    with pytest.raises(hwsim.InputError, match=r"huge: at most 2\^52 MACs"):
        one(machine_of(name), huge, 64)
    large = hwsim.Gemm("large", m=1, n=30000, k=60000)
    try:
        assert one(machine_of(name), large).summary.macs == 1_800_000_000
    except hwsim.InputError as error:
        assert "too much" in str(error) or "too few" in str(error)


@pytest.mark.parametrize("pad", [0, 1])
def test_the_link_carries_one_word_at_a_time(pad: int) -> None:
    """Sums of one tile and images of the next share the link: a layer that is all transfers takes as long as they do."""
    layer = hwsim.Conv2d("c", c=4, h=17, w=5, k=12, r=1, groups=2, pad=pad)
    result = one(machine_of("eyeriss_v1"), layer, 4).results[0]
    assert result.latency_s * 480e6 >= result.plan.dram_bytes
