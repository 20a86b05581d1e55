"""What a serving library adds to the kernels of a step: the host, and other requests."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from hwsim.fields import Share, Spec, Time

__all__ = ["ServingSpec"]


class ServingError(Spec):
    """Mean error of the time per output token on measured rows."""

    tpot: Share
    rows: Annotated[int, Field(ge=1, strict=True)]


class ServingSpec(Spec):
    """Constants of a serving library, as `hwsim.serving` uses them.

    Attributes
    ----------
    host : Time
        Of a step in which no kernel runs: scheduling, sampling, the next input.
    interference : float
        Share of the prefills of other requests that falls into the tokens of one.
    first : Time
        What the first token waits for besides its prefill.
    queue : float
        Share of the prefill of each other concurrent request that the first token waits for.
    requests : (int, int)
        The least and the most concurrent requests that were measured.
    errors : mapping
        Mean error of the time per output token by machine, and on how many measured rows.
    memory : float
        Share of the device memory that weights, cache and activations may take.
    """

    host: Time
    interference: Annotated[float, Field(ge=0, le=2)] = 1.0
    first: Time
    queue: Annotated[float, Field(ge=0, le=2)] = 0.0
    requests: Annotated[list[Annotated[int, Field(ge=1, le=2**20, strict=True)]], Field(min_length=2, max_length=2)] = [
        1,
        2**20,
    ]
    errors: dict[str, ServingError] = {}
    memory: Share = 1.0
    source: str
    fitted: str | None = None
