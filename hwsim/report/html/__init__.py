"""Reports as HTML: one file with everything in it, no script or font from elsewhere, charts as SVG that CSS colors."""

from hwsim.report.html.run import report_fragment, report_html
from hwsim.report.html.sweep import SweepPoints, sweep_fragment, sweep_html

__all__ = ["SweepPoints", "report_fragment", "report_html", "sweep_fragment", "sweep_html"]
