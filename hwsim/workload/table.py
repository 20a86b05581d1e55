"""Read plain traces from CSV: our own columns, and the two topology forms of SCALE-Sim."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator

from hwsim.errors import Fault, InputError, excerpt, nearest
from hwsim.workload.layer import Layer
from hwsim.workload.layers import Conv2d, Gemm
from hwsim.workload.line import LINES, TENSORS, Line, Values
from hwsim.workload.network import MAX_FAULTS, MAX_LAYERS, Workload
from hwsim.workload.row import Row
from hwsim.workload.tensor import TensorLike

__all__ = ["own_columns", "read_table"]

#: Columns of our own form that rows of every type may have; all but `name` may be left out.
COMMON = (
    "net", "idx", "name", "type", "weights", "bias", "macs", "input", "weight", "output", "input_density",
    "weight_density",
)  # fmt: skip
#: Other names of types.
ALIASES = {"pwconv": "conv"}
#: SCALE-Sim: an ifmap is given with its padding.
SCALE_CONV = ("layer name", "ifmap height", "ifmap width", "filter height", "filter width", "channels", "num filter")
SCALE_OPTIONS = ("strides", "stride height", "stride width", "sparsity", "batch size")
SCALE_GEMM = ("m", "n", "k")

_RATIO = re.compile(r"([0-9]{1,2}):([0-9]{1,2})\Z")


def own_columns() -> tuple[str, ...]:
    """Columns of our own form."""
    return tuple(dict.fromkeys((*COMMON, *(name for line in LINES.values() for name in line.columns.split()))))


def read_table(text: str, file: str, name: str) -> Workload:
    """Make a plain trace of a CSV table, whose header says which form it has.

    Parameters
    ----------
    text : str
    file : str
        For the place of faults.
    name : str
        The name of the workload.

    Raises
    ------
    InputError
        With file and line of every fault, the first hundred of them.
    """
    rows = _rows(text, file)
    line, header = next(rows, (1, []))
    columns = [cell.lower() for cell in header]
    make = _form(columns, f"{file}:{line}")
    layers: list[Layer] = []
    lines: dict[str, int] = {}
    faults: list[Fault] = []
    for line, cells in rows:
        where = f"{file}:{line}"
        if len(layers) >= MAX_LAYERS:
            raise InputError(f"a network must have at most {MAX_LAYERS} layers", where)
        if len(cells) > len(columns):
            faults.append(Fault(where, "", f"must have at most {len(columns)} cells, as the header, not {len(cells)}"))
        try:
            layer = make(Row(dict(zip(columns, cells))))
            if layer.name in lines:
                raise InputError(f"the name of a layer must be its own; {layer.name!r} is on line {lines[layer.name]}")
            lines[layer.name] = line
            layers.append(layer)
        except InputError as error:
            faults.extend(Fault(where, fault.path, fault.message) for fault in error.faults)
        if len(faults) >= MAX_FAULTS:
            break
    if faults:
        raise InputError(faults[:MAX_FAULTS])
    if not layers:
        raise InputError("must have a line for each layer below the header", file)
    return Workload(name, layers, graph=False, source=file)


def _rows(text: str, file: str) -> Iterator[tuple[int, list[str]]]:
    """Lines that are not blank, as stripped cells without the empty ones at the end, with the line they are on."""
    reader = csv.reader(re.split(r"\r\n|\r|\n", text), strict=True, skipinitialspace=True)
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            while stripped and not stripped[-1]:
                stripped.pop()
            if stripped and not stripped[0].startswith("#"):
                yield reader.line_num, stripped
    except csv.Error as error:
        raise InputError(f"must be CSV: {error}", f"{file}:{reader.line_num}") from None


def _form(columns: list[str], where: str) -> Callable[[Row], Layer]:
    """Which form the header has; raises InputError for one of none."""
    known: tuple[str, ...]
    needed: tuple[str, ...]
    if "ifmap height" in columns:
        known, needed, make = (*SCALE_CONV, *SCALE_OPTIONS), SCALE_CONV, _scale_conv
    elif {"m", "n", "k"} <= set(columns) and "c" not in columns:
        if columns[0] in SCALE_GEMM:
            raise InputError("the first column must be the layer's name, as in 'Layer, M, N, K,'", where)
        columns[0] = "name"
        known, needed, make = ("name", *SCALE_GEMM, "sparsity"), ("name", *SCALE_GEMM), _scale_gemm
    else:
        known, needed, make = own_columns(), ("name",), _own
    faults = []
    for index, column in enumerate(columns):
        if column not in known:
            near = nearest(column, known)
            faults.append(Fault(where, "", f"column must be one of the known ones, not {excerpt(column)}{near}"))
        elif column in columns[:index]:
            faults.append(Fault(where, "", f"column {column!r} must be given once"))
    faults.extend(Fault(where, "", f"column {column!r} must be given") for column in needed if column not in columns)
    if faults:
        raise InputError(faults[:MAX_FAULTS])
    return make


def _sparse(row: Row) -> TensorLike:
    """SCALE-Sim's column of N:M sparsity, as the type of the weights."""
    text = row.text("sparsity")
    if not text:
        return "int8"
    match = _RATIO.match(text)
    if not match or int(match[1]) > int(match[2]) or int(match[1]) < 1:
        raise InputError(f"sparsity must be a ratio N:M of at most 1, such as 2:4, not {excerpt(text)}")
    return "int8" if match[1] == match[2] else {"pattern": text}


def _scale_conv(row: Row) -> Layer:
    stride = row.integer("strides", 1)
    return Conv2d(
        row.text("layer name"),
        c=row.integer("channels"),
        h=row.integer("ifmap height"),
        w=row.integer("ifmap width"),
        k=row.integer("num filter"),
        r=row.integer("filter height"),
        s=row.integer("filter width"),
        stride=(row.integer("stride height", stride), row.integer("stride width", stride)),
        bias=False,
        weight=_sparse(row),
    )


def _scale_gemm(row: Row) -> Layer:
    m, n, k = (row.integer(column) for column in SCALE_GEMM)
    return Gemm(row.text("name"), m=m, n=n, k=k, bias=False, weight=_sparse(row))


def _own(row: Row) -> Layer:
    name = row.text("name")
    type_ = row.text("type", "conv").lower()
    rows = {line.key: line for line in LINES.values() if line.row}
    types = rows | {alias: rows[key] for alias, key in ALIASES.items()}
    if type_ not in types:
        raise InputError(f"type must be one of the known names, not {excerpt(type_)}{nearest(type_, types)}", path=name)
    try:
        layer = _made(name, types[type_], row)
    except InputError as error:
        raise InputError([Fault("", fault.path or name, fault.message) for fault in error.faults]) from None
    for column in ("weights", "macs", "p", "q"):
        value = getattr(layer, column, 0)
        if hasattr(layer, column) and row.integer(column, value) != value:
            raise InputError(f"{column} must be {value} by the shape, not {row.text(column)}", path=name)
    return layer


def _made(name: str, line: Line, row: Row) -> Layer:
    values: Values = {
        tensor: {"dtype": row.text(tensor, "int8"), "density": row.share(f"{tensor}_density")} for tensor in TENSORS
    }
    if "bias" in line.defaults:
        values["bias"] = row.integer("bias", 1) > 0
    values |= line.row(row) if line.row else {}
    layer: Layer = line.layer(name, **values)
    return layer
