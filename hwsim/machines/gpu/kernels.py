"""The kernels that a GPU has under its library, and how long they take, without a plan for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwsim.energy.spec import EnergySpec
from hwsim.errors import Fault, InputError, excerpt, nearest
from hwsim.machines.base import Machine
from hwsim.machines.gpu.attention import AttentionShapes
from hwsim.machines.gpu.attention_plan import FusedAttention
from hwsim.machines.gpu.collective import CollectiveSet, LinkSpec, check_collective, collective_us, message_sizes
from hwsim.machines.gpu.parts import load_library, part_names
from hwsim.machines.gpu.spec import GpuSpec
from hwsim.machines.gpu.timing import Timer
from hwsim.machines.gpu.work import Types, layer_kind, memory_bits, wanted_type
from hwsim.machines.serving import ServingSpec
from hwsim.workload import Layer
from hwsim.workload.number_format import DTYPES
from hwsim.workload.product import Attended

__all__ = ["GpuKernels"]

_MOST = 2**31
"""The largest size of an attention kernel."""
_MOST_MACS = 2**58
"""The most MACs of one, so that every count of it fits 64 bits."""


class GpuKernels(Machine):
    """A GPU with the library that its kernels are from: what it has for a layer, and times of many kernels at once."""

    spec_class: ClassVar[type[GpuSpec]] = GpuSpec
    spec: GpuSpec

    def _check(self) -> None:
        self.timer = Timer(self.spec, self.folder)
        self._attention_kernels: dict[tuple[str, str, str], FusedAttention | None] = {}
        power = self.spec.power
        energy = EnergySpec(
            table="horowitz_45nm",
            prices=self.timer.prices,
            static=power.idle,
            static_source=f"idle power: {power.source}",
        )
        self.spec = self.spec.model_copy(update={"energy": energy})

    @property
    def core_clock(self) -> str:
        """The clock of the SMs."""
        return self.spec.clock

    @property
    def library_name(self) -> str:
        """The library of the kernels."""
        return self.timer.library.name

    def libraries(self) -> tuple[str, ...]:
        """Those that come with hwsim and have kernels for the generation."""
        mine = self.timer.generation.name
        return tuple(
            n for n in part_names("libraries") if any(mine in menu.generations for menu in load_library(n).menus)
        )

    @property
    def has_links(self) -> bool:
        """Whether the file has links, and the library collectives for them."""
        return self.spec.links is not None

    @property
    def float_format(self) -> str:
        """The first of bf16, fp16 and fp32 that the SMs have instructions for."""
        return next((name for name in ("bf16", "fp16") if name in self.spec.sm.macs), "fp32")

    @property
    def serving(self) -> ServingSpec | None:
        """That of the library."""
        return self.timer.library.serving

    def types(self, layer: Layer) -> Types:
        """Types of the MACs of a layer: its own or the fallback of the library; InputError without one."""
        own = wanted_type(layer, self.spec.precision)
        if self.runs_whole(layer):
            return replace(own, converted="")
        kind = layer_kind(layer)
        if not layer.macs or self.timer.unit(own.math, kind) is not None:
            return own
        library = self.timer.library
        for math in library.fallback.get(own.math, []):
            if self.timer.unit(math, kind) is not None:
                if own.math in library.storage:
                    return replace(own, math=math, fallback=own.math)
                bits = memory_bits(math)
                return Types(math, bits, bits, bits, own.math)
        have = [math for math in self.timer.generation.instructions if self.timer.unit(math, kind) is not None]
        formats = ", ".join(have) or "none"
        way = f"; run it in another format, as with --set precision={have[0]}" if have else "; name another library"
        message = f"{self.name} must have {own.math} kernels under {library.name}: it has {formats}{way}"
        raise InputError([Fault("", layer.name, message)])

    def runs_whole(self, layer: Layer) -> bool:
        """Attention whose queries are the last positions, in formats that the library has a fused kernel for."""
        return self._fused_attention(layer) is not None

    def _fused_attention(self, layer: Layer) -> FusedAttention | None:
        """The kernels that a layer of attention runs on as it is; None for other layers, or if there are none."""
        x = layer.lower(1)
        if not isinstance(x, Attended) or not x.regular:
            return None
        if (precision := self.spec.precision) != "workload":
            return self._attention(precision, precision)
        return self._attention(layer.input.dtype, layer.weight.dtype)

    def _attention(self, math: str, cache: str) -> FusedAttention | None:
        key = ("attention", math, cache)
        if key not in self._attention_kernels:
            self._attention_kernels[key] = FusedAttention.of(self.timer, math, cache)
        return self._attention_kernels[key]

    def _attention_of(self, math: str, cache: str) -> FusedAttention:
        """The attention kernels for these formats; InputError if there are none."""
        for key, name in (("dtype", math), ("kv_dtype", cache)):
            if name not in DTYPES:
                raise InputError(f"{key} must be a number format, not {excerpt(name)}{nearest(name, DTYPES)}")
        fused = self._attention(math, cache)
        if fused is None:
            kernels = FusedAttention.all_of(self.timer)
            pairs = dict.fromkeys((t, c) for k in kernels for t in k.types for c in k.cache)
            have = [f"{t} with {c}" for t, c in pairs if self._attention(t, c) is not None]
            formats, generation = ", ".join(have), self.timer.generation.name
            if not have:
                able = [n for n in part_names("libraries") if load_library(n).attends(generation)]
                formats = "none" + (f"; name another library, as with --set library={able[0]}" if able else "")
            what = f"attention kernels for {math} queries with {cache} keys and values"
            raise InputError(f"{self.name} must have {what} under {self.library_name}: it has {formats}")
        return fused

    def collective_set(self, op: str) -> CollectiveSet | None:
        """Algorithms of the library for a collective on this generation; None if it has none."""
        return self.timer.library.collective(op, self.timer.generation.name)

    def _collective(self, op: str, name: str = "") -> tuple[CollectiveSet, LinkSpec]:
        """Algorithms and links of a collective; InputError without."""
        own = self.collective_set(op)
        if self.spec.links is None:
            raise InputError([Fault("", name, f"a collective must have links, which {self.name} has none of")])
        if self.spec.streams > 1:
            raise InputError([Fault("", name, f"collectives must have one stream, not {self.spec.streams}")])
        if own is None:
            able = [n for n in part_names("libraries") if load_library(n).collective(op, self.timer.generation.name)]
            way = f": name another, as --set library={able[0]}" if able else ""
            message = f"{self.timer.library.name} has no {op} on {self.timer.generation.name}{way}"
            raise InputError([Fault("", name, message)])
        return own, self.spec.links

    def _sparse_formats(self) -> list[str]:
        """Number formats that have kernels for 2:4 weights."""
        formats = [math for math in self.spec.sm.macs if math in self.timer.generation.instructions]
        units = {math: self.timer.unit(math, sparse=True) for math in formats}
        return [math for math, unit in units.items() if unit is not None and unit.sparse]

    def gemm_times(
        self,
        m: ArrayLike,
        n: ArrayLike,
        k: ArrayLike,
        dtype: str = "bf16",
        output: str | None = None,
        *,
        weight: str | None = None,
        weight_format: str = "dense",
    ) -> NDArray[np.float64]:
        """Seconds of many products of an m x k by a k x n matrix, without a plan for each.

        Parameters
        ----------
        m, n, k : array-like
            Sizes; they are broadcast.
        dtype : str
            Of both operands.
        weight : str, optional
            Of the weights, where they are narrower than activations of 16 bits: ``int4``, ``int8``.
        output : str, optional
            Of the result: `dtype` for 16 bits and more, ``bf16`` below.
        weight_format : str
            ``dense`` or ``2:4``.

        Returns
        -------
        ndarray
            What `simulate` gives for `Gemm` layers of these sizes with one stream, before it is rounded to ticks.
        """
        from hwsim.workload import Gemm

        out = output or (dtype if memory_bits(dtype) >= 16 else "bf16")
        types = self.types(Gemm("gemm", n=1, k=1, input=dtype, weight=weight or dtype, output=out))
        if weight_format not in (valid := ("dense", "2:4")):
            near = nearest(weight_format, valid)
            raise InputError(f"weight_format must be 'dense' or '2:4', not {excerpt(weight_format)}{near}")
        unit = self.timer.unit(types.math, sparse=weight_format == "2:4", weight=types.converted)
        assert unit is not None
        if weight_format == "2:4" and not unit.sparse:
            formats = ", ".join(self._sparse_formats()) or "none"
            message = f"{self.name} must have kernels for 2:4 weights in {types.math} under {self.library_name}"
            raise InputError(f"{message}: it has them for {formats}")
        return self.timer.times(m, n, k, types, unit)

    def attention_times(
        self,
        batch: ArrayLike,
        queries: ArrayLike,
        context: ArrayLike,
        heads: ArrayLike,
        kv_heads: ArrayLike,
        dim: ArrayLike,
        dtype: str = "bf16",
        kv_dtype: str | None = None,
        causal: bool = True,
        window: ArrayLike = 0,
    ) -> NDArray[np.float64]:
        """Seconds of many fused attention kernels, without a plan for each.

        Parameters
        ----------
        batch, queries, context : array-like
            Sequences; new positions of each, which are the last ones where `causal`; positions that are attended to,
            new and cached ones. One query a sequence is decode, more are prefill.
        heads, kv_heads, dim : array-like
            Heads of queries, heads of keys and values, which divide them, and values of a head.
        dtype : str
            Of queries and result; the result of fp8 queries is bf16.
        kv_dtype : str, optional
            Of keys and values: `dtype` if left out.
        causal : bool
        window : array-like
            The last positions that a query attends to; 0: all.

        Returns
        -------
        ndarray
            What `simulate` gives for `Attention` layers of these sizes with one stream, before it is rounded to ticks.

        Examples
        --------
        >>> import hwsim
        >>> h100 = hwsim.load_machine("h100", set={"library": "vllm"})
        >>> seconds = h100.attention_times([1, 32], 1, 2048, heads=32, kv_heads=8, dim=128, kv_dtype="fp8")
        >>> seconds.shape
        (2,)
        """
        cache = dtype if kv_dtype is None else kv_dtype
        fused = self._attention_of(dtype, cache)
        sizes = {
            "batch": batch, "queries": queries, "context": context, "heads": heads, "kv_heads": kv_heads, "dim": dim,
            "window": window,
        }  # fmt: skip
        arrays = whole_sizes(sizes, least={"window": 0})
        shape = arrays["batch"].shape
        b, q, c, h, kv, d, w = (array.ravel() for array in arrays.values())
        _check_attention(b, q, c, h, kv, d, w, causal)
        bits, out = memory_bits(dtype), max(16, memory_bits(dtype))
        x = AttentionShapes(
            b, q, c, h, kv, d, d, w, np.minimum(q, c), causal, bits / 8, memory_bits(cache) / 8, out / 8
        )
        timing = fused.timing(x)
        return (timing.time * fused.slowdown(x, timing) * 1e-6).reshape(shape)

    def collective_times(self, op: str, bytes: ArrayLike, ranks: ArrayLike) -> NDArray[np.float64]:
        """Seconds of many collectives between GPUs of this kind.

        Parameters
        ----------
        op : str
            ``all_reduce``, ``all_gather``, ``reduce_scatter`` or ``all_to_all``.
        bytes, ranks : array-like
            The message of one rank (of an all-gather the gathered tensor), and how many take part; broadcast.

        Returns
        -------
        ndarray
            One rank alone takes no time.
        """
        check_collective(op)
        own, link = self._collective(op)
        size, count = message_sizes(bytes, ranks)
        if count.size and count.max() > link.ranks:
            raise InputError(f"ranks must be at most {link.ranks} on {self.name}, not {count.max():.0f}")
        us, _ = collective_us(op, size, np.maximum(count, 2), own, link)
        return np.where(count < 2, 0.0, us * 1e-6)


def whole_sizes(sizes: Mapping[str, ArrayLike], least: Mapping[str, int]) -> dict[str, NDArray[np.int64]]:
    """Sizes as whole numbers of one shape; InputError for one that is none, or less than 1 or what `least` says."""
    arrays = dict(zip(sizes, np.broadcast_arrays(*(np.asarray(value) for value in sizes.values())), strict=True))
    whole: dict[str, NDArray[np.int64]] = {}
    for name, array in arrays.items():
        low = least.get(name, 1)
        if array.dtype.kind not in "iuf" or not np.all(np.isfinite(array)):
            raise InputError(f"{name} must be whole numbers, not {excerpt(sizes[name])}")
        whole[name] = np.asarray(array, np.float64).astype(np.int64)
        wrong = (whole[name] != array) | (array < low) | (array > _MOST)
        if wrong.any():
            raise InputError(
                f"{name} must be whole numbers of {low} to {_MOST:,}, not {excerpt(array[wrong].flat[0].item())}"
            )
    return whole


def _check_attention(
    batch: NDArray[np.int64], queries: NDArray[np.int64], context: NDArray[np.int64], heads: NDArray[np.int64],
    kv_heads: NDArray[np.int64], dim: NDArray[np.int64], window: NDArray[np.int64], causal: bool,
) -> None:  # fmt: skip
    """InputError for heads that do not share keys and values evenly, and for queries before the context."""
    if (wrong := heads % kv_heads > 0).any():
        raise InputError(f"kv_heads must divide heads, {heads[wrong][0]}, not {kv_heads[wrong][0]}")
    if causal and (wrong := context < queries).any():
        raise InputError(
            f"context must be at least queries, {queries[wrong][0]}, where causal, not {context[wrong][0]}"
        )
    if (macs := 2.0 * batch * queries * context * heads * dim).max(initial=0) > _MOST_MACS:
        raise InputError(f"a kernel must have at most 2^58 MACs, not {macs.max():.3g}")
    if not causal and (window > 0).any():
        raise InputError(f"window must be 0 where causal is not true, not {window[window > 0][0]}")
