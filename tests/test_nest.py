"""Nests executed on real data: the output is the convolution, and every count is that of the closed form."""

from __future__ import annotations

from collections.abc import Mapping as ReadMapping

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray
from test_counts_oracle import nests, policies, problems
from test_counts_references import CASES, POLICY as REFERENCE_POLICY

import hwsim.kernels.nest
from hwsim.errors import MappingError
from hwsim.kernels.nest import Execution, execute, tensor_shape
from hwsim.mapping import (
    Mapping,
    Operand,
    Policy,
    Problem,
    batched_gemm_problem,
    check_capacity,
    conv_problem,
    counts,
    footprints,
    gemm_problem,
)

Tensors = ReadMapping[str, NDArray[np.int8]]


def random_tensors(problem: Problem, density: float = 1.0, seed: int = 0) -> dict[str, NDArray[np.int8]]:
    """Both inputs, with about that share of non-zeros."""
    rng = np.random.default_rng(seed)
    made = {}
    for operand in problem.operands:
        if not operand.output:
            shape = tensor_shape(operand, problem)
            values = rng.integers(-128, 128, shape, dtype=np.int8)
            made[operand.name] = values * (rng.random(shape) < density).astype(np.int8)
    return made


def direct(problem: Problem, tensors: Tensors) -> tuple[NDArray[np.int64], int]:
    """The output, and the MACs with a zero: every iteration of the problem at once, summed over what it reduces."""
    grid = dict(zip(problem.dims, np.indices(tuple(problem.dims.values()))))
    values = []
    for operand in problem.operands:
        if not operand.output:
            at = tuple(sum(c * grid[dim] for dim, c in axis) for axis in operand.axes)
            values.append(tensors[operand.name].astype(np.int64)[at])
    product = values[0] * values[1]
    left = [dim for dim in problem.dims if dim in problem.output.dims]
    sums = product.sum(axis=tuple(i for i, dim in enumerate(problem.dims) if dim not in left))
    return sums.transpose([left.index(dim) for dim in problem.output.dims]), int((product == 0).sum())


def check(problem: Problem, mapping: Mapping, policy: Policy, density: float = 1.0) -> Execution:
    tensors = random_tensors(problem, density)
    ran = execute(problem, mapping, tensors, policy)
    output, zeros = direct(problem, tensors)
    assert (ran.output == output).all()
    closed = counts(problem, mapping, policy)
    assert ran.counts == {key: n for key, n in closed.actions.items() if n}
    assert ran.macs == closed.macs == problem.macs
    assert ran.gated == zeros
    words = footprints(problem, mapping)
    assert ran.peak == {key: words[key] for key in ran.peak}
    return ran


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_nest(data: st.DataObject) -> None:
    problem = data.draw(problems())
    check(problem, data.draw(nests(problem)), data.draw(policies), data.draw(st.sampled_from([0.0, 0.3, 1.0])))


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_convolution(data: st.DataObject) -> None:
    """All dims at once, larger than the word-by-word walk of the closed form's own test can take."""
    size = st.integers(1, 6)
    pair = st.tuples(st.integers(1, 4), st.integers(1, 3))
    n, g, k, c, p, q, r, s = (data.draw(size) for _ in range(8))
    stride, dilation = data.draw(pair), data.draw(pair)
    problem = conv_problem(min(n, 2), min(g, 2), k, c, p, q, min(r, 3), min(s, 3), stride, dilation)
    check(problem, data.draw(nests(problem)), data.draw(policies), 0.5)


@pytest.mark.parametrize("name", CASES)
def test_published_reference_nests(name: str) -> None:
    problem, text = CASES[name]
    if problem.macs > 10**6:  # 21.7 M MACs: the output is checked as a convolution of one channel after the other
        tensors = random_tensors(problem, 0.5)
        ran = execute(problem, Mapping.parse(text), tensors, REFERENCE_POLICY)
        closed = counts(problem, Mapping.parse(text), REFERENCE_POLICY)
        assert ran.counts == {key: n for key, n in closed.actions.items() if n}
        x, w = tensors["ifmap"][0, 0].astype(np.int64), tensors["weight"][0].astype(np.int64)
        windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))[:, ::2, ::2]
        assert (ran.output[0, 0] == np.einsum("kcrs,cpqrs->kpq", w, windows)).all()
    else:
        check(problem, Mapping.parse(text), REFERENCE_POLICY)


ROW_STATIONARY = """
dram keeps ifmap, weight, ofmap
for P by 5
for K by 4
glb keeps ofmap
for C by 3
glb keeps ifmap
spatial R by 1 on rows
spatial P by 1 on cols
spatial C by 2 on sets
spad keeps weight
for Q by 1
spad keeps ifmap, ofmap
for K by 1
for C by 1
for S by 1
"""


@pytest.mark.parametrize("reuse", ["slide", "keep", "refill"])
@pytest.mark.parametrize("multicast", ["word", "tile", "none"])
@pytest.mark.parametrize("reduction", ["tree", "none"])
def test_row_stationary_with_ragged_everything(reuse: str, multicast: str, reduction: str) -> None:
    problem = conv_problem(n=2, k=6, c=7, p=13, q=9, r=3, s=3, stride=(2, 1))
    mapping = Mapping.parse(ROW_STATIONARY + "for N by 1")
    check(problem, mapping, Policy(reuse, multicast, reduction, refill=("glb",)), 0.4)


def test_batches_and_transposed_outputs() -> None:
    lines = ["dram keeps ifmap, weight, ofmap", "for N by 3", "spatial B by 1 on rows", "buffer keeps ofmap, weight",
             "for M by 1", "spatial N by 1 on cols", "for K by 1"]  # fmt: skip
    check(batched_gemm_problem(3, 5, 7, 4), Mapping.parse(lines), Policy())
    gemm = gemm_problem(5, 7, 4)
    turned = Operand("ofmap", ((("N", 1),), (("M", 1),)), 16, output=True)
    problem = Problem("turned", gemm.dims, (*gemm.operands[:2], turned))
    del lines[2]
    check(problem, Mapping.parse(lines), Policy())


def test_zeros_by_hand() -> None:
    nest = Mapping.parse(["dram keeps ifmap, weight, ofmap", "for M by 1", "for N by 1", "for K by 1"])
    x, w = np.array([[0, 2, 3]], np.int8), np.array([[1, 0], [0, 5], [6, 7]], np.int8)
    ran = execute(gemm_problem(1, 2, 3), nest, {"ifmap": x, "weight": w})
    assert ran.output.tolist() == [[18, 31]]
    assert ran.gated == 2 + 1  # both products of x[0], and x[1] times w[1, 0]
    assert ran.counts["dram", "ofmap", "read"] == 6 - 2  # the first product of an output adds to nothing


GEMM = gemm_problem(4, 6, 8)
GEMM_NEST = Mapping.parse(
    "dram keeps ifmap, weight, ofmap\nfor N by 3\nbuffer keeps weight, ofmap\nfor M by 1\nfor K by 1\nfor N by 1"
)


def test_what_just_fits_runs_and_a_bit_less_does_not() -> None:
    tensors = random_tensors(GEMM)
    need = (8 * 3 + 4 * 3) * 16
    execute(GEMM, GEMM_NEST, tensors, capacities={"buffer": need})
    execute(GEMM, GEMM_NEST, tensors, capacities={"buffer": {"weight": 24 * 16, "ofmap": 12 * 16}})
    message = "buffer holds 575 bits; weight 384 bits \\+ ofmap 192 bits is 1 bits too much, with 'for N by 3' at 0"
    with pytest.raises(MappingError, match=message):
        execute(GEMM, GEMM_NEST, tensors, capacities={"buffer": need - 1})
    with pytest.raises(MappingError, match="buffer holds 100 bits; ofmap 192 bits is 92 bits too much"):
        execute(GEMM, GEMM_NEST, tensors, capacities={"buffer": {"weight": 24 * 16, "ofmap": 100}})


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(st.data())
def test_capacity_is_that_of_the_closed_form(data: st.DataObject) -> None:
    problem = data.draw(problems())
    mapping = data.draw(nests(problem))
    room = {
        memory: data.draw(st.integers(0, 40)) * 16
        for memory in ("glb", "spad", *data.draw(st.sampled_from([(), ("dram",)])))
    }
    try:
        check_capacity(problem, mapping, room)
    except MappingError:
        with pytest.raises(MappingError, match="too much"):
            execute(problem, mapping, random_tensors(problem), capacities=room)
    else:
        execute(problem, mapping, random_tensors(problem), capacities=room)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ifmap": None}, "ifmap must be an array of int8, not nothing"),
        ({"ifmap": np.zeros((4, 8))}, "ifmap must be an array of int8, not float64"),
        ({"weight": np.zeros((6, 8), np.int8)}, r"weight must have the shape \(8, 6\), not \(6, 8\)"),
    ],
)
def test_bad_tensors(change: dict[str, NDArray[np.int8]], message: str) -> None:
    with pytest.raises(MappingError, match=message):
        execute(GEMM, GEMM_NEST, random_tensors(GEMM) | change)


def test_strided_tensors_are_taken() -> None:
    tensors = random_tensors(GEMM)
    turned = {name: np.asfortranarray(values) for name, values in tensors.items()}
    assert (execute(GEMM, GEMM_NEST, turned).output == execute(GEMM, GEMM_NEST, tensors).output).all()


def test_sums_that_might_overflow_are_refused() -> None:
    lines = ["dram keeps ifmap, weight, ofmap", "for M by 1", "for N by 1", "for K by 1"]
    depth = 2**17  # times 128 x 128 is 2**31
    tensors = {"ifmap": np.full((1, depth), -128, np.int8), "weight": np.full((depth, 1), -128, np.int8)}
    with pytest.raises(MappingError, match="must stay below 2\\*\\*31: 131,072 products of at most 128 x 128"):
        execute(gemm_problem(1, 1, depth), Mapping.parse(lines), tensors)
    tensors["weight"][:] = 127
    assert execute(gemm_problem(1, 1, depth), Mapping.parse(lines), tensors).output[0, 0] == -128 * 127 * depth


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hwsim.kernels.nest, "LARGEST_BYTES", 100)
    with pytest.raises(MappingError, match="must fit 0 MiB"):
        execute(GEMM, GEMM_NEST, random_tensors(GEMM))


def test_progress_ends_at_all_macs() -> None:
    told: list[int] = []
    execute(GEMM, GEMM_NEST, random_tensors(GEMM), progress=told.append)
    assert told[-1] == GEMM.macs
