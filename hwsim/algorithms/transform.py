"""Transforms of tiles as the sums that a unit computes: counted as they are executed.

A matrix that is applied to a tile is mostly zeros, ones and pairs of rows that differ in signs alone. `apply` computes
what both rows of a pair share once, takes constants out in front, and adds terms of the same constant before they are
multiplied. Applied to columns, then to rows, that gives the operations that Lavin and Gray print (*Fast algorithms for
convolutional neural networks*, CVPR 2016, table 1), or fewer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

from hwsim.algorithms.toom_cook import Matrix

__all__ = ["Tally", "TransformCost", "apply", "apply_twice", "cost_of"]

Row = tuple[Fraction, ...]


@dataclass(slots=True)
class Tally:
    """What was computed.

    Attributes
    ----------
    sums : int
        Additions and subtractions of two values.
    products : int
        Multiplications by a constant that no addition follows.
    adds, shifts : int
        The same for a unit without multipliers: a constant is a sum of shifted copies, in signed digits.
    """

    sums: int = 0
    products: int = 0
    adds: int = 0
    shifts: int = 0

    @property
    def flops(self) -> int:
        """Operations where adding a product with a constant is one."""
        return self.sums + self.products


@dataclass(frozen=True, slots=True)
class TransformCost:
    """Operations of a transform of one tile: as floating-point operations, and as those of adders and shifters."""

    flops: int
    adds: int
    shifts: int

    def times(self, tiles: int) -> TransformCost:
        """Of so many tiles."""
        return TransformCost(self.flops * tiles, self.adds * tiles, self.shifts * tiles)


def apply(matrix: Matrix, values: Sequence[Any], tally: Tally) -> list[Any]:
    """The product of a matrix with a vector, whose elements may be numbers or arrays; what that costs is counted."""
    rows, columns = Tally(), Tally()
    by_rows, by_columns = _by_rows(matrix, values, rows), _by_columns(matrix, values, columns)
    one, best = (by_rows, rows) if rows.flops <= columns.flops else (by_columns, columns)
    for name in ("sums", "products", "adds", "shifts"):
        setattr(tally, name, getattr(tally, name) + getattr(best, name))
    return one


def apply_twice(down: Matrix, across: Matrix, tile: Sequence[Sequence[Any]], tally: Tally) -> list[list[Any]]:
    """One matrix down the columns of a tile, then the other along its rows."""
    columns = [apply(down, [row[j] for row in tile], tally) for j in range(len(tile[0]))]
    half = [[column[i] for column in columns] for i in range(len(down))]
    return [apply(across, row, tally) for row in half]


@lru_cache(256)
def cost_of(down: Matrix, across: Matrix) -> TransformCost:
    """Operations for one tile, counted on a tile of ones."""
    tally = Tally()
    apply_twice(down, across, [[Fraction(1)] * len(across[0])] * len(down[0]), tally)
    return TransformCost(tally.flops, tally.adds, tally.shifts)


def _by_rows(matrix: Matrix, values: Sequence[Any], tally: Tally) -> list[Any]:
    """Rows that differ in signs alone share the part where they agree and the part where they do not."""
    out: list[Any] = [None] * len(matrix)
    left = list(range(len(matrix)))
    while left:
        i, *left = left
        j = next((j for j in left if _pair(matrix[i], matrix[j])), None)
        if j is None:
            out[i] = _sum(matrix[i], values, tally)
            continue
        left.remove(j)
        agree = tuple(a if a == b else Fraction(0) for a, b in zip(matrix[i], matrix[j], strict=True))
        other = tuple(a if a != b else Fraction(0) for a, b in zip(matrix[i], matrix[j], strict=True))
        same, terms = _sum(agree, values, tally), [k for k, constant in enumerate(other) if constant]
        if len(terms) == 1:  # its constant is multiplied as it is added
            constant, differs = other[terms[0]], values[terms[0]]
        else:
            constant, differs = Fraction(1), _sum(other, values, tally)
        sign = 1 if constant > 0 else -1
        out[i], out[j] = (_add(same, differs, tally, way * sign, abs(constant)) for way in (1, -1))
    return out


def _by_columns(matrix: Matrix, values: Sequence[Any], tally: Tally) -> list[Any]:
    """Values whose columns differ in signs alone are added and subtracted once, for all rows."""
    terms: list[tuple[Row, Any]] = []
    left = list(range(len(values)))
    columns = list(zip(*matrix, strict=True))
    while left:
        i, *left = left
        j = next((j for j in left if _pair(columns[i], columns[j])), None)
        if j is None:
            terms.append((columns[i], values[i]))
            continue
        left.remove(j)
        agree = tuple(a if a == b else Fraction(0) for a, b in zip(columns[i], columns[j], strict=True))
        other = tuple(a if a != b else Fraction(0) for a, b in zip(columns[i], columns[j], strict=True))
        terms.append((agree, _add(values[i], values[j], tally)))
        terms.append((other, _add(values[i], values[j], tally, -1)))
    weights, parts = [column for column, _ in terms], [value for _, value in terms]
    return [_sum(tuple(column[i] for column in weights), parts, tally) for i in range(len(matrix))]


def _pair(a: Row, b: Row) -> bool:
    """Whether two rows are equal but for signs, some of which are the same and some not."""
    if any(abs(x) != abs(y) for x, y in zip(a, b, strict=True)):
        return False
    same = [x == y for x, y in zip(a, b, strict=True) if x]
    return any(same) and not all(same)


def _sum(row: Row, values: Sequence[Any], tally: Tally) -> Any:
    """The sum of constants times values: terms of one constant are added first, one constant is taken out."""
    groups: dict[Fraction, list[tuple[int, Any]]] = {}
    for constant, value in zip(row, values, strict=True):
        if constant:
            groups.setdefault(abs(constant), []).append((1 if constant > 0 else -1, value))
    if not groups:
        return values[0] * 0
    # Alone, or where no constant is one, the first is multiplied; the others are multiplied as they are added.
    whole = min(groups, key=lambda size: (_digits(size), size))
    divides = all((size / whole).denominator <= size.denominator for size in groups)
    common = whole if divides and all(_digits(size / whole) <= _digits(size) for size in groups) else Fraction(1)
    total, sign = None, 1
    for size in sorted(groups, key=lambda size: (size != common, size)):
        first, part = groups[size][0]
        for other, value in groups[size][1:]:
            part = _add(part, value, tally, first * other)
        constant = size / common
        if total is None:
            total, sign = _scale(part, constant, tally), first
        else:
            total = _add(total, part, tally, sign * first, constant)
    total = _scale(total, common, tally)
    return total if sign > 0 else -total


def _add(x: Any, y: Any, tally: Tally, sign: int = 1, constant: Fraction = Fraction(1)) -> Any:
    """x + sign constant y; a negative sign of the constant costs nothing."""
    tally.sums += 1
    tally.adds += 1
    _count_constant(constant, tally)
    y = y if constant == 1 else y * _number(constant, y)
    return x + y if sign > 0 else x - y


def _scale(x: Any, constant: Fraction, tally: Tally) -> Any:
    if constant == 1:
        return x
    tally.products += 1
    _count_constant(constant, tally)
    return x * _number(constant, x)


def _number(constant: Fraction, value: Any) -> Any:
    """A constant in the arithmetic of a value: whole if it can be, and of the precision of an array."""
    if constant.denominator == 1:
        return constant.numerator
    return value.dtype.type(float(constant)) if hasattr(value, "dtype") else constant


def _count_constant(constant: Fraction, tally: Tally) -> None:
    """Shifts and additions of a constant: one less than its signed digits, and a shift for each that is not the unit.

    A denominator is divided out where outputs are scaled anyway.
    """
    digits = _signed_digits(constant.numerator)
    tally.adds += len(digits) - 1
    tally.shifts += sum(place > 0 for place in digits)


def _digits(constant: Fraction) -> int:
    """What a constant costs as a product: nothing for one."""
    return 0 if constant == 1 else 1


@lru_cache(1024)
def _signed_digits(number: int) -> tuple[int, ...]:
    """Places of the digits that are not zero where neighbors never are (canonical signed digits)."""
    places, place, number = [], 0, abs(number)
    while number:
        if number & 1:
            digit = 2 - (number & 3)
            places.append(place)
            number -= digit
        number >>= 1
        place += 1
    return tuple(places)
