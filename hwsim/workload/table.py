"""Read plain traces from tables: our own columns, topologies of SCALE-Sim, lists of GEMMs."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Protocol

from hwsim.errors import Fault, HwsimWarning, InputError, excerpt, nearest
from hwsim.message import Message, merged, sentence
from hwsim.workload.layer import Layer
from hwsim.workload.line import LINES, TENSORS, Line, Values
from hwsim.workload.network import MAX_FAULTS, MAX_LAYERS, Workload
from hwsim.workload.row import Row
from hwsim.workload.sheet import Sheet, SheetLine
from hwsim.workload.topology import GemmTable, Topology

__all__ = ["own_columns", "read_table"]

#: Columns of our own form that rows of every type may have; all but `name` may be left out.
COMMON = (
    "net", "idx", "name", "type", "weights", "bias", "macs", "input", "weight", "output", "input_density",
    "weight_density",
)  # fmt: skip
#: Other names of types.
ALIASES = {"pwconv": "conv"}
#: What columns of other tools hold, by the name of ours.
_MEANINGS = {
    "layer": "name", "layer name": "name", "op": "type", "kind": "type", "channels": "c", "filters": "k",
    "height": "h", "width": "w",
}  # fmt: skip
#: What cells of columns that a type of layer does not have may be.
_NEUTRAL = ("", "0", "1", "valid", "same", "-")


def own_columns() -> tuple[str, ...]:
    """Columns of our own form."""
    return tuple(dict.fromkeys((*COMMON, *(name for line in LINES.values() for name in line.columns.split()))))


def read_table(text: str, file: str, name: str) -> Workload:
    """Make a plain trace of a table, whose header says which form it has.

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
    sheet = Sheet(text, file)
    lines = iter(sheet)
    form = _form(next(lines, SheetLine(1, [], "")), sheet)
    layers: list[Layer] = []
    names: dict[str, int] = {}
    faults: list[Fault] = []
    for line in lines:
        where = f"{file}:{line.number}"
        if len(layers) >= MAX_LAYERS:
            raise InputError(f"a network must have at most {MAX_LAYERS} layers", where)
        try:
            layers.append(_numbered(form.layer(line), names))
        except InputError as error:
            faults.extend(Fault(where, fault.path, fault.message) for fault in error.faults)
        if len(faults) >= MAX_FAULTS:
            break
    if faults:
        raise InputError(faults[:MAX_FAULTS])
    if not layers:
        raise InputError("must have a line for each layer below the header", file)
    for message in merged(form.notes()):
        warnings.warn(f"{file}: {sentence(message)}", HwsimWarning, stacklevel=3)
    return Workload(name, layers, graph=False, source=file)


class _Form(Protocol):
    """A form of tables: the layer of each line, and what a user should know of them."""

    def layer(self, line: SheetLine) -> Layer:
        """The layer of a line; raises InputError."""

    def notes(self) -> list[Message]:
        """What lines hold that is no part of their layers."""


def _numbered(layer: Layer, names: dict[str, int]) -> Layer:
    """The layer with a name of its own: of equal ones, the second is ``a_2``."""
    name, number = layer.name, names.get(layer.name, 0) + 1
    while number > 1 and (name := f"{layer.name}_{number}") in names:
        number += 1
    names[layer.name] = number
    names.setdefault(name, 1)
    return layer if name == layer.name else replace(layer, name=name)


def _form(header: SheetLine, sheet: Sheet) -> _Form:
    """The form that the header has; raises InputError for one of none."""
    columns = [cell.lower() for cell in header.cells]
    try:
        if Topology.named(columns):
            return Topology(header, sheet.decimals)
        if GemmTable.named(columns):
            return GemmTable(header, sheet.decimals)
        return _OwnTable(columns, sheet.decimals)
    except InputError as error:
        where = f"{sheet.file}:{header.number}"
        raise InputError([Fault(where, fault.path, fault.message) for fault in error.faults]) from None


class _OwnTable:
    """Our own columns, by name."""

    def __init__(self, columns: list[str], decimals: str) -> None:
        self.columns, self.decimals = columns, decimals
        self._notes: list[Message] = []
        valid = own_columns()
        faults = []
        loose = False
        for index, column in enumerate(columns):
            if column not in valid:
                meaning = _MEANINGS.get(column.replace("_", " "))
                near = f"; nearest: {meaning!r}" if meaning else nearest(column, valid)
                if "valid" in near:
                    loose, near = True, ""
                faults.append(Fault("", "", f"column must be one of the known ones, not {excerpt(column)}{near}"))
            elif column in columns[:index]:
                faults.append(Fault("", "", f"column {column!r} must be given once"))
        if "name" not in columns:
            faults.append(Fault("", "", "column 'name' must be given"))
        if loose:
            faults.append(Fault("", "", f"the columns are {', '.join(valid)}"))
        if faults:
            raise InputError(faults[:MAX_FAULTS])

    def notes(self) -> list[Message]:
        """Columns that layers have no use for."""
        return self._notes

    def layer(self, line: SheetLine) -> Layer:
        """The layer of a line."""
        if len(line.cells) > len(self.columns):
            raise InputError(f"must have at most {len(self.columns)} cells, as the header, not {len(line.cells)}")
        row = Row(dict(zip(self.columns, line.cells)), self.decimals)
        layer, kind = _own(row)
        if unread := _unread(row, kind):
            template = "a layer of type {type} has no {columns}: what the table gives is not read"
            values = {"type": kind.key, "columns": unread}
            self._notes.append(Message("import.columns", template, values, "warning", (layer.name,)))
        return layer


def _unread(row: Row, line: Line) -> list[str]:
    """Columns that a type of layer does not have, where their cells say more than a default does."""
    columns = [c for c in row.cells if c not in COMMON and c not in line.columns.split()]
    if line.key == "fc":  # as a convolution of the whole image
        columns = [c for c in columns if (c, row.text(c)) not in (("r", row.text("h")), ("s", row.text("w")))]
    return [column for column in columns if row.text(column).lower() not in _NEUTRAL]


def _own(row: Row) -> tuple[Layer, Line]:
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
    return layer, types[type_]


def _made(name: str, line: Line, row: Row) -> Layer:
    values: Values = {
        tensor: {"dtype": row.text(tensor, "int8"), "density": row.share(f"{tensor}_density")} for tensor in TENSORS
    }
    if "bias" in line.defaults:
        values["bias"] = row.integer("bias", 1) > 0
    values |= line.row(row) if line.row else {}
    layer: Layer = line.layer(name, **values)
    return layer
