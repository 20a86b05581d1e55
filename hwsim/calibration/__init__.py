"""Measures the machine that hwsim runs on, and writes it as a machine of kind ``cpu``."""

from hwsim.calibration.document import machine_text
from hwsim.calibration.numbers import Number
from hwsim.calibration.rounds import Calibration, calibrate

__all__ = ["Calibration", "Number", "calibrate", "machine_text"]
