"""The command line: one file per command. Heavy imports are inside the commands, so that ``--help`` is fast."""

from __future__ import annotations

import io
import os
import sys
import warnings
from contextlib import suppress

import click

from hwsim import __version__
from hwsim.cli.calibrate import calibrate
from hwsim.cli.catalogue import list_, schema, show
from hwsim.cli.compare import compare
from hwsim.cli.completion import completion
from hwsim.cli.compress import compress
from hwsim.cli.explain import explain
from hwsim.cli.explore import explore
from hwsim.cli.importer import import_
from hwsim.cli.run import run
from hwsim.cli.sweep import sweep
from hwsim.cli.validate import validate
from hwsim.errors import HwsimError, printable

__all__ = ["cli", "main"]

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(context_settings=_SETTINGS)
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
    run, compare, explain, sweep, explore, validate, compress, calibrate, list_, show, import_, schema, completion,
):  # fmt: skip
    cli.add_command(_command)


def main() -> None:
    """Run the command line: errors as text, exit 2 on bad input, never a traceback."""
    warnings.showwarning = lambda message, *_, **__: _say(f"warning: {message}")
    # A closed stream is None: what is written there is lost, which is what was asked for.
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - until the end of the process
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal may lack a character
    try:
        try:
            cli.main(prog_name="hwsim", standalone_mode=False)
        finally:
            sys.stdout.flush()
    except click.exceptions.Abort:
        raise SystemExit(130) from None
    except click.ClickException as error:
        error.show()
        raise SystemExit(error.exit_code) from None
    except HwsimError as error:
        for line in str(error).splitlines():
            _say(line)
        raise SystemExit(2) from None
    except BrokenPipeError:
        _drop_output()
        raise SystemExit(0) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except MemoryError:
        _say("not enough memory for this input")
        raise SystemExit(2) from None
    except OSError as error:
        _drop_output()
        _say(f"{error.filename or 'standard output or a file'}: {error.strerror or error}")
        raise SystemExit(2) from None
    except Exception as error:
        if os.environ.get("HWSIM_TRACEBACK"):
            raise
        what = f"{type(error).__name__}: {str(error).partition(chr(10))[0]:.200}"
        _say(f"a fault of hwsim itself, please report it (HWSIM_TRACEBACK=1 shows where): {what}")
        raise SystemExit(2) from None


def _say(line: str) -> None:
    click.echo(f"hwsim: {printable(line)}", err=True)


def _drop_output() -> None:
    """Send what is left in the buffer of standard output nowhere, so that its end says nothing."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
