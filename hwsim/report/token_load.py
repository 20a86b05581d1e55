"""Terminal output of requests of a language model: the rate, percentiles of the times of tokens, what limits."""

from __future__ import annotations

from rich.console import Console

from hwsim.report.quantity import energy
from hwsim.report.requests import rate, seconds
from hwsim.report.terminal import Column, heading, print_columns, wrapped
from hwsim.serving.load import TokenLoad
from hwsim.units import format_count

__all__ = ["grouped", "print_token_load", "token_headline", "token_title"]

_MOST_ROWS = 8


def token_title(load: TokenLoad) -> str:
    """What runs where."""
    where = f"{load.tp} x {load.machine}" if load.tp > 1 else load.machine
    library = f" ({load.library})" if load.library else ""
    return f"{load.model} on {where}{library}: weights {load.weights}, cache {load.kv}"


def token_headline(load: TokenLoad) -> str:
    """The result in a line."""
    share = load.per_s / load.saturation_per_s
    how = {
        "bounds": f"{rate(load.rate_per_s)} requests/s within the bounds",
        "rate": f"{rate(load.rate_per_s)} requests/s",
        "closed": f"{format_count(load.concurrency or 0, 'client')}: {rate(load.per_s)} requests/s",
        "trace": f"a trace of {load.requests:,}: {rate(load.per_s)} requests/s",
    }[load.arrivals]
    if load.rate_per_s is not None:
        share = load.rate_per_s / load.saturation_per_s
    return f"{how} ({share:.0%} of the most), {rate(load.tokens_per_s)} tokens/s"


def grouped(load: TokenLoad) -> list[tuple[str, float]]:
    """Shares of the busy time by the number of sequences, many numbers put together."""
    most = max(load.sequences, default=1)
    width = max(1, -(-most // _MOST_ROWS))
    groups: dict[int, float] = {}
    for number, share in load.sequences.items():
        place = 0 if not number else 1 + (number - 1) // width
        groups[place] = groups.get(place, 0.0) + share

    def label(place: int) -> str:
        if not place:
            return "prompts alone"
        first, last = (place - 1) * width + 1, min(most, place * width)
        return f"{first}" if first == last else f"{first} to {last}"

    return [(label(place), groups[place]) for place in sorted(groups)]


def print_token_load(load: TokenLoad, console: Console) -> None:
    """Print the result."""
    heading(console, f"{token_title(load)}\n{load.input:,} tokens in, {load.output:,} out, {load.requests:,} requests")
    for line in (
        token_headline(load),
        f"busy {load.utilization:.0%} of the time; energy {energy(load.energy_per_token_pj)} per token",
    ):
        wrapped(console, line)
    console.print()
    rows = load.percentiles
    print_columns(
        console,
        [
            Column("percentile", [f"p{row['percentile']:g}" for row in rows], right=True),
            Column("TTFT", [seconds(row["ttft_s"]) for row in rows], right=True),
            Column("TPOT", [seconds(row["tpot_s"]) for row in rows], right=True),
            Column("request", [seconds(row["latency_s"]) for row in rows], right=True),
        ],
    )
    console.print()
    groups = grouped(load)
    print_columns(
        console,
        [
            Column("sequences a step", [label for label, _ in groups]),
            Column("of the busy time", [f"{share:.0%}" for _, share in groups], right=True),
        ],
        [share for _, share in groups],
    )
    if load.curve:
        p = f"p{load.percentile:g}"
        clients = (
            [] if load.concurrency is None else [Column("clients", [f"{c.clients:,}" for c in load.curve], right=True)]
        )
        console.print()
        print_columns(
            console,
            [
                *clients,
                Column("requests/s", [rate(point.rate_per_s) for point in load.curve], right=True),
                Column("tokens/s", [rate(point.tokens_per_s) for point in load.curve], right=True),
                Column("mean TTFT", [seconds(point.mean_ttft_s) for point in load.curve], right=True),
                Column(f"{p} TTFT", [seconds(point.ttft_s) for point in load.curve], right=True),
                Column("mean TPOT", [seconds(point.mean_tpot_s) for point in load.curve], right=True),
                Column(f"{p} TPOT", [seconds(point.tpot_s) for point in load.curve], right=True),
                Column("sequences", [f"{point.mean_sequences:.3g}" for point in load.curve], right=True),
                Column("busy", [f"{point.utilization:.0%}" for point in load.curve], right=True),
            ],
        )
    console.print()
    for message in load.messages:
        wrapped(console, ("" if message.severity == "note" else f"{message.severity.upper()}: ") + str(message))
