"""Measures the machine that hwsim runs on, and writes it as a machine of kind ``cpu``."""

from hwsim.calibration.document import machine_text
from hwsim.calibration.library import (
    LibraryFit,
    cold_seconds,
    filter_seconds,
    fit_library,
    measured_operators,
    missing_runtime,
    operator_seconds,
)
from hwsim.calibration.numbers import Number
from hwsim.calibration.rounds import Calibration, calibrate

__all__ = [
    "Calibration",
    "LibraryFit",
    "Number",
    "calibrate",
    "cold_seconds",
    "filter_seconds",
    "fit_library",
    "machine_text",
    "measured_operators",
    "missing_runtime",
    "operator_seconds",
]
