"""Arithmetic on real tensors: what the priced layers compute, integers bit for bit.

`isa()` says which instruction set runs (HWSIM_ISA names another); every one gives the same bits.
"""

from typing import Any

try:
    from hwsim.kernels.attention import AttentionCounts, attention
    from hwsim.kernels.conv import (
        PackedConv,
        conv2d_int8,
        count_conv2d_int8,
        depthwise_int8,
        pack_conv,
    )
    from hwsim.kernels.counts import LoopCounts
    from hwsim.kernels.fp8 import fp8_values, quantize_fp8
    from hwsim.kernels.gemm import (
        PackedB,
        count_gemm_int8,
        fully_connected_int8,
        gemm_fp32,
        gemm_int4,
        gemm_int8,
        gemm_int16,
        pack_b,
    )
    from hwsim.kernels.grouped import gemm_int4_grouped, pack_int4_grouped, quantize_groups
    from hwsim.kernels.int4 import pack_int4, unpack_int4
    from hwsim.kernels.isa import ISAS, available, force_isa, isa
    from hwsim.kernels.overflow import accumulator_bound
    from hwsim.kernels.reference import conv2d_fp32, conv2d_int16
    from hwsim.kernels.requantize import (
        OnnxRequantization,
        TfliteRequantization,
        onnx_scale,
        quantize_multiplier,
        quantize_multipliers,
        requantize_onnx,
        requantize_tflite,
    )
    from hwsim.kernels.winograd import pack_winograd, winograd_counts, winograd_int8, winograd_quantized
except ModuleNotFoundError as _error:
    # Where no compiler could build them, what needs no kernel works all the same.
    if not (_error.name or "").startswith("hwsim.kernels._"):
        raise
    _missing = _error.name

    def __getattr__(name: str) -> Any:
        if name in __all__:
            raise ModuleNotFoundError(f"{_missing} is not built, and hwsim.kernels.{name} needs it", name=_missing)
        raise AttributeError(f"module 'hwsim.kernels' has no attribute {name!r}")


__all__ = [
    "ISAS",
    "AttentionCounts",
    "LoopCounts",
    "OnnxRequantization",
    "PackedB",
    "PackedConv",
    "TfliteRequantization",
    "accumulator_bound",
    "attention",
    "available",
    "conv2d_fp32",
    "conv2d_int8",
    "conv2d_int16",
    "count_conv2d_int8",
    "count_gemm_int8",
    "depthwise_int8",
    "force_isa",
    "fp8_values",
    "fully_connected_int8",
    "gemm_fp32",
    "gemm_int4",
    "gemm_int4_grouped",
    "gemm_int8",
    "gemm_int16",
    "isa",
    "onnx_scale",
    "pack_b",
    "pack_conv",
    "pack_int4",
    "pack_int4_grouped",
    "pack_winograd",
    "quantize_fp8",
    "quantize_groups",
    "quantize_multiplier",
    "quantize_multipliers",
    "requantize_onnx",
    "requantize_tflite",
    "unpack_int4",
    "winograd_counts",
    "winograd_int8",
    "winograd_quantized",
]
