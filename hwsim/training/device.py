"""The device that trains: what a recipe asks of its file, and the formats that it multiplies."""

from __future__ import annotations

import copy
from pathlib import Path

from hwsim.errors import InputError
from hwsim.machines import Cpu, Gpu, Machine, load_machine
from hwsim.machines.loader import read_machine
from hwsim.training.recipe import TrainingRecipe

__all__ = ["half_of", "trained_on"]

_KINDS = ("gpu", "cpu")
_WITHOUT_GRADIENTS = ("tensorrt", "cublas-7", "cublas-8")
_INFERENCE = ("graph", "loop", "steady")
"""Launch modes of inference, which machine files have."""


def trained_on(machine: str | Path | Machine, recipe: TrainingRecipe) -> Machine:
    """A machine with what a recipe asks of its file; InputError for a kind that trains nothing here."""
    if not isinstance(machine, Machine):
        machine = load_machine(machine)
    if machine.kind not in _KINDS:
        raise InputError(f"training must be on a GPU or a processor, and {machine.name} is of kind {machine.kind}")
    if machine.kind == "gpu" and getattr(machine.spec, "streams", 1) != 1:
        raise InputError(f"training must have one stream on {machine.name}")
    changes: dict[str, object] = {}
    if machine.kind == "gpu":
        if machine.library_name in _WITHOUT_GRADIENTS:
            changes["library"] = "cudnn-8"
        if getattr(machine.spec, "harness", "") in _INFERENCE:
            changes["harness"] = "training"
    if recipe.precision == "tf32":
        if machine.kind != "gpu":
            raise InputError(f"precision must be fp32 on {machine.name}: tf32 is of GPUs")
        changes["precision"] = "tf32"
    _check_formats(machine, recipe)
    if not changes:
        return machine
    document = copy.deepcopy(machine.document)
    document.override(changes)
    return read_machine(document, machine.folder)


def _check_formats(machine: Machine, recipe: TrainingRecipe) -> None:
    """Refuse a format that the machine does not multiply, where nothing would tell the times from those of another."""
    if recipe.half and not recipe.mixed:
        raise InputError(f"half must be of mixed precision: with precision {recipe.precision} leave {recipe.half} out")
    half = half_of(machine, recipe)
    if isinstance(machine, Gpu):
        units = machine.spec.sm.macs
        wanted = ("tf32", "precision") if recipe.precision == "tf32" else ("bf16", "half")
        if wanted[0] in (recipe.precision, half) and wanted[0] not in units:
            raise InputError(
                f"{wanted[1]} must be what {machine.name} multiplies ({', '.join(units)}), not {wanted[0]}"
            )
    elif isinstance(machine, Cpu) and recipe.mixed and half != machine.float_format:
        able = machine.float_format
        if able == "fp32":
            raise InputError(f"precision must be fp32 on {machine.name}: its library has no 16-bit products")
        raise InputError(f"half must be {able} on {machine.name}, not {half}")


def half_of(machine: Machine, recipe: TrainingRecipe) -> str:
    """The format of activations."""
    if not recipe.mixed:
        return "fp32"
    own = machine.float_format if isinstance(machine, Cpu) else "fp16"
    return recipe.half or ("fp16" if own == "fp32" else own)
