import numpy as np
from numpy.typing import NDArray

def evaluate_batch(
    sizes: NDArray[np.int64],
    axis_table: NDArray[np.int64],
    loop_dim: NDArray[np.int64],
    loop_spatial: NDArray[np.int64],
    transfers: NDArray[np.int64],
    terms: NDArray[np.int64],
    tiles: NDArray[np.int64],
    out: NDArray[np.int64],
) -> tuple[int, int]: ...
