"""Threads of an operator: the share of each."""

from __future__ import annotations

from math import ceil

from hwsim.machines.cpu.core_model import CoreModel
from hwsim.machines.cpu.work import Share, Work
from hwsim.workload import Layer
from hwsim.workload.product import Stream

__all__ = ["pass_threads", "shares_of"]

_LINE_BYTES, _LINE_CYCLES = 64, 11


def pass_threads(layer: Layer, x: Stream, batch: int, model: CoreModel, threads: int) -> int:
    """Threads of a layer without MACs: all, or one where the library runs its kind so or takes it to be too small.

    ONNX Runtime asks the cost model of Eigen: 11 cycles for each line that is read or written, and one for each value,
    against `pass_cycles` (``TensorCostModel.h``: 100,000 to start, 1.1 times 100,000 for a second thread).
    """
    moved = layer.input.dtype == layer.output.dtype  # else values are quantized, or floats made of them
    if x.kind in model.type.serial and (x.kind != "copy" or moved):
        return 1
    if model.library.pass_cycles is not None and x.kind in ("elementwise", "activation"):
        values = layer.outputs * batch
        lines = (layer.inputs * batch + values) * model.word / _LINE_BYTES
        if values + lines * _LINE_CYCLES < model.library.pass_cycles:
            return 1
    return threads


def shares_of(work: Work | None, model: CoreModel, threads: int) -> list[Share]:
    """Shares of a layer on at most `threads` threads (None: a layer without MACs); the first share is the largest.

    The tiles of generated kernels fit the share, down to a row by a vector of columns. Convolutions on blocked images
    deal out rows of outputs of each block of filters. Others have a thread for each `thread_macs`: convolutions share
    their pixels; a product is cut along its columns where it has more of them than rows, in whole vectors, else along
    its rows; several products are dealt out whole, those of steps and experts cut one by one.
    """
    if work is None:
        return [Share(1, 1, 1, threads, 1 / threads)] * threads
    b, m, n, lanes = work.b, work.m, work.n, model.ports.lanes
    if model.type.efficiency is not None:
        columns = min(lanes, n)
        parts = _dealt(b * m * -(-n // columns), columns, b * m * n, threads)
        return [Share(b, m, n, len(parts), part) for part in parts]
    if work.conv and model.type.blocked:
        units = (1 if work.depthwise else b) * work.rows * -(-(b if work.depthwise else n) // lanes)
        return [Share(b, ceil(part * m), n, used, part) for used, part in _cut(units, threads)]
    target = work.macs // model.library.thread_macs + 1
    if not work.conv and b > 1 and not work.joint:
        target = work.macs // b // model.library.thread_macs + 1
        cuts = -(-min(threads, target) // b)
        if cuts == 1:
            return [Share(round(part * b), m, n, used, part) for used, part in _cut(b, threads)]
        each = _product(m, n, lanes, cuts)
        return [
            Share(round(part * b * len(each)), each[0].m, each[0].n, used, part)
            for used, part in _cut(b * len(each), threads)
        ]
    threads = min(threads, target)
    if work.conv:
        return [Share(b, round(part * m), n, used, part) for used, part in _cut(m, threads)]
    return [Share(b, one.m, one.n, one.threads, one.part) for one in _product(m, n, lanes, threads)]


def _product(m: int, n: int, lanes: int, threads: int) -> list[Share]:
    """Shares of one product."""
    if n <= m:
        return [Share(1, round(part * m), n, used, part) for used, part in _cut(m, threads)]
    blocks = -(-n // lanes)
    wide = [(used, part, round(part * blocks) * lanes) for used, part in _cut(blocks, threads)]
    return [Share(1, m, min(columns, n), used, part) for used, part, columns in wide]


def _cut(units: int, threads: int) -> list[tuple[int, float]]:
    """(threads, part of all) for each thread with work: equal numbers of units, the last one gets the remainder."""
    most = -(-units // threads)
    used = -(-units // most)
    last = units - most * (used - 1)
    return [(used, (most if i < used - 1 else last) / units) for i in range(used)]


def _dealt(units: int, each: int, total: int, threads: int) -> list[float]:
    """Part of each thread with work, where the last units may be less than `each` of the `total`.

    The busiest thread has full ones.
    """
    most = -(-units // threads) * each
    used = -(-total // most)
    return [min(1.0, most / total)] * (used - 1) + [max(0.0, 1 - most * (used - 1) / total)]
