"""Sentences on inputs that a run did not use: one per reason, with the affected layers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hwsim.machines.properties import TENSORS, Unused

__all__ = ["sentences"]

_HEADS = {
    "unused": "no effect here",
    "format": "in another number format",
    "free": "no time and no energy",
    "price": "priced as something else",
}
_MOST = 3


def _names(layers: Sequence[str], of: int) -> str:
    """A few names and how many more, or that it is all of them."""
    if len(layers) == of > 1:
        return f"all {of} layers"
    if len(layers) <= _MOST + 1:
        return ", ".join(layers)
    return f"{', '.join(layers[:_MOST])} and {len(layers) - _MOST} more"


def _values(values: Iterable[str]) -> str:
    """The one number, or the least and the largest of several."""
    several = sorted(set(values), key=float) or [""]
    return several[0] if len(several) == 1 else f"{several[0]} to {several[-1]}" if len(several) > 2 else _and(several)


def _and(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else list(words))


def _properties(names: Sequence[str]) -> str:
    """``dtype`` for that of all tensors."""
    if set(names) == {f"{tensor}.dtype" for tensor in TENSORS}:
        return "dtype"
    return _and(names)


def sentences(items: Iterable[Unused], layers: int) -> tuple[str, ...]:
    """One sentence for the layers and properties that share a reason.

    Parameters
    ----------
    items : iterable of Unused
    layers : int
        Layers of the network.
    """
    groups: dict[tuple[str, str], dict[tuple[str, str], list[Unused]]] = {}
    for item in items:
        # Densities differ from layer to layer, formats are told apart.
        value = "" if item.property.endswith("density") or item.property.startswith("dead") else item.value
        groups.setdefault((item.what, item.reason), {}).setdefault((item.property, value), []).append(item)
    found: dict[tuple[str, str, str, tuple[str, ...]], list[tuple[str, str]]] = {}
    for (what, reason), members in groups.items():
        for (name, value), several in members.items():
            shown = value or _values(item.value for item in several if item.value)
            concerned = tuple(dict.fromkeys(item.layer for item in several))
            found.setdefault((what, reason, shown, concerned), []).append((name, shown))
    lines = []
    for (what, reason, shown, concerned), members_ in found.items():
        subject = f"{_properties([name for name, _ in members_])} {shown}".strip()
        where = _names([layer for layer in concerned if layer], layers)
        lines.append(f"{_HEADS[what]}: {' of '.join(part for part in (subject, where) if part)} ({reason})")
    return tuple(lines)
