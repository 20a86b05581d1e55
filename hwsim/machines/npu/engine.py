"""What the operators of a layer take on an engine: cycles of the multipliers and the output unit, and bytes."""

from __future__ import annotations

from dataclasses import dataclass

from hwsim.machines.npu.block import Block, Port, block_work
from hwsim.machines.npu.spec import BlockEngineSpec, RateEngineSpec
from hwsim.machines.npu.work import Operator

__all__ = ["Part", "Port", "part_of"]


@dataclass(frozen=True, slots=True)
class Part:
    """What one operator takes, all its repeats together.

    Attributes
    ----------
    tiles : float
        Blocks that pass the multipliers and then the output unit; the last ones may be parts.
    mac_cycles, output_cycles : float
        Of each unit.
    cycles : float
        Of both, one behind the other, with what the first block waits for.
    map_bytes : int
        Read from and written to the memory of maps.
    weight_reads : int
        Times that the weights are read.
    block : Block or None
    """

    tiles: float
    mac_cycles: float
    output_cycles: float
    cycles: float
    map_bytes: int
    weight_reads: int = 1
    block: Block | None = None


def part_of(
    op: Operator,
    engine: BlockEngineSpec | RateEngineSpec,
    source: Port,
    target: Port,
    activation: str,
    scales: Port | None = None,
) -> Part:
    """What an operator takes.

    Parameters
    ----------
    source, target : Port
        To the memories of its input and its output.
    activation : str
        ``lookup`` or ``clamp``, fused into it; else "".
    """
    if isinstance(engine, RateEngineSpec):
        return _rated(op, engine)
    one = block_work(op, engine, source, target, activation, scales)
    return Part(
        one.blocks * op.repeats, one.mac_cycles * one.blocks * op.repeats, one.output_cycles * one.blocks * op.repeats,
        one.cycles * op.repeats, one.map_bytes * op.repeats, max(1, one.weight_reads),
        one.block if op.kind != "elementwise" else None,
    )  # fmt: skip


def _rated(op: Operator, engine: RateEngineSpec) -> Part:
    """MACs over their rate, those of channels that fill up the array among them; values over theirs."""
    read = op.c * op.h * op.w * op.operands * op.repeats
    if op.kind not in ("conv", "depthwise", "dense"):
        values = engine.value_cycles * max(read, op.outputs)
        return Part(1, 0.0, values, values, read + op.outputs)
    macs = op.macs
    if engine.array is not None and op.kind != "depthwise":
        c, k = engine.array
        inner = op.c * op.r * op.s
        deep = -(-inner // c) if op.c < c else op.r * op.s * -(-op.c // c)
        macs = op.p * op.q * deep * c * -(-op.k // k) * k * op.repeats
    rate = {"conv": engine.conv, "depthwise": engine.depthwise, "dense": engine.dense}[op.kind]
    values = engine.value_cycles * op.outputs
    cycles = max(macs / rate, values) if engine.overlap else macs / rate + values
    return Part(1, macs / rate, values, cycles, read + op.outputs)
