"""Layers on the host of another machine: the host's own plan, in ticks of that machine."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import ceil
from typing import cast

from hwsim.engine import Timebase, simulate
from hwsim.engine.program import Body, Program, Run, Stage
from hwsim.machines.base import Machine
from hwsim.machines.plan import Constant, LayerPlan
from hwsim.message import Message
from hwsim.workload import Layer

__all__ = ["HOST", "host_constants", "host_notes", "plan_on_host"]

HOST = "host"
"""What resources, components and bounds of the host begin with."""


def _of_host(name: str) -> str:
    return f"{HOST} {name}"


def plan_on_host(machine: Machine, host: Machine, layer: Layer, batch: int, peak: int, reason: Message) -> LayerPlan:
    """The host's own plan of a layer, which a machine of `peak` MACs a cycle waits for.

    It starts when the layer before is done. Both address one memory, so that nothing is copied.
    """
    own = host.plan(layer, batch)
    counts = {(_of_host(part), tensor, action): n for (part, tensor, action), n in own.counts.items()}
    if end := simulate(own.program).end:
        counts[HOST, "", "cycle"] = host.timebase.cycles(host.core_clock, end)
    return replace(
        own,
        algorithm=f"on the host {host.name}: {own.algorithm}",
        program=_program(own.program, host.timebase, machine.timebase),
        counts=counts,
        compute_cycles=0,
        peak_macs_per_cycle=peak,
        bounds={stage: _of_host(word) for stage, word in own.bounds.items()},
        cycles={},
        columns={HOST: host.name},
        why=(reason, *own.why),
        limits={_of_host(word): seconds for word, seconds in own.limits.items()},
        static_parts={},
        compute_bounds=tuple(map(_of_host, own.compute_bounds)),
    )


def _program(program: Program, own: Timebase, timebase: Timebase) -> Program:
    """A program of the host in ticks of the machine, rounded up: none of its layers changes for having a host."""
    factor = timebase.rate_hz / own.rate_hz
    return Program(
        {_of_host(name): servers for name, servers in program.resources.items()},
        tuple(
            replace(
                pipeline,
                stages=tuple(Stage(s.name, _of_host(s.resource), s.buffer) for s in pipeline.stages),
                tiles=tuple(_scaled(run, factor) for run in pipeline.tiles),
            )
            for pipeline in program.pipelines
        ),
    )


def _scaled(run: Run, factor: Fraction) -> Run:
    """A run with its ticks times a factor."""
    body = tuple(_scaled(part, factor) if isinstance(part, Run) else ceil(part * factor) for part in run.body)
    return Run(run.count, cast(Body, body))


def host_constants(host: Machine) -> tuple[Constant, ...]:
    """Numbers of the host's libraries."""
    return tuple(replace(constant, name=f"{HOST}: {constant.name}") for constant in host.constants())


def host_notes(host: Machine, layers: tuple[str, ...]) -> tuple[Message, ...]:
    """What runs on the host and what that leaves out; that its energy is not known."""
    if not layers:
        return ()
    template = "run on the host {host} while the array waits (one memory: no copies; its area and its idle power are "
    template += "not counted)"
    notes = [Message("pe_array.host", template, {"host": host.name}, layers=layers)]
    if host.prices.spec.static is None:
        template = "energy on the host is unknown: the file of {host} gives no power"
        notes.append(Message("pe_array.host_energy", template, {"host": host.name}, layers=layers))
    return tuple(notes)
