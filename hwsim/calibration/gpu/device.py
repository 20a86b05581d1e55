"""A device for timing: its properties and the few kernels of a calibration."""

from __future__ import annotations

import datetime
import os
import subprocess
from collections.abc import Callable, Mapping
from typing import Annotated, Protocol

from pydantic import Field

from hwsim.errors import InputError
from hwsim.fields import Bandwidth, Frequency, Positive, Power, Size, Spec
from hwsim.kernels.probe import Timing

__all__ = [
    "BYTES",
    "Device",
    "Properties",
    "capability",
    "properties_of",
    "no_device",
    "repeat_timing",
    "smi",
]

BYTES = {"fp32": 4, "tf32": 4, "fp16": 2, "bf16": 2, "int8": 1}
"""Bytes of a value in memory, of each type that is multiplied."""
SAMPLE_S = 0.02
"""How long one timing lasts at least: far more than the half microsecond that an event resolves."""


class Properties(Spec):
    """Properties of a device by its driver; missing ones are omitted.

    `capability` is CUDA's compute capability, which names the generation; `dram` the bandwidth that clock and width of
    the memory make; `software` names driver and libraries; `graphs` says whether products were timed in CUDA graphs.
    """

    name: Annotated[str, Field(min_length=1, max_length=200)]
    capability: Annotated[str, Field(pattern=r"^\d{1,2}\.\d$")]
    sms: Positive
    memory: Size
    clock: Frequency | None = None
    l2: Size | None = None
    shared: Size | None = None
    registers: Size | None = None
    dram: Bandwidth | None = None
    board: Power | None = None
    software: str = ""
    date: str
    graphs: bool


class Device(Protocol):
    """A device for timing. Each timing is of one kernel; None if the device or library has no such kernel.

    `failures` has the errors of kernels that did not run.
    """

    properties: Properties
    failures: list[str]

    def time_matmul(self, m: int, n: int, k: int, dtype: str, copies: int) -> Timing | None:
        """m x k by k x n, cycling through copies of the weights; the work is MACs."""

    def time_copy(self, size: int) -> Timing | None:
        """Read and write `size` bytes each; the work is both together."""

    def time_read(self, size: int) -> Timing | None:
        """Read `size` bytes and write next to nothing; the work is the bytes read."""

    def time_empty_kernel(self, graph: bool) -> Timing | None:
        """A kernel that does nothing, in a CUDA graph or launched one by one."""


def capability(properties: Properties) -> tuple[int, int]:
    """Compute capability as numbers that can be compared."""
    major, minor = properties.capability.split(".")
    return int(major), int(minor)


def repeat_timing(elapsed: Callable[[int], float], kernels: int, work: float, repeats: int) -> Timing:
    """Timings of one kernel; `elapsed` gives the seconds of a number of replays, each of `kernels` kernels."""
    elapsed(1)
    times = max(1, round(SAMPLE_S / max(elapsed(1), 1e-7)))
    return Timing(tuple(elapsed(times) * 1e9 / (times * kernels) for _ in range(repeats)), work)


def smi(name: str) -> dict[str, str]:
    """Clock, power limit and driver of the named device by nvidia-smi; empty without it."""
    keys = ("name", "clocks.max.sm", "power.limit", "driver_version")
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip() or "0"
    command = ["nvidia-smi", f"--query-gpu={','.join(keys)}", "--format=csv,noheader,nounits", f"--id={first}"]
    try:
        output = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    values = [value.strip() for value in output.splitlines()[0].split(",")] if output.strip() else []
    # CUDA may number devices in another order: another device's numbers are worse than none.
    if not values or values[0] != name:
        return {}
    return {key: value for key, value in zip(keys, values) if value and not value.startswith("[")}


def properties_of(
    name: str,
    software: str,
    graphs: bool,
    values: Mapping[str, object],
    *,
    kilohertz: int = 0,
    memory_kilohertz: int = 0,
    bus_bits: int = 0,
    registers: int = 0,
    sizes: Mapping[str, int],
) -> Properties:
    """Properties of a device by a library and nvidia-smi; 0 means unknown.

    Registers have 32 bits, and both edges of the memory's clock carry data. `sizes` are in bytes.
    """
    more = smi(name)
    texts = {
        "clock": f"{more['clocks.max.sm']} MHz" if "clocks.max.sm" in more else kilohertz and f"{kilohertz} kHz",
        **{key: f"{size} B" for key, size in sizes.items()},
        "registers": f"{4 * registers} B",
        "dram": f"{2 * memory_kilohertz * bus_bits // 8 / 1e6:g} GB/s",
        "board": f"{more['power.limit']} W" if "power.limit" in more else "",
    }
    driver = f", driver {more['driver_version']}" if "driver_version" in more else ""
    return Properties.model_validate(
        {
            "name": name,
            "software": f"{software}{driver}",
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "graphs": graphs,
            **values,
            **{key: text for key, text in texts.items() if text and not text.startswith("0 ")},
        }
    )


def no_device(what: str) -> InputError:
    """No device to measure."""
    return InputError(f"a CUDA device must be visible to be measured: {what}")
