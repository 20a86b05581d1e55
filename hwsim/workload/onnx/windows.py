"""Convolutions and pools of ONNX."""

from __future__ import annotations

import math

from hwsim.errors import InputError, excerpt
from hwsim.workload.builder import UnmodeledError
from hwsim.workload.layer import Layer, Shape
from hwsim.workload.layers import Conv2d, DataMovement, Elementwise, Pool2d
from hwsim.workload.onnx.canonical import Op
from hwsim.workload.onnx.converter import Converter, Values
from hwsim.workload.onnx.parameters import has_bias, window_weights
from hwsim.workload.tflite.dead_channels import dead_counts

__all__ = ["convolution", "folded", "padding", "pool", "stacked", "transposed_convolution"]


def _pair(op: Op, key: str, rank: int, default: int = 1) -> tuple[int, int]:
    """Two numbers of an attribute; a 1-D window has one row."""
    option = op.options.get(key)
    if option is None or option == ():
        return (1 if rank == 1 else default), default
    if not isinstance(option, tuple) or len(option) != rank:
        raise InputError(f"{key} must be {rank} numbers, not {excerpt(option)}")
    return (1, int(option[0])) if rank == 1 else (int(option[0]), int(option[1]))


def padding(op: Op, sizes: Shape, window: Shape, strides: Shape, dilations: Shape) -> tuple[int, ...]:
    """The padding before all axes of a window, and after them."""
    rank, auto = len(sizes), str(op.options.get("auto_pad", "NOTSET"))
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        totals = [
            max((-(-size // max(step, 1)) - 1) * step + (reach - 1) * gap + 1 - size, 0)
            for size, reach, step, gap in zip(sizes, window, strides, dilations)
        ]
        less, more = [total // 2 for total in totals], [-(-total // 2) for total in totals]
        return (*less, *more) if auto == "SAME_UPPER" else (*more, *less)
    if auto == "NOTSET":
        option = op.options.get("pads") or (0,) * 2 * rank
        if not isinstance(option, tuple) or len(option) != 2 * rank:
            raise InputError(f"pads must be {2 * rank} numbers, not {excerpt(option)}")
        return option
    if auto != "VALID":
        raise InputError(f"auto_pad must be NOTSET, SAME_UPPER, SAME_LOWER or VALID, not {excerpt(auto, 40)}")
    return (0,) * 2 * rank


def _window(op: Op, image: Values, r: int, s: int, rank: int) -> Values:
    """Stride, dilation and padding over an image."""
    strides, dilations = _pair(op, "strides", rank), _pair(op, "dilations", rank)
    sizes, window = (image["h"], image["w"])[-rank:], (r, s)[-rank:]
    pads = padding(op, sizes, window, strides[-rank:], dilations[-rank:])
    pads = (0, pads[0], 0, pads[1]) if rank == 1 else pads
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
    types = c.types(op, c.constant(op, 1), ("oi" + "t" * rank, groups))
    layer = c.check_output(op, Conv2d(name, **image, **options, **window, **dead, **types))
    if math.prod(full) == math.prod(layer.input.shape):
        return layer
    stacked(c, op, name, layer, "images")
    return None


def stacked(c: Converter, op: Op, name: str, layer: Layer, images: str) -> None:
    """Add a layer on several images or volumes, which a pass puts one behind the other with their padding."""
    source = c.input_tensor(op, 0)
    between, spec = c.between(op, images, layer.input.shape, source.dtype), c.spec(source)
    label, shape, to = c.unique(f"{name}_stack"), c.shape(source), layer.input.shape
    move = DataMovement(label, type="pad", shape=shape, to=to, input=spec, output=spec)
    c.row(move, [source.name], between)
    c.row(layer, [between], c.output(op).name)


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
    types = c.types(op, c.constant(op, 1))
    bias = has_bias(c, op, per_group * groups)
    layer = Conv2d(name, **image, k=columns, groups=groups, bias=False, **types)
    folded(c, op, name, layer, [c.operands(op)[0].name], bias)


def folded(c: Converter, op: Op, name: str, layer: Layer, reads: list[str], bias: bool) -> None:
    """Add a product to all taps, a pass that sums them in place, and one for the bias and the activation, if any."""
    columns, out = c.between(op, "columns", layer.output.shape), c.output(op)
    c.row(layer, reads, columns)
    shape, to, spec = layer.output.shape, c.shape(out), c.spec(out)
    after = bias or op.activation != "none"
    sums = c.between(op, "folded", to) if after else out.name
    fold = DataMovement(c.unique(f"{name}_fold"), type="resize", shape=shape, to=to, input=spec, output=spec)
    c.row(fold, [columns], sums)
    if after:
        last = Elementwise(c.unique(f"{name}_bias"), shape=to, n=1, activation=op.activation, input=spec, output=spec)
        c.row(last, [sums], out.name)


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
