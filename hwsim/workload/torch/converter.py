"""The layers of an exported program: what each operator reads, its name and its number formats."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from hwsim.errors import InputError
from hwsim.workload.builder import Builder, UnmodeledError
from hwsim.workload.layer import Layer, Shape
from hwsim.workload.layers import DataMovement, Normalization
from hwsim.workload.network import Workload
from hwsim.workload.tensor import TensorSpec
from hwsim.workload.torch.kinds import BINARY, DEQUANTIZE, DTYPES, MOVES, QUANTIZE, SHORT, SPLITS, UNARY, VIEWS, kind_of
from hwsim.workload.torch.program import Batch

__all__ = ["Converter", "Maker"]

Maker: TypeAlias = "Callable[[Converter, Any, str], Layer | None]"
"""Makes the layer of an operator from its node and its name; None where it was folded into the layer before."""


class Converter:
    """Reads the nodes of a program in order.

    Attributes
    ----------
    builder : Builder
        Keyed by the names of the program's nodes.
    """

    def __init__(self, program: Any, batch: Batch, makers: Mapping[str, Maker]) -> None:
        self.program, self.batch, self.makers = program, batch, makers
        specs = program.graph_signature.input_specs
        self.inputs = [spec.arg.name for spec in specs if spec.kind.name == "USER_INPUT" and hasattr(spec.arg, "name")]
        self.constants: set[str] = {spec.arg.name for spec in specs if spec.kind.name != "USER_INPUT"}
        self.builder: Builder[str] = Builder([])
        self.stored = {
            spec.arg.name: str(spec.target)
            for spec in specs
            if spec.kind.name in ("PARAMETER", "BUFFER") and spec.target
        }
        self.formats: dict[str, str] = {}  # of tensors that were quantized and are floats again
        self.norms: dict[str, str] = {}  # by the path of the module
        self.layers: dict[str, Layer] = {}
        self.shapes: list[Shape] = []

    def network(self, name: str) -> Workload:
        """The whole program."""
        for node in self.program.graph.nodes:
            if node.op == "placeholder" and node.name in self.inputs and hasattr(node.meta.get("val"), "shape"):
                self.builder.producers[node.name] = "input"
                self.shapes.append(self.shape(node))
            elif node.op == "call_function":
                self._read(node)
            elif node.op == "get_attr":
                self.constants.add(node.name)
        return self.builder.network(name, self.shapes, source="torch.export")

    # What nodes are.

    def shape(self, node: Any) -> Shape:
        """Without the batch; of several outputs, that of the first."""
        return self.batch.shape(self.value(node))

    @staticmethod
    def value(node: Any) -> Any:
        """The tensor that a node gives; of several, the first."""
        value = node.meta.get("val")
        return value[0] if isinstance(value, (list, tuple)) and value else value

    def format(self, node: Any) -> str:
        """The number format of a tensor."""
        if node.name in self.formats:
            return self.formats[node.name]
        return DTYPES.get(str(self.value(node).dtype).removeprefix("torch."), "fp32")

    def spec(self, node: Any) -> TensorSpec:
        """The type of a tensor."""
        return TensorSpec(self.format(node))

    def reads(self, node: Any) -> list[Any]:
        """Operands that depend on the inputs, as often as they are read."""
        flat: list[Any] = []
        for arg in node.args:
            flat += arg if isinstance(arg, (list, tuple)) else [arg]
        return [arg for arg in flat if getattr(arg, "name", "") in self.builder.producers]

    def name(self, node: Any, kind: str) -> str:
        """The path of the weights where there are some, of a module that is one operator, or path and operator."""
        weights = [self.stored[arg.name] for arg in node.all_input_nodes if arg.name in self.stored]
        if weights and kind not in BINARY:
            path, _, last = weights[0].rpartition(".")
            return self.unique(".".join(filter(None, (path, last.removesuffix("weight").rstrip("_")))) or kind)
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        path = str(stack[-1][0]).partition("@")[0] if stack else ""
        whole = path and "torch.nn." in str(stack[-1][1]) and (kind in UNARY or "pool" in kind or "softmax" in kind)
        return self.unique(path if whole else f"{path}.{SHORT.get(kind, kind)}".strip("."))

    # What nodes become.

    def _read(self, node: Any) -> None:
        if not hasattr(self.value(node), "shape"):
            return  # sizes
        kind = kind_of(node)
        reads = self.reads(node)
        if kind in DEQUANTIZE:
            self.formats[node.name] = self.format(node.args[0])  # it is multiplied as it was quantized
        if not reads:
            self.constants.add(node.name)  # computed from weights alone, once
            return
        if self._is_in_norm(node, reads):
            return
        # Conversions are a part of the layers around them.
        if kind not in (*QUANTIZE, *DEQUANTIZE, *SPLITS) and not self._moves_nothing(node, kind):
            maker = self.makers.get(kind)
            try:
                if maker is None:
                    raise UnmodeledError(f"hwsim does not know aten.{kind}")
                layer = maker(self, node, kind)
            except (UnmodeledError, InputError, LookupError, TypeError, ValueError, AttributeError) as error:
                layer = self._opaque(node, kind, str(error))
            if layer is not None:
                self._put(node, layer, reads)
            return
        self.builder.producers[node.name] = self.builder.producers[reads[0].name]

    def _is_in_norm(self, node: Any, reads: Sequence[Any]) -> bool:
        """Whether a node is a part of a module that normalizes by the root mean square, all of which is one layer."""
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        if not stack or not str(stack[-1][1]).rstrip("'>").endswith("RMSNorm"):
            return False
        path = str(stack[-1][0])
        if path not in self.norms:
            shape, spec = self.shape(reads[0]), self.spec(reads[0])
            layer = Normalization(self.unique(path), type="rms", shape=shape, input=spec, output=spec)
            self.norms[path] = layer.name
            self._put(node, layer, reads)
        self.builder.producers[node.name] = self.norms[path]
        self.formats[node.name] = self.layers[self.norms[path]].output.dtype
        return True

    def _moves_nothing(self, node: Any, kind: str) -> bool:
        """Whether values stay where they are: views, the first of several outputs, axes of one value that move."""
        if kind in VIEWS:
            return True
        if kind == "getitem":
            return node.args[1] == 0 and kind_of(node.args[0]) not in SPLITS
        before, after = self.shape(self.reads(node)[0]), self.shape(node)
        if MOVES.get(kind) == "slice":
            return math.prod(before) == math.prod(after)
        if kind not in ("permute", "transpose", "t"):
            return False
        rank = len(self.value(node).shape)
        axes = list(range(rank))
        if kind == "permute":
            axes = [int(axis) % rank for axis in node.args[1]]
        elif rank > 1:
            one, other = (int(axis) % rank for axis in (node.args[1:3] if kind == "transpose" else (0, 1)))
            axes[one], axes[other] = other, one
        sizes = self.batch.sizes(self.value(node.args[0]))
        kept = [axis for axis in axes if sizes[axis] != 1]
        return kept == sorted(kept)

    def _put(self, node: Any, layer: Layer, reads: Sequence[Any]) -> None:
        """Add a layer, with what turns operands into the shape that it takes."""
        names = []
        for place, read in enumerate(reads[: len(layer.operands)]):
            source = self.builder.producers[read.name]
            before = self.layers[source].output.shape if source in self.layers else self._input_shape(read)
            if not layer.accepts(before, place) and math.prod(before) == math.prod(layer.operands[place]):
                view = self.unique(f"{layer.name}.view")
                move = DataMovement(
                    view, shape=before, to=layer.operands[place], input=self.spec(read), output=self.spec(read)
                )
                source = self._add(move, (source,), f"{node.name}:{place}")
            names.append(source)
        self._add(layer, names, node.name)

    def _add(self, layer: Layer, names: Sequence[str], key: str) -> str:
        self.layers[layer.name] = layer
        return self.builder.put(layer, names, key)

    def _input_shape(self, read: Any) -> Shape:
        """Of a view of an input of the network."""
        while read.name not in self.inputs and read.args:
            read = read.args[0]
        return self.shape(read)

    def _opaque(self, node: Any, kind: str, reason: str) -> Layer:
        self.builder.opaque_warning(self.name(node, kind), f"aten.{kind}", reason)
        constants = [arg for arg in node.all_input_nodes if arg.name in self.constants]
        sizes = [(math.prod(map(int, self.value(arg).shape)), self.spec(arg)) for arg in constants]
        operands = [(self.shape(arg), self.spec(arg)) for arg in self.reads(node)]
        return Builder.opaque(self.name(node, kind), kind, operands, (self.shape(node), self.spec(node)), sizes)

    # Helpers of the makers.

    def unique(self, base: str) -> str:
        """A name that no layer has."""
        name, number = base, 1
        while name in self.layers or name == "input":
            name, number = f"{base}_{number}", number + 1
        return name

    def is_constant(self, arg: Any) -> bool:
        """Whether an argument is a stored tensor."""
        return getattr(arg, "name", None) in self.constants

    def types(self, node: Any, weight: Any = None) -> dict[str, Any]:
        """Types of what a node reads, of its weights and of what it writes."""
        types = {"input": self.spec(self.reads(node)[0]), "output": self.spec(node)}
        return types | ({} if weight is None else {"weight": self.spec(weight)})

    def before(self, node: Any) -> Layer | None:
        """The layer whose output a node alone reads."""
        reads = self.reads(node)
        if len(reads) != 1 or len(reads[0].users) != 1:
            return None
        return self.layers.get(self.builder.producers[reads[0].name])

    def replace(self, node: Any, layer: Layer, **changes: Any) -> None:
        """Fold a node into the layer before it."""
        new = layer.with_(**changes)
        self.layers[layer.name] = new
        for place, item in enumerate(self.builder.nodes):
            if item.layer is layer:
                self.builder.nodes[place] = type(item)(new, item.inputs)
        self.builder.producers[node.name] = layer.name
