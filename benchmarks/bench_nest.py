"""MACs that executed nests do in a second, on one core: the nests of real plans, every word moved and counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import hwsim
from hwsim.kernels.nest import Execution, execute, tensor_shape
from hwsim.mapping import counts

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

LEAST_MACS_PER_S = 100e6

CASES = [
    ("eyeriss_v1", "alexnet", "conv2", 4),
    ("eyeriss_v1", "alexnet", "conv3", 4),
    ("eyeriss_v1", "alexnet", "fc6", 4),
    ("systolic_ws", "resnet50_v1", "res2a_3x3b", 1),
    ("systolic_ws", "resnet50_v1", "res5a_1x1c", 1),
    ("systolic_os", "resnet50_v1", "res3a_3x3b", 1),
    ("tpu_v1", "resnet50_v1", "res4a_3x3b", 1),
    ("nvdla_256", "resnet50_v1", "res4a_1x1a", 1),
]


@pytest.mark.parametrize(("machine", "network", "name", "batch"), CASES)
def test_execute_a_planned_nest(benchmark: BenchmarkFixture, machine: str, network: str, name: str, batch: int) -> None:
    layer = hwsim.load_workload(network)[name]
    problem, mapping, policy = hwsim.load_machine(machine).plan(layer, batch).nests[0]
    rng = np.random.default_rng(1)
    tensors = {
        operand.name: rng.integers(-128, 128, tensor_shape(operand, problem), dtype=np.int8)
        for operand in problem.operands
        if not operand.output
    }

    def run() -> Execution:
        return execute(problem, mapping, tensors, policy)

    ran = benchmark.pedantic(run, rounds=3, warmup_rounds=1)
    assert ran.macs == problem.macs == layer.macs * batch
    assert ran.counts == {key: n for key, n in counts(problem, mapping, policy).actions.items() if n}
    rate = ran.macs / benchmark.stats.stats.min
    benchmark.extra_info["macs_per_s"] = round(rate)
    print(f"\n{machine} {network} {name}: {rate / 1e6:,.0f} M MAC/s")
    assert rate > LEAST_MACS_PER_S
