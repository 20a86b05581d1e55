"""What limits the requests of a language model, in words."""

from __future__ import annotations

from hwsim.message import Message
from hwsim.serving.load import TokenLoad

__all__ = ["limit_messages"]

_SATURATED = 0.97


def limit_messages(load: TokenLoad) -> list[Message]:
    """What limits."""
    messages = []
    sides = [
        (name, value / bound, value, bound)
        for name, value, bound in (
            ("time to the first token", load.ttft_s, load.bound_ttft_s),
            ("time of a token", load.tpot_s, load.bound_tpot_s),
        )
        if bound is not None
    ]
    if load.arrivals == "bounds" and sides:
        name, _, value, bound = max(sides, key=lambda side: side[1])
        share = load.rate_per_s / load.saturation_per_s if load.rate_per_s else 0.0
        template = "limited by throughput: {share:.0%} of the most requests a second"
        if share < _SATURATED:
            template = (
                "limited by the {name}, p{percentile:g} {value_s:si s} of {bound_s:si s}: {share:.0%} of the most "
                "requests a second"
            )
        values = {"name": name, "percentile": load.percentile, "value_s": value, "bound_s": bound, "share": share}
        messages.append(Message("serving.limit", template, values))
    else:
        for name, over, value, bound in sides:
            if over > 1:
                values = {"name": name, "percentile": load.percentile, "value_s": value, "bound_s": bound}
                template = "p{percentile:g} of the {name} is {value_s:si s}, beyond the bound of {bound_s:si s}"
                messages.append(Message("serving.late", template, values, "warning"))
    if load.rate_per_s is not None and load.rate_per_s > load.saturation_per_s:
        template = "overloaded: {most:.4g} requests/s at most, and the queue grows with the length of the run"
        messages.append(Message("serving.overload", template, {"most": load.saturation_per_s}, "warning"))
    if load.full > 0.01:
        template = (
            "in {share:.0%} of the busy time the next request waits for memory: the cache holds {tokens:,} tokens"
        )
        messages.append(Message("serving.memory", template, {"share": load.full, "tokens": load.cache_tokens}))
    if load.preemptions:
        template = "{count:,} times a sequence lost its cache to others and ran its tokens again"
        messages.append(Message("serving.preempted", template, {"count": load.preemptions}))
    template = "steps with prompts take {share:.0%} of the busy time; {sequences:.3g} sequences a step in the mean"
    messages.append(Message("serving.prompts", template, {"share": load.prompts, "sequences": load.mean_sequences}))
    return messages
