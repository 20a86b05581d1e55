"""``hwsim explain``: the latency and energy of one layer in detail."""

from __future__ import annotations

import click

from hwsim.cli.completion import layers_of
from hwsim.cli.options import (
    batch_option,
    console_of,
    machine_argument,
    plan_of,
    set_option,
    shape_option,
    simulate,
    workload_argument,
)

__all__ = ["explain"]


@click.command()
@machine_argument
@workload_argument
@click.argument("layer", shell_complete=layers_of)
@batch_option
@set_option
@shape_option
def explain(
    machine: str, workload: str, layer: str, batch: int, changes: tuple[str, ...], shapes: tuple[str, ...]
) -> None:
    """Explain one LAYER: bottleneck, loop nest, counts and prices. Stalls and the source of each price are printed too.

    The layer is explained as part of the whole network, with the numbers that 'hwsim run' prints for it. LAYER may be a
    pattern, as 'conv*'. If LAYER is fused into the kernel of another layer, that layer is explained.

    \b
    Examples:
      hwsim explain eyeriss_v1 alexnet conv3 --batch 4
    """
    from hwsim.report.explain import print_explanation

    plan = plan_of(machine, workload, batch, changes, shapes)
    names = plan.select(layer).names
    for name in names:
        if name in plan.hosts:
            click.echo(f"{name} is fused into the kernel of {plan.hosts[name]}, which is explained instead:")
    report = simulate(plan.part({plan.hosts.get(name, name) for name in names}))
    print_explanation(report, console_of())
