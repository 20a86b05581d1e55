"""Builds a network layer by layer, for the readers of model files."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Generic, TypeVar

from hwsim.errors import InputError
from hwsim.message import Message, merged
from hwsim.workload.layer import Layer, Shape
from hwsim.workload.layers import DataMovement, Opaque
from hwsim.workload.network import INPUT, Node, Workload
from hwsim.workload.tensor import TensorSpec

__all__ = ["Builder", "UnmodeledError", "lead_axes"]

_MOST = 100

Key = TypeVar("Key", bound=Hashable)


class UnmodeledError(Exception):
    """The reason why an operator has no layer model."""


def lead_axes(left: Shape, right: Shape) -> Shape:
    """The axes before the matrices of two factors, broadcast as numpy does."""
    rank = max(len(left), len(right))
    pairs = list(zip((1,) * (rank - len(left)) + left, (1,) * (rank - len(right)) + right))
    if any(1 not in pair and pair[0] != pair[1] for pair in pairs):
        raise InputError(f"must multiply as many matrices as there are others, not {left} by {right}")
    return tuple(max(pair) for pair in pairs)


class Builder(Generic[Key]):
    """A network under construction.

    Attributes
    ----------
    warnings : list of Message
        One for each operator; `facts` has them by fact.
    nodes : list of Node
    producers : dict
        The layer that produces each tensor of the file; `INPUT` for inputs of the network.
    """

    def __init__(self, inputs: Sequence[Key]) -> None:
        self.warnings: list[Message] = []
        self.nodes: list[Node] = []
        self.producers: dict[Key, str] = dict.fromkeys(inputs, INPUT)

    def warn(self, code: str, template: str, layer: str = "", **values: Any) -> None:
        """Add a warning, about a layer or operator if one is named."""
        self.warnings.append(Message(f"import.{code}", template, values, "warning", (layer,) if layer else ()))

    def opaque_warning(self, layer: str, operator: str, reason: str) -> None:
        """Warn that a kind of operator becomes an opaque layer, with the reason."""
        template = "{operator} has no model ({reason}): its bytes are counted, but no MACs"
        self.warn("opaque", template, layer, operator=operator, reason=reason)

    def facts(self) -> tuple[Message, ...]:
        """Each warning once with its layers; of very many, the number of those that are left out."""
        facts = merged(self.warnings)
        if len(facts) <= _MOST:
            return facts
        more = Message("import.more", "{warnings:,} more warnings", {"warnings": len(facts) - _MOST}, "warning")
        return (*facts[:_MOST], more)

    def put(self, layer: Layer, inputs: Sequence[str], *tensors: Key) -> str:
        """Add a layer that reads these and writes the tensors; returns its name."""
        self.nodes.append(Node(layer, tuple(inputs)))
        for tensor in tensors:
            self.producers[tensor] = layer.name
        return layer.name

    def part(
        self, name: str, tensor: Key, reads: str, shape: Shape, to: Shape, input: TensorSpec, output: TensorSpec
    ) -> None:
        """Add a further output of an operator as a slice, since a layer has one output."""
        self.put(DataMovement(name, type="slice", shape=shape, to=to, input=input, output=output), (reads,), tensor)

    @staticmethod
    def opaque(
        name: str,
        kind: str,
        operands: Sequence[tuple[Shape, TensorSpec]],
        to: tuple[Shape, TensorSpec],
        constants: Sequence[tuple[int, TensorSpec]],
    ) -> Layer:
        """A layer for an operator without a model: its operands, output, and (elements, type) of its constants."""
        widest = max(constants, key=lambda item: item[0] * item[1].bits)[1] if constants else TensorSpec()
        return Opaque(
            name,
            type=kind,
            shapes=[shape for shape, _ in operands],
            to=to[0],
            stored=sum(elements for elements, _ in constants),
            input=operands[0][1],
            weight=TensorSpec(widest.dtype),
            output=to[1],
        )

    def network(self, name: str, inputs: Sequence[Shape], *, alike: bool = False, **metadata: Any) -> Workload:
        """The network: a graph if its layers form one, else a list of layers, with a warning that says why.

        A graph has one input; with `alike`, it stands for several inputs of one shape.
        """
        if not self.nodes:
            raise InputError("must have an operator that reads the input of the network")
        if reason := self._loose(inputs, alike):
            self.warn("no_graph", "{reason}; the layers are a list without dataflow edges", reason=reason)
            return Workload(name, [node.layer for node in self.nodes], graph=False, **metadata)
        if len(inputs) > 1:
            shape = " x ".join(map(str, inputs[0]))
            template = "the network has {inputs} inputs of {shape}; memory counts one of them"
            self.warn("inputs", template, inputs=len(inputs), shape=shape)
        return Workload(name, self.nodes, graph=True, input_shape=inputs[0], **metadata)

    def _loose(self, inputs: Sequence[Shape], alike: bool) -> Message | None:
        """Why the layers can't be a graph; None if they can."""
        if len(inputs) != 1 and not (alike and len(set(inputs)) == 1):
            return Message("import.several_inputs", "the network has {inputs} inputs, not one", {"inputs": len(inputs)})
        shapes: dict[str, Shape] = {INPUT: inputs[0]}
        for node in self.nodes:
            operands = node.layer.operands
            fits = len(operands) == len(node.inputs) and all(
                node.layer.accepts(shapes[name], place) for place, name in enumerate(node.inputs)
            )
            if not fits:
                template = "what {layer!r} reads has another shape than it takes"
                return Message("import.shape", template, {"layer": node.layer.name})
            shapes[node.layer.name] = node.layer.output.shape
        return None
