"""The row-stationary mapper: every mapping that fits the scratchpads and banks, and the one that the chip takes.

Parameters as Chen et al. name them (JSSC 52(1), 2017): a pass takes n images, p t filters and q r channels of a strip
of e ofmap rows (p and q inside a PE, t and r across sets of R x e PEs); the buffer holds the psums of m filters.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from hwsim.machines.pe_array._rs_search import search
from hwsim.machines.pe_array.work import ConvWork
from hwsim.mapping import Keep, Loop, Mapping

__all__ = [
    "Limits", "RsMapping", "bands", "choose", "explain_infeasible", "fewest_words", "group_sizes", "ifmap_width",
    "nest", "parse_mapping", "ragged", "strips", "tile_width",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds a mapping, in words: the array, the scratchpads of a PE, the banks of the buffer."""

    rows: int
    cols: int
    weight_spad: int
    ifmap_spad: int
    psum_spad: int
    filter_buffer: int
    banks: int
    bank: int
    row_words: int
    min_occupation: float
    psum_port: float = 2.0**40
    ifmap_port: float = 2.0**40
    filter_port: float = 2.0**40
    pass_cycles: int = 0

    def sets(self, e: int, r: int) -> int:
        """Sets of r x e PEs that the array holds; a set wider than the array is folded onto several rows of sets."""
        if e <= self.cols:
            return self.rows // r * (self.cols // e)
        return self.rows // r // -(-e // self.cols)


@dataclass(frozen=True, slots=True)
class RsMapping:
    """A row-stationary mapping; f is the width of an ofmap tile.

    A short last strip leaves sets free: r doubles and t halves `swaps` times, or as often as its channels share a bank.
    """

    n: int
    m: int
    e: int
    p: int
    q: int
    r: int
    t: int
    f: int
    ties: int = 0
    swaps: int | None = None

    def text(self) -> str:
        """The parameters as the paper writes them."""
        text = " ".join(f"{key}={getattr(self, key)}" for key in "nmepqrtf")
        return text if self.swaps is None else f"{text} swaps={self.swaps}"


def group_sizes(total: int) -> list[int]:
    """Sizes of a group: powers of two, the same for every layer, and all; the last group is what is left."""
    return [*(2**i for i in range((total - 1).bit_length())), total]


def ifmap_width(work: ConvWork, f: int) -> int:
    """Columns of the ifmap under f columns of the ofmap."""
    return (f - 1) * work.stride[1] + (work.s - 1) * work.dilation[1] + 1


def tile_width(work: ConvWork, limits: Limits) -> int:
    """Columns of the ofmap tile: the row is cut in the fewest parts of which one channel meets `row_words`."""
    most = (limits.row_words * work.stride[1] - ifmap_width(work, 1)) // work.stride[1] + 1
    return -(-work.q // -(-work.q // most)) if most > 0 else 1


def strips(total: int, e: int) -> list[tuple[int, int]]:
    """(height, how many) of full strips and of the last, shorter one."""
    return [(h, n) for h, n in ((e, total // e), (total % e, 1)) if h and n]


@lru_cache(maxsize=16384)
def choose(work: ConvWork, limits: Limits) -> RsMapping | None:
    """The mapping the chip takes: enough PEs active, then least DRAM words, most PEs, least buffer words.

    None where no mapping exists.
    """
    return fewest_words(work, limits)


def fewest_words(work: ConvWork, limits: Limits, **ceiling: Any) -> RsMapping | None:
    """The same, among mappings below a ceiling of the ticks and pJ of `inputs` and `bands` (see `_rs_search`)."""
    f = tile_width(work, limits)
    cut = [(ifmap_width(work, part), number) for part, number in strips(work.q, f)]
    best = search(
        work.n, work.g, work.k, work.c, work.p, work.q, work.r, work.s,
        work.stride[0], work.stride[1], work.dilation[0],
        width=cut[0][0],
        widths=sum(width * number for width, number in cut),
        tiles=sum(number for _, number in cut),
        f=f,
        rows=limits.rows,
        cols=limits.cols,
        weight_spad=limits.weight_spad,
        ifmap_spad=limits.ifmap_spad,
        psum_spad=limits.psum_spad,
        filter_buffer=limits.filter_buffer,
        banks=limits.banks,
        bank=limits.bank,
        row_words=limits.row_words,
        min_occupation=limits.min_occupation,
        psum_port=limits.psum_port,
        ifmap_port=limits.ifmap_port,
        filter_port=limits.filter_port,
        pass_cycles=limits.pass_cycles,
        images=group_sizes(work.n),
        filters=group_sizes(work.k),
        **ceiling,
    )  # fmt: skip
    if best is None:
        return None
    (n, m, e, p, q, r, t), ties = best
    return RsMapping(n, m, e, p, q, r, t, f, ties)


_PARAMETER = re.compile(r"([nmepqrt])\s*=\s*([1-9]\d{0,8})\Z")


def parse_mapping(work: ConvWork, limits: Limits, text: str) -> RsMapping:
    """Parse a mapping such as ``n=4 m=64 e=13 p=16 q=4 r=1 t=4``.

    Raises
    ------
    ValueError
        If a parameter is missing, or the mapping exceeds something: what, and by how much.
    """
    parameters: dict[str, int] = {}
    for word in text.replace(",", " ").split():
        match = _PARAMETER.match(word)
        if not match:
            raise ValueError(f"must be parameters such as 'n=4 m=64 e=13 p=16 q=4 r=1 t=4', not {word!r}")
        parameters[match[1]] = int(match[2])
    if missing := [name for name in "nmepqrt" if name not in parameters]:
        raise ValueError(f"must give all of n m e p q r t; missing: {' '.join(missing)}")
    n, m, e, p, q, r, t = (parameters[name] for name in "nmepqrt")
    f = tile_width(work, limits)
    width = ifmap_width(work, f)
    rows = (e - 1) * work.stride[0] + (work.r - 1) * work.dilation[0] + 1
    banks = -(-n * q * r * rows * width // limits.bank) + -(-n * m * e * f // limits.bank)
    needs = [
        ("words of ifmap in a PE (q S)", q * work.s, limits.ifmap_spad),
        ("psums in a PE (p)", p, limits.psum_spad),
        ("words of filters in a PE (p q S)", p * q * work.s, limits.weight_spad),
        ("words in the filter buffer (p t q r R S)", p * t * q * r * work.r * work.s, limits.filter_buffer),
        ("sets of PEs (r t)", r * t, limits.sets(e, work.r)),
        ("banks of the buffer", banks, limits.banks),
        ("images (n)", n, work.n),
        ("filters (m)", m, work.k),
        ("rows of the ofmap (e)", e, work.p),
        ("channels (q r)", q * (r - 1) + 1, work.c),
    ]
    for what, need, limit in needs:
        if need > limit:
            raise ValueError(f"{text!r} needs {need} {what}, there are {limit}: {need - limit} too many")
    return RsMapping(n, m, e, p, q, r, t, f)


def nest(memories: dict[str, str], mapping: RsMapping, part: ConvWork) -> Mapping:
    """The loop nest of a mapping over a strip or several like ones (`part`)."""
    m, e, f = mapping, min(mapping.e, part.p), min(mapping.f, part.q)
    qr, pt = min(m.q * m.r, part.c), min(m.p * m.t, m.m)
    q, p = min(m.q, qr), min(m.p, pt)
    dram, buffer = memories["dram"], memories["buffer"]
    return Mapping(
        (
            Keep(dram, ("ifmap", "weight", "ofmap")),
            Loop("G", 1),
            Loop("N", m.n),
            Loop("P", e),
            Loop("Q", f),
            Loop("K", m.m),
            Keep(buffer, ("ofmap",)),
            Loop("C", qr),
            Keep(buffer, ("ifmap",)),
            Loop("K", pt),
            Keep(memories["filter"], ("weight",)),
            Loop("R", 1, "rows"),
            Loop("P", 1, "cols"),
            Loop("C", q, "sets"),
            Loop("K", p, "sets"),
            Keep(memories["weight"], ("weight",)),
            Loop("N", 1),
            Loop("Q", 1),
            Keep(memories["ifmap"], ("ifmap",)),
            Keep(memories["psum"], ("ofmap",)),
            Loop("K", 1),
            Loop("C", 1),
            Loop("S", 1),
        )
    )


def bands(work: ConvWork, e: int) -> dict[tuple[int, int], int]:
    """How many strips there are of each height and rows inside the image, from the top; padding shortens the rows."""
    parts: dict[tuple[int, int], int] = {}
    top = 0
    for height, number in strips(work.p, e):
        rows, step = (height - 1) * work.stride[0] + (work.r - 1) * work.dilation[0] + 1, e * work.stride[0]
        # Strips up to `first` and from `last` on meet padding; all others are alike.
        first = min(number, max(0, -(-(work.pad_top - top) // step)))
        last = max(first, min(number, (work.pad_top + work.real_rows - rows - top) // step + 1))
        # A strip of padding alone counts as one that sees a row, however many there are.
        end = work.pad_top + work.real_rows
        above = min(first, max(0, (work.pad_top + 1 - rows - top) // step + 1))
        below = max(last, min(number, -(-(end - 1 - top) // step)))
        if unseen := above + number - below:
            parts[height, 1] = parts.get((height, 1), 0) + unseen
        for i in (*range(above, first), *([first] if first < last else ()), *range(last, below)):
            start = top + i * step
            inside = max(1, min(start + rows, end) - max(start, work.pad_top))
            parts[height, inside] = parts.get((height, inside), 0) + (last - first if first <= i < last else 1)
        top += number * step
    return parts


def ragged(work: ConvWork, mapping: RsMapping, e: int, bank: int) -> RsMapping:
    """The mapping of a strip of e rows: a short one swaps sets of filters for sets of channels."""
    if e == mapping.e:
        return mapping
    if mapping.swaps is not None:
        return replace(mapping, r=mapping.r << mapping.swaps, t=mapping.t >> mapping.swaps)
    rows = (e - 1) * work.stride[0] + (work.r - 1) * work.dilation[0] + 1
    while (
        mapping.t % 2 == 0
        and 2 * mapping.q * mapping.r <= work.c
        and 2 * mapping.q * mapping.r * rows * ifmap_width(work, mapping.f) <= bank
    ):
        mapping = replace(mapping, r=2 * mapping.r, t=mapping.t // 2)
    return mapping


def explain_infeasible(work: ConvWork, limits: Limits, names: dict[str, str]) -> str:
    """Which memory or side of the array is too small for any mapping, and by how much."""
    if work.r > limits.rows:
        few = work.r - limits.rows
        return f"a filter of {work.r} rows needs {work.r} rows of PEs; the array has {limits.rows}: {few} too few"
    if work.s > limits.ifmap_spad:
        over = work.s - limits.ifmap_spad
        return f"{names['ifmap']} holds {limits.ifmap_spad} words; a filter row of {work.s} is {over} too much"
    if work.r * work.s > limits.filter_buffer:
        over = work.r * work.s - limits.filter_buffer
        return f"{names['filter']} holds {limits.filter_buffer} words; a filter of {work.r * work.s} is {over} too much"
    rows, cols = (work.r - 1) * work.dilation[0] + 1, ifmap_width(work, tile_width(work, limits))
    need = 1 + -(-rows * cols // limits.bank)
    return (
        f"{names['buffer']} has {limits.banks} banks; one row of psums and its ifmap rows need {need}: "
        f"{need - limits.banks} too few"
    )
