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

from hwsim.compression.storage import expected_bits, least_bits, rlc_least_bytes, rlc_pairs
from hwsim.errors import HwsimError
from hwsim.machines.pe_array._rs_search import cheapest, price_of
from hwsim.machines.pe_array.array import Array, layer_operand
from hwsim.machines.pe_array.isca16.relative import relative_cost
from hwsim.machines.pe_array.rs_mapper import Limits, RsMapping, bands, choose, fewest_words, ifmap_width, tile_width
from hwsim.machines.pe_array.spec import TENSORS, Tensor
from hwsim.machines.pe_array.work import ConvWork, effectual_share, mac_actions, resting_words
from hwsim.mapping.chains import multiples
from hwsim.mapping.problem import distinct
from hwsim.workload import Layer

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


_FORMS = ("linear", "rlc rows", "rlc", "csr", "csc", "codebook")
"""Formats on the link, in the order of the search; those in proportion to the words are linear."""

Code = tuple[float, ...]
"""A tensor on the link: form, bits and density, bytes or pairs of a value, the most and the least bytes of one."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Ticks, bytes and prices of a layer on a chip: what its mappings have in common."""

    link: float
    cycle: float
    executed: float
    word_bytes: float
    codes: tuple[Code, ...]
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
    macs, resting = mac_actions(layer, work.macs, spec.array), resting_words(layer, work.macs, spec.array)
    touching = {tensor: work.macs - resting.get(tensor, 0) for tensor in TENSORS}
    constant = {
        ("ifmap", "read"): touching["ifmap"],
        ("weight", "read"): touching["weight"],
        ("psum", "update"): touching["ofmap"],
    }
    try:
        prices = [array.prices.of(names.get(part, part), action).of_word(word) for part, _, action in _COUNTERS]
        fixed = sum(array.prices.of(c, a).of_word(None) * n for (c, _, a), n in macs.items())
        fixed += sum(array.prices.of(names[part], a).of_word(word) * n for (part, a), n in constant.items())
    except HwsimError:  # the report says which price is missing
        fixed = math.nan
    if math.isnan(fixed + sum(prices if not math.isnan(fixed) else ())):
        prices = [relative_cost(spec, names.get(part, part)) for part, _, _ in _COUNTERS]
        fixed = 0.0
    return Rates(
        float(byte_ticks(array, word)),
        float(array.cycle_ticks(1)),
        effectual_share(layer, spec.array) if spec.array.zeros == "skip" else 1.0,
        word / 8,
        tuple(_code_of(array, layer, tensor) for tensor in TENSORS),
        tuple(prices),
        fixed,
        array.prices.static_w * 1e12 / float(array.timebase.rate_hz),
        resting.get("ofmap", 0),
        spec.mapper.halo == "slide",
    )


def _code_of(array: Array, layer: Layer, tensor: Tensor) -> Code:
    """How a tensor crosses the link."""
    outer, kind = array.spec.memories[array.spec.dram], layer_operand(layer, tensor)
    bits, own = array.bits(layer)[tensor == "weight"], tensor in outer.compress
    form, most = array.storage(layer, outer, tensor), bits / 8 if own else math.inf
    least = min(most, least_bits(form, 1, kind.density, bits) / 8)
    if (runs := array.run_bits(layer, outer, tensor)) and form in ("csr", "csc"):
        least, form = expected_bits(form, (1, 1), kind.density, bits, runs) / 8, "linear"
    rate = least
    if form == "rlc":
        rate = rlc_pairs(1, kind.density)
        if own:
            form, least = "rlc rows", rlc_least_bytes(1, kind.density, most)
    index = _FORMS.index(form if form in _FORMS else "linear")
    return (index, bits, kind.density, rate, most, least)


_Inputs = tuple[
    tuple[int, ...],
    tuple[int, ...],
    tuple[float, ...],
    tuple[float, ...],
    tuple[Code, ...],
    list[tuple[float, ...]],
    tuple[float, ...],
]


def _inputs(work: ConvWork, limits: Limits, rates: Rates) -> _Inputs:
    """What the compiled closed forms take."""
    w, f = work, tile_width(work, limits)
    width = ifmap_width(w, f)
    columns = ((f, w.q // f), (w.q % f, 1 if w.q % f else 0))
    tiles: list[tuple[float, ...]] = [
        (c, number, distinct(w.stride[1], w.dilation[1], c, w.s), min(ifmap_width(w, c), w.real_cols))
        if c
        else (0, 0, 0, 0)
        for c, number in columns
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
            rates.link, rates.cycle, rates.executed, rates.word_bytes, rates.fixed, rates.static, rates.idle,
            rates.slides,
        ),
        rates.codes,
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
