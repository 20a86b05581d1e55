"""``hwsim explain``: why a layer takes what it takes."""

from __future__ import annotations

import click

from hwsim.cli.completion import layers_of
from hwsim.cli.options import (
    batch_option,
    console_of,
    machine_argument,
    set_option,
    simulated,
    workload_argument,
)

__all__ = ["explain"]


@click.command()
@machine_argument
@workload_argument
@click.argument("layer", shell_complete=layers_of)
@batch_option
@set_option
def explain(machine: str, workload: str, layer: str, batch: int, changes: tuple[str, ...]) -> None:
    """Explain one LAYER: its loop nest, every count and price with its source, and what it waits for.

    \b
    Examples:
      hwsim explain eyeriss_v1 alexnet conv3 --batch 4
    """
    from hwsim.report.explain import print_explanation

    report = simulated(machine, workload, batch, changes, layer)
    print_explanation(report, console_of())
