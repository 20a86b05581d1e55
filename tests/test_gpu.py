"""GPUs: tiles and waves by hand, fallbacks and errors, and measured products of matrices."""

from pathlib import Path

import numpy as np
import pytest

import hwsim
from hwsim.machines.gpu.parts import Constants, Menu
from hwsim.machines.gpu.tiles import Chip, Kernels, Products, time_products

DATA = Path(__file__).parent.parent.parent / "shared" / "data" / "gpu"
CHIP = Chip(sms=10, clock=1000.0, macs=100.0, l2=1e9, dram=1e5, wgmma=False)


def constants(**changes: float) -> Constants:
    """Everything perfect and free, unless told otherwise."""
    ideal = {
        "efficiency": 1.0,
        "small_tile": 0.0,
        "dram_share": 1.0,
        "l2_share": 4.0,
        "step": 0.0,
        "split": 0.0,
        "store": 1e6,
        "l2_kept": 1.0,
    }
    return Constants(**{**ideal, **changes})


def menu(tiles: dict[str, object], **more: object) -> Kernels:
    return Kernels(Menu(types=["fp16"], generations=["any"], tiles=tiles, source="test", **more))


def products(m: float, n: float, k: float, b: float = 1) -> Products:
    one = np.ones(1)
    return Products(b * one, m * one, n * one, k * one, b * m * k * one, 0 * one, 1e-9, 1e-9, 1e-9)


def test_waves_are_tiles_over_sms_rounded_up() -> None:
    """Eleven tiles on ten SMs take as long as twenty."""
    for rows, per_sm in ((10, 1), (11, 2), (20, 2), (21, 3)):
        t = time_products(products(64 * rows, 64, 640), CHIP, constants(), menu({"64x64": 1}), 0.0, 0)
        assert t.tiles[0] == rows
        assert t.per_sm[0] == per_sm
        assert t.mma[0] == pytest.approx(per_sm * 64 * 64 * 640 / (100 * 1000))


def test_two_ctas_of_an_sm_share_a_wave() -> None:
    t = time_products(products(64 * 40, 64, 64), CHIP, constants(wave=500), menu({"64x64": 2}), 0.0, 0)
    assert (t.per_sm[0], t.waves[0]) == (4, 2)
    assert t.wave[0] == pytest.approx(2 * 0.5)


def test_a_product_is_padded_to_its_tiles() -> None:
    one = time_products(products(1, 1, 1), CHIP, constants(), menu({"64x64": 1}), 0.0, 0)
    assert one.mma[0] == pytest.approx(64 * 64 * 64 / (100 * 1000))


def test_a_split_moves_partial_sums_through_l2() -> None:
    """Each of s parts writes fp32 sums, all are read once more: 4 (s + 1) M N bytes; and fills more SMs."""
    kernels = menu({"64x64": 1}, splits=[5])
    t = time_products(products(64, 64, 6400), CHIP, constants(l2_share=1.0, split=2000), kernels, 0.0, 0)
    assert t.tiles[0] == 5
    assert t.split[0] == pytest.approx(2.0 + 4 * 6 * 64 * 64 / (64 * 10 * 1000))
    assert t.mma[0] == pytest.approx(64 * 64 * 1280 / (100 * 1000))


def test_operands_that_l2_cannot_keep_are_fetched_for_each_block_of_tiles() -> None:
    """Ten tiles at a time cover about 3 x 3 tiles of the 8 x 8."""
    p = Products(*(np.full(1, x) for x in (1.0, 512.0, 512.0, 64.0, 512 * 64 * 2.0, 0.0)), 2.0, 2.0, 2.0)
    few = time_products(p, CHIP, constants(), menu({"64x64": 1}), 0.0, 0)
    assert few.dram_bytes[0] == pytest.approx(512 * 64 * 2 + 512 * 512 * 2)
    small = Chip(10, 1000.0, 100.0, 1000.0, 1e5, False)
    many = time_products(p, small, constants(), menu({"64x64": 1}), 0.0, 0)
    assert many.dram_bytes[0] == pytest.approx(3 * 512 * 64 * 2 + 3 * 512 * 64 * 2 + 512 * 512 * 2)


def test_a_small_tile_loses_issue_slots_on_mma_and_operand_reads_on_wgmma() -> None:
    """At 256 x 128, mma reaches the efficiency itself; wgmma does from 128 x 128 on."""
    p = products(256, 128, 64)
    c = constants(efficiency=0.9, small_tile=1.0)
    large = time_products(p, CHIP, c, menu({"256x128": 1}), 0.0, 0)
    assert large.mma[0] == pytest.approx(256 * 128 * 64 / (100 * 0.9 * 1000))
    small = time_products(products(64, 64, 64), CHIP, c, menu({"64x64": 1}), 0.0, 0)
    assert small.mma[0] == pytest.approx(64**3 / (100 * 0.9 * 1.75 / 3 * 1000))
    hopper = Chip(10, 1000.0, 100.0, 1e9, 1e5, True)
    wide = time_products(products(64, 64, 64), hopper, c, menu({"64x64": 1}), 0.0, 0)
    assert wide.mma[0] == pytest.approx(64**3 / (100 * 0.9 / 4 * 1000))


def gemm(m: int, n: int, k: int, dtype: str = "bf16", output: str = "bf16") -> hwsim.Gemm:
    return hwsim.Gemm("g", m=m, n=n, k=k, input=dtype, weight=dtype, output=output)


def one(machine: hwsim.Machine, layer: hwsim.Layer, batch: int = 1) -> hwsim.Report:
    return hwsim.simulate(machine, hwsim.Workload("one", [layer]), batch=batch)


@pytest.mark.parametrize("name", ["a100", "h100"])
def test_the_program_takes_the_predicted_time(name: str) -> None:
    machine = hwsim.load_machine(name)
    sizes = [(1, 4096, 4096), (64, 1024, 8192), (4096, 4096, 4096), (8192, 65536, 4096), (17, 96, 33)]
    for m, n, k in sizes:
        (seconds,) = machine.gemm_times([m], [n], [k])
        report = one(machine, gemm(m, n, k))
        assert report.summary.latency_s == pytest.approx(seconds, abs=1e-9)
        assert report.summary.events < 300


@pytest.mark.skipif(not DATA.is_dir(), reason="the measured rows are not beside the project")
@pytest.mark.parametrize(("name", "limit"), [("a100", 0.075), ("h100", 0.06)])
def test_measured_bf16_products(name: str, limit: float) -> None:
    """Mean error over all rows that aiconfigurator has of cuBLAS; rank correlation."""
    import pandas as pd

    rows = pd.read_csv(DATA / "gemm_a100_h100.csv")
    rows = rows[rows.device.str.startswith(name.upper()) & (rows.precision == "bf16")]
    seconds = hwsim.load_machine(name).gemm_times(rows.M, rows.N, rows.K)
    error = np.abs(seconds / (rows.latency_ms.to_numpy() * 1e-3) - 1)
    assert error.mean() < limit
    assert pd.Series(seconds).rank().corr(rows.latency_ms.rank().reset_index(drop=True)) > 0.985
