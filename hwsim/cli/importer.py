"""``hwsim import``: convert files of other tools to hwsim's own."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

from hwsim.cli.options import allows_missing, shape_option, shapes_of, write
from hwsim.errors import InputError
from hwsim.message import Message, sentence

__all__ = ["import_"]


@click.command("import")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option(
    "-o", "--output", required=True, metavar="YAML", help="Output file ('-': standard output), or folder for several."
)
@click.option("--name", metavar="NAME", default="", help="Name of the workload or machine (default: that of the file).")
@click.option("--source", metavar="TEXT", default="", help="Source of the model.")
@shape_option
def import_(files: tuple[str, ...], output: str, name: str, source: str, shapes: tuple[str, ...]) -> None:
    """Write FILES of another tool as a workload or a machine.

    \b
    .onnx, .tflite  a model file, as a trace (the extras hwsim[onnx] and hwsim[tflite]): shapes, densities,
                    dead channels and a digest, but no weights
    .csv            a table of layers, or a topology of SCALE-Sim, as a trace
    .cfg            a configuration of SCALE-Sim, as a machine
    .yaml           problem, architecture, mapping and ERT files of Timeloop: problems as a workload, an
                    architecture as a machine; both as machine.yaml and workload.yaml in a folder

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
      hwsim import layer_shapes/alexnet/*.yaml -o alexnet.yaml --name alexnet
      hwsim import prob.yaml arch.yaml map.yaml ERT.yaml -o design
      hwsim run design/machine.yaml design/workload.yaml
    """
    yaml_files = [Path(file).suffix.lower() in (".yaml", ".yml") for file in files]
    if all(yaml_files):
        _timeloop(files, output, name, source)
        return
    if len(files) > 1:
        raise InputError("only .yaml files of Timeloop can be several", files[yaml_files.index(False)])
    file = files[0]
    if Path(file).suffix.lower() == ".cfg":
        from hwsim.machines.scalesim import cfg_text

        write(cfg_text(Path(file), name), output)
        return
    write(_trace(file, name, source, shapes), output)


def _trace(file: str, name: str, source: str, shapes: tuple[str, ...]) -> str:
    """The text of a trace."""
    from hwsim.workload.loader import check_suffix, load_workload, read_model
    from hwsim.workload.trace_text import trace_text

    check_suffix(Path(file), (".onnx", ".tflite", ".csv", ".cfg", ".yaml"))
    if Path(file).suffix.lower() == ".csv":
        network = load_workload(file, shape=shapes_of(shapes))
    else:
        model = read_model(file, name, shape=shapes_of(shapes), allow_missing=allows_missing())
        network = model.workload
        _tell(model.warnings)
    if name or source:
        network = network.replace([], name=name or network.name, source=source or network.source)
    return trace_text(network)


def _tell(messages: Iterable[Message]) -> None:
    for message in messages:
        click.echo(f"hwsim: warning: {sentence(message)}", err=True)


def _timeloop(files: tuple[str, ...], output: str, name: str, source: str) -> None:
    """Write what files of Timeloop make: one file, or two in a folder."""
    import yaml

    from hwsim.timeloop import read_files
    from hwsim.workload.trace_text import trace_text

    design = read_files([Path(file) for file in files], name)
    texts: dict[str, str] = {}
    if design.machine is not None:
        machine = design.machine | ({"source": source} if source else {})
        texts["machine.yaml"] = yaml.safe_dump(machine, sort_keys=False, allow_unicode=True, width=110)
    if design.workload is not None:
        workload = design.workload
        texts["workload.yaml"] = trace_text(workload.replace([], source=source or workload.source))
    if len(texts) == 1:
        write(next(iter(texts.values())), output)
    elif output == "-" or Path(output).suffix:
        raise InputError("the files make a machine and a workload: name a folder for both", output)
    else:
        Path(output).mkdir(parents=True, exist_ok=True)
        for file, text in texts.items():
            write(text, str(Path(output, file)))
    _tell(design.notes)
