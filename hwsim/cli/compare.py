"""``hwsim compare``: a prediction beside what this machine does."""

from __future__ import annotations

import click

from hwsim.cli.options import batch_option, changes_of, set_option, shape_option, shapes_of

__all__ = ["compare"]


@click.command()
@click.argument("given", metavar="MACHINE MODEL.onnx", nargs=-1, required=True)
@click.option("--measure", type=click.Choice(["onnxruntime"]), required=True, help="Run the model here, and compare.")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads of an operator.")
@click.option("--runs", type=click.IntRange(min=1), help="Times to run it; as often as fits ten seconds unless told.")
@batch_option
@set_option
@shape_option
@click.option("--json", "json_file", metavar="FILE", help="Write everything as JSON ('-': standard output).")
def compare(
    given: tuple[str, ...],
    measure: str,
    threads: int,
    runs: int | None,
    batch: int,
    changes: tuple[str, ...],
    shapes: tuple[str, ...],
    json_file: str | None,
) -> None:
    """Predict a model, run it on this machine, and print both layer by layer.

    \b
    Examples:
      hwsim compare host mobilenet.onnx --measure onnxruntime
      hwsim compare host bert.onnx --measure onnxruntime --threads 2 --json bert.json
    """
    from hwsim.cli.measured import measured

    measured(given, measure, threads, batch, runs, changes_of(changes), shapes_of(shapes), json_file)
