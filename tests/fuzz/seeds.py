"""What cases begin with: the files that hwsim comes with, small networks of every layer kind, and machines of every kind."""

from __future__ import annotations

from functools import cache

from hwsim import Machine, Workload, load_machine, load_workload
from hwsim.machines.loader import machine_folder
from hwsim.workload.loader import library
from hwsim.yaml_source import parse_yaml

GRAPH = """name: graph
source: mine
input: [4, 8, 8]
dtype: int8
blocks:
  b:
    - {conv: a, k: $k, r: 3, pad: 1, act: relu}
    - {conv: z, k: 4, r: 1}
layers:
  - {conv: c1, k: 8, r: 3, s: 3, stride: 2, pad: [1, 1, 1, 1], dilation: 1, groups: 2, act: relu6, bias: true}
  - {dwconv: d1, r: 3, pad: same, multiplier: 2}
  - {use: b, name: blk, with: {k: 6}}
  - {pool: p1, type: avg, r: 2, stride: 2}
  - {activation: a1, type: gelu}
  - {norm: n1, type: layer}
  - {move: m1, type: reshape}
  - {add: ad, from: [m1, n1]}
  - {concat: cc, from: [ad, m1], axis: 0}
  - {mul: mu, from: [ad, m1]}
  - {fc: f1, n: 10, weight: {density: 0.3, format: csr}, input: {density: 0.5}}
  - {softmax: s1}
"""
TRACE = """name: trace
graph: false
source: mine
layers:
  - {conv: c1, c: 3, h: 32, w: 32, k: 8, r: 3, s: 3, stride: [2, 1], pad: valid}
  - {gemm: g1, m: 16, n: 31, k: 127, input: fp16, weight: fp16, output: fp32}
  - {matmul: mm, b: 4, m: 16, n: 32, k: 64}
  - {lstm: l1, input_size: 8, hidden: 16, steps: 4}
  - {gru: r1, input_size: 8, hidden: 16, steps: 4}
  - {embedding: e1, tokens: 8, rows: 100, dim: 16}
  - {fc: f2, k: 256, n: 10, weight: {density: 0.5, pattern: "2:4", format: "2:4"}}
"""
SMALL = 4000
MACHINES = (
    "eyeriss_v1", "eyeriss_isca16", "systolic_ws", "systolic_os", "nvdla_256", "tpu_v1", "arduino_nano33ble", "esp32",
    "nucleo_l4r5zi", "xeon_8280", "cortex_a72", "epyc_zen5", "a100", "gtx1080ti", "t4", "eie", "scnn", "eyeriss_v2",
)  # fmt: skip


@cache
def machine_texts() -> dict[str, str]:
    """Every machine that hwsim comes with."""
    return {
        path.stem: path.read_text("utf-8")
        for path in sorted(machine_folder().glob("**/*.yaml"))
        if path.parent.stem != "measured"
    }


@cache
def workload_texts() -> dict[str, str]:
    """The short networks that hwsim comes with, and two of every layer kind."""
    files = {path.stem: path.read_text("utf-8") for path in sorted(library("workloads").glob("*.yaml"))}
    return {"graph": GRAPH, "trace": TRACE} | {name: text for name, text in files.items() if len(text) < SMALL}


@cache
def machines() -> tuple[Machine, ...]:
    """Machines of every kind."""
    return tuple(map(load_machine, MACHINES))


@cache
def networks() -> tuple[Workload, ...]:
    """Small networks."""
    from hwsim.workload.trace import read_trace

    own = (read_trace(parse_yaml(text, "seed"), load_workload) for text in (GRAPH, TRACE))
    return (*own, load_workload("lenet_300_100"), load_workload("kws"))
