"""A calibration as a machine file of kind ``cpu``, each number with how far its repeats lie apart."""

from __future__ import annotations

import json
from collections.abc import Iterator

from hwsim.calibration.library import LibraryFit
from hwsim.calibration.numbers import Number
from hwsim.calibration.rounds import Calibration

__all__ = ["machine_text", "size_text"]

LIBRARY = "onnxruntime-1.31"


def size_text(size: float) -> str:
    """Bytes in the largest binary (else decimal) unit of which they are a whole number."""
    for unit, power in (("MiB", 20), ("KiB", 10)):
        if size % 2**power == 0:
            return f"{int(size) >> power} {unit}"
    return f"{size / 1e6:.12g} MB" if size % 10**5 == 0 else f"{int(size)} B"


def _doubt(number: Number) -> str:
    return f"median {number.spread:.1%} from the best, quartiles {number.quartiles:.1%} apart"


def _memories(calibration: Calibration) -> Iterator[str]:
    """One line per level; without an L3, the last cache replaces it."""
    caches = calibration.host.caches
    number_of = {number.key: number for number in calibration.numbers if number.key}

    def line(level: str, size: int | None, cores: int, *keys: tuple[str, str]) -> str:
        parts = [f"size: {size_text(size)}"] if size else []
        doubts = []
        for key, source in keys:
            if source in number_of:
                parts.append(f"{key}: {number_of[source].text}")
                doubts.append(f"{key}: {_doubt(number_of[source])}")
        if cores and cores < calibration.host.cores:
            parts.append(f"cores: {cores}")
        return f"  {level}: {{{', '.join(parts)}}}" + (f"  # {'; '.join(doubts)}" if doubts else "")

    yield line("l1", caches[1].bytes, 0, ("load", "memories.l1.load"), ("store", "memories.l1.store"))
    yield line("l2", caches[2].bytes, 0, ("bandwidth", "memories.l2.bandwidth"))
    if 3 in caches:
        sharing = max(1, caches[3].shared // calibration.host.threads_per_core)
        keys = [(key, f"memories.l3.{key}") for key in ("core", "bandwidth", "latency", "kept")]
        yield line("l3", caches[3].bytes, sharing, *keys)
    else:
        keys = [("core", "memories.l2.bandwidth"), ("bandwidth", "memories.l2.bandwidth")]
        yield line("l3", caches[2].bytes, 0, *keys) + "  # there is none: the L2 again"
    alone = "memories.dram.core" if "memories.dram.bandwidth" not in number_of else "memories.dram.bandwidth"
    yield line(
        "dram", None, 0, ("core", "memories.dram.core"), ("bandwidth", alone), ("latency", "memories.dram.latency")
    )


def _costs(fit: LibraryFit) -> Iterator[str]:
    """Fitted constants of the library and their samples."""
    yield f"costs:  # cycles, of {fit.runtime} here instead of where the library's were fitted"
    for dtype, costs in fit.costs.items():
        yield f"  {dtype}: {{{', '.join(f'{name}: {cost:g}' for name, cost in costs.items())}}}"
    if fit.restart:
        yield f"  restart: {fit.restart:.4g}  # measured: a product of one row whose weights lie in no cache"
    yield "fitted:"
    for dtype, costs in fit.costs.items():
        what = f"{len(costs)} costs on {fit.operators[dtype]} single operators of {fit.runtime} here"
        error = f"their mean error is {fit.after[dtype]:.1%}, and {fit.before[dtype]:.1%} with the library's own"
        yield f"  costs.{dtype}: {json.dumps(f'{what}; {error}')}"


def machine_text(calibration: Calibration, fit: LibraryFit | None = None, name: str = "host") -> str:
    """The machine file, with the fitted constants of the library, if any."""
    host = calibration.host
    where = f"{host.processor}, {host.system}{', virtual machine' if host.virtual else ''}"
    clock = calibration.number("clocks.core")
    assert clock is not None  # every processor adds
    core, exact = host.core
    source = f"measured on {calibration.date.isoformat()}, {where}, instruction set {calibration.isa}"
    lines = [
        "kind: cpu",
        f"name: {json.dumps(name)}",
        f"description: {json.dumps(f'{host.processor}: {host.cores} cores, as hwsim calibrate measured it')}",
        f"source: {json.dumps(source)}",
        f"clocks: {{core: {clock.text}}}  # {clock.what}; {_doubt(clock)}",
        f"core: {core}" + ("" if exact else "  # nearest known core: unmeasured values are taken from it"),
        f"cores: {host.cores}",
        f"library: {LIBRARY}",
    ]
    if rates := [number for number in calibration.numbers if number.key.startswith("rates.")]:
        lines.append("rates:  # MACs a cycle of one core")
        lines += [f"  {one.key.removeprefix('rates.')}: {one.value:.4g}  # {one.what}; {_doubt(one)}" for one in rates]
    lines += ["memories:", *_memories(calibration)]
    lines += _costs(fit) if fit is not None else []
    numbers = [number for number in calibration.numbers if number.key]
    lines += ["spread:  # of each number above, the median over the best, less one"]
    lines += [f"  {number.key}: {number.spread:.4f}" for number in numbers]
    others = [number for number in calibration.numbers if not number.key]
    if others:
        lines += ["# Also measured; no key of this file takes them:"]
        lines += [f"#   {number.what}: {number.text} ({_doubt(number)})" for number in others]
    if calibration.notes:
        lines += ["# What to know:", *(f"#   {note}" for note in calibration.notes)]
    return "\n".join(lines) + "\n"
