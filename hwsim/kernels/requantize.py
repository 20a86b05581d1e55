"""From int32 accumulators to 8 bits (and from int64 to 16), in the two standard semantics: TFLite's and ONNX's."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import frexp, inf
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

import hwsim.kernels._int8 as _int8
from hwsim.errors import InputError, excerpt
from hwsim.kernels.checks import array, channel_values, limits, name, require, values_of, zero_point
from hwsim.kernels.isa import isa_number

__all__ = [
    "OnnxRequantization",
    "TfliteRequantization",
    "onnx_scale",
    "quantize_multiplier",
    "quantize_multipliers",
    "requantize_onnx",
    "requantize_tflite",
]

ROUNDINGS = ("double", "single")
Form = tuple[int, NDArray[np.float32] | None, NDArray[np.int32] | None, NDArray[np.int32] | None, int, int, int]


@dataclass(frozen=True, eq=False, slots=True)
class OnnxRequantization:
    """ONNX's QLinearConv and QLinearMatMul: saturate(round_half_even(float32(acc) * scale) + zero).

    `scale` is input scale x weight scale / output scale (see `onnx_scale`), one or one a channel; `dtype` is int8 or
    uint8.
    """

    scale: ArrayLike
    zero: int = 0
    dtype: DTypeLike = "uint8"
    _forms: dict[int, Form] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", _frozen(self.scale))

    def output(self) -> np.dtype[Any]:
        """Type of the results."""
        return _eight_bits(self.dtype)

    def form(self, channels: int) -> Form:
        """As the C loops take it; checked once for each number of channels."""
        if channels in self._forms:
            return self._forms[channels]
        dtype = self.output()
        scale = np.require(channel_values("scale", self.scale, channels, "number"), np.float32, ("C", "A"))
        _positive("scale", scale)
        self._forms[channels] = (1, scale, None, None, zero_point("zero", self.zero, dtype), *limits(dtype))
        return self._forms[channels]


@dataclass(frozen=True, eq=False, slots=True)
class TfliteRequantization:
    """TFLite's MultiplyByQuantizedMultiplier, plus zero, clamped to lo..hi (an activation's bounds).

    `multiplier` and `shift` are of `quantize_multiplier`, one or one a channel; `dtype` int8 or uint8. `rounding` is
    "double" (convolutions) or "single" (fully connected): see `requantize_tflite`.
    """

    multiplier: ArrayLike
    shift: ArrayLike
    zero: int = 0
    lo: int | None = None
    hi: int | None = None
    dtype: DTypeLike = "int8"
    rounding: str = "double"
    _forms: dict[int, Form] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "multiplier", _frozen(self.multiplier))
        object.__setattr__(self, "shift", _frozen(self.shift))

    def output(self) -> np.dtype[Any]:
        """Type of the results."""
        return _eight_bits(self.dtype)

    def form(self, channels: int) -> Form:
        """As the C loops take it; checked once for each number of channels."""
        if channels in self._forms:
            return self._forms[channels]
        multiplier, shift = _multipliers(self.multiplier, self.shift, channels)
        dtype = self.output()
        lo, hi = _bounds(self.lo, self.hi, dtype)
        name("rounding", self.rounding, ROUNDINGS)
        kind = 2 + ROUNDINGS.index(self.rounding)
        self._forms[channels] = (kind, None, multiplier, shift, zero_point("zero", self.zero, dtype), lo, hi)
        return self._forms[channels]


def _frozen(values: ArrayLike) -> NDArray[Any]:
    """A copy that cannot change, so that checks need not be repeated."""
    copy = values_of("scale", values).copy()
    copy.flags.writeable = False
    return copy


def _positive(path: str, scale: NDArray[np.float32]) -> None:
    good = np.isfinite(scale) & (scale > 0)
    if not good.all():
        raise InputError(f"must be finite and above 0, got {scale[~good].flat[0]}", path=path)


def _eight_bits(dtype: DTypeLike) -> np.dtype[Any]:
    try:
        result = np.dtype(dtype)
    except Exception:  # numpy names the object in its own error, which an object may refuse
        raise InputError(f"must be int8 or uint8, got {excerpt(dtype)}", path="dtype") from None
    if dtype is None or result not in (np.int8, np.uint8):
        raise InputError(f"must be int8 or uint8, got {result}", path="dtype")
    return result


def _bounds(lo: int | None, hi: int | None, dtype: np.dtype[Any]) -> tuple[int, int]:
    least, most = limits(dtype)
    low, high = least if lo is None else lo, most if hi is None else hi
    whole = all(isinstance(bound, (int, np.integer)) for bound in (low, high))
    message = (
        f"must hold {least} <= lo <= hi <= {most}, as the results are {dtype}, got lo={excerpt(lo)}, hi={excerpt(hi)}"
    )
    require(whole and least <= low <= high <= most, "lo", message)
    return low, high


def _within(path: str, values: NDArray[np.int64], least: int, most: int) -> None:
    bad = (values < least) | (values > most)
    if bad.any():
        raise InputError(f"must lie in {least}..{most}, got {values[bad].flat[0]}", path=path)


def _multipliers(multiplier: ArrayLike, shift: ArrayLike, channels: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    argument = channel_values("multiplier", multiplier, channels, "integer").astype(np.int64)
    shifts = channel_values("shift", shift, channels, "integer").astype(np.int64)
    _within("multiplier", argument, 0, 2**31 - 1)
    _within("shift", shifts, -31, 30)
    return np.ascontiguousarray(argument, np.int32), np.ascontiguousarray(shifts, np.int32)


def onnx_scale(x_scale: ArrayLike, w_scale: ArrayLike, y_scale: ArrayLike) -> NDArray[np.float32]:
    """x_scale * w_scale / y_scale in float32 and in that order, as onnxruntime computes it."""
    x, w, y = (
        values_of(name, s).astype(np.float32)
        for name, s in (("x_scale", x_scale), ("w_scale", w_scale), ("y_scale", y_scale))
    )
    for path, scale in (("x_scale", x), ("w_scale", w), ("y_scale", y)):
        _positive(path, scale)
    return np.asarray(x * w / y, np.float32)


def quantize_multiplier(real: float) -> tuple[int, int]:
    """TFLite's QuantizeMultiplier: `real` as multiplier * 2**(shift - 31), with the multiplier in 2**30..2**31-1.

    Parameters
    ----------
    real
        Input scale x weight scale / output scale, in double precision; finite and above 0.

    Returns
    -------
    tuple[int, int]
        (multiplier, shift); (0, 0) where it is too small to matter (shift below -31).
    """
    is_number = isinstance(real, (int, float, np.integer, np.floating)) and 0 < real < inf
    require(is_number, "real", f"must be finite and above 0, got {excerpt(real)}")
    require(real < 2**30, "real", f"must be below 2**30, got {excerpt(real)}")
    fraction, shift = frexp(real)
    multiplier = int(fraction * 2**31 + 0.5)  # exact: the product has at most 53 bits, and half rounds away from zero
    if multiplier == 2**31:
        multiplier //= 2
        shift += 1
    if shift < -31:
        return 0, 0
    require(shift <= 30, "real", f"must be below 2**30, got {excerpt(real)}")
    return multiplier, shift


def quantize_multipliers(reals: ArrayLike) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """`quantize_multiplier` of each: arrays of multipliers and of shifts."""
    pairs = [quantize_multiplier(float(real)) for real in values_of("reals", reals).astype(np.float64).reshape(-1)]
    table = np.array(pairs, np.int32).reshape(-1, 2)
    return np.ascontiguousarray(table[:, 0]), np.ascontiguousarray(table[:, 1])


def _axis(acc: NDArray[Any], axis: int) -> None:
    exists = isinstance(axis, (int, np.integer)) and -acc.ndim <= axis < acc.ndim
    require(exists, "axis", f"must be an axis of shape {acc.shape}, got {excerpt(axis)}")


def _apply(acc: NDArray[Any], how: OnnxRequantization | TfliteRequantization, axis: int) -> NDArray[Any]:
    """8-bit results; the channels are along `axis`."""
    require(isinstance(acc, np.ndarray) and acc.ndim > 0, "acc", "must be an array of at least one dim")
    acc = array("acc", acc, ("int32",), acc.ndim)
    _axis(acc, axis)
    axis %= acc.ndim
    channels = acc.shape[axis]
    out = np.empty(acc.shape, how.output())
    inner = int(np.prod(acc.shape[axis + 1 :]))
    if acc.size:
        shape = (acc.size // (channels * inner), channels, inner)
        _int8.requantize(isa_number(), acc.reshape(shape), how.form(channels), out.view(np.uint8).reshape(shape))
    else:
        how.form(channels)
    return out


def requantize_onnx(
    acc: NDArray[np.int32], scale: ArrayLike, zero: int = 0, dtype: DTypeLike = "uint8", *, axis: int = -1
) -> NDArray[Any]:
    """Requantize as ONNX's QLinearConv and QLinearMatMul do in onnxruntime.

    Parameters
    ----------
    acc
        int32 accumulators, C-contiguous.
    scale
        float32, one or one a channel along `axis`.
    zero, dtype
        Zero point and type (int8 or uint8) of the results.
    axis
        Where the channels are: 1 for NCHW, -1 for NHWC and matrices.

    Returns
    -------
    NDArray
        saturate(round_half_even(float32(acc) * scale) + zero).
    """
    return _apply(acc, OnnxRequantization(scale, zero, dtype), axis)


def requantize_tflite(
    acc: NDArray[Any],
    multiplier: ArrayLike,
    shift: ArrayLike,
    zero: int = 0,
    lo: int | None = None,
    hi: int | None = None,
    *,
    axis: int = -1,
    dtype: DTypeLike | None = None,
    rounding: str = "double",
) -> NDArray[Any]:
    """Requantize as TFLite's MultiplyByQuantizedMultiplier does, bit for bit.

    int32 accumulators, to int8 or uint8: two roundings (SaturatingRoundingDoublingHighMul, RoundingDivideByPOT), as
    in the reference kernels of CONV_2D and DEPTHWISE_CONV_2D; or with a single one (half up), as in FULLY_CONNECTED.
    int64 accumulators (16-bit activations), to int16: the multiplier reduced to 16 bits, one rounding.

    Parameters
    ----------
    acc
        int32 or int64 accumulators, C-contiguous.
    multiplier, shift
        Of `quantize_multiplier`, one or one a channel along `axis`.
    zero, lo, hi
        Added last, and what the results are clamped to.
    axis
        Where the channels are: -1 for NHWC, 1 for NCHW.
    dtype
        int8 unless said otherwise (int16 for int64 accumulators).
    rounding
        "double" or "single", for int32 accumulators.
    """
    if not (isinstance(acc, np.ndarray) and acc.dtype == np.int64):
        return _apply(acc, TfliteRequantization(multiplier, shift, zero, lo, hi, dtype or "int8", rounding), axis)
    acc = array("acc", acc, ("int64",), acc.ndim)
    _axis(acc, axis)
    require(dtype is None or np.dtype(dtype) == np.int16, "dtype", f"must be int16 for int64 accumulators, got {dtype}")
    _within("acc", acc, -(2**47), 2**47 - 1)  # required by TFLite
    multipliers, shifts = _multipliers(multiplier, shift, acc.shape[axis])
    _within("shift", shifts.astype(np.int64), -31, 7)
    low, high = _bounds(lo, hi, np.dtype(np.int16))
    zero = zero_point("zero", zero, np.dtype(np.int16))
    along = [1] * acc.ndim
    along[axis] = -1
    high_words = (multipliers.astype(np.int64) + (1 << 15)) >> 16
    factors = np.where(multipliers < 0x7FFF0000, high_words, 0x7FFF).reshape(along)
    total = (15 - shifts.astype(np.int64)).reshape(along)
    words = ((acc * factors + (np.int64(1) << (total - 1))) >> total).astype(np.int32).astype(np.int64) + zero
    result: NDArray[Any] = np.clip(words, low, high).astype(np.int16)
    return result
