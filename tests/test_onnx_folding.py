"""Constants that exporters compute shapes with: ONNX's results by hand, and operands that must not be computed with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

onnx = pytest.importorskip("onnx")

from hwsim.workload.onnx.canonical import Op  # noqa: E402
from hwsim.workload.onnx.constants import Constant  # noqa: E402
from hwsim.workload.onnx.folding import FOLDED, MAX_VALUES, fold_operator  # noqa: E402


def fold(code: str, *operands: Any, version: int = 21, outputs: int = 1, **options: Any) -> list[np.ndarray] | None:
    """What `fold_operator` makes of operands, integers where they have no type."""
    arrays = [None if item is None else np.asarray(item, getattr(item, "dtype", np.int64)) for item in operands]
    names = [f"x{place}" for place in range(len(arrays))], [f"y{place}" for place in range(outputs)]
    plain = {key: value for key, value in options.items() if not isinstance(value, Constant)}
    node = onnx.helper.make_node(code, *names, **plain)
    return fold_operator(Op(0, code, code, "", *names, options, node), arrays, version)


@pytest.mark.parametrize("version", [7, 11, 13, 21])
def test_axes_count_in_what_is_written_whatever_the_version(version: int) -> None:
    """Negative ones too: of axes 0 and -1 the first is before all others and the second behind them."""
    axes = ([[0, -1]], {}) if version >= 13 else ([], {"axes": (0, -1)})
    assert fold("Unsqueeze", [3, 4, 5], *axes[0], version=version, **axes[1])[0].shape == (1, 3, 1)
    assert fold("Squeeze", np.ones((1, 3, 1), int), *axes[0], version=version, **axes[1])[0].shape == (3,)


@pytest.mark.parametrize(
    ("code", "operands", "options", "expected"),
    [
        ("Div", ([7, -7, 7], [2, 2, -2]), {}, [3, -3, -3]),  # toward zero
        ("Mod", ([7, -7, 7], [3, 3, -3]), {}, [1, 2, -2]),  # the sign of the divisor
        ("Mod", ([7, -7, 7], [3, 3, -3]), {"fmod": 1}, [1, -1, 1]),  # that of the dividend
        ("Range", (2, 9, 3), {}, [2, 5, 8]),
        ("Range", (2, -3, -2), {}, [2, 0, -2]),
        ("Slice", ([1, 2, 3, 4, 5], [-1], [-(2**63)], [0], [-2]), {}, [5, 3, 1]),
        ("Slice", ([1, 2, 3, 4, 5], [1], [2**63 - 1]), {}, [2, 3, 4, 5]),
        ("Gather", ([10, 20, 30], [-1, 0]), {"axis": 0}, [30, 10]),
        ("Concat", ([1, 2], [3]), {"axis": 0}, [1, 2, 3]),
        ("Reshape", ([1, 2, 3, 4], [0]), {}, [1, 2, 3, 4]),  # 0 keeps a size
        ("Reshape", ([[1, 2], [3, 4]], [-1]), {}, [1, 2, 3, 4]),
        ("Expand", (7, [3]), {}, [7, 7, 7]),
        ("Tile", ([1, 2], [2]), {}, [1, 2, 1, 2]),
        ("ReduceProd", ([3, 5, 7],), {"keepdims": 0}, 105),
        ("Where", (np.array([True, False]), [1, 2], [3, 4]), {}, [1, 4]),
        ("Equal", ([1, 2], [1, 3]), {}, [True, False]),
    ],
)
def test_results_are_those_of_onnx(
    code: str, operands: tuple[Any, ...], options: dict[str, int], expected: Any
) -> None:
    found = fold(code, *operands, **options)
    assert found is not None
    assert found[0].tolist() == expected


def test_parts_are_equal_but_for_the_last() -> None:
    found = fold("Split", [1, 2, 3, 4, 5, 6, 7], outputs=3, num_outputs=3, axis=0)
    assert [part.tolist() for part in found] == [[1, 2, 3], [4, 5, 6], [7]]
    found = fold("Split", [1, 2, 3, 4, 5, 6, 7], [1, 6], outputs=2, axis=0)
    assert [part.tolist() for part in found] == [[1], [2, 3, 4, 5, 6, 7]]


def test_a_constant_of_a_shape_has_the_value_and_type_of_the_file() -> None:
    value = Constant((1,), "int32", "int32", real=lambda: np.array([5], np.int32))
    found = fold("ConstantOfShape", [2, 3], value=value)[0]
    assert found.tolist() == [[5, 5, 5], [5, 5, 5]]
    assert found.dtype == np.int32
    assert fold("ConstantOfShape", [2])[0].dtype == np.float32
    unread = Constant((1,), "int32", "int32")  # stored in a file beside the model
    assert fold("ConstantOfShape", [2], value=unread) is None


MANY = 10**12


@pytest.mark.parametrize(
    ("code", "operands", "options"),
    [
        ("ConstantOfShape", ([MANY],), {}),
        ("ConstantOfShape", ([MANY, 0],), {}),
        ("ConstantOfShape", ([-MANY, -MANY],), {}),
        ("ConstantOfShape", ([33, 32],), {}),
        ("Range", (0, MANY, 1), {}),
        ("Range", (-(2**63), 2**63 - 1, 2**40), {}),  # the difference overflows: -1 in 64 bits
        ("Range", (2**63 - 1, -(2**63), -1), {}),
        ("Range", (0, 1, 0), {}),
        ("Range", (np.float32(0), np.float32(1), np.float32(1e-45)), {}),
        ("Range", (np.float32(0), np.float32(np.inf), np.float32(1)), {}),
        ("Range", (np.float32(0), np.float32(np.nan), np.float32(1)), {}),
        ("Range", ([0, 1], [2, 3], [1, 1]), {}),
        ("Expand", (1, [MANY]), {}),
        ("Expand", (1, [MANY, 0]), {}),
        ("Expand", ([1, 2, 3], [-1]), {}),
        ("Expand", (1, [2] * 70), {}),
        ("Tile", ([1], [MANY]), {}),
        ("Tile", ([[1]], [MANY, -1]), {}),
        ("Tile", ([[1]], [MANY, 0]), {}),
        ("Tile", (np.ones(1024, np.int64), [2**54 + 1]), {}),  # 1,024 values in 64 bits
        ("Gather", (np.ones((2, 1024), np.int64)[:1], np.zeros(1024, np.int64)), {"axis": 0}),
        ("Gather", ([1, 2], [2]), {"axis": 0}),
        ("Gather", ([1, 2], [0]), {"axis": 5}),
        ("Concat", [np.ones(1024, np.int64)] * 3000, {"axis": 0}),
        ("Max", [np.ones([1024 if i == place else 1 for i in range(6)], np.int64) for place in range(6)], {}),
        ("Where", [np.ones([1024 if i == place else 1 for i in range(3)], bool) for place in range(3)], {}),
        ("Add", (np.ones((1024, 1), np.int64), np.ones((1, 1024), np.int64)), {}),
        ("Split", ([1, 2, 3],), {"num_outputs": 2**40}),
        ("Div", ([1], [0]), {}),
        ("Mod", ([1], [0]), {}),
        ("Transpose", ([1, 2],), {"perm": (0, 1, 2)}),
        ("Reshape", ([1, 2], [MANY, MANY]), {}),
        ("Reshape", ([1, 2], [0, 0]), {}),
        ("Unsqueeze", ([1, 2], list(range(1000))), {}),
        ("ReduceSum", ([1, 2], [2**40]), {}),
        ("Slice", ([1, 2], [0], [1], [9]), {}),
        ("Slice", ([1, 2], [0], [1], [0], [0]), {}),
        ("Loop", (1, True), {}),
        ("Pad", ([1], [MANY, MANY]), {}),
        ("EyeLike", ([[1]],), {}),
        ("Add", (), {}),
        ("Concat", (), {"axis": 0}),
    ],
)  # fmt: skip
def test_what_is_large_or_does_not_fit_is_not_computed(code: str, operands: Any, options: dict[str, Any]) -> None:
    assert fold(code, *operands, **options) is None


@pytest.mark.parametrize("version", [-(2**40), 0, 1, 6, 99, 2**40])
def test_any_version_is_read_or_left(version: int) -> None:
    found = fold("Add", [1], [2], version=version)
    assert found is None or found[0].tolist() == [3]


numbers = st.integers(-3, 40) | st.sampled_from([MANY, -MANY, 2**63 - 1, -(2**63), 2**31, 2**54 + 1, 1024])
operands = st.lists(numbers, max_size=4).map(lambda values: np.array(values, np.int64)) | numbers.map(np.int64)


@pytest.mark.slow
@given(
    st.sampled_from(sorted(FOLDED)),
    st.lists(operands, max_size=5),
    st.dictionaries(
        st.sampled_from(["axis", "axes", "perm", "num_outputs", "fmod", "keepdims", "starts", "ends", "run"]),
        numbers,
        max_size=2,
    ),
    st.sampled_from([7, 11, 13, 18, 21]),
    st.integers(1, 3),
)
@settings(max_examples=600, deadline=None)
def test_no_operands_make_much(
    code: str, arrays: list[Any], options: dict[str, int], version: int, outputs: int
) -> None:
    options = {key: (value,) if key in ("axes", "perm", "starts", "ends") else value for key, value in options.items()}
    found = fold(code, *arrays, version=version, outputs=outputs, **options)
    assert found is None or all(item.size <= MAX_VALUES for item in found)
