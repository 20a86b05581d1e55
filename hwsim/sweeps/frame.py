"""The rows of a sweep as a DataFrame that notebooks show with charts."""

from __future__ import annotations

import pandas as pd

from hwsim.report.html import SweepPoints, sweep_fragment, sweep_html
from hwsim.sweeps.summary import OBJECTIVES, best_of_both, summary_line

__all__ = ["SweepFrame", "page_of"]


class SweepFrame(pd.DataFrame):
    """A row per point; results of DataFrame operations are plain DataFrames."""

    _metadata = ["title", "variables"]
    title: str
    variables: list[str]

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame

    def _repr_html_(self) -> str | None:
        try:
            return page_of(self, self.title, self.variables, fragment=True)
        except (AttributeError, ImportError, KeyError):  # without the columns of the charts: only the table
            return str(pd.DataFrame(self).to_html(max_rows=60))


def page_of(frame: pd.DataFrame, title: str, variables: list[str], fragment: bool = False) -> str:
    """The front, charts and tables of a sweep, as an HTML page or a fragment for a notebook."""
    frame = pd.DataFrame(frame).reset_index(drop=True)
    workloads = frame[frame.feasible].groupby("workload")
    best = [place for _, good in workloads for place in best_of_both(good).index]
    notes = [summary_line(frame)]
    if len(workloads) > 1:
        notes.append("Each workload has its own Pareto front.")
    write = sweep_fragment if fragment else sweep_html
    return write(SweepPoints(frame, variables, OBJECTIVES, title, front=best, notes=notes))
