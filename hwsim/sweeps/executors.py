"""Where points are simulated: in this process, in processes of this machine, or on a cluster.

Workers are started through a fork server: a clean process that has imported hwsim once and has no threads of its own,
so that forking it is quick and safe whatever threads the caller runs (a progress bar, a notebook). They import nothing
of the caller's script, so that a script needs no ``if __name__ == "__main__"``. A worker ends itself when its parent is
gone.
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
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Here(Executor):
    """Runs what is submitted at once, in this process."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run it; the future is done when this returns."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class Processes(ProcessPoolExecutor):
    """Processes of this machine."""

    def __init__(self, workers: int) -> None:
        method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
        context = multiprocessing.get_context(method)
        if method == "forkserver":
            context.set_forkserver_preload(["hwsim.sweeps.evaluation", "hwsim.simulation"])
        super().__init__(workers, mp_context=context, initializer=_begin)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Submit; where this starts a process, the process does not import the caller's script."""
        with _no_main(), _uninterrupted():
            return super().submit(fn, *args, **kwargs)

    def stop(self) -> None:
        """End now: what runs is lost, and comes again when the sweep goes on."""
        workers = list((getattr(self, "_processes", None) or {}).values())
        # First of all: one that is only starting would complain that its queues are gone.
        for worker in workers:
            worker.kill()
        self.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.join(5)


@contextmanager
def _no_main() -> Iterator[None]:
    """Nothing of the caller's script, and the caller's hwsim rather than one that is installed or lies about."""
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
def _uninterrupted() -> Iterator[None]:
    """Put Ctrl-C off: a worker that is only half started could not be ended."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed = []
    before = signal.signal(signal.SIGINT, lambda *_: pressed.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before if before is not None else signal.SIG_DFL)
    if pressed:
        raise KeyboardInterrupt


def _begin() -> None:
    """In a worker: Ctrl-C is for the parent to answer, and without a parent there is nobody to work for.

    What is imported and remembered lives as long as the worker: it is not searched for garbage over and over.
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
    """Connect to a Dask scheduler: the client, its executor, and how many points it can simulate at a time.

    Raises
    ------
    InputError
        If dask.distributed is not installed, or nobody answers at the address within seconds.
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
    except Exception as error:  # what is raised depends on the protocol of the address
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
