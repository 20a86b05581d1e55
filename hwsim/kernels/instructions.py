"""The instruction sequences of the machines that hwsim models, bit for bit, on whole matrices.

Each `gemm_*` walks a register tile as the machine's own kernel does and returns the output it would compute, wrapped,
saturated or rounded where the instruction does so, with the instructions executed. ``native=True`` runs the real
instruction instead of its portable form where this processor has it. The module is long because it is a list: one
function an instruction, one a product, and what they share at the end.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import hwsim.kernels._instructions as _instructions
from hwsim.errors import InputError, excerpt
from hwsim.kernels.checks import require

__all__ = [
    "Executed",
    "InstructionCounts",
    "dp4a",
    "gemm_dp4a",
    "gemm_hmma",
    "gemm_imma",
    "gemm_pmaddubsw",
    "gemm_sdot",
    "gemm_smlad",
    "gemm_vpdpbusd",
    "has_native",
    "hmma_tile",
    "imma_tile",
    "sdot",
    "smlad",
    "sxtb16",
    "vpaddd",
    "vpdpbusd",
    "vpmaddubsw",
    "vpmaddwd",
]

Array = NDArray[Any]
Int32 = NDArray[np.int32]

IMMA_SHAPES = {"m8n8k16": (8, 8, 16), "m16n8k16": (16, 8, 16), "m16n8k32": (16, 8, 32)}
HMMA_SHAPES = {"m8n8k4": (8, 8, 4), "m16n8k8": (16, 8, 8), "m16n8k16": (16, 8, 16)}
MAX_EVENTS = 4096
"""Limit of the list of clipped sums; the counts include all."""


@dataclass(frozen=True, slots=True)
class InstructionCounts:
    """What a kernel executed.

    `instructions` counts by mnemonic; `loads` and `stores` are accesses to memory of any width, `load_bytes` and
    `store_bytes` what they move. `multiplies` and `adds` are the scalar operations in all lanes, lanes that only pad
    included.
    """

    instructions: dict[str, int]
    loads: int
    load_bytes: int
    stores: int
    store_bytes: int
    multiplies: int
    adds: int


@dataclass(frozen=True, slots=True)
class Executed:
    """Output and counts of one instruction sequence.

    `saturations` counts the 16-bit sums that ``vpmaddubsw`` clipped; `saturated` has how many fell on each output
    and `events` the first ones, a row (m, n, k) each, where k is the first product of the pair. `q` is the sticky flag
    of ``SMLAD`` for each output.
    """

    output: Array
    counts: InstructionCounts
    saturations: int = 0
    saturated: Int32 | None = None
    events: NDArray[np.int64] = field(default_factory=lambda: np.empty((0, 3), np.int64))
    q: NDArray[np.bool_] | None = None


def has_native(instruction: str) -> bool:
    """Whether this processor executes ``vpdpbusd`` or ``vpmaddubsw`` itself."""
    if instruction in ("vpdpbusd", "vpdpbusds"):
        return _instructions.has_vnni()
    return instruction in ("vpmaddubsw", "vpmaddwd", "vpaddd") and _instructions.has_avx2()


# --- single instructions on vectors -------------------------------------------------------------------------------


def vpdpbusd(acc: Array, a: Array, b: Array, *, saturate: bool = False) -> Int32:
    """Four products of unsigned `a` and signed `b` added to each 32-bit lane; ``vpdpbusds`` where `saturate`."""
    _as_type("a", a, (np.uint8,))
    _as_type("b", b, (np.int8,))
    return _dot4(acc, a, b, saturate)


def dp4a(acc: Array, a: Array, b: Array) -> Int32:
    """Four products added to each 32-bit lane, wrapping; the types of `a` and `b` set the signedness of each side."""
    return _dot4(acc, a, b, False)


def sdot(acc: Array, a: Array, b: Array) -> Int32:
    """NEON ``SDOT``: four signed products added to each 32-bit lane, wrapping."""
    _as_type("a", a, (np.int8,))
    _as_type("b", b, (np.int8,))
    return _dot4(acc, a, b, False)


def vpmaddubsw(a: Array, b: Array) -> NDArray[np.int16]:
    """Sums of two neighboring products of unsigned `a` and signed `b`, clipped to 16 bits."""
    _as_type("a", a, (np.uint8,))
    _as_type("b", b, (np.int8,))
    a, b = _lanes(a, b, 2)
    pairs = (a.astype(np.int32) * b.astype(np.int32)).reshape(*a.shape[:-1], -1, 2).sum(-1)
    pair_sums: NDArray[np.int16] = np.clip(pairs, -(2**15), 2**15 - 1).astype(np.int16)
    return pair_sums


def vpmaddwd(a: Array, b: Array) -> Int32:
    """Sums of two neighboring 16-bit products; only four times -32768 wraps."""
    _as_type("a", a, (np.int16,))
    _as_type("b", b, (np.int16,))
    a, b = _lanes(a, b, 2)
    return _wrap((a.astype(np.int64) * b.astype(np.int64)).reshape(*a.shape[:-1], -1, 2).sum(-1))


def vpaddd(a: Array, b: Array) -> Int32:
    """Sums of 32-bit lanes, wrapping."""
    _as_type("a", a, (np.int32,))
    _as_type("b", b, (np.int32,))
    a, b = _lanes(a, b, 1)
    return _wrap(a.astype(np.int64) + b.astype(np.int64))


def sxtb16(word: int, rotate: Literal[0, 8, 16, 24] = 0) -> int:
    """Cortex-M ``SXTB16``: bytes 0 and 2 of the rotated word, each extended to a halfword."""
    if not isinstance(rotate, int) or rotate not in (0, 8, 16, 24):
        raise InputError(f"rotate must be 0, 8, 16 or 24, got {excerpt(rotate)}")
    if not isinstance(word, (int, np.integer)) or not 0 <= word < 2**32:
        raise InputError(f"word must be an unsigned integer of 32 bits, got {excerpt(word)}")
    return _instructions.sxtb16(int(word), rotate)


def smlad(acc: Array, x: Array, y: Array) -> tuple[Int32, NDArray[np.bool_]]:
    """Cortex-M ``SMLAD``: both products of halfwords added to `acc`, wrapping; and the Q flag, set where it wrapped."""
    _as_type("acc", acc, (np.int32,))
    _as_type("x", x, (np.uint32,))
    _as_type("y", y, (np.uint32,))
    if not acc.shape == x.shape == y.shape:
        raise InputError(f"acc, x and y must have one shape, got {acc.shape}, {x.shape} and {y.shape}")
    out, q = acc.flatten(), np.zeros(acc.size, np.uint8)
    x, y = (np.require(words, requirements=("C", "A")) for words in (x, y))
    _instructions.smlad(x.ravel(), y.ravel(), out, q)
    return out.reshape(acc.shape), q.astype(bool).reshape(acc.shape)


# --- whole matrices ----------------------------------------------------------------------------------------------


def gemm_vpdpbusd(
    a: Array,
    b: Array,
    *,
    saturate: bool = False,
    lanes: Literal[4, 8, 16] = 16,
    tile: tuple[int, int] = (12, 2),
    native: bool = False,
) -> Executed:
    """Matrix product with ``vpdpbusd``, the AVX-VNNI and AVX512-VNNI instruction.

    Parameters
    ----------
    a : array of uint8 or int8, M x K
        Activations. Signed ones are moved up by 128 (one ``vpxord`` a word), and the accumulators start at
        ``-128 * sum(b)`` of their column to make up for it.
    b : array of int8, K x N
        Weights, packed so that the four products of a lane lie side by side.
    saturate : bool
        ``vpdpbusds``: each step clips to 32 bits instead of wrapping.
    lanes : 4, 8 or 16
        32-bit lanes of a register: xmm, ymm or zmm.
    tile : (rows, vectors)
        Accumulators held in registers.
    native : bool
        Execute the processor's own instruction (16 lanes).

    Returns
    -------
    Executed
        Output in int32, wrapped or clipped as the instruction does.
    """
    _matrices(a, (np.uint8, np.int8), b, (np.int8,))
    if native and not (lanes == 16 and _instructions.has_vnni()):
        raise InputError("native vpdpbusd must have 16 lanes and a processor with AVX512-VNNI")
    start = np.zeros(b.shape[1], np.int64)
    shift = a.dtype == np.int8
    if shift:
        a = _to_unsigned(a)
        start -= 128 * b.sum(0, dtype=np.int64)
    out, tally, outputs = _tiles(a, b, start, lanes, tile, (False, True), saturate, native)
    name = "vpdpbusds" if saturate else "vpdpbusd"
    instructions = {name: tally[0], "vmovdqu": tally[1], "vpbroadcastd": tally[2]}
    if shift:
        instructions["vpxord"] = tally[2]
    return Executed(out, _dot_counts(instructions, tally, lanes, outputs))


def gemm_pmaddubsw(
    a: Array, b: Array, *, tile: tuple[int, int] = (4, 2), native: bool = False, max_events: int = MAX_EVENTS
) -> Executed:
    """Matrix product as AVX2 did it before VNNI: ``vpmaddubsw``, ``vpmaddwd`` with ones, ``vpaddd``.

    Sums of two products are clipped to 16 bits, so large values give wrong outputs; the result lists them.
    Signed `a` is moved up by 128 as in `gemm_vpdpbusd`, which makes clipping likely.
    """
    _matrices(a, (np.uint8, np.int8), b, (np.int8,))
    if native and not _instructions.has_avx2():
        raise InputError("native vpmaddubsw must have a processor with AVX2")
    if not isinstance(max_events, (int, np.integer)) or not 0 <= max_events < 2**30:
        raise InputError(f"max_events must be zero or more, got {excerpt(max_events)}")
    max_events = int(max_events)
    _tile(tile)
    start = np.zeros(b.shape[1], np.int64)
    shift = a.dtype == np.int8
    if shift:
        a = _to_unsigned(a)
        start -= 128 * b.sum(0, dtype=np.int64)
    words, packed = _words(a), _packed(b, 8)
    vectors = len(packed)
    acc = _accumulators(start, len(a), vectors, 8)
    tally, where = np.zeros(6, np.int64), np.zeros((max_events, 3), np.int64)
    per_output = np.zeros((len(a), vectors * 8), np.int32)
    total = _instructions.gemm_pmaddubsw(words, packed, acc, *tile, native, where, per_output, tally)
    n = b.shape[1]
    counts = [int(t) for t in tally]
    instructions = {"vpmaddubsw": counts[0], "vpmaddwd": counts[0], "vpaddd": counts[0]}
    instructions |= {"vmovdqu": counts[1], "vpbroadcastd": counts[2]}
    if shift:
        instructions["vpxor"] = counts[2]
    outputs = len(a) * vectors
    lanes = counts[0] * 8  # each lane: four products, two sums of pairs, one of these, one to the accumulator
    totals = InstructionCounts(
        instructions, counts[1] + counts[2], 32 * counts[1] + 4 * counts[2], outputs, 32 * outputs, 4 * lanes, 4 * lanes
    )
    output = acc.reshape(len(a), len(packed) * acc.shape[2])[:, :n].copy()
    return Executed(output, totals, total, per_output[:, :n].copy(), where[: min(total, max_events)].copy())


def gemm_dp4a(a: Array, b: Array, *, tile: tuple[int, int] = (8, 8)) -> Executed:
    """Matrix product with ``dp4a`` of one GPU thread: 32-bit words of both sides, any mix of signs, wrapping.

    `tile` is the outputs that the thread keeps in registers.
    """
    _matrices(a, (np.uint8, np.int8), b, (np.uint8, np.int8))
    signs = (a.dtype == np.int8, b.dtype == np.int8)
    out, tally, outputs = _tiles(a, b, np.zeros(b.shape[1], np.int64), 1, tile, signs, False, False)
    return Executed(out, _dot_counts({"dp4a": tally[0], "ld.b32": tally[1] + tally[2]}, tally, 1, outputs))


def gemm_sdot(a: Array, b: Array, *, tile: tuple[int, int] = (8, 3)) -> Executed:
    """Matrix product with NEON ``SDOT`` by element: four lanes, wrapping.

    The words of `a` are loaded four to a register (``ldr q``), so they cost a quarter of the loads of a broadcast.
    """
    _matrices(a, (np.int8,), b, (np.int8,))
    out, tally, outputs = _tiles(a, b, np.zeros(b.shape[1], np.int64), 4, tile, (True, True), False, False)
    steps = -(-a.shape[1] // 4)
    quads = tally[2] // steps * -(-steps // 4) if steps else 0
    counts = _dot_counts({"sdot": tally[0], "ldr q": tally[1] + quads}, tally, 4, outputs)
    return Executed(out, replace(counts, loads=tally[1] + quads, load_bytes=16 * (tally[1] + quads)))


def gemm_smlad(
    a: Array, b: Array, *, offset: int = 0, start: Array | None = None, tile: tuple[int, int] = (2, 2)
) -> Executed:
    """Matrix product in the order of Cortex-M4 and M7: ``SXTB16`` of bytes 0 and 2, then of 1 and 3, and ``SMLAD``.

    Parameters
    ----------
    a, b : arrays of int8, M x K and K x N
    offset : int
        Added to each activation as it is extended (``SXTAB16``), the negated zero point of CMSIS-NN.
    start : array of int32, M x N or N, optional
        What the accumulators start at, the bias.
    tile : (rows, columns)
        Outputs held in registers; CMSIS-NN keeps 2 x 2.

    Returns
    -------
    Executed
        What is left of K over words of four is loaded byte by byte (``ldrsb``) and added with ``mla``. `q` tells where
        a sum wrapped in ``SMLAD``, even if a later one wrapped back.
    """
    _matrices(a, (np.int8,), b, (np.int8,))
    _tile(tile)
    if not isinstance(offset, (int, np.integer)) or not -(2**15) + 128 <= offset < 2**15 - 128:
        raise InputError(f"offset must keep the sum with a byte in 16 bits, got {excerpt(offset)}")
    m, k, n = len(a), a.shape[1], b.shape[1]
    acc = np.zeros((m, n), np.int32)
    if start is not None:
        _as_type("start", start, (np.int32,))
        if start.shape not in ((n,), (m, n)):
            raise InputError(f"start must have shape ({n},) or ({m}, {n}), got {start.shape}")
        acc += start
    q, tally = np.zeros((m, n), np.uint8), np.zeros(6, np.int64)
    _instructions.gemm_smlad(a, np.ascontiguousarray(b.T), acc, q, offset, *tile, tally)
    t = [int(x) for x in tally]
    words, rest = t[1] + t[2], t[4] + t[5]
    instructions = {
        "ldr": words,
        "sxtb16": 2 * t[1] + (0 if offset else 2 * t[2]),
        "sxtab16": 2 * t[2] if offset else 0,
    }
    instructions |= {"smlad": t[0], "ldrsb": rest, "mla": t[3]}
    macs = 2 * t[0] + t[3]
    counts = InstructionCounts(instructions, words + rest, 4 * words + rest, m * n, 4 * m * n, macs, macs)
    assert macs == m * n * k, "every product is taken once"
    return Executed(acc, counts, q=q.astype(bool))


def gemm_imma(
    a: Array,
    b: Array,
    c: Array | None = None,
    *,
    shape: Literal["m8n8k16", "m16n8k16", "m16n8k32"] = "m16n8k32",
    saturate: bool = False,
) -> Executed:
    """Matrix product on int8 tensor cores: exact products, int32 accumulation that wraps.

    With `saturate` (``.satfinite``) each instruction clips instead. Matrices are padded with zeros to whole tiles. A
    warp holds its accumulators and loads the fragments of `a` and `b` anew for each tile, in 32-bit registers.
    """
    _matrices(a, (np.uint8, np.int8), b, (np.uint8, np.int8))
    rows, columns, step = _shape(shape, IMMA_SHAPES)
    acc = _start(c, (len(a), b.shape[1]), np.int32)
    _instructions.gemm_imma(
        a.astype(np.int16, order="C"), np.ascontiguousarray(b.T).astype(np.int16), acc, step, saturate
    )
    return Executed(acc, _mma_counts(f"imma.{shape}", a.shape, b.shape[1], (rows, columns, step), 1))


def gemm_hmma(
    a: Array,
    b: Array,
    c: Array | None = None,
    *,
    shape: Literal["m8n8k4", "m16n8k8", "m16n8k16"] = "m16n8k16",
    block: int = 4,
    rounding: Literal["nearest", "truncate"] = "nearest",
    extra_bits: int = 0,
) -> Executed:
    """Matrix product on fp16 tensor cores: exact products, accumulation in fp32, `block` products a time along K.

    Parameters
    ----------
    a, b : arrays of float16, M x K and K x N
    c : array of float32, M x N, optional
    shape : str
        The instruction, which the counts are in; `block` must divide its k.
    block : int
        Products that are summed before they meet the accumulator.
    rounding : "nearest" or "truncate"
        ``nearest`` adds the products of a block in order, ``((p0 + p1) + p2) + p3``, then the block to the accumulator;
        every sum is rounded to nearest even. ``truncate`` shifts the products of a block and the accumulator to the
        largest exponent among them (a product's is the sum of its factors', before it is normalized), cuts each to
        ``23 + extra_bits`` fraction bits, adds exactly, and cuts the sum to fp32. That is the form in which the
        literature describes the units: blocks of 4 without extra bits on Volta, longer ones with more bits since. It is
        a model: no vendor documents the order.
    extra_bits : int
        For ``truncate``, at most 24.
    """
    _matrices(a, (np.float16,), b, (np.float16,))
    rows, columns, step = _shape(shape, HMMA_SHAPES)
    if not isinstance(block, (int, np.integer)) or block < 1 or step % block:
        raise InputError(f"block must divide the {step} products of {shape}, got {excerpt(block)}")
    if not isinstance(rounding, str) or rounding not in ("nearest", "truncate"):
        raise InputError(f"rounding must be 'nearest' or 'truncate', got {excerpt(rounding)}")
    if not isinstance(extra_bits, (int, np.integer)) or not 0 <= extra_bits <= 24:
        raise InputError(f"extra_bits must be 0 to 24, got {excerpt(extra_bits)}")
    acc = _start(c, (len(a), b.shape[1]), np.float32)
    wide_a, wide_b = a.astype(np.float32, order="C"), np.ascontiguousarray(b.T).astype(np.float32)
    _instructions.gemm_hmma(wide_a, wide_b, acc, block, rounding == "truncate", extra_bits)
    return Executed(acc, _mma_counts(f"hmma.{shape}", a.shape, b.shape[1], (rows, columns, step), 2))


def imma_tile(a: Array, b: Array, c: Array, *, shape: str = "m16n8k32", saturate: bool = False) -> Int32:
    """One int8 ``mma``: ``a @ b + c`` of exactly that shape."""
    rows, columns, step = _shape(shape, IMMA_SHAPES)
    _exact(a, (rows, step), b, (step, columns))
    output: Int32 = gemm_imma(a, b, c, shape=shape, saturate=saturate).output  # type: ignore[arg-type]
    return output


def hmma_tile(
    a: Array,
    b: Array,
    c: Array,
    *,
    shape: str = "m16n8k16",
    block: int = 4,
    rounding: Literal["nearest", "truncate"] = "nearest",
    extra_bits: int = 0,
) -> NDArray[np.float32]:
    """One fp16 ``mma`` with fp32 accumulation: ``a @ b + c`` of exactly that shape, rounded as in `gemm_hmma`."""
    rows, columns, step = _shape(shape, HMMA_SHAPES)
    _exact(a, (rows, step), b, (step, columns))
    options: dict[str, Any] = {"shape": shape, "block": block, "rounding": rounding, "extra_bits": extra_bits}
    output: NDArray[np.float32] = gemm_hmma(a, b, c, **options).output
    return output


# --- shared helpers ----------------------------------------------------------------------------------------------


def _tiles(
    a: Array,
    b: Array,
    start: NDArray[np.int64],
    lanes: int,
    tile: tuple[int, int],
    signs: tuple[bool, bool],
    saturate: bool,
    native: bool,
) -> tuple[Int32, list[int], int]:
    """Run a four-way dot product over register tiles: output, tally, vectors of outputs."""
    _tile(tile)
    if type(lanes) is not int or lanes not in (1, 4, 8, 16):
        raise InputError(f"lanes must be 4, 8 or 16, got {excerpt(lanes)}")
    packed = _packed(b, lanes)
    acc = _accumulators(start, len(a), len(packed), lanes)
    tally = np.zeros(6, np.int64)
    _instructions.gemm_dot4(_words(a), packed, acc, *tile, *signs, saturate, native, tally)
    output = acc.reshape(len(a), len(packed) * lanes)[:, : b.shape[1]].copy()
    return output, [int(t) for t in tally], len(a) * len(packed)


def _dot_counts(instructions: dict[str, int], tally: list[int], lanes: int, outputs: int) -> InstructionCounts:
    """Counts of a four-way dot product into `outputs` vectors: a tally is of instructions, vectors of b, words of a."""
    products = 4 * lanes * tally[0]
    loads, load_bytes = tally[1] + tally[2], 4 * lanes * tally[1] + 4 * tally[2]
    return InstructionCounts(instructions, loads, load_bytes, outputs, 4 * lanes * outputs, products, products)


def _words(a: Array) -> NDArray[np.uint8]:
    """Rows of whole 32-bit words, padded with zeros."""
    return np.pad(a.view(np.uint8), ((0, 0), (0, -a.shape[1] % 4)))


def _packed(b: Array, lanes: int) -> NDArray[np.uint8]:
    """K x N as vectors of `lanes` words of four values of K: [vector, K / 4, lane, 4], padded with zeros."""
    k, n = b.shape
    whole = np.pad(b.view(np.uint8), ((0, -k % 4), (0, -n % lanes)))
    return np.ascontiguousarray(whole.reshape(-(-k // 4), 4, -(-n // lanes), lanes).transpose(2, 0, 3, 1))


def _accumulators(start: NDArray[np.int64], rows: int, vectors: int, lanes: int) -> Int32:
    """Accumulators of every output, each vector whole."""
    row = np.zeros(vectors * lanes, np.int64)
    row[: start.size] = start
    return np.tile(_wrap(row), (rows, 1)).reshape(rows, vectors, lanes)


def _mma_counts(
    name: str, a_shape: tuple[int, ...], n: int, shape: tuple[int, int, int], value_bytes: int
) -> InstructionCounts:
    """Counts of tensor-core tiles, in instructions of a warp; fragments are 32 lanes of 4 bytes."""
    (m, k), (rows, columns, step) = a_shape, shape
    outputs = -(-m // rows) * -(-n // columns)
    tiles = outputs * -(-k // step)
    a_bytes, b_bytes, c_bytes = rows * step * value_bytes, step * columns * value_bytes, 4 * rows * columns
    loads, stores = tiles * (-(-a_bytes // 128) + -(-b_bytes // 128)), outputs * (c_bytes // 128)
    macs = tiles * rows * columns * step
    instructions = {name: tiles, "ld.b32": loads}
    return InstructionCounts(instructions, loads, tiles * (a_bytes + b_bytes), stores, outputs * c_bytes, macs, macs)


def _dot4(acc: Array, a: Array, b: Array, saturate: bool) -> Int32:
    """Lanes of four bytes, exactly, then wrapped or clipped."""
    _as_type("acc", acc, (np.int32,))
    _as_type("a", a, (np.uint8, np.int8))
    _as_type("b", b, (np.uint8, np.int8))
    a, b = _lanes(a, b, 4)
    if acc.shape != (*a.shape[:-1], a.shape[-1] // 4):
        raise InputError(f"acc must have one lane for four bytes of a, {a.shape}, not shape {acc.shape}")
    total = acc + (a.astype(np.int64) * b.astype(np.int64)).reshape(*acc.shape, 4).sum(-1)
    return np.clip(total, -(2**31), 2**31 - 1).astype(np.int32) if saturate else _wrap(total)


def _wrap(x: Array) -> Int32:
    """The low 32 bits."""
    return x.astype(np.int64).astype(np.uint64).astype(np.uint32).view(np.int32)


def _to_unsigned(a: Array) -> NDArray[np.uint8]:
    """Signed bytes plus 128: the top bit inverted."""
    return a.view(np.uint8) ^ np.uint8(0x80)


def _as_type(name: str, argument: object, types: Iterable[type[np.generic]]) -> None:
    """Raise unless an argument is an array of one of some types."""
    names = " or ".join(np.dtype(t).name for t in types)
    if not isinstance(argument, np.ndarray) or isinstance(argument, (np.matrix, np.ma.MaskedArray)):
        raise InputError(f"{name} must be an array of {names}, got {type(argument).__name__}")
    if argument.dtype not in [np.dtype(t) for t in types]:
        raise InputError(f"{name} must be of type {names}, got {argument.dtype}")


def _lanes(a: Array, b: Array, group: int) -> tuple[Array, Array]:
    """Hold that two vectors match and consist of whole lanes."""
    if a.shape != b.shape or not a.ndim or a.shape[-1] % group:
        raise InputError(f"a and b must have one shape, a multiple of {group} last, got {a.shape} and {b.shape}")
    return a, b


def _matrices(a: Array, a_types: tuple[type[np.generic], ...], b: Array, b_types: tuple[type[np.generic], ...]) -> None:
    """Raise unless two matrices can be multiplied in their memory layout."""
    for name, argument, types in (("a", a, a_types), ("b", b, b_types)):
        rule = f"must be a C-contiguous 2-D array of {' or '.join(np.dtype(t).name for t in types)}"
        if not isinstance(argument, np.ndarray) or isinstance(argument, (np.matrix, np.ma.MaskedArray)):
            raise InputError(f"{rule}, got {type(argument).__name__}", path=name)
        require(
            argument.dtype in [np.dtype(t) for t in types], name, f"{rule}, got {argument.dtype} ({argument.dtype.str})"
        )
        require(argument.ndim == 2, name, f"{rule}, got shape {argument.shape}")
        require(argument.flags.c_contiguous, name, f"{rule}, got strides {argument.strides} for shape {argument.shape}")
    if a.shape[1] != b.shape[0]:
        raise InputError(f"a must have as many columns as b has rows, got shapes {a.shape} and {b.shape}")


def _tile(tile: tuple[int, int]) -> None:
    """Hold that a register tile has outputs."""
    two = isinstance(tile, (tuple, list)) and len(tile) == 2
    if not two or not all(isinstance(size, (int, np.integer)) and 1 <= size < 2**31 for size in tile):
        raise InputError(f"tile must be two numbers of 1 or more, got {excerpt(tile)}")


def _shape(shape: str, shapes: dict[str, tuple[int, int, int]]) -> tuple[int, int, int]:
    """Rows, columns and products of an mma instruction."""
    if not isinstance(shape, str) or shape not in shapes:
        raise InputError(f"shape must be one of {', '.join(shapes)}, got {excerpt(shape)}")
    return shapes[shape]


def _exact(a: Array, a_shape: tuple[int, int], b: Array, b_shape: tuple[int, int]) -> None:
    """Hold that a tile has the shape of its instruction."""
    if a.shape != a_shape or b.shape != b_shape:
        raise InputError(f"a and b must have shapes {a_shape} and {b_shape}, got {a.shape} and {b.shape}")


def _start(c: Array | None, shape: tuple[int, int], dtype: type[np.generic]) -> Array:
    """Accumulators that start at `c` or at zero."""
    if c is None:
        return np.zeros(shape, dtype)
    _as_type("c", c, (dtype,))
    if c.shape != shape:
        raise InputError(f"c must have shape {shape}, got {c.shape}")
    return np.array(c, order="C")
