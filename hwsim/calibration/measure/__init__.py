"""Measurement of a model on this machine, node by node, and comparison with a prediction."""

from hwsim.calibration.measure.comparison import MeasuredComparison, MeasuredRow, compare_measured, print_measured
from hwsim.calibration.measure.profile import NodeTime, parse_profile
from hwsim.calibration.measure.runtime import RUNTIMES, Measurement, measure

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
