"""Timings of a device as a file: written during a measurement, and read in place of a device."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from hwsim.calibration.gpu.device import Device, Properties
from hwsim.fields import Positive, Size, Spec, check
from hwsim.kernels.probe import Timing
from hwsim.yaml_source import read_yaml

__all__ = ["Recording", "Recorder"]

Microseconds = Annotated[float, Field(gt=0, le=1e9)]
Key = tuple[object, ...]


class Run(Spec):
    """The times of one kernel: a product of m, n and k in a type, a copy, a read, or nothing ('graph', 'stream')."""

    matmul: tuple[Positive, Positive, Positive] | None = None
    type: str | None = None
    copies: Annotated[Size | None, Field(alias="copy")] = None
    read: Size | None = None
    empty: Annotated[str | None, Field(pattern="^(graph|stream)$")] = None
    us: Annotated[list[Microseconds], Field(min_length=1)]

    @model_validator(mode="after")
    def _one_kernel(self) -> Run:
        keys = [name for name in ("matmul", "copies", "read", "empty") if getattr(self, name) is not None]
        if len(keys) != 1:
            raise ValueError(f"a run must be exactly one of matmul, copy, read or empty, not {len(keys)} of them")
        if (self.matmul is None) != (self.type is None):
            raise ValueError("a product must say its type, and nothing else has one")
        return self

    @property
    def key(self) -> Key:
        """Kernel and size of the timing."""
        if self.matmul is not None:
            return "matmul", *self.matmul, self.type
        if self.empty is not None:
            return "empty", self.empty
        return ("copy", int(self.copies)) if self.copies is not None else ("read", int(self.read or 0))


class RecordedFile(Spec):
    """A run of a device: its properties, source and times."""

    source: Annotated[str, Field(min_length=1)]
    properties: Properties
    runs: list[Run]


class Recording:
    """A device whose timings are read from a file; missing ones were not measured."""

    def __init__(self, path: str | Path) -> None:
        recording = check(RecordedFile, read_yaml(Path(path)))
        self.properties, self.source = recording.properties, recording.source
        self.failures: list[str] = []
        self._times = {run.key: tuple(us * 1e3 for us in run.us) for run in recording.runs}

    def _timing(self, key: Key, work: float) -> Timing | None:
        ns = self._times.get(key)
        return None if ns is None else Timing(ns, work)

    def time_matmul(self, m: int, n: int, k: int, dtype: str, copies: int) -> Timing | None:
        """See `Device`."""
        return self._timing(("matmul", m, n, k, dtype), float(m * n * k))

    def time_copy(self, size: int) -> Timing | None:
        """See `Device`."""
        return self._timing(("copy", size), 2.0 * size)

    def time_read(self, size: int) -> Timing | None:
        """See `Device`."""
        return self._timing(("read", size), float(size))

    def time_empty_kernel(self, graph: bool) -> Timing | None:
        """See `Device`."""
        return self._timing(("empty", "graph" if graph else "stream"), 1.0)


class Recorder:
    """A wrapper that records the timings of a device; `source` is their origin if not this machine today."""

    def __init__(self, device: Device, source: str = "") -> None:
        self.source = source
        self.device, self.properties, self.failures = device, device.properties, device.failures
        self._lines: list[str] = []

    def _record(self, what: str, timing: Timing | None) -> Timing | None:
        if timing is not None:
            self._lines.append(f"  - {{{what}, us: [{', '.join(f'{ns * 1e-3:.6g}' for ns in timing.ns)}]}}")
        return timing

    def time_matmul(self, m: int, n: int, k: int, dtype: str, copies: int) -> Timing | None:
        """See `Device`."""
        timing = self.device.time_matmul(m, n, k, dtype, copies)
        return self._record(f"matmul: [{m}, {n}, {k}], type: {dtype}", timing)

    def time_copy(self, size: int) -> Timing | None:
        """See `Device`."""
        return self._record(f"copy: {size} B", self.device.time_copy(size))

    def time_read(self, size: int) -> Timing | None:
        """See `Device`."""
        return self._record(f"read: {size} B", self.device.time_read(size))

    def time_empty_kernel(self, graph: bool) -> Timing | None:
        """See `Device`."""
        return self._record(f"empty: {'graph' if graph else 'stream'}", self.device.time_empty_kernel(graph))

    def text(self) -> str:
        """The file that `Recording` reads."""
        import yaml

        properties = self.properties.model_dump(exclude_none=True)
        units = {"memory": "B", "l2": "B", "shared": "B", "registers": "B", "clock": "Hz", "board": "W"}
        for key, unit in units.items():
            if key in properties:
                properties[key] = f"{float(properties[key]):.12g} {unit}"
        if self.properties.dram is not None:
            properties["dram"] = f"{float(self.properties.dram.amount):.12g} B/s"
        source = self.source or f"hwsim calibrate --device cuda on {self.properties.date}, {self.properties.software}"
        head = yaml.safe_dump({"source": source, "properties": properties}, sort_keys=False, width=1000)
        return head + "runs:\n" + "\n".join(self._lines) + "\n"
