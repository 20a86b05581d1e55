"""What of a split does nothing, as notes for the user."""

from __future__ import annotations

from collections.abc import Sequence

from hwsim.message import Message
from hwsim.parallel.split import Parallel

__all__ = ["split_notes"]

_OF_GRADIENTS = ("bucket", "overlap", "gradient", "reduce", "servers")


def split_notes(parallel: Parallel, gradient_bytes: float, whole: Sequence[str] = ()) -> tuple[Message, ...]:
    """The notes of a split whose devices send so many bytes of gradients; `whole`: layers that are not cut."""
    template = "{count:count layer} of kinds that are not cut: a share takes the time of the layer for one batch"
    values = {"count": len(whole)}
    notes = (Message("parallel.whole", template, values, layers=tuple(whole)),) if whole else ()
    return notes + _idle(parallel, gradient_bytes)


def _idle(parallel: Parallel, gradient_bytes: float) -> tuple[Message, ...]:
    given = [name for name in _OF_GRADIENTS if getattr(parallel, name) != type(parallel).model_fields[name].default]
    if given and not gradient_bytes:
        template = "no device sends gradients to another: {given} changes nothing"
        return (Message("parallel.no_gradients", template, {"given": given}),)
    ranks = parallel.data * parallel.maps
    if parallel.reduce == "server" and parallel.servers > ranks:
        values = {"servers": parallel.servers, "ranks": ranks}
        template = "{servers} parameter servers are no faster than {ranks}: the links of {ranks} devices carry all"
        return (Message("parallel.servers", template, values),)
    if parallel.servers > 1 and parallel.reduce != "server":
        values = {"servers": parallel.servers}
        return (Message("parallel.servers", "gradients go around rings: servers={servers} changes nothing", values),)
    return ()
