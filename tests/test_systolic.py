"""Systolic arrays: cycles and buffer accesses equal to their closed forms for every product and convolution."""

from math import ceil

import pytest
from hypothesis import given, settings, strategies as st

import hwsim

KINDS = {"systolic_ws": "weight", "systolic_os": "output", "systolic_is": "input"}


def closed_form(kind: str, rows: int, cols: int, m: int, n: int, k: int) -> dict[str, int]:
    """Folds x cycles of one product (Samajdar et al., ISPASS 2020), and what the folds read and write.

    Weight stationary: each of the ceil(N/C) column folds reads all of A, each weight is read once, and every one of the
    ceil(K/R) row folds writes a partial sum of each output, all but the first reading the last one back. And so on.
    """
    if kind == "systolic_ws":
        down, across = ceil(k / rows), ceil(n / cols)
        cycles = 2 * rows + cols + m - 2
        ifmap, weight, ofmap = m * k * across, k * n, m * n * down
    elif kind == "systolic_is":
        down, across = ceil(k / rows), ceil(m / cols)
        cycles = 2 * rows + cols + n - 2
        ifmap, weight, ofmap = m * k, k * n * across, m * n * down
    else:
        down, across = ceil(m / rows), ceil(n / cols)
        cycles = rows + cols + k - 2
        ifmap, weight, ofmap = m * k * across, k * n * down, m * n
    return {
        "folds": down * across,
        "compute_cycles": down * across * cycles,
        "ifmap_reads": ifmap,
        "weight_reads": weight,
        "ofmap_writes": ofmap,
        "ofmap_reads": ofmap - m * n,
    }


size = st.integers(1, 300)
side = st.integers(1, 40)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@given(m=size, n=size, k=size, rows=side, cols=side)
@settings(max_examples=60, deadline=None)
def test_gemm_equals_the_closed_form(kind: str, m: int, n: int, k: int, rows: int, cols: int) -> None:
    machine = hwsim.load_machine(kind, set={"array.rows": rows, "array.cols": cols})
    row = hwsim.simulate(machine, hwsim.Workload("one", [hwsim.Gemm("g", m=m, n=n, k=k)])).rows[0]
    expected = closed_form(kind, rows, cols, m, n, k)
    assert {key: row[key] for key in expected} == expected
    assert row["cycles"] >= row["compute_cycles"]
    assert row["dram_bytes"] >= m * k + k * n + m * n


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_convolution_equals_the_closed_form_of_its_im2col(kind: str, data: st.DataObject) -> None:
    groups = data.draw(st.integers(1, 4))
    c, k = groups * data.draw(st.integers(1, 8)), groups * data.draw(st.integers(1, 8))
    r, s = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    h, w = data.draw(st.integers(r, 20)), data.draw(st.integers(s, 20))
    stride, pad, batch = data.draw(st.integers(1, 3)), data.draw(st.integers(0, 2)), data.draw(st.integers(1, 3))
    layer = hwsim.Conv2d("c", c=c, h=h, w=w, k=k, r=r, s=s, stride=stride, pad=pad, groups=groups)
    rows, cols = data.draw(side), data.draw(side)
    machine = hwsim.load_machine(kind, set={"array.rows": rows, "array.cols": cols})
    row = hwsim.simulate(machine, hwsim.Workload("one", [layer]), batch=batch).rows[0]
    one = closed_form(kind, rows, cols, batch * layer.p * layer.q, k // groups, c // groups * r * s)
    assert {key: row[key] for key in one} == {key: groups * value for key, value in one.items()}


def test_a_fold_by_hand() -> None:
    """A 4 x 4 weight-stationary array, one 4 x 4 tile, 3 rows of activations: 4 to load, 3 + 4 + 4 - 2 to stream."""
    machine = hwsim.load_machine("systolic_ws", set={"array.rows": 4, "array.cols": 4})
    row = hwsim.simulate(machine, hwsim.Workload("one", [hwsim.Gemm("g", m=3, n=4, k=4)])).rows[0]
    assert row["compute_cycles"] == 4 + (3 + 4 + 4 - 2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", [8, 24, 32])
def test_partial_sums_have_the_bits_of_the_accumulators(kind: str, bits: int) -> None:
    """63 x 35 by 35 x 129: two folds of K. The outputs leave once with 8 bits, whatever is summed before is wider."""
    m, n, k = 63, 129, 35
    machine = hwsim.load_machine(kind, set={"accumulator_bits": bits})
    plan = machine.plan(hwsim.Gemm("g", m=m, n=n, k=k))
    psum = "psum" if bits > 8 else "ofmap"
    sums = {key[::2]: n for key, n in plan.counts.items() if key[1] == psum and key[0] != "dram"}
    if kind == "systolic_os":
        assert sums["pe", "update"] == m * n * k
        assert sums["pe", "drain"] == m * n
        assert plan.counts["sram", "ofmap", "update"] == m * n
    else:
        assert sums["sram", "update"] == m * n * (1 if bits > 8 else 2)
        assert sums["sram", "read"] == m * n
        assert bits == 8 or plan.counts["sram", "ofmap", "update"] == m * n
    assert plan.counts["dram", "ofmap", "update"] == m * n
    assert plan.word_bits.get("psum", 8) == bits


def test_wide_sums_do_not_fit_where_narrow_ones_do() -> None:
    """Half of 8 KiB holds 4096 outputs of 8 bits, a quarter of those as 32-bit sums: the rest crosses DRAM."""
    layer = hwsim.Gemm("g", m=64, n=64, k=4096)
    change = {"memories.sram.split.ofmap": "8 KiB", "memories.sram.split.weight": "4 KiB"}
    change |= {"memories.sram.split.ifmap": "4 KiB"}
    narrow, wide = (
        hwsim.load_machine("systolic_ws", set=change | {"accumulator_bits": b}).plan(layer) for b in (8, 32)
    )
    assert ("dram", "ofmap", "read") not in narrow.counts
    assert narrow.dram_bytes < wide.dram_bytes


def test_a_depthwise_layer_is_bound_by_the_shape_of_the_array() -> None:
    """Nine weights of one channel at a time on 32 x 32 PEs."""
    layer = hwsim.Conv2d("d", c=31, h=28, w=28, k=31, r=3, pad=1, groups=31)
    row = hwsim.simulate(hwsim.load_machine("systolic_ws"), hwsim.Workload("one", [layer])).rows[0]
    assert row["bound"] == "array shape (9 of 1024 PEs)"


def test_output_stationary_moves_no_partial_sums() -> None:
    """Its sums stay in the PEs: weight stationary costs the energy of sums that go back and forth."""
    network = hwsim.Workload("one", [hwsim.Conv2d("c", c=256, h=14, w=14, k=256, r=3, pad=1)])
    moved = {}
    for kind in KINDS:
        counts = hwsim.load_machine(kind).plan(network)["c"].counts
        moved[kind] = sum(n for (memory, tensor, _), n in counts.items() if tensor == "psum" and memory != "pe")
    assert moved["systolic_os"] == 0 < moved["systolic_ws"]


@pytest.mark.parametrize("kind", KINDS)
def test_more_bandwidth_or_buffer_never_hurts(kind: str) -> None:
    net = hwsim.Workload(
        "one", [hwsim.Conv2d("c", c=64, h=56, w=56, k=256, r=3, pad=1), hwsim.Gemm("f", m=1, n=1000, k=4096)]
    )
    last = None
    for factor in (1, 2, 4, 8):
        change = {"memories.dram.bandwidth": f"{4 * factor} B/cycle", "memories.sram.split.ifmap": f"{16 * factor} KiB"}
        report = hwsim.simulate(hwsim.load_machine(kind, set=change), net)
        if last is not None:
            assert report.summary.latency_s <= last.latency_s
            assert report.summary.dram_bytes <= last.dram_bytes
        last = report.summary


def test_doubling_every_clock_halves_the_time() -> None:
    net = hwsim.Workload("one", [hwsim.Gemm("g", m=100, n=200, k=300)])
    slow = hwsim.simulate(hwsim.load_machine("systolic_os"), net).summary
    fast = hwsim.simulate(hwsim.load_machine("systolic_os", set={"clocks.core": "2 GHz"}), net).summary
    assert fast.cycles == slow.cycles
    assert fast.latency_s == slow.latency_s / 2


NEST = [
    "dram keeps ifmap, weight, ofmap",
    "for N by 16",
    "sram keeps ifmap, weight, ofmap",
    "for M by 8",
    "spatial K by 1 on rows",
    "spatial N by 1 on cols",
    "pe keeps weight",
    "for M by 1",
]


def test_a_nest_by_hand(tmp_path) -> None:
    """32 x 32 by 32 x 32, two halves of N: A is kept across them (its index does not move), 16 steps of 32 rows each."""
    path = tmp_path / "mine.yaml"
    lines = "".join(f"    - {line}\n" for line in NEST)
    price = "  prices:\n    noc: {entry: register_32b}\n"
    text = (hwsim.machines.machine_folder() / "systolic_ws.yaml").read_text().replace("  prices:\n", price)
    text = text[: text.index("area:")] + text[text.index("energy:") :]  # another memory makes it another area
    text = text.replace("energy:\n", "  pe: {holds: [weight], size: 4 B, per: pe}\nenergy:\n")
    path.write_text(text + "mappings:\n  g:\n" + lines)
    layer = hwsim.Gemm("g", m=32, n=32, k=32)
    plan = hwsim.simulate(hwsim.load_machine(path), hwsim.Workload("one", [layer])).results[0].plan
    assert plan.compute_cycles == 2 * 32
    assert plan.counts["dram", "ifmap", "read"] == 32 * 32
    assert plan.counts["sram", "ifmap", "read"] == 2 * 32 * 32
    assert plan.mapping.lines() == NEST
    path.write_text(text.replace("ifmap: 512 KiB", "ifmap: 1 KiB") + "mappings:\n  g:\n" + lines)
    with pytest.raises(hwsim.InputError, match=r"mappings.g: sram holds 512 B; ifmap 1024 B: 512 B too much"):
        hwsim.simulate(hwsim.load_machine(path), hwsim.Workload("one", [layer]))


@pytest.mark.parametrize("name", ["systolic_ws", "systolic_os", "systolic_is", "tpu_v1", "nvdla_256"])
def test_idle_pes_of_a_depthwise_layer_are_named_as_the_bottleneck(name: str) -> None:
    """127 products of one column each, nine rows deep: most PEs are idle while the array is busy.

    Where another stage takes longer yet, as the activation of the TPU does, that is the bottleneck.
    """
    layer = hwsim.Conv2d("dw", c=127, h=31, w=31, k=127, r=3, pad=1, groups=127)
    (result,) = hwsim.simulate(hwsim.load_machine(name), hwsim.Workload("one", [layer]), 7).results
    assert result.utilization < 0.05
    assert any(word.startswith("array shape (") for word in result.plan.bounds.values())
    assert "compute" not in result.plan.bounds.values()
    assert result.bound.startswith("activation" if name == "tpu_v1" else "array shape (")
