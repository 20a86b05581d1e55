"""Find models by name or path, and read them."""

from __future__ import annotations

from pathlib import Path

from hwsim.errors import InputError, excerpt, nearest
from hwsim.fields import check
from hwsim.files import read_text
from hwsim.workload.loader import library
from hwsim.workload.transformer.config import read_config
from hwsim.workload.transformer.model import LlmSpec
from hwsim.yaml_source import parse_yaml

__all__ = ["is_llm", "llm_names", "load_llm"]


def llm_names() -> list[str]:
    """Names of the models that come with hwsim, in alphabetical order."""
    return sorted(path.stem for path in (library("workloads") / "llm").glob("*.yaml"))


def load_llm(name_or_path: str | Path | LlmSpec) -> LlmSpec:
    """Read a model.

    Parameters
    ----------
    name_or_path : str, Path or LlmSpec
        A name in ``workloads/llm/``, a path to a ``.yaml`` of that form, or to a ``config.json`` of Hugging Face.

    Raises
    ------
    InputError
        For an unknown name, and for every fault of a file.
    """
    if isinstance(name_or_path, LlmSpec):
        return name_or_path
    if not isinstance(name_or_path, str | Path):
        raise InputError(f"a model must be a name or a path, not {excerpt(name_or_path)}")
    text, path = str(name_or_path), Path(name_or_path)
    if path.suffix.lower() == ".json":
        return read_config(path)
    if path.suffix.lower() in (".onnx", ".tflite"):
        raise InputError(
            f"must be a model by its sizes, or its config.json; `hwsim run` reads {path.suffix.lower()} files", text
        )
    if path.suffix.lower() not in (".yaml", ".yml"):
        if text not in llm_names():
            near = nearest(text, llm_names(), "`hwsim list llm` has all")
            raise InputError(f"must be a known model or a path to a .yaml or .json file, not {excerpt(text, 80)}{near}")
        path = library("workloads") / "llm" / f"{text}.yaml"
    return check(LlmSpec, parse_yaml(read_text(path), str(path)))


def is_llm(name_or_path: str | Path) -> bool:
    """Whether a name or path is a language model, and no network."""
    path = Path(name_or_path)
    if path.suffix.lower() == ".json":
        return True
    if path.suffix.lower() in (".yaml", ".yml"):
        try:
            data = parse_yaml(read_text(path), str(path)).data
        except (InputError, OSError):
            return False  # what reads it says why
        return isinstance(data, dict) and data.get("kind") == "llm"
    return str(name_or_path) in llm_names()
