"""A network: layers and which layer gives each of them its input."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TypeAlias

from hwsim.errors import Fault, InputError, excerpt, items_of, nearest, printable
from hwsim.message import Message
from hwsim.workload.buffers import ArenaRequests
from hwsim.workload.layer import MAX_RANK, MAX_SIZE, Layer, Shape, whole
from hwsim.workload.lowering import lowered, lowering_notes
from hwsim.workload.missing import Missing

__all__ = ["INPUT", "MAX_FAULTS", "MAX_LAYERS", "Live", "Node", "Workload", "hint"]

MAX_LAYERS = 20_000
MAX_EDGES = 200_000
MAX_FAULTS = 100
#: The name by which a layer says that it reads the input of the network.
INPUT = "input"


_NO_BITS: Mapping[str, int] = {}


def hint(name: object, names: Collection[str]) -> str:
    """The name nearest to what was given; nothing among very many names, where looking for it takes seconds."""
    return nearest(name, names, "`hwsim show` lists the layers") if len(names) <= 1000 else ""


def selects(patterns: Sequence[str], names: Collection[str]) -> Callable[[str], bool]:
    """Whether a name is selected: by a pattern that is the name of a layer, or else by a shell pattern that it matches.

    >>> chosen = selects(["a[0]", "b*"], {"a[0]", "a0", "b1"})
    >>> chosen("a[0]"), chosen("a0"), chosen("b1")
    (True, False, True)
    """
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise InputError(f"a pattern must be the name of a layer or as 'conv*', not {excerpt(pattern)}")
    exact = {pattern for pattern in patterns if pattern in names}
    loose = [pattern for pattern in patterns if pattern not in exact]
    return lambda name: name in exact or any(fnmatchcase(name, pattern) for pattern in loose)


class Matcher:
    """The pattern of a name: the name itself where it is one, or else the first shell pattern that it matches."""

    def __init__(self, patterns: Collection[str]) -> None:
        self.patterns = patterns
        self.loose = [pattern for pattern in patterns if not set("*?[").isdisjoint(pattern)]

    def __call__(self, name: str) -> str | None:
        if name in self.patterns:
            return name
        return next((pattern for pattern in self.loose if fnmatchcase(name, pattern)), None)


@dataclass(frozen=True, slots=True)
class Node:
    """A layer and the names of the layers that give its operands; none given is the layer before it in the list."""

    layer: Layer
    inputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Live:
    """What is held while one layer runs: names of the tensors (of the layers that made them) with their bytes."""

    layer: str
    tensors: tuple[tuple[str, int], ...]

    @property
    def bytes(self) -> int:
        """All of them together."""
        return sum(size for _, size in self.tensors)


Item: TypeAlias = Layer | Node | tuple[Layer, Sequence[str]]


class Workload:
    """A network of layers, in an order in which they can run.

    Parameters
    ----------
    name : str
    layers : sequence of Layer, Node or (Layer, names of inputs)
    graph : bool, optional
        Whether each layer reads what others write. False is a plain trace: layers with nothing said of what feeds
        them. Left out, it is true if any layer comes with its inputs.
    source : str
        Where the shapes are from.
    input_shape : sequence of int, optional
        The shape of the network's input; default: that of the first operand which reads it.
    digest : str
        ``sha256:`` of the model file that the layers are from.
    missing : Missing, optional
        What of that file is in no layer.
    origin : Workload, optional
        The network that `lowered` made this of, whose shapes have been checked; itself if left out.
    requests : ArenaRequests, optional
        What the model file asks of the arena of its interpreter.
    batch_norm : bool
        Whether the bias of each convolution is a batch normalization that was folded into it: training has that apart.

    Examples
    --------
    >>> from hwsim.workload import Conv2d, Elementwise, Gemm
    >>> a, b = Conv2d("a", c=8, h=4, w=4, k=8, r=3, pad=1), Conv2d("b", c=8, h=4, w=4, k=8, r=3, pad=1)
    >>> net = Workload("net", [a, b, (Elementwise("add", shape=(8, 4, 4)), ["a", "b"]), Gemm("fc", n=10, k=128)])
    >>> net.inputs["fc"], net.macs, net.peak_activation_bytes()
    (('add',), 19712, 384)
    """

    def __init__(
        self,
        name: str,
        layers: Iterable[Item],
        *,
        graph: bool | None = None,
        source: str = "",
        input_shape: Sequence[int] | None = None,
        digest: str = "",
        missing: Missing | None = None,
        origin: Workload | None = None,
        requests: ArenaRequests | None = None,
        batch_norm: bool = False,
    ) -> None:
        nodes: list[Node] = []
        if not isinstance(layers, Iterable) or getattr(layers, "ndim", 1) == 0:
            raise InputError(f"layers must be a list of layers, not {excerpt(layers)}")
        for item in layers:
            nodes.append(_node(item))
            if len(nodes) > MAX_LAYERS:
                raise InputError(f"a network must have at most {MAX_LAYERS} layers", path=printable(excerpt(name)))
        if not isinstance(name, str) or not name:
            raise InputError(f"the name of a network must be text, not {excerpt(name)}")
        name = printable(str.__str__(name))
        if not nodes:
            raise InputError("a network must have at least one layer", path=name)
        for what, text in (("source", source), ("digest", digest)):
            if not isinstance(text, str):
                raise InputError(f"{what} must be text, not {excerpt(text)}", path=name)
        if graph is not None and not isinstance(graph, bool):
            raise InputError(f"graph must be true or false, not {excerpt(graph)}", path=name)
        self.name = name
        self.source = source
        self.digest = digest
        self.requests = requests
        self.batch_norm = batch_norm
        self.missing = missing
        self.graph = any(node.inputs for node in nodes) if graph is None else graph
        by_name: dict[str, Layer] = {}
        faults = []
        for node in nodes:
            if node.layer.name in by_name or (self.graph and node.layer.name == INPUT):
                why = "'input' is the input of the network" if node.layer.name == INPUT else "it is given twice"
                faults.append(Fault("", node.layer.name, f"the name of a layer must be its own: {why}"))
            by_name[node.layer.name] = node.layer
        if faults:
            raise InputError(faults[:MAX_FAULTS])
        inputs: dict[str, tuple[str, ...]] = {}
        before = INPUT
        for node in nodes:
            inputs[node.layer.name] = (node.inputs or (before,)) if self.graph else ()
            before = node.layer.name
        order = list(by_name)
        self.input_shape: Shape | None = None if input_shape is None else _sizes(input_shape, name)
        if self.graph:
            order = _order(by_name, inputs)
            if origin is None:
                self.input_shape = _check(by_name, inputs, order, self.input_shape)
        self._by_name = {layer: by_name[layer] for layer in order}
        self._lowering: dict[frozenset[str], Workload] = {}
        self.origin: Workload = self if origin is None else origin
        #: Names of the layers that give each layer its operands (`INPUT`: the network's input); empty in a plain trace.
        self.inputs: Mapping[str, tuple[str, ...]] = {layer: inputs[layer] for layer in order}

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers in an order in which they can run."""
        return tuple(self._by_name.values())

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the layers, in the same order."""
        return tuple(self._by_name)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._by_name

    def __getitem__(self, name: str) -> Layer:
        if name not in self:
            raise InputError(f"{excerpt(name, 200)} is not a layer of {self.name}{hint(name, self._by_name)}")
        return self._by_name[name]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Workload):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        """Of everything: a network is looked up once for each point of a sweep."""
        return hash(self._key())

    def _key(self) -> tuple[object, ...]:
        return (self.name, self.graph, self.batch_norm, self.input_shape, self.layers, tuple(self.inputs.values()))

    def __repr__(self) -> str:
        return f"<Workload {self.name}: {len(self)} layers, {self.macs:,} MACs, {self.weights:,} weights>"

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return sum(layer.macs for layer in self)

    @property
    def macs_live(self) -> int:
        """Multiply-accumulates of one inference without dead channels."""
        return sum(layer.macs_live for layer in self)

    @property
    def weights(self) -> int:
        """Stored weights; an array that several layers read is stored once."""
        return sum({layer.weight.spec.array or ("", layer.name): layer.weights for layer in self}.values())

    @property
    def biases(self) -> int:
        """Stored biases."""
        return sum(layer.biases for layer in self)

    @property
    def params(self) -> int:
        """Stored weights and biases."""
        return self.weights + self.biases

    def select(self, *patterns: str) -> Workload:
        """A plain trace of the layers whose names match any shell pattern, such as ``conv*``.

        Of a composed layer that does not match, those sublayers are kept that do.
        """
        matches = selects(patterns, {*self.names, *(part.name for layer in self for part, _ in layer.sublayers)})
        selection: list[Layer] = []
        for layer in self:
            selection += [layer] if matches(layer.name) else [part for part, _ in layer.sublayers if matches(part.name)]
        if not selection:
            label = " or ".join(map(repr, patterns))
            near = hint(patterns[0] if patterns else "", self._by_name)
            raise InputError(f"a layer of {self.name} must match {label}{near}")
        return Workload(
            self.name, selection, graph=False, source=self.source, missing=self.missing, batch_norm=self.batch_norm
        )

    def lowered(self, whole: Callable[[Layer], bool] | None = None) -> Workload:
        """The network with each composed layer (`Layer.sublayers`) as the layers that it is planned as.

        It is this network where there is none. Those that take its place are named after it: `attn.scores`. Layers of
        which `whole` is true stay as they are.
        """
        composed = [layer for layer in self if layer.sublayers]
        if not composed:
            return self
        stay = frozenset(layer.name for layer in composed if whole is not None and whole(layer))
        if stay not in self._lowering:
            self._lowering[stay] = Workload(
                self.name,
                lowered(self, self.inputs, stay),
                graph=self.graph,
                source=self.source,
                input_shape=self.input_shape,
                digest=self.digest,
                missing=self.missing,
                origin=self,
                requests=self.requests,
                batch_norm=self.batch_norm,
            )
        return self._lowering[stay]

    def lowering_notes(self, batch: int = 1) -> tuple[Message, ...]:
        """What a user should know of the layers that were lowered, of this network or the one that it is made of."""
        return lowering_notes(self.origin, batch, () if self.origin is self else self._by_name)

    def cache_bytes(self, batch: int = 1) -> int:
        """Bytes that are in memory from earlier inferences, such as the keys and values of earlier tokens."""
        size = batch_size(batch)
        return sum(layer.cache_bytes(size) for layer in self)

    def replace(self, layers: Iterable[Layer], *, name: str | None = None, source: str | None = None) -> Workload:
        """The same network with other properties of the named layers, such as densities or dtypes."""
        items = items_of(layers)
        if items is None:
            raise InputError(f"layers must be a list of layers, not {excerpt(layers)}")
        changes = {node.layer.name: node.layer for node in map(_node, items)}
        for layer in changes:
            self[layer]
        nodes = [Node(changes.get(layer.name, layer), self.inputs[layer.name]) for layer in self]
        stays = all(node.layer.output.bytes() == self[node.layer.name].output.bytes() for node in nodes)
        return Workload(
            self.name if name is None else name,
            nodes,
            graph=self.graph,
            source=self.source if source is None else source,
            input_shape=self.input_shape,
            digest=self.digest,
            missing=self.missing,
            origin=None if self.origin is self else self.origin,
            requests=self.requests if stays else None,
            batch_norm=self.batch_norm,
        )

    def _sizes(self, batch: int, bits: Mapping[str, int]) -> dict[str, int]:
        """Bytes of each tensor by the layer that writes it; `bits` are those of a value that is kept in others."""

        def size(layer: Layer) -> int:
            return -(-layer.output.elements * bits.get(layer.name, layer.output.bits) * batch // 8)

        sizes = {layer.name: size(layer) for layer in self}
        if self.input_shape is not None:
            wide = max((layer.input.bits for layer in self if INPUT in self.inputs[layer.name]), default=0)
            sizes[INPUT] = -(-math.prod(self.input_shape) * wide * batch // 8)
        return sizes

    @property
    def input_bytes(self) -> int:
        """Bytes of what a sample enters with, in the number formats of the layers that read it."""
        if self.input_shape is not None:
            return self._sizes(1, _NO_BITS)[INPUT]
        return -(-math.prod(self.layers[0].operands[0]) * self.layers[0].input.bits // 8)

    def _walk(self, batch: int, bits: Mapping[str, int] = _NO_BITS) -> Iterator[tuple[Layer, dict[str, int], int]]:
        """Each layer, the tensors held while it runs (one dict, changed in place) and their bytes."""
        if not self.graph:
            for layer in self:
                read = sum(math.prod(shape) for shape in layer.operands)  # what is cached is held at all times
                wide = bits.get(layer.name, layer.input.bits)
                size = -(-layer.output.elements * bits.get(layer.name, layer.output.bits) * batch // 8)
                own = {INPUT: -(-read * wide * batch // 8), layer.name: size}
                yield layer, own, sum(own.values())
            return
        sizes = self._sizes(batch, bits)
        last: dict[str, str] = {}
        for layer in self:
            last.update(dict.fromkeys(self.inputs[layer.name], layer.name))
        alive = {INPUT: sizes[INPUT]} if INPUT in last else {}
        total = sum(alive.values())
        for layer in self:
            alive[layer.name] = sizes[layer.name]
            total += sizes[layer.name]
            yield layer, alive, total
            for producer in set(self.inputs[layer.name]):
                if last[producer] == layer.name:
                    total -= alive.pop(producer)

    def liveness(self, batch: int = 1) -> tuple[Live, ...]:
        """What activations are held while each layer runs, in order; nothing is computed in place.

        A tensor is held from the layer that writes it to the last that reads it, an output of the network to the end.
        In a plain trace each layer has its own input and output alone.
        """
        walk = self._walk(batch_size(batch))
        return tuple(Live(layer.name, tuple(alive.items())) for layer, alive, _ in walk)

    def live_bytes(self, batch: int = 1) -> tuple[int, ...]:
        """The bytes of all activations that are held while each layer runs, in order."""
        return tuple(total for _, _, total in self._walk(batch_size(batch)))

    def held(self, layers: Collection[int], batch: int = 1) -> dict[int, Live]:
        """As `liveness`, at some layers alone, by their number: that of a large network is larger than itself."""
        walk = enumerate(self._walk(batch_size(batch)))
        return {i: Live(layer.name, tuple(alive.items())) for i, (layer, alive, _) in walk if i in layers}

    def spans(self, batch: int = 1) -> dict[str, tuple[int, int, int]]:
        """Bytes of each tensor of the graph, and the first and last layer, by number, at which it is held."""
        sizes = self._sizes(batch_size(batch), _NO_BITS)
        end = len(self) - 1
        spans: dict[str, tuple[int, int, int]] = {}
        last = {producer: i for i, layer in enumerate(self) for producer in self.inputs[layer.name]}
        if INPUT in last:
            spans[INPUT] = (sizes[INPUT], 0, last[INPUT])
        for i, layer in enumerate(self):
            spans[layer.name] = (sizes[layer.name], i, last.get(layer.name, end))
        return spans

    def peak(self, batch: int = 1, bits: Mapping[str, int] = _NO_BITS) -> tuple[str, int]:
        """The layer at which most bytes of activations are held, and how many; `bits` as of `peak_activation_bytes`."""
        walk = ((layer.name, total) for layer, _, total in self._walk(batch_size(batch), bits))
        return max(walk, key=lambda item: item[1])

    def peak_activation_bytes(self, batch: int = 1, bits: Mapping[str, int] = _NO_BITS) -> int:
        """The most bytes of activations that are held at once.

        Parameters
        ----------
        batch : int
        bits : mapping, optional
            Bits of the values that a layer writes, by its name, where these are not the bits of its output's type.
        """
        return self.peak(batch, bits)[1]


def batch_size(batch: object, most: int = MAX_SIZE) -> int:
    """The batch size as a plain int (numpy's are taken); raises InputError where it is none, or above `most`."""
    size = whole(batch)
    if size is None or not 1 <= size <= most:
        limit = "2^31" if most == MAX_SIZE else most
        raise InputError(f"batch must be a whole number from 1 to {limit}, not {excerpt(batch)}")
    return size


def _sizes(shape: object, path: str) -> Shape:
    sizes = [whole(size) for size in items_of(shape) or ()]
    if not 1 <= len(sizes) <= MAX_RANK or not all(size is not None and 1 <= size <= MAX_SIZE for size in sizes):
        raise InputError(
            f"input_shape must be 1 to {MAX_RANK} sizes such as [3, 224, 224], not {excerpt(shape)}", path=path
        )
    return tuple(size for size in sizes if size is not None)


def _node(item: object) -> Node:
    if isinstance(item, Node):
        return item
    if isinstance(item, Layer):
        return Node(item)
    if isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], Layer):
        names = (item[1],) if isinstance(item[1], str) else tuple(item[1]) if isinstance(item[1], Sequence) else ()
        if not all(isinstance(name, str) for name in names) or not isinstance(item[1], Sequence):
            raise InputError(f"inputs must be names of layers, not {excerpt(item[1])}", path=item[0].name)
        return Node(item[0], tuple(map(str.__str__, names)))
    raise InputError(f"a network must be made of layers or (layer, names of its inputs), not {excerpt(item, 80)}")


def _order(by_name: dict[str, Layer], inputs: dict[str, tuple[str, ...]]) -> list[str]:
    """Names in an order in which each comes after its producers, otherwise as given."""
    names = by_name.keys() | {INPUT}
    faults = [
        Fault("", name, f"must read a layer of the network, not {producer!r}{hint(producer, names)}")
        for name, producers in inputs.items()
        for producer in producers
        if producer not in names
    ]
    if sum(map(len, inputs.values())) > MAX_EDGES:
        faults.append(Fault("", "", f"a network must have at most {MAX_EDGES} inputs of layers"))
    if faults:
        raise InputError(faults[:MAX_FAULTS])
    place = {name: index for index, name in enumerate(by_name)}
    waits = {name: len(set(producers) - {INPUT}) for name, producers in inputs.items()}
    readers: dict[str, list[str]] = {name: [] for name in by_name}
    for name, producers in inputs.items():
        for producer in set(producers) - {INPUT}:
            readers[producer].append(name)
    ready = [place[name] for name, count in waits.items() if not count]  # already a heap: in ascending order
    labels, order = list(by_name), []
    while ready:
        name = labels[heapq.heappop(ready)]
        order.append(name)
        for reader in readers[name]:
            waits[reader] -= 1
            if not waits[reader]:
                heapq.heappush(ready, place[reader])
    if len(order) < len(labels):
        stuck = [name for name in labels if waits[name]][:8]
        raise InputError(f"a network must have no cycle; these wait for each other: {', '.join(map(repr, stuck))}")
    return order


def _check(
    by_name: dict[str, Layer], inputs: dict[str, tuple[str, ...]], order: list[str], input_shape: Shape | None
) -> Shape | None:
    """Hold every producer's output against what its consumers take; returns the shape of the network's input."""
    faults: list[Fault] = []
    for name in order:
        layer, producers = by_name[name], inputs[name]
        operands = layer.operands
        if len(producers) != len(operands):
            message = f"{layer.op} must have {len(operands)} inputs, not {len(producers)}: {', '.join(producers)}"
            faults.append(Fault("", name, message))
            continue
        for index, producer in enumerate(producers):
            if producer == INPUT:
                shape = input_shape = operands[index] if input_shape is None else input_shape
            else:
                shape = by_name[producer].output.shape
            if not layer.accepts(shape, index):
                source_text = f"what {producer!r} gives is {_format(shape)}"
                faults.append(Fault("", name, f"the input must be {_format(operands[index])}; {source_text}"))
    if faults:
        raise InputError(faults[:MAX_FAULTS])
    return input_shape


def _format(shape: Shape) -> str:
    return " x ".join(map(str, shape))
