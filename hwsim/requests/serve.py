"""`hwsim.serve`: which latency holds at which load."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from numpy.typing import ArrayLike

from hwsim.errors import InputError, excerpt
from hwsim.machines import Machine, load_machine
from hwsim.requests.load import Load
from hwsim.requests.search import Search, Way
from hwsim.requests.service import ServiceTimes, shares_of
from hwsim.requests.task import SCENARIOS, Tell, number_of, task_of
from hwsim.workload import Workload, load_workload
from hwsim.workload.layer import whole
from hwsim.workload.transformer import llm_names

__all__ = ["SCENARIOS", "serve"]


def serve(
    machine: str | Path | Machine,
    workload: str | Path | Workload,
    scenario: str = "",
    bound_s: float | None = None,
    percentile: float | None = None,
    *,
    rate_per_s: float | None = None,
    trace: str | Path | ArrayLike | None = None,
    streams: int | None = None,
    max_batch: int | None = None,
    max_wait_s: float = 0.0,
    deadline_s: float | None = None,
    call_s: float | None = None,
    copy_s: float | None = None,
    queries: int | None = None,
    seed: int = 0,
    tell: Tell = lambda what: None,
) -> Load:
    """Serve requests of a network on a machine.

    Parameters
    ----------
    machine : Machine, str or Path
    workload : Workload, str or Path
    scenario : str
        Of MLPerf: ``single`` (one query after the other), ``multi`` (each of 8 samples), ``server`` (Poisson arrivals:
        the highest rate under the bound) or ``offline`` (all at once). Default: ``server``, unless a rate or a trace
        is given.
    bound_s : float
        What the latency at `percentile` may be; ``server`` must have it.
    percentile : float
        90 for ``single``, else 99.
    rate_per_s : float
        Poisson arrivals at this rate instead of a scenario.
    trace : str, Path or array
        Arrivals at these seconds: a CSV file or the times.
    streams : int
        Concurrent batches; default: the best of those that the machine can have.
    max_batch : int
        The most samples of a batch; default: the best.
    max_wait_s : float
        How long a free stream waits for a batch to fill.
    deadline_s : float
        A query that would begin later after its arrival is dropped.
    call_s, copy_s : float
        Of each batch, and of each of its samples, before the kernels: calls, copies over the host link; by default
        those of the machine. One host does them, from when the last sample has arrived, beside the kernels.
    queries : int
        How many are simulated.
    seed : int
        Of the arrivals. All rates share the random numbers.
    tell : callable
        Gets a line of what is done now.

    Returns
    -------
    Load
        ``queries_per_s``, ``latency_s`` (a DataFrame of percentiles), ``offline_per_s``, batches, utilization, what
        limits, and what was tried.

    Raises
    ------
    InputError
        For a bound below one inference, a rate of zero, a trace out of order, and what no machine can be.
    """
    task = task_of(scenario, bound_s, percentile, rate_per_s, trace, max_batch, max_wait_s, deadline_s, queries, seed)
    task = replace(task, tell=tell)
    if not isinstance(machine, Machine):
        machine = load_machine(machine)
    if not isinstance(workload, Workload) and str(workload) in llm_names():
        raise InputError(f"{workload} is a language model: use hwsim.serve_llm, whose requests share steps")
    if not isinstance(workload, Workload):
        workload = load_workload(workload)
    if streams is not None and (whole(streams) is None or streams < 1):
        raise InputError(f"streams must be a whole number of at least 1, not {excerpt(streams)}")
    around = [
        None if value is None else number_of(name, value, 0, False)
        for name, value in (("call", call_s), ("copy", copy_s))
    ]
    if sum(value or 0.0 for value in around) > 1e5:
        raise InputError(f"call and copy must be of a believable size, not {sum(value or 0.0 for value in around):g} s")
    ways = [Way(ServiceTimes(machine, workload, share, *around), task) for share in shares_of(machine, streams)]
    if task.scenario == "single" and streams is None:
        ways = ways[-1:] if ways[-1].share.streams <= ways[0].share.streams else ways[:1]
    return Search(machine, workload, task, ways).load()
