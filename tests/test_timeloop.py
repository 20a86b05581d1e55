"""Timeloop's files: the seven designs of its exercises with published counts, and what is refused.

Figures are those of github.com/Accelergy-Project/timeloop-accelergy-exercises at 2d55108: factors and permutations
(map.txt), pJ an access (ERT), fJ a MAC and cycles (stats.txt). The files are written here in both forms.
"""

from __future__ import annotations

import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from commands import call
from hypothesis import given, settings, strategies as st

import hwsim
from hwsim.errors import InputError
from hwsim.timeloop import read_files

MAC = {"compute": 0.845}
DRAM = {"class": "DRAM", "width": 256, "datawidth": 8, "ert": {"read": 2048, "write": 2048, "update": 2048, "leak": 0}}
SRAM = {
    "class": "SRAM", "depth": 32768, "width": 64, "datawidth": 8,
    "ert": {"read": 43.353054, "write": 30.878292, "update": 30.878292, "leak": 0.007972},
}  # fmt: skip
REGISTERS = {
    "class": "regfile", "depth": 64, "width": 8, "datawidth": 8,
    "ert": {"read": 0.42564, "write": 0.42564, "update": 0.42564, "leak": 0.000861},
}  # fmt: skip


def spad(depth, datawidth, read, write, leak):
    energies = {"read": read, "write": write, "update": write, "leak": leak}
    return {"class": "smartbuffer_RF", "depth": depth, "width": 16, "datawidth": datawidth, "ert": energies}


CONV1D = {"R": 3, "P": 16}
EYERISS = {"C": 3, "M": 32, "R": 3, "S": 3, "N": 1, "P": 112, "Q": 112}

#: sizes; levels from the outermost in ("spatial": a fan-out), with their factors, innermost first, and what they keep
#: (default: all); cycles; fJ a MAC in all, and of each component.
DESIGNS = {
    "00-model-conv1d-1level": (
        CONV1D,
        [("Buffer", REGISTERS, "R3 P16", None)],
        48,
        {"Total": 2406.54, "MACC": 845.0, "Buffer": 1561.54},
    ),
    "01-model-conv1d-2level/os": (
        CONV1D,
        [("MainMemory", SRAM, "P16", None), ("Buffer", REGISTERS, "R3", None)],
        48,
        {"Total": 7500.08, "MACC": 845.0, "Buffer": 1747.76, "MainMemory": 4907.32},
    ),
    "02-model-conv1d+oc-2level/no-tiling": (
        CONV1D | {"K": 32},
        [("MainMemory", SRAM, "P16 K32", None), ("Buffer", REGISTERS, "R3", None)],
        1536,
        {"Total": 6258.2, "MACC": 845.0, "Buffer": 1747.76, "MainMemory": 3665.44},
    ),
    "02-model-conv1d+oc-2level/tiling": (
        CONV1D | {"K": 32},
        [("MainMemory", SRAM, "P16 K16", None), ("Buffer", REGISTERS, "R3 K2", None)],
        1536,
        {"Total": 5162.3, "MACC": 845.0, "Buffer": 1667.95, "MainMemory": 2649.35},
    ),
    "03-model-conv1d+oc-3level/bypass": (
        CONV1D | {"K": 32},
        [
            ("MainMemory", DRAM, "", None),
            ("GlobalBuffer", SRAM, "P16 K16", "Weights Inputs"),
            ("RegisterFile", REGISTERS, "R3 K2", "Outputs"),
        ],
        1536,
        {"Total": 39369.71, "RegisterFile": 710.26, "GlobalBuffer": 11147.78, "MainMemory": 26666.67},
    ),
    "04-model-conv1d+oc-3levelspatial/cp": (
        CONV1D | {"K": 32, "C": 32},
        [
            ("MainMemory", DRAM, "", None),
            ("PE", {"spatial": {"meshX": 16}}, "C16", None),
            ("GlobalBuffer", SRAM, "R3 K32 C2", None),
            ("RegisterFile", REGISTERS, "P16", None),
        ],
        3072,
        {"Total": 13011.43, "RegisterFile": 1889.64, "GlobalBuffer": 4860.12, "MainMemory": 5416.67},
    ),
    "eyeriss_like": (
        EYERISS,
        [
            ("DRAM", {**DRAM, "width": 64, "ert": dict.fromkeys(("read", "write", "update"), 512)}, "M4 Q2 P8", None),
            (
                "shared_glb",
                {**SRAM, "depth": 16384, "read_bandwidth": 16, "write_bandwidth": 16, "ert": {
                    "read": 18.183829, "write": 14.137929, "update": 14.137929, "leak": 0.005652}},
                "Q4 P14",
                "Inputs Outputs",
            ),
            ("PE_column", {"spatial": {"meshX": 14}}, "Q14", None),
            ("PE", {"spatial": {"meshY": 12}}, "S3 C3", None),
            ("ifmap_spad", spad(12, 8, 0.202442, 0.176713, 0.000101), "", "Inputs"),
            ("weights_spad", spad(192, 8, 1.976602, 1.881657, 0.001592), "R3", "Weights"),
            ("psum_spad", spad(16, 16, 0.2513, 0.2191, 0.000134), "M8", "Outputs"),
        ],
        86016,
        {
            "Total": 5469.65, "MACC": 207.69, "psum_spad": 386.77, "weights_spad": 1006.69, "ifmap_spad": 112.37,
            "shared_glb": 375.27, "DRAM": 3380.86,
        },
    ),
}  # fmt: skip
SPACES = ("Weights", "Inputs", "Outputs")


def problem(sizes, old=False):
    """A problem in which every dimension that there is has its place; stride 2 where there are two axes."""
    has = [dim for dim in ("C", "M", "K", "R", "S", "N", "P", "Q", "G") if dim in sizes]
    plane = "S" in sizes
    coefficients = [{"name": name, "default": 1} for name in ("Wstride", "Hstride")] if plane else []

    def axes(dims):
        return [[[dim]] for dim in dims if dim in sizes]

    windows = [[["R"], ["P", "Wstride"] if plane else ["P"]], [["S"], ["Q", "Hstride"]]][: 1 + plane]
    key, write = ("data-spaces", "read-write") if old else ("data_spaces", "read_write")
    shape = {
        "name": "layer",
        "dimensions": has,
        "coefficients": coefficients,
        key: [
            {"name": "Weights", "projection": axes("CMKRSG")},
            {"name": "Inputs", "projection": axes("NCG") + windows},
            {"name": "Outputs", "projection": axes("NMKQPG"), write: True},
        ],
    }
    strides = {"Wstride": 2, "Hstride": 2} if plane else {}
    return {"problem": {"shape": shape, "instance": sizes | strides}}


def tagged(tag, **keys):
    """A node of version 0.4."""
    return f"- !{tag} " + yaml.safe_dump(keys, default_flow_style=True, width=1000)


def write_design(folder: Path, name: str, old: bool) -> list[Path]:
    """The four files of a design, in version 0.4 or 0.3."""
    sizes, levels, _, _ = DESIGNS[name]
    mac = {"compute": 0.207692, "leak": 0.002374} if name == "eyeriss_like" else MAC
    nodes, mapping, tables, local = [], [], [], []
    x = y = 1
    before = ""
    for level, about, factors, keep in levels:
        kind = "spatial" if "spatial" in about else "temporal"
        order = [item[0] for item in factors.split()]
        entry = {
            "target": level,
            "type": kind,
            "factors": factors if old else [f"{i[0]}={i[1:]}" for i in factors.split()],
        }
        entry["permutation"] = "".join(order) if old else order
        if "spatial" in about:
            x, y = x * about["spatial"].get("meshX", 1), y * about["spatial"].get("meshY", 1)
            nodes.append(tagged("Container", name=level, spatial=about["spatial"]))
            entry["split"] = 0 if "meshY" in about["spatial"] else len(order)
            entry["target"] = before if old else level
            if old and mapping and mapping[-1]["type"] == "spatial":  # one fan-out, both axes
                merged = mapping.pop()
                entry["factors"] = f"{merged['factors']} {factors}"
                entry["permutation"] = merged["permutation"] + entry["permutation"]
                entry["split"] = merged["split"]
            mapping.append(entry)
            continue
        before = level
        attributes = {key: value for key, value in about.items() if key not in ("class", "ert")}
        nodes.append(tagged("Component", name=level, **{"class": about["class"]}, attributes=attributes))
        local.append({"name": f"{level}[1..{x * y}]", "class": about["class"], "attributes": attributes | {"meshX": x}})
        mapping.append(entry)
        if keep:
            kept = keep.split()
            bypass = [space for space in SPACES if space not in kept]
            mapping.append({"target": level, "type": "bypass" if old else "dataspace", "keep": kept, "bypass": bypass})
        energies = [{"name": action, "energy": value} for action, value in about["ert"].items()]
        tables.append({"name": f"System.{level}[1..{x * y}]", "actions": energies})
    tables.append({"name": f"System.MACC[1..{x * y}]", "actions": [{"name": k, "energy": v} for k, v in mac.items()]})
    local.append({"name": f"MACC[1..{x * y}]", "class": "intmac", "attributes": {"meshX": x}})
    texts = {
        "prob": yaml.safe_dump(problem(sizes, old)),
        "map": yaml.safe_dump({"mapping": mapping}),
        "ERT": yaml.safe_dump({"ERT": {"version": 0.4, "tables": tables}}),
        "arch": yaml.safe_dump({"architecture": {"version": 0.3, "subtree": [{"name": "System", "local": local}]}})
        if old
        else "architecture:\n  version: 0.4\n  nodes:\n  - !Container\n    name: system\n"
        + textwrap.indent("".join([*nodes, tagged("Component", name="MACC", **{"class": "intmac"})]), "  "),
    }
    paths = []
    for part, text in texts.items():
        paths.append(folder / f"{part}.yaml")
        paths[-1].write_text(text)
    return paths


@pytest.mark.parametrize("old", [False, True], ids=["v0.4", "v0.3"])
@pytest.mark.parametrize("name", DESIGNS)
def test_a_published_design(capsys, tmp_path, name, old):
    """Cycles before fill and drain are Timeloop's, its energy is within 0.5 %."""
    code, _, err = call(capsys, "import", *write_design(tmp_path, name, old), "-o", tmp_path / "out")
    assert (code, err) == (0, "")
    workload = hwsim.load_workload(tmp_path / "out" / "workload.yaml")
    machine = hwsim.load_machine(tmp_path / "out" / "machine.yaml")
    _, levels, cycles, published = DESIGNS[name]
    plan = machine.plan(workload)
    (layer,) = workload
    assert plan[layer.name].compute_cycles == cycles
    report = hwsim.simulate(plan)
    assert report.layers.cycles[0] - cycles in range(3)  # a cycle to load, one to store
    assert report.summary.energy_pj * 1000 / layer.macs == pytest.approx(published["Total"], rel=0.005)
    energies = report.actions.groupby("component").energy_pj.sum() * 1000 / layer.macs
    for component, energy in published.items():
        ours = "mac" if component == "MACC" else component
        if component != "Total":  # published ones include leakage
            leaks = {level[0]: level[1].get("ert", {}).get("leak", 0) for level in levels}
            used = {"eyeriss_like": 126, "04-model-conv1d+oc-3levelspatial/cp": 16}.get(name, 1)
            instances = 1 if component in ("DRAM", "shared_glb", "MainMemory") else used
            leak = leaks.get(component, 0) * instances * cycles * 1000 / layer.macs
            assert energies[ours] + leak == pytest.approx(energy, rel=0.005), component


def read(folder, *texts, name=""):
    paths = []
    for number, text in enumerate(texts):
        paths.append(folder / f"file{number}.yaml")
        paths[-1].write_text(text if isinstance(text, str) else yaml.safe_dump(text))
    return read_files(paths, name)


@settings(max_examples=40, deadline=None)
@given(st.fixed_dictionaries({dim: st.sampled_from([1, 2, 3, 7, 31, 127]) for dim in "CMRSPQG"}), st.booleans())
def test_a_convolution_has_the_macs_of_its_dimensions(tmp_path_factory, sizes, old):
    (layer,) = read(tmp_path_factory.mktemp("p"), problem(sizes | {"N": 1}, old)).workload
    product = 1
    for size in sizes.values():
        product *= size
    assert layer.macs == product
    assert (layer.p, layer.q, layer.groups, layer.stride) == (sizes["P"], sizes["Q"], sizes["G"], (2, 2))
    rows, cols = ((sizes[p] - 1) * 2 + sizes[r] for p, r in ("PR", "QS"))
    assert layer.inputs == sizes["G"] * sizes["C"] * rows * cols


GEMM = """
problem:
  shape:
    name: matrix product
    dimensions: [M, N, K]
    data_spaces:
    - {name: A, projection: [[[M]], [[K]]]}
    - {name: B, projection: [[[K]], [[N]]]}
    - {name: Z, projection: [[[M]], [[N]]], read_write: true}
  instance: {M: 31, N: 127, K: 257}
"""


def test_a_gemm(tmp_path):
    (layer,) = read(tmp_path, GEMM).workload
    assert layer == hwsim.Gemm("matrix_product", m=31, n=127, k=257, bias=False)
    batched = GEMM.replace("[M, N, K]", "[H, M, N, K]").replace("projection: [", "projection: [[[H]], ")
    (layer,) = read(tmp_path, batched.replace("{M: 31", "{H: 12, M: 31")).workload
    assert (layer.b, layer.macs) == (12, 12 * 31 * 127 * 257)


BASE = """
problem_base_ignore: &problem_base
  version: 0.4
""" + textwrap.indent(yaml.safe_dump(problem(dict.fromkeys("CMRSNPQG", 1))["problem"]), "  ")
LAYER = "{{include_text('../problem_base.yaml')}}\nproblem:\n  <<<: *problem_base\n  name: Conv2d\n  instance: {C: 3, M: 7, P: 31, Q: 5}\n"


def test_problems_of_the_exercises_form(capsys, tmp_path):
    """A file a layer, each with the shape that it includes and its sizes laid over those of the base."""
    (tmp_path / "net").mkdir()
    (tmp_path / "problem_base.yaml").write_text(BASE)
    for number in range(1, 4):
        (tmp_path / "net" / f"{number:03}.yaml").write_text(LAYER.replace("M: 7", f"M: {number}, G: {number}"))
    code, _, err = call(
        capsys, "import", *sorted((tmp_path / "net").iterdir()), "-o", tmp_path / "net.yaml", "--name", "net"
    )
    assert (code, err) == (0, "")
    network = hwsim.load_workload(tmp_path / "net.yaml")
    assert network.names == ("001", "002", "003")
    assert [layer.macs for layer in network] == [3 * 31 * 5, 4 * 3 * 31 * 5, 9 * 3 * 31 * 5]


def test_a_base_may_be_among_the_files(tmp_path):
    with pytest.raises(InputError, match=r"includes ../problem_base.yaml, which is not there: name it among the FILES"):
        read(tmp_path, LAYER)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "problem_base.yaml").write_text(BASE)
    found = read_files([tmp_path / "file0.yaml", tmp_path / "b" / "problem_base.yaml"])
    assert found.workload.macs == 3 * 7 * 31 * 5


def test_densities_and_what_a_problem_holds_beside(tmp_path):
    instance = "{M: 31, N: 127, K: 257, densities: {A: 0.5, B: {distribution: hypergeometric, density: 0.25}}}"
    text = GEMM.replace("{M: 31, N: 127, K: 257}", instance) + "  histograms: {A: [0, 1]}\n"
    found = read(tmp_path, text)
    (layer,) = found.workload
    assert (layer.input.density, layer.weight.density, layer.output.density) == (0.5, 0.25, 1)
    assert [str(note) for note in found.notes] == ["not modeled, and without effect: problem.histograms"]
    with pytest.raises(InputError, match=r"problem.instance.densities.C: 'C' is not a data space"):
        read(tmp_path, text.replace("{A: 0.5", "{C: 0.5"))


def test_a_batch_is_told(tmp_path):
    found = read(tmp_path, problem(EYERISS | {"N": 16}))
    assert found.workload.macs == 3 * 32 * 9 * 112**2
    assert str(found.notes[0]).endswith("a batch of 16 images; counts are per image: run it with --batch 16")


@pytest.mark.parametrize("word", ["True", "true", "TRUE"])
def test_words_of_older_yaml(tmp_path, word):
    assert read(tmp_path, GEMM.replace("read_write: true", f"read-write: {word}")).workload.macs == 31 * 127 * 257


def test_without_a_mapping_one_is_searched(tmp_path):
    """32 filters on an array of 14 x 12: more than a third of the MACs are in use."""
    paths = write_design(tmp_path, "eyeriss_like", False)
    found = read_files([path for path in paths if path.stem != "map"])
    (tmp_path / "machine.yaml").write_text(yaml.safe_dump(found.machine, sort_keys=False))
    plan = hwsim.load_machine(tmp_path / "machine.yaml").plan(found.workload)
    assert plan["layer"].compute_cycles < 3 * 10838016 / 168


def test_ragged_factors(tmp_path):
    """P of 16 as four rounds of 5, the last of one: 'for P by 5' leaves one."""
    paths = write_design(tmp_path, "01-model-conv1d-2level/os", True)
    text = paths[1].read_text().replace("factors: P16", "factors: P4").replace("factors: R3", "factors: R3 P5,1")
    paths[1].write_text(text.replace("permutation: R", "permutation: RP"))
    machine = read_files(paths).machine
    assert machine["mappings"]["layer"] == [
        "MainMemory keeps ifmap, weight, ofmap",
        "for P by 5",
        "Buffer keeps ifmap, weight, ofmap",
        "for P by 1",
        "for R by 1",
    ]


def test_without_prices_energy_is_unknown(tmp_path):
    found = read_files(
        write_design(tmp_path, "04-model-conv1d+oc-3levelspatial/cp", False)[:2] + [tmp_path / "arch.yaml"]
    )
    assert [str(note) for note in found.notes] == ["no ERT is given: energy is unknown"]
    assert found.machine["energy"]["prices"]["mac"]["unknown"]


ARCH, MAP, PROB, ERT = "arch.yaml", "map.yaml", "prob.yaml", "ERT.yaml"


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            MAP,
            "factors:\n  - P=16\n",
            "factors:\n  - P=15\n",
            r"map.yaml:23:3: mapping.3: the factors of P make 15; its size is 16",
        ),
        (
            MAP,
            "target: GlobalBuffer",
            "target: GlobalBufer",
            r"'GlobalBufer' is not in the architecture; nearest: 'GlobalBuffer'",
        ),
        (MAP, "- K=32", "- Z=32", r"'Z' is not a dimension"),
        (MAP, "type: temporal", "type: magic", r"must be temporal, spatial or dataspace, not 'magic'"),
        (
            ARCH,
            "width: 64",
            "width: 8*8",
            r"must be an integer of at least 1, not '8\*8'; expressions are not evaluated",
        ),
        (ARCH, "class: SRAM", "class: XY_NoC", r"a network is not modeled: GlobalBuffer of class 'XY_NoC'"),
        (
            ARCH,
            "name: RegisterFile",
            "name: RegisterFile, spatial: {meshX: 4}",
            r"nested fan-outs are not modeled: GlobalBuffer has 16 .* 64",
        ),
        (ARCH, "datawidth: 8", "datawidth: 7", r"words must have 4, 8, 16, 32 or 64 bits, not 7"),
        (ARCH, "!Component", "!Magic", r"must be a component, a container or parallel nodes, not 'Magic'"),
        (ARCH, "!Container {", "!Pipelined {", r"!Pipelined is not modeled"),
        (PROB, "K: 32", "K: -3", r"problem.instance.K: must be an integer of at least 1, not -3"),
        (PROB, "K: 32", "L: 32", r"problem.instance: must give K, a dimension of the shape"),
        (
            PROB,
            "read_write: true",
            "read_write: false",
            r"must be two that are read and one that is written, not 3 and 0",
        ),
        (ERT, "energy: 0.42564", "energy: cheap", r"must be a number, not 'cheap'"),
        (ERT, "ERT:", "sparse_optimizations: [1]\nERT:", r"sparse optimizations change the counts and are not modeled"),
        (ERT, "ERT:", "x: '{{ 1 + 1 }}'\nERT:", r"ERT.yaml:1: a template is not evaluated; write its value"),
        (ERT, "ERT:", "mapping: []\nERT:", r"only one file may have a key 'mapping'"),
        (ERT, "ERT:", "x: *y\nERT:", r"no value before this is anchored as 'y'"),
        (ERT, "ERT:", "x: {<<: 3}\nERT:", r"only a mapping can be merged, not 3"),
        (ERT, "ERT:", "ERT: 1\nERT:", r"key is given twice"),
        (ERT, "ERT:", "[", r"must be YAML"),
    ],
)
def test_what_is_not_modeled_is_refused_by_name(tmp_path, file, old, new, message):
    paths = write_design(tmp_path, "04-model-conv1d+oc-3levelspatial/cp", False)
    text = (tmp_path / file).read_text()
    assert old in text
    (tmp_path / file).write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=message) as caught:
        read_files(paths)
    assert str(caught.value).startswith(str(tmp_path / file))


def test_hostile_yaml_is_bounded(tmp_path):
    """Aliases of aliases are not copied, merges of them are counted; nothing is executed."""
    bomb = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{p: *a{n - 1}, q: *a{n - 1}}}\n" for n in range(1, 30))
    other = bomb.replace("a", "b")
    with pytest.raises(InputError, match="must have a problem or an architecture"):
        read(tmp_path, bomb)
    with pytest.raises(InputError, match="must have at most 300000 values"):
        read(tmp_path, f"{bomb}{other}c: {{<<<: *a29, p: *b28, q: *b28}}\n")
    with pytest.raises(InputError, match="must have at most 300000 values, nested at most 40 deep"):
        read(tmp_path, "problem: " + "[" * 100 + "]" * 100)
    with pytest.raises(InputError, match=r"must be a mapping, not"):
        read(tmp_path, "problem: !!python/object/apply:os.system ['touch executed']\n")
    (tmp_path / "loop.yaml").write_text("{{include_text('loop.yaml')}}")
    with pytest.raises(InputError, match="files must be included at most 8 deep"):
        read_files([tmp_path / "loop.yaml"])
    with pytest.raises(InputError, match=r"include_text must name a .yaml file, not '/etc/passwd'"):
        read(tmp_path, "{{include_text('/etc/passwd')}}")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_files_read_or_are_an_input_error(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("d")
    paths = write_design(folder, data.draw(st.sampled_from(list(DESIGNS))), data.draw(st.booleans()))
    path = data.draw(st.sampled_from(paths))
    lines = path.read_text().splitlines()
    index = data.draw(st.integers(0, len(lines) - 1))
    change = st.sampled_from(
        ["", "x", "[]", "{}", "- 1", "0", "1e400", "null", "~", ": :", "&a *a", "!x", "'", "99999999999999999999"]
    )
    action = data.draw(st.sampled_from(["drop", "end", "value", "twice"]))
    if action == "drop":
        del lines[index]
    elif action == "twice":
        lines.insert(index, lines[index])
    elif action == "end":
        lines[index] += data.draw(change)
    else:
        key, colon, _ = lines[index].partition(": ")
        lines[index] = f"{key}{colon}{data.draw(change)}"
    path.write_text("\n".join(lines))
    try:
        read_files(paths)
    except InputError as error:
        assert len(str(error)) < 5000


def test_where_the_output_goes(capsys, tmp_path):
    paths = write_design(tmp_path, "00-model-conv1d-1level", False)
    code, out, err = call(capsys, "import", *paths, "-o", "-")
    assert (code, out) == (2, "")
    assert "make a machine and a workload: name a folder" in err
    code, out, _ = call(capsys, "import", paths[0], "-o", "-")
    assert code == 0
    assert "conv: layer" in out
    code, out, err = call(capsys, "import", paths[3], paths[2], "-o", "-")
    assert code == 0
    assert out.startswith("kind: pe_array")
    code, _, err = call(capsys, "import", paths[0], "model.onnx", "-o", "-")
    assert code == 2
    assert "only .yaml files of Timeloop can be several" in err


def test_a_mapping_may_be_that_of_a_pattern(tmp_path):
    """The nest of a layer's own name comes before that of a pattern; a fault names both."""
    paths = write_design(tmp_path, "02-model-conv1d+oc-2level/tiling", False)
    found = read_files(paths)
    (layer,), machine = found.workload, dict(found.machine)
    nest = machine["mappings"].pop("layer")
    network = hwsim.Workload("net", [replace(layer, name=name) for name in ("a1", "a2", "b1")], graph=False)

    def plan(mappings):
        (tmp_path / "m.yaml").write_text(yaml.safe_dump(machine | {"mappings": mappings}, sort_keys=False))
        return hwsim.load_machine(tmp_path / "m.yaml").plan(network)

    other = [line.replace("K by 2", "K by 8") for line in nest]
    planned = plan({"a*": nest, "a2": other, "b?": [*nest]})
    assert [planned[name].mapping.lines() for name in network.names] == [nest, other, nest]
    assert "no such layer" not in str(hwsim.simulate(planned).messages)
    with pytest.raises(InputError, match=r"mappings.a\*: a1: node 2: 'for K by 64': the tile must be at least 1"):
        plan({"a*": [line.replace("K by 2", "K by 64") for line in nest]})["a1"]


@pytest.mark.parametrize("text", ["'.'", "'1.5.2'", "'1e'"])
def test_text_that_is_almost_a_number(tmp_path, text):
    paths = write_design(tmp_path, "eyeriss_like", False)
    arch = tmp_path / "arch.yaml"
    arch.write_text(arch.read_text().replace("read_bandwidth: 16", f"read_bandwidth: {text}"))
    with pytest.raises(InputError, match=r"attributes: must be a number, not '.*'; expressions are not evaluated"):
        read_files(paths)
