"""TFLite models of many operators: their tables changed, as those say where everything else lies."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from random import Random

import numpy as np
from tflite_builder import Op, T, add, build, conv, fc

import hwsim
from tests.fuzz.case import Case, check_report
from tests.fuzz.mutation import mutated_bytes
from tests.fuzz.seeds import machines


def _constant(*shape: int, dtype: str = "INT8") -> T:
    return T(shape, dtype, np.ones(shape, np.int32 if dtype == "INT32" else np.int8))


def _sequence() -> bytes:
    """Three sequences through an LSTM, a product with itself, a mean over time and SVDF, with a planned arena."""
    own = [_constant(4, 5) for _ in range(4)] + [_constant(4, 4) for _ in range(4)]
    tensors = [
        T((3, 6, 5)), *own, *[_constant(4, dtype="INT32") for _ in range(4)], T((3, 4), variable=True),
        T((3, 4), "INT16", variable=True), T((3, 6, 4)), T((3, 6, 6)), T((1,), "INT32", np.ones(1, np.int32), scale=None),
        T((3, 6)), _constant(4, 6), _constant(4, 2), _constant(2, dtype="INT32"), T((3, 8), "INT16", variable=True),
        T((3, 2)),
    ]  # fmt: skip
    lstm = [0, *range(1, 9), -1, -1, -1, *range(9, 13), -1, -1, 13, 14]
    operators = [
        Op("UNIDIRECTIONAL_SEQUENCE_LSTM", lstm, [15], "UnidirectionalSequenceLSTMOptions", {}),
        Op("BATCH_MATMUL", [15, 15], [16], "BatchMatMulOptions", {"AdjY": True}),
        Op("MEAN", [16, 17], [18], "ReducerOptions", {}),
        Op("SVDF", [18, 19, 20, 21, 22], [23], "SVDFOptions", {"Rank": 2}),
    ]
    return build(tensors, operators, [0], [23], offsets=[0] + [-1] * 14 + [128] + [-1] * 8)


def _blocks() -> bytes:
    """An image in blocks, upsampled by a transposed convolution, then a block that a compiler made."""
    corners = T((2, 2), "INT32", np.zeros((2, 2), np.int32), scale=None)
    tensors = [
        T((1, 8, 6, 3)), _constant(2, dtype="INT32"), corners, T((4, 4, 3, 3)), _constant(5, 3, 3, 3), T((4, 2, 1, 5)),
        _constant(4, dtype="INT32"), _constant(7, 2, 2, 5), T((4, 4, 2, 7)), _constant(64), T((512,)), T((1, 10)),
    ]  # fmt: skip
    stride = {"Padding": 1, "StrideH": 2, "StrideW": 2}
    operators = [
        Op("SPACE_TO_BATCH_ND", [0, 1, 2], [3]),
        conv([3, 4, -1], [5], "VALID"),
        Op("TRANSPOSE_CONV", [6, 7, 5], [8], "TransposeConvOptions", stride),
        Op("ethos-u", [9, 10, 8], [11]),
    ]
    return build(tensors, operators, [0], [11])


def _branches() -> bytes:
    """A condition and a loop over dense layers."""
    flag = T((1,), "BOOL", np.ones(1, np.bool_), scale=None)
    body = [T((1, 9)), _constant(9, 9), T((1, 9))], [fc([0, 1, -1], [2])], [0], [2]
    condition = [T((1, 9)), flag], [], [0], [1]
    operators = [
        Op("IF", [1, 0], [2], "IfOptions", {"ThenSubgraphIndex": 1, "ElseSubgraphIndex": 1}),
        Op("WHILE", [2], [3], "WhileOptions", {"CondSubgraphIndex": 2, "BodySubgraphIndex": 1}),
    ]
    return build([T((1, 9)), flag, T((1, 9)), T((1, 9))], operators, [0], [3], others=[body, condition])


@cache
def _models() -> dict[str, tuple[bytes, tuple[int, ...]]]:
    """Files, and the places of their tables: bytes among many zeros."""
    image = T((1, 9, 9, 4))
    pool = {"FilterHeight": 3, "FilterWidth": 3, "StrideH": 2, "StrideW": 2, "Padding": 1}
    tensors = [
        image, _constant(8, 3, 3, 4), _constant(8, dtype="INT32"), T((1, 9, 9, 8)), _constant(1, 3, 3, 8), T((1, 9, 9, 8)),
        T((1, 9, 9, 8)), T((1, 4, 4, 8)), _constant(2, dtype="INT32"), T((1, 128)), _constant(10, 128),
        _constant(10, dtype="INT32"), T((1, 10)), T((1, 10)),
    ]  # fmt: skip
    operators = [
        conv([0, 1, 2], [3], act="RELU"),
        conv([3, 4, 2], [5], DepthMultiplier=1),
        add([3, 5], [6]),
        Op("AVERAGE_POOL_2D", [6], [7], "Pool2DOptions", pool),
        Op("RESHAPE", [7, 8], [9]),
        fc([9, 10, 11], [12]),
        Op("SOFTMAX", [12], [13], "SoftmaxOptions", {"Beta": 1.0}),
    ]
    files = {
        "image": build(tensors, operators, [0], [13]),
        "dense": build(
            [T((1, 31)), _constant(7, 31), _constant(7, dtype="INT32"), T((1, 7))], [fc([0, 1, 2], [3])], [0], [3]
        ),
        "sequence": _sequence(),
        "blocks": _blocks(),
        "branches": _branches(),
    }
    return {
        name: (data, tuple(i for i in range(0, len(data) - 32, 16) if data[i : i + 32].count(0) > 10))
        for name, data in files.items()
    }


def case(draw: Random, folder: Path) -> Case:
    """A changed model on one machine."""
    name = draw.choice(list(_models()))
    data, places = _models()[name]
    path, machine, whole = folder / "model.tflite", draw.choice(machines()), draw.random() < 0.01

    def action() -> None:
        check_report(hwsim.simulate(machine, hwsim.load_workload(path)), whole)

    return Case(action, {path.name: mutated_bytes(draw, data, places)}, f"{name} on {machine.name}")
