"""Law 12: a property that has no effect is told by name, on every machine; and what is told has none."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import hwsim
from hwsim.engine.program import Pipeline, Program, Run, Stage
from hwsim.fields import check
from hwsim.machines import machine_names
from hwsim.machines.plan import LayerPlan
from hwsim.machines.properties import Unused
from hwsim.machines.spec import MachineSpec
from hwsim.message import as_message, sentence
from hwsim.report.unused import unused_messages
from hwsim.workload import DTYPES, FORMATS
from hwsim.yaml_source import parse_yaml

LAYERS: dict[str, hwsim.Layer] = {
    "conv": hwsim.Conv2d("conv", c=16, h=13, w=13, k=31, r=3, pad=1),
    "depthwise": hwsim.Conv2d("depthwise", c=24, h=9, w=9, k=24, r=3, pad=1, groups=24),
    "gemm": hwsim.Gemm("gemm", m=7, n=127, k=258),
    "matmul": hwsim.BatchedMatmul("matmul", b=3, m=17, n=31, k=64),
}


@cache
def machine(name: str) -> hwsim.Machine:
    return hwsim.load_machine(name)


def one(name: str, layer: hwsim.Layer) -> hwsim.Report:
    return hwsim.simulate(machine(name), hwsim.Workload("one", [layer]))


def cost(report: hwsim.Report) -> tuple[object, ...]:
    """All that a user pays for: time, energy, bytes over DRAM, and each component's actions on each tensor."""
    actions: dict[tuple[str, str], list[float]] = {}
    for _, component, tensor, _, count, energy in report.action_rows():
        total = actions.setdefault((component, tensor), [0, 0.0])
        total[0] += count
        total[1] = round(total[1] + energy, 6)
    return report.summary.latency_s, report.summary.dram_bytes, repr(actions)


def changes(layer: hwsim.Layer) -> Iterator[tuple[str, hwsim.Layer]]:
    """A property at a time."""
    for tensor in ("input", "weight", "output"):
        if not getattr(layer, tensor).elements:
            continue
        for density in (0.25, 0.75):
            yield f"{tensor}.density", layer.with_density(**{tensor: density})
        for form in FORMATS[1:]:
            if form != "2:4":
                yield f"{tensor}.format", layer.with_tensors(**{tensor: {"format": form}})
    if isinstance(layer, hwsim.Conv2d) and layer.groups == 1:
        yield "dead_out", layer.with_(dead_out=8)
        yield "dead_in", layer.with_(dead_in=4)
    if hasattr(layer, "activation"):
        yield "activation", layer.with_(activation="tanh")


@pytest.mark.parametrize("name", machine_names())
@pytest.mark.parametrize("kind", LAYERS)
def test_a_property_is_told_exactly_where_it_has_no_effect(name: str, kind: str) -> None:
    layer = LAYERS[kind]
    plain = one(name, layer)
    assert not [item for item in plain.unused if item.what == "unused"]
    for path, changed in changes(layer):
        report = one(name, changed)
        told = {item.property for item in report.unused if item.what == "unused"}
        assert told == ({path} if cost(report) == cost(plain) else set()), (path, changed)


@pytest.mark.parametrize("name", machine_names())
@pytest.mark.parametrize("kind", LAYERS)
def test_a_pattern_is_told_where_it_costs_what_zeros_at_random_cost(name: str, kind: str) -> None:
    """The 2:4 format included, which a sparse tensor core takes: then nothing is told of weights."""
    layer = LAYERS[kind]
    if not layer.weight.elements:
        return
    random = one(name, layer.with_density(weight=0.5))
    for form in ("dense", "2:4"):
        report = one(name, layer.with_tensors(weight={"pattern": "2:4", "format": form}))
        told = {item.property for item in report.unused if item.what == "unused"}
        same = {"weight.pattern"} if cost(report) == cost(random) else set()
        kept = {"weight.format"} if form == "2:4" and same else set()
        dense = {"weight.density"} if cost(report) == cost(one(name, layer)) else set()
        assert told == same | kept | dense


@pytest.mark.parametrize("name", [name for name in machine_names() if not machine(name).has_spectra])
def test_a_spectrum_is_told_where_its_transform_is_not_counted(name: str) -> None:
    """1024 samples: a complex transform of 512 in 2,304 butterflies, and 512 that make it a real one."""
    audio = "int8" if name.startswith("nvdla") else "int16"
    (item,) = [
        item
        for item in one(name, hwsim.LogMel("features", samples=1024, bands=40, frames=30, input=audio)).unused
        if item.what == "free" or item.property == "spectrum"
    ]
    assert item.what == "free" or item.reason.values == {"butterflies": 2816, "logarithms": 40}


@pytest.mark.parametrize("name", ["nucleo_l4r5zi", "ethos_u55_128"])
def test_a_board_counts_the_spectrum(name: str) -> None:
    """A neural processor leaves it to its host, a board too."""
    assert not one(name, hwsim.LogMel("features", samples=1024, bands=40, frames=30)).unused


def formats(report: hwsim.Report) -> list[Unused]:
    return [item for item in report.unused if item.what == "format"]


@pytest.mark.parametrize("name", machine_names())
@pytest.mark.parametrize("kind", LAYERS)
def test_a_number_format_is_run_refused_or_told(name: str, kind: str) -> None:
    """Two formats of other bits that nothing is said of never cost the same; one that runs as another costs as much."""
    layer, silent = LAYERS[kind], dict[str, tuple[object, ...]]()
    for dtype in DTYPES:
        changed = layer.with_dtype(input=dtype, weight=dtype if layer.weight.elements else None, output=dtype)
        try:
            report = one(name, changed)
        except hwsim.HwsimError as error:
            assert dtype in str(error), "a refusal names the format"
            continue
        told = formats(report)
        for item in told:
            assert item.value == dtype
            other = item.reason.values.get("run_as")
            if other and not report.rows[0].get("host"):  # which may run as another what the machine itself takes
                as_other = layer.with_dtype(input=other, weight=other if layer.weight.elements else None, output=other)
                assert cost(one(name, as_other)) == cost(report)
        if not told:
            alike = [
                known
                for known, paid in silent.items()
                if paid == cost(report) and DTYPES[known].bits != DTYPES[dtype].bits
            ]
            assert not alike, f"{dtype} costs what {alike} costs"
            silent[dtype] = cost(report)
    if machine(name).kind != "mcu" or "int8" in machine(name).library.runs:
        assert silent or told, "some format runs as it is"


@pytest.mark.parametrize("name", machine_names())
@pytest.mark.parametrize("dtype", ["int4", "binary", "int16", "fp16"])
def test_weights_of_another_format_are_told_or_cost_something_else(name: str, dtype: str) -> None:
    layer = LAYERS["gemm"]
    plain = one(name, layer)
    try:
        report = one(name, layer.with_dtype(weight=dtype))
    except hwsim.HwsimError as error:
        assert dtype in str(error)
        return
    told = [item for item in formats(report) if item.property == "weight.dtype"]
    assert told or cost(report) != cost(plain)


MINE = """\
kind: pe_array
name: mine
source: "made up"
clocks: {core: 500 MHz}
dataflow: weight_stationary
array: {rows: 16, cols: 16, wiring: systolic}
memories:
  dram: {holds: [ifmap, weight, ofmap], bandwidth: 8 B/cycle}
  buffer: {holds: [ifmap, weight, ofmap], size: 128 KiB}
energy:
  table: horowitz_45nm
  prices: {mac: {entry: int8_mac}, pe: {entry: register_32b}, buffer: {sram: 128 KiB}, dram: {entry: dram_32b}}
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(MINE)
    return path


def test_a_mac_in_a_format_that_its_price_is_not_of_is_an_error(mine: Path) -> None:
    """300 fJ are an int8 MAC: not an fp32 one, and an int4 one only where the price says so."""
    for dtype, entry in (("fp32", "fp32_mac"), ("int4", r"\.\.\."), ("fp16", "fp16_mac")):
        layer = hwsim.Gemm("fc", n=64, k=64, input=dtype, weight=dtype, output=dtype)
        network = hwsim.Workload("w", [layer])
        add = rf"fc: energy.prices must give a MAC in {dtype}: energy.prices.mac is of int8; add mac.{dtype}: {{entry: {entry}}}"
        with pytest.raises(hwsim.HwsimError, match=add):
            hwsim.simulate(hwsim.load_machine(mine), network)
        own = {"energy.prices.mac": {"entry": "fp32_mac", "format": dtype}}
        assert not formats(hwsim.simulate(hwsim.load_machine(mine, set=own), network))
        several = {"energy.prices.mac": {"entry": "int8_mac", "format": ["int8", dtype]}}
        told = formats(hwsim.simulate(hwsim.load_machine(mine, set=several), network))
        assert {(item.property, item.value, item.reason.values["priced_as"]) for item in told} == {
            (f"{tensor}.dtype", dtype, "int8") for tensor in ("input", "weight")
        }
    nameless = {"energy.prices.mac": {"energy": "1 pJ", "source": "made up"}}
    with pytest.raises(hwsim.InputError, match=r"prices\.mac must name the number formats of its MAC, as format: int8"):
        hwsim.load_machine(mine, set=nameless)
    for free in ({"energy": "0 pJ", "source": "made up"}, {"unknown": True}):
        assert not formats(hwsim.simulate(hwsim.load_machine(mine, set={"energy.prices.mac": free}), network))
    with pytest.raises(hwsim.InputError, match="format must be a number format, not 'int9'"):
        hwsim.load_machine(mine, set={"energy.prices.mac": {"entry": "int8_mac", "format": "int9"}})


def test_a_mac_takes_the_entry_of_its_format(mine: Path) -> None:
    """Horowitz, ISSCC 2014: multiplier plus adder."""
    machine = hwsim.load_machine(mine, set={"energy.prices.mac": {"entry": "mac", "times": 2}})
    for dtype, energy_pj in (("int8", 0.2 + 0.1), ("int16", 0.79 + 0.1), ("fp16", 1.1 + 0.4), ("fp32", 3.7 + 0.9)):
        layer = hwsim.Gemm("fc", n=31, k=127, input=dtype, weight=dtype, output=dtype)
        report = hwsim.simulate(machine, hwsim.Workload("w", [layer]))
        assert report.component_energy()["mac"] == pytest.approx(31 * 127 * 2 * energy_pj)
        assert not formats(report)
    for dtype in ("int4", "bf16"):
        layer = hwsim.Gemm("fc", n=64, k=64, input=dtype, weight=dtype, output=dtype)
        with pytest.raises(
            hwsim.HwsimError, match=rf"MAC in {dtype}: cost table 'horowitz_45nm' has no entry {dtype}_mac"
        ):
            hwsim.simulate(machine, hwsim.Workload("w", [layer]))


def test_a_mac_priced_by_an_entry_of_that_name_has_formats(mine: Path) -> None:
    """`entry: mac` with a format is an entry of the table called so, which Horowitz's has not."""
    own = {"energy.prices.mac": {"entry": "mac", "format": ["int8", "fp16"]}}
    with pytest.raises(hwsim.HwsimError, match="horowitz_45nm' has no entry 'mac'"):
        hwsim.simulate(hwsim.load_machine(mine, set=own), hwsim.Workload("w", [LAYERS["gemm"]]))


def test_an_sram_priced_at_another_size_is_told(mine: Path) -> None:
    network = hwsim.Workload("w", [LAYERS["gemm"]])
    price = ("price", "energy.prices.buffer.sram", "128.0 KiB", {"memory": "buffer", "size_bytes": 2**20})
    for changes, told in (
        ({}, []),
        ({"memories.buffer.size": "1 MiB"}, [price]),
        ({"memories.buffer.size": "1 MiB", "memories.buffer.bank": "128 KiB"}, []),
        ({"memories.buffer.size": "1 MiB", "energy.prices.buffer.source": "eight of them, one at work"}, []),
    ):
        report = hwsim.simulate(hwsim.load_machine(mine, set=changes), network)
        assert [(i.what, i.property, i.value, i.reason.values) for i in report.unused if i.what == "price"] == told


def test_keys_that_the_user_gave_for_nothing_are_told_and_those_of_shipped_files_are_not(mine: Path) -> None:
    network = hwsim.Workload("w", [LAYERS["gemm"]])
    machine_ = hwsim.load_machine(mine, set={"mapper.pass_cycles": 8, "energy.prices.bufer": {"entry": "int8_add"}})
    told = {item.property: item.value for item in hwsim.simulate(machine_, network).unused}
    assert told == {"mapper.pass_cycles": "8", "energy.prices.bufer": ""}
    assert not hwsim.simulate(machine("nucleo_l4r5zi"), network).unused
    board = hwsim.load_machine("nucleo_l4r5zi", set={"flash.wait_states": 7})
    assert [item.property for item in hwsim.simulate(board, network).unused] == ["flash.wait_states"]


def test_a_gated_mac_without_a_price_of_its_own_is_told(mine: Path) -> None:
    gating = hwsim.load_machine(mine, set={"array.zeros": "gate"})
    dense, sparse = (hwsim.Workload("w", [LAYERS["gemm"].with_density(input=d)]) for d in (1.0, 0.5))
    assert not hwsim.simulate(gating, dense).unused
    told = hwsim.simulate(gating, sparse).unused
    assert [(item.what, item.property) for item in told] == [("price", "a gated MAC"), ("unused", "input.density")]
    change = {
        "array.zeros": "gate",
        "energy.prices": gating.document.data["energy"]["prices"] | {"mac.gated": {"entry": "int8_add"}},
    }
    assert not hwsim.simulate(hwsim.load_machine(mine, set=change), sparse).unused


def test_layers_that_take_nothing_are_told_unless_another_does_their_work() -> None:
    network = hwsim.load_workload("alexnet")
    free = [item.layer for item in hwsim.simulate(machine("eyeriss_v1"), network).unused if item.what == "free"]
    assert free == ["norm1", "pool1", "norm2", "pool2", "pool5", "prob"]
    shape = (64, 56, 56)
    conv, add = hwsim.Conv2d("conv", c=64, h=56, w=56, k=64, r=1), hwsim.Elementwise("add", shape=shape)
    alone = hwsim.simulate(machine("xeon_8280"), hwsim.Workload("w", [add]))
    assert [(item.layer, item.reason.code) for item in alone.unused] == [("add", "unused.no_producer")]
    both = hwsim.Workload("w", [conv, (add, ["conv", "conv"])], input_shape=shape)
    assert not hwsim.simulate(machine("xeon_8280"), both).unused
    rows = hwsim.DataMovement("flat", shape=shape, type="reshape")
    assert not hwsim.simulate(machine("xeon_8280"), hwsim.Workload("w", [rows])).unused


def test_formats_of_processors_and_graphics_processors() -> None:
    """int4, binary and ternary run as int8, fp16 as fp32 on processors; what a GPU lacks falls back; H100 has fp8."""
    layer = LAYERS["gemm"]
    for name, dtype, other in (
        ("epyc_zen5", "int4", "int8"), ("epyc_zen5", "binary", "int8"), ("epyc_zen5", "fp16", "fp32"),
        ("v100", "int4", "int8"), ("v100", "bf16", "fp32"),
    ):  # fmt: skip
        report = one(name, layer.with_dtype(input=dtype, weight=dtype, output=dtype))
        assert {item.reason.values["run_as"] for item in report.unused} == {other}
        assert {item.reason.values["by"] for item in report.unused} == {f" by {machine(name).why_unused('dtype')}"}
    assert not one("h100", layer.with_dtype(input="fp8", weight="fp8", output="bf16")).unused
    wide = one("a100", layer.with_dtype(input="fp16", weight="int4", output="fp16")).unused
    assert [(item.property, item.reason.values["multiplied_as"]) for item in wide] == [("weight.dtype", "fp16")]
    asked = hwsim.load_machine("v100", set={"precision": "bf16"})
    told = hwsim.simulate(asked, hwsim.Workload("w", [layer])).unused
    assert [(item.property, item.value, str(item.reason)) for item in told] == [
        ("precision", "bf16", "run as fp32 by tensorrt")
    ]


def test_published_runs_use_the_densities_of_their_layers() -> None:
    """Eyeriss gates zeros and codes rows by them: nothing is said of AlexNet's convolutions."""
    network = hwsim.load_workload("alexnet").select("conv*")
    assert not hwsim.simulate(machine("eyeriss_v1"), network, 4).unused


def test_a_message_a_reason() -> None:
    def sentences(items: list[Unused], of: int) -> list[str]:
        return [sentence(message, of) for message in unused_messages(items)]

    dense, computed, unit = (as_message(text) for text in ("kernels are dense", "run as int8", "no unit"))
    items = [Unused("unused", f"fc{n}", "weight.density", f"0.{n}", dense) for n in (1, 2, 3, 5, 9)]
    (message,) = unused_messages(items)
    assert message.code == "property.unused"
    assert message.layers == ("fc1", "fc2", "fc3", "fc5", "fc9")
    assert message.values["values"] == ["0.1", "0.2", "0.3", "0.5", "0.9"]
    text = "no effect of weight.density 0.1 to 0.9 (kernels are dense)"
    assert sentences(items, 9) == [f"fc1, fc2, fc3 and 2 more: {text}"]
    assert sentences(items, 5) == [f"all 5 layers: {text}"]
    assert sentences(items[:1], 9) == ["fc1: no effect of weight.density 0.1 (kernels are dense)"]
    both = [Unused("format", "a", f"{tensor}.dtype", "int4", computed) for tensor in ("input", "weight", "output")]
    assert sentences(both, 2) == ["a: dtype int4 in another number format (run as int8)"]
    assert sentences([Unused("free", "pool", "", "", unit)], 3) == ["pool: no time and no energy (no unit)"]
    key = Unused("unused", "", "accumulator_bits", "8", as_message("not read"))
    assert sentences([key], 1) == ["no effect of accumulator_bits 8 (not read)"]
    dead = [Unused("unused", n, f"dead_{e}", "3", computed) for n, e in (("a", "out"), ("b", "in"), ("b", "out"))]
    assert [m.layers for m in unused_messages(dead)] == [("a", "b")], "one fact is one message"


def test_a_microcontroller_says_what_zeros_could_save() -> None:
    report = one("nucleo_l4r5zi", LAYERS["gemm"].with_density(weight=0.09))
    (item,) = (item for item in report.unused if item.property == "weight.density")
    assert str(item.reason).endswith("are dense; in flash, dense formats store zeros")
    assert report.summary.latency_s == one("nucleo_l4r5zi", LAYERS["gemm"]).summary.latency_s


def test_the_notes_and_the_json_of_a_run_have_it() -> None:
    report = one("xeon_8280", LAYERS["gemm"].with_density(weight=0.09))
    text = "gemm: no effect of weight.density 0.09 (kernels of openvino-2024.3 are dense)"
    assert text in report.notes
    data = report.to_dict()
    assert text in data["notes"]
    (message,) = (item for item in data["messages"] if item["code"] == "property.unused")
    assert message["layers"] == ["gemm"]
    assert message["values"]["values"] == ["0.09"]
    assert data["unused"] == [
        {
            "what": "unused",
            "layer": "gemm",
            "property": "weight.density",
            "value": "0.09",
            "reason": "kernels of openvino-2024.3 are dense",
        }
    ]
    assert text in report.to_html()


class Scalar(hwsim.Machine):
    """A kind from elsewhere, which says nothing of what it uses."""

    kind = "scalar"
    core_clock = "core"

    def _plan(self, layer: hwsim.Layer, batch: int) -> LayerPlan:
        macs = round(layer.macs * batch * layer.weight.density)
        program = Program({"core": 1}, (Pipeline("run", (Stage("compute", "core"),), (Run(1, (macs,)),)),))
        return LayerPlan(
            layer, batch, "scalar", program, {("mac", "", layer.input.dtype): macs}, macs, macs, macs, macs, 1, 0, {}
        )  # fmt: skip


def test_a_kind_from_elsewhere_is_held_to_it_without_saying_anything(tmp_path: Path) -> None:
    text = """kind: scalar
name: own
source: "made up"
clocks: {core: 1 MHz}
energy: {table: horowitz_45nm, prices: {mac.int8: {entry: int8_mac}}}
"""
    own = Scalar(check(MachineSpec, parse_yaml(text)), tmp_path, parse_yaml(text))
    layer = LAYERS["gemm"].with_density(weight=0.5, input=0.5)
    told = hwsim.simulate(own, hwsim.Workload("w", [layer])).unused
    assert [(i.property, i.reason.values) for i in told] == [("input.density", {"kind": "scalar"})]


COLUMNS = (
    "eyeriss_v1",
    "systolic_ws",
    "tpu_v1",
    "nvdla_2048",
    "nucleo_l4r5zi",
    "xeon_8280",
    "epyc_zen5",
    "h100",
    "v100",
)


def table() -> str:
    """Which properties of a layer have an effect on which machine in any of the four layers, but for number formats."""
    found: dict[str, set[str]] = {}
    for name in COLUMNS:
        for layer in LAYERS.values():
            both = {"pattern": "2:4", "format": "2:4"}
            tensors = [tensor for tensor in ("input", "weight", "output") if getattr(layer, tensor).elements]
            sparse = [(f"{tensor}.format", layer.with_tensors(**{tensor: both})) for tensor in tensors]
            for path, changed in (*changes(layer), *sparse):
                if path not in {item.property for item in one(name, changed).unused}:
                    tensor, _, name_of = path.partition(".")
                    row = f"{path}: {getattr(changed, tensor).format}" if name_of == "format" else path
                    found.setdefault(row, set()).add(name)
    lines = [f"| property | {' | '.join(f'`{name}`' for name in COLUMNS)} |", f"|---|{'---|' * len(COLUMNS)}"]
    for row, names in sorted(found.items()):
        lines.append(f"| `{row}` | {' | '.join('used' if name in names else '-' for name in COLUMNS)} |")
    return "\n".join(lines) + "\n"


def test_the_table_of_the_docs_is_what_machines_do() -> None:
    page = Path(__file__).parents[1] / "docs" / "models.md"
    assert table() in page.read_text(encoding="utf-8")


def test_sixteen_bit_values_with_eight_bit_weights_are_the_kernels_own_format() -> None:
    """TFLite's 16x8: the notes once planned an all-16-bit layer, which the library refuses, and the run failed."""
    layer = hwsim.Conv2d("c", c=31, h=17, w=17, k=127, r=3, input="int16", weight="int8", output="int16")
    for name in ("apollo510", "esp32s3", "rp2040", "atmega328p"):
        report = hwsim.simulate(hwsim.load_machine(name), hwsim.Workload("w", [layer]))
        assert not report.unused
        assert report.notes


@pytest.mark.parametrize("name", ["nucleo_l4r5zi", "epyc_zen5"])
def test_formats_of_layers_without_products_are_told(name: str) -> None:
    pool = hwsim.Pool2d("p", c=16, h=31, w=31, r=3, input="fp8", output="fp8")
    report = hwsim.simulate(hwsim.load_machine(name), hwsim.Workload("w", [pool]))
    assert {(item.what, item.property, item.value) for item in report.unused} >= {("format", "input.dtype", "fp8")}


def test_few_zeros_are_taken_for_chance() -> None:
    """Of int8 weights of a file some are zero; only pruning is worth a word."""
    machine = hwsim.load_machine("a100")
    for density, told in ((0.97, False), (0.5, True)):
        layer = hwsim.Gemm("g", n=257, k=129, weight={"density": density})
        report = hwsim.simulate(machine, hwsim.Workload("w", [layer]))
        assert any(item.property == "weight.density" for item in report.unused) is told


def test_memory_is_that_of_the_formats_that_run() -> None:
    """A P4 has no bf16 kernels and runs fp32: 45,000 x 45,000 weights take 8.1 GB of its 8 GB."""
    layer = hwsim.Gemm("g", n=45000, k=45000, input="bf16", weight="bf16", output="bf16")
    for change in ({}, {"precision": "fp32"}):
        report = hwsim.simulate(hwsim.load_machine("p4", set=change), hwsim.Workload("w", [layer]))
        assert not report.summary.fits
        assert dict(report.memories[0].parts)["weights"] == 4 * 45000**2 + 4 * 45000


@pytest.mark.parametrize("name", ["a100", "xeon_8280"])
def test_activations_are_those_of_the_precision_that_runs(name: str) -> None:
    """Token ids of 32 bits in a network's first layer once divided the rest by four."""
    reports = [
        hwsim.simulate(hwsim.load_machine(name, set={"precision": precision}), hwsim.load_workload("bert_base"))
        for precision in ("int8", "fp32")
    ]
    small, large = (report.summary.peak_memory_bytes for report in reports)
    assert small < large <= 4 * small
    if reports[0].memories:
        assert dict(reports[0].memories[0].parts)["activations"] == small


@pytest.mark.parametrize(
    ("name", "prices", "told"),
    [
        ("a100", {"prices": {"nosuch": {"energy": "1 pJ", "bits": 8, "source": "x"}}}, {"prices.nosuch"}),
        ("a100", {"prices": {"dram": {"energy": "1 pJ", "bits": 8, "source": "x"}}}, set()),
        (
            "epyc_zen5",
            {"energy": {"table": "horowitz_45nm", "prices": {"foo": {"energy": "1 pJ", "source": "x"}}}},
            {"energy.prices.foo"},
        ),
    ],
)
def test_prices_of_parts_that_are_not_there_are_told(name: str, prices: dict[str, object], told: set[str]) -> None:
    report = hwsim.simulate(hwsim.load_machine(name, set=prices), hwsim.load_workload("lenet5_caffe"))
    assert {item.property for item in report.unused if "prices" in item.property} == told


def test_actions_that_no_memory_has_are_told(tmp_path: Path) -> None:
    from hwsim.machines import machine_folder

    text = (machine_folder() / "systolic_ws.yaml").read_text(encoding="utf-8")
    at = text.index("prices:") + len("prices:")
    mine = text[:at] + '\n    dram.banana: {energy: 1 pJ, bits: 8, source: "x"}' + text[at:]
    path = tmp_path / "mine.yaml"
    path.write_text(mine, encoding="utf-8")
    report = hwsim.simulate(hwsim.load_machine(path), hwsim.load_workload("lenet5_caffe"))
    assert "energy.prices.dram.banana" in {item.property for item in report.unused}
