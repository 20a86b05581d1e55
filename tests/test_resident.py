"""Compulsory DRAM traffic is shown, or what a cache keeps from the inference before is told by name."""

import pytest

import hwsim


@pytest.mark.parametrize("network", ["mobilenet_v2_1.0_224", "resnet50_v1_5"])
@pytest.mark.parametrize("name", ["a100", "t4", "epyc_zen5", "xeon_8280", "cortex_a72", "systolic_ws", "nvdla_256"])
def test_each_layer_reads_its_weights_from_dram_or_is_told(name: str, network: str) -> None:
    machine, workload = hwsim.load_machine(name), hwsim.load_workload(network)
    report = hwsim.simulate(machine, workload)
    told = [message for message in report.messages if message.code == "memory.resident_weights"]
    layers = {layer for message in told for layer in message.layers}
    missing = 0
    for result in report.results:
        plan = result.plan
        stored = plan.layer.weights_read(1) * plan.word_bits.get("weight", plan.layer.weight.bits) // 8
        assert (plan.dram_bytes < stored) == (result.name in layers), result.name
        missing += max(0, stored - plan.dram_bytes)
    assert sum(message.values["kept"] for message in told) == missing


def test_mobilenet_stays_in_the_caches_of_a_server_and_not_of_a_raspberry_pi() -> None:
    """3.47 M int8 weights: an EPYC 9755 has 512 MiB of L3, a Cortex-A72 1 MiB of L2."""
    network = hwsim.load_workload("mobilenet_v2_1.0_224")
    for name, kept in (("epyc_zen5", network.weights), ("cortex_a72", 0)):
        report = hwsim.simulate(hwsim.load_machine(name), network)
        told = [message for message in report.messages if message.code == "memory.resident_weights"]
        assert sum(message.values["kept"] for message in told) == kept
        assert report.summary.dram_bytes >= network.weights - kept


@pytest.mark.parametrize(("precision", "bits"), [("binary", 1), ("int4", 4), ("fp16", 16)])
def test_weights_of_a_gpu_are_those_of_the_format_that_runs(precision: str, bits: int) -> None:
    machine = hwsim.load_machine("a100", set={"precision": precision})
    layer = hwsim.Gemm("g", m=1, n=1024, k=513, input="int8", weight="int8", output="int8")
    report = hwsim.simulate(machine, hwsim.Workload("one", [layer]))
    (told,) = [message for message in report.messages if message.code == "memory.resident_weights"]
    assert told.values["whole"] == 1024 * 513 * bits // 8
    assert told.values["kept"] == told.values["whole"] - report.summary.dram_bytes
