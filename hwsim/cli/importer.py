"""``hwsim import``: convert files of other tools to hwsim's own."""

from __future__ import annotations

from pathlib import Path

import click

from hwsim.cli.options import shape_option, shapes_of, write

__all__ = ["import_"]


@click.command("import")
@click.argument("file", metavar="FILE")
@click.option("-o", "--output", required=True, metavar="YAML", help="Output file ('-': standard output).")
@click.option("--name", metavar="NAME", default="", help="Name of the workload (default: that of the file).")
@click.option("--source", metavar="TEXT", default="", help="Source of the model.")
@shape_option
def import_(file: str, output: str, name: str, source: str, shapes: tuple[str, ...]) -> None:
    """Write a FILE of another tool as a workload or a machine.

    \b
    .onnx, .tflite  a model file, as a trace (the extras hwsim[onnx] and hwsim[tflite]): shapes, densities,
                    dead channels and a digest, but no weights
    .csv            a table of layers, or a topology of SCALE-Sim, as a trace
    .cfg            a configuration of SCALE-Sim, as a machine

    --shape sets the symbolic sizes of an .onnx, by name or for a whole input; if only the first axis is symbolic,
    it is the batch axis and 1.

    \b
    Examples:
      hwsim import person_detect.tflite -o person_detect.yaml
      hwsim import resnet50.onnx -o resnet50.yaml --source 'torchvision 0.19'
      hwsim import bert.onnx -o bert_128.yaml --shape batch=1,sequence=128
      hwsim import bert.onnx -o bert_128.yaml --shape ids=1x128 --shape mask=1x128
      hwsim import topologies/alexnet.csv -o alexnet.yaml
      hwsim import configs/scale.cfg -o scale.yaml
    """
    if Path(file).suffix.lower() == ".cfg":
        from hwsim.machines.scalesim import cfg_text

        write(cfg_text(Path(file), name), output)
        return
    write(_trace(file, name, source, shapes), output)


def _trace(file: str, name: str, source: str, shapes: tuple[str, ...]) -> str:
    """The text of a trace."""
    from hwsim.message import sentence
    from hwsim.workload.loader import load_workload, read_model
    from hwsim.workload.trace_text import trace_text

    if Path(file).suffix.lower() == ".csv":
        network = load_workload(file, shape=shapes_of(shapes))
    else:
        model = read_model(file, name, shape=shapes_of(shapes))
        network = model.workload
        for warning in model.warnings:
            click.echo(f"hwsim: warning: {sentence(warning)}", err=True)
    if name or source:
        network = network.replace([], name=name or network.name, source=source or network.source)
    return trace_text(network)
