"""Fits a few constants of a GPU to timed products; all others are those of its generation.

Of the unit that multiplies 16-bit types: efficiency e, share of the DRAM bandwidth beta and the floor of a launch t0.
Of the CUDA cores, in fp32: their efficiency. Least squares of the logarithm of predicted over measured, of their size
beyond 8 %; a constant that is a share away from its generation's weighs as one product that is predicted as far off,
the floor, which is the driver's more than the generation's, a third of that, and
no product is shorter than an empty kernel.
The uncertainty of a constant comes from refits that leave out each fifth of the products.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.calibration.gpu.rounds import Product
from hwsim.fields import check
from hwsim.machines.base import Machine
from hwsim.machines.registry import kinds
from hwsim.yaml_source import Document

__all__ = ["Fit", "errors", "fit", "machine_with"]

Floats = NDArray[np.float64]
SOFT = 0.08
"""Relative error beyond which a product counts less."""
FOLDS = 5
BOUNDS = {"efficiency": 1.5, "dram_share": 1.0}
LEAST = 6
"""Products that three numbers are fitted on, at least."""
FLOOR_PRIOR = 0.3
STEPS, HALVINGS, TINY = 25, 6, 1e-3
FAR = 50.0
"""How many times its generation's a constant may be, or how small a part of it."""


@dataclass(frozen=True)
class Fit:
    """Constants that were fitted, by their keys in the machine file (`launch` in seconds), on how many products.

    `spread` is how far the refits lie apart, relative; `before` and `after` are the mean errors on the same products.
    """

    dtype: str
    values: Mapping[str, float]
    spread: Mapping[str, float]
    products: int
    before: float
    after: float


def machine_with(document: Document, values: Mapping[str, float]) -> Machine:
    """The machine with constants over its own, by their keys in the file."""
    copy = deepcopy(document)
    copy.override({key: f"{value:.9g} s" if key == "launch" else value for key, value in values.items()})
    machine_class = kinds()["gpu"]
    return machine_class(check(machine_class.spec_class, copy), Path(), copy)


def errors(machine: Any, products: Sequence[Product]) -> Floats:
    """Predicted over measured, less one, of products of one type."""
    m, n, k = (np.array([getattr(one, side) for one in products], float) for side in "mnk")
    dtype = products[0].dtype
    output = {"int8": "int32", "tf32": "fp32"}.get(dtype, dtype)
    math = "fp32" if dtype == "tf32" else dtype
    if dtype == "tf32":
        copy = deepcopy(machine.document)
        copy.override({"precision": "tf32"})
        machine = type(machine)(check(type(machine).spec_class, copy), machine.folder, copy)
    seconds = np.array([one.seconds for one in products])
    relative: Floats = machine.gemm_times(m, n, k, math, output) / seconds - 1
    return relative


def fit(document: Document, products: Sequence[Product], unit: str, floor: bool, empty_s: float = 0.0) -> Fit | None:
    """Fit a unit to products of one type; None for too few.

    Parameters
    ----------
    document : Document
        The machine with its generation's constants.
    products : sequence of Product
        Of one type.
    unit : str
        ``tensor`` or ``cuda``.
    floor : bool
        Fit the share of the DRAM bandwidth and the floor of a launch too.
    empty_s : float
        Time of an empty kernel in the launch mode of the products; 0 if unknown.
    """
    if len(products) < (LEAST if floor else 2):
        return None
    here: Any = machine_with(document, {})
    constants = here.timer.constants[unit]
    start = {f"constants.{unit}.efficiency": float(constants.efficiency)}
    if floor:
        start |= {f"constants.{unit}.dram_share": float(constants.dram_share), "launch": here.timer.floor * 1e-6}
    values = _solve(document, products, start, empty_s)
    refits = [_solve(document, part, start, empty_s) for part in _folds(products)]
    spread = {
        key: (max(one[key] for one in refits) - min(one[key] for one in refits)) / value if refits else 0.0
        for key, value in values.items()
    }
    before, after = (
        float(np.mean(np.abs(errors(machine_with(document, changes), products)))) for changes in ({}, values)
    )
    return Fit(products[0].dtype, values, spread, len(products), before, after)


def _folds(products: Sequence[Product]) -> list[list[Product]]:
    if len(products) < 2 * FOLDS:
        return []
    return [[one for place, one in enumerate(products) if place % FOLDS != fold] for fold in range(FOLDS)]


def _solve(
    document: Document, products: Sequence[Product], start: Mapping[str, float], empty_s: float
) -> dict[str, float]:
    """Gauss and Newton's steps in the logarithms of the constants, each halved until it helps."""
    names = list(start)
    first = np.array([start[name] for name in names])
    bounds = [BOUNDS.get(name.rpartition(".")[2], FAR * value) for name, value in start.items()]
    most = np.maximum(np.log(np.array(bounds) / first), 0.0)

    least = np.array([empty_s if name == "launch" else 0.0 for name in names])
    least = np.minimum(np.log(np.maximum(least / first, 1 / FAR)), most)
    prior = np.array([FLOOR_PRIOR if name == "launch" else 1.0 for name in names])

    def values(at: Floats) -> dict[str, float]:
        return {name: float(value) for name, value in zip(names, first * np.exp(at))}

    def off(at: Floats) -> Floats:
        return np.log1p(errors(machine_with(document, values(at)), products))

    def cost(residuals: Floats, at: Floats) -> float:
        size = np.abs(residuals)
        soft = np.where(size < SOFT, size**2, 2 * SOFT * size - SOFT**2)
        return float(soft.sum() + ((prior * at) ** 2).sum())

    at = np.maximum(np.zeros(len(names)), least)
    residuals = off(at)
    for _ in range(STEPS):
        slopes = np.column_stack([(off(at - move) - residuals) / -TINY for move in TINY * np.eye(len(names))])
        weight = np.sqrt(np.minimum(1.0, SOFT / np.maximum(np.abs(residuals), 1e-12)))
        rows = np.vstack([slopes * weight[:, None], np.diag(prior)])
        way = np.linalg.lstsq(rows, -np.concatenate([residuals * weight, prior * at]), rcond=None)[0]
        for _ in range(HALVINGS):
            next_at = np.clip(at + way, least, most)
            next_found = off(next_at)
            gain = 1 - cost(next_found, next_at) / max(cost(residuals, at), 1e-12)
            if gain > 0:
                break
            way = way / 2
        else:
            break
        is_converged = gain < TINY or np.abs(next_at - at).max() < TINY
        at, residuals = next_at, next_found
        if is_converged:
            break
    return {name: float(f"{value:.4g}") for name, value in values(at).items()}
