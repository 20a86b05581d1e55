"""Execution of planned layers on int8 data: the output must be exact, and each priced count the measured one.

Each layer gets seeded tensors with its densities. The nests of its plan run on them word by word
(`hwsim.kernels.nest`); the output must be that of the layer computed directly, and every word that was moved on the way
counted in the closed form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from math import prod
from time import perf_counter
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np

from hwsim.errors import InputError, MappingError
from hwsim.kernels.nest import LARGEST_BYTES, Count, Execution, execute, tensor_shape
from hwsim.machines import LayerPlan, Machine, NetworkPlan
from hwsim.machines.plan import Part
from hwsim.mapping import Capacity, Loop, Mapping, Problem, check_capacity, counts
from hwsim.message import Message, layer_names
from hwsim.report.quantity import counted
from hwsim.report.terminal import shortened
from hwsim.validation.attention import check_attention, is_fused
from hwsim.validation.check import LayerCheck
from hwsim.validation.compressed import check_compressed
from hwsim.validation.tensors import Bytes, Sums, layer_tensors
from hwsim.workload import Layer

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["LayerCheck", "print_checks", "validate_layers"]

Progress = Callable[[str, int, int], None]
"""Callback with the layer, its executed MACs, and its total MACs."""
_NAME = 24


def validate_layers(
    network: NetworkPlan, sample: int | None = None, progress: Progress | None = None
) -> Iterator[LayerCheck]:
    """Execute every layer of a plan in order and check the counts that a run prices.

    Parameters
    ----------
    network : NetworkPlan
    sample : int, optional
        Cut each dim of a layer to at most this size; the nest and its tiles are cut with it.
    """
    if sample is not None and sample < 1:
        raise InputError(f"a sample must be at least 1, not {sample}")
    for name, plan in zip(network.names, network, strict=True):
        layer = network.workload[name]
        if network.machine.kind == "sparse_array":
            yield check_compressed(network.machine, layer, network.batch, sample)
            continue
        if is_fused(network.machine, layer):
            yield check_attention(network.machine, layer, plan, sample)
            continue
        if not plan.nests:
            why = network.machine.no_nests or _no_nest(layer)
            yield LayerCheck(layer.name, layer.op, skipped=why)
            continue
        try:
            yield _check(network.machine, layer, plan, sample, progress)
        except MappingError as error:
            yield LayerCheck(layer.name, layer.op, macs=plan.macs, skipped=_refusal(error), refused=True)


def _no_nest(layer: Layer) -> Message:
    if layer.macs:
        return Message("nests.rows", "its GEMMs have different numbers of rows")
    return Message("nests.no_macs", "{op} has no loop nest", {"op": layer.op})


def _refusal(error: MappingError) -> Message:
    return Message("nests.refused", "{reason}", {"reason": str(error)}, "error")


def _cut(problem: Problem, mapping: Mapping, most: int) -> tuple[Problem, Mapping]:
    """A part of a problem, and the same nest with its tiles cut to that."""
    small = Problem(problem.name, {dim: min(size, most) for dim, size in problem.dims.items()}, problem.operands)
    current = dict(small.dims)
    nodes = []
    for node in mapping.nodes:
        if isinstance(node, Loop):
            current[node.dim] = min(node.tile, current[node.dim])
            node = Loop(node.dim, current[node.dim], node.spatial)
        nodes.append(node)
    return small, Mapping(tuple(nodes))


def _capacities(machine: Machine, problem: Problem, mapping: Mapping) -> dict[str, Capacity]:
    """Bits of the memories that the nest keeps to; a tensor that streams through a buffer has no bound there."""
    rooms: dict[str, Capacity] = {}
    for name, memory in getattr(machine.spec, "memories", {}).items():
        if getattr(memory, "split", None):
            room: Capacity = {tensor: int(size) * 8 for tensor, size in memory.split.items()}
        elif getattr(memory, "size", None) is not None:
            room = int(memory.size) * 8
        else:
            continue
        try:
            check_capacity(problem, mapping, {name: room})
        except MappingError:
            continue
        rooms[name] = room
    return rooms


def _whole(plan: LayerPlan) -> Problem:
    """The problem of all parts, which are consecutive row ranges of the output."""
    problem = plan.nests[0][0]
    if len(plan.nests) == 1:
        return problem
    rows = sum(part.dims["P"] for part, _, _ in plan.nests)
    return Problem(problem.name, problem.dims | {"P": rows}, problem.operands)


def _need(problem: Problem) -> int:
    """Bytes of the tensors, and of the sums in both the nest and the reference."""
    return sum(prod(tensor_shape(o, problem)) * (13 if o.output else 1) for o in problem.operands)


def _check(
    machine: Machine, layer: Layer, plan: LayerPlan, sample: int | None, progress: Progress | None
) -> LayerCheck:
    """Execute one layer, all its parts."""
    parts: tuple[Part, ...] = plan.nests
    sampled = sample is not None and any(max(problem.dims.values()) > sample for problem, _, _ in parts)
    if sampled and sample is not None:
        parts = tuple((*_cut(problem, mapping, sample), policy) for problem, mapping, policy in parts)
    need = max(map(_need, [part[0] for part in parts])) if sampled else _need(_whole(plan))
    if need > LARGEST_BYTES:
        raise MappingError(
            f"the tensors of an executed layer must fit {LARGEST_BYTES >> 20:,} MiB, not take {need >> 20:,} MiB; "
            f"--sample runs a part"
        )
    seed = crc32(layer.name.encode())
    tensors, output = ({}, None) if sampled else layer_tensors(layer, _whole(plan), plan.batch, seed)
    total = sum(problem.macs for problem, _, _ in parts)
    mac_count, row, gated, seconds, difference = 0, 0, 0, 0.0, None
    measured: dict[Count, int] = {}
    formula: dict[Count, int] = {}
    for problem, mapping, policy in parts:
        if output is None:
            mine, expected = layer_tensors(layer, problem, None, seed)
        else:
            mine, expected = _rows(problem, tensors, output, row) if len(parts) > 1 else (tensors, output)

        def report(macs: int, before: int = mac_count) -> None:
            if progress is not None:
                progress(layer.name, before + macs, total)

        start = perf_counter()
        ran = execute(problem, mapping, mine, policy, _capacities(machine, problem, mapping), report)
        seconds += perf_counter() - start
        mac_count += ran.macs
        gated += ran.gated
        actions = {key: n for key, n in counts(problem, mapping, policy).actions.items() if n}
        difference = difference or _difference(problem, mapping, ran, expected, actions, row)
        row += problem.dims.get("P", 0)
        for into, actual in ((measured, ran.counts), (formula, actions)):
            for key, n in actual.items():
                into[key] = into.get(key, 0) + n
    if not difference and mac_count != total:
        difference = f"{mac_count:,} MACs were executed, {total:,} expected"
    compared = len(formula.keys() | measured.keys())
    check = LayerCheck(
        layer.name, layer.op, mac_count, gated, seconds, compared, sampled=sampled, difference=difference
    )
    return check if sampled else _check_prices(check, plan, formula, measured)


def _rows(problem: Problem, tensors: dict[str, Bytes], output: Sums, row: int) -> tuple[dict[str, Bytes], Sums]:
    """The rows of a layer that a part of it computes, and the ifmap rows these need."""
    (_, stride), _ = problem.operand("ifmap").axes[3]
    first, size = row * stride, tensor_shape(problem.operand("ifmap"), problem)[3]
    mine = tensors | {"ifmap": tensors["ifmap"][:, :, :, first : first + size]}
    return mine, output[:, :, :, row : row + problem.dims["P"]]


def _check_prices(
    check: LayerCheck, plan: LayerPlan, formula: dict[Count, int], measured: dict[Count, int]
) -> LayerCheck:
    """Compare the plan's priced words with the measured ones, where it prices the nest's own words."""
    memories = {memory for memory, _, _ in formula}
    gated = sum(n for (component, _, action), n in plan.counts.items() if (component, action) == ("mac", "gated"))
    words: dict[Count, int] = {}
    for (memory, tensor, action), n in plan.counts.items():
        if memory in memories:
            key = memory, "ofmap" if tensor == "psum" else tensor, action
            words[key] = words.get(key, 0) + n
    own = [key for key, n in words.items() if formula.get(key) in (n, n + gated)]
    difference = check.difference
    for key in own:
        if difference is None and measured.get(key, 0) not in (words[key], words[key] + gated):
            difference = f"{' '.join(key)}: {words[key]:,} are priced, {measured.get(key, 0):,} were measured"
    apart = tuple(" ".join(filter(None, key)) for key in words if key not in own)
    return replace(check, priced=len(words), own=len(own), apart=apart, difference=difference)


def _difference(
    problem: Problem, mapping: Mapping, ran: Execution, expected: Sums, formula: dict[Count, int], row: int
) -> str | None:
    """First difference, outermost memory first: place in the nest, expected and measured value.

    `row` is the first row of the layer's output in this part of it.
    """
    wrong = np.argwhere(ran.output != expected)
    if len(wrong):
        at = tuple(int(i) for i in wrong[0])
        word = dict(zip(problem.output.dims, at))
        where = ", ".join(f"{dim} {i + row if dim == 'P' else i}" for dim, i in word.items())
        return (
            f"{problem.output.name} at {where} must be {expected[at]:,}, not {ran.output[at]:,} "
            f"({len(wrong):,} words differ); it is made with {_position(mapping, word)}"
        )
    order = {memory: i for i, memory in enumerate(mapping.memories)}
    for key in sorted(formula.keys() | ran.counts.keys(), key=lambda key: (order[key[0]], key)):
        memory, tensor, action = key
        if formula.get(key, 0) != ran.counts.get(key, 0):
            above = dict(mapping.keeps(tensor))[memory]
            inside = f"inside '{mapping.loops[above - 1]}', loop {above} of {len(mapping.loops)}"
            return (
                f"{memory} {tensor} {action}: {formula.get(key, 0):,} expected, {ran.counts.get(key, 0):,} measured "
                f"({memory} keeps {tensor} {inside if above else 'outside all loops'})"
            )
    return None


def _position(mapping: Mapping, word: dict[str, int]) -> str:
    """Loop indices that compute a word of the output."""
    rest, steps = dict(word), []
    for loop in mapping.loops:
        if loop.dim in rest:
            index, rest[loop.dim] = divmod(rest[loop.dim], loop.tile)
            steps.append(f"'{loop}' at {index}")
    return ", ".join(steps)


def print_checks(checks: Iterable[LayerCheck], console: Console) -> bool:
    """Print the checks of the layers; True if all passed."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("layer", no_wrap=True)
    for name in ("MACs", "zero operand", "time", "MAC/s", "counts", "prices verified"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("result")
    checks = list(checks)
    for check in checks:
        if check.skipped is not None:
            result = f"{'[red]refused[/red]' if check.refused else 'skipped'}: {escape(str(check.skipped))}"
            table.add_row(escape(shortened(check.name, _NAME)), *[""] * 6, result)
            continue
        result = "equal" if check.difference is None else "[red]different[/red]"
        table.add_row(
            escape(shortened(check.name, _NAME)),
            f"{check.macs:,}",
            f"{check.gated / check.macs:.1%}",
            f"{check.seconds:.2f} s",
            f"{check.macs / max(check.seconds, 1e-9) / 1e6:,.0f} M",
            str(check.compared),
            "" if check.sampled else f"{check.own} of {check.priced}",
            result + (", truncated to the sample" if check.sampled else f", {check.share}" if check.share else ""),
        )
    console.print(table)
    ran = [check for check in checks if check.skipped is None]
    wrong = [check for check in checks if not check.passed]
    macs, seconds = sum(check.macs for check in ran), sum(check.seconds for check in ran)
    console.print(
        f"{counted(len(ran), 'layer')} executed ({macs:,} MACs in {seconds:.1f} s), {len(checks) - len(ran)} skipped, "
        f"{len(wrong)} wrong"
    )
    apart: dict[str, list[str]] = {}
    for check in ran:
        for name in check.apart:
            apart.setdefault(name, []).append(check.name)
    if apart:
        names = "; ".join(f"{name} of {layer_names(layers, len(ran))}" for name, layers in apart.items())
        console.print(
            escape(f"priced by a rule of the machine, not as the words that the nest moves: {names}"), soft_wrap=True
        )
    if first := next((check for check in checks if check.difference is not None), None):
        console.print(escape(f"{first.name}: {first.difference}"), soft_wrap=True)
    return not wrong
