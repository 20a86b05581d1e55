"""Finds and reads machine files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hwsim
from hwsim.errors import Fault, HwsimError, InputError, excerpt, nearest
from hwsim.fields import check
from hwsim.machines.base import Machine
from hwsim.machines.registry import kinds
from hwsim.machines.scalesim import read_cfg
from hwsim.workload.loader import check_no_timeloop
from hwsim.yaml_source import MAX_DEPTH, MAX_NODES, Document, parse_yaml, read_yaml

__all__ = [
    "HERE",
    "cluster_names",
    "host_path",
    "load_machine",
    "locate",
    "machine_document",
    "machine_folder",
    "machine_names",
    "read_machine",
]

_BASE_DEPTH = 5
_SUFFIXES = (".yaml", ".yml", ".cfg")
HERE = {"host": "hwsim calibrate", "cuda": "hwsim calibrate --device cuda"}
"""This machine and its GPU: no files that come with hwsim, but those that these commands wrote in this folder."""


def machine_folder() -> Path:
    """The folder of the machines that come with hwsim: inside an installed package, else at the top of the project."""
    package = Path(hwsim.__file__).parent
    inside = package / "arch_configs"
    return inside if inside.is_dir() else package.parent / "arch_configs"


def machine_names() -> list[str]:
    """Names of the machines that come with hwsim."""
    return sorted(path.stem for path in machine_folder().glob("*.yaml"))


def cluster_names() -> list[str]:
    """Names of the clusters that come with hwsim."""
    return sorted(path.stem for path in (machine_folder() / "clusters").glob("*.yaml"))


def locate(name: str | Path, beside: Path | None = None) -> Path:
    """The file of a machine by its name, or by its path, relative to `beside` if that is given."""
    if not isinstance(name, str | Path):
        raise InputError(f"a machine must be a name or a path, not {excerpt(name)}")
    text = str(name)
    if text.lower().endswith(_SUFFIXES):
        path = Path(text)
        return beside / path if beside is not None and not path.is_absolute() else path
    path = machine_folder() / f"{text}.yaml"
    if text in HERE and not path.is_file():
        path = Path(f"{text}.yaml")
        if not path.is_file():
            raise InputError(f"{path} is not in this folder: `{HERE[text]}` measures this machine and writes the file")
    elif text in cluster_names():
        path = machine_folder() / "clusters" / f"{text}.yaml"
    elif text not in machine_names():
        hint = (
            "; a path must end in .yaml, or in .cfg for one of SCALE-Sim"
            if "/" in text
            else nearest(text, [*machine_names(), *cluster_names()], "`hwsim list machines` has all")
        )
        raise InputError(f"no machine is called {text!r}{hint}")
    return path


def machine_document(name: str | Path, changes: Mapping[str, object] | None = None) -> Document:
    """The YAML of a machine with its bases merged in and `changes` laid over it."""
    path = locate(name)
    document = _read(path)
    for _ in range(_BASE_DEPTH):
        if not isinstance(document.data, dict) or "base" not in document.data:
            break
        base = document.data.pop("base")
        if not isinstance(base, str):
            raise InputError([Fault(document.where(("base",)), "base", f"must be the name of a machine, not {base!r}")])
        path = locate(base, path.parent)
        document = document.over(_read(path))
    else:
        raise InputError([Fault(document.name, "base", f"machines must build on at most {_BASE_DEPTH} others")])
    if not isinstance(document.data, dict):
        raise InputError([Fault(document.where(()), "", "must be a mapping of keys to values")])
    if changes is not None:
        document.override(_values(changes))
    return document


def _read(path: Path) -> Document:
    return read_cfg(path) if path.suffix.lower() == ".cfg" else read_yaml(path)


def _values(changes: object) -> dict[str, object]:
    """Changes by dotted key as plain data; raises InputError for what is no mapping, or cannot be read as one."""
    try:
        items = dict(changes.items()) if isinstance(changes, Mapping) else {None: None}
    except Exception:  # a mapping of the caller's own
        items = {None: None}
    if not all(isinstance(key, str) for key in items):
        raise InputError(f"set must be values by dotted key, as {{'clocks.core': '250 MHz'}}, not {excerpt(changes)}")
    return {str.__str__(key): _Plain(f"--set {str.__str__(key)}").of(value) for key, value in items.items()}


class _Plain:
    """A value from the command line, as it would be in the file; numbers of numpy are plain ones.

    Lists and mappings of Python may hold themselves, and may be of a class with methods of its own.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self.left = MAX_NODES

    def of(self, value: object, depth: int = 0) -> object:
        self.left -= 1
        if depth > MAX_DEPTH or self.left < 0:
            raise InputError(f"must have at most {MAX_NODES} values, nested at most {MAX_DEPTH} deep", self.where)
        try:
            if isinstance(value, Mapping):
                return {key: self.of(item, depth + 1) for key, item in value.items()}
            if isinstance(value, list | tuple):
                return [self.of(item, depth + 1) for item in value]
            if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
                return value.tolist()
        except HwsimError:
            raise
        except Exception:
            raise InputError(f"must be plain data, not {excerpt(value)}", self.where) from None
        if not isinstance(value, str):
            return value
        text = str.__str__(value)
        return parse_yaml(text, self.where).data if text.strip() else text


def load_machine(name: str | Path, set: Mapping[str, object] | None = None) -> Machine:
    """Read a machine.

    Parameters
    ----------
    name : str or Path
        A name that `hwsim list machines` prints, or a path to a YAML file or a .cfg of SCALE-Sim.
    set : mapping, optional
        Changes by dotted key, as ``{"clocks.core": "250 MHz"}``.

    Returns
    -------
    Machine
        The machine, checked.

    Raises
    ------
    InputError
        With all faults of the file, each with its place.
    """
    return read_machine(machine_document(name, set), locate(name).parent)


def read_machine(document: Document, folder: Path) -> Machine:
    """Make the machine that a document describes, which lay in `folder`; raises InputError with all faults."""
    check_no_timeloop(document)
    kind = document.data.get("kind")
    if not isinstance(kind, str) or kind not in kinds():
        where = document.where(("kind",))
        raise InputError(
            [Fault(where, "kind", f"must be a kind of machine, not {excerpt(kind)}{nearest(kind, kinds())}")]
        )
    machine_class = kinds()[kind]
    spec = check(machine_class.spec_class, document)
    name = getattr(spec, machine_class.part_key, None)
    return machine_class(spec, folder, document, None if name is None else _read_part(spec, name, folder, document))


def host_path(name: str, folder: Path) -> Path:
    """The file of the host that a machine in a folder names: beside the machine, else from here."""
    path = locate(name, folder)
    return path if path.exists() else locate(name)


def _read_part(spec: Any, name: str, folder: Path, document: Document) -> Machine:
    """The machine that another names, its host or device; raises InputError where it cannot be one."""
    key = kinds()[spec.kind].part_key
    try:
        path = host_path(name, folder)
        part = machine_document(path, spec.device_set if key == "device" else None)
        kind = kinds().get(str(part.data.get("kind")))
        if key == "device":
            if kind is not None and kind.part_key == key:
                raise InputError(f"must be a machine that runs networks, not {name!r} of kind {kind.kind}")
            return read_machine(part, path.parent)
        if kind is not None and not kind.can_host:
            able = " or ".join(sorted(other.kind for other in kinds().values() if other.can_host))
            raise InputError(f"must be a machine of kind {able}, not {name!r} of kind {kind.kind}")
        return read_machine(part, path.parent).as_host()
    except InputError as error:
        where = document.where((key,))
        faults = [fault if fault.where else Fault(where, key, fault.message) for fault in error.faults]
        raise InputError(faults) from None
