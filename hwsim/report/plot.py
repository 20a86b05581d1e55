"""Charts of a report for notebooks and papers, as axes of matplotlib."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from hwsim.errors import InputError

if TYPE_CHECKING:
    from hwsim.report.result import RunResult

__all__ = ["Plot"]


class Plot:
    """Charts of one report. Each method takes axes to draw on, or makes some, and returns them."""

    def __init__(self, report: RunResult) -> None:
        self._report = report

    @staticmethod
    def _axes(axes: Any) -> Any:
        if axes is not None:
            return axes
        try:
            from matplotlib import pyplot
        except ImportError:
            raise InputError("charts as axes need matplotlib: pip install matplotlib") from None
        return pyplot.subplots(layout="constrained")[1]

    def layers(self, axes: Any = None) -> Any:
        """A bar for each layer: its latency in ms, colored by what limits it.

        Parameters
        ----------
        axes : matplotlib.axes.Axes, optional
        """
        axes, rows = self._axes(axes), self._report.rows
        for bound in dict.fromkeys(row["bound"] for row in rows):
            places = [place for place, row in enumerate(rows) if row["bound"] == bound]
            axes.barh(places, [1e3 * rows[place]["latency_s"] for place in places], label=bound)
        axes.set_yticks(range(len(rows)), [row["layer"] for row in rows])
        axes.invert_yaxis()
        axes.set_xlabel("latency (ms)")
        axes.set_title(self._title())
        axes.legend(title="bound by")
        return axes

    def roofline(self, axes: Any = None) -> Any:
        """MACs a second over MACs per byte of each layer, under the roofs of the machine; both logarithmic.

        Parameters
        ----------
        axes : matplotlib.axes.Axes, optional

        Raises
        ------
        InputError
            If no layer has MACs and traffic at a memory with a bandwidth.
        """
        from hwsim.report.html.views import roofline_of

        points, roofs, _, _ = roofline_of(self._report)
        if not points:
            raise InputError("a roofline needs a layer with MACs and traffic at a memory with a bandwidth")
        axes = self._axes(axes)
        ends = min(point.intensity for point in points) / 2, max(point.intensity for point in points) * 2
        for roof in roofs.values():
            heights = [roof.limit, roof.limit] if roof.flat else [roof.limit * end for end in ends]
            axes.plot(ends, heights, color="0.5", linestyle="-" if roof.flat else "--")
            axes.annotate(roof.name, (ends[0], heights[0]))
        for memory in dict.fromkeys(point.roof for point in points):
            at = [point for point in points if point.roof == memory]
            axes.scatter([point.intensity for point in at], [point.rate for point in at], label=memory)
        axes.set(xscale="log", yscale="log", xlabel="MACs per byte", ylabel="MACs per second", title=self._title())
        axes.legend(title="bytes of")
        return axes

    def energy(self, axes: Any = None) -> Any:
        """A bar for each component: its energy in uJ.

        Parameters
        ----------
        axes : matplotlib.axes.Axes, optional

        Raises
        ------
        InputError
            If the energy of the machine is unknown.
        """
        parts = self._report.component_energy()
        if not parts or any(map(math.isnan, parts.values())):
            raise InputError(f"the energy of {self._report.machine.name} is unknown")
        axes = self._axes(axes)
        axes.bar(list(parts), [energy / 1e6 for energy in parts.values()])
        axes.set(ylabel="energy (uJ)", title=self._title())
        return axes

    def _title(self) -> str:
        summary = self._report.summary
        return f"{summary.workload} on {summary.machine}, batch {summary.batch}"
