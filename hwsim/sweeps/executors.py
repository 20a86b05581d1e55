"""Executors: this process, local processes, or a Dask cluster.

Workers are started through a fork server: a clean process without threads that has imported hwsim once, so that
forking is fast and safe whatever threads the caller runs (a progress bar, a notebook). Workers do not import the
caller's script, so a script needs no ``if __name__ == "__main__"``. A worker exits when its parent does.
"""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import connection
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import hwsim
from hwsim.errors import HwsimError, InputError

__all__ = ["Cluster", "Here", "Processes", "cores"]

P = ParamSpec("P")
T = TypeVar("T")

_CONNECT_S = 5
_SILENCE_S = 5.0
"""A cluster that has no worker for so long is given up."""
_LOGGERS = ("distributed", "distributed.client", "tornado.application")
"""They report each task of a lost worker, with its traceback; the sweep says it once."""


def cores() -> int:
    """Number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Here(Executor):
    """Runs each task immediately, in this process."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a task; the future is done when this returns."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class Processes(ProcessPoolExecutor):
    """Local worker processes."""

    def __init__(self, workers: int) -> None:
        method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
        context = multiprocessing.get_context(method)
        if method == "forkserver":
            context.set_forkserver_preload(["hwsim.sweeps.evaluation", "hwsim.simulation"])
        super().__init__(workers, mp_context=context, initializer=_begin)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Submit a task; a process started for it does not import the caller's script."""
        try:
            with _isolated_environment(), _defer_interrupt():
                return super().submit(fn, *args, **kwargs)
        except (EOFError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else "the process that starts workers was killed"
            raise BrokenExecutor(f"a worker cannot be started: {reason or error}") from None

    def stop(self) -> None:
        """Kill the workers; running tasks are lost and repeated when the sweep resumes."""
        workers = list((getattr(self, "_processes", None) or {}).values())
        # Before the shutdown: a worker that is starting would report that its queues are closed.
        for worker in workers:
            worker.kill()
        self.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.join(5)


@contextmanager
def _isolated_environment() -> Iterator[None]:
    """Start workers without the caller's script, and with the caller's hwsim rather than an installed one."""
    main, before = sys.modules["__main__"], {name: os.environ.get(name) for name in ("PYTHONSAFEPATH", "PYTHONPATH")}
    sys.modules["__main__"] = types.ModuleType("__main__")
    os.environ["PYTHONSAFEPATH"] = "1"
    home = Path(hwsim.__file__).parent.parent
    if home.name not in ("site-packages", "dist-packages"):
        os.environ["PYTHONPATH"] = os.pathsep.join([str(home), *filter(None, [before["PYTHONPATH"]])])
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _defer_interrupt() -> Iterator[None]:
    """Defer Ctrl-C: a worker that is only half started could not be ended."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    interrupts = []
    before = signal.signal(signal.SIGINT, lambda *_: interrupts.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before if before is not None else signal.SIG_DFL)
    if interrupts:
        raise KeyboardInterrupt


def _begin() -> None:
    """Initialize a worker: it ignores Ctrl-C, which the parent handles, and exits with its parent.

    Imports and caches live as long as the worker, so they are excluded from garbage collection.
    """
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: Any) -> None:
    connection.wait([sentinel])
    os._exit(1)


class Cluster(Executor):
    """The workers of a Dask scheduler.

    Raises
    ------
    InputError
        If dask.distributed is not installed, or the address does not answer within seconds.
    HwsimError
        If it has no workers.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        try:
            from distributed import Client
        except ImportError:
            raise InputError("--cluster needs dask.distributed: pip install 'hwsim[cluster]'") from None
        connect: Any = Client
        self._levels = {name: logging.getLogger(name).level for name in _LOGGERS}
        for name in _LOGGERS:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            self._client: Any = connect(address, timeout=_CONNECT_S, set_as_default=False)
        except Exception as error:  # the exception depends on the protocol of the address
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(
                f"--cluster must be the address of a running Dask scheduler, as tcp://host:8786; {address!r} does not "
                f"answer: {reason}"
            ) from None
        self.workers = self._count() or 0
        if not self.workers:
            self.close()
            raise HwsimError(f"the cluster at {address} has no workers; start some and repeat the command")
        self._executor = self._client.get_executor(pure=False)
        self._asked_s = time.monotonic()
        self._lost_s: float | None = None

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Submit a task to any worker."""
        try:
            future: Future[T] = self._executor.submit(fn, *args, **kwargs)
        except Exception as error:  # the client is closed, or has lost the scheduler
            raise BrokenExecutor(f"the scheduler does not take a task: {error}") from None
        return future

    def _count(self) -> int | None:
        """Number of threads of all workers; None if the scheduler does not answer."""
        try:
            threads: dict[str, int] = self._client.sync(self._client.scheduler.ncores, callback_timeout=1)
        except Exception:  # of the network, or of a client that is closed
            return None
        return sum(threads.values())

    def failure(self) -> str:
        """Why no result will arrive: for seconds there was no worker, or no answer; empty while there may be one.

        The scheduler is asked at most once a second.
        """
        now = time.monotonic()
        if now - self._asked_s < 1:
            return ""
        self._asked_s = now
        count = self._count()
        self._lost_s = None if count else self._lost_s or now
        if self._lost_s is None or now - self._lost_s < _SILENCE_S:
            return ""
        what = "does not answer any more" if count is None else f"has had no workers for {_SILENCE_S:.0f} s"
        return f"the cluster at {self.address} {what}"

    def close(self) -> None:
        """Leave the cluster."""
        with suppress(Exception):  # a scheduler that is gone
            self._client.close(timeout=1)
        for name, level in self._levels.items():
            logging.getLogger(name).setLevel(level)
