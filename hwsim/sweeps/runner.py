"""Runs the points of a sweep: cached results come from the store, the others from workers in any order."""

from __future__ import annotations

import signal
import threading
import time
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from hwsim.errors import HwsimError, HwsimWarning, InputError
from hwsim.message import Message
from hwsim.sweeps.evaluation import Evaluator, Job, Outcome, run_chunk
from hwsim.sweeps.executors import Cluster, Here, Processes, cores
from hwsim.sweeps.salvage import salvage
from hwsim.sweeps.space import Space
from hwsim.sweeps.store import DIED, Store

__all__ = ["Estimate", "Runner"]

CHUNK_S = 0.5
"""Target seconds per chunk: long against dispatch overhead, short enough for a responsive progress bar."""

MAX_CHUNK = 512
_AHEAD = 2
_LIVES = 4
"""Worker deaths that a chunk survives before its points are sent one by one; each point survives as many."""

_IDLE_DEATHS = 20
"""Worker deaths in a row, without a finished chunk, that end the sweep."""

_SAMPLES = 5
_SAMPLE_S = 1.0
_SMALL_S = 1.5
"""Less work runs in this process, unless the number of workers is explicit: starting processes takes as long."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Number of points, of those in the store, and estimated seconds for the remaining ones."""

    points: int
    cache_hits: int
    seconds: float


class _Chunk:
    """Points that are sent together, and the number of worker deaths while they ran."""

    __slots__ = ("deaths", "numbers", "start")

    def __init__(self, numbers: tuple[int, ...], deaths: int = 0) -> None:
        self.numbers, self.deaths = numbers, deaths
        self.start = 0.0


class Runner:
    """Simulates points of a space, at most once each.

    Parameters
    ----------
    space : Space
    store : Path, optional
        File of the store; without it no result is stored.
    workers : int, optional
        Number of worker processes (default: all cores). With 1, points run in this process.
    cluster : str, optional
        Address of a Dask scheduler, instead of local processes.
    per_layer : bool
        Whether outcomes include the layers of each point.

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
        self._explicit_workers = workers is not None
        self.evaluator = Evaluator(space)
        self.deaths = self._idle_deaths = 0
        self._stopping = False
        self.simulated = 0
        self._digests: dict[int, str] = {}
        self._executor: Executor | None = None
        self._job: Job | None = None
        self._point_s: float | None = None
        if cluster is not None:
            self._executor = Cluster(cluster)
            self.workers = self._executor.workers
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
        if isinstance(self._executor, Cluster):
            self._executor.close()
        if self.store is not None:
            self.store.close()

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let Ctrl-C stop the sweep even if Python drops the exception, as in a finalizer."""
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

    def _check_interrupt(self) -> None:
        if self._stopping:
            raise KeyboardInterrupt

    def lookup(self, numbers: Sequence[int]) -> dict[int, Outcome]:
        """Outcomes of these points that are in the store."""
        if self.store is None:
            return {}
        digests = {number: self._digest(number) for number in numbers}
        outcomes = self.store.lookup(list(dict.fromkeys(digests.values())), self.per_layer)
        return {n: replace(outcomes[digest], number=n) for n, digest in digests.items() if digest in outcomes}

    def salvage(self, path: Path, numbers: Sequence[int]) -> int:
        """Store the sound results of these points in a damaged store; returns how many it has."""
        outcomes = salvage(path, dict.fromkeys(self._digest(number) for number in numbers))
        if self.store is not None:
            self.store.add(outcomes.items())
        return len(outcomes)

    def estimate(self, numbers: Sequence[int]) -> Estimate:
        """Estimated time of the points, from a sample that is simulated and stored."""
        cached = self.lookup(numbers)
        missing = [number for number in numbers if number not in cached]
        if not missing:
            return Estimate(len(numbers), len(cached), 0.0)
        if self._point_s is None:
            self.sample(missing)
        return Estimate(len(numbers), len(cached), (self._point_s or 0.0) * len(missing) / self.workers)

    def sample(self, numbers: Sequence[int]) -> None:
        """Simulate and store a few of the points to measure the time of one."""
        total_s, count, begin = 0.0, 0, time.perf_counter()
        for place, number in enumerate(numbers[:: max(1, len(numbers) // _SAMPLES)][:_SAMPLES]):
            start = time.perf_counter()
            outcome = self.evaluator.outcome(number, self.per_layer)
            took = time.perf_counter() - start
            if self.store is not None:
                self._save([outcome])
            if place or len(numbers) == 1:  # the first one includes imports
                total_s, count = total_s + took, count + 1
            if time.perf_counter() - begin > _SAMPLE_S:
                break
        self._point_s = (total_s / count if count else time.perf_counter() - begin) or 1e-4

    def outcomes(self, numbers: Sequence[int]) -> Iterator[Outcome]:
        """Outcomes of the points: first those in the store, then the others as they finish.

        A new result is stored before it is yielded.
        """
        cached = self.lookup(numbers)
        yield from cached.values()
        missing = [number for number in numbers if number not in cached]
        if missing:
            yield from self._simulate(missing)

    def _digest(self, number: int) -> str:
        if number not in self._digests:
            self._digests[number] = self.evaluator.digest(number)
        return self._digests[number]

    def _save(self, outcomes: list[Outcome]) -> list[Outcome]:
        """Store results."""
        self.simulated += len(outcomes)
        if self.store is not None:
            self.store.add((self._digest(outcome.number), outcome) for outcome in outcomes)
        return outcomes

    def _start(self, points: int) -> Executor:
        """The executor, started if there is none; little work runs in this process."""
        if self._executor is None:
            small = self._point_s is not None and self._point_s * points < _SMALL_S
            if self.workers == 1 or (small and not self._explicit_workers):
                return Here()
            self._executor = Processes(self.workers)
        return self._executor

    def _stop(self) -> None:
        if isinstance(self._executor, Processes):
            self._executor.stop()
            self._executor = None

    def _simulate(self, missing: list[int]) -> Iterator[Outcome]:
        """Send chunks and yield results; a dead worker loses its chunks in flight, which are sent again."""
        todo = deque(missing)
        retries: deque[_Chunk] = deque()
        in_flight: dict[Future[list[Outcome]], _Chunk] = {}
        executor = self._start(len(missing))
        here = isinstance(executor, Here)
        reason = ""
        self._job = self._job or Job.of(self.space, self.per_layer)
        try:
            while todo or retries or in_flight:
                self._check_interrupt()
                while (todo or retries) and len(in_flight) < (1 if here else self.workers * _AHEAD):
                    chunk = retries.popleft() if retries else self._next_chunk(todo)
                    chunk.start = time.perf_counter()
                    try:
                        in_flight[self._send(executor, chunk)] = chunk
                    except BrokenExecutor as error:
                        reason = str(error)
                        retries.append(chunk)
                        break
                ready, _ = wait(in_flight, timeout=0.5, return_when=FIRST_COMPLETED)
                orphans: list[_Chunk] = []
                if not ready and isinstance(executor, Cluster) and (failure := executor.failure()):
                    raise HwsimError(f"{failure}{self._kept}. Start what is missing and repeat the command")
                for future in ready:
                    chunk = in_flight.pop(future)
                    try:
                        outcomes = future.result()
                    except Exception as error:
                        if not _death(error):
                            raise
                        reason = "killed, or out of memory"
                        orphans.append(chunk)
                        continue
                    self._idle_deaths = 0
                    self._update_estimate(chunk, len(in_flight) + 1)
                    yield from self._save(outcomes)
                if orphans or (not in_flight and retries and not ready):
                    if isinstance(executor, Processes):  # a pool with a dead worker is broken
                        orphans += in_flight.values()
                        in_flight.clear()
                        self._stop()
                        executor = self._start(len(missing))
                    self._count_death(reason)
                    yield from self._save(list(self._retry(orphans, retries)))
        finally:
            for future in in_flight:
                future.cancel()
            complete = [f for f in in_flight if f.done() and not f.cancelled() and f.exception() is None]
            for future in complete:
                self._save(future.result())

    @property
    def _kept(self) -> str:
        return "; finished points are in the store" if self.store is not None else ""

    def _count_death(self, reason: str) -> None:
        """Tell the first death of a worker, and end the sweep after many that follow each other."""
        self.deaths += 1
        self._idle_deaths += 1
        if self.deaths == 1:
            template = "a worker died ({reason}); its points are simulated again"
            message = Message("sweep.death", template, {"reason": reason}, "warning")
            warnings.warn(str(message), HwsimWarning, stacklevel=2)
        if self._idle_deaths >= _IDLE_DEATHS:
            raise HwsimError(
                f"workers died {_IDLE_DEATHS} times in a row, with no point finished ({reason}){self._kept}. "
                "Free memory, or use fewer --workers, and repeat the command"
            )
        time.sleep(min(0.02 * self._idle_deaths, 0.2))

    def _send(self, executor: Executor, chunk: _Chunk) -> Future[list[Outcome]]:
        assert self._job is not None
        if isinstance(executor, Here):
            future: Future[list[Outcome]] = Future()
            outcomes = []
            for number in chunk.numbers:
                self._check_interrupt()
                outcomes.append(self.evaluator.outcome(number, self.per_layer))
            future.set_result(outcomes)
            return future
        return executor.submit(run_chunk, self._job, chunk.numbers)

    def _next_chunk(self, todo: deque[int]) -> _Chunk:
        """The next chunk, of about `CHUNK_S`; chunks shrink near the end so that no worker is left with a long tail."""
        size = 1 if self._point_s is None else round(CHUNK_S / self._point_s)
        size = max(1, min(size, MAX_CHUNK, -(-len(todo) // (2 * self.workers))))
        return _Chunk(tuple(todo.popleft() for _ in range(min(size, len(todo)))))

    def _update_estimate(self, chunk: _Chunk, in_flight: int) -> None:
        """Update the time per point from a chunk; a worker has several chunks in its queue."""
        seconds_busy = (time.perf_counter() - chunk.start) / max(1, in_flight / self.workers)
        seconds = max(seconds_busy / len(chunk.numbers), 1e-5)
        self._point_s = seconds if self._point_s is None else 0.7 * self._point_s + 0.3 * seconds

    def _retry(self, orphans: list[_Chunk], retries: deque[_Chunk]) -> Iterator[Outcome]:
        """Queue orphaned chunks again, after several deaths point by point; a point that keeps failing has an error."""
        for chunk in orphans:
            deaths = chunk.deaths + 1
            if deaths < _LIVES:
                retries.append(_Chunk(chunk.numbers, deaths))
            elif len(chunk.numbers) > 1:
                retries.extend(_Chunk((number,)) for number in chunk.numbers)
            else:
                error = f"{DIED} {deaths} times while it simulated this point or its chunk; is there enough memory?"
                yield Outcome(chunk.numbers[0], None, error=error)


def _death(error: BaseException) -> bool:
    """Whether a worker died, rather than raised an error."""
    return isinstance(error, BrokenExecutor) or type(error).__name__ in ("KilledWorker", "CancelledError")
