import numpy as np
from numpy.typing import NDArray

def has_avx2() -> bool: ...
def has_vnni() -> bool: ...
def gemm_dot4(
    a: NDArray[np.uint8],
    b: NDArray[np.uint8],
    acc: NDArray[np.int32],
    rows: int,
    vectors: int,
    a_signed: bool,
    b_signed: bool,
    saturate: bool,
    native: bool,
    tally: NDArray[np.int64],
) -> None: ...
def gemm_pmaddubsw(
    a: NDArray[np.uint8],
    b: NDArray[np.uint8],
    acc: NDArray[np.int32],
    rows: int,
    vectors: int,
    native: bool,
    where: NDArray[np.int64],
    per_output: NDArray[np.int32],
    tally: NDArray[np.int64],
) -> int: ...
def sxtb16(x: int, rotate: int) -> int: ...
def smlad(x: NDArray[np.uint32], y: NDArray[np.uint32], acc: NDArray[np.int32], q: NDArray[np.uint8]) -> None: ...
def gemm_smlad(
    a: NDArray[np.int8],
    b: NDArray[np.int8],
    acc: NDArray[np.int32],
    q: NDArray[np.uint8],
    offset: int,
    rows: int,
    columns: int,
    tally: NDArray[np.int64],
) -> None: ...
def gemm_imma(
    a: NDArray[np.int16], b: NDArray[np.int16], acc: NDArray[np.int32], step: int, saturate: bool
) -> None: ...
def gemm_hmma(
    a: NDArray[np.float32], b: NDArray[np.float32], acc: NDArray[np.float32], block: int, truncate: bool, extra: int
) -> None: ...
