"""A sweep as one call: read it, simulate missing points, return a table."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwsim.errors import InputError, excerpt
from hwsim.files import write_text
from hwsim.lazy import lazy
from hwsim.message import Message, sentence
from hwsim.report.json_text import json_text
from hwsim.report.provenance import machine_digest, made_by, workload_digest
from hwsim.sweeps.evaluation import Outcome
from hwsim.sweeps.reader import read_space
from hwsim.sweeps.results import Results, frame_of, layers_of, write_csv, write_parquet
from hwsim.sweeps.runner import Estimate, Runner
from hwsim.sweeps.space import Space
from hwsim.sweeps.store import Store

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = lazy("pandas")

__all__ = ["Sweep", "shard_of", "sweep"]

Source = str | Path | Mapping[str, Any]

_NOTES = 6
_DIGITS = re.compile(r"[0-9]{1,7}\Z")


def shard_of(text: str) -> tuple[int, int]:
    """Parse ``2/8``, the second of eight parts; raises InputError if invalid."""
    part, slash, parts = text.partition("/")
    if not (slash and _DIGITS.match(part) and _DIGITS.match(parts) and 1 <= int(part) <= int(parts) <= 100_000):
        raise InputError(f"a shard must be k/n with k from 1 to n, as 2/8, not {excerpt(text, 40)}")
    return int(part), int(parts)


@dataclass
class Sweep:
    """A sweep in progress: its space, its runner and its outcomes."""

    space: Space
    runner: Runner
    results: Results
    numbers: list[int]
    outcomes: list[Outcome]
    shard: tuple[int, int] | None = None
    salvaged: int = 0
    """Results that were taken from a damaged store."""

    @classmethod
    def start(
        cls,
        source: Source,
        *,
        folder: Path | None = None,
        workers: int | None = None,
        cluster: str | None = None,
        shard: tuple[int, int] | None = None,
        damaged: Path | None = None,
    ) -> Sweep:
        """Read a sweep and open its store, with the results of its shards and the sound ones of a damaged store."""
        space = read_space(source)
        numbers = space.numbers(shard)
        runner = Runner(space, workers=1)
        per_layer = bool(space.spec is not None and space.spec.per_layer)
        sample = []
        if per_layer:  # the columns of a layer depend on the machine
            first = {space.point(number).machine: number for number in reversed(numbers)}
            sample = [runner.evaluator.outcome(number, True) for number in first.values()]
        results = Results(space, sample)
        store = None
        if folder is not None:
            store = folder / ("store.sqlite" if shard is None else f"shard-{shard[0]}-of-{shard[1]}.sqlite")
        runner = Runner(space, store, workers, cluster, per_layer)
        try:
            if shard is None and folder is not None and runner.store is not None:
                for path in sorted(folder.glob("shard-*-of-*.sqlite")):
                    with Store(path) as other:
                        runner.store.merge(other)
            salvaged = runner.salvage(damaged, numbers) if damaged is not None else 0
        except BaseException:
            runner.close()
            raise
        return cls(space, runner, results, numbers, [], shard, salvaged)

    def estimate(self) -> Estimate:
        """Number of points, and estimated time of the missing ones."""
        with self.runner.interruptible():
            return self.runner.estimate(self.numbers)

    def run(self, tell: Callable[[int], None] = lambda _: None) -> None:
        """Simulate missing points; `tell` is called with the number of finished points."""
        with self.runner.interruptible():
            for outcome in self.runner.outcomes(self.numbers):
                self.outcomes.append(outcome)
                tell(len(self.outcomes))
        self.outcomes.sort(key=lambda outcome: outcome.number)

    def frame(self, everything: bool = False) -> pd.DataFrame:
        """One row per point, with the metrics of the file or all totals."""
        return frame_of(self.results, self.outcomes, everything)

    def tables(self, folder: Path, parquet: bool = False) -> list[Path]:
        """The files that `write` writes: CSV, then the same as Parquet."""
        part = "" if self.shard is None else f"-{self.shard[0]}-of-{self.shard[1]}"
        name = "".join("_" if char in "/\\" else char for char in self.space.name)
        ends = [".csv", ".layers.csv"] if self.results.per_layer else [".csv"]
        files = [folder / f"{name}{part}{end}" for end in ends]
        return files + [path.with_suffix(".parquet") for path in files if parquet]

    def write(self, folder: Path, parquet: bool = False) -> list[Path]:
        """Write the tables; returns the files."""
        files, totals = self.tables(folder, parquet), self.results.totals(self.outcomes)
        write_csv(self.results.point_columns(totals), self.results.rows(self.outcomes, totals), files[0])
        if self.results.per_layer:
            write_csv(self.results.layer_columns, self.results.layer_rows(self.outcomes), files[1])
        if parquet:
            frames = [self.frame()] + ([layers_of(self.results, self.outcomes)] if self.results.per_layer else [])
            for frame, path in zip(frames, files[len(frames) :], strict=True):
                write_parquet(frame, path)
        origin = json_text(self.provenance())
        for path in files:
            write_text(Path(f"{path}.provenance.json"), origin)
        return files

    def provenance(self) -> dict[str, Any]:
        """What the tables are computed from; the columns of a row say what was set for it."""
        return {
            **made_by(),
            "machines": {key: machine_digest(source.document) for key, source in self.space.machines.items()},
            "workloads": {key: workload_digest(source.network) for key, source in self.space.workloads.items()},
            "set": [key for parameter in self.space.parameters if "." in (key := parameter.name)],
        }

    def notes(self) -> tuple[Message, ...]:
        """Properties without effect at the first feasible point of each machine and workload, for `_NOTES` pairs."""
        from hwsim.report.unused import unused_messages

        first: dict[tuple[str, str], int] = {}
        for outcome in self.outcomes:
            point = self.space.point(outcome.number)
            trains = self.runner.evaluator.trains(point) or point.serving_changes
            if outcome.result is not None and not trains and len(first) < _NOTES:
                first.setdefault((point.machine, point.workload), outcome.number)
        runs: dict[tuple[str, str], list[str]] = {}
        for number in first.values():
            report = self.runner.evaluator.report(number)
            for message in unused_messages(report.unused, report.plan):
                text = sentence(message, len(report.results))
                runs.setdefault((message.code, text), []).append(f"{report.workload.name} on {report.machine.name}")
        return tuple(
            Message(code, "{runs}: {fact}", {"runs": list(dict.fromkeys(where)), "fact": text})
            for (code, text), where in runs.items()
        )

    @property
    def variables(self) -> list[str]:
        """Names of the parameters that have more than one value."""
        return [parameter.name for parameter in self.space.parameters if len(parameter.values) > 1]

    def page(self) -> str:
        """The sweep as an HTML page."""
        from hwsim.sweeps.frame import page_of

        return page_of(self.frame(everything=True), self.space.name, self.variables)


def sweep(
    source: Source,
    *,
    store: str | Path | None = None,
    workers: int | None = None,
    cluster: str | None = None,
    shard: str | None = None,
) -> pd.DataFrame:
    """Simulate every point of a sweep.

    Parameters
    ----------
    source : path or mapping
        A sweep file, or the same as plain data, in which machines and workloads may also be objects.
    store : path, optional
        A folder for the results: the same call resumes an earlier one and simulates no point twice.
    workers : int, optional
        Number of worker processes (default: all cores).
    cluster : str, optional
        Address of a Dask scheduler, instead of local processes.
    shard : str, optional
        ``k/n``: only the k-th of n parts.

    Returns
    -------
    DataFrame
        A row per point: its number, parameters, totals of the run with units in their names, `feasible`, and the
        `error` of a failed point (otherwise empty).

    Raises
    ------
    InputError
        With all errors of the sweep, before any simulation.
    StoreError
        If the store is damaged, of another version, or cannot be written.
    """
    folder = Path(store) if store is not None else None
    current = Sweep.start(
        source, folder=folder, workers=workers, cluster=cluster, shard=shard_of(shard) if shard is not None else None
    )
    with current.runner:
        current.estimate()
        current.run()
    from hwsim.sweeps.frame import SweepFrame

    frame = SweepFrame(current.frame())
    frame.title, frame.variables = current.space.name, current.variables
    return frame
