import numpy as np
from numpy.typing import NDArray

def supported(isa: int) -> bool: ...
def transform_filters(
    isa: int, counting: bool, m: int, w: NDArray[np.int8], first: int, last: int, tally: NDArray[np.int64]
) -> NDArray[np.int16]: ...
def convolve(
    isa: int,
    counting: bool,
    m: int,
    x: NDArray[np.uint8],
    is_signed: bool,
    zero: int,
    u: NDArray[np.int16],
    first: int,
    last: int,
    pad_top: int,
    pad_left: int,
    add: bool,
    out: NDArray[np.int32],
    tally: NDArray[np.int64],
) -> None: ...
