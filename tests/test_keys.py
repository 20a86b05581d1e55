"""Law 12 for machine files: each key changes something, is refused, or is listed as idle by its machine."""

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

import hwsim
from hwsim.machines.loader import machine_document, machine_folder, read_machine
from hwsim.machines.properties import own_value
from hwsim.workload import FORMATS

NETWORK = hwsim.Workload(
    "mixed",
    [
        hwsim.Conv2d("strided", c=16, h=20, w=20, k=24, r=3, pad=1, stride=2, activation="relu"),
        hwsim.Conv2d("conv", c=24, h=10, w=10, k=24, r=3, pad=1).with_density(input=0.5, weight=0.5, output=0.5),
        hwsim.Conv2d("depthwise", c=24, h=10, w=10, k=24, r=3, pad=1, groups=24),
        hwsim.Conv2d("pointwise", c=24, h=31, w=31, k=40, r=1),
        hwsim.Pool2d("pool", c=40, h=10, w=10, r=2, stride=2),
        hwsim.Elementwise("add", shape=(40, 5, 5)),
        hwsim.Gemm("fc", m=1, n=130, k=1000),
        hwsim.Gemm("gemm", m=64, n=130, k=130),
        hwsim.BatchedMatmul("matmul", b=4, m=32, n=32, k=64),
        hwsim.Softmax("softmax", shape=(4, 32, 32)),
    ],
    graph=False,
)
#: Enough for an array whose mappings are searched: each search takes a part of a second.
SMALL = hwsim.Workload(
    "small",
    [
        hwsim.Conv2d("conv", c=12, h=7, w=7, k=20, r=3, pad=1).with_tensors(
            input={"density": 0.5}, weight={"density": 0.4, "format": "csr"}
        ),
        hwsim.Pool2d("pool", c=20, h=7, w=7, r=2, stride=2),
    ],
    graph=False,
)
#: Who and where from; nothing is computed of these.
DOCUMENTATION = ("name", "source", "description", "fitted", "static_source", "kind", "base")
#: Keys with an effect in a use that the mixed network is not, and which.
USES = {
    "array.zeros": "layers with zeros",
    "memories.*.holds": "must hold the tensors that the dataflow keeps there: other lists are refused",
    "memories.unified_buffer.size": "activations that it cannot hold (test_tpu.py)",
    "memories.*buffer.bank": "layers near the size of the buffer (test_nvdla.py)",
    "memories.glb.bank": "layers near the size of the buffer (test_eyeriss.py)",
    "accumulator_bits": "batches of more rows than accumulators (test_tpu.py)",
    "array.fifo_tiles": "layers that wait for weights (test_tpu.py)",
    "mapper.halo": "layers in strips (test_eyeriss.py)",
    "mapper.objective": "layers whose quickest mapping is not the one of the least energy (test_spatial.py)",
    "energy.table": "names a file: another has other entries",
    "energy.prices.*.entry": "names an entry of the table",
    "energy.prices.mac.*": "layers in that format",
    "power.active.*": "the environment of another library, or power.use",
    "power.sleep": "--every",
    "power.spread": "the note on power",
    "power.deep_sleep": "--every",
    "power.wake_up": "--every",
    "power.measured_supply": "power.supply",
    "power.regulator": "power.supply",
    "core": "names a microarchitecture",
    "efficient.core": "names a microarchitecture",
    "links.*": "collectives of several ranks (test_llm.py)",
    "library": "names a library",
    "generation": "names a generation",
    "memories.l3.cores": "threads of several clusters with weights of their size",
    "memories.l3.core": "weights that L2 cannot hold",
    "memories.dram.core": "weights that L3 cannot hold",
    "memories.dram.bandwidth": "weights that L3 cannot hold",
    "node": "nodes at which scaling is published: the nearest is taken",
    "sustained_clock.turbo": "few cores at work",
    "sm.macs.*": "layers in that format",
    "sm.registers": "tiles that do not fit them",
    "sm.shared": "tiles that do not fit it",
    "power.board": "long runs under the power cap",
    "power.reaction": "long runs under the power cap",
}
CHOICES: dict[str, list[Any]] = {
    "wiring": ["noc", "systolic", "broadcast"],
    "zeros": ["compute", "gate", "skip"],
    "zero_operands": ["ifmap", "weight", "both"],
    "objective": ["latency", "energy", "edp", "dram"],
    "algorithm": ["auto", "direct", "winograd-2x2"],
    "operands": ["exact", "rounded"],
    "halo": ["slide", "refill"],
    "variant": ["A", "B", "C"],
    "rules": [None],
    "dataflow": ["row_stationary", "weight_stationary", "output_stationary", "input_stationary", "no_local_reuse"],
    "per": ["chip", "pe", "core", "socket"],
    "size_of": ["memory", "pe"],
    "regulator": ["ldo", "smps"],
    "covers": ["chip", "board"],
    "basis": ["measured", "data sheet", "estimate"],
    "weights": ["rows", "columns"],
    "clock": ["core", "link"],
    "sram": ["1 KiB", "64 KiB", "512 KiB"],
}
MINE = """\
kind: pe_array
name: mine
source: "made up"
clocks: {core: 500 MHz, dram: 800 MHz}
dataflow: weight_stationary
array: {rows: 8, cols: 8, wiring: noc, zeros: gate, zero_operands: both, fifo_tiles: 2}
accumulator_bits: 24
setup: 1 us
memories:
  dram: {holds: [ifmap, weight, ofmap], bandwidth: 8 B/cycle, clock: dram, efficiency: 0.9, atom: 32 B, double_buffered: true, compress: {ifmap: rlc}, formats: {weight: [csr]}}
  buffer: {holds: [ifmap, weight, ofmap], size: 2 KiB, bandwidth: 1 B/cycle, efficiency: 0.9, bank: 256 B, atom: 4 B}
  rf: {holds: [weight, ifmap, ofmap], size: 64 B, per: pe, bank: 4 B}
mapper: {objective: energy, halo: slide, row_words: 100, min_occupation: 0.5, margin: 0.1, pass_cycles: 7, variant: A}
energy:
  table: horowitz_45nm
  node: 16 nm
  voltage: 0.8 V
  prices:
    mac: {entry: int8_mac}
    mac.gated: {energy: 0.1 pJ, source: "made up"}
    rf: {entry: register_32b}
    pe: {entry: register_32b}
    buffer: {sram: memory}
    noc: {energy: 0.05 pJ, bits: 8, source: "made up"}
    dram: {energy: 5 pJ, bits: 1, source: "made up"}
    post: {entry: int32_add}
  static: 20 mW
  static_source: "made up"
"""
PROCESSOR = """\
kind: cpu
name: own
source: "made up"
clocks: {core: 3 GHz}
core: zen4
cores: 4
library: onnxruntime-1.31
memories:
  l1: {size: 32 KiB, core: 9 B/cycle, bandwidth: 9 B/cycle, load: 40 B/cycle, store: 30 B/cycle, latency: 1 ns, cores: 1}
  l2: {size: 32 KiB, core: 9 B/cycle, bandwidth: 20 B/cycle, load: 9 B/cycle, store: 9 B/cycle, latency: 3 ns, kept: 1 ms}
  l3: {size: 4 MiB, core: 3 B/cycle, bandwidth: 3 B/cycle, load: 9 B/cycle, store: 9 B/cycle, latency: 9 ns, kept: 1 ms, cores: 2}
  dram: {size: 1 GiB, core: 2 B/cycle, bandwidth: 3 GB/s, load: 9 B/cycle, store: 9 B/cycle, latency: 90 ns, kept: 1 ms, cores: 4}
node: 7 nm
tdp: 65 W
idle: 5 W
"""
SHIPPED = [
    "eyeriss_v1", "eyeriss_isca16", "systolic_ws", "systolic_os", "tpu_v1", "nvdla_2048", "nucleo_l4r5zi", "stm32u575",
    "esp32", "apollo510", "epyc_zen5", "cortex_a72", "core_i9_13900k", "xeon_8280", "a100", "t4", "gtx1080ti",
]  # fmt: skip


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("machine") / "mine.yaml"
    path.write_text(MINE)
    return path


def leaves(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if not isinstance(node, dict):
        yield path, node
        return
    for key, value in node.items():
        if key not in DOCUMENTATION:
            yield from leaves(value, (*path, key))


def others(key: str, value: Any) -> list[Any]:
    """Other values of a key."""
    if key in CHOICES:
        return [choice for choice in CHOICES[key] if choice != value]
    if isinstance(value, bool):
        return [not value]
    if value in FORMATS:
        return [form for form in ("rlc", "bitmask", "csr") if form != value]
    if isinstance(value, list) and set(value) <= set(FORMATS):
        return [["bitmask"], ["rlc"]]
    if isinstance(value, int):
        return [2 * value, value // 2 or value + 1, value + 1]
    if isinstance(value, float):
        return [2 * value, value / 2]
    match = re.match(r"\s*([0-9.]+)(.*)", value) if isinstance(value, str) else None
    return [f"{float(match[1]) * factor:g}{match[2]}" for factor in (2, 0.5, 1 / 64)] if match else []


@cache
def outcome(machine: hwsim.Machine) -> str:
    """All of a report but its notes, and what the machine costs."""
    searched = machine.name == "mine" and machine.spec.array.wiring == "noc"
    report = hwsim.simulate(machine, SMALL if searched else NETWORK, 2)
    return repr((report.summary, report.rows, list(report.action_rows()), report.memories, machine.area_mm2))


def changed(name: str, path: tuple[str, ...], value: Any) -> hwsim.Machine:
    document = machine_document(name)
    node = document.data
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return read_machine(document, machine_folder())


def effect(name: str, path: tuple[str, ...], value: Any) -> bool:
    """Whether any other value of a key gives another report, or all others are refused."""
    before = outcome(changed(name, path, value))
    refused = 0
    tried = others(path[-1], value)
    for other in tried:
        try:
            if outcome(changed(name, path, other)) != before:
                return True
        except hwsim.HwsimError:
            refused += 1
    return refused == len(tried) > 0


def below(key: str, idle: dict[str, str]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in idle)


def held(name: str) -> None:
    """Every key of a file has an effect, or is idle and has none."""
    machine = hwsim.load_machine(name)
    idle = dict(machine.idle_keys())
    silent, wrong = [], []
    for path, value in leaves(machine_document(name).data):
        key = ".".join(path)
        works = effect(name, path, value)
        if below(key, idle):
            wrong += [key] if works and others(path[-1], value) else []
        elif not works and not any(fnmatchcase(key, use) for use in USES):
            silent.append(key)
    assert not silent, "keys that change nothing, and nothing is said of it"
    assert not wrong, "keys that are called idle and change something"


@pytest.mark.parametrize("name", SHIPPED)
def test_each_key_of_a_shipped_machine_has_an_effect_or_is_listed(name: str) -> None:
    held(name)


def test_each_key_of_a_users_processor_has_an_effect_or_is_told(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(PROCESSOR)
    held(str(path))
    report = hwsim.simulate(hwsim.load_machine(path), NETWORK)
    told = {item.property for item in report.unused if item.what == "unused" and not item.layer}
    assert {"memories.l1.store", "memories.l2.latency", "memories.dram.size"} <= told
    # Both latencies together say how much colder what was evicted from L3 is.
    assert not told & {"memories.l1.load", "memories.l3.kept", "memories.l3.latency", "memories.dram.bandwidth"}


WIRINGS = [
    {},
    {"dataflow": "output_stationary"},
    {"array.wiring": "systolic", "array.fifo_tiles": 0},
    {"array.wiring": "broadcast", "memories.rf.holds": ["ofmap"], "memories.rf.per": "chip"},
    {"dataflow": "row_stationary"},
]


@pytest.mark.parametrize("change", WIRINGS, ids=str)
def test_each_key_of_a_users_array_has_an_effect_or_is_told(mine: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    """All keys at once, under each wiring: those that its planner does not read are in the notes."""
    document = machine_document(mine, change)
    path = tmp_path / "other.yaml"
    path.write_text(yaml.safe_dump(document.data, sort_keys=False))
    held(str(path))
    machine = hwsim.load_machine(path)
    report = hwsim.simulate(machine, SMALL)
    told = {item.property for item in report.unused if item.what == "unused" and not item.layer}
    keys = {".".join(p) for p, _ in leaves(document.data)}
    assert told == {key for key in machine.idle_keys() if own_value(machine, key) is not None}
    assert {key for key in keys if below(key, dict(machine.idle_keys()))} >= {"setup"}


def test_a_value_that_refuses_to_be_text_is_an_input_error() -> None:
    class Mute:
        def __str__(self) -> str:
            raise RuntimeError("no text")

        __repr__ = __str__

    with pytest.raises(hwsim.InputError):
        hwsim.load_machine("epyc_zen4", set={"threads": Mute()})


def test_an_unknown_key_of_a_value_that_may_be_a_word() -> None:
    """A core may be a name, or its description: keys of the latter have no place of their own."""
    with pytest.raises(hwsim.InputError, match="unknown key 'a'"):
        hwsim.load_machine("cortex_a72", set={"core": {"a": 1}})


def test_a_share_that_leaves_no_bandwidth_is_refused() -> None:
    with pytest.raises(hwsim.InputError, match="efficiency: must be"):
        hwsim.load_machine("eyeriss_v1", set={"memories.dram.efficiency": 1e-308})
