"""``hwsim compress``: the bytes of a compressed network, the network, and what machines gain by it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hwsim.cli.compare import OWN
from hwsim.cli.completion import names
from hwsim.cli.options import allows_missing, batch_option, changes_of, console_of, shape_option, shapes_of, write
from hwsim.errors import InputError, excerpt, printable
from hwsim.files import csv_text, write_file

if TYPE_CHECKING:
    from hwsim.compression.calibration import OutputChange
    from hwsim.compression.compressed import Compressed
    from hwsim.machines import Machine

__all__ = ["compress"]

_BITS = re.compile(r"([0-9]{1,4}) ?(?:bits?)?\Z")
_PRUNED = re.compile(
    r"(?:(random|channel|block)(?:([0-9]{1,4})x([0-9]{1,4}))?:)?([0-9.eE+-]{1,20}|[0-9]{1,2}:[0-9]{1,2})\Z"
)


def _pair(text: str, option: str) -> tuple[str, str]:
    """A pattern and a value; a value alone is of all layers."""
    pattern, equals, value = text.rpartition("=")
    if not value or (equals and not pattern) or printable(text) != text:
        raise InputError(f"{option} must be PATTERN=VALUE or VALUE, not {excerpt(text)}")
    return pattern or "*", value


def _number(text: str, option: str, example: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise InputError(f"{option} must be as {example}, not {excerpt(text)}")
    return int(text)


def _bits(text: str, option: str) -> dict[str, int]:
    match = _BITS.match(text)
    if match is None:
        raise InputError(f"{option} must be bits, as 'fc*=5bit', not {excerpt(text)}")
    return {"bits": int(match[1])}


def _prune(text: str) -> dict[str, Any]:
    match = _PRUNED.match(text)
    number = None
    if match is not None and ":" not in match[4]:
        try:
            number = float(match[4])
        except ValueError:
            match = None
    if match is None or (match[1] and number is None) or (match[2] and match[1] != "block"):
        raise InputError(
            f"--prune must be as 'fc*=0.09', 'conv*=2:4', 'channel:0.5' or 'block4x4:0.25', not {excerpt(text)}"
        )
    if number is None:
        return {"pattern": match[4]}
    pruned: dict[str, Any] = {"density": number, "pattern": match[1] or "random"}
    return pruned | ({"block": [int(match[2]), int(match[3])]} if match[2] else {})


def _train(text: str) -> dict[str, Any]:
    parts = text.split(",")
    example = "'fc6=4x4x4x4x4x4,2x7x8x8x7x4,2'"
    if len(parts) != 3:
        raise InputError(
            f"--tensor-train must be output modes, input modes and rank, as {example}, not {excerpt(text)}"
        )
    modes = [[_number(size, "--tensor-train", example) for size in part.split("x")] for part in parts[:2]]
    return {"modes": modes, "rank": _number(parts[2], "--tensor-train", example)}


def _recipes(options: list[tuple[str, str, tuple[str, ...], Callable[[str], object]]]) -> dict[str, dict[str, object]]:
    """Recipes by pattern, of the values of options."""
    recipes: dict[str, dict[str, object]] = {}
    for key, option, texts, read in options:
        for text in texts:
            pattern, value = _pair(text, option)
            own = recipes.setdefault(pattern, {})
            if key in own:
                raise InputError(f"{option} must be given once for {excerpt(pattern)}")
            own[key] = read(value)
    # What is of all layers comes first: what is of some takes precedence.
    return dict(sorted(recipes.items(), key=lambda item: item[0] != "*"))


def _loaded(item: str) -> Machine:
    """A machine, as ``NAME`` or ``NAME+KEY=VALUE``."""
    from hwsim.machines import load_machine

    name, *own = OWN.split(item)
    return load_machine(name, set=changes_of(tuple(own)))


def _changes(packed: Compressed, data: str) -> tuple[OutputChange, ...]:
    from hwsim.compression.calibration import output_changes
    from hwsim.compression.output import model_bytes

    if packed.path is None or packed.path.suffix.lower() != ".onnx":
        raise InputError("--calibrate must come with an .onnx model, which onnxruntime runs")
    return output_changes(packed.path, model_bytes(packed, "--calibrate"), Path(data))


@click.command()
@click.argument("model", shell_complete=names("workloads"))
@click.option(
    "--prune",
    "prunes",
    multiple=True,
    metavar="[PATTERN=]KEEP",
    help="Share kept: 0.09, 2:4, channel:0.5, block4x4:0.25.",
)
@click.option("--share", "shares", multiple=True, metavar="[PATTERN=]BITS", help="Weight sharing, as 'fc*=5bit'.")
@click.option("--index", "indices", multiple=True, metavar="[PATTERN=]BITS", help="Runs of zeros of so many bits.")
@click.option(
    "--format",
    "formats",
    multiple=True,
    metavar="[PATTERN=]NAME",
    help="In place of runs: bitmask, csr, csc, dense.",
)
@click.option("--huffman", is_flag=True, help="Huffman codes of shared values and of runs.")
@click.option(
    "--low-rank", "ranks", multiple=True, metavar="PATTERN=FILTERS", help="Convolutions as filters and a 1x1."
)
@click.option("--svd", "svds", multiple=True, metavar="PATTERN=RANK", help="Matrices as a product of two.")
@click.option(
    "--tensor-train",
    "trains",
    multiple=True,
    metavar="PATTERN=OUT,IN,RANK",
    help="Modes of outputs and inputs, as 4x4,8x8,2.",
)
@click.option("--binary", "binaries", multiple=True, metavar="PATTERN", help="Signs and a scale for each filter.")
@click.option(
    "--ternary", "ternaries", multiple=True, metavar="PATTERN", help="-1, 0, 1 and two scales for each layer."
)
@click.option("--weights", "weights", metavar="FILE", help="Weights of a named workload: an .npz by layer.")
@shape_option
@click.option("--on", "machines", multiple=True, metavar="MACHINE[,...]", help="What these machines gain.")
@batch_option
@click.option(
    "-o", "--output", metavar="FILE", help="Write masks and codes (.npz), a trace (.yaml) or a model (.onnx)."
)
@click.option("--calibrate", metavar="FILE", help="Arrays by input (.npz): change of an .onnx model's outputs.")
@click.option("--json", "json_file", metavar="FILE", help="Write everything as JSON ('-': standard output).")
@click.option("--csv", "csv_file", metavar="FILE", help="Write a row per layer and part as CSV.")
def compress(
    model: str,
    prunes: tuple[str, ...],
    shares: tuple[str, ...],
    indices: tuple[str, ...],
    formats: tuple[str, ...],
    huffman: bool,
    ranks: tuple[str, ...],
    svds: tuple[str, ...],
    trains: tuple[str, ...],
    binaries: tuple[str, ...],
    ternaries: tuple[str, ...],
    weights: str | None,
    shapes: tuple[str, ...],
    machines: tuple[str, ...],
    batch: int,
    output: str | None,
    calibrate: str | None,
    json_file: str | None,
    csv_file: str | None,
) -> None:
    """Compress the weights of MODEL and print its bytes, part by part.

    MODEL is a workload by name or path. The weights of .onnx, .tflite and .npz files are pruned by magnitude, shared
    and coded, and sizes are counted; other sizes are expected of shape, density and bits. Nothing is trained.

    \b
    Examples:
      hwsim compress lenet_300_100 --prune 'ip*=0.08' --share 'ip*=6bit' --index 5bit --huffman
      hwsim compress alexnet_caffe --prune 'conv*=0.37' --prune 'fc*=0.09' --share 8bit --share 'fc*=5bit' --index 4bit
      hwsim compress vgg16 --tensor-train 'fc6=4x4x4x4x4x4,2x7x8x8x7x4,2'
      hwsim compress alexnet_pruned --share 5bit --index 4bit --huffman --on eie,scnn,eyeriss_v1,a100
      hwsim compress alexnet_caffe --prune 'fc*=0.09' --format 'fc*=csr' --on core_i7_5930k+precision=fp32
      hwsim compress model.onnx --prune 2:4 -o pruned.onnx
    """
    from hwsim import compress as run
    from hwsim.report.compressed import compressed_document, print_compressed
    from hwsim.report.gains import gains_of, print_gains

    recipes = _recipes(
        [
            ("prune", "--prune", prunes, _prune),
            ("share", "--share", shares, lambda text: _bits(text, "--share")),
            ("index", "--index", indices, lambda text: _bits(text, "--index")),
            ("format", "--format", formats, str),
            ("low_rank", "--low-rank", ranks, lambda text: {"filters": _number(text, "--low-rank", "'conv2=64'")}),
            ("svd", "--svd", svds, lambda text: {"rank": _number(text, "--svd", "'fc6=64'")}),
            ("tensor_train", "--tensor-train", trains, _train),
            ("binary", "--binary", tuple(f"{name}=true" for name in binaries), lambda _: True),
            ("ternary", "--ternary", tuple(f"{name}=true" for name in ternaries), lambda _: True),
        ]
    )
    if huffman:
        recipes = {"*": {"huffman": True}, **recipes} if "*" not in recipes else recipes
        recipes["*"]["huffman"] = True
    if not recipes:
        raise InputError(
            "a method must be given: --prune, --share, --index, --format, --huffman, --low-rank, --svd, "
            "--tensor-train, --binary or --ternary"
        )
    loaded = {item: _loaded(item) for text in machines for item in text.split(",")}
    packed = run(model, recipes, weights=weights, shape=shapes_of(shapes), allow_missing=allows_missing())
    notes = [change.message() for change in _changes(packed, calibrate)] if calibrate else []
    if output:
        from hwsim.compression.output import file_of

        raw = file_of(packed, Path(output))
        write_file(Path(output), lambda path: path.write_bytes(raw))
    gains = gains_of(packed, loaded, batch)
    if json_file:
        write(json.dumps(compressed_document(packed, gains, notes), indent=1) + "\n", json_file)
    if csv_file:
        write(csv_text(packed.sizes), csv_file)
    if "-" not in (json_file, csv_file):
        print_compressed(packed, console_of(), notes)
        print_gains(gains, console_of())
