"""Clusters: rings in their links, and laws and published times of collectives on them."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

import hwsim
from hwsim.errors import InputError
from hwsim.kernels.collectives import all_gather, all_reduce, reduce_scatter, ring_bytes
from hwsim.machines import Cluster, cluster_names
from hwsim.machines.cluster.events import collective_s
from hwsim.machines.cluster.rings import edge_disjoint_rings

MINE = """
kind: cluster
name: mine
source: made up
device: v100
devices: 4
nodes: 64
links:
  wire:
    bandwidth: 10 GB/s
    latency: 2 us
    start: 5 us
    switch: 2
    energy: 80 pJ
    source: made up
    energy_source: made up
network: {ports: 1, bandwidth: 10 GB/s, latency: 4 us, energy: 400 pJ, source: made up, energy_source: made up}
collectives: [ring, tree, in_switch]
"""


def cluster(name: str | Path = "dgx1_v100", **changes: object) -> Cluster:
    machine = hwsim.load_machine(name, set=changes)
    assert isinstance(machine, Cluster)
    return machine


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(MINE)
    return path


def test_rings_of_a_dgx1() -> None:
    """The cube mesh of a DGX-1: five devices have no ring, eight have one for each direction of three cycles."""
    assert [cluster("dgx1_v100").rings(ranks) for ranks in range(2, 9)] == [1, 2, 4, 0, 2, 4, 6]
    assert cluster("dgx1_v100").rings(1) == 0
    assert cluster("dgx1_p100").rings() == 4  # 4 links of each device; a full quad has no third ring (Tillson 1980)
    assert cluster("dgx1_p100").rings(4) == 2
    assert cluster("dgx_h100").rings() == 18


def test_rings_share_no_link() -> None:
    random = np.random.default_rng(31)
    for size in (2, 3, 4, 5, 6, 7):
        for _ in range(20):
            upper = np.triu(random.integers(0, 3, (size, size)), 1)
            links = upper + upper.T
            rings = edge_disjoint_rings(tuple(tuple(map(int, row)) for row in links))
            used = np.zeros_like(links)
            for ring in rings:
                assert sorted(ring) == list(range(size))
                for a, b in zip(ring, (*ring[1:], ring[0])):
                    used[a, b] += 1
            assert (used <= links).all()
            assert len(rings) <= links.sum(0).min()
    for size in (3, 5, 7, 8):  # all links of a full mesh are used (Tillson 1980: all sizes but 4 and 6)
        assert len(edge_disjoint_rings(tuple(tuple(int(a != b) for b in range(size)) for a in range(size)))) == size - 1


def most_rings(links: np.ndarray) -> int:
    """The most rings, by trying all sets of them."""
    rings = [(0, *rest) for rest in itertools.permutations(range(1, len(links)))]

    def most(left: np.ndarray, first: int) -> int:
        best = 0
        for place in range(first, len(rings)):
            a = np.array(rings[place])
            if (left[a, np.roll(a, -1)] > 0).all():
                rest = left.copy()
                rest[a, np.roll(a, -1)] -= 1
                best = max(best, 1 + most(rest, place))
        return best

    return most(links, 0)


def test_no_other_rings_are_more() -> None:
    random = np.random.default_rng(7)
    for size in (2, 3, 4, 4, 4, 4, 4, 4, 5, 5, 5, 5):
        upper = np.triu(random.integers(0, 3, (size, size)), 1)
        links = upper + upper.T
        assert len(edge_disjoint_rings(tuple(tuple(map(int, row)) for row in links))) == most_rings(links)


@pytest.mark.parametrize("ranks", range(1, 10))
@pytest.mark.parametrize("size", [1, 7, 31, 257, 1000])
def test_executed_all_reduce(ranks: int, size: int) -> None:
    """Every rank has the sum; bytes counted on each link are those priced; its halves make the whole."""
    random = np.random.default_rng(size * 16 + ranks)
    arrays = [random.integers(-1000, 1000, size).astype(np.int32) for _ in range(ranks)]
    sums, sent = all_reduce(arrays)
    assert all((held == np.sum(arrays, axis=0)).all() for held in sums)
    assert sent == ring_bytes(size, ranks, 4)
    assert sum(sent) == 2 * (ranks - 1) * size * 4
    if size % ranks == 0:
        assert set(sent) == {2 * (ranks - 1) * size * 4 // ranks}
    for way in cluster("dgx2").ways("all_reduce", ranks)[:1]:
        assert way.sent_bytes(size * 4) == sum(sent)
    parts, first = reduce_scatter(arrays)
    gathered, second = all_gather(parts)
    assert all((a == b).all() for a, b in zip(gathered, sums))
    assert [a + b for a, b in zip(first, second)] == sent


@pytest.mark.parametrize("name", [*cluster_names()])
def test_events_take_what_the_closed_form_says(name: str) -> None:
    """All ranks as processes, one that stands for all, and the closed form."""
    machine = cluster(name)
    for op, ranks in (("all_reduce", 2), ("all_reduce", 3), ("all_reduce", machine.spec.devices), ("all_gather", 4)):
        for way in machine.ways(op, ranks):
            for size in (1, 4099, 1e6 + 1, 102_228_128):
                seconds = float(way.seconds(size))
                if np.isfinite(seconds):
                    assert collective_s(way, size) == pytest.approx(seconds, rel=1e-6, abs=1e-10)
                    assert collective_s(way, size, symmetric=True) == pytest.approx(collective_s(way, size), abs=1e-10)


def test_events_between_nodes(mine: Path) -> None:
    machine = cluster(mine)
    for ranks in (8, 12, 28):
        ways = machine.ways("all_reduce", ranks)
        assert {way.name for way in ways} == {"ring", "tree"}
        for way in ways:
            assert collective_s(way, 31e6) == pytest.approx(float(way.seconds(31e6)), rel=1e-6)
            assert collective_s(way, 31e6, symmetric=True) == pytest.approx(float(way.seconds(31e6)), rel=1e-6)


def test_no_algorithm_of_endpoints_beats_the_ring_bound(mine: Path) -> None:
    """2 (n - 1) / n S / B is the least where every rank sends what it has; a tree is quicker for short messages alone."""
    machine = cluster(mine)
    sizes = np.logspace(0, 12, 50)
    for ranks in (2, 3, 4, 8, 64, 256):
        rate = 20e9 if ranks <= 4 else 10e9
        named = {way.name: way.seconds(sizes) for way in machine.ways("all_reduce", ranks)}
        for name in ("ring", "tree"):
            assert (named[name] >= 2 * (ranks - 1) / ranks * sizes / rate).all()
        if ranks > 4:
            ahead = named["tree"] < named["ring"]
            assert ahead[0]
            assert not ahead[-1]
            assert (np.diff(ahead.astype(int)) <= 0).all()
    assert machine.collective_times("all_reduce", [0, 1e9], 1).tolist() == [0, 0]
    halves = machine.collective_times("all_gather", 1e8, 4) + machine.collective_times("reduce_scatter", 1e8, 4)
    ring = next(way for way in machine.ways("all_reduce", 4) if way.name == "ring")
    assert halves == pytest.approx(float(ring.seconds(1e8)) + 5e-6)  # started twice


#: NCCL all-reduce of fp32, microseconds, by ranks and bytes: vTrain f8dda847 (V100), DeepBench da81ba78 (Pascal Titan X).
PUBLISHED = {
    "dgx1_v100": {(2, 4194304): 208.6, (2, 33554432): 1508.9, (2, 1073741824): 47610.0, (4, 2097152): 95.3,
                  (4, 16777216): 324.2, (4, 1073741824): 18869.0, (8, 1048576): 79.9, (8, 8388608): 237.9,
                  (8, 16777216): 273.8, (8, 1073741824): 13969.0},
    "pcie_8x_gtx1080ti": {(2, 12390400): 1037.7, (4, 67108864): 8975.2, (8, 26214400): 5247.8, (8, 258000000): 51290.8},
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_times(name: str) -> None:
    rows = PUBLISHED[name]
    ranks, sizes = np.array([*rows]).T
    errors = np.abs(cluster(name).collective_times("all_reduce", sizes, ranks) * 1e6 / np.array([*rows.values()]) - 1)
    assert errors.max() < 0.12
    assert errors.mean() < 0.05


def test_more_links_and_ranks() -> None:
    """Twice the bandwidth is never slower; a rank more never quicker over the same rings; five take PCIe."""
    sizes = np.array([1, 31, 4099, 1e6 + 1, 1e9])
    for name in cluster_names():
        links = next(iter(cluster(name).spec.links))
        key = f"links.{links}.bandwidth"
        faster = cluster(name, **{key: "100 GB/s"})
        for ranks in (2, 4, cluster(name).spec.devices):
            times = cluster(name).collective_times("all_reduce", sizes, ranks)
            assert (faster.collective_times("all_reduce", sizes, ranks) <= times).all()
    dgx1 = cluster("dgx1_v100")
    assert {way.links for way in dgx1.ways("all_reduce", 5)} == {"pcie"}
    assert dgx1.collective_times("all_reduce", 1e9, 5) > 5 * dgx1.collective_times("all_reduce", 1e9, 4)
    times = dgx1.collective_times("all_reduce", 1e8, [8, 16, 64, 1024, 4096])
    assert (np.diff(times) > 0).all()


BAD = {
    "a link to nowhere": ("switch: 2", "pairs: {0: {1: 1, 4: 1}}",
                          r"mine.yaml:13:\d+: links.wire.pairs.0.4: a link must lead to a device from 0 to 3, not '4'"),
    "a link from nowhere": ("switch: 2", "pairs: {x: {1: 1}}", "pairs.x: must be a device from 0 to 3, not 'x'"),
    "a link to itself": ("switch: 2", "pairs: {2: {2: 1}}", "a link must lead to another device, not from 2 to itself"),
    "twice": ("switch: 2", "pairs: {0: {1: 1}, 1: {0: 1}}", "links between 0 and 1 are given twice"),
    "two forms": ("switch: 2", "switch: 2\n    tree: [0, 1, 2, 3]", "exactly one of pairs, switch and tree"),
    "no form": ("    switch: 2\n", "", "exactly one of pairs, switch and tree, not none"),
    "a tree without a device": ("switch: 2", "tree: [[0, 1], [2]]", r"must have each device from 0 to 3 once"),
    "a word in a tree": ("switch: 2", "tree: [[0, 1], [2, x]]", "must have devices and lists of them, not 'x'"),
    "no network": ("network: {", "description: {", "network must join the nodes|description"),
    "no links of a link": ("switch: 2", "pairs: {0: {1: 0}}", "greater than or equal to 1"),
    "a rate by cycles": ("bandwidth: 10 GB/s\n", "bandwidth: 10 B/cycle\n", "bytes a second"),
    "clocks": ("nodes: 64", "nodes: 64\nclocks: {sm: 1 GHz}", "has the clocks of its devices"),
    "no device": ("device: v100", "device: v1000", r"mine.yaml:5:\d+: device: no machine is called 'v1000'"),
    "a cluster of clusters": ("device: v100", "device: dgx2", "device: must be a machine that runs networks"),
    "no sums without a switch": ("switch: 2", "tree: [0, 1, 2, 3]", "in_switch must have links with a switch"),
    "a collective": ("ring, tree", "rings, tree", "nearest: 'ring'"),
    "too many": ("devices: 4", "devices: 0", "devices: must be greater than or equal to 1"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_files(mine: Path, case: str) -> None:
    old, new, message = BAD[case]
    assert old in MINE
    mine.write_text(MINE.replace(old, new))
    with pytest.raises(InputError, match=message):
        hwsim.load_machine(mine)


def test_bad_questions(mine: Path) -> None:
    machine = cluster(mine)
    for arguments, words in [
        (("all_reduc", 1, 2), "nearest: 'all_reduce'"),
        (("all_reduce", -1, 2), "bytes must be at least 0"),
        (("all_reduce", 1, 2.5), "whole numbers"),
        (("all_reduce", 1, 257), "ranks must be at most 256"),
        (("all_reduce", 1, 6), "a multiple of 4"),
        (("all_reduce", "x", 2), "must be numbers"),
    ]:
        with pytest.raises(InputError, match=words):
            machine.collective_times(*arguments)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="at most 4, the devices of a node"):
        machine.rings(5)
    with pytest.raises(InputError, match="nearest: 'wire'"):
        machine.rings(2, "wires")
    mine.write_text(MINE.replace("switch: 2", "pairs: {0: {1: 1}, 2: {3: 1}}").replace(", in_switch", ""))
    with pytest.raises(InputError, match="must join the devices 0, 1, 2, 3"):
        cluster(mine).collective_times("all_reduce", 1, 4)


def test_an_inference_names_the_command(mine: Path) -> None:
    with pytest.raises(InputError, match=r"hwsim train mine WORKLOAD.*give v100"):
        hwsim.simulate(cluster(mine), hwsim.load_workload("kws"))
