import numpy as np
from numpy.typing import NDArray

def has_popcnt() -> bool: ...
def walk_compressed(
    a: NDArray[np.int32],
    out: NDArray[np.int32],
    values: NDArray[np.int32],
    indices: NDArray[np.int64],
    pointers: NDArray[np.int64],
    by_rows: bool,
    relative: bool,
    skip: bool,
    tally: NDArray[np.int64],
) -> None: ...
def walk_gathered(
    a_values: NDArray[np.int32],
    a_rows: NDArray[np.int64],
    a_columns: NDArray[np.int64],
    out: NDArray[np.int32],
    values: NDArray[np.int32],
    indices: NDArray[np.int64],
    pointers: NDArray[np.int64],
    relative: bool,
    tally: NDArray[np.int64],
) -> None: ...
def walk_bitmask(
    a: NDArray[np.int32],
    out: NDArray[np.int32],
    values: NDArray[np.int32],
    mask: NDArray[np.uint64],
    skip: bool,
    tally: NDArray[np.int64],
) -> None: ...
def walk_rlc(
    a: NDArray[np.int32],
    out: NDArray[np.int32],
    values: NDArray[np.int32],
    runs: NDArray[np.int64],
    skip: bool,
    tally: NDArray[np.int64],
) -> None: ...
def walk_two_four(
    a: NDArray[np.int32],
    out: NDArray[np.int32],
    values: NDArray[np.int32],
    places: NDArray[np.uint8],
    skip: bool,
    tally: NDArray[np.int64],
) -> None: ...
def walk_codebook(
    a: NDArray[np.int32],
    out: NDArray[np.int32],
    indices: NDArray[np.uint8],
    table: NDArray[np.int32],
    skip: bool,
    tally: NDArray[np.int64],
) -> None: ...
def binary(a: NDArray[np.uint64], b: NDArray[np.uint64], length: int, out: NDArray[np.int32], native: bool) -> None: ...
def ternary(
    a: NDArray[np.uint64], b: NDArray[np.uint64], out: NDArray[np.int32], native: bool, tally: NDArray[np.int64]
) -> None: ...
