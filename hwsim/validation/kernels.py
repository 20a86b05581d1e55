"""Comparison of the kernels with each other, other libraries and published counts, for `hwsim validate`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from hwsim import kernels
from hwsim.kernels import instructions, sparse, sparse_formats, winograd
from hwsim.validation.oracles import OPERATORS, Case

__all__ = ["Check", "checks", "print_checks"]

Array = np.ndarray[Any, Any]
_CASES = 30


@dataclass(frozen=True, slots=True)
class Check:
    """What was compared, on how many cases, and the first difference ("" where all are equal)."""

    name: str
    cases: int
    differs: str = ""
    absent: str = ""


def _bytes(rng: np.random.Generator, dtype: str, *shape: int) -> Array:
    bounds = np.iinfo(dtype)
    return rng.integers(bounds.min, bounds.max + 1, shape).astype(dtype)


def _wide(a: Array, b: Array) -> Array:
    """The product in 64 bits, by numpy."""
    product: Array = a.astype(np.int64) @ b.astype(np.int64)
    return product


def _products(cases: int, isa: str) -> Iterator[Case]:
    for seed in range(cases):
        rng = np.random.default_rng([1, seed])
        m, k, n = (int(rng.integers(1, limit)) for limit in (40, 300, 90))
        a, b = _bytes(rng, ("int8", "uint8")[seed % 2], m, k), _bytes(rng, "int8", k, n)
        with kernels.force_isa(isa):
            yield seed, kernels.gemm_int8(a, b), _wide(a, b)


def _convolutions(cases: int, isa: str) -> Iterator[Case]:
    """Against im2col by numpy."""
    for seed in range(cases):
        rng = np.random.default_rng([2, seed])
        c, k, r, pad, stride = (int(rng.integers(low, high)) for low, high in ((1, 9), (1, 40), (1, 4), (0, 3), (1, 3)))
        x, w = _bytes(rng, "int8", 2, c, 12, 15), _bytes(rng, "int8", k, c, r, r)
        padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (r, r), (2, 3))[:, :, ::stride, ::stride]
        expected = np.einsum("nchwrs,kcrs->nkhw", windows.astype(np.int64), w.astype(np.int64))
        with kernels.force_isa(isa):
            yield seed, kernels.conv2d_int8(x, w, stride=stride, pad=pad), expected


def _sequences(cases: int) -> Iterator[Case]:
    """Every instruction sequence that does not saturate, on data that no sequence saturates on."""
    forms = (
        instructions.gemm_vpdpbusd,
        instructions.gemm_pmaddubsw,
        instructions.gemm_dp4a,
        instructions.gemm_sdot,
        instructions.gemm_smlad,
        instructions.gemm_imma,
    )
    for seed in range(cases):
        rng = np.random.default_rng([3, seed])
        a, b = rng.integers(0, 64, (9, 70)).astype(np.int8), rng.integers(-64, 64, (70, 21)).astype(np.int8)
        run: Callable[..., Any] = forms[seed % len(forms)]
        yield seed, run(a, b).output, _wide(a, b)


def _winograd(cases: int) -> Iterator[Case]:
    for seed in range(cases):
        rng = np.random.default_rng([4, seed])
        c, k, h, w = (int(rng.integers(1, limit)) for limit in (20, 20, 18, 18))
        x, f = _bytes(rng, "int8", 1, c, h + 2, w + 2), _bytes(rng, "int8", k, c, 3, 3)
        m: Any = (2, 4)[seed % 2]
        yield seed, winograd.winograd_int8(x, f, m=m, pad=1), kernels.conv2d_int8(x, f, pad=1)


def _published_counts(cases: int) -> Iterator[Case]:
    """Lavin and Gray, CVPR 2016: operations of a tile's data, filter and inverse transform, and products an output."""
    published = {2: (32, 28, 24, 4.0), 4: (156, 72, 100, 2.25)}
    for seed, (m, expected) in enumerate(published.items()):
        size: Any = m
        counts = winograd.winograd_counts(size)
        operations = (counts.data_flops, counts.filter_flops, counts.inverse_flops, counts.alpha)
        yield seed, np.array(operations), np.array(expected)


def _zeros(cases: int) -> Iterator[Case]:
    encoders: tuple[Callable[..., Any], ...] = (
        sparse_formats.encode_csr,
        sparse_formats.encode_csc,
        sparse_formats.encode_bitmask,
        sparse_formats.encode_rlc,
        partial(sparse_formats.encode_codebook, index_bits=8),
    )
    for seed in range(cases):
        rng = np.random.default_rng([5, seed])
        a = (_bytes(rng, "int8", 7, 40) * (rng.random((7, 40)) < 0.5)).astype(np.int8)
        w = (_bytes(rng, "int8", 40, 16) * (rng.random((40, 16)) < 0.3)).astype(np.int8)
        yield seed, sparse.gemm_sparse(a, encoders[seed % len(encoders)](w))[0], _wide(a, w)


def checks(cases: int = _CASES) -> Iterator[Check]:
    """Run every check on `cases` seeded cases."""
    own: dict[str, Iterator[Case]] = {}
    for isa in kernels.available():
        own[f"int8 GEMM, {isa}: numpy"] = _products(cases, isa)
        own[f"int8 convolution, {isa}: numpy"] = _convolutions(cases, isa)
    own["instruction sequences: numpy"] = _sequences(cases)
    own["Winograd, exact: direct convolution"] = _winograd(cases)
    own["Winograd operations: Lavin and Gray 2016"] = _published_counts(cases)
    own["zero-skipping formats: dense"] = _zeros(cases)
    vnni = "avx512vnni" in kernels.available()
    for name, run in own.items():
        yield _compare(name, run)
    for name, operator in OPERATORS.items():
        if name.startswith("onnxruntime") and not vnni:
            yield Check(name, 0, absent="onnxruntime saturates on a processor without VNNI")
        else:
            yield _compare(name, operator(cases))


def _compare(name: str, cases: Iterator[Case]) -> Check:
    number = 0
    try:
        for seed, ours, expected in cases:
            number += 1
            if ours.shape != expected.shape or not np.array_equal(ours, expected):
                where = np.argwhere(ours != expected)[0].tolist() if ours.shape == expected.shape else ours.shape
                return Check(name, number, differs=f"case {seed} differs at {where}")
    except ModuleNotFoundError as error:
        return Check(name, 0, absent=f"{error.name} is not installed")
    return Check(name, number)


def print_checks(console: Console) -> bool:
    """Print every check; whether all are equal."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("kernel: compared with", no_wrap=True)
    table.add_column("cases", justify="right")
    table.add_column("result", no_wrap=True)
    rows = []
    for check in checks():
        rows.append(check)
        result = check.differs or (f"not checked: {check.absent}" if check.absent else "equal")
        table.add_row(check.name, str(check.cases), result, style="red" if check.differs else "")
    console.print(table)
    return not any(check.differs for check in rows)
