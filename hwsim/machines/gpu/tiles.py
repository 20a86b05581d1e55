"""Time of GEMMs in threadblock tiles: every kernel of a kernel set and many GEMMs at once.

C[M, N] = A[M, K] W[K, N] with tiles of tm x tn, q of them on an SM at a time, the inner dimension split s ways. With S
SMs at f, R MACs a cycle and SM, L2 of L bytes, DRAM of B bytes a second, and the fitted constants e (efficiency), g
(small_tile), x (l2_share), beta (dram_share) and alpha (l2_kept):

    T      = ceil(M / tm) ceil(N / tn) s         tiles; n = ceil(T / S) on the busiest SM; v = ceil(n / q) waves
    eff    = e (1 + 3/4 g) / (1 + 64 g (tm + tn) / (tm tn))    loads of operands take issue slots (mma.sync, FFMA)
    eff    = e min(1, tm tn / 128^2)^g                          operands read from shared memory (wgmma)
    t_mma  = n tm tn K' / (R eff f)              K' = K / s in whole steps
    t_L2   = T by / (64 x S f)                   by: bytes of the operands of a tile
    t_smem = n by / (64 f)                       the port of an SM
    t_step = v K' / 64 step / f                  a step waits for its operands at the least as long
    t_dram = bytes that L2 does not have / (beta B)
    t_st   = the write of the finished tiles to L2, during which nothing is multiplied, or what DRAM still has to write
    t      = floor + (sum of t_i^6)^(1/6) + v wave + n tm tn finish / (R f) + t_st
             + [s > 1] (split + partial sums through L2)

The sixth-power mean stands for limits that get in each other's way near where they cross. A library's heuristic takes a
kernel that is good, not the best: the time is the mean over the kernels within 30 % of the best, weighted by
exp(-(t / t_best - 1) / 0.05).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hwsim.machines.gpu.parts import Constants, KernelSet

__all__ = ["Chip", "Kernels", "Products", "TileTiming", "time_products"]

Floats = NDArray[np.float64]
_NORM, _REGRET, _WITHIN = 6, 0.05, 0.3
_PORT = 64.0  # bytes a cycle into an SM, from L2 or to it
_CHUNK = 60_000  # cells (products x kernels) that are worked on at a time: they stay in the cache


@dataclass(frozen=True, slots=True)
class Chip:
    """The numbers of a data sheet that a product meets: clock in MHz, DRAM in bytes/us; bytes of L2 and of an SM.

    `camping` is how much longer DRAM takes for weights whose rows are an odd number of KiB apart, 3 or more.
    """

    sms: int
    clock: float
    macs: float
    l2: float
    dram: float
    wgmma: bool
    shared: float = 1e9
    registers: float = 1e9
    camping: float = 1.0


@dataclass(frozen=True)
class Products:
    """Many GEMMs: `b` of m x k by k x n each, with the bytes of a value.

    `image` is the bytes of the activations in memory, where they are not b m k (a convolution reads its image), and
    `read` bytes that are read besides (what a fused addition adds).
    """

    b: Floats
    m: Floats
    n: Floats
    k: Floats
    image: Floats
    read: Floats
    bytes_a: float
    bytes_w: float
    bytes_o: float

    def __len__(self) -> int:
        return len(self.m)

    def part(self, start: int, stop: int) -> Products:
        """A slice of them."""
        cut = {name: getattr(self, name)[start:stop] for name in ("b", "m", "n", "k", "image", "read")}
        return replace(self, **cut)


class Kernels:
    """A kernel set as columns, one per kernel."""

    def __init__(self, menu: KernelSet) -> None:
        self.menu = menu
        candidates = menu.candidates()
        self.rows = np.array([[t.rows for t, _ in candidates]], float)
        self.columns = np.array([[t.columns for t, _ in candidates]], float)
        self.ctas = np.array([[t.ctas for t, _ in candidates]], float)
        self.split = np.array([[s for _, s in candidates]], float)
        self.above = np.array([[t.above for t, _ in candidates]], float)
        self.upto = np.array([[t.upto for t, _ in candidates]], float)
        self.pairs = np.array([[t.pairs for t, _ in candidates]])
        self.unaligned = np.array([[i == 0 for i in range(len(candidates))]])
        self.tiles = candidates

    def __len__(self) -> int:
        return len(self.tiles)


@dataclass(frozen=True)
class TileTiming:
    """Timing of each GEMM: microseconds, the best kernel and the next tile, and the terms of the best.

    `time` is the mean over good kernels; the terms are those of the best alone.
    """

    time: Floats
    best: NDArray[np.int64]
    best_time: Floats
    second: NDArray[np.int64]
    second_time: Floats
    mma: Floats
    l2: Floats
    shared: Floats
    step: Floats
    dram: Floats
    store: Floats
    split: Floats
    wave: Floats
    tiles: Floats
    per_sm: Floats
    waves: Floats
    dram_bytes: Floats
    dram_written: Floats
    l2_bytes: Floats


def _terms(p: Products, chip: Chip, c: Constants, ker: Kernels, floor: float, reuse: int) -> dict[str, Floats]:
    """Every term of every kernel, products x kernels."""
    b, m, n, k, image, read = (x[:, None] for x in (p.b, p.m, p.n, p.k, p.image, p.read))
    tm, tn, q, s = ker.rows, ker.columns, ker.ctas, ker.split
    sms, f = chip.sms, chip.clock
    l2_rate = c.l2_share * _PORT * sms * f
    dram_rate = c.dram_share * chip.dram
    capacity = c.l2_kept * chip.l2
    weights, out = b * n * k * p.bytes_w, b * m * n * p.bytes_o
    gm, gn = np.ceil(m / tm), np.ceil(n / tn)
    if ker.pairs.any():  # a cluster of two tiles along the rows runs whole
        gm = np.where(ker.pairs & (gm > 1), 2 * np.ceil(gm / 2), gm)
    # A part has two steps at the least; a shorter product is padded to it.
    ks = np.maximum(np.ceil(k / s / ker.menu.step), 1 + (s > 1)) * ker.menu.step
    # Two stages of operands, of 128 B at most along the inner dimension, and fp32 sums of all CTAs of an SM must fit.
    stage = 2 * q * (tm * min(ker.menu.step * p.bytes_a, 128) + tn * min(ker.menu.step * p.bytes_w, 128))
    fits = (stage <= chip.shared) & (4 * q * tm * tn <= chip.registers)
    legal = fits & (m > ker.above) & (m <= ker.upto)
    if ker.menu.aligned > 1:
        legal &= ker.unaligned | (n % ker.menu.aligned == 0)
    tiles = b * gm * gn * s
    per_sm = np.ceil(tiles / sms)
    waves = np.ceil(per_sm / q)
    if chip.wgmma and not ker.menu.synchronous:
        eff = c.efficiency * np.minimum(1.0, tm * tn / 16384) ** c.small_tile
    else:
        eff = c.efficiency * (1 + 0.75 * c.small_tile) / (1 + 64 * c.small_tile * (tm + tn) / (tm * tn))
    by = (np.minimum(tm, m) * p.bytes_a + np.minimum(tn, n) * p.bytes_w) * ks
    mma = per_sm * tm * tn * ks / (chip.macs * eff * f)
    l2_bytes = tiles * by
    l2 = l2_bytes / l2_rate
    shared = per_sm * by / (_PORT * f)
    step = waves * ks * (c.step / 64 / f)
    # What a wave covers is an almost square block of tiles, or all columns of as many rows as it has tiles for;
    # operands that L2 cannot keep are fetched for each block.
    cover = np.clip(sms * q / s, 1, gm * gn)
    side = cover / gn if ker.menu.raster == "columns" else np.sqrt(cover * tn / tm)
    wide = np.clip(side, 1, gm)
    deep = np.clip(cover / wide, 1, gn)
    wide = np.clip(cover / deep, 1, gm)
    again = image + weights > capacity
    more_a = np.where(image < capacity / 2, 0.0, image * np.ceil(gn / deep))
    more_w = np.where(weights < capacity / 2, 0.0, weights * (np.ceil(gm / wide) - 1))
    hot = 1 / (1 + ((reuse * weights + image + out) / capacity) ** 6) if reuse else 0.0
    cold = weights * (1 - hot)
    read_bytes = cold + np.where(again, more_a + more_w, 0.0) + read
    # Rows a power of two apart are spread over the channels by a hash, those five KiB apart meet on few.
    pitch = k * p.bytes_w / 1024
    camping = (chip.camping > 1) & (pitch > 1) & (pitch % 2 == 1)
    dram = (read_bytes + np.where(camping, (chip.camping - 1) * cold, 0.0)) / dram_rate
    write_bytes = np.where(out > capacity / 2, out, 0.0)
    on_sm = np.minimum(tm, m) * np.minimum(tn, n) * p.bytes_o
    sums = np.where(s > 1, 4 * (s + 1) * b * m * n, 0.0)
    split = np.where(s > 1, c.split / f, 0.0) + sums / l2_rate
    wave = waves * (c.wave / f) + per_sm * tm * tn * c.finish / (chip.macs * f)
    core = (mma**_NORM + l2**_NORM + shared**_NORM + step**_NORM + dram**_NORM) ** (1 / _NORM)
    # L2 writes to DRAM while later tiles are computed: what is left when the last tile is written is waited for.
    store = np.maximum(waves * np.minimum(q, per_sm) * on_sm / (c.store * f), dram + write_bytes / dram_rate - core)
    time = np.where(legal, floor + core + wave + store + split, np.inf)
    return {
        "time": time, "mma": mma, "l2": l2, "shared": shared, "step": step, "dram": dram, "store": store,
        "split": split, "wave": wave, "tiles": tiles, "per_sm": per_sm, "waves": waves,
        "dram_bytes": read_bytes + write_bytes, "dram_written": write_bytes, "l2_bytes": l2_bytes + sums + out,
    }  # fmt: skip


def _one(
    p: Products, chip: Chip, c: Constants, ker: Kernels, floor: float, reuse: int
) -> dict[str, NDArray[np.float64]]:
    terms = _terms(p, chip, c, ker, floor, reuse)
    shape = terms["time"].shape
    guess = terms["time"]
    if ker.menu.pick == "profiled":
        # Tactics are profiled for powers of two of rows: others inherit the next one's.
        up = replace(p, m=2.0 ** np.ceil(np.log2(p.m)))
        guess = _terms(up, chip, c, ker, floor, reuse)["time"]
    best = guess.argmin(1)
    rows = np.arange(shape[0])
    if not np.isfinite(guess[rows, best]).all():
        raise ValueError("no tile fits shared memory and registers")
    over = guess / guess[rows, best][:, None] - 1
    weight = np.where(over <= _WITHIN, np.exp(-np.minimum(over, 1.0) / _REGRET), 0.0)
    time = np.where(np.isfinite(terms["time"]), terms["time"], 0.0)
    best_terms = {name: np.broadcast_to(x, shape)[rows, best] for name, x in terms.items()}
    same = (ker.rows == ker.rows[0, best][:, None]) & (ker.columns == ker.columns[0, best][:, None])
    others = np.where(same, np.inf, guess)
    second = others.argmin(1)
    return {
        **best_terms, "time": (weight * time).sum(1) / weight.sum(1), "best_time": best_terms["time"], "best": best,
        "second": second, "second_time": terms["time"][rows, second],
    }  # fmt: skip


def time_products(p: Products, chip: Chip, c: Constants, ker: Kernels, floor: float, reuse: int) -> TileTiming:
    """Time many products on one chip with one kernel set.

    Parameters
    ----------
    p : Products
    chip, c
        The data sheet, and the constants of the unit that multiplies.
    ker : Kernels
    floor : float
        Microseconds of an empty kernel as it is launched.
    reuse : int
        Copies of the weights that are gone through before one is met again; 0: never.

    Returns
    -------
    TileTiming
        Arrays of the length of `p`.

    Raises
    ------
    ValueError
        If no tile fits an SM.
    """
    size = max(1, _CHUNK // len(ker))
    parts = [_one(p.part(i, i + size), chip, c, ker, floor, reuse) for i in range(0, len(p), size)]
    return TileTiming(**{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
