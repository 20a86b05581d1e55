"""What a fast algorithm costs in precision: each convolution of a network executed with and without it.

Inputs and weights are drawn with a fixed seed, bell-shaped as those of trained layers are, quantized to the bits of
the layer. The output in whole numbers must equal that of the direct convolution; the others are held against it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from hwsim.algorithms import Winograd, algorithm_of, shape_of
from hwsim.algorithms.choice import WINOGRAD
from hwsim.algorithms.execute import Arithmetic, execute
from hwsim.errors import InputError, excerpt, nearest
from hwsim.kernels.rounding import signal_to_noise_db
from hwsim.report.terminal import Column, print_columns, wrapped
from hwsim.workload import Layer, Workload
from hwsim.workload.product import Geometry

__all__ = ["AlgorithmCheck", "check_algorithm", "print_algorithm"]

MOST = 64
"""Channels, filters, rows and columns that are executed unless a sample says otherwise."""
_SPREAD = 4.0  # standard deviations up to the largest magnitude: what post-training calibration keeps
_ROUNDED: tuple[Arithmetic, ...] = ("rounded", "fp16", "fp32")


@dataclass(frozen=True, slots=True)
class AlgorithmCheck:
    """A layer executed by an algorithm.

    Attributes
    ----------
    name : str
    form : str
        The tiles and filters, or why the layer has none.
    bits : tuple of int
        What whole numbers take: transformed inputs, transformed weights, sums.
    exact : bool or None
        Whether the output in whole numbers is that of the direct convolution; None where nothing ran.
    ratio_db : dict
        Signal to noise by arithmetic: ``rounded`` (to as many bits as the layer has), ``fp16``, ``fp32``.
    sampled : bool
        Whether only a part of the layer ran.
    """

    name: str
    form: str
    bits: tuple[int, ...] = ()
    exact: bool | None = None
    ratio_db: dict[str, float] | None = None
    sampled: bool = False


def check_algorithm(workload: Workload, name: str, sample: int | None = None) -> Iterator[AlgorithmCheck]:
    """Execute the convolutions of a network by an algorithm.

    Raises
    ------
    InputError
        If it is none of Winograd's.
    """
    known = next((known for known in WINOGRAD if known == name), None)
    if known is None:
        what = f"--algorithm must be one of {', '.join(WINOGRAD)} to be executed, not {excerpt(name)}"
        raise InputError(f"{what}{nearest(name, WINOGRAD)}")
    for layer in workload:
        shape = shape_of(layer)
        if shape is None:
            continue
        how = algorithm_of(known, shape)
        if isinstance(how, Winograd):
            yield _check(layer, shape, how, sample or MOST)
        else:
            yield AlgorithmCheck(layer.name, str(how))


def _check(layer: Layer, shape: Geometry, how: Winograd, most: int) -> AlgorithmCheck:
    """One group of a layer, or the part of it that is executed."""
    c, k = min(shape.channels, most), min(shape.filters, most)
    h, w = (min(size, max(most, taps)) for size, taps in ((shape.h, shape.r), (shape.w, shape.s)))
    rng = np.random.default_rng(crc32(layer.name.encode()))
    bits = min(layer.input.bits, 8), min(layer.weight.bits, 8)
    x, filters = _draw(rng, (1, c, h, w), bits[0]), _draw(rng, (k, c, shape.r, shape.s), bits[1])
    one = Winograd.of(1, shape.r, shape.s)  # tiles of one output: the convolution itself
    truth = execute(one, x, filters, shape.pad).output
    exact = bool(np.array_equal(execute(how, x, filters, shape.pad).output, truth))
    ratios: dict[str, float] = {
        arithmetic: signal_to_noise_db(execute(how, x, filters, shape.pad, arithmetic, max(bits)).output, truth)
        for arithmetic in _ROUNDED
    }
    need = how.bits(*bits, shape.channels)
    sampled = (c, k, h, w) != (shape.channels, shape.filters, shape.h, shape.w)
    return AlgorithmCheck(layer.name, str(how), (need.data, need.filter, need.sum), exact, ratios, sampled)


def _draw(rng: np.random.Generator, shape: tuple[int, ...], bits: int) -> NDArray[np.int64]:
    """Whole numbers, bell-shaped, as wide as the bits."""
    top = 2 ** (bits - 1) - 1
    values: NDArray[np.int64] = np.clip(np.rint(rng.standard_normal(shape) * top / _SPREAD), -top, top).astype(np.int64)
    return values


def _decibels(ratio: float | None) -> str:
    return "" if ratio is None else "exact" if ratio == float("inf") else f"{ratio:.1f} dB"


def print_algorithm(checks: list[AlgorithmCheck], name: str, console: Console) -> bool:
    """Print the checks; True if no output in whole numbers differs."""
    ran = [check for check in checks if check.exact is not None]
    if ran:
        console.print(f"{name}, executed: signal to noise against the direct convolution")
        ratios = [check.ratio_db or {} for check in ran]
        columns = [
            Column("layer", [check.name for check in ran]),
            Column("form", [check.form for check in ran]),
            Column("bits in/weight/sum", ["/".join(map(str, check.bits)) for check in ran], right=True),
            Column("whole", ["equal" if check.exact else "DIFFERS" for check in ran]),
        ]
        for arithmetic in _ROUNDED:
            cells = [_decibels(ratio.get(arithmetic)) for ratio in ratios]
            columns.append(Column(arithmetic, cells, right=True))
        print_columns(console, columns)
        if any(check.sampled for check in ran):
            wrapped(console, "of larger layers a part was executed; bits are those of the whole layer")
    reasons: dict[str, list[str]] = {}
    for check in checks:
        if check.exact is None:
            reasons.setdefault(check.form, []).append(check.name)
    for reason, names in reasons.items():
        wrapped(
            console,
            f"direct: {', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}: {reason}",
        )
    return all(check.exact is not False for check in checks)
