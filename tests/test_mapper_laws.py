"""Laws 5, 10, 11 and 12 of arrays whose mappings are searched: the example of docs/hardware.md, and what users change."""

import re
from functools import cache
from pathlib import Path

import pytest
import yaml

import hwsim
from hwsim.errors import InputError

DOCS = Path(__file__).parent.parent / "docs"
SIZES = (*range(1, 10), 12, 13, 16, 17, 19, 20, 31, 32, 33, 64, 65, 127, 128, 257)
OBJECTIVES = ("latency", "energy", "edp")


@cache
def example() -> str:
    text = (DOCS / "hardware.md").read_text(encoding="utf-8")
    block = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert block is not None
    return block[1]


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("machine") / "mine.yaml"
    path.write_text(example())
    return path


def cost(machine: hwsim.Machine, layer: hwsim.Layer, batch: int = 1) -> dict[str, float]:
    """Ticks, joules and their product of a layer by itself."""
    report = hwsim.simulate(machine, hwsim.Workload("one", [layer]), batch=batch)
    latency, energy = report.summary.latency_s, report.summary.energy_pj
    return {"latency": latency, "energy": energy, "edp": latency * energy}


def rising(values: list[tuple[int, float]]) -> None:
    """No value is above a later one."""
    least = float("inf")
    for size, value in reversed(values):
        assert value <= least * (1 + 1e-9), f"{size} costs {value / least:.4f} times what a larger one costs"
        least = min(least, value)


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["latency", "energy"])
@pytest.mark.parametrize("dim", ["k", "c", "h", "batch", "n", "groups"])
def test_a_larger_layer_never_costs_less(mine: Path, dim: str, objective: str) -> None:
    """Filters, channels, rows, images, columns of a GEMM, depthwise channels: every size, primes too."""
    machine = hwsim.load_machine(mine, set={"mapper.objective": objective})
    values = []
    for size in SIZES:
        shape: dict[str, int] = {"c": 7, "h": 9, "w": 9, "k": 12, "r": 3, "pad": 1}
        batch = 1
        layer: hwsim.Layer
        if dim == "n":
            layer = hwsim.Gemm("g", m=5, n=size, k=31)
        elif dim == "groups":
            layer = hwsim.Conv2d("d", c=size, h=9, w=9, k=size, groups=size, r=3, pad=1)
        elif dim == "batch":
            layer, batch = hwsim.Conv2d("c", **shape), size
        else:
            layer = hwsim.Conv2d("c", **(shape | {dim: size}))
        values.append((size, cost(machine, layer, batch)[objective]))
    rising(values)


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["latency", "energy"])
@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("memories.buffer.size", ["8 KiB", "12 KiB", "31 KiB", "64 KiB", "127 KiB", "256 KiB", "1 MiB", "4 MiB"]),
        ("memories.buffer.bandwidth", ["16 B/cycle", "31 B/cycle", "64 B/cycle", "127 B/cycle", "1 kB/cycle"]),
        ("memories.dram.bandwidth", ["1 B/cycle", "3 B/cycle", "8 B/cycle", "31 B/cycle", "64 B/cycle"]),
        ("array.rows", [1, 3, 8, 13, 16, 31, 32]),
        ("array.cols", [1, 5, 8, 16, 17, 32]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_more_hardware_never_costs_more(mine: Path, objective: str, key: str, values: list[object]) -> None:
    """Prices are fixed, so more of anything is at least as good: the mapping of less is still there."""
    layers = [
        hwsim.Conv2d("conv", c=24, h=13, w=13, k=31, r=3, pad=1),
        hwsim.Conv2d("depthwise", c=31, h=17, w=17, k=31, groups=31, r=3, pad=1),
        hwsim.Gemm("fc", m=3, n=127, k=257),
    ]
    prices = {"energy.prices.buffer": {"energy": "2 pJ", "bits": 8, "source": "fixed for the comparison"}}
    for layer in layers:
        costs = []
        for index, value in enumerate(values):
            machine = hwsim.load_machine(mine, set={"mapper.objective": objective, key: value, **prices})
            costs.append((len(values) - index, cost(machine, layer)[objective]))
        rising(costs[::-1])


@pytest.mark.slow
@pytest.mark.parametrize(
    "layer",
    [
        hwsim.Conv2d("conv", c=31, h=14, w=14, k=48, r=3, pad=1),
        hwsim.Conv2d("strided", c=3, h=31, w=31, k=16, r=7, stride=2, pad=3),
        hwsim.Conv2d("depthwise", c=48, h=14, w=14, k=48, groups=48, r=3, pad=1),
        hwsim.Gemm("gemm", m=31, n=127, k=257),
        hwsim.Gemm("one", m=1, n=1, k=1),
    ],
    ids=lambda layer: layer.name,
)
def test_no_objective_is_beaten_at_its_own(mine: Path, layer: hwsim.Layer) -> None:
    costs = {o: cost(hwsim.load_machine(mine, set={"mapper.objective": o}), layer) for o in OBJECTIVES}
    for objective in OBJECTIVES:
        best = min(costs[other][objective] for other in OBJECTIVES)
        assert costs[objective][objective] <= best * (1 + 1e-9)


def test_a_batch_costs_no_more_than_its_inferences(mine: Path) -> None:
    machine = hwsim.load_machine(mine, set={"mapper.objective": "latency"})
    layer = hwsim.Conv2d("conv", c=24, h=14, w=14, k=31, r=3, pad=1)
    one = cost(machine, layer)["latency"]
    for batch in (2, 3, 7):
        assert cost(machine, layer, batch)["latency"] <= batch * one * (1 + 1e-9)


def test_partial_sums_have_the_width_of_the_accumulator(mine: Path) -> None:
    """Wider sums move more bits through the buffer; final outputs leave at their own width, once."""
    layer = hwsim.Conv2d("conv", c=31, h=14, w=14, k=48, r=3, pad=1)
    network = hwsim.Workload("one", [layer])
    energies = []
    for bits in (8, 16, 24, 32):
        report = hwsim.simulate(hwsim.load_machine(mine, set={"accumulator_bits": bits}), network)
        plan = report.results[0].plan
        assert plan.counts["dram", "ofmap", "update"] == layer.outputs
        assert plan.word_bits.get("psum", plan.word_bits["ofmap"]) == bits
        energies.append(report.summary.energy_pj)
    assert energies == sorted(energies)
    assert energies[0] < energies[-1]


def test_the_mapping_of_the_docs_runs_on_the_machine_of_the_docs(mine: Path, tmp_path: Path) -> None:
    text = (DOCS / "mapping.md").read_text(encoding="utf-8")
    block = re.search(r"```yaml\n(mappings:.*?)```", text, re.DOTALL)
    assert block is not None
    by_hand = yaml.safe_load(block[1])["mappings"]
    path = tmp_path / "hand.yaml"
    path.write_text(example() + block[1])
    network = hwsim.load_workload("resnet50_v1")
    plan = hwsim.load_machine(path).plan(network, batch=1)
    searched = hwsim.load_machine(mine).plan(network, batch=1)
    for name in by_hand:
        assert plan[name].why[0].code == "pe_array.own_mapping"
        energy = {p: hwsim.simulate(p.select(name)).summary.energy_pj for p in (plan, searched)}
        assert energy[searched] <= energy[plan]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["dram keeps ifmap, weight, ofmap", "for K by 0"], "a tile must be at least 1, not 0"),
        (["dram keeps ifmap, weight, ofmap", "for X by 1"], "a dim must be one of"),
        (["dram keeps ifmap, ifmap, ofmap", "for K by 1"], "a tensor must be named once"),
        (["dram keeps ifmap, weight, ofmap", "spatial K by 1 on layers", "for C by 1"], "'layers' is not an axis"),
        (["dram keeps ifmap, weight, ofmap", "spatial K by 1 on rows", "for C by 1"], "the array has 16 rows; .* need 64"),
        (["dram keeps ifmap, weight, ofmap", "buffer keeps ifmap, weight, ofmap", "for K by 1", "for C by 1"],
         "buffer holds .* too much .double_buffered: half of its size holds tiles"),
    ],
)  # fmt: skip
def test_a_mapping_that_cannot_be_says_what_must_hold(mine: Path, lines: list[str], message: str) -> None:
    machine = hwsim.load_machine(mine, set={"mappings": {"fc": lines}})
    with pytest.raises(InputError, match=message):
        machine.plan(hwsim.Workload("one", [hwsim.Conv2d("fc", c=4096, h=1, w=1, k=64)]), batch=1)["fc"]


ALL = "ifmap, weight, ofmap"
GEMM = ["for M by 1", "for N by 1", "for K by 1"]


@pytest.mark.parametrize(
    ("lines", "node", "message"),
    [
        ([f"buffer keeps {ALL}", *GEMM], 1, "must be that of the outermost memory, dram, not of buffer"),
        (
            [f"dram keeps {ALL}", "rf keeps weight", "spatial M by 1 on rows", *GEMM],
            2,
            "it must come after the spatial",
        ),
        ([f"dram keeps {ALL}", "spatial M by 1 on rows", f"buffer keeps {ALL}", *GEMM], 3, "come before the spatial"),
        ([f"dram keeps {ALL}", "rf keeps weight", f"buffer keeps {ALL}", *GEMM], 3, "before the memories of PEs"),
        ([f"dram keeps {ALL}", "for M by 1", "buffers keeps weight", *GEMM[1:]], 3, "not a memory of mine.*buffer"),
        ([f"dram keeps {ALL}", "for M by 1", "four N by 1"], 3, "must be 'for DIM by TILE'"),
    ],
)
def test_a_node_that_the_array_lacks_is_refused_at_its_line(
    tmp_path: Path, lines: list[str], node: int, message: str
) -> None:
    path = tmp_path / "hand.yaml"
    text = example() + "mappings:\n  g:\n" + "".join(f"    - {line}\n" for line in lines)
    path.write_text(text)
    row = text.splitlines().index("  g:") + 1 + node
    with pytest.raises(InputError, match=rf"hand.yaml:{row}:7: mappings.g: node {node}: .*{message}"):
        hwsim.load_machine(path).plan(hwsim.Workload("one", [hwsim.Gemm("g", m=5, n=7, k=3)]), batch=1)["g"]


def test_a_memory_keeps_what_it_holds(mine: Path) -> None:
    lines = [f"dram keeps {ALL}", f"buffer keeps {ALL}", "spatial M by 1 on rows", *GEMM[1:]]
    machine = hwsim.load_machine(mine, set={"mappings.g": lines, "memories.buffer.holds": ["ifmap", "ofmap"]})
    with pytest.raises(InputError, match=r"buffer holds ifmap, ofmap, not weight \(memories.buffer.holds\)"):
        machine.plan(hwsim.Workload("one", [hwsim.Gemm("g", m=5, n=7, k=3)]), batch=1)["g"]


def test_what_passes_a_memory_by_and_what_layer_is_lacking_is_told(mine: Path) -> None:
    lines = [f"dram keeps {ALL}", "buffer keeps weight", "spatial M by 1 on rows", *GEMM[1:]]
    machine = hwsim.load_machine(mine, set={"mappings": {"g": lines, "gg": lines}})
    report = hwsim.simulate(machine, hwsim.Workload("one", [hwsim.Gemm("g", m=5, n=7, k=3)]))
    assert "ifmap, ofmap bypass buffer, weight, ifmap, ofmap bypass rf" in str(report.results[0].plan.why[0])
    assert any("mappings.gg: one has no such layer; nearest: 'g'" in str(note) for note in report.notes)


def test_a_nest_without_an_array_is_that_with_one_place(mine: Path) -> None:
    """A spatial loop that runs once changes nothing, wherever the array begins."""
    layer = hwsim.Gemm("g", m=5, n=7, k=3)
    costs = []
    for array in ([], ["spatial M by 5 on rows"]):
        lines = [f"dram keeps {ALL}", f"buffer keeps {ALL}", *array, f"rf keeps {ALL}", *GEMM]
        machine = hwsim.load_machine(mine, set={"mappings.g": lines, "memories.rf.size": "512 B"})
        costs.append(cost(machine, layer))
    assert costs[0] == costs[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "layer",
    [
        hwsim.Gemm("square", m=2048, n=2048, k=2048),
        hwsim.Gemm("llm", m=4096, n=14336, k=4096),
        hwsim.Conv2d("conv", c=512, h=112, w=112, k=512, r=3, pad=1),
    ],
    ids=lambda layer: layer.name,
)
def test_large_layers_are_planned(mine: Path, layer: hwsim.Layer) -> None:
    """Millions of ways to cut for the buffer: those with the least lower bounds are searched."""
    machine = hwsim.load_machine(mine, set={"mapper.objective": "latency"})
    result = hwsim.simulate(machine, hwsim.Workload("one", [layer])).results[0]
    assert layer.macs / 256 <= result.plan.compute_cycles <= 1.3 * layer.macs / 256
    assert 0 <= float(result.plan.why[0].values["gap"]) < 1


def test_huge_layers_end(mine: Path) -> None:
    """2^31 rows, 2^60 MACs: an answer, or a refusal by name, in a second."""
    machine = hwsim.load_machine(mine)
    for layer in (hwsim.Gemm("g", m=2**31, n=3, k=3), hwsim.Gemm("g", m=2**20, n=2**20, k=2**20)):
        try:
            report = hwsim.simulate(machine, hwsim.Workload("one", [layer]))
        except hwsim.HwsimError as error:
            assert "at most" in str(error)
        else:
            assert report.summary.latency_s > 0


@pytest.mark.slow
@pytest.mark.parametrize("network", ["resnet50_v1_5", "mobilenet_v2_1.0_224"])
def test_every_layer_of_a_network_is_proved(mine: Path, network: str) -> None:
    """Under objective latency: no tiling of the space is quicker than what is reported."""
    machine = hwsim.load_machine(mine, set={"mapper.objective": "latency"})
    results = hwsim.simulate(machine, hwsim.load_workload(network)).results
    planned = [result for result in results if result.plan.macs]
    assert {result.plan.why[0].code for result in planned} == {"pe_array.optimum"}


@pytest.mark.parametrize("formats", [{}, {"weight": ["csr"]}], ids=["dense", "csr"])
@pytest.mark.parametrize("k, h", [(7, 7), (17, 9), (17, 13), (32, 9)])
def test_a_sparse_layer_is_quickest_under_latency(mine: Path, k: int, h: int, formats: dict[str, list[str]]) -> None:
    """Widths of a fraction of a bit, and places in the array that the dims of one tensor leave to the others."""
    weight = {"dtype": "int8", "density": 0.3, "format": "csr"}
    layer = hwsim.Conv2d("c", c=31, h=h, w=h, k=k, r=3, pad=1, weight=weight, input={"dtype": "int8", "density": 0.4})
    stored = {"memories.dram.formats": formats, "memories.dram.compress": {"ifmap": "bitmask"}}
    seconds = {}
    for objective in OBJECTIVES:
        machine = hwsim.load_machine(mine, set={"mapper.objective": objective, **stored})
        seconds[objective] = cost(machine, layer)["latency"]
    assert seconds["latency"] <= min(seconds.values()) * (1 + 1e-9)


def test_a_tile_that_is_no_multiple_fits_where_one_is_too_large(mine: Path) -> None:
    """13 filters in a small buffer: two pieces of 7, each of 3 rows of the array and a rest, not three of 6."""
    changes = {"array.rows": 3, "array.cols": 5, "dataflow": "no_local_reuse", "memories.buffer.size": "48 B"}
    changes |= {"memories.buffer.double_buffered": False, "accumulator_bits": 8, "mapper.objective": "energy"}
    layer = hwsim.Conv2d("c", c=5, h=9, w=9, k=13)
    lines = [f"dram keeps {ALL}", "for K by 7", "for Q by 1", "for P by 1", f"buffer keeps {ALL}"]
    lines += ["for K by 3", "spatial K by 1 on rows", "spatial C by 1 on cols"]
    by_hand = cost(hwsim.load_machine(mine, set=changes | {"mappings.c": lines}), layer)["energy"]
    assert cost(hwsim.load_machine(mine, set=changes), layer)["energy"] <= by_hand * (1 + 1e-9)
