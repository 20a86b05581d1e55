"""The command line, run in this process."""

import sys

import pytest

from hwsim import cli


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Run the command line in this process: exit code, standard output, standard error."""
    before = sys.argv
    sys.argv = ["hwsim", *map(str, words)]
    try:
        cli.main()
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    finally:
        sys.argv = before
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return code, out, err
