"""What machines share, each a YAML: constants of a generation, kernels of a library, the launch of a harness."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache, lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, model_validator

from hwsim.energy.spec import PriceSpec
from hwsim.errors import InputError, excerpt, nearest
from hwsim.fields import Bandwidth, Name, Positive, Share, Spec, Time, check, current
from hwsim.machines.gpu.attention_spec import DecodeKernel, PrefillKernel
from hwsim.machines.gpu.collective import CollectiveSet
from hwsim.machines.serving import ServingSpec
from hwsim.workload.number_format import DTYPES
from hwsim.yaml_source import read_yaml

__all__ = [
    "Constants",
    "Generation",
    "LaunchMode",
    "RequestSpec",
    "GpuInstruction",
    "GpuLibrary",
    "KernelSet",
    "Tile",
    "attention_library",
    "check_types",
    "value_types",
    "load_generation",
    "load_harness",
    "load_library",
    "part_names",
]

_FOLDER = Path(__file__).parent
#: What is multiplied: types of tensors, what fp32 is rounded to on tensor cores, and int8 four at a time in CUDA cores.
_MATH = ("tf32", "dp4a")

Factor = Annotated[float, Field(gt=0, le=1e6)]
Cycles = Annotated[float, Field(ge=0, le=1e6)]
Shape3 = tuple[Positive, Positive, Positive]


def value_types() -> list[str]:
    """Types of values that a unit may multiply."""
    return [*DTYPES, *_MATH]


def check_types(key: str, names: Iterable[str]) -> None:
    """Raise ValueError for the first name that is no type of values."""
    valid = value_types()
    for name in names:
        if name not in valid:
            raise ValueError(f"{key} names {name!r}, which is no type of values{nearest(name, valid)}")


class Constants(Spec):
    """What is fitted of a unit in a generation; times are in cycles, so that they go with the clock.

    Attributes
    ----------
    efficiency : float
        Share of the peak rate that the main loop of a large tile reaches.
    small_tile : float
        How much a small tile loses, see `hwsim.machines.gpu.tiles`.
    dram_share, l2_share : float
        Share of the DRAM bandwidth that a kernel streams; of 64 B a cycle and SM that it gets from L2.
    step : float
        Cycles that a step of 64 along the inner dimension takes at the least.
    wave, split : float
        Cycles that each wave starts with; that a reduction over a split inner dimension takes.
    finish : float
        Issue slots for each sum of a finished tile: addresses, transforms back, what the next tile cannot hide.
    store : float
        Bytes a cycle in which an SM writes a finished tile.
    l2_kept : float
        Share of L2 that keeps operands between waves.
    """

    efficiency: Annotated[float, Field(gt=0, le=1.5)]
    small_tile: Annotated[float, Field(ge=0, le=10)]
    dram_share: Share
    l2_share: Annotated[float, Field(gt=0, le=4)]
    step: Cycles
    split: Cycles
    store: Factor
    l2_kept: Share
    wave: Cycles = 0.0
    finish: Annotated[float, Field(ge=0, le=1000)] = 0.0
    source: str | None = None
    fitted: str | None = None


class GpuInstruction(Spec):
    """What multiplies: its name, the m, n and k of one, and which unit it runs on.

    `sparse_gain` is the rate of its 2:4 kernels over that of dense ones, as measured: at most 2, since half of the MACs
    are left; none: it does not skip 2:4 zeros.
    """

    name: str
    tile: Shape3
    unit: Literal["cuda", "dp4a", "tensor"]
    sparse_gain: Annotated[float, Field(ge=1, le=2)] | None = None


class Generation(Spec):
    """A generation of SMs: instructions, constants of each unit, prices at its node.

    `synchronous_rate` is the share of the rate that mma.sync reaches where wgmma reaches all; `camping` how much longer
    DRAM takes for weights whose rows are an odd number of KiB apart, 3 or more. `random` is the energy of a MAC of
    random values over that of a network's, half of whose activations ReLU makes zero.
    """

    name: Name
    source: str
    node: str
    asynchronous: bool = False
    synchronous_rate: Annotated[float, Field(gt=0, le=1)] = 1.0
    synchronous_rate_source: str | None = None
    camping: Annotated[float, Field(ge=1, le=10)] = 1.0
    camping_source: str | None = None
    random: dict[str, Factor] = {}
    random_source: str | None = None
    instructions: dict[str, GpuInstruction]
    constants: dict[Literal["cuda", "dp4a", "tensor"], Constants]
    prices: dict[str, PriceSpec]
    fitted: dict[str, str] = {}

    @model_validator(mode="after")
    def _check_names(self) -> Generation:
        check_types("instructions", self.instructions)
        check_types("random", self.random)
        return self


class Tile(Spec):
    """Threadblock tile of a kernel: rows and columns of the output, how many share an SM, for which rows."""

    rows: Positive
    columns: Positive
    ctas: Positive = 1
    above: Annotated[int, Field(ge=0)] = 0
    upto: Positive = 2**40
    pairs: bool = False


_TILE = re.compile(r"(\d+)x(\d+)\Z")


def _tiles(spec: Any) -> Any:
    """``{128x64: 2}`` is the tile of 128 x 64 with 2 on an SM; a mapping says more."""
    if not isinstance(spec, dict):
        raise ValueError(f"must be a mapping such as {{128x64: 2}}, not {excerpt(spec)}")
    tiles = []
    for key, value in spec.items():
        match = _TILE.match(str(key))
        if not match:
            raise ValueError(f"a tile must be rows x columns such as 128x64, not {excerpt(key)}")
        more = value if isinstance(value, dict) else {"ctas": value}
        tiles.append({"rows": int(match[1]), "columns": int(match[2]), **more})
    return tiles


class Vector(Spec):
    """The kernel of few rows: no tiles, each thread reads its share of the weights.

    It takes at least `step` cycles for 1024 of the inner dimension, and `columns` (default: as much) for 64 columns of
    an SM and 4 rows.
    """

    rows: Positive
    step: Cycles
    columns: Cycles | None = None
    fitted: str | None = None


class KernelSet(Spec):
    """The tiled kernels of a library for some number formats and generations, and how one is selected.

    `pick`: ``best`` is a heuristic that is right to about 5 %, ``profiled`` the best for the next power of two of rows,
    ``rows`` the tile whose range has the rows. `transpose` adds each tile the other way round. `layers` are those it
    is for; `runs` names the instruction, where it is not that of the type (``dp4a`` for int8). Columns that are no
    multiple of `aligned` take the first tile; kernels that were timed `once`, in a single run of an
    engine, read all weights from DRAM and end before the power controller reacts, unless the harness is sustained.
    `sparse` ones are for weights in format 2:4; the `slowest` that was measured took so many times what dense ones do,
    and none is taken to be slower. Those of `weights` narrower than the activations convert them as they are read; each
    `group` of them along the inner dimension has a scale of 16 bits (none: each column has one). Tiles run one after
    the other in almost ``square`` blocks, or in order of the ``columns``: all weights pass for each few rows. Channels
    of a tap are padded to a multiple of `channels`, where that is not the library's `pad`; so many
    `taps` of a row share one where they divide the row and their channels fit. Gradients of the inputs of a strided
    convolution: ``zeros`` are written first, then the positions that a filter meets; or ``rows`` of these are
    computed as a whole.
    """

    types: Annotated[list[str], Field(min_length=1)]
    generations: Annotated[list[Name], Field(min_length=1)]
    tiles: Annotated[list[Tile], BeforeValidator(_tiles, json_schema_input_type=dict[str, Any]), Field(min_length=1)]
    layers: list[Literal["gemm", "conv", "dgrad", "wgrad", "winograd"]] = ["gemm", "conv", "dgrad", "wgrad"]
    runs: str | None = None
    transpose: bool = False
    splits: list[Positive] = [1]
    channels: Positive | None = None
    taps: Positive = 1
    strided: Literal["zeros", "rows"] = "zeros"
    step: Positive = 64
    aligned: Positive = 1
    pick: Literal["best", "profiled", "rows"] = "best"
    synchronous: bool = False
    once: bool = False
    sparse: bool = False
    slowest: Annotated[float, Field(ge=1)] | None = None
    raster: Literal["square", "columns"] = "square"
    launch: Time | None = None
    vector: Vector | None = None
    quantize: Factor | None = None
    weights: list[str] = []
    group: Positive | None = None
    constants: dict[str, float] = {}
    source: str
    fitted: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _names(cls, data: Any) -> Any:
        return current(data)

    @model_validator(mode="after")
    def _check_names(self) -> KernelSet:
        for name in self.constants:
            if name not in Constants.model_fields:
                raise ValueError(f"constants names {name!r}, which is none{nearest(name, Constants.model_fields)}")
        check_types("types", self.types)
        check_types("weights", self.weights)
        return self

    def candidates(self) -> list[tuple[Tile, int]]:
        """Every (tile, split) that can be taken."""
        tiles = {(t.rows, t.columns): t for t in self.tiles}
        if self.transpose:
            for tile in self.tiles:
                transpose = tile.model_copy(update={"rows": tile.columns, "columns": tile.rows})
                tiles.setdefault((transpose.rows, transpose.columns), transpose)
        return [(tile, split) for tile in tiles.values() for split in self.splits]


class WinogradSpec(Spec):
    """Winograd's F(m x m, r x r) in a library, for convolutions of stride 1 and their gradients.

    Attributes
    ----------
    outputs, filters : int
        m and r.
    block : pair of int, optional
        Tiles, along height and width, of a threadblock of the one kernel that transforms, multiplies and transforms
        back; its kernel set is that for ``winograd``. None: transforms are kernels of their own, between them the
        products of a convolution's kernel set.
    inside : float, optional
        The share of its rate that the one kernel reaches where it transforms filters too, once for each block. None:
        they have a kernel of their own.
    images : int
        So many images may share a block, by powers of two: each doubling halves its width, or the height where that
        is not the shorter.
    batch, channels : int
        The least batch, and input channels, for which the heuristic takes it; a harness that measures
        every algorithm has it for all.
    """

    types: Annotated[list[str], Field(min_length=1)]
    generations: list[Name] = []
    layers: list[Literal["conv", "dgrad", "wgrad"]] = ["conv", "dgrad", "wgrad"]
    outputs: Annotated[int, Field(ge=2, le=8)]
    filters: Annotated[int, Field(ge=2, le=11)] = 3
    block: tuple[Positive, Positive] | None = None
    images: Positive = 1
    inside: Share | None = None
    batch: Positive = 1
    channels: Positive = 1
    source: str
    fitted: str | None = None

    @model_validator(mode="after")
    def _check_names(self) -> WinogradSpec:
        check_types("types", self.types)
        if self.block is not None and "wgrad" in self.layers:
            raise ValueError("layers with a block must be conv or dgrad")
        return self


class GpuLibrary(Spec):
    """A library in one version: its kernels; what it makes of a type that it has none for; whether it fuses layers.

    `launch_at` is the shortest kernel where the `launch` of a menu was measured: elsewhere it goes with that. `base` is
    the library, or libraries, whose kernels, fallbacks and fusion come after its own. `attention` are its fused
    attention kernels, `attention_of` is the library that has them in its place. `passes` is the share of the DRAM
    bandwidth that a kernel which does little with each value reaches at most. Formats of `storage` are those of memory
    also where a fallback multiplies.
    """

    name: Name
    source: str
    base: Name | list[Name] | None = None
    menus: list[KernelSet] = []
    attention: list[Annotated[PrefillKernel | DecodeKernel, Field(discriminator="phase")]] = []
    attention_of: Name | None = None
    fallback: dict[str, list[str]] = {}
    storage: list[str] = []
    fuses: bool = False
    fuses_norms: bool = False
    fuses_rotary: bool = False
    fuses_source: str | None = None
    winograd: list[WinogradSpec] = []
    pad: dict[str, Positive] = {}
    pad_stem: bool = True
    passes: Share = 1.0
    launch_at: Time | None = None
    serving: ServingSpec | None = None
    collectives: list[CollectiveSet] = []
    fitted: str | None = None

    @model_validator(mode="after")
    def _check_menus(self) -> GpuLibrary:
        if not self.menus and not self.bases:
            raise ValueError("menus must have a set of kernels, or base name another library")
        return self

    @property
    def bases(self) -> tuple[str, ...]:
        """Libraries whose kernels come after its own."""
        return () if self.base is None else (self.base,) if isinstance(self.base, str) else tuple(self.base)

    def attends(self, generation: str) -> bool:
        """Whether it has attention kernels of its own for a generation."""
        return any(generation in kernel.generations for kernel in self.attention)

    def after(self, base: GpuLibrary) -> GpuLibrary:
        """This library, with what another has after its own."""
        own: dict[str, Any] = {
            "menus": [*self.menus, *base.menus],
            "fallback": base.fallback | self.fallback,
            "storage": [*self.storage, *base.storage],
            "pad": base.pad | self.pad,
            "winograd": [*self.winograd, *base.winograd],
            "collectives": [*self.collectives, *base.collectives],
            "serving": self.serving or base.serving,
            "fuses_norms": self.fuses_norms or base.fuses_norms,
            "fuses_rotary": self.fuses_rotary or base.fuses_rotary,
            "attention": self.attention or base.attention,
            "attention_of": self.attention_of or (None if self.attention else base.attention_of),
        }
        if "fuses" not in self.model_fields_set:
            own |= {"fuses": base.fuses, "fuses_source": base.fuses_source}
        return self.model_copy(update=own)

    def menu(
        self, dtype: str, generation: str, layer: str = "gemm", sparse: bool = False, weight: str = ""
    ) -> KernelSet | None:
        """The kernel set for a number format, generation and kind of layer, of 2:4 weights or not; or None.

        `weight` is the format of narrower weights that it converts; "" is none.
        """
        fitting = (m for m in self.menus if dtype in m.types and generation in m.generations and layer in m.layers)
        return next(
            (m for m in fitting if m.sparse == sparse and (weight in m.weights if weight else not m.weights)), None
        )

    def transforms(self, dtype: str, generation: str, layer: str) -> list[WinogradSpec]:
        """In which of Winograd's domains it can compute a kind of layer."""
        return [
            way
            for way in self.winograd
            if dtype in way.types and layer in way.layers and (not way.generations or generation in way.generations)
        ]

    def collective(self, op: str, generation: str) -> CollectiveSet | None:
        """The algorithms of a collective in a generation, or None."""
        return next((c for c in self.collectives if op in c.types and generation in c.generations), None)


class RequestSpec(Spec):
    """What a batch of requests takes before its kernels, beside those of other batches.

    Attributes
    ----------
    call : Time
        Of the host: the query, the call of the library, the launch.
    links : mapping
        Bytes a second over the host link, by generation. Inputs cross it as they are stored in the network's file.
    """

    call: Time
    links: Annotated[dict[str, Bandwidth], Field(min_length=1)]
    source: str
    fitted: str | None = None


class LaunchMode(Spec):
    """How kernels are launched and timed: the time of an empty kernel, weight reuse, and the length of runs.

    `floors` are by generation, and so are the `shortest` kernels that were measured. `reuse` is how many copies of the
    weights are gone through before one is used again (0: they always come from DRAM); `sustained` says that runs are
    long enough for the power cap to hold throughout, `heuristic` that the library chooses algorithms of convolutions by
    rule, where others measure each once; `random` that the values are random numbers. `request` is what
    requests take before the kernels.
    """

    name: Name
    source: str
    floors: Annotated[dict[str, Time], Field(min_length=1)]
    shortest: dict[str, Time] = {}
    reuse: Annotated[int, Field(ge=0, le=1000)] = 0
    sustained: bool = False
    heuristic: bool = False
    random: bool = False
    request: RequestSpec | None = None
    fitted: dict[str, str] = {}


P = TypeVar("P", Generation, GpuLibrary, LaunchMode)


@lru_cache(maxsize=64)
def _read(path: Path, model: type[Any]) -> Any:
    return check(model, read_yaml(path))


@cache
def part_names(folder: str) -> tuple[str, ...]:
    """Names of the generations, libraries or harnesses that come with hwsim."""
    return tuple(sorted(path.name.removesuffix(".yaml") for path in (_FOLDER / folder).glob("*.yaml")))


def _load(name: str, folder: str, what: str, model: type[P], beside: Path | None) -> P:
    if name.endswith((".yaml", ".yml")):
        part = _read((beside or Path()) / name, model)
    elif name in part_names(folder):
        part = _read(_FOLDER / folder / f"{name}.yaml", model)
    else:
        raise InputError(f"no {what} is called {name!r}{nearest(name, part_names(folder))}")
    assert isinstance(part, model)
    return part


def load_generation(name: str, beside: Path | None = None) -> Generation:
    """A generation by name, or by path relative to `beside`."""
    return _load(name, "generations", "generation of GPUs", Generation, beside)


def load_library(name: str, beside: Path | None = None) -> GpuLibrary:
    """A library by name, or by path relative to `beside`."""
    library = _load(name, "libraries", "GPU library", GpuLibrary, beside)
    for base in library.bases:
        library = library.after(load_library(base, beside))
    return library


def attention_library(library: GpuLibrary, beside: Path | None = None) -> GpuLibrary:
    """The library whose attention kernels a library has: itself, or the one that it names."""
    return library if library.attention_of is None else load_library(library.attention_of, beside)


def load_harness(name: str, beside: Path | None = None) -> LaunchMode:
    """A harness by name, or by path relative to `beside`."""
    return _load(name, "harnesses", "harness", LaunchMode, beside)
