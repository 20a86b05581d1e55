"""A network in another number format: what a float network costs once it is quantized."""

from pathlib import Path

import pytest

import hwsim
from hwsim.errors import InputError
from hwsim.machines.precision import in_precision


def network(dtype: str) -> hwsim.Workload:
    """Odd sizes, an addition, a table of indices."""
    kinds = {"input": dtype, "weight": dtype, "output": dtype}
    return hwsim.Workload(
        "odd",
        [
            hwsim.Conv2d("c", c=3, h=31, w=29, k=17, r=3, pad=1, **kinds),
            hwsim.Gemm("f", m=7, n=127, k=257, **kinds),
            hwsim.Embedding("e", rows=101, dim=13, tokens=5, weight=dtype, output=dtype),
        ],
        graph=False,
    )


@pytest.mark.parametrize("name", ["systolic_ws", "eyeriss_v1", "tpu_v1", "nvdla_256", "nucleo_l4r5zi", "apollo510"])
def test_a_float_network_runs_as_if_it_were_quantized(name: str) -> None:
    quantized = hwsim.simulate(hwsim.load_machine(name), network("int8"))
    report = hwsim.simulate(hwsim.load_machine(name, set={"precision": "int8"}), network("fp32"))
    assert report.summary.latency_s == quantized.summary.latency_s
    assert report.summary.energy_pj == pytest.approx(quantized.summary.energy_pj, rel=1e-12, nan_ok=True)
    assert report.summary.peak_memory_bytes == quantized.summary.peak_memory_bytes
    assert "weights and activations are taken as int8" in " ".join(map(str, report.notes))
    assert not [item for item in report.unused if item.what == "format" and item not in quantized.unused]


def test_indices_stay_and_the_network_itself_is_left_alone() -> None:
    float_network = network("fp32")
    changed = in_precision(float_network, "int8")
    assert (changed["e"].input.dtype, changed["e"].weight.dtype, changed["c"].weight.dtype) == ("int32", "int8", "int8")
    assert float_network["c"].weight.dtype == "fp32"
    assert in_precision(float_network, "workload") is float_network
    assert changed.weights == float_network.weights


def test_words_that_are_too_short_name_the_way_out() -> None:
    with pytest.raises(
        InputError, match=r"words of 16 bits, but fp32 has 32: .* or run it as if it were with --set precision=int16"
    ):
        hwsim.simulate(hwsim.load_machine("eyeriss_v1"), network("fp32"))
    with pytest.raises(InputError, match=r"precision: must be one of|precision"):
        hwsim.load_machine("eyeriss_v1", set={"precision": "int7"})


def test_the_formats_of_a_hosted_array(tmp_path: Path) -> None:
    """The host runs its layers in the format of the array's file."""
    path = tmp_path / "hosted.yaml"
    path.write_text("base: systolic_ws\nname: hosted\nhost: nucleo_l4r5zi\n")
    layers = [hwsim.Gemm("f", m=1, n=31, k=127, input="fp32", weight="fp32", output="fp32")]
    layers += [hwsim.Softmax("s", shape=(31,), input="fp32", output="fp32")]
    report = hwsim.simulate(hwsim.load_machine(path, set={"precision": "int8"}), hwsim.Workload("n", layers))
    assert not [note for note in report.notes if "estimated" in str(note) and "fp32" in str(note)]
