"""Points of a sweep that serve requests: a load of a network, or of a language model, as a row of totals.

A point serves where a key of ``serve.`` is swept: the options of ``hwsim serve`` by their names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from hwsim.errors import Fault, InputError, excerpt, nearest
from hwsim.machines import Machine
from hwsim.sweeps.sources import LLM, LlmSource, WorkloadSource
from hwsim.sweeps.totals import TOTALS
from hwsim.units import parse

__all__ = ["SERVING_TOTALS", "check_serving", "is_serving_key", "serving_totals"]

SERVING_TOTALS = (
    "queries_per_s", "offline_per_s", "p50_s", "p90_s", "p99_s", "p999_s", "streams", "max_batch", "mean_batch", "busy",
    "drops", "energy_per_query_pj", "average_w", "ttft_s", "tpot_s", "tokens_per_s", "energy_per_token_pj",
)  # fmt: skip
"""Columns that loads have besides those of a run."""
_PREFIX = "serve."
_PLACES = {"p50_s": 50.0, "p90_s": 90.0, "p99_s": 99.0, "p999_s": 99.9}


def _text(value: object) -> object:
    return value


def _time(value: object) -> float:
    if not isinstance(value, str):
        raise InputError(f"must be a time with its unit, as 15 ms, not {excerpt(value)}")
    try:
        return float(parse(value, "time"))
    except ValueError as error:
        raise InputError(str(error)) from None


#: The argument of `hwsim.serve` of each key, and how its value is read.
_NETWORK: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "scenario": ("scenario", _text), "bound": ("bound_s", _time), "percentile": ("percentile", _text),
    "rate": ("rate_per_s", _text), "streams": ("streams", _text), "max_batch": ("max_batch", _text),
    "max_wait": ("max_wait_s", _time), "deadline": ("deadline_s", _time), "call": ("call_s", _time),
    "copy": ("copy_s", _time), "queries": ("queries", _text), "seed": ("seed", _text),
}  # fmt: skip
#: The same of `hwsim.serve_llm`.
_MODEL: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "rate": ("rate_per_s", _text), "concurrency": ("concurrency", _text), "bound_ttft": ("bound_ttft_s", _time),
    "bound_tpot": ("bound_tpot_s", _time), "percentile": ("percentile", _text), "in": ("input", _text),
    "out": ("output", _text), "spread": ("spread", _text), "queries": ("requests", _text), "seed": ("seed", _text),
}  # fmt: skip
_FORMATS = ("weights", "kv", "activations", "tp")


def is_serving_key(name: str) -> bool:
    """Whether a key is one of a load."""
    return name.startswith(_PREFIX)


def check_serving(changes: Mapping[str, Any], workload: WorkloadSource, batches: tuple[Any, ...]) -> None:
    """Refuse keys and values that no load has; raises InputError with the key of each."""
    _arguments(changes, workload)
    if batches != (1,):
        first = next(iter(changes))
        raise InputError([Fault(f"--set {first}", "", "must be with batch 1: serve.max_batch says how many share one")])


def _arguments(changes: Mapping[str, Any], workload: WorkloadSource) -> dict[str, Any]:
    model = isinstance(workload, LlmSource)
    known = _MODEL if model else _NETWORK
    faults, arguments = [], {}
    for key, value in changes.items():
        name = key.removeprefix(_PREFIX)
        if name == "threads":
            faults.append(Fault(f"--set {key}", "", "is a key of the machine: write threads"))
        elif name not in known:
            what = "language models" if name in _MODEL else "networks" if name in _NETWORK else ""
            near = f"is of {what} alone" if what else f"unknown key{nearest(name, known)}"
            faults.append(Fault(f"--set {key}", "", near))
        else:
            argument, read = known[name]
            try:
                arguments[argument] = read(value)
            except InputError as error:
                faults += [Fault(f"--set {key}", "", fault.message) for fault in error.faults]
    if faults:
        raise InputError(faults)
    return arguments


def serving_totals(
    machine: Machine, workload: WorkloadSource, workload_changes: Mapping[str, Any], changes: Mapping[str, Any]
) -> dict[str, Any]:
    """The totals of a load by the columns of a run and of loads; those that it does not have are None."""
    import hwsim

    arguments = _arguments(changes, workload)
    if isinstance(workload, LlmSource):
        assert workload.model is not None
        for key in workload_changes:
            if key.removeprefix(LLM) not in _FORMATS:
                raise InputError(f"{key} is of one step: a load has serve.in, serve.out and as many as there are")
        formats = {key.removeprefix(LLM): value for key, value in workload_changes.items()}
        library = machine.library_name or "" if machine.serving is not None else ""
        load = hwsim.serve_llm(machine, workload.model, library=library, **formats, **arguments)
        row = {
            "queries_per_s": load.rate_per_s if load.arrivals == "bounds" else load.per_s,
            "offline_per_s": load.saturation_per_s,
            "ttft_s": load.ttft_s,
            "tpot_s": load.tpot_s,
            "tokens_per_s": load.tokens_per_s,
            "energy_per_token_pj": load.energy_per_token_pj,
            "busy": load.utilization,
            "mean_batch": load.mean_sequences,
        }
        layers: int | None = None
        energy: float | None = load.energy_per_token_pj * load.tokens_per_s / load.per_s
        latencies = load.percentiles
        fits = load.fits
        result = next(row["latency_s"] for row in latencies if row["percentile"] == load.percentile)
        samples = 1
    else:
        network = workload.workload(dict(workload_changes))
        run = hwsim.serve(machine, network, **arguments)
        row = {
            "queries_per_s": run.queries_per_s,
            "offline_per_s": run.offline_per_s,
            "streams": run.streams,
            "max_batch": run.max_batch,
            "mean_batch": run.mean_batch,
            "busy": run.utilization,
            "drops": run.drops,
            "average_w": run.energy.average_w,
        }
        latencies, energy, layers, fits = run.percentiles, run.energy.query_pj, len(network.layers), run.fits
        result, samples = run.result_s, run.samples
    row |= {
        column: next(entry["latency_s"] for entry in latencies if entry["percentile"] == percentile)
        for column, percentile in _PLACES.items()
    }
    return _row(machine, layers, result, samples, fits, energy, row)


def _row(
    machine: Machine,
    layers: int | None,
    latency_s: float,
    samples: int,
    fits: bool,
    energy_pj: float | None,
    load: dict[str, Any],
) -> dict[str, Any]:

    origin = machine.energy_origin
    energy = energy_pj if energy_pj is not None and math.isfinite(energy_pj) else None
    row: dict[str, Any] = dict.fromkeys(TOTALS) | {
        "layers": layers,
        "latency_s": latency_s,
        "energy_pj": energy,
        "energy_per_inference_pj": None if energy is None else energy / samples,
        "power_w": load.get("average_w"),
        "inferences_per_s": load["queries_per_s"] * samples,
        "fits": fits,
        "library_name": machine.library_name,
        "energy_scope": origin.scope,
        "energy_basis": origin.basis,
        "area_mm2": machine.area_mm2,
        "cost_usd": machine.cost_usd,
    }
    row |= {name: load.get(name) for name in SERVING_TOTALS} | {"energy_per_query_pj": energy}
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()
    }
