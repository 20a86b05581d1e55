"""Files of other tools: a design of Timeloop's in four files (both forms), and configurations of SCALE-Sim; changed."""

from __future__ import annotations

from pathlib import Path
from random import Random

import yaml

import hwsim
from hwsim.timeloop import read_files
from hwsim.yaml_source import parse_yaml
from tests.fuzz.case import Case, check_report
from tests.fuzz.mutation import encoded, mutated
from tests.fuzz.seeds import networks

PROBLEM = """problem:
  shape:
    name: layer
    dimensions: [C, M, R, S, N, P, Q]
    coefficients: [{name: Wstride, default: 1}, {name: Hstride, default: 1}]
    data_spaces:
    - {name: Weights, projection: [[[C]], [[M]], [[R]], [[S]]]}
    - {name: Inputs, projection: [[[N]], [[C]], [[R], [P, Wstride]], [[S], [Q, Hstride]]]}
    - name: Outputs
      projection: [[[N]], [[M]], [[Q]], [[P]]]
      read_write: true
  instance: {C: 3, M: 32, R: 3, S: 3, N: 1, P: 112, Q: 112, Wstride: 2, Hstride: 2}
"""
ARCHITECTURE = """architecture:
  version: 0.4
  nodes:
  - !Container
    name: system
  - !Component {name: DRAM, class: DRAM, attributes: {datawidth: 8, width: 64}}
  - !Component {name: glb, class: SRAM, attributes: {datawidth: 8, depth: 16384, read_bandwidth: 16, width: 64}}
  - !Container {name: PE_column, spatial: {meshX: 14}}
  - !Container {name: PE, spatial: {meshY: 12}}
  - !Component {name: ifmap_spad, class: smartbuffer_RF, attributes: {datawidth: 8, depth: 12, width: 16}}
  - !Component {name: weights_spad, class: smartbuffer_RF, attributes: {datawidth: 8, depth: 192, width: 16}}
  - !Component {name: psum_spad, class: smartbuffer_RF, attributes: {datawidth: 16, depth: 16, width: 16}}
  - !Component {name: MACC, class: intmac}
"""
MAPPING = """mapping:
- {target: DRAM, type: temporal, factors: [M=4, Q=2, P=8], permutation: [M, Q, P]}
- {target: glb, type: temporal, factors: [Q=4, P=14], permutation: [Q, P]}
- {target: glb, type: dataspace, keep: [Inputs, Outputs], bypass: [Weights]}
- {target: PE_column, type: spatial, factors: [Q=14], permutation: [Q], split: 1}
- {target: PE, type: spatial, factors: [S=3, C=3], permutation: [S, C], split: 0}
- {target: ifmap_spad, type: temporal, factors: [], permutation: []}
- {target: ifmap_spad, type: dataspace, keep: [Inputs], bypass: [Weights, Outputs]}
- {target: weights_spad, type: temporal, factors: [R=3], permutation: [R]}
- {target: weights_spad, type: dataspace, keep: [Weights], bypass: [Inputs, Outputs]}
- {target: psum_spad, type: temporal, factors: [M=8], permutation: [M]}
- {target: psum_spad, type: dataspace, keep: [Outputs], bypass: [Weights, Inputs]}
"""
TABLES = "ERT:\n  version: 0.4\n  tables:\n" + "".join(
    f"  - name: System.{name}\n    actions: [{{name: read, energy: {energy}}}, {{name: write, energy: {energy}}}, "
    f"{{name: update, energy: {energy}}}, {{name: compute, energy: {energy}}}, {{name: leak, energy: 0.001}}]\n"
    for name, energy in (
        ("DRAM[1..1]", 512), ("glb[1..1]", 18.18), ("ifmap_spad[1..168]", 0.2), ("weights_spad[1..168]", 1.97),
        ("psum_spad[1..168]", 0.25), ("MACC[1..168]", 0.21),
    )
)  # fmt: skip
OLDER = (
    """problem:
  shape:
    name: layer
    dimensions: [C, K, R, P]
    data-spaces:
    - {name: Weights, projection: [[[C]], [[K]], [[R]]]}
    - {name: Inputs, projection: [[[C]], [[R], [P]]]}
    - {name: Outputs, projection: [[[K]], [[P]]], read-write: True}
  instance: {C: 32, K: 32, P: 16, R: 3}
""",
    """architecture:
  version: 0.3
  subtree:
  - name: System
    local:
    - {name: MainMemory, class: DRAM, attributes: {datawidth: 8, width: 256}}
    - {name: "GlobalBuffer[0..15]", class: SRAM, attributes: {datawidth: 8, depth: 32768, meshX: 16, width: 64}}
    - {name: "RegisterFile[0..15]", class: regfile, attributes: {datawidth: 8, depth: 64, meshX: 16, width: 8}}
    - {name: "MACC[0..15]", class: intmac, attributes: {meshX: 16}}
""",
    """mapping:
- {target: MainMemory, type: temporal, factors: '', permutation: ''}
- {target: MainMemory, type: spatial, factors: C16, permutation: C, split: 1}
- {target: GlobalBuffer, type: temporal, factors: R3 K32 C2, permutation: RKC}
- {target: RegisterFile, type: temporal, factors: P16, permutation: P}
""",
    """ERT:
  version: 0.4
  tables:
  - {name: "System.MainMemory[1..1]", actions: [{name: read, energy: 2048}, {name: write, energy: 2048}]}
  - {name: "System.GlobalBuffer[1..16]", actions: [{name: read, energy: 43.3}, {name: update, energy: 30.9}]}
  - {name: "System.RegisterFile[1..16]", actions: [{name: read, energy: 0.42564}, {name: leak, energy: 0.000861}]}
  - {name: "System.MACC[1..16]", actions: [{name: compute, energy: 0.845}]}
""",
)
DESIGNS = ((PROBLEM, ARCHITECTURE, MAPPING, TABLES), OLDER)
POOL = (*DESIGNS[0], *OLDER)
ONE_LAYER = hwsim.Workload("one", [hwsim.Gemm("g", m=7, n=31, k=127)])
"""Of a design without a problem: its array has a search for each layer."""
CONFIGURATION = """[general]
run_name : an array
[architecture_presets]
ArrayHeight : 31
ArrayWidth : 17
IfmapSramSzkB: 31
FilterSramSzkB: 64
OfmapSramSzkB: 127
IfmapOffset: 0
Dataflow : ws
Bandwidth : 10
[run_presets]
InterfaceBandwidth: CALC
"""


def timeloop_case(draw: Random, folder: Path) -> Case:
    """A design with one or two of its files changed, and what it makes simulated."""
    texts = list(draw.choice(DESIGNS))
    for _ in range(draw.choice((1, 1, 2))):
        place = draw.randrange(len(texts))
        texts[place] = mutated(draw, texts[place], POOL)
    if draw.random() < 0.02:
        texts.pop(draw.randrange(len(texts)))
    files = {f"file{number}.yaml": encoded(text) for number, text in enumerate(texts)}
    whole = draw.random() < 0.01

    def action() -> None:
        design = read_files([folder / name for name in files])
        if design.machine is not None:
            path = folder / "machine.yaml"
            text = yaml.safe_dump(design.machine, sort_keys=False, allow_unicode=True)
            parse_yaml(text, "machine")
            path.write_text(text, "utf-8")
            check_report(hwsim.simulate(hwsim.load_machine(path), design.workload or ONE_LAYER), whole)

    return Case(action, files)


def scale_sim_case(draw: Random, folder: Path) -> Case:
    """A changed configuration with one network on it."""
    path = folder / "scale.cfg"
    data = encoded(mutated(draw, CONFIGURATION, (CONFIGURATION,)))
    network, batch, whole = draw.choice(networks()), draw.choice((1, 1, 3)), draw.random() < 0.01

    def action() -> None:
        check_report(hwsim.simulate(hwsim.load_machine(path), network, batch), whole)

    return Case(action, {path.name: data}, network.name)
