"""Convolutions and pools of ONNX in every form: of images, of volumes, with computed weights, deformable."""

from __future__ import annotations

import math
from dataclasses import replace

from hwsim.errors import InputError, excerpt
from hwsim.workload.builder import UnmodeledError
from hwsim.workload.layer import Layer, Shape
from hwsim.workload.layers import BatchedMatmul, Conv2d, Conv3d, DataMovement, Elementwise, Opaque, Pool2d
from hwsim.workload.onnx.canonical import Op
from hwsim.workload.onnx.converter import Converter, Values
from hwsim.workload.onnx.parameters import has_bias, window_weights
from hwsim.workload.onnx.windows import convolution, folded, padding, pool, stacked, transposed_convolution

__all__ = ["any_convolution", "any_pool", "any_transposed_convolution", "deformable_convolution"]


def any_convolution(c: Converter, op: Op, name: str) -> Layer | None:
    """A convolution, by the axes of its window and by who gives its weights and its bias."""
    if op.input(1) not in c.constants:
        _computed(c, op, name)
        return None
    if op.input(2) in c.producers and op.input(2) not in c.constants:
        _computed_bias(c, op, name)
        return None
    if len(c.input_tensor(op, 1).shape or ()) == 5:
        return _volume(c, op, name)
    return convolution(c, op, name)


def any_transposed_convolution(c: Converter, op: Op, name: str) -> None:
    """A transposed convolution of images or of volumes, with stored or computed weights."""
    if op.input(1) not in c.constants:
        _transposed_by_activations(c, op, name)
    elif len(c.input_tensor(op, 1).shape or ()) == 5:
        _transposed_volume(c, op, name)
    else:
        transposed_convolution(c, op, name)


def any_pool(c: Converter, op: Op, name: str) -> Layer | None:
    """A pool of images, or of volumes."""
    if len(c.input_tensor(op, 0).shape or ()) != 5:
        return pool(c, op, name)
    n, channels, d, h, w = c.input_tensor(op, 0).shape or ()
    kind, types = "max" if "Max" in op.code else "avg", c.types(op)
    if op.code.startswith("Global"):
        return c.check_output(op, Pool2d(name, c=n * channels, h=d * h, w=w, type=kind, **types))
    (t, r, s), window = _triple(op, "kernel_shape", 0), _window(op, (d, h, w))
    (step, *stride), (gap, *dilation), pad = window["stride"], window["dilation"], window["pad"]
    ceil = bool(op.options.get("ceil_mode", 0))
    plane = Pool2d(
        c.unique(f"{name}_planes"), c=n * channels * d, h=h, w=w, r=r, s=s, type=kind, ceil=ceil,
        stride=stride, dilation=dilation, pad=(*pad[1:3], *pad[4:]), **types,
    )  # fmt: skip
    depth = Pool2d(
        name, c=n * channels, h=d, w=plane.p * plane.q, r=t, s=1, type=kind, ceil=ceil,
        stride=(step, 1), dilation=(gap, 1), pad=(pad[0], 0, pad[3], 0), **types,
    )  # fmt: skip
    c.check_output(op, depth)
    between = c.between(op, "planes", plane.output.shape)
    c.row(plane, [op.inputs[0]], between)
    c.row(depth, [between], c.output(op).name)
    return None


def _volume(c: Converter, op: Op, name: str) -> Layer | None:
    """A convolution of volumes; several of them lie one behind the other, with the slices that the window takes."""
    k, per_group, t, r, s = window_weights(c, op, (5,))
    source = c.input_tensor(op, 0)
    if len(source.shape or ()) != 5:
        raise InputError("weights must have as many axes as what they are used on, not 5")
    count, channels, d, h, w = source.shape or ()
    groups = int(op.options.get("group", 1))
    if groups < 1 or groups * per_group != channels or k % groups:
        raise InputError(f"weights must be of a part of the {channels} input channels, not of {per_group} x {groups}")
    window = _window(op, (d, h, w), (t, r, s))
    if count > 1:
        front, top, left, back, bottom, right = window["pad"]
        step, reach = window["stride"][0], (t - 1) * window["dilation"][0] + 1
        slices = max((d + front + back - reach) // step + 1, 1)
        d, window["pad"] = (count * slices - 1) * step + reach, (0, top, left, 0, bottom, right)
    sizes: Values = {"c": channels, "d": d, "h": h, "w": w, "k": k, "t": t, "r": r, "s": s, "groups": groups}
    options: Values = {"bias": has_bias(c, op, k), "activation": op.activation, **c.types(op, c.constant(op, 1))}
    layer = c.check_output(op, Conv3d(name, **sizes, **window, **options))
    if count == 1:
        return layer
    stacked(c, op, name, layer, "volumes")
    return None


def _transposed_volume(c: Converter, op: Op, name: str) -> None:
    """A transposed convolution of volumes: a product with all filters and a sum in place."""
    channels, per_group, *taps = window_weights(c, op, (5,))
    shape, groups = c.input_tensor(op, 0).shape or (), int(op.options.get("group", 1))
    if len(shape) != 5 or channels != shape[1] or groups < 1 or channels % groups:
        raise InputError(f"weights must be of the {shape[1:2]} input channels in {groups} groups, not of {channels}")
    bias = has_bias(c, op, per_group * groups)
    layer = Conv2d(
        name, c=channels, h=shape[0] * math.prod(shape[2:4]), w=shape[4], k=per_group * groups * math.prod(taps),
        groups=groups, bias=False, **c.types(op, c.constant(op, 1)),
    )  # fmt: skip
    folded(c, op, name, layer, [op.inputs[0]], bias)


def _computed(c: Converter, op: Op, name: str) -> None:
    """A convolution whose weights another operator gives: im2col and a product of activations for each group."""
    source, weights, out = c.input_tensor(op, 0), c.input_tensor(op, 1), c.output(op)
    (k, per_group, *taps), (count, channels, *_) = weights.shape or (), source.shape or ()
    groups, places = int(op.options.get("group", 1)), (out.shape or ())[2:]
    if groups < 1 or per_group * groups != channels or k % groups or len(taps) != len(places) or op.rounding:
        raise InputError(f"weights must be of a part of the {channels} input channels, not of {per_group} x {groups}")
    inner, positions = per_group * math.prod(taps), count * math.prod(places)
    product = BatchedMatmul(
        name, b=groups, m=k // groups, n=positions, k=inner,
        input=c.operand_spec(op, weights), weight=c.operand_spec(op, source), output=c.spec(out),
    )  # fmt: skip
    c.check_output(op, product)
    columns = source.name
    if groups * inner * positions != source.elements:
        spec, columns = c.spec(source), c.between(op, "columns", product.weight.shape, source.dtype)
        shape, to = c.shape(source), product.weight.shape
        gather = DataMovement(c.unique(f"{name}_columns"), type="resize", shape=shape, to=to, input=spec, output=spec)
        c.row(gather, [source.name], columns)
    after = bool(op.input(2)) or bool(op.steps) or op.activation != "none"
    sums = c.between(op, "product", product.output.shape) if after else out.name
    c.row(product, [weights.name, columns], sums)
    if after:
        bias = [op.input(2)] if op.input(2) in c.producers else []
        last = Elementwise(
            c.unique(f"{name}_after"), shape=(k, positions), n=1 + len(bias), activation=op.activation,
            input=c.spec(out), output=c.spec(out),
        )  # fmt: skip
        c.row(last, [sums, *bias], out.name)


def _computed_bias(c: Converter, op: Op, name: str) -> None:
    """A convolution with stored weights, and the sum with a bias that another operator gives."""
    out, bias = c.output(op), c.input_tensor(op, 2)
    shape, spec = c.shape(out), c.spec(out)
    sums = c.between(op, "sums", shape)
    plain = replace(op, inputs=op.inputs[:2], outputs=[sums], steps=[], activation="none")
    layer = any_convolution(c, plain, name)
    if layer is not None:
        c.row(layer, [op.inputs[0]], sums)
    shape = (bias.elements, math.prod(shape) // max(bias.elements, 1))
    addition = Elementwise(c.unique(f"{name}_bias"), shape=shape, activation=op.activation, input=spec, output=spec)
    c.row(addition, [sums, bias.name], out.name)


def _transposed_by_activations(c: Converter, op: Op, name: str) -> None:
    """A transposed convolution whose weights another operator gives: a product for each group, and a sum in place."""
    source, weights, out = c.input_tensor(op, 0), c.input_tensor(op, 1), c.output(op)
    (channels, per_group, *taps), shape = weights.shape or (), source.shape or ()
    groups = int(op.options.get("group", 1))
    if groups < 1 or channels != shape[1] or channels % groups:
        raise InputError(f"weights must be of the {shape[1:2]} input channels in {groups} groups, not of {channels}")
    product = BatchedMatmul(
        name, b=groups, m=per_group * math.prod(taps), n=source.elements // channels, k=channels // groups,
        input=c.operand_spec(op, weights), weight=c.operand_spec(op, source), output=c.spec(out),
    )  # fmt: skip
    folded(c, op, name, product, [weights.name, source.name], bool(op.input(2)))


def deformable_convolution(c: Converter, op: Op, name: str) -> None:
    """A deformable convolution: values between the pixels, by computed offsets, and a product with the weights."""
    k, per_group, *taps = window_weights(c, op, (4,))
    source, out = c.input_tensor(op, 0), c.output(op)
    (count, channels, *_), (_, _, p, q) = source.shape or (), out.shape or ()
    groups, inner = int(op.options.get("group", 1)), math.prod(taps)
    if groups < 1 or per_group * groups != channels or k % groups:
        raise InputError(f"weights must be of a part of the {channels} input channels, not of {per_group} x {groups}")
    bias = bool(op.input(3))
    if bias and op.input(3) not in c.constants:
        raise UnmodeledError("its bias is computed")
    types, spec = c.types(op, c.constant(op, 1)), c.spec(source)
    layer = Conv2d(name, c=channels * inner, h=count * p, w=q, k=k, groups=groups, bias=bias, **types)
    c.check_output(op, layer)
    between = c.between(op, "samples", layer.input.shape, source.dtype)
    reads = [tensor.name for tensor in c.operands(op)]
    shapes = [c.shape(tensor) for tensor in c.operands(op)]
    sample = Opaque(
        c.unique(f"{name}_samples"), type="deform_sample", shapes=shapes, to=layer.input.shape, input=spec, output=spec
    )
    c.row(sample, reads, between)
    c.row(layer, [between], out.name)


def _triple(op: Op, key: str, default: int = 1) -> tuple[int, int, int]:
    option = op.options.get(key) or (default,) * 3
    if not isinstance(option, tuple) or len(option) != 3 or min(option) < 1:
        raise InputError(f"{key} must be 3 numbers, not {excerpt(option)}")
    return int(option[0]), int(option[1]), int(option[2])


def _window(op: Op, sizes: Shape, kernel: Shape = ()) -> Values:
    """Stride, dilation and padding over a volume."""
    strides, dilations = _triple(op, "strides"), _triple(op, "dilations")
    pads = padding(op, sizes, kernel or _triple(op, "kernel_shape"), strides, dilations)
    return {"stride": strides, "dilation": dilations, "pad": pads}
