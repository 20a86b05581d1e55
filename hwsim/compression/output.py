"""A compressed network as a file: masks and codes, a trace, or a model."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.compression.compressed import Compressed
from hwsim.compression.initializers import with_weights
from hwsim.errors import InputError
from hwsim.workload.trace_text import trace_text

__all__ = ["file_of", "model_bytes"]


def file_of(packed: Compressed, target: Path) -> bytes:
    """The bytes of an ``.npz``, ``.yaml`` or ``.onnx`` file of the network.

    Raises
    ------
    InputError
        For another suffix, and where there are no real weights to write.
    """
    suffix = target.suffix.lower()
    if suffix in (".yaml", ".yml"):
        return trace_text(packed.workload).encode()
    if suffix == ".npz":
        return _arrays(packed, target)
    if suffix == ".onnx":
        return model_bytes(packed, str(target))
    raise InputError(f"must be an .npz, .yaml or .onnx file, not {suffix or 'one with no suffix'!r}", str(target))


def _arrays(packed: Compressed, target: Path) -> bytes:
    """Masks by the names of layers, as the key ``masks`` of a trace reads them, and the codes beside them."""
    if not packed.arrays:
        raise InputError("must have real weights: those of an .onnx, .tflite or .npz file, or --weights", str(target))
    arrays: dict[str, Any] = {}
    for layer, items in packed.arrays.items():
        for name, array in items.items():
            arrays[layer if name == "mask" else f"{layer}.{name}"] = array
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def model_bytes(packed: Compressed, target: str) -> bytes:
    """The ``.onnx`` file that the network is of, with its pruned and shared weights."""
    path = packed.path
    if path is None or path.suffix.lower() != ".onnx":
        raise InputError("only the weights of an .onnx file can be written to one", target)
    if len(packed.workload) != len(packed.original):
        raise InputError("layers of low rank cannot be written to an .onnx file", target)
    changed = {name: array for name, array in packed.weights.items() if name in packed.chosen}
    return with_weights(path, packed.operators, changed)
