"""Arguments of the Python interface: numbers of numpy, text, bytes, objects that raise, in the place of each argument."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

import hwsim
from hwsim.scenario import duty_cycle
from hwsim.sweeps.reader import read_space
from tests.fuzz.case import Case
from tests.fuzz.seeds import machines, networks


class _Index:
    def __index__(self) -> int:
        return 7

    def __repr__(self) -> str:
        raise RuntimeError("no text")


class _NoIndex:
    def __index__(self) -> int:
        raise RuntimeError("no number")


VALUES: tuple[Any, ...] = (
    0, -1, 1, 3, 2**31, 2**31 + 1, 2**63, -(2**63), 10**30, 10**5000, True, False, None, 1.0, 1.5, float("nan"), float("inf"), -0.0,
    "3", "x", "", "same", "\0", "\ud800", "[/]", "1" * 5000, b"3", [], [1], [1, 2], [1, 2, 3, 4], (1, 2), {}, {"a": 1}, set(),
    np.int64(3), np.int8(-1), np.uint64(2**63), np.float32(3), np.float64("nan"), np.bool_(True), np.array(3),
    np.array([1, 2]), np.array([1, 2, 3, 4]), np.str_("same"), Decimal(3), Fraction(3), 3 + 0j, object(), len, range(3),
    _Index(), _NoIndex(), type, ..., Path("x"), Path("/dev/zero"), [[]], [None], {"density": 0.5}, {"density": np.nan},
)  # fmt: skip
LAYERS: dict[str, dict[str, Any]] = {
    "Conv2d": {
        "c": 3, "h": 8, "w": 8, "k": 4, "r": 3, "s": 3, "stride": 1, "pad": 1, "dilation": 1, "groups": 1, "depthwise": False, "bias": True,
        "activation": "relu", "dead_out": 0, "dead_in": 0, "input": "int8", "weight": "int8", "output": "int8",
    },
    "Gemm": {"m": 4, "n": 4, "k": 4, "bias": True, "activation": "none", "input": "int8", "weight": "int8"},
    "BatchedMatmul": {"b": 2, "m": 4, "n": 4, "k": 4},
    "Pool2d": {"c": 3, "h": 8, "w": 8, "r": 2, "stride": 2, "type": "max"},
    "Softmax": {"shape": (4, 4)},
    "Elementwise": {"shape": (4, 4), "type": "add", "n": 2},
    "Concat": {"parts": [1, 2], "before": (2,), "rest": (3,)},
    "Embedding": {"tokens": 3, "rows": 10, "dim": 4},
    "Lstm": {"input_size": 4, "hidden_size": 4, "steps": 2},
    "Gru": {"input_size": 4, "hidden_size": 4, "steps": 2},
    "Activation": {"shape": (4,), "type": "relu"},
    "DataMovement": {"shape": (4,), "type": "copy"},
}  # fmt: skip


def _layer(draw: Random, value: Any) -> Callable[[], object]:
    kind = draw.choice(list(LAYERS))
    arguments = dict(LAYERS[kind])
    name = "x"
    if draw.random() < 0.1:
        name = value
    else:
        arguments[draw.choice(list(arguments))] = value
        if draw.random() < 0.3:
            arguments[draw.choice(list(arguments))] = draw.choice(VALUES)

    def make() -> object:
        layer = getattr(hwsim, kind)(name, **arguments)
        layer.macs, layer.inputs, layer.outputs, layer.weights, layer.ops, repr(layer), hash(layer)
        return hwsim.simulate(machine, hwsim.Workload("w", [layer])) if run else layer

    machine, run = draw.choice(machines()), draw.random() < 0.3
    return make


def _workload(draw: Random, value: Any) -> Callable[[], object]:
    gemm = hwsim.Gemm("g", m=4, n=4, k=4)
    network = draw.choice(networks())
    return draw.choice(
        (
            lambda: hwsim.Workload(value, [gemm]),
            lambda: hwsim.Workload("w", value),
            lambda: hwsim.Workload("w", [value]),
            lambda: hwsim.Workload("w", [(gemm, value)]),
            lambda: hwsim.Workload("w", [gemm], source=value),
            lambda: hwsim.Workload("w", [gemm], graph=value),
            lambda: hwsim.Workload("w", [gemm], graph=True, input_shape=value),
            lambda: hwsim.Workload("w", [gemm], digest=value),
            lambda: network.select(value),
            lambda: network[value],
            lambda: network.peak_activation_bytes(value),
            lambda: network.liveness(value),
            lambda: network.cache_bytes(value),
            lambda: network.replace(value),
            lambda: gemm.with_density(weight=value),
            lambda: gemm.with_dtype(weight=value),
            lambda: value in network,
        )
    )


def _run(draw: Random, value: Any) -> Callable[[], object]:
    machine, network, board = draw.choice(machines()), draw.choice(networks()), hwsim.load_machine("nucleo_l4r5zi")
    key = draw.choice(("array.rows", "clocks.core", "name", "kind", "memories", "energy.prices", "threads", "x"))
    sweep_key = draw.choice(
        ("machines", "workloads", "batch", "set", "zip", "where", "constraints", "metrics", "per_layer", "name")
    )
    return draw.choice(
        (
            lambda: hwsim.simulate(machine, network, value),
            lambda: hwsim.simulate(value, network),
            lambda: hwsim.simulate(machine, value),
            lambda: hwsim.simulate(value),
            lambda: machine.plan(network, value),
            lambda: machine.plan(value),
            lambda: machine.plan(network).select(value),
            lambda: machine.plan(network)[value],
            lambda: hwsim.load_machine(value),
            lambda: hwsim.load_machine("systolic_ws", set=value),
            lambda: hwsim.load_machine("systolic_ws", set={key: value}),
            lambda: hwsim.load_workload(value),
            lambda: hwsim.load_workload("kws", shape=value),
            lambda: hwsim.load_workload("kws", search=value),
            lambda: duty_cycle(hwsim.simulate(board, network), value),
            lambda: duty_cycle(hwsim.simulate(board, network), "1 s", value),
            lambda: duty_cycle(hwsim.simulate(board, network), "1 s", seed=value, jitter="1 ms"),
            lambda: read_space(value),
            lambda: read_space({"machines": ["systolic_ws"], "workloads": ["kws"], sweep_key: value}),
            lambda: read_space({"machines": ["systolic_ws"], "workloads": ["kws"], "set": {key: value}}),
        )
    )


def case(draw: Random, folder: Path) -> Case:
    """One call with one or two hostile arguments."""
    value = draw.choice(VALUES)
    action = draw.choice((_layer, _workload, _run))(draw, value)
    return Case(action, label=f"{type(value).__name__} in {action.__qualname__} line {action.__code__.co_firstlineno}")
