"""The spectrum of audio that a network listens to."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar

from hwsim.workload.layer import Layer, Shape, TensorField, kind, tensor
from hwsim.workload.line import Line, Values
from hwsim.workload.product import Spectrum, Stream

__all__ = ["LogMel"]


def _read(values: Values, shapes: tuple[Shape, ...]) -> Values:
    return {"samples": math.prod(shapes[0])} | values if shapes else values


@kind
class LogMel(Layer):
    """The logarithms of the newest frame's energies in `bands` of the mel scale, behind the frames before it.

    A frame is `samples` of audio, ``int16`` by default: pre-emphasis, window, real Fourier transform, power, filters
    and logarithms in floating point. The output keeps `frames` frames: those before it move up by one.
    """

    samples: int
    bands: int
    frames: int = 1
    input: TensorField = tensor("int16")

    _lines: ClassVar[tuple[Line, ...]] = (
        Line(
            "log_mel",
            "The log-mel spectrum of a frame of audio, behind the frames before it.",
            keys="samples bands frames",
            follows="samples",
            read=_read,
            write=lambda layer, shapes: {} if shapes else {"samples": layer.samples},
        ),
    )
    _op: ClassVar[str] = "log_mel"
    _sizes: ClassVar[tuple[str, ...]] = ("samples", "bands", "frames")

    def _settle(self) -> list[str]:
        power = self.samples & (self.samples - 1) == 0
        return [] if power and self.samples > 1 else [f"samples must be a power of two, not {self.samples}"]

    def _input_shape(self) -> Shape:
        return (self.samples,)

    def _output_shape(self) -> Shape:
        return (self.bands, self.frames, 1)

    @property
    def butterflies(self) -> int:
        """Radix-2 butterflies of a complex transform of half the samples, and of the stage that makes it a real one."""
        half = self.samples // 2
        return half // 2 * (half.bit_length() - 1) + half

    @property
    def ops(self) -> int:
        """Ten a butterfly; for each sample five passes over it and two filters, and a logarithm for each band."""
        return 10 * self.butterflies + 9 * self.samples + self.bands

    def lower(self, batch: int) -> Stream:
        """A spectrum of each frame."""
        spectrum = Spectrum(self.samples, self.butterflies, self.bands)
        return replace(self._stream(batch, "spectrum", "log_mel"), spectrum=spectrum)
