"""Training on many devices: laws of splits, of events and of memory; bytes that move; what is refused."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from commands import call

import hwsim
from hwsim.errors import InputError
from hwsim.machines import Cluster
from hwsim.machines.cluster.events import TICKS_PER_S
from hwsim.parallel import ClusterStep, Gpt, Parallel, cluster_step, moved, parallel_of
from hwsim.parallel.events import Sending, backward, pipeline
from hwsim.parallel.stages import balanced_cuts, ranges
from hwsim.parallel.volume import halo_rows
from hwsim.report.parallel import cluster_step_lines
from hwsim.training import Share, TrainingRecipe, training_step
from hwsim.workload import Conv2d, Gemm, Softmax, Workload

ROOT = Path(__file__).parent.parent
NET = Workload(
    "net",
    [
        Conv2d("a", c=3, h=31, w=31, k=64, r=3, pad=1),
        Conv2d("b", c=64, h=31, w=31, k=127, r=5, stride=2, pad=2),
        Conv2d("c", c=127, h=16, w=16, k=257, r=1),
        Gemm("fc", n=31, k=257 * 256),
    ],
)
FREE = {"links.nvlink.latency": "0 s", "links.nvlink.start": "0 s", "straggling": 0.0}


def cluster(name: str = "dgx1_v100", **changes: object) -> Cluster:
    machine = hwsim.load_machine(name, set=changes)
    assert isinstance(machine, Cluster)
    return machine


def step(parallel: str, machine: Cluster | None = None, batch: int = 31, **recipe: Any) -> ClusterStep:
    return cluster_step(machine or cluster(), NET, batch, parallel_of(parallel), TrainingRecipe(**recipe))


#: Mean of all links together, 10^6 bytes of fp32: counted by hand from the published shapes.
BYTES = {
    ("alexnet_torchvision", 256): (1466, 19, 3036, 324),
    ("vgg16", 256): (3320, 19, 83292, 1798),
    ("resnet50_v1_5", 256): (612, 58, 68290, 874),
    ("resnet50_v1_5", 16): (612, 4, 4268, 55),
}


@pytest.mark.parametrize(("network", "batch"), BYTES)
def test_bytes_that_four_devices_move(network: str, batch: int) -> None:
    workload = hwsim.load_workload(network)
    rows = [moved(workload, split, 4, batch) for split in ("data", "layers", "channels", "maps")]
    values = rows[0].weights_bytes, *(row.activations_bytes for row in rows[1:])
    assert tuple(round(value / 1e6) for value in values) == BYTES[network, batch]


def test_halos() -> None:
    """A window of r x r reads r - 1 rows beyond a border, one of 1 x 1 none."""
    assert [halo_rows(layer) for layer in NET] == [2, 4, 0, 0]
    assert halo_rows(Conv2d("d", c=3, h=31, w=31, k=2, r=3, dilation=2)) == 4
    for split in ("data", "layers", "channels", "maps"):
        none = moved(NET, split, 1, 7)
        assert none.activations_bytes == none.weights_bytes == none.shortcuts_bytes == 0


def test_one_device_of_a_cluster_is_that_device() -> None:
    one, alone = step("data=1"), training_step("v100", NET, 31)
    assert one.step_s == pytest.approx(alone.step_s)
    assert one.samples_per_s == pytest.approx(alone.samples_per_s)
    assert one.energy_pj == pytest.approx(alone.energy_pj)
    assert one.memory == alone.memory
    assert one.link_bytes == {"gradients": 0, "activations": 0}


def test_infinite_bandwidth_is_n_times_one_device() -> None:
    fast = cluster(**FREE, **{"links.nvlink.bandwidth": "1000000 TB/s"})
    for ranks in (2, 4, 8):
        assert step(f"data={ranks}", fast).speedup == pytest.approx(ranks, rel=1e-6)
        assert step(f"maps={ranks}", fast).speedup == pytest.approx(ranks, rel=0.3)


def test_a_network_without_parameters_to_sum() -> None:
    pool = Workload("pool", [Softmax("s", shape=(31, 127))])
    alone = cluster_step(cluster(straggling=0.0), pool, 7, Parallel(data=8))
    assert alone.speedup == pytest.approx(8)
    assert alone.communication_s == 0


def test_laws_of_a_data_parallel_step() -> None:
    """step(n) >= step(1); exposed <= all communication; the rate rises with bandwidth; accumulation divides bytes."""
    rates = []
    for bandwidth in ("1 GB/s", "5 GB/s", "25 GB/s", "100 GB/s"):
        machine = cluster(**{"links.nvlink.bandwidth": bandwidth})
        for ranks in (2, 3, 8):
            n = step(f"data={ranks}", machine)
            assert n.step_s >= step("data=1", machine).step_s
            assert 0 <= n.exposed_s <= n.communication_s + 1e-11  # ticks are whole picoseconds
        rates.append(step("data=8", machine).samples_per_s)
    assert rates == sorted(rates)
    one, four = step("data=8"), step("data=8", accumulate=4)
    assert four.link_bytes["gradients"] / four.samples == pytest.approx(one.link_bytes["gradients"] / one.samples / 4)
    splits = [parallel_of("data=8", bucket="1 MB", overlap=share) for share in (1.0, 0.5, 0.0)]
    hidden, half, open_ = (cluster_step(cluster(), NET, 31, split) for split in splits)
    assert half.exposed_s == pytest.approx(max(hidden.exposed_s, 0.5 * half.communication_s))
    assert hidden.exposed_s < open_.exposed_s == pytest.approx(open_.communication_s)
    again = step("data=8", recompute=True)
    assert again.compute_s - one.compute_s == pytest.approx(one.one.forward_s)


def test_a_bucket_leaves_when_it_is_full() -> None:
    """Smaller buckets leave earlier and start more often: of the same bytes."""
    sizes = [cluster_step(cluster(), NET, 31, parallel_of("data=8", bucket=f"{mb} MB")) for mb in (1, 5, 1000)]
    counts = [len(run.buckets) for run in sizes]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == 1
    for run in sizes:
        assert sum(bucket.size_bytes for bucket in run.buckets) == run.one.gradient_bytes
        assert all(a.end_s <= b.start_s for a, b in zip(run.buckets, run.buckets[1:]))
        assert all(bucket.ready_s <= bucket.start_s < bucket.end_s for bucket in run.buckets)
    assert sizes[-1].exposed_s == pytest.approx(sizes[-1].communication_s)
    sending = Sending(lambda size: cluster().ways("all_reduce", 8)[0], 5.0, 1)
    assert [bucket.size_bytes for bucket in backward([(1e-3, 3.0)] * 5, sending)[1]] == [6, 6, 3]


def test_symmetric_devices_are_simulated_once() -> None:
    """What one device that stands for all does is what each of 8 does."""
    machine, random = cluster(), np.random.default_rng(7)
    for overlap in (True, False):
        layers = [(float(t), float(b)) for t, b in zip(random.random(31) * 1e-3, random.integers(0, 9e6, 31))]
        sending = Sending(lambda size: machine.ways("all_reduce", 8)[0], 25e6, overlap)
        once, all_ = backward(layers, sending, 1e-3), backward(layers, sending, 1e-3, ranks=8)
        assert once[0] == all_[0]
        assert [b.size_bytes for b in once[1]] == [b.size_bytes for b in all_[1]]
        for a, b in zip(once[1], all_[1]):
            assert (a.ready_s, a.start_s, a.end_s) == pytest.approx((b.ready_s, b.start_s, b.end_s), abs=1e-9)


def test_law_of_repetition() -> None:
    """The same events each time, to the last digit, on a cluster that was used before and on a new one."""
    used = cluster()
    first = step("data=3,layers=2,micro=7", used)
    assert first == step("data=3,layers=2,micro=7", used) == step("data=3,layers=2,micro=7")


def test_law_of_latency() -> None:
    """Links that take longer to start never make a step shorter, for buckets of any size."""
    for bucket in ("100 kB", "1 MB", "25 MB"):
        split = {"data": 7, "bucket": bucket}
        times = [
            cluster_step(cluster(**{"links.nvlink.latency": latency}), NET, 31, parallel_of(split)).step_s
            for latency in ("0 s", "1 us", "31 us", "1 ms")
        ]
        assert times == sorted(times)


def test_bubble_of_a_pipeline() -> None:
    """Equal stages wait (p - 1) / (m + p - 1) of the time."""
    for stages in (1, 2, 3, 5, 8):
        for micro in (1, 2, 7, 31):
            ends = pipeline([1e-3] * stages, [2e-3] * stages, [0.0] * (stages - 1), micro)
            assert max(ends) == pytest.approx((micro + stages - 1) * 3e-3)
            assert 1 - micro * 3e-3 / max(ends) == pytest.approx((stages - 1) / (micro + stages - 1))
    slow = pipeline([1e-3, 1e-3], [2e-3, 2e-3], [1e-4], 7)
    assert max(slow) > 8 * 3e-3
    assert TICKS_PER_S == 10**12


def test_stages_are_balanced() -> None:
    random = np.random.default_rng(3)
    for _ in range(10):
        seconds = random.random(9).tolist()
        for stages in (2, 3, 4):
            cuts = balanced_cuts(seconds, stages)
            longest = max(sum(seconds[i] for i in places) for places in ranges(cuts, 9))
            others = [
                max(sum(seconds[i] for i in places) for places in ranges(other, 9))
                for other in _combinations(8, stages - 1)
            ]
            assert longest == pytest.approx(min(others))


def _combinations(places: int, count: int) -> list[tuple[int, ...]]:
    from itertools import combinations

    return list(combinations(range(places), count))


def test_splits_conserve_weights_and_samples() -> None:
    """Over all devices: the weights of a stage and of a share are those of the network; replicas have them each."""
    whole = step("data=1").memory
    for parallel, copies in (("data=4", 4), ("layers=4", 1), ("channels=4", 1), ("data=2,layers=2", 2)):
        run = step(parallel)
        each = run.devices // len(run.stages)
        assert sum(each * s.memory.weights_bytes for s in run.stages) == pytest.approx(
            copies * whole.weights_bytes, rel=1e-6
        )
        assert sum(each * s.memory.state_bytes for s in run.stages) == pytest.approx(
            copies * whole.state_bytes, rel=1e-6
        )
        assert run.samples == 31 * 4
        assert [i for s in run.stages for i in s.layers] == list(range(len(NET)))
    assert step("channels=4").link_bytes["gradients"] == 0
    assert step("data=2,channels=2", recompute=True).memory.saved_bytes <= step("data=2,channels=2").memory.saved_bytes


def test_counted_bytes_are_those_moved() -> None:
    """The step moves what the counts say, of values of four bytes; gradients of biases come on top."""
    for split in ("channels", "maps"):
        run, count = step(f"{split}=4"), moved(NET, split, 4, 4 * 31)
        assert run.link_bytes["activations"] == pytest.approx(count.activations_bytes)
        assert run.link_bytes["gradients"] == pytest.approx(count.weights_bytes, rel=2e-3)
    run = step("data=4")
    assert run.link_bytes["gradients"] == pytest.approx(2 * 3 * run.one.gradient_bytes)
    half = cluster_step(cluster(), NET, 31, Parallel(data=4, gradient="fp16"))
    assert half.link_bytes["gradients"] == run.link_bytes["gradients"] / 2
    assert half.communication_s < run.communication_s


def test_parameter_servers() -> None:
    """One server's links carry the gradients of all; more servers share them; a ring needs none."""
    rings = cluster_step(cluster(), NET, 31, Parallel(data=8))
    servers = [cluster_step(cluster(), NET, 31, Parallel(data=8, reduce="server", servers=k)) for k in (1, 2, 8)]
    times = [run.communication_s for run in servers]
    assert times == sorted(times, reverse=True)
    assert times[0] > rings.communication_s
    way = servers[0].ways[0]
    assert float(way.seconds(8e6)) == pytest.approx(way.start_s + 2 * way.step_s + 2 * 8 * 8e6 / way.bytes_per_s)


def test_a_thousand_devices_take_two_seconds() -> None:
    machine, workload = cluster(), hwsim.load_workload("resnet50_v1_5")
    start = time.perf_counter()
    run = cluster_step(machine, workload, 64, Parallel(data=1024), TrainingRecipe(precision="mixed"))
    assert time.perf_counter() - start < 2
    assert 600 < run.speedup < 1024


def test_gpt_by_its_sizes() -> None:
    """Narayanan et al., table 1: 1.7, 3.6, 18.4, 39.1 and 174.6 billion parameters."""
    for hidden, layers, heads, billions in (
        (2304, 24, 24, 1.7), (3072, 30, 32, 3.6), (6144, 40, 48, 18.4), (8192, 48, 64, 39.1), (12288, 96, 96, 174.6),
    ):  # fmt: skip
        assert Gpt(hidden, layers, heads).parameters / 1e9 == pytest.approx(billions, abs=0.06)
    model = Gpt(256, 3, 8, 128, 1000)
    whole = model.network()
    blocks = {layer.name: layer.macs for layer in whole}
    for ways in (2, 4, 8):
        share = model.network(ways)
        assert sum(ways * layer.macs for layer in share) == sum(blocks.values())
    with pytest.raises(InputError, match="tensor must divide the 8 heads, not 3"):
        model.network(3)


def test_gpt_in_a_pipeline() -> None:
    model, machine = Gpt(256, 4, 8, 127, 1000), cluster("dgx_a100")
    recipe = TrainingRecipe(precision="mixed", optimizer="adam", recompute=True)
    runs = {
        text: cluster_step(machine, model, 2, parallel_of(text), recipe)
        for text in ("data=1", "tensor=2", "pipeline=2,micro=4", "tensor=2,pipeline=2,data=2,micro=4")
    }
    assert [run.samples for run in runs.values()] == [2, 2, 8, 16]
    assert runs["pipeline=2,micro=4"].bubble >= 1 / 5 - 1e-9
    assert runs["tensor=2"].inner_s > 0
    assert runs["tensor=2"].link_bytes["activations"] == 3 * 2 * 4 * 2 * (2 * 127 * 256) * 2  # forward, again, backward


BAD = [
    ("data=16,layers=1000", "16,000 devices, and dgx1_v100 has 4,096"),
    ("data=12", "must fill the nodes of dgx1_v100"),
    ("dat=8", "nearest: 'data'"),
    ("data=x", "as data=8, not 'x'"),
    ("data=0", "greater than or equal to 1"),
    ("data=2,data=2", "has data twice"),
    ("layers=2,pipeline=2", "two names of one split"),
    ("layers=8", "4 layers to cut between"),
    ("channels=512", "channels must be at most 257, the most output channels of net, not 512"),
    ("maps=32", "maps must be at most 31, the most rows of a map of net, not 32"),
    ("tensor=2", "tensor must be of a model by its sizes"),
    ("data=9999999999999999", "less than or equal to"),
]


@pytest.mark.parametrize(("text", "message"), BAD)
def test_bad_splits(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        step(text)


def test_other_bad_input() -> None:
    with pytest.raises(InputError, match="on a cluster, as dgx1_v100"):
        hwsim.train("v100", NET, parallel="data=8")
    with pytest.raises(InputError, match="give micro or accumulate"):
        step("layers=2,micro=4", accumulate=2)
    with pytest.raises(InputError, match="gpt must have heads"):
        hwsim.train("dgx_a100", "gpt:hidden=3,layers=2")
    with pytest.raises(InputError, match="heads must divide hidden"):
        Gpt(31, 2, 7)
    with pytest.raises(InputError, match="is of kind pe_array"):
        cluster_step(cluster(device="eyeriss_v1"), NET, 1, Parallel(data=2))
    with pytest.raises(InputError, match="parallel must be text"):
        parallel_of(8)
    assert math.isclose(step("").step_s, step("data=1").step_s)
    assert str(parallel_of({"data": 8, "layers": 2})) == "data=8,layers=2"
    assert replace(step("data=2"), waiting_s=0.0).step_s < step("data=2").step_s


def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    page = tmp_path / "step.html"
    words = ("train", "dgx1_v100", "alexnet_torchvision", "--batch", 31, "--parallel", "data=8", "--bucket", "10 MB")
    code, out, _ = call(capsys, *words, "--html", page)
    assert code == 0
    assert "512 samples" not in out
    assert "248 samples" in out
    assert "8 devices:" in out
    assert "buckets (6 rings over nvlink)" in out
    assert "data=8" in page.read_text()
    code, out, _ = call(capsys, *words, "--json", "-")
    data = json.loads(out)
    assert data["devices"] == 8
    assert data["speedup"] == pytest.approx(data["efficiency"] * 8)
    assert len(data["buckets"]) > 2
    code, out, _ = call(
        capsys, "train", "dgx1_v100", "alexnet_torchvision", "--batch", 64, "--compare-parallel", "--parallel", "data=4"
    )
    assert code == 0
    rows = {line[:16].strip(): line.split() for line in out.splitlines()}
    assert [rows[name][1] for name in ("data", "layers", "channels", "maps")] == ["1,466", "19", "3,036", "324"]
    code, _, err = call(capsys, "train", "v100", "alexnet", "--compare-parallel")
    assert code == 2
    assert "on a cluster, as dgx1_v100" in err
    code, _, err = call(capsys, "run", "dgx1_v100", "alexnet")
    assert code == 2
    assert "hwsim train dgx1_v100" in err
    code, out, _ = call(capsys, "list", "clusters")
    assert "dgx_h100" in out
    code, out, _ = call(capsys, "train", "dgx1_v100", "vgg16", "--batch", 256, "--parallel", "data=2")
    assert code == 1  # does not fit


def test_splits_and_clusters_are_axes_of_a_sweep(tmp_path: Path) -> None:
    table = hwsim.sweep(
        {
            "name": "scale",
            "machines": ["dgx1_v100"],
            "workloads": [NET],
            "batch": 31,
            "set": {
                "parallel.data": [1, 8],
                "cluster.links.nvlink.bandwidth": ["5 GB/s", "25 GB/s"],
                "train.precision": ["fp32", "mixed"],
            },
        },
        workers=1,
    )
    assert len(table) == 8
    for row in table.to_dict("records"):
        machine = cluster(**{"links.nvlink.bandwidth": row["cluster.links.nvlink.bandwidth"]})
        run = step(f"data={row['parallel.data']}", machine, precision=row["train.precision"])
        assert row["latency_s"] == run.step_s
        assert row["inferences_per_s"] == run.samples_per_s
        assert row["speedup"] == run.speedup
        assert (row["library_name"], row["missing_operators"]) == ("cudnn-8", 0)
    file = tmp_path / "bad.yaml"
    file.write_text(
        "name: bad\nmachines: [dgx1_v100]\nworkloads: [kws]\nset: {parallel.dat: [1, 2], train.precision: [mixd]}\n"
    )
    with pytest.raises(InputError, match=r"(?s)set.parallel.dat: unknown key; nearest: 'data'.*not 'mixd'"):
        hwsim.sweep(file)
    file.write_text("name: bad\nmachines: [v100]\nworkloads: [kws]\nset: {parallel.data: [1, 2]}\n")
    with pytest.raises(InputError, match="must be on a cluster, as dgx1_v100"):
        hwsim.sweep(file)


def test_options_that_would_do_nothing_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "train", "dgx1_v100", "alexnet", "--compare-parallel", "--epochs", "3", "--csv", "-")
    assert code == 2
    assert "--compare-parallel gives a table or --json: leave --csv, --epochs out" in " ".join(err.split())
    for name, value in (("bucket", "1 MB"), ("servers", "2"), ("overlap", "0")):
        code, _, err = call(capsys, "train", "v100", "alexnet", f"--{name}", value)
        assert code == 2
        assert f"--{name} is of a cluster" in err


def test_micro_batches_without_a_pipeline_are_accumulated() -> None:
    """Of the same inputs: the same step, sums of gradients, energy and bytes."""
    for parallel in ("data=2", "channels=3", "data=2,maps=2"):
        micro, accumulated = step(f"{parallel},micro=7"), step(parallel, accumulate=7)
        assert (micro.samples, micro.micro) == (accumulated.samples, 7)
        assert micro.step_s == accumulated.step_s
        assert micro.energy_pj == accumulated.energy_pj
        assert micro.link_bytes == accumulated.link_bytes
    stages, sums = step("layers=2,micro=7"), step("data=1").one.sum_s
    one = step("layers=2,micro=1")
    shares = [stage.memory.weights_bytes / step("data=1").memory.weights_bytes for stage in stages.stages]
    assert stages.update_s - one.update_s == pytest.approx(7 * sums * max(shares), rel=1e-6)


def test_what_of_a_split_does_nothing_is_a_note() -> None:
    def codes(parallel: str, **ways: object) -> list[str]:
        run = cluster_step(cluster(), NET, 31, parallel_of(parallel, **ways))
        return [note.code for note in run.messages if note.code.startswith("parallel.")]

    assert codes("channels=8", gradient="fp16") == ["parallel.no_gradients"]
    assert codes("layers=2", bucket="1 MB") == ["parallel.no_gradients"]
    assert codes("data=8", gradient="fp16") == []
    assert codes("data=2", reduce="server", servers=8) == ["parallel.servers"]
    assert codes("data=2", servers=8) == ["parallel.servers"]
    assert codes("data=8", reduce="server", servers=8) == []


@pytest.mark.parametrize(("channels", "maps"), [(2, 1), (3, 1), (8, 1), (1, 2), (1, 3), (1, 7), (2, 2), (3, 2)])
def test_shares_have_the_macs_of_the_largest_part(channels: int, maps: int) -> None:
    """By hand: ceil(k / n) filters, ceil(p / n) rows, ceil(n / all) columns, of the inputs of all that share."""
    run, inputs = step(f"channels={channels},maps={maps}"), 31 * channels * maps
    a, b, c = (
        -(-p // maps) * p * -(-k // channels) * window * 3
        for p, k, window in ((31, 64, 27), (16, 127, 1600), (16, 257, 127))
    )
    fc = -(-31 // (channels * maps)) * 257 * 256 * 3
    assert [layer.macs for layer in run.one.layers] == [inputs * macs for macs in (a // 3 * 2, b, c, fc)]
    assert sum(layer.macs for layer in run.one.layers) >= sum(layer.macs for layer in step("data=1").one.layers)


def test_bands_and_filters_make_up_the_layer() -> None:
    """n parts of equal size have its MACs; neighbors read what a border exchanges twice; groups stay whole."""
    for conv in (
        Conv2d("a", c=31, h=64, w=17, k=64, r=3, pad=1),
        Conv2d("b", c=7, h=66, w=17, k=32, r=5, dilation=1, stride=2, pad=1),
        Conv2d("c", c=32, h=64, w=31, k=64, r=3, pad=2, dilation=2, groups=8),
    ):
        for ways in (2, 4):
            filters, rows = Share(channels=ways).part(conv), Share(maps=ways).part(conv)
            assert ways * filters.macs == ways * rows.macs == conv.macs
            assert ways * filters.weights == rows.weights == conv.weights
            assert ways * rows.h == (conv.p - ways) * conv.stride[0] + ways * (halo_rows(conv) + 1)
    depthwise = Conv2d("d", c=31, h=7, w=7, k=31, r=3, groups=31, pad=1)
    assert Share(channels=4).part(depthwise).groups == 8
    assert Share(channels=5).part(Gemm("fc", n=127, k=31)).n == 26
    for ways in (Share(channels=8), Share(maps=4), Share(2, 3)):
        assert sum(1 for layer in NET if ways.part(layer) is None) == 0


def test_small_parts_fill_tiles_badly() -> None:
    """Eight filters on each device do not take an eighth of 64, where bands of rows do: of a large map, free links."""
    net = Workload("n", [Conv2d("a", c=64, h=224, w=224, k=64, r=3, pad=1)], graph=False)
    fast = cluster(**FREE, **{"links.nvlink.bandwidth": "1000000 TB/s"})
    runs = {way: cluster_step(fast, net, 8, parallel_of(f"{way}=8")) for way in ("data", "channels", "maps")}
    assert runs["data"].speedup == pytest.approx(8, rel=1e-6)
    assert runs["maps"].speedup == pytest.approx(8, rel=0.1)
    assert runs["channels"].speedup < 6


def test_layers_that_are_not_cut_are_a_note() -> None:
    run = hwsim.train("dgx1_v100", "gnmt_4layer_1024", 7, "channels=2")
    assert "parallel.whole" in [note.code for note in run.messages]
    with pytest.raises(InputError, match="at most 65,536 together"):
        step("channels=8", batch=20000)
    with pytest.raises(InputError, match="has no rows of a map"):
        hwsim.train("dgx1_v100", "bert_base", 1, "maps=2")


def test_splits_side_by_side_have_their_notes(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(
        capsys, "train", "pcie_8x_gtx1080ti", "lenet5_pruned", "--compare-parallel", "--parallel", "data=2", "--precision",
        "mixed",
    )  # fmt: skip
    assert code == 0
    text = " ".join(out.split())
    assert text.count("multiplies no fp16: mixed precision halves the bytes") == 1
    assert "weights have zeros or codes" in text


@pytest.mark.parametrize("links", [{0: {1: 1}}, {0: dict.fromkeys(range(1, 8), 1)}, {i: {i + 1: 1} for i in range(7)}])
def test_links_without_a_ring_are_refused(links: dict[int, dict[int, int]], tmp_path: Path) -> None:
    """A pair, a star, a chain: no ring goes through eight devices; one that is closed has one each way."""
    document = yaml.safe_load((ROOT / "arch_configs" / "clusters" / "dgx1_v100.yaml").read_text())
    document["links"] = {"nvlink": document["links"]["nvlink"] | {"pairs": links}}
    file = tmp_path / "own.yaml"
    file.write_text(yaml.safe_dump(document))
    with pytest.raises(InputError, match=r"links of dgx1_v100 must join the devices 0, 1, .* for all_reduce by ring"):
        hwsim.train(file, NET, 7, "data=8")
    document["links"]["nvlink"]["pairs"] = {**{i: {i + 1: 1} for i in range(1, 7)}, 0: {1: 1, 7: 1}}
    file.write_text(yaml.safe_dump(document))
    assert "2 rings over nvlink" in " ".join(cluster_step_lines(hwsim.train(file, NET, 7, "data=8")))
