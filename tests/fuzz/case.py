"""One case: its input, what is done with it, and whether the promise was kept."""

from __future__ import annotations

import math
import resource
import signal
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from hwsim.errors import MAX_FAULTS, HwsimError, printable

CPU_SECONDS = 10
WALL_SECONDS = 300
"""A case waits for the processors too, where others use them."""
MEMORY_BYTES = 2**30
MAX_LINE = 4000


@dataclass
class Case:
    """What is run, and the input that it reads (by the name of the file), kept where it fails."""

    action: Callable[[], object]
    files: Mapping[str, bytes] = field(default_factory=dict)
    label: str = ""


class BrokenPromiseError(Exception):
    """The promise is not kept, though nothing was raised."""


class OutOfTime(BaseException):
    """Raised by the timer, through every ``except Exception``."""


def _out_of_time(*_: object) -> None:
    raise OutOfTime


@contextmanager
def _timer() -> Iterator[None]:
    timers = ((signal.ITIMER_PROF, signal.SIGPROF, CPU_SECONDS), (signal.ITIMER_REAL, signal.SIGALRM, WALL_SECONDS))
    for which, number, seconds in timers:
        signal.signal(number, _out_of_time)
        signal.setitimer(which, seconds, 1)
    try:
        yield
    finally:
        for which, _, _ in timers:
            signal.setitimer(which, 0)


def limit_memory() -> None:
    """Let this process have so much more address space than it has now."""
    with open("/proc/self/statm", encoding="ascii") as stream:
        pages = int(stream.read().split()[0])
    limit = pages * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _place(error: BaseException) -> str:
    """The innermost line of hwsim's own: what two failures have in common if they have one cause."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/hwsim/" in frame.filename] or list(frames)
    return f"{own[-1].filename.rpartition('/hwsim/')[2]}:{own[-1].lineno} in {own[-1].name}" if own else "nowhere"


def run(case: Case) -> tuple[str, str]:
    """Run a case: ``result``, ``error`` or what is broken, in a line that names the cause; and the details."""
    try:
        with _timer():
            case.action()
        return "result", ""
    except HwsimError as error:
        fault = _error_fault(error)
        return (f"error {fault} at {_place(error)}", str(error)[:2000]) if fault else ("error", "")
    except OutOfTime as error:
        return f"takes longer than {CPU_SECONDS} s at {_place(error)}", traceback.format_exc()
    except MemoryError as error:
        return f"takes more than {MEMORY_BYTES >> 30} GiB at {_place(error)}", traceback.format_exc()
    except BaseException as error:
        return f"{type(error).__name__} at {_place(error)}", traceback.format_exc()[-4000:]


def _error_fault(error: HwsimError) -> str:
    lines = str(error).split("\n")
    if not all(line.strip() for line in lines):
        return "has an empty line"
    if len(lines) > MAX_FAULTS + 1:
        return f"has more than {MAX_FAULTS + 1} lines"
    if max(map(len, lines)) > MAX_LINE:
        return f"has a line of more than {MAX_LINE} characters"
    if printable(str(error)) != str(error):
        return "is not printable"
    return ""


def check_numbers(data: object, path: str = "") -> None:
    """Nothing in a result is infinite; what is unknown is not a number."""
    if isinstance(data, Mapping):
        for key, value in data.items():
            check_numbers(value, f"{path}.{key}")
    elif isinstance(data, (list, tuple)):
        for value in data:
            check_numbers(value, f"{path}[]")
    elif isinstance(data, float) and math.isinf(data):
        raise BrokenPromiseError(f"{path} is {data}")


def check_printable(text: str, what: str) -> None:
    """What is printed has no character that a terminal would take for a command."""
    if printable(text) != text:
        raise BrokenPromiseError(f"{what} is not printable")


def check_report(report: Any, whole: bool) -> None:
    """A report is of finite numbers, none of them negative where it counts; `whole`: every form of it is made too."""
    summary = report.summary
    for name in ("latency_s", "energy_pj"):
        value = getattr(summary, name)
        if value is not None and not (
            0 <= value < math.inf or (name == "energy_pj" and math.isnan(value))
        ):  # NaN: unknown
            raise BrokenPromiseError(f"summary.{name} is {value}")
    for row in report.rows:
        check_numbers(row, "row")
        for name in ("latency_s", "energy_pj", "cycles", "macs"):
            if (value := row.get(name)) is not None and value < 0:
                raise BrokenPromiseError(f"row.{name} is negative")
    if whole:
        import io
        import json

        from rich.console import Console

        from hwsim.report.explain import print_explanation
        from hwsim.report.table import print_report

        json.loads(report.to_json(), parse_constant=_refuse)
        check_printable(report.to_csv() or "", "the CSV")
        report.to_html()
        stream = io.StringIO()
        console = Console(file=stream, width=200)
        print_report(report, console, None)
        print_explanation(report, console)
        check_printable(stream.getvalue(), "the terminal")


def _refuse(name: str) -> None:
    raise BrokenPromiseError(f"the JSON has {name}")
