"""Hostile input of every kind: a result or an error of printable lines, in bounded time and memory."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_hostile_input_of_every_kind(tmp_path: Path) -> None:
    # So many cases and not so many seconds: a faster machine draws no others.
    command = [sys.executable, "-m", "tests.fuzz", "500", "--seed", "1", "--cases", "400", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not list(tmp_path.iterdir())


def test_the_command_names_what_is_broken_and_keeps_its_input(tmp_path: Path) -> None:
    """A case that breaks the promise: it takes more memory than it may."""
    code = """
import sys
sys.path[:0] = [{root!r}, {tests!r}]
import tests.fuzz.__main__ as command
from tests.fuzz.case import Case
command._maker = lambda kind: lambda draw, folder: Case(lambda: bytearray(2**31), {{"input.txt": b"x"}}, "too large")
sys.argv = ["fuzz", "30", "--kind", "table", "--cases", "1", "--out", {out!r}]
sys.exit(command.main())
""".format(root=str(ROOT), tests=str(ROOT / "tests"), out=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1, done.stderr
    assert "takes more than 1 GiB" in done.stdout
    folder = tmp_path / "table-0-0"
    assert (folder / "input.txt").read_bytes() == b"x"
    assert "too large" in (folder / "what.txt").read_text()
    assert "--kind table --seed 0 --case 0" in (folder / "again.txt").read_text()
