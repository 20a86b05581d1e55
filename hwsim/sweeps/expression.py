"""Conditions of sweeps: a small language of comparisons, read by hand; nothing is ever evaluated as Python.

::

    condition  = all { "or" all }                    all     = negation { "and" negation }
    negation   = "not" negation | comparison         comparison = sum { ("<"|"<="|">"|">="|"=="|"!=") sum }
    sum        = product { ("+" | "-") product }     product = factor { ("*" | "/") factor }
    factor     = "-" factor | number [unit] | 'word' | "true" | "false" | name | "(" condition ")"

A name is a parameter or a key of the machine (`array.rows`), or a column of the results (`latency_s`). A unit follows
its number: ``64 KiB``, ``8 B/cycle``. Only like is compared with like; the number beside a column may leave out its
unit, since the column's name has it.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from hwsim.errors import InputError, nearest
from hwsim.units import DIMENSIONS

__all__ = ["NUMBER", "WORD", "Expression", "Kind", "column_kind", "measure"]

MAX_LENGTH = 1000
MAX_DEPTH = 32

Powers = tuple[tuple[str, int], ...]
Env = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """What a value is: a number of some unit (powers of base units), a `word` or a `truth`; `loose`: of a column."""

    sort: str = "number"
    powers: Powers = ()
    loose: bool = False

    def __str__(self) -> str:
        if self.sort != "number":
            return f"a {self.sort}"
        parts = [name if power == 1 else f"{name}^{power}" for name, power in self.powers]
        return " ".join(parts) or "a plain number"


NUMBER, WORD, TRUTH = Kind(), Kind("word"), Kind("truth")

# A frequency is a number a second, so that cycles / clocks.core is a time.
_BASE: dict[str, Powers] = {name: ((name, 1),) for name in DIMENSIONS}
_BASE["frequency"] = (("time", -1),)
_UNITS = {unit: (name, scale) for name, kind in DIMENSIONS.items() for unit, scale in kind.units.items()}
_SUFFIXES = {"_per_s": "frequency", "_s": "time", "_pj": "energy", "_w": "power", "_bytes": "size", "_hz": "frequency",
    "_mm2": "area", "_usd": "money",
}  # fmt: skip

_NUMBER = r"(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,2})?"
_UNIT = r"[A-Za-zµ]+2?(?:/(?:s|cycle)\b)?"
_QUANTITY = re.compile(rf"\s*([+-]?{_NUMBER})\s*({_UNIT})\s*\Z")
_TOKEN = re.compile(
    rf"\s*(?:(?P<number>{_NUMBER})(?:\s*(?P<unit>(?!(?:and|or|not)\b){_UNIT}))?"
    r"|(?P<name>[A-Za-z_]\w*(?:\.\w+)*)|(?P<word>'[^']*'|\"[^\"]*\")|(?P<sign><=|>=|==|!=|[<>+\-*/()]))"
)
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip


def _unit(text: str) -> tuple[Powers, Fraction] | None:
    """Powers and scale of a unit, None where it is not one."""
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
    """The kind of a column of the results: its name ends in its unit."""
    if isinstance(sample, bool):
        return TRUTH
    if isinstance(sample, str):
        return WORD
    dimension = next((found for suffix, found in _SUFFIXES.items() if name.partition(".")[0].endswith(suffix)), None)
    return Kind(powers=_BASE[dimension] if dimension else (), loose=True)


@dataclass(frozen=True, slots=True)
class _Node:
    kind: Kind
    value: Callable[[Env], Any]


class Expression:
    """A condition, checked when it is read.

    Parameters
    ----------
    text : str
    kinds : mapping
        The kind of each name that may be used.

    Raises
    ------
    InputError
        If the text is not a condition, names something unknown, or compares unlike things.
    """

    def __init__(self, text: str, kinds: Mapping[str, Kind]) -> None:
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"a condition must be text such as 'array.rows <= 16', not {text!r:.60}")
        if len(text) > MAX_LENGTH:
            raise InputError(f"a condition must be at most {MAX_LENGTH} characters long, not {len(text)}")
        self.text = text
        self.names: set[str] = set()
        self._kinds = kinds
        self._tokens = list(self._scan())
        self._next = self._depth = 0
        root = self._either()
        if self._next < len(self._tokens):
            raise self._fault(f"must end or go on with an operator before {self._tokens[self._next][1]!r}")
        if root.kind.sort != "truth":
            raise self._fault("must be true or false, as a comparison is")
        self._root = root

    def __call__(self, values: Env) -> bool:
        """Whether it holds for the values of the names; raises InputError where it divides by zero."""
        try:
            return bool(self._root.value(values))
        except ZeroDivisionError:
            raise self._fault("divides by zero") from None
        except OverflowError:
            raise self._fault("has a value that is too large") from None

    def __reduce__(self) -> tuple[Any, ...]:
        return Expression, (self.text, {name: self._kinds[name] for name in self.names})

    def _fault(self, message: str) -> InputError:
        return InputError(f"condition {self.text!r:.200} {message}")

    def _scan(self) -> Iterable[tuple[str, str, str]]:
        place = 0
        while self.text[place:].strip():
            match = _TOKEN.match(self.text, place)
            if match is None:
                raise self._fault(
                    f"must be made of comparisons, and, or, not, + - * /, numbers with units and names, "
                    f"not {self.text[place:].strip()[:20]!r}"
                )
            group = next(name for name in ("number", "name", "word", "sign") if match[name] is not None)
            yield group, match[group], match["unit"] or ""
            place = match.end()

    def _take(self, *wanted: str) -> str | None:
        """The next token, if it is one of those wanted."""
        if self._next < len(self._tokens):
            group, text, _ = self._tokens[self._next]
            if group in ("sign", "name") and text in wanted:
                self._next += 1
                return text
        return None

    def _either(self) -> _Node:
        return self._joined("or", lambda: self._joined("and", self._negation))

    def _joined(self, word: str, part: Callable[[], _Node]) -> _Node:
        parts = [part()]
        while self._take(word):
            parts.append(part())
        if len(parts) == 1:
            return parts[0]
        for node in parts:
            self._want_truth(node, word)
        functions = [node.value for node in parts]
        many = any if word == "or" else all
        return _Node(TRUTH, lambda env: many(function(env) for function in functions))

    def _want_truth(self, node: _Node, word: str) -> None:
        if node.kind.sort != "truth":
            raise self._fault(f"must have comparisons beside {word!r}, not {node.kind}")

    def _negation(self) -> _Node:
        negations = 0
        while self._take("not"):
            negations += 1
        node = self._comparison()
        if negations:
            self._want_truth(node, "not")
        inner = node.value
        return node if negations % 2 == 0 else _Node(TRUTH, lambda env: not inner(env))

    def _comparison(self) -> _Node:
        left = self._sum()
        checks = []
        while sign := self._take(*_COMPARE):
            right = self._sum()
            self._want_alike(left.kind, right.kind, sign)
            checks.append((left.value, _COMPARE[sign], right.value))
            left = right
        if not checks:
            return left
        return _Node(TRUTH, lambda env: all(compare(a(env), b(env)) for a, compare, b in checks))

    def _want_alike(self, a: Kind, b: Kind, sign: str) -> None:
        free = (a.loose and not b.powers) or (b.loose and not a.powers)
        if a.sort != b.sort or (a.powers != b.powers and not free):
            raise self._fault(f"must not put {a} beside {b} with {sign!r}; is a unit missing?")
        if a.sort != "number" and sign not in ("==", "!="):
            raise self._fault(f"must not order {a} with {sign!r}")

    def _sum(self) -> _Node:
        left = self._product()
        while sign := self._take("+", "-"):
            right = self._product()
            self._want_alike(left.kind, right.kind, sign)
            self._want_numbers(left, right, sign)
            kind = left.kind if left.kind.powers else right.kind
            left = _Node(kind, _combined(operator.add if sign == "+" else operator.sub, left, right))
        return left

    def _product(self) -> _Node:
        left = self._factor()
        while sign := self._take("*", "/"):
            right = self._factor()
            self._want_numbers(left, right, sign)
            powers = dict(left.kind.powers)
            for name, power in right.kind.powers:
                powers[name] = powers.get(name, 0) + (power if sign == "*" else -power)
            kept = tuple(sorted((name, power) for name, power in powers.items() if power))
            kind = Kind(powers=kept, loose=left.kind.loose or right.kind.loose)
            left = _Node(kind, _combined(operator.mul if sign == "*" else operator.truediv, left, right))
        return left

    def _want_numbers(self, left: _Node, right: _Node, sign: str) -> None:
        for node in (left, right):
            if node.kind.sort != "number":
                raise self._fault(f"must have numbers beside {sign!r}, not {node.kind}")

    def _factor(self) -> _Node:
        minus = False
        while self._take("-"):
            minus = not minus
        node = self._atom()
        if minus:
            self._want_numbers(node, node, "-")
            inner = node.value
            return _Node(node.kind, lambda env: -inner(env))
        return node

    def _atom(self) -> _Node:
        if self._take("("):
            self._depth += 1
            if self._depth > MAX_DEPTH:
                raise self._fault(f"must be nested at most {MAX_DEPTH} deep")
            node = self._either()
            if not self._take(")"):
                raise self._fault("must close each '(' with a ')'")
            self._depth -= 1
            return node
        if self._next >= len(self._tokens):
            raise self._fault("must go on: a number, a name or '(' is missing at its end")
        group, text, unit = self._tokens[self._next]
        self._next += 1
        if group == "number":
            return self._number(text, unit)
        if group == "word":
            word = text[1:-1]
            return _Node(WORD, lambda _: word)
        if group == "name" and text not in ("and", "or", "not"):
            return self._name(text)
        raise self._fault(f"must have a number, a name or '(' where it has {text!r}")

    def _number(self, text: str, unit: str) -> _Node:
        value = Fraction(text)
        exact: int | Fraction = int(value) if value.denominator == 1 else value
        if not unit:
            return _Node(NUMBER, lambda _: exact)
        found = _unit(unit)
        if found is None:
            raise self._fault(f"must have a unit after {text}, not {unit!r}{nearest(unit, _UNITS)}")
        scaled = exact * found[1]
        return _Node(Kind(powers=found[0]), lambda _: scaled)

    def _name(self, name: str) -> _Node:
        if name in ("true", "false"):
            return _Node(TRUTH, lambda _: name == "true")
        if name not in self._kinds:
            raise self._fault(f"must name what is known, not {name!r}{nearest(name, self._kinds)}")
        self.names.add(name)
        return _Node(self._kinds[name], lambda env: env[name])


def _combined(join: Callable[[Any, Any], Any], left: _Node, right: _Node) -> Callable[[Env], Any]:
    a, b = left.value, right.value
    return lambda env: join(a(env), b(env))
