"""Tensor problems: what a loop nest computes, as dimensions and the axes through which each tensor sees them."""

from __future__ import annotations

from collections.abc import Mapping as ReadMapping
from dataclasses import dataclass
from math import gcd, prod

from hwsim.errors import MappingError

__all__ = ["Axis", "Operand", "Problem", "batched_gemm_problem", "conv_problem", "distinct", "gemm_problem"]

Axis = tuple[tuple[str, int], ...]
"""One axis of a tensor: the sum of `(dim, coefficient)` terms, e.g. ``(("P", stride), ("R", dilation))``."""


def distinct(u: int, d: int, p: int, r: int) -> int:
    """Number of different values of ``u*i + d*k`` for ``0 <= i < p`` and ``0 <= k < r``."""
    g = gcd(u, d)
    # (i + d/g, k - u/g) has the same value as (i, k): of each such chain only one is counted.
    return p * r - max(0, p - d // g) * max(0, r - u // g)


@dataclass(frozen=True)
class Operand:
    """A tensor of a problem.

    Parameters
    ----------
    name : str
        "ifmap", "weight" or "ofmap".
    axes : tuple of Axis
        One or two terms each; a dim occurs in at most one axis.
    bits : int
        Bits of one word.
    output : bool
        True for the tensor that the MACs accumulate into. Its axes have one term each.
    accumulator_bits : int
        Bits of a partial sum of the output; 0: as many as a word of it.
    """

    name: str
    axes: tuple[Axis, ...]
    bits: int = 16
    output: bool = False
    accumulator_bits: int = 0

    def __post_init__(self) -> None:
        if self.bits < 1:
            raise MappingError(f"{self.name}: bits of a word must be at least 1, not {self.bits}")
        limit = 1 if self.output else 2
        for axis in self.axes:
            if not 1 <= len(axis) <= limit:
                raise MappingError(f"{self.name}: an axis must have one to {limit} terms, not {axis!r}")
            for dim, coefficient in axis:
                if coefficient < 1:
                    raise MappingError(f"{self.name}: the coefficient of {dim} must be at least 1, not {coefficient}")
        dims = [dim for axis in self.axes for dim, _ in axis]
        if len(dims) != len(set(dims)):
            raise MappingError(f"{self.name}: a dim must occur in one axis only, not {self.axes!r}")

    @property
    def sum_bits(self) -> int:
        """Bits of a partial sum, or of a word of a tensor that is not accumulated."""
        return self.accumulator_bits or self.bits

    @property
    def dims(self) -> tuple[str, ...]:
        """Dims that select a word of this tensor, in order of the axes."""
        return tuple(dim for axis in self.axes for dim, _ in axis)

    def words(self, lengths: ReadMapping[str, int]) -> int:
        """Distinct words touched by a box of `lengths` iterations per dim."""
        total = 1
        for axis in self.axes:
            if len(axis) == 1:
                total *= lengths[axis[0][0]]
            else:
                (p, u), (r, d) = axis
                total *= distinct(u, d, lengths[p], lengths[r])
        return total


@dataclass(frozen=True)
class Problem:
    """A perfect loop nest of multiply-accumulates over `dims`.

    Examples
    --------
    >>> conv_problem(k=4, c=3, p=8, q=8, r=3, s=3).words("ifmap")
    300
    """

    name: str
    dims: dict[str, int]
    operands: tuple[Operand, ...]

    def __post_init__(self) -> None:
        for dim, size in self.dims.items():
            if size < 1:
                raise MappingError(f"{self.name}: the size of dim {dim} must be at least 1, not {size}")
        if sum(o.output for o in self.operands) != 1:
            raise MappingError(f"{self.name}: exactly one operand must be the output")
        names = [o.name for o in self.operands]
        if len(names) != len(set(names)):
            raise MappingError(f"{self.name}: operand names must differ, not {names}")
        for operand in self.operands:
            for dim in operand.dims:
                if dim not in self.dims:
                    dims = ", ".join(self.dims)
                    raise MappingError(f"{self.name}: a dim of {operand.name} must be one of {dims}, not {dim}")

    def __hash__(self) -> int:
        return hash((self.name, tuple(self.dims.items()), self.operands))

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the whole problem."""
        return prod(self.dims.values())

    @property
    def output(self) -> Operand:
        """The operand that is accumulated."""
        return next(o for o in self.operands if o.output)

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of all operands."""
        return tuple(o.name for o in self.operands)

    def operand(self, name: str) -> Operand:
        """The operand called `name`."""
        for operand in self.operands:
            if operand.name == name:
                return operand
        raise MappingError(f"a tensor must be one of {', '.join(self.tensors)}, not {name!r}")

    def words(self, name: str) -> int:
        """Distinct words of the whole tensor `name` that the problem touches."""
        return self.operand(name).words(self.dims)


def conv_problem(
    n: int = 1,
    g: int = 1,
    k: int = 1,
    c: int = 1,
    p: int = 1,
    q: int = 1,
    r: int = 1,
    s: int = 1,
    stride: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
    bits: tuple[int, int, int] = (16, 16, 16),
    name: str = "conv",
    accumulator_bits: int = 0,
) -> Problem:
    """A 2-D convolution; `k` and `c` are per group, `bits` of ifmap, weight, ofmap. The ifmap is the padded tensor."""
    rows: Axis = (("P", stride[0]), ("R", dilation[0]))
    cols: Axis = (("Q", stride[1]), ("S", dilation[1]))
    return Problem(
        name,
        {"N": n, "G": g, "K": k, "C": c, "P": p, "Q": q, "R": r, "S": s},
        (
            Operand("ifmap", ((("N", 1),), (("G", 1),), (("C", 1),), rows, cols), bits[0]),
            Operand("weight", _axes("GKCRS"), bits[1]),
            Operand("ofmap", _axes("NGKPQ"), bits[2], True, accumulator_bits),
        ),
    )


def gemm_problem(
    m: int, n: int, k: int, bits: tuple[int, int, int] = (16, 16, 16), name: str = "gemm", accumulator_bits: int = 0
) -> Problem:
    """M x K activations times K x N weights."""
    return Problem(
        name,
        {"M": m, "N": n, "K": k},
        (
            Operand("ifmap", _axes("MK"), bits[0]),
            Operand("weight", _axes("KN"), bits[1]),
            Operand("ofmap", _axes("MN"), bits[2], True, accumulator_bits),
        ),
    )


def batched_gemm_problem(
    b: int, m: int, n: int, k: int, bits: tuple[int, int, int] = (16, 16, 16), name: str = "batched_gemm",
    accumulator_bits: int = 0,
) -> Problem:  # fmt: skip
    """`b` independent GEMMs, each with its own two operands."""
    return Problem(
        name,
        {"B": b, "M": m, "N": n, "K": k},
        (
            Operand("ifmap", _axes("BMK"), bits[0]),
            Operand("weight", _axes("BKN"), bits[1]),
            Operand("ofmap", _axes("BMN"), bits[2], True, accumulator_bits),
        ),
    )


def _axes(dims: str) -> tuple[Axis, ...]:
    """Plain axes, one for each letter."""
    return tuple(((dim, 1),) for dim in dims)
