"""Cost tables: what one operation or one access costs, each entry with its source.

A table is a YAML file. It holds named prices, and points of an SRAM curve (bits of a memory, energy of a 64-bit read)
from which the price of a memory of another size is interpolated on log-log axes.
"""

from __future__ import annotations

import math
from functools import cache, lru_cache
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Annotated

from pydantic import Field

from hwsim.energy.scaling import scale_energy
from hwsim.errors import HwsimError, InputError, nearest
from hwsim.fields import Energy, Length, Name, Positive, Size, Spec, Voltage, check
from hwsim.plug_ins import plug_ins
from hwsim.yaml_source import read_yaml

__all__ = ["CostTable", "Entry", "SramPoint", "load_table", "plug_in_tables", "table_names"]

_TABLES = Path(__file__).parent / "tables"


class Entry(Spec):
    """The price of one named operation or access of `bits` bits; one `off_chip` does not scale with the node."""

    energy: Energy
    bits: Annotated[int, Field(gt=0, le=65536)] | None = None
    off_chip: bool = False
    source: str
    fitted: str | None = None


class SramPoint(Spec):
    """The energy of reading one word of `width` bits from an SRAM of `size` bytes."""

    size: Size
    width: Positive
    read: Energy
    source: str


class CostTable(Spec):
    """A table of prices at one technology node and voltage."""

    name: Name
    source: str
    node: Length
    voltage: Voltage
    note: str | None = None
    entries: dict[str, Entry]
    sram: list[SramPoint] = []

    @property
    def node_nm(self) -> float:
        """Technology node in nanometers."""
        return float(self.node * 10**9)

    def entry(self, name: str) -> Entry:
        """A named entry; raises HwsimError with the nearest name."""
        if name not in self.entries:
            raise HwsimError(f"cost table {self.name!r} has no entry {name!r}{nearest(name, self.entries)}")
        return self.entries[name]

    def sram_read(self, size_bytes: float, width_bits: int) -> float:
        """Energy in pJ of reading `width_bits` from an SRAM of `size_bytes`.

        The energy for a bit is interpolated linearly between the table's points on log-log axes (size against energy),
        and carried on with the outer slope beyond them; it is proportional to the width.
        """
        points = sorted((float(p.size), float(p.read) / p.width) for p in self.sram)
        if len(points) < 2:
            raise HwsimError(f"cost table {self.name!r} has fewer than two SRAM points to interpolate between")
        logs = [(math.log(size), math.log(energy)) for size, energy in points]
        x = math.log(size_bytes)
        above = next((i for i in range(1, len(logs) - 1) if x <= logs[i][0]), len(logs) - 1)
        (x0, y0), (x1, y1) = logs[above - 1], logs[above]
        return math.exp(y0 + (x - x0) * (y1 - y0) / (x1 - x0)) * width_bits

    def outside(self, size_bytes: float) -> tuple[int, int] | None:
        """The smallest and the largest SRAM of the table in bytes, if a size is not between them."""
        sizes = [int(point.size) for point in self.sram]
        return None if min(sizes) <= size_bytes <= max(sizes) else (min(sizes), max(sizes))

    def at(self, energy: float, node_nm: float, voltage: float) -> float:
        """Carry an energy of this table to another node and voltage (Stillmaker and Baas 2017)."""
        return scale_energy(energy, (self.node_nm, float(self.voltage)), (node_nm, voltage))


def _own_tables() -> dict[str, Path]:
    return {path.stem: path for path in _TABLES.glob("*.yaml")}


@cache
def plug_in_tables() -> dict[str, Path]:
    """Files of the tables of the entry-point group ``hwsim.tables`` by name; what cannot be read is a warning."""

    def checked(point: EntryPoint, file: Path | str) -> Path:
        path = Path(file)
        if point.name in _own_tables():
            raise ValueError("hwsim has a table of this name")
        _load(path)  # a file that is no table would stop every list
        return path

    return plug_ins("hwsim.tables", "table", checked)


@cache
def table_names() -> tuple[str, ...]:
    """Names of the tables that come with hwsim and with plug-ins."""
    return tuple(sorted({*_own_tables(), *plug_in_tables()}))


@lru_cache(maxsize=64)
def _load(path: Path) -> CostTable:
    return check(CostTable, read_yaml(path))


def load_table(name: str, beside: Path | None = None) -> CostTable:
    """Load a table by name, or by path (relative to `beside`, the folder of the file that names it)."""
    if name.endswith((".yaml", ".yml")):
        return _load((beside or Path()) / name)
    own = _own_tables()
    path = own[name] if name in own else plug_in_tables().get(name)
    if path is None:
        raise InputError(f"no cost table is called {name!r}{nearest(name, table_names())}")
    return _load(path)
