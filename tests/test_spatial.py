"""Arrays that users make: any dataflow on any memories over a multicast network, planned by search."""

from pathlib import Path

import pytest

import hwsim
from hwsim.energy.price import word_width
from hwsim.errors import InputError
from hwsim.machines import Machine
from hwsim.machines.pe_array.spatial import cost_of
from hwsim.machines.plan import LayerPlan
from hwsim.mapping import batched_gemm_problem, check_capacity, counts, timing
from hwsim.workload.coding import Coding

FOUR_LEVELS = """\
kind: pe_array
name: four
source: "made up"
clocks: {core: 1 GHz}
dataflow: weight_stationary
array: {rows: 8, cols: 12, wiring: noc}
memories:
  main: {holds: [ifmap, weight, ofmap], bandwidth: 32 B/cycle}
  level2: {holds: [ifmap, weight, ofmap], size: 256 KiB}
  level1: {holds: [ifmap, ofmap], split: {ifmap: 8 KiB, ofmap: 8 KiB}, bandwidth: 64 B/cycle, double_buffered: false}
  spad: {holds: [weight, ofmap], size: 64 B, per: pe, double_buffered: false}
energy:
  table: eyeriss_relative
  prices:
    mac: {entry: mac16, format: [int16, int8]}
    spad: {entry: rf16}
    noc: {entry: noc16}
    level1: {entry: buffer16}
    level2: {entry: buffer16, times: 2}
    main: {entry: dram16}
"""
DATAFLOWS = ("row_stationary", "weight_stationary", "output_stationary", "input_stationary", "no_local_reuse")
CONV = hwsim.Conv2d("c", c=16, h=14, w=14, k=24, r=3, pad=1, input="int16", weight="int16", output="int16")
FC = hwsim.Gemm("fc", m=1, n=120, k=300, input="int8", weight="int8", output="int8")
DEPTHWISE = hwsim.Conv2d("dw", c=32, h=14, w=14, k=32, r=3, pad=1, stride=2, groups=32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("machines")
    (path / "four.yaml").write_text(FOUR_LEVELS)
    return path


def load(folder: Path, **changes: object) -> Machine:
    return hwsim.load_machine(folder / "four.yaml", set={key.replace("__", "."): v for key, v in changes.items()})


def words(plan: LayerPlan, component: str, tensor: str, *actions: str) -> int:
    return sum(n for (c, t, a), n in plan.counts.items() if (c, t) == (component, tensor) and a in actions)


@pytest.mark.slow
@pytest.mark.parametrize("layer", [CONV, FC, DEPTHWISE], ids=lambda layer: layer.name)
@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_four_levels(folder: Path, dataflow: str, layer: hwsim.Layer) -> None:
    machine = load(folder, dataflow=dataflow)
    plan = machine.plan(layer, 3)
    problem, mapping = plan.problem, plan.mapping
    assert problem is not None
    assert mapping is not None
    mapping.validate(problem)
    check_capacity(problem, mapping, machine.array.capacity_bits())
    extents = mapping.spatial_extents(problem)
    assert extents.get("rows", 1) <= 8
    assert extents.get("cols", 1) <= 12
    # Every word of a tensor comes in from DRAM or goes out at least once.
    assert words(plan, "main", "ifmap", "read") >= problem.words("ifmap")
    assert words(plan, "main", "weight", "read") == problem.words("weight") or layer is not FC
    assert words(plan, "main", "weight", "read") >= problem.words("weight")
    assert words(plan, "main", "ofmap", "update") >= problem.words("ofmap")
    # Each operand of each MAC is delivered over the network or read in the PE.
    assert plan.macs == plan.macs_executed == plan.counts["mac", "", layer.input.dtype] == layer.macs * 3
    private = "spad" if dataflow != "no_local_reuse" else "noc"
    assert words(plan, private, "weight", "read", "deliver") == plan.macs
    # Nothing is faster than the array, or than a memory moves its words.
    assert plan.compute_cycles * 96 >= plan.macs
    report = hwsim.simulate(machine, hwsim.Workload("one", [layer]), batch=3)
    moved = sum(
        words(plan, "level1", t, "fill", "read", "update", "drain") * plan.word_bits[t] / 8
        for t in ("ifmap", "ofmap", "psum")
    )
    assert report.results[0].cycles >= max(plan.compute_cycles, plan.dram_bytes / 32, moved / 64)


def test_energy_is_that_of_all_actions(folder: Path) -> None:
    """Counts by the prices of the file for 16 bits, the level-2 buffer twice the table's entry; partial sums have 32."""
    price = {"mac": 1, "spad": 1, "noc": 2, "level1": 6, "level2": 12, "main": 200}
    report = hwsim.simulate(load(folder), hwsim.Workload("one", [CONV]))
    assert report.summary.energy_pj == pytest.approx(
        sum(n * price[c] * (2 if t == "psum" else 1) for (c, t, _), n in report.results[0].plan.counts.items())
    )


@pytest.mark.slow
def test_more_memory_is_never_dearer(folder: Path) -> None:
    energies = []
    for size in ("4 KiB", "16 KiB", "256 KiB"):
        machine = load(folder, memories__level2__size=size)
        plan = machine.plan(hwsim.Gemm("small", m=4, n=12, k=16, input="int16", weight="int16", output="int16"), 1)
        assert plan.why[0].code == "pe_array.optimum"
        energies.append(hwsim.simulate(machine, hwsim.Workload("one", [plan.layer])).summary.energy_pj)
    assert energies == sorted(energies, reverse=True)


def test_objectives(folder: Path) -> None:
    found = {o: load(folder, mapper={"objective": o}).plan(CONV, 1) for o in ("energy", "latency", "dram")}
    assert found["latency"].compute_cycles <= found["energy"].compute_cycles
    assert found["dram"].dram_bytes <= min(found["energy"].dram_bytes, found["latency"].dram_bytes)


def test_zeros_that_are_gated_cost_no_product(folder: Path) -> None:
    half = CONV.with_tensors(input={"density": 0.5})
    plan = load(folder, array__zeros="gate").plan(half, 1)
    assert plan.counts["mac", "", "gated"] == plan.counts["mac", "", "int16"] == CONV.macs // 2
    assert plan.macs_executed == CONV.macs  # in their cycles, but for nothing
    assert words(plan, "spad", "weight", "read") == CONV.macs // 2


@pytest.mark.parametrize(
    ("operands", "products", "ifmaps", "weights"),
    [("ifmap", 0.5, 1.0, 0.5), ("weight", 0.25, 0.25, 1.0), ("both", 0.125, 1.0, 0.5)],
)
def test_zeros_of_either_operand_are_gated(
    folder: Path, operands: str, products: float, ifmaps: float, weights: float
) -> None:
    """Zeros that are independent: the product is computed where neither is zero; the ifmap word is read first."""
    layer = CONV.with_density(input=0.5, weight=0.25)
    holds = {"memories.spad.holds": ["ifmap", "weight", "ofmap"]}
    changes = holds | {"array.zeros": "gate", "array.zero_operands": operands}
    plan = hwsim.load_machine(folder / "four.yaml", set=changes).plan(layer, 3)
    macs = layer.macs * 3
    assert plan.counts["mac", "", "int16"] == macs * products
    assert plan.counts["mac", "", "gated"] == macs * (1 - products)
    assert words(plan, "spad", "ifmap", "read") == macs * ifmaps
    assert words(plan, "spad", "weight", "read") == macs * weights
    assert words(plan, "spad", "ofmap", "update") + words(plan, "spad", "psum", "update") == macs * products
    assert plan.macs_executed == macs


def test_the_right_operand_of_a_product_of_activations_stands_for_its_weights(folder: Path) -> None:
    layer = hwsim.BatchedMatmul("scores", b=2, m=8, n=8, k=16).with_density(input=0.5, weight=0.5)
    plan = load(folder, array__zeros="gate", array__zero_operands="both").plan(layer, 1)
    assert plan.counts["mac", "", "int8"] == layer.macs // 4


def test_a_narrow_port_binds(folder: Path) -> None:
    report = hwsim.simulate(
        load(folder, memories__level1__ports={"ifmap": "1 words/cycle"}), hwsim.Workload("one", [CONV])
    )
    plan = report.results[0].plan
    assert report.results[0].bound == "level1 ifmap port"
    assert report.results[0].cycles >= words(plan, "level1", "ifmap", "read")


def test_a_bandwidth_is_of_all_that_moves_in_and_out(folder: Path) -> None:
    """Reads, fills, updates and drains of a memory of 1 B a cycle, each word of as many bits as it has there."""
    machine = load(folder, memories__level1__bandwidth="1 B/cycle")
    result = hwsim.simulate(machine, hwsim.Workload("one", [CONV])).results[0]
    assert result.bound == "level1"
    moved = {
        key: n * (word_width(result.plan.word_bits, *key[:2]) or 0) / 8
        for key, n in result.plan.counts.items()
        if key[0] == "level1"
    }
    assert {action for _, _, action in moved} == {"read", "fill", "update", "drain"}
    assert sum(moved.values()) <= result.cycles <= 1.05 * sum(moved.values())


@pytest.mark.parametrize(
    ("changes", "layer", "message"),
    [
        ({"memories__spad__size": "1 B"}, CONV, "c: spad holds 1 B; .* too much"),
        ({"memories__level1__split": {"ifmap": "1 B", "ofmap": "8 KiB"}}, CONV, "level1 holds 1 B; ifmap .* too much"),
        ({"array__zeros": "skip"}, CONV, "array.zeros: must be compute or gate, not skip"),
        ({"memories__level2__size": "2 B"}, FC, "fc: level2 holds 1 B; .* = 6 B: 5 B too much .double_buffered: half"),
    ],
)
def test_what_does_not_fit_is_told(folder: Path, changes: dict[str, object], layer: hwsim.Layer, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(folder, **changes).plan(layer, 1)


def test_a_price_that_nobody_gave_is_told(folder: Path) -> None:
    given = {name: {"entry": "rf16"} for name in ("mac.int16", "spad", "level1", "level2", "main")}
    machine = load(folder, energy__prices=given)
    with pytest.raises(hwsim.HwsimError, match=r"energy\.prices must give noc"):
        hwsim.simulate(machine, hwsim.Workload("one", [CONV]))


def test_the_search_weighs_what_is_reported(folder: Path) -> None:
    """Energies for the bits of the word; where one is unknown, relative ones that grow with the memory."""
    layer = hwsim.Gemm("g", m=2, n=3, k=4, input="int16", weight="int8", output="int16")
    problem = batched_gemm_problem(1, 2, 3, 4, bits=(16, 8, 16), accumulator_bits=32)
    names = ("spad", "noc", "level1", "level2", "main", "mac")
    stated = {name: {"energy": "3 pJ", "bits": 8, "source": "made up"} for name in names}
    stated["mac"] |= {"format": "int16"}
    prices = cost_of(load(folder, energy__prices=stated).array, layer, problem).prices
    assert prices is not None
    assert prices["level2", "weight", "deliver"] == 3
    assert prices["main", "ifmap", "read"] == 6
    assert prices["level1", "ofmap", "update"] == 12  # a partial sum
    unknown = stated | {"noc": {"unknown": True}}
    relative = cost_of(load(folder, energy__prices=unknown).array, layer, problem).prices
    assert relative is not None
    assert relative["main", "ifmap", "read"] == 200
    assert relative["main", "weight", "read"] == 100
    assert relative["spad", "ofmap", "read"] == 2
    assert 1 < relative["level1", "ifmap", "read"] < 6 < relative["level2", "ifmap", "read"]


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["latency", "energy", "edp", "dram"])
@pytest.mark.parametrize("layer", [CONV, FC, DEPTHWISE], ids=lambda layer: layer.name)
@pytest.mark.parametrize("operands", ["ifmap", "weight", "both"])
def test_the_cost_that_is_minimized_is_reported(
    folder: Path, objective: str, layer: hwsim.Layer, operands: str
) -> None:
    """Ticks of the search are those of the simulation; joules those of the report."""
    static = {"energy__static": "2 mW", "energy__static_source": "made up"}
    zeros = {"array__zeros": "gate", "array__zero_operands": operands}
    machine = load(folder, mapper={"objective": objective}, **zeros, **static)
    network = hwsim.Workload("one", [layer.with_density(input=0.4, weight=0.3)])
    report = hwsim.simulate(machine, network, batch=3)
    result = report.results[0]
    plan = result.plan
    assert plan.problem is not None
    assert plan.mapping is not None
    cost = cost_of(machine.array, plan.layer, plan.problem) if plan.batch == 3 else None
    assert cost is not None
    ticks = timing(cost, plan.problem, plan.mapping, counts(plan.problem, plan.mapping)).ticks
    assert ticks == result.timeline.end
    energy = cost.energy(counts(plan.problem, plan.mapping), ticks)
    assert energy == pytest.approx(report.summary.energy_pj, rel=1e-9)


SMALL = hwsim.Gemm("fc", m=1, n=31, k=61)
STORED = {
    "memories__main__formats": {"weight": ["csr", "bitmask"]},
    "memories__main__compress": {"ifmap": "rlc", "ofmap": "bitmask"},
    "memories__level2__formats": {"weight": ["csr"], "ofmap": ["csc"]},
    "memories__level1__compress": {"ofmap": "bitmask"},
}


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["latency", "energy", "dram"])
@pytest.mark.parametrize("bits", [None, 16])
def test_the_cost_of_stored_formats_is_reported(folder: Path, objective: str, bits: int | None) -> None:
    """Words in a format do not have whole bits; partial sums as wide as outputs are dense all the same."""
    words_ = {"word_bits": bits, "accumulator_bits": bits} if bits else {}
    machine = load(folder, mapper={"objective": objective}, **STORED, **words_)
    weight = {"density": 0.3, "format": "csr"}
    layer = SMALL.with_tensors(weight=weight, input={"density": 0.4}, output={"density": 0.5, "format": "csc"})
    report = hwsim.simulate(machine, hwsim.Workload("one", [layer]), batch=3)
    plan = report.results[0].plan
    assert plan.problem is not None
    assert plan.mapping is not None
    counted = counts(plan.problem, plan.mapping)
    cost = cost_of(machine.array, layer, plan.problem)
    ticks = timing(cost, plan.problem, plan.mapping, counted).ticks
    assert ticks == report.results[0].timeline.end
    assert cost.energy(counted, ticks) == pytest.approx(report.summary.energy_pj, rel=1e-9)
    bound = machine.lower_bound(layer, 3)
    assert bound.dram_bytes <= plan.dram_bytes
    assert not [item for item in report.unused if item.what == "unused"]


def test_weights_in_csr_take_their_bytes(folder: Path) -> None:
    """By hand: 36,000 weights of 8 bits, 300 rows of 120; a value takes 8 + 7 bits, 301 pointers take 14."""
    small = {"memories.level2.size": "256 KiB", "mapper.objective": "dram"}
    weight = {"density": 0.25, "format": "csr"}
    layer = FC.with_tensors(weight=weight)
    dense = hwsim.load_machine(folder / "four.yaml", set=small).plan(layer, 1)
    stored = small | {"memories.main.formats": {"weight": ["bitmask", "csr"]}}
    plan = hwsim.load_machine(folder / "four.yaml", set=stored).plan(layer, 1)
    assert dense.dram_bytes == 36000 + 300 + 120
    size = 9000 * 15 + 301 * 14
    assert 0 <= plan.dram_bytes - (size / 8 + 300 + 120) <= 36000 / 64 / 8 + 1
    assert "main stores weight as csr: 3.88 bits a value, 8 if dense" in [str(message) for message in plan.why]
    runs = layer.with_tensors(weight=weight | {"format": "csc", "coding": Coding(run_bits=2)})
    stored["memories.main.formats"] = {"weight": ["bitmask", "csr", "csc"]}
    plan = hwsim.load_machine(folder / "four.yaml", set=stored).plan(runs, 1)
    size = 9000 * (1 + 0.75**4 / (1 - 0.75**4)) * (8 + 2)  # four zeros take a filler
    assert 0 <= plan.dram_bytes - (size / 8 + 300 + 120) <= 36000 / 64 / 8 + 1
    other = layer.with_tensors(weight={"density": 0.25, "format": "rlc"})  # which it does not take
    machine = hwsim.load_machine(folder / "four.yaml", set=stored)
    assert machine.plan(other, 1).dram_bytes == dense.dram_bytes
    told = hwsim.simulate(machine, hwsim.Workload("one", [other])).unused
    assert {item.property: str(item.reason) for item in told if item.what == "unused"} == {
        "weight.density": "array.zeros is compute, memories.main stores weight dense",
        "weight.format": "memories.main.formats does not list it for weight",
    }


@pytest.mark.slow
@pytest.mark.parametrize("form", ["csr", "csc", "bitmask", "rlc"])
def test_more_zeros_never_move_more_bytes(folder: Path, form: str) -> None:
    """Law 7, also where the chip codes the tensor by itself: then never more than dense."""
    own = load(folder, mapper={"objective": "dram"}, memories__main__compress={"weight": form})
    as_given = load(folder, mapper={"objective": "dram"}, memories__main__formats={"weight": [form]})
    sizes: dict[str, list[int]] = {"own": [], "given": []}
    for density in (0.0, 0.03, 0.2, 0.7, 1.0):
        layer = SMALL.with_tensors(weight={"density": density, "format": form})
        sizes["own"].append(own.plan(layer, 1).dram_bytes)
        sizes["given"].append(as_given.plan(layer, 1).dram_bytes)
    assert all(size == sorted(size) for size in sizes.values())
    assert sizes["own"][0] < sizes["own"][-1] == load(folder, mapper={"objective": "dram"}).plan(SMALL, 1).dram_bytes
    assert sizes["own"][1:3] == sizes["given"][1:3]
    assert sizes["given"][-1] > sizes["own"][-1]


def test_a_tensor_is_coded_or_taken_as_it_is(folder: Path) -> None:
    both = {"memories__main__formats": {"weight": ["csr"]}, "memories__main__compress": {"weight": "rlc"}}
    with pytest.raises(InputError, match="weight is coded by compress: it cannot have formats too"):
        load(folder, **both)


def test_size_for_each_pe(folder: Path) -> None:
    changes = {"memories.level2.size": "1 KiB", "memories.level2.size_of": "pe"}
    machine = hwsim.load_machine(folder / "four.yaml", set=changes)
    assert machine.spec.memories["level2"].size == 96 * 1024
    machine = hwsim.load_machine(folder / "four.yaml", set={**changes, "array.rows": 16})
    assert machine.spec.memories["level2"].size == 192 * 1024
