"""Counts that can be worked out on paper, ragged ones above all."""

from __future__ import annotations

import pytest

from hwsim.errors import MappingError
from hwsim.mapping import Mapping, Policy, conv_problem, counts, gemm_problem

DRAM = "dram keeps ifmap, weight, ofmap"


def test_output_stationary_gemm() -> None:
    m, n, k = 5, 7, 11
    result = counts(
        gemm_problem(m, n, k), Mapping.parse([DRAM, "for M by 1", "for N by 1", "reg keeps ofmap", "for K by 1"])
    )
    assert result.cycles == result.macs == m * n * k
    assert result.of("dram", "ifmap", "read") == m * n * k
    assert result.of("reg", "ofmap", "update") == m * n * k
    assert result.of("reg", "ofmap", "read") == m * n * (k - 1)
    assert result.of("reg", "ofmap", "drain") == result.of("dram", "ofmap", "update") == m * n
    assert result.of("reg", "ofmap", "fill") == result.of("dram", "ofmap", "read") == 0


def test_partial_sums_come_back() -> None:
    m, n, k = 5, 7, 11
    nest = Mapping.parse([DRAM, "for K by 4", "for M by 1", "for N by 1", "reg keeps ofmap", "for K by 1"])
    result = counts(gemm_problem(m, n, k), nest)
    assert result.of("reg", "ofmap", "drain") == 3 * m * n  # K in 4, 4, 3
    assert result.of("reg", "ofmap", "fill") == result.of("dram", "ofmap", "read") == 2 * m * n


@pytest.mark.parametrize(("size", "units", "passes", "last"), [(13, 14, 1, 13), (256, 12, 22, 4), (27, 14, 2, 13)])
def test_a_ragged_dim_on_an_array(size: int, units: int, passes: int, last: int) -> None:
    """The last pass uses fewer columns: the same cycles, fewer words."""
    tile = min(units, size)
    assert size - (passes - 1) * tile == last
    nest = Mapping.parse(
        [DRAM, f"for N by {tile}", "for K by 1", "spatial N by 1 on cols", "reg keeps ifmap, weight", "for M by 1"]
    )
    result = counts(gemm_problem(3, size, 5), nest)
    assert result.cycles == passes * 5 * 3
    assert result.instances == tile
    assert result.of("reg", "weight", "fill") == size * 5
    assert result.of("dram", "weight", "read") == size * 5
    # every column in use takes the 3 x 1 slice of activations; all share one read
    assert result.of("reg", "ifmap", "fill") == size * 5 * 3
    assert result.of("dram", "ifmap", "read") == passes * 5 * 3


@pytest.mark.parametrize(("size", "tile", "instances"), [(13, 5, 3), (15, 5, 3), (31, 8, 4), (127, 32, 4), (1, 1, 1)])
def test_a_ragged_piece_has_an_instance_too(size: int, tile: int, instances: int) -> None:
    nest = Mapping.parse(
        [DRAM, f"spatial M by {tile} on rows", "spad keeps ifmap", "for M by 1", "for N by 1", "for K by 1"]
    )
    result = counts(gemm_problem(size, 2, 3), nest)
    assert result.used["spad", "ifmap"] == result.instances == -(-size // tile) == instances


def test_ragged_inside_ragged() -> None:
    # 29 in 8, 8, 8, 5; each 8 in 3, 3, 2 and the 5 in 3, 2: eleven tiles
    nest = Mapping.parse(
        [DRAM, "for M by 8", "for M by 3", "for K by 1", "reg keeps ofmap", "for N by 1", "for M by 1"]
    )
    result = counts(gemm_problem(29, 1, 2), nest, Policy("refill"))
    assert result.cycles == 58
    assert result.of("reg", "ofmap", "drain") == 29
    nest = Mapping.parse(
        [DRAM, "for M by 8", "for M by 3", "reg keeps weight", "for K by 1", "for N by 1", "for M by 1"]
    )
    assert counts(gemm_problem(29, 1, 2), nest).of("reg", "weight", "fill") == 2
    nest = Mapping.parse(
        [DRAM, "for M by 8", "for M by 3", "for K by 1", "reg keeps weight", "for N by 1", "for M by 1"]
    )
    assert counts(gemm_problem(29, 1, 2), nest).of("reg", "weight", "fill") == 11 * 2


@pytest.mark.parametrize(("multicast", "rows"), [("none", 4 * 3), ("tile", 4 * 3), ("word", 4 + 3 - 1)])
def test_eyeriss_diagonals_share_rows(multicast: str, rows: int) -> None:
    """3 filter rows down and 4 output rows across need 12 input rows, 6 of them different."""
    problem = conv_problem(p=4, r=3)
    nest = Mapping.parse([DRAM, "spatial R by 1 on rows", "spatial P by 1 on cols", "spad keeps ifmap, weight, ofmap"])
    result = counts(problem, nest, Policy(multicast=multicast))
    assert result.of("spad", "ifmap", "fill") == 12
    assert result.of("dram", "ifmap", "read") == rows
    assert result.of("dram", "weight", "read") == (12 if multicast == "none" else 3)
    # psums of a column are added on the way up
    assert result.of("spad", "ofmap", "drain") == 12
    assert (result.of("dram", "ofmap", "update"), result.of("dram", "ofmap", "reduce")) == (4, 8)


@pytest.mark.parametrize(("reuse", "fills"), [("slide", 18), ("keep", 18), ("refill", 48)])
def test_a_sliding_window(reuse: str, fills: int) -> None:
    nest = Mapping.parse([DRAM, "for P by 1", "spad keeps ifmap", "for R by 1"])
    assert counts(conv_problem(p=16, r=3), nest, Policy(reuse)).of("spad", "ifmap", "fill") == fills


def test_slide_forgets_where_a_loop_wraps_and_keep_does_not() -> None:
    # rows of 5 windows; going to the next channel a wrap; the channel is inside the row
    nest = Mapping.parse([DRAM, "for P by 1", "for K by 1", "spad keeps ifmap", "for R by 1"])
    problem = conv_problem(k=2, p=5, r=3)
    assert counts(problem, nest, Policy("slide")).of("spad", "ifmap", "fill") == 5 * 3
    assert counts(problem, nest, Policy("keep")).of("spad", "ifmap", "fill") == 5 + 2


def test_more_sharing_instances_than_can_be_listed() -> None:
    nest = Mapping.parse([DRAM, "spatial P by 2 on cols", "for P by 1", "spad keeps ifmap", "for R by 1"])
    with pytest.raises(MappingError, match=r"there must be at most 1024 instances that share overlapping words"):
        counts(conv_problem(p=3000, r=2), nest, Policy(multicast="word"))
    assert counts(conv_problem(p=2000, r=2), nest, Policy(multicast="word")).of("dram", "ifmap", "read") > 2000


def test_limits_of_a_nest() -> None:
    nest = Mapping.parse([DRAM, *["for M by 1"] * 65])
    with pytest.raises(MappingError, match=r"^gemm: there must be at most 64 loops, not 65$"):
        counts(gemm_problem(1, 1, 1), nest)
    with pytest.raises(MappingError, match=r"^reuse must be one of slide, keep, refill, not 'slid'$"):
        Policy("slid")
