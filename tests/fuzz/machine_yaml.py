"""Machine files: each that hwsim comes with, changed, and one network on it."""

from __future__ import annotations

from pathlib import Path
from random import Random

import hwsim
from tests.fuzz.case import Case, check_report
from tests.fuzz.mutation import encoded, mutated
from tests.fuzz.seeds import machine_texts, networks


def case(draw: Random, folder: Path) -> Case:
    """A changed machine with one network on it."""
    texts = machine_texts()
    name = draw.choice(list(texts))
    data = encoded(mutated(draw, texts[name], list(texts.values())))
    path = folder / f"{name}.yaml"
    network, batch, whole = draw.choice(networks()), draw.choice((1, 1, 1, 2, 5, 65536)), draw.random() < 0.01

    def action() -> None:
        check_report(hwsim.simulate(hwsim.load_machine(path), network, batch), whole)

    return Case(action, {path.name: data}, f"{name}, {network.name}, batch {batch}")
