"""Read a trace file: expand its blocks, infer the sizes that producers give, make the layers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwsim.errors import Fault, HwsimWarning, InputError, nearest
from hwsim.message import layer_names
from hwsim.workload.line import LINES, Shape, Values
from hwsim.workload.missing import Missing
from hwsim.workload.network import INPUT, MAX_FAULTS, MAX_LAYERS, Node, Workload, hint, selects
from hwsim.workload.tensor import TensorSpec
from hwsim.yaml_source import Document

if TYPE_CHECKING:
    from hwsim.workload.layer import Layer
    from hwsim.workload.trace_spec import LayerSpec, UseSpec, WorkloadSpec

__all__ = ["read_trace"]

MAX_DEPTH = 8
#: By this name the layers of a block read what the block is given.
BLOCK_INPUT = "in"

#: Ends of names of arrays that are not masks.
_CODES = (".codes", ".codebook", ".runs", ".value_lengths", ".run_lengths", ".scales")

Place = tuple[str | int, ...]


@dataclass
class _Scope:
    """The names that one list of lines can read, and the parameters of its block."""

    prefix: str
    before: tuple[str, ...]
    names: dict[str, str] = field(default_factory=dict)
    arguments: Values = field(default_factory=dict)
    depth: int = 0


def read_trace(document: Document, base: Callable[[str], Workload]) -> Workload:
    """Make the network that a strict YAML document describes.

    Parameters
    ----------
    document : Document
    base : callable
        Gives the workload that the file derives from, by its name.

    Raises
    ------
    InputError
        With the place of every fault.
    """
    from hwsim.fields import check
    from hwsim.workload.trace_spec import workload_spec

    return _Reader(document, check(workload_spec(), document)).read(base)


class _Reader:
    def __init__(self, document: Document, spec: WorkloadSpec) -> None:
        self.document = document
        self.spec = spec
        self.nodes: list[Node] = []
        self.shapes: dict[str, Shape | None] = {}  # None: of a faulty layer, so that what reads it is not at fault too
        self.faults: list[Fault] = []
        self.count = 0  # of layers, faulty ones too
        self.needs = {name: set(_parameters(lines)) for name, lines in spec.blocks.items()}
        self.places: dict[str, Place] = {}

    def fault(self, place: Place, message: str) -> InputError:
        shown = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")
        return InputError([Fault(self.document.where(place), shown, message)])

    def read(self, base: Callable[[str], Workload]) -> Workload:
        spec = self.spec
        if (spec.base is None) == (not spec.layers):
            raise self.fault((), "must have either 'layers' or a 'base' whose layers it takes")
        if spec.base is not None:
            for key in ("blocks", "input", "digest", "missing"):
                if getattr(spec, key):
                    raise self.fault((key,), f"must not be given where a base gives the layers, {spec.base!r}")
            try:
                origin = base(spec.base)
            except InputError as error:
                where = self.document.where(("base",))
                raise InputError([Fault(f.where or where, f.path or "base", f.message) for f in error.faults]) from None
            network = origin.replace([], name=spec.name, source=spec.source)
            if spec.dtype is not None:
                dtypes = {"input": spec.dtype.input, "weight": spec.dtype.weight, "output": spec.dtype.output}
                network = network.replace([layer.with_dtype(**dtypes) for layer in network])
        else:
            network = self.expanded()
        return self.with_masks(self.compressed(self.with_densities(network)))

    def compressed(self, network: Workload) -> Workload:
        """The network with the formats of its recipes of compression."""
        if not self.spec.compression:
            return network
        from hwsim.workload.recipe import compressed_network

        try:
            return compressed_network(network, self.spec.compression)
        except InputError as error:
            place: Place = ("compression",)
            faults = [Fault(self.document.where(place), "compression", _told(fault)) for fault in error.faults]
            raise InputError(faults) from None

    def with_masks(self, network: Workload) -> Workload:
        """The network with the masks of its file of masks, each by the name of a layer."""
        if self.spec.masks is None:
            return network
        from hwsim.workload.mask import read_masks

        path = Path(self.document.name).parent / self.spec.masks
        changed: dict[str, Layer] = {}
        faults: list[Fault] = []
        for key, mask in read_masks(path).items():
            if key.endswith(_CODES) and key not in network.names:  # what `hwsim compress` writes beside masks
                continue
            name, _, tensor = key.rpartition(".") if key.endswith((".weight", ".input")) else (key, "", "weight")
            if name not in network.names:
                faults.append(Fault(str(path), key, f"must be the mask of a layer{hint(name, network.names)}"))
                continue
            try:
                changed[name] = changed.get(name, network[name]).with_tensors(**{tensor: {"mask": mask}})
                own = getattr(self.spec.density.get(name), tensor, None)
                if own is not None and own.density is not None:
                    _check_counts(changed[name], {tensor: {"density": own.density}})
            except InputError as error:
                faults.extend(Fault(str(path), key, fault.message) for fault in error.faults)
        if faults:
            raise InputError(faults)
        self._tell_masked(changed)
        return network.replace(changed.values())

    def _tell_masked(self, layers: Mapping[str, Layer]) -> None:
        """Warn of densities by pattern that masks take the place of."""
        told: dict[str, list[str]] = {}
        for pattern, densities in self.spec.density.items():
            matches = selects([pattern], layers)
            for name, layer in layers.items():
                for tensor in ("input", "weight") if pattern not in layers and matches(name) else ():
                    own, spec = getattr(densities, tensor, None), getattr(layer, tensor).spec
                    if own is None or own.density is None or spec.mask is None:
                        continue
                    try:
                        spec.agrees(own.density)
                    except InputError:
                        told.setdefault(f"density.{pattern}.{tensor}", []).append(name)
        for key, names in told.items():
            text = f"{self.document.name}: {key} is not used in {layer_names(names)}: masks say where zeros are"
            warnings.warn(text, HwsimWarning, stacklevel=2)

    def expanded(self) -> Workload:
        spec = self.spec
        if spec.input is not None:
            self.shapes[INPUT] = tuple(spec.input)
            if not all(0 < size <= 2**31 for size in spec.input):
                raise self.fault(("input",), f"must be a list of sizes from 1 to 2^31, not {spec.input}")
        elif spec.graph:
            raise self.fault((), "input must be given: the shape of what the first layer reads, such as [3, 224, 224]")
        self.lines(spec.layers, ("layers",), _Scope("", (INPUT,), {INPUT: INPUT}))
        if self.faults:
            raise InputError(self.faults)
        try:
            return Workload(
                spec.name,
                self.nodes,
                graph=spec.graph,
                source=spec.source,
                input_shape=spec.input if spec.graph else None,
                digest=spec.digest or "",
                missing=None if spec.missing is None else Missing(**spec.missing.model_dump()),
                batch_norm=spec.batch_norm == "folded",
            )
        except InputError as error:
            raise InputError([self.placed(item, self.places.get(item.path, ())) for item in error.faults]) from None

    def placed(self, fault: Fault, place: Place) -> Fault:
        """A layer's fault at the key that its message starts with, or else at the layer."""
        key = fault.message.split(" ", 1)[0].rstrip(":")
        return Fault(self.document.where((*place, key)), fault.path, fault.message)

    def note(self, faults: Sequence[Fault]) -> None:
        """Keep faults to be told together, but not without end."""
        self.faults.extend(faults)
        if len(self.faults) >= MAX_FAULTS:
            raise InputError(self.faults)

    def lines(self, lines: Sequence[LayerSpec | UseSpec], place: Place, scope: _Scope) -> tuple[str, ...]:
        """Make the layers of some lines; returns the name of the last."""
        for index, line in enumerate(lines):
            here = (*place, index)
            self.count += line.kind != "use"
            if self.count > MAX_LAYERS:
                raise self.fault(here, f"a network must have at most {MAX_LAYERS} layers")
            name = str(getattr(line, "name" if line.kind == "use" else line.kind))
            last = full = scope.prefix + name
            try:
                if name in scope.names or full in self.shapes:
                    raise self.fault(here, f"the name of a layer must be its own; {full!r} is given twice")
                producers = scope.before
                if line.from_ is not None:
                    producers = tuple(self.resolve(item, scope, (*here, "from")) for item in line.from_)
                if line.kind == "use":
                    last = self.use(line, full, producers, here, scope)  # type: ignore[arg-type]
                else:
                    self.layer(line, full, producers, here, scope)  # type: ignore[arg-type]
            except InputError as error:
                self.note(error.faults)
                self.shapes[full] = None
            scope.names[name] = last
            scope.before = (last,)
        return scope.before

    def resolve(self, name: str, scope: _Scope, place: Place) -> str:
        if name not in scope.names:
            raise self.fault(place, f"must name a layer that comes before, not {name!r}{hint(name, scope.names)}")
        return scope.names[name]

    def use(self, line: UseSpec, full: str, producers: tuple[str, ...], here: Place, scope: _Scope) -> str:
        """Make the layers of a block; returns the name of its last."""
        blocks = self.spec.blocks
        if line.use not in blocks:
            raise self.fault((*here, "use"), f"must name a block, not {line.use!r}{nearest(line.use, blocks)}")
        if scope.depth >= MAX_DEPTH:
            raise self.fault(here, f"blocks must be nested at most {MAX_DEPTH} deep, and none within itself")
        if len(producers) != 1:
            raise self.fault((*here, "from"), f"a block must read one layer, not {len(producers)}")
        needs = self.needs[line.use]
        for key in line.with_:
            if key not in needs:
                message = f"must be a parameter of the block {line.use!r}, not {key!r}{nearest(key, needs)}"
                raise self.fault((*here, "with", key), message)
        if missing := sorted(needs - set(line.with_)):
            raise self.fault(here, f"the block {line.use!r} must be given {', '.join(missing)}")
        arguments = {key: self.value(value, scope, here) for key, value in line.with_.items()}
        inner = _Scope(f"{full}_", producers, {BLOCK_INPUT: producers[0]}, arguments, scope.depth + 1)
        return self.lines(blocks[line.use], ("blocks", line.use), inner)[0]

    def value(self, value: Any, scope: _Scope, place: Place) -> Any:
        from hwsim.workload.trace_spec import parameter

        name = parameter(value)
        if name is None:
            return value
        if name not in scope.arguments:
            raise self.fault(place, f"a parameter must be of the block that uses it, not {value!r}")
        return scope.arguments[name]

    def layer(self, line: LayerSpec, full: str, producers: tuple[str, ...], here: Place, scope: _Scope) -> None:
        """Make one layer and remember the shape that it gives."""
        values: Values = {}
        for key in LINES[line.kind].names:
            if (given := getattr(line, key)) is not None:
                values[key] = self.value(given, scope, (*here, key))
        if self.spec.graph:
            given_shapes = [self.shapes[name] for name in producers]
            shapes = tuple(shape for shape in given_shapes if shape is not None)
            if len(shapes) < len(given_shapes):
                self.shapes[full] = None
                return
        else:
            shapes, producers = (), ()
        try:
            for tensor in ("input", "weight", "output"):
                values[tensor] = self.tensor(line, tensor, scope, here)
            layer = LINES[line.kind].make(full, values, shapes)
        except InputError as error:
            raise InputError([self.placed(Fault("", full, f.message), here) for f in error.faults]) from None
        self.nodes.append(Node(layer, producers))
        self.shapes[full] = layer.output.shape
        self.places[full] = here

    def tensor(self, line: LayerSpec, tensor: str, scope: _Scope, here: Place) -> TensorSpec:
        """The file's number format with what the line says of the tensor changed."""
        default = getattr(self.spec.dtype, tensor) if self.spec.dtype is not None else "int8"
        default = LINES[line.kind].dtypes.get(tensor, default)
        change = getattr(line, tensor)
        if change is None:
            return TensorSpec(default)
        given = {key: self.value(value, scope, here) for key, value in change if value is not None}
        return TensorSpec(default).merged(given)

    def with_densities(self, network: Workload) -> Workload:
        changed: dict[str, Layer] = {}
        faults: list[Fault] = []
        for name, densities in self.spec.density.items():
            place: Place = ("density", name)
            matches = selects([name], network.names)
            layers = [changed.get(layer.name, layer) for layer in network if matches(layer.name)]
            if not layers:
                near = hint(name, [layer.name for layer in network])
                faults.append(Fault(self.document.where(place), "density", f"must name a layer, not {name!r}{near}"))
                if len(faults) >= MAX_FAULTS:
                    break
                continue
            given = {
                tensor: {key: value for key, value in change if value is not None}
                for tensor, change in densities
                if change is not None
            }
            try:
                for layer in layers:
                    # A pattern of weights is of the layers that have some.
                    own = {
                        key: value
                        for key, value in given.items()
                        if key != "weight" or layer.weights or name in network
                    }
                    if self.spec.base is None:  # what a base has is changed, and counts of the same file are not
                        _check_counts(layer, own)
                    changed[layer.name] = layer.with_tensors(**own)
            except InputError as error:
                faults.extend(self.placed(fault, place) for fault in error.faults)
        if faults:
            raise InputError(faults)
        return network.replace(changed.values()) if changed else network


def _check_counts(layer: Layer, densities: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise InputError for a density that is not that of the counts or of the mask of its tensor."""
    for tensor, change in densities.items():
        spec: TensorSpec = getattr(layer, tensor).spec
        if "density" in change and (spec.nonzeros or spec.mask is not None):
            try:
                spec.agrees(change["density"])
            except InputError as error:
                raise InputError([Fault("", layer.name, f"{tensor}: {error.faults[0].message}")]) from None


def _told(fault: Fault) -> str:
    """The message of a fault with the layer that it is about."""
    return f"{fault.path}: {fault.message}" if fault.path else fault.message


def _parameters(lines: Sequence[LayerSpec | UseSpec]) -> Iterator[str]:
    """The names of the parameters that lines use."""
    from hwsim.workload.trace_spec import parameter

    for line in lines:
        for key in line.model_fields_set:
            value = getattr(line, key)
            values = [value, *value.values()] if isinstance(value, dict) else [value]
            if hasattr(value, "model_fields_set"):
                values = [item for _, item in value]
            yield from (name for item in values if (name := parameter(item)) is not None)
