"""Requests of a language model under load: when tokens come, what steps hold, and what limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from hwsim.lazy import lazy
from hwsim.message import Message
from hwsim.requests.arrivals import TICKS_PER_S
from hwsim.requests.load import PERCENTILES, percentile_of
from hwsim.serving.log import Seconds, TokenLog
from hwsim.units import format_si

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = lazy("pandas")

__all__ = ["TokenLoad", "TokenPoint", "at_percentile"]


def at_percentile(seconds: Seconds, percentile: float) -> float:
    """The least time that so many percent of the requests do not exceed; 0 without any."""
    return percentile_of(np.sort(seconds), percentile) if seconds.size else 0.0


@dataclass(frozen=True, slots=True)
class TokenPoint:
    """What users see at one rate of arrivals, or with so many clients; times at the percentile of the load."""

    rate_per_s: float
    tokens_per_s: float
    ttft_s: float
    tpot_s: float
    mean_ttft_s: float
    mean_tpot_s: float
    utilization: float
    mean_sequences: float
    clients: int | None = None


@dataclass(frozen=True, repr=False)
class TokenLoad:
    """Requests of a language model on a machine.

    Attributes
    ----------
    arrivals : str
        ``rate``, ``bounds`` (the highest rate under them), ``closed`` (so many clients) or ``trace``.
    rate_per_s, concurrency : float, int, optional
        Of arrivals; of clients.
    per_s, tokens_per_s : float
        Answered requests, and tokens of answers, over the span.
    saturation_per_s : float
        The most requests a second, with a queue that is never empty.
    utilization : float
        Share of the span in which a step runs.
    prompts, full : float
        Shares of the busy time: of steps with prompts, and of steps while the next request did not fit the memory.
    sequences : mapping
        Share of the busy time by the number of sequences that get a token.
    curve : tuple of TokenPoint
        What users see over the rate, or over the clients where several numbers were asked for.
    """

    machine: str
    library: str
    model: str
    tp: int
    weights: str
    kv: str
    input: int
    output: int
    spread: float
    arrivals: str
    rate_per_s: float | None
    concurrency: int | None
    requests: int
    seed: int
    percentile: float
    bound_ttft_s: float | None
    bound_tpot_s: float | None
    per_s: float
    tokens_per_s: float
    saturation_per_s: float
    ttft_s: float
    tpot_s: float
    utilization: float
    prompts: float
    full: float
    mean_sequences: float
    sequences: Mapping[int, float]
    preemptions: int
    cache_tokens: int | None
    peak_tokens: int
    energy_per_token_pj: float
    fits: bool
    log: TokenLog
    curve: tuple[TokenPoint, ...] = ()
    messages: tuple[Message, ...] = ()

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} {self.model} on {self.machine}: {self.per_s:.4g} requests/s, "
            f"{self.tokens_per_s:,.4g} tokens/s, p{self.percentile:g} TTFT {format_si(self.ttft_s, 's')}, "
            f"TPOT {format_si(self.tpot_s, 's')}>"
        )

    @cached_property
    def percentiles(self) -> list[dict[str, float]]:
        """TTFT, TPOT and latency at some percentiles, that of the load among them."""
        log = self.log
        return [
            {
                "percentile": p,
                "ttft_s": at_percentile(log.ttft_s, p),
                "tpot_s": at_percentile(log.tpot_s, p),
                "latency_s": at_percentile(log.latency_s, p),
            }
            for p in sorted({*PERCENTILES, self.percentile})
        ]

    @property
    def table(self) -> pd.DataFrame:
        """A row for each request, in the order of arrival."""
        log = self.log
        further = log.lengths.outputs - 1
        per_token = (log.ends - log.firsts) / np.maximum(further, 1) / TICKS_PER_S
        return pd.DataFrame(
            {
                "arrival_s": log.arrivals / TICKS_PER_S,
                "input": log.lengths.inputs,
                "output": log.lengths.outputs,
                "wait_s": (log.starts - log.arrivals) / TICKS_PER_S,
                "ttft_s": log.ttft_s,
                "tpot_s": np.where(further > 0, per_token, np.nan),
                "latency_s": log.latency_s,
            }
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything but the event log as plain data."""
        data = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("log", "curve", "messages")}
        data["sequences"] = {str(number): share for number, share in self.sequences.items()}
        data["percentiles"] = self.percentiles
        data["curve"] = [{name: getattr(point, name) for name in TokenPoint.__slots__} for point in self.curve]
        data["messages"] = [str(message) for message in self.messages]
        return data
