"""Prices of a machine's actions, and the energy of what was counted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hwsim.energy.scaling import neighbors
from hwsim.energy.spec import EnergySpec, PriceSpec
from hwsim.energy.table import load_table
from hwsim.errors import HwsimError, nearest
from hwsim.message import Message
from hwsim.units import format_size
from hwsim.workload.number_format import DTYPES

__all__ = ["Action", "Price", "Prices", "dynamic_energy", "word_width"]

Action = tuple[str, str, str]  # component, tensor ("" where it has none), action


@dataclass(frozen=True, slots=True)
class Price:
    """Energy of one action in pJ (NaN: stated to be unknown), of how many bits, and where the number comes from.

    Where an access moves several `words`, the energy is that of one of them, and of so many accesses in all.
    """

    energy_pj: float
    bits: int | None
    source: str
    fitted: str | None = None
    words: int = 1

    def of_word(self, bits: float | None) -> float:
        """Energy of an action on a word of `bits`: in proportion, where the price says what it is for."""
        return self.energy_pj if self.bits is None or bits is None else self.energy_pj * bits / self.bits

    def of_words(self, count: int, bits: float | None) -> float:
        """Energy of an action on so many words, in whole accesses."""
        return -(-count // self.words) * self.words * self.of_word(bits)


class Prices:
    """The prices of a machine, resolved once; a missing price raises an error naming it.

    `sizes` are the bytes of its SRAMs, which prices of ``sram: memory`` follow.
    """

    def __init__(self, spec: EnergySpec, beside: Path | None = None, sizes: Mapping[str, int] | None = None) -> None:
        self.spec = spec
        self.table = load_table(spec.table, beside)
        self.sizes = sizes or {}
        self._parts: dict[str, Prices] = {}
        self._extrapolated: list[Message] = []
        self._prices = {
            key: self._resolve(key, price)
            for key, price in spec.prices.items()
            if key != "mac" or not price.each_format
        }

    @property
    def static_w(self) -> float:
        """Power drawn all the time, in watts."""
        return float(self.spec.static or 0)

    @property
    def notes(self) -> tuple[Message, ...]:
        """SRAMs that the table does not reach, and nodes between which energy is interpolated."""
        return (*self._extrapolated, *self._interpolated())

    def _interpolated(self) -> tuple[Message, ...]:
        """Nodes without a published polynomial, and those between which their energy is interpolated."""
        spec, table = self.spec, self.table
        scaled = any(price.entry is not None or price.sram is not None for price in spec.prices.values())
        if not scaled or (spec.node is None and spec.voltage is None):
            return ()
        nodes = dict.fromkeys((table.node_nm, float(spec.node * 10**9) if spec.node is not None else table.node_nm))
        template = "prices at {node:g} nm are interpolated between {larger} and {smaller} nm (Stillmaker and Baas 2017)"
        return tuple(
            Message("energy.node", template, {"node": node, "larger": around[0], "smaller": around[1]})
            for node in nodes
            if len(around := neighbors(node)) == 2
        )

    def add(self, part: str, other: Prices, clock_hz: float) -> None:
        """Take in the prices of another machine that is a part of this one, under ``part component``.

        A cycle of its clock, ``part.cycle``, costs the static power that it draws while it runs.
        """
        static, source = other.spec.static, other.spec.static_source or "no static power is given"
        energy = math.nan if static is None else float(static) / clock_hz * 1e12
        self._prices[part] = Price(energy, None, source)
        self._parts[part] = other

    def _resolve(self, key: str, price: PriceSpec) -> Price:
        if price.unknown:
            return Price(math.nan, None, price.source or "stated as unknown")
        if price.energy is not None:
            energy = float(price.energy) * price.times / price.words
            return Price(energy, price.bits, price.source or "", price.fitted, price.words)
        table, bits, scaled = self.table, price.bits, True
        if price.entry is not None:
            entry = table.entry(price.entry)
            energy, source, fitted = float(entry.energy), entry.source, price.fitted or entry.fitted
            bits, scaled = bits or entry.bits, not entry.off_chip
        else:
            assert price.sram is not None
            bits = bits or 64
            name = key.partition(".")[0]
            if price.sram == "memory" and name not in self.sizes:
                raise HwsimError(f"energy.prices.{key}.sram must be a size: there is no memory {name!r} to follow")
            size = self.sizes[name] if price.sram == "memory" else price.sram
            energy, fitted = table.sram_read(float(size), bits), price.fitted
            source = f"{table.source} (SRAM curve at {format_size(int(size))})"
            if around := table.outside(float(size)):
                values = {"price": key, "bytes": int(size), "least": around[0], "most": around[1], "table": table.name}
                template = "energy.prices.{price}: {bytes:size} is extrapolated; the SRAMs of {table} are {least:size} "
                self._extrapolated.append(Message("energy.sram", template + "to {most:size}", values))
        if scaled and (self.spec.node is not None or self.spec.voltage is not None):
            node = float(self.spec.node * 10**9) if self.spec.node is not None else table.node_nm
            voltage = float(self.spec.voltage if self.spec.voltage is not None else table.voltage)
            energy = table.at(energy, node, voltage)
            source += f", scaled to {node:g} nm and {voltage:g} V (Stillmaker and Baas 2017)"
        if price.times != 1:
            source += f", times {price.times:g}"
        return Price(energy * price.times, bits, source, fitted)

    def of(self, component: str, action: str) -> Price:
        """The price of one action of a component; raises HwsimError if it is missing."""
        part, _, rest = component.partition(" ")
        if rest and part in self._parts:
            return self._parts[part].of(rest, action)
        key = f"{component}.{action}"
        if key not in self._prices and component == "mac" and action in DTYPES and "mac" in self.spec.prices:
            self._prices[key] = self._mac(action, self.spec.prices["mac"])
        for name in (key, component):
            if name in self._prices:
                return self._prices[name]
        raise HwsimError(
            f"energy.prices must give {key}, or {component} for all of its actions (an energy with its source, an "
            f"entry of {self.table.name!r}, an sram size, or unknown: true){nearest(key, self._prices)}"
        )

    def _mac(self, dtype: str, price: PriceSpec) -> Price:
        """The price of a MAC in a number format that has none of its own."""
        if price.any_format or dtype in price.formats:
            return self._prices["mac"]
        entry = f"{dtype}_mac"
        listed = entry in self.table.entries
        if price.each_format and listed:
            return self._resolve(entry, price.model_copy(update={"entry": entry}))
        lack = f"energy.prices.mac is of {', '.join(price.formats)}"
        if price.each_format:
            lack = f"cost table {self.table.name!r} has no entry {entry}"
        entry = entry if listed else "..."
        raise HwsimError(
            f"energy.prices must give a MAC in {dtype}: {lack}; add mac.{dtype}: {{entry: {entry}}}, or an energy with "
            f"its source"
            + (
                f", or format: [{', '.join((*price.formats, dtype))}] to mac if its multiplier computes both; or run "
                f"it as {price.formats[0]} with --set precision={price.formats[0]}"
                if price.formats
                else ""
            )
        )

    def off_chip(self, component: str) -> bool:
        """Whether the component's energy is spent outside the chip."""
        part, _, rest = component.partition(" ")
        if rest and part in self._parts:
            return self._parts[part].off_chip(rest)
        return component in self.spec.off_chip


def word_width(word_bits: Mapping[str, float], component: str, tensor: str) -> float | None:
    """Bits of a word of a tensor: in that component, else anywhere; None where it has none."""
    return word_bits.get(f"{component}.{tensor}", word_bits.get(tensor))


def dynamic_energy(
    counts: Mapping[Action, int], word_bits: Mapping[str, float], prices: Prices, on_chip: float = 1.0
) -> dict[Action, float]:
    """Energy in pJ of each counted action: count times the price of a word of that tensor.

    On the chip it is `on_chip` of that, where the supply voltage is lower than the price says.
    """
    return {
        key: prices.of(key[0], key[2]).of_words(count, word_width(word_bits, *key[:2]))
        * (1.0 if on_chip == 1 or prices.off_chip(key[0]) else on_chip)
        for key, count in counts.items()
        if count
    }
