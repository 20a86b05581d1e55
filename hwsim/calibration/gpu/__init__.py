"""Measures a CUDA device, and writes it as a machine of kind ``gpu``."""

from hwsim.calibration.gpu.device import Device, Properties
from hwsim.calibration.gpu.document import gpu_text
from hwsim.calibration.gpu.fit import Fit, fit
from hwsim.calibration.gpu.libraries import open_device
from hwsim.calibration.gpu.recording import Recorder, Recording
from hwsim.calibration.gpu.rounds import GpuMeasurement, Product, measure_device

__all__ = [
    "Device",
    "Fit",
    "GpuMeasurement",
    "Product",
    "Properties",
    "Recording",
    "Recorder",
    "fit",
    "gpu_text",
    "measure_device",
    "open_device",
]
