"""All commands as one, and how each ends. Heavy imports are inside the commands, so that ``--help`` is fast."""

from __future__ import annotations

import gc
import io
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

import click

from hwsim import __version__
from hwsim.cli.calibrate import calibrate
from hwsim.cli.catalogue import list_, schema, show
from hwsim.cli.compare import compare
from hwsim.cli.completion import completion
from hwsim.cli.compress import compress
from hwsim.cli.explain import explain
from hwsim.cli.explore import explore
from hwsim.cli.fit import fit
from hwsim.cli.importer import import_
from hwsim.cli.llm import llm
from hwsim.cli.run import run
from hwsim.cli.serve import serve
from hwsim.cli.sweep import sweep
from hwsim.cli.train import train
from hwsim.cli.validate import validate
from hwsim.errors import HwsimError, printable

__all__ = ["cli", "run_command"]

_COMPLETE = "_HWSIM_COMPLETE"
_COLLECT = 200_000, 100, 1000
"""Objects between collections: a network of 20,000 layers has millions, which live to the end."""
_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class _Group(click.Group):
    """Commands whose output may go to a pipe that is closed early, as of ``hwsim list | head``: that is no fault."""

    def make_context(self, *words: Any, **settings: Any) -> click.Context:
        with _closed_pipe():
            return super().make_context(*words, **settings)

    def invoke(self, ctx: click.Context) -> Any:
        with _closed_pipe():
            return super().invoke(ctx)


@contextmanager
def _closed_pipe() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        _drop(sys.stdout)
        raise SystemExit(0) from None


@click.group(cls=_Group, context_settings=_SETTINGS)
@click.version_option(__version__, prog_name="hwsim")
def cli() -> None:
    """Simulate neural networks on real hardware: latency, energy and bottleneck of each layer.

    \b
    Examples:
      hwsim run eyeriss_v1 alexnet --batch 4
      hwsim run systolic_ws resnet50_v1 --set array.rows=64 --set array.cols=64
      hwsim explain eyeriss_v1 alexnet conv3 --batch 4
      hwsim compare nucleo_l4r5zi stm32h7a3 kws
      hwsim list machines
    """


for _command in (
    run, compare, fit, explain, train, serve, llm, sweep, explore, validate, compress, calibrate, list_, show, import_,
    schema, completion,
):  # fmt: skip
    cli.add_command(_command)


def run_command() -> None:
    """Run the command that the arguments of the process name, and end as its outcome demands."""
    warnings.showwarning = lambda message, *_, **__: _say(f"warning: {message}")
    # A closed stream is None: what is written there is lost, which is what was asked for.
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - until the end of the process
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal may lack a character
    gc.set_threshold(*_COLLECT)
    try:
        try:
            cli.main(prog_name="hwsim", standalone_mode=False)
        finally:
            sys.stdout.flush()
    except click.exceptions.Abort:
        raise SystemExit(130) from None
    except click.ClickException as error:
        with _lossy_errors():
            error.show()
        raise SystemExit(error.exit_code) from None
    except HwsimError as error:
        for line in str(error).splitlines():
            _say(line)
        raise SystemExit(2) from None
    except BrokenPipeError:
        _drop(sys.stdout)
        raise SystemExit(0) from None
    except MemoryError:
        _say("not enough memory for this input")
        raise SystemExit(2) from None
    except OSError as error:
        _drop(sys.stdout)
        _say(f"{error.filename or 'standard output or a file'}: {error.strerror or error}")
        raise SystemExit(2) from None
    except Exception as error:
        if os.environ.get("HWSIM_TRACEBACK"):
            raise
        if isinstance(error, ModuleNotFoundError) and (error.name or "").startswith("hwsim.kernels._"):
            _say(f"this executes {error.name}, which is not built: install hwsim from a wheel, or with a C compiler")
            raise SystemExit(2) from None
        if os.environ.get(_COMPLETE):
            _say(f"{_COMPLETE} must come with COMP_WORDS and COMP_CWORD, as a shell sets them")
            raise SystemExit(2) from None
        what = f"{type(error).__name__}: {str(error).partition(chr(10))[0]:.200}"
        _say(f"a fault of hwsim itself, please report it (HWSIM_TRACEBACK=1 shows where): {what}")
        raise SystemExit(2) from None


@contextmanager
def _lossy_errors() -> Iterator[None]:
    """What cannot be told, as the stream of errors is full or gone, is lost; the exit code still says it."""
    try:
        yield
        sys.stderr.flush()
    except (OSError, ValueError):
        _drop(sys.stderr)


def _say(line: str) -> None:
    with _lossy_errors():
        click.echo(f"hwsim: {printable(line)}", err=True)


def _drop(stream: TextIO) -> None:
    """Send what is left in the buffer of a stream nowhere, so that its end says nothing."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
