"""What becomes of each operator of ONNX, for the docs and for whoever asks."""

from __future__ import annotations

from hwsim.workload.onnx.canonical import QUANTIZED
from hwsim.workload.onnx.folding import FOLDED
from hwsim.workload.onnx.lowering import FREE
from hwsim.workload.onnx.operators import MAKERS

__all__ = ["FATES", "operator_fates"]

#: What can become of an operator, with what that means.
FATES = {
    "computed": "a layer, or several, with their operations",
    "integer": "read as the plain operator in integers, and computed as that",
    "moved": "a row that moves values; none where nothing moves (a slice of everything, a transposition of ones)",
    "free": "no row: the same values under another shape",
    "constant": "no row: its values follow from shapes and constants",
    "unknown": "a row with the bytes that it reads and writes, and a warning",
}


def operator_fates(names: list[str]) -> dict[str, list[str]]:
    """Operators by what becomes of them: those of `names`, and those of onnxruntime that hwsim reads."""
    codes: dict[str, list[str]] = {fate: [] for fate in FATES}
    for name in sorted({*names, *QUANTIZED, *(name for name in MAKERS if "." in name)}):
        if name in FREE:
            fate = "free"
        elif name in QUANTIZED:
            fate = "integer" if "Q" in name or "Integer" in name or "Quantize" in name else "computed"
            fate = "moved" if QUANTIZED[name][0] in ("QuantizeLinear", "DequantizeLinear") else fate
        elif name in MAKERS:
            fate = MAKERS[name][0]
        else:
            fate = "constant" if name in FOLDED or name in ("Constant", "Shape", "Size") else "unknown"
        codes[fate].append(name)
    return codes
