"""A training step on many devices as discrete events: backward passes that free buckets, and a pipeline.

Time is in whole picoseconds. Devices that do the same at the same time are simulated once: `ranks=1`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import simpy

from hwsim.machines.cluster import Way
from hwsim.machines.cluster.events import TICKS_PER_S, collective

__all__ = ["Bucket", "Sending", "backward", "pipeline"]

Process = Generator[simpy.Event, Any, None]


@dataclass(frozen=True, slots=True)
class Bucket:
    """Gradients that leave together: when they are there, and when their collective starts and ends, in seconds."""

    size_bytes: float
    ready_s: float
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Sending:
    """How gradients are summed: the collective of a bucket, from how many bytes on, and whether at once."""

    way: Callable[[float], Way]
    bucket_bytes: float
    overlap: bool


def _ticks(seconds: float) -> int:
    return round(seconds * TICKS_PER_S)


def backward(
    layers: Sequence[tuple[float, float]], sending: Sending, before_s: float = 0.0, ranks: int = 1
) -> tuple[float, list[Bucket]]:
    """When the backward pass ends, and the buckets.

    Parameters
    ----------
    layers : sequence of (seconds, bytes)
        In the order of the backward pass: time, and gradients that are there after it.
    sending : Sending
    before_s : float
        When the backward pass starts.
    ranks : int
        Devices that are simulated: 1 stands for all.

    Returns
    -------
    (float, list of Bucket)
        Seconds from the start of the step; those of the first device.
    """
    env = simpy.Environment(0)
    sizes = _buckets(layers, sending.bucket_bytes)
    ready = [[env.event() for _ in sizes] for _ in range(ranks)]
    compute = [0] * ranks
    rows: list[Bucket] = []

    def computing(rank: int) -> Process:
        yield env.timeout(_ticks(before_s))
        bucket, open_bytes = 0, 0.0
        for seconds, size in layers:
            yield env.timeout(_ticks(seconds))
            open_bytes += size
            if sending.overlap and bucket < len(sizes) and open_bytes >= sending.bucket_bytes:
                ready[rank][bucket].succeed(env.now)
                bucket, open_bytes = bucket + 1, 0.0
        compute[rank] = int(env.now)
        for event in ready[rank][bucket:]:
            event.succeed(env.now)

    def communicating() -> Process:
        for place, size in enumerate(sizes):
            way = sending.way(size)
            yield ready[0][place]
            start = env.now
            yield collective(env, way, size, ranks == 1, [row[place] for row in ready])
            then: int = ready[0][place].value  # type: ignore[assignment]
            rows.append(Bucket(size, then / TICKS_PER_S, start / TICKS_PER_S, env.now / TICKS_PER_S))

    for rank in range(ranks):
        env.process(computing(rank))
    env.process(communicating())
    env.run()
    return compute[0] / TICKS_PER_S, rows


def _buckets(layers: Sequence[tuple[float, float]], least: float) -> list[float]:
    """Bytes of each bucket: it leaves once it has so many, and the last with what is left."""
    sizes, size = [], 0.0
    for _, more in layers:
        size += more
        if size >= least:
            sizes.append(size)
            size = 0.0
    return [*sizes, size] if size else sizes


def pipeline(forward: Sequence[float], back: Sequence[float], transfer: Sequence[float], micro: int) -> list[float]:
    """When each stage has ended its last micro-batch, one forward and one backward pass at a time (1F1B).

    Parameters
    ----------
    forward, back : sequence of float
        Seconds of a micro-batch in each stage.
    transfer : sequence of float
        Seconds of what goes over each cut, either way.
    micro : int
        Micro-batches.
    """
    env = simpy.Environment(0)
    stages = len(forward)
    down = [simpy.Store(env) for _ in range(stages)]
    up = [simpy.Store(env) for _ in range(stages)]
    ends = [0] * stages

    def send(store: simpy.Store, seconds: float) -> Process:
        yield env.timeout(_ticks(seconds))
        store.put(None)

    def stage(place: int) -> Process:
        warm = min(micro, stages - 1 - place)

        def ahead() -> Process:
            if place:
                yield down[place].get()
            yield env.timeout(_ticks(forward[place]))
            if place < stages - 1:
                env.process(send(down[place + 1], transfer[place]))

        def behind() -> Process:
            if place < stages - 1:
                yield up[place].get()
            yield env.timeout(_ticks(back[place]))
            if place:
                env.process(send(up[place - 1], transfer[place - 1]))

        for _ in range(warm):
            yield from ahead()
        for _ in range(micro - warm):
            yield from ahead()
            yield from behind()
        for _ in range(warm):
            yield from behind()
        ends[place] = int(env.now)

    for place in range(stages):
        env.process(stage(place))
    env.run()
    return [end / TICKS_PER_S for end in ends]
