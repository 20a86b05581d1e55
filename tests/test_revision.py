"""The key of a stored result has a digest of what computes it: whatever else changes, results are kept."""

import ast
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import hwsim
from hwsim.sweeps.revision import computing_files, model_digest

PACKAGE = Path(hwsim.__file__).parent
RUN = """\
import json, sys
import hwsim
from hwsim.sweeps.evaluation import totals
for name in ("eyeriss_v1", "systolic_ws", "tpu_v1", "nvdla_256", "eyeriss_isca16", "a100", "xeon_8280", "nucleo_l4r5zi"):
    changes = {"precision": "int8"} if name in ("a100", "xeon_8280") else {}
    report = hwsim.simulate(hwsim.load_machine(name, set=changes), hwsim.load_workload("lenet5_caffe"))
    totals(report), report.rows
print(json.dumps([module.__file__ for name, module in sys.modules.items() if name.startswith("hwsim.")]))
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package that may be changed; what is parsed once is remembered in it."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    ignored = shutil.ignore_patterns("__pycache__", "arch_configs", "workloads", "*.so")
    return shutil.copytree(PACKAGE, tmp_path / "hwsim", ignore=ignored)


def edited(path: Path, change: Callable[[str], str]) -> None:
    before = path.read_text()
    path.write_text(change(before))
    assert path.read_text() != before


def test_words_change_nothing(package: Path) -> None:
    before = model_digest(package)
    for name in ("machines/cpu/costs.py", "simulation.py"):
        edited(package / name, lambda text: "# A comment.\n\n" + text)
    edited(package / "simulation.py", lambda text: text.replace("Run a network on a machine.", "Simulate a network."))
    edited(package / "machines/gpu/tiles.py", lambda text: text + '\n\n"""What stands below a constant."""\n')
    edited(package / "report/html/run.py", lambda text: text + "\nWIDTH = 3\n")
    edited(package / "report/table.py", lambda text: text + "\nWIDTH = 3\n")
    edited(package / "cli/run.py", lambda text: text + "\nWIDTH = 3\n")
    (package / "cli" / "new.py").write_text("WIDTH = 3\n")
    assert model_digest(package) == before


@pytest.mark.parametrize(
    "name",
    ["machines/cpu/costs.py", "report/result.py", "units.py", "machines/cpu/libraries/onnxruntime-1.31.yaml"],
)
def test_a_constant_changes_the_digest(package: Path, name: str) -> None:
    before = model_digest(package)
    edited(package / name, lambda text: text + "\nFACTOR = 0.9\n")
    changed = model_digest(package)
    assert changed != before
    edited(package / name, lambda text: text.replace("FACTOR = 0.9", "FACTOR = 0.8"))
    assert model_digest(package) not in (before, changed)
    edited(package / name, lambda text: text.removesuffix("\nFACTOR = 0.8\n"))
    assert model_digest(package) == before


def test_a_number_inside_a_machine_changes_the_digest(package: Path) -> None:
    before = model_digest(package)
    edited(
        package / "machines/cpu/energy.py",
        lambda text: text.replace("_CORE_SHARE = 0.3, 0.9", "_CORE_SHARE = 0.3, 0.8"),
    )
    assert model_digest(package) != before


def test_a_compiled_module_counts(package: Path) -> None:
    before = model_digest(package)
    (package / "mapping" / "_evaluate.so").write_bytes(b"\x7fELF")
    assert model_digest(package) != before


def test_unchanged_files_are_not_parsed_again(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = model_digest(package)
    monkeypatch.setattr(ast, "parse", lambda *_: pytest.fail("parsed again"))
    assert model_digest(package) == before


@pytest.mark.parametrize("text", ["", "broken", "[1, 2]", "null", '{"a": "b"}'])
def test_a_damaged_memo_is_no_fault(package: Path, text: str) -> None:
    shutil.rmtree(package / "machines")
    before = model_digest(package)
    (memo,) = package.rglob("revision*.json")
    memo.write_text(text)
    assert model_digest(package) == before


def test_every_module_that_computes_a_point_counts() -> None:
    """Those of a sweep only say which points there are, and their answers stand in the key of each result."""
    ran = subprocess.run([sys.executable, "-c", RUN], capture_output=True, text=True, check=True)
    loaded = {Path(name) for name in json.loads(ran.stdout) if name}
    assert len(loaded) > 80
    missed = loaded - set(computing_files(PACKAGE))
    assert not {path for path in missed if path.parent != PACKAGE / "sweeps" and path != PACKAGE / "report/__init__.py"}
