"""How each operator of ONNX is imported, for the docs."""

from __future__ import annotations

from hwsim.workload.onnx.canonical import QUANTIZED
from hwsim.workload.onnx.control_flow import INLINED
from hwsim.workload.onnx.folding import FOLDED
from hwsim.workload.onnx.lowering import FREE
from hwsim.workload.onnx.operators import MAKERS

__all__ = ["FATES", "operator_fates"]

#: Ways to import an operator, with their meaning.
FATES = {
    "computed": "one or several layers with their operations",
    "integer": "converted to the plain operator on integers",
    "moved": "a data movement layer; none if nothing moves (a full slice, a transposition of axes of size 1)",
    "bytes": "a row priced by the bytes that it reads and writes, without MACs",
    "free": "no layer: the output aliases the input under another shape",
    "constant": "no layer: its values follow from shapes and constants",
    "inlined": "the operators of the body that runs",
    "unknown": "an opaque layer with the bytes that it reads and writes, and a warning",
}


def operator_fates(names: list[str]) -> dict[str, list[str]]:
    """Operators by how they are imported: those of `names`, and those of onnxruntime that hwsim reads."""
    codes: dict[str, list[str]] = {fate: [] for fate in FATES}
    for name in sorted({*names, *QUANTIZED, *(name for name in MAKERS if "." in name)}):
        if name in INLINED:
            fate = "inlined"
        elif name in FREE:
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
