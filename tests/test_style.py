"""The code is typed and tidy: mypy strict and ruff find nothing."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent


def outcome(*command: str) -> str:
    """What a tool writes when it finds something."""
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_ruff_finds_nothing() -> None:
    assert not outcome("ruff", "check", ".")


@pytest.mark.slow
def test_mypy_finds_nothing() -> None:
    if np.lib.NumpyVersion(np.__version__) < "2.0.0":
        pytest.skip("types are checked against those of numpy 2")
    assert not outcome("mypy")
