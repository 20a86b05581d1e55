from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

def pipeline_ticks(tiles: int, load: int, work: int, store: int, first: int, last: int, slots: int) -> int: ...
def pipeline_runs(
    tiles: int, load: int, work: int, store: int, first: int, last: int
) -> list[tuple[int, int, int, int]]: ...
def search_nest(
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
    best: tuple[float, float] | None,
    most_nodes: int,
) -> tuple[tuple[list[int], tuple[float, float], int, float, float] | None, int, int, float | None]: ...
