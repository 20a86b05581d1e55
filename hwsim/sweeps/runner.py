"""Runs the points of a sweep: what the store has is read, the rest goes out in chunks and comes back in any order."""

from __future__ import annotations

import signal
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hwsim.errors import HwsimError, InputError
from hwsim.sweeps.evaluation import Evaluator, Job, Outcome, run_chunk
from hwsim.sweeps.executors import Here, Processes, cluster_executor, cores
from hwsim.sweeps.space import Space
from hwsim.sweeps.store import DIED, Store

__all__ = ["Estimate", "Runner"]

CHUNK_S = 0.5
"""Target seconds per chunk: long against dispatch overhead, short enough for a responsive progress bar."""

MAX_CHUNK = 512
_AHEAD = 2
_LIVES = 4
"""How often a chunk may be in flight while workers die before its points are sent one by one; then each as often."""

_IDLE_DEATHS = 20
"""Deaths in a row without a finished chunk that no point can be blamed for."""

_SAMPLES = 5
_SAMPLE_S = 1.0
_SMALL_S = 1.5
"""Work below this is done here, unless a number of workers is told: to start processes takes about as long."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is to be done: points, those that the store has, and seconds that the rest will take or so."""

    points: int
    stored: int
    seconds: float


class _Chunk:
    """Points that go out together, and how often workers died with them."""

    __slots__ = ("deaths", "numbers", "sent")

    def __init__(self, numbers: tuple[int, ...], deaths: int = 0) -> None:
        self.numbers, self.deaths = numbers, deaths
        self.sent = 0.0


class Runner:
    """Simulates points of a space, at most once each.

    Parameters
    ----------
    space : Space
    store : Path, optional
        File of the store; without it results are only handed out.
    workers : int, optional
        Number of worker processes (default: all cores). With 1, points run in this process.
    cluster : str, optional
        Address of a Dask scheduler, instead of processes here.
    per_layer : bool
        Whether the layers of each point are wanted too.

    Raises
    ------
    InputError, StoreError
        If the store cannot be used or the cluster does not answer.
    """

    def __init__(
        self, space: Space, store: Path | None = None, workers: int | None = None, cluster: str | None = None,
        per_layer: bool = False,
    ) -> None:  # fmt: skip
        if workers is not None and not 1 <= workers <= 1024:
            raise InputError(f"workers must be from 1 to 1024, not {workers}")
        self.space, self.per_layer, self.cluster = space, per_layer, cluster
        self.workers = workers or cores()
        self._told = workers is not None
        self.evaluator = Evaluator(space)
        self.deaths = self._idle_deaths = 0
        self._stopping = False
        self.simulated = 0
        self._digests: dict[int, str] = {}
        self._client: Any = None
        self._executor: Executor | None = None
        self._job: Job | None = None
        self._point_s: float | None = None
        if cluster is not None:
            self._client, self._executor, self.workers = cluster_executor(cluster)
        self.store: Store | None = None
        try:
            self.store = Store(store) if store is not None else None
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers and close the store."""
        self._stop()
        if self._client is not None:
            self._client.close()
        if self.store is not None:
            self.store.close()

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let Ctrl-C stop the sweep, also where Python drops the exception: in the finalizer of some object."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(*_: object) -> None:
            self._stopping = True
            raise KeyboardInterrupt

        before = signal.signal(signal.SIGINT, stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before if before is not None else signal.SIG_DFL)

    def _heed(self) -> None:
        if self._stopping:
            raise KeyboardInterrupt

    def stored(self, numbers: Sequence[int]) -> dict[int, Outcome]:
        """What the store has of these points."""
        if self.store is None:
            return {}
        digests = {number: self._digest(number) for number in numbers}
        found = self.store.known(list(dict.fromkeys(digests.values())), self.per_layer)
        return {n: replace(found[digest], number=n) for n, digest in digests.items() if digest in found}

    def estimate(self, numbers: Sequence[int]) -> Estimate:
        """How long the points will take, from a few that are simulated for it and kept."""
        stored = self.stored(numbers)
        missing = [number for number in numbers if number not in stored]
        if not missing:
            return Estimate(len(numbers), len(stored), 0.0)
        if self._point_s is None:
            self.sample(missing)
        return Estimate(len(numbers), len(stored), (self._point_s or 0.0) * len(missing) / self.workers)

    def sample(self, numbers: Sequence[int]) -> None:
        """Simulate a few of the points to learn what one takes; what comes of them is kept."""
        spent, done, begun = 0.0, 0, time.perf_counter()
        for place, number in enumerate(numbers[:: max(1, len(numbers) // _SAMPLES)][:_SAMPLES]):
            start = time.perf_counter()
            outcome = self.evaluator.outcome(number, self.per_layer)
            took = time.perf_counter() - start
            if self.store is not None:
                self._keep([outcome])
            if place or len(numbers) == 1:  # the first one imports what all need
                spent, done = spent + took, done + 1
            if time.perf_counter() - begun > _SAMPLE_S:
                break
        self._point_s = (spent / done if done else time.perf_counter() - begun) or 1e-4

    def outcomes(self, numbers: Sequence[int]) -> Iterator[Outcome]:
        """What comes of each of the points: first what the store has, then the others as they are finished.

        A new result is in the store before it is handed out.
        """
        stored = self.stored(numbers)
        yield from stored.values()
        missing = [number for number in numbers if number not in stored]
        if missing:
            yield from self._simulate(missing)

    def _digest(self, number: int) -> str:
        if number not in self._digests:
            self._digests[number] = self.evaluator.digest(number)
        return self._digests[number]

    def _keep(self, outcomes: list[Outcome]) -> list[Outcome]:
        """Put results in the store, once."""
        self.simulated += len(outcomes)
        if self.store is not None:
            self.store.add((self._digest(outcome.number), outcome) for outcome in outcomes)
        return outcomes

    def _start(self, points: int) -> Executor:
        """The workers, started if there are none; work of a moment is done here."""
        if self._executor is None:
            small = self._point_s is not None and self._point_s * points < _SMALL_S
            if self.workers == 1 or (small and not self._told):
                return Here()
            self._executor = Processes(self.workers)
        return self._executor

    def _stop(self) -> None:
        if isinstance(self._executor, Processes):
            self._executor.stop()
            self._executor = None

    def _simulate(self, missing: list[int]) -> Iterator[Outcome]:
        """Send out chunks, take in results; a dead worker costs the time since it was last heard of."""
        todo = deque(missing)
        again: deque[_Chunk] = deque()
        flying: dict[Future[list[Outcome]], _Chunk] = {}
        executor = self._start(len(missing))
        here = isinstance(executor, Here)
        self._job = self._job or Job.of(self.space, self.per_layer)
        try:
            while todo or again or flying:
                self._heed()
                while (todo or again) and len(flying) < (1 if here else self.workers * _AHEAD):
                    chunk = again.popleft() if again else self._cut(todo)
                    chunk.sent = time.perf_counter()
                    try:
                        flying[self._send(executor, chunk)] = chunk
                    except BrokenExecutor:
                        again.append(chunk)
                        break
                done, _ = wait(flying, timeout=0.5, return_when=FIRST_COMPLETED)
                lost: list[_Chunk] = []
                for future in done:
                    chunk = flying.pop(future)
                    try:
                        found = future.result()
                    except Exception as error:
                        if not _death(error):
                            raise
                        lost.append(chunk)
                        continue
                    self._idle_deaths = 0
                    self._learn(chunk, len(flying) + 1)
                    yield from self._keep(found)
                if lost or (not flying and again and not done):
                    if isinstance(executor, Processes):  # a pool with a dead worker is finished as a whole
                        lost += flying.values()
                        flying.clear()
                        self._stop()
                        executor = self._start(len(missing))
                    self.deaths += 1
                    self._idle_deaths += 1
                    if self._idle_deaths >= _IDLE_DEATHS:
                        raise HwsimError(f"workers died {_IDLE_DEATHS} times in a row, with no point finished")
                    yield from self._keep(list(self._recovered(lost, again)))
        finally:
            for future in flying:
                future.cancel()
            finished = [f for f in flying if f.done() and not f.cancelled() and f.exception() is None]
            for future in finished:
                self._keep(future.result())

    def _send(self, executor: Executor, chunk: _Chunk) -> Future[list[Outcome]]:
        assert self._job is not None
        if isinstance(executor, Here):
            future: Future[list[Outcome]] = Future()
            outcomes = []
            for number in chunk.numbers:
                self._heed()
                outcomes.append(self.evaluator.outcome(number, self.per_layer))
            future.set_result(outcomes)
            return future
        return executor.submit(run_chunk, self._job, chunk.numbers)

    def _cut(self, todo: deque[int]) -> _Chunk:
        """The next chunk: worth half a second as far as is known, and so small at the end that none works alone."""
        size = 1 if self._point_s is None else round(CHUNK_S / self._point_s)
        size = max(1, min(size, MAX_CHUNK, -(-len(todo) // (2 * self.workers))))
        return _Chunk(tuple(todo.popleft() for _ in range(min(size, len(todo)))))

    def _learn(self, chunk: _Chunk, flying: int) -> None:
        """What a point takes, from what the chunk took; it shared its worker with the chunks that waited for it."""
        took = (time.perf_counter() - chunk.sent) / max(1, flying / self.workers)
        seconds = max(took / len(chunk.numbers), 1e-5)
        self._point_s = seconds if self._point_s is None else 0.7 * self._point_s + 0.3 * seconds

    def _recovered(self, lost: list[_Chunk], again: deque[_Chunk]) -> Iterator[Outcome]:
        """Put lost chunks back in line, those that keep getting lost point by point; give up on a point in the end."""
        for chunk in lost:
            deaths = chunk.deaths + 1
            if deaths < _LIVES:
                again.append(_Chunk(chunk.numbers, deaths))
            elif len(chunk.numbers) > 1:
                again.extend(_Chunk((number,)) for number in chunk.numbers)
            else:
                error = f"{DIED} {deaths} times while it simulated this point or its chunk; is there enough memory?"
                yield Outcome(chunk.numbers[0], None, error=error)


def _death(error: BaseException) -> bool:
    """Whether a worker died, rather than told of a fault."""
    return isinstance(error, BrokenExecutor) or type(error).__name__ in ("KilledWorker", "CancelledError")
