"""A model as this machine runs it, node by node, beside a prediction."""

from hwsim.measurement.comparison import MeasuredComparison, MeasuredRow, compare_measured, print_measured
from hwsim.measurement.profile import NodeTime, parse_profile
from hwsim.measurement.runtime import RUNTIMES, Measurement, measure

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
