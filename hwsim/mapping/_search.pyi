from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

class NestSearch:
    nodes: int
    leaves: int
    effort: int
    tilings: float
    result: tuple[list[int], tuple[float, float], int, float, float] | None
    def __init__(
        self,
        sizes: NDArray[np.int64],
        axis_table: NDArray[np.int64],
        loop_dim: NDArray[np.int64],
        loop_spatial: NDArray[np.int64],
        transfers: Sequence[Sequence[int]],
        classes: Sequence[int],
        axes: Sequence[tuple[Any, ...]],
        memories: dict[str, Any],
        array: tuple[int, int],
        cost: dict[str, Any],
    ) -> None: ...
    def dive(self, best: tuple[float, float] | None) -> float: ...
    def polish(self, most_effort: int) -> None: ...
    def prove(self, best: tuple[float, float] | None, most_effort: int) -> float | None: ...
