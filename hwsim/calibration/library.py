"""Fits the costs of an inference library to single operators on this machine: call floor, reorders, loads, threads.

A prediction is linear in the library's costs. Operators are timed; the costs are the least squares of relative errors,
with each operator's weight lowered where it lies far off (Huber), none negative, and each held near the library's own
where the operators say little of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.calibration.operators import (
    SIGNED,
    chain_model,
    filter_chain,
    operator_layers,
    time_cold_product,
    time_model,
    time_operator,
)
from hwsim.calibration.rounds import Tell
from hwsim.errors import InputError
from hwsim.fields import check
from hwsim.kernels import probe
from hwsim.kernels.probe import Timing
from hwsim.machines.registry import kinds
from hwsim.message import Message
from hwsim.simulation import simulate
from hwsim.workload import Conv2d, Layer, Workload
from hwsim.yaml_source import Document, parse_yaml

Array = np.ndarray[Any, Any]

__all__ = [
    "DTYPES",
    "LibraryFit",
    "Sample",
    "cold_seconds",
    "filter_seconds",
    "fit",
    "fit_library",
    "measured_operators",
    "missing_runtime",
    "operator_seconds",
]

DTYPES = ("fp32", "int8", *SIGNED)
COSTS = ("session", "accumulate", "output", "reorder", "patch", "requantize", "tap", "thread", "reorder_thread")
"""Fitted costs; a number format has at most nine of them. A tenth, the overhead of an operator, is measured."""
SIGNS_COSTS = {"u8u8": ("accumulate", "requantize", "copy"), "s8s8": ("mac", "scalar", "sum", "panel", "copy")}
"""Fitted costs of 8-bit operands of other signs than u8s8; the others are those of int8."""
CHAIN = 64
"""Operators of the chain that it is measured on."""

FILTER, FILTERS = (96, 28), 8
"""Channels and size of the depthwise convolutions of a chain that `row` is measured on, and how many more it has."""

COLD = (1280, 1024)
"""Depth and columns of the product whose weights are dropped from the caches: 5 MiB."""
PAGE_BYTES = 4096

HUBER = 0.08
"""Relative error beyond which an operator counts as disturbed and has less weight."""
SPREAD = 0.5
"""Ratio of median to minimum above which an operator counts as disturbed."""
LEAST_THREADED = 6
"""Undisturbed operators on several threads that the costs of threads are fitted on, at least."""
PRIOR = 0.03
"""How much a cost that doubles weighs, as the relative error of one operator."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A layer of the grid as one operator: number format, threads, and its times."""

    layer: Layer
    dtype: str
    threads: int
    timing: Timing

    @property
    def seconds(self) -> float:
        """Its least time."""
        return self.timing.least_ns * 1e-9


@dataclass(frozen=True)
class LibraryFit:
    """Costs by number format, on how many operators they were fitted, and the mean error of these before and after.

    `restart` was measured: what a page of weights from memory costs beside its transfer, in cycles.
    """

    costs: Mapping[str, Mapping[str, float]]
    operators: Mapping[str, int]
    before: Mapping[str, float]
    after: Mapping[str, float]
    notes: tuple[Message, ...]
    runtime: str
    restart: float = 0.0

    def lines(self) -> list[str]:
        """Notes on the fit."""
        lines = [
            f"{dtype}: {len(costs)} costs of {self.runtime} fitted on {self.operators[dtype]} single operators; their "
            f"mean error was {self.before[dtype]:.1%} and is {self.after[dtype]:.1%}"
            for dtype, costs in self.costs.items()
        ]
        return lines + [f"note: {note}" for note in self.notes]


def missing_runtime() -> str:
    """Which of onnx and onnxruntime is not installed; nothing where both are."""
    return next((name for name in ("onnx", "onnxruntime") if find_spec(name) is None), "")


def measured_operators(threads: int, quick: bool = False, tell: Tell | None = None) -> list[Sample]:
    """Time every layer of the grid on one thread and on `threads`, in rounds as the micro-benchmarks."""
    if name := missing_runtime():
        raise InputError(f"{name} is not installed: pip install 'hwsim[onnx]' onnxruntime")
    rounds, seconds = (1, 0.03) if quick else (5, 0.03)
    todo = [
        (layer, dtype, count)
        for dtype in DTYPES
        for layer in operator_layers(dtype)
        for count in dict.fromkeys((1, 1 if dtype in SIGNED else threads))
    ]
    timings: dict[int, Timing] = {}
    for turn in range(rounds):
        for place, (layer, dtype, count) in enumerate(todo):
            if tell:
                tell(f"{dtype} {layer.name}", turn * len(todo) + place, rounds * len(todo))
            timing = time_operator(layer, dtype, count, seconds)
            timings[place] = timings[place] + timing if place in timings else timing
    return [Sample(*one, timings[place]) for place, one in enumerate(todo)]


def operator_seconds(quick: bool = False) -> float:
    """Overhead of an operator in a call of many: the slope over chains of tiny products."""
    rounds, seconds = (2, 0.02) if quick else (4, 0.05)
    least = [
        min(time_model(*chain_model(nodes), 1, seconds).least_ns for _ in range(rounds)) for nodes in (1, 1 + CHAIN)
    ]
    return max(0.0, least[1] - least[0]) * 1e-9 / CHAIN


def filter_seconds(quick: bool = False) -> float:
    """A depthwise convolution in fp32 behind another, where nothing is moved to another layout: the slope of chains."""
    rounds, seconds = (2, 0.02) if quick else (4, 0.05)
    least = [
        min(time_model(*filter_chain(FILTER, nodes), 1, seconds).least_ns for _ in range(rounds))
        for nodes in (1, 1 + FILTERS)
    ]
    return max(0.0, least[1] - least[0]) * 1e-9 / FILTERS


def cold_seconds(quick: bool = False) -> float:
    """What a page of weights from memory takes in a product of one row; nothing where caches cannot be emptied.

    Its inner loop does not run as far ahead as a plain read does: hardware prefetch starts anew in each page.
    """
    least = min(time_cold_product(COLD, 20).least_ns for _ in range(2 if quick else 5))
    return least * 1e-9 / (4 * COLD[0] * COLD[1] / PAGE_BYTES) if probe.drop(np.zeros(8, np.uint64)) else 0.0


def clean(samples: Sequence[Sample]) -> list[Sample]:
    """Undisturbed samples: repeats agree, and threads scale nearly as expected."""
    alone = {(one.layer.name, one.dtype): one.seconds for one in samples if one.threads == 1}
    usable = []
    for one in samples:
        most = (1 / one.threads + 0.15) * alone[one.layer.name, one.dtype] + one.threads * 3e-6
        if one.timing.spread <= SPREAD and (one.threads == 1 or one.seconds <= most):
            usable.append(one)
    return usable


def _predict(machine: Document, samples: Sequence[Sample], costs: Mapping[str, float]) -> Array:
    """Seconds of each sample, all of one number format, with costs over those of the library."""
    seconds: dict[tuple[str, int], float] = {}
    for threads in {one.threads for one in samples}:
        document = deepcopy(machine)
        kind = samples[0].dtype
        if kind in SIGNED:
            document.override({"threads": threads, f"costs.{kind}": dict(costs)})
        else:
            document.override({"threads": threads, "precision": kind, "costs": dict(costs)})
        here = machine_of(document)
        for one in samples:
            if one.threads == threads:
                seconds[one.layer.name, threads] = simulate(here, Workload("one", [one.layer])).summary.latency_s
    return np.array([seconds[one.layer.name, one.threads] for one in samples])


def fit(machine: Document, samples: Sequence[Sample], start: Mapping[str, float]) -> dict[str, float]:
    """The costs, in cycles, that predict samples of one number format best; `start` are those of the library."""
    threaded_samples = sum(one.threads > 1 for one in samples) >= LEAST_THREADED
    usable = [one for one in samples if threaded_samples or one.threads == 1]
    known = SIGNS_COSTS.get(samples[0].dtype, COSTS)
    names = [name for name in known if name in start and (threaded_samples or "thread" not in name)]
    nothing = dict.fromkeys(start, 0.0)
    base = _predict(machine, usable, nothing)
    # Predictions are linear in costs: the time that a thousand cycles of each add.
    each = [_predict(machine, usable, nothing | {name: 1e3}) - base for name in names]
    defaults = {name: value for name, value in start.items() if name not in names}
    base = base + (_predict(machine, usable, nothing | defaults) - base)
    seconds = np.array([one.seconds for one in usable])
    units = np.array(each).T / 1e3 / seconds[:, None]
    target = 1 - base / seconds
    scale = np.array([start[name] for name in names])
    prior = np.diag(PRIOR / scale)
    weight = np.ones(len(usable))
    costs = scale
    for _ in range(30):
        rows = np.vstack([units * weight[:, None], prior])
        costs = _least_squares(rows, np.concatenate([target * weight, np.full(len(names), PRIOR)]))
        off = np.abs(units @ costs - target)
        weight = np.sqrt(np.minimum(1.0, HUBER / np.maximum(off, 1e-12)))
    return {name: float(f"{cost:.4g}") for name, cost in zip(names, costs, strict=True)}


def _least_squares(rows: Array, target: Array) -> Array:
    """Non-negative least squares: negative results are set to zero and the rest is solved again."""
    active = np.ones(rows.shape[1], bool)
    solution_all = np.zeros(rows.shape[1])
    while active.any():
        solution = np.linalg.lstsq(rows[:, active], target, rcond=None)[0]
        if (solution >= 0).all():
            solution_all[active] = solution
            break
        active[np.flatnonzero(active)[solution < 0]] = False
    return solution_all


def row_cycles(machine: Document, call: float, filter_s: float) -> float:
    """What the start of a row of a depthwise filter takes, given the time of one filter of a chain."""
    channels, size = FILTER
    names = "abc"
    layers = [Conv2d(name, c=channels, h=size, w=size, k=channels, r=3, pad=1, groups=channels) for name in names]
    cycles = []
    for row in (0.0, 1.0):
        document = deepcopy(machine)
        document.override({"threads": 1, "precision": "fp32", "costs": {"call": call, "row": row}})
        here = machine_of(document)
        chains = [simulate(here, Workload("chain", layers[:n], graph=True)).summary.latency_s for n in (2, 3)]
        cycles.append((chains[1] - chains[0]) * here.hz)
    return float(max(0.0, (filter_s * here.hz - cycles[0]) / (cycles[1] - cycles[0])))


def fit_library(
    text: str, samples: Sequence[Sample], operator_s: float, page_s: float = 0.0, filter_s: float = 0.0
) -> LibraryFit:
    """Fit the costs of the library that a machine file names, for each number format that was measured.

    Parameters
    ----------
    operator_s, page_s, filter_s : float
        What an operator takes beside its work, from `operator_seconds`; a page of weights from memory, transfer
        included, from `cold_seconds`; a depthwise convolution behind another, from `filter_seconds`, 0: not measured.
    """
    machine = parse_yaml(text, "calibration")
    here = machine_of(machine)
    library = here.library
    call = float(f"{operator_s * here.hz:.4g}")
    restart = max(0.0, page_s * here.hz - PAGE_BYTES / here.core_model("fp32").dram)
    usable = clean(samples)
    notes = []
    if len(usable) < len(samples):
        template = "{noisy} of {operators} operators were too noisy and left out of the fit"
        values = {"noisy": len(samples) - len(usable), "operators": len(samples)}
        notes.append(Message("calibrate.noisy_operators", template, values))
    costs: dict[str, dict[str, float]] = {}
    counts, before, after = {}, {}, {}
    for dtype in DTYPES:
        own = [one for one in usable if one.dtype == dtype]
        if not own or (dtype not in library.types and not here.core_model("int8", signs=dtype).signs):
            continue
        if dtype in SIGNED:
            # On top of the costs of int8 that were fitted before.
            machine.override({"costs.int8": costs.get("int8", {})})
            kind = library.types["int8"]
            known = kind.costs | costs.get("int8", {}) | kind.signs[dtype].costs
            start = {name: known[name] for name in SIGNS_COSTS[dtype]}
            costs[dtype] = fit(machine, own, start)
        else:
            kind = library.types[dtype]
            measured = {"call": call}
            if kind.blocked and filter_s:
                measured["row"] = float(f"{row_cycles(machine, call, filter_s):.4g}")
            # The loads of a tap follow from the kernel's tile where images are blocked.
            start = {name: cost for name, cost in kind.costs.items() if cost and not (kind.blocked and name == "tap")}
            costs[dtype] = measured | fit(machine, own, start | measured)
        if "thread" in start and "thread" not in costs[dtype] and any(one.threads > 1 for one in samples):
            template = "{format} on several threads was too noisy: the thread costs of the library are used"
            notes.append(Message("calibrate.noisy_threads", template, {"format": dtype}))
        seconds = np.array([one.seconds for one in own])
        counts[dtype] = len(own)
        before[dtype] = float(np.mean(np.abs(_predict(machine, own, {}) / seconds - 1)))
        after[dtype] = float(np.mean(np.abs(_predict(machine, own, costs[dtype]) / seconds - 1)))
    return LibraryFit(costs, counts, before, after, tuple(notes), f"onnxruntime {version('onnxruntime')}", restart)


def machine_of(document: Document) -> Any:
    """The machine of a document of kind cpu."""
    machine_class = kinds()["cpu"]
    return machine_class(check(machine_class.spec_class, document), Path(), document)
