"""``hwsim llm``: a language model that a machine serves."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from hwsim.cli.completion import names
from hwsim.cli.model_options import model_options, numbers_of
from hwsim.cli.options import (
    changes_of,
    console_of,
    html_option,
    json_option,
    machine_argument,
    output_option,
    set_option,
    write,
)
from hwsim.errors import InputError

__all__ = ["llm"]


@click.command()
@machine_argument
@click.argument("model", shell_complete=names("workloads/llm"))
@model_options
@click.option("--in", "input_tokens", type=int, metavar="N", help="Tokens of a prompt (default: 1024).")
@click.option("--out", "output_tokens", type=int, metavar="N", help="Tokens of an answer (default: 256).")
@click.option("--concurrency", metavar="N,...", help="Concurrent requests (default: 1,4,16,64).")
@click.option("--phase", type=click.Choice(["prefill", "decode"]), help="One step alone, each kernel of a block.")
@click.option("--batch", type=int, metavar="N", help="With --phase: sequences (default: 1).")
@click.option("--context", type=int, metavar="N", help="With --phase: tokens of a sequence (default: 1024).")
@click.option(
    "--offline", is_flag=True, help="Also the steady mixture of prompts and answers with most tokens a second."
)
@set_option
@click.option("--all", "every_layer", is_flag=True, help="With --phase: print every layer, not one block.")
@json_option
@output_option("--csv", "csv_file", help="Write the table, or the layers of a phase, as CSV.")
@html_option
def llm(
    machine: str,
    model: str,
    weights: str,
    kv: str,
    activations: str,
    tp: int,
    input_tokens: int | None,
    output_tokens: int | None,
    concurrency: str | None,
    phase: str | None,
    batch: int | None,
    context: int | None,
    library: str,
    offline: bool,
    changes: tuple[str, ...],
    every_layer: bool,
    json_file: str | None,
    csv_file: str | None,
    html_file: str | None,
) -> None:
    """Predict tokens per second, latency, memory and energy of a language model.

    MODEL is a name that 'hwsim list llm' prints, a .yaml of that form, or a config.json of Hugging Face.

    \b
    Examples:
      hwsim llm h100 llama3_8b
      hwsim llm h100 llama3_8b --phase decode --batch 32 --context 2048
      hwsim llm h200 llama3_70b --tp 4 --weights fp8 --kv fp8 --in 1024 --out 1024 --concurrency 4,16,64 --library vllm
      hwsim llm a100 config.json --weights int4
    """
    import hwsim
    from hwsim.files import csv_text
    from hwsim.report.json_text import json_text
    from hwsim.serving import Served
    from hwsim.serving.table import formats_on, table_of, with_library
    from hwsim.workload.transformer import load_llm

    serving = {"--in": input_tokens, "--out": output_tokens, "--concurrency": concurrency}
    alone = {"--batch": batch, "--context": context}
    wrong, other = (serving, "without --phase") if phase else (alone, "with --phase")
    if given := [name for name, value in wrong.items() if value is not None]:
        raise InputError(f"{', '.join(given)} must be given {other}")
    if offline and phase:
        raise InputError("--offline must be given without --phase")
    if every_layer and not phase:
        raise InputError("--all must be given with --phase")
    device = with_library(hwsim.load_machine(machine, set=changes_of(changes)), library)
    served = Served(device, load_llm(model), formats_on(device, weights, kv, activations), tp)
    printed = "-" not in (json_file, csv_file, html_file)
    if phase:
        batch, context = (1 if batch is None else batch), (1024 if context is None else context)
        report = served.decode(batch, context) if phase == "decode" else served.prefill(context, batch)
        memory = served.memory(context, report)
        data: dict[str, Any] = report.to_dict() if json_file else {}
        table = (report.to_csv() or "") if csv_file else ""
        page = report.to_html() if html_file else ""
        room = memory.sequences is None or memory.sequences >= 1
        if printed:
            from hwsim.report.served import print_phase

            print_phase(served, report, memory, console_of(), prefill=phase == "prefill", fold=not every_layer)
    else:
        input_tokens = 1024 if input_tokens is None else input_tokens
        output_tokens = 256 if output_tokens is None else output_tokens
        points = [served.at(n, input_tokens, output_tokens) for n in numbers_of(concurrency or "1,4,16,64")]
        memory = served.memory(input_tokens + output_tokens, served.prefill(input_tokens))
        data = {"points": [asdict(point) for point in points]}
        best = served.offline(input_tokens, output_tokens) if offline else None
        if best is not None:
            data["offline"] = asdict(best)
        table = csv_text(table_of(points, memory)) if csv_file else ""
        if html_file:
            from hwsim.report.html.served import served_html

            page = served_html(served, points, input_tokens, output_tokens, memory)
        room = points[-1].fits
        if printed:
            from hwsim.report.served import print_served

            print_served(served, points, input_tokens, output_tokens, console_of(), best)
    if json_file:
        own = {"model": served.model.model_dump(), "memory": asdict(memory)}
        write(json_text(own | data), json_file)
    if csv_file:
        write(table, csv_file)
    if html_file:
        write(page, html_file)
    if not room:
        raise SystemExit(1)
