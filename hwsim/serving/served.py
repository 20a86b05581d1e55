"""A model as a machine serves it: its steps, and what users wait for.

With c concurrent requests of `input` tokens that get `output` tokens each, of which n run (all, or as many as the
memory holds), the times of tokens are those of a closed loop of c clients (`hwsim.serving.batching`), and

    request = TTFT + (output - 1) TPOT;   tokens a second = c output / request

Energy is that of the prompts, of the output - 1 steps of n sequences at a context of input + output / 2, and the static
power of every device for as long as a request takes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from hwsim.errors import Fault, InputError
from hwsim.machines import Machine
from hwsim.machines.serving import HostSpec, ServingError, ServingSpec
from hwsim.message import Message
from hwsim.report.report import Report
from hwsim.requests.arrivals import TICKS_PER_S
from hwsim.serving.batching import Batcher, Lengths, TokenRecords, draw_lengths
from hwsim.serving.log import TokenLog
from hwsim.serving.memory import ServedMemory
from hwsim.serving.steps import StepTimes
from hwsim.simulation import simulate
from hwsim.workload import Workload
from hwsim.workload.transformer import Formats, LlmSpec, decode_network, prefill_network
from hwsim.workload.transformer.network import MAX_TOKENS, count_of

__all__ = ["Offline", "Served", "ServedPoint"]

_AT_ONCE = 8192
"""Tokens of prompts in one step, as servers have it by default."""
_ROUNDS, _REQUESTS = 10, 16_384
"""Requests that each client of a closed loop sends, as benchmarks do, and about the most of all."""
_NONE = ServingSpec.model_validate(
    {"host": "0 s", "sequence": "0 s", "first": "0 s", "token": "0 s", "source": "not measured: kernels alone"}
)


@dataclass(frozen=True, slots=True)
class ServedPoint:
    """What users and the operator see at one concurrency.

    Attributes
    ----------
    concurrency, running : int
        Requests at a time, and those of them whose cache fits the memory; others wait.
    ttft_s, tpot_s, latency_s : float
        Time to the first token, time of each further one, and of a request.
    tokens_per_s, tokens_per_s_per_device : float
        Output tokens.
    step_s, prefill_s : float
        Of one decode step of all running sequences, and of one prompt.
    memory_bytes : int
        Of each device.
    energy_per_token_pj, power_w : float
        Of all devices, per output token; their product with tokens a second is the power. NaN where a price is unknown.
    """

    concurrency: int
    running: int
    ttft_s: float
    tpot_s: float
    latency_s: float
    tokens_per_s: float
    tokens_per_s_per_device: float
    step_s: float
    prefill_s: float
    memory_bytes: int
    fits: bool
    energy_per_token_pj: float
    power_w: float


@dataclass(frozen=True, slots=True)
class Offline:
    """The most tokens a second, where all requests are there from the start: prompts and answers in one step.

    Attributes
    ----------
    sequences : int
        Whose answers a step goes on with.
    tokens : int
        That a step computes, those of prompts among them.
    step_s, tokens_per_s : float
        Output tokens.
    """

    sequences: int
    tokens: int
    step_s: float
    tokens_per_s: float


class Served:
    """A model on a machine, or on `tp` of them.

    Parameters
    ----------
    machine : Machine
    model : LlmSpec
    formats : Formats, optional
        Default: what the machine runs of models that were not quantized.
    tp : int
        Devices that share each block.
    """

    def __init__(self, machine: Machine, model: LlmSpec, formats: Formats | None = None, tp: int = 1) -> None:
        if machine.kind == "gpu" and getattr(machine.spec, "streams", 1) != 1:
            raise InputError([Fault("", "streams", "must be 1: requests that run at a time share each step")])
        self.machine, self.model, self.tp = machine, model, tp
        self.formats = formats or Formats(machine.float_format)
        self._reports: dict[tuple[str, int, int], Report] = {}
        self._steps: dict[int, Workload] = {}

    @property
    def constants(self) -> ServingSpec:
        """Those of the library; without them a step is its kernels alone."""
        return self.machine.serving or _NONE

    def _step(self, context: int) -> Workload:
        """The network of a decode step, made once for a context: its time and its memory are asked for apart."""
        if context not in self._steps:
            self._steps[context] = decode_network(self.model, context, self.formats, self.tp)
        return self._steps[context]

    def decode(self, batch: int, context: int) -> Report:
        """One step: a token of each of `batch` sequences at a context."""
        batch, context = count_of("batch", batch, MAX_TOKENS), count_of("context", context, MAX_TOKENS)
        key = ("decode", batch, context)
        if key not in self._reports:
            self._reports[key] = simulate(self.machine, self._step(context), batch)
        return self._reports[key]

    def prefill(self, tokens: int, batch: int = 1) -> Report:
        """The prompts of `batch` sequences of `tokens` tokens."""
        batch, tokens = count_of("batch", batch, MAX_TOKENS), count_of("input", tokens, MAX_TOKENS)
        key = ("prefill", batch, tokens)
        if key not in self._reports:
            network = prefill_network(self.model, tokens, self.formats, self.tp)
            self._reports[key] = simulate(self.machine, network, batch)
        return self._reports[key]

    def memory(self, tokens: int, report: Report | None = None) -> ServedMemory:
        """What is held for sequences of up to `tokens` tokens; activations are those of a report."""
        network = self._step(tokens)
        uses = self.machine.memories(network, 1)
        parts = dict(uses[0].parts) if uses else {}
        size = uses[0].size_bytes if uses else None
        stored = {layer.weight.spec.array or layer.name: layer.weights * layer.weight.bits for layer in network}
        weights = parts.get("weights", -(-sum(stored.values()) // 8))
        activations = network.peak_activation_bytes(1) if report is None else report.peak_memory_bytes
        share = self.constants.memory
        kept = network.cache_bytes(1)
        return ServedMemory(size, share, weights, parts.get("context", 0), activations, tokens, kept)

    def _prompts(self, count: float, input: int) -> tuple[tuple[float, Report], ...]:
        """So many prompts as multiples of one alone and of as many as run at a time."""
        together = min(max(1, self.constants.batching.tokens // input), 2**16)
        if count <= 1 or together == 1:
            return ((count, self.prefill(input)),)
        if count >= together:
            return ((count / together, self.prefill(input, together)),)
        share = (count - 1) / (together - 1)
        return ((1 - share, self.prefill(input)), (share, self.prefill(input, together)))

    def prompts_s(self, count: float, input: int) -> float:
        """Time of so many prompts (a mean: any number from 0), which run up to 8,192 tokens at a time."""
        return math.fsum(times * report.summary.latency_s for times, report in self._prompts(count, input))

    def _per_token(self, running: int, input: int, output: int) -> tuple[tuple[float, Report], ...]:
        """How much of each step an output token takes: of the decode step, and of prompts."""
        count = max(1.0, running / output)
        prompts = ((times / count / output, report) for times, report in self._prompts(count, input))
        return (((output - 1) / output / running, self.decode(running, input + output // 2)), *prompts)

    @property
    def host(self) -> HostSpec:
        """What a step takes besides its kernels, with these weights."""
        return self.constants.of(self.formats.weights)

    @cached_property
    def steps(self) -> StepTimes:
        """Times of steps that run prompts and answers together."""
        return StepTimes(self.machine, self.model, self.formats, self.tp, self.host.prompts)

    def batcher(self, lengths: Lengths, memory: ServedMemory) -> Batcher:
        """Requests of some lengths as the library runs them in this memory."""
        host, sequence = (round(float(time) * TICKS_PER_S) for time in (self.host.host, self.host.sequence))
        return Batcher(self.steps, self.constants.batching, lengths, memory.cache_tokens, host, sequence)

    def log(self, records: TokenRecords, lengths: Lengths) -> TokenLog:
        """The times that users see."""
        return TokenLog(records, lengths, float(self.constants.first), float(self.constants.token))

    def at(self, concurrency: int, input: int, output: int, spread: float | None = None) -> ServedPoint:
        """What `concurrency` requests at a time see, each of `input` tokens that gets `output` tokens.

        Their lengths are from 1 - `spread` of these on; by default as in the benchmarks of the library.
        """
        concurrency = count_of("concurrency", concurrency, MAX_TOKENS)
        input, output = count_of("input", input, MAX_TOKENS), count_of("output", output, MAX_TOKENS)
        prompt = self.prefill(input)
        memory = self.memory(input + output, prompt)
        fits = memory.sequences is None or memory.sequences >= 1
        running = concurrency if memory.sequences is None else max(1, min(concurrency, memory.sequences))
        step_s = self.decode(running, input + output // 2).summary.latency_s
        # Of more than twice those that run at a time, each waits as much longer as one takes in the mean.
        clients = min(concurrency, 2 * min(running, self.constants.batching.sequences))
        requests = clients * max(3, min(_ROUNDS, _REQUESTS // clients))
        spread = self.constants.spread if spread is None else spread
        lengths = draw_lengths(requests, input, output, spread, 0)
        log = self.log(self.batcher(lengths, memory).run_closed(clients), lengths)
        tpot = log.mean_tpot_s if output > 1 else step_s + float(self.host.host) + running * float(self.host.sequence)
        ttft = log.mean_ttft_s
        request = ttft + (output - 1) * tpot
        rate = clients * output / request
        wait = (concurrency - clients) * output / rate
        dynamic = self.dynamic_pj(running, input, output)
        energy = self.tp * (dynamic + self.machine.prices.static_w * 1e12 / rate)
        return ServedPoint(
            concurrency, running, ttft + wait, tpot, request + wait, rate, rate / self.tp, step_s,
            prompt.summary.latency_s,
            memory.need_bytes(running), fits, energy, energy * rate / 1e12,
        )  # fmt: skip

    def dynamic_pj(self, running: int, input: int, output: int) -> float:
        """Energy of an output token on one device without static power, with so many sequences in a step."""
        return math.fsum(times * _dynamic(report) for times, report in self._per_token(running, input, output))

    def offline(self, input: int, output: int, most: int = _AT_ONCE) -> Offline:
        """The best steady mixture of prompts and answers, with `most` tokens a step.

        A step that gives b tokens has b / output prompts, whose last tokens give the first of each answer, and the
        others continue: so many tokens are in each product with weights; attention is that of the two parts.
        """
        input, output = count_of("input", input, MAX_TOKENS), count_of("output", output, MAX_TOKENS)
        memory = self.memory(input + output, self.prefill(input))
        room = memory.sequences if memory.sequences is not None else most
        # Of sequences at all stages of their answers, the mean has half of it.
        half = self.memory(input + (output + 1) // 2).sequence_bytes
        room = max(1, room * memory.sequence_bytes // max(1, half))
        each = (input + output - 1) / output
        limit = max(1, min(room, int(most / each)))
        sizes = sorted({limit, *(round(limit / 1.3**power) for power in range(12)), 1} - {0})
        best = Offline(1, 1, math.inf, 0.0)
        for size in sizes:
            tokens = round(size * each)
            chunks = -(-tokens // most)  # a prompt longer than a step takes several
            step = chunks * _seconds(self.decode(-(-tokens // chunks), 1), products=True)
            step += _seconds(self.decode(size, input + output // 2), head=True)
            if further := round(size * (1 - 1 / output)):
                step += _seconds(self.decode(further, input + output // 2), attention=True)
            prompts = self._prompts(size / output, input)
            step += math.fsum(times * _seconds(report, attention=True) for times, report in prompts)
            step += float(self.constants.host)
            if size / step > best.tokens_per_s:
                best = Offline(size, tokens, step, size / step)
        return best

    def energy_parts(self, point: ServedPoint, input: int, output: int) -> Mapping[str, float]:
        """Energy of an output token by component, in pJ; all devices together."""
        parts: dict[str, float] = {}
        for times, report in self._per_token(point.running, input, output):
            for name, energy in report.component_energy().items():
                if name != "static":
                    parts[name] = parts.get(name, 0.0) + self.tp * energy * times
        parts["static"] = self.tp * self.machine.prices.static_w * 1e12 / point.tokens_per_s
        return dict(sorted(parts.items(), key=lambda item: -item[1]))

    def messages(self, tokens: int = 0, requests: Sequence[int] = ()) -> tuple[Message, ...]:
        """What is assumed of the library, and what of these tokens and requests is beyond what is known."""
        template = "energy per token is by the prices of the machine: no measurement of it was fitted"
        messages = [self._library_message(), Message("llm.energy", template, {})]
        if (errors := self.constants.errors) and requests:
            messages.append(_error_message(self.machine.name, errors))
        if self.machine.serving is not None and requests:
            least, most = self.constants.requests
            outside = sorted({n for n in requests if not least <= n <= most})
            if outside:
                values: dict[str, object] = {"requests": outside, "least": least, "most": most}
                template = "extrapolated to {requests} requests at a time: {least} to {most} were measured"
                messages.append(Message("llm.extrapolated", template, values))
        if self.model.context and tokens > self.model.context:
            values = {"tokens": tokens, "model": self.model.name, "context": self.model.context}
            template = "{tokens:,} tokens are more than the {context:,} that {model} was made for"
            messages.append(Message("llm.beyond_context", template, values, "warning"))
        return tuple(messages)

    def _library_message(self) -> Message:
        if self.machine.serving is None:
            return Message("llm.kernels_alone", "no serving library was measured here: a step is its kernels alone")
        constants = self.constants
        values = {
            "library": self.machine.library_name or "",
            "host_s": float(self.host.host),
            "sequence_s": float(self.host.sequence),
            "more": self.host.prompts - 1,
            "first_s": float(constants.first),
            "token_s": float(constants.token),
        }
        template = (
            "{library}: {host_s:si s} of the host a step, {sequence_s:si s} a sequence, prompts {more:.0%} slower "
            "than their kernels; {first_s:si s} around a request and {token_s:si s} a token of its prompt"
        )
        return Message("llm.library", template, values)


def _error_message(machine: str, errors: Mapping[str, ServingError]) -> Message:
    """How far served models were from their measured time per output token."""
    name = machine if machine in errors else next(iter(errors))
    error = errors[name]
    values = {"machine": name, "tpot": error.tpot, "ttft": error.ttft, "rows": error.rows}
    template = "{rows} served models on {machine}: mean error {tpot:.1%} of TPOT, {ttft:.0%} of TTFT"
    if name != machine:
        return Message("llm.error_elsewhere", template + "; none was measured on this machine", values)
    return Message("llm.error", template, values)


def _dynamic(report: Report) -> float:
    """Energy in pJ without static power."""
    return report.summary.energy_pj - math.fsum(result.static_pj for result in report.results)


def _seconds(report: Report, *, products: bool = False, attention: bool = False, head: bool = False) -> float:
    """Time of attention, of the head, and of everything else."""
    total = 0.0
    for result in report.results:
        part = attention if ".attention" in result.name else head if result.name == "head" else products
        total += result.latency_s if part else 0.0
    return total
