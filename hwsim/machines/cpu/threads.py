"""Threads of an operator: the share of each."""

from __future__ import annotations

from hwsim.machines.cpu.core_model import CoreModel
from hwsim.machines.cpu.work import Share, Work

__all__ = ["shares_of"]


def shares_of(work: Work | None, model: CoreModel, threads: int) -> list[Share]:
    """Shares of a layer on at most `threads` threads (None: a layer without MACs); the first share is the largest.

    A product is cut along its columns where it has more of them than rows, in whole vectors, else along its rows;
    several products are dealt out whole, except those of steps and experts, which all threads do together. Generated
    kernels deal out blocks of rows and columns.
    """
    if work is None:
        return [Share(1, 1, 1, threads, 1 / threads)] * threads
    threads = min(threads, work.macs // model.library.thread_macs + 1)
    lanes = model.ports.lanes
    if model.type.efficiency is not None or work.depthwise:
        tile = model.type.conv if work.conv else model.type.gemm
        units = work.b * -(-work.m // tile.rows[0]) * -(-work.n // (tile.vectors * lanes))
        return [Share(work.b, work.m, work.n, n, part) for n, part in _cut(units, threads)]
    if not work.conv and work.b > 1 and not work.joint:
        return [Share(round(part * work.b), work.m, work.n, n, part) for n, part in _cut(work.b, threads)]
    if work.n > work.m and not work.conv:
        blocks = -(-work.n // lanes)
        wide = [(n, part, round(part * blocks) * lanes) for n, part in _cut(blocks, threads)]
        return [Share(work.b, work.m, min(columns, work.n), n, part) for n, part, columns in wide]
    return [Share(work.b, round(part * work.m), work.n, n, part) for n, part in _cut(work.m, threads)]


def _cut(units: int, threads: int) -> list[tuple[int, float]]:
    """(threads, part of all) for each thread with work: equal numbers of units, the last one gets the remainder."""
    most = -(-units // threads)
    used = -(-units // most)
    last = units - most * (used - 1)
    return [(used, (most if i < used - 1 else last) / units) for i in range(used)]
