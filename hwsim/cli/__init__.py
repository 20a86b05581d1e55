"""The command line: one file per command. Heavy imports are inside the commands, so that ``--help`` is fast."""

from __future__ import annotations

import io
import sys
import warnings

import click

from hwsim import __version__
from hwsim.cli.calibrate import calibrate
from hwsim.cli.catalogue import list_, schema, show
from hwsim.cli.compare import compare
from hwsim.cli.completion import completion
from hwsim.cli.explain import explain
from hwsim.cli.explore import explore
from hwsim.cli.importer import import_
from hwsim.cli.run import run
from hwsim.cli.sweep import sweep
from hwsim.cli.validate import validate
from hwsim.errors import HwsimError

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
    run, compare, explain, sweep, explore, validate, calibrate, list_, show, import_, schema, completion,
):  # fmt: skip
    cli.add_command(_command)


def main() -> None:
    """Run the command line: errors as text, exit 2 on bad input, never a traceback."""
    warnings.showwarning = lambda message, *_, **__: click.echo(f"hwsim: warning: {message}", err=True)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal may lack a character
    try:
        cli.main(prog_name="hwsim", standalone_mode=False)
    except click.exceptions.Abort:
        raise SystemExit(130) from None
    except click.ClickException as error:
        error.show()
        raise SystemExit(error.exit_code) from None
    except HwsimError as error:
        for line in str(error).splitlines():
            click.echo(f"hwsim: {line}", err=True)
        raise SystemExit(2) from None
    except BrokenPipeError:
        sys.stderr.close()
        raise SystemExit(0) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except MemoryError:
        click.echo("hwsim: not enough memory for this input", err=True)
        raise SystemExit(2) from None
