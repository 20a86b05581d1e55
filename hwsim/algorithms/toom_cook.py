"""The matrices of fast convolution: Toom and Cook's interpolation at a few points, turned around as Winograd did.

A product of two polynomials, of m and of r coefficients, has m + r - 1 coefficients. It is known from its values at as
many points: each value is one multiplication. With V the powers of the points (the last one at infinity, whose value is
the leading coefficient), the product is V^-1 [(V_m x) * (V_r g)]. The transpose of that algorithm computes r taps of
g over m outputs:

    y = A^T [(G g) * (B^T d)],   A^T = V_m^T,  G = V_r,  B^T = V^-T

(Winograd, *Arithmetic complexity of computations*, 1980; Blahut, *Fast algorithms for signal processing*, chapter 5).
Scaling row i of B^T by a number and of G by its inverse changes nothing: `integers` makes both whole and leaves what is
over to the columns of A^T.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from math import gcd, lcm

__all__ = ["MAX_POINTS", "Matrices", "Matrix", "integers", "matrices"]

Matrix = tuple[tuple[Fraction, ...], ...]

_POINTS = (0, 1, -1, 2, -2, Fraction(1, 2), Fraction(-1, 2), 3, -3, Fraction(1, 3), Fraction(-1, 3), 4, -4)
MAX_POINTS = len(_POINTS) + 1
"""Points that there are, infinity with them."""


@dataclass(frozen=True, slots=True)
class Matrices:
    """F(m, r): m outputs of a filter of r taps from m + r - 1 products.

    Attributes
    ----------
    m, r : int
        Outputs, and taps.
    output : Matrix
        A^T, m x (m + r - 1).
    filter : Matrix
        G, (m + r - 1) x r.
    data : Matrix
        B^T, (m + r - 1) x (m + r - 1).
    scale : int
        What an output is divided by at the end; 1 unless the matrices were made whole.
    """

    m: int
    r: int
    output: Matrix
    filter: Matrix
    data: Matrix
    scale: int = 1

    @property
    def points(self) -> int:
        """Multiplications, and inputs of a tile."""
        return self.m + self.r - 1


@lru_cache(64)
def matrices(m: int, r: int) -> Matrices:
    """The matrices of F(m, r), with the numbers that others publish for F(2, 3), F(4, 3) and F(6, 3).

    Parameters
    ----------
    m, r : int
        Outputs and taps, 1 or more; m + r - 1 is at most `MAX_POINTS`.

    Examples
    --------
    >>> [[str(n) for n in row] for row in matrices(2, 3).data]
    [['1', '0', '-1', '0'], ['0', '1', '1', '0'], ['0', '-1', '1', '0'], ['0', '-1', '0', '1']]
    """
    n = m + r - 1
    if m < 1 or r < 1 or n > MAX_POINTS:
        raise ValueError(f"F({m}, {r}) must have 1 to {MAX_POINTS} points, not {n}")
    points = [Fraction(p) for p in _POINTS[: n - 1]]
    # Row i of V^-T has the coefficients of prod_{j != i} (x - p_j) / (p_i - p_j); infinity's, of prod_j (x - p_j).
    data, factors = [], []
    for i, point in enumerate(points):
        coefficients, divisor = [Fraction(1)], Fraction(1)
        for j, other in enumerate(points):
            if j != i:
                coefficients, divisor = _times(coefficients, other), divisor * (point - other)
        sign = _leading(coefficients) if i == 0 else 1
        data.append([*(sign * c for c in coefficients), Fraction(0)])
        factors.append(sign / divisor)
    last = [Fraction(1)]
    for point in points:
        last = _times(last, point)
    data.append(last)
    factors.append(Fraction(1))
    # The leading coefficient of a filter row goes to the data, as in print: rows begin or end with 1.
    powers = [[p**j for j in range(r)] for p in points] + [[Fraction(0)] * (r - 1) + [Fraction(1)]]
    values = [[p**j for j in range(m)] for p in points] + [[Fraction(0)] * (m - 1) + [Fraction(1)]]
    filters = [tuple(factor * power for power in row) for factor, row in zip(factors, powers, strict=True)]
    outputs = tuple(tuple(row[j] for row in values) for j in range(m))
    scaled = [_normal(row) for row in data]
    filters = [tuple(f * size for f in row) for (_, size), row in zip(scaled, filters, strict=True)]
    return Matrices(m, r, outputs, tuple(filters), tuple(tuple(row) for row, _ in scaled))


def integers(of: Matrices) -> Matrices:
    """The same algorithm with whole numbers alone, and the number that outputs are divided by.

    Rows of B^T and of G become the smallest whole numbers; what they were multiplied by divides the columns of A^T,
    whose common denominator is `scale`.
    """
    data, filters = [_whole(row) for row in of.data], [_whole(row, positive=True) for row in of.filter]
    columns = [1 / (d * f) for (_, d), (_, f) in zip(data, filters, strict=True)]
    outputs = [[value * column for value, column in zip(row, columns, strict=True)] for row in of.output]
    scale = lcm(*(value.denominator for row in outputs for value in row))
    return Matrices(
        of.m, of.r, tuple(tuple(value * scale for value in row) for row in outputs),
        tuple(tuple(row) for row, _ in filters), tuple(tuple(row) for row, _ in data), scale,
    )  # fmt: skip


def _times(coefficients: list[Fraction], root: Fraction) -> list[Fraction]:
    """The polynomial times (x - root)."""
    ends = [Fraction(0), *coefficients, Fraction(0)]
    return [low - root * high for low, high in pairwise(ends)]


def _leading(coefficients: list[Fraction]) -> int:
    """The sign of the lowest coefficient that is not zero."""
    return 1 if next(c for c in coefficients if c) > 0 else -1


def _normal(row: list[Fraction]) -> tuple[list[Fraction], Fraction]:
    """A row whose last coefficient, or first where that is the lowest, is one; and what it was divided by."""
    size = abs(row[0]) if row[0] else Fraction(1)
    return [c / size for c in row], size


def _whole(row: tuple[Fraction, ...], positive: bool = False) -> tuple[list[Fraction], Fraction]:
    """The smallest whole numbers in the proportions of a row, the first of them positive, and the factor."""
    below = lcm(*(value.denominator for value in row))
    above = gcd(*(int(value * below) for value in row)) or 1
    factor = Fraction(below, above) * (_leading(list(row)) if positive else 1)
    return [value * factor for value in row], factor
