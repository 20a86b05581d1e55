"""Which layers a library does in another's kernel, while the values are still in registers."""

from __future__ import annotations

from hwsim.workload import Layer, Workload
from hwsim.workload.product import Attended, Product, Stream

__all__ = ["added_before", "fused_into"]


def _is_tiled(layer: Layer) -> bool:
    """Whether a layer is a convolution or a product by stored weights, whose kernels have an epilogue."""
    x = layer.lower(1)
    return isinstance(x, Product) and x.stored and not x.recurrent and not x.spread


def fused_into(workload: Workload, norms: bool = False, rotary: bool = False) -> dict[str, tuple[str, int]]:
    """Layers that another's kernel does: name -> (layer that does it, tensors that it reads and writes for it).

    With `norms`, an addition is done by the normalization after it, where there is one; with `rotary`, queries and keys
    are turned by the attention after it.

    An activation, or an addition of one more operand, joins the convolution or product before it where nobody else
    reads what that gives. Of two convolutions that are added, the later one adds.
    """
    readers: dict[str, list[str]] = {}
    for name, producers in workload.inputs.items():
        for producer in producers:
            readers.setdefault(producer, []).append(name)
    place = {layer.name: i for i, layer in enumerate(workload)}
    hosts: dict[str, tuple[str, int]] = {}
    if norms:
        hosts.update({name: (host, 2) for name, host in added_before(workload).items()})
    if rotary:
        hosts.update({name: (host, 0) for name, host in _turned_in(workload, readers).items()})
    for layer in workload:
        x = layer.lower(1)
        if layer.name in hosts or isinstance(x, Product) or x.kind not in ("activation", "elementwise"):
            continue
        producers = workload.inputs[layer.name]
        if x.kind == "elementwise" and (x.function not in ("add", "mul", "sub") or x.operands != 2):
            continue
        candidates = []
        for producer in producers:
            host = hosts[producer][0] if producer in hosts else producer
            tiled = host in place and _is_tiled(workload[host])
            if tiled and len(readers[producer]) == 1 and workload[producer].output.elements == layer.output.elements:
                candidates.append(host)
        if candidates:
            last = max(candidates, key=lambda host: place[host])
            # The other operand must be there before the host runs.
            others = [p for p in producers if p not in hosts or hosts[p][0] != last]
            early = all(p == last or p not in place or place[p] < place[last] for p in others)
            if early:
                hosts[layer.name] = (last, len(producers) - 1)
    return hosts


def _turned_in(workload: Workload, readers: dict[str, list[str]]) -> dict[str, str]:
    """Rotary embeddings that the attention after them does: its kernel was measured with them."""
    hosts: dict[str, str] = {}
    for layer in workload:
        x = layer.lower(1)
        if isinstance(x, Stream) and x.function == "rotary" and len(readers.get(layer.name, ())) == 1:
            reader = readers[layer.name][0]
            if isinstance(workload[reader].lower(1), Attended):
                hosts[layer.name] = reader
    return hosts


def added_before(workload: Workload) -> dict[str, str]:
    """Additions that the normalization after them does: name -> normalization.

    It reads both operands in place of the sum, and writes the sum too: the next addition reads it.
    """
    hosts: dict[str, str] = {}
    for layer in workload:
        x = layer.lower(1)
        if isinstance(x, Product) or x.kind != "norm":
            continue
        producer = workload.inputs[layer.name][0] if workload.inputs[layer.name] else ""
        if producer not in workload or producer in hosts:
            continue
        y = workload[producer].lower(1)
        alike = workload[producer].output.elements == layer.output.elements
        if not isinstance(y, Product) and (y.kind, y.function, y.operands) == ("elementwise", "add", 2) and alike:
            hosts[producer] = layer.name
    return hosts
