"""What a step leaves out or does not do, as notes for the user."""

from __future__ import annotations

from hwsim.machines import Gpu, Machine
from hwsim.message import Message
from hwsim.training.recipe import TrainingRecipe
from hwsim.workload import Layer, Workload
from hwsim.workload.product import Product

__all__ = ["tensor_layout", "training_notes"]

_FLOATS = ("fp32", "tf32", "fp16", "bf16", "fp64")


def tensor_layout(machine: Machine, recipe: TrainingRecipe, half: str) -> bool:
    """Whether products of a recipe run on tensor cores, which take images as nhwc."""
    if not isinstance(machine, Gpu) or recipe.precision == "fp32":
        return False
    name = "tf32" if recipe.precision == "tf32" else half
    instructions = machine.timer.generation.instructions
    return name in machine.spec.sm.macs and name in instructions and instructions[name].unit == "tensor"


def training_notes(machine: Machine, network: Workload, recipe: TrainingRecipe, half: str) -> tuple[Message, ...]:
    """The notes of a network, as it comes, on a machine with what it multiplies.

    Parameters
    ----------
    machine : Machine
    network : Workload
        With the formats and zeros that its file gives.
    recipe : TrainingRecipe
    half : str
        The format of activations.
    """
    notes: list[Message] = []
    if network.missing is not None:
        notes.append(network.missing.message())
    if sparse := [layer.name for layer in network if layer.weights and _sparse(layer)]:
        template = "{count:count layer} whose weights have zeros or codes: all passes, gradients and updates are dense"
        notes.append(Message("training.dense", template, {"count": len(sparse)}, layers=tuple(sparse)))
    usual = _FLOATS if network.digest else (*_FLOATS, "int8")  # a trace that gives no format has int8
    if formats := sorted({layer.weight.dtype for layer in network if layer.weights} - set(usual)):
        values = {"formats": formats, "dtype": half}
        notes.append(Message("training.quantized", "trained in {dtype}, not in {formats} of the network", values))
    if recipe.mixed and isinstance(machine, Gpu) and half not in machine.spec.sm.macs:
        template = "{machine} multiplies no {half}: mixed precision halves the bytes, products are of fp32"
        notes.append(Message("training.no_half", template, {"machine": machine.name, "half": half}))
    if recipe.layout == "nchw":
        convolutions = any(isinstance(x := layer.lower(1), Product) and x.geometry is not None for layer in network)
        why = "" if convolutions else "the network has no convolutions"
        if not tensor_layout(machine, recipe, half):
            why = f"{recipe.precision} on {machine.name} uses no tensor cores"
        if why:
            notes.append(Message("training.layout", "layout nchw changes nothing: {why}", {"why": why}))
    return tuple(notes)


def _sparse(layer: Layer) -> bool:
    spec = layer.weight.spec
    return spec.density < 1 or spec.coding is not None
