"""The lines by which traces give the kinds of layer: their keys derive from the fields of the class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field as attribute, fields
from functools import cached_property
from typing import Any, TypeAlias, get_type_hints

from hwsim.errors import InputError
from hwsim.workload.row import Row

__all__ = ["LINES", "TENSORS", "Line", "Shape", "Values", "axes", "lines_of"]

Shape: TypeAlias = tuple[int, ...]
Values: TypeAlias = dict[str, Any]
Reader: TypeAlias = Callable[[Values, tuple[Shape, ...]], Values]

TENSORS = ("input", "weight", "output")
#: Keys of a line that have a longer name in Python.
_FIELDS = {"act": "activation", "hidden": "hidden_size"}
_KEYS = {name: key for key, name in _FIELDS.items()}
#: The lines of all kinds by their key, in the order in which `kind` registers them.
LINES: dict[str, Line] = {}


def axes(*operands: str) -> Reader:
    """A reader of sizes that operands have by their axes, as ``c h w``; an operand of another rank gives none."""

    def read(values: Values, shapes: tuple[Shape, ...]) -> Values:
        for names, shape in zip(map(str.split, operands), shapes):
            if len(names) == len(shape):
                values = {key: size for key, size in zip(names, shape) if key != "_"} | values
        return values

    return read


@dataclass(frozen=True, eq=False)
class Line:
    """A form of line of one kind of layer, from which the schema, the reader and the writer of traces derive.

    A key has the type of the field of its name. It is required where the field has no default. The writer leaves out
    what the reader puts in place by itself.

    Attributes
    ----------
    key : str
        The key whose value is the name of the layer, such as ``conv``.
    description : str
        What the schema says of it.
    keys : str
        The keys in the order in which they are written; default: all fields of the class.
    sizes : str
        Keys that must be given where the layers that are read do not give them.
    source : str
        What gives the sizes, as an error says it.
    follows : str
        Keys that follow from others or from what is read where they are left out.
    needs : str
        Keys that are required although the field has a default.
    extra : mapping
        Default values of keys that are no field of the class.
    notes : mapping
        What the schema says of a key.
    read : callable
        The values of a line with what follows from the shapes of what the layer reads (none in a plain trace).
    settle : callable
        The values by field of the class, after `read`.
    write : callable
        The values that are written of a layer whatever the defaults, extra ones among them.
    row : callable
        The values by field of the class from a line of a table; without it a table has no such layers.
    columns : str
        Columns of a table that `row` reads.
    layer : type
        The class, which is put in place as the class is declared.
    """

    key: str
    description: str
    keys: str = ""
    sizes: str = ""
    source: str = "another layer"
    follows: str = ""
    needs: str = ""
    extra: Mapping[str, Any] = attribute(default_factory=dict)
    notes: Mapping[str, str] = attribute(default_factory=dict)
    read: Reader = lambda values, shapes: values
    settle: Callable[[Values], Values] = lambda values: values
    write: Callable[[Any, tuple[Shape, ...]], Values] = lambda layer, shapes: {}
    row: Callable[[Row], Values] | None = None
    columns: str = ""
    layer: Any = None

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The keys, but for the line's own and those of tensors."""
        own = [item.name for item in fields(self.layer) if item.name not in ("name", *TENSORS)]
        return tuple(self.keys.split()) or tuple(_KEYS.get(name, name) for name in own)

    @cached_property
    def types(self) -> Mapping[str, Any]:
        """The Python type of each key's field."""
        hints = get_type_hints(self.layer)
        return {key: type(self.extra[key]) if key in self.extra else hints[self.field(key)] for key in self.names}

    @cached_property
    def defaults(self) -> Mapping[str, Any]:
        """The default of each key that has one."""
        own = {_KEYS.get(item.name, item.name): item.default for item in fields(self.layer)}
        return {key: value for key, value in (own | dict(self.extra)).items() if value is not MISSING}

    @property
    def dtypes(self) -> Mapping[str, str]:
        """Formats that tensors of the kind have whatever the network computes in, as the indices of a look-up."""
        return {tensor: self.defaults[tensor] for tensor in TENSORS if self.defaults[tensor] != "int8"}

    @cached_property
    def inferred(self) -> frozenset[str]:
        """Keys that may be left out and have no constant as default."""
        none = (key for key, value in self.defaults.items() if value is None)
        return frozenset((*self.sizes.split(), *self.follows.split(), *none))

    @cached_property
    def required(self) -> frozenset[str]:
        """Keys that every line must have."""
        return frozenset(self.names) - self.inferred - self.defaults.keys() | frozenset(self.needs.split())

    def field(self, key: str) -> str:
        """The field of the class that a key gives."""
        name = _FIELDS.get(key, key)
        return name if name in self.layer.__dataclass_fields__ else key

    def is_default(self, key: str, value: object) -> bool:
        """Whether a line without the key has this value, whatever it reads."""
        if key in self.inferred | self.required:
            return False
        default = self.defaults[key]
        return value == default or (isinstance(value, tuple) and isinstance(default, int) and {*value} == {default})

    def choices(self, key: str) -> tuple[str, ...]:
        """The words that a key may be; none where it is no word, or may be any."""
        words: tuple[str, ...] = self.layer._names.get(self.field(key), ())
        return words

    def make(self, name: str, values: Values, shapes: tuple[Shape, ...]) -> Any:
        """The layer of a line that reads tensors of these shapes."""
        values = self.read(dict(values), shapes)
        if missing := [key for key in self.sizes.split() if key not in values]:
            shown = f"; what it reads is {shapes[0]}" if shapes else ""
            raise InputError(f"{', '.join(missing)} must be given, or read from {self.source}{shown}")
        return self.layer(name, **{self.field(key): value for key, value in self.settle(values).items()})


def lines_of(layer: object) -> list[Line]:
    """The lines that a layer may have."""
    return [line for line in LINES.values() if isinstance(layer, line.layer)]
