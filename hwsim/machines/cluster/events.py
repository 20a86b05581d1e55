"""Collectives as discrete events: every rank is a process, every link carries one chunk at a time.

Time is in whole picoseconds. `symmetric` runs one rank that stands for all: what it sends is what it receives.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import simpy

from hwsim.machines.cluster.way import Way

__all__ = ["TICKS_PER_S", "collective", "collective_s"]

TICKS_PER_S = 10**12

Process = Generator[simpy.Event, Any, None]
Ready = Sequence[simpy.Event]


def _ticks(seconds: float) -> int:
    return round(seconds * TICKS_PER_S)


def collective(
    env: simpy.Environment,
    way: Way,
    size: float,
    symmetric: bool = False,
    ready: Ready | None = None,
) -> simpy.Event:
    """The event of the end of a collective on all ranks; each takes part once its event of `ready` has happened."""
    ranks = 1 if symmetric else way.ranks
    wait = ready or [env.timeout(0) for _ in range(ranks)]
    if way.name == "ring":
        processes = _ring(env, way, size, ranks, wait)
    elif way.name == "tree":
        processes = _tree(env, way, size, ranks, wait)
    elif way.name == "server":
        processes = _server(env, way, size, ranks, wait)
    else:
        processes = [_switch(env, way, size, wait, rank) for rank in range(ranks)]
    return env.all_of([env.process(process) for process in processes])


def collective_s(way: Way, size: float, symmetric: bool = False) -> float:
    """Seconds of a collective by its events."""
    env = simpy.Environment(0)
    env.run(collective(env, way, size, symmetric))
    return float(env.now) / TICKS_PER_S


def _ring(env: simpy.Environment, way: Way, size: float, ranks: int, ready: Ready) -> list[Process]:
    """Each rank sends a chunk, gets that of the rank before it, and passes on what it got."""
    step, chunk = _ticks(way.step_s), _ticks(size / (way.ranks * way.bytes_per_s))
    links = [simpy.Resource(env) for _ in range(ranks)]
    inbox = [simpy.Store(env) for _ in range(ranks)]

    def send(rank: int) -> Process:
        with links[rank].request() as turn:
            yield turn
            yield env.timeout(chunk)
        yield env.timeout(step)
        inbox[(rank + 1) % ranks].put(None)

    def process(rank: int) -> Process:
        yield ready[rank]
        yield env.timeout(_ticks(way.start_s))
        for _ in range(way.steps):
            env.process(send(rank))
            yield inbox[rank].get()

    return [process(rank) for rank in range(ranks)]


def _tree(env: simpy.Environment, way: Way, size: float, ranks: int, ready: Ready) -> list[Process]:
    """The head of the stream goes up a binary tree and down again; the stream follows through the busiest link."""
    depth = way.ranks.bit_length() - 1
    up = [env.event() for _ in range(ranks)]
    down = [env.event() for _ in range(ranks)]
    at = [round(way.path_s * TICKS_PER_S * hop / (2 * depth)) for hop in range(2 * depth + 1)]
    stream = _ticks(2 * size / way.bytes_per_s)

    def process(rank: int) -> Process:
        level = (rank + 1).bit_length() - 1
        yield ready[rank]
        yield env.timeout(_ticks(way.start_s))
        yield env.all_of([up[child] for child in (2 * rank + 1, 2 * rank + 2) if child < ranks])
        if rank:
            yield env.timeout(at[depth - level + 1] - at[depth - level])
            up[rank].succeed()
            yield down[(rank - 1) // 2]
            yield env.timeout(at[depth + level] - at[depth + level - 1])
        elif ranks == 1:
            yield env.timeout(at[-1])
        down[rank].succeed()
        yield env.timeout(stream)

    return [process(rank) for rank in range(ranks)]


def _server(env: simpy.Environment, way: Way, size: float, ranks: int, ready: Ready) -> list[Process]:
    """All ranks send to the servers, whose links take one after the other; then all get the sum."""
    into, out = simpy.Resource(env), simpy.Resource(env)
    share = _ticks(size / (way.rings * way.bytes_per_s)) * (way.ranks if ranks == 1 else 1)
    arrived, total = [env.event() for _ in range(ranks)], env.event()

    def process(rank: int) -> Process:
        yield ready[rank]
        yield env.timeout(_ticks(way.start_s + way.step_s))
        with into.request() as turn:
            yield turn
            yield env.timeout(share)
        arrived[rank].succeed()
        if rank == 0:
            yield env.all_of(arrived)
            total.succeed()
        else:
            yield total
        yield env.timeout(_ticks(way.step_s))
        with out.request() as turn:
            yield turn
            yield env.timeout(share)

    return [process(rank) for rank in range(ranks)]


def _switch(env: simpy.Environment, way: Way, size: float, ready: Ready, rank: int) -> Process:
    """Each rank writes its share to the switch and reads the sum."""
    yield ready[rank]
    yield env.timeout(_ticks(way.start_s + way.steps * way.step_s))
    yield env.timeout(_ticks((1 + 1 / way.ranks) * size / way.bytes_per_s))
