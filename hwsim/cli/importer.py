"""``hwsim import``: convert a model file to a trace."""

from __future__ import annotations

import click

from hwsim.cli.options import allows_missing, shape_option, shapes_of, write

__all__ = ["import_"]


@click.command("import")
@click.argument("model", metavar="MODEL")
@click.option("-o", "--output", required=True, metavar="TRACE", help="Output file ('-': standard output).")
@click.option("--name", metavar="NAME", default="", help="Name of the workload (default: that of the file).")
@click.option("--source", metavar="TEXT", default="", help="Source of the model.")
@shape_option
def import_(model: str, output: str, name: str, source: str, shapes: tuple[str, ...]) -> None:
    """Write the network of a MODEL as a trace. It has shapes, densities, dead channels and a digest, but no weights.

    MODEL is an .onnx or .tflite file (the extras hwsim[onnx] and hwsim[tflite]). --shape sets the symbolic
    sizes of an .onnx, by name or for a whole input; if only the first axis is symbolic, it is the batch axis and 1.

    \b
    Examples:
      hwsim import person_detect.tflite -o person_detect.yaml
      hwsim import resnet50.onnx -o resnet50.yaml --source 'torchvision 0.19'
      hwsim import bert.onnx -o bert_128.yaml --shape batch=1,sequence=128
      hwsim import bert.onnx -o bert_128.yaml --shape ids=1x128 --shape mask=1x128
    """
    from hwsim.message import sentence
    from hwsim.workload.loader import read_model
    from hwsim.workload.trace_text import trace_text

    source_model = read_model(model, name, shape=shapes_of(shapes), allow_missing=allows_missing())
    network = source_model.workload.replace([], source=source) if source else source_model.workload
    text = trace_text(network)
    write(text, output)
    for warning in source_model.warnings:
        click.echo(f"hwsim: warning: {sentence(warning)}", err=True)
