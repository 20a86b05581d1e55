"""A problem of Timeloop as a layer: what each of its dimensions and data spaces is to a convolution or a GEMM.

A dimension is what it projects to. With two inputs and an output: in all three it is a group (B of a GEMM), in
weights and output a filter (N), in ifmap and weights a channel (K), in ifmap and output an image, a row or a column
(M); two that share an axis of the ifmap are a position and a tap of the window, with stride and dilation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from hwsim.errors import InputError, excerpt, nearest
from hwsim.timeloop.source import Source
from hwsim.workload import BatchedMatmul, Conv2d, Gemm, Layer

__all__ = ["Problem", "read_problem"]

_SHAPE = ("data_spaces", "data-spaces")
_WRITE = ("read_write", "read-write")


@dataclass(frozen=True)
class Problem:
    """A layer, and what the problem's names are to hwsim.

    Attributes
    ----------
    layer : Layer
        Of one image.
    images : int
        The batch size.
    sizes : dict
        The size of each dimension of the problem.
    dims : dict
        Our name of each dimension; those of size 1 without one are left out.
    tensors : dict
        Our name of each data space.
    flat : tuple of str
        Dimensions that are one to us: a loop over one of them has no name.
    """

    layer: Layer
    images: int
    sizes: dict[str, int]
    dims: dict[str, str]
    tensors: dict[str, str]
    flat: tuple[str, ...]


@dataclass(frozen=True)
class _Space:
    """A data space: its axes, each a list of (dimension, coefficient)."""

    name: str
    axes: tuple[tuple[tuple[str, int], ...], ...]
    output: bool

    @property
    def dims(self) -> set[str]:
        return {dim for axis in self.axes for dim, _ in axis}


def read_problem(source: Source, name: str, dtype: str = "int8") -> Problem:
    """The layer of a file's ``problem``; raises InputError where it is no convolution and no GEMM."""
    path = ("problem",)
    problem = source.mapping(source.data["problem"], path)
    shape = problem.get("shape")
    if not isinstance(shape, dict):
        message = "must be a mapping with dimensions and data_spaces"
        if isinstance(shape, str):
            message += f"; put those of the shape {excerpt(shape)} here: Timeloop has them in problem-shapes/"
        raise source.fault((*path, "shape"), message)
    instance = source.mapping(problem.get("instance", {}), (*path, "instance"))
    dims = source.words(shape.get("dimensions"), (*path, "shape", "dimensions"))
    if not dims or len(dims) > 20 or len(set(dims)) < len(dims):
        raise source.fault((*path, "shape", "dimensions"), "must be 1 to 20 different names")
    sizes = {}
    for dim in dims:
        if dim not in instance:
            raise source.fault(
                (*path, "instance"), f"must give {dim}, a dimension of the shape{nearest(dim, instance)}"
            )
        sizes[dim] = source.integer(instance[dim], (*path, "instance", dim))
    spaces = list(_spaces(source, shape, dims, _coefficients(source, shape, instance)))
    outputs = [space for space in spaces if space.output]
    inputs = [space for space in spaces if not space.output]
    if len(outputs) != 1 or len(inputs) != 2:
        where = (*path, "shape", "data_spaces")
        raise source.fault(
            where, f"must be two that are read and one that is written, not {len(inputs)} and {len(outputs)}"
        )
    title = str(problem.get("name") or shape.get("name") or name)
    try:
        dense = _layer(title, inputs, outputs[0], sizes, dtype)
        return replace(dense, layer=_sparse(source, instance, dense))
    except InputError as error:
        raise InputError(
            [
                type(fault)(fault.where or source.where(path), fault.path or "problem", fault.message)
                for fault in error.faults
            ]
        ) from None


def _sparse(source: Source, instance: dict[str, Any], dense: Problem) -> Layer:
    """The layer with the densities of the instance; of a distribution, its mean."""
    path = ("problem", "instance", "densities")
    tensors = {"ifmap": "input", "weight": "weight", "ofmap": "output"}
    shares: dict[str, dict[str, float]] = {}
    for name, value in source.mapping(instance.get("densities") or {}, path).items():
        if name not in dense.tensors:
            raise source.fault((*path, name), f"{name!r} is not a data space{nearest(name, dense.tensors)}")
        share = value.get("density") if isinstance(value, dict) else value
        shares[tensors[dense.tensors[name]]] = {"density": source.number(share, (*path, name))}
    return dense.layer.with_tensors(**shares) if shares else dense.layer


def _coefficients(source: Source, shape: dict[str, Any], instance: dict[str, Any]) -> dict[str, int]:
    """The value of each coefficient: of the instance, else its default. Names may differ in case."""
    lower = {key.lower(): (key, value) for key, value in instance.items()}
    values = {}
    path = ("problem", "shape", "coefficients")
    for index, item in enumerate(source.items(shape.get("coefficients") or [], path)):
        entry = source.mapping(item, (*path, index))
        name = source.text(entry.get("name"), (*path, index, "name"))
        key, value = lower.get(name.lower(), ("default", entry.get("default", 1)))
        values[name] = source.integer(value, ("problem", "instance", key))
    return values


def _spaces(source: Source, shape: dict[str, Any], dims: list[str], coefficients: dict[str, int]) -> Iterator[_Space]:
    key = next((key for key in _SHAPE if key in shape), _SHAPE[0])
    path = ("problem", "shape", key)
    for index, item in enumerate(source.items(shape.get(key) or [], path)):
        entry = source.mapping(item, (*path, index))
        name = source.text(entry.get("name"), (*path, index, "name"))
        here = (*path, index, "projection")
        axes = []
        for axis in source.items(entry.get("projection"), here):
            terms = []
            for term in [axis] if isinstance(axis, str) else source.items(axis, here):
                words = [term] if isinstance(term, str) else source.items(term, here)
                if not words or words[0] not in dims or len(words) > 2:
                    raise source.fault(here, f"a term must be a dimension and a coefficient, not {excerpt(term)}")
                if len(words) == 2 and words[1] not in coefficients and not isinstance(words[1], int):
                    raise source.fault(here, f"{words[1]!r} is no coefficient{nearest(words[1], coefficients)}")
                factor = 1 if len(words) == 1 else coefficients.get(words[1], words[1])
                terms.append((words[0], source.integer(factor, here)))
            axes.append(tuple(terms))
        yield _Space(name, tuple(axes), any(str(entry.get(word)).lower() == "true" for word in _WRITE))


def _layer(title: str, inputs: list[_Space], output: _Space, sizes: dict[str, int], dtype: str) -> Problem:
    windows = {space.name: [axis for axis in space.axes if len(axis) > 1] for space in inputs}
    sliding = [space for space in inputs if windows[space.name]]
    if len(sliding) > 1 or any(len(axis) > 1 for axis in output.axes):
        raise InputError("only one of the spaces that are read may have an axis of several dimensions")
    by_name = [space for space in inputs if space.name.lower().startswith(("weight", "filter", "b"))]
    ifmap = sliding[0] if sliding else next((s for s in inputs if s not in by_name[:1]), inputs[0])
    weight = next(space for space in inputs if space is not ifmap)
    for space in (weight, output):
        if odd := [dim for axis in space.axes for dim, factor in axis if factor != 1]:
            raise InputError(f"{space.name} must have no coefficient, not one of {odd[0]}")

    def where(dim: str) -> str:
        return "".join(mark for mark, space in zip("iwo", (ifmap, weight, output)) if dim in space.dims)

    pairs: list[tuple[str, str, int, int]] = []
    for axis in windows[ifmap.name]:
        taps = [term for term in axis if where(term[0]) == "iw"]
        places = [term for term in axis if where(term[0]) == "io"]
        if len(axis) != 2 or len(taps) != 1 or len(places) != 1:
            names = ", ".join(dim for dim, _ in axis)
            raise InputError(f"an axis of {ifmap.name} must be a position and a tap of a window, not {names}")
        pairs.append((places[0][0], taps[0][0], places[0][1], taps[0][1]))
    paired = {dim for pair in pairs for dim in pair[:2]}
    if len(pairs) > 2 or len(paired) < 2 * len(pairs):
        raise InputError(f"a window must have at most two axes of their own, not {len(pairs)}")
    groups: dict[str, list[str]] = {kind: [] for kind in ("iwo", "wo", "iw", "io")}
    for dim, size in sizes.items():
        if dim in paired:
            continue
        if where(dim) in groups:
            groups[where(dim)].append(dim)
        elif size > 1:
            raise InputError(
                f"dimension {dim} must be in two or three of the data spaces, not in {where(dim) or 'none'}"
            )
    tensors = {ifmap.name: "ifmap", weight.name: "weight", output.name: "ofmap"}
    if not pairs:
        roles = {"iwo": "B", "wo": "N", "iw": "K", "io": "M"}
        return _gemm(title, groups, roles, sizes, tensors, dtype)
    # Without a window, a position is a plain dimension: rows or columns rather than images, unless it is called N.
    plain = [dim for dim in groups["io"] if dim.upper() not in ("N", "B") and sizes[dim] > 1][: 2 - len(pairs)]
    groups["io"] = [dim for dim in groups["io"] if dim not in plain]
    roles = {"iwo": "G", "wo": "K", "iw": "C", "io": "N"}
    dims, flat = _named(groups, roles, sizes)
    for (place, tap, _, _), (position, window) in zip(pairs, (("P", "R"), ("Q", "S"))):
        dims |= {place: position, tap: window}
    dims |= dict(zip(plain, "PQ"[len(pairs) :]))
    count = {role: prod(sizes[dim] for dim in groups[kind]) for kind, role in roles.items()}
    rows, cols = [
        *((sizes[place], sizes[tap], stride, dilation) for place, tap, stride, dilation in pairs),
        *((sizes[place], 1, 1, 1) for place in plain),
        (1, 1, 1, 1),
    ][:2]
    layer = Conv2d(
        _name(title),
        c=count["G"] * count["C"],
        k=count["G"] * count["K"],
        h=(rows[0] - 1) * rows[2] + (rows[1] - 1) * rows[3] + 1,
        w=(cols[0] - 1) * cols[2] + (cols[1] - 1) * cols[3] + 1,
        r=rows[1],
        s=cols[1],
        stride=(rows[2], cols[2]),
        dilation=(rows[3], cols[3]),
        groups=count["G"],
        bias=False,
        input=dtype,
        weight=dtype,
        output=dtype,
    )
    return Problem(layer, count["N"], sizes, dims, tensors, flat)


def _gemm(
    title: str, groups: dict[str, list[str]], roles: dict[str, str], sizes: dict[str, int],
    tensors: dict[str, str], dtype: str,
) -> Problem:  # fmt: skip
    dims, flat = _named(groups, roles, sizes)
    b, n, k, m = (prod(sizes[dim] for dim in groups[kind]) for kind in roles)
    title = _name(title)
    layer: Layer
    if b == 1:
        layer = Gemm(title, m=m, n=n, k=k, bias=False, input=dtype, weight=dtype, output=dtype)
    else:
        layer = BatchedMatmul(title, b=b, m=m, n=n, k=k, input=dtype, weight=dtype, output=dtype)
    return Problem(layer, 1, sizes, dims, tensors, flat)


def _named(
    groups: dict[str, list[str]], roles: dict[str, str], sizes: dict[str, int]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Our name of each dimension, and those that share one."""
    dims: dict[str, str] = {}
    flat: list[str] = []
    for kind, role in roles.items():
        large = [dim for dim in groups[kind] if sizes[dim] > 1]
        if len(large) > 1:
            flat += large
        dims |= dict.fromkeys(large, role)
    return dims, tuple(flat)


def _name(title: str) -> str:
    """A title as the name of a layer."""
    text = "".join("_" if char in ",:/\\ \n" else char for char in title.strip())[:100]
    return text or "layer"
