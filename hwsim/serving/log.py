"""What the event log of requests says of tokens: when the first came, and how long each further one took."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hwsim.requests.arrivals import TICKS_PER_S
from hwsim.serving.batching import Lengths, TokenRecords

__all__ = ["TokenLog"]

Seconds = NDArray[np.float64]


class TokenLog:
    """Times of requests, in the order of their arrival.

    Parameters
    ----------
    records : TokenRecords
    lengths : Lengths
    first_s, token_s : float
        What a request takes around the queue and the steps, and for each token of its prompt.
    """

    def __init__(self, records: TokenRecords, lengths: Lengths, first_s: float = 0.0, token_s: float = 0.0) -> None:
        self.records, self.lengths = records, lengths
        self.around_s: Seconds = first_s + token_s * lengths.inputs.astype(np.float64)
        rows = (records.arrivals, records.starts, records.firsts, records.ends)
        self.arrivals, self.starts, self.firsts, self.ends = (np.frombuffer(row, dtype=np.int64) for row in rows)

    @cached_property
    def ttft_s(self) -> Seconds:
        """From the arrival to the first token."""
        return (self.firsts - self.arrivals) / TICKS_PER_S + self.around_s

    @cached_property
    def tpot_s(self) -> Seconds:
        """Of each further token, of requests that have one."""
        further = self.lengths.outputs - 1
        return (self.ends - self.firsts)[further > 0] / further[further > 0] / TICKS_PER_S

    @cached_property
    def latency_s(self) -> Seconds:
        """From the arrival to the last token."""
        return (self.ends - self.arrivals) / TICKS_PER_S + self.around_s

    @property
    def mean_ttft_s(self) -> float:
        """Of all requests."""
        return float(self.ttft_s.mean())

    @property
    def mean_tpot_s(self) -> float:
        """Of the requests with further tokens; 0 without any."""
        return float(self.tpot_s.mean()) if self.tpot_s.size else 0.0

    @property
    def span_s(self) -> float:
        """From the first arrival to the last token."""
        return int(self.ends.max() - self.arrivals.min()) / TICKS_PER_S

    @property
    def tokens_per_s(self) -> float:
        """Tokens of answers over the span."""
        return int(self.lengths.outputs.sum()) / self.span_s

    @property
    def per_s(self) -> float:
        """Answered requests over the span."""
        return len(self.ends) / self.span_s
