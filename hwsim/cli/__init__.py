"""The command line: one file per command. Only `main` is here, so that Ctrl-C is silent while the commands load."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hwsim.cli.commands import cli as cli

__all__ = ["cli", "main"]


def __getattr__(name: str) -> Any:
    if name == "cli":
        from hwsim.cli.commands import cli

        return cli
    raise AttributeError(f"module 'hwsim.cli' has no attribute {name!r}")


def main() -> None:
    """Run the command line: errors as text, exit 2 on bad input, never a traceback."""
    try:
        from hwsim.cli.commands import run_command

        run_command()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
