"""Conditions of sweeps: a small language of comparisons between quantities with units.

::

    condition  = all { "or" all }                    all     = negation { "and" negation }
    negation   = "not" negation | comparison         comparison = sum { ("<"|"<="|">"|">="|"=="|"!=") sum }
    sum        = product { ("+" | "-") product }     product = factor { ("*" | "/") factor }
    factor     = "-" factor | number [unit] | 'word' | "true" | "false" | name | "(" condition ")"

A name is a parameter or a key of the machine (`array.rows`), or a column of the results (`latency_s`). A unit follows
its number: ``64 KiB``, ``8 B/cycle``. Both sides of a comparison must have the same unit; a number compared with a
column may omit it, since the column's name has it.

The condition is translated to a Python expression with a variable per operand. Numbers, units, words and names are
parsed here, and the kinds of the operands are checked here.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

from hwsim.errors import InputError, excerpt, nearest
from hwsim.units import DIMENSIONS, column_unit

__all__ = ["NUMBER", "WORD", "Expression", "Kind", "column_kind", "measure"]

MAX_LENGTH = 1000
MAX_DEPTH = 32

Powers = tuple[tuple[str, int], ...]
Env = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """Kind of a value: a number with a unit (powers of base units), a `word` or a `truth`; `loose`: a column."""

    sort: str = "number"
    powers: Powers = ()
    loose: bool = False

    def __str__(self) -> str:
        if self.sort != "number":
            return f"a {self.sort}"
        parts = [name if power == 1 else f"{name}^{power}" for name, power in self.powers]
        return " ".join(parts) or "a plain number"


NUMBER, WORD, TRUTH = Kind(), Kind("word"), Kind("truth")

# A frequency is 1 / time, so that cycles / clocks.core is a time.
_BASE: dict[str, Powers] = {name: ((name, 1),) for name in DIMENSIONS}
_BASE["frequency"] = (("time", -1),)
_UNITS = {unit: (name, scale) for name, kind in DIMENSIONS.items() for unit, scale in kind.units.items()}

_NUMBER = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2})?"
_UNIT = r"[A-Za-zµ]+2?(?:/(?:s|cycle)\b)?"
_QUANTITY = re.compile(rf"\s*([+-]?{_NUMBER})\s*({_UNIT})\s*\Z")
_TOKEN = re.compile(
    rf"\s*(?:(?P<number>{_NUMBER})(?:\s*(?P<unit>(?!(?:and|or|not)\b){_UNIT}))?"
    r"|(?P<name>[A-Za-z_]\w*(?:\.\w+)*)|(?P<word>'[^']*'|\"[^\"]*\")|(?P<sign><=|>=|==|!=|[<>+\-*/()]))"
)
_SIGNS: dict[type[ast.AST], str] = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=", ast.Add: "+", ast.Sub: "-",
    ast.Mult: "*", ast.Div: "/", ast.USub: "-", ast.Not: "not", ast.And: "and", ast.Or: "or",
}  # fmt: skip
_AFTER_OPERAND = {*_SIGNS.values(), ")"} - {"not"}
_BEFORE_NOT = {"(", "and", "or", "not"}


def _unit(text: str) -> tuple[Powers, Fraction] | None:
    """Powers and scale of a unit; None if it is not one."""
    unit, slash, per = text.partition("/")
    if slash and unit in ("word", "words"):
        powers, scale = {"words": 1}, Fraction(1)
    elif unit in _UNITS:
        name, scale = _UNITS[unit]
        powers = dict(_BASE[name])
    else:
        return None
    if slash:
        key = "time" if per == "s" else per
        powers[key] = powers.get(key, 0) - 1
    return tuple(sorted((k, p) for k, p in powers.items() if p)), scale


def measure(value: object) -> tuple[Any, Kind]:
    """A value of a YAML file as a number in base units, a truth or a word, with its kind."""
    if isinstance(value, bool):
        return value, TRUTH
    if isinstance(value, (int, float, Fraction)):
        return value, NUMBER
    text = str(value)
    match = _QUANTITY.match(text) if len(text) < 100 else None
    unit = _unit(match[2]) if match else None
    if match and unit is not None:
        return Fraction(match[1]) * unit[1], Kind(powers=unit[0])
    return text, WORD


def column_kind(name: str, sample: object = 0.0) -> Kind:
    """The kind of a column of the results, from the unit suffix of its name."""
    if isinstance(sample, bool):
        return TRUTH
    if isinstance(sample, str):
        return WORD
    unit = column_unit(name)
    powers = (power for dimension in unit.dimensions for power in _BASE[dimension]) if unit else ()
    return Kind(powers=tuple(sorted(powers)), loose=True)


class Expression:
    """A condition, checked at construction.

    Parameters
    ----------
    text : str
    kinds : mapping
        The kind of each valid name.

    Raises
    ------
    InputError
        If the text is not a condition, has an unknown name, or compares different units.
    """

    def __init__(self, text: str, kinds: Mapping[str, Kind]) -> None:
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"a condition must be text such as 'array.rows <= 16', not {excerpt(text)}")
        if len(text) > MAX_LENGTH:
            raise InputError(f"a condition must be at most {MAX_LENGTH} characters long, not {len(text)}")
        self.text = text
        self._kinds = kinds
        self._names: dict[str, str] = {}  # by variable, as the values and the kinds of operands are
        self._values: dict[str, Any] = {}
        self._operands: dict[str, Kind] = {}
        tree = ast.parse(self._skeleton(list(self._tokens())), mode="eval")
        if self._kind(tree.body).sort != "truth":
            raise self._fault("must be true or false, as a comparison is")
        self._code = compile(tree, "condition", "eval")

    @property
    def names(self) -> set[str]:
        """The names in the condition."""
        return set(self._names.values())

    def __call__(self, values: Env) -> bool:
        """Whether the condition holds for these values; raises InputError for a division by zero."""
        operands = {variable: values[name] for variable, name in self._names.items()}
        try:
            return bool(eval(self._code, {"__builtins__": {}}, self._values | operands))
        except ZeroDivisionError:
            raise self._fault("divides by zero") from None
        except OverflowError:
            raise self._fault("has a value that is too large") from None

    def __reduce__(self) -> tuple[Any, ...]:
        return Expression, (self.text, {name: self._kinds[name] for name in self.names})

    def _fault(self, message: str) -> InputError:
        return InputError(f"condition {excerpt(self.text, 200)} {message}")

    def _tokens(self) -> Iterator[re.Match[str]]:
        place = 0
        while rest := self.text[place:].strip():
            match = _TOKEN.match(self.text, place)
            if match is None:
                raise self._fault(
                    f"must be made of comparisons, and, or, not, + - * /, numbers with units and names, "
                    f"not {rest[:20]!r}"
                )
            yield match
            place = match.end()

    def _skeleton(self, tokens: list[re.Match[str]]) -> str:
        """The condition as a well-formed Python expression of operators, brackets and one variable per operand."""
        symbols: list[str] = []
        before, depth = "(", 0  # the operator or bracket before a token; empty after an operand
        for match in tokens:
            token = match["number"] or match["name"] or match["word"] or match["sign"]
            sign = token if match["sign"] or token in ("and", "or", "not") else ""
            if before:
                if sign not in ("", "(", "-") and not (sign == "not" and before in _BEFORE_NOT):
                    raise self._fault(f"must have a number, a name or '(' where it has {token!r}")
            elif sign not in _AFTER_OPERAND or (sign == ")" and not depth):
                raise self._fault(f"must end or go on with an operator before {token!r}")
            depth += (sign == "(") - (sign == ")")
            if depth > MAX_DEPTH:
                raise self._fault(f"must be nested at most {MAX_DEPTH} deep")
            if sign in ("-", "not") and symbols[-2:] == [sign, sign]:
                symbols.pop()  # two of three in a row cancel, so the tree stays flat
            else:
                symbols.append(sign or self._variable(match))
            before = "" if sign == ")" else sign
        if before:
            raise self._fault("must go on: a number, a name or '(' is missing at its end")
        if depth:
            raise self._fault("must close each '(' with a ')'")
        return " ".join(symbols)

    def _variable(self, match: re.Match[str]) -> str:
        """The variable for a number, a word, a truth or a name."""
        variable, name = f"_{len(self._operands)}", match["name"]
        if match["word"]:
            kind, self._values[variable] = WORD, match["word"][1:-1]
        elif match["number"]:
            kind, self._values[variable] = self._quantity(match["number"], match["unit"] or "")
        elif name in ("true", "false"):
            kind, self._values[variable] = TRUTH, name == "true"
        elif name in self._kinds:
            kind, self._names[variable] = self._kinds[name], name
        else:
            raise self._fault(f"must use a known name, not {name!r}{nearest(name, self._kinds)}")
        self._operands[variable] = kind
        return variable

    def _quantity(self, number: str, unit: str) -> tuple[Kind, int | Fraction]:
        value = Fraction(number)
        exact: int | Fraction = int(value) if value.denominator == 1 else value
        if not unit:
            return NUMBER, exact
        scale = _unit(unit)
        if scale is None:
            raise self._fault(f"must have a unit after {number}, not {unit!r}{nearest(unit, _UNITS)}")
        return Kind(powers=scale[0]), exact * scale[1]

    def _kind(self, tree: ast.expr) -> Kind:
        """The kind of a subexpression; checks the kinds of its operands."""
        match tree:
            case ast.Name():
                return self._operands[tree.id]
            case ast.BoolOp():
                for value in tree.values:
                    self._require("truth", self._kind(value), _SIGNS[type(tree.op)])
                return TRUTH
            case ast.UnaryOp():
                sign = _SIGNS[type(tree.op)]
                return self._require("truth" if sign == "not" else "number", self._kind(tree.operand), sign)
            case ast.Compare():
                kinds = [self._kind(part) for part in (tree.left, *tree.comparators)]
                for op, (left, right) in zip(tree.ops, pairwise(kinds)):
                    self._require_same_unit(left, right, _SIGNS[type(op)])
                return TRUTH
        rest = []
        while isinstance(tree, ast.BinOp):  # no recursion: a long sum is a deep tree
            rest.append((_SIGNS[type(tree.op)], tree.right))
            tree = tree.left
        kind = self._kind(tree)
        for sign, part in reversed(rest):
            kind = self._combine(kind, sign, self._kind(part))
        return kind

    def _combine(self, left: Kind, sign: str, right: Kind) -> Kind:
        if sign in ("+", "-"):
            self._require_same_unit(left, right, sign)
        for kind in (left, right):
            self._require("number", kind, sign)
        if sign in ("+", "-"):
            return left if left.powers else right
        powers = dict(left.powers)
        for name, power in right.powers:
            powers[name] = powers.get(name, 0) + (power if sign == "*" else -power)
        rest = tuple(sorted((name, power) for name, power in powers.items() if power))
        return Kind(powers=rest, loose=left.loose or right.loose)

    def _require(self, sort: str, kind: Kind, sign: str) -> Kind:
        if kind.sort != sort:
            what = "comparisons" if sort == "truth" else "numbers"
            raise self._fault(f"must have {what} beside {sign!r}, not {kind}")
        return kind

    def _require_same_unit(self, a: Kind, b: Kind, sign: str) -> None:
        free = (a.loose and not b.powers) or (b.loose and not a.powers)
        if a.sort != b.sort or (a.powers != b.powers and not free):
            raise self._fault(f"must not put {a} beside {b} with {sign!r}; is a unit missing?")
        if a.sort != "number" and sign not in ("==", "!="):
            raise self._fault(f"must not order {a} with {sign!r}")
