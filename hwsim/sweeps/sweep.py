"""A sweep as one call: read it, simulate missing points, return a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwsim.errors import InputError
from hwsim.sweeps.evaluation import Outcome
from hwsim.sweeps.reader import read_space
from hwsim.sweeps.results import Results, frame_of, layers_of, write_csv, write_parquet
from hwsim.sweeps.runner import Estimate, Runner
from hwsim.sweeps.space import Space
from hwsim.sweeps.store import Store

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Sweep", "shard_of", "sweep"]

Source = str | Path | Mapping[str, Any]

_NOTED = 6


def shard_of(text: str) -> tuple[int, int]:
    """Read ``2/8``, the second of eight parts; raises InputError for what is no part."""
    part, slash, parts = text.partition("/")
    if not (slash and part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts) <= 100_000):
        raise InputError(f"a shard must be k/n with k from 1 to n, as 2/8, not {text!r:.40}")
    return int(part), int(parts)


@dataclass
class Sweep:
    """A sweep being run: its space, its runner, and what has come of its points."""

    space: Space
    runner: Runner
    results: Results
    numbers: list[int]
    outcomes: list[Outcome]
    shard: tuple[int, int] | None = None

    @classmethod
    def start(
        cls,
        source: Source,
        *,
        folder: Path | None = None,
        workers: int | None = None,
        cluster: str | None = None,
        shard: tuple[int, int] | None = None,
    ) -> Sweep:
        """Read a sweep and open its store, with all that its shards have found."""
        space = read_space(source)
        numbers = space.numbers(shard)
        runner = Runner(space, workers=1)
        per_layer = bool(space.spec is not None and space.spec.per_layer)
        sample = []
        if per_layer:  # which columns a layer has, its machine says
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
                        runner.store.take(other)
        except BaseException:
            runner.close()
            raise
        return cls(space, runner, results, numbers, [], shard)

    def estimate(self) -> Estimate:
        """How many points there are, and how long those that are missing will take."""
        with self.runner.interruptible():
            return self.runner.estimate(self.numbers)

    def run(self, tell: Callable[[int], None] = lambda _: None) -> None:
        """Simulate what is missing; `tell` hears after each point how many are done."""
        with self.runner.interruptible():
            for outcome in self.runner.outcomes(self.numbers):
                self.outcomes.append(outcome)
                tell(len(self.outcomes))
        self.outcomes.sort(key=lambda outcome: outcome.number)

    def frame(self, everything: bool = False) -> pd.DataFrame:
        """One row a point, with the metrics that were asked for or with all totals."""
        return frame_of(self.results, self.outcomes, everything)

    def write(self, folder: Path, parquet: bool = False) -> list[Path]:
        """Write the tables; returns the files."""
        part = "" if self.shard is None else f"-{self.shard[0]}-of-{self.shard[1]}"
        name = "".join("_" if char in "/\\" else char for char in self.space.name)
        written = [folder / f"{name}{part}.csv"]
        totals = self.results.totals(self.outcomes)
        write_csv(self.results.point_columns(totals), self.results.rows(self.outcomes, totals), written[0])
        if self.results.per_layer:
            written.append(folder / f"{name}{part}.layers.csv")
            write_csv(self.results.layer_columns, self.results.layer_rows(self.outcomes), written[-1])
        if parquet:
            frames = [self.frame()] + ([layers_of(self.results, self.outcomes)] if self.results.per_layer else [])
            for frame, path in zip(frames, list(written), strict=True):
                written.append(path.with_suffix(".parquet"))
                write_parquet(frame, written[-1])
        return written

    def notes(self) -> tuple[str, ...]:
        """What has no effect at the first feasible point of each machine and workload, of `_NOTED` of these at most."""
        from hwsim.report.messages import sentence
        from hwsim.report.unused import unused_messages

        first: dict[tuple[str, str], int] = {}
        for outcome in self.outcomes:
            point = self.space.point(outcome.number)
            if outcome.result is not None and len(first) < _NOTED:
                first.setdefault((point.machine, point.workload), outcome.number)
        notes: dict[str, list[str]] = {}
        for number in first.values():
            report = self.runner.evaluator.report(number)
            for message in unused_messages(report.unused):
                text = sentence(message, len(report.results))
                notes.setdefault(text, []).append(f"{report.workload.name} on {report.machine.name}")
        return tuple(f"{', '.join(dict.fromkeys(where))}: {text}" for text, where in notes.items())

    @property
    def varied(self) -> list[str]:
        """Names of the parameters that have more than one value."""
        return [parameter.name for parameter in self.space.parameters if len(parameter.values) > 1]

    def page(self) -> str:
        """The sweep as one page of HTML."""
        from hwsim.sweeps.frame import page_of

        return page_of(self.frame(everything=True), self.space.name, self.varied)


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
        A folder for the results: the same call goes on where an earlier one ended, and simulates no point twice.
    workers : int, optional
        Number of worker processes (default: all cores).
    cluster : str, optional
        Address of a Dask scheduler, instead of processes here.
    shard : str, optional
        ``k/n``: only the k-th of n parts.

    Returns
    -------
    DataFrame
        A row a point: its number, its parameters, the totals of the run with their units in their names, whether it is
        `feasible`, and the `error` of a point that failed (otherwise empty).

    Raises
    ------
    InputError
        With all errors of the sweep, before any simulation.
    StoreError
        If the store is damaged, of another version, or cannot be written.
    """
    folder = Path(store) if store is not None else None
    begun = Sweep.start(
        source, folder=folder, workers=workers, cluster=cluster, shard=shard_of(shard) if shard is not None else None
    )
    with begun.runner:
        begun.estimate()
        begun.run()
    from hwsim.sweeps.frame import SweepFrame

    frame = SweepFrame(begun.frame())
    frame.title, frame.varied = begun.space.name, begun.varied
    return frame
