import numpy as np
from numpy.typing import NDArray

def gemm(
    a: NDArray[np.int8],
    a_scale: NDArray[np.float32],
    a_sums: NDArray[np.float32],
    b: NDArray[np.uint8],
    b_scale: NDArray[np.float32],
    b_sums: NDArray[np.float32],
    column: NDArray[np.uint8],
    out: NDArray[np.float32],
) -> None: ...
