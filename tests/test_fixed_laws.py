"""Laws 5 and 10 of arrays whose planner has a fixed order of work: every such machine file, odd sizes, all kinds of layers."""

from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise

import pytest

import hwsim
from hwsim.machines import machine_names
from hwsim.machines.pe_array import PeArray

SIZES = (1, 2, 3, 5, 7, 8, 9, 13, 16, 17, 31, 32, 33, 64, 65, 127, 128, 129, 257)


@cache
def machine_of(name: str) -> hwsim.Machine:
    return hwsim.load_machine(name)


def names_of(*planners: str) -> list[str]:
    """Machine files of arrays with one of the planners."""
    return [n for n in machine_names() if isinstance(m := machine_of(n), PeArray) and m.array.planner in planners]


def conv(size: int, **sizes: int) -> hwsim.Conv2d:
    shape = {"c": 7, "h": 9, "w": 9, "k": 12, "r": 3, "pad": 1} | sizes
    return hwsim.Conv2d("c", **{key: value or size for key, value in shape.items()})


def grouped(groups: int, c: int, k: int) -> hwsim.Conv2d:
    return hwsim.Conv2d("d", c=groups * c, h=9, w=9, k=groups * k, groups=groups, r=3, pad=1)


def experts(**sizes: int) -> hwsim.ExpertGemm:
    return hwsim.ExpertGemm("e", **{"tokens": 7, "experts": 257, "topk": 2, "n": 60, "k": 31} | sizes)


LAYERS: dict[str, Callable[[int], hwsim.Layer]] = {
    "filters": lambda size: conv(size, k=0),
    "channels": lambda size: conv(size, c=0),
    "rows": lambda size: conv(size, h=0),
    "columns": lambda size: conv(size, w=0),
    "filters of many channels": lambda size: conv(size, c=130, h=15, w=15, k=0),
    "channels of many filters": lambda size: conv(size, c=0, h=15, w=15, k=70),
    "rows of an image": lambda size: conv(size, c=3, h=0, w=57, k=48),
    "depthwise": lambda size: grouped(size, 1, 1),
    "depthwise, two filters": lambda size: grouped(size, 1, 2),
    "groups": lambda size: grouped(size, 3, 5),
    "channels of 4 groups": lambda size: grouped(4, size, 16),
    "filters of 4 groups": lambda size: grouped(4, 16, size),
    "filters of 32 groups": lambda size: grouped(32, 4, size),
    "M": lambda size: hwsim.Gemm("g", m=size, n=60, k=31),
    "N": lambda size: hwsim.Gemm("g", m=5, n=size, k=131),
    "K": lambda size: hwsim.Gemm("g", m=5, n=160, k=size),
    "large K": lambda size: hwsim.Gemm("g", m=100, n=1030, k=16 * size),
    "products": lambda size: hwsim.BatchedMatmul("m", b=size, m=33, n=60, k=31),
    "tokens": lambda size: experts(tokens=size, experts=8),
    "experts of a token": lambda size: experts(topk=size),
    "columns of experts": lambda size: experts(n=size, k=200),
    "hidden": lambda size: hwsim.Lstm("l", input_size=33, hidden_size=size, steps=3),
    "steps": lambda size: hwsim.Lstm("l", input_size=33, hidden_size=70, steps=size),
    "pooled rows": lambda size: hwsim.Pool2d("p", c=17, h=size, w=31, r=3, stride=2, pad=1),
    "added channels": lambda size: hwsim.Elementwise("a", shape=(size, 14, 14)),
}


def cost(machine: hwsim.Machine, layer: hwsim.Layer, batch: int = 1) -> tuple[float, float]:
    """Seconds and picojoules of a layer by itself."""
    summary = hwsim.simulate(machine, hwsim.Workload("one", [layer]), batch=batch).summary
    return summary.latency_s, summary.energy_pj


def check_rising(costs: list[tuple[int, tuple[float, float]]], whats: Sequence[str], tick: float) -> None:
    """Neither time nor energy is above that of a larger size; the stages of a layer may round to a tick each."""
    for index, what in enumerate(("latency", "energy")):
        for (small, less), (large, more) in pairwise(costs):
            room = 2 * tick if what == "latency" else 0.0
            assert what not in whats or less[index] <= more[index] * (1 + 1e-9) + room, f"{what}: {small}, {large}"


FIXED = [(name, ("latency", "energy"), {}) for name in names_of("folds", "streamed weights")]
FIXED += [(name, (o,), {"mapper.objective": o}) for name in names_of("adder trees") for o in ("latency", "energy")]
Case = tuple[str, tuple[str, ...], dict[str, str]]
cases = pytest.mark.parametrize("case", FIXED, ids=lambda case: f"{case[0]}-{'-'.join(case[1])}")


@pytest.mark.slow
@cases
@pytest.mark.parametrize("dim", LAYERS)
def test_a_larger_layer_never_costs_less(case: Case, dim: str) -> None:
    name, whats, change = case
    machine = hwsim.load_machine(name, set=change)
    tick = machine.timebase.seconds(1)
    check_rising([(size, cost(machine, LAYERS[dim](size))) for size in SIZES], whats, tick)


@pytest.mark.slow
@cases
def test_a_larger_batch_never_costs_less(case: Case) -> None:
    name, whats, change = case
    machine = hwsim.load_machine(name, set=change)
    tick = machine.timebase.seconds(1)
    for layer in (conv(0), grouped(40, 1, 1), hwsim.Gemm("g", m=1, n=1030, k=1260), experts(experts=9, n=300)):
        check_rising([(size, cost(machine, layer, size)) for size in SIZES], whats, tick)
