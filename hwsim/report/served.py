"""Terminal output of a served model: the steps, one block each, and the table over concurrency."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Console

from hwsim.message import Message
from hwsim.report.folding import folded
from hwsim.report.quantity import energy
from hwsim.report.report import Report
from hwsim.report.table import print_energy_parts, print_layers
from hwsim.report.terminal import WIDTH, Column, heading, print_columns, wrapped
from hwsim.serving.memory import ServedMemory
from hwsim.serving.served import Offline, Served, ServedPoint
from hwsim.units import format_si, format_size
from hwsim.workload.transformer.network import MAX_TOKENS

__all__ = ["growth", "kernel_times", "print_phase", "print_served", "served_title"]


def served_title(served: Served) -> str:
    """The model, the machine, its library and the formats."""
    formats, name = served.formats, served.machine.name
    where = f"{served.tp} x {name}" if served.tp > 1 else name
    library = f" ({served.machine.library_name})" if served.machine.library_name else ""
    return f"{served.model.name} on {where}{library}: weights {formats.weights}, cache {formats.kv}"


def _rate(per_second: float) -> str:
    return f"{per_second:,.0f}" if per_second >= 100 else f"{per_second:.3g}"


def kernel_times(report: Report) -> dict[str, tuple[float, str]]:
    """Time of each kernel of a step, all blocks together, and its bound."""
    times: dict[str, tuple[float, str]] = {}
    for row in folded(report.results):
        name = row.name.rpartition(".")[2]
        before, bound = times.get(name, (0.0, row.bound))
        times[name] = (before + row.total_s, bound)
    return times


def growth(served: Served, batch: int, context: int) -> tuple[Message, ...]:
    """What holds a decode step back next: of twice the batch, and of twice the context."""
    now = served.decode(batch, context)
    before = kernel_times(now)
    messages = []
    for what, size in (("batch", (2 * batch, context)), ("context", (batch, 2 * context))):
        if max(size) > MAX_TOKENS:
            continue  # longer than what can be asked for
        sequences = served.memory(size[1]).sequences
        if sequences is not None and sequences < size[0]:
            if not served.memory(context).sequences:
                return ()  # the memory is said already
            values: dict[str, object] = {"batch": size[0], "context": size[1], "sequences": sequences}
            template = "{batch:count sequence} at a context of {context:,}: too much, {sequences:,} fit"
            messages.append(Message(f"llm.twice_{what}_no_room", template, values))
            continue
        then = served.decode(*size)
        after = kernel_times(then)
        name = max(after, key=lambda key: after[key][0] - before.get(key, (0.0, ""))[0])
        values = {
            "batch": size[0],
            "context": size[1],
            "time_s": then.summary.latency_s,
            "kernel": name,
            "bound": after[name][1],
            "more": then.summary.latency_s / now.summary.latency_s - 1,
        }
        template = (
            "{batch:count sequence} at a context of {context:,}: {time_s:si s} a step ({more:+.0%}); {kernel} grows "
            "most, bound by {bound}"
        )
        messages.append(Message(f"llm.twice_{what}", template, values))
    return tuple(messages)


def print_phase(
    served: Served, report: Report, memory: ServedMemory, console: Console, *, prefill: bool, fold: bool = True
) -> None:
    """Print one step: each kernel of a block, energy by component, memory, and what binds next."""
    s = report.summary
    batch = s.batch
    name = f"{report.workload.name.partition(' ')[2]}, batch {batch}"
    heading(console, f"{served_title(served)}\n{name}")
    print_layers(report.results, {}, console, fold)
    console.print()
    heading(console, "energy by component")
    energies = {part: served.tp * pj for part, pj in report.component_energy().items()}
    print_energy_parts(dict(sorted(energies.items(), key=lambda item: -item[1])), console)
    console.print()
    tokens = batch * memory.tokens if prefill else batch
    rate = tokens / s.latency_s
    each = served.tp * s.energy_pj / tokens
    kind = "prompt tokens" if prefill else "tokens"
    share = f" ({_rate(rate / served.tp)} each device)" if served.tp > 1 else ""
    power = "unknown" if math.isnan(each) else format_si(each * rate * 1e-12, "W")
    for line in (
        f"{'prefill' if prefill else 'step'} {format_si(s.latency_s, 's')}: {_rate(rate)} {kind}/s{share}",
        f"energy {energy(each)} per token; power {power}",
        str(memory.message()),
        *(map(str, growth(served, batch, memory.tokens)) if not prefill else ()),
        *map(str, served.messages(memory.tokens)),
        *_notes(report),
    ):
        wrapped(console, line)


def _notes(report: Report) -> list[str]:
    """Notes of a run but for the memory, which is said of sequences."""
    return [str(message) for message in report.messages if not message.code.startswith("memory.")]


def print_served(
    served: Served,
    points: Sequence[ServedPoint],
    input: int,
    output: int,
    console: Console,
    offline: Offline | None = None,
) -> None:
    """Print the table over concurrency, where the energy goes, and the memory."""
    heading(console, f"{served_title(served)}\n{input:,} tokens in, {output:,} out")
    queued = any(point.running < point.concurrency for point in points)
    columns = [
        Column("requests", [f"{p.concurrency:,}" for p in points], right=True),
        *([Column("running", [f"{p.running:,}" for p in points], right=True)] if queued else []),
        Column("TTFT", [format_si(p.ttft_s, "s") for p in points], right=True),
        Column("TPOT", [format_si(p.tpot_s, "s") for p in points], right=True),
        Column("tokens/s", [_rate(p.tokens_per_s) for p in points], right=True),
        *(
            [Column("a device", [_rate(p.tokens_per_s_per_device) for p in points], right=True)]
            if served.tp > 1
            else []
        ),
        Column("energy/token", [energy(p.energy_per_token_pj) for p in points], right=True),
        Column(
            "power", ["unknown" if math.isnan(p.power_w) else format_si(p.power_w, "W") for p in points], right=True
        ),
        Column("memory", [format_size(p.memory_bytes) for p in points], right=True),
    ]
    most = max(point.tokens_per_s for point in points)
    print_columns(console, columns, [point.tokens_per_s / most for point in points], WIDTH)
    console.print()
    last = points[-1]
    memory = served.memory(input + output, served.prefill(input))
    step, prompt = served.decode(last.running, input + output // 2), served.prefill(input)
    for title, report in (("a step of them", step), ("a prompt", prompt)):
        heading(
            console, f"{title}, {format_si(report.summary.latency_s, 's')}: {report.workload.name.partition(' ')[2]}"
        )
        print_layers(report.results, {}, console, True)
        console.print()
    heading(console, f"energy of a token at {last.concurrency:,}")
    print_energy_parts(served.energy_parts(last, input, output), console)
    console.print()
    mixture = (
        []
        if offline is None
        else [
            f"offline: {offline.tokens_per_s:,.0f} tokens/s; a step of {format_si(offline.step_s, 's')} has "
            f"{offline.tokens:,} tokens, {offline.sequences:,} of them of answers"
        ]
    )
    for line in (
        *mixture,
        str(memory.message()),
        *map(str, growth(served, last.running, input + output // 2)),
        *map(str, served.messages(input + output, [point.running for point in points])),
        *dict.fromkeys((*_notes(step), *_notes(prompt))),
    ):
        wrapped(console, line)
