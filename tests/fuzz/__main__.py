"""The command: draw cases of each kind for so many seconds, and say how many there were and what broke."""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import select
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

TESTS = Path(__file__).parent.parent
sys.path[:0] = [str(TESTS.parent), str(TESTS)]

from tests.fuzz import case as cases  # noqa: E402 - after the path

KINDS = {
    "machine": ("machine_yaml", "case"),
    "workload": ("workload_yaml", "case"),
    "table": ("table_csv", "case"),
    "scale-sim": ("table_csv", "scale_sim_case"),
    "onnx": ("onnx_file", "case"),
    "tflite": ("tflite_file", "case"),
    "timeloop": ("imported", "timeloop_case"),
    "cfg": ("imported", "scale_sim_case"),
    "llm": ("llm_file", "case"),
    "serve": ("served", "case"),
    "sweep": ("sweep_yaml", "case"),
    "report": ("saved_report", "case"),
    "options": ("options", "case"),
    "api": ("python_api", "case"),
    "kernel": ("kernel_call", "case"),
}
PER_PROCESS = 4000
"""Cases after which a new process begins: what hwsim remembers between them is bounded, and memory is that of few."""
PATIENCE = cases.WALL_SECONDS + 30


@dataclass
class Tally:
    """What came of the cases of one kind."""

    outcomes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("result", "error", "broken"), 0))
    failures: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    slowest: float = 0.0
    peak_bytes: int = 0
    next: int = 0


class Log:
    """Tallies of a campaign in a file, by kind: one that is stopped goes on where it was."""

    def __init__(self, path: Path | None, seed: int, kinds: Sequence[str]) -> None:
        self.path, self.seed = path, seed
        text = path.read_text("utf-8") if path is not None and path.exists() else "{}"
        self.seeds: dict[str, dict[str, dict[str, Any]]] = json.loads(text)
        self.tallies = {kind: Tally(**self.seeds.get(str(seed), {}).get(kind, {})) for kind in kinds}

    def save(self) -> None:
        """Replace the file."""
        if self.path is not None:
            now = {kind: asdict(tally) for kind, tally in self.tallies.items()}
            self.seeds.setdefault(str(self.seed), {}).update(now)
            new = self.path.with_suffix(".new")
            new.write_text(json.dumps(self.seeds, indent=1), "utf-8")
            new.replace(self.path)


def _maker(kind: str) -> Callable[[Random, Path], cases.Case]:
    module, name = KINDS[kind]
    loaded: ModuleType = importlib.import_module(f"tests.fuzz.{module}")
    return getattr(loaded, name)  # type: ignore[no-any-return]


def _draw(kind: str, seed: int, number: int, folder: Path) -> cases.Case:
    """Case `number` of a kind, with its files in place: the same for the same seed."""
    case = _maker(kind)(Random(f"{seed} {kind} {number}"), folder)
    for name, data in case.files.items():
        (folder / name).write_bytes(data)
    return case


def _work(kind: str, seed: int, numbers: range, end: float, folder: Path, report: int) -> None:
    """Run cases in this process, which was made for them; a line before and after each."""
    warnings.simplefilter("ignore")
    os.chdir(folder)
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    cases.limit_memory()
    for number in numbers:
        if time.monotonic() > end:
            break
        os.write(report, f"begin {number}\n".encode())
        own = folder / str(number)
        own.mkdir()
        case = _draw(kind, seed, number, own)
        begin = time.process_time()
        outcome, details = cases.run(case)
        seconds = time.process_time() - begin
        if outcome not in ("result", "error"):
            (own / "what.txt").write_text(f"{outcome}\n{case.label}\n\n{details}\n", "utf-8", "backslashreplace")
        else:
            shutil.rmtree(own)
        os.write(report, f"end {seconds:.6f} {outcome}\n".encode("utf-8", "backslashreplace"))
    os._exit(0)


def _keep(kind: str, seed: int, number: int, folder: Path, out: Path) -> None:
    target = out / f"{kind}-{seed}-{number}"
    target.mkdir(parents=True, exist_ok=True)
    for path in (folder / str(number)).iterdir():
        if path.is_file() and not path.is_symlink():
            (target / path.name).write_bytes(path.read_bytes())
    again = f"python -m tests.fuzz --kind {kind} --seed {seed} --case {number}\n"
    (target / "again.txt").write_text(again, "utf-8")


def _settle(tally: Tally, outcome: str, number: int) -> bool:
    """Count an outcome; returns whether it is a failure whose cause is new."""
    if outcome in ("result", "error"):
        tally.outcomes[outcome] += 1
        return False
    tally.outcomes["broken"] += 1
    new = outcome not in tally.failures
    tally.failures.setdefault(outcome, number)
    return new


def fuzz(kind: str, seconds: float, log: Log, out: Path, most: int) -> None:
    """Run cases of one kind for a time, in processes of their own."""
    begin, seed, tally = time.monotonic(), log.seed, log.tallies[kind]
    before = tally.seconds
    _maker(kind)  # imported once, before the processes part
    gc.collect()
    gc.freeze()  # what is imported is not looked through again in each of them
    with tempfile.TemporaryDirectory(prefix="hwsim-fuzz-") as name:
        folder = Path(name)
        while (end := begin + seconds) > time.monotonic() and tally.next < most:
            for path in folder.iterdir():
                shutil.rmtree(path)
            read, write = os.pipe()
            child = os.fork()
            if child == 0:
                try:
                    os.close(read)
                    _work(kind, seed, range(tally.next, min(tally.next + PER_PROCESS, most)), end, folder, write)
                finally:
                    os._exit(3)
            os.close(write)
            _follow(kind, seed, tally, folder, out, child, read)
            tally.seconds = before + time.monotonic() - begin
            log.save()


def _follow(kind: str, seed: int, tally: Tally, folder: Path, out: Path, child: int, read: int) -> None:
    """Count what a process says of its cases, until it ends or says nothing for too long."""
    buffer, open_case = b"", False
    while True:
        ready = select.select([read], [], [], PATIENCE)[0]
        part = os.read(read, 2**16) if ready else b""
        if not part:
            break
        *lines, buffer = (buffer + part).split(b"\n")
        for line in lines:
            word, _, rest = line.decode("utf-8", "replace").partition(" ")
            if word == "begin":
                tally.next, open_case = int(rest) + 1, True
                continue
            open_case = False
            took, _, outcome = rest.partition(" ")
            tally.slowest = max(tally.slowest, float(took))
            if _settle(tally, outcome, tally.next - 1):
                _keep(kind, seed, tally.next - 1, folder, out)
                print(f"  {kind} {tally.next - 1}: {outcome}", flush=True)
    os.close(read)
    os.kill(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    tally.peak_bytes = max(tally.peak_bytes, usage.ru_maxrss * 1024)
    if open_case:
        outcome = f"the process ends ({os.waitstatus_to_exitcode(status)}) or hangs"
        if _settle(tally, outcome, tally.next - 1):
            _keep(kind, seed, tally.next - 1, folder, out)
            print(f"  {kind} {tally.next - 1}: {outcome}", flush=True)


def main() -> int:
    """Read the command line; returns the exit code: 1 where something is broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("seconds", type=float, nargs="?", default=60.0, help="for all kinds together (default: 60)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", action="append", choices=KINDS, help="may be repeated (default: all)")
    parser.add_argument(
        "--case", type=int, metavar="N", help="run one case of one kind in this process, with its traceback"
    )
    parser.add_argument("--cases", type=int, metavar="N", default=2**62, help="end a kind after so many cases")
    parser.add_argument(
        "--out", type=Path, default=Path("fuzz-failures"), metavar="FOLDER", help="for inputs that fail"
    )
    parser.add_argument("--log", type=Path, metavar="FILE", help="of the cases that were run; those are not run again")
    arguments = parser.parse_args()
    kinds = arguments.kind or list(KINDS)
    if arguments.case is not None:
        with tempfile.TemporaryDirectory() as name:
            cases.limit_memory()
            case = _draw(kinds[0], arguments.seed, arguments.case, Path(name))
            print(case.label, *cases.run(case), sep="\n")
        return 0
    log = Log(arguments.log, arguments.seed, kinds)
    tallies, end = log.tallies, time.monotonic() + arguments.seconds
    for left, kind in zip(range(len(kinds), 0, -1), kinds):
        fuzz(kind, (end - time.monotonic()) / left, log, arguments.out, arguments.cases)
    print(
        f"{'kind':<10} {'cases':>9} {'results':>9} {'errors':>9} {'broken':>7} {'cases/s':>8} {'slowest':>8} {'peak':>9}"
    )
    for kind, tally in tallies.items():
        count, counts = sum(tally.outcomes.values()), tally.outcomes
        print(
            f"{kind:<10} {count:>9,} {counts['result']:>9,} {counts['error']:>9,} {counts['broken']:>7,} "
            f"{count / max(tally.seconds, 1e-9):>8.1f} {tally.slowest:>6.1f} s {tally.peak_bytes / 2**20:>5.0f} MiB"
        )
    failures = [(kind, number, what) for kind, tally in tallies.items() for what, number in tally.failures.items()]
    for kind, number, what in failures:
        print(f"{kind} {number}: {what}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
