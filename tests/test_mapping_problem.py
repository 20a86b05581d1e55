"""Problems: how many words a box of iterations touches."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from hwsim.errors import MappingError
from hwsim.mapping import Operand, Problem, batched_gemm_problem, conv_problem, distinct, gemm_problem

small = st.integers(1, 9)


@given(small, small, small, small)
def test_distinct_counts_different_sums(u: int, d: int, p: int, r: int) -> None:
    assert distinct(u, d, p, r) == len({u * i + d * k for i in range(p) for k in range(r)})


def test_an_input_axis_is_the_padded_tensor() -> None:
    # (P - 1) * stride + (R - 1) * dilation + 1, if the windows leave no gaps
    problem = conv_problem(k=96, c=3, p=55, q=55, r=11, s=11, stride=(4, 4))
    assert problem.words("ifmap") == 3 * 227 * 227
    assert problem.words("weight") == 96 * 3 * 11 * 11
    assert problem.words("ofmap") == 96 * 55 * 55
    assert problem.macs == 105_415_200


def test_words_between_windows_are_not_touched() -> None:
    assert conv_problem(p=4, q=1, r=1, s=1, stride=(3, 1)).words("ifmap") == 4
    assert conv_problem(p=2, r=3, dilation=(2, 1)).words("ifmap") == 6


def test_groups_are_a_dim_of_every_tensor() -> None:
    depthwise = conv_problem(g=32, p=8, q=8, r=3, s=3)
    assert depthwise.words("ifmap") == 32 * 10 * 10
    assert depthwise.words("weight") == 32 * 9
    assert depthwise.macs == 32 * 64 * 9


def test_gemm() -> None:
    problem = gemm_problem(5, 7, 11, bits=(8, 8, 32))
    assert [problem.words(t) for t in problem.tensors] == [55, 77, 35]
    assert problem.output.bits == 32
    assert batched_gemm_problem(3, 5, 7, 11).macs == 3 * problem.macs


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gemm_problem(0, 1, 1), "gemm: the size of dim M must be at least 1, not 0"),
        (lambda: conv_problem(stride=(0, 1)), "ifmap: the coefficient of P must be at least 1, not 0"),
        (lambda: gemm_problem(1, 1, 1, bits=(8, 0, 8)), "weight: bits of a word must be at least 1, not 0"),
        (
            lambda: Operand("ofmap", ((("P", 1), ("R", 1)),), 8, output=True),
            r"ofmap: an axis must have one to 1 terms, not \(\('P', 1\), \('R', 1\)\)",
        ),
        (
            lambda: Problem("x", {"M": 2}, (Operand("ofmap", ((("K", 1),),), 8, output=True),)),
            "x: a dim of ofmap must be one of M, not K",
        ),
        (lambda: Problem("x", {"M": 2}, ()), "x: exactly one operand must be the output"),
        (lambda: gemm_problem(1, 1, 1).operand("psum"), "a tensor must be one of ifmap, weight, ofmap, not 'psum'"),
    ],
)
def test_errors(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(MappingError, match=f"^{message}$"):
        make()
