"""Whether the tiles of a mapping fit their memories, partial sums at the width of the accumulator."""

from __future__ import annotations

from collections.abc import Mapping as ReadMapping

from hwsim.errors import MappingError
from hwsim.mapping.counts import Counts, Policy, counts
from hwsim.mapping.nest import Capacity, Loop, Mapping
from hwsim.mapping.problem import Problem

__all__ = ["check_capacity", "footprints", "partial_sums"]


def footprints(problem: Problem, mapping: Mapping) -> dict[tuple[str, str], int]:
    """Words of each `(memory, tensor)` tile: what the loops below its Keep node touch."""
    result: dict[tuple[str, str], int] = {}
    current = dict(problem.dims)
    for node in mapping.nodes:
        if isinstance(node, Loop):
            current[node.dim] = node.tile
            continue
        for tensor in node.tensors:
            result[node.memory, tensor] = problem.operand(tensor).words(current)
    return result


def partial_sums(problem: Problem, mapping: Mapping, counted: Counts | None = None) -> frozenset[str]:
    """Memories that hold partial sums: those in which some word of the output is updated more than once."""
    counted = counted or counts(problem, mapping, Policy())
    output = problem.output.name
    words = problem.words(output)
    return frozenset(memory for memory, _ in mapping.keeps(output) if counted.of(memory, output, "update") > words)


def check_capacity(problem: Problem, mapping: Mapping, capacities: ReadMapping[str, Capacity]) -> None:
    """Raise MappingError if a memory named in `capacities` (bits of one instance) cannot hold its tiles.

    Memories that are not named are unbounded. A capacity that is a mapping gives each tensor its own part.
    """
    tiles = footprints(problem, mapping)
    output = problem.output
    wide = partial_sums(problem, mapping) if output.sum_bits != output.bits else frozenset()
    for memory, capacity in capacities.items():
        need = {
            t: words * (problem.operand(t).sum_bits if memory in wide else problem.operand(t).bits)
            for (m, t), words in tiles.items()
            if m == memory
        }
        if isinstance(capacity, ReadMapping):
            for tensor, bits in need.items():
                if bits > capacity.get(tensor, 0):
                    raise MappingError(_too_small(memory, capacity.get(tensor, 0), {tensor: bits}))
        elif sum(need.values()) > capacity:
            raise MappingError(_too_small(memory, capacity, need))


def _too_small(memory: str, capacity: int, need: ReadMapping[str, int]) -> str:
    """'glb holds 100.0 KiB; ifmap 12.0 KiB + ofmap 91.0 KiB = 103.0 KiB: 3.0 KiB too much'."""
    total = sum(need.values())
    unit, size = ("KiB", 8192) if capacity >= 8192 else ("B", 8)
    if unit == "B" and all(bits % 8 == 0 for bits in (capacity, *need.values())):
        shown = {bits: f"{bits // 8} B" for bits in (capacity, total, total - capacity, *need.values())}
    else:
        shown = {bits: f"{bits / size:.1f} {unit}" for bits in (capacity, total, total - capacity, *need.values())}
    parts = " + ".join(f"{tensor} {shown[bits]}" for tensor, bits in need.items())
    equals = f" = {shown[total]}" if len(need) > 1 else ""
    return f"{memory} holds {shown[capacity]}; {parts}{equals}: {shown[total - capacity]} too much"
