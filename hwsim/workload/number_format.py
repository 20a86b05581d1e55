"""Number formats: one declaration each, from which importers, machines and schemas take what they have to know."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

__all__ = ["DTYPES", "NAMES", "SIGNS", "NumberFormat", "format_of", "type_bits", "weight_formats", "wider_format"]


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """A number format.

    Parameters
    ----------
    bits : int
        Of one value.
    sort : str
        ``integer`` or ``float``.
    onnx, tflite : tuple of str
        Types of these files that are stored in as many bits.
    widened : bool
        Whether a library without kernels for it converts it to the next wider format that it has.
    weights : tuple of str
        Formats of the weights that kernels for values in this one take; its own alone where there is none.
    """

    bits: int
    sort: Literal["integer", "float"]
    onnx: tuple[str, ...] = ()
    tflite: tuple[str, ...] = ()
    widened: bool = True
    weights: tuple[str, ...] = ()

    @property
    def half(self) -> bool:
        """Whether it is a float of 16 bits, which weights of fewer bits are converted to as they are read."""
        return self.sort == "float" and self.bits == 16


#: Every number format by its name. A ternary value takes two bits, as every published ternary memory stores it.
DTYPES: dict[str, NumberFormat] = {
    "int4": NumberFormat(4, "integer", ("int4", "uint4", "float4e2m1"), ("int4",)),
    "int8": NumberFormat(
        8,
        "integer",
        ("int8", "uint8", "bool", "string"),
        ("int8", "uint8", "bool", "string"),
        weights=("int8", "int4"),
    ),
    "int16": NumberFormat(16, "integer", ("int16", "uint16"), ("int16", "uint16"), weights=("int8",)),
    # A handle of TFLite is a word.
    "int32": NumberFormat(32, "integer", ("int32", "uint32"), ("int32", "uint32", "resource", "variant")),
    "int64": NumberFormat(64, "integer", ("int64", "uint64"), ("int64", "uint64")),
    "fp8": NumberFormat(
        8,
        "float",
        ("float8e4m3fn", "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz", "float8e8m0"),
        widened=False,
    ),
    "fp16": NumberFormat(16, "float", ("float16",), ("float16",)),
    "bf16": NumberFormat(16, "float", ("bfloat16",), ("bfloat16",), widened=False),
    "fp32": NumberFormat(32, "float", ("float",), ("float32",)),
    "fp64": NumberFormat(64, "float", ("double", "complex64"), ("float64", "complex64")),
    "binary": NumberFormat(1, "integer"),
    "ternary": NumberFormat(2, "integer", ("int2", "uint2")),
}

#: Names that say the sign of an 8-bit integer too, which kernels of processors tell apart: its format, whether signed.
SIGNS: dict[str, tuple[str, bool]] = {"uint8": ("int8", False), "sint8": ("int8", True)}
#: All that the format of a tensor may be called.
NAMES: Collection[str] = ChainMap[str, object](SIGNS, DTYPES)  # type: ignore[arg-type]  # read only


@lru_cache(256)
def format_of(file_type: str, file_format: Literal["onnx", "tflite"]) -> str | None:
    """The number format of a type of ONNX or TFLite; None where none has as many bits."""
    return next((name for name, kind in DTYPES.items() if file_type in getattr(kind, file_format)), None)


def type_bits(file_type: str, file_format: Literal["onnx", "tflite"]) -> int:
    """Bits of one value of a type of ONNX or TFLite; 0 for an unknown type."""
    name = format_of(file_type, file_format)
    return 128 if file_type == "complex128" else 0 if name is None else DTYPES[name].bits


def weight_formats(name: str) -> tuple[str, ...]:
    """Formats of the weights that kernels for values in a format take, the usual one first."""
    return DTYPES[name].weights or (name,)


def wider_format(name: str, supported: Collection[str]) -> str:
    """The format that a value is run in: its own, or the narrowest supported one of its sort that is wider."""
    kind = DTYPES[name]
    if name in supported or not kind.widened:
        return name
    wider = [other for other in supported if DTYPES[other].sort == kind.sort and DTYPES[other].bits > kind.bits]
    return min(wider, key=lambda other: DTYPES[other].bits, default=name)
