"""TFLite graphs of int8 tensors run on the kernels, bit for bit as TFLite's reference interpreter computes them.

Unsupported operators and types raise an error with the name. `reference` runs the interpreter itself. The
module is long because it is a list: one function for each operator.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hwsim import kernels
from hwsim.errors import InputError
from hwsim.files import read_bytes
from hwsim.workload.tflite import Model, Operator, Tensor
from hwsim.workload.tflite.file import MAX_FILE_BYTES

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["OPERATORS", "difference", "has_reference", "print_graph", "random_inputs", "reference", "run"]

Array: TypeAlias = NDArray[Any]
Words: TypeAlias = NDArray[np.int64]
Values: TypeAlias = Mapping[int, Array]
#: The real numbers that an activation clamps to.
_ACTIVATIONS: dict[str, tuple[float | None, float | None]] = {
    "NONE": (None, None), "RELU": (0.0, None), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0)
}  # fmt: skip


def run(model: Model, input_arrays: Sequence[Array]) -> dict[int, Array]:
    """Run a graph.

    Parameters
    ----------
    model : Model
    input_arrays : sequence of arrays
        One for each of ``model.inputs``, of its shape and type.

    Returns
    -------
    dict
        Values by tensor index, of inputs and computed tensors.

    Raises
    ------
    InputError
        Where an input does not fit its tensor, or an operator is not supported; the error names it.
    """
    if len(input_arrays) != len(model.inputs):
        raise InputError(f"must be one for each of the {len(model.inputs)} inputs, not {len(input_arrays)}", "inputs")
    values: dict[int, Array] = {}
    for index, values_in in zip(model.inputs, input_arrays):
        _fits(f"input {index}", model.tensors[index], values_in)
        values[index] = np.ascontiguousarray(values_in)
    for op in model.operators:
        if op.code not in OPERATORS:
            raise InputError(f"must be one of {', '.join(sorted(OPERATORS))}, not {op.code}", path=str(op))
        try:
            result = OPERATORS[op.code](_Call(model, op, values))
            _fits("its output", model.tensors[op.outputs[0]], result)
        except InputError as error:
            raise InputError("; ".join(str(fault) for fault in error.faults), str(op)) from None
        values[op.outputs[0]] = np.ascontiguousarray(result)
    return values


def _fits(what: str, tensor: Tensor, values_in: Array) -> None:
    if values_in.shape != tensor.shape or values_in.dtype.name != tensor.dtype:
        message = f"must be {tensor.dtype} of shape {tensor.shape}"
        raise InputError(f"{message}, not {values_in.dtype.name} of shape {values_in.shape}", path=what)


class _Call:
    """One operator with the tensors computed before it."""

    def __init__(self, model: Model, op: Operator, values: Values) -> None:
        self.model = model
        self.op = op
        self.values = values
        if len(op.outputs) != 1:
            raise InputError(f"must be one, not {len(op.outputs)}", path="outputs")

    @property
    def y(self) -> Tensor:
        """Its output."""
        return self.model.tensors[self.op.outputs[0]]

    def tensor(self, position: int) -> Tensor | None:
        inputs = self.op.inputs
        return self.model.tensors[inputs[position]] if position < len(inputs) and inputs[position] >= 0 else None

    def input(self, position: int, dtype: str = "int8") -> Array:
        """The values of an input, which must be of this type."""
        tensor = self.tensor(position)
        if tensor is None or tensor.dtype != dtype:
            message = f"must be {dtype}, not {'missing' if tensor is None else tensor.dtype}"
            raise InputError(message, path=f"input {position}")
        if tensor.index in self.values:
            return self.values[tensor.index]
        if tensor.data is None:
            raise InputError("must be computed before it is read", path=f"input {position}")
        return np.ascontiguousarray(tensor.values(), np.dtype(dtype))

    def bias(self) -> NDArray[np.int32] | None:
        return None if self.tensor(2) is None else self.input(2, "int32").reshape(-1)

    def quantized(self, position: int) -> tuple[NDArray[np.float64], int]:
        """Scales and the zero point of an input, or of the output at -1."""
        tensor = self.y if position < 0 else self.tensor(position)
        where = "its output" if position < 0 else f"input {position}"
        numbers = tensor.quantization if tensor is not None and tensor.dtype == "int8" else None
        if numbers is None or not numbers.scale.size:
            raise InputError("must be int8 with a scale and a zero point", path=where)
        zeros = numbers.zero_point
        if zeros.size and (zeros != zeros[0]).any():
            raise InputError("must have one zero point for all channels", path=where)
        zero = int(zeros[0]) if zeros.size else 0
        if not (np.isfinite(numbers.scale) & (numbers.scale > 0)).all() or not -128 <= zero <= 127:
            raise InputError("must have finite scales above 0 and a zero point in -128..127", path=where)
        return numbers.scale.astype(np.float64), zero

    def one(self, position: int) -> tuple[float, int]:
        """The same of a tensor with one scale."""
        scales, zero = self.quantized(position)
        if scales.size != 1:
            where = "its output" if position < 0 else f"input {position}"
            raise InputError(f"must have one scale, not {scales.size}", path=where)
        return float(scales[0]), zero

    def whole(self, name: str) -> int:
        value = self.op.options.get(name, 1)
        if not isinstance(value, int) or value < 1:
            raise InputError(f"must be at least 1, not {value}", path=name)
        return value

    def bounds(self) -> tuple[int, int]:
        """Quantized clamp range of the fused activation; float division, half rounds away from zero."""
        name = str(self.op.options.get("fused_activation_function", "NONE"))
        if name not in _ACTIVATIONS:
            raise InputError(f"must be one of {', '.join(_ACTIVATIONS)}, not {name}", path="fused_activation_function")
        scale, zero = self.one(-1)

        def stored(real: float) -> int:
            ratio = float(np.float32(real) / np.float32(scale))
            return zero + int(np.copysign(np.floor(abs(ratio) + 0.5), ratio))

        low, high = _ACTIVATIONS[name]
        least = -128 if low is None else min(127, max(-128, stored(low)))
        return least, 127 if high is None else max(least, min(127, stored(high)))

    def window(self, shape: tuple[int, ...], r: int, s: int) -> dict[str, Any]:
        """Stride, dilation and padding of a window over an NHWC tensor."""
        if len(shape) != 4:
            raise InputError(f"must be NHWC, not of shape {shape}", path="input 0")
        stride = self.whole("stride_h"), self.whole("stride_w")
        dilation = self.whole("dilation_hfactor"), self.whole("dilation_wfactor")
        pad = []
        for size, reach, step, spread in zip(shape[1:3], (r, s), stride, dilation):
            total = max((-(-size // step) - 1) * step + (reach - 1) * spread + 1 - size, 0)
            pad.append((total // 2, total - total // 2) if self.op.options.get("padding") == "SAME" else (0, 0))
        (top, bottom), (left, right) = pad
        return {"stride": stride, "dilation": dilation, "pad": (top, left, bottom, right)}

    def requantization(self, rounding: str) -> kernels.TfliteRequantization:
        """From sums of products of the first two inputs to the output; the scales multiply in double precision."""
        (x, _), (w, w_zero), (y, y_zero) = self.one(0), self.quantized(1), self.one(-1)
        if w_zero:
            raise InputError(f"must have the zero point 0, not {w_zero}", path="input 1")
        multiplier, shift = kernels.quantize_multipliers(x * w / y)
        lo, hi = self.bounds()
        return kernels.TfliteRequantization(multiplier, shift, y_zero, lo, hi, rounding=rounding)


def _convolution(call: _Call) -> Array:
    x, w = call.input(0), call.input(1)
    if w.ndim != 4:
        raise InputError(f"must have 4 dims, not shape {w.shape}", path="input 1")
    how = call.window(x.shape, w.shape[1], w.shape[2])
    how |= {"x_zero": call.one(0)[1], "bias": call.bias(), "layout": "NHWC"}
    how["requantize"] = call.requantization("double")
    if call.op.code == "DEPTHWISE_CONV_2D":
        return kernels.depthwise_int8(x, w, **how)
    if not w.shape[3] or x.shape[3] % w.shape[3]:
        raise InputError(f"must divide the {x.shape[3]} channels in groups, not {w.shape[3]}", path="input 1")
    return kernels.conv2d_int8(x, w, groups=x.shape[3] // w.shape[3], **how)


def _fully_connected(call: _Call) -> Array:
    if call.op.options.get("weights_format"):
        raise InputError("must be 0, not a shuffled one", path="weights_format")
    w = call.input(1)
    if w.ndim != 2 or not w.shape[1] or call.input(0).size % w.shape[1]:
        raise InputError(f"must be outputs x inputs, not {w.shape}", path="input 1")
    acc = kernels.fully_connected_int8(
        call.input(0).reshape(-1, w.shape[1]), w, x_zero=call.one(0)[1], bias=call.bias()
    )
    how = call.requantization("single")
    result = kernels.requantize_tflite(acc, how.multiplier, how.shift, how.zero, how.lo, how.hi, rounding="single")
    return _reshape(call, result)


def _reshape(call: _Call, values: Array) -> Array:
    if values.size != call.y.elements:
        raise InputError(f"must hold {values.size} values, not shape {call.y.shape}", path="its output")
    return values.reshape(call.y.shape)


def _add(call: _Call) -> Array:
    """Both inputs at 20 more bits and at twice the larger scale; each step rounds twice."""
    (a, a_zero), (b, b_zero), (y, y_zero) = call.one(0), call.one(1), call.one(-1)
    twice = 2 * max(a, b)

    def part(position: int, scale: float, zero: int) -> Words:
        return _scale((call.input(position).astype(np.int64) - zero) << 20, scale / twice)

    try:
        total = part(0, a, a_zero) + part(1, b, b_zero)
    except ValueError:
        raise InputError("must be of shapes that broadcast", path="inputs") from None
    return np.clip(_scale(total, twice / (2**20 * y)) + y_zero, *call.bounds()).astype(np.int8)


def _windows(call: _Call) -> Iterator[Array]:
    """What of the input lies under each output of a pooling, row by row."""
    x = call.input(0)
    r, s = call.whole("filter_height"), call.whole("filter_width")
    how = call.window(x.shape, r, s)
    (down, across), (top, left, bottom, right) = how["stride"], how["pad"]
    if not x.size:
        raise InputError(f"must have values, not shape {x.shape}", path="input 0")
    if call.one(0) != call.one(-1):
        raise InputError("must have the scale and zero point of the input", path="its output")
    rows = (x.shape[1] + top + bottom - r) // down + 1
    columns = (x.shape[2] + left + right - s) // across + 1
    required = x.shape[0], rows, columns, x.shape[3]
    if rows < 1 or columns < 1 or call.y.shape != required:
        raise InputError(f"must be of shape {required}, not {call.y.shape}", path="its output")
    for p, q in product(range(rows), range(columns)):
        row, column = p * down - top, q * across - left
        yield x[:, max(row, 0) : max(row + r, 0), max(column, 0) : max(column + s, 0)]


def _pool(call: _Call) -> Array:
    """Mean without padding, rounded half away from zero, or maximum."""
    outputs = []
    for under in _windows(call):
        if call.op.code == "MAX_POOL_2D":
            result = under.max(axis=(1, 2)).astype(np.int64)
        else:
            acc, count = under.sum(axis=(1, 2), dtype=np.int64), under.shape[1] * under.shape[2]
            result = np.sign(acc) * ((np.abs(acc) + count // 2) // count)
        outputs.append(np.clip(result, *call.bounds()).astype(np.int8))
    return np.stack(outputs, axis=1).reshape(call.y.shape)


def _pad(call: _Call) -> Array:
    """PAD: the padding is the real zero."""
    x = call.input(0)
    tensor = call.tensor(1)
    around = call.input(1, "int64" if tensor is not None and tensor.dtype == "int64" else "int32")
    if around.shape != (x.ndim, 2) or (around < 0).any():
        raise InputError(f"must be two sizes for each of {x.ndim} dims, none negative", path="input 1")
    sizes = tuple(size + int(before) + int(after) for size, (before, after) in zip(x.shape, around))
    if sizes != call.y.shape:  # before anything of that size is made
        raise InputError(f"must be of shape {sizes}, not {call.y.shape}", path="its output")
    return np.pad(x, around, constant_values=call.one(-1)[1])


def _softmax(call: _Call) -> Array:
    """In float32, with a table of exponentials of distances to the row's largest and a sum from left to right.

    Equal to the interpreter's reference kernels (tested); not in fixed point.
    """
    x, beta = call.input(0), np.float32(call.op.options.get("beta", 1.0))
    step = -np.float32(call.one(0)[0]) * beta
    scale, zero = call.one(-1)
    if not (np.isfinite(step) and step < 0 and x.ndim and x.shape[-1]):
        raise InputError(f"must have beta above 0 and values, not {beta} and shape {x.shape}", path="input 0")
    steps = (step * np.arange(256, dtype=np.float32)).astype(np.float64)
    terms = np.exp(steps).astype(np.float32)[x.max(axis=-1, keepdims=True).astype(np.int64) - x]
    total = np.add.accumulate(terms, axis=-1, dtype=np.float32)[..., -1:]
    shares = (terms * (np.float32(1) / (total * np.float32(scale)))).astype(np.float64)
    result: Array = np.clip(np.floor(shares + 0.5) + zero, -128, 127).astype(np.int8)
    return result


def _scale(values: Words, real: float) -> Words:
    """Values below 2**31 times a real below 1: gemmlowp's high half of the doubled product, then a rounding shift."""
    multiplier, shift = kernels.quantize_multiplier(real)
    if shift > 0:
        raise InputError(f"must be below 1 to scale by, not {real}", path="its output's scale")
    products = values * np.int64(multiplier)
    half = products + np.where(products >= 0, 2**30, 1 - 2**30)
    high = np.sign(half) * (np.abs(half) >> 31)  # towards zero, as C divides
    mask = (1 << -shift) - 1
    result: Words = (high >> -shift) + ((high & mask) > (mask >> 1) + (high < 0))
    return result


#: What runs each operator, by its name in TFLite.
OPERATORS: dict[str, Callable[[_Call], Array]] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _convolution,
    "FULLY_CONNECTED": _fully_connected,
    "ADD": _add,
    "AVERAGE_POOL_2D": _pool,
    "MAX_POOL_2D": _pool,
    "PAD": _pad,
    "RESHAPE": lambda call: _reshape(call, call.input(0)),
    "SOFTMAX": _softmax,
}


# ---- TFLite's own interpreter ----


def has_reference() -> bool:
    """Whether TFLite's interpreter is installed."""
    return find_spec("ai_edge_litert") is not None


def reference(model: Model, input_arrays: Sequence[Array]) -> dict[int, Array]:
    """`run` by TFLite's reference kernels (ai-edge-litert), from the model's file."""
    interpreter = import_module("ai_edge_litert.interpreter")
    try:
        runs = interpreter.Interpreter(
            model_content=_litert_model(model),
            experimental_op_resolver_type=interpreter.OpResolverType.BUILTIN_REF,
            experimental_preserve_all_tensors=True,
            num_threads=1,
        )
        runs.allocate_tensors()
        for index, values in zip(model.inputs, input_arrays):
            runs.set_tensor(index, values)
        runs.invoke()
    except (ValueError, RuntimeError) as error:
        raise InputError(f"must run on TFLite's interpreter: {error}", model.path) from None
    indices = [*model.inputs, *(index for op in model.operators for index in op.outputs)]
    return {index: runs.get_tensor(index) for index in indices}


def _litert_model(model: Model) -> bytes:
    """The file; but new interpreters refuse a quantized axis beyond the tensor's rank, which old converters wrote."""
    raw = read_bytes(Path(model.path), MAX_FILE_BYTES)
    schema, flatbuffers = import_module("ai_edge_litert.schema_py_generated"), import_module("flatbuffers")
    table = schema.ModelT.InitFromPackedBuf(raw, 0)
    is_changed = False
    for tensor in table.subgraphs[0].tensors:
        rank = 0 if tensor.shape is None else len(tensor.shape)
        if tensor.quantization is not None and tensor.quantization.quantizedDimension >= max(rank, 1):
            tensor.quantization.quantizedDimension, is_changed = 0, True
    if not is_changed:
        return raw
    builder = flatbuffers.Builder(len(raw))
    builder.Finish(table.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def random_inputs(model: Model, seed: int = 0) -> list[Array]:
    """Random int8 values for each input."""
    rng = np.random.default_rng(seed)
    for index in model.inputs:
        if (dtype := model.tensors[index].dtype) != "int8":
            raise InputError(f"must be int8, not {dtype}", path=f"tensor {index}")
    return [rng.integers(-128, 128, model.tensors[index].shape, np.int8) for index in model.inputs]


def difference(model: Model, values_in: Values, expected: Values) -> str | None:
    """First operator with an unexpected output and its difference, or None."""
    for op in model.operators:
        for index in op.outputs:
            ours, theirs = values_in[index], expected[index]
            if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
                return f"{op}: must give {theirs.dtype} of {theirs.shape}, not {ours.dtype} of {ours.shape}"
            wrong = np.argwhere(ours != theirs)
            if len(wrong):
                at = tuple(wrong[0].tolist())
                return (
                    f"{op}: tensor {index} at {at} must be {theirs[at]}, not {ours[at]} "
                    f"({len(wrong):,} of {ours.size:,} values differ, by at most "
                    f"{np.abs(ours.astype(np.int64) - theirs).max()})"
                )
    return None


def print_graph(model: Model, console: Console, seed: int = 0) -> bool:
    """Run a graph on random input, compare each operator with TFLite's and print the result; True if all are equal."""

    def say(text: str) -> None:
        console.print(text, markup=False, soft_wrap=True)

    try:
        inputs = random_inputs(model, seed)
        values_in = run(model, inputs)
    except InputError as error:
        say(f"graph not executed: {error}")
        return True
    codes = Counter(op.code for op in model.operators)
    what = f"{len(model.operators)} operators executed on random int8 input at the batch size of the file "
    what += f"({', '.join(f'{count} {code}' for code, count in codes.items())})"
    if not has_reference():
        say(f"graph: {what}; not compared, as ai-edge-litert is not installed")
        return True
    try:
        expected = reference(model, inputs)
    except InputError as error:
        say(f"graph: {what}; not compared: {error}")
        return True
    wrong = difference(model, values_in, expected)
    if wrong is not None:
        say(f"graph: {what}; TFLite's reference interpreter differs first in {wrong}")
        return False
    size = sum(values_in[index].size for op in model.operators for index in op.outputs)
    say(f"graph: {what}; all {size:,} values equal TFLite's reference interpreter's")
    return True
