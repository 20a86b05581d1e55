"""A number format is one declaration: files, machines, prices and importers take the rest from it."""

from pathlib import Path

import pytest

import hwsim
from hwsim.cli.schema import machine_schema, workload_schema
from hwsim.errors import InputError
from hwsim.machines.cpu.core import run_formats
from hwsim.workload.number_format import DTYPES, NumberFormat, format_of, type_bits, weight_formats, wider_format

TRACE = """\
name: toy
source: made up
input: [7, 13, 11]
dtype: {input: fp6, weight: fp6, output: fp6}
layers:
  - {conv: c, k: 5, r: 3, pad: 1}
"""
ARRAY = """\
kind: pe_array
name: toy
source: made up
clocks: {core: 1 GHz}
dataflow: weight_stationary
array: {rows: 4, cols: 4, wiring: systolic}
memories:
  dram: {holds: [ifmap, weight, ofmap], bandwidth: 3 B/cycle}
  glb: {holds: [ifmap, weight, ofmap], size: 64 KiB}
energy:
  table: eyeriss_relative
  prices:
    mac: {energy: 0.25 pJ, format: fp6, source: made up}
    pe: {entry: rf16}
    glb: {entry: buffer16}
    dram: {entry: dram16}
"""
LAYER = {"input": "fp6", "weight": "fp6", "output": "fp6"}


@pytest.fixture
def fp6(monkeypatch: pytest.MonkeyPatch) -> str:
    """Floats of six bits, which ONNX has under a name that is made up."""
    monkeypatch.setitem(DTYPES, "fp6", NumberFormat(6, "float", onnx=("float6e3m2",)))
    return "fp6"


def test_a_new_format_in_a_trace_and_an_array(fp6: str, tmp_path: Path) -> None:
    (tmp_path / "toy.yaml").write_text(TRACE)
    (tmp_path / "array.yaml").write_text(ARRAY)
    network = hwsim.load_workload(tmp_path / "toy.yaml")
    report = hwsim.simulate(hwsim.load_machine(tmp_path / "array.yaml"), network)
    macs, inputs, weights, outputs = 7 * 5 * 9 * 13 * 11, 7 * 13 * 11, 5 * 7 * 9, 5 * 13 * 11
    row = report.rows[0]
    assert row["dram_bytes"] == -(-(inputs + weights) * 6 // 8) - (-outputs * 6 // 8)
    (price,) = (row for row in report.actions.itertuples() if row.component == "mac")
    assert (price.count, price.energy_pj) == (macs, pytest.approx(macs * 0.25))
    words = report.actions[report.actions.component == "dram"]
    assert words.energy_pj.sum() == pytest.approx((inputs + weights + outputs) * 200 * 6 / 16)
    assert not [note for note in report.notes if "fp6" in note]


def test_a_processor_runs_it_in_the_next_wider_format(fp6: str) -> None:
    """As zen5 has bf16 without kernels of the library, in fp32; the same time as a layer of that format."""
    machine = hwsim.load_machine("epyc_zen5")
    layer = hwsim.Gemm("g", m=31, n=127, k=257)
    seconds = {
        dtype: hwsim.simulate(
            machine, hwsim.Workload("one", [layer.with_dtype(input=dtype, weight=dtype, output=dtype)])
        ).summary.latency_s
        for dtype in ("fp6", "fp32")
    }
    assert seconds["fp6"] == seconds["fp32"]


def test_weights_of_few_bits_are_converted_on_a_gpu(fp6: str) -> None:
    machine = hwsim.load_machine("a100")
    layer = hwsim.Gemm("g", m=64, n=4096, k=4096, input="fp16", weight=fp6, output="fp16")
    plan, eight = (
        machine.plan(hwsim.Workload("one", [layer.with_dtype(weight=dtype)]), batch=1)["g"] for dtype in (fp6, "int8")
    )
    assert "fp6 weights are converted to fp16 when read" in " ".join(map(str, plan.why))
    assert plan.dram_bytes < eight.dram_bytes


def test_a_library_without_kernels_says_so(fp6: str) -> None:
    layer = hwsim.Gemm("g", m=8, n=8, k=8, **LAYER)
    with pytest.raises(InputError, match="fp6"):
        hwsim.simulate(hwsim.load_machine("nucleo_l4r5zi"), hwsim.Workload("one", [layer]))
    with pytest.raises(InputError, match="must have fp6 kernels"):
        hwsim.simulate(hwsim.load_machine("a100"), hwsim.Workload("one", [layer]))


def test_schemas_and_importers_have_it(fp6: str) -> None:
    assert "'fp6'" in str(workload_schema())
    assert format_of("float6e3m2", "onnx") == fp6
    assert type_bits("float6e3m2", "onnx") == 6


def test_schemas_of_processors_have_what_their_instructions_multiply() -> None:
    """Half floats since Armv8.2; bf16 since Cooper Lake."""
    assert run_formats() == ["int8", "fp16", "bf16", "fp32"]
    assert "['int8', 'fp16', 'bf16', 'fp32']" in str(machine_schema())


@pytest.mark.parametrize(
    ("name", "supported", "run"),
    [
        ("int4", ["fp32", "int8"], "int8"),
        ("binary", ["int8", "fp32"], "int8"),
        ("ternary", ["int16", "int8"], "int8"),
        ("fp16", ["int8", "bf16", "fp32"], "fp32"),
        ("fp16", ["fp16", "fp32"], "fp16"),
        ("int16", ["int8", "fp32"], "int16"),  # nothing wider of its sort: not supported
        ("bf16", ["fp32"], "bf16"),  # a library that has no kernels for it refuses it
        ("fp8", ["bf16", "fp32"], "fp8"),
    ],
)
def test_what_a_format_runs_as(name: str, supported: list[str], run: str) -> None:
    assert wider_format(name, supported) == run


def test_types_of_files_have_the_bits_of_their_format() -> None:
    for name, kind in DTYPES.items():
        for dtype in kind.onnx:
            assert (format_of(dtype, "onnx"), type_bits(dtype, "onnx")) == (name, kind.bits)
    assert type_bits("complex128", "onnx") == 128
    assert type_bits("nothing", "tflite") == 0
    listed = [dtype for kind in DTYPES.values() for dtype in kind.onnx]
    assert len(listed) == len(set(listed))


def test_weights_of_kernels_for_values() -> None:
    assert weight_formats("int16") == ("int8",)
    assert weight_formats("int8")[0] == "int8"
    assert weight_formats("fp32") == ("fp32",)
