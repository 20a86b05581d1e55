"""The libraries that a CUDA device can be timed through."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

from hwsim.calibration.gpu.cupy import CupyDevice
from hwsim.calibration.gpu.device import Device
from hwsim.calibration.gpu.torch import TorchDevice
from hwsim.errors import InputError

__all__ = ["LIBRARIES", "Library", "open_device"]

Library = Literal["torch", "cupy"]
LIBRARIES: tuple[Library, ...] = ("torch", "cupy")


def open_device(through: Library | None = None, quick: bool = False) -> Device:
    """The CUDA device that torch or cupy shows first.

    Raises
    ------
    InputError
        If neither is installed, or no device is visible.
    """
    name = through or next((one for one in LIBRARIES if find_spec(one)), None)
    if name is None or not find_spec(name):
        which = name or "torch or cupy"
        raise InputError(f"{which} must be installed to measure a CUDA device: pip install torch, or cupy-cuda12x")
    repeats = 5 if quick else 20
    library: Any = import_module(name)
    if name == "torch":
        return TorchDevice(library, repeats)
    return CupyDevice(library, repeats)
