"""How the values of a tensor are coded where they are stored: shared values, runs of zeros, Huffman codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hwsim.errors import InputError, excerpt

__all__ = ["CODED", "Coding"]

#: What may have Huffman codes.
CODED: tuple[Literal["values", "indices"], ...] = ("values", "indices")


@dataclass(frozen=True, slots=True)
class Coding:
    """Codes of the stored values.

    Attributes
    ----------
    shared_bits : int
        Of an index into the layer's table of shared values (weight sharing); 0: the values themselves are stored.
    run_bits : int
        Of the run of zeros before each stored value, over the whole tensor as one stream. A longer run is cut by a
        stored zero, the filler. 0: as the format of the tensor says.
    huffman : tuple of str
        What has Huffman codes: ``values``, ``indices``.
    block : tuple of int
        Rows (filters) and columns (inputs) of the blocks that zeros come in, a bit for each of which is stored;
        (1, 1): zeros come alone.
    """

    shared_bits: int = 0
    run_bits: int = 0
    huffman: tuple[str, ...] = ()
    block: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        for name, most in (("shared_bits", 12), ("run_bits", 16)):
            bits = getattr(self, name)
            if isinstance(bits, bool) or not isinstance(bits, int) or not 0 <= bits <= most:
                raise InputError(f"{name} must be an integer from 0 to {most}, not {excerpt(bits)}")
        if not isinstance(self.huffman, tuple) or not set(self.huffman) <= set(CODED):
            raise InputError(f"huffman must be of {' and '.join(CODED)}, not {excerpt(self.huffman)}")
