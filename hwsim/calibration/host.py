"""The host by its operating system: processor, caches, load, energy counters."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import perf_counter, process_time

from hwsim.message import Message

__all__ = ["Binding", "Cache", "Energy", "Host", "Load", "Noise"]

SYS, PROC = Path("/sys"), Path("/proc")


def _read(path: Path) -> str:
    """The text of a small file, or nothing where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _bytes(text: str) -> int:
    """A size as sysfs writes it: 32K, 1024K, 2M."""
    match = re.fullmatch(r"(\d+)([KMG]?)", text)
    return int(match[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[match[2]] if match else 0


def _count(text: str) -> int:
    """How many numbers a list such as 0-3,8 names."""
    number = 0
    for part in text.split(","):
        if span := re.fullmatch(r"\s*([0-9]{1,9})(?:-([0-9]{1,9}))?\s*", part):
            number += int(span[2] or span[1]) - int(span[1]) + 1
    return number


class Binding:
    """A processor of its own for each thread of an operator: the calling thread has the first one while it lasts.

    Threads that spin as they wait look busy to the system, which then may leave two of them on one processor for
    seconds, though another one is idle.

    Attributes
    ----------
    processors : tuple of int
        One for each thread; none where there is one thread, or more of them than processors, or no way to bind.
    """

    def __init__(self, threads: int) -> None:
        self.before: set[int] = set()
        if hasattr(os, "sched_getaffinity"):
            with suppress(OSError):
                self.before = set(os.sched_getaffinity(0))
        fits = 1 < threads <= len(self.before)
        self.processors = tuple(sorted(self.before)[:threads]) if fits else ()

    @property
    def workers(self) -> str:
        """The processors of all threads but the first, as onnxruntime takes them: counted from one."""
        return ";".join(str(number + 1) for number in self.processors[1:])

    def __enter__(self) -> Binding:
        if self.processors:
            os.sched_setaffinity(0, self.processors[:1])
        return self

    def __exit__(self, *_: object) -> None:
        if self.processors:
            os.sched_setaffinity(0, self.before)

    @contextmanager
    def released(self) -> Iterator[None]:
        """Let the calling thread, and those that it starts, run everywhere for a while."""
        now = os.sched_getaffinity(0) if self.processors else set()
        if now:
            os.sched_setaffinity(0, self.before)
        try:
            yield
        finally:
            if now:
                os.sched_setaffinity(0, now)


@dataclass(frozen=True, slots=True)
class Cache:
    """A data cache: level, bytes, sharing processors, and whether the system reports it (else assumed)."""

    level: int
    bytes: int
    shared: int = 1
    is_reported: bool = True


DEFAULT_CACHES = {1: 32 * 2**10, 2: 512 * 2**10, 3: 8 * 2**20}
"""Default sizes where the system reports none: small enough for the caches of most processors."""


class Host:
    """The processor and its surroundings; `sys` and `proc` are where the system keeps its files (for tests)."""

    def __init__(self, sys: Path = SYS, proc: Path = PROC) -> None:
        self.sys = sys
        self.proc = proc

    @cached_property
    def cpuinfo(self) -> Mapping[str, str]:
        """The first processor's lines of /proc/cpuinfo."""
        first = _read(self.proc / "cpuinfo").split("\n\n")[0]
        pairs = (line.partition(":") for line in first.splitlines())
        return {key.strip(): value.strip() for key, _, value in pairs}

    @cached_property
    def processor(self) -> str:
        """The processor's name."""
        model = _read(self.sys / "firmware/devicetree/base/model").strip("\0")
        name = self.cpuinfo.get("model name") or model or platform.processor() or platform.machine()
        return re.sub(r"\s+", " ", re.sub(r"[^ -~]", "?", name))[:80] or "unknown processor"

    @property
    def system(self) -> str:
        """The operating system."""
        return f"{platform.system()} {platform.release().split('-')[0]}"

    @cached_property
    def flags(self) -> frozenset[str]:
        """Feature flags of the processor in /proc/cpuinfo."""
        return frozenset((self.cpuinfo.get("flags") or self.cpuinfo.get("Features") or "").split())

    @cached_property
    def processors(self) -> int:
        """Processors that this process may run on."""
        try:
            return len(os.sched_getaffinity(0))
        except (AttributeError, OSError):
            return os.cpu_count() or 1

    @cached_property
    def threads_per_core(self) -> int:
        """Hardware threads that share a core."""
        return max(1, _count(_read(self.sys / "devices/system/cpu/cpu0/topology/thread_siblings_list")))

    @property
    def cores(self) -> int:
        """Cores that this process may run on, by the topology."""
        return max(1, self.processors // self.threads_per_core)

    @cached_property
    def virtual(self) -> bool:
        """Whether the processor reports a hypervisor."""
        return "hypervisor" in self.flags

    @cached_property
    def memory(self) -> int:
        """Bytes of available memory."""
        import psutil

        return int(psutil.virtual_memory().available)

    @cached_property
    def caches(self) -> dict[int, Cache]:
        """Data caches by level; defaults where the system reports none (an L3 only if it reports no L2)."""
        caches: dict[int, Cache] = {}
        for folder in sorted((self.sys / "devices/system/cpu/cpu0/cache").glob("index*")):
            level, size = _read(folder / "level"), _bytes(_read(folder / "size"))
            if level.isdigit() and size and _read(folder / "type") != "Instruction":
                shared = max(1, _count(_read(folder / "shared_cpu_list")))
                caches[int(level)] = Cache(int(level), size, shared)
        for each in (1, 2) if 2 in caches else (1, 2, 3):
            caches.setdefault(each, Cache(each, DEFAULT_CACHES[each], is_reported=False))
        return dict(sorted(caches.items()))

    @cached_property
    def core(self) -> tuple[str, bool]:
        """The microarchitecture as named in hwsim's CPU files, and whether it is exact or the nearest one."""
        info, flags = self.cpuinfo, self.flags
        numbers = [info.get(key, "") for key in ("cpu family", "model", "stepping")]
        family, model, stepping = (int(text) if text.isdigit() else -1 for text in numbers)
        if info.get("vendor_id") == "AuthenticAMD" and family in (25, 26):
            if family == 26:
                return "zen5", True
            if model in range(0x10, 0x20) or model in range(0x60, 0x80) or model in range(0xA0, 0xB0):
                return "zen4", True
        if info.get("vendor_id") == "GenuineIntel" and family == 6:
            if model == 85:
                return ("skylake-sp" if stepping <= 4 else "cascade-lake" if stepping <= 7 else "cooper-lake"), True
            for models, name in INTEL:
                if model in models:
                    return name, True
        if info.get("CPU part") == "0xd08":
            return "cortex-a72", True
        for flag, name in KIN:
            if flag in flags:
                return name, False
        return ("cortex-a72" if platform.machine() in ("aarch64", "arm64") else "tremont"), False


INTEL = (
    ({78, 94, 142, 158, 165, 166}, "skylake-client"),
    ({106, 108}, "ice-lake-sp"),
    ({125, 126, 167}, "ice-lake-client"),
    ({140, 141}, "tiger-lake"),
    ({143, 207}, "sapphire-rapids"),
    ({151, 154, 183, 186, 191}, "golden-cove"),
    ({190}, "gracemont"),
    ({134, 150, 156}, "tremont"),
)
"""Models of Intel's family 6 by the core names of hwsim's CPU files (Linux, arch/x86/include/asm/intel-family.h)."""

KIN = (
    ("amx_tile", "sapphire-rapids"),
    ("avx512_vnni", "ice-lake-sp"),
    ("avx_vnni", "golden-cove"),
    ("avx512bw", "skylake-sp"),
    ("avx2", "skylake-client"),
)
"""Fallback core by widest ISA extension."""


@dataclass(frozen=True, slots=True)
class Load:
    """Busy, idle and stolen seconds of all processors since boot, of this process, and the time of reading."""

    busy_s: float
    idle_s: float
    stolen_s: float
    own_s: float
    at_s: float

    @classmethod
    def now(cls) -> Load:
        """Read the counters."""
        import psutil

        times = psutil.cpu_times()._asdict()  # fields depend on the system
        idle, stolen = times["idle"] + times.get("iowait", 0.0), times.get("steal", 0.0)
        guests = times.get("guest", 0.0) + times.get("guest_nice", 0.0)  # user and nice have these too
        return cls(sum(times.values()) - guests - idle - stolen, idle, stolen, process_time(), perf_counter())

    def since(self, before: Load) -> Noise:
        """Load of other processes since an earlier reading."""
        busy, stolen = self.busy_s - before.busy_s, self.stolen_s - before.stolen_s
        total = busy + stolen + self.idle_s - before.idle_s
        if total <= 0:
            return Noise(0.0, 0.0)
        own = self.own_s - before.own_s
        return Noise(max(0.0, (busy - own) / max(self.at_s - before.at_s, 1e-9)), stolen / total)


@dataclass(frozen=True, slots=True)
class Noise:
    """Processors busy with other programs, and the share of all stolen by the hypervisor."""

    others: float
    stolen: float

    def notes(self) -> list[Message]:
        """Notes on the load."""
        notes = []
        if self.others > 0.15:
            template = "noise: other programs kept {busy:.1f} processors busy meanwhile"
            notes.append(Message("noise.busy", template, {"busy": self.others}, "warning"))
        if self.stolen > 0.01:
            template = "noise: the hypervisor gave {share:.0%} of the processors' time to others"
            notes.append(Message("noise.stolen", template, {"share": self.stolen}, "warning"))
        return notes


@dataclass(frozen=True, slots=True)
class Energy:
    """The energy counters of the processor's packages (RAPL), in microjoules, and the wrap-around value of each."""

    counters: Mapping[str, tuple[int, int]]

    @classmethod
    def now(cls, sys: Path = SYS) -> Energy:
        """Read all readable counters: none on most virtual machines, root only on many others."""
        counters = {}
        for zone in sorted((sys / "class/powercap").glob("*-rapl:*")):
            value, most = _read(zone / "energy_uj"), _read(zone / "max_energy_range_uj")
            if value.isdigit() and _read(zone / "name").startswith("package"):
                counters[zone.name] = (int(value), int(most) if most.isdigit() else 0)
        return cls(counters)

    def joules_since(self, before: Energy) -> float | None:
        """Joules of all packages since an earlier reading; None without a counter."""
        total = 0
        for name, (value, most) in self.counters.items():
            if name not in before.counters:
                return None
            step = value - before.counters[name][0]
            total += step if step >= 0 else step + most
        return total / 1e6 if self.counters else None
