"""Winograd on GPUs: tiles of one kernel, what a heuristic takes, multiplications by hand."""

from __future__ import annotations

import itertools

import pytest

import hwsim
from hwsim.machines.gpu.work import Transform
from hwsim.training import weight_gradient

DEEPBENCH = {"library": "cudnn-7", "harness": "deepbench"}


def conv(c: int, k: int, side: int, r: int = 3, dtype: str = "fp32") -> hwsim.Conv2d:
    return hwsim.Conv2d("c", c=c, h=side, w=side, k=k, r=r, s=r, pad=r // 2, input=dtype, weight=dtype, output=dtype)


def plan(machine: hwsim.Machine, layer: hwsim.Layer, batch: int):
    return machine.plan(layer, batch)


def test_one_kernel_multiplies_whole_blocks_of_four_by_eight_tiles() -> None:
    """14 x 14 outputs are 7 x 7 tiles of F(2x2), in two blocks of 4 x 8; 31 x 31 are 16 x 16, in eight that are full."""
    machine = hwsim.load_machine("v100", set=DEEPBENCH)
    for side, blocks in ((14, 2), (31, 8)):
        found = plan(machine, conv(257, 64, side), 8)
        assert found.columns["kernel"] == "Winograd F(2x2, 3x3) in one kernel"
        assert found.counts["mac", "", "fp32"] == 8 * blocks * 32 * 16 * 257 * 64


def test_the_heuristic_takes_separate_transforms_from_batch_16_on() -> None:
    """A harness that measures every algorithm has them for all batches: 36 products for 16 outputs in place of 144."""
    layer = conv(256, 512, 28)
    rule = hwsim.load_machine("v100", set=DEEPBENCH)
    assert plan(rule, layer, 15).columns["kernel"] == "Winograd F(2x2, 3x3) in one kernel"
    many = plan(rule, layer, 16)
    assert many.columns["kernel"] == "Winograd F(4x4, 3x3)"
    assert many.counts["mac", "", "fp32"] == 36 * 16 * 7 * 7 * 256 * 512 == layer.macs * 16 // 4
    measured = hwsim.load_machine("v100", set={"library": "cudnn-7", "harness": "training"})
    assert plan(measured, layer, 8).columns["kernel"] == "Winograd F(4x4, 3x3)"


@pytest.mark.parametrize("name", ["v100", "p100", "m40", "k80"])
def test_a_choice_of_algorithms_is_never_slower_than_the_direct_one(name: str, tmp_path) -> None:
    """A library without Winograd has the direct kernel alone."""
    text = (hwsim.machines.gpu.parts._FOLDER / "libraries" / "cudnn-7.yaml").read_text(encoding="utf-8")
    start, end = text.index("winograd:\n"), text.index("fallback:\n")
    (tmp_path / "direct.yaml").write_text(text[:start].replace("cudnn-7", "direct") + text[end:], encoding="utf-8")
    every = hwsim.load_machine(name, set={"library": "cudnn-7", "harness": "training"})
    direct = hwsim.load_machine(name, set={"library": str(tmp_path / "direct.yaml"), "harness": "training"})
    for c, k, side, batch in itertools.product((1, 31, 127), (33, 257), (7, 31), (1, 13)):
        layer = conv(c, k, side)
        for x in (layer, weight_gradient(layer)):
            assert plan(every, x, batch).columns["kernel_s"] <= plan(direct, x, batch).columns["kernel_s"] + 1e-9


def test_taps_of_one_channel_share_a_step_in_rows_of_twenty() -> None:
    """DeepBench, T4, N 4, C 1, 161 x 700, K 32, 5 x 20, stride 2: 1.938 ms; a step for each tap would take 5.6 ms."""
    machine = hwsim.load_machine("t4", set=DEEPBENCH)
    layer = hwsim.Conv2d(
        "c", c=1, h=161, w=700, k=32, r=5, s=20, stride=2, input="fp16", weight="fp16", output="fp16"
    )  # fmt: skip
    seconds = plan(machine, weight_gradient(layer), 4).columns["kernel_s"]
    assert seconds == pytest.approx(1.938e-3, rel=0.3)


def test_images_share_the_tiles_of_a_threadblock_by_powers_of_two() -> None:
    """The kernels of Lavin and Gray: 4 x 8 tiles of one image, 2 x 4 of four, one tile of 32 images."""
    way = Transform(2, 3, (4, 8), images=32)
    sizes = {1: (1, 4, 8), 2: (2, 4, 4), 3: (4, 2, 4), 8: (8, 2, 2), 16: (16, 1, 2), 31: (32, 1, 1), 127: (32, 1, 1)}
    assert {batch: way.blocks(batch) for batch in sizes} == sizes


def test_the_kernels_of_lavin_and_gray_reach_less_than_the_arithmetic_allows() -> None:
    """VGG-E in F(2x2, 3x3): at most 2.25 times the peak of 24 x 128 FFMA at 1.075 GHz, more with a larger batch."""
    machine = hwsim.load_machine("titanx_maxwell")
    layers = [layer for layer in hwsim.load_workload("vgg19") if layer.op == "conv"]
    assert len(layers) == 16
    rates = []
    for batch in (1, 8, 64):
        seconds = sum(float(plan(machine, layer, batch).columns["kernel_s"]) for layer in layers)
        rates.append(sum(layer.macs for layer in layers) * batch / seconds)
    assert rates == sorted(rates)
    assert rates[-1] < 2.25 * 24 * 128 * 1.075e9


def test_fp16_that_is_only_stored_halves_what_moves() -> None:
    """Multiplied in fp32 either way; 2 bytes a value in memory in place of 4."""
    machine = hwsim.load_machine("titanx_maxwell")
    wide, narrow = (plan(machine, conv(127, 31, 257, dtype=dtype), 31) for dtype in ("fp32", "fp16"))
    assert wide.counts["mac", "", "fp32"] == narrow.counts["mac", "", "fp32"]
    assert narrow.dram_bytes == pytest.approx(wide.dram_bytes / 2, rel=0.01)
    assert narrow.columns["kernel_s"] <= wide.columns["kernel_s"]
