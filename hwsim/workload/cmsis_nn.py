"""Working memory of CMSIS-NN's kernels, as their ``get_buffer_size`` functions give it (CMSIS-NN 7, Apache-2.0).

Releases before 2023 did not round a column of patches up to four values. There is one set of kernels for plain C, one
for the DSP extension and one for MVE (Helium).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

from hwsim.workload.product import Geometry

__all__ = ["VARIANTS", "Variant", "average_pool", "convolution"]

Variant: TypeAlias = Literal["cmsis-nn", "cmsis-nn-mve", "cmsis-nn-c"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)
#: Channels that the MVE kernel of depthwise layers takes at a time.
_BLOCK = 124


def convolution(x: Geometry, batch: int, variant: Variant) -> int:
    """Bytes of a convolution of 8-bit values."""
    is_plain = (x.r, x.s) == (1, 1) and not any(x.pad) and x.dilation == (1, 1)
    if x.depthwise:
        return _depthwise(x, batch, variant)
    if is_plain:
        return 0
    values = x.c * x.r * x.s
    if variant != "cmsis-nn-mve":
        return 2 * 2 * _up(values, 4)
    if x.h == x.r == 1 and x.dilation[1] == 1 and x.stride[1] * x.c % 4 == 0 and x.groups == 1:
        return _row(x) or 4 * _up(values, 16)
    return 4 * _up(values, 16)


def _up(values: int, step: int) -> int:
    return -(-values // step) * step


def _depthwise(x: Geometry, batch: int, variant: Variant) -> int:
    """Filters widened to 16 bits; the kernel for 3 x 3 has none."""
    if x.c != x.k or batch != 1 or x.dilation != (1, 1):
        return 0
    if variant == "cmsis-nn-mve":
        return 4 * _BLOCK * x.r * x.s
    if (x.r, x.s) == (3, 3) and max(x.pad[:2]) <= 1:
        return 0
    return 2 * x.c * x.r * x.s if variant == "cmsis-nn" else 0


def _row(x: Geometry) -> int:
    """The MVE kernel for a single row: the padded ends of it; 0 where the kernel does not take it."""
    stride, before = x.stride[1], x.pad[1]
    odd = ((x.q - 1) * stride + x.s - x.w) % 2
    after = before + odd
    right, left = (max(1, -(-pad // stride)) if pad else 0 for pad in (after, before))
    if right + max(x.q - right - left, 0) + left != x.q:
        return 0
    first = x.s * x.c
    return max(first + before * x.c, first - x.c + (right * x.c if odd else before * x.c))


def average_pool(shape: Sequence[int], variant: Variant) -> int:
    """Bytes of an average pool: a sum for each channel, the first axis."""
    return 4 * shape[0] if variant == "cmsis-nn" else 0
