"""What a row-stationary mapping costs: the time and energy of its passes, and the mapping with the least of either.

The closed forms are those of the plan: ticks of each tile through link and array, counts of the nest times prices.
A double-buffered buffer is ranked by the time that it would take without.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import HwsimError
from hwsim.machines.pe_array._rs_search import cheapest, price_of
from hwsim.machines.pe_array.array import Array
from hwsim.machines.pe_array.isca16.relative import relative_cost
from hwsim.machines.pe_array.rs_mapper import Limits, RsMapping, bands, choose, fewest_words, ifmap_width, tile_width
from hwsim.machines.pe_array.work import ConvWork, mac_actions
from hwsim.mapping.chains import multiples
from hwsim.mapping.problem import distinct
from hwsim.workload import Layer
from hwsim.workload.compression import rlc_expected_bytes

__all__ = ["OBJECTIVES", "Rates", "byte_ticks", "choose_cheapest", "choose_within", "cost_of", "rates_of"]

OBJECTIVES = ("latency", "energy", "edp")

_SHARES = [1, *sorted(k << i for k in (2, 3) for i in range(30))]
"""Filters in a PE (p) and sets of PEs (t): two sizes an octave, the same for every layer."""

_COUNTERS = (
    ("dram", "ifmap", "read"), ("dram", "weight", "read"), ("dram", "ofmap", "update"),
    ("buffer", "ifmap", "fill"), ("buffer", "ifmap", "read"),
    ("buffer", "ofmap", "read"), ("buffer", "ofmap", "update"), ("buffer", "ofmap", "drain"),
    ("filter", "weight", "fill"), ("filter", "weight", "read"),
    ("noc", "ifmap", "deliver"), ("noc", "weight", "deliver"), ("noc", "ofmap", "reduce"),
    ("ifmap", "ifmap", "fill"), ("weight", "weight", "fill"),
    ("psum", "ofmap", "fill"), ("psum", "ofmap", "drain"), ("psum", "ofmap", "read"),
)  # fmt: skip
"""What the mapping decides, in the order in which the search takes its prices."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Ticks, bytes and prices of a layer on a chip: what its mappings have in common."""

    link: float
    cycle: float
    executed: float
    word_bytes: float
    weight_bytes: float
    packed: tuple[tuple[float, float], ...]
    prices: tuple[float, ...]
    fixed: float
    static: float
    idle: int
    slides: bool


def byte_ticks(array: Array, word: int) -> Fraction:
    """Ticks of a byte on the link."""
    dram = array.spec.memories[array.spec.dram]
    assert dram.bandwidth is not None
    return array.timebase.rate_hz / array.spec.bytes_per_second(dram.bandwidth, dram, word)


def rates_of(array: Array, layer: Layer, work: ConvWork, limits: Limits, names: dict[str, str]) -> Rates:
    """Rates of a layer; without all prices, those of the ISCA 2016 study relative to a MAC."""
    spec, word = array.spec, array.bits(layer)[0]
    macs = mac_actions(layer, work.macs, spec.array.zeros)
    executed = macs["mac", "", layer.input.dtype]
    idle, skips = work.macs - executed, spec.array.zeros == "skip"
    constant = {("ifmap", "read"): work.macs - idle * skips, ("weight", "read"): executed, ("psum", "update"): executed}
    compress = spec.memories[spec.dram].compress
    raw = word / 8

    def packed(tensor: str, row: int, density: float) -> float:
        return rlc_expected_bytes(1, row, density, raw) if tensor in compress else row * raw

    try:
        prices = [array.prices.of(names.get(part, part), action).of_word(word) for part, _, action in _COUNTERS]
        fixed = sum(array.prices.of(c, a).of_word(None) * n for (c, _, a), n in macs.items())
        fixed += sum(array.prices.of(names[part], a).of_word(word) * n for (part, a), n in constant.items())
    except HwsimError:  # the report says which price is missing
        fixed = math.nan
    if math.isnan(fixed + sum(prices if not math.isnan(fixed) else ())):
        prices = [relative_cost(spec, names.get(part, part)) for part, _, _ in _COUNTERS]
        fixed = 0.0
    f = tile_width(work, limits)
    rows = tuple(
        (
            packed("ifmap", min(ifmap_width(work, columns), work.real_cols), layer.input.density),
            packed("ofmap", columns, layer.output.density),
        )
        if columns
        else (0.0, 0.0)
        for columns in (f, work.q % f)
    )
    return Rates(
        float(byte_ticks(array, word)),
        float(array.cycle_ticks(1)),
        float(Fraction(layer.input.density)) if skips else 1.0,
        raw,
        array.bits(layer)[1] / 8,
        rows,
        tuple(prices),
        fixed,
        array.prices.static_w * 1e12 / float(array.timebase.rate_hz),
        idle,
        spec.mapper.halo == "slide",
    )


_Inputs = tuple[
    tuple[int, ...], tuple[int, ...], tuple[float, ...], tuple[float, ...], list[tuple[float, ...]], tuple[float, ...]
]


def _inputs(work: ConvWork, limits: Limits, rates: Rates) -> _Inputs:
    """What the compiled closed forms take."""
    w, f = work, tile_width(work, limits)
    width = ifmap_width(w, f)
    columns = ((f, w.q // f), (w.q % f, 1 if w.q % f else 0))
    tiles: list[tuple[float, ...]] = [
        (c, number, distinct(w.stride[1], w.dilation[1], c, w.s) if c else 0, *rates.packed[i])
        for i, (c, number) in enumerate(columns)
    ]
    stride, dilation = w.stride, w.dilation[0]
    return (
        (w.n, w.g, w.k, w.c, w.p, w.q, w.r, w.s, stride[0], stride[1], dilation, width, -(-w.q // f), f),
        (
            limits.rows, limits.cols, limits.filter_buffer, limits.banks, limits.bank,
            max(1, limits.row_words // -(-width // stride[1])),
        ),
        (limits.psum_port, limits.ifmap_port, limits.filter_port, float(limits.pass_cycles)),
        (
            rates.link, rates.cycle, rates.executed, rates.weight_bytes, rates.word_bytes, rates.fixed, rates.static,
            rates.idle, rates.slides,
        ),
        tiles,
        rates.prices,
    )  # fmt: skip


def _bands(work: ConvWork, e: int) -> NDArray[np.int64]:
    return np.array([(*band, number) for band, number in bands(work, e).items()], dtype=np.int64)


def cost_of(work: ConvWork, limits: Limits, rates: Rates, m: RsMapping) -> tuple[float, float]:
    """Ticks and pJ of a mapping."""
    inputs = _inputs(work, limits, rates)
    swaps = -1 if m.swaps is None else m.swaps
    return price_of(*inputs, _bands(work, m.e), m.e, m.n, m.m, m.p, m.q, m.r, m.t, swaps)


def _all_bands(work: ConvWork, limits: Limits) -> list[NDArray[np.int64]]:
    return [_bands(work, e) for e in range(1, min(work.p, limits.rows // work.r * limits.cols) + 1)]


@lru_cache(maxsize=4096)
def choose_cheapest(
    work: ConvWork, limits: Limits, rates: Rates, objective: str, below: float = -1
) -> RsMapping | None:
    """The mapping with the least latency, energy or EDP, less than `below`; None where no mapping exists."""
    best = cheapest(
        *_inputs(work, limits, rates),
        _all_bands(work, limits),
        limits.weight_spad,
        limits.ifmap_spad,
        limits.psum_spad,
        list(multiples(work.n)),
        list(multiples(work.k)),
        _SHARES,
        OBJECTIVES.index(objective),
        below,
    )
    if best is None:
        return None
    (n, m, e, p, q, r, t, swaps), ties = best
    return RsMapping(n, m, e, p, q, r, t, tile_width(work, limits), ties, swaps)


@lru_cache(maxsize=4096)
def choose_within(work: ConvWork, limits: Limits, rates: Rates, margin: float) -> RsMapping | None:
    """The mapping with the fewest DRAM words that takes at most `margin` more time and energy than the least of either.

    If none has so few of both, the fastest is taken; None where no mapping exists.
    """
    chosen, most = choose(work, limits), 1 + margin
    if chosen is None:
        return None
    ticks, energy = cost_of(work, limits, rates, chosen)
    # To see that nothing is so much cheaper is quicker than to search for the least.
    fastest = choose_cheapest(work, limits, rates, "latency", ticks / most)
    frugal = None if fastest else choose_cheapest(work, limits, rates, "energy", energy / most)
    if fastest is None and frugal is None:
        return chosen
    fastest = fastest or choose_cheapest(work, limits, rates, "latency")
    frugal = frugal or choose_cheapest(work, limits, rates, "energy")
    assert fastest is not None
    assert frugal is not None
    return (
        fewest_words(
            work,
            limits,
            inputs=_inputs(work, limits, rates),
            bands=_all_bands(work, limits),
            most_ticks=cost_of(work, limits, rates, fastest)[0] * most,
            most_energy=cost_of(work, limits, rates, frugal)[1] * most,
        )
        or fastest
    )
