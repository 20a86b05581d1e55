"""The change of a model's outputs by the compression of its weights, measured with onnxruntime."""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.compression.arrays import read_arrays
from hwsim.errors import InputError, excerpt
from hwsim.files import read_bytes
from hwsim.message import Message

__all__ = ["OutputChange", "output_changes"]

MAX_SECONDS = 600
MAX_FILE_BYTES = 2**31 - 1


@dataclass(frozen=True, slots=True)
class OutputChange:
    """An output before and after.

    Attributes
    ----------
    output : int
        Its place among the outputs of the model.
    rows : int
    largest : float
        Change of any value.
    relative : float
        Root mean square of the change over that of the output.
    same_class : float or None
        Share of the rows whose largest value is at the same place; None of outputs that are no rows of several values.
    """

    output: int
    rows: int
    largest: float
    relative: float
    same_class: float | None

    @classmethod
    def of(cls, output: int, before: NDArray[Any], after: NDArray[Any]) -> OutputChange:
        """The change from one array to another of its shape."""
        one, two = before.astype(np.float64), after.astype(np.float64)
        change = two - one
        size = float(np.sqrt(np.mean(one**2))) if one.size else 0.0
        relative = float(np.sqrt(np.mean(change**2))) / size if size else math.nan
        same = None
        if one.ndim == 2 and one.shape[1] > 1 and len(one):
            same = float((one.argmax(1) == two.argmax(1)).mean())
        rows = len(one) if one.ndim else 1
        return cls(output, rows, float(np.abs(change).max(initial=0.0)), relative, same)

    def message(self) -> Message:
        """What a user should know of it."""
        template = (
            "output {output} on {rows} inputs: changed by at most {largest:.3g}, {relative:.2%} in the root mean square"
        )
        if self.same_class is not None:
            template += "; the largest value is the same in {same_class:.2%} of them"
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return Message("compression.outputs", template, values)


def output_changes(model: Path, compressed: bytes, data: Path) -> tuple[OutputChange, ...]:
    """Run a model and its compressed form on the arrays of an ``.npz`` file, by the names of inputs.

    Raises
    ------
    InputError
        Where onnxruntime is not installed or does not run the models on the arrays.
    """
    if find_spec("onnxruntime") is None:
        raise InputError("onnxruntime is not installed: pip install 'hwsim[onnx]' onnxruntime")
    arrays: Mapping[str, NDArray[Any]] = read_arrays(data)
    with tempfile.TemporaryDirectory(prefix="hwsim") as name:
        folder = Path(name)
        (folder / "before.onnx").write_bytes(read_bytes(model, MAX_FILE_BYTES))
        (folder / "after.onnx").write_bytes(compressed)
        save: Any = np.savez
        save(folder / "data.npz", **{key: array for key, array in arrays.items() if key != "file"})
        command = [sys.executable, "-m", "hwsim.compression._outputs", name]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=MAX_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise InputError(f"must run within {MAX_SECONDS} s", str(model)) from None
        if done.returncode:
            why = done.stderr.strip().splitlines()[-1:] or [f"the runtime ended with {done.returncode}"]
            raise InputError(f"does not run on the arrays of {data}: {excerpt(why[0], 200)}", str(model))
        before, after = read_arrays(folder / "before.npz"), read_arrays(folder / "after.npz")
    return tuple(OutputChange.of(int(key), before[key], after[key]) for key in sorted(before, key=int))
