"""What is installed: without compiled kernels, and by every way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

#: Python as it is where no compiler could build the kernels.
WITHOUT_KERNELS = """
import sys
from pathlib import Path

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("hwsim.kernels._"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
"""


def without_kernels(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT_KERNELS + code]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return without_kernels(f"import sys; sys.argv = {['hwsim', *words]!r}; from hwsim.cli import main; main()")


@pytest.mark.parametrize(
    "words",
    [
        ("run", "eyeriss_v1", "alexnet", "--layers", "conv1"),
        ("run", "eie", "lenet_300_100_pruned"),
        ("compress", "lenet_300_100", "--prune", "0.08"),
    ],
)
def test_what_executes_nothing_needs_no_kernels(words: tuple[str, ...]) -> None:
    done = command(*words)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("words", [("validate", "eyeriss_v1", "lenet5_caffe", "--layer", "conv1"), ("calibrate",)])
def test_what_executes_says_what_is_missing(words: tuple[str, ...]) -> None:
    done = command(*words)
    assert done.returncode == 2
    assert "is not built" in done.stderr
    assert "hwsim.kernels._" in done.stderr
    assert "please report" not in done.stderr


def test_a_missing_kernel_is_named_in_python() -> None:
    done = without_kernels("import hwsim.kernels; hwsim.kernels.gemm_int8")
    assert "hwsim.kernels.gemm_int8 needs it" in done.stderr.splitlines()[-1]
    assert not without_kernels("import hwsim.kernels; assert not hasattr(hwsim.kernels, 'gemm_int9')").stderr


def plug_in(folder: Path, name: str, module: str, points: str, group: str = "hwsim.machines") -> None:
    """A package as pip leaves it in a folder: a module and its entry points."""
    (folder / f"{name}.py").write_text(module)
    facts = folder / f"{name}-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(f"[{group}]\n{points}\n")


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("import no_such_module", "No module named 'no_such_module'"),
        ("1 / 0", "ZeroDivisionError"),
        ("Odd = 3", "odd:Odd must be a subclass"),
        ("", "AttributeError"),
    ],
)
def test_a_broken_plug_in_is_a_warning(tmp_path: Path, module: str, words: str) -> None:
    plug_in(tmp_path, "odd", module, "odd = odd:Odd")
    code = "import sys; sys.argv = ['hwsim', 'run', 'eie', 'lenet_300_100_pruned']; from hwsim.cli import main; main()"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False, env=environment
    )
    assert done.returncode == 0
    assert "warning: the kind 'odd' of odd is left out: " in done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert "fc1" in done.stdout or "ip1" in done.stdout


TABLE = """name: odd
source: by hand
node: 31 nm
voltage: 0.9 V
entries:
  mac: {energy: 0.127 pJ, bits: 8, source: by hand}
"""
REVISIONS = """
import json
from hwsim.energy import load_table, table_names
from hwsim.report.provenance import made_by
from hwsim.sweeps.revision import model_revision
price = str(load_table("odd").entry("mac").energy) if "odd" in table_names() else None
print(json.dumps([price, load_table("horowitz_45nm").name, made_by()["tables"], model_revision()]))
"""


def with_table(folder: Path, name: str, table: str) -> subprocess.CompletedProcess[str]:
    """Run with a plug-in that has a table of prices."""
    folder.mkdir()
    (folder / "odd.yaml").write_text(table)
    module = "from pathlib import Path\nTABLE = Path(__file__).with_name('odd.yaml')\n"
    plug_in(folder, "odd", module, f"{name} = odd:TABLE", "hwsim.tables")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}
    return subprocess.run(
        [sys.executable, "-c", REVISIONS], capture_output=True, text=True, timeout=120, check=True, env=environment
    )


def test_a_table_of_a_plug_in_is_read_and_stands_in_the_digests(tmp_path: Path) -> None:
    first = json.loads(with_table(tmp_path / "first", "odd", TABLE).stdout)
    other = json.loads(with_table(tmp_path / "other", "odd", TABLE.replace("0.127", "0.257")).stdout)
    assert first[0] == "127/1000"  # pJ, exact
    assert first[1] == "horowitz_45nm"
    assert first[2] != other[2]  # one package, one version, another price
    assert first[3] != other[3]


@pytest.mark.parametrize(
    ("name", "table", "words"),
    [
        ("odd", "name: odd\n", "InputError"),
        ("horowitz_45nm", TABLE, "hwsim has a table of this name"),
    ],
)
def test_a_broken_table_of_a_plug_in_is_a_warning(tmp_path: Path, name: str, table: str, words: str) -> None:
    done = with_table(tmp_path / "broken", name, table)
    assert f"the table {name!r} of odd is left out: " in done.stderr
    assert words in done.stderr
    assert json.loads(done.stdout)[:2] == [None, "horowitz_45nm"]
