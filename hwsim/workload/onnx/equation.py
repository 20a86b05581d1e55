"""The equation of an Einsum: the axes of its operands and of its result."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from hwsim.errors import InputError, excerpt
from hwsim.workload.layer import Shape

__all__ = ["Label", "axes_of"]

#: An axis: a letter, or of an ellipsis its place from the last as a negative number.
Label = str
_EQUATION = re.compile(r"[A-Za-z,. ]*(?:->[A-Za-z. ]*)?\Z")


def axes_of(equation: str, shapes: Sequence[Shape]) -> tuple[list[list[Label]], list[Label], dict[Label, int]]:
    """The axes of each operand and of the result, and the size of each axis."""
    if not _EQUATION.match(equation):
        raise InputError(f"equation must be of letters, commas and an arrow, not {excerpt(equation)}")
    left, arrow, right = equation.replace(" ", "").partition("->")
    texts = left.split(",")
    if len(texts) != len(shapes):
        raise InputError(f"equation must have {len(shapes)} operands, not {excerpt(equation)}")
    sizes: dict[Label, int] = {}
    terms, letters = [], Counter[str]()
    for text, shape in zip(texts, shapes):
        before, dots, after = text.partition("...")
        free = len(shape) - len(before) - len(after)
        if free < 0 or (free and not dots) or "." in before + after:
            raise InputError(f"equation must name the {len(shape)} axes of an operand, not {excerpt(text)}")
        labels = [*before, *(f"-{place}" for place in range(free, 0, -1)), *after]
        letters.update(before + after)
        for label, size in zip(labels, shape):
            other = sizes.setdefault(label, size)
            if 1 not in (size, other) and size != other:
                raise InputError(f"equation must give an axis one size, not {other} and {size}")
            sizes[label] = max(size, other)
        terms.append(labels)
    dotted = sorted((label for label in sizes if label.startswith("-")), key=int)
    if not arrow:
        return terms, [*dotted, *sorted(letter for letter, count in letters.items() if count == 1)], sizes
    before, dots, after = right.partition("...")
    result = [*before, *(dotted if dots else ()), *after]
    if len({*result}) < len(result) or any(label not in sizes for label in result):
        raise InputError(f"equation must have each axis of its result once, and in an operand, not {excerpt(right)}")
    return terms, result, sizes
