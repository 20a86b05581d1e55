"""A measured device as a machine file of kind ``gpu``: data sheet and fitted constants."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwsim.calibration.gpu.fit import Fit, errors, fit, machine_with
from hwsim.calibration.gpu.rounds import GpuMeasurement, Product
from hwsim.calibration.gpu.sheet import Sheet
from hwsim.errors import InputError
from hwsim.fields import check
from hwsim.machines.registry import kinds
from hwsim.yaml_source import parse_yaml

__all__ = ["MachineFile", "gpu_text"]


@dataclass(frozen=True)
class MachineFile:
    """A machine file, its fitted constants, and lines on its accuracy."""

    text: str
    fits: tuple[Fit, ...]
    lines: tuple[str, ...]


def _own(measurement: GpuMeasurement, dtype: str | None) -> list[Product]:
    return [one for one in measurement.products if one.dtype == dtype]


def gpu_text(measurement: GpuMeasurement, name: str = "cuda", source: str = "") -> MachineFile:
    """The machine file of a measured device; constants are fitted on the way.

    Parameters
    ----------
    found : Measured
        What was timed.
    name : str
        Of the machine.
    source : str
        Where the timings are from, if not from a device that was just measured.
    """
    sheet = Sheet(measurement, name, source)
    head = sheet.head()
    document = parse_yaml("\n".join(head) + "\n", "calibration")
    check(kinds()["gpu"].spec_class, document)
    document.override({key: value for key, (value, _) in sheet.shares.items()})
    dtype = measurement.tensor_type
    # On Pascal the CUDA cores multiply 16 bits too.
    unit = sheet.kin.timer.unit(dtype).instruction.unit if dtype and sheet.kin.timer.unit(dtype) else "cuda"
    empty = measurement.empty.get("graph" if measurement.properties.graphs else "stream")
    empty_s = empty.least_ns * 1e-9 if empty else 0.0
    fits: list[Fit] = []
    for one, where, floor in ((dtype, unit, True), ("fp32", "cuda", dtype is None)):
        if one is None or (one == "fp32" and fits and where == unit):
            continue
        result = fit(document, _own(measurement, one), where, floor, empty_s)
        if result is None:
            sheet.notes.append(f"too few {one} GEMMs were timed: the {where} constants of the generation are used")
            continue
        document = machine_with(document, result.values).document
        fits.append(result)
    lines = [*head, *_constants(sheet, fits), *_closing(sheet, fits)]
    remarks = [_fit_line(result) for result in fits] + list(_elsewhere(document, measurement, fits))
    comments = [f"#   {line}" for line in (*sheet.rates(), *sheet.streams(), *remarks)]
    lines += ["# Measured, and how far it can be trusted:", *comments]
    if sheet.notes:
        lines += ["# What to know:", *(f"#   {note}" for note in sheet.notes)]
    text = "\n".join(lines) + "\n"
    return MachineFile(
        text, tuple(fits), (*(line[4:] for line in comments), *(f"note: {note}" for note in sheet.notes))
    )


def _constants(sheet: Sheet, fits: list[Fit]) -> Iterator[str]:
    fits_by_key = {key: (value, one) for one in fits for key, value in one.values.items()}
    if "launch" in fits_by_key:
        value, one = fits_by_key["launch"]
        yield f"launch: {value * 1e6:.4g} us  # fitted; {_trust(one, 'launch')}"
    units: dict[str, list[str]] = {}
    for key, (value, doubt) in sheet.shares.items():
        if key not in fits_by_key:
            units.setdefault(key.split(".")[1], []).append(f"    {key.split('.')[2]}: {value:g}  # {doubt}")
    for key, (value, one) in fits_by_key.items():
        if key != "launch":
            units.setdefault(key.split(".")[1], []).append(
                f"    {key.split('.')[2]}: {value:g}  # fitted; {_trust(one, key)}"
            )
    if units:
        yield "constants:  # over those of the generation"
        for unit, lines in units.items():
            yield f"  {unit}:"
            yield from lines


def _trust(one: Fit, key: str) -> str:
    if key not in one.spread:
        return "too few GEMMs to estimate its stability"
    return f"it changes {one.spread[key]:.1%} when a fifth of the GEMMs is left out"


def _fit_line(one: Fit) -> str:
    names = ", ".join(key.rpartition(".")[2] for key in one.values)
    return (
        f"{names} fitted on {one.products} {one.dtype} products; their mean error is {one.after:.1%}, "
        f"and {one.before:.1%} with the generation's own"
    )


def _elsewhere(document: Any, measurement: GpuMeasurement, fits: list[Fit]) -> Iterator[str]:
    """Mean errors of types that nothing was fitted on."""
    machine = machine_with(document, {})
    fits_by_key = {one.dtype for one in fits}
    for dtype in dict.fromkeys(one.dtype for one in measurement.products):
        if dtype in fits_by_key:
            continue
        own = _own(measurement, dtype)
        try:
            error = float(np.mean(errors(machine, own)))
        except InputError:  # the library has no kernels for it
            continue
        yield f"{dtype}, with nothing fitted: predicted {error:+.1%} off in {len(own)} product{'s' * (len(own) > 1)}"


def _closing(sheet: Sheet, fits: list[Fit]) -> Iterator[str]:
    spread = sheet.spread | {key: value for one in fits for key, value in one.spread.items()}
    if spread:
        yield "spread:  # of each number above: the median over the best, less one, or how far it moves between refits"
        yield from (f"  {key}: {value:.4f}" for key, value in spread.items())
    if fits:
        yield "fitted:"
        for one in fits:
            what = f"{one.products} {one.dtype} products of {sheet.device.name}"
            yield from (f"  {key}: {json.dumps(what)}" for key in one.values)
