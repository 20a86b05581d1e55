"""Runs two ONNX models on the arrays of a folder, in a process of its own: the runtime may end it on hostile files."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

__all__: list[str] = []


def _rows(session: Any, feeds: dict[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
    """Outputs for all rows at once, or row by row where the model takes one at a time."""
    fixed = [item.shape[0] for item in session.get_inputs() if item.shape]
    rows = {len(array) for array in feeds.values() if array.ndim}
    if len(rows) == 1 and fixed and all(size == 1 for size in fixed) and rows != {1}:
        each = [session.run(None, {k: v[i : i + 1] for k, v in feeds.items()}) for i in range(rows.pop())]
        return [np.concatenate(parts) for parts in zip(*each)]
    outputs: list[np.ndarray[Any, Any]] = session.run(None, feeds)
    return outputs


def main(folder: Path) -> None:
    """Write the outputs of ``before.onnx`` and ``after.onnx`` on ``data.npz``."""
    ort = import_module("onnxruntime")
    ort.set_default_logger_severity(4)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    with np.load(folder / "data.npz", allow_pickle=False) as data:
        feeds = dict(data)
    for name in ("before", "after"):
        session = ort.InferenceSession(str(folder / f"{name}.onnx"), options, providers=["CPUExecutionProvider"])
        inputs = session.get_inputs()
        if len(inputs) == len(feeds) == 1:
            feeds = {inputs[0].name: next(iter(feeds.values()))}
        wanted = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16"}
        feeds = {item.name: feeds[item.name].astype(wanted.get(item.type, item.type[7:-1])) for item in inputs}
        outputs = _rows(session, feeds)
        save: Any = np.savez
        save(folder / f"{name}.npz", **{str(i): out for i, out in enumerate(outputs)})


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except Exception as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        raise SystemExit(1) from None
