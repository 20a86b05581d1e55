"""Changes of text and bytes, small enough that most of a file stays what it was."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random

NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:[eE]-?\d+)?")
VALUE = re.compile(r"(?<=: )[^,{}\[\]\n]+")
KEY = re.compile(r"\b[a-z_]+(?=:)")

VALUES = (
    "0", "-0", "1", "-1", "2", "3", "7", "127", "255", "256", "65535", "65537", "2147483647", "2147483648", "4294967296",
    "1099511627776", "9223372036854775807", "9223372036854775808", "1e18", "1e308", "1e-308", "1e-320", "1e309", ".inf",
    ".nan", "-.inf", "0.0", "0.1", "0.5", "1.0", "0.9999999999999999", "1e-9", "１２", "²", "0x10", "1_000", "010", "9" * 38,
    "true", "false", "null", "~", '""', "''", "[]", "{}", "[1]", "[0, 0]", "[1, 2, 3]", "{a: 1}", "x", "int8", "int4",
    "binary", "ternary", "fp32", "fp64", "bf16", "same", '"2:4"', "unknown", '"\\0"', '"\\e[31m"', '"[/]"', '"[red]x"',
    '"<script>"', '"\\u202e"', "$k", "$zz", '!!python/object/apply:os.system ["id"]', "&a 1", "*a", "? x", "- 1", "2 MHz",
    "1e-300 Hz", "1e-30 s", "0 pJ", "0 s", "0 W", "1e300 J", "1 TiB", "1e20 B", "1 B", "0.1 B", "1e-9 B", "1 bit",
    "1 B/cycle", "1e-9 B/s", "1e17 B/s", "1 words/cycle", "1e-9 words/cycle", "0.5 B/cycle", "1 USD", "3 nm", "1e-9 V",
    "1e3 V", "1000000 nm", "=1+1", "../../../etc/passwd", "/dev/zero", "/dev/stdin", ".", "a" * 300,
)  # fmt: skip
CHARACTERS = "\t\n:{}[]\"'#\0\x1b\u2028é😀\ud800- %@`|>\ufeff\x85\u202e*&!?,"
FACTORS = (0, -1, 1e-30, 1e-12, 1e-6, 1e-3, 0.5, 2, 10, 1000, 1e6, 1e9, 1e12, 1e30, 1e200)
COUNTS = (1, 1, 1, 2, 2, 3, 5)
WORDS = tuple(
    number.to_bytes(4, "little") for number in (0, 1, 2, 3, 255, 2**16, 2**20, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
)


def _scaled(draw: Random, text: str) -> str:
    value = float(text) * draw.choice(FACTORS)
    return str(int(value)) if abs(value) < 1e15 and value == int(value) else repr(value)


def _replaced(draw: Random, pattern: re.Pattern[str], text: str, new: Callable[[str], str]) -> str:
    places = list(pattern.finditer(text))
    if not places:
        return text
    place = draw.choice(places)
    return text[: place.start()] + new(place.group()) + text[place.end() :]


def mutated(draw: Random, text: str, pool: Sequence[str]) -> str:
    """A text of YAML with a few changes: of numbers, values, keys, lines and characters; some are from other texts."""
    for _ in range(draw.choice(COUNTS)):
        chance = draw.random()
        if chance < 0.36:
            text = _replaced(draw, NUMBER, text, lambda old: _scaled(draw, old))
        elif chance < 0.56:
            text = _replaced(draw, VALUE, text, lambda _: draw.choice(VALUES))
        elif chance < 0.63:
            text = _replaced(draw, NUMBER, text, lambda _: draw.choice(VALUES))
        elif chance < 0.70:
            text = _replaced(draw, KEY, text, lambda old: draw.choice(KEY.findall(draw.choice(pool)) or [old]))
        elif chance < 0.76:
            text = _replaced(draw, VALUE, text, lambda old: draw.choice(VALUE.findall(draw.choice(pool)) or [old]))
        elif chance < 0.94:
            text = _other_lines(draw, text, pool)
        elif text:
            place = draw.randrange(len(text))
            text = text[:place] + draw.choice(CHARACTERS) + text[place + (draw.random() < 0.5) :]
    return text


def _other_lines(draw: Random, text: str, pool: Sequence[str]) -> str:
    lines = text.split("\n")
    place, other = draw.randrange(len(lines)), draw.randrange(len(lines))
    way = draw.randrange(4)
    if way == 0:
        lines.pop(place)
    elif way == 1:
        lines.insert(other, lines[place])
    elif way == 2:
        lines[place], lines[other] = lines[other], lines[place]
    else:
        lines.insert(place, draw.choice(draw.choice(pool).split("\n")))
    return "\n".join(lines)


def encoded(text: str) -> bytes:
    """The bytes of a text, which may have half a character."""
    return text.encode("utf-8", "surrogatepass")


def mutated_bytes(draw: Random, data: bytes, places: Sequence[int] = ()) -> bytes:
    """Bytes with a few changes, at or near some places if they are given."""
    result = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 3, 6, 16))):
        if not result:
            break
        place = draw.choice(places) + draw.randrange(32) if places else draw.randrange(len(result))
        place = min(place, len(result) - 1)
        way = draw.random()
        if way < 0.3:
            result[place] = draw.randrange(256)
        elif way < 0.55:
            result[place] ^= 1 << draw.randrange(8)
        elif way < 0.85:
            place &= ~3
            result[place : place + 4] = draw.choice((*WORDS, draw.randrange(2**20).to_bytes(4, "little")))
        elif way < 0.9:
            source = draw.randrange(len(result))
            count = draw.randrange(1, 64)
            result[place : place + count] = result[source : source + count]
        elif way < 0.95:
            del result[place : place + draw.randrange(1, 16)]
        else:
            del result[place:]
    return bytes(result)
