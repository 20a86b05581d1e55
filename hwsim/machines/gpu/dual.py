"""Tensor cores that skip the zeros of both operands, as in the dual-side sparse tensor core (Wang et al., ISCA 2021).

An outer product of 32 values of each operand runs in 4 x 2 steps of 8 x 16 products. The values that are not zero are
moved together first, so that a step is left out where fewer are left than fill one: of zeros at random,
``E[ceil(Bin(32, d_a) / 8)] / 4`` of the rows of steps and ``E[ceil(Bin(32, d_w) / 16)] / 2`` of the columns remain.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import comb

from hwsim.compression.storage import least_bits
from hwsim.workload import Layer

__all__ = ["Dual", "dual_of"]

_VALUES, _LANES_A, _LANES_W = 32, 8, 16


@lru_cache(maxsize=1024)
def _steps(density: float, lanes: int) -> float:
    """The share of steps that remain along one operand."""
    chances = (comb(_VALUES, n) * density**n * (1 - density) ** (_VALUES - n) for n in range(_VALUES + 1))
    return sum(chance * -(-n // lanes) for n, chance in enumerate(chances)) * lanes / _VALUES


@dataclass(frozen=True, slots=True)
class Dual:
    """Densities of the activations and weights of a layer, whose zeros fall at random."""

    activations: float
    weights: float

    @property
    def steps(self) -> float:
        """The share of steps that remain."""
        return max(_steps(self.activations, _LANES_A) * _steps(self.weights, _LANES_W), 1e-9)

    @property
    def products(self) -> float:
        """The share of MACs of two values that are not zero."""
        return self.activations * self.weights

    def bytes(self, weights: bool, bits: int) -> float:
        """Bytes of a value in memory: dense, or a bit for each and the values that are not zero."""
        density = self.weights if weights else self.activations
        return min(least_bits(form, 1, density, bits) for form in ("dense", "bitmask")) / 8


def dual_of(layer: Layer) -> Dual:
    """The densities of a layer."""
    return Dual(layer.input.density, layer.weight.density)
