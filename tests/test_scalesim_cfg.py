"""Configurations of SCALE-Sim as machines."""

import re

import pytest

import hwsim
from hwsim.errors import HwsimWarning, InputError

CFG = """[general]
run_name = an array
[architecture_presets]
ArrayHeight : {rows}
ArrayWidth : {cols}
IfmapSramSzkB: 31
FilterSramSzkB: 64
OfmapSramSzkB: 127
Dataflow : {flow}
Bandwidth : {bandwidth}
[run_presets]
InterfaceBandwidth: {mode}
"""


def machine(tmp_path, rows=31, cols=17, flow="ws", bandwidth="10", mode="CALC", more=""):
    path = tmp_path / "scale.cfg"
    path.write_text(CFG.format(rows=rows, cols=cols, flow=flow, bandwidth=bandwidth, mode=mode) + more)
    return hwsim.load_machine(path)


def test_the_presets(tmp_path):
    spec = machine(tmp_path).spec
    assert (spec.name, spec.array.rows, spec.array.cols, spec.dataflow) == ("an_array", 31, 17, "weight_stationary")
    kib = {tensor: int(size) // 1024 for tensor, size in spec.memories["sram"].split.items()}
    assert kib == {"ifmap": 31, "weight": 64, "ofmap": 127}


@pytest.mark.parametrize(("m", "n", "k"), [(127, 31, 257), (1, 1000, 2048), (3025, 96, 363)])
@pytest.mark.parametrize("flow", ["ws", "os", "is"])
def test_cycles_are_those_of_scale_sim(tmp_path, flow, m, n, k):
    """Folds of 2 R + C + T - 2 cycles, R + C + T - 2 output stationary (Samajdar et al., ISPASS 2020)."""
    rows, cols = 31, 17
    row, col, time = {"ws": (k, n, m), "os": (m, n, k), "is": (k, m, n)}[flow]
    cycles = -(-row // rows) * -(-col // cols) * ((1 if flow == "os" else 2) * rows + cols + time - 2)
    plan = machine(tmp_path, rows, cols, flow).plan(hwsim.Workload("w", [hwsim.Gemm("g", m=m, n=n, k=k)]))
    assert plan["g"].compute_cycles == cycles


@pytest.mark.parametrize(("text", "words"), [("10", 30), ("4, 5, 7", 16)])
def test_each_operand_has_its_bandwidth(tmp_path, text, words):
    assert str(machine(tmp_path, bandwidth=text, mode="USER").document.data["memories"]["dram"]["bandwidth"]) == (
        f"{words} words/cycle"
    )


def test_calc_waits_for_no_dram(tmp_path):
    layer = hwsim.Workload("w", [hwsim.Gemm("g", m=127, n=257, k=31)])
    report = hwsim.simulate(machine(tmp_path, mode="CALC"), layer)
    assert report.layers.cycles[0] == pytest.approx(machine(tmp_path).plan(layer)["g"].compute_cycles, rel=1e-3)


def test_what_is_not_modeled_is_named(tmp_path):
    with pytest.warns(HwsimWarning, match=r"without effect: useramulatortrace, \[layout\]"):
        machine(tmp_path, more="UseRamulatorTrace: False\n[layout]\nIfmapCustomLayout: False\n")


@pytest.mark.parametrize(
    ("changes", "faults"),
    [
        ({"rows": 0}, [r"scale.cfg:4: arrayheight: must be a positive integer, not '0'"]),
        (
            {"flow": "rs", "cols": ""},
            [r"scale.cfg:3: \[architecture_presets\] must give arraywidth", r"scale.cfg:9: .*"],
        ),
        ({"bandwidth": "1,2", "mode": "USER"}, [r"scale.cfg:10: bandwidth: must be one positive integer, or one .*"]),
        ({"mode": "AUTO"}, [r"scale.cfg:12: interfacebandwidth: must be one of USER, CALC, not 'AUTO'"]),
        ({"more": "no key\n"}, [r"scale.cfg:13: must be a .cfg of SCALE-Sim: .*"]),
        ({"more": "[general]\n"}, [r"scale.cfg:13: must be a .cfg of SCALE-Sim: .*"]),
    ],
)
def test_faults_have_their_place(tmp_path, changes, faults):
    with pytest.raises(InputError) as caught:
        machine(tmp_path, **changes)
    assert len(caught.value.faults) == len(faults)
    for fault, pattern in zip(caught.value.faults, faults, strict=True):
        assert re.search(pattern, str(fault))


def test_a_topology_on_a_configuration(tmp_path):
    """The first layer of SCALE-Sim's alexnet.csv, 55 x 55 outputs, on its default array, output stationary."""
    (tmp_path / "topology.csv").write_text(
        "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,\n"
        "Conv1, 224, 224, 11, 11, 3, 96, 4,\n"
    )
    plan = machine(tmp_path, 32, 32, "os").plan(hwsim.load_workload(tmp_path / "topology.csv"))
    assert plan["Conv1"].compute_cycles == -(-3025 // 32) * 3 * (32 + 32 + 363 - 2)


def test_a_file_of_version_1(tmp_path):
    """Buffers without a unit, which are kB too, a name in quotes, and no bandwidth."""
    text = CFG.partition("Bandwidth")[0].replace("SzkB", "Sz").replace("an array", '"an array"')
    path = tmp_path / "scale.cfg"
    path.write_text(text.format(rows=31, cols=17, flow="os"))
    spec = hwsim.load_machine(path).spec
    assert (spec.name, spec.array.rows, spec.dataflow) == ("an_array", 31, "output_stationary")
    assert int(spec.memories["sram"].split["weight"]) == 64 * 1024
