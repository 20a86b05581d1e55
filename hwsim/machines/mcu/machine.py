"""The microcontroller: units of each layer times what the library's kernels cost here, and what the board draws."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from math import ceil
from typing import ClassVar

from hwsim.errors import Fault, InputError, nearest
from hwsim.machines.kinds import Machine
from hwsim.machines.mcu.features import BOUNDS, TERMS, features, live_macs, scratch_bytes, weight_bytes
from hwsim.machines.mcu.library import Library, library_names, load_core, load_library
from hwsim.machines.mcu.spec import McuSpec, PowerSpec
from hwsim.machines.memory import MemoryUse
from hwsim.machines.plan import Action, Constant, LayerPlan, Traffic
from hwsim.machines.spec import EnergySpec, PriceSpec
from hwsim.program import Pipeline, Program, Run, Stage
from hwsim.workload import Layer, Opaque, Workload, load_workload, workload_names

__all__ = ["Mcu"]

_STAGES = ("overhead", "im2col", "flash", "mac", "per output")
# Errors to expect, from leaving rows out: of a network beside a measured one, and what another core adds.
_MEASURED, _CARRIED = 0.07, 0.1
_DRAWN = "part of the board's power, which is priced by time"


def _column(part: str, unit: str) -> str:
    return f"{part.removeprefix('per ')}_{unit}"


class Mcu(Machine):
    """A microcontroller with its board and its kernel library.

    Attributes
    ----------
    spec : McuSpec
        The machine file.
    library : Library
        What the kernels cost.
    """

    kind: ClassVar[str] = "mcu"
    spec_class: ClassVar[type[McuSpec]] = McuSpec
    spec: McuSpec

    def _check(self) -> None:
        spec = self.spec
        self.library = load_library(spec.library, self.folder)
        if spec.core not in self.library.cores:
            fitting = [name for name in library_names() if spec.core in load_library(name).cores]
            raise InputError(
                [
                    Fault(
                        self.document.where(("library",)),
                        "library",
                        f"{self.library.name} must exist for {spec.core}, it does for {', '.join(self.library.cores)}"
                        f"{nearest(spec.library, fitting)}",
                    )
                ]
            )
        self.spec = spec.model_copy(update={"energy": self._energy()})

    @property
    def core_clock(self) -> str:
        """The clock of the core."""
        return self.spec.clock

    @property
    def power_state(self) -> str | None:
        """The environment that active power is of: the one asked for, the library's, or the first; None if unknown."""
        power = self.spec.power
        if power.active == "unknown":
            return None
        if power.use is not None:
            return power.use
        environment = self.library.environment
        return environment if environment in power.active else next(iter(power.active))

    @property
    def active_w(self) -> float | None:
        """Active power at the machine's clock, in watts; None if unknown."""
        power: PowerSpec = self.spec.power
        if power.active == "unknown" or self.power_state is None:
            return None
        full = float(power.active[self.power_state])
        if power.at is None:
            return full
        asleep = 0.0 if power.sleep == "unknown" else min(float(power.sleep), full)
        return asleep + (full - asleep) * float(self.spec.clock_hz(self.core_clock) / power.at)

    def _energy(self) -> EnergySpec:
        power, watts = self.spec.power, self.active_w
        if watts is None:
            price = PriceSpec(unknown=True, source=power.source)
            return EnergySpec(table="horowitz_45nm", prices=dict.fromkeys(("mac", "core", "flash", "ram"), price))
        price = PriceSpec(energy="0 pJ", source=_DRAWN)
        return EnergySpec(
            table="horowitz_45nm",
            prices=dict.fromkeys(("mac", "core", "flash", "ram"), price),
            static=f"{watts:.12f} W",
            static_source=f"active power, {self.power_state}: {power.source}",
        )

    @cached_property
    def unit_cycles(self) -> Mapping[str, float]:
        """Cycles of a unit of each term here, before any measured scale."""
        return self._unit_cycles(self.library)

    def _unit_cycles(self, library: Library) -> Mapping[str, float]:
        return {term: library.cycles(term, self.spec.core) * self.spec.pace for term in TERMS}

    @cached_property
    def scale(self) -> float:
        """Measured latency over the predicted one, where the user has measured a network; else 1."""
        measured = self.spec.measured
        if measured is None:
            return 1.0
        name = measured.workload
        network = load_workload(name if name in workload_names() or name.endswith(".yaml") else name.lower())
        cycles = sum(sum(self._cycles(layer, 1).values()) for layer in network)
        if not cycles:
            raise InputError("measured needs a library that costs something: a scale of nothing is nothing")
        return float(measured.latency) * float(self.spec.clock_hz(self.core_clock)) / cycles

    def _cycles(
        self, layer: Layer, batch: int, library: Library | None = None, drop: bool | None = None
    ) -> dict[str, float]:
        """Cycles of a layer by what they are spent on, unscaled; under another library if one is given."""
        costs = self.unit_cycles if library is None else self._unit_cycles(library)
        drop = self.library.drops if drop is None else drop
        spent = dict.fromkeys(_STAGES, 0.0)
        for term, units in features(layer, drop).items():
            spent[BOUNDS[term]] += units * batch * costs[term]
        spent["flash"] += weight_bytes(layer, drop) * batch * self.spec.flash.weight_byte
        return spent

    def _plan(self, layer: Layer, batch: int) -> LayerPlan:
        self._check_dtype(layer)
        library, drop = self.library, self.library.drops
        spent = {part: ceil(cycles * self.scale) for part, cycles in self._cycles(layer, batch).items()}
        units = features(layer, drop)
        macs, run = layer.macs * batch, live_macs(layer, drop) * batch
        read = weight_bytes(layer, drop) * batch
        counts: dict[Action, int] = {}
        if macs:
            counts["mac", "", layer.input.dtype] = run
            if macs > run:
                counts["mac", "", "dead"] = macs - run
        counts |= {("core", "", term): ceil(n * batch) for term, n in units.items() if not term.endswith("_mac")}
        counts["flash", "weight", "read"] = read
        counts["ram", "ifmap", "read"] = -(-layer.inputs * layer.input.bits * batch // 8)
        counts["ram", "ofmap", "write"] = -(-layer.outputs * layer.output.bits * batch // 8)
        taken = [part for part in _STAGES if spent[part]] or ["overhead"]
        ticks = tuple(self.timebase.ticks(self.core_clock, spent[part]) for part in taken)
        # One after the other: the core waits for its flash.
        stages = tuple(Stage(part, "flash" if part == "flash" else "core") for part in taken)
        program = Program({"core": 1, "flash": 1}, (Pipeline("kernel", stages, (Run(1, ticks),)),))
        return LayerPlan(
            layer,
            batch,
            f"{self._kernel(units)} kernel of {library.name}",
            program,
            {key: n for key, n in counts.items() if n},
            macs=macs,
            macs_live=layer.macs_live * batch,
            macs_executed=run,
            compute_cycles=spent["mac"],
            peak_macs_per_cycle=load_core(self.spec.core).macs_per_cycle,
            dram_bytes=0,
            bounds={part: part for part in _STAGES},
            columns=self._columns(spent, read),
            why=self._why(units, spent, batch),
        )

    def _check_dtype(self, layer: Layer) -> None:
        given = (layer.input.dtype, layer.weight.dtype) if layer.macs else ()
        wrong = next((dtype for dtype in given if dtype not in self.library.dtypes), None)
        if wrong is not None:
            message = (
                f"{self.library.name} runs {', '.join(self.library.dtypes)}, not {wrong}: quantise the network to "
                "int8 after training, or name a library that has such kernels"
            )
            raise InputError([Fault("", layer.name, message)])

    @staticmethod
    def _kernel(units: Mapping[str, float]) -> str:
        return next((term.removesuffix("_mac") for term in units if term.endswith("_mac")), "simple")

    def _columns(self, spent: dict[str, int], read: int) -> dict[str, float | int | str]:
        """Cycles by what they go to, and an estimate of the energy: board power over those cycles."""
        found: dict[str, float | int | str] = {_column(part, "cycles"): n for part, n in spent.items()}
        found["flash_bytes"] = read
        if self.active_w is not None:
            cycle_pj = self.active_w / float(self.spec.clock_hz(self.core_clock)) * 1e12
            found |= {f"estimated_{_column(part, 'pj')}": n * cycle_pj for part, n in spent.items()}
        return found

    def _why(self, units: dict[str, float], spent: dict[str, int], batch: int) -> tuple[str, ...]:
        total = sum(spent.values()) or 1
        parts = ", ".join(f"{part} {n / total:.0%}" for part, n in sorted(spent.items(), key=lambda p: -p[1]) if n)
        costs = "; ".join(f"{n * batch:,.6g} {t} x {self.unit_cycles[t]:.4g}" for t, n in units.items())
        return (f"cycles: {parts}", f"units x cycles: {costs}", *self._remarks())

    def _remarks(self) -> tuple[str, ...]:
        found = [carried] if (carried := self.library.carried(self.spec.core)) else []
        if self.spec.measured is not None:
            m = self.spec.measured
            found.append(f"scaled by {self.scale:.4g} to the {float(m.latency) * 1e3:g} ms measured for {m.workload}")
        return tuple(found)

    def notes(self, workload: Workload, batch: int) -> tuple[str, ...]:
        """The library with its uncertainty, what was carried over, whether dead channels are dropped, and the fit."""
        library = self.library
        carried = _CARRIED if library.carried(self.spec.core) else 0.0
        spread = _MEASURED if self.spec.measured is not None else library.uncertainty + carried
        told = [f"library {library.name} on {self.spec.core}: latency within about {spread:.0%}; {library.source}"]
        told += self._remarks()
        unknown = dict.fromkeys(layer.op for layer in workload if isinstance(layer, Opaque))
        if unknown:
            told.append(f"no kernel is known for {', '.join(unknown)}: counted as an addition for each value")
        dead = sum(layer.macs - layer.macs_live for layer in workload) * batch
        if dead:
            what = "dropped" if library.drops else "run all the same"
            told.append(f"dead channels ({dead:,} MACs) are {what} by {library.name}")
        plans = [self.plan(layer, batch) for layer in workload]
        spent = {part: sum(int(plan.columns[_column(part, "cycles")]) for plan in plans) for part in _STAGES}
        total = sum(spent.values()) or 1
        shares = ", ".join(f"{part} {n / total:.0%}" for part, n in sorted(spent.items(), key=lambda p: -p[1]))
        told.append(f"where time goes, and by estimate energy: {shares}")
        if self.active_w is not None:
            told.append(f"power: {self.active_w * 1e3:.4g} mW, {self.spec.energy.static_source}")
        return tuple(told)

    def memory_bytes(self) -> int:
        """Bytes of RAM."""
        return int(self.spec.ram.size)

    def memories(self, workload: Workload, batch: int) -> tuple[MemoryUse, ...]:
        """RAM: the arena of activations, library and what is reserved. Flash: weights, biases, the library's code."""
        from hwsim.workload.arena import plan_workload

        spec, library = self.spec, self.library
        channels = sum(layer.output.shape[0] for layer in workload if layer.weights)
        state = int(library.memory.operator) * len(workload) + int(library.memory.channel or 0) * channels
        buffers = {layer.name: scratch_bytes(layer) for layer in workload} if library.code != "c" else {}
        ram = (
            ("arena", plan_workload(workload, buffers, batch).bytes),
            ("library", int(library.memory.ram) + state),
            ("reserved", int(spec.ram.reserved)),
        )
        weights = sum(weight_bytes(layer, library.drops) for layer in workload)
        flash = (("weights", weights), ("code", int(library.memory.code)))
        return (MemoryUse("RAM", int(spec.ram.size), ram), MemoryUse("flash", int(spec.flash.size), flash))

    def advice(self, layer: Layer, batch: int) -> tuple[str, ...]:
        """What the layer would cost with dead channels kept or dropped, and under each other library of this core."""
        rate = float(self.spec.clock_hz(self.core_clock))

        def told(library: Library, drop: bool) -> float:
            unscaled = self._cycles(layer, batch, library, drop)
            return sum(unscaled.values()) * self.scale / rate * 1e3

        found = []
        if layer.macs_live < layer.macs:
            kept, dropped = told(self.library, False), told(self.library, True)
            here = "dropped" if self.library.drops else "kept"
            found.append(f"dead channels kept {kept:.4g} ms, dropped {dropped:.4g} ms ({self.library.name}: {here})")
        others = [library for library in map(load_library, library_names()) if self.spec.core in library.cores]
        times = sorted((told(library, library.drops), library.name) for library in others)
        found.append("under " + ", ".join(f"{name} {ms:.4g} ms" for ms, name in times))
        return tuple(found)

    def traffic(self, plan: LayerPlan) -> tuple[Traffic, ...]:
        """The flash, where the core waits for it."""
        if not self.spec.flash.weight_byte:
            return ()
        rate = float(self.spec.clock_hz(self.core_clock)) / (self.spec.flash.weight_byte * self.scale)
        return (Traffic("flash", int(plan.columns["flash_bytes"]), rate),)

    def constants(self) -> tuple[Constant, ...]:
        """What a unit of each term costs under the library on this core."""
        library, core = self.library, self.spec.core
        costs = {term: library.cycles(term, core) * self.spec.pace for term in TERMS}
        where = f"{library.source}; core: {load_core(core).source}"
        return tuple(
            Constant(f"{library.name}: {term}", f"{cycles:.4g} cycles", where, library.fitted)
            for term, cycles in costs.items()
        )
