"""``hwsim completion``: shell completion of commands, machines, workloads and layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import hwsim
from hwsim.errors import HwsimError, InputError

__all__ = ["completion", "items", "layers_of", "names", "shown", "words"]


def _stems(folder: str) -> list[str]:
    """Names of the files in a data folder of hwsim, without importing their readers."""
    package = Path(hwsim.__file__).parent
    source = package / folder if (package / folder).is_dir() else package.parent / folder
    return sorted({path.stem for path in source.glob("*.*") if path.suffix in (".yaml", ".csv")})


def _file(prefix: str) -> list[Any]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(prefix, type="file")]


def names(*folders: str) -> Any:
    """Shell completion for the names of files in some data folders of hwsim, and for files."""

    def complete(_context: click.Context, _parameter: click.Parameter, prefix: str) -> list[Any]:
        matches = [name for folder in folders for name in _stems(folder) if name.startswith(prefix)]
        return matches or _file(prefix)

    return complete


def words(*choices: str) -> Any:
    """Shell completion for some words."""
    return lambda _context, _parameter, prefix: [word for word in choices if word.startswith(prefix)]


def layers_of(context: click.Context, _parameter: click.Parameter, prefix: str) -> list[str]:
    """Shell completion for the layers of the workload argument."""
    try:
        network = hwsim.load_workload(context.params["workload"])
    except (KeyError, TypeError, InputError):
        return []
    return [layer.name for layer in network if layer.name.startswith(prefix)]


#: Shell completion for machines, workloads and files.
items = names("arch_configs", "workloads")
#: Shell completion for what `hwsim show` shows: cost tables too.
shown = names("arch_configs", "arch_configs/clusters", "workloads", "workloads/llm", "energy/tables")


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of a SHELL. It completes commands, machines, workloads and layers.

    \b
    Examples:
      hwsim completion bash >> ~/.bashrc
      hwsim completion zsh >> ~/.zshrc
      hwsim completion fish > ~/.config/fish/completions/hwsim.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise HwsimError(f"this version of click has no completion for {shell}")
    click.echo(kind(context.find_root().command, {}, "hwsim", "_HWSIM_COMPLETE").source())
