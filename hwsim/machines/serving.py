"""What a serving library adds to the kernels of a step: the host, and other requests."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from hwsim.fields import Share, Spec, Time

__all__ = ["BatchingSpec", "HostSpec", "ServingError", "ServingSpec"]


class ServingError(Spec):
    """Mean errors of the time per output token and of that to the first, on measured rows."""

    tpot: Share
    ttft: Share
    rows: Annotated[int, Field(ge=1, strict=True)]


class BatchingSpec(Spec):
    """How a library puts requests into steps.

    Attributes
    ----------
    prompts : str
        ``mixed``: prompts get what the answers leave of a step; ``first``: answers stand still while prompts run.
    chunked : bool
        Whether a prompt may run in parts, in several steps.
    tokens, sequences : int
        The most in a step.
    reserve : str
        When a request enters, memory is kept for its ``prompt``, and the last to arrive gives its cache up when memory
        runs out; or for ``all`` tokens that it may have.
    """

    prompts: Literal["mixed", "first"] = "mixed"
    chunked: bool = True
    tokens: Annotated[int, Field(ge=1, le=2**20, strict=True)] = 8192
    sequences: Annotated[int, Field(ge=1, le=2**20, strict=True)] = 1024
    reserve: Literal["prompt", "all"] = "prompt"


class HostSpec(Spec):
    """What a step takes besides its kernels.

    Attributes
    ----------
    host, sequence : Time
        Of a step in which no kernel runs, and for each sequence of it: scheduling, sampling, the next input.
    prompts : float
        By which prompts take longer than their kernels.
    """

    host: Time
    sequence: Time
    prompts: Annotated[float, Field(ge=1, le=4)] = 1.0


class ServingSpec(HostSpec):
    """Constants of a serving library, as `hwsim.serving` uses them.

    Attributes
    ----------
    first, token : Time
        What a request takes around the queue and the steps, and for each token of its prompt (text to tokens).
    batching : BatchingSpec
    formats : mapping
        What a step takes with weights in another format.
    caches : mapping
        Format of the cache by that of the weights, where it is not that of the activations.
    spread : float
        Of the lengths in the benchmarks that were measured: from 1 - spread of the tokens up to all of them.
    requests : (int, int)
        The least and the most concurrent requests that were measured.
    errors : mapping
        Mean errors by machine, and on how many measured rows.
    memory : float
        Share of the device memory that weights, cache and activations may take.
    """

    first: Time
    token: Time
    batching: BatchingSpec = BatchingSpec()
    formats: dict[str, HostSpec] = {}
    caches: dict[str, str] = {}
    spread: Annotated[float, Field(ge=0, lt=1)] = 0.0
    requests: Annotated[list[Annotated[int, Field(ge=1, le=2**20, strict=True)]], Field(min_length=2, max_length=2)] = [
        1,
        2**20,
    ]
    errors: dict[str, ServingError] = {}
    memory: Share = 1.0
    source: str
    fitted: str | None = None

    def of(self, weights: str) -> HostSpec:
        """What a step takes with weights in a format."""
        return self.formats.get(weights, self)
