"""Which boards a network fits: the sums of bytes, the order, and what is said where it does not fit."""

import csv
import io
import json

import pytest
from commands import call

import hwsim
from hwsim.scenario.fit import board_names, fits

BOARDS = ["arduino_nano33ble", "atmega328p", "nucleo_l4r5zi", "ethos_u55_128", "stm32u575", "edge_tpu_usb"]


def rows_of(network: str | hwsim.Workload, names: list[str] = BOARDS, **changes: object):
    network = hwsim.load_workload(network) if isinstance(network, str) else network
    return fits(network, [hwsim.load_machine(name, set=changes) for name in names], "10 s", "CR2032")


def test_every_board_is_listed() -> None:
    names = board_names()
    kinds = {hwsim.load_machine(name).kind for name in names}
    assert kinds == {"mcu", "npu", "cpu"}
    assert {"atmega328p", "ethos_u85_256" if "ethos_u85_256" in names else "alif_e8_u85", "cortex_a72"} <= set(names)
    assert "xeon_8280" not in names


def test_mobilenet_has_sixteen_megabytes_of_floats_and_a_board_has_256_kb() -> None:
    """4.2 M parameters of 4 bytes are 16.9 MB: sixteen times the flash of the Arduino, whose RAM is 256 KB."""
    (row,) = rows_of("mobilenet_v1_1.0_224", ["arduino_nano33ble"], precision="fp32", library="tflm-reference")
    assert row.flash.need_bytes == pytest.approx(16.9e6, rel=0.02)
    assert not row.fits
    assert row.ram.size_bytes == 256 * 1024
    assert row.times_too_large == max(use.need_bytes / use.size_bytes for use in row.memories)
    assert row.short_bytes == sum(use.need_bytes - use.size_bytes for use in row.memories)


def test_those_that_it_fits_come_first_and_by_latency() -> None:
    rows = rows_of("vww")
    good = [row for row in rows if row.fits]
    assert [row.fits for row in rows] == [True] * len(good) + [False] * (len(rows) - len(good))
    assert [row.latency_s for row in good] == sorted(row.latency_s for row in good)
    assert rows[-1].machine.name == "atmega328p"
    for row in good:
        assert row.latency_s == hwsim.simulate(row.machine, "vww").summary.latency_s
        assert row.error is not None


def test_a_network_that_a_board_cannot_run_says_why() -> None:
    layer = hwsim.Gemm("g", m=1, n=31, k=127, input="fp16", weight="fp16", output="fp16")
    rows = rows_of(hwsim.Workload("half", [layer], graph=False), ["nucleo_l4r5zi", "arduino_nano33ble"])
    assert all("fp16" in row.refusal and not row.fits and row.latency_s is None for row in rows)


def test_the_command_lists_sorts_and_writes(capsys, tmp_path) -> None:
    path = tmp_path / "boards.csv"
    code, out, _ = call(capsys, "fit", "kws", *BOARDS, "--csv", str(path))
    assert code == 0
    assert "fits 5 of 6 boards" in out
    lines = list(csv.DictReader(io.StringIO(path.read_text())))
    assert [line["machine"] for line in lines][-1] == "atmega328p"
    assert {line["fits"] for line in lines} == {"True", "False"}
    code, out, _ = call(capsys, "fit", "mobilenet_v1_1.0_224", "atmega328p", "--json", "-")
    assert code == 1, "it fits none of them"
    (row,) = json.loads(out)
    assert row["ram_size_bytes"] == 2048
    assert row["short_bytes"] > 4_000_000


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (("fit", "kws", "no_such_board"), "no machine is called 'no_such_board'"),
        (("fit", "no_such_network"), "no_such_network"),
        (("fit", "kws", "atmega328p", "--every", "10"), "every"),
        (("fit", "kws", "atmega328p", "--battery", "D"), "battery"),
    ],
)
def test_bad_words_are_told(capsys, words: tuple[str, ...], fault: str) -> None:
    code, _, err = call(capsys, *words)
    assert code == 2
    assert fault in err


def test_the_battery_life_of_a_board_without_a_known_power_is_unknown_and_no_blank(capsys) -> None:
    code, out, _ = call(capsys, "fit", "kws", "pixel_3", "edge_tpu_usb")
    assert code == 0
    rows = [line for line in out.splitlines() if line.startswith(("pixel_3", "edge_tpu_usb"))]
    assert [line.split()[-3:] for line in rows] == [["unknown", "unknown", "fits"]] * 2
