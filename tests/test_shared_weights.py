"""Stored arrays that several layers read: stored once, and kept in caches as one."""

from pathlib import Path

import onnx
import onnx_builder
import pytest

import hwsim
from hwsim.workload.trace_text import trace_text


def chain(shared: bool, size: int, rows: int, count: int = 20) -> hwsim.Workload:
    """Products one after the other, by one matrix or each by its own."""
    weight = {"dtype": "fp32", "array": "w" if shared else ""}
    types = {"input": "fp32", "output": "fp32", "weight": weight}
    return hwsim.Workload(
        "net", [hwsim.Gemm(f"g{i}", m=rows, n=size, k=size, bias=False, **types) for i in range(count)]
    )


def test_a_shared_array_is_stored_once(tmp_path: Path) -> None:
    one, own = chain(True, 31, 7), chain(False, 31, 7)
    assert (one.weights, own.weights) == (31 * 31, 20 * 31 * 31)
    assert one.macs == own.macs
    path = tmp_path / "net.yaml"
    path.write_text(trace_text(one))
    assert hwsim.load_workload(path).weights == 31 * 31


def test_onnx_files_share_initializers(tmp_path: Path) -> None:
    graph = onnx_builder.Graph("net")
    x, w = graph.input("x", [1, 31]), graph.weight("w", 31, 31)
    for _ in range(3):
        x = graph.op("MatMul", x, w)
    x = graph.op("MatMul", x, graph.weight("v", 31, 7))
    graph.output(x, [1, 7])
    onnx.save(graph.model(), tmp_path / "net.onnx")
    network = hwsim.load_workload(tmp_path / "net.onnx")
    assert network.weights == 31 * 31 + 31 * 7
    assert [layer.weight.spec.array for layer in network] == ["w", "w", "w", ""]


def test_a_shared_array_stays_in_the_cache() -> None:
    """20 products of one row by 4 MiB: 80 MiB of own matrices come from DRAM, one matrix from L3.

    Measured on one core of a Zen 4 with ONNX Runtime 1.32, CPU time: 4.97 and 1.05 ms.
    """
    machine = hwsim.load_machine("epyc_zen4", set={"threads": 1, "clocks.core": "3.69 GHz"})
    one, own = (hwsim.simulate(machine, chain(shared, 1024, 1)) for shared in (True, False))
    assert one.summary.latency_s == pytest.approx(1.05e-3, rel=0.15)
    assert own.summary.latency_s == pytest.approx(4.97e-3, rel=0.15)
    assert one.summary.dram_bytes == 0
    assert own.summary.dram_bytes >= 20 * 4 * 2**20


@pytest.mark.parametrize("name", ["a100", "t4"])
def test_device_memory_holds_a_shared_array_once(name: str) -> None:
    """Ten products by one matrix of 127 x 127, and by ten."""
    machine = hwsim.load_machine(name)
    parts = [dict(machine.memories(chain(shared, 127, 10), 1)[0].parts) for shared in (True, False)]
    layers = len(chain(True, 127, 10))
    assert parts[1]["weights"] == layers * parts[0]["weights"] > parts[0]["weights"]
    assert parts[0]["activations"] == parts[1]["activations"]


@pytest.mark.parametrize("name", ["a100", "epyc_zen4"])
def test_a_shared_array_stays_in_a_cache_once(name: str) -> None:
    """The note counts its bytes once."""
    one, own = (
        next(
            note.values["whole"]
            for note in hwsim.simulate(hwsim.load_machine(name), chain(shared, 127, 10)).messages
            if note.code == "memory.resident_weights"
        )
        for shared in (True, False)
    )
    assert own == len(chain(True, 127, 10)) * one
