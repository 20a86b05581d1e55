"""Kernels of several streams beside each other as events on shared resources.

Each stream runs the kernels of its network one after the other, and the network again and again. A kernel alone takes a
time and keeps each resource busy for a share of it. While kernels of several streams run, they advance at equal rates
until a resource is full; those that need it stay there, and the others go on to what is left, up to the rate that they
have alone (max-min fairness). When one ends, the next of its stream begins. Streams begin spread over the network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["MOST_STREAMS", "interval_of", "rates_of"]

MOST_STREAMS = 8
"""More of them keep the scarcest resource busy all the time."""

_ROUNDS = 4
"""Networks that each stream runs, the first of which is not counted."""
_FULL = 1e-9

Demand = tuple[float, ...]


def rates_of(demands: Sequence[Demand]) -> list[float]:
    """Rates of kernels, at most 1, of which each keeps every resource busy for a share of the time at the rate 1."""
    rates = [0.0] * len(demands)
    open_ = list(range(len(demands)))
    room = [1.0] * (len(demands[0]) if demands else 0)
    rate = 0.0
    while open_:
        use = [sum(demands[j][r] for j in open_) for r in range(len(room))]
        step = min([1 - rate, *(left / all_ for left, all_ in zip(room, use) if all_ > _FULL)])
        rate += max(0.0, step)
        room = [left - step * all_ for left, all_ in zip(room, use)]
        full = [r for r, left in enumerate(room) if left <= _FULL]
        held = [j for j in open_ if rate >= 1 - _FULL or any(demands[j][r] > _FULL for r in full)]
        for j in held:
            rates[j] = rate
        if not held:  # no resource is full and no rate is 1: rounding
            break
        open_ = [j for j in open_ if j not in held]
    for j in open_:
        rates[j] = rate
    return rates


def interval_of(times: Sequence[float], work: Sequence[Demand], streams: int) -> float:
    """Time in which one network is finished, of streams that each run its kernels.

    Parameters
    ----------
    times : sequence of float
        Of each kernel alone.
    work : sequence of tuple
        Time that it keeps each resource busy, at most its own.
    """
    busiest = max([sum(column) for column in zip(*work)], default=0.0)
    least = max(sum(times) / streams, busiest)
    kernels = [
        (time, tuple(min(1.0, busy / time) for busy in own)) for time, own in zip(times, work, strict=True) if time > 0
    ]
    if not 2 <= streams <= MOST_STREAMS or not kernels:
        return least
    # Streams that meet badly are not worse than fewer of them, which the others could wait for.
    return max(least, min(_interval(kernels, count) for count in range(2, streams + 1)))


def _interval(kernels: Sequence[tuple[float, Demand]], streams: int) -> float:
    number, total = len(kernels), sum(time for time, _ in kernels)
    first = [j * number // streams for j in range(streams)]
    place, left, rounds = list(first), [kernels[at][0] for at in first], [0] * streams
    known: dict[tuple[int, ...], list[float]] = {}
    now = done = since = before = 0.0
    while min(rounds) < _ROUNDS:
        key = tuple(place)
        if (rates := known.get(key)) is None:
            rates = known[key] = rates_of([kernels[at][1] for at in place])
        step = min((rest / rate for rest, rate in zip(left, rates) if rate > 0), default=math.inf)
        now += step
        done += step * sum(rates)
        for j, rate in enumerate(rates):
            left[j] -= step * rate
            if left[j] <= _FULL * kernels[place[j]][0]:
                place[j] = (place[j] + 1) % number
                left[j] = kernels[place[j]][0]
                rounds[j] += place[j] == first[j]
        if not since and min(rounds):
            since, before = now, done
    return (now - since) * total / (done - before)
