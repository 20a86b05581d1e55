from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Longs = NDArray[np.int64]
Ints = NDArray[np.int32]

LIMITS: dict[str, int]

class Walk:
    def set_loops(
        self,
        loops: Sequence[tuple[int, bool, int, int, int, Longs, Longs]],
        roots: Sequence[tuple[Longs, Longs]],
        upper: int,
        reuse: int,
        tree: bool,
        limits: Sequence[int],
    ) -> None: ...
    def add_level(
        self,
        *,
        parent: int,
        output: bool,
        above: int,
        whole: bool,
        share: int,
        axes: Sequence[tuple[int, int, int, int]],
        strides: Sequence[int],
        size: int,
        instances: int,
        per_parent: int,
        state: Sequence[int],
        place: Sequence[Ints | None],
        order: Ints | None,
        group: Ints | None,
        shown: int,
        all_: int,
        data: NDArray[np.int8] | None,
        sums: Ints | None,
        seen: NDArray[np.uint8] | None,
        box: Longs,
        origin: Longs,
        from_: Longs | None,
        held: NDArray[np.uint8],
        stamp: NDArray[np.uint32] | None,
        scratch: NDArray[np.int8] | None,
        memory: int,
        bits: int,
        words: int,
    ) -> None: ...
    def set_macs(
        self,
        *,
        instances: int,
        place: Sequence[Ints | None],
        final: Sequence[int],
        at_upper: Sequence[int],
        inner: Sequence[int],
        homes: Sequence[Ints | None],
        shares: Sequence[int],
        groups: Sequence[Ints | None],
        stamps: Sequence[NDArray[np.uint32] | None],
        offsets: Sequence[Longs],
        who: Ints,
        first: Longs,
        coefficients: Sequence[Sequence[int]],
    ) -> None: ...
    def run(self, budget: int) -> int: ...
    @property
    def done(self) -> bool: ...
    @property
    def macs(self) -> int: ...
    @property
    def gated(self) -> int: ...
    @property
    def failed(self) -> int: ...
    @property
    def indices(self) -> list[int]: ...
    def level(self, i: int) -> tuple[int, int, int, int, int, int, int, int]: ...
