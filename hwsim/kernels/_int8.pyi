import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Words = NDArray[np.int32]
Requantization = tuple[int, NDArray[np.float32] | None, Words | None, Words | None, int, int, int]
Tally = tuple[int, int, int, int]

def supported(isa: int) -> bool: ...
def padded_columns(isa: int, n: int) -> int: ...
def packed_bytes(isa: int, k: int, n: int) -> int: ...
def pack_b(isa: int, b: Bytes, sk: int, sn: int, k: int, n: int, flip: int, to: Bytes, sums: Words) -> None: ...
def gemm(
    isa: int,
    a: Bytes,
    flip: int,
    b: Bytes,
    n: int,
    first: int,
    last: int,
    init: Words,
    bz: Words | None,
    out: Words,
    counted: bool,
) -> Tally: ...
def conv(
    isa: int,
    x: Bytes,
    flip: int,
    zero: int,
    shape: tuple[int, ...],
    nhwc: bool,
    weights: Bytes,
    init: Words,
    bz: Words | None,
    q: Requantization | None,
    out32: Words | None,
    out8: Bytes | None,
    counted: bool,
) -> Tally: ...
def vnni_weight_bytes(shape: tuple[int, ...], nhwc: bool) -> int: ...
def vnni_pack(w: Bytes, flip: int, shape: tuple[int, ...], nhwc: bool, to: Bytes, sums: Words) -> None: ...
def conv_blocks(
    x: Bytes,
    flip: int,
    zero: int,
    shape: tuple[int, ...],
    nhwc: bool,
    weights: Bytes,
    init: Words,
    q: Requantization | None,
    out32: Words | None,
    out8: Bytes | None,
    counted: bool,
) -> Tally: ...
def depthwise(
    isa: int,
    x: Bytes,
    flip: int,
    zero: int,
    shape: tuple[int, ...],
    nhwc: bool,
    depth: int,
    weights: NDArray[np.int16],
    bias: Words,
    q: Requantization | None,
    out32: Words | None,
    out8: Bytes | None,
) -> None: ...
def requantize(isa: int, acc: Words, q: Requantization, out: Bytes) -> None: ...
