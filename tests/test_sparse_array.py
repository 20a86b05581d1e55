"""Arrays that compute on compressed operands: published cycles, sums by hand, real encoders, laws."""

from __future__ import annotations

import csv
import math
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import hwsim
from hwsim.engine import simulate as run_program
from hwsim.engine.program import Pipeline, Program, Run, Stage
from hwsim.errors import InputError
from hwsim.kernels.sparse_formats import encode_csc
from hwsim.machines.sparse_array.draw import Draw, expected_fillers
from hwsim.machines.sparse_array.grid import best_tile
from hwsim.machines.sparse_array.rows import queued_cycles, slice_entries
from hwsim.machines.sparse_array.work import work_of
from hwsim.validation.nests import validate_layers
from hwsim.workload.mask import Mask

DATA = Path(__file__).parent / "data" / "sparse"


def fc(k, n, weight, ifmap, **more):
    return hwsim.Gemm("fc", m=1, k=k, n=n, bias=False, weight={"density": weight}, input={"density": ifmap}, **more)


def layer_of(machine, layer, batch=1):
    if isinstance(machine, str):
        machine = hwsim.load_machine(machine)
    return hwsim.simulate(machine, hwsim.Workload("w", [layer], graph=False), batch).layers.iloc[0]


MACHINES = ("eie", "scnn", "eyeriss_v2")
LAYERS = {
    "conv": hwsim.Conv2d("x", c=31, h=17, w=23, k=37, r=3, pad=1),
    "strided": hwsim.Conv2d("x", c=3, h=31, w=31, k=7, r=7, stride=2),
    "depthwise": hwsim.Conv2d("x", c=127, h=9, w=9, k=127, r=3, groups=127, pad=1),
    "one": hwsim.Conv2d("x", c=1, h=1, w=1, k=1, r=1),
    "fc": hwsim.Gemm("x", m=1, k=257, n=127),
    "rows": hwsim.Gemm("x", m=13, k=31, n=257),
}


# ---- EIE: Han et al., ISCA 2016, table IV (64 PEs, 800 MHz): actual us, load balance
EIE = {"Alex-6": (9216, 4096, 0.09, 0.351, 30.3, 0.927), "Alex-7": (4096, 4096, 0.09, 0.353, 12.2, 0.959)}
ALEX_8 = (4096, 1000, 0.25, 0.375, 9.9, 0.899)


@pytest.mark.parametrize("name", EIE)
def test_eie_takes_the_published_time(name):
    k, n, weight, ifmap, us, balance = EIE[name]
    row = layer_of("eie", fc(k, n, weight, ifmap))
    assert row.latency_s * 1e6 == pytest.approx(us, rel=0.08)
    assert row.load_balance == pytest.approx(balance, abs=0.05)
    assert row.energy_pj / 1e6 == pytest.approx(0.59 * us, rel=0.12)  # 0.59 W (table II)


def test_eie_is_too_fast_where_the_published_densities_disagree():
    """Alex-8: 10 % of the products are left, though 25 % x 37.5 % are 9.4 %; what is published is 18 % longer."""
    k, n, weight, ifmap, us, balance = ALEX_8
    row = layer_of("eie", fc(k, n, weight, ifmap))
    assert row.latency_s * 1e6 == pytest.approx(us, rel=0.2)
    assert row.load_balance == pytest.approx(balance, abs=0.05)


def test_eie_of_256_pes():
    """At 28 nm and 1.2 GHz, 426,230 frames/s of Alex-7 (table V)."""
    machine = hwsim.load_machine("eie", set={"array.rows": 16, "array.cols": 16, "clocks.core": "1.2 GHz"})
    assert 1 / layer_of(machine, fc(4096, 4096, 0.09, 0.353)).latency_s == pytest.approx(426_230, rel=0.08)


def test_wrong_models_of_eie_are_apart():
    """No fillers: 15 % fewer cycles; a queue of one or a barrier: many more; free empty columns: fewer on few rows."""

    def cycles(layer, **changes):
        machine = hwsim.load_machine("eie", set={f"array.{key}": value for key, value in changes.items()})
        return layer_of(machine, layer).compute_cycles

    alex, narrow = fc(9216, 4096, 0.09, 0.351), fc(4096, 600, 0.1, 1.0)
    assert cycles(alex, index_bits=16) < 0.88 * cycles(alex)
    assert 1.15 * cycles(alex) < cycles(alex, queue=1) < cycles(alex, meet="channel")
    assert cycles(alex, meet="channel") > 1.6 * cycles(alex)
    assert cycles(narrow, empty=0) < 0.9 * cycles(narrow)


def test_fillers_of_a_slice_by_hand():
    """Slices of 3 values, runs of 1 bit: a filler stands for two zeros before a value, at place 2 only."""
    density = 0.25
    assert expected_fillers(3, density, 1) == pytest.approx(density * (1 - density) ** 2)
    # Of long slices: f = (1-d)^z / (1 - (1-d)^z) a value.
    z = 0.91**16
    assert expected_fillers(10**6, 0.09, 4) / (0.09 * 10**6) == pytest.approx(z / (1 - z), rel=1e-3)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 40), st.integers(1, 70), st.sampled_from([1, 2, 3, 7, 64]), st.sampled_from([1, 2, 4]),
    st.floats(0, 1), st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_slices_have_the_entries_that_the_encoder_stores(columns, rows, pes, bits, density, seed):
    """And those of a walk value by value: a filler at the 2^b-th zero of a run, if a value comes after it."""
    mask = np.random.default_rng(seed).random((columns, rows)) < density
    entries, fillers = slice_entries(mask, pes, bits)
    for column, pe in np.ndindex(columns, pes):
        run = waiting = kept = cut = 0
        for value in mask[column, pe::pes]:
            run, waiting = (0, waiting + 1) if not value and run == 2**bits - 1 else (run + 1, waiting)
            if value:
                kept, cut, run, waiting = kept + 1, cut + waiting, 0, 0
        assert (entries[column, pe], fillers[column, pe]) == (kept + cut, cut)
    for pe in range(min(pes, rows)):
        own = np.ascontiguousarray(mask[:, pe::pes].T.astype(np.int8))
        coded = encode_csc(own, relative_bits=bits)
        assert entries[:, pe].tolist() == np.diff(coded.pointers).tolist()
        assert fillers[:, pe].sum() == np.count_nonzero(coded.values == 0)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=60), st.integers(1, 9))
def test_a_queue_is_a_pipeline_of_the_engine(work, depth):
    """Of one PE: a broadcast a cycle into a buffer of D values and the one at work."""
    tiles = tuple(Run(1, (1, cycles)) for cycles in work)
    pipeline = Pipeline("walk", (Stage("broadcast", "bus", depth + 1), Stage("multiply", "pe")), tiles)
    end = run_program(Program({"bus": 1, "pe": 1}, (pipeline,))).end
    cycles = queued_cycles((np.array([[w]]) for w in work), depth)
    assert end == 1 + cycles[0]  # the engine counts the first broadcast


def broadcast_program(work, depth):
    """Every broadcast and every PE's share of it, for the engine.

    Value j is issued a cycle after value j - 1 was sent. It is sent once each PE has a slot for it: D slots and the
    value at work, so value j - D - 1 is done everywhere.
    """
    columns, pes = work.shape

    def done(j):
        return tuple(f"work {j} {pe}" for pe in range(pes)) if j >= 0 else ()

    pipelines = []
    for j in range(columns):
        issued = (f"issue {j - 1}", *done(j - depth - 2)) if j else ()
        pipelines.append(Pipeline(f"issue {j}", (Stage("issue", "bus"),), (Run(1, (1,)),), issued))
        for pe in range(pes):
            own = (f"work {j - 1} {pe}",) if j else ()
            after = (f"issue {j}", *own, *done(j - depth - 1))
            stages = (Stage("multiply", f"pe {pe}"),)
            pipelines.append(Pipeline(f"work {j} {pe}", stages, (Run(1, (int(work[j, pe]),)),), after))
    return Program({"bus": 1} | {f"pe {pe}": 1 for pe in range(pes)}, tuple(pipelines))


@pytest.mark.parametrize("depth", [1, 2, 8])
@pytest.mark.parametrize(("columns", "pes"), [(1, 3), (13, 2), (31, 3), (17, 7)])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_queues_of_several_pes_are_programs_of_the_engine(columns, pes, depth, seed):
    """A slow PE holds the broadcast back, and so all others."""
    work = np.random.default_rng(seed).geometric(0.4, (columns, pes))
    end = run_program(broadcast_program(work, depth)).end
    cycles = queued_cycles((row[None] for row in work), depth)
    assert end == 1 + cycles[0]  # the engine counts the first issue


def test_vectors_of_several_lengths_are_walked_as_each_alone():
    generator = np.random.default_rng(2)
    lengths = [31, 30, 30, 7, 1]
    work = [generator.geometric(0.3, (length, 5)) for length in lengths]
    alone = [queued_cycles((row[None] for row in one), 3)[0] for one in work]
    together = queued_cycles((np.array([one[j] for one in work if len(one) > j]) for j in range(31)), 3)
    assert together.tolist() == alone


@pytest.mark.parametrize("shape", [(31, 127), (257, 65), (128, 1), (1, 300)])
def test_masks_give_exact_counts(shape):
    """Compared with a walk by hand; the report says that it is exact."""
    columns, rows = shape
    generator = np.random.default_rng(7)
    weight, ifmap = generator.random(shape) < 0.3, generator.random(columns) < 0.5
    layer = hwsim.Gemm(
        "fc", m=1, k=columns, n=rows, bias=False, weight={"mask": Mask.of(weight)}, input={"mask": Mask.of(ifmap[None])}
    )
    plan = hwsim.load_machine("eie").plan(layer)
    effectual = int(weight[ifmap].sum())
    assert plan.macs_executed == effectual
    assert plan.counts.get(("mac", "", "int8"), 0) == int(slice_entries(weight, 64, 4)[0][ifmap].sum())
    assert plan.columns["cycles_spread_pct"] == 0
    finish, starts, sent = np.zeros(64, int), [], -1
    for j in np.flatnonzero(ifmap):
        steps = np.maximum(slice_entries(weight, 64, 4)[0][j], 1)
        sent = max(sent + 1, starts[-8].max() if len(starts) >= 8 else 0)
        starts.append(np.maximum(finish, sent))
        finish = starts[-1] + steps
    assert plan.compute_cycles == finish.max()


def masks_of(layer, weight, ifmap, seed):
    """The layer with zeros at random of these densities."""
    generator = np.random.default_rng(seed)
    masks = {
        "weight": generator.random(layer.weight.shape) < weight,
        "input": generator.random(layer.input.shape) < ifmap,
    }
    return layer.with_tensors(**{tensor: {"mask": Mask.of(mask)} for tensor, mask in masks.items()})


RANDOM = {
    "narrow": (hwsim.Gemm("x", m=1, k=31, n=127, bias=False), 0.1, 0.3),
    "fc": (hwsim.Gemm("x", m=1, k=512, n=777, bias=False), 0.1, 0.4),
    "rows": (hwsim.Gemm("x", m=13, k=31, n=257, bias=False), 0.3, 0.3),
    "windows": (hwsim.Conv2d("x", c=3, h=9, w=9, k=131, r=3, pad=1, bias=False), 0.3, 0.4),
    "groups": (hwsim.Conv2d("x", c=6, h=9, w=11, k=10, r=3, stride=2, groups=2, bias=False), 0.5, 0.4),
}


@pytest.mark.parametrize("kind", RANDOM)
@pytest.mark.parametrize("name", MACHINES)
def test_a_density_is_the_mean_of_masks_and_its_spread_theirs(name, kind):
    """Ifmap values of a vector are binomial too: a network of few values differs much from one image to the next."""
    layer, weight, ifmap = RANDOM[kind]
    machine = hwsim.load_machine(name)
    plans = [machine.plan(masks_of(layer, weight, ifmap, seed)) for seed in range(100)]
    assert not any(plan.columns["cycles_spread_pct"] for plan in plans)
    cycles = np.array([plan.compute_cycles for plan in plans])
    plan = machine.plan(layer.with_density(weight=weight, input=ifmap))
    mean, spread = cycles.mean(), 100 * cycles.std(ddof=1) / cycles.mean()
    known = 2 * cycles.std() / math.sqrt(len(cycles)) + 0.5  # as well as 100 masks tell it, in whole cycles
    assert plan.compute_cycles == pytest.approx(mean, abs=0.01 * mean + known)
    assert spread / 1.3 < plan.columns["cycles_spread_pct"] < 1.3 * spread


SHAPES = {
    "depthwise": hwsim.Conv2d("x", c=31, h=25, w=5, k=31, r=3, groups=31, pad=1, bias=False),
    "depthwise, stride": hwsim.Conv2d("x", c=7, h=17, w=17, k=7, r=3, groups=7, pad=1, stride=2, bias=False),
    "depthwise, dilated": hwsim.Conv2d("x", c=17, h=13, w=13, k=17, r=3, groups=17, pad=2, dilation=2, bias=False),
    "stride": hwsim.Conv2d("x", c=3, h=23, w=23, k=19, r=5, stride=2, pad=3, bias=False),
    "dilated": hwsim.Conv2d("x", c=16, h=17, w=17, k=31, r=3, pad=4, dilation=4, bias=False),
    "padding": hwsim.Conv2d("x", c=5, h=7, w=7, k=13, r=5, pad=4, bias=False),
    "1 channel": hwsim.Conv2d("x", c=1, h=31, w=31, k=7, r=5, pad=2, bias=False),
    "1 filter": hwsim.Conv2d("x", c=64, h=13, w=13, k=1, r=3, pad=1, bias=False),
    "pointwise": hwsim.Conv2d("x", c=127, h=13, w=11, k=31, r=1, bias=False),
    "matrix": hwsim.Gemm("x", m=31, k=127, n=61, bias=False),
    "vector": hwsim.Gemm("x", m=1, k=257, n=127, bias=False),
}


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("name", MACHINES)
def test_a_density_stands_for_masks_of_every_shape(name, kind):
    """One operand known or none: cycles and counts are those of masks of both, on average."""
    machine, layer = hwsim.load_machine(name), SHAPES[kind]
    for weight, ifmap in ((0.3, 1.0), (0.9, 0.9), (0.3, 0.4), (1.0, 0.3)):
        known = [masks_of(layer, weight, ifmap, seed) for seed in range(8)]
        plans = [machine.plan(one) for one in known]
        densities = {"weight": {"density": weight}, "input": {"density": ifmap}}
        expected = machine.plan(layer.with_tensors(**densities))
        assert name == "scnn" or not expected.cycles["outside"]  # tiles of planes alone multiply for no output
        for count in (lambda plan: plan.compute_cycles, lambda plan: sum(plan.counts.values())):
            numbers = np.array([count(plan) for plan in plans])
            chance = numbers.std(ddof=1)
            assert count(expected) == pytest.approx(numbers.mean(), abs=0.03 * numbers.mean() + chance + 0.5)
            for tensor, density in densities.items():
                half = known[0].with_tensors(**{tensor: density | {"mask": None}})
                found = count(machine.plan(half))
                assert found == pytest.approx(numbers.mean(), abs=0.03 * numbers.mean() + 3 * chance + 0.5)


def test_dense_windows_are_counted_whether_weights_are_dense_or_not():
    """A depthwise layer of 64 channels of 25x5: a window reads (3 x 25 - 2)(3 x 5 - 2) of its 9 x 125 values."""
    layer = hwsim.Conv2d("x", c=64, h=25, w=5, k=64, r=3, groups=64, pad=1, bias=False)
    machine = hwsim.load_machine("eie")
    for density in (1.0, 0.99, 0.3, 0.01):  # one row: an empty column takes as long as a weight
        cycles = machine.plan(layer.with_density(weight=density)).compute_cycles
        assert cycles == 64 * (3 * 25 - 2) * (3 * 5 - 2) == 60_736


@pytest.mark.parametrize("known", [False, True])
def test_depthwise_layers_skip_zeros_of_the_ifmap_but_on_grids(known):
    """What is multiplied and priced is a tenth at a tenth of the values; Eyeriss v2 skips weights alone there."""
    layer = hwsim.Conv2d("x", c=31, h=25, w=7, k=31, r=3, groups=31, pad=1, bias=False)
    layers = [
        masks_of(layer, 0.5, ifmap, 3) if known else layer.with_density(weight=0.5, input=ifmap) for ifmap in (0.1, 1.0)
    ]
    for name in MACHINES:
        few, all_ = map(hwsim.load_machine(name).plan, layers)
        share = 1.0 if name == "eyeriss_v2" else layers[0].input.density
        assert few.macs_executed == pytest.approx(share * all_.macs_executed, rel=0.1)
        if name != "scnn":  # which multiplies for no output too
            assert few.counts["mac", "", "int8"] == pytest.approx(few.macs_executed, rel=0.05)


def test_few_values_of_short_vectors_are_not_lost():
    """Of windows of 9 values at a density of 0.001, one in 111 broadcasts a value: 8,000 windows of them 72."""
    layer = hwsim.Conv2d("x", c=64, h=27, w=7, k=64, r=3, groups=64, bias=False)
    plan = hwsim.load_machine("eie").plan(layer.with_density(weight=0.5, input=0.001))
    assert plan.compute_cycles == 72


@pytest.mark.parametrize("layer", [RANDOM["windows"][0], RANDOM["groups"][0]], ids=["padding", "groups"])
def test_convolutions_of_masks_are_exact_on_eie(layer):
    """Each window of the image is broadcast, value by value."""
    known = masks_of(layer, 0.3, 0.5, 4)
    plan = hwsim.load_machine("eie").plan(known)
    z = layer.lower(1).geometry
    ifmap = np.pad(known.input.spec.mask.array, ((0, 0), *[(z.pad[0], z.pad[0])] * 2))
    weight = known.weight.spec.mask.array
    total = multiplied = 0
    for group in range(z.groups):
        rows = weight[group * z.filters : (group + 1) * z.filters].reshape(z.filters, -1)
        entries = slice_entries(rows.T, 64, 4)[0]
        for p, q in np.ndindex(z.p, z.q):
            window = ifmap[
                group * z.channels : (group + 1) * z.channels,
                p * z.stride[0] : p * z.stride[0] + z.r,
                q * z.stride[1] : q * z.stride[1] + z.s,
            ].ravel()
            steps = np.maximum(entries[window], 1)
            total += queued_cycles((row[None] for row in steps), 8).sum()
            multiplied += entries[window].sum()
    assert plan.compute_cycles == total
    assert plan.counts["mac", "", "int8"] == multiplied
    assert any(message.code == "sparse.exact" for message in plan.why)


@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 300), st.integers(1, 300), st.floats(0.01, 1), st.floats(0.01, 1), st.sampled_from([1, 3, 8]),
)  # fmt: skip
def test_bounds_of_the_walk(k, n, weight, ifmap, queue):
    """Never less than the mean work of the PEs, never more than a barrier at each value."""
    free = layer_of(hwsim.load_machine("eie", set={"array.queue": queue}), fc(k, n, weight, ifmap))
    barrier = layer_of(hwsim.load_machine("eie", set={"array.meet": "channel"}), fc(k, n, weight, ifmap))
    assert free.compute_cycles <= barrier.compute_cycles
    assert free.load_balance <= 1
    parts = ("imbalance", "empty", "fragments", "fillers", "outside", "handover")
    useful = free.macs_executed / 64
    assert useful + sum(free[f"{part}_cycles"] for part in parts) == pytest.approx(free.compute_cycles, abs=4)


# ---- SCNN: Parashar et al., ISCA 2017: speed-up over a dense array of 1,024 multipliers
#: Share of the weights that are kept and of the outputs that are not zero, in % (Han et al., NIPS 2015, tables 4 and 5).
HAN = {
    "alexnet": {"conv1": (84, 88), "conv2": (38, 52), "conv3": (35, 37), "conv4": (37, 40), "conv5": (37, 34)},
    "vgg16": {
        "conv1_1": (58, 53), "conv1_2": (22, 89), "conv2_1": (34, 80), "conv2_2": (36, 81), "conv3_1": (53, 68),
        "conv3_2": (24, 70), "conv3_3": (42, 64), "conv4_1": (32, 51), "conv4_2": (27, 45), "conv4_3": (34, 34),
        "conv5_1": (35, 32), "conv5_2": (29, 29), "conv5_3": (36, 19),
    },
}  # fmt: skip


def han(network):
    """Densities of a layer's ifmap, by what the layer before gives, and of its weights."""
    given = [1.0, *(outputs / 100 for _, outputs in HAN[network].values())]
    return {name: (ifmap, kept / 100) for (name, (kept, _)), ifmap in zip(HAN[network].items(), given)}


def dense_cycles(layer):
    return (
        math.ceil(layer.q / 8) * math.ceil(layer.p / 8) * layer.r * layer.s * (layer.c // layer.groups) * layer.k / 16
    )


def speed_up(network, densities, machine="scnn"):
    layers = [layer for layer in hwsim.load_workload(network) if isinstance(layer, hwsim.Conv2d)]
    given = [densities[x.name] if isinstance(densities, dict) else densities for x in layers]
    layers = [layer.with_density(input=a, weight=w) for layer, (a, w) in zip(layers, given)]
    array = hwsim.load_machine(machine) if isinstance(machine, str) else machine
    plan = array.plan(hwsim.Workload("w", layers, graph=False))
    return sum(map(dense_cycles, layers)) / sum(layer.compute_cycles for layer in plan)


@pytest.mark.parametrize(("network", "published"), [("alexnet", 2.37), ("vgg16", 3.52)])
def test_scnn_gains_what_is_published(network, published):
    assert speed_up(network, han(network)) == pytest.approx(published, rel=0.1)


@pytest.mark.parametrize(("density", "published"), [(1.0, 0.79), (0.85, 1.0), (0.1, 24)])
def test_scnn_over_the_density_of_googlenet(density, published):
    """Fillers of both operands, and PEs that meet at a group, not at each channel."""
    assert speed_up("googlenet", (density, density)) == pytest.approx(published, rel=0.05)


def test_wrong_models_of_scnn_are_apart():
    few = {"array.meet": "channel"}, {"array.index_bits": 16}
    barrier, fillers = (speed_up("googlenet", (0.1, 0.1), hwsim.load_machine("scnn", set=change)) for change in few)
    assert barrier < 0.5 * 24
    assert fillers > 1.15 * 24


@pytest.mark.parametrize(("stride", "groups"), [(1, 1), (2, 1), (1, 2)])
def test_planes_of_masks_by_hand(stride, groups):
    """Every tile, phase, group of filters and channel is walked in plain loops."""
    generator = np.random.default_rng(11)
    c, h, w, k, r = 4, 17, 19, 24, 3
    weight, ifmap = generator.random((k, c // groups, r, r)) < 0.3, generator.random((c, h, w)) < 0.4
    layer = hwsim.Conv2d(
        "c", c=c, h=h, w=w, k=k, r=r, stride=stride, groups=groups, bias=False,
        weight={"mask": Mask.of(weight)}, input={"mask": Mask.of(ifmap)},
    )  # fmt: skip

    def coded(values):  # the encoder's own count
        return encode_csc(np.array(values, np.int8)[:, None], relative_bits=4).values.size if len(values) else 0

    plan = hwsim.load_machine("scnn").plan(layer)
    high, wide = math.ceil(h / 8), math.ceil(w / 8)
    height, width = (math.ceil(size / stride) + math.ceil(r / stride) - 1 for size in (high, wide))
    filters = min(2 ** int(math.log2(1024 // (height * width))), 64, k // groups)
    total = 0
    for g in range(groups):
        for first in range(g * k // groups, (g + 1) * k // groups, filters):
            last = min(first + filters, (g + 1) * k // groups)
            steps = np.zeros((8, 8))
            for pe in np.ndindex(8, 8):
                for channel in range(c // groups):
                    rows, cols = (slice(at * n, (at + 1) * n) for at, n in zip(pe, (high, wide)))
                    tile = ifmap[g * c // groups + channel, rows, cols]
                    for top, left in np.ndindex(stride, stride):
                        a = coded(tile[top::stride, left::stride].ravel())
                        b = coded(weight[first:last, channel, top::stride, left::stride].ravel())
                        steps[pe] += math.ceil(a / 4) * math.ceil(b / 4)
            total += steps.max()
    assert plan.compute_cycles == total
    assert plan.columns["cycles_spread_pct"] == 0


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("density", [0.1, 0.5, 1.0])
def test_what_is_priced_is_what_the_kernels_count(name, density):
    layers = [layer.with_density(input=density, weight=density).named(kind) for kind, layer in LAYERS.items()]
    plan = hwsim.load_machine(name).plan(hwsim.Workload("w", layers, graph=False))
    checks = list(validate_layers(plan))
    assert [check.difference for check in checks] == [None] * len(layers)
    assert all(check.own == check.priced >= 1 for check in checks)
    assert sum(check.macs for check in checks) == sum(layer.macs for layer in layers)


# ---- Eyeriss v2: Chen et al., JETCAS 2019; PE cycles are the multiplications that are left
def counts(layer):
    """Non-zeros of each channel, counted from the published masks (Sparseloop's artifact, MICRO 2022)."""
    with (DATA / "eyeriss_v2_channels.csv").open() as stream:
        rows = {row[1]: [int(count) for count in row[2].split()] for row in csv.reader(stream) if row[0] == layer}
    return rows["ifmap"], rows["weight"]


@pytest.mark.parametrize(
    ("name", "c", "hw", "k", "cycles"), [("L07", 64, 32, 64, 1_702_140), ("L13", 128, 8, 256, 1_144_158)]
)
def test_multiplications_of_sparse_mobilenet_are_exact_by_counts(name, c, hw, k, cycles):
    """Sum over channels of ifmap values by weights that are not zero; the product of densities is 1 to 7 % short."""
    ifmap, weight = counts(name)
    layer = hwsim.Conv2d(name, c=c, h=hw, w=hw, k=k, r=1, input={"nonzeros": ifmap}, weight={"nonzeros": weight})
    assert layer_of("eyeriss_v2", layer).macs_executed == cycles
    plain = layer.with_density(input=layer.input.density, weight=layer.weight.density)
    assert layer_of("eyeriss_v2", plain).macs_executed == pytest.approx(cycles, rel=0.07)
    assert layer_of("eyeriss_v2", plain).macs_executed < cycles


@pytest.mark.parametrize(
    ("c", "hw", "kept", "cycles"), [(16, 64, 133, 544_768), (128, 8, 1152, 73_728), (256, 8, 1939, 124_096)]
)
def test_depthwise_layers_of_sparse_mobilenet_skip_weights_alone(c, hw, kept, cycles):
    """Counted without padding, as published: all positions by the weights that are kept."""
    nonzeros = [kept // c + (channel < kept % c) for channel in range(c)]
    layer = hwsim.Conv2d(
        "dw", c=c, h=hw + 2, w=hw + 2, k=c, r=3, groups=c, input={"density": 0.7}, weight={"nonzeros": nonzeros}
    )
    assert layer_of("eyeriss_v2", layer).macs_executed == cycles


@pytest.mark.parametrize("number", [3, 31])
@pytest.mark.parametrize("meet", ["window", "group"])
@pytest.mark.parametrize(("stride", "groups", "depthwise"), [(1, 1, False), (2, 1, False), (1, 2, False), (1, 4, True)])
def test_grids_of_masks_by_hand(stride, groups, depthwise, meet, number):
    """Every PE of every wave and every window is walked in plain loops, over the tiles that were chosen."""
    machine = hwsim.load_machine("eyeriss_v2", set={"array.rows": number, "array.cols": 1, "array.meet": meet})
    c, k, h, r = 4, 4 if depthwise else 14, 7, 3
    layer = hwsim.Conv2d("c", c=c, h=h, w=h, k=k, r=r, stride=stride, pad=1, groups=groups, bias=False)
    known = masks_of(layer, 0.4, 0.5, 9)
    weight, ifmap = known.weight.spec.mask.array, known.input.spec.mask.array | depthwise
    image = np.pad(ifmap, ((0, 0), (1, 1), (1, 1)))
    bits = (machine.spec.entry_bits, machine.spec.weight_entry_bits, machine.spec.psum_bits)
    tile = best_tile(work_of(known, 1, "grid"), machine.spec, bits)
    assert (tile.taps, tile.strips > 1) == (3, number > 3)
    own, filters = c // groups, k // groups
    windows = [(p * stride, q * stride) for p, q in np.ndindex(layer.p, layer.q)]
    pes = []  # the cycles of each PE in each of its windows
    for strip, group in np.ndindex(tile.strips, groups):
        for first in range(0, filters, tile.filters):
            some = range(group * filters + first, group * filters + min(first + tile.filters, filters))
            for channel in range(0, own, tile.channels):
                for row in range(r):
                    steps = []
                    for y, x in windows[strip * tile.windows : (strip + 1) * tile.windows]:
                        work = math.ceil(len(some) / 2)
                        for j in range(channel, min(channel + tile.channels, own)):
                            for tap in range(r):
                                if image[group * own + j, y + row, x + tap]:
                                    work += math.ceil(weight[some.start : some.stop, j, row, tap].sum() / 2)
                        steps.append(work)
                    pes.append(steps + [0] * (tile.windows - len(steps)))
    waves = [np.array(pes[at : at + number]) for at in range(0, len(pes), number)]
    total = sum(wave.sum(1).max() if meet == "group" else wave.max(0).sum() for wave in waves)
    plan = machine.plan(known)
    assert plan.compute_cycles == total
    assert plan.columns["cycles_spread_pct"] == 0


def test_masks_count_by_channel_whatever_their_order():
    """Of a grouped convolution with taps: each weight meets the channel that it belongs to."""
    generator = np.random.default_rng(5)
    mask, ifmap = generator.random((6, 2, 3, 3)) < 0.4, generator.random((4, 7, 7)) < 0.5
    layer = hwsim.Conv2d(
        "c", c=4, h=7, w=7, k=6, r=3, groups=2, weight={"mask": Mask.of(mask)}, input={"mask": Mask.of(ifmap)}
    )
    by_hand = [int(mask[3 * g : 3 * g + 3, c].sum()) for g in range(2) for c in range(2)]
    assert list(layer.nonzeros("weight")) == by_hand
    assert list(layer.nonzeros("input")) == ifmap.sum((1, 2)).tolist()


@pytest.mark.parametrize(
    ("network", "published", "limit"), [("mobilenet_v1_0.5_128", 1282.1, 0.1), ("alexnet_caffe", 102.1, 0.1)]
)
def test_eyeriss_v2_runs_dense_networks_as_published(network, published, limit):
    """Inferences a second, nothing fitted (table III); DRAM is not counted there."""
    machine = hwsim.load_machine("eyeriss_v2", set={"precision": "int8"})
    network = hwsim.load_workload(network)
    dense = network.replace([x.with_density(input=1.0, weight=1.0) for x in network if x.macs])
    cycles = sum(plan.compute_cycles for plan in machine.plan(dense))
    assert 200e6 / cycles == pytest.approx(published, rel=limit)


# ---- laws over the three
@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("name", MACHINES)
def test_fewer_values_never_take_longer(name, kind):
    """Within the spread of masks; products left are the layer's by both densities, and padding is none."""
    cycles = []
    for density in (0.03, 0.1, 0.3, 0.6, 1.0):
        row = layer_of(name, LAYERS[kind].with_density(input=density, weight=density))
        cycles.append(row.compute_cycles)
        assert row.macs_executed <= row.macs * density * (1 if kind == "depthwise" else density) + 1
    assert all(b >= 0.97 * a - 3 for a, b in pairwise(cycles))


@pytest.mark.parametrize("kind", ["conv", "depthwise", "one", "fc"])
@pytest.mark.parametrize("name", MACHINES)
def test_more_pes_and_multipliers_never_take_longer(name, kind):
    """Within the spread of masks, from one PE and one multiplier on."""
    layer = LAYERS[kind].with_density(input=0.3, weight=0.3)

    def cycles(**changes):
        machine = hwsim.load_machine(name, set={f"array.{key}": value for key, value in changes.items()})
        return layer_of(machine, layer).compute_cycles

    pes = [cycles(rows=rows, cols=cols) for rows, cols in ((1, 1), (1, 3), (4, 4), (12, 16))]
    lanes = [cycles(multipliers=[filters, 1]) for filters in (1, 2, 4)]
    assert all(b <= 1.03 * a + 1 for series in (pes, lanes) for a, b in pairwise(series))


@pytest.mark.parametrize("name", MACHINES)
def test_padding_is_not_multiplied(name):
    """Three taps over n values with one of padding at each end read 3 n - 2 values."""
    row = layer_of(name, LAYERS["conv"])
    assert row.macs_executed == 31 * 37 * (3 * 17 - 2) * (3 * 23 - 2) < row.macs
    assert row.macs_executed + row.skipped_macs == row.macs


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("name", MACHINES)
def test_a_batch_takes_as_many_times_as_long(name, kind):
    one, seven = (layer_of(name, LAYERS[kind].with_density(input=0.4, weight=0.3), batch) for batch in (1, 7))
    assert 0.9 * one.compute_cycles - 1 <= seven.compute_cycles / 7 <= 1.1 * one.compute_cycles + 1
    assert seven.macs_executed == pytest.approx(7 * one.macs_executed, abs=7)


@pytest.mark.parametrize("name", MACHINES)
def test_nothing_left_takes_no_cycles(name):
    row = layer_of(name, LAYERS["fc"].with_density(weight=0.0))
    assert (row.compute_cycles, row.macs_executed) == (0, 0)


def test_weights_that_do_not_fit_are_told():
    report = hwsim.simulate(hwsim.load_machine("eie"), hwsim.Workload("w", [hwsim.Gemm("fc", m=1, k=9216, n=4096)]))
    assert not report.summary.fits
    report = hwsim.simulate(hwsim.load_machine("eie"), hwsim.Workload("w", [fc(9216, 4096, 0.09, 1.0)]))
    assert report.summary.fits


def test_pointers_and_activations_that_do_not_fit_are_told():
    """A PE of EIE has 16,384 pointers, of which a layer takes one a column and one more; all PEs hold 65,536 values."""

    def uses(*layers):
        report = hwsim.simulate(hwsim.load_machine("eie"), hwsim.Workload("w", list(layers), graph=False))
        return report.summary.fits, {use.memory: use for use in report.memories}

    fits, memories = uses(fc(16383, 127, 0.01, 1.0))
    assert fits
    assert memories["pointers"].need_bytes == memories["pointers"].size_bytes == 64 * 32 * 1024
    fits, memories = uses(fc(16384, 127, 0.01, 1.0))
    assert not fits
    assert memories["pointers"].margin_bytes == -2 * 64
    image = hwsim.Conv2d("wide", c=3, h=127, w=127, k=31, r=3, stride=2, bias=False, weight={"density": 0.1})
    fits, memories = uses(fc(31, 7, 0.1, 1.0), image)
    assert not fits
    assert memories["act"].parts == (("activations of wide", 2 * (3 * 127 * 127 + 31 * 63 * 63)),)


@pytest.mark.parametrize(
    ("name", "memory", "size", "message"),
    [
        ("eie", "act", "1 B", r"memories.act.size must be room for ifmap: at least 1 of 16 bits \(2 B\)"),
        ("eie", "pointers", "3 B", r"pointer: at least 2 of 16 bits \(4 B\)"),
        ("eie", "spmat", "1 B", None),
        ("scnn", "accumulators", "3071 B", r"memories.accumulators.size .* psum: at least 1024 of 24 bits \(3072 B\)"),
        ("scnn", "fifo", "9 B", r"memories.fifo.size must be room for weight: at least 4 of 20 bits \(10 B\)"),
        ("eyeriss_v2", "psum_spad", "2 B", r"psum: at least 1 of 20 bits \(3 B\)"),
        ("eyeriss_v2", "weight_spad", "2 B", r"weight: at least 2 of 12 bits \(3 B\)"),
        ("eyeriss_v2", "ifmap_spad", "1 B", r"ifmap: at least 1 of 12 bits \(2 B\)"),
    ],
)
def test_memories_without_room_for_a_step_are_refused(name, memory, size, message):
    if message is None:  # a value of 4 bits and its run of 4
        assert hwsim.load_machine(name, set={f"memories.{memory}.size": size})
        return
    with pytest.raises(InputError, match=message):
        hwsim.load_machine(name, set={f"memories.{memory}.size": size})


@pytest.mark.parametrize(
    ("memory", "sizes"), [("ifmap_spad", (2, 6, 24)), ("psum_spad", (3, 20, 80)), ("weight_spad", (3, 24, 288))]
)
def test_smaller_memories_of_a_grid_take_longer(memory, sizes):
    """A row of a window that does not fit is done tap by tap, and hands its sums over each time."""
    layer = hwsim.Conv2d("c", c=31, h=17, w=17, k=127, r=5, input={"density": 0.6}, weight={"density": 0.5})
    machines = [hwsim.load_machine("eyeriss_v2", set={f"memories.{memory}.size": f"{size} B"}) for size in sizes]
    cycles = [layer_of(machine, layer).compute_cycles for machine in machines]
    assert cycles[0] > 1.3 * cycles[-1]
    assert all(a >= 0.98 * b for a, b in pairwise(cycles))


def test_draws_are_the_same_everywhere():
    """By a generator whose numbers never change: legacy RandomState, and tables of our own."""
    assert Draw(1).entries(64, 0.1, 4, (6,)).tolist() == [7, 9, 0, 6, 5, 4]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"array.meet": "window"}, r"meet must be never or channel where deal is rows, not window"),
        ({"array.multipliers": [1, 2]}, r"multipliers must take one ifmap value a cycle"),
        ({"array.accumulators": 3}, r"accumulators and most_filters are of deal: plane"),
        ({"memories.spmat.holds": ["pointer"]}, r"memories must hold ifmap, weight and ofmap; none holds weight"),
        ({"memories.act.size": "0.1 B"}, r"memories.act: size must be at least 1 B"),
        ({"array.queue": 65536}, r"queue: must be .*1024"),
        ({"memories.act.clock": "cor"}, r"memories.act.clock names clock 'cor', which is not defined; nearest: 'core'"),
    ],
)
def test_faults_of_a_file(change, message):
    with pytest.raises(InputError, match=message):
        hwsim.load_machine("eie", set=change)


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize(
    "layer",
    [
        hwsim.Gemm("x", m=1, k=2**20, n=2**20),
        hwsim.Conv2d("x", c=2**20, h=7, w=7, k=2**20, r=3, groups=2**20, pad=1),
        hwsim.Conv2d("x", c=3, h=10_000, w=10_000, k=3, r=5000, stride=2500),
    ],
    ids=["wide", "deep", "strided"],
)
def test_a_part_of_what_is_too_large_to_draw_stands_for_all(name, layer):
    """Cycles are within what all multipliers, and one of them, would take."""
    row = layer_of(name, layer.with_density(input=0.3, weight=0.3))
    slots = hwsim.load_machine(name).spec.array.pes * hwsim.load_machine(name).spec.array.lanes
    assert row.macs_executed / slots <= row.compute_cycles < row.macs


def test_wider_words_than_the_array_has():
    with pytest.raises(InputError, match=r"eyeriss_v2 computes on words of 8 bits, but int16 has 16: quantize"):
        layer_of("eyeriss_v2", hwsim.Gemm("fc", m=1, k=3, n=3, input="int16", weight="int16", output="int16"))


def test_few_values_are_drawn_often_enough():
    """64 filters of 27 weights on 5 % of 3 x 3 channels: mostly nothing, and 15 cycles on average."""
    row = layer_of(
        "scnn", hwsim.Conv2d("c", c=1, h=3, w=3, k=64, r=3, stride=2, input={"density": 0.05}, weight={"density": 0.9})
    )
    assert row.compute_cycles > 0
    assert row.cycles_spread_pct > 0


@pytest.mark.slow
def test_the_same_input_gives_the_same_bytes():
    """Whatever order Python's hashes have."""
    code = """if True:
        import hwsim
        layer = hwsim.Conv2d("c", c=64, h=112, w=112, k=64, r=3)  # its activations do not stay on the chip
        print(hwsim.simulate(hwsim.load_machine("scnn"), hwsim.Workload("w", [layer])).to_json())
    """
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in "123"
    }
    assert len(outputs) == 1
