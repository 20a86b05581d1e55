"""The shapes of a model's inputs: those of the file, with its symbolic sizes as the user gives them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from hwsim.errors import Fault, InputError, nearest
from hwsim.workload.layer import MAX_SIZE, Shape, whole
from hwsim.workload.onnx.records import Given, OnnxFile

__all__ = ["Sizes", "input_shapes", "parse_shapes"]

#: A size by the name of a symbolic dimension, or a shape by the name of a tensor.
Sizes: TypeAlias = Mapping[str, "int | Sequence[int]"]

_VALUE = re.compile(r"[0-9]+(x[0-9]+)*\Z")
#: A first axis with such a name is no batch.
_TIME = re.compile(r"seq|len|time|step|tok|frame|height|width|channel", re.IGNORECASE)


def parse_shapes(texts: Iterable[str]) -> dict[str, int | Sequence[int]]:
    """Read ``NAME=SIZE`` and ``NAME=SIZExSIZE...``, several in one text with commas between them."""
    found: dict[str, int | Sequence[int]] = {}
    for item in (part.strip() for text in texts for part in text.split(",")):
        name, equals, value = item.rpartition("=")
        if not equals or not name or not _VALUE.match(value):
            raise InputError(
                f"--shape must be NAME=SIZE or NAME=SIZExSIZE, as ids=1x128 or sequence=128, not {item!r:.80}"
            )
        sizes = tuple(int(size[:12]) for size in value.split("x"))
        if name in found:
            raise InputError(f"--shape must give {name!r} once")
        found[name] = sizes[0] if len(sizes) == 1 else sizes
    return found


def _checked(shape: object) -> dict[str, int | Shape]:
    """What a user gave, with every size an int from 1 to 2^31."""
    if not isinstance(shape, Mapping):
        raise InputError(f"shape must be a mapping such as {{'batch': 1, 'ids': (1, 128)}}, not {shape!r:.60}")
    found: dict[str, int | Shape] = {}
    for name, value in shape.items():
        sizes = [whole(size) for size in value] if isinstance(value, (list, tuple)) else [whole(value)]
        if not sizes or any(size is None or not 1 <= size <= MAX_SIZE for size in sizes):
            raise InputError(f"the shape of {name!r} must be made of integers from 1 to 2^31, not {value!r:.60}")
        known = tuple(size for size in sizes if size is not None)
        found[str(name)] = known if isinstance(value, (list, tuple)) else known[0]
    return found


def input_shapes(file: OnnxFile, given: Sizes) -> tuple[dict[str, Shape], dict[str, int], dict[str, Shape], list[str]]:
    """Shapes of the inputs, sizes of symbolic dimensions, shapes that were given of other tensors, and notes.

    A first axis that is the only size left open of its input is the batch, and 1.

    Raises
    ------
    InputError
        That names every size that must be given, and how.
    """
    sizes = _checked(given)
    symbols = {size for value in _all(file) for size in value.shape or () if isinstance(size, str)}
    inputs = {value.name: value for value in file.inputs}
    tensors = inputs.keys() | {name for op in file.operators for name in op.outputs}
    known: dict[str, int] = {}
    shapes: dict[str, Shape] = {}
    for name, value in sizes.items():
        if isinstance(value, int) and name in symbols:
            known[name] = value
        elif name in tensors:
            shapes[name] = (value,) if isinstance(value, int) else value
        else:
            valid = sorted(symbols | inputs.keys())
            raise InputError(f"shape must be of an input, or a symbolic size, not {name!r}{nearest(name, valid)}")
    for item in file.inputs:
        if item.name not in shapes or item.shape is None:
            continue
        owner = f"input {item.name!r}"
        if len(shapes[item.name]) != len(item.shape):
            raise InputError(f"shape must have {len(item.shape)} sizes, not {len(shapes[item.name])}", path=owner)
        for symbol, size in zip(item.shape, shapes[item.name]):
            if isinstance(symbol, str) and known.setdefault(symbol, size) != size:
                raise InputError(f"size {symbol!r} must be one number, not {known[symbol]} and {size}", path=owner)
    notes: list[str] = []
    for item in file.inputs:
        _default(item, known, shapes, notes)
    faults = [fault for item in file.inputs for fault in _missing(item, known, shapes)]
    if faults:
        raise InputError(faults)
    return (
        {item.name: shapes.get(item.name) or _resolved(item, known) for item in file.inputs},
        known,
        {name: shape for name, shape in shapes.items() if name not in inputs},
        notes,
    )


def _all(file: OnnxFile) -> list[Given]:
    return [*file.inputs, *file.described.values()]


def _open(value: Given, known: Mapping[str, int]) -> list[int]:
    """The axes whose size nobody has said."""
    return [axis for axis, size in enumerate(value.shape or ()) if not isinstance(size, int) and size not in known]


def _default(value: Given, known: dict[str, int], shapes: dict[str, Shape], notes: list[str]) -> None:
    if value.name in shapes or value.shape is None or len(value.shape) < 2 or _open(value, known) != [0]:
        return
    symbol = value.shape[0]
    if isinstance(symbol, str):
        if _TIME.search(symbol):
            return
        known[symbol] = 1
        notes.append(f"the batch {symbol!r} of input {value.name!r} is 1; --batch sets how many run together")
    else:
        shapes[value.name] = (1, *(known[size] if isinstance(size, str) else size or 1 for size in value.shape[1:]))
        notes.append(f"the batch of input {value.name!r} is 1; --batch sets how many run together")


def _missing(value: Given, known: Mapping[str, int], shapes: Mapping[str, Shape]) -> list[Fault]:
    owner = f"input {value.name!r}"
    if value.name in shapes:
        return []
    if value.shape is None:
        if not value.dtype:
            return [Fault("", owner, "must be a tensor")]
        return [Fault("", owner, f"has no shape in the file: give it, as --shape {value.name}=1x3x224x224")]
    if not (axes := _open(value, known)):
        return []
    shown = " x ".join("?" if size is None else str(size) for size in value.shape)
    names = list(dict.fromkeys(size for axis in axes if isinstance(size := value.shape[axis], str)))
    whole_ = "x".join(
        str(size) if isinstance(size, int) else str(known.get(size or "", 1 if not axis else 128))
        for axis, size in enumerate(value.shape)
    )
    ways = [f"--shape {value.name}={whole_}"]
    if len(names) == len({value.shape[axis] for axis in axes}):
        ways.insert(0, "--shape " + ",".join(f"{name}={1 if value.shape[0] == name else 128}" for name in names))
    what = " and ".join(repr(name) for name in names) or "a size without a name"
    return [Fault("", owner, f"is {shown}, of which {what} must be given, as {' or '.join(ways)}")]


def _resolved(value: Given, known: Mapping[str, int]) -> Shape:
    return tuple(size if isinstance(size, int) else known[size or ""] for size in value.shape or ())
