"""What README and docs say is true: their examples run, and their tables are what the models say today."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

import hwsim
from hwsim.fields import check
from hwsim.machines import kinds
from hwsim.yaml_source import parse_yaml

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
HARDWARE = (ROOT / "docs" / "hardware.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.fixture(scope="session")
def generate():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def anchors(text: str) -> set[str]:
    """What GitHub calls the headings of a page."""
    heads = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda p: p.name)
def test_relative_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"\w+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link


def test_readme_python_runs(capsys) -> None:
    for code in blocks(README, "python"):
        exec(compile(code, "README.md", "exec"), {})
    out = capsys.readouterr().out
    assert "energy_pj" in out
    assert "psum_spad" in out


def test_readme_workload_loads(tmp_path: Path) -> None:
    (text,) = blocks(README, "yaml")
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    assert hwsim.load_workload(str(path))["fc"].k == 64 * 56 * 56


@pytest.mark.slow
def test_readme_commands_run(capsys, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    import shlex

    from hwsim import cli

    lines = [line for line in "".join(blocks(README, "console")).splitlines() if line.startswith("$ ")]
    assert lines
    for line in lines:
        words = shlex.split(line[2:], comments=True)
        sys.argv = words
        try:
            cli.main()
        except SystemExit as stop:
            assert not stop.code, line
        assert capsys.readouterr().out, line


@pytest.mark.slow
def test_accuracy_tables_are_current(generate) -> None:
    """`python docs/generate.py` writes them."""
    assert (ROOT / "docs" / "accuracy.md").read_text(encoding="utf-8") == generate.accuracy()
    assert generate.readme_table() in README


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", ["examples.md", "workloads.md", "hardware.md", "mapping.md", "compression.md", "edge.md", "algorithms.md"]
)
def test_examples_are_current(generate, page: str) -> None:
    """Each command of the page runs, and prints what is shown; `python docs/generate.py` writes it."""
    shown = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert shown == generate.examples(page)
    assert max(len(line) for block in blocks(shown, "console") for line in block.splitlines() if line[:1] != "$") <= 140


@pytest.mark.slow
def test_tables_of_the_edge_are_current(generate) -> None:
    """Both writers agree on the page: commands and tables."""
    page = generate.beside("generate_edge")
    assert page.PAGE.read_text(encoding="utf-8") == page.text()


def test_python_of_the_examples_runs(capsys) -> None:
    for code in blocks((ROOT / "docs" / "examples.md").read_text(encoding="utf-8"), "python"):
        exec(compile(code, "examples.md", "exec"), {})
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    traffic = [float(row[6]) for row in rows]
    assert traffic == sorted(traffic, reverse=True), "a larger buffer moves no more over DRAM"


def test_workloads_of_the_docs_load_and_run(tmp_path: Path, capsys) -> None:
    page = (ROOT / "docs" / "workloads.md").read_text(encoding="utf-8")
    for number, text in enumerate(blocks(page, "yaml")):
        path = tmp_path / f"w{number}.yaml"
        path.write_text(text)
        assert len(hwsim.load_workload(path)) > 1
    for code in blocks(page, "python"):
        exec(compile(code, "workloads.md", "exec"), {})
    assert "attn.context" in capsys.readouterr().out


def test_the_page_on_workloads_names_every_kind_and_format() -> None:
    from hwsim.workload import DTYPES, FORMATS, PATTERNS
    from hwsim.workload.line import LINES

    page = (ROOT / "docs" / "workloads.md").read_text(encoding="utf-8")
    words = set(re.findall(r"[\w:]+", " ".join(re.findall(r"`([^`\n]+)`", page))))
    assert set(LINES) | set(DTYPES) | set(FORMATS) | set(PATTERNS) <= words


@pytest.mark.slow
def test_tables_of_processors_are_current(generate) -> None:
    """`python docs/generate.py` writes them."""
    text = (ROOT / "docs" / "cpu.md").read_text(encoding="utf-8")
    assert generate.processors(text) == text


def test_schemas_are_current(generate) -> None:
    import json

    for name in ("machine", "workload", "sweep", "report"):
        schema = getattr(generate, f"{name}_schema")()
        assert json.loads((ROOT / "docs" / "schema" / f"{name}.json").read_text()) == schema


def test_onnx_operators_are_current(generate) -> None:
    """Every operator of the docs' table; an older onnx than that of the docs has fewer."""
    onnx = pytest.importorskip("onnx")
    page = (ROOT / "docs" / "onnx.md").read_text(encoding="utf-8")
    if onnx.defs.onnx_opset_version() != 28:
        pytest.skip("the table is of opset 28")
    assert generate.onnx_operators() in page


def test_tflite_operators_are_current(generate) -> None:
    pytest.importorskip("tflite")
    page = (ROOT / "docs" / "tflite.md").read_text(encoding="utf-8")
    assert generate.tflite_scratch() in page
    modeled = generate.tflite_operators().splitlines()[:-1]  # a newer schema has more operators without a model
    assert all(line in page for line in modeled)


def test_picture_shows_what_a_run_prints(generate) -> None:
    """The numbers of the picture are those of today's run (its layout is rich's)."""

    def words(svg: str) -> list[str]:
        return re.findall(r">([^<>]+)</text>", svg)

    assert words((ROOT / "docs" / "eyeriss_alexnet.svg").read_text(encoding="utf-8")) == words(generate.picture())


@pytest.mark.slow
def test_every_published_quantity_is_within_its_limit(generate) -> None:
    outside = [row for rows in generate.published().values() for row in rows if not row.within]
    assert not outside


def test_the_example_machine_of_the_docs_runs(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(blocks(HARDWARE, "yaml")[0])
    network = hwsim.Workload(
        "two", [hwsim.Conv2d("c", c=16, h=14, w=14, k=32, r=3, pad=1), hwsim.Gemm("f", m=1, n=10, k=64)]
    )
    report = hwsim.simulate(hwsim.load_machine(path), hwsim.Workload("two", list(network), graph=False))
    assert report.summary.energy_pj > 0
    assert set(report.component_energy()) >= {"mac", "rf", "buffer", "dram", "static"}


def test_the_example_processor_of_the_docs_runs(tmp_path: Path) -> None:
    """A file made of a data sheet's row alone."""
    path = tmp_path / "mine.yaml"
    path.write_text(blocks((ROOT / "docs" / "cpu.md").read_text(encoding="utf-8"), "yaml")[0])
    network = hwsim.load_workload("mobilenet_v2_1.0_224")
    summary = hwsim.simulate(hwsim.load_machine(path, set={"streams": "all", "precision": "int8"}), network).summary
    assert 6 < summary.streams < 14
    assert summary.inferences_per_s > summary.streams


def test_the_example_kind_of_the_docs_runs(tmp_path: Path, monkeypatch) -> None:
    code = next(block for block in blocks(HARDWARE, "python") if "class Scalar(" in block)
    module = tmp_path / "scalar_kind.py"
    module.write_text(code)
    spec = importlib.util.spec_from_file_location("scalar_kind", module)
    kind = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "scalar_kind", kind)
    spec.loader.exec_module(kind)
    text = (
        "kind: scalar\nname: s\nsource: test\nclocks: {core: 100 MHz}\ncycles_per_mac: 2\n"
        "energy: {table: horowitz_45nm, prices: {mac: {entry: int8_mac}}}\n"
    )
    document = parse_yaml(text)
    machine = kind.Scalar(check(kind.ScalarSpec, document), tmp_path, document)
    summary = hwsim.simulate(machine, hwsim.Workload("g", [hwsim.Gemm("g", m=2, n=3, k=5)])).summary
    assert summary.cycles == 60
    assert summary.energy_pj == pytest.approx(30 * 0.3)
    assert "pe_array" in kinds()


@pytest.mark.parametrize("path", sorted((ROOT / "arch_configs").glob("*.yaml")), ids=lambda p: p.stem)
def test_machine_files_are_short_and_sourced(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=../docs/schema/machine.json\n")
    assert len(text.splitlines()) <= 50
    spec = hwsim.load_machine(path.stem).spec
    assert spec.source
    assert all(
        memory.source for memory in getattr(spec, "memories", {}).values() if getattr(memory, "per", "chip") == "chip"
    )
    assert len(spec.fitted) <= 10


def test_python_of_compression_runs(capsys) -> None:
    (code,) = blocks((ROOT / "docs" / "compression.md").read_text(encoding="utf-8"), "python")
    exec(compile(code, "compression.md", "exec"), {})
    assert "codebook" in capsys.readouterr().out
