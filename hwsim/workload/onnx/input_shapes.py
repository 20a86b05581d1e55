"""The shapes of a model's inputs: those of the file, with sizes from the user for symbolic dimensions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from hwsim.errors import Fault, InputError, excerpt, nearest
from hwsim.message import Message
from hwsim.workload.layer import MAX_SIZE, Shape, whole
from hwsim.workload.onnx.records import OnnxFile, ValueInfo

__all__ = ["OPEN_SIZE", "InputShapes", "OpenSizesError", "Sizes", "input_shapes", "parse_shapes", "times"]

#: A size by the name of a symbolic dimension, or a shape by the name of a tensor.
Sizes: TypeAlias = Mapping[str, "int | Sequence[int]"]

_VALUE = re.compile(r"[0-9]+(x[0-9]+)*\Z")
#: A first axis with such a name is not the batch.
_TIME = re.compile(r"seq|len|time|step|tok|frame|height|width|channel", re.IGNORECASE)


#: Shapes of the inputs, sizes of symbolic dimensions, shapes of other tensors, and notes.
InputShapes: TypeAlias = tuple[dict[str, Shape], dict[str, int], dict[str, Shape], list[Message]]
#: The size that is suggested for an open axis, as that of a sequence.
OPEN_SIZE = 128


class OpenSizesError(InputError):
    """Open sizes that the user must set; `suggestion` sets them all, with `size` for those that are no batch."""

    def __init__(self, file: OnnxFile, symbol_sizes: Mapping[str, int], shapes: Mapping[str, Shape], size: int) -> None:
        self._parts = file, symbol_sizes, shapes
        faults, self.suggestion = _missing(file, symbol_sizes, shapes, size)
        super().__init__(faults)

    def with_size(self, size: int) -> OpenSizesError:
        """The same with another suggestion."""
        return OpenSizesError(*self._parts, size)


def parse_shapes(texts: Iterable[str]) -> dict[str, int | Sequence[int]]:
    """Read ``NAME=SIZE`` and ``NAME=SIZExSIZE...``, several in one text with commas between them."""
    shapes: dict[str, int | Sequence[int]] = {}
    for item in (part.strip() for text in texts for part in text.split(",")):
        name, equals, value = item.rpartition("=")
        if not equals or not name or not _VALUE.match(value):
            raise InputError(
                f"--shape must be NAME=SIZE or NAME=SIZExSIZE, as ids=1x128 or sequence=128, not {excerpt(item, 80)}"
            )
        sizes = tuple(int(size[:12]) for size in value.split("x"))
        if name in shapes:
            raise InputError(f"--shape must give {name!r} once")
        shapes[name] = sizes[0] if len(sizes) == 1 else sizes
    return shapes


def _valid_sizes(shape: object) -> dict[str, int | Shape]:
    """The user's shapes, with every size an int from 1 to 2^31."""
    if not isinstance(shape, Mapping):
        raise InputError(f"shape must be a mapping such as {{'batch': 1, 'ids': (1, 128)}}, not {excerpt(shape)}")
    result: dict[str, int | Shape] = {}
    for name, value in shape.items():
        sizes = [whole(size) for size in value] if isinstance(value, (list, tuple)) else [whole(value)]
        if not sizes or any(size is None or not 1 <= size <= MAX_SIZE for size in sizes):
            raise InputError(f"the shape of {name!r} must be made of integers from 1 to 2^31, not {excerpt(value)}")
        numbers = tuple(size for size in sizes if size is not None)
        result[str(name)] = numbers if isinstance(value, (list, tuple)) else numbers[0]
    return result


def input_shapes(file: OnnxFile, shape: Sizes) -> InputShapes:
    """Shapes of the inputs, sizes of symbolic dimensions, shapes of other tensors, and notes.

    If the first axis is the only open size of an input, it is the batch, and 1.

    Raises
    ------
    InputError
        Names every size that the user must provide, and the option for it.
    """
    sizes = _valid_sizes(shape)
    symbols = {size for value in _all(file) for size in value.shape or () if isinstance(size, str)}
    inputs = {value.name: value for value in file.inputs}
    tensors = inputs.keys() | {name for op in file.operators for name in op.outputs}
    symbol_sizes: dict[str, int] = {}
    shapes: dict[str, Shape] = {}
    for name, value in sizes.items():
        if isinstance(value, int) and name in symbols:
            symbol_sizes[name] = value
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
            if isinstance(symbol, str) and symbol_sizes.setdefault(symbol, size) != size:
                raise InputError(
                    f"size {symbol!r} must be one number, not {symbol_sizes[symbol]} and {size}", path=owner
                )
    notes: list[Message] = []
    for item in file.inputs:
        _default(item, symbol_sizes, shapes, notes)
    if _missing(file, symbol_sizes, shapes, OPEN_SIZE)[0]:
        raise OpenSizesError(file, symbol_sizes, shapes, OPEN_SIZE)
    return (
        {item.name: shapes.get(item.name) or _resolve(item, symbol_sizes) for item in file.inputs},
        symbol_sizes,
        {name: shape for name, shape in shapes.items() if name not in inputs},
        notes,
    )


def times(file: OnnxFile) -> set[str]:
    """The inputs whose first axis is no batch by its name."""
    firsts = {value.name: value.shape[0] for value in file.inputs if value.shape}
    return {name for name, size in firsts.items() if isinstance(size, str) and _TIME.search(size)}


def _all(file: OnnxFile) -> list[ValueInfo]:
    return [*file.inputs, *file.value_info.values()]


def _open(value: ValueInfo, symbol_sizes: Mapping[str, int]) -> list[int]:
    """The axes whose size is open."""
    return [
        axis for axis, size in enumerate(value.shape or ()) if not isinstance(size, int) and size not in symbol_sizes
    ]


def _default(value: ValueInfo, symbol_sizes: dict[str, int], shapes: dict[str, Shape], notes: list[Message]) -> None:
    if value.name in shapes or value.shape is None or len(value.shape) < 2 or _open(value, symbol_sizes) != [0]:
        return
    symbol = value.shape[0]
    if isinstance(symbol, str):
        if _TIME.search(symbol):
            return
        symbol_sizes[symbol] = 1
        template = "the batch {symbol!r} of input {input!r} is 1; --batch sets the batch size"
        notes.append(Message("import.default_batch", template, {"symbol": symbol, "input": value.name}))
    else:
        shapes[value.name] = (
            1,
            *(symbol_sizes[size] if isinstance(size, str) else size or 1 for size in value.shape[1:]),
        )
        template = "the batch of input {input!r} is 1; --batch sets the batch size"
        notes.append(Message("import.default_batch", template, {"input": value.name}))


def _missing(
    file: OnnxFile, symbol_sizes: Mapping[str, int], shapes: Mapping[str, Shape], size: int
) -> tuple[list[Fault], Sizes]:
    """What the user must set: a fault for each input, the last of which ends with an option that sets it all."""
    sizes = dict(symbol_sizes)
    faults: list[Fault] = []
    whole: dict[str, Shape] = {}
    for value in file.inputs:
        owner = f"input {value.name!r}"
        if value.name in shapes:
            continue
        if value.shape is None and not value.dtype:
            return [Fault("", owner, "must be a tensor")], {}
        if value.shape is None:
            faults.append(Fault("", owner, "has no shape in the file, so it must be given"))
            whole[value.name] = (1, 3, 224, 224) if "float" in value.dtype else (1, size)
        elif axes := _open(value, symbol_sizes):
            names = list(dict.fromkeys(name for axis in axes if isinstance(name := value.shape[axis], str)))
            for name in names:
                sizes.setdefault(name, 1 if value.shape[0] == name and not _TIME.search(name) else size)
            what = " and ".join([*map(repr, names), *(["a size without a name"] if None in value.shape else [])])
            text = " x ".join("?" if item is None else str(item) for item in value.shape)
            faults.append(Fault("", owner, f"is {text}, of which {what} must be given"))
            if None in value.shape:
                # Between two fixed sizes it is the batch, as in the states of recurrent layers.
                state = len(value.shape) == 3 and isinstance(value.shape[0], int) and isinstance(value.shape[2], int)
                whole[value.name] = tuple(
                    sizes[item] if isinstance(item, str) else item or (size if axis and not state else 1)
                    for axis, item in enumerate(value.shape)
                )
    suggestion: dict[str, int | Shape] = {name: item for name, item in sizes.items() if name not in symbol_sizes}
    suggestion |= whole
    if faults:
        option = ",".join(
            f"{name}={'x'.join(map(str, item)) if isinstance(item, tuple) else item}"
            for name, item in suggestion.items()
        )
        last = faults.pop()
        faults.append(Fault("", last.path, f"{last.message}, as with --shape {option}"))
    return faults, suggestion


def _resolve(value: ValueInfo, symbol_sizes: Mapping[str, int]) -> Shape:
    return tuple(size if isinstance(size, int) else symbol_sizes[size or ""] for size in value.shape or ())
