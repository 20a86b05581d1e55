"""The microcontroller: units of each layer times what the library's kernels cost here, and what the board draws."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from math import ceil
from pathlib import Path
from typing import Any, ClassVar

from hwsim.engine.program import Pipeline, Program, Run, Stage
from hwsim.errors import Fault, InputError, nearest
from hwsim.machines.base import NetworkPlan
from hwsim.machines.board import Board
from hwsim.machines.mcu.advice import layer_options
from hwsim.machines.mcu.features import (
    BOUNDS,
    CLASSES,
    SIGNAL,
    TERMS,
    features,
    live_macs,
    number_format,
    read_bytes,
    scratch_bytes,
    stored_bytes,
)
from hwsim.machines.mcu.library import McuLibrary, library_names, load_core, load_library
from hwsim.machines.mcu.notes import assumptions, format_notes, power_notes
from hwsim.machines.mcu.spec import McuSpec
from hwsim.machines.memory import ARENA, MemoryUse
from hwsim.machines.nearness import Conditions, Level
from hwsim.machines.plan import Action, Constant, LayerPlan, Traffic
from hwsim.machines.precision import in_precision, precision_notes
from hwsim.message import Message
from hwsim.units import format_si
from hwsim.workload import Layer, Workload
from hwsim.workload.arena import Arena
from hwsim.workload.number_format import weight_formats
from hwsim.workload.product import Stream

__all__ = ["Mcu"]

_STAGES = ("overhead", "im2col", "flash", "mac", "output stage")


def _column(part: str, unit: str) -> str:
    return f"{part.removesuffix(' stage')}_{unit}"


def _runs(library: McuLibrary) -> str:
    """The formats of a library's kernels, and of their weights where these have another."""
    return ", ".join(" x ".join(dict.fromkeys((name, weight_formats(name)[0]))) for name in library.runs)


class Mcu(Board):
    """A microcontroller with its board and its kernel library.

    Attributes
    ----------
    spec : McuSpec
        The machine file.
    library : McuLibrary
        What the kernels cost.
    """

    kind: ClassVar[str] = "mcu"
    _arena: tuple[Workload, int, Arena] | None = None
    """The last arena: a run, its report and its page ask for the same."""
    can_host: ClassVar[bool] = True
    no_nests: ClassVar[Message | None] = Message("nests.mcu", "kernels of microcontrollers have no loop nest")
    spec_class: ClassVar[type[McuSpec]] = McuSpec
    residuals: ClassVar[Path | None] = Path(__file__).parent / "residuals.csv"
    measured_layers: ClassVar[frozenset[str]] = frozenset(
        {"convolutions", "depthwise convolutions", "grouped convolutions", "matrix products"}
    )
    nearness: ClassVar[Mapping[str, tuple[Level, ...]]] = {
        "latency": (
            Level(("scaled", "format"), "board", "boards scaled to one measured network"),
            Level(("machine", "library", "format"), "network", "this board with this library"),
            Level(("core", "library", "format"), "machine", "this library on other boards with this core", pooled=True),
            Level(("family", "library", "format"), "core", "this library on other cores", pooled=True),
            Level(("family",), "library", "other libraries", measured=False),
        ),
        "power": (
            Level(("machine", "library"), "network", "this board with this library"),
            Level(("machine",), "network", "this board"),
        ),
    }
    run_keys: ClassVar[tuple[str, ...]] = ("library", "measured", "power.supply", "power.use", "precision")
    spec: McuSpec

    @property
    def has_spectra(self) -> bool:
        """By floating-point code of its core."""
        return True

    def _check(self) -> None:
        spec = self.spec
        self.library = load_library(spec.library, self.folder)
        self._unit_cycles: dict[tuple[str, str], Mapping[str, float]] = {}
        if spec.core not in self.library.cores:
            fitting = [library.name for library in self._libraries()]
            raise InputError(
                [
                    Fault(
                        self.document.where(("library",)),
                        "library",
                        f"{self.library.name} must support {spec.core}; it supports {', '.join(self.library.cores)}"
                        f"{nearest(spec.library, fitting)}",
                    )
                ]
            )
        self._check_measured()
        self.spec = spec.model_copy(update={"energy": self.drawn(("mac", "core", "flash", "ram"))})

    def _check_measured(self) -> None:
        """Refuse a measured latency in which the core cannot do the MACs of the network."""
        measured = self.spec.measured
        if measured is None:
            return
        macs = sum(live_macs(layer, self.library.drops) for layer in measured.network)
        peak = load_core(self.spec.core).macs_per_cycle
        least = macs / (peak * float(self.spec.clock_hz(self.core_clock)))
        if float(measured.latency) < least:
            message = (
                f"the latency of {measured.workload} must be at least {format_si(least, 's')}, not "
                f"{format_si(float(measured.latency), 's')}: {self.spec.core} does at most {peak:g} MACs a cycle"
            )
            raise InputError([Fault(self.document.where(("measured",)), "measured", message)])

    def _libraries(self) -> list[McuLibrary]:
        """Those that come with hwsim and exist for the core."""
        return [library for library in map(load_library, library_names()) if self.spec.core in library.cores]

    def converted(self, network: Workload) -> Workload:
        """The network in the file's `precision`."""
        return in_precision(network, self.spec.precision)

    @property
    def library_name(self) -> str:
        """The kernel library."""
        return self.library.name

    def libraries(self) -> tuple[str, ...]:
        """Those of any vendor, and of the one whose library this is; measured on the core before scaled ones."""
        able = [library for library in self._libraries() if library.vendor in (None, self.library.vendor)]
        able.sort(key=lambda library: library.cores[self.spec.core].fitted is None)
        return tuple(library.name for library in able)

    @property
    def core_clock(self) -> str:
        """The clock of the core."""
        return self.spec.clock

    @property
    def environment(self) -> str | None:
        """The library's, which active power may be of."""
        return self.library.environment

    def unit_cycles(self, number_format: str = "int8", library: McuLibrary | None = None) -> Mapping[str, float]:
        """Cycles of a unit of each term here, before any measured scale; under another library if one is given."""
        library = library or self.library
        key = library.name, number_format
        if key not in self._unit_cycles:
            self._unit_cycles[key] = {
                term: library.cycles(term, self.spec.core, number_format) * self.spec.pace for term in (*TERMS, *SIGNAL)
            }
        return self._unit_cycles[key]

    @cached_property
    def scale(self) -> float:
        """Measured latency over the predicted one, where the user has measured a network; else 1."""
        measured = self.spec.measured
        if measured is None:
            return 1.0
        cycles = sum(sum(self._cycles(layer, 1).values()) for layer in measured.network)
        if not cycles:
            raise InputError("measured needs a library with nonzero costs: there is nothing to scale")
        return float(measured.latency) * float(self.spec.clock_hz(self.core_clock)) / cycles

    def _cycles(
        self, layer: Layer, batch: int, library: McuLibrary | None = None, drop: bool | None = None
    ) -> dict[str, float]:
        """Cycles of a layer by what they are spent on, unscaled; under another library if one is given."""
        kernels = library or self.library
        costs = self.unit_cycles(kernels.format_of(layer), kernels)
        drop = self.library.drops if drop is None else drop
        cycles = dict.fromkeys(_STAGES, 0.0)
        for term, units in features(layer, drop).items():
            cycles[BOUNDS[term]] += units * batch * costs[term]
        cycles["flash"] += read_bytes(layer, drop) * batch * self.spec.flash.weight_byte
        return cycles

    def _plan(self, layer: Layer, batch: int) -> LayerPlan:
        self._check_dtype(layer)
        drop = self.library.drops
        part_cycles = {part: ceil(cycles * self.scale) for part, cycles in self._cycles(layer, batch).items()}
        units = features(layer, drop)
        macs, run = layer.macs * batch, live_macs(layer, drop) * batch
        read = read_bytes(layer, drop) * batch
        columns: dict[str, float | int | str] = {_column(part, "cycles"): n for part, n in part_cycles.items()}
        columns["flash_bytes"] = read
        counts: dict[Action, int] = {}
        if macs:
            counts["mac", "", layer.input.dtype] = run
            if macs > run:
                counts["mac", "", "dead"] = macs - run
        counts |= {("core", "", term): ceil(n * batch) for term, n in units.items() if not term.endswith("_mac")}
        counts["flash", "weight", "read"] = read
        counts["ram", "ifmap", "read"] = -(-layer.inputs * layer.input.bits * batch // 8)
        counts["ram", "ofmap", "write"] = -(-layer.outputs * layer.output.bits * batch // 8)
        taken = [part for part in _STAGES if part_cycles[part]] or ["overhead"]
        ticks = tuple(self.timebase.ticks(self.core_clock, part_cycles[part]) for part in taken)
        # One after the other: the core waits for its flash.
        stages = tuple(Stage(part, "flash" if part == "flash" else "core") for part in taken)
        program = Program({"core": 1, "flash": 1}, (Pipeline("kernel", stages, (Run(1, ticks),)),))
        return LayerPlan(
            layer,
            batch,
            self._kernel(layer, units),
            program,
            {key: n for key, n in counts.items() if n},
            macs=macs,
            macs_live=layer.macs_live * batch,
            macs_executed=run,
            compute_cycles=part_cycles["mac"],
            peak_macs_per_cycle=load_core(self.spec.core).macs_per_cycle,
            dram_bytes=0,
            bounds={part: part for part in _STAGES},
            static_parts=part_cycles,
            columns=columns,
            why=self._why(layer, units, part_cycles, batch),
        )

    @property
    def float_format(self) -> str:
        """Libraries have kernels of fp32, or of int8 alone."""
        return "fp32" if "fp32" in self.library.runs else "int8"

    def _check_dtype(self, layer: Layer) -> None:
        kind, library = number_format(layer), self.library
        if not layer.macs or kind in library.runs:
            return
        able = [o for o in self._libraries() if kind in o.runs]
        able.sort(key=lambda other: sum(self._cycles(layer, 1, other, other.drops).values()))
        others = list({other.family: other.name for other in reversed(able)}.values())[::-1][:3]
        message = f"{library.name} runs {_runs(library)}, not {kind}: quantize the network to int8 after training"
        message += ", run it as if it were with --set precision=int8" if "int8" in library.runs else ""
        if others:
            message += f", or name a library that runs it, fastest first: {', '.join(others)}"
        raise InputError([Fault("", layer.name, message)])

    def _kernel(self, layer: Layer, units: Mapping[str, float]) -> str:
        """Whose kernel runs a layer, as a user reads it."""
        if any(term in SIGNAL for term in units):
            return "floating-point code for signals"
        kind = next((CLASSES[term] for term in units if term.endswith("_mac")), "simple")
        dtype = self.library.format_of(layer)
        name = self.library.kernels(dtype).name
        return f"{kind} kernel of {name}" if dtype == "int8" else f"{dtype} {kind} kernel of {name} (estimated)"

    def runs_as(self, layer: Layer) -> str | None:
        """The kernels' format, for layers without MACs; those with MACs are refused where there is none."""
        x = layer.lower(1)
        signal = isinstance(x, Stream) and x.spectrum is not None
        return None if layer.macs or signal else self.library.format_of(layer)

    def planned_on(self) -> dict[str, Any]:
        """Power is the price of time; no plan depends on it, but for the clock that it was measured at."""
        data = super().planned_on()
        power = data.pop("power", None)
        at = power.get("at") if isinstance(power, dict) else None
        return data if at is None else data | {"at": at}

    @property
    def _cycle_pj(self) -> float | None:
        """Energy of a cycle at active power, in pJ; None if that is unknown."""
        if self.active_w is None:
            return None
        return self.active_w / float(self.spec.clock_hz(self.core_clock)) * 1e12

    def power_columns(self, plan: LayerPlan) -> dict[str, float | int | str]:
        """An estimate of the energy by what cycles go to: board power over those cycles."""
        cycle_pj = self._cycle_pj
        if cycle_pj is None:
            return {}
        return {f"estimated_{_column(part, 'pj')}": plan.static_parts[part] * cycle_pj for part in _STAGES}

    def _why(self, layer: Layer, units: dict[str, float], cycles: dict[str, int], batch: int) -> tuple[Message, ...]:
        total = sum(cycles.values()) or 1
        shares = {part: n / total for part, n in sorted(cycles.items(), key=lambda p: -p[1]) if n}
        unit = self.unit_cycles(self.library.format_of(layer))
        costs = [f"{n * batch:,.6g} {t} x {unit[t]:.4g}" for t, n in units.items()]
        return (
            Message("mcu.cycles", "cycles: {shares:.0%}", {"shares": shares}),
            Message("mcu.units", "units x cycles: {costs}", {"costs": costs}),
            *self._assumptions(),
        )

    def _unit_energies(self, layer: Layer) -> tuple[Message, ...]:
        """Estimated energy of a unit of each term."""
        cycle_pj = self._cycle_pj
        if cycle_pj is None:
            return ()
        unit, joules = self.unit_cycles(self.library.format_of(layer)), cycle_pj * 1e-12 * self.scale
        energies = {term: unit[term] * joules for term in features(layer, self.library.drops)}
        energies["byte of weights"] = self.spec.flash.weight_byte * joules
        template = "estimated energy per unit, at {cycle_pj:.4g} pJ per cycle: {energy_j:si J}"
        return (Message("mcu.unit_energy", template, {"cycle_pj": cycle_pj, "energy_j": energies}),)

    def _assumptions(self) -> tuple[Message, ...]:
        """What cycle counts were scaled by: the core, the clock, a measured network."""
        return assumptions(self.spec, self.library, self.spec.clock_hz(self.core_clock), self.scale)

    def format_of(self, layer: Layer) -> str:
        """The format of the kernel."""
        return self.library.format_of(layer)

    def conditions(self, plan: NetworkPlan, number_format: str) -> Conditions:
        """Core and family of cores, library and format; costs that are assumed for a core are another library's."""
        core, library = self.spec.core, self.library.name
        family, _, _ = core.partition("-")
        if self.library.cores[core].source is not None:
            library += ", whose costs on this core are assumed"
        scaled = {} if self.spec.measured is None else {"scaled": "yes"}
        return {"core": core, "family": family, "library": library, "format": number_format, **scaled}

    def notes(self, plan: NetworkPlan) -> tuple[Message, ...]:
        """The library, scaled costs, whether dead channels are dropped, time and power."""
        library, workload, batch = self.library, plan.workload, plan.batch
        values = {"library": library.name, "core": self.spec.core, "source": library.source}
        template = "library {library} on {core}: {source}"
        messages = [Message("mcu.library", template, values), *precision_notes(self.spec.precision)]
        messages += [*self._assumptions(), *format_notes(library, workload)]
        lowered = ((layer.op, layer.lower(1)) for layer in workload)
        unknown = list(dict.fromkeys(op for op, x in lowered if isinstance(x, Stream) and x.kind == "opaque"))
        if unknown:
            template = "no kernel model for {operators}: counted as one addition per value"
            messages.append(Message("mcu.no_kernel_model", template, {"operators": unknown}, "warning"))
        dead = sum(layer.macs - layer.macs_live for layer in workload) * batch
        if dead and library.drops:
            template = "dead channels ({macs:,} MACs) are dropped by {library}"
            messages.append(Message("mcu.dead_channels", template, {"macs": dead, "library": library.name}))
        cycles = {part: sum(layer.static_parts[part] for layer in plan) for part in _STAGES}
        total = sum(cycles.values()) or 1
        shares = {part: n / total for part, n in sorted(cycles.items(), key=lambda p: -p[1])}
        template = "share of time, and estimated share of energy: {shares:.0%}"
        messages.append(Message("mcu.shares", template, {"shares": shares}))
        clock = self.spec.clock_hz(self.core_clock)
        return (*messages, *power_notes(self.spec, clock, self.active_w, self.supply_factor))

    def idle_keys(self) -> dict[str, Message | str]:
        """What says where flash.weight_byte is from."""
        reason = Message("unused.weight_byte", "their cost is in flash.weight_byte")
        return {"flash.wait_states": reason, "flash.line": reason}

    def why_unused(self, property: str) -> Message | str:
        """Kernels are dense; whether dead channels are left out is the library's."""
        if property == "dtype":
            return self.library.name
        if property.startswith("dead"):
            template = "{library} computes dead channels like any others"
            return Message("unused.dead_channels", template, {"library": self.library.name})
        if property.rpartition(".")[2] in ("density", "pattern", "format"):
            template = "kernels of {library} are dense"
            if property == "weight.format":
                template += "; flash holds it, decoding is not modeled"
            elif property == "weight.density":
                template += "; in flash, dense formats store zeros"
            return Message("unused.dense_kernels", template, {"library": self.library.name})
        return super().why_unused(property)

    def memory_bytes(self) -> int:
        """Bytes of RAM."""
        return int(self.spec.ram.size)

    def arena(self, workload: Workload, batch: int = 1) -> Arena:
        """The arena of activations as TFLM's greedy planner lays it out, with the working memory of the kernels.

        A ``.tflite`` file says itself what it asks for; of another network, a tensor is what a layer writes.
        """
        from hwsim.workload.arena import plan_workload

        if self._arena is not None and self._arena[0] is workload and self._arena[1] == batch:
            return self._arena[2]
        of = {layer.name: self._scratch_kernels(layer) for layer in workload}
        common = Counter(of[layer.name] for layer in workload if layer.macs).most_common(1)
        try:
            sizes = {layer.name: scratch_bytes(layer, of[layer.name]) for layer in workload}
            arena = plan_workload(workload, sizes, batch, common[0][0] if common else "reference")
        except InputError as error:
            raise InputError([Fault(workload.name, fault.path, fault.message) for fault in error.faults]) from None
        self._arena = workload, batch, arena
        return arena

    def _scratch_kernels(self, layer: Layer) -> str:
        return self.library.scratch_kernels(self.library.format_of(layer), self.spec.core)

    def memories(self, workload: Workload, batch: int) -> tuple[MemoryUse, ...]:
        """RAM: the arena of activations, library and what is reserved. Flash: weights, biases, the library's code."""
        spec, library = self.spec, self.library
        channels = sum(layer.output.shape[0] for layer in workload if layer.weights)
        state = int(library.memory.operator) * len(workload) + int(library.memory.channel or 0) * channels
        variables = workload.requests.variable_bytes if workload.requests else 0
        ram = (
            (ARENA, self.arena(workload, batch).bytes),
            *((("variables", variables),) if variables else ()),
            ("library", int(library.memory.ram) + state),
            ("reserved", int(spec.ram.reserved)),
        )
        weights = stored_bytes(workload, library.drops)
        flash = (("weights", weights), ("code", int(library.memory.code)))
        return (MemoryUse("RAM", int(spec.ram.size), ram), MemoryUse("flash", int(spec.flash.size), flash))

    def advice(self, plan: NetworkPlan, name: str) -> tuple[Message, ...]:
        """What the layer would cost with dead channels kept or dropped, in other formats, and under each library."""
        layer, batch, rate = plan.workload[name], plan.batch, float(self.spec.clock_hz(self.core_clock))

        def latency(library: McuLibrary, drop: bool, variant: Layer) -> float:
            return sum(self._cycles(variant, batch, library, drop).values()) * self.scale / rate

        options = layer_options(layer, self.library, self._libraries(), self.spec.core, latency)
        return (*self._unit_energies(layer), *options)

    def traffic(self, plan: LayerPlan) -> tuple[Traffic, ...]:
        """The flash, where the core waits for it."""
        if not self.spec.flash.weight_byte:
            return ()
        rate = float(self.spec.clock_hz(self.core_clock)) / (self.spec.flash.weight_byte * self.scale)
        return (Traffic("flash", plan.counts.get(("flash", "weight", "read"), 0), rate),)

    def constants(self) -> tuple[Constant, ...]:
        """What a unit of each term costs under the library on this core."""
        library, core = self.library, self.spec.core
        costs = {term: library.cycles(term, core) * self.spec.pace for term in (*TERMS, *SIGNAL)}
        where = f"{library.source}; core: {load_core(core).source}"
        return tuple(
            Constant(f"{library.name}: {term}", f"{cycles:.4g} cycles", where, library.fitted)
            for term, cycles in costs.items()
        )
