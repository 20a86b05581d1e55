"""What the zeros of stored weights look like: how many values of each input channel are left, and in which pattern."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hwsim.workload.tensor import TensorSpec

__all__ = ["MAX_CHANNELS", "Axes", "Kept", "counted", "few_channels", "kept_of", "pattern_of"]

#: Values that are not zero: groups x outputs of a group x inputs of a group x taps.
Kept: TypeAlias = NDArray[np.bool_]

#: The axes of stored weights, and their groups: outputs ``o``, inputs ``i`` of a group, taps ``t``.
Axes: TypeAlias = tuple[str, int]

MAX_CHANNELS = 4096
"""Layers with more input channels have a density, and no counts."""
_FULL = 0.95  # what is left of a block or a channel may have so few zeros of its own
_CHANCE = 1e-6  # zeros at random look like 2:4 at most as often
_BLOCKS = ((1, 2), (2, 1))  # of outputs x inputs; larger blocks consist of these


def few_channels(shape: tuple[int, ...], axes: Axes) -> bool:
    """Whether weights are of whole groups, with few enough input channels to count the values of each."""
    letters, groups = axes
    outputs = math.prod(size for size, letter in zip(shape, letters) if letter == "o")
    if len(shape) != len(letters) or groups < 1 or outputs % groups:
        return False
    return groups * math.prod(size for size, letter in zip(shape, letters) if letter == "i") <= MAX_CHANNELS


def kept_of(mask: NDArray[np.bool_], axes: Axes) -> Kept:
    """A mask as groups x outputs x inputs x taps; the outputs of all groups are one axis in the file."""
    letters, groups = axes
    places = [[place for place, letter in enumerate(letters) if letter == axis] for axis in "oit"]
    turned = mask.transpose([place for axis in places for place in axis])
    sizes = [math.prod(mask.shape[place] for place in axis) for axis in places]
    return turned.reshape(groups, sizes[0] // groups, sizes[1], sizes[2])


def counted(spec: TensorSpec, kept: Kept) -> TensorSpec:
    """A spec with the counts of each input channel and the pattern; as it is, where less than 5 % of it is zero.

    Some int8 weights of real networks are zero: those few are chance, and a density says enough of them.

    The order of `kept` is that of the layer: the inputs of the first group come first.
    """
    total = int(np.count_nonzero(kept))
    if total >= _FULL * kept.size:
        return spec
    nonzeros = np.count_nonzero(kept, axis=(1, 3)).ravel()
    pattern = pattern_of(kept) if spec.pattern in ("dense", "random") else spec.pattern
    return TensorSpec(
        spec.dtype, total / kept.size, pattern, spec.format, spec.signed, spec.array, tuple(nonzeros.tolist())
    )


def pattern_of(kept: Kept) -> str:
    """Whole channels, blocks of outputs x inputs, or two of every four inputs; else ``random``.

    Zeros are a pattern only where chance would not make it: 5 % of what a pattern leaves may be zero too.
    """
    density = np.count_nonzero(kept) / max(kept.size, 1)
    if not 0 < density < _FULL:
        return "random"
    alive = kept.any(axis=(1, 3), keepdims=True) & kept.any(axis=(2, 3), keepdims=True)
    if density >= _FULL * np.count_nonzero(np.broadcast_to(alive, kept.shape)) / kept.size:
        return "channel"
    _, outputs, inputs, _ = kept.shape
    for rows, columns in _BLOCKS:
        if outputs % rows == 0 and inputs % columns == 0:
            if rows > 1:
                blocks = kept[:, ::2] | kept[:, 1::2]
            else:
                blocks = kept[:, :, ::2] | kept[:, :, 1::2]
            if density >= _FULL * np.count_nonzero(blocks) / blocks.size:
                return "block"
    if inputs % 4 == 0 and density <= 0.5:
        fours = kept.reshape(*kept.shape[:2], inputs // 4, 4, -1).sum(axis=3)
        chance = sum(math.comb(4, n) * density**n * (1 - density) ** (4 - n) for n in range(3))
        if (fours <= 2).all() and fours.size * math.log(chance) < math.log(_CHANCE):
            return "2:4"
    return "random"
