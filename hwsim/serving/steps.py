"""Time of a step of a served model that runs prompts and answers together, from few plans.

A step has three parts: products with weights (and all that goes with each token), which are those of so many tokens;
attention of the sequences that go on, at their mean context; attention of prompts. The part of a prompt from token
`start` on takes what attention of all of it takes beyond that of the first `start` tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hwsim.machines import Machine
from hwsim.machines.limits import MAX_BATCH
from hwsim.simulation import simulate
from hwsim.workload import Workload
from hwsim.workload.transformer import Formats, LlmSpec, decode_network, prefill_network

__all__ = ["Chunk", "StepTimes"]

_OCTAVE = 4
"""Sizes in an octave that are planned; each up to twice of it."""
_BEYOND_CACHES = 2**31
"""Parameters, which no cache of a processor holds in any number format."""


class Chunk(NamedTuple):
    """Tokens of a prompt that run in a step: from `start` up to `end`."""

    start: int
    end: int


class _Parts(NamedTuple):
    """Seconds of a planned step."""

    attention: float
    head: float
    rest: float


class StepTimes:
    """Seconds of steps, planned for sizes up to 8 and four in an octave above; between them the time is interpolated.

    Parameters
    ----------
    machine : Machine
    model : LlmSpec
    formats : Formats
    tp : int
    slowdown : float
        Of prompts, by which they take longer than their kernels.
    """

    def __init__(self, machine: Machine, model: LlmSpec, formats: Formats, tp: int, slowdown: float = 1.0) -> None:
        self.machine, self.model, self.formats, self.tp, self.slowdown = machine, model, formats, tp, slowdown
        period = model.window_every if model.window else 1
        self._blocks = range(period, 2 * period)
        # Blocks that are alike take the same on a GPU. Other machines place weights by the size of the network: on
        # those, as many blocks as no cache holds.
        parameters = max(1, period * model.block_parameters // tp)
        least = 2 if machine.kind == "gpu" else max(2, -(-_BEYOND_CACHES // parameters))
        few = least * period + model.layers % period
        self._times = max(0, model.layers - few) // period
        self._few = model.model_copy(update={"layers": few, "parameters": 0}) if self._times else model
        self._parts: dict[tuple[bool, int, int], _Parts] = {}

    @property
    def plans(self) -> int:
        """How many plans were made."""
        return len(self._parts)

    def _planned(self, prefill: bool, batch: int, tokens: int) -> _Parts:
        key = prefill, batch, tokens
        if key not in self._parts:
            make = prefill_network if prefill else decode_network
            network = make(self._few, tokens, self.formats, self.tp)
            if self._times and not prefill and tokens > 1:  # products are asked for at the shortest context alone
                network = Workload(network.name, [layer for layer in network if ".attention" in layer.name])
            report = simulate(self.machine, network, batch)
            inner = tuple(f"layers.{block}." for block in self._blocks)
            attention = head = rest = 0.0
            for result in report.results:
                seconds = result.latency_s * (1 + self._times * result.name.startswith(inner))
                if ".attention" in result.name:
                    attention += seconds
                elif result.name == "head":
                    head += seconds
                else:
                    rest += seconds
            self._parts[key] = _Parts(attention, head, rest)
        return self._parts[key]

    def _products(self, tokens: int) -> float:
        if tokens > MAX_BATCH:  # a prompt that runs whole: its rows are many times those of the largest batch
            return tokens / MAX_BATCH * self._products(MAX_BATCH)
        low, high, share = _around(tokens)
        one = self._planned(False, low, 1).rest
        return one if low == high else one + share * (self._planned(False, high, 1).rest - one)

    def _head(self, sequences: int) -> float:
        low, high, share = _around(sequences)
        one = self._planned(False, low, 1).head
        return one if low == high else one + share * (self._planned(False, high, 1).head - one)

    def _attention(self, prefill: bool, batch: int, tokens: float) -> float:
        """Of sequences at a context, or of whole prompts: bilinear between plans."""
        batches, lengths = _around(batch), _around(max(1.0, tokens))
        values = []
        for size in dict.fromkeys(batches[:2]):
            row = [self._planned(prefill, size, length).attention for length in dict.fromkeys(lengths[:2])]
            values.append(row[0] + lengths[2] * (row[-1] - row[0]))
        return values[0] + batches[2] * (values[-1] - values[0])

    def _prompts(self, chunks: Sequence[Chunk]) -> float:
        """Attention of prompts: those that begin together, and the rest of others."""
        whole = [chunk.end for chunk in chunks if not chunk.start]
        total = self._attention(True, len(whole), sum(whole) / len(whole)) if whole else 0.0
        for start, end in chunks:
            if start:
                alone = self._attention(True, 1, end - start)
                total += max(alone, self._attention(True, 1, end) - self._attention(True, 1, start))
        return total

    def seconds(self, sequences: int, context: float, chunks: Sequence[Chunk] = ()) -> float:
        """One token of each of so many sequences, at a mean context, and parts of prompts."""
        further = self._attention(False, sequences, context) if sequences else 0.0
        alone = self._products(sequences) + self._head(sequences) if sequences else 0.0
        if not chunks:
            return alone + further
        tokens = sequences + sum(end - start for start, end in chunks)
        together = self._products(tokens) + self._head(sequences + len(chunks))
        return alone + further + self.slowdown * (max(0.0, together - alone) + self._prompts(chunks))


def knot(tokens: float) -> int:
    """The next length above that is planned: up to there, time is linear."""
    return _around(int(tokens) + 1)[1]


def _around(number: float) -> tuple[int, int, float]:
    """The planned sizes around a number, and how far it is from the first to the second."""
    whole = int(number)
    step = 1 if whole < 2 * _OCTAVE else 2 ** (whole.bit_length() - _OCTAVE.bit_length())
    low = whole // step * step
    if low == number:
        return low, low, 0.0
    return low, low + step, (number - low) / step
