"""The report of a run: its result as JSON, CSV, HTML and a trace."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwsim.files import csv_text, write_text
from hwsim.lazy import lazy
from hwsim.report.json_text import json_text
from hwsim.report.plot import Plot
from hwsim.report.provenance import provenance
from hwsim.report.result import RunResult

if TYPE_CHECKING:
    import hwsim.scenario as scenarios
    from hwsim.report import published
else:
    published, scenarios = lazy("hwsim.report.published"), lazy("hwsim.scenario")

__all__ = ["Report"]


class Report(RunResult):
    """The result of `hwsim.simulate`, with the formats that it is written in."""

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data, as `--json` writes it; an unknown energy (NaN) becomes null."""

        def clean(value: Any) -> Any:
            return None if isinstance(value, float) and math.isnan(value) else value

        summary = asdict(self.summary)
        summary |= {"inferences_per_s": self.summary.inferences_per_s, "tops": self.summary.tops}
        area, machine = self.machine.area_parts_mm2(), self.machine
        errors = self.expected_error
        summary |= {"error_measured": errors["latency"].measured, "error_basis": errors["latency"].words}
        columns = ("layer", "component", "tensor", "action", "count", "energy_pj")
        return {
            "provenance": provenance(self),
            "summary": {key: clean(value) for key, value in summary.items()},
            "expected_error": {quantity: asdict(error) for quantity, error in errors.items()},
            "layers": [{key: clean(value) for key, value in row.items()} for row in self.rows],
            "actions": [{k: clean(v) for k, v in zip(columns, row)} for row in self.action_rows()],
            "mappings": {r.name: r.plan.mapping.lines() for r in self.results if r.plan.mapping is not None},
            "memories": [
                {
                    "memory": use.memory,
                    "size_bytes": use.size_bytes,
                    "need_bytes": use.need_bytes,
                    "parts": dict(use.parts),
                }
                for use in self.memories
            ],
            **({"area": {"total_mm2": machine.area_mm2, "parts_mm2": area}} if area else {}),
            **({"arena": self.arena.to_dict()} if self.arena else {}),
            "notes": list(self.notes),
            "messages": [message.to_dict() for message in self.messages],
            "unused": [item.to_dict() for item in self.unused],
        }

    def to_json(self, more: Mapping[str, Any] | None = None) -> str:
        """The report as JSON text, with the keys of `more` added."""
        return json_text(self.to_dict() | dict(more or {}))

    def to_html(
        self, scenario: scenarios.DutyCycle | None = None, predictions: Sequence[published.Prediction] = ()
    ) -> str:
        """The report as one self-contained HTML document: charts, the bottleneck of each layer, and all sources.

        Parameters
        ----------
        scenario : DutyCycle, optional
            Of `hwsim.duty_cycle`.
        predictions : sequence of Prediction
            Published quantities of the machine with their predictions (`hwsim.validation.predictions.of_machine`).
        """
        from hwsim.report.html import report_html

        return report_html(self, scenario, predictions)

    @property
    def plot(self) -> Plot:
        """Charts of this report as axes of matplotlib: ``report.plot.layers()``, ``.roofline()``, ``.energy()``."""
        return Plot(self)

    def _repr_html_(self) -> str:
        """What a notebook shows: the totals and the layers."""
        from hwsim.report.html import report_fragment

        return report_fragment(self)

    def trace_json(self) -> str:
        """The timeline as Chrome-trace JSON, which ui.perfetto.dev opens."""
        return self.timeline.to_json()

    def to_csv(self, path: str | Path | None = None) -> str | None:
        """The layers as CSV, into a file or as text."""
        text = csv_text(self.layers)
        if path is None:
            return text
        write_text(Path(path), text)
        return None
