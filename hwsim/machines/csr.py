"""Products of weights in CSR format with one row of activations, as libraries of processors and GPUs have them."""

from __future__ import annotations

from dataclasses import dataclass

from hwsim.fields import Bandwidth, Spec, Time
from hwsim.workload import Layer
from hwsim.workload.product import Product

__all__ = ["INDEX_BITS", "CsrProduct", "CsrSpec", "csr_product"]

#: Bits of a column index, and of the pointer to a row.
INDEX_BITS = 32


class CsrSpec(Spec):
    """What a library takes for a matrix in CSR format by a vector: ``call + bytes / bandwidth``.

    The bytes are those of the values that are not zero, an index of 32 bits for each, and a pointer for each row.
    """

    library: str
    call: Time
    bandwidth: Bandwidth
    source: str
    fitted: str | None = None

    @property
    def bytes_per_s(self) -> float:
        """The bandwidth."""
        return float(self.bandwidth.amount)

    def seconds(self, product: CsrProduct) -> float:
        """Time of a product."""
        return float(self.call) + product.bytes / self.bytes_per_s


@dataclass(frozen=True, slots=True)
class CsrProduct:
    """Values that are not zero, and the bytes that they are stored in; expected, where only a density is known."""

    nonzeros: int
    bytes: int


def csr_product(layer: Layer, batch: int, bits: int) -> CsrProduct | None:
    """The product that a layer is with its weights in CSR format, values of so many bits; None: the layer is none.

    It has one row of activations: libraries have kernels for more rows, but none was measured that a rule would fit.
    """
    x = layer.lower(batch)
    if layer.weight.format != "csr" or not isinstance(x, Product) or x.geometry is not None:
        return None
    if not x.stored or x.recurrent or x.spread or (x.b, x.m, x.steps) != (1, 1, 1):
        return None
    nonzeros = round(layer.weights * layer.weight.density)
    return CsrProduct(nonzeros, -(-(nonzeros * (bits + INDEX_BITS) + (x.n + 1) * INDEX_BITS) // 8))
