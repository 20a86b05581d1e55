"""Revision of the model: part of the key of each stored result."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import hwsim

__all__ = ["model_revision"]

_SUFFIXES = (".py", ".pyx", ".so", ".pyd", ".yaml")
_APART = ("cli", "arch_configs", "workloads")
"""The command line changes no result; resolved machines and workloads are in the key of each result."""


@cache
def model_revision() -> str:
    """Digest of the code and tables that determine results, and of the versions of numpy and simpy."""
    package = Path(hwsim.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*")):
        place = path.relative_to(package)
        if path.suffix in _SUFFIXES and place.parts[0] not in _APART and "__pycache__" not in place.parts:
            digest.update(f"{place.as_posix()} {path.stat().st_size}\n".encode())
            digest.update(path.read_bytes())
    for library in ("numpy", "simpy"):
        try:
            digest.update(f"{library} {version(library)}\n".encode())
        except PackageNotFoundError:
            digest.update(f"{library} unknown\n".encode())
    return digest.hexdigest()
