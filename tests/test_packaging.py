"""What is installed: without compiled kernels, and by every way."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: Python as it is where no compiler could build the kernels.
WITHOUT_KERNELS = """
import sys

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
