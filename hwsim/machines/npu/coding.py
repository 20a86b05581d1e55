"""Bits of weights in the stream that a decoder beside the multipliers reads: Arm's Ethos-U.

Weights that are not zero alternate with the lengths of the runs of zeros before them. A length r is a Golomb-Rice
code: r / 2^z in unary, then z bits, z from 0 to 3 as is best for the layer. At most 32 shared values are stored as
their places in a table. Where that saves nothing, zeros are stored like any value: the stream is never longer than the
weights. Short codes of small values depend on the values, which are not looked at.
"""

from __future__ import annotations

from math import ceil, exp, expm1, log1p

from hwsim.message import Message
from hwsim.workload.tensor import TensorType

__all__ = ["coded_bytes", "why_zeros_unused"]

_REMAINDERS = 4
_TABLE_BITS = 5


def coded_bytes(weight: TensorType, count: int) -> int:
    """Bytes of so many weights in the stream."""
    coding = weight.spec.coding
    shared = coding.shared_bits if coding is not None else 0
    bits = shared if 0 < shared <= _TABLE_BITS else weight.bits
    return -(-ceil(count * min(bits, _with_runs(weight.density, bits))) // 8)


def _with_runs(density: float, bits: int) -> float:
    """Bits a weight where runs of zeros are coded, zeros being anywhere: runs of r have the share d (1 - d)^r."""
    shortest = min(_run_bits(density, 2**z) + density * z for z in range(_REMAINDERS))
    return density * (bits + 1) + shortest


def _run_bits(density: float, whole: int) -> float:
    """Unary bits of runs a weight, beyond the bit that ends each: zeros in whole multiples."""
    if density in (0, 1):
        return (1 - density) / whole
    power = whole * log1p(-density)
    return density * exp(power) / -expm1(power)


def why_zeros_unused(property: str, coded: bool) -> Message:
    """Why zeros of a tensor have no effect: multipliers are dense."""
    if coded and property == "weight.pattern":
        return Message("unused.coded_pattern", "runs of zeros are coded as if zeros were anywhere")
    if coded and property == "weight.density":
        return Message("unused.coded_density", "so few zeros save nothing in the coded weights; multipliers are dense")
    if coded and property == "weight.format":
        return Message("unused.coded_format", "weights have a code of their own, whatever the format")
    return Message("unused.dense_engine", "the engine computes zeros like any value")
