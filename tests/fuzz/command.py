"""The command line in this process: what it prints and how it ends."""

from __future__ import annotations

import io
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from unittest.mock import patch

from hwsim.cli import main
from tests.fuzz.case import BrokenPromiseError, check_printable

MAX_LINES = 110


def call(*words: str) -> int:
    """Run a command and hold it to what is promised; returns its exit code."""
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with (
        patch.object(sys, "argv", ["hwsim", *words]),
        patch.dict(os.environ, {"HWSIM_TRACEBACK": "1"}),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            code = 0 if end.code is None else end.code
    if code not in (0, 1, 2):
        raise BrokenPromiseError(f"exit code {code}")
    check_printable(out.getvalue(), "standard output")
    check_printable(err.getvalue(), "standard error")
    lines = err.getvalue().splitlines()
    if code == 2 and not lines:
        raise BrokenPromiseError("exit code 2 without a word")
    if code == 2 and len(lines) > MAX_LINES:
        raise BrokenPromiseError(f"{len(lines)} lines of errors")
    if "Traceback" in err.getvalue() or "not enough memory" in err.getvalue():
        raise BrokenPromiseError(lines[-1][:100])
    return int(str(code))
