"""What layers read and write in passes over memory while they are trained, and what they keep for the backward pass.

Values are counted for one input of a batch. Batch normalization reads its input for the statistics and once more, and
writes; its backward pass reads input and gradient for two sums and once more, and writes. ReLU reads and writes; its
backward pass reads its output and a gradient. Where two layers read a tensor, their gradients are added.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field

from hwsim.training.recipe import TrainingRecipe
from hwsim.workload import Layer, Workload
from hwsim.workload.product import Product

__all__ = ["Moves", "moves_of", "needs_gradient", "parameters"]


@dataclass
class Moves:
    """Passes of one layer: what is done, values read and values written; and the tensors that are kept, with values."""

    forward: list[tuple[str, int, int]] = field(default_factory=list)
    backward: list[tuple[str, int, int]] = field(default_factory=list)
    saved: dict[str, int] = field(default_factory=dict)


def normalized(workload: Workload, layer: Layer) -> bool:
    """Whether a batch normalization was folded into the bias of a layer."""
    x = layer.lower(1)
    return workload.batch_norm and isinstance(x, Product) and x.geometry is not None and layer.biases > 0


def parameters(workload: Workload) -> dict[str, int]:
    """Parameters of each layer in training: two for each channel where a batch normalization was folded into a bias.

    An array that several layers read is of the first of them.
    """
    counts: dict[str, int] = {}
    arrays: set[str] = set()
    for layer in workload:
        array = layer.weight.spec.array
        weights = 0 if array and array in arrays else layer.weights
        arrays |= {array} if array else set()
        counts[layer.name] = weights + layer.biases * (2 if normalized(workload, layer) else 1)
    return counts


def needs_gradient(workload: Workload) -> frozenset[str]:
    """Layers whose output's gradient is wanted: those with parameters, and those after them."""
    wanted: set[str] = set()
    for place, layer in enumerate(workload):
        before = workload.inputs[layer.name] if workload.graph else ((workload.names[place - 1],) if place else ())
        if layer.weights or layer.biases or any(name in wanted for name in before):
            wanted.add(layer.name)
    return frozenset(wanted)


def moves_of(workload: Workload, recipe: TrainingRecipe, turned: bool = False) -> dict[str, Moves]:
    """The passes of each layer of a network; `turned`: images are turned before and after each convolution."""
    wanted = needs_gradient(workload)
    readers: dict[str, int] = {}
    for layer in workload:
        for producer in workload.inputs[layer.name]:
            readers[producer] = readers.get(producer, 0) + 1
    hosts = _adding_norms(workload) if recipe.fusion in ("bn_relu_add", "statistics") else {}
    moves: dict[str, Moves] = {layer.name: Moves() for layer in workload}
    for layer in workload:
        own = moves[layer.name]
        before = workload.inputs[layer.name] or (f"{layer.name}.input",)
        _layer(workload, layer, own, recipe, hosts, before, wanted, turned)
        more = readers.get(layer.name, 1) - 1
        if more > 0 and layer.name in wanted:
            own.backward += [("sum of gradients", 2 * layer.outputs, layer.outputs)] * more
    return moves


def _adding_norms(workload: Workload) -> dict[str, str]:
    """Additions that the batch normalization before them does, by its convolution: of two the later one."""
    hosts: dict[str, str] = {}
    place = {name: i for i, name in enumerate(workload.names)}
    for layer in workload:
        x = layer.lower(1)
        if isinstance(x, Product) or x.kind != "elementwise" or x.function != "add":
            continue
        able = [p for p in workload.inputs[layer.name] if p in place and normalized(workload, workload[p])]
        if able and x.operands == 2:
            hosts[layer.name] = max(able, key=lambda name: place[name])
    return hosts


def _layer(
    workload: Workload,
    layer: Layer,
    own: Moves,
    recipe: TrainingRecipe,
    hosts: dict[str, str],
    before: tuple[str, ...],
    wanted: Collection[str],
    turned_images: bool,
) -> None:
    x, n = layer.lower(1), layer.outputs
    backward = layer.name in wanted
    fused = recipe.fusion != "none"
    shapes = [math.prod(shape) for shape in layer.operands]
    reads = dict(zip(before, shapes, strict=False))
    if isinstance(x, Product):
        own.saved |= reads
        norm = normalized(workload, layer)
        if norm:
            own.forward.append(("batch norm", (1 if recipe.fusion == "statistics" else 2) * n, n))
            own.backward.append(("batch norm", 4 * n, n))
            own.saved[f"{layer.name}.sum"] = n
        elif layer.biases:
            if not fused:
                own.forward.append(("bias", n, n))
            own.backward.append(("bias", n, max(1, layer.biases)))
        if not x.stored and not x.recurrent and not fused:
            # Heads are turned in memory: those that other products gave, and those that other products read.
            turned = sum(size for name, size in reads.items() if _is_stored(workload, name))
            turned += n * any(_is_stored(workload, name) for name, of in workload.inputs.items() if layer.name in of)
            if turned:
                own.forward.append(("heads", turned, turned))
                own.backward.append(("heads", turned, turned))
        if x.activation != "none":
            if not fused:
                own.forward.append((x.activation, n, n))
            if not (fused and norm):
                own.backward.append((x.activation, 2 * n, n))
            own.saved[layer.name] = n
        if turned_images and x.geometry is not None:
            both = sum(shapes) + n
            own.forward.append(("layout", both, both))
            own.backward.append(("layout", 2 * both, 2 * both))
        return
    if x.kind == "view":
        return
    if x.kind == "elementwise":
        others = x.operands - 1 if layer.name in hosts else x.operands
        if recipe.dropout and x.function == "add" and not fused:
            for name in before:
                if _is_stored(workload, name) and workload[name].lower(1).geometry is None:  # type: ignore[union-attr]
                    own.forward.append(("dropout", n, n))
                    own.backward.append(("dropout", n, n))
        if layer.name in hosts:  # the normalization reads the other operands and writes the sum in place of its own
            own.forward.append((x.function, others * n, 0))
        else:
            own.forward.append((x.function or x.kind, others * n, n))
        if x.activation != "none":
            if not fused:
                own.forward.append((x.activation, n, n))
            own.backward.append((x.activation, 2 * n, n))
            own.saved[layer.name] = n
        if x.function != "add" and backward:
            own.backward.append((x.function, (x.operands + 1) * n, x.operands * n))
            own.saved |= reads
    elif x.kind == "activation":
        own.forward.append((x.function, n, n))
        own.backward.append((x.function, 2 * n, n))
        if x.function in ("relu", "relu6", "clip", "sigmoid", "tanh"):
            own.saved[layer.name] = n
        else:
            own.saved |= reads
    elif x.kind == "norm":
        batch = x.function == "batch"
        wide = 2 * n if recipe.mixed and not fused and not batch else n  # in fp32 beside products of 16 bits
        own.forward.append((f"{x.function} norm", (2 if batch else 1) * wide, wide))
        own.backward.append((f"{x.function} norm", 4 * wide, wide))
        own.saved |= reads
        if wide > n:
            own.forward.append(("cast", wide, n))
            own.backward.append(("cast", n, wide))
    elif x.kind == "softmax":
        wide = 2 * n if recipe.mixed else n  # in fp32 beside products of 16 bits, counted in these
        of_scores = any(name in workload and not _is_stored(workload, name, other=True) for name in before)
        apart = of_scores and not fused
        own.forward.append(("softmax", n, wide if apart else n))
        own.backward.append(("softmax", 2 * (wide if apart else n), wide if apart else n))
        own.saved[layer.name] = wide if apart else n
        if of_scores and recipe.dropout:
            own.saved[f"{layer.name}.dropped"] = n
        if apart:
            own.forward += [("scale", n, n), ("mask", n, n)]
            own.backward.append(("scale", n, n))
            if recipe.dropout:
                own.forward.append(("dropout", wide, wide))
                own.backward.append(("dropout", wide, wide))
            if recipe.mixed:
                own.forward.append(("cast", wide, n))
                own.backward += [("cast", n, wide), ("cast", wide, n)]
    elif x.kind == "pool":
        size = sum(shapes)
        own.forward.append(("pooling", size, n))
        own.backward.append(("pooling", n + (size + n if x.function == "max" else 0), size))
        if x.function == "max":
            own.saved |= reads
            own.saved[layer.name] = n
    elif x.kind == "gather":
        own.forward.append(("gather", n, n))
        own.backward.append(("gather", n, n))
        own.saved |= reads
    elif x.kind == "concat" or x.kind == "copy":
        own.forward.append((x.kind, n, n))
        own.backward.append((x.kind, n, n))
    else:
        size = max(1, sum(shapes))
        own.forward.append((x.kind, size, n))
        own.backward.append((x.kind, size + n, size))
        own.saved |= reads
    if not backward:
        own.backward.clear()


def _is_stored(workload: Workload, name: str, other: bool = False) -> bool:
    """Whether a layer is a product by stored weights; `other` is the answer for one that is no product."""
    x = workload[name].lower(1) if name in workload else None
    return x.stored if isinstance(x, Product) else other
