"""Machines from the .cfg files of SCALE-Sim: array, buffers, dataflow and bandwidth over a systolic array of ours."""

from __future__ import annotations

import configparser
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from hwsim.errors import Fault, HwsimWarning, InputError, excerpt, nearest
from hwsim.files import read_text
from hwsim.message import Message, sentence
from hwsim.yaml_source import Document

__all__ = ["cfg_text", "read_cfg"]

_ARRAY = "architecture_presets"
_BUFFERS = {"ifmap": "ifmapsramszkb", "weight": "filtersramszkb", "ofmap": "ofmapsramszkb"}
#: Names of version 1, whose files say nothing of bandwidths.
_OLD = {key: key.removesuffix("kb") for key in _BUFFERS.values()}
_READ = {
    "general": {"run_name"},
    _ARRAY: {"arrayheight", "arraywidth", "dataflow", "bandwidth", *_BUFFERS.values(), *_OLD.values()},
    "run_presets": {"interfacebandwidth"},
}
_NO_STALL = 10**6
"""Words a cycle of a DRAM that no array waits for."""


class _Config:
    """The sections and keys of a file."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        text = read_text(path)
        self._lines = text.splitlines()
        self._parser = configparser.ConfigParser(interpolation=None, default_section="")
        try:
            self._parser.read_string(text, self.name)
        except configparser.Error as error:
            line = getattr(error, "lineno", None) or next(iter(getattr(error, "errors", [])), (None,))[0]
            place = self.name if line is None else f"{self.name}:{line}"
            what = str(error).partition("\n")[0].replace(f"'{self.name}'", "the file")
            raise InputError(f"must be a .cfg of SCALE-Sim: {what}", place) from None

    def where(self, section: str, key: str = "") -> str:
        """``file:line`` of a key, or of its section, or the file."""
        here, section_line = "", 0
        for number, line in enumerate(self._lines, 1):
            if match := re.match(r"\s*\[(.*)\]", line):
                here = match[1]
                section_line = number if here == section else section_line
            elif here == section and key and re.match(rf"\s*{re.escape(key)}\s*[:=]", line, re.IGNORECASE):
                return f"{self.name}:{number}"
        return f"{self.name}:{section_line}" if section_line else self.name

    def text(self, section: str, key: str) -> str:
        """A value; raises InputError where there is none."""
        keys = self.keys(section)
        if not keys.get(key):
            raise InputError(f"[{section}] must give {key}{nearest(key, keys)}", self.where(section))
        return keys[key].strip().strip("\"'") or "_"

    def keys(self, section: str) -> dict[str, str]:
        """The keys of a section; none if it is missing."""
        return dict(self._parser.items(section)) if self._parser.has_section(section) else {}

    def integer(self, section: str, key: str) -> int:
        """A positive integer."""
        keys = self.keys(section)
        key = key if key in keys or _OLD.get(key) not in keys else _OLD[key]
        text = self.text(section, key)
        if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) == 0:
            raise InputError(f"must be a positive integer, not {excerpt(text)}", self.where(section, key), key)
        return int(text)

    def word(self, section: str, key: str, valid: Mapping[str, Any] | tuple[str, ...]) -> str:
        """One of the valid words."""
        text = self.text(section, key)
        word = next((word for word in valid if word.lower() == text.lower()), None)
        if word is None:
            raise InputError(f"must be one of {', '.join(valid)}, not {excerpt(text)}", self.where(section, key), key)
        return word

    def unread(self) -> list[str]:
        """Sections and keys that no machine of ours has."""
        left = []
        for section in self._parser.sections():
            keys = [key for key in self._parser.options(section) if key not in _READ.get(section, ())]
            left += keys if section in _READ else [f"[{section}]"]
        return left


def read_cfg(path: Path) -> Document:
    """The machine that a .cfg file describes, as keys laid over ``systolic_ws``, ``systolic_os`` or ``systolic_is``.

    A buffer of so many kB has as many KiB. With InterfaceBandwidth USER each operand has `Bandwidth` words a cycle of
    its own, and DRAM the sum of the three; with CALC, DRAM has what the array asks for.

    Raises
    ------
    InputError
        With the place of what is wrong.
    """
    config = _Config(path)
    faults: list[Fault] = []

    def get(method: Any, *args: Any) -> Any:
        try:
            return method(*args)
        except InputError as error:
            faults.extend(error.faults)
            return None

    rows, cols = (get(config.integer, _ARRAY, key) for key in ("arrayheight", "arraywidth"))
    buffers = {tensor: get(config.integer, _ARRAY, key) for tensor, key in _BUFFERS.items()}
    flow = get(config.word, _ARRAY, "dataflow", ("ws", "os", "is"))
    old = set(_OLD.values()) <= set(config.keys(_ARRAY)) and not config.keys("run_presets")
    mode = "CALC" if old else get(config.word, "run_presets", "interfacebandwidth", ("USER", "CALC"))
    bandwidth, source = _NO_STALL, "InterfaceBandwidth CALC: no stall is counted"
    if mode == "USER":
        bandwidth, source = get(_bandwidth, config) or (1, "")
    name = get(config.text, "general", "run_name")
    if faults:
        raise InputError(faults)
    if left := config.unread():
        message = Message("scalesim.unread", "not modeled, and without effect: {keys}", {"keys": left}, "warning")
        warnings.warn(f"{path}: {sentence(message)}", HwsimWarning, stacklevel=2)
    data = {
        "base": f"systolic_{flow}",
        "name": re.sub(r"\W", "_", name, flags=re.ASCII),
        "description": f"{rows}x{cols} systolic array; clock, prices and area as of systolic_{flow}",
        "source": f"{path.name} of SCALE-Sim",
        "array": {"rows": rows, "cols": cols},
        "memories": {
            "dram": {"bandwidth": f"{bandwidth} words/cycle", "source": source},
            "sram": {
                "split": {tensor: f"{size} KiB" for tensor, size in buffers.items()},
                "source": f"[{_ARRAY}] of {path.name}",
            },
        },
    }
    return Document(str(path), data, {(): str(path)})


def cfg_text(path: Path, name: str = "") -> str:
    """The machine of a .cfg file as the text of a machine file."""
    data = read_cfg(path).data | ({"name": name} if name else {})
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=110)


def _bandwidth(config: _Config) -> tuple[int, str]:
    """Words a cycle of the three operands together, and how they come about."""
    text = config.text(_ARRAY, "bandwidth")
    words = [part.strip() for part in text.split(",")]
    if len(words) not in (1, 3) or not all(re.fullmatch(r"[0-9]{1,9}", word) and int(word) for word in words):
        where = config.where(_ARRAY, "bandwidth")
        raise InputError(
            f"must be one positive integer, or one for each operand, not {excerpt(text)}", where, "bandwidth"
        )
    each = [int(word) for word in words] * (3 // len(words))
    return sum(each), f"Bandwidth {text}: {', '.join(map(str, each))} words a cycle of ifmap, weight and ofmap"
