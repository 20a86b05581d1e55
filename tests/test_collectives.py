"""Collectives between GPUs: published times, and laws of their algorithms."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import hwsim
from hwsim.errors import InputError
from hwsim.machines import Gpu
from hwsim.workload import Collective, Gemm, Workload

#: All-reduce of 16-bit values in a CUDA graph, microseconds, by ranks and bytes: aiconfigurator at 095f58a5 (Apache-2.0).
#: `tensorrt` has those of NCCL 2.27.3 (A100) and 2.29.2 (H100).
PUBLISHED = {
    ("a100", "vllm"): {(2, 256): 4.867, (2, 524288): 7.986, (2, 134217728): 746.1, (4, 262144): 9.913, (4, 2097152): 26.05,
                       (4, 67108864): 540.0, (8, 131072): 11.35, (8, 4194304): 45.37, (8, 1073741824): 8250.9},
    ("a100", "tensorrt-llm"): {(2, 2048): 3.963, (2, 2097152): 47.65, (4, 524288): 13.87, (4, 16777216): 185.5,
                               (8, 8192): 7.997, (8, 262144): 16.28, (8, 4194304): 75.86},
    ("a100", "sglang"): {(2, 131072): 6.123, (4, 1048576): 18.41, (4, 8388608): 71.43, (8, 32768): 7.234, (8, 524288): 19.90},
    ("a100", "tensorrt"): {(2, 8192): 11.0, (2, 8388608): 87.1, (4, 524288): 22.9, (4, 33554432): 288.0, (8, 131072): 27.4,
                           (8, 4194304): 77.3, (8, 536870912): 4225.9},
    ("h100", "tensorrt"): {(2, 1048576): 14.7, (2, 67108864): 254.6, (4, 131072): 11.4, (4, 16777216): 99.0, (8, 4096): 16.0,
                           (8, 2097152): 38.2, (8, 536870912): 2111.1},
    ("h100", "vllm"): {(2, 1024): 4.183, (2, 2097152): 12.38, (4, 4194304): 30.25, (4, 134217728): 618.8, (8, 65536): 6.411,
                       (8, 1073741824): 4009.2},
    ("h100", "tensorrt-llm"): {(2, 262144): 3.759, (4, 1048576): 12.91, (4, 33554432): 174.9, (8, 4096): 3.528,
                               (8, 2097152): 35.49, (8, 1073741824): 4007.8},
    ("h100", "sglang"): {(2, 2048): 2.489, (4, 524288): 8.241, (4, 8388608): 44.53, (8, 131072): 6.403, (8, 2097152): 20.08},
}  # fmt: skip

RANKS = (2, 3, 5, 7, 8)
SIZES = np.array([0, 1, 31, 257, 4099, 65_537, 262_143, 262_145, 1_048_576, 1_048_577, 8_000_000, 8_000_001, 8_388_609,
                  16_777_215, 16_777_217, 2**30 + 7], float)  # fmt: skip


def gpu(name: str, **changes: object) -> Gpu:
    machine = hwsim.load_machine(name, set=changes)
    assert isinstance(machine, Gpu)
    return machine


@pytest.mark.parametrize("key", PUBLISHED, ids="-".join)
def test_published_times(key: tuple[str, str]) -> None:
    machine = gpu(key[0], library=key[1])
    rows = PUBLISHED[key]
    ranks, sizes = np.array([*rows]).T
    errors = machine.collective_times("all_reduce", sizes, ranks) * 1e6 / np.array([*rows.values()]) - 1
    assert np.abs(errors).max() < 0.21
    assert np.abs(errors).mean() < 0.07


MACHINES = [*itertools.product(("a100", "h100", "h200"), ("tensorrt", "tensorrt-llm", "vllm", "sglang"))]


@pytest.mark.parametrize("name,library", MACHINES)
@pytest.mark.parametrize("op", ["all_reduce", "all_gather", "reduce_scatter", "all_to_all"])
def test_laws(name: str, library: str, op: str) -> None:
    """A longer message and one more rank take no less, and no byte is faster than its link."""
    machine = gpu(name, library=library)
    table = np.array([machine.collective_times(op, SIZES, n) for n in RANKS])
    assert (np.diff(table, axis=1) >= -1e-15).all()
    assert machine.spec.links is not None
    rate = float(machine.spec.links.bandwidth.amount)
    for n, row in zip(RANKS, table):
        least = (1 + 1 / n if machine.spec.links.reduces else 2 * (n - 1) / n) if op == "all_reduce" else (n - 1) / n
        assert (row >= min(least, 2 * (n - 1) / n) * SIZES / rate).all()
    faster = gpu(name, library=library, **{"links.bandwidth": "900 GB/s"})
    assert all((faster.collective_times(op, SIZES, n) <= row).all() for n, row in zip(RANKS, table))


def test_one_rank_exchanges_nothing() -> None:
    assert gpu("h100", library="vllm").collective_times("all_reduce", [0, 1e9], 1).tolist() == [0, 0]


@pytest.mark.parametrize("name,library", MACHINES)
def test_a_layer_takes_the_time_of_its_message(name: str, library: str) -> None:
    """What `simulate` says of a layer is what `collective_times` says of its bytes, to a tick."""
    machine = gpu(name, library=library)
    for rows, ranks in ((1, 2), (31, 4), (257, 8), (4099, 3)):
        layer = Collective("sum", shape=(rows, 4096), ranks=ranks, input="bf16", weight="bf16", output="bf16")
        report = hwsim.simulate(machine, Workload("one", [layer]), batch=7)
        seconds = float(machine.collective_times("all_reduce", 7 * rows * 4096 * 2, ranks))
        assert report.summary.latency_s == pytest.approx(seconds, abs=2e-9)
        sent = report.actions[report.actions.component == "link"]["count"].sum()
        assert 7 * rows * 4096 * 2 <= sent <= (ranks - 1) * 7 * rows * 4096 * 2
        assert report.results[0].bound in ("link", "launch")
        assert report.component_energy()["link"] > 0


def test_keys_of_links_have_an_effect() -> None:
    layer = Collective("sum", shape=(257, 4096), ranks=8, input="bf16", weight="bf16", output="bf16")
    network = Workload("one", [layer])
    base = hwsim.simulate(gpu("h100", library="vllm"), network).summary
    slow = hwsim.simulate(gpu("h100", library="vllm", **{"links.bandwidth": "225 GB/s"}), network).summary
    dear = hwsim.simulate(gpu("h100", library="vllm", **{"links.energy": "96 pJ"}), network).summary
    assert slow.latency_s > base.latency_s
    assert dear.energy_pj > base.energy_pj
    assert dear.latency_s == base.latency_s
    with pytest.raises(InputError, match="ranks must be at most 4"):
        hwsim.simulate(gpu("h100", library="vllm", **{"links.ranks": 4}), network)
    large = np.array([2.0**30])
    off = gpu("h100", library="vllm", **{"links.reduces": False})
    assert off.collective_times("all_reduce", large, 8) > gpu("h100", library="vllm").collective_times(
        "all_reduce", large, 8
    )


@pytest.mark.parametrize("name", ["epyc_zen5", "eyeriss_v1", "nucleo_l4r5zi", "systolic_ws", "eie", "t4"])
def test_machines_without_links_refuse(name: str) -> None:
    layers = [Gemm("fc", n=31, k=7), Collective("sum", shape=(1, 31), ranks=2)]
    with pytest.raises(InputError, match="links"):
        hwsim.simulate(hwsim.load_machine(name), Workload("two", layers))


def test_bad_input() -> None:
    machine = gpu("h100", library="vllm")
    for arguments, words in [
        (("all_reduc", 1, 2), "all_reduce"),
        (("all_reduce", -1, 2), "bytes must be at least 0"),
        (("all_reduce", 1, 0), "whole numbers of at least 1"),
        (("all_reduce", 1, 2.5), "whole numbers"),
        (("all_reduce", float("nan"), 2), "bytes must be"),
        (("all_reduce", 1, 9), "at most 8"),
        (("all_reduce", [1, 2, 3], [2, 3]), "shapes that fit"),
        (("all_reduce", "x", 2), "must be numbers"),
    ]:
        with pytest.raises(InputError) as error:
            machine.collective_times(*arguments)  # type: ignore[arg-type]
        assert words in str(error.value)
    with pytest.raises(InputError, match="has no all_reduce"):
        gpu("h100", library="trtllm-w8a8").collective_times("all_reduce", 1, 2)
    with pytest.raises(InputError, match="at least 2"):
        Collective("one", shape=(1,), ranks=1)
