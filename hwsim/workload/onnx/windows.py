"""Convolutions and pools of ONNX."""

from __future__ import annotations

import math

from hwsim.errors import InputError, excerpt
from hwsim.workload.builder import UnmodeledError
from hwsim.workload.layer import Layer
from hwsim.workload.layers import Conv2d, DataMovement, Elementwise, Pool2d
from hwsim.workload.onnx.canonical import Op
from hwsim.workload.onnx.converter import Converter, Values
from hwsim.workload.onnx.parameters import has_bias, window_weights
from hwsim.workload.tflite.dead_channels import dead_counts

__all__ = ["convolution", "pool", "transposed_convolution"]


def _pair(op: Op, key: str, rank: int, default: int = 1) -> tuple[int, int]:
    """Two numbers of an attribute; a 1-D window has one row."""
    option = op.options.get(key)
    if option is None or option == ():
        return (1 if rank == 1 else default), default
    if not isinstance(option, tuple) or len(option) != rank:
        raise InputError(f"{key} must be {rank} numbers, not {excerpt(option)}")
    return (1, int(option[0])) if rank == 1 else (int(option[0]), int(option[1]))


def _window(op: Op, image: Values, r: int, s: int, rank: int) -> Values:
    """Stride, dilation and padding over an image."""
    strides, dilations = _pair(op, "strides", rank), _pair(op, "dilations", rank)
    auto = str(op.options.get("auto_pad", "NOTSET"))
    pads: tuple[int, ...] = (0, 0, 0, 0)
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        numbers = []
        for size, window, stride, dilation in zip((image["h"], image["w"]), (r, s), strides, dilations):
            total = max((-(-size // max(stride, 1)) - 1) * stride + (window - 1) * dilation + 1 - size, 0)
            numbers.append((total // 2, -(-total // 2)) if auto == "SAME_UPPER" else (-(-total // 2), total // 2))
        pads = numbers[0][0], numbers[1][0], numbers[0][1], numbers[1][1]
    elif auto == "NOTSET":
        option = op.options.get("pads") or (0,) * 2 * rank
        if not isinstance(option, tuple) or len(option) != 2 * rank:
            raise InputError(f"pads must be {2 * rank} numbers, not {excerpt(option)}")
        pads = (0, option[0], 0, option[1]) if rank == 1 else option
    elif auto != "VALID":
        raise InputError(f"auto_pad must be NOTSET, SAME_UPPER, SAME_LOWER or VALID, not {excerpt(auto, 40)}")
    return {"stride": strides, "dilation": dilations, "pad": pads}


def convolution(c: Converter, op: Op, name: str) -> Layer | None:
    shape, full = window_weights(c, op, (3, 4)), c.input_tensor(op, 0).shape or ()
    if len(full) != len(shape):
        raise InputError(f"weights must have as many axes as what they are used on, not {len(shape)}")
    image, rank = c.image(c.input_tensor(op, 0)) | {"c": full[1]}, len(shape) - 2
    k, per_group = shape[:2]
    r, s = (1, shape[2]) if rank == 1 else shape[2:]
    groups = int(op.options.get("group", 1))
    if groups < 1 or groups * per_group != image["c"] or k % groups:
        raise InputError(f"weights must be of a part of the {image['c']} input channels, not of {per_group} x {groups}")
    dead = dead_counts(c.dead_in(op, 1, image["c"]), c.dead_out(op, 1, k), image["c"], groups)
    options: Values = {
        "k": k,
        "r": r,
        "s": s,
        "groups": groups,
        "bias": has_bias(c, op, k),
        "activation": op.activation,
    }
    window = _window(op, image, r, s, rank)
    if full[0] > 1:
        image, window = _stack(full[0], image, window, r)
    layer = c.check_output(op, Conv2d(name, **image, **options, **window, **dead, **c.types(op, c.constant(op, 1))))
    if math.prod(full) == math.prod(layer.input.shape):
        return layer
    source, between = c.input_tensor(op, 0), c.between(op, "images", layer.input.shape, c.input_tensor(op, 0).dtype)
    spec, label = c.spec(source), c.unique(f"{name}_stack")
    move = DataMovement(label, type="pad", shape=c.shape(source), to=layer.input.shape, input=spec, output=spec)
    c.row(move, [source.name], between)
    c.row(layer, [between], c.output(op).name)
    return None


def _stack(count: int, image: Values, window: Values, r: int) -> tuple[Values, Values]:
    """Several images, one below the other: as many rows, with those of their padding, as the window takes."""
    (top, left, bottom, right), step = window["pad"], window["stride"][0]
    reach = (r - 1) * window["dilation"][0] + 1
    rows = max((image["h"] + top + bottom - reach) // step + 1, 0)
    return image | {"h": (count * rows - 1) * step + reach}, window | {"pad": (0, left, 0, right)}


def transposed_convolution(c: Converter, op: Op, name: str) -> None:
    """A transposed convolution: a product with all filters and a col2im sum."""
    shape = window_weights(c, op, (3, 4))
    full, taps = c.input_tensor(op, 0).shape or (), math.prod(shape[2:])
    image = c.image(c.input_tensor(op, 0))
    image |= {"c": full[1], "h": full[0] * image["h"]}
    channels_in, per_group = shape[:2]
    groups = int(op.options.get("group", 1))
    if channels_in != image["c"] or groups < 1 or channels_in % groups:
        raise InputError(f"weights must be of the {image['c']} input channels in {groups} groups, not of {channels_in}")
    columns = per_group * groups * taps
    types, out = c.types(op, c.constant(op, 1)), c.output(op)
    bias = has_bias(c, op, per_group * groups)
    layer = Conv2d(name, **image, k=columns, groups=groups, bias=False, **types)
    between = c.between(op, "columns", layer.output.shape)
    c.row(layer, [c.operands(op)[0].name], between)
    to, spec = c.shape(out), c.spec(out)
    fold = DataMovement(
        c.unique(f"{name}_fold"), type="resize", shape=layer.output.shape, to=to, input=spec, output=spec
    )
    if not bias and op.activation == "none":
        c.row(fold, [between], out.name)
        return
    sums = c.between(op, "folded", to)
    c.row(fold, [between], sums)
    addition = Elementwise(c.unique(f"{name}_bias"), shape=to, n=1, activation=op.activation, input=spec, output=spec)
    c.row(addition, [sums], out.name)


def pool(c: Converter, op: Op, name: str) -> Layer:
    source = c.input_tensor(op, 0)
    rank = len(source.shape or ()) - 2
    if op.options.get("channels_last"):
        raise UnmodeledError("its channels come last")
    image, kind = c.image(source), "max" if "Max" in op.code else "avg"
    if op.code.startswith("Global"):
        return c.check_output(op, Pool2d(name, **image, type=kind, **c.types(op)))
    r, s = _pair(op, "kernel_shape", rank, 0)
    if min(r, s) < 1:
        raise InputError(f"kernel_shape must be {rank} numbers above 0, not {op.options.get('kernel_shape')}")
    ceil = bool(op.options.get("ceil_mode", 0))
    window = _window(op, image, r, s, rank)
    return c.check_output(op, Pool2d(name, **image, r=r, s=s, **window, type=kind, ceil=ceil, **c.types(op)))
