"""Workload files: short networks of every layer kind, changed, on a machine of each kind."""

from __future__ import annotations

from pathlib import Path
from random import Random

import hwsim
from tests.fuzz.case import Case, check_report
from tests.fuzz.mutation import encoded, mutated
from tests.fuzz.seeds import machines, workload_texts


def case(draw: Random, folder: Path) -> Case:
    """A changed network on one machine."""
    texts = workload_texts()
    name = draw.choice(list(texts))
    data = encoded(mutated(draw, texts[name], list(texts.values())))
    path = folder / f"{name}.yaml"
    machine, batch, whole = draw.choice(machines()), draw.choice((1, 1, 3)), draw.random() < 0.01

    def action() -> None:
        check_report(hwsim.simulate(machine, hwsim.load_workload(path), batch), whole)

    return Case(action, {path.name: data}, f"{name} on {machine.name}, batch {batch}")
