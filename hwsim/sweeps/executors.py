"""Executors: this process, local processes, or a Dask cluster.

Workers are started through a fork server: a clean process without threads that has imported hwsim once, so that
forking is fast and safe whatever threads the caller runs (a progress bar, a notebook). Workers do not import the
caller's script, so a script needs no ``if __name__ == "__main__"``. A worker exits when its parent does.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import connection
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import hwsim
from hwsim.errors import HwsimError, InputError

__all__ = ["Here", "Processes", "cluster_executor", "cores"]

P = ParamSpec("P")
T = TypeVar("T")

_CONNECT_S = 5


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
        with _isolated_environment(), _defer_interrupt():
            return super().submit(fn, *args, **kwargs)

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


def cluster_executor(address: str) -> tuple[Any, Executor, int]:
    """Connect to a Dask scheduler; returns the client, its executor and the number of threads.

    Raises
    ------
    InputError
        If dask.distributed is not installed, or the address does not answer within seconds.
    """
    try:
        from distributed import Client
    except ImportError:
        raise InputError("--cluster needs dask.distributed: pip install 'hwsim[cluster]'") from None
    import logging

    connect: Any = Client
    logging.getLogger("distributed").setLevel(logging.ERROR)
    try:
        client = connect(address, timeout=_CONNECT_S, set_as_default=False)
    except Exception as error:  # the exception depends on the protocol of the address
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"--cluster must be the address of a running Dask scheduler, as tcp://host:8786; {address!r} does not "
            f"answer: {reason}"
        ) from None
    threads = sum(client.nthreads().values())
    if not threads:
        client.close()
        raise HwsimError(f"the cluster at {address} has no workers; start some and repeat the command")
    return client, client.get_executor(pure=False), threads
