"""Sweep files: changed ones, read to their space, and their first point run; and conditions of random words."""

from __future__ import annotations

from pathlib import Path
from random import Random

from hwsim.sweeps.evaluation import Evaluator
from hwsim.sweeps.reader import read_space
from tests.fuzz.case import Case
from tests.fuzz.mutation import encoded, mutated

SEEDS = (
    """name: sides
machines: [eyeriss_v1]
workloads: [lenet5_caffe]
batch: [1, 4]
set:
  array.rows: {range: [10, 14], step: 1}
  array.cols: [12, 14, 16]
  memories.glb.size: [64 KiB, 100 KiB]
  workload.layers: 'conv*'
where:
  - array.rows * array.cols <= 196
constraints:
  - power_w <= 300 mW
  - fits
""",
    """name: clocks
machines: [systolic_ws, 'systolic_o*']
workloads: [lenet_300_100, kws]
batch: {powers_of_two: [1, 64]}
set:
  clocks.core: {range: [100 MHz, 400 MHz], steps: 4}
  array.rows: [16, 32]
  array.cols: [16, 32]
zip: [[array.rows, array.cols]]
where: array.rows * array.cols <= 1024 and clocks.core > 150 MHz
metrics: [latency_s, energy_pj]
per_layer: [cycles, bound]
""",
)
WORDS = (
    "array.rows", "array.cols", "batch", "machine", "workload", "'kws'", "1", "0", "3.5", "1e99", "64 KiB", "100 MHz", "2 s",
    "(", ")", "+", "-", "*", "/", "<", "<=", ">", ">=", "==", "!=", "and", "or", "not", "fits", "latency_s", "nan", ".",
    "__import__('os')", "a.__class__", "9**9", "２", "true", "[0]", "lambda: 0", ":=", "#", "\\", "µs", "²",
)  # fmt: skip


def case(draw: Random, folder: Path) -> Case:
    """A changed sweep file."""
    text = draw.choice(SEEDS)
    if draw.random() < 0.4:
        condition = " ".join(draw.choice(WORDS) for _ in range(draw.choice((1, 3, 5, 9, 60))))
        key = draw.choice(("where", "constraints"))
        kept = text.partition("where:")[0]
        data = encoded(f"{kept}{key}: [{condition!r}]\n")
    else:
        data = encoded(mutated(draw, text, SEEDS))
    path = folder / "sweep.yaml"

    def action() -> None:
        space = read_space(path)
        number = next(iter(space.numbers()), None)
        if number is not None:
            Evaluator(space).outcome(number, per_layer=draw.random() < 0.2)

    return Case(action, {path.name: data})
