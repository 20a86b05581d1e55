"""The files that a user gives: what each holds, and the workload and the machine that they make together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hwsim.errors import InputError
from hwsim.message import Message
from hwsim.timeloop.architecture import read_architecture
from hwsim.timeloop.machine import machine_data, word_dtype
from hwsim.timeloop.nest import nest_lines, read_levels
from hwsim.timeloop.prices import read_prices
from hwsim.timeloop.problem import Problem, read_problem
from hwsim.timeloop.source import Source, read_source
from hwsim.workload import Layer, Workload

__all__ = ["Imported", "read_files"]

_PARTS = ("problem", "architecture", "mapping", "ERT", "ERT_summary")
_REFUSED = {"sparse_optimizations": "sparse optimizations change the counts and are not modeled"}
_PROBLEM = ("shape", "instance", "version", "name", "dnn_name", "notes", "description")
_TENSORS = {"Inputs": "ifmap", "Weights": "weight", "Outputs": "ofmap"}
_MOST = 2000


@dataclass(frozen=True)
class Imported:
    """What some files make: the keys of a machine, a workload, or both, and what they hold beside."""

    machine: dict[str, Any] | None
    workload: Workload | None
    notes: tuple[Message, ...]


def read_files(paths: Sequence[Path], name: str = "") -> Imported:
    """Read problem, architecture, mapping and ERT files of Timeloop, versions 0.2 to 0.4.

    Several problems are the layers of one workload. A file may hold several parts.

    Raises
    ------
    InputError
        With the place of what hwsim does not have or what is wrong.
    """
    if len(paths) > _MOST:
        raise InputError(f"at most {_MOST} files can be read, not {len(paths)}")
    beside = {path.name: path for path in paths}
    parts: dict[str, list[Source]] = {part: [] for part in _PARTS}
    left: list[str] = []
    for path in paths:
        source = read_source(path, beside)
        for key in source.data:
            if key in _REFUSED and source.data[key]:
                raise source.fault((key,), _REFUSED[key])
            if key in parts:
                parts[key].append(source)
                if key == "problem":
                    left += [
                        f"problem.{word}" for word in source.mapping(source.data[key], (key,)) if word not in _PROBLEM
                    ]
            elif source.data[key] and not key.endswith("ignore") and key != "dumped_by_timeloop_front_end":
                left.append(key)
    parts["ERT"] = parts["ERT"] or parts["ERT_summary"]
    for part in ("architecture", "mapping", "ERT"):
        if len(parts[part]) > 1:
            raise InputError(f"only one file may have a key {part!r}", parts[part][1].name)
    if not parts["problem"] and not parts["architecture"]:
        raise InputError("must have a problem or an architecture of Timeloop", str(paths[0]))
    return _imported(parts, name, left)


def _imported(parts: dict[str, list[Source]], name: str, left: list[str]) -> Imported:
    notes: list[Message] = []
    built = read_architecture(parts["architecture"][0]) if parts["architecture"] else None
    dtype = word_dtype(parts["architecture"][0], built) if built is not None else "int8"
    problems = [read_problem(source, _stem(source), dtype) for source in parts["problem"]]
    for source, problem in zip(parts["problem"], problems):
        if problem.images > 1:
            values = {"images": problem.images, "file": source.name}
            template = "{file}: a batch of {images} images; counts are per image: run it with --batch {images}"
            notes.append(Message("timeloop.batch", template, values, "warning"))
    workload = _workload(problems, name or (_stem(parts["problem"][0]) if problems else ""), parts["problem"])
    machine = None
    if built is not None:
        source = parts["architecture"][0]
        tensors, dims = (problems[0].tensors, list(problems[0].sizes)) if problems else (_TENSORS, [])
        mapped = parts["mapping"][0] if parts["mapping"] and problems else None
        if len(problems) > 1 and mapped is not None:
            raise mapped.fault(("mapping",), "must come with one problem, not several")
        levels = read_levels(mapped, tensors, dims, built)
        prices = read_prices(parts["ERT"][0]) if parts["ERT"] else None
        nests = {}
        if mapped is not None and workload is not None:
            nests[next(iter(workload)).name] = nest_lines(mapped, levels, problems[0])
        if built.constrained:
            left.append("constraints")
        machine = machine_data(source, built, levels, prices, nests, name or _stem(source))
        if prices is None:
            notes.append(Message("timeloop.energy", "no ERT is given: energy is unknown", {}, "warning"))
    if parts["mapping"] and not (problems and built is not None):
        left.append("mapping (without a problem and an architecture)")
    if left:
        values = {"keys": list(dict.fromkeys(left))}
        notes.append(Message("timeloop.unread", "not modeled, and without effect: {keys}", values, "warning"))
    return Imported(machine, workload, tuple(notes))


def _stem(source: Source) -> str:
    return Path(source.name).name.partition(".")[0]


def _workload(problems: list[Problem], name: str, sources: list[Source]) -> Workload | None:
    """The layers of all problems; equal names are numbered by their file."""
    if not problems:
        return None
    layers: list[Layer] = []
    names: set[str] = set()
    for problem, source in zip(problems, sources):
        layer = problem.layer
        if len(problems) > 1 or layer.name in names:
            layer = replace(layer, name=_stem(source))
        number = 2
        base = layer.name
        while layer.name in names:
            layer = replace(layer, name=f"{base}_{number}")
            number += 1
        names.add(layer.name)
        layers.append(layer)
    return Workload(name, layers, graph=False, source=f"{Path(sources[0].name).name} of Timeloop")
