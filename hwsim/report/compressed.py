"""A compressed network as a table, a line a layer, and as plain data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from hwsim.compression.compressed import Compressed, CompressedLayer
from hwsim.compression.sizes import PARTS
from hwsim.message import Message, sentence
from hwsim.report.gains import Gain
from hwsim.report.terminal import Column, print_columns, wrapped
from hwsim.units import format_size

__all__ = ["compressed_document", "print_compressed"]


def _bits(size: float, weights: int) -> str:
    return f"{size / weights:.2f}" if weights else ""


def print_compressed(packed: Compressed, console: Console, notes: Sequence[Message] = ()) -> None:
    """Print what each layer is stored as, and the totals."""
    layers = packed.layers
    names = [layer.name for layer in layers] + ["all"]

    def column(head: str, values: Sequence[float], **more: Any) -> Column:
        return Column(head, [f"{value:,.0f}" if value else "-" for value in (*values, sum(values))], right=True, **more)

    stored = [layer.size.weight_bits for layer in layers]
    weights = [layer.weights for layer in layers]
    kept = [layer.size.kept for layer in layers]
    shares = [*(_share(k, layer.stored) for k, layer in zip(kept, layers)), _share(sum(kept), sum(weights))]
    pairs = list(zip((*stored, sum(stored)), (*weights, sum(weights))))
    columns = [
        Column("layer", names, least=8),
        column("weights", weights),
        Column("kept", shares, right=True),
        *(column(f"{part} B", [layer.bytes[part] for layer in layers], rank=_RANKS.get(part, 0)) for part in PARTS),
        Column("bits/weight", [_bits(b, w) for b, w in pairs], right=True),
        Column("of fp32", [_share(b, 32 * w) for b, w in pairs], right=True),
    ]  # fmt: skip
    kind = (
        "expected"
        if all(layer.size.expected for layer in layers)
        else "expected and counted"
        if packed.expected
        else "counted"
    )
    console.print(f"{packed.workload.name}: weights as they are stored, {kind}\n", soft_wrap=True)
    print_columns(console, columns, width=_WIDTH)
    console.print(
        f"\nweights {format_size(packed.fp32_bytes)} in fp32, {format_size(packed.weight_bytes)} as stored: "
        + (_change(packed.ratio) if packed.weight_bytes else "none is left")
        + (f"; with fp32 biases {_change(packed.whole_ratio)}" if packed.bias_bytes else ""),
        soft_wrap=True,
    )
    for note in (*notes, *packed.notes):
        wrapped(console, f"note: {sentence(note, len(layers))}")


def _change(ratio: float) -> str:
    return f"{ratio:.1f} times smaller" if ratio >= 1 else f"{1 / ratio:.1f} times larger"


_RANKS = {"tables": 3, "codebook": 2, "bias": 4}
_WIDTH = 140


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.2f}%" if whole else ""


def _layer(layer: CompressedLayer) -> dict[str, Any]:
    return {
        "layer": layer.name, "weights": layer.weights, "stored_weights": layer.stored, "kept": layer.size.kept,
        "fillers": layer.size.fillers, "format": layer.format, "expected": layer.size.expected,
        "bytes": layer.bytes, "about": dict(layer.size.about),
    }  # fmt: skip


def compressed_document(
    packed: Compressed, gains: Sequence[Gain] = (), notes: Sequence[Message] = ()
) -> dict[str, Any]:
    """Everything as plain data."""
    return {
        "workload": packed.workload.name,
        "ratio": packed.ratio if math.isfinite(packed.ratio) else None,
        "ratio_with_biases": packed.whole_ratio if math.isfinite(packed.whole_ratio) else None,
        "fp32_bytes": packed.fp32_bytes,
        "weight_bytes": packed.weight_bytes,
        "bias_bytes": packed.bias_bytes,
        "expected": packed.expected,
        "layers": [_layer(layer) for layer in packed.layers],
        "notes": [note.to_dict() for note in (*notes, *packed.notes)],
        "machines": [gain.to_dict() for gain in gains],
    }
