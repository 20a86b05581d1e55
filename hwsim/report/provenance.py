"""What a result was computed from: version, digests of machine, network and tables, and what was changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hwsim
from hwsim.energy import plug_in_tables
from hwsim.files import write_text
from hwsim.report.json_text import json_text

if TYPE_CHECKING:
    from hwsim.report.result import RunResult
    from hwsim.workload import Workload
    from hwsim.yaml_source import Document

__all__ = ["FORMAT", "changed_keys", "machine_digest", "made_by", "provenance", "workload_digest", "write_provenance"]

FORMAT = 2
"""Number of the form of reports as JSON; 1 had no provenance. It grows when a key goes or means something else."""


@cache
def _tables_digest() -> str:
    """Digest of the tables of constants that come with hwsim (prices, cores, libraries) and of plug-ins' prices."""
    package, digest = Path(hwsim.__file__).parent, hashlib.sha256()
    for path in sorted((*package.rglob("*.yaml"), *package.rglob("*.csv"))):
        place = path.relative_to(package).as_posix()
        if not place.startswith(("arch_configs/", "workloads/")):  # these are digested as machine and network
            digest.update(f"{place} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    for name, path in plug_in_tables().items():
        digest.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def changed_keys(report: RunResult) -> dict[str, Any]:
    """Keys of the machine's file that were changed for a run, with their values."""
    document, keys = report.machine.document, dict[str, Any]()
    for path, mark in document.marks.items():
        if str(mark).startswith("--set"):
            value: Any = document.data
            for part in path:
                value = value.get(part) if isinstance(value, Mapping) else None
            keys[".".join(map(str, path))] = value
    return keys


def made_by() -> dict[str, Any]:
    """What all results of this version have in common."""
    return {"hwsim": hwsim.__version__, "format": FORMAT, "tables": _tables_digest()}


def machine_digest(document: Document) -> str:
    """Digest of what the file of a machine says, with its bases."""
    return hashlib.sha256(json.dumps(document.data, sort_keys=True, default=str).encode()).hexdigest()


def workload_digest(network: Workload) -> str:
    """Digest of the layers of a network and of how they are connected."""
    shape = (network.name, network.graph, network.input_shape, network.layers, tuple(network.inputs.values()))
    return hashlib.sha256(repr(shape).encode()).hexdigest()


def provenance(report: RunResult) -> dict[str, Any]:
    """The same on every platform: version, number of the form, digests (SHA-256) and changed keys."""
    return {
        **made_by(),
        "machine": machine_digest(report.machine.document),
        "workload": workload_digest(report.workload),
        "set": changed_keys(report),
    }


def write_provenance(report: RunResult, table: str) -> None:
    """Write what a table was computed from beside it, as its name with `.provenance.json`; a stream has none."""
    if Path(table).is_file() and not Path(table).is_symlink():
        write_text(Path(f"{table}.provenance.json"), json_text(provenance(report)))
