"""A place in a stream of tiles: loops stay loops, so a place is a few numbers and can be moved by whole iterations."""

from __future__ import annotations

from hwsim.engine.program import Run

__all__ = ["Cursor", "Loop", "fold"]

Tile = tuple[int, ...]


class Loop:
    """A run in its simplest form: exactly one of *tile* and *body* is there, and the body has at least two loops."""

    __slots__ = ("body", "count", "tile", "tiles")

    def __init__(self, count: int, tile: Tile | None, body: tuple[Loop, ...]) -> None:
        self.count = count
        self.tile = tile
        self.body = body
        self.tiles: int = count if tile is not None else count * sum(loop.tiles for loop in body)


def fold(runs: tuple[Run, ...]) -> tuple[Loop, ...]:
    """The same stream with as few and as flat loops as are easy to see, without empty tiles and empty runs."""
    loops: list[Loop] = []
    for run in runs:
        if run.count == 0 or not run.body:
            continue
        first = run.body[0]
        if isinstance(first, Run):
            body = fold(run.body)  # type: ignore[arg-type]
            if not body:
                continue
            if len(body) == 1:
                new: tuple[Loop, ...] = (Loop(run.count * body[0].count, body[0].tile, body[0].body),)
            elif run.count == 1:
                new = body
            else:
                new = (Loop(run.count, None, body),)
        elif any(run.body):
            new = (Loop(run.count, run.body, ()),)  # type: ignore[arg-type]
        else:
            continue
        if loops and loops[-1].tile is not None and loops[-1].tile == new[0].tile:
            loops[-1] = Loop(loops[-1].count + new[0].count, new[0].tile, ())
            new = new[1:]
        loops += new
    return tuple(loops)


class Frame:
    """How far a cursor is in one level of the nest: which of its loops, and which iteration of that."""

    __slots__ = ("iteration", "loops", "position")

    def __init__(self, loops: tuple[Loop, ...]) -> None:
        self.loops = loops
        self.position = 0
        self.iteration = 0


class Cursor:
    """Reads a stream tile by tile.

    `outermost` is the outermost level that began a new iteration since it was last set back to `STILL`.
    """

    STILL = 1 << 30

    def __init__(self, loops: tuple[Loop, ...]) -> None:
        self._loops = loops
        self.frames: list[Frame] = []
        self.outermost = Cursor.STILL

    def next(self) -> Tile:
        """Go to the next tile and return it. The caller knows how many there are."""
        frames = self.frames
        if frames:
            while True:
                frame = frames[-1]
                frame.iteration += 1
                loop = frame.loops[frame.position]
                if frame.iteration < loop.count:
                    break
                frame.iteration = 0
                frame.position += 1
                if frame.position < len(frame.loops):
                    loop = frame.loops[frame.position]
                    break
                frames.pop()
            if len(frames) <= self.outermost:
                self.outermost = len(frames) - 1
        else:
            frames.append(Frame(self._loops))
            loop = self._loops[0]
            self.outermost = 0
        while loop.tile is None:
            frames.append(Frame(loop.body))
            loop = loop.body[0]
        return loop.tile

    def place(self, level: int) -> tuple[int, ...]:
        """Where the cursor is, but for the iteration at *level*, or at the innermost one if the nest is shallower."""
        frames = self.frames
        if len(frames) == 1:
            return (frames[0].position,)
        place: list[int] = []
        for frame in frames:
            place += (frame.position, frame.iteration)
        place[2 * min(level, len(frames) - 1) + 1] = -1
        return tuple(place)

    def iteration(self, level: int) -> int:
        """The iteration that `place` leaves out."""
        return self.frames[min(level, len(self.frames) - 1)].iteration

    def remaining(self, level: int) -> int:
        """Iterations at *level* after the present one."""
        frame = self.frames[min(level, len(self.frames) - 1)]
        return frame.loops[frame.position].count - 1 - frame.iteration

    def skip(self, level: int, iterations: int) -> None:
        """Move on by whole iterations at *level*."""
        self.frames[min(level, len(self.frames) - 1)].iteration += iterations
