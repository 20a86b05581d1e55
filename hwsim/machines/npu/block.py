"""Blocks of a convolution engine that works on one block of the output at a time: Arm's Ethos-U.

The output is cut into blocks whose sums fit the buffer twice, beside the part of the input that each needs, twice too.
A block is a number of micro-blocks, and one step of those of 8 channels takes `max(32, 4 x their number)` cycles: 4
for the multipliers, 32 for the weights, which come at 8 a cycle. A step is

- *depth first*: one tap times 32 input channels;
- *part kernel*: four taps times 8 input channels, for layers with so few channels that depth first would be idle;
- *depthwise*: four taps of each channel; *pooling*: one tap of each channel, at least four.

Windows over 8 x 8 are cut. The output unit takes so many cycles a value, and at least what the scales of its channels
take: 10 bytes each, 256 bytes a request, one after the other. The first block waits for its input, and the last output
for the port (f cycles for both); between them multipliers (m) and output unit (o) work on blocks in turn, each block
being a command of four that are under way:

    cycles = n max(m, o, (f + m + o) / 4) + max(min(m, o), (m + o) / 4) + f

with n blocks, of which the last ones may be parts. A block with one micro-block in its plane has no other to work on
while a sum is stored: it takes 2 cycles a step more.

The compiler takes the block that moves the fewest bytes into the buffer: inputs with their halo once for each block of
output channels, weights once for each block of positions; half is charged where the whole input stays in the buffer.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hwsim.machines.npu.spec import BlockEngineSpec
from hwsim.machines.npu.work import Operator

__all__ = ["Block", "BlockWork", "Port", "best_block", "block_work", "value_cycles"]

Ints = NDArray[np.int64]

_DEEP, _PART, _SPLIT, _CUT = 32, 8, 16, 8
_TAPS = 4
_LARGEST = 32, 64, 128
_BANK = 1024
_STEP, _WEIGHTS = 4, 32
_WAIT = 2
_BRICK = 16
_SCALE, _REQUEST = 10, 256


@dataclass(frozen=True, slots=True)
class Block:
    """A block of the output, and the part of the input that it needs.

    Attributes
    ----------
    p, q, k : int
        Rows, columns and channels of the output.
    h, w, c : int
        Rows, columns and channels of the input.
    part_kernel : bool
        Whether a step has four taps and 8 channels, not one tap and 32.
    """

    p: int
    q: int
    k: int
    h: int
    w: int
    c: int
    part_kernel: bool


@dataclass(frozen=True, slots=True)
class BlockWork:
    """What an operator takes.

    Attributes
    ----------
    block : Block
    blocks : int
        Of the output.
    mac_cycles, output_cycles : float
        Of one block, in the multipliers and in the output unit.
    map_bytes : int
        Read from and written to the memory of maps, halos and bricks that are not full among them.
    weight_reads : int
        Times that the weights are read.
    """

    block: Block
    blocks: float
    mac_cycles: float
    output_cycles: float
    fill_cycles: float
    map_bytes: int
    weight_reads: int

    @property
    def cycles(self) -> float:
        """Of all blocks, one unit behind the other."""
        long, short = max(self.mac_cycles, self.output_cycles), min(self.mac_cycles, self.output_cycles)
        turn = (long + short) / 4
        behind = max(short, turn) if self.mac_cycles else 0.0
        return self.blocks * max(long, self.fill_cycles / 4 + turn) + behind + self.fill_cycles


def _up(number: int, step: int) -> int:
    return -(-number // step) * step


def _ups(numbers: Ints, step: int) -> Ints:
    rounded: Ints = -(-numbers // step) * step
    return rounded


def _window(taps: int, dilation: int) -> int:
    return (taps - 1) * dilation + 1


def _part_kernel(op: Operator) -> bool:
    """Whether four taps by 8 channels keep more of the multipliers busy than one tap by 32."""
    if op.kind not in ("conv", "depthwise"):
        return False
    taps = op.r * op.s
    part = op.c * taps / (_up(op.c, _PART) * _up(taps, _TAPS))
    return op.c <= _PART or part > op.c / _up(op.c, _DEEP)


@lru_cache(4096)
def best_block(op: Operator, engine: BlockEngineSpec) -> Block:
    """The block that the compiler takes: the fewest bytes of inputs and weights for each output."""
    rows, cols, depth = engine.micro_block
    part = _part_kernel(op)
    same_depth = op.kind in ("depthwise", "pool")
    c = _up(min(op.c, _SPLIT if part else _DEEP), _PART)
    tall, wide = _window(op.r, op.dilation[0]), _window(op.s, op.dilation[1])
    p = np.arange(rows, min(_up(op.p, rows), _LARGEST[0]) + 1, rows)
    q = np.arange(cols, min(_up(op.q, cols), _LARGEST[1]) + 1, cols)
    most = min(_up(op.k, depth), _LARGEST[2])
    first = _up(min(most, _SPLIT), _SPLIT) if min(most, _SPLIT) < op.k else min(most, _SPLIT)
    depths = [k for k in range(first, most + 1, depth) if k >= op.k or k % _SPLIT == 0]
    k = np.array(depths or [most])
    k, p, q = (axis.ravel() for axis in np.meshgrid(k, p, q, indexing="ij"))
    h = _ups((p - 1) * op.stride[0] + min(tall, _CUT), rows)
    w = _ups((q - 1) * op.stride[1] + min(wide, _CUT), cols)
    channels = k if same_depth else np.full_like(k, c)
    # A row of outputs needs sums for one row alone, where the kernel has one row too.
    summed = np.minimum(p, op.p) if op.p == 1 and op.r == 1 and rows == 2 else p
    banks = _ups(2 * -(-h * w * _ups(channels, _PART) // _BANK), int(engine.input_granule // _BANK))
    sums = _ups(2 * -(-summed * q * _ups(k, _PART) * 4 // _BANK), int(engine.sum_granule // _BANK))
    fits = banks + sums <= int((engine.buffer - engine.reserved) // _BANK)
    if not fits.any():
        fits = banks + sums == (banks + sums).min()
    planes = op.p / summed * (op.q / q)
    whole_planes = -(-op.p // summed) * -(-op.q // q)
    again = -(-tall // _CUT) * -(-wide // _CUT)
    inputs = h * w * op.c * again * planes * (1 if same_depth else -(-op.k // k))
    weights = tall * wide * op.c * whole_planes if op.kind in ("conv", "depthwise") else 0
    cost = inputs + weights * (1 if op.kind == "depthwise" else op.k)
    cost = np.where(op.h * op.w * op.c < 2 * h * w * channels, cost / 2, cost)
    cost = np.where(fits, cost, np.inf)
    ties = np.flatnonzero(cost == cost.min())
    covered = np.minimum(op.h, h) * np.minimum(op.w, w)
    small = [place for place in ties[1:] if p[place] <= 4 and q[place] <= 4]
    best = max(small, key=lambda place: (covered[place], place)) if small else ties[0]
    return Block(int(p[best]), int(q[best]), int(k[best]), int(h[best]), int(w[best]), int(channels[best]), part)


def _mac_cycles(op: Operator, block: Block, engine: BlockEngineSpec) -> float:
    """Cycles of the multipliers on one block."""
    rows, cols, depth = engine.micro_block
    p, q, k = min(op.p, block.p), min(op.q, block.q), min(op.k, block.k)
    if rows == 2 and op.p == 1 and op.r == 1 and op.q % 2 == 0 and op.kind != "pool":
        rows, cols, p = 1, 4, 1
    plane = -(-p // rows) * -(-q // cols)
    deep = -(-k // depth)
    c = min(op.c, block.c)
    eighths = -(-c // _PART)
    cycles = 0.0
    for tall in _cuts(op.r):
        for wide in _cuts(op.s):
            taps = tall * wide
            if op.kind == "pool":
                steps, turns, step = 1, 1, max(_STEP, taps * (1 if op.function == "max" else _STEP)) * plane
            elif op.kind == "depthwise":
                steps, turns, step = -(-taps // _TAPS), 1, max(_WEIGHTS, _STEP * plane)
            elif block.part_kernel:
                steps, turns, step = -(-taps // _TAPS), eighths, max(_WEIGHTS, _STEP * plane)
            else:
                steps, turns, step = taps, 1, max(_WEIGHTS, _STEP * plane)
            cycles += step * steps * turns * deep
            if plane == 1:  # a sum waits for the one before it
                cycles += _WAIT * turns * (steps if deep == 1 else (steps - 1) * deep)
    if op.kind in ("conv", "dense"):
        cycles *= -(-op.c // c)
    return cycles * engine.pace / engine.cores


def _cuts(taps: int) -> list[int]:
    return [min(_CUT, taps - start) for start in range(0, taps, _CUT)]


def value_cycles(op: Operator, engine: BlockEngineSpec, activation: str) -> float:
    """Cycles of the output unit for a value."""
    output = engine.output
    own = {"add": output.add, "multiply": output.multiply, "lookup": output.lookup}.get(op.function, output.value)
    if op.kind == "pool":
        own = output.largest if op.function == "max" else output.value
    return max(own, output.lookup if activation == "lookup" else output.value if activation else 0.0)


@dataclass(frozen=True, slots=True)
class Port:
    """A port to a memory of maps.

    Attributes
    ----------
    rate : float
        Bytes a cycle.
    delay : float
        Cycles until the first byte.
    burst : int
        Bytes that are moved at a time: of a shorter piece, as many are lost.
    rows : bool
        Whether maps lie there by rows, as a network is given its input, not in bricks of 16 channels.
    """

    rate: float
    delay: float
    burst: int
    rows: bool = False

    def cycles(self, values: int, columns: int, channels: int) -> float:
        """Cycles of a part of a map with so many columns and channels."""
        piece = channels if self.rows else _BRICK * columns
        return self.delay + values * self.burst / min(self.burst, piece) / self.rate


def block_work(
    op: Operator,
    engine: BlockEngineSpec,
    source: Port,
    target: Port,
    activation: str = "",
    scales: Port | None = None,
) -> BlockWork:
    """What one repeat of an operator takes.

    Parameters
    ----------
    source, target : Port
        To the memories of its input and its output.
    scales : Port, optional
        To the memory where the scale, shift and bias of each output channel are read, 256 bytes a request.
    activation : str
        ``lookup`` or ``clamp``, fused into it.
    """
    each = value_cycles(op, engine, activation)
    if op.kind == "elementwise":
        return _values_work(op, engine, each, source, target)
    block = best_block(op, engine)
    p, q, k = min(op.p, block.p), min(op.q, block.q), min(op.k, block.k)
    h, w, c = min(op.h, block.h), min(op.w, block.w), min(op.c, block.c)
    deep = engine.micro_block[2]
    blocks = Fraction(op.p, p) * Fraction(op.q, q) * Fraction(_up(op.k, deep), _up(k, deep))
    macs = _mac_cycles(op, block, engine)
    waits = scales.delay * _SCALE * k / _REQUEST if scales is not None and op.stored else 0.0
    outputs = max(each * p * q * k, waits)
    fill = source.cycles(h * w * c, w, block.c) + target.cycles(p * q * k, q * engine.cores, k)
    planes = -(-op.p // p) * -(-op.q // q)
    halo = h * w * _up(op.c, _BRICK) * len(_cuts(op.r)) * len(_cuts(op.s))
    reads = halo * planes * (1 if op.kind in ("depthwise", "pool") else -(-op.k // k))
    writes = op.p * op.q * _up(op.k, _BRICK)
    return BlockWork(block, float(blocks), macs, outputs, fill, reads + writes, planes)


def _values_work(op: Operator, engine: BlockEngineSpec, each: float, source: Port, target: Port) -> BlockWork:
    """A pass over values: as much of two inputs, each twice, as the buffer holds."""
    values = op.p * op.q * _up(op.k, _BRICK)
    block = max(1, min(values, int(engine.buffer - engine.reserved) // 4))
    commands = source.delay + target.delay + block / source.rate + block / target.rate
    commands = (commands + each * block) / 4
    reads = values * op.operands
    whole = Block(op.p, op.q, op.k, op.h, op.w, op.c, False)
    return BlockWork(whole, values / block, 0.0, max(each * block, commands), 0.0, reads + values, 0)
