import numpy as np
from numpy.typing import NDArray

def attention(
    q: NDArray[np.uint8],
    k: NDArray[np.uint8],
    v: NDArray[np.uint8],
    q_type: int,
    kv_type: int,
    table: NDArray[np.float32],
    sizes: tuple[int, int, int, int, int, int],
    mask: tuple[bool, int, int],
    tiles: tuple[int, int, int, bool, bool],
    score_scale: float,
    value_scale: float,
    out: NDArray[np.float32],
    work: NDArray[np.float32],
    sums: NDArray[np.int32],
    counts: NDArray[np.int64],
) -> None: ...
