"""What compression is asked for, by patterns of layers, and the network that comes of it.

Weights are not needed: pruned layers get a density, shared ones a coding, and layers of low rank become several. Where
the weights are there, `hwsim.compression` does the work on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from hwsim.errors import Fault, InputError, excerpt, nearest
from hwsim.fields import Share, Spec
from hwsim.workload.coding import CODED, Coding
from hwsim.workload.factors import factorize
from hwsim.workload.layer import Layer
from hwsim.workload.network import Node, Workload, hint, selects
from hwsim.workload.number_format import DTYPES
from hwsim.workload.tensor import N_OF_M, TensorSpec

__all__ = ["Block", "LowRank", "Prune", "Recipe", "compressed_network", "layer_recipes", "recipes_of"]

Bits = Annotated[int, Field(ge=1, le=12, strict=True)]
RunBits = Annotated[int, Field(ge=1, le=16, strict=True)]
Block = Annotated[int, Field(ge=1, le=4096, strict=True)]
Rank = Annotated[int, Field(ge=1, le=2**20, strict=True)]
Mode = Annotated[int, Field(ge=1, le=2**20, strict=True)]


_PRUNED = 0.95
"""Share of weights that are not zero above which zeros count as chance: runs of them are not worth an index."""


class Prune(Spec):
    """Which weights become zero: those of least magnitude.

    `pattern` is ``random`` (each alone), ``channel`` (whole filters), ``block`` (tiles of `block` weights, filters by
    inputs) or ``N:M`` (all but N of every M input channels; a layer whose channels are no multiple of M stays dense).
    `density` is the share that is kept.
    """

    density: Share | None = None
    pattern: str = "random"
    block: Annotated[list[Block], Field(min_length=2, max_length=2)] = [4, 4]

    @model_validator(mode="after")
    def _consistent(self) -> Prune:
        match = N_OF_M.match(self.pattern)
        if match is None and self.pattern not in ("random", "channel", "block"):
            names = ("random", "channel", "block", "2:4")
            raise ValueError(
                f"pattern must be one of the known names, not {excerpt(self.pattern)}" + nearest(self.pattern, names)
            )
        if match is not None and int(match[1]) >= int(match[2]):
            raise ValueError(f"pattern must keep fewer values than there are, as '2:4', not {self.pattern!r}")
        if match is not None and self.density is not None:
            raise ValueError("density must be left out where pattern is N:M, which says it")
        if match is None and self.density is None:
            raise ValueError("density must be given: the share of weights that is kept")
        return self

    @property
    def kept(self) -> float:
        """The share of weights that is kept."""
        if self.density is not None:
            return self.density
        kept, of = self.groups
        return kept / of

    @property
    def groups(self) -> tuple[int, int]:
        """How many of how many values are kept, in an N:M pattern; (0, 0) in others."""
        match = N_OF_M.match(self.pattern)
        return (int(match[1]), int(match[2])) if match else (0, 0)


class Shared(Spec):
    """Weights share so many values that an index of `bits` tells them apart."""

    bits: Bits


class Index(Spec):
    """Bits of the run of zeros before each stored weight."""

    bits: RunBits


class LowRank(Spec):
    """A convolution as `filters` filters and a 1x1 convolution of them."""

    filters: Rank


class Svd(Spec):
    """A matrix of weights as the product of two, of this rank."""

    rank: Rank


class TensorTrain(Spec):
    """A matrix of weights as a train of cores: output and input modes, and the rank between two cores."""

    modes: Annotated[list[Annotated[list[Mode], Field(min_length=2, max_length=16)]], Field(min_length=2, max_length=2)]
    rank: Rank


def _coded(value: object) -> object:
    if isinstance(value, bool):
        return list(CODED) if value else []
    return [value] if isinstance(value, str) else value


#: Methods that weights of one or two bits leave no room for.
_WEIGHT_KEYS = ("prune", "share", "index", "format")


class Recipe(Spec):
    """The compression of the layers that a pattern matches."""

    prune: Prune | None = None
    share: Shared | None = None
    index: Index | None = None
    format: Literal["dense", "bitmask", "csr", "csc"] | None = None
    huffman: Annotated[
        list[Literal["values", "indices"]],
        BeforeValidator(_coded, json_schema_input_type=bool | str | list[str]),
        Field(max_length=2),
    ] = []
    low_rank: LowRank | None = None
    svd: Svd | None = None
    tensor_train: TensorTrain | None = None
    binary: Annotated[bool, Field(strict=True)] = False
    ternary: Annotated[bool, Field(strict=True)] = False

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        if self.binary and self.ternary:
            raise ValueError("weights must be binary or ternary, not both")
        if self.binary or self.ternary:
            given = [name for name in _WEIGHT_KEYS if getattr(self, name) is not None]
            if given:
                raise ValueError(f"{' and '.join(given)} must be left out where weights are binary or ternary")
        if self.format is not None and self.index is not None:
            raise ValueError("format must be left out where index is given: runs of zeros are one")
        if sum(item is not None for item in (self.low_rank, self.svd, self.tensor_train)) > 1:
            raise ValueError("only one of low_rank, svd and tensor_train must be given")
        return self

    @property
    def factored(self) -> bool:
        """Whether the layer becomes several."""
        return not (self.low_rank is None and self.svd is None and self.tensor_train is None)

    def over(self, other: Recipe) -> Recipe:
        """This recipe, and of another what this one leaves out and what goes with it."""
        own = self.model_dump(exclude_unset=True)
        names = {name for name in own if getattr(self, name)}
        for one, two in _EXCLUSIVE:
            for group, others in ((one, two), (two, one)):
                if names & group:
                    own = dict.fromkeys(others - names) | own
        given = {**other.model_dump(exclude_unset=True), **own}
        return Recipe.model_validate({name: value for name, value in given.items() if value is not None})


#: Methods that exclude each other: one for some layers takes the place of another for all.
_EXCLUSIVE = (
    ({"format"}, {"index"}),
    ({"binary", "ternary"}, set(_WEIGHT_KEYS)),
    ({"binary"}, {"ternary"}),
    ({"low_rank"}, {"svd", "tensor_train"}),
    ({"svd"}, {"tensor_train"}),
)


def recipes_of(given: object) -> dict[str, Recipe]:
    """Recipes by patterns of layers, from plain data.

    Raises
    ------
    InputError
        With the key of every fault.
    """
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise InputError(
            f"a compression must be recipes by pattern, as {{'fc*': {{'share': {{'bits': 5}}}}}}, not {excerpt(given)}"
        )
    recipes: dict[str, Recipe] = {}
    faults: list[Fault] = []
    for name, value in given.items():
        try:
            recipes[name] = value if isinstance(value, Recipe) else Recipe.model_validate(value)
        except ValidationError as error:
            for item in error.errors(include_url=False):
                path = ".".join(map(str, (name, *item["loc"])))
                message = item["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
                if item["type"] == "extra_forbidden":
                    message = f"unknown key{nearest(item['loc'][-1], list(Recipe.model_fields))}"
                elif item["type"] != "value_error":
                    message += f", not {excerpt(item['input'])}"
                faults.append(Fault("", excerpt(path, 120), message))
    if faults:
        raise InputError(faults)
    return recipes


def layer_recipes(network: Workload, recipes: Mapping[str, Recipe]) -> dict[str, Recipe]:
    """The recipe of each layer that has weights; of two patterns that match it, the later one comes first.

    Raises
    ------
    InputError
        For a pattern that matches no layer with weights.
    """
    chosen: dict[str, Recipe] = {}
    faults: list[Fault] = []
    # Scales and offsets of a normalization are no matrix.
    able = [layer.name for layer in network if layer.weights and len(layer.weight.shape) > 1]
    for pattern, recipe in recipes.items():
        matches = selects([pattern], network.names)
        names = [name for name in able if matches(name)]
        if not names:
            faults.append(
                Fault("", network.name, f"a layer with weights must match {excerpt(pattern)}{hint(pattern, able)}")
            )
        for name in names:
            chosen[name] = recipe.over(chosen[name]) if name in chosen else recipe
    if faults:
        raise InputError(faults)
    return {name: _fitting(network[name], chosen[name]) for name in able if name in chosen}


def _fitting(layer: Layer, recipe: Recipe) -> Recipe:
    """The recipe, without an N:M pattern if the layer's input channels are no multiple of M: it stays dense then."""
    _, of = (0, 0) if recipe.prune is None else recipe.prune.groups
    shape = layer.weight.shape
    inputs = shape[1] if len(shape) > 2 else shape[0]
    return recipe.model_copy(update={"prune": None}) if of and inputs % of else recipe


def compressed_network(network: Workload, recipes: Mapping[str, Recipe]) -> Workload:
    """The network with the densities, formats and codings of its recipes, and layers of low rank in place of one."""
    chosen = layer_recipes(network, recipes)
    nodes: list[Node] = []
    for layer in network:
        producers = network.inputs[layer.name]
        recipe = chosen.get(layer.name)
        if recipe is None:
            nodes.append(Node(layer, producers))
            continue
        for part in _parts(layer, recipe):
            nodes.append(Node(compressed_layer(part, recipe), producers))
            producers = (part.name,) if network.graph else ()
    if len(nodes) == len(network):
        return network.replace([node.layer for node in nodes])
    return Workload(
        network.name, nodes, graph=network.graph, source=network.source, input_shape=network.input_shape,
        missing=network.missing, batch_norm=network.batch_norm,
    )  # fmt: skip


def _parts(layer: Layer, recipe: Recipe) -> tuple[Layer, ...]:
    """The layer, or those that take its place where its rank is low."""
    if recipe.low_rank is not None:
        return factorize(layer, filters=recipe.low_rank.filters)
    if recipe.svd is not None:
        return factorize(layer, rank=recipe.svd.rank)
    if recipe.tensor_train is not None:
        outputs, inputs = recipe.tensor_train.modes
        return factorize(layer, modes=(tuple(outputs), tuple(inputs)), rank=recipe.tensor_train.rank)
    return (layer,)


def compressed_layer(layer: Layer, recipe: Recipe) -> Layer:
    """The layer with the density, the format and the coding of a recipe."""
    spec = layer.weight.spec
    change: dict[str, Any] = {}
    if recipe.binary or recipe.ternary:
        change = {"dtype": "binary" if recipe.binary else "ternary", "format": "dense"}
        change |= {"density": 1.0, "pattern": ""} if recipe.binary else {}  # signs have no zero
    if recipe.prune is not None:
        change |= _pruned(spec, recipe.prune)
    density, pattern = change.get("density", spec.density), change.get("pattern", spec.pattern)
    before = spec.coding or Coding()
    runs = recipe.index.bits if recipe.index is not None else before.run_bits
    shared = recipe.share.bits if recipe.share is not None else before.shared_bits
    prune = recipe.prune
    block = tuple(prune.block) if prune is not None and prune.pattern == "block" else before.block
    fixed = bool(N_OF_M.match(pattern))  # values of N:M groups are found by their place, so they have one width
    coding = Coding(
        shared,
        runs
        if pattern == "random" and density < (1.0 if recipe.prune is not None or spec.density < _PRUNED else 0)
        else 0,
        tuple(
            item for item in CODED if item in (*recipe.huffman, *before.huffman) and not (fixed and item == "values")
        ),
        block if pattern == "block" else (1, 1),  # type: ignore[arg-type]
    )
    if recipe.format is not None and not fixed and pattern != "channel":
        change["format"], coding = recipe.format, replace(coding, run_bits=0)
    elif spec.format == "dense" or recipe.prune is not None or coding.run_bits or shared:
        change["format"] = _format(density, pattern, coding, change.get("dtype", spec.dtype))
    if coding != Coding():
        change["coding"] = coding
    return layer.with_tensors(weight=change)


def _pruned(spec: TensorSpec, prune: Prune) -> dict[str, Any]:
    """Density and pattern after weights that may have zeros already are pruned."""
    if prune.pattern in ("random", spec.pattern) and prune.kept >= spec.density:  # what would be pruned is zero
        return {}
    if prune.pattern in ("random", spec.pattern) or spec.density == 1:
        return {"density": prune.kept, "pattern": prune.pattern if prune.kept < 1 else ""}
    if prune.groups[1]:
        return {"density": min(prune.kept, spec.density), "pattern": prune.pattern}
    return {"density": prune.kept * spec.density, "pattern": "random"}  # zeros at random within what is kept


def _format(density: float, pattern: str, coding: Coding, dtype: str) -> str:
    """The format that weights are stored in: the smallest that fits what is known of the zeros."""
    if pattern == "2:4":
        return "2:4"
    if coding.run_bits:
        return "csc"
    bits = coding.shared_bits or DTYPES[dtype].bits
    if pattern == "block" or (pattern == "random" and 1 + density * bits < bits and dtype != "ternary"):
        return "bitmask"
    return "codebook" if coding.shared_bits else "dense"
