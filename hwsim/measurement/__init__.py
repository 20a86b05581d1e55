"""A model as this machine runs it, node by node, beside a prediction."""

from hwsim.measurement.comparison import MeasuredComparison, MeasuredRow, compare_measured, print_measured
from hwsim.measurement.runtime import RUNTIMES, Measurement, NodeTime, measure, parse_profile

__all__ = [
    "RUNTIMES",
    "MeasuredComparison",
    "MeasuredRow",
    "Measurement",
    "NodeTime",
    "compare_measured",
    "measure",
    "parse_profile",
    "print_measured",
]
