"""Whole runs: what a user waits for. Work is asserted beside time, so that more of it shows on any machine.

python -m pytest benchmarks --benchmark-only
"""

import re
import subprocess
import sys

import hwsim


def test_eyeriss_alexnet_from_a_cold_start(benchmark) -> None:
    """The command line with imports, mapping search and table."""
    command = [
        sys.executable,
        "-c",
        "from hwsim.cli import main; main()",
        "run",
        "eyeriss_v1",
        "alexnet",
        "--batch",
        "4",
    ]
    done = benchmark.pedantic(subprocess.run, [command], {"capture_output": True, "text": True}, rounds=3)
    assert done.returncode == 0
    events = int(re.findall(r"(\d+) events", done.stdout)[0])
    assert events <= 700


def test_resnet50_on_a_32x32_array_the_first_time(benchmark) -> None:
    """A fresh machine each round: plans, counts and events of all layers."""
    network = hwsim.load_workload("resnet50_v1")
    report = benchmark.pedantic(
        lambda machine: hwsim.simulate(machine, network),
        setup=lambda: ((hwsim.load_machine("systolic_ws"),), {}),
        rounds=5,
    )
    assert report.summary.macs == 3_857_973_248
    assert report.summary.events <= 3600


def test_resnet50_on_a_processor_the_first_time(benchmark) -> None:
    """A fresh machine each round, int8 on 28 cores: 30 ms are the aim."""
    network = hwsim.load_workload("resnet50_v1_5")
    report = benchmark.pedantic(
        lambda machine: hwsim.simulate(machine, network),
        setup=lambda: ((hwsim.load_machine("xeon_8280", set={"precision": "int8"}),), {}),
        rounds=5,
    )
    assert report.summary.macs_executed == 3_948_251_904
    assert report.summary.events <= 1000


def test_resnet50_on_a_32x32_array_again(benchmark) -> None:
    """The same machine: plans and timelines are remembered."""
    network, machine = hwsim.load_workload("resnet50_v1"), hwsim.load_machine("systolic_ws")
    hwsim.simulate(machine, network)
    report = benchmark(lambda: hwsim.simulate(machine, network))
    assert len(report.results) == len(network.layers)


def test_row_stationary_search(benchmark) -> None:
    """The mapping of AlexNet conv3 on Eyeriss."""
    from hwsim.machines.pe_array.row_stationary import limits_of
    from hwsim.machines.pe_array.rs_mapper import choose
    from hwsim.machines.pe_array.work import as_conv

    limits, _ = limits_of(hwsim.load_machine("eyeriss_v1").array, 16)
    work = as_conv(hwsim.load_workload("alexnet")["conv3"], 4)
    assert work is not None

    def search() -> int:
        choose.cache_clear()
        mapping = choose(work, limits)
        assert mapping is not None
        return mapping.m

    assert benchmark(search) == 64
