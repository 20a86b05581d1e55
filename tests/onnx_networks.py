"""Networks as ONNX files with random weights whose layers no cost was fitted on, for comparison with this machine.

Each is of the shapes of a public network: MobileNetV2 0.5 as TensorFlow exports it (uneven padding of strided layers,
channels of 8, 16, 24, 48), YOLOv8n, the text detector of PP-OCR with its many small operators, VGG, two layers of BERT.
"""

import numpy as np
from onnx_builder import Graph, bert

__all__ = ["NETWORKS", "mobilenet_v2_half", "pp_ocr", "vgg", "yolov8n"]


def _conv(g, x, c, k, r=1, stride=1, groups=1, act="", size=None):
    """A convolution that keeps the size; with a `size`, strided ones pad as TensorFlow does, at the far end."""
    name = f"conv_{len(g.nodes)}"
    weights = g.weight(f"{name}.weight", k, c // groups, r, r)
    bias = g.constant(f"{name}.bias", g.draw.standard_normal(k).astype(np.float32) * np.float32(0.1))
    before = after = r // 2
    if size is not None and stride > 1:
        total = max(0, (-(-size // stride) - 1) * stride + r - size)
        before, after = total // 2, total - total // 2
    pads = [before, before, after, after]
    x = g.op("Conv", x, weights, bias, name=name, kernel_shape=[r, r], strides=[stride] * 2, pads=pads, group=groups)
    if act == "relu6":
        low, high = (g.constant(f"{name}.{key}", np.float32(v)) for key, v in (("low", 0), ("high", 6)))
        return g.op("Clip", x, low, high, name=f"{name}_relu6")
    if act == "silu":
        return g.op("Mul", x, g.op("Sigmoid", x, name=f"{name}_sigmoid"), name=f"{name}_silu")
    if act == "hardswish":
        return g.op("HardSwish", x, name=f"{name}_hardswish")
    return g.op(act, x, name=f"{name}_{act.lower()}") if act else x


def _classifier(g, x, c, classes):
    x = g.op("Flatten", g.op("GlobalAveragePool", x, name="mean"), name="flatten")
    x = g.op("Softmax", g.gemm(x, c, classes, "fc"), name="probabilities", axis=-1)
    g.output(x, [1, classes])
    return g.model()


def mobilenet_v2_half(size=128, classes=1001):
    """MobileNetV2 of width 0.5."""
    g = Graph("mobilenet_v2_0.5")
    x = _conv(g, g.input("image", [1, 3, size, size]), 3, 16, 3, 2, act="relu6", size=size)
    size, c = size // 2, 16
    for expand, out, repeats, first in (
        (1, 8, 1, 1), (6, 16, 2, 2), (6, 16, 3, 2), (6, 32, 4, 2), (6, 48, 3, 1), (6, 80, 3, 2), (6, 160, 1, 1),
    ):  # fmt: skip
        for repeat in range(repeats):
            stride, before, mid = (first if not repeat else 1), x, c * expand
            if expand > 1:
                x = _conv(g, x, c, mid, act="relu6")
            x = _conv(g, x, mid, mid, 3, stride, mid, "relu6", size)
            size = -(-size // stride)
            x = _conv(g, x, mid, out)
            if stride == 1 and c == out:
                x = g.op("Add", before, x, name=f"add_{len(g.nodes)}")
            c = out
    return _classifier(g, _conv(g, x, c, 1280, act="relu6"), 1280, classes)


def yolov8n(size=320, classes=80):
    """YOLOv8n: SiLU, split and concatenated channels of 16 to 256, pooling pyramid, upsampling, heads."""
    g = Graph("yolov8n")

    def half(x, c, part):
        at = f"slice_{len(g.nodes)}"
        ends = [
            g.constant(f"{at}.{key}", np.array([v], np.int64))
            for key, v in (("from", part * c), ("to", part * c + c), ("axis", 1))
        ]
        return g.op("Slice", x, *ends, name=at)

    def c2f(x, c, k, repeats, shortcut):
        x, mid = _conv(g, x, c, k, act="silu"), k // 2
        parts = [half(x, mid, 0), half(x, mid, 1)]
        for _ in range(repeats):
            y = _conv(g, _conv(g, parts[-1], mid, mid, 3, act="silu"), mid, mid, 3, act="silu")
            parts.append(g.op("Add", parts[-1], y, name=f"add_{len(g.nodes)}") if shortcut else y)
        return _conv(g, concat(*parts), mid * (2 + repeats), k, act="silu")

    def concat(*parts):
        return g.op("Concat", *parts, name=f"concat_{len(g.nodes)}", axis=1)

    def double(x):
        scales = g.constant(f"scales_{len(g.nodes)}", np.array([1, 1, 2, 2], np.float32))
        return g.op(
            "Resize",
            x,
            "",
            scales,
            name=f"resize_{len(g.nodes)}",
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )

    x = _conv(g, g.input("image", [1, 3, size, size]), 3, 16, 3, 2, act="silu")
    x = c2f(_conv(g, x, 16, 32, 3, 2, act="silu"), 32, 32, 1, True)
    p3 = c2f(_conv(g, x, 32, 64, 3, 2, act="silu"), 64, 64, 2, True)
    p4 = c2f(_conv(g, p3, 64, 128, 3, 2, act="silu"), 128, 128, 2, True)
    x = c2f(_conv(g, p4, 128, 256, 3, 2, act="silu"), 256, 256, 1, True)
    pooled = [_conv(g, x, 256, 128, act="silu")]
    for _ in range(3):
        pooled.append(g.op("MaxPool", pooled[-1], name=f"pool_{len(g.nodes)}", kernel_shape=[5, 5], pads=[2] * 4))
    p5 = _conv(g, concat(*pooled), 512, 256, act="silu")
    n4 = c2f(concat(double(p5), p4), 384, 128, 1, False)
    n3 = c2f(concat(double(n4), p3), 192, 64, 1, False)
    m4 = c2f(concat(_conv(g, n3, 64, 64, 3, 2, act="silu"), n4), 192, 128, 1, False)
    m5 = c2f(concat(_conv(g, m4, 128, 128, 3, 2, act="silu"), p5), 384, 256, 1, False)
    for number, (x, c) in enumerate(((n3, 64), (m4, 128), (m5, 256))):
        box = _conv(g, _conv(g, x, c, 64, 3, act="silu"), 64, 64, 3, act="silu")
        kind = _conv(g, _conv(g, x, c, classes, 3, act="silu"), classes, classes, 3, act="silu")
        side = size // (8, 16, 32)[number]
        y = concat(_conv(g, box, 64, 64), g.op("Sigmoid", _conv(g, kind, classes, classes), name=f"class_{number}"))
        g.output(y, [1, 64 + classes, side, side])
    return g.model()


def pp_ocr(height=48, width=320, classes=97):
    """A recognizer as PP-OCR's: separable layers with hard-swish, squeeze and excitation, and two layers of attention.

    Its normalizations and hard-swish are single operators, as the converter of Paddle writes them.
    """
    g = Graph("pp_ocr")
    three, six, zero = (g.constant(name, np.float32(v)) for name, v in (("three", 3), ("six", 6), ("zero", 0)))

    def swish(x):
        at = f"swish_{len(g.nodes)}"
        y = g.op("Clip", g.op("Add", x, three, name=f"{at}_add"), zero, six, name=f"{at}_clip")
        return g.op("Div", g.op("Mul", x, y, name=f"{at}_mul"), six, name=f"{at}_div")

    def separable(x, c, k, r, stride, squeeze=False):
        x = swish(_conv(g, x, c, c, r, stride, c))
        if squeeze:
            y = g.op("GlobalAveragePool", x, name=f"squeeze_{len(g.nodes)}")
            y = _conv(g, _conv(g, y, c, c // 4, act="Relu"), c // 4, c)
            x = g.op("Mul", x, g.op("HardSigmoid", y, name=f"gate_{len(g.nodes)}"), name=f"excite_{len(g.nodes)}")
        return swish(_conv(g, x, c, k))

    x = swish(_conv(g, g.input("image", [1, 3, height, width]), 3, 16, 3, 2))
    for c, k, r, stride, squeeze in (
        (16, 32, 3, 1, False), (32, 64, 3, 1, False), (64, 64, 3, 1, False), (64, 128, 3, 2, False),
        (128, 128, 3, 1, False), (128, 240, 3, 2, False), (240, 240, 5, 1, False), (240, 240, 5, 1, False),
        (240, 480, 5, 2, True), (480, 480, 5, 1, True),
    ):  # fmt: skip
        x = separable(x, c, k, r, stride, squeeze)
    rows, columns = -(-height // 16), -(-width // 16)
    x = g.op("AveragePool", x, name="rows", kernel_shape=[rows, 1], strides=[rows, 1])
    x = swish(_conv(g, x, 480, 120))
    shape = g.constant("flat", np.array([1, 120, columns], np.int64))
    x = g.op("Transpose", g.op("Reshape", x, shape, name="flatten"), name="time", perm=[0, 2, 1])

    def norm(x):
        at = f"norm_{len(g.nodes)}"
        x = g.op("Sub", x, g.op("ReduceMean", x, name=f"{at}_mean", axes=[-1]), name=f"{at}_sub")
        power = g.op("Pow", x, g.constant(f"{at}.two", np.float32(2)), name=f"{at}_pow")
        power = g.op(
            "Add",
            g.op("ReduceMean", power, name=f"{at}_var", axes=[-1]),
            g.constant(f"{at}.eps", np.float32(1e-5)),
            name=f"{at}_eps",
        )
        x = g.op("Div", x, g.op("Sqrt", power, name=f"{at}_sqrt"), name=f"{at}_div")
        x = g.op("Mul", x, g.constant(f"{at}.scale", np.ones(120, np.float32)), name=f"{at}_scale")
        return g.op("Add", x, g.constant(f"{at}.bias", np.zeros(120, np.float32)), name=f"{at}_bias")

    for layer in range(2):
        y, at = norm(x), f"layer{layer}"
        sizes = g.constant(f"{at}/heads", np.array([1, columns, 8, 15], np.int64))
        parts = {}
        for part, order in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
            z = g.op("Reshape", g.linear(y, 120, 120, f"{at}/{part}"), sizes, name=f"{at}/{part}/Reshape")
            parts[part] = g.op("Transpose", z, name=f"{at}/{part}/Transpose", perm=order)
        z = g.op("MatMul", parts["q"], parts["k"], name=f"{at}/scores")
        z = g.op("Mul", z, g.constant(f"{at}/root", np.float32(15**-0.5)), name=f"{at}/scale")
        z = g.op("MatMul", g.op("Softmax", z, name=f"{at}/softmax", axis=-1), parts["v"], name=f"{at}/context")
        z = g.op("Transpose", z, name=f"{at}/context/Transpose", perm=[0, 2, 1, 3])
        z = g.op("Reshape", z, g.constant(f"{at}/flat", np.array([1, columns, 120], np.int64)), name=f"{at}/Reshape")
        x = g.op("Add", x, g.linear(z, 120, 120, f"{at}/out"), name=f"{at}/residual")
        y = g.linear(norm(x), 120, 240, f"{at}/up")
        y = g.op("Mul", y, g.op("Sigmoid", y, name=f"{at}/sigmoid"), name=f"{at}/silu")
        x = g.op("Add", x, g.linear(y, 240, 120, f"{at}/down"), name=f"{at}/residual2")
    x = g.op("Softmax", g.linear(x, 120, classes, "fc"), name="characters", axis=-1)
    g.output(x, [1, columns, classes])
    return g.model()


def vgg(size=128, classes=1000):
    """VGG-11, with a hidden layer of 1024."""
    g = Graph("vgg11")
    x, c = g.input("image", [1, 3, size, size]), 3
    for widths in ((64,), (128,), (256, 256), (512, 512), (512, 512)):
        for k in widths:
            x, c = _conv(g, x, c, k, 3, act="Relu"), k
        x = g.op("MaxPool", x, name=f"pool_{len(g.nodes)}", kernel_shape=[2, 2], strides=[2, 2])
        size //= 2
    x = g.op("Flatten", x, name="flatten")
    x = g.op("Relu", g.gemm(x, 512 * size * size, 1024, "fc1"), name="fc1_relu")
    g.output(g.gemm(x, 1024, classes, "fc2"), [1, classes])
    return g.model()


def bert_block():
    """Two layers of BERT-base for 128 tokens."""
    return bert(layers=2, hidden=768, heads=12, seq=128, vocabulary=1000)


NETWORKS = {
    "mobilenet_v2_0.5": mobilenet_v2_half,
    "yolov8n": yolov8n,
    "pp_ocr": pp_ocr,
    "vgg11": vgg,
    "bert_block": bert_block,
}
