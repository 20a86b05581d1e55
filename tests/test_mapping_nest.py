"""Mappings as text, and whether they are complete and fit."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, strategies as st

from hwsim.errors import MappingError
from hwsim.mapping import Keep, Loop, Mapping, check_capacity, conv_problem, footprints, gemm_problem

DRAM = "dram keeps ifmap, weight, ofmap"
gemm = gemm_problem(13, 6, 4)

names = st.sampled_from(["dram", "glb", "psum_spad", "L2"])
nodes = st.one_of(
    st.builds(Loop, st.sampled_from("MNKPQ"), st.integers(1, 999), st.sampled_from([None, "rows", "cols", "x"])),
    st.builds(Keep, names, st.lists(st.sampled_from(["ifmap", "weight", "ofmap"]), min_size=1, unique=True).map(tuple)),
)


@given(st.lists(nodes).map(tuple).map(Mapping))
def test_text_round_trip(mapping: Mapping) -> None:
    assert Mapping.parse(mapping.lines()) == mapping
    assert Mapping.parse(mapping.text()) == mapping


def test_comments_and_blank_lines_are_free() -> None:
    text = f"{DRAM}  # everything\n\n  for M by 1\n"
    assert Mapping.parse(text).nodes == (Keep("dram", ("ifmap", "weight", "ofmap")), Loop("M", 1))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "loop M by 3",
            "node 1: must be 'for DIM by TILE', 'spatial DIM by TILE on AXIS' or 'MEMORY keeps TENSOR, ...', "
            "not 'loop M by 3'",
        ),
        ("for M by 0", "node 1: a tile must be at least 1, not 0"),
        ("glb keeps ifmap, ifmap", "node 1: a tensor must be named once, not 'glb keeps ifmap, ifmap'"),
    ],
)
def test_parse_errors(line: str, message: str) -> None:
    with pytest.raises(MappingError, match=f"^{re.escape(message)}$"):
        Mapping.parse([line])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "the first node must be the outermost memory, which keeps ifmap, weight, ofmap, not nothing"),
        (
            ["dram keeps ifmap, weight"],
            "the first node must be the outermost memory, which keeps ifmap, weight, ofmap, "
            "not 'dram keeps ifmap, weight'",
        ),
        ([DRAM, "for P by 1"], "'for P by 1': a dim must be one of M, N, K, not 'P'"),
        (
            [DRAM, "for M by 14"],
            "'for M by 14': the tile must be at least 1 and at most the piece of M here, 13, not 14",
        ),
        (
            [DRAM, "for M by 4", "for M by 5"],
            "'for M by 5': the tile must be at least 1 and at most the piece of M here, 4, not 5",
        ),
        ([DRAM, "for M by 4", "for N by 1"], "every dim must end at tile 1; still larger: M (4), K (4)"),
        (
            [DRAM, "glb keeps ifmaps"],
            "'glb keeps ifmaps': a tensor must be one of ifmap, weight, ofmap, not 'ifmaps' (nearest: ifmap)",
        ),
        (
            [DRAM, "glb keeps ifmap", "for M by 1", "glb keeps ifmap"],
            "'glb keeps ifmap': glb must keep ifmap once, not twice",
        ),
    ],
)
def test_validation(lines: list[str], message: str) -> None:
    with pytest.raises(MappingError, match=f"^{re.escape(message)}$"):
        Mapping.parse(lines).validate(gemm)


def test_footprints_are_what_the_loops_below_touch() -> None:
    # the published tiles of the eyeriss_like reference
    problem = conv_problem(k=32, c=3, p=112, q=112, r=3, s=3, stride=(2, 2))
    mapping = Mapping.parse([DRAM, "for P by 14", "for Q by 56", "for K by 8", "glb keeps ifmap, ofmap"])
    tiles = footprints(problem, mapping)
    assert tiles["dram", "ifmap"] == 151875
    assert (tiles["glb", "ifmap"], tiles["glb", "ofmap"]) == (9831, 6272)


def test_spatial_extents_multiply_on_an_axis() -> None:
    lines = ["spatial M by 5 on cols", "spatial N by 1 on rows", "for K by 1", "spatial M by 1 on cols"]
    assert Mapping.parse([DRAM, *lines]).spatial_extents(gemm) == {"cols": 3 * 5, "rows": 6}


def test_capacity_error_says_what_is_too_large() -> None:
    problem = gemm_problem(96, 485, 64)  # 16-bit words
    mapping = Mapping.parse([DRAM, "glb keeps ifmap, ofmap", "for M by 1", "for N by 1", "for K by 1"])
    ifmap, ofmap = 96 * 64 * 2 / 1024, 96 * 485 * 2 / 1024
    check_capacity(problem, mapping, {"glb": 110 * 8192})
    assert f"{ifmap:.1f} {ofmap:.1f} {ifmap + ofmap - 100:.1f}" == "12.0 90.9 2.9"
    message = "glb holds 100.0 KiB; ifmap 12.0 KiB + ofmap 90.9 KiB = 102.9 KiB: 2.9 KiB too much"
    with pytest.raises(MappingError, match=f"^{re.escape(message)}$"):
        check_capacity(problem, mapping, {"glb": 100 * 8192})


@pytest.mark.parametrize("bits", [1, 4, 8, 16])
def test_what_just_fits_fits_and_a_bit_less_does_not(bits: int) -> None:
    problem = gemm_problem(31, 7, 5, bits=(bits, bits, bits))
    mapping = Mapping.parse([DRAM, "glb keeps ifmap, ofmap", "for M by 1", "for N by 1", "for K by 1"])
    ifmap, ofmap = 31 * 5 * bits, 31 * 7 * bits
    check_capacity(problem, mapping, {"glb": ifmap + ofmap})
    check_capacity(problem, mapping, {"glb": {"ifmap": ifmap, "ofmap": ofmap}})
    for capacity in (ifmap + ofmap - 1, {"ifmap": ifmap - 1, "ofmap": ofmap}, {"ifmap": ifmap, "ofmap": ofmap - 1}):
        with pytest.raises(MappingError, match=r"^glb holds .* too much$"):
            check_capacity(problem, mapping, {"glb": capacity})


def test_capacity_may_be_split_between_tensors() -> None:
    problem = gemm_problem(4, 4, 4)
    mapping = Mapping.parse([DRAM, "for K by 1", "spad keeps weight, ofmap", "for M by 1", "for N by 1"])
    check_capacity(problem, mapping, {"spad": {"weight": 4 * 16, "ofmap": 16 * 16}})
    with pytest.raises(MappingError, match=r"^spad holds 30 B; ofmap 32 B: 2 B too much$"):
        check_capacity(problem, mapping, {"spad": {"weight": 4 * 16, "ofmap": 15 * 16}})
