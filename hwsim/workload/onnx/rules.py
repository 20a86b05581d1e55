"""ONNX's shape and type inference for one operator, and the checks that it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from hwsim.errors import InputError
from hwsim.workload.layer import Shape
from hwsim.workload.onnx.canonical import Op
from hwsim.workload.onnx.constants import Array
from hwsim.workload.onnx.graph import Tensor
from hwsim.workload.onnx.inference import infer_node_outputs, start
from hwsim.workload.onnx.records import Operator, text

__all__ = ["OutputTypes", "Rules"]

#: Shape and type of outputs by name; None and "" if unknown.
OutputTypes: TypeAlias = dict[str, tuple[Shape | None, str]]

#: The opset version for operators whose canonical form differs from the file.
PLAIN_OPSET = 13
#: Attributes that are axes, and those that may be any number.
_PLACES = ("axis", "axes", "perm", "batch_dims", "batch_axis", "time_axis")
_ENDS = ("starts", "ends", "start", "end", "seed")


class Rules:
    """Inference rules of the opset versions of a file (`versions`, by domain).

    ``numbers`` are ONNX's type numbers by name, ``names`` the reverse.
    """

    def __init__(self, versions: Mapping[str, int]) -> None:
        import onnx

        start()
        self.onnx = onnx
        self.versions = versions
        self.numbers = {name.lower(): number for name, number in onnx.TensorProto.DataType.items()}
        self.names = {number: name for name, number in self.numbers.items()}

    @property
    def newest(self) -> int:
        """The newest opset version of the installed onnx."""
        return int(self.onnx.defs.onnx_opset_version())

    def check_arity(self, operator: Operator) -> None:
        """Check the number of inputs and outputs of an operator."""
        domain, defs = operator.code.rpartition(".")[0], self.onnx.defs
        if not defs.has(operator.proto.op_type, domain):
            return
        try:
            schema = defs.get_schema(operator.proto.op_type, self.versions.get(domain, 1), domain)
        except defs.SchemaError:
            return
        for what, names, least, most in (
            ("inputs", operator.inputs, schema.min_input, schema.max_input),
            ("outputs", operator.outputs, schema.min_output, schema.max_output),
        ):
            if not least <= len(names) <= most:
                raise InputError(f"must have {least} to {most} {what}, not {len(names)}")
        for name, formal in zip(operator.inputs, schema.inputs):
            if not name and formal.option == defs.OpSchema.FormalParameterOption.Single:
                raise InputError(f"must have its input {formal.name!r}")

    def infer(
        self, op: Op, tensors: Mapping[str, Tensor], constant_of: Callable[[str], tuple[Array | None, str]]
    ) -> tuple[OutputTypes, str]:
        """Shape and type of each output, and the reason if there are none.

        `constant_of` returns the values and the type of an input that is a small constant, else None.
        """
        plain = op.code != op.source
        domain = "" if plain else op.proto.domain if op.proto.domain != "ai.onnx" else ""
        version = PLAIN_OPSET if plain else self.versions.get(domain, 1)
        defs = self.onnx.defs
        if not defs.has(op.code if plain else op.proto.op_type, domain):
            return {}, "hwsim does not know the operator"
        types = {name: self.type_of(tensors[name], plain) for name in op.inputs if name}
        data = {}
        for name in op.inputs:
            value, dtype = constant_of(name)
            if value is not None and not plain:
                data[name] = self.onnx.numpy_helper.from_array(np.asarray(value), name)
                data[name].data_type = self.numbers.get(dtype, data[name].data_type)
        code = op.code if plain else op.proto.op_type
        try:
            schema = defs.get_schema(code, version, domain)
            self.within(op, tensors)
            node = op.proto
            if plain or op.dequantization:
                node = self.onnx.NodeProto(op_type=op.code, input=op.inputs, output=op.outputs)
                node.attribute.extend(item for item in op.proto.attribute if item.name in schema.attributes)
        except defs.SchemaError as error:
            return {}, text(" ".join(str(error).split()))
        opsets = list(self.versions.items()) or [("", version)]
        outputs, reason = infer_node_outputs(code, version, domain, node, types, data, opsets)
        if reason:
            return {}, text(reason)
        result: OutputTypes = {}
        for name, raw in outputs.items():
            kind = self.onnx.TypeProto.FromString(raw)
            if kind.HasField("tensor_type"):
                tensor = kind.tensor_type
                dims = tensor.shape.dim if tensor.HasField("shape") else None
                is_static = dims is not None and all(dim.HasField("dim_value") for dim in dims)
                sizes = tuple(dim.dim_value for dim in dims or ()) if is_static else None
                result[name] = sizes, "" if plain else self.names.get(tensor.elem_type, "")
        return result, ""

    def type_of(self, tensor: Tensor, plain: bool) -> Any:
        dtype = "float" if plain and tensor.dtype not in ("int64", "bool") else tensor.dtype
        return self.onnx.helper.make_tensor_type_proto(self.numbers.get(dtype, 1), tensor.shape)

    def within(self, op: Op, tensors: Mapping[str, Tensor]) -> None:
        """Check the attributes that ONNX's rules use unchecked: indices out of range."""
        rank = max((len(tensors[name].shape or ()) for name in op.inputs if name), default=0)
        for key, value in op.options.items():
            numbers = value if isinstance(value, tuple) else (value,) if isinstance(value, int) else ()
            room = 2**63 if key in _ENDS else 2**31
            if key in _PLACES:
                room = rank + len(numbers)
            for number in numbers:
                if isinstance(number, int) and abs(number) > room:
                    raise InputError(f"{key} must be from {-room} to {room}, not {number}", path=str(op))
