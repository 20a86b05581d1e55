"""GEMM times on one machine: the unit and kernel set of a number format, the time, and the clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwsim.compression.storage import least_bits
from hwsim.energy.spec import PriceSpec
from hwsim.engine.clock import Timebase
from hwsim.errors import InputError, nearest
from hwsim.machines.gpu.demand import Load
from hwsim.machines.gpu.dual import Dual, dual_of
from hwsim.machines.gpu.parts import (
    Constants,
    GpuInstruction,
    KernelSet,
    attention_library,
    load_generation,
    load_harness,
    load_library,
)
from hwsim.machines.gpu.spec import GpuSpec
from hwsim.machines.gpu.tiles import Chip, Kernels, Products, TileTiming, time_products
from hwsim.machines.gpu.work import Types, converted_weights, layer_kind, memory_bits, two_of_four
from hwsim.workload import Layer

__all__ = ["GemmTiming", "Timer", "Unit", "shared_bytes"]

Floats = NDArray[np.float64]
_PJ_PER_US = 1e-6  # watts


@dataclass(frozen=True)
class Unit:
    """Unit for one number format: instruction, MACs per cycle and SM, kernel set, constants, floor in microseconds.

    `gain` is how much faster than those of the `dense` unit its kernels multiply; above 1 for 2:4 weights alone.
    """

    math: str
    instruction: GpuInstruction
    macs: int
    menu: KernelSet
    kernels: Kernels
    constants: Constants
    floor: float
    gain: float = 1.0
    dual: Dual | None = None
    dense: Unit | None = None

    @property
    def sparse(self) -> bool:
        """Whether its kernels leave the zeros of 2:4 weights out."""
        return self.menu.sparse

    @property
    def skip(self) -> int:
        """MACs of the layer for each one that an instruction does."""
        return 2 if self.sparse else 1

    @property
    def executed(self) -> float:
        """The share of MACs that are executed."""
        return (self.dual.products if self.dual else 1.0) / self.skip

    @property
    def issued(self) -> float:
        """The share of instructions that are issued."""
        return self.dual.steps if self.dual else 1.0

    @property
    def name(self) -> str:
        """Its instruction, with the mark of a sparse one."""
        return self.instruction.name.replace(".", ".SP.", 1) if self.sparse else self.instruction.name

    @property
    def shape(self) -> tuple[int, int, int]:
        """Rows, columns and depth of an instruction: one meets twice as many 2:4 weights."""
        m, n, k = self.instruction.tile
        return m, n, k * self.skip

    def weight_bytes(self, bits: int) -> float:
        """Bytes of a weight in memory, zeros and places included."""
        if self.dual:
            return self.dual.bytes(True, bits)
        if self.menu.group is not None:
            return (bits + 16 / self.menu.group) / 8
        return least_bits("2:4" if self.sparse else "dense", 1, 1 / self.skip, bits) / 8

    def input_bytes(self, bits: int) -> float:
        """Bytes of an activation in memory."""
        return self.dual.bytes(False, bits) if self.dual else bits / 8


@dataclass(frozen=True)
class GemmTiming:
    """Microseconds of GEMMs with the power cap, and the slowdown of the clock."""

    timing: TileTiming
    time: Floats
    slowdown: Floats


class Timer:
    """The machine's spec with its parts, in microseconds, megahertz and bytes."""

    def __init__(self, spec: GpuSpec, beside: Path) -> None:
        self.spec = spec
        self.generation = load_generation(spec.generation, beside)
        self.library = load_library(spec.library, beside)
        self.harness = load_harness(spec.harness, beside)
        self.attention_library = attention_library(self.library, beside)
        self._units: dict[tuple[str, str, bool, str], Unit] = {}
        missing = [d for d in spec.sm.macs if d not in self.generation.instructions]
        if missing:
            near = nearest(missing[0], self.generation.instructions)
            raise ValueError(f"sm.macs names {missing[0]!r}, which {self.generation.name} has no instruction for{near}")
        self.constants = {unit: self._constants(unit) for unit in self.generation.constants}
        self.prices = {**self.generation.prices, **spec.prices}
        if spec.links is not None and "link" not in self.prices:
            link = PriceSpec(energy=spec.links.energy, source=spec.links.energy_source)
            self.prices["link"] = link
        for math, more in (self.generation.random if self.harness.random else {}).items():
            price = self.prices.get(f"mac.{math}")
            if price is not None and f"mac.{math}" not in spec.prices:
                self.prices[f"mac.{math}"] = price.model_copy(update={"times": price.times * more})

    def _constants(self, unit: Literal["cuda", "dp4a", "tensor"]) -> Constants:
        """Generation defaults, overridden by the machine file."""
        override = self.spec.constants.get(unit)
        constants = self.generation.constants[unit]
        # Validated again: a share above one is refused here as in a generation's file.
        return Constants.model_validate(constants.model_dump() | override) if override else constants

    @cached_property
    def clock(self) -> float:
        """MHz of the SMs."""
        return float(self.spec.clock_hz(self.spec.clock)) / 1e6

    @cached_property
    def rate_hz(self) -> float:
        """Ticks in a second."""
        return float(Timebase(dict(self.spec.clocks)).rate_hz)

    def ticks(self, microseconds: float) -> int:
        """The nearest whole number of ticks."""
        return round(microseconds * 1e-6 * self.rate_hz)

    def peak(self, math: str, skip: int = 1) -> int:
        """MACs of all SMs in a cycle; on the CUDA cores if they have no unit for the number format."""
        macs = self.spec.sm.macs
        return int(self.spec.sms * macs.get(math, macs.get("fp32", 1)) * skip)

    @cached_property
    def dram(self) -> float:
        """Bytes a microsecond of the data sheet."""
        bandwidth = self.spec.memories["dram"].bandwidth
        assert bandwidth is not None
        return float(bandwidth.amount) / 1e6

    @cached_property
    def l2(self) -> float:
        """Bytes of L2."""
        return float(self.spec.memories["l2"].size)

    @cached_property
    def floor(self) -> float:
        """Microseconds of an empty kernel in this launch mode."""
        return float(self.spec.launch) * 1e6 if self.spec.launch is not None else self._of_harness("floors")

    @cached_property
    def longer_launch(self) -> float:
        """How many microseconds longer than in a CUDA graph a launch takes; 0 where graphs have no floor."""
        floors = load_harness("graph").floors
        name = self.generation.name
        return self.floor - float(floors[name]) * 1e6 if name in floors else 0.0

    def _of_harness(self, what: str) -> float:
        times, name = getattr(self.harness, what), self.generation.name
        if name not in times and "any" not in times:
            generations = ", ".join(times)
            raise InputError(f"harness {self.harness.name} must give {what} for {name}; it has {generations}")
        return float(times.get(name, times.get("any", 0))) * 1e6

    def _launch(self, menu: KernelSet) -> float:
        """Launch time of a kernel set in microseconds, scaled by the shortest kernel from the mode of measurement."""
        if menu.launch is None:
            return self.floor
        launch, at = float(menu.launch) * 1e6, self.library.launch_at
        if at is not None:
            launch *= self._of_harness("shortest" if self.harness.shortest else "floors") / (float(at) * 1e6)
        return launch * self.floor / self._of_harness("floors")

    def unit(self, math: str, layer: str = "gemm", sparse: bool = False, weight: str = "") -> Unit | None:
        """The unit for a number format, or None.

        `sparse` is for weights in format 2:4, `weight` the format of narrower ones: if there are kernels for them.
        """
        key = (math, layer, sparse, weight)
        if key not in self._units:
            menu = self.library.menu(math, self.generation.name, layer, sparse, weight)
            if menu is None and weight:
                return self.unit(math, layer, sparse)
            if menu is None and sparse:
                return self.unit(math, layer)
            if menu is None:
                return None
            runs = menu.runs or math
            instruction, macs = self.generation.instructions.get(runs), self.spec.sm.macs.get(runs)
            if instruction is None or macs is None:
                return None
            if sparse and instruction.sparse_gain is None:
                return self.unit(math, layer)
            constants = self.constants.get(instruction.unit)
            if constants is None:
                raise InputError(
                    f"generation {self.generation.name} must give constants of its {instruction.unit} unit"
                )
            if menu.constants:
                constants = constants.model_copy(update=menu.constants)
            floor = self._launch(menu)
            gain = instruction.sparse_gain or 1.0 if sparse else 1.0
            dense = self.unit(math, layer) if sparse else None
            kernels = Kernels(menu)
            self._units[key] = Unit(runs, instruction, macs, menu, kernels, constants, floor, gain, dense=dense)
        return self._units[key]

    def unit_of(self, layer: Layer, math: str) -> Unit | None:
        """The unit that multiplies a layer in a number format, with the zeros that it skips; None: there is none."""
        unit = self.unit(math, layer_kind(layer), two_of_four(layer), converted_weights(layer, self.spec.precision))
        if unit is None or unit.sparse or self.spec.sm.sparse != "dual" or unit.instruction.unit != "tensor":
            return unit
        dual = dual_of(layer)
        return replace(unit, gain=unit.gain / dual.steps, dual=dual)

    def chip(self, unit: Unit) -> Chip:
        """The data sheet for one unit."""
        macs = unit.macs * unit.gain
        ahead = self.generation.asynchronous and unit.instruction.unit == "tensor"
        if ahead and unit.menu.synchronous:
            macs *= self.generation.synchronous_rate
        sm = self.spec.sm
        camping = self.generation.camping if self.spec.weights == "rows" else 1.0
        room = float(sm.shared), float(sm.registers)
        return Chip(self.spec.sms, self.clock, macs, self.l2, self.dram, ahead, *room, camping)

    def price(self, component: str) -> float:
        """Picojoules of an action."""
        price = self.prices.get(component)
        return 0.0 if price is None or price.energy is None else float(price.energy) * price.times

    @property
    def budget(self) -> float:
        """Watts of the board above idle."""
        return float(self.spec.power.board) - float(self.spec.power.idle)

    def stretch(self, time: Floats, energy: Floats, off_chip: Floats) -> Floats:
        """How much slower the clock must be for kernels that would take `time` and `energy` (pJ) to fit the board.

        The supply voltage falls with the clock: at 1 / s of it an action on the chip takes 1 / s of its energy, so
        on_chip / s + off_chip = budget time s.
        """
        full = np.maximum(time, 1e-9) * self.budget / _PJ_PER_US
        slow: Floats = (off_chip + np.sqrt(off_chip**2 + 4 * full * (energy - off_chip))) / (2 * full)
        return np.maximum(1.0, slow)

    def capped_share(self, time: Floats, once: bool = False) -> Floats:
        """Fraction of the power cap that applies to runs of so many microseconds, from 0 to 1."""
        if self.harness.sustained:
            return np.ones_like(time)
        reaction = float(self.spec.power.reaction) * 1e6
        share: Floats = time / np.maximum(time + reaction, 1e-9)
        return 0.0 * share if once else share

    def slowdown(self, time: Floats, energy: Floats, off_chip: Floats, once: bool = False) -> Floats:
        """How much slower runs get under the power cap; a short run ends before the power controller reacts."""
        slow: Floats = 1 + (self.stretch(time, energy, off_chip) - 1) * self.capped_share(time, once)
        return slow

    def products(self, p: Products, unit: Unit, slow: float | None = None) -> GemmTiming:
        """Time many products of one type.

        `slow` is how much slower the clock runs, where that is known; else each product runs alone under the power cap.
        Few rows go to the vector kernel if the kernel set has one; activations are quantized first if it does that.
        """
        c = unit.constants
        try:
            timing = time_products(p, self.chip(unit), c, unit.kernels, unit.floor, self._reuse(unit))
        except ValueError as error:
            menu = f"{unit.math} kernels of {self.library.name}"
            raise InputError(f"{self.spec.name} must have room for a tile of the {menu}: {error}") from None
        time = timing.time
        if unit.menu.vector is not None:
            time = np.where(p.m <= unit.menu.vector.rows, self._vector(p, unit), time)
        if unit.menu.quantize is not None:
            # Values a cycle and SM.
            time = time + p.b * p.m * p.k / (unit.menu.quantize * self.spec.sms * self.clock)
        if unit.menu.slowest is not None and unit.dense is not None:
            dense = replace(p, bytes_w=unit.dense.weight_bytes(memory_bits(unit.math)))
            time = np.minimum(time, unit.menu.slowest * self.products(dense, unit.dense, 1.0).time)
        if slow is not None:
            return GemmTiming(timing, time * slow, np.full_like(time, slow))
        energy, off_chip = self.energy(self.amounts(p, unit, timing)), timing.dram_bytes * self.price("dram")
        slower = self.slowdown(time, energy, off_chip, unit.menu.once)
        return GemmTiming(timing, time * slower, slower)

    def amounts(self, p: Products, unit: Unit, timing: TileTiming) -> dict[str, Floats]:
        """Counts of each priced action: MACs, instructions, bytes at each level."""
        macs = p.b * p.m * p.n * p.k
        return {
            f"mac.{unit.math}": macs * unit.executed,
            "instruction": macs * unit.issued / prod(unit.shape),
            "l2": timing.l2_bytes,
            "shared": timing.l2_bytes + macs * shared_bytes(p, unit),
            "dram": timing.dram_bytes,
        }

    def energy(self, amounts: Mapping[str, Floats]) -> Floats:
        """Dynamic energy in pJ of so much of each action."""
        total: Floats = np.zeros(1)
        for component, amount in amounts.items():
            total = total + amount * self.price(component)
        return total

    def picojoules(self, load: Load) -> tuple[float, float]:
        """Dynamic energy of one product of a kernel, and of that off the chip."""
        energy = {component: amount * self.price(component) for component, amount in load.amounts}
        off_chip = energy.get("dram", 0.0)
        return (sum(energy.values()) - off_chip) / load.slow + off_chip, off_chip

    def draw_w(self, load: Load) -> float:
        """Watts above idle that a kernel draws while it runs."""
        return self.picojoules(load)[0] * _PJ_PER_US / max(load.us, 1e-9)

    def _reuse(self, unit: Unit) -> int:
        """Copies of the weights between two uses of one; 0: they come from DRAM."""
        return 0 if unit.menu.once else self.harness.reuse

    def vector_terms(self, p: Products, unit: Unit) -> dict[str, Floats]:
        """Microseconds of each limit of the kernel of few rows, and of what it issues after them."""
        vector, c, chip = unit.menu.vector, unit.constants, self.chip(unit)
        assert vector is not None
        weights = p.b * p.n * p.k * p.bytes_w
        reuse = self._reuse(unit)
        hot = 1 / (1 + (reuse * weights / (c.l2_kept * chip.l2)) ** 6) if reuse else 0.0
        each = vector.step if vector.columns is None else vector.columns
        return {
            "dram": weights * (1 - hot) / (c.dram_share * chip.dram),
            "L2": weights / (c.l2_share * 64 * chip.sms * chip.clock),
            "steps": vector.step / chip.clock * p.k / 1024,
            "issue": each / chip.clock * p.b * p.n * (p.m + 3) / 4 / (64 * chip.sms),
        }

    def row_latency(self, math: str, values: float) -> float:
        """Microseconds that a row of so many values takes one after the other, as in the kernel of few rows."""
        unit = self.unit(math)
        vector = unit.menu.vector if unit is not None else None
        return 0.0 if vector is None else vector.step / self.clock * values / 1024

    def _vector(self, p: Products, unit: Unit) -> Floats:
        terms = self.vector_terms(p, unit)
        core = (terms["dram"] ** 6 + terms["L2"] ** 6 + terms["steps"] ** 6) ** (1 / 6)
        time: Floats = unit.floor + core + terms["issue"]
        return time

    def times(self, m: ArrayLike, n: ArrayLike, k: ArrayLike, types: Types, unit: Unit) -> Floats:
        """Seconds of many products; see `Gpu.gemm_times`."""
        sizes = np.broadcast_arrays(*(np.asarray(x, float) for x in (m, n, k)))
        ms, ns, ks = (np.ravel(x) for x in sizes)
        ones = np.ones_like(ms)
        image, none = ms * ks * types.a / 8, 0 * ones
        p = Products(ones, ms, ns, ks, image, none, types.a / 8, unit.weight_bytes(types.w), types.o / 8)
        seconds: Floats = (self.products(p, unit).time * 1e-6).reshape(sizes[0].shape)
        return seconds


def shared_bytes(p: Products, unit: Unit) -> float:
    """Bytes that a MAC of the layer reads of shared memory: operands of a warp's 64 x 64 part are used 64 times."""
    return (p.bytes_a + p.bytes_w) / 64 * (1.0 if unit.instruction.unit == "tensor" else 8.0)
