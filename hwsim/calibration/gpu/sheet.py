"""A device's machine file before the fit: driver, shipped machine of the same SM, streams."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from hwsim.calibration.document import size_text
from hwsim.calibration.gpu.device import capability
from hwsim.calibration.gpu.rounds import GpuMeasurement
from hwsim.errors import InputError
from hwsim.kernels.probe import Timing
from hwsim.machines.loader import load_machine
from hwsim.units import format_si

__all__ = ["Sheet", "kin_of"]

KIN = {
    (6, 0): "p100", (6, 1): "p4", (7, 0): "v100", (7, 5): "t4", (8, 0): "a100", (8, 6): "a10", (8, 9): "l40s",
    (9, 0): "h100",
}  # fmt: skip
"""Compute capability -> the shipped machine whose SM a device has."""
SLOW = 0.6
"""Share of the peak rate below which a large product contradicts the data sheet."""


def kin_of(version: tuple[int, int]) -> tuple[str, str]:
    """The shipped machine with the SM of a compute capability, and a note if it is not an exact match."""
    if version in KIN:
        return KIN[version], ""
    older = [version_ for version_ in KIN if version_ < version]
    if not older:
        least = ".".join(map(str, min(KIN)))
        raise InputError(f"the compute capability must be {least} or later, not {version[0]}.{version[1]}")
    near = max(older)
    text = ".".join(map(str, version))
    return KIN[near], f"no generation for compute capability {text}: that of {near[0]}.{near[1]} is used"


def _doubt(timing: Timing) -> str:
    if len(timing.ns) == 1:
        return "one value: the spread is unknown"
    return f"median {timing.spread:.1%} from the best, quartiles {timing.quartiles:.1%} apart"


class Sheet:
    """A measured device as lines of its file; `notes` lists values from other sources."""

    def __init__(self, measurement: GpuMeasurement, name: str, source: str) -> None:
        self.measurement, self.name, self.source = measurement, name, source
        self.device = measurement.properties
        self.teller = "recorded run" if source else "driver"
        self.how = "from a recorded run" if source else "as hwsim calibrate measured it"
        kin, note = kin_of(capability(self.device))
        self.kin: Any = load_machine(kin)
        self.notes = [*([note] if note else []), *measurement.notes]
        self.shares: dict[str, tuple[float, str]] = {}  # constants read directly from a timing, and their uncertainty
        self.spread: dict[str, float] = {}
        self.clock = float(self.device.clock or self.kin.spec.clock_hz(self.kin.spec.clock))
        self.bandwidth, self.bandwidth_source = self._dram()
        self._shares()

    def _missing(self, what: str, value: str) -> str:
        self.notes.append(f"the {self.teller} does not report {what}: {value} of {self.kin.name} is used")
        return value

    def _rate(self, name: str) -> float | None:
        """Bytes a second of a stream, without the launch."""
        timing = self.measurement.bandwidth.get(name)
        if timing is None:
            return None
        empty = self.measurement.empty.get("graph" if self.device.graphs else "stream")
        # Launch time is known to a tenth at best: at most half of a time is subtracted.
        ns = max(timing.least_ns - (empty.least_ns if empty else 0.0), timing.least_ns / 2)
        return timing.work / ns * 1e9

    def _dram(self) -> tuple[float, str]:
        """Bytes a second that the shares are of."""
        if self.device.dram is not None:
            return float(self.device.dram.amount), f"{self.teller}: clock and width of the memory"
        rate, share = self._rate("dram copy"), self.kin.timer.constants["cuda"].dram_share
        if rate is not None:
            self.notes.append(f"the {self.teller} does not report the DRAM bandwidth: it is estimated from copies")
            return rate / share, f"a copy reaches {share:.0%} of it, as in the generation"
        value = float(self.kin.spec.memories["dram"].bandwidth.amount)
        self._missing("the DRAM bandwidth", f"{value / 1e9:.4g} GB/s")
        return value, f"that of {self.kin.name}"

    def _shares(self) -> None:
        """What CUDA cores stream of DRAM and L2, from the copies."""
        port = 64 * self.device.sms * self.clock
        for key, name, whole, most in (
            ("constants.cuda.dram_share", "dram copy", self.bandwidth, 1.0),
            ("constants.cuda.l2_share", "l2 copy", port, 4.0),
        ):
            rate = self._rate(name)
            if rate is None:
                self.notes.append(f"no {name} was timed: {key} of the generation is used")
                continue
            if rate > most * whole:
                self.notes.append(f"the {name} is faster than it can be ({rate / whole:.2f} of the whole): bounded")
            timing = self.measurement.bandwidth[name]
            self.shares[key] = (float(f"{min(rate / whole, most):.4g}"), f"{name}; {_doubt(timing)}")
            self.spread[key] = timing.spread

    def _memories(self) -> Iterator[str]:
        l2 = self.device.l2
        size = size_text(l2) if l2 else self._missing("the size of L2", size_text(self.kin.spec.memories["l2"].size))
        parts = self.kin.spec.memories["l2"].partitions
        split = f", partitions: {parts}" if parts > 1 else ""
        rate = self._rate("l2 read")
        wide = f", bandwidth: {rate / 1e9:.4g} GB/s" if rate is not None else ""
        how = f"; bandwidth of reads, {_doubt(self.measurement.bandwidth['l2 read'])}" if rate is not None else ""
        yield f"  l2: {{size: {size}{wide}{split}, source: {json.dumps((self.teller if l2 else self.kin.name) + how)}}}"
        dram = f"size: {size_text(self.device.memory)}, bandwidth: {self.bandwidth / 1e9:.5g} GB/s"
        yield f"  dram: {{{dram}, source: {json.dumps(self.bandwidth_source)}}}"

    def head(self) -> list[str]:
        """Everything that needs no fit."""
        device, kin = self.device, self.kin.spec
        registers, shared = (
            size_text(value) if value else self._missing(what, size_text(own))
            for value, what, own in (
                (device.registers, "registers", kin.sm.registers),
                (device.shared, "shared memory", kin.sm.shared),
            )
        )
        board = device.board
        watts = f"{float(board):g}" if board else self._missing("the limit of the power", f"{float(kin.power.board):g}")
        # A power limit below the idle power of the similar board means a smaller board.
        idle = min(float(kin.power.idle), float(watts) / 4)
        if device.clock is None:
            self._missing("the clock", f"{self.clock / 1e6:g} MHz")
        macs = ", ".join(f"{dtype}: {rate}" for dtype, rate in kin.sm.macs.items())
        origin = f"measured on {device.date}; {device.software or 'software not device'}"
        power = f"{self.teller}: board; of {kin.name}: idle, reaction" if board else f"those of {kin.name}"
        lines = [
            "kind: gpu",
            f"name: {json.dumps(self.name)}",
            f"description: {json.dumps(f'{device.name}, {self.how}')}",
            f"source: {json.dumps(f'{self.source or origin}; rates of an SM: those of {kin.name} ({kin.source})')}",
            f"generation: {kin.generation}",
            f"harness: {'graph' if device.graphs else 'stream'}",
            f"clocks: {{sm: {self.clock / 1e6:g} MHz}}",
            f"sms: {device.sms}",
            "sm:",
            f"  macs: {{{macs}}}",
            f"  registers: {registers}",
            f"  l1: {size_text(kin.sm.l1)}",
            f"  shared: {shared}",
            "memories:",
            *self._memories(),
            "power:",
            f"  board: {watts} W",
            f"  idle: {idle:g} W",
            f"  reaction: {float(kin.power.reaction) * 1e3:g} ms",
            f"  source: {json.dumps(power)}",
        ]
        if kin.prices:
            lines.append("prices:")
            for name, price in kin.prices.items():
                energy = f"{float(price.energy or 0):g} pJ"
                lines.append(f"  {name}: {{energy: {energy}, source: {json.dumps(price.source)}}}")
        return lines

    def rates(self) -> Iterator[str]:
        """Comments: the fastest product of each type and the peak of the data sheet."""
        macs = self.kin.spec.sm.macs
        for dtype in ("fp32", "tf32", "fp16", "bf16", "int8"):
            best = self.measurement.rate(dtype)
            if best is None:
                continue
            rate = best.timing.work / best.seconds
            runs = "dp4a" if dtype == "int8" and dtype not in macs else dtype
            peak = macs.get(runs, 0) * self.device.sms * self.clock
            share = f", {rate / peak:.1%} of the peak" if peak else ""
            size = f"{best.m}x{best.n}x{best.k}"
            yield f"{dtype}: {format_si(2 * rate, 'op/s', 4)}{share} ({size}; {_doubt(best.timing)})"
            if peak and rate > 1.02 * peak:
                self.notes.append(f"{dtype} is faster than the peak of {self.kin.name}'s SM: raise sm.macs")
            elif peak and rate < SLOW * peak:
                self.notes.append(
                    f"{dtype} reaches {rate / peak:.0%} of the peak: the kernels are slow or the clock is low"
                )

    def streams(self) -> Iterator[str]:
        """Comments: bandwidths and empty kernels."""
        for name, timing in self.measurement.bandwidth.items():
            rate = self._rate(name)
            assert rate is not None
            yield f"{name}: {rate / 1e9:.4g} GB/s ({_doubt(timing)})"
        for name, timing in self.measurement.empty.items():
            yield f"empty kernel, {name}: {timing.least_ns * 1e-3:.3g} us ({_doubt(timing)})"
