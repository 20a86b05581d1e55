"""Names of the totals of a point."""

from __future__ import annotations

from dataclasses import fields

from hwsim.report.result import Summary

__all__ = ["TOTALS", "WORDS"]

TOTALS = (
    *(field.name for field in fields(Summary) if field.name not in ("machine", "workload", "batch")),
    "inferences_per_s",
    "energy_per_inference_pj",
    "edp_pj_s",
    "tops_per_w",
    "area_mm2",
    "cost_usd",
)
"""Columns of every point; ``energy_pj.COMPONENT`` columns follow."""

WORDS = ("library_name", "energy_scope", "energy_basis")
"""Totals that are words."""
