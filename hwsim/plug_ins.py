"""What other packages bring: entry points of a group, each checked; one that is broken is a warning, nothing more."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from hwsim.errors import HwsimWarning, excerpt

__all__ = ["plug_ins"]

T = TypeVar("T")


def plug_ins(group: str, what: str, checked: Callable[[EntryPoint, Any], T]) -> dict[str, T]:
    """The objects of an entry-point group by name, in its order.

    Parameters
    ----------
    group : str
    what : str
        What each is, in the warning about one that is left out.
    checked : callable
        What to keep of an entry point and its object; raises where it is not valid.
    """
    kept: dict[str, T] = {}
    for point in sorted(entry_points(group=group), key=lambda point: point.name):
        package = f" of {point.dist.name}" if point.dist else ""
        try:
            kept[point.name] = checked(point, point.load())
        except Exception as error:  # whatever a module does when it is imported
            reason = excerpt(f"{type(error).__name__}: {error}")
            warnings.warn(f"the {what} {point.name!r}{package} is left out: {reason}", HwsimWarning, stacklevel=3)
    return kept
