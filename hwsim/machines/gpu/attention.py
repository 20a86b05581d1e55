"""Times of fused attention kernels: many shapes at a time, with a term for each cause.

A prefill kernel takes tiles of queries through blocks of keys and values, so it executes the masked part of the blocks
on the diagonal. Tiles are counted from the last query on. A decode kernel takes a sequence's head of keys and values,
or one of `splits` parts of its context.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from hwsim.machines.gpu.attention_spec import DecodeKernel, PrefillKernel

__all__ = ["SPLITS", "AttentionChip", "AttentionShapes", "AttentionTiming", "attention_timing"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SPLITS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
"""Parts of a context that kernels split it into."""
_EXPONENTIALS = 16  # of a multiprocessor in a cycle: CUDA programming guide, throughput of native arithmetic
_L2_SHARE = 0.55  # of 64 B a cycle and multiprocessor, as in products
_L2_KEPT = 0.7  # of L2 that holds what one kernel of a prefill writes until the next reads it


@dataclass(frozen=True)
class AttentionChip:
    """The data sheet: multiprocessors, MHz, their MACs a cycle, bytes of L2, bytes a microsecond of DRAM.

    `launch` is how many microseconds longer than in a CUDA graph a launch takes.
    """

    sms: int
    clock: float
    macs: float
    l2: float
    dram: float
    launch: float = 0.0


@dataclass(frozen=True)
class AttentionShapes:
    """Many shapes of one type: flat arrays of one length, and bytes of a value of queries, cache, new keys and result.

    `dim` and `value_dim` are those of a head; a `window` of 0 is none; `new` is how many positions the cache gets.
    """

    batch: Ints
    queries: Ints
    context: Ints
    heads: Ints
    kv_heads: Ints
    dim: Ints
    value_dim: Ints
    window: Ints
    new: Ints
    causal: bool
    query_bytes: float
    cache_bytes: float
    output_bytes: float

    def __len__(self) -> int:
        return len(self.batch)

    @property
    def group(self) -> Ints:
        """Heads of queries that share keys and values."""
        return self.heads // self.kv_heads

    @property
    def width(self) -> Ints:
        """Values of a key and a value of one head."""
        return self.dim + self.value_dim

    @property
    def seen(self) -> Ints:
        """Positions that some query attends to."""
        reach = np.where(self.window > 0, self.window + self.queries - 1, self.context)
        return np.minimum(self.context, reach)

    @property
    def kv_bytes(self) -> Floats:
        """Bytes of the keys and values that are read, each once."""
        return np.asarray(self.batch * self.kv_heads * self.seen * self.width * self.cache_bytes, np.float64)


@dataclass
class AttentionTiming:
    """Microseconds of kernels, and what they do.

    Attributes
    ----------
    time : ndarray
    terms : dict
        Microseconds by bound.
    tiles, waves, splits, rows, macs, exponentials, l2_bytes, dram_bytes : ndarray
        Threadblocks, how many a multiprocessor has one after the other, parts of a context, rows of a tile; what is
        executed, masked values included; bytes at both levels.
    combine : ndarray
        Microseconds of the sum over splits, part of the launches.
    hot : ndarray
        Share of keys and values that is in L2 from before.
    kernel : ndarray
        The number of the kernel that is taken.
    """

    time: Floats
    terms: dict[str, Floats]
    tiles: Ints
    waves: Ints
    splits: Ints
    rows: Ints
    macs: Floats
    exponentials: Floats
    l2_bytes: Floats
    dram_bytes: Floats
    combine: Floats
    hot: Floats
    kernel: Ints = field(default_factory=lambda: np.zeros(0, np.int64))

    @classmethod
    def never(cls, number: int) -> AttentionTiming:
        """Of so many shapes that no kernel runs."""
        none, zero = np.zeros(number), np.zeros(number, np.int64)
        return cls(
            none + np.inf, {}, zero, zero, zero, zero, none, none, none, none, none, none, kernel=zero - 1,
        )  # fmt: skip

    def where(self, better: NDArray[np.bool_], other: AttentionTiming) -> AttentionTiming:
        """The other's values where it is better."""
        names = dict.fromkeys((*self.terms, *other.terms))
        none = np.zeros_like(self.time)
        terms = {name: np.where(better, other.terms.get(name, none), self.terms.get(name, none)) for name in names}
        values = {
            name: np.where(better, getattr(other, name), getattr(self, name)) for name in vars(self) if name != "terms"
        }
        return AttentionTiming(terms=terms, **values)

    def lasting(self, time: Floats) -> AttentionTiming:
        """The same kernels in another time."""
        scale = np.divide(time, self.time, out=np.ones_like(time), where=np.isfinite(self.time) & np.isfinite(time))
        return replace(self, time=time, terms={name: term * scale for name, term in self.terms.items()})


def floor_sum(n: Ints, m: Ints, a: Ints, b: Ints) -> Ints:
    """Sum of (a i + b) // m over i = 0 to n - 1, in as many steps as Euclid's algorithm takes; all at least 0."""
    n, m, a, b = (np.array(x, np.int64) for x in np.broadcast_arrays(n, m, a, b))
    total = np.zeros(n.shape, np.int64)
    while (n > 0).any():
        total += n * (n - 1) // 2 * (a // m) + n * (b // m)
        a, b = a % m, b % m
        last = a * n + b
        live = (n > 0) & (last >= m)
        n, b = np.where(live, last // m, 0), np.where(live, last % m, 0)
        a, m = np.where(live, m, 0), np.where(live, a, 1)
    return total


def _up(x: Ints, multiple: int) -> Ints:
    return -(-x // multiple) * multiple


def _tiles(x: AttentionShapes, rows: Ints, group: Ints, blocks: Ints) -> tuple[Ints, Ints, Ints]:
    """Tiles of `rows` rows, of `group` heads by queries; blocks that they go through together, and the longest.

    Tile j holds the queries before the last j rows / group. With a window a tile goes through the blocks of its window
    and of its own queries, or of half a block where these are fewer. The longest is one that holds a single head.
    """
    tiles = -(-x.queries * group // rows)
    whole = -(-x.context // blocks)

    def most_of(own: Ints) -> Ints:
        span = x.window + np.maximum(np.minimum(own, x.queries), blocks // 2)
        return np.where(x.window > 0, np.minimum(-(-span // blocks), whole), whole)

    most, longest = most_of(-(-rows // group)), most_of(rows)
    if not x.causal:
        return tiles, tiles * whole, whole
    full = np.clip(-(-(x.context - (most - 1) * blocks) * group // rows), 0, tiles)
    rest = tiles - full
    # The others, from the first queries on: ends at (context group - j rows) / group, in whole blocks.
    first = x.context * group - (tiles - 1) * rows
    return tiles, full * most + floor_sum(rest, group * blocks, rows, first + group * blocks - 1), longest


def prefill(k: PrefillKernel, x: AttentionShapes, chip: AttentionChip, combine_us: float = 0.0) -> AttentionTiming:
    """Attention of more than one query a sequence.

    Where there are fewer queries than positions, the context is split as in decode if that takes less; then it takes
    no less than as many positions as queries.
    """
    if not k.skips:
        x = replace(x, window=np.zeros_like(x.window))
    rows, blocks = k.rows(x.width / 2), k.blocks(x.width / 2)
    group, heads = (x.group, x.kv_heads) if k.packed else (np.ones_like(x.heads), x.heads)
    tiles, total, longest = _tiles(x, rows, group, blocks)
    n = tiles * x.batch * heads
    padded = _up(x.dim, 64) + _up(x.value_dim, 64)
    mma = rows * blocks * padded / (chip.macs * k.efficiency)
    exponential = rows * blocks * k.exponential / _EXPONENTIALS
    port = blocks * x.width * x.cache_bytes / k.port
    block = np.maximum(mma + exponential, port)
    cta = k.cta * np.where(x.window > 0, 1 + k.windowed, 1)
    work = (total * x.batch * heads * block + n * cta) / chip.sms
    last = k.tail * np.minimum(1, n / chip.sms)

    def cycles(splits: int) -> Floats:
        alone = -(-longest // splits) * block + cta
        more = n * (splits - 1) * cta / chip.sms
        result: Floats = np.maximum(alone, work + more + last * alone)
        return result

    core, splits = cycles(1), np.ones(len(x), np.int64)
    prefix = (x.context > x.queries) & x.causal
    combine = np.zeros(len(x))
    if prefix.any():
        tried = [cycles(s) + (combine_us * chip.clock if s > 1 else 0.0) for s in SPLITS]
        best = np.argmin(tried, axis=0)
        core = np.where(prefix, np.min(tried, axis=0), core)
        splits = np.where(prefix, np.array(SPLITS)[best], splits)
        combine = np.where(prefix & (best > 0), combine_us, 0.0)
        core = core - combine * chip.clock
    core_us = core / chip.clock

    query = x.batch * x.queries * x.heads * (x.dim * x.query_bytes + x.value_dim * x.output_bytes)
    new = x.batch * x.new * x.kv_heads * x.width * (2 + x.cache_bytes)
    moved = query + new + x.kv_bytes
    if k.prepare == "rope":
        moved = moved + x.batch * x.queries * x.heads * x.dim * (2 + x.query_bytes)
    hot = 1 / (1 + (moved / (_L2_KEPT * chip.l2)) ** 4)
    dram_us = k.memory * moved / chip.dram * (1 - hot / 2)
    least = x.kv_bytes / chip.dram * (1 - 1 / (1 + (x.kv_bytes / (_L2_KEPT * chip.l2)) ** 6))
    dram_us = np.maximum(dram_us, least)
    token = k.token * x.batch * x.new * np.minimum(1, x.kv_heads * x.width / 2 / k.threads) / chip.sms / chip.clock

    busy = np.minimum(core, work) / chip.clock
    each = total * x.batch * heads * block / chip.sms / chip.clock
    share = np.divide(each, work / chip.clock)
    arithmetic = busy * share
    starved = mma + exponential < port
    launch = np.maximum(0, k.launch_us + chip.launch) + combine
    terms = {
        "launch": launch,
        "tensor": arithmetic * np.where(starved, 0.0, mma / (mma + exponential)),
        "exponential": arithmetic * np.where(starved, 0.0, exponential / (mma + exponential)),
        "L2": arithmetic * starved,
        "cta overhead": busy * (1 - share) + token,
        "wave tail": core_us - busy,
        "dram": dram_us,
    }
    time = launch + core_us + dram_us + token
    scores: Floats = np.asarray(1.0 * total * x.batch * heads * rows * blocks)
    reads = total * x.batch * heads * blocks * x.width * x.cache_bytes
    return AttentionTiming(
        time, terms, n, np.maximum(1, -(-n // chip.sms)), splits, rows, scores * x.width, scores, reads + moved,
        np.maximum(min(1, k.memory) * moved * (1 - hot), least * chip.dram), combine, hot,
    )  # fmt: skip


def decode(k: DecodeKernel, x: AttentionShapes, chip: AttentionChip) -> AttentionTiming:
    """Attention of the last query of each sequence."""
    blocks = k.blocks(x.width / 2)
    positions = np.where(x.window > 0, np.minimum(x.context, x.window), x.context)
    group = x.group if k.group > 1 else np.ones_like(x.heads)
    heads = x.kv_heads * -(-group // k.rows) if k.group > 1 else x.heads
    inside = np.minimum(group, k.rows)
    whole = -(-positions // blocks)
    read = x.batch * x.kv_heads * positions * x.width * x.cache_bytes
    again = read * (1 if k.group > 1 else x.group)
    hot = 1 / (1 + (read / (k.kept * chip.l2)) ** 6)
    query = x.batch * x.heads * (x.dim * x.query_bytes + x.value_dim * x.output_bytes)
    off_chip = (read + query) * (1 - hot)
    dram = off_chip / (k.dram_share * chip.dram)
    l2 = again / (_L2_SHARE * 64 * chip.sms * chip.clock)
    padded = np.where(inside > 1, _up(inside, 8), 1)
    scores: Floats = np.asarray(1.0 * x.batch * heads * whole * blocks * padded, np.float64)
    tensor = x.batch * x.heads * positions * x.width / (chip.macs * chip.sms * chip.clock)
    narrow = x.cache_bytes < 2
    block = blocks * x.width * x.cache_bytes / k.port * (1 + narrow * k.conversion)
    block = block + k.row * inside * x.width / 128
    combine_us = float(k.combine) * 1e6

    limits = dram**4 + l2**4 + tensor**4
    n = x.batch * heads
    streams = []
    for splits in SPLITS:
        waves = np.maximum(1, n * splits / (chip.sms * k.resident))
        streams.append(waves * -(-whole // splits) * block / chip.clock)
    times = [(s**4 + limits) ** 0.25 + (combine_us if i else 0.0) for i, s in enumerate(streams)]
    best = np.argmin(times, axis=0)
    pick = (best, np.arange(len(x)))
    splits = np.minimum(np.array(SPLITS)[best], whole)
    combine = np.where(best > 0, combine_us, 0.0)

    overhead = (n * k.cta * (1 + k.width * (x.width / 256 - 1)) + x.batch * k.sequence) / chip.sms / chip.clock
    if k.shared:
        overhead = overhead * (1 + k.shared * inside * x.width / 2048)
    launch = np.maximum(0, k.launch_us + chip.launch) + combine
    if k.narrow is not None:
        launch = launch + narrow * float(k.narrow) * 1e6
    for size, more in k.sized.items():
        launch = launch + (x.dim == size) * float(more) * 1e6
    copied = np.zeros(len(x))
    if k.copies is not None:
        ordered = (x.batch > 1) & (x.kv_heads > 1)
        copied = np.where(ordered, 2 * query, 0.0)
        launch = launch + ordered * float(k.copies) * 1e6
    copy_us = copied / (k.dram_share * chip.dram)
    core = np.array(times)[pick] - combine
    terms = {
        "launch": launch,
        "tensor": tensor,
        "L2": np.maximum(l2, np.array(streams)[pick]),
        "dram": dram + copy_us,
        "cta overhead": overhead,
    }
    waves = np.maximum(1, -(-n * splits // chip.sms))
    return AttentionTiming(
        launch + core + overhead + copy_us, terms, n * splits, waves, splits, inside, scores * x.width, scores,
        again + query + copied, off_chip + copied, combine, hot,
    )  # fmt: skip


def attention_timing(
    kernels: Sequence[PrefillKernel | DecodeKernel], x: AttentionShapes, chip: AttentionChip
) -> AttentionTiming:
    """The kernel of a library that takes least, of those that can run a shape; infinite where there is none.

    A library may run a shape as a wider one: so no window takes longer than none, no heads that share keys and values
    longer than as many that do not, and several queries no less than the last of them alone.
    """
    best = _phases(kernels, x, chip)
    if (x.window > 0).any():
        plain = _phases(kernels, replace(x, window=np.zeros_like(x.window)), chip)
        best = best.lasting(np.minimum(best.time, plain.time))
    return best


def _phases(
    kernels: Sequence[PrefillKernel | DecodeKernel], x: AttentionShapes, chip: AttentionChip
) -> AttentionTiming:
    single = replace(x, queries=np.ones_like(x.queries), new=np.minimum(x.new, 1))
    decodes = [k for k in kernels if isinstance(k, DecodeKernel)]
    alone = _fastest(kernels, single, chip, lambda k: _decode(k, single, chip) if isinstance(k, DecodeKernel) else None)
    many = x.queries > 1
    if not many.any():
        return alone
    combine = float(decodes[0].combine) * 1e6 if decodes else 0.0
    several = _fastest(
        kernels, x, chip, lambda k: prefill(k, x, chip, combine) if isinstance(k, PrefillKernel) else None
    )
    least = np.where(np.isfinite(alone.time), alone.time, 0.0)
    prefix = x.causal & (x.context > x.queries)
    if prefix.any():
        square = replace(x, context=np.minimum(x.context, x.queries))
        whole = _fastest(
            kernels, square, chip, lambda k: prefill(k, square, chip) if isinstance(k, PrefillKernel) else None
        )
        least = np.where(prefix, np.maximum(least, whole.time), least)
    return alone.where(many, several.lasting(np.maximum(several.time, least)))


def _decode(k: DecodeKernel, x: AttentionShapes, chip: AttentionChip) -> AttentionTiming:
    timing = decode(k, x, chip)
    if k.group == 1 or k.least > 1:
        return timing
    return timing.lasting(np.minimum(timing.time, decode(k, replace(x, kv_heads=x.heads), chip).time))


def _fastest(
    kernels: Sequence[PrefillKernel | DecodeKernel],
    x: AttentionShapes,
    chip: AttentionChip,
    timed: Callable[[PrefillKernel | DecodeKernel], AttentionTiming | None],
) -> AttentionTiming:
    best = AttentionTiming.never(len(x))
    for number, kernel in enumerate(kernels):
        timing = timed(kernel)
        if timing is None:
            continue
        fits = (x.width > 2 * kernel.above) & (x.width <= 2 * kernel.upto)
        if isinstance(kernel, DecodeKernel) and kernel.group > 1:
            fits = fits & (x.group >= kernel.least) & (x.group <= kernel.group)
        timing.kernel = np.full(len(x), number)
        best = best.where(fits & (timing.time < best.time), timing)
    return best
