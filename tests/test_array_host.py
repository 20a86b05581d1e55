"""Layers without MACs on the host of an array: time and energy are those of the host's own plan."""

import math
from pathlib import Path

import pytest

import hwsim
from hwsim.errors import InputError
from hwsim.sweeps.sources import MachineSource

ARRAYS = ["eyeriss_v1", "eyeriss_isca16", "systolic_ws", "systolic_os"]
HOSTS = ["stm32f746", "arduino_nano33ble", "epyc_zen5", "cortex_a72"]
CONV = hwsim.Conv2d("conv", c=31, h=31, w=31, k=127, r=3, pad=1)
LAYERS = [
    hwsim.Pool2d("pool", c=127, h=31, w=31, r=3, stride=2),
    hwsim.Softmax("softmax", shape=(257,)),
    hwsim.Elementwise("add", shape=(1, 127, 31)),
]


def one(machine: hwsim.Machine, layer: hwsim.Layer, batch: int = 1) -> hwsim.Report:
    return hwsim.simulate(machine, hwsim.Workload("one", [layer]), batch)


@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("array", ARRAYS)
def test_time_and_energy_are_those_of_the_host_and_of_the_array_that_waits(array: str, host: str, batch: int) -> None:
    machine, alone = hwsim.load_machine(array, set={"host": host}), hwsim.load_machine(host)
    for layer in LAYERS:
        report, own = one(machine, layer, batch), one(alone, layer, batch)
        (result,), (expected,) = report.results, own.results
        # Each tile of each stage is rounded up to a tick of the array.
        rounding_s = expected.timeline.tiles * len(expected.timeline.stages) / float(machine.timebase.rate_hz)
        assert 0 < expected.latency_s <= result.latency_s <= expected.latency_s + rounding_s
        idle_pj = machine.prices.static_w * result.latency_s * 1e12
        assert math.isclose(result.energy_pj, expected.energy_pj + idle_pj, rel_tol=1e-9)
        assert result.plan.dram_bytes == expected.plan.dram_bytes
        assert (result.row()["host"], result.bound) == (host, f"host {expected.bound}")
        assert all(name.startswith("host ") for name in report.timeline.resources)
        assert not [item for item in report.unused if item.what == "free"]


def test_a_network_is_the_sum_of_the_array_and_the_host() -> None:
    network = hwsim.Workload("both", [CONV, *LAYERS], graph=False)
    plain = hwsim.simulate(hwsim.load_machine("systolic_ws"), network)
    hosted = hwsim.simulate(hwsim.load_machine("systolic_ws", set={"host": "stm32f746"}), network)
    alone = hwsim.simulate(hwsim.load_machine("stm32f746"), hwsim.Workload("rest", LAYERS, graph=False))
    assert hosted.results[0].latency_s == plain.results[0].latency_s
    both_s = plain.summary.latency_s + alone.summary.latency_s
    assert both_s <= hosted.summary.latency_s < both_s + 20e-9, "two stages of each layer, rounded up to ns"
    assert math.isclose(hosted.summary.energy_pj, plain.summary.energy_pj + alone.summary.energy_pj)
    assert hosted.summary.utilization < plain.summary.utilization
    (note,) = (message for message in hosted.messages if message.code == "pe_array.host")
    assert note.layers == ("pool", "softmax", "add")


def test_a_fusing_library_fuses_nothing_with_a_layer_of_the_array() -> None:
    """On the Xeon an addition runs inside the layer before; on a host it reads two operands and writes one."""
    network = hwsim.Workload(
        "w", [CONV, (hwsim.Elementwise("add", shape=(127, 31, 31)), ["conv", "conv"])], input_shape=(31, 31, 31)
    )
    assert hwsim.simulate(hwsim.load_machine("xeon_8280"), network).results[1].latency_s == 0
    hosted = hwsim.simulate(hwsim.load_machine("systolic_ws", set={"host": "xeon_8280"}), network)
    assert hosted.results[1].latency_s > 0


def test_what_no_unit_runs_is_told_with_its_share() -> None:
    """The conv reads 29,791 values and 35,433 weights and writes 122,047; the pool reads these and writes 28,575."""
    network = hwsim.Workload("w", [CONV, hwsim.Pool2d("pool", c=127, h=31, w=31, r=3, stride=2)])
    report = hwsim.simulate(hwsim.load_machine("systolic_ws"), network)
    (note,) = (message for message in report.messages if message.code == "property.free")
    pool, conv = 127 * (31 * 31 + 15 * 15), 31 * 31 * 31 + 31 * 127 * 9 + 127 * 31 * 31
    assert note.values["values"] == note.values["bytes"] == pool / (pool + conv)
    assert (note.values["layers"], note.values["of"], note.values["macs"]) == (1, 2, 0)
    assert "needs host or post" in str(note)


def test_a_host_without_power_data_has_an_unknown_energy(tmp_path: Path) -> None:
    path = tmp_path / "bare.yaml"
    path.write_text("base: stm32f746\nname: bare\npower: {active: unknown}\n")
    report = one(hwsim.load_machine("systolic_ws", set={"host": str(path)}), LAYERS[0])
    assert report.summary.latency_s > 0
    assert math.isnan(report.summary.energy_pj)
    assert "pool: energy on the host is unknown: the file of bare gives no power" in report.notes


def test_a_post_processor_goes_first_and_the_host_is_told_as_unused() -> None:
    machine = hwsim.load_machine("nvdla_256", set={"host": "stm32f746"})
    report = one(machine, LAYERS[0])
    assert report.results[0].latency_s == one(hwsim.load_machine("nvdla_256"), LAYERS[0]).results[0].latency_s
    assert [(item.property, item.value) for item in report.unused] == [("host", "stm32f746")]


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("systolic_ws", "host: must be a machine of kind cpu or mcu, not 'systolic_ws' of kind pe_array"),
        ("a100", "host: must be a machine of kind cpu or mcu, not 'a100' of kind gpu"),
        ("stm32f74", "host: no machine is called 'stm32f74'; nearest: 'stm32f746'"),
        ("mine.yaml", "host: must be a machine of kind cpu or mcu, not 'mine.yaml' of kind pe_array"),
        ("busy.yaml", "host: must have streams: 1, as the array runs one inference at a time, not 4"),
    ],
)
def test_what_cannot_be_a_host_is_refused_at_its_place(tmp_path: Path, host: str, message: str) -> None:
    (tmp_path / "busy.yaml").write_text("base: epyc_zen5\nname: busy\nstreams: 4\n")
    path = tmp_path / "mine.yaml"
    path.write_text(f"base: systolic_ws\nname: mine\nhost: {host}\n")
    with pytest.raises(InputError) as error:
        hwsim.load_machine(path)
    assert str(error.value) == f"{path}:3:7: {message}"


def test_a_path_is_relative_to_the_machine_and_its_content_is_part_of_the_digest(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "mine.yaml").write_text("base: sub/array.yaml\nname: mine\n")
    (tmp_path / "sub" / "array.yaml").write_text("base: systolic_ws\nname: array\nhost: mcu.yaml\n")
    (tmp_path / "mcu.yaml").write_text("base: core.yaml\nname: mcu\n")
    times, digests = [], []
    for clock in ("108 MHz", "216 MHz"):
        (tmp_path / "core.yaml").write_text(f"base: stm32f746\nname: core\nclocks: {{core: {clock}}}\n")
        source = MachineSource.read("mine", tmp_path / "mine.yaml")
        times.append(one(source.machine({}), LAYERS[0]).summary.latency_s)
        digests += [source.digest({}), source.digest({"host": "mcu.yaml"})]
    assert abs(times[0] - 2 * times[1]) < 10e-9
    assert (digests[0], digests[1]) != (digests[2], digests[3])
    assert digests[0] != digests[2]
    assert digests[1] != digests[3]
    assert source.digest({"host": "stm32f746"}) not in digests


def test_a_sweep_over_hosts_plans_each() -> None:
    table = hwsim.sweep({
        "machines": "systolic_ws", "workloads": "ds_cnn_s", "set": {"host": ["stm32f746", "cortex_a72"]},
    })  # fmt: skip
    assert table.latency_s.nunique() == 2
