"""Schema of a sweep file: parameters, conditions, constraints and columns."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from hwsim.errors import InputError, excerpt, nearest
from hwsim.fields import Name, Spec
from hwsim.sweeps.expression import measure

__all__ = ["MAX_VALUES", "SweepSpec", "values_of"]

MAX_VALUES = 1_000_000
"""Values of one parameter, and points of one sweep."""


def _as_list(value: object) -> object:
    return value if isinstance(value, list) else [value]


Texts = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=1000)]],
    BeforeValidator(_as_list, json_schema_input_type=str | list[str]),
    Field(max_length=1000),
]
_BOUND = {"type": ["number", "string"]}
_PAIR = {"type": "array", "items": _BOUND, "minItems": 2, "maxItems": 2}
Values = Annotated[
    Any,
    Field(
        json_schema_extra={
            "description": "a value, a list of them, or a range of numbers or quantities",
            "anyOf": [
                {
                    "type": "object",
                    "properties": {"range": _PAIR, "step": _BOUND, "steps": {"type": "integer", "minimum": 2}},
                    "required": ["range"],
                    "additionalProperties": False,
                },
                {
                    "type": "object",
                    "properties": {"powers_of_two": _PAIR},
                    "required": ["powers_of_two"],
                    "additionalProperties": False,
                },
                {"type": "array", "minItems": 1},
                {"type": ["number", "string", "boolean"]},
            ],
        }
    ),
]


class SweepSpec(Spec):
    """A sweep file.

    `machines` and `workloads` are names, paths (relative to the file) or patterns such as ``boards/*.yaml``. A key of
    `set` is one of the machine by its dotted path, or one of the workload after ``workload.``; ``workload.layers``
    takes patterns of layer names. The Cartesian product of all values is simulated; parameters in a `zip` group vary
    together. `where` conditions exclude points. Points that violate one of the `constraints` stay, as infeasible.
    `metrics` and `per_layer` are the columns to write (default: all totals).
    """

    name: Name | None = None
    description: str | None = None
    machines: Annotated[Texts, Field(min_length=1)]
    workloads: Annotated[Texts, Field(min_length=1)]
    batch: Values = 1
    set: Annotated[dict[str, Values], Field(max_length=64)] = {}
    zip: Annotated[list[list[str]], Field(max_length=64)] = []
    where: Texts = []
    constraints: Texts = []
    metrics: Texts = []
    per_layer: Texts = []


def values_of(entry: object) -> tuple[Any, ...]:
    """The values of one key of a sweep file.

    Raises
    ------
    InputError
        If there is no value, a value occurs twice, or a range is invalid.
    """
    if isinstance(entry, dict) and entry.keys() & {"range", "powers_of_two", "step", "steps"}:
        return _range_values(entry)
    values = tuple(entry) if isinstance(entry, list) else (entry,)
    if not values:
        raise InputError("must have at least one value")
    if len(values) > MAX_VALUES:
        raise InputError(f"must have at most {MAX_VALUES:,} values, not {len(values):,}")
    texts = set()
    for value in values:
        text = excerpt(value, 1000)
        if text in texts:
            raise InputError(f"must have each value once; {text:.60} is given twice")
        texts.add(text)
    return values


def _range_values(entry: dict[str, Any]) -> tuple[Any, ...]:
    keys = ("range", "step", "steps", "powers_of_two")
    unknown = next((key for key in entry if key not in keys), None)
    if unknown is not None:
        raise InputError(f"must be a range, not have the key {unknown!r}{nearest(unknown, keys)}")
    powers = "powers_of_two" in entry
    if powers == ("range" in entry) or (powers and len(entry) > 1) or (not powers and len(entry) != 2):
        raise InputError("must be {range: [8, 16], step: 2}, {range: [8, 16], steps: 5} or {powers_of_two: [1, 64]}")
    bounds = entry["powers_of_two" if powers else "range"]
    if not isinstance(bounds, list) or len(bounds) != 2:
        raise InputError(f"must have two bounds, as [8, 16], not {excerpt(bounds)}")
    (low, low_kind), (high, high_kind) = measure(bounds[0]), measure(bounds[1])
    if low_kind.sort != "number" or low_kind != high_kind or not all(map(math.isfinite, (low, high))):
        raise InputError(f"must have two bounds of one unit, as [100 MHz, 400 MHz], not {excerpt(bounds)}")
    if low > high:
        raise InputError(f"must have its smaller bound first, not {excerpt(bounds)}")
    write = _Writer(bounds[0], bounds[1], Fraction(low))
    low, high = Fraction(low), Fraction(high)
    if powers:
        if low <= 0:
            raise InputError(f"must have bounds above zero, not {excerpt(bounds)}")
        return tuple(write(low * 2**power) for power in range(_doublings(low, high) + 1))
    if "steps" in entry:
        steps = entry["steps"]
        if not isinstance(steps, int) or isinstance(steps, bool) or not 2 <= steps <= MAX_VALUES:
            raise InputError(f"steps must be a whole number of values from 2 to {MAX_VALUES:,}, not {excerpt(steps)}")
        if low == high:
            raise InputError(f"must have two different bounds, not {excerpt(bounds)}")
        return tuple(write(low + (high - low) * i / (steps - 1)) for i in range(steps))
    step, kind = measure(entry["step"])
    if kind != low_kind or not math.isfinite(step) or step <= 0:
        raise InputError(f"step must be above zero and have the unit of the bounds, not {excerpt(entry['step'])}")
    if isinstance(entry["step"], float):
        write.whole = False
    count = (high - low) // Fraction(step) + 1
    if count > MAX_VALUES:
        raise InputError(f"must have at most {MAX_VALUES:,} values, not {count:,}")
    return tuple(write(low + Fraction(step) * i) for i in range(int(count)))


def _doublings(low: Fraction, high: Fraction) -> int:
    """Number of doublings from the low bound that stay within the high one."""
    return int(high // low).bit_length() - 1


class _Writer:
    """Formats numbers like the bounds of their range: whole, or with the unit of the first."""

    def __init__(self, low: object, high: object, value: Fraction) -> None:
        self.unit: str | None = None
        self.whole = not isinstance(low, float) and not isinstance(high, float)
        if isinstance(low, str):
            number = low.strip().rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZµ/ ")
            self.unit = low.strip()[len(number) :].strip()
            self.scale = Fraction(measure(f"1 {self.unit}")[0])

    def __call__(self, value: Fraction) -> object:
        if self.unit is not None:
            return f"{_decimal(value / self.scale)} {self.unit}"
        if not self.whole:
            return float(_decimal(value))
        if value.denominator != 1:
            raise InputError(f"must give whole numbers between whole bounds, not {float(value):g}; write 8.0")
        return int(value)


def _decimal(value: Fraction) -> str:
    """A number exactly if 12 digits are enough, else with 6: a clock of 133.333333333 MHz has no common tick."""
    if value.denominator == 1:
        return str(int(value))
    text = f"{float(value):.12g}"
    return text if Fraction(text) == value else f"{float(value):.6g}"
