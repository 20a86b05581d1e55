"""`hwsim.llm`: latency, tokens a second, memory and energy of a served model as a table."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from hwsim.errors import InputError, excerpt
from hwsim.lazy import lazy
from hwsim.machines import Machine, load_machine
from hwsim.machines.loader import read_machine
from hwsim.serving.memory import ServedMemory
from hwsim.serving.served import Served, ServedPoint
from hwsim.workload.transformer import Formats, LlmSpec, load_llm

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = lazy("pandas")

__all__ = ["formats_on", "llm", "table_of", "with_library"]

_DEFAULT = "tensorrt-llm"
_OF = "tensorrt"
"""The library of networks in whose place it serves models."""


def with_library(machine: str | Path | Machine, library: str = "") -> Machine:
    """A machine with the library that serves models: the one named, else TensorRT-LLM in place of TensorRT."""
    if not isinstance(machine, Machine):
        machine = load_machine(machine)
    if not library:
        if machine.library_name != _OF or _DEFAULT not in machine.libraries():
            return machine
        library = _DEFAULT
    if machine.library_name == library:
        return machine
    if "library" not in type(machine.spec).model_fields:
        raise InputError(f"{machine.name} has no library to choose: leave library out")
    document = copy.deepcopy(machine.document)
    document.override({"library": library})
    return read_machine(document, machine.folder)


def formats_on(machine: Machine, weights: str = "", kv: str = "", activations: str = "") -> Formats:
    """Formats with those of the machine, and of its library, where none are given."""
    half = machine.float_format
    if machine.serving is not None:
        kv = kv or machine.serving.caches.get(weights, "")
    return Formats(weights or activations or half, kv, activations or ("" if weights in ("fp16", "fp32") else half))


def llm(
    machine: str | Path | Machine,
    model: str | Path | LlmSpec,
    *,
    weights: str = "",
    kv: str = "",
    activations: str = "",
    tp: int = 1,
    input: int = 1024,
    output: int = 256,
    concurrency: int | Iterable[int] = 1,
    library: str = "",
) -> pd.DataFrame:
    """Serve a decoder transformer: what users wait for and what it costs, by concurrency.

    Parameters
    ----------
    machine : Machine, str or Path
        Or its name or file.
    model : str, Path or LlmSpec
        A name in ``workloads/llm``, a YAML file, or a ``config.json`` of Hugging Face.
    weights : str
        ``bf16``, ``fp16``, ``fp32``, ``fp8`` and ``w8a8`` (activations too), ``int8`` and ``int4`` (weights alone).
        Default: ``bf16``, or ``fp16`` on a GPU without it.
    kv, activations : str
        Formats of the cache and between layers.
    tp : int
        Devices that share each block.
    input, output : int
        Tokens of a prompt and of an answer.
    concurrency : int or iterable of int
        Requests at a time.
    library : str
        ``tensorrt-llm``, ``vllm`` or ``sglang`` on a GPU.

    Returns
    -------
    DataFrame
        A row for each concurrency with the fields of `hwsim.serving.ServedPoint`, the ``sequences`` that fit, and the
        ``sequence_bytes`` of their keys and values.

    Raises
    ------
    InputError
        For an unknown model or format, or ranks that do not divide the model.
    """
    values = [concurrency] if not isinstance(concurrency, Iterable) else list(concurrency)
    if not values:
        raise InputError(f"concurrency must be a number or several, not {excerpt(concurrency)}")
    device = with_library(machine, library)
    served = Served(device, load_llm(model), formats_on(device, weights, kv, activations), tp)
    points = [served.at(value, input, output) for value in values]
    return table_of(points, served.memory(input + output, served.prefill(input)))


def table_of(points: Sequence[ServedPoint], memory: ServedMemory) -> pd.DataFrame:
    """A row for each point, with what a sequence takes of the memory and how many fit."""
    more = {"sequences": memory.sequences, "sequence_bytes": memory.sequence_bytes}
    return pd.DataFrame([asdict(point) | more for point in points])
