"""Two products around a softmax as one layer of attention."""

from __future__ import annotations

from collections.abc import Callable

from hwsim.errors import InputError
from hwsim.workload.layer import Layer
from hwsim.workload.layers.attention import Attention
from hwsim.workload.layers.matmul import BatchedMatmul
from hwsim.workload.network import Node, Workload
from hwsim.workload.product import Stream

__all__ = ["with_attention"]

_BETWEEN = 4
"""Layers between the scores and their softmax: a scale, a mask, and copies of either."""


def with_attention(network: Workload, fits: Callable[[Layer], bool]) -> Workload:
    """The network with a layer of attention for each product, softmax and product that are one.

    The scores may be scaled and masked by layers in between. Nobody else may read what is in between. The new layer has
    the name of the second product, and attends to all positions: what a mask as data leaves out is not known.

    Parameters
    ----------
    network : Workload
    fits : callable
        Whether a layer of attention is wanted; it is asked for each.
    """
    if not network.graph:
        return network
    readers: dict[str, list[str]] = {}
    for name, producers in network.inputs.items():
        for producer in producers:
            readers.setdefault(producer, []).append(name)
    nodes: dict[str, Node] = {}
    dropped: set[str] = set()
    for layer in network:
        x = layer.lower(1)
        if isinstance(x, Stream) and x.kind == "softmax" and x.axis == "last":
            match = _match(network, layer, readers)
            if match is not None and fits(match[0].layer):
                nodes[match[0].layer.name] = match[0]
                dropped |= match[1]
    if not nodes:
        return network
    kept = [
        nodes.get(layer.name, Node(layer, network.inputs[layer.name])) for layer in network if layer.name not in dropped
    ]
    return Workload(
        network.name,
        kept,
        graph=True,
        source=network.source,
        input_shape=network.input_shape,
        digest=network.digest,
        missing=network.missing,
        batch_norm=network.batch_norm,
    )


def _match(network: Workload, softmax: Layer, readers: dict[str, list[str]]) -> tuple[Node, set[str]] | None:
    """The layer of attention around a softmax, and the layers that it takes the place of; None if there is none."""
    dropped, name = {softmax.name}, softmax.name
    for _ in range(_BETWEEN + 1):
        producers = [p for p in network.inputs[name] if p in network and readers[p] == [name]]
        alike = [p for p in producers if network[p].output.elements == softmax.output.elements]
        if len(alike) != 1:
            return None
        name = alike[0]
        layer = network[name]
        if isinstance(layer, BatchedMatmul):
            break
        x = layer.lower(1)
        if not isinstance(x, Stream) or x.kind not in ("elementwise", "activation", "view", "copy"):
            return None
        dropped.add(name)
    else:
        return None
    dropped.add(name)
    scores = network[name]
    if readers.get(softmax.name, []) == [] or len(readers[softmax.name]) != 1:
        return None
    context = network[readers[softmax.name][0]]
    if not isinstance(scores, BatchedMatmul) or not isinstance(context, BatchedMatmul):
        return None
    reads = network.inputs[context.name], network.inputs[name]
    if len(reads[0]) != 2 or reads[0][0] != softmax.name or len(reads[1]) != 2 or scores.cached or context.cached:
        return None
    if (context.b, context.m, context.k) != (scores.b, scores.m, scores.n):
        return None
    try:
        attention = Attention(
            context.name,
            queries=scores.m,
            context=scores.n,
            heads=scores.b,
            dim=scores.k,
            value_dim=context.n,
            input=scores.input.spec,
            weight=context.weight.spec,
            output=context.output.spec,
        )
    except InputError:
        return None
    return Node(attention, (*reads[1], reads[0][1])), dropped
