"""Inference libraries: the tiles that their kernels use and what everything around the MACs costs, in cycles.

The software is as much part of the machine as its ports: the same core with another library is another machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from hwsim.errors import InputError, nearest
from hwsim.fields import Name, OneOf, Positive, Share, Spec, check, current
from hwsim.machines.cpu.core import Dtype, load_core
from hwsim.workload.number_format import DTYPES
from hwsim.yaml_source import read_yaml

__all__ = ["COSTS", "SIGNS", "CpuLibrary", "SignsSpec", "TileSpec", "library_names", "load_library"]

_FOLDER = Path(__file__).parent / "libraries"

Cost = Annotated[float, Field(ge=0, le=1e9)]

#: What a library's costs may name, and the unit that it is for; all are cycles of one core.
COSTS: dict[str, str] = {
    "session": "inference: what surrounds its operators",
    "call": "operator call",
    "thread": "start and join of the threads of a matrix product",
    "conv_thread": "start and join of the threads of another operator",
    "reorder_thread": "start and join of the threads that move a tensor to the library's layout or back",
    "barrier": "doubling of the threads that meet at the end of an operator",
    "accumulate": "vector of sums that a K slice adds to memory",
    "output": "vector of outputs that is scaled, rounded and written",
    "function": "vector of a softmax, GELU or normalization",
    "reorder": "value that is moved to the library's layout or back",
    "patch": "pixel and tap that is copied or pointed to",
    "group": "pixel, tap and group of an 8-bit convolution, whose groups are copied one by one, beside `patch`",
    "requantize": "output that is scaled in a pass of its own",
    "pack": "value of a right-hand matrix that is computed, not stored, and so packed as the product runs",
    "activate": "output of a convolution whose activation, other than relu, is a pass of its own",
    "turn": "value that a softmax moves to the last axis from the one next to it, and as much back",
    "scatter": "value that a softmax moves to the last axis from one far from it, and as much back",
    "value": "value that an operator without MACs reads, neither pooled nor a function",
    "tap": "load of a vector for each tap of a depthwise filter (loads, not cycles)",
    "page": "4 KiB page of weights that come from DRAM, where a tile has many rows",
    "restart": "4 KiB page of weights that come from DRAM, however few the rows of a tile",
    "rest": "channel and tap of a depthwise filter that fills no vector",
    "skew": "other channel and tap of such a filter, as its pixels are not aligned to vectors",
    "row": "vector of channels and row of outputs of a depthwise filter: the start of the kernel and the edges",
    "cold": "operator of a network that L2 does not hold: lines of code, descriptors and parameters that come from L3",
    "code": "first product, pool or softmax of a network, where its code was evicted from L3",
    "window_max": "value and tap of a maximum pool outside the library's layout",
    "window_avg": "value and tap of an average pool outside the library's layout",
    "transpose": "value that is transposed",
    "resize": "value of a resized image",
    "divide": "value of a division, which is no pass at the bandwidth of the caches",
    "softmax": "vector of a softmax, where `line` is given",
    "line": "row of a softmax or normalization",
    "tail": "value of a row of a softmax that fills no vector",
    "skip": "value of a sum that is normalized in one kernel",
    "copy": "byte of a patch that is copied, where no kernel reads the pixels in place",
    "mac": "MAC of a loop that is compiled for every processor",
    "scalar": "MAC of such a loop that fills no vector of 16 bytes",
    "sum": "output and slice of depth of such a loop",
    "contend": "cycle of a thread, for each further thread that works beside it (a share: shared caches and DRAM)",
    "panel": "weight that such a loop packs anew for each block of rows",
}
#: Signs of activations and weights that the own kernels of a library need not take.
SIGNS = ("u8u8", "s8s8")


class TileSpec(Spec):
    """The register tile of a kernel, and the slices that it walks.

    `rows` is the menu of rows of a tile: blocks of the first as often as they fit, then of the next; what is left is
    one more. `vectors` is how many vectors of columns a tile has. `columns` and `depth` cut the weights in slices.
    """

    rows: Annotated[list[Positive], Field(min_length=1, max_length=4)]
    vectors: Positive
    columns: Positive | None = None
    depth: Positive | None = None


def _known(costs: dict[str, float]) -> dict[str, float]:
    for name in costs:
        if name not in COSTS:
            raise ValueError(f"costs names {name!r}, which is no cost{nearest(name, COSTS)}")
    return costs


Costs = Annotated[dict[str, Cost], BeforeValidator(current), AfterValidator(_known)]


class SignsSpec(Spec):
    """Kernels for 8-bit operands of other signs than those that the library's own kernels take.

    Attributes
    ----------
    instead_of : list of str
        Instruction sequences of the own kernels: on cores that run these, other signs need other kernels.
    sequence : str or None
        Instruction sequence. None: a loop in C++, compiled for every processor of the instruction set.
    gemm : TileSpec
        Convolutions are products of copied patches, and their sums are scaled in a pass of their own.
    costs : dict
        Those that differ.
    """

    instead_of: Annotated[list[Name], Field(min_length=1)]
    sequence: Name | None = None
    gemm: TileSpec
    costs: Costs = {}


class TypeSpec(Spec):
    """A library at one number format: its tiles and its costs.

    With an `efficiency`, kernels are generated for each shape, so that tiles fit it: MACs take that share of the ports'
    rate. Without, the tiles are walked as they are. `signs` are the kernels for 8-bit operands of other signs than
    u8s8, unsigned activations by signed weights. `blocked` images lie in blocks of a vector of channels. `functions`
    are the activations with a loop of their own: cycles of a value. `serial` are the kinds of layers without MACs that
    one thread runs.
    """

    gemm: TileSpec
    conv: TileSpec
    efficiency: Annotated[float, Field(gt=0, le=1)] | None = None
    blocked: bool = False
    costs: Costs
    signs: dict[Annotated[str, OneOf(SIGNS)], SignsSpec] = {}
    functions: dict[Name, Cost] = {}
    serial: list[Literal["concat", "copy", "gather", "norm", "pool", "softmax"]] = []

    def with_costs(self, costs: dict[str, float], signs: Mapping[str, dict[str, float]]) -> TypeSpec:
        """A copy with other costs, and other ones by signs."""
        pairs = {
            pair: kind.model_copy(update={"costs": kind.costs | signs.get(pair, {})})
            for pair, kind in self.signs.items()
        }
        return self.model_copy(update={"costs": self.costs | costs, "signs": pairs})


class CoreUse(Spec):
    """A library on one core at one number format: MACs a cycle of its convolutions, and the costs that differ there.

    `networks` is how many were measured.
    """

    rate: Annotated[float, Field(gt=0, le=1e6)]
    costs: Costs = {}
    networks: Positive
    fitted: str


class CpuLibrary(Spec):
    """An inference library in one version.

    Attributes
    ----------
    threads : str
        ``rows``: threads share rows or columns of an operator; a product of few MACs gets few threads (`thread_macs`).
    pass_cycles : int or None
        Cycles, as the library estimates them, below which one thread runs an elementwise pass.
    padding : str
        Whether taps that fall in the padding are run or skipped.
    fuses : bool
        Whether additions and activations run inside the layer before them.
    layout : str
        ``reorder``: convolutions want a layout of their own, and what comes from elsewhere is moved to it and back.
        ``kept``: all layers agree.
    lines : float
        Cache lines that a core has under way when activations spill from its L2, over the latency of L3.
    resident : float
        The share of an L2 that packed weights can have.
    factors : dict
        What multiplies a cost or an efficiency on cores of an instruction sequence: ``maddubs: {function: 1.15}``.
    cores : list of str
        The cores on which the costs were fitted.
    on : dict
        By core and number format, where a rate was measured there: it stands for what the ports allow.
    rates : dict
        Those of the core of the machine.
    """

    name: Name
    source: str
    fitted: str
    types: dict[Dtype, TypeSpec]
    thread_macs: Positive = 1
    pass_cycles: Positive | None = None
    padding: Literal["run", "skip"] = "run"
    fuses: bool = False
    layout: Literal["reorder", "kept"] = "kept"
    lines: Annotated[float, Field(gt=0, le=1000)] | None = None
    resident: Share = 0.75
    dram_efficiency: Annotated[float, Field(gt=0, le=1)] = 1.0
    factors: dict[Name, dict[Name, Annotated[float, Field(gt=0, le=100)]]] = {}
    cores: list[Name] = []
    on: dict[Name, dict[Dtype, CoreUse]] = {}
    rates: dict[Dtype, Annotated[float, Field(gt=0, le=1e6)]] = {}

    def at(self, core: str) -> CpuLibrary:
        """The library with what was measured of it on a core."""
        uses = self.on.get(core, {})
        types = {
            dtype: kind.model_copy(update={"efficiency": 1.0, "costs": kind.costs | uses[dtype].costs})
            if dtype in uses
            else kind
            for dtype, kind in self.types.items()
        }
        rates = {
            dtype: use.rate / self.factor(load_core(core).best(dtype) or "", "efficiency")  # which is in the rate
            for dtype, use in uses.items()
        }
        return self.model_copy(update={"types": types, "rates": self.rates | rates})

    @property
    def generated(self) -> bool:
        """Whether kernels are generated for each shape."""
        return all(kind.efficiency is not None for kind in self.types.values())

    def type(self, dtype: str) -> TypeSpec:
        """The library at a number format; raises ValueError where it has no kernels for it."""
        if dtype not in self.types:
            raise ValueError(f"{self.name} runs {', '.join(d for d in DTYPES if d in self.types)}, not {dtype}")
        return self.types[dtype]

    def factor(self, sequence: str, cost: str) -> float:
        """What multiplies a cost where the MACs are done by a sequence."""
        return self.factors.get(sequence, {}).get(cost, 1.0)


@cache
def library_names() -> tuple[str, ...]:
    """Names of the libraries that come with hwsim."""
    return tuple(sorted(path.name.removesuffix(".yaml") for path in _FOLDER.glob("*.yaml")))


@lru_cache(maxsize=64)
def _load(path: Path) -> CpuLibrary:
    return check(CpuLibrary, read_yaml(path))


def load_library(name: str, beside: Path | None = None) -> CpuLibrary:
    """A library by name, or by path (relative to `beside`, the folder of the machine that names it)."""
    if name.endswith((".yaml", ".yml")):
        return _load((beside or Path()) / name)
    if name not in library_names():
        raise InputError(f"no inference library is called {name!r}{nearest(name, library_names())}")
    return _load(_FOLDER / f"{name}.yaml")
