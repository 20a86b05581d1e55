"""Energy: published prices, the stated interpolation and scaling, and no price out of thin air."""

import math
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

import hwsim
from hwsim.energy import energy_factor, load_table, scale_energy, table_names
from hwsim.energy.price import word_width
from hwsim.energy.scaling import NODES, neighbors
from hwsim.errors import HwsimError, InputError
from hwsim.machines import machine_names
from hwsim.machines.pe_array.spatial import cost_of
from hwsim.mapping import gemm_problem

HOROWITZ = load_table("horowitz_45nm")
WORK = hwsim.Workload(
    "two", [hwsim.Conv2d("c", c=8, h=12, w=12, k=16, r=3, pad=1), hwsim.Gemm("f", m=1, n=10, k=64)], graph=False
)


@pytest.mark.parametrize(("size", "energy"), [(8192, 10.0), (32768, 20.0), (2**20, 100.0)])
def test_published_sram_points_are_met(size: int, energy: float) -> None:
    """Horowitz, ISSCC 2014, fig. 1.1.9: a 64-bit read of 8 KB, 32 KB and 1 MB."""
    assert HOROWITZ.sram_read(size, 64) == pytest.approx(energy, rel=1e-12)


@given(st.integers(10, 26), st.integers(1, 512))
def test_sram_reads_grow_with_size_and_in_proportion_to_width(log2_size: int, width: int) -> None:
    one = HOROWITZ.sram_read(2**log2_size, width)
    assert HOROWITZ.sram_read(2 ** (log2_size + 1), width) > one
    assert HOROWITZ.sram_read(2**log2_size, 2 * width) == pytest.approx(2 * one)


# Stillmaker and Baas, Integration 58 (2017): energy relative to 45 nm at 0.9 V, worked from the polynomials.
@pytest.mark.parametrize(
    ("node", "at_09", "at_08"),
    [(130, 3.167, 2.518), (65, 1.253, 1.018), (45, 1.0, 0.821), (16, 0.187, 0.142), (7, 0.102, 0.077)],
)
def test_node_scaling(node: int, at_09: float, at_08: float) -> None:
    assert scale_energy(1.0, (45, 0.9), (node, 0.9)) == pytest.approx(at_09, abs=1.1e-3)
    assert scale_energy(1.0, (45, 0.9), (node, 0.8)) == pytest.approx(at_08, abs=1.1e-3)


@given(st.sampled_from(NODES), st.sampled_from(NODES), st.floats(0.5, 1.2), st.floats(0.5, 1.2))
def test_scaling_there_and_back_changes_nothing(a: int, b: int, va: float, vb: float) -> None:
    assert scale_energy(scale_energy(3.0, (a, va), (b, vb)), (b, vb), (a, va)) == pytest.approx(3.0)


@pytest.mark.parametrize(("node", "larger", "smaller"), [(28, 32, 20), (22, 32, 20), (12, 14, 10), (57.5, 65, 45)])
def test_a_node_between_two_published_ones_lies_on_their_line_in_log_log_axes(
    node: float, larger: int, smaller: int
) -> None:
    at, above, below = (math.log(energy_factor(n, 0.85)) for n in (node, larger, smaller))
    slope = (above - below) / math.log(larger / smaller)
    assert at == pytest.approx(below + slope * math.log(node / smaller), abs=1e-12)
    assert neighbors(node) == (larger, smaller)


@given(st.floats(7, 130), st.floats(7, 130))
def test_energy_shrinks_with_the_node_at_a_voltage(one: float, other: float) -> None:
    small, large = sorted((one, other))
    assert energy_factor(small, 0.9) <= energy_factor(large, 0.9) * (1 + 1e-12)


def test_a_node_or_voltage_outside_the_published_ones_is_told() -> None:
    for node in (5, 180):
        with pytest.raises(HwsimError, match=rf"node must be within 7 and 130 nm, not {node} nm"):
            energy_factor(node, 0.9)
    with pytest.raises(HwsimError, match=r"voltage must be within 0\.4 and 1\.4 V .*, not 3 V"):
        energy_factor(45, 3)


def test_a_run_says_between_which_nodes_its_prices_lie() -> None:
    def notes(**changes: str) -> list[str]:
        keys = {f"energy.{key}": value for key, value in changes.items()}
        return [str(note) for note in hwsim.simulate(hwsim.load_machine("tpu_v1", set=keys), WORK).notes]

    text = "prices at {} nm are interpolated between {} and {} nm (Stillmaker and Baas 2017)"
    assert text.format(28, 32, 20) in notes(node="28 nm")
    assert text.format(12.5, 14, 10) in notes(node="12.5 nm")
    assert not [note for node in ("32 nm", "7 nm", "130 nm") for note in notes(node=node) if "interpolated" in note]
    with pytest.raises(HwsimError, match=r"node must be within 7 and 130 nm, not 5 nm"):
        notes(node="5 nm")


def test_the_price_of_dram_does_not_change_with_the_node_of_the_chip() -> None:
    """640 pJ of 32 bits are those of a part beside the chip (Han et al., ISCA 2016, table I)."""
    for node in ("45 nm", "7 nm"):
        prices = hwsim.load_machine("systolic_ws", set={"energy.node": node}).prices
        assert prices.of("dram", "read").energy_pj == 640
        assert (prices.of("pe", "read").energy_pj == 1) == (node == "45 nm")


@pytest.mark.parametrize(("size", "note"), [("4 KiB", True), ("8 KiB", False), ("1 MiB", False), ("2 MiB", True)])
def test_a_run_says_which_sram_the_table_does_not_reach(size: str, note: bool) -> None:
    report = hwsim.simulate(hwsim.load_machine("systolic_ws", set={"energy.prices.sram.sram": size}), WORK)
    text = f"energy.prices.sram: {size} is extrapolated; the SRAMs of horowitz_45nm are 8 KiB to 1 MiB"
    assert (text in [str(message).replace(".0 ", " ") for message in report.notes]) == note


@pytest.mark.parametrize("name", table_names())
def test_every_entry_has_a_source(name: str) -> None:
    table = load_table(name)
    assert table.source
    assert all(len(entry.source) > 8 for entry in table.entries.values())


@pytest.mark.parametrize("name", ["eyeriss_65nm", "eyeriss_relative"])
def test_eyeriss_costs_are_the_published_multiples_of_a_mac(name: str) -> None:
    """Chen et al., ISCA 2016, table IV: register file 1, between PEs 2, buffer 6, DRAM 200."""
    table = load_table(name)
    mac = table.entry("mac16").energy
    costs = {e: table.entry(e).energy / mac for e in ("rf16", "noc16", "buffer16", "dram16")}
    assert costs == {"rf16": 1, "noc16": 2, "buffer16": 6, "dram16": 200}


@pytest.mark.parametrize("name", machine_names())
def test_energy_is_counts_times_prices_plus_static_power_times_time(name: str) -> None:
    machine = hwsim.load_machine(name)
    report = hwsim.simulate(machine, WORK)
    prices = machine.prices
    for result in report.results:
        parts = [
            count * prices.of(component, action).of_word(word_width(result.plan.word_bits, component, tensor))
            for (component, tensor, action), count in result.plan.counts.items()
            if count
        ]
        total = math.fsum([*parts]) + prices.static_w * result.latency_s * 1e12
        assert result.energy_pj == total or (math.isnan(result.energy_pj) and math.isnan(total))
    rows = sum(r[-1] for r in report.action_rows())
    assert report.summary.energy_pj == pytest.approx(rows, rel=1e-12, nan_ok=True)


def test_a_missing_price_is_an_error_that_names_it(tmp_path) -> None:
    text = (hwsim.machines.machine_folder() / "systolic_ws.yaml").read_text()
    for line in ("    pe: {entry: register_32b}\n", "    sram: {sram: memory}\n"):
        assert line in text
        text = text.replace(line, "")
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        hwsim.simulate(hwsim.load_machine(path), WORK)
    where, line = str(path), text.splitlines().index("  prices:") + 2
    sram, pe = str(error.value).splitlines()  # all that lack one at once, at the line of the prices
    for fault, part in ((sram, "sram"), (pe, "pe")):
        assert fault.startswith(f"{where}:{line}:5: c: energy.prices must give {part}.")
        assert f", or {part} for all of its actions (" in fault
        assert "valid: 'dram'" in fault


def test_an_unknown_energy_is_shown_and_never_a_number(tmp_path) -> None:
    text = (hwsim.machines.machine_folder() / "systolic_ws.yaml").read_text()
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace("dram: {entry: dram_32b}", "dram: {unknown: true}"))
    report = hwsim.simulate(hwsim.load_machine(path), WORK)
    assert math.isnan(report.summary.energy_pj)
    assert report.to_dict()["summary"]["energy_pj"] is None
    assert report.component_energy()["sram"] > 0


ARRAY = """\
kind: pe_array
name: mine
source: "made up"
clocks: {core: 500 MHz}
dataflow: weight_stationary
array: {rows: 8, cols: 16, wiring: noc}
memories:
  dram: {holds: [ifmap, weight, ofmap], bandwidth: 8 B/cycle}
  buffer: {holds: [ifmap, weight, ofmap], size: 128 KiB}
  rf: {holds: [ifmap, weight, ofmap], size: 512 B, per: pe}
energy:
  table: horowitz_45nm
  prices:
    mac: {entry: int8_mac}
    rf: {sram: memory}
    buffer: {sram: memory}
    noc: {entry: int8_add}
    dram: {entry: dram_32b}
"""


@pytest.fixture
def array(tmp_path: Path) -> Path:
    path = tmp_path / "array.yaml"
    path.write_text(ARRAY)
    return path


@pytest.mark.parametrize(
    ("changes", "name", "size"),
    [
        ({}, "buffer", 2**17),
        ({"memories.buffer.size": "1 MiB"}, "buffer", 2**20),
        ({"memories.buffer.size": "31 KiB"}, "buffer", 31 * 2**10),
        ({"memories.buffer.bank": "8 KiB"}, "buffer", 2**13),
        ({"memories.buffer.size": "1 KiB", "memories.buffer.size_of": "pe"}, "buffer", 8 * 16 * 2**10),
        ({"memories.rf.size": "257 B", "array.rows": 31}, "rf", 257),
    ],
)
def test_a_price_follows_the_size_of_its_memory(array: Path, changes: dict[str, object], name: str, size: int) -> None:
    machine = hwsim.load_machine(array, set=changes)
    assert machine.prices.of(name, "read").energy_pj == HOROWITZ.sram_read(size, 64)


def test_a_price_follows_the_largest_part_of_a_split() -> None:
    machine = hwsim.load_machine("systolic_ws", set={"memories.sram.split.ofmap": "1 MiB"})
    assert machine.prices.of("sram", "read").of_word(64) == pytest.approx(100)
    assert hwsim.load_machine("systolic_ws").prices.of("sram", "read").energy_pj == HOROWITZ.sram_read(2**19, 64)


def test_the_energy_of_a_run_grows_with_the_buffer_and_is_told_where_the_price_does_not(array: Path) -> None:
    """A buffer of 1 MiB that holds the same tiles: the same reads, at 100 pJ instead of those of 128 KiB."""
    fixed = {"energy.prices.buffer": {"sram": "128 KiB"}}
    small, large, stays = (
        hwsim.simulate(hwsim.load_machine(array, set=changes), WORK)
        for changes in ({}, {"memories.buffer.size": "1 MiB"}, {"memories.buffer.size": "1 MiB"} | fixed)
    )
    assert large.component_energy()["buffer"] > small.component_energy()["buffer"]
    assert large.summary.energy_pj > small.summary.energy_pj
    assert stays.component_energy()["buffer"] < large.component_energy()["buffer"]
    assert not large.unused
    assert [item.property for item in stays.unused] == ["energy.prices.buffer.sram"]


def test_plans_weigh_the_price_that_follows(array: Path) -> None:
    layer = WORK["f"]
    problem = gemm_problem(1, 10, 64, bits=(8, 8, 8))
    costs = {
        size: cost_of(hwsim.load_machine(array, set={"memories.buffer.size": size}).array, layer, problem).prices
        for size in ("8 KiB", "1 MiB")
    }
    assert {size: prices and prices["buffer", "weight", "read"] for size, prices in costs.items()} == {
        "8 KiB": pytest.approx(10 / 8),
        "1 MiB": pytest.approx(100 / 8),
    }


def test_sweeps_and_bases_follow(array: Path) -> None:
    sizes = ["64 KiB", "1 MiB"]
    results = hwsim.sweep(
        {"machines": str(array), "workloads": "lenet5_caffe", "set": {"memories.buffer.size": sizes}}, workers=1
    )
    for row, size in zip(results.to_dict("records"), sizes, strict=True):
        own = hwsim.load_machine(array, set={"memories.buffer.size": size})
        assert row["energy_pj"] == hwsim.simulate(own, hwsim.load_workload("lenet5_caffe")).summary.energy_pj
    path = array.parent / "larger.yaml"
    path.write_text("base: array.yaml\nname: larger\nmemories: {buffer: {size: 1 MiB}}\n")
    assert hwsim.load_machine(path).prices.of("buffer", "read").energy_pj == pytest.approx(100)


def test_a_price_that_has_no_memory_to_follow_is_an_error(array: Path) -> None:
    for changes, name in (
        ({"energy.prices.noc": {"sram": "memory"}}, "noc"),
        ({"energy.prices.dram": {"sram": "memory"}}, "dram"),
        ({"energy.prices": {"bufer": {"sram": "memory"}}}, "bufer"),
    ):
        with pytest.raises(InputError, match=f"energy.prices.{name}.sram: must be a size, .* {name} is not a memory"):
            hwsim.load_machine(array, set=changes)
    with pytest.raises(InputError, match=r"energy\.prices\.buffer\.sram: must be"):
        hwsim.load_machine(array, set={"energy.prices.buffer.sram": "big"})
