"""``hwsim import``: a model file as a trace."""

from __future__ import annotations

import click

from hwsim.cli.options import write

__all__ = ["import_"]


@click.command("import")
@click.argument("model", metavar="MODEL.tflite")
@click.option("-o", "--output", required=True, metavar="TRACE", help="The trace to write ('-': standard output).")
@click.option("--name", metavar="NAME", default="", help="Its name; that of the file unless told otherwise.")
@click.option("--source", metavar="TEXT", default="", help="Where the model is from.")
def import_(model: str, output: str, name: str, source: str) -> None:
    """Write the network of a MODEL as a trace: shapes, densities, dead channels and a digest, but no weights.

    \b
    Examples:
      hwsim import person_detect.tflite -o person_detect.yaml
    """
    from hwsim.workload.tflite import read_model
    from hwsim.workload.trace_text import trace_text

    read = read_model(model, name)
    network = read.workload.replace([], source=source) if source else read.workload
    text = trace_text(network)
    write(text, output)
    for warning in read.warnings:
        click.echo(f"hwsim: warning: {warning}", err=True)
