"""Mappings of ZigZag, re-typed as nests: under the same unrolling, prices and capacities, the search costs no more.

ZigZag (zigzag-dse 3.9.1, LOMA, uneven, at most 6 loop factors, least energy) on its example tpu_like: 32 x 32 MACs,
K on the rows, C on the columns; 128 B of weights and one 16-bit sum in each PE, a buffer of inputs and outputs.
"""

import importlib

import pytest

from hwsim.mapping import (
    Cost,
    Level,
    Mapping,
    Policy,
    Problem,
    check_capacity,
    conv_problem,
    counts,
    search,
    templates,
)
from hwsim.mapping.space import Space

ALL = ("ifmap", "weight", "ofmap")
LEVELS = [
    Level("dram", ALL),
    Level("sram", ("ifmap", "ofmap")),
    Level("rf_w", ("weight",), inside=True),
    Level("rf_o", ("ofmap",), inside=True),
]
#: pJ a bit, read and write: r_cost and w_cost of tpu_like.yaml over the bits of an access.
PRICES = {
    "dram": (700 / 64, 750 / 64),
    "sram": (416.16 / 2048, 378.4 / 2048),
    "rf_w": (0.095 / 8, 0.095 / 8),
    "rf_o": (0.021 / 16, 0.021 / 16),
}
POLICY = Policy(refill=("sram",))
REGISTERS = ["rf_w keeps weight", "rf_o keeps ofmap"]
WHOLE = ["dram keeps ifmap, weight, ofmap", "sram keeps ifmap, ofmap"]


def layer(k: int, c: int, size: int, filters: int, stride: int = 1) -> Problem:
    return conv_problem(
        k=k, c=c, p=size, q=size, r=filters, s=filters, stride=(stride, stride), bits=(8, 8, 8), accumulator_bits=16
    )


def array(k: int, c: int) -> list[str]:
    return [f"spatial K by {k} on rows", f"spatial C by {c} on cols"]


def loops(dims: str) -> list[str]:
    return [f"for {dim} by 1" for dim in dims]


def uneven(k: int, c: int, above: list[str], inside: str) -> list[str]:
    """The weights of a PE last longer than its sum."""
    return [*array(k, c), REGISTERS[0], *above, REGISTERS[1], *loops(inside)]


#: Problem, buffer in KiB, the nest of ZigZag.
CASES = {
    "conv1": (
        layer(64, 3, 112, 7, 2),
        2048,
        [*WHOLE, *uneven(2, 1, ["for K by 1", "for Q by 16", *loops("QP")], "RS")],
    ),
    "layer1": (layer(64, 64, 56, 3), 2048, [*WHOLE, *uneven(2, 2, loops("KQP"), "SRC")]),
    "layer2.0": (layer(128, 64, 28, 3, 2), 2048, [*WHOLE, *uneven(4, 2, loops("KQP"), "SRC")]),
    "layer2.0 1x1": (
        layer(128, 64, 28, 1, 2),
        2048,
        [*WHOLE, *uneven(4, 2, ["for K by 1", "for Q by 7", "for Q by 1", "for P by 7", "for P by 1"], "C")],
    ),
    "layer3.1": (
        layer(256, 256, 14, 3),
        2048,
        [*WHOLE, "for K by 32", *loops("QP"), *array(1, 8), *REGISTERS, *loops("SRC")],
    ),
    "layer4.1": (
        layer(512, 512, 7, 3),
        2048,
        [*WHOLE, "for S by 1", "for K by 32", *loops("QP"), *array(1, 16), *REGISTERS, *loops("RC")],
    ),
    "layer2.0, 64 KiB": (
        layer(128, 64, 28, 3, 2),
        64,
        [WHOLE[0], "for Q by 1", WHOLE[1], *uneven(4, 2, loops("KP"), "SRC")],
    ),
}
#: uJ that ZigZag reports of it, and how much less we count: it rounds reads of 3 channels up to 64 bits.
REPORTED = {
    "conv1": (129.505, 0.08),
    "layer1": (68.295, 0.005),
    "layer2.0": (47.914, 0.005),
    "layer2.0 1x1": (16.432, 0.005),
    "layer3.1": (88.725, 0.005),
    "layer4.1": (239.649, 0.005),
    "layer2.0, 64 KiB": (56.678, 0.005),
}


def cost_of(problem: Problem) -> Cost:
    """Energy: sums are 16 bits wide, final outputs 8 where they leave a register, the buffer, or the chip."""
    prices, fixed = {}, 0.04 * problem.macs
    for level in LEVELS:
        read, write = (price for price in PRICES[level.memory])
        for tensor in level.tensors:
            bits = problem.operand(tensor).sum_bits
            actions = {"read": read} if level.memory == "dram" else {"read": read, "fill": write}
            if tensor == "ofmap":
                actions |= {"update": write} if level.memory == "dram" else {"update": write, "drain": read}
            for action, price in actions.items():
                prices[level.memory, tensor, action] = price * bits
                if action in ("update", "drain") and (level.memory, action) != ("rf_o", "update"):
                    fixed -= price * 8 * problem.words("ofmap")
    return Cost("energy", prices=prices, fixed=fixed)


class OneUnrolling(Space):
    """K on the rows, C on the columns, nothing else."""

    def _dim(self, dim):  # type: ignore[no-untyped-def]
        rows, cols = self.array
        self.array = (rows if dim == "K" else 1, cols if dim == "C" else 1)
        try:
            return super()._dim(dim)
        finally:
            self.array = (rows, cols)


@pytest.mark.parametrize("name", CASES)
def test_its_mappings_cost_what_it_says(name: str) -> None:
    problem, _, lines = CASES[name]
    reported, less = REPORTED[name]
    energy = cost_of(problem).energy(counts(problem, Mapping.parse(lines), POLICY), 0)
    assert reported * (1 - less) <= energy / 1e6 <= reported


@pytest.mark.parametrize("name", CASES)
def test_the_search_is_never_worse(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With 64 KiB weights stay in a PE across loops outside the register of its sum."""
    problem, kib, lines = CASES[name]
    mapping = Mapping.parse(lines)
    capacities = {"sram": kib * 8192, "rf_w": 128 * 8, "rf_o": 16}
    check_capacity(problem, mapping, capacities)
    units = {dim: min(size, 128) for dim, size in problem.dims.items()}
    nests = templates(problem, "weight_stationary", LEVELS, units=units)
    monkeypatch.setattr(importlib.import_module("hwsim.mapping.search"), "Space", OneUnrolling)
    cost = cost_of(problem)
    best = search(
        problem, nests, cost, array=(32, 32), units=units, capacities=capacities, policy=POLICY, effort=1_000_000_000
    )
    used = {(loop.dim, loop.spatial) for loop in best.mapping.loops if loop.spatial}
    assert used <= {("K", "rows"), ("C", "cols")}
    assert best.proved
    assert best.energy <= cost.energy(counts(problem, mapping, POLICY), 0) * (1 + 1e-9)
