"""The machines and networks of a sweep: read once, then changed key by key, also in workers without the files."""

from __future__ import annotations

import hashlib
import json
import types
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from hwsim.errors import Fault, InputError, excerpt, nearest, one_line
from hwsim.files import read_bytes
from hwsim.machines import (
    Machine,
    cluster_names,
    host_path,
    kinds,
    locate,
    machine_document,
    machine_names,
    read_machine,
)
from hwsim.workload import Workload, load_workload, read_trace, trace_document, workload_names
from hwsim.workload.transformer import Formats, LlmSpec, decode_network, is_llm, llm_names, load_llm, prefill_network
from hwsim.yaml_source import Document

__all__ = ["LLM", "LlmSource", "MachineSource", "WorkloadSource", "find"]

Changes = Mapping[str, Any]

LLM = "llm."
"""Prefix of keys of the step of a language model."""

_CUT = "\0value "
"""No YAML text has a zero byte."""

_CACHE_SIZE = 256
"""Number of cached networks."""

_FREE_KEYS = ("mappings", "fitted")
"""Mappings of a machine file whose keys are free names."""


@dataclass(frozen=True, eq=False)
class MachineSource:
    """The document of a machine, with its bases merged."""

    label: str
    document: Document
    folder: Path
    _texts: dict[tuple[str, ...], list[str]] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, label: str, name: str | Path) -> MachineSource:
        """The machine of a name or path."""
        return cls(label, machine_document(name), locate(name).parent.absolute())

    @classmethod
    def of(cls, machine: Machine) -> MachineSource:
        """The source of a loaded machine."""
        return cls(machine.name, machine.document, machine.folder.absolute())

    def with_changes(self, changes: Changes) -> Document:
        """A copy of the document with other values."""
        document = Document(self.document.name, self.document.data, self.document.marks)
        document.override(dict(changes))
        return document

    def machine(self, changes: Changes) -> Machine:
        """The machine with changes; raises InputError with all faults."""
        return read_machine(self.with_changes(changes), self.folder)

    def digest(self, changes: Changes) -> str:
        """Digest of the resolved machine, including tables that it references by path."""
        keys = tuple(changes)
        if keys not in self._texts:
            self._texts[keys] = self._text_around(keys)
        if not self._texts[keys]:
            text = json.dumps(self.with_changes(changes).data, sort_keys=True) + self._referenced_files
            return hashlib.sha256(text.encode()).hexdigest()
        parts = [self._contents(key, value) for key, value in changes.items()]
        parts.append(self._texts[keys][0])
        for part in self._texts[keys][1:]:
            place, _, rest = part.partition('"')
            parts += (json.dumps(changes[keys[int(place)]], sort_keys=True), rest)
        return hashlib.sha256("".join(parts).encode()).hexdigest()

    def _text_around(self, keys: tuple[str, ...]) -> list[str]:
        """The resolved machine as text, split at the values of these keys, so that points share the serialization.

        Empty if one key lies within the value of another.
        """
        try:
            template = self.with_changes({key: f"{_CUT}{place}" for place, key in enumerate(keys)}).data
        except InputError:
            return []
        return (json.dumps(template, sort_keys=True) + self._referenced_files).split(json.dumps(_CUT)[:-1])

    @cached_property
    def _referenced_files(self) -> str:
        """Digests of the files that the machine references by path."""
        return "".join(self._contents(key, value) for key, value in sorted(self.constants.items()))

    def _contents(self, key: str, value: object) -> str:
        """Digest of the file, or of the machine, that a value references; empty if it references none."""
        if key in ("host", "device") and isinstance(value, str):
            with suppress(InputError):  # the point that has it tells why
                path = host_path(value, self.folder)
                return f"{value}={MachineSource(value, machine_document(path), path.parent.absolute()).digest({})}\n"
        if isinstance(value, str) and value.endswith((".yaml", ".yml")) and (self.folder / value).is_file():
            return f"{value}={hashlib.sha256(read_bytes(self.folder / value)).hexdigest()}\n"
        return ""

    @cached_property
    def constants(self) -> dict[str, Any]:
        """Every scalar of the document by its dotted path."""
        values: dict[str, Any] = {}

        def walk(node: Any, path: str) -> None:
            if isinstance(node, dict):
                for key, value in node.items():
                    walk(value, f"{path}.{key}" if path else key)
            elif isinstance(node, (bool, int, float, str)):
                values[path] = node

        walk(self.document.data, "")
        return values

    def unknown_key(self, key: str) -> str | None:
        """Why a key is unknown although the schema allows free names there, as a clock that nothing runs on."""
        parts = key.split(".")
        kind = kinds().get(str(self.document.data.get("kind")))
        annotation: Any = kind.spec_class if kind is not None else None
        node: Any = self.document.data
        for part in parts:
            model = _model(annotation)
            if model is not None:
                info = next((f for n, f in model.model_fields.items() if part in (n, f.alias)), None)
                annotation = info.annotation if info is not None else None
            elif (keys := _dict_keys(annotation)) is not None:
                if not (isinstance(node, dict) and part in node) and get_origin(keys) is not Literal:
                    return f"{part!r} does not exist{nearest(part, node if isinstance(node, dict) else ())}"
                annotation = _dict_values(annotation)
            else:
                return None
            if part in _FREE_KEYS:
                return None
            node = node.get(part) if isinstance(node, dict) else None
        return None


def _bare(annotation: Any) -> Any:
    """An annotation without Annotated and Optional."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif get_origin(annotation) in (Union, types.UnionType):
            members = [part for part in get_args(annotation) if part is not type(None)]
            if len(members) != 1:
                return annotation
            annotation = members[0]
        else:
            return annotation


def _model(annotation: Any) -> type[BaseModel] | None:
    bare = _bare(annotation)
    return bare if isinstance(bare, type) and issubclass(bare, BaseModel) else None


def _dict_keys(annotation: Any) -> Any:
    bare = _bare(annotation)
    return _bare(get_args(bare)[0]) if get_origin(bare) is dict else None


def _dict_values(annotation: Any) -> Any:
    return get_args(_bare(annotation))[1]


@dataclass(frozen=True, eq=False)
class WorkloadSource:
    """The document of a network; a network without a file is the base of a document without changes."""

    label: str
    network: Workload
    document: Document
    base: Workload | None
    _cache: dict[str, tuple[Workload, str]] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, label: str, name: str | Path) -> WorkloadSource:
        """The workload of a name or path."""
        if is_llm(name):
            return LlmSource.of_model(load_llm(name), label)
        network = load_workload(name)
        source = trace_document(name)
        if source is None:
            return cls.of(network, label)
        document, base = source
        origin = document.data.get("base")
        return cls(label, network, document, base(origin) if origin is not None else None)

    @classmethod
    def of(cls, network: Workload, label: str = "") -> WorkloadSource:
        """The source of a loaded network."""
        name = "".join("_" if char in ",:/\\\n" else char for char in network.name).strip()[:120] or "network"
        data = {"name": name, "source": network.source or "made in Python", "base": name}
        return cls(label or network.name, network, Document(network.name, data), network)

    def __reduce__(self) -> tuple[Any, ...]:
        return WorkloadSource, (self.label, self.network, self.document, self.base)

    def workload(self, changes: Changes) -> Workload:
        """The network with changes to keys of its file."""
        return self._of(changes)[0]

    def selection(self, changes: Changes) -> tuple[str, ...]:
        """The patterns of `layers` that select layers of the network; empty for all."""
        patterns = dict(changes).get("layers")
        if patterns is None:
            return ()
        names = patterns if isinstance(patterns, list) else [patterns]
        if not all(isinstance(pattern, str) for pattern in names):
            raise InputError([Fault("--set layers", "", f"must be a pattern such as 'conv*', not {excerpt(patterns)}")])
        return tuple(names)

    def digest(self, changes: Changes) -> str:
        """Digest of every layer and of the dataflow edges."""
        return self._of(changes)[1]

    def _of(self, changes: Changes) -> tuple[Workload, str]:
        key = json.dumps(changes, sort_keys=True, default=str) if changes else ""
        if key not in self._cache:
            network = self._change(dict(changes)) if changes else self.network
            shape: tuple[object, ...] = (
                network.name, network.graph, network.input_shape, network.layers, tuple(network.inputs.values())
            )  # fmt: skip
            if patterns := self.selection(changes):
                network.select(*patterns)  # raises if none matches
                shape = (*shape, patterns)
            if len(self._cache) >= _CACHE_SIZE:
                self._cache.clear()
            self._cache[key] = network, hashlib.sha256(repr(shape).encode()).hexdigest()
        return self._cache[key]

    def _change(self, changes: dict[str, Any]) -> Workload:
        changes.pop("layers", None)
        network = self.network
        if wrong := [key for key in changes if key.startswith(LLM)]:
            faults = [Fault(f"--set {key}", "", "must be of a language model, as llama3_8b") for key in wrong]
            raise InputError(faults)
        if changes:
            if self.base is not None:
                for key in changes:
                    if key.split(".")[0] not in ("dtype", "density", "compression", "name", "source"):
                        origin = self.document.data["base"]
                        message = (
                            f"must be dtype, density, compression or layers, as the layers come from the base file "
                            f"{origin!r}: sweep that file to change more"
                        )
                        raise InputError([Fault(f"--set {key}", "", message)])
            document = Document(self.document.name, self.document.data, self.document.marks)
            document.override(changes)
            network = read_trace(document, lambda _: self.base or self.network)
        return network


@dataclass(frozen=True, eq=False)
class LlmSource(WorkloadSource):
    """A language model: the network of one of its steps, by the keys ``llm.phase``, ``llm.context`` and the others."""

    model: LlmSpec | None = None

    @classmethod
    def of_model(cls, model: LlmSpec, label: str = "") -> LlmSource:
        """The source of a model."""
        network = decode_network(model, _STEP["context"])
        return cls(label or model.name, network, Document(model.name, {"name": model.name}), None, model=model)

    def __reduce__(self) -> tuple[Any, ...]:
        return LlmSource, (self.label, self.network, self.document, None, {}, self.model)

    def _change(self, changes: dict[str, Any]) -> Workload:
        assert self.model is not None
        changes.pop("layers", None)
        step: dict[str, Any] = dict(_STEP)
        for key, value in changes.items():
            name = key.removeprefix(LLM)
            if not key.startswith(LLM) or name not in _STEP:
                near = nearest(key, [LLM + known for known in (*_STEP, "batch")])
                raise InputError([Fault(f"--set {key}", "", f"must be a key of a language model{near}")])
            step[name] = value
        if step["phase"] not in ("decode", "prefill"):
            wrong = f"must be decode or prefill, not {excerpt(step['phase'])}"
            raise InputError([Fault(f"--set {LLM}phase", "", wrong)])
        make = decode_network if step["phase"] == "decode" else prefill_network
        try:
            formats = Formats(step["weights"], step["kv"], step["activations"])
            return make(self.model, step["context"], formats, step["tp"])
        except InputError as error:
            keys = {"tokens": "context"}
            raise InputError(
                [Fault(f"--set {LLM}{keys.get(fault.path, fault.path)}", "", fault.message) for fault in error.faults]
            ) from None


_STEP: dict[str, Any] = {
    "phase": "decode", "context": 1024, "tp": 1, "weights": "bf16", "kv": "", "activations": "",
}  # fmt: skip


@lru_cache(maxsize=8)
def _names(what: str) -> tuple[str, ...]:
    return tuple((*machine_names(), *cluster_names()) if what == "machines" else (*workload_names(), *llm_names()))


def find(what: str, text: str, folder: Path) -> dict[str, str | Path]:
    """Machines or workloads that match a name, a path or a pattern: label -> name or path.

    Raises
    ------
    InputError
        If none matches, or the name of one is not a line of printable text.
    """
    if one_line(text) != text:
        raise InputError(f"must be a line of printable text, not {excerpt(text)}")
    is_path = "/" in text or Path(text).suffix in (".yaml", ".yml", ".csv", ".tflite", ".onnx", ".json")
    if not is_path:
        if not any(mark in text for mark in "*?["):
            if text not in _names(what):
                raise InputError(
                    f"must be a known {what[:-1]} or a path to a file, not {text!r}{nearest(text, _names(what))}"
                )
            return {text: text}
        known = machine_names() if what == "machines" else _names(what)
        matches: dict[str, str | Path] = {name: name for name in known if fnmatchcase(name, text)}
    elif any(mark in text for mark in "*?["):
        root = Path(text).anchor or str(folder)
        pattern = str(Path(text).relative_to(root)) if Path(text).is_absolute() else text
        try:
            matches = {str(path.relative_to(root)): path for path in sorted(Path(root).glob(pattern)) if path.is_file()}
        except (ValueError, NotImplementedError, OSError) as error:
            raise InputError(f"must be a pattern of files, not {text!r}: {error}") from None
    else:
        return {text: folder / text}
    if not matches:
        raise InputError(f"must match some {what}; {text!r} matches none")
    for label in matches:
        if one_line(label) != label:
            raise InputError(f"must match files whose names are lines of printable text, not {excerpt(label)}")
    return matches
