"""What a layer asks of a machine: products of matrices, or values that stream past. Machines see nothing else of it."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

__all__ = ["Attended", "Geometry", "Product", "Spectrum", "Stream", "StreamKind", "geometry_of"]

StreamKind = Literal[
    "view",
    "copy",
    "concat",
    "gather",
    "elementwise",
    "activation",
    "pool",
    "softmax",
    "norm",
    "spectrum",
    "collective",
    "opaque",
]


@dataclass(frozen=True, slots=True)
class Geometry:
    """A convolution of one image: its input, its window and its output.

    Attributes
    ----------
    c, h, w : int
        Input channels, rows and columns.
    k, p, q : int
        Output channels, rows and columns.
    r, s : int
        Filter rows and columns.
    stride, dilation : (rows, columns)
    pad : (top, left, bottom, right)
    groups : int
    depthwise : bool
        Whether each channel has filters of its own; one channel alone is told apart from a dense layer by it.
    """

    c: int
    h: int
    w: int
    k: int
    p: int
    q: int
    r: int
    s: int
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)
    groups: int = 1
    depthwise: bool = False

    @property
    def padded(self) -> tuple[int, int]:
        """Input rows and columns with padding."""
        return self.h + self.pad[0] + self.pad[2], self.w + self.pad[1] + self.pad[3]

    @property
    def taps(self) -> int:
        """Positions of the filter."""
        return self.r * self.s

    @property
    def channels(self) -> int:
        """Input channels of a group."""
        return self.c // self.groups

    @property
    def filters(self) -> int:
        """Output channels of a group."""
        return self.k // self.groups


@dataclass(frozen=True, slots=True)
class Product:
    """`b` products of an m x k by a k x n matrix, all inputs of a batch together, `steps` times one after the other.

    Attributes
    ----------
    batch : int
    b, m, n, k : int
        Independent products, rows (those of all inputs), columns, inner dimension. A convolution is a product by
        im2col: its rows are output positions, its columns filters, its inner dimension taps times channels, and each
        group is a product.
    steps : int
        Times that it is done, each waiting for the one before.
    macs, outputs : int
        Multiply-accumulates of the batch, and values written. Fewer than the sizes say where some products have fewer
        rows (`spread`).
    stored : bool
        Whether the right matrix is weights, the same for all inputs; else both are activations.
    spread : tuple of (products, rows)
        How many of the products have how many rows, where they are dealt out; `m` is the most. Empty: all have `m`.
    recurrent : bool
        Whether it is a step of a recurrent layer.
    geometry : Geometry or None
        Of a convolution.
    window : (rows, columns)
        Where the inner dimension is a whole image, its size.
    activation : str
        The function that is fused into it.
    dead_in, dead_out : int
        Channels or features that a compiler can leave out.
    role : str
        Of what it is the gradient: of the ``input`` or the ``weight`` of a layer; "": it is a forward pass.
    of : Geometry or None
        The convolution that it is the gradient of.
    """

    batch: int
    b: int
    m: int
    n: int
    k: int
    steps: int = 1
    macs: int = 0
    outputs: int = 0
    stored: bool = True
    spread: tuple[tuple[int, int], ...] = ()
    recurrent: bool = False
    geometry: Geometry | None = None
    window: tuple[int, int] = (1, 1)
    activation: str = "none"
    dead_in: int = 0
    dead_out: int = 0
    role: Literal["", "input", "weight"] = ""
    of: Geometry | None = None

    def __post_init__(self) -> None:
        outputs = prod((self.b, self.m, self.n, self.steps))
        object.__setattr__(self, "outputs", self.outputs or outputs)
        object.__setattr__(self, "macs", self.macs or outputs * self.k)

    @property
    def rows(self) -> int:
        """Rows of one input."""
        return self.m // self.batch if self.stored else self.m


@dataclass(frozen=True, slots=True)
class Spectrum:
    """A log-mel spectrum of one frame: samples, radix-2 butterflies of its transform, and bands."""

    samples: int
    butterflies: int
    bands: int


@dataclass(frozen=True, slots=True)
class Stream:
    """Values that are read, changed or moved, and written, all inputs of a batch together.

    Attributes
    ----------
    kind : str
        ``view`` moves nothing, ``copy`` moves values, ``concat`` joins tensors, ``gather`` looks rows of a table up,
        ``collective`` exchanges values with other machines, ``opaque`` is an operator that nobody knows.
    inputs, outputs : int
        Values read and written.
    ops : int
        Scalar operations.
    stored : int
        Parameters that are read.
    operands : int
        Tensors read.
    function : str
        What is computed: ``add``, ``gelu``, ``max``, ``avg``; "" where the kind says it all.
    activation : str
        The function that is fused into it.
    spectrum : Spectrum or None
        Of a frame of audio, one for each input.
    axis : str
        Of a softmax: ``last``; ``next`` to the last axis; ``far``, with others of more than one value between them.
    ranks : int
        Machines that take part in a collective.
    """

    kind: StreamKind
    inputs: int
    outputs: int
    ops: int = 0
    stored: int = 0
    operands: int = 1
    function: str = ""
    activation: str = "none"
    spectrum: Spectrum | None = None
    axis: Literal["last", "next", "far"] = "last"
    ranks: int = 1


@dataclass(frozen=True, slots=True)
class Attended(Stream):
    """Attention, for machines that have a kernel for all of it; to others it is an operator that nobody knows.

    Attributes
    ----------
    batch, queries, context : int
        Sequences; positions that ask, the last of those that are asked where `causal`, and those that are asked.
    heads, kv_heads, dim, value_dim : int
        Heads of queries, heads of keys and values, values of a key and of a value of one head.
    window : int
        The last positions that a query attends to; 0: all.
    causal : bool
    new : int
        Positions of the context that are no cached ones.
    regular : bool
        Whether the queries are the last positions, or all are asked by each.
    """

    batch: int = 1
    queries: int = 1
    context: int = 1
    heads: int = 1
    kv_heads: int = 1
    dim: int = 1
    value_dim: int = 1
    window: int = 0
    causal: bool = False
    new: int = 0
    regular: bool = True


def geometry_of(x: Product | Stream) -> Geometry | None:
    """The convolution that a layer asks for, if it is one."""
    return x.geometry if isinstance(x, Product) else None
