"""``hwsim run``: simulate a network on a machine."""

from __future__ import annotations

from typing import Any

import click

from hwsim.cli.options import (
    batch_option,
    console_of,
    json_option,
    layers_option,
    machine_argument,
    output_option,
    plan_of,
    set_option,
    shape_option,
    simulate,
    workload_argument,
    write,
)
from hwsim.errors import InputError

__all__ = ["run"]


@click.command()
@machine_argument
@workload_argument
@batch_option
@set_option
@layers_option
@shape_option
@json_option
@output_option("--csv", "csv_file", help="Write the layers as CSV ('-': standard output).")
@output_option("--html", "html_file", help="Write a self-contained HTML report with charts.")
@output_option(
    "--trace",
    "trace_file",
    help="Write a Perfetto trace of the run, with --every of the duty cycle.",
)
@click.option("--all", "every_layer", is_flag=True, help="Print every layer; by default repeated blocks are one.")
@click.option("--every", metavar="TIME", help="Simulate a duty cycle with one inference per period, as '1 s'.")
@click.option("--battery", metavar="NAME", help="With --every: estimate battery life, for CR2032 or '1000 mAh 3.7 V'.")
@click.option("--for", "duration", metavar="TIME", help="With --every: simulated time, as '12 h' (default: 1 day).")
@click.option("--capture", metavar="TIME", help="With --every: time the sensor takes to fill its buffer.")
@click.option("--jitter", metavar="TIME", help="With --every: maximum random deviation of a period.")
@click.option("--burst", type=int, metavar="N", help="With --every: random number of inputs per period, 1 to N.")
@click.option("--sensor", metavar="POWER", help="With --capture: power of the sensor during capture, as '1.2 mW'.")
@click.option("--seed", type=int, metavar="N", help="With --jitter or --burst: random seed.")
def run(
    machine: str,
    workload: str,
    batch: int,
    changes: tuple[str, ...],
    layers: str | None,
    shapes: tuple[str, ...],
    json_file: str | None,
    csv_file: str | None,
    html_file: str | None,
    trace_file: str | None,
    every_layer: bool,
    every: str | None,
    battery: str | None,
    duration: str | None,
    capture: str | None,
    jitter: str | None,
    burst: int | None,
    sensor: str | None,
    seed: int | None,
) -> None:
    """Predict latency, energy and bottleneck of each layer.

    WORKLOAD runs on MACHINE; each is a name that 'hwsim list' prints, or the path of a file.

    \b
    Examples:
      hwsim run eyeriss_v1 alexnet --batch 4 --layers 'conv*'
      hwsim run eyeriss_v1 vgg16 --batch 3 --set clocks.core='250 MHz'
      hwsim run systolic_os my_layers.csv --json -
      hwsim run systolic_ws bert.onnx --shape batch=1,sequence=128
      hwsim run eyeriss_v1 vgg16 --batch 3 --html report.html
      hwsim run nucleo_l4r5zi kws --every '1 s' --battery CR2032
    """
    scenario_options: dict[str, Any] = {"battery": battery, "duration": duration, "capture": capture, "jitter": jitter}
    scenario_options |= {"burst": burst, "sensor": sensor, "seed": seed}
    options: dict[str, Any] = {key: value for key, value in scenario_options.items() if value is not None}
    if every is None and options:
        names = ", ".join("--for" if key == "duration" else f"--{key}" for key in options)
        raise InputError(f"{names} must come with --every, as --every '1 s'")
    plan = plan_of(machine, workload, batch, changes, shapes)
    report = simulate(plan.select(layers) if layers else plan)
    scenario = None
    if every is not None:
        from hwsim.scenario import duty_cycle

        scenario = duty_cycle(report, every, **options)
    if json_file:
        write(report.to_json({} if scenario is None else {"scenario": scenario.to_dict()}), json_file)
    if csv_file:
        write(report.to_csv() or "", csv_file)
        from hwsim.report.provenance import write_provenance

        write_provenance(report, csv_file)
    if trace_file:
        write(report.trace_json() if scenario is None else scenario.timeline.to_json(), trace_file)
    if html_file:
        from hwsim.validation.predictions import of_machine

        write(report.to_html(scenario, of_machine(report.machine)), html_file)
    if "-" not in (json_file, csv_file, html_file, trace_file):
        from hwsim.report.published import measurements_of
        from hwsim.report.table import print_report

        measurements = None if changes else measurements_of(report.machine.name, report.machine.folder)
        print_report(report, console_of(), measurements, fold=not every_layer)
    if scenario is not None:
        # Standard output may be data for another program.
        for line in ("", *scenario.lines()):
            click.echo(line, err="-" in (json_file, csv_file, html_file, trace_file))
    if not report.summary.fits:
        raise SystemExit(1)
