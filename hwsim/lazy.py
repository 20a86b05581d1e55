"""Modules that are imported when something of them is used: heavy ones, named in annotations of light ones."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

__all__ = ["lazy"]


class _Lazy(ModuleType):
    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self.__name__), name)


def lazy(name: str) -> ModuleType:
    """The module of a name, imported at the first use of what is in it.

    `typing.get_type_hints` then knows what an annotation says, and a command that does not need it does not wait.
    """
    return _Lazy(name)
