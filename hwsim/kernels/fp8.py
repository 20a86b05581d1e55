"""The values of 8-bit floats: 256 of them, so a table converts them exactly."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.kernels.checks import array, name, require

__all__ = ["FP8_FORMATS", "fp8_values", "quantize_fp8"]

FP8_FORMATS: Mapping[str, tuple[int, int]] = MappingProxyType({"e4m3": (4, 3), "e5m2": (5, 2)})
"""Bits of the exponent and of the fraction. e4m3 has no infinity and one NaN a sign (OCP, 8-bit floating point)."""


@lru_cache(2)
def _values(kind: str) -> NDArray[np.float32]:
    exponent_bits, fraction_bits = FP8_FORMATS[kind]
    codes = np.arange(256)
    exponent = codes >> fraction_bits & (1 << exponent_bits) - 1
    fraction = codes & (1 << fraction_bits) - 1
    bias = (1 << exponent_bits - 1) - 1
    normal = np.ldexp((1 << fraction_bits) + fraction, exponent - bias - fraction_bits)
    values = np.where(exponent > 0, normal, np.ldexp(fraction, 1 - bias - fraction_bits))
    if kind == "e5m2":
        values = np.where(exponent == 31, np.where(fraction > 0, np.nan, np.inf), values)
    else:
        values = np.where(codes & 0x7F == 0x7F, np.nan, values)
    table = np.where(codes & 0x80, -values, values).astype(np.float32)
    table.flags.writeable = False
    return table


def fp8_values(kind: str = "e4m3") -> NDArray[np.float32]:
    """The value of each of the 256 codes of ``e4m3`` or ``e5m2``."""
    name("kind", kind, tuple(FP8_FORMATS))
    return _values(kind)


def quantize_fp8(values: NDArray[np.float32], kind: str = "e4m3") -> NDArray[np.uint8]:
    """Codes of the nearest finite values, ties to the even code; beyond the largest value, that value."""
    table = fp8_values(kind)
    require(isinstance(values, np.ndarray), "values", f"must be an array of float32, got {type(values).__name__}")
    floats: NDArray[Any] = array("values", values, ("float32",), values.ndim)
    require(not bool(np.isnan(floats).any()), "values", "must not be NaN")
    ladder = table[:128][np.isfinite(table[:128])].astype(np.float64)  # its codes are 0, 1, ...
    size = np.abs(floats.astype(np.float64))
    middle = (ladder[1:] + ladder[:-1]) / 2
    code = np.searchsorted(middle, size, side="left")  # at a middle: the lower
    tie = (code < len(middle)) & (middle[np.minimum(code, len(middle) - 1)] == size) & (code % 2 == 1)
    codes: NDArray[np.uint8] = (code + tie + np.where(np.signbit(floats), 0x80, 0)).astype(np.uint8)
    return codes
