"""What limits a load, and what of it is not in the model, in words."""

from __future__ import annotations

from hwsim.message import Message
from hwsim.requests.load import Load
from hwsim.requests.stopping import CONFIDENCE, fewest_queries, most_late

__all__ = ["FULL", "load_messages"]

FULL = 0.99
"""Of the offline rate: no longer bound allows more than what is left."""


def load_messages(load: Load, around: bool) -> list[Message]:
    """What limits, and what is not in the model; `around` says that calls or copies are in the times."""
    messages = []
    best = load.choices[0]
    most = best.offline_per_s
    if load.scenario == "server":
        share = load.queries_per_s / load.offline_per_s
        if load.queries_per_s >= FULL * load.offline_per_s:
            template = "limited by throughput: {share:.0%} of offline, streams busy {busy:.0%} of the time"
        else:
            template = (
                "limited by the bound: {share:.0%} of offline, p{percentile:g} {latency_s:si s} of {bound_s:si s}; "
                "streams busy {busy:.0%} of the time"
            )
        values = {
            "share": share, "busy": load.utilization, "percentile": load.percentile, "latency_s": load.result_s,
            "bound_s": load.bound_s,
        }  # fmt: skip
        messages.append(Message("requests.limit", template, values))
    elif load.scenario in ("rate", "trace") and load.policy.deadline is None and load.log.arrival_rate > most:
        template = "overloaded: at most {most:.4g} queries/s, and the queue grows with the length of the run"
        messages.append(Message("requests.overload", template, {"most": most}, "warning"))
    if load.bound_s is not None and load.result_s > load.bound_s:
        late = float((load.log.ordered_s > load.bound_s).mean())
        template = "{late:.2%} of the queries are later than {bound_s:si s} or dropped"
        messages.append(Message("requests.late_share", template, {"late": late, "bound_s": load.bound_s}, "warning"))
    if load.scenario in ("single", "multi", "server"):
        messages.append(_stopping(load))
    if load.drops:
        template = "{drops:,} of {queries:,} queries dropped: they would have begun after the deadline"
        values = {"drops": load.drops, "queries": load.queries}
        messages.append(Message("requests.drops", template, values, "warning"))
    if not load.fits:
        template = "{streams:count stream} with batches of {batch} do not fit the memory"
        messages.append(
            Message("requests.memory", template, {"streams": best.streams, "batch": best.max_batch}, "error")
        )
    if best.max_batch > 8 or best.streams > 4:
        messages.append(
            Message(
                "requests.grid", "times of batches above 8 and of more than 4 streams are interpolated between plans"
            )
        )
    if not around:
        template = "times are those of plans: calls and copies are not in them (call, copy)"
        messages.append(Message("requests.around", template))
    return messages


def _stopping(load: Load) -> Message:
    """What LoadGen's early stopping says of a run of this length."""
    late = most_late(load.queries, load.percentile)
    values: dict[str, object] = {
        "queries": load.queries,
        "late": late,
        "percentile": load.percentile,
        "confidence": CONFIDENCE,
    }
    if late < (0 if load.scenario == "server" else 1):
        template = "a run of {queries:,} is too short for LoadGen's early stopping"
        if load.percentile < 100:
            values["least"] = fewest_queries(load.percentile)
            template += ", at least {least:,} queries at p{percentile:g}"
        return Message("requests.few", template, values, "warning")
    if load.scenario == "server":
        template = (
            "LoadGen's early stopping: {late:,} of {queries:,} queries may be late for p{percentile:g} with "
            "{confidence:.0%} confidence"
        )
    else:
        template = "LoadGen's early stopping reports {estimate_s:si s}: the latency number {late:,} from the highest"
        values["estimate_s"] = load.estimate_s
    return Message("requests.early_stopping", template, values)
