"""A calibration measures what it says, is a machine that loads, and tells what disturbed it. No time is ever judged."""

import datetime
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

import hwsim
from hwsim import kernels
from hwsim.calibration import Calibration, Number, calibrate, machine_text
from hwsim.calibration.host import Cache, Host
from hwsim.calibration.numbers import numbers, probes, working_sets
from hwsim.cli import cli
from hwsim.errors import InputError
from hwsim.kernels.probe import Timing
from hwsim.machines.registry import kinds
from hwsim.message import as_message

needs_cpu = pytest.mark.skipif("cpu" not in kinds(), reason="machines of kind cpu are not in this tree")


class Made(Host):
    """A processor that the test makes up."""

    def __init__(self, caches: dict[int, Cache], core: tuple[str, bool] = ("zen4", True), processors: int = 8) -> None:
        super().__init__(Path("/nowhere"), Path("/nowhere"))
        self.caches = caches
        self.core = core
        self.processors = processors
        self.processor = 'Made "up": a processor'


SERVER = {1: Cache(1, 2**15), 2: Cache(2, 2**20), 3: Cache(3, 2**25, shared=8)}
SMALL = {1: Cache(1, 2**15), 2: Cache(2, 2**20, shared=4)}


def timings(host: Host, threads: int) -> dict[str, Timing]:
    """Timings of every probe, made up: a clock of 2 GHz, everything else at 3 units a nanosecond at best."""
    return {
        one.name: Timing((10.0, 12.0), 20.0) if one.name.startswith("clock") else Timing((10.0, 11.0, 20.0), 30.0)
        for one in probes(host, threads)
    }


def made(host: Host, threads: int = 2) -> Calibration:
    found = tuple(numbers(timings(host, threads), threads))
    return Calibration(
        host, threads, datetime.date(2026, 1, 2), kernels.isa(), found, (as_message("a note: with a colon"),)
    )


def test_numbers_follow_from_the_least_times() -> None:
    found = {number.what: number for number in made(Made(SERVER)).numbers}
    clock = found[next(what for what in found if what.startswith("clock"))]
    assert (clock.value, clock.unit) == (2.0, "GHz")
    assert clock.spread == pytest.approx(0.1)
    rates = [number for number in found.values() if number.key.startswith("rates.")]
    assert rates
    assert all(number.value == pytest.approx(1.5) for number in rates)  # 3 MACs a ns at 2 GHz
    assert found["L2 read, one core"].value == pytest.approx(1.5)
    assert found["DRAM read, 2 threads"].text == "3 GB/s"
    assert found["L3 latency"].value == pytest.approx(1 / 3)


def test_all_cores_get_what_one_of_them_gets() -> None:
    found = timings(Made(SERVER), 2)
    found["dram read, all threads"] = Timing((100.0,), 30.0)
    told = {number.key: number.value for number in numbers(found, 2)}
    assert told["memories.dram.bandwidth"] == told["memories.dram.core"] == pytest.approx(3.0)


@pytest.mark.parametrize("caches", [SERVER, SMALL])
@pytest.mark.parametrize("threads", [1, 4, 8])
def test_working_sets_lie_in_their_level_and_not_in_the_one_below(caches: dict[int, Cache], threads: int) -> None:
    sizes = working_sets(Made(caches), threads)
    assert sizes.l1 < caches[1].bytes <= sizes.l2 < caches[2].bytes
    last = max(cache.bytes for cache in caches.values())
    if 3 in caches:
        assert caches[2].bytes < sizes.l3 < caches[3].bytes
        assert caches[2].bytes < sizes.l3_each
    else:
        assert sizes.l3 == sizes.l3_each == 0
    assert sizes.dram >= 2 * last
    assert sizes.dram_each * threads >= 2 * last
    bounded = working_sets(Made(caches), threads, 60 * 2**20)
    assert 2 * bounded.dram <= 60 * 2**20  # a copy takes two
    assert 2 * threads * bounded.dram_each <= 60 * 2**20


@pytest.mark.parametrize("host", [Made(SERVER), Made(SMALL, ("skylake-client", False), 4)])
def test_the_file_is_yaml_with_every_number_and_its_spread(host: Made) -> None:
    text = machine_text(made(host))
    data = yaml.safe_load(text)
    assert data["kind"] == "cpu"
    assert data["clocks"] == {"core": "2 GHz"}
    assert data["cores"] == host.cores
    assert "2026-01-02" in data["source"]
    assert host.processor in data["source"]
    for key in data["spread"]:
        node = data
        for part in key.split("."):
            node = node[part]
        assert node
    assert set(data["memories"]) == {"l1", "l2", "l3", "dram"}
    assert "a note: with a colon" in text


@needs_cpu
@pytest.mark.parametrize("host", [Made(SERVER), Made(SMALL, ("skylake-client", False), 4)])
def test_the_file_loads_and_predicts(host: Made, tmp_path: Path) -> None:
    path = tmp_path / "host.yaml"
    path.write_text(machine_text(made(host)))
    machine = hwsim.load_machine(path, set={"threads": 1, "precision": "fp32"})
    report = hwsim.simulate(machine, hwsim.Workload("one", [hwsim.Gemm("fc", m=64, n=256, k=256)]))
    # 1.5 MACs a cycle at 2 GHz, and no library is faster than its instructions
    assert report.summary.latency_s >= 64 * 256 * 256 / 1.5 / 2e9


@needs_cpu
def test_host_is_the_file_in_this_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"^host.yaml is not in this folder: `hwsim calibrate` measures this machine"):
        hwsim.load_machine("host")
    Path("host.yaml").write_text(machine_text(made(Made(SERVER))))
    assert hwsim.load_machine("host").name == "host"


@pytest.mark.slow
@pytest.mark.parametrize("isa", ["portable", kernels.available()[-1]])
def test_this_machine_can_be_measured(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Small caches and one round: the work of every probe is checked, its time is not.
    monkeypatch.setattr("hwsim.calibration.rounds.QUICK_ROUNDS", 1)
    monkeypatch.setattr("hwsim.calibration.rounds.QUICK_TIMES", 1)
    monkeypatch.setattr(
        "hwsim.calibration.rounds.Host",
        lambda: Made({1: Cache(1, 2**13), 2: Cache(2, 2**16), 3: Cache(3, 2**20)}, processors=2),
    )
    told: list[tuple[int, int]] = []
    with kernels.force_isa(isa):
        found = calibrate(quick=True, tell=lambda _, done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1] > 20
    assert found.isa == isa
    assert found.number("clocks.core").value > 0
    keys = {number.key for number in found.numbers}
    assert keys >= {
        "clocks.core",
        "rates.fp32",
        "memories.l1.load",
        "memories.l2.bandwidth",
        "memories.l3.core",
        "memories.dram.bandwidth",
    }
    if isa == "portable":
        assert any("no int8 instruction runs on instruction set portable" in str(note) for note in found.notes)
    yaml.safe_load(machine_text(found))


def test_threads_that_are_not_there_are_refused() -> None:
    with pytest.raises(InputError, match=r"threads must be a whole number from 1 to the \d+ processors, not 100000"):
        calibrate(threads=100000)


def test_help_says_what_is_measured() -> None:
    result = CliRunner().invoke(cli, ["calibrate", "--help"])
    assert result.exit_code == 0
    assert "Micro-benchmarks" in result.output
    assert "--quick" in result.output


def test_numbers_are_written_to_the_digits_that_mean_something() -> None:
    assert Number("k", "w", 3.694467, "GHz", 0.0, 0.0).text == "3.694 GHz"


def test_how_long_data_stays_follows_from_what_a_pause_loses() -> None:
    found = timings(Made(SERVER), 2)
    assert "memories.l3.kept" not in {number.key for number in numbers(found, 2)}  # nothing is lost
    # Half of it goes in 5 ms: after 20 ms, 15/16 of it.
    for how, ns in ((" at once", 100.0), (" after a pause", 150.0), (" after four pauses", 193.75)):
        found[f"l3 read{how}"] = Timing((ns - 50, ns, ns + 90), 30.0)
    told = {number.key: number for number in numbers(found, 2)}
    assert told["memories.l3.kept"].value == pytest.approx(5 / 0.6931, rel=1e-3)
    assert told["memories.l3.kept"].unit == "ms"
