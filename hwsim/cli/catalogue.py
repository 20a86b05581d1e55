"""``hwsim list``, ``hwsim show`` and ``hwsim schema``: machines, workloads, cost tables; schemas of files."""

from __future__ import annotations

import json

import click

from hwsim.cli.completion import shown
from hwsim.cli.options import allows_missing, changes_of, console_of, set_option, shape_option, shapes_of

__all__ = ["list_", "show", "schema"]


@click.command("list")
@click.argument("what", type=click.Choice(["machines", "clusters", "workloads", "llm", "tables"]), required=False)
def list_(what: str | None) -> None:
    """List the machines, clusters, workloads, language models and cost tables that come with hwsim."""
    from hwsim.report.catalogue import print_clusters, print_llms, print_machines, print_tables, print_workloads

    console = console_of()
    printers = {
        "machines": print_machines,
        "clusters": print_clusters,
        "workloads": print_workloads,
        "llm": print_llms,
        "tables": print_tables,
    }
    for place, name in enumerate(printers if what is None else [what]):
        if place:
            console.print()
        printers[name](console)


@click.command()
@click.argument("name", shell_complete=shown)
@set_option
@shape_option
def show(name: str, changes: tuple[str, ...], shapes: tuple[str, ...]) -> None:
    """Show a machine's description, a workload's or model's layers, or a cost table's entries.

    \b
    Examples:
      hwsim show eyeriss_v1
      hwsim show alexnet
      hwsim show horowitz_45nm
      hwsim show bert.onnx --shape sequence=128
    """
    from hwsim.report.catalogue import show_any

    show_any(name, changes_of(changes), console_of(), shapes_of(shapes), allow_missing=allows_missing())


@click.command()
@click.argument("what", type=click.Choice(["machine", "workload", "sweep", "report"]), default="machine")
def schema(what: str) -> None:
    """Print the JSON Schema of machine, workload or sweep files, or of reports, as editors check files with it."""
    from hwsim.cli.schema import machine_schema, report_schema, sweep_schema, workload_schema

    schemas = {"machine": machine_schema, "workload": workload_schema, "sweep": sweep_schema, "report": report_schema}
    click.echo(json.dumps(schemas[what](), indent=1))
