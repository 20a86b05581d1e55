"""Operators of PyTorch by what they are to a network, and number formats by name."""

from __future__ import annotations

from typing import Any

from hwsim.workload.layer import ACTIVATIONS

__all__ = [
    "BINARY",
    "DEQUANTIZE",
    "DTYPES",
    "MOVES",
    "NORMS",
    "PRODUCTS",
    "QUANTIZE",
    "REDUCED",
    "SHORT",
    "SPLITS",
    "UNARY",
    "VIEWS",
    "kind_of",
]

DTYPES = {
    "float32": "fp32", "float64": "fp32", "float16": "fp16", "bfloat16": "bf16", "int8": "int8", "uint8": "int8",
    "bool": "int8", "int16": "int16", "int32": "int32", "int64": "int64", "float8_e4m3fn": "fp8", "float8_e5m2": "fp8",
}  # fmt: skip
#: Values stay where they are.
VIEWS = {
    "view", "reshape", "flatten", "unsqueeze", "squeeze", "contiguous", "alias", "detach", "clone", "to", "type_as",
    "_to_copy", "dropout", "feature_dropout", "lift_fresh_copy", "lift_fresh", "view_as", "unflatten", "_unsafe_view",
    "expand", "expand_as", "_assert_tensor_metadata", "squeeze_", "unsqueeze_", "ravel", "resolve_conj", "dropout_",
}  # fmt: skip
MOVES = {
    **dict.fromkeys(
        ("permute", "transpose", "t", "numpy_T", "movedim", "swapaxes", "mT", "pixel_shuffle"), "transpose"
    ),
    **dict.fromkeys(("slice", "select", "narrow", "index", "index_select", "gather", "getitem"), "slice"),
    **dict.fromkeys(("pad", "constant_pad_nd"), "pad"),
    **dict.fromkeys(
        ("upsample_nearest2d", "upsample_bilinear2d", "upsample_bicubic2d", "repeat", "repeat_interleave"), "resize"
    ),
    **dict.fromkeys(("roll", "flip", "copy", "tril", "triu", "masked_fill"), "copy"),
}
UNARY = {
    **{name: name for name in ACTIVATIONS},
    "hardtanh": "clip", "clamp": "clip", "clamp_min": "relu", "rsqrt": "sqrt", "logical_not": "not",
    "bitwise_not": "not", "floor": "round", "ceil": "round",
}  # fmt: skip
BINARY = {
    "add": "add", "sub": "sub", "rsub": "sub", "mul": "mul", "div": "div", "maximum": "max", "minimum": "min",
    "pow": "pow", "remainder": "mod", "fmod": "mod", "where": "select", "addcmul": "add",
    **dict.fromkeys(("eq", "ne", "lt", "le", "gt", "ge"), "compare"),
    **dict.fromkeys(("logical_and", "logical_or", "bitwise_and", "bitwise_or", "logical_xor", "__and__"), "logic"),
}  # fmt: skip
NORMS = {
    "layer_norm": "layer", "native_layer_norm": "layer", "group_norm": "group", "instance_norm": "instance",
    "batch_norm": "batch", "_native_batch_norm_legit_no_training": "batch", "rms_norm": "rms", "_fused_rms_norm": "rms",
}  # fmt: skip
SHORT = {"scaled_dot_product_attention": "attention", "getitem": "slice", "select": "slice"}
SPLITS = ("split", "split_with_sizes", "chunk", "unbind", "tensor_split")
PRODUCTS = ("matmul", "bmm", "mm", "addmm", "baddbmm", "dot", "mv")
REDUCED = {
    "mean": "avg", "sum": "avg", "var": "avg", "amax": "max", "amin": "max", "max": "max", "argmax": "max",
    "any": "max",
}  # fmt: skip
QUANTIZE = ("quantize_per_tensor", "quantize_per_channel", "quantize_per_token", "quantize_affine")
DEQUANTIZE = ("dequantize_per_tensor", "dequantize_per_channel", "dequantize_per_token", "dequantize_affine")


def kind_of(node: Any) -> str:
    """The operator's name: `relu` of ``aten::relu_``."""
    schema = getattr(node.target, "_schema", None)
    name = str(node.target.__name__ if schema is None else schema.name).rpartition("::")[2]
    return name if name.startswith("__") else name.rstrip("_")
