"""`hwsim.serve_shared`: several networks that share a machine, by priority."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.errors import InputError, excerpt, nearest
from hwsim.machines import Machine, load_machine
from hwsim.machines.memory import MemoryUse
from hwsim.message import Message
from hwsim.requests.arrivals import MOST_QUERIES, TICKS_PER_S, Ticks, poisson
from hwsim.requests.energy import load_energy
from hwsim.requests.load import PERCENTILES, Latencies, percentile_of
from hwsim.requests.search import Way
from hwsim.requests.service import ServiceTimes, Share, shares_of
from hwsim.requests.station import Line, Policy, run_shared
from hwsim.requests.task import Task, task_of
from hwsim.workload import Workload, load_workload
from hwsim.workload.layer import whole
from hwsim.workload.transformer import llm_names
from hwsim.workload.transformer.network import count_of

__all__ = ["SharedLoad", "Tenant", "TenantLoad", "serve_shared"]

_QUERIES = 100_000
_MOST_TENANTS = 64
_OVERLOAD = 0.98


@dataclass(frozen=True)
class Tenant:
    """A network that shares a machine: its arrivals, at a rate or of a trace, its batches, and its priority."""

    workload: str | Path | Workload
    rate_per_s: float | None = None
    trace: Any = None
    priority: int = 0
    max_batch: int | None = None
    max_wait_s: float = 0.0
    deadline_s: float | None = None


@dataclass(frozen=True)
class TenantLoad:
    """What one network sees.

    Attributes
    ----------
    per_s : float
        Queries answered a second, of those that arrived at `rate_per_s`.
    latency_s : mapping
        Latency by percentile; infinite where that query was dropped.
    busy : float
        Share of the time of all streams that its batches take.
    work_pj : float, optional
        Energy of a query without idle time; None is unknown.
    """

    workload: str
    priority: int
    max_batch: int
    rate_per_s: float
    queries: int
    drops: int
    per_s: float
    latency_s: Mapping[float, float]
    mean_batch: float
    busy: float
    work_pj: float | None
    fits: bool
    log: Latencies


@dataclass(frozen=True)
class SharedLoad:
    """Several networks on a machine; `average_w` is None where it is unknown."""

    machine: str
    streams: int
    threads: int | None
    seed: int
    utilization: float
    average_w: float | None
    idle_w: float | None
    energy_scope: str
    networks: tuple[TenantLoad, ...]
    messages: tuple[Message, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether each network fits the memory by itself."""
        return all(network.fits for network in self.networks)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the event logs as plain data; None is unknown or infinite."""
        data = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("networks", "messages")}
        data["networks"] = [
            {f.name: getattr(network, f.name) for f in fields(network) if f.name not in ("log", "latency_s")}
            | {
                "latency_s": [
                    {"percentile": p, "latency_s": value if math.isfinite(value) else None}
                    for p, value in network.latency_s.items()
                ]
            }
            for network in self.networks
        ]
        return data | {"messages": [message.to_dict() for message in self.messages]}


def serve_shared(
    machine: str | Path | Machine,
    networks: Sequence[Tenant | Mapping[str, Any]],
    *,
    streams: int | None = None,
    queries: int | None = None,
    seed: int = 0,
) -> SharedLoad:
    """Serve requests of several networks on a machine, by priority.

    Parameters
    ----------
    machine : Machine, str or Path
    networks : sequence of Tenant or mapping
        Each with the fields of `Tenant`.
    streams : int
        Concurrent batches, of any network; default: those of the machine, else as few as it can have.
    queries : int
        How many are simulated of all networks with a rate together; each has arrivals over the same time.
    seed : int
        Of the arrivals.

    Returns
    -------
    SharedLoad

    Raises
    ------
    InputError
        For a network without a rate or a trace, and what `hwsim.serve` refuses.
    """
    if not isinstance(machine, Machine):
        machine = load_machine(machine)
    if isinstance(networks, str | Mapping) or not 1 <= len(networks) <= _MOST_TENANTS:
        raise InputError(f"there must be 1 to {_MOST_TENANTS} networks that share a machine")
    if streams is not None and (whole(streams) is None or streams < 1):
        raise InputError(f"streams must be a whole number of at least 1, not {excerpt(streams)}")
    number = _QUERIES if queries is None else count_of("queries", queries, MOST_QUERIES)
    tenants = [_tenant(entry) for entry in networks]
    share = min(shares_of(machine, streams), key=lambda option: (option.streams, -(option.threads or 0)))
    parts = [_Part.of(machine, tenant, share, seed) for tenant in tenants]
    total = math.fsum(part.task.rate_per_s or 0.0 for part in parts)
    span_s = max([part.task.times[-1] / TICKS_PER_S for part in parts if part.task.times is not None], default=0.0)
    span_s = span_s or (number / total if total else 0.0)
    arrivals = [part.arrivals(span_s, place) for place, part in enumerate(parts)]
    if sum(map(len, arrivals)) > MOST_QUERIES:
        raise InputError(f"there must be at most {MOST_QUERIES:,} queries, not {sum(map(len, arrivals)):,}")
    lines = [Line(part.times.ticks, part.policy, before=part.times.before) for part in parts]
    run_shared(share.streams, list(zip(arrivals, lines, strict=True)))
    return _shared(machine, share, seed, parts, [Latencies(line.records) for line in lines])


def _tenant(entry: Tenant | Mapping[str, Any]) -> Tenant:
    if isinstance(entry, Tenant):
        return entry
    if not isinstance(entry, Mapping):
        raise InputError(f"a network must be a mapping or a Tenant, not {excerpt(entry)}")
    known = [f.name for f in fields(Tenant)]
    if wrong := [key for key in entry if key not in known]:
        raise InputError(f"a network has no {excerpt(wrong[0])}{nearest(str(wrong[0]), known)}")
    if "workload" not in entry:
        raise InputError("a network must have a workload")
    return Tenant(**entry)


@dataclass(frozen=True)
class _Part:
    """A tenant, checked."""

    name: str
    priority: int
    task: Task
    times: ServiceTimes
    policy: Policy

    @classmethod
    def of(cls, machine: Machine, tenant: Tenant, share: Share, seed: int) -> _Part:
        workload = tenant.workload
        if not isinstance(workload, Workload) and str(workload) in llm_names():
            raise InputError(f"{workload} is a language model: its requests share steps, not a machine with others")
        if not isinstance(workload, Workload):
            workload = load_workload(workload)
        if (tenant.rate_per_s is None) == (tenant.trace is None):
            raise InputError(f"{workload.name} must have a rate or a trace, one of them")
        if whole(tenant.priority) is None or abs(tenant.priority) > 10**6:
            raise InputError(f"priority must be a whole number up to a million, not {excerpt(tenant.priority)}")
        task = task_of(
            "", None, None, tenant.rate_per_s, tenant.trace, tenant.max_batch, tenant.max_wait_s, tenant.deadline_s,
            None, seed,
        )  # fmt: skip
        times = ServiceTimes(machine, workload, share)
        most = Way(times, task).batches()[0]
        policy = Policy(share.streams, most, task.wait, task.deadline, int(tenant.priority))
        return cls(workload.name, int(tenant.priority), task, times, policy)

    def arrivals(self, span_s: float, place: int) -> Ticks:
        """Of the trace, or at the rate up to the end of the span, at least one."""
        if self.task.times is not None:
            return self.task.times
        assert self.task.rate_per_s is not None
        mean = self.task.rate_per_s * span_s
        if mean > MOST_QUERIES:
            raise InputError(f"there must be at most {MOST_QUERIES:,} queries, not {mean:,.0f} of {self.name}")
        if mean < 1:
            raise InputError(
                f"{self.name} must have arrivals in {span_s:.3g} s, the length of the run, not {mean:.2g} in the mean: "
                "give more queries, or a trace"
            )
        seed = self.task.seed if not place else [self.task.seed, place]
        times = poisson(self.task.rate_per_s, int(mean + 6 * math.sqrt(mean)) + 10, seed)
        return times[: max(1, int(np.searchsorted(times, round(span_s * TICKS_PER_S), "right")))]


def _shared(machine: Machine, share: Share, seed: int, parts: Sequence[_Part], logs: Sequence[Latencies]) -> SharedLoad:
    span = max(1, *(int(log.ends.max()) for log in logs)) - min(int(log.arrivals[0]) for log in logs)
    span_s = max(1, span) / TICKS_PER_S
    networks, work, idle_w = [], 0.0, None
    for part, log in zip(parts, logs, strict=True):
        busy = log.records.busy / TICKS_PER_S / share.streams / span_s
        energy = load_energy(part.times, log.records.batches, span_s, busy, log.completed)
        idle_w = energy.idle_w if energy.idle_w is not None else idle_w
        if log.completed:
            work += math.nan if energy.work_pj is None else energy.work_pj * log.completed
        networks.append(
            TenantLoad(
                workload=part.name,
                priority=part.priority,
                max_batch=part.policy.most,
                rate_per_s=part.task.rate_per_s or len(log.arrivals) / span_s,
                queries=len(log.arrivals),
                drops=log.records.drops,
                per_s=log.completed / span_s,
                latency_s={p: percentile_of(log.ordered_s, p) for p in PERCENTILES},
                mean_batch=log.mean_batch,
                busy=busy,
                work_pj=energy.work_pj,
                fits=part.times.fits(part.policy.most),
                log=log,
            )
        )
    busy = math.fsum(network.busy for network in networks)
    watts = None
    if idle_w is not None and math.isfinite(work):
        watts = work / 1e12 / span_s + idle_w * max(0.0, 1 - busy)
    load = SharedLoad(
        machine=machine.name,
        streams=share.streams,
        threads=share.threads,
        seed=seed,
        utilization=busy,
        average_w=watts,
        idle_w=idle_w,
        energy_scope=machine.energy_origin.scope,
        networks=tuple(networks),
    )
    return replace(load, messages=_messages(load, _together(parts)))


def _together(parts: Sequence[_Part]) -> list[MemoryUse]:
    """Memories that do not hold what all networks need, each with memory of its own."""
    uses: dict[str, MemoryUse] = {}
    for part in parts:
        for use in part.times.memories(part.policy.most):
            before = uses.get(use.memory)
            uses[use.memory] = use if before is None else replace(use, parts=(*before.parts, *use.parts))
    return [use for use in uses.values() if not use.fits]


def _messages(load: SharedLoad, short: Sequence[MemoryUse]) -> tuple[Message, ...]:
    messages = []
    late = any(network.drops for network in load.networks)
    if load.utilization > _OVERLOAD and not late:
        template = "overloaded: streams busy {busy:.0%} of the time, and a queue grows with the length of the run"
        messages.append(Message("requests.overload", template, {"busy": load.utilization}, "warning"))
    for network in load.networks:
        if network.drops:
            template = "{workload}: {drops:,} of {queries:,} queries dropped: they would have begun after the deadline"
            values = {"workload": network.workload, "drops": network.drops, "queries": network.queries}
            messages.append(Message("requests.tenant_drops", template, values, "warning"))
        if not network.fits:
            template = "{workload}: batches of {batch} do not fit the memory"
            values = {"workload": network.workload, "batch": network.max_batch}
            messages.append(Message("requests.tenant_memory", template, values, "error"))
    for memory in short:
        template = "all networks together need {need_bytes:size} of the {memory}, which has {size_bytes:size}"
        values = {"memory": memory.memory, "need_bytes": memory.need_bytes, "size_bytes": memory.size_bytes}
        messages.append(Message("requests.shared_memory", template, values, "warning"))
    if load.streams > 1:
        template = "batches of other networks slow one down as much as batches of its own do"
        messages.append(Message("requests.shared_streams", template))
    return tuple(messages)
