"""Marks of energies that nobody measured: of a data sheet, an estimate, or from who knows where."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hwsim.report.quantity import shown

__all__ = ["footnote", "marked", "unmeasured"]

_BASES = ("data sheet", "estimate", "not stated")
_COLUMNS = ("energy_pj", "energy_per_inference_pj", "edp_pj_s", "power_w", "tops_per_w")


def unmeasured(totals: Mapping[str, Any]) -> str:
    """What the energy of a run is of, if it rests on no measurement and no cost table; else empty."""
    basis = totals.get("energy_basis")
    return f"{totals.get('energy_scope')} ({basis})" if basis in _BASES else ""


def marked(column: str, totals: Mapping[str, Any], digits: int = 4) -> str:
    """A total as a person reads it; with a star if it is an energy that is not measured."""
    text = shown(column, totals.get(column), digits)
    return f"{text}*" if column.partition(".")[0] in _COLUMNS and unmeasured(totals) else text


def footnote(rows: Iterable[Mapping[str, Any]]) -> str:
    """What the star means in these rows; empty if none has one."""
    origins = "; ".join(dict.fromkeys(filter(None, map(unmeasured, rows))))
    return f"* energy not measured: {origins}" if origins else ""
