"""``hwsim completion``: names of commands, machines, workloads, layers and keys at the press of a key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem, get_completion_class

import hwsim
from hwsim.errors import HwsimError, InputError

__all__ = ["completion", "items", "layers_of", "names"]


def _stems(folder: str) -> list[str]:
    """Names of the descriptions in a folder that comes with hwsim, without importing what reads them."""
    package = Path(hwsim.__file__).parent
    found = package / folder if (package / folder).is_dir() else package.parent / folder
    return sorted({path.stem for path in found.glob("*.*") if path.suffix in (".yaml", ".csv")})


def names(what: str) -> Any:
    """Shell completion for names of machines or workloads."""
    folder = "arch_configs" if what == "machines" else "workloads"

    def complete(_context: click.Context, _parameter: click.Parameter, given: str) -> list[Any]:
        found = [name for name in _stems(folder) if name.startswith(given)]
        return found or [CompletionItem(given, type="file")]

    return complete


def layers_of(context: click.Context, _parameter: click.Parameter, given: str) -> list[str]:
    """Shell completion for the layers of the workload that was named before."""
    try:
        network = hwsim.load_workload(context.params["workload"])
    except (KeyError, TypeError, InputError):
        return []
    return [layer.name for layer in network if layer.name.startswith(given)]


def items(_context: click.Context, _parameter: click.Parameter, given: str) -> list[Any]:
    """Shell completion for what is compared: names of both, or a file."""
    found = [name for folder in ("arch_configs", "workloads") for name in _stems(folder) if name.startswith(given)]
    return found or [CompletionItem(given, type="file")]


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what a SHELL needs to complete hwsim's commands, machines, workloads, layers and keys.

    \b
    Examples:
      hwsim completion bash >> ~/.bashrc
      hwsim completion zsh >> ~/.zshrc
      hwsim completion fish > ~/.config/fish/completions/hwsim.fish
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise HwsimError(f"this version of click completes nothing in {shell}")
    click.echo(kind(context.find_root().command, {}, "hwsim", "_HWSIM_COMPLETE").source())
