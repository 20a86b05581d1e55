"""The engine's program of an operator: its threads on cores that share L3 and DRAM."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

from hwsim.engine.program import Pipeline, Program, Run, Stage
from hwsim.machines.cpu.costs import BOUNDS

__all__ = ["STARTING", "program_of"]

_SHARED = ("l3", "dram")
_SHOWN = 16
#: Stages of the thread that starts the others.
STARTING = ("call", "threads")


def program_of(
    cycles: list[dict[str, int]], shared: int, ticks: Callable[[int], int], servers: Callable[[str, int], float]
) -> Program:
    """The threads of an operator after the one that starts them, each on a core, sharing L3 and DRAM.

    Parameters
    ----------
    cycles : list of dict
        Of each thread, cycles by stage.
    shared : int
        Cycles that the operator waits for DRAM after all threads, for contention with other streams.
    ticks, servers
        Ticks of cycles; cores, of so many, that a shared memory serves at full bandwidth together.

    Notes
    -----
    Threads that do the same and never wait for a memory are one pipeline, named after all of them. Of those that
    wait, at most `_SHOWN` are modelled separately: groups of g threads are modelled as one thread with g times the work
    on 1/g of the servers.
    """
    resources: dict[str, int] = {}
    pipelines: list[Pipeline] = []
    together = -(-len(cycles) // _SHOWN)
    free = {memory: servers(memory, len(cycles)) for memory in _SHARED}
    contended = {memory: n < len(cycles) for memory, n in free.items()}

    def add(name: str, core: str, stage_cycles: dict[str, int], after: tuple[str, ...] = ()) -> None:
        stages, durations = [], []
        for stage, n in stage_cycles.items():
            place = ("dram" if "dram" in stage_cycles else "l3") if stage == "hidden" else stage
            place = "dram" if stage == "shared" else place if place in _SHARED else core
            resources[place] = 1
            if place in _SHARED:
                resources[place] = max(1, ceil(free[place] / together)) if contended[place] else len(cycles)
            scale = together * resources[place] / free[place] if contended.get(place) and stage != "shared" else 1.0
            stages.append(Stage(stage, place))
            durations.append(ticks(max(1, round(n * scale))))
        pipelines.append(Pipeline(name, tuple(stages), (Run(1, tuple(durations)),), after))

    start = {stage: n for stage, n in cycles[0].items() if stage in STARTING and n}
    if start:
        add("start", "core 0", start)
    after = tuple(pipeline.name for pipeline in pipelines)
    for low, high in _groups(cycles, together, [memory for memory, waits in contended.items() if waits]):
        taken = {stage: cycles[low][stage] for stage in BOUNDS if cycles[low].get(stage) and stage not in STARTING}
        if taken:
            label = f"{low}" if low == high else f"{low}-{high}"
            add(f"thread {label}", f"core {label}", taken, after)
    if shared:
        ends = tuple(pipeline.name for pipeline in pipelines if pipeline.name != "start")
        add("memory", "", {"shared": shared}, ends or after)
    return Program(resources, tuple(pipelines))


def _groups(cycles: list[dict[str, int]], together: int, contended: list[str]) -> list[tuple[int, int]]:
    """First and last thread of each group that is one pipeline."""
    groups: list[tuple[int, int]] = []
    for i, thread in enumerate(cycles):
        waits = any(thread.get(memory) for memory in contended)
        room = not waits or i - groups[-1][0] < together if groups else False
        if room and cycles[i - 1] == thread:
            groups[-1] = (groups[-1][0], i)
        else:
            groups.append((i, i))
    return groups
