"""What the operating system tells, read from files as Linux writes them: known processors, odd ones, none at all."""

import os
import time
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from hwsim.calibration.host import DEFAULT_CACHES, Energy, Host, Load, Noise, _bytes, _count

ZEN4 = "vendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\nstepping\t: 1\nflags\t\t: avx2 avx512f avx512bw avx512_vnni hypervisor\n\nprocessor\t: 1\n"
A72 = "processor\t: 0\nFeatures\t: fp asimd crc32 cpuid\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n"


def machine(folder: Path, cpuinfo: str = "", caches: tuple[tuple[int, str, str, str], ...] = ()) -> Host:
    proc, cpu0 = folder / "proc", folder / "sys/devices/system/cpu/cpu0"
    proc.mkdir()
    (proc / "cpuinfo").write_text(cpuinfo)
    for index, (level, kind, size, shared) in enumerate(caches):
        cache = cpu0 / f"cache/index{index}"
        cache.mkdir(parents=True)
        for name, value in (("level", str(level)), ("type", kind), ("size", size), ("shared_cpu_list", shared)):
            (cache / name).write_text(value + "\n")
    return Host(folder / "sys", proc)


def test_a_processor_and_its_caches(tmp_path: Path) -> None:
    caches = (
        (1, "Data", "32K", "0"),
        (1, "Instruction", "64K", "0"),
        (2, "Unified", "1024K", "0"),
        (3, "Unified", "32M", "0-7,16-23"),
    )
    host = machine(tmp_path, ZEN4, caches)
    assert host.processor == "AMD EPYC"
    assert host.core == ("zen4", True)
    assert host.virtual
    assert {level: cache.bytes for level, cache in host.caches.items()} == {1: 2**15, 2: 2**20, 3: 2**25}
    assert host.caches[3].shared == 16


def test_a_processor_without_an_l3_has_none(tmp_path: Path) -> None:
    host = machine(tmp_path, A72, ((1, "Data", "32K", "0"), (2, "Unified", "1024K", "0-3")))
    assert set(host.caches) == {1, 2}
    assert host.core == ("cortex-a72", True)


def test_what_is_not_told_is_assumed_and_said(tmp_path: Path) -> None:
    host = machine(tmp_path)
    assert {level: cache.bytes for level, cache in host.caches.items()} == DEFAULT_CACHES
    assert not any(cache.is_reported for cache in host.caches.values())
    assert not host.core[1]
    assert host.processor
    assert 0 < host.memory < 2**50
    assert host.threads_per_core == 1


@pytest.mark.parametrize(
    ("family", "model", "stepping", "core"),
    [
        (6, 85, 4, "skylake-sp"),
        (6, 85, 7, "cascade-lake"),
        (6, 106, 6, "ice-lake-sp"),
        (6, 143, 8, "sapphire-rapids"),
        (6, 158, 10, "skylake-client"),
    ],
)
def test_models_of_intel(tmp_path: Path, family: int, model: int, stepping: int, core: str) -> None:
    text = f"vendor_id : GenuineIntel\ncpu family : {family}\nmodel : {model}\nstepping : {stepping}\n"
    assert machine(tmp_path, text).core == (core, True)


@pytest.mark.parametrize(
    ("flags", "core"),
    [("avx2 avx512bw avx512_vnni", "ice-lake-sp"), ("avx2", "skylake-client"), ("avx2 avx512bw", "skylake-sp")],
)
def test_an_unlisted_processor_is_taken_for_its_nearest_kin(tmp_path: Path, flags: str, core: str) -> None:
    assert machine(tmp_path, f"vendor_id : Other\nflags : {flags}\n").core == (core, False)


def test_every_core_that_is_named_is_one_that_the_cpu_files_have() -> None:
    core = pytest.importorskip("hwsim.machines.cpu.core", reason="machines of kind cpu are not in this tree")
    from hwsim.calibration.host import INTEL, KIN

    named = (
        {name for _, name in INTEL}
        | {name for _, name in KIN}
        | {"zen4", "zen5", "cortex-a72", "tremont", "skylake-sp", "cascade-lake"}
    )
    assert named <= set(core.core_names())


def test_time_that_others_took(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psutil.PROCFS_PATH", str(tmp_path))
    stat = tmp_path / "stat"
    # 100 ticks are a second on every Linux: user, nice, system, idle, iowait, irq, softirq, steal, guests (in user, nice)
    stat.write_text("cpu  100 3 20 500 10 0 2 7 50 1\ncpu0 1 2\n")
    before = Load.now()
    assert (before.busy_s, before.idle_s, before.stolen_s) == pytest.approx((1.25, 5.1, 0.07))
    # In one second two processors had two: 1.2 busy, of which 0.7 here, 0.2 stolen, 0.6 idle.
    after = Load(before.busy_s + 1.2, before.idle_s + 0.6, before.stolen_s + 0.2, before.own_s + 0.7, before.at_s + 1)
    noise = after.since(before)
    assert noise.others == pytest.approx(0.5)
    assert noise.stolen == pytest.approx(0.1)
    assert len(noise.notes()) == 2
    assert Noise(0.0, 0.0).notes() == []
    assert before.since(before) == Noise(0.0, 0.0)  # no tick passed
    assert after.since(before).others == pytest.approx(1.2 - 0.7)


def test_an_idle_process_sees_no_more_than_all_processors() -> None:
    before = Load.now()
    time.sleep(0.2)
    noise = Load.now().since(before)
    # A tick is a hundredth of a second, so that a processor may seem busy for 5 % more than the time that passed.
    assert 0 <= noise.others <= (os.cpu_count() or 1) * 1.2
    assert 0 <= noise.stolen <= 1


def test_energy_counters_are_packages_and_turn_over(tmp_path: Path) -> None:
    def zone(name: str, kind: str, energy: int) -> None:
        folder = tmp_path / "class/powercap" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "name").write_text(kind)
        (folder / "energy_uj").write_text(str(energy))
        (folder / "max_energy_range_uj").write_text("1000000")

    zone("intel-rapl:0", "package-0", 900_000)
    zone("intel-rapl:0:0", "core", 1)
    before = Energy.now(tmp_path)
    zone("intel-rapl:0", "package-0", 400_000)
    assert Energy.now(tmp_path).joules_since(before) == pytest.approx(0.5)
    assert Energy.now(tmp_path / "nothing").joules_since(before) is None


@given(st.integers(0, 10**6), st.sampled_from(["", "K", "M", "G"]))
def test_sizes_as_sysfs_writes_them(number: int, unit: str) -> None:
    assert _bytes(f"{number}{unit}") == number * {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}[unit]


@given(st.text(max_size=40))
def test_no_text_breaks_the_readers(text: str) -> None:
    assert _bytes(text) >= 0
    assert isinstance(_count(text), int)


def test_lists_of_processors() -> None:
    assert _count("0-3,8") == 5
    assert _count("7") == 1
    assert _count("") == 0
