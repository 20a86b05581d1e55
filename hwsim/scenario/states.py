"""Additions to the timeline of a duty cycle: sleep of the core, and the layers of the first inference."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from hwsim.engine import Interval, ResourceTotals, Timeline
from hwsim.engine.activity import Names, Record
from hwsim.engine.clock import Timebase
from hwsim.scenario.schedule import Phases
from hwsim.scenario.window import Window

__all__ = ["with_states"]

_SLEEP, _DEEP = 0, 1


def with_states(window: Window, phases: Phases, timebase: Timebase, network: Timeline) -> Timeline:
    """The timeline with the core's sleep, and with the layers of its first inference from `network`.

    A run of equal periods has one interval for all of their sleeps, so the number of intervals grows by a small factor.
    """
    timeline, starts, capture, wake_up = window.timeline, window.starts, phases.capture, phases.wake_up
    work = sorted((i for i in timeline.each_interval() if i.stage == "inference"), key=lambda i: i.tile)
    sleeps: list[Record] = []

    def start_of(tile: int) -> int:
        return starts * tile if isinstance(starts, int) else starts[tile]

    def add_sleep(tile: int, start: int, end: int, repeat: int, period: int) -> None:
        """Add sleep before the inference of a tile: light sleep during its capture."""
        light = max(start, min(start_of(tile), end)), max(start, min(start_of(tile) + capture, end))
        for state, since, until in ((_DEEP, start, light[0]), (_SLEEP, *light), (_DEEP, light[1], end)):
            if since < until:
                sleeps.append((state, tile, since, until, repeat, period, ()))

    end = 0
    for interval in work:
        if interval.outer:
            continue  # an outer repetition occurs only if the core never catches up, and so never sleeps
        add_sleep(interval.tile, end, interval.start - wake_up, 1, 0)
        if interval.repeat > 1:
            following = interval.start - wake_up + interval.period
            add_sleep(interval.tile + 1, interval.end, following, interval.repeat - 1, interval.period)
        end = max(end, interval.last_end)
    states = (("core", "duty cycle", "sleep"), ("core", "duty cycle", "deep sleep"))
    parts = [*timeline.parts, (0, states, sleeps)]
    resources = dict(timeline.resources)
    if work and network.timebase is not None and network.parts:
        resources["layers"] = ResourceTotals(1, network.end, 0)
        parts += _layers(network, timebase.rate_hz / network.timebase.rate_hz, work[0])
    return replace(timeline, timebase=timebase, parts=tuple(parts), resources=resources)


def _layers(network: Timeline, ticks: Fraction, first: Interval) -> list[tuple[int, Names, list[Record]]]:
    """Intervals of the network's stages in ticks of the scenario, from the start of the first inference."""
    scale = int(ticks)
    parts = []
    for shift, names, records in network.parts:
        layer_names = tuple(("layers", pipeline, stage) for _, pipeline, stage in names)
        layer_records = [
            (station, tile, start * scale, end * scale, repeat, period * scale, tuple((n, p * scale) for n, p in outer))
            for station, tile, start, end, repeat, period, outer in records
        ]
        parts.append((first.start + shift * scale, layer_names, layer_records))
    return parts
