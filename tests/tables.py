"""Published facts, re-typed: the tables of tests/data, each with its source in its first line."""

import csv
from pathlib import Path

DATA = Path(__file__).parent / "data"
#: Where the whole tables and the published models lie beside a checkout, if they do: tests then read them too.
BESIDE = Path(__file__).parents[2] / "shared" / "data"


def rows(name: str) -> list[dict[str, str]]:
    """The rows of a table."""
    with (DATA / f"{name}.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))
