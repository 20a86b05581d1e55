"""The timeline of a duty cycle made whole: when the core sleeps, and what the first inference is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from hwsim.engine import Interval, ResourceTotals, Timeline
from hwsim.engine.activity import Names, Record
from hwsim.engine.clock import Timebase

__all__ = ["with_states"]

_SLEEP, _DEEP = 0, 1


def with_states(
    timeline: Timeline, timebase: Timebase, network: Timeline, starts: Sequence[int] | int, capture: int, waking: int
) -> Timeline:
    """The timeline with the core's sleep, and with the layers of its first inference, which `network` has.

    `starts` is when each capture starts, in ticks, or the period that is between them. A stretch of equal periods has
    one interval for all of their sleeps, so there are at most a few times as many as before.
    """
    work = sorted((i for i in timeline.each_interval() if i.stage == "inference"), key=lambda i: i.tile)
    sleeps: list[Record] = []

    def begins(tile: int) -> int:
        return starts * tile if isinstance(starts, int) else starts[tile]

    def asleep(tile: int, start: int, end: int, repeat: int, period: int) -> None:
        """Sleep before the inference of a tile: lightly while its sensor captures."""
        light = max(start, min(begins(tile), end)), max(start, min(begins(tile) + capture, end))
        for state, since, until in ((_DEEP, start, light[0]), (_SLEEP, *light), (_DEEP, light[1], end)):
            if since < until:
                sleeps.append((state, tile, since, until, repeat, period, ()))

    end = 0
    for interval in work:
        if interval.outer:
            continue  # only where the core never catches up does a stretch recur: it does not sleep then
        asleep(interval.tile, end, interval.start - waking, 1, 0)
        if interval.repeat > 1:
            following = interval.start - waking + interval.period
            asleep(interval.tile + 1, interval.end, following, interval.repeat - 1, interval.period)
        end = max(end, interval.last_end)
    states = (("core", "duty cycle", "sleep"), ("core", "duty cycle", "deep sleep"))
    parts = [*timeline.parts, (0, states, sleeps)]
    resources = dict(timeline.resources)
    if work and network.timebase is not None and network.parts:
        resources["layers"] = ResourceTotals(1, network.end, 0)
        parts += _layers(network, timebase.rate_hz / network.timebase.rate_hz, work[0])
    return replace(timeline, timebase=timebase, parts=tuple(parts), resources=resources)


def _layers(network: Timeline, ticks: Fraction, first: Interval) -> list[tuple[int, Names, list[Record]]]:
    """What the network's stages do, in ticks of the scenario, from the start of the first inference."""
    scale = int(ticks)
    parts = []
    for shift, names, records in network.parts:
        renamed = tuple(("layers", pipeline, stage) for _, pipeline, stage in names)
        scaled = [
            (station, tile, start * scale, end * scale, repeat, period * scale, tuple((n, p * scale) for n, p in outer))
            for station, tile, start, end, repeat, period, outer in records
        ]
        parts.append((first.start + shift * scale, renamed, scaled))
    return parts
