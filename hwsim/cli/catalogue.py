"""``hwsim list``, ``hwsim show`` and ``hwsim schema``: built-in machines, workloads and file schemas."""

from __future__ import annotations

import json

import click

from hwsim.cli.completion import items
from hwsim.cli.options import changes_of, console_of, set_option, shape_option, shapes_of

__all__ = ["list_", "show", "schema"]


@click.command("list")
@click.argument("what", type=click.Choice(["machines", "workloads"]), required=False)
def list_(what: str | None) -> None:
    """List the machines and workloads that come with hwsim."""
    from hwsim.report.catalogue import print_machines, print_workloads

    console = console_of()
    if what != "workloads":
        print_machines(console)
    if what is None:
        console.print()
    if what != "machines":
        print_workloads(console)


@click.command()
@click.argument("name", shell_complete=items)
@set_option
@shape_option
def show(name: str, changes: tuple[str, ...], shapes: tuple[str, ...]) -> None:
    """Show a machine's description, or a workload's layers.

    \b
    Examples:
      hwsim show eyeriss_v1
      hwsim show alexnet
      hwsim show bert.onnx --shape sequence=128
    """
    from hwsim.report.catalogue import show_any

    show_any(name, changes_of(changes), console_of(), shapes_of(shapes))


@click.command()
@click.argument("what", type=click.Choice(["machine", "workload", "sweep"]), default="machine")
def schema(what: str) -> None:
    """Print the JSON Schema of machine, workload or sweep files. Editors complete and check files with it."""
    from hwsim.cli.schema import machine_schema, sweep_schema, workload_schema

    schemas = {"machine": machine_schema, "workload": workload_schema, "sweep": sweep_schema}
    click.echo(json.dumps(schemas[what](), indent=1))
