"""The seven reference nests of the Timeloop exercises: every read, fill and update per instance."""

from __future__ import annotations

import pytest
from tables import rows

from hwsim.mapping import Counts, Mapping, Policy, Problem, conv_problem, counts

POLICY = Policy(reuse="slide", multicast="tile", reduction="tree")

conv1d = conv_problem(p=16, r=3)
conv1d_oc = conv_problem(k=32, p=16, r=3)
CASES: dict[str, tuple[Problem, str]] = {
    "eyeriss_like": (
        conv_problem(k=32, c=3, p=112, q=112, r=3, s=3, stride=(2, 2)),
        """
        DRAM keeps ifmap, weight, ofmap
        for P by 14
        for Q by 56
        for K by 8
        shared_glb keeps ifmap, ofmap
        for P by 1
        for Q by 14
        spatial Q by 1 on columns
        spatial C by 1 on rows
        spatial S by 1 on rows
        ifmap_spad keeps ifmap
        weights_spad keeps weight
        for R by 1
        psum_spad keeps ofmap
        for K by 1
        """,
    ),
    "00-model-conv1d-1level": (
        conv1d,
        """
        Buffer keeps ifmap, weight, ofmap
        for P by 1
        for R by 1
        """,
    ),
    "01-model-conv1d-2level/os": (
        conv1d,
        """
        MainMemory keeps ifmap, weight, ofmap
        for P by 1
        Buffer keeps ifmap, weight, ofmap
        for R by 1
        """,
    ),
    "02-model-conv1d+oc-2level/no-tiling": (
        conv1d_oc,
        """
        MainMemory keeps ifmap, weight, ofmap
        for K by 1
        for P by 1
        Buffer keeps ifmap, weight, ofmap
        for R by 1
        """,
    ),
    "02-model-conv1d+oc-2level/tiling": (
        conv1d_oc,
        """
        MainMemory keeps ifmap, weight, ofmap
        for K by 2
        for P by 1
        Buffer keeps ifmap, weight, ofmap
        for K by 1
        for R by 1
        """,
    ),
    "03-model-conv1d+oc-3level/bypass": (
        conv1d_oc,
        """
        MainMemory keeps ifmap, weight, ofmap
        GlobalBuffer keeps ifmap, weight
        for K by 2
        for P by 1
        RegisterFile keeps ofmap
        for K by 1
        for R by 1
        """,
    ),
    "04-model-conv1d+oc-3levelspatial/cp": (
        conv_problem(k=32, c=32, p=16, r=3),
        """
        MainMemory keeps ifmap, weight, ofmap
        spatial C by 2 on columns
        GlobalBuffer keeps ifmap, weight, ofmap
        for C by 1
        for K by 1
        for R by 1
        RegisterFile keeps ifmap, weight, ofmap
        for P by 1
        """,
    ),
}


def reference(name: str) -> Counts:
    problem, text = CASES[name]
    return counts(problem, Mapping.parse(text), POLICY)


def per_instance(result: Counts, memory: str, tensor: str, action: str) -> int:
    share, rest = divmod(result.of(memory, tensor, action), result.used[memory, tensor])
    assert rest == 0
    return share


@pytest.mark.parametrize("name", CASES)
def test_every_published_count(name: str) -> None:
    result, published = reference(name), [row for row in rows("loop_nests") if row["nest"] == name]
    for row in published:
        memory, tensor = row["memory"], row["tensor"]
        assert result.used[memory, tensor] == int(row["used"]), (memory, tensor)
        for action in ("read", "fill", "update"):
            assert per_instance(result, memory, tensor, action) == int(row[action]), (memory, tensor, action)
    kept = [
        (memory, tensor)
        for tensor in ("ifmap", "weight", "ofmap")
        for memory, _ in Mapping.parse(CASES[name][1]).keeps(tensor)
    ]
    assert sorted((row["memory"], row["tensor"]) for row in published) == sorted(kept)


@pytest.mark.parametrize(
    ("name", "memory", "tensor", "action", "count"),
    [
        # stride 2: an input tile of 29 rows x 113 columns x 3 channels, filled 8 x 2 times; it stays while K moves
        ("eyeriss_like", "shared_glb", "ifmap", "fill", 29 * 113 * 3 * 16),
        ("eyeriss_like", "shared_glb", "ifmap", "read", 1354752),
        ("eyeriss_like", "DRAM", "weight", "read", 13824),
        ("eyeriss_like", "psum_spad", "ofmap", "read", 57344),
        ("eyeriss_like", "psum_spad", "ofmap", "update", 86016),
        ("01-model-conv1d-2level/os", "Buffer", "ifmap", "fill", 18),
        ("02-model-conv1d+oc-2level/no-tiling", "Buffer", "ifmap", "fill", 576),
        ("02-model-conv1d+oc-2level/tiling", "Buffer", "ifmap", "fill", 288),
        ("03-model-conv1d+oc-3level/bypass", "MainMemory", "weight", "read", 96),
        ("04-model-conv1d+oc-3levelspatial/cp", "RegisterFile", "ifmap", "fill", 1152),
        ("04-model-conv1d+oc-3levelspatial/cp", "RegisterFile", "ofmap", "fill", 512),
        ("04-model-conv1d+oc-3levelspatial/cp", "RegisterFile", "ofmap", "read", 2560),
        ("04-model-conv1d+oc-3levelspatial/cp", "GlobalBuffer", "ofmap", "update", 1024),
        ("04-model-conv1d+oc-3levelspatial/cp", "MainMemory", "ofmap", "update", 512),
    ],
)
def test_published_counts_and_where_they_come_from(
    name: str, memory: str, tensor: str, action: str, count: int
) -> None:
    assert per_instance(reference(name), memory, tensor, action) == count


def test_published_macs_and_cycles() -> None:
    assert {name: reference(name).macs for name in CASES} == {
        "eyeriss_like": 10838016,
        "00-model-conv1d-1level": 48,
        "01-model-conv1d-2level/os": 48,
        "02-model-conv1d+oc-2level/no-tiling": 1536,
        "02-model-conv1d+oc-2level/tiling": 1536,
        "03-model-conv1d+oc-3level/bypass": 1536,
        "04-model-conv1d+oc-3levelspatial/cp": 49152,
    }
    assert {name: reference(name).cycles for name in CASES} == {
        "eyeriss_like": 86016,
        "00-model-conv1d-1level": 48,
        "01-model-conv1d-2level/os": 48,
        "02-model-conv1d+oc-2level/no-tiling": 1536,
        "02-model-conv1d+oc-2level/tiling": 1536,
        "03-model-conv1d+oc-3level/bypass": 1536,
        "04-model-conv1d+oc-3levelspatial/cp": 3072,
    }


def test_a_spatial_reduction_adds_what_the_parent_does_not_see() -> None:
    result = reference("eyeriss_like")
    sent, received = result.of("psum_spad", "ofmap", "drain"), result.of("shared_glb", "ofmap", "update")
    assert sent == 9 * received  # 3 channels x 3 filter columns side by side
    assert result.of("shared_glb", "ofmap", "reduce") == sent - received
