"""Revision of the model: part of the key of each stored result.

It covers the code that computes results: a comment, a docstring or an HTML page does not change it.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, entry_points, version
from importlib.util import cache_from_source
from pathlib import Path

import hwsim
from hwsim.energy import plug_in_tables

__all__ = ["computing_files", "model_digest", "model_revision"]

#: Modules and packages that results come from; machines and workloads stand in the key of each result, resolved.
_COMPUTING = (
    "errors.py", "fields.py", "files.py", "lazy.py", "message.py", "plug_ins.py", "units.py", "yaml_source.py",
    "workload", "kernels", "algorithms", "compression", "mapping", "engine", "energy", "machines", "simulation.py",
    "report/json_text.py", "report/plot.py", "report/provenance.py", "report/quantity.py", "report/report.py",
    "report/result.py", "report/unused.py", "requests", "serving", "sweeps/evaluation.py", "sweeps/serving.py",
    "sweeps/training.py", "training", "parallel",
)  # fmt: skip
_SUFFIXES = (".py", ".so", ".pyd", ".yaml", ".csv")


def computing_files(package: Path) -> Iterator[Path]:
    """Modules, compiled modules and tables that results come from, in the folder of the package."""
    yield from (path for path in sorted(package.glob("_*")) if path.suffix in (".so", ".pyd"))  # what extensions share
    for name in _COMPUTING:
        place = package / name
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if path.suffix in _SUFFIXES and "__pycache__" not in path.parts:
                yield path


def _code(source: bytes) -> bytes:
    """A module without comments, docstrings and places."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            body[:] = [item for item in body if not _is_text(item)]
    return ast.dump(tree).encode()


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def model_digest(package: Path) -> str:
    """Digest of the code and tables that results come from."""
    memo = Path(cache_from_source(str(package / "sweeps" / "revision.py"))).with_suffix(".json")
    before: dict[str, str] = {}
    with suppress(OSError, ValueError, TypeError):  # a memo that is not there, or damaged: all is parsed
        before = dict(json.loads(memo.read_text()))
    digest, codes = hashlib.sha256(), {}
    for path in computing_files(package):
        source = path.read_bytes()
        key = hashlib.sha256(source).hexdigest()
        if path.suffix == ".py":  # parsing takes far longer than reading
            codes[key] = key = before.get(key) or hashlib.sha256(_code(source)).hexdigest()
        digest.update(f"{path.relative_to(package).as_posix()} {key}\n".encode())
    if codes != before and not sys.dont_write_bytecode:
        with suppress(OSError):
            memo.parent.mkdir(exist_ok=True)
            partial = memo.with_suffix(f".{os.getpid()}")
            partial.write_text(json.dumps(codes))
            partial.replace(memo)
    return digest.hexdigest()


@cache
def model_revision() -> str:
    """Digest of the code and tables that results come from, and of the libraries and plug-ins that take part."""
    digest = hashlib.sha256(model_digest(Path(hwsim.__file__).parent).encode())
    for library in ("numpy", "simpy"):
        try:
            digest.update(f"{library} {version(library)}\n".encode())
        except PackageNotFoundError:
            digest.update(f"{library} unknown\n".encode())
    for group in ("hwsim.machines", "hwsim.tables"):
        for point in sorted(entry_points(group=group), key=lambda point: point.name):
            digest.update(f"{point.name} {point.value} {point.dist.version if point.dist else 'unknown'}\n".encode())
    for name, path in plug_in_tables().items():
        digest.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()
