"""Find workloads by name or path, and read them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from os.path import isfile
from pathlib import Path
from typing import Protocol

import hwsim
from hwsim.errors import Fault, HwsimWarning, InputError, excerpt, items_of, nearest
from hwsim.files import read_text
from hwsim.message import Message, sentence
from hwsim.workload.network import Workload
from hwsim.workload.sheet import read_sheet_text
from hwsim.workload.table import read_table
from hwsim.workload.trace import read_trace
from hwsim.yaml_source import Document, parse_yaml

__all__ = [
    "ModelFile", "check_no_timeloop", "check_suffix", "library", "load_workload", "read_model", "trace_document",
    "workload_names",
]  # fmt: skip

MAX_BASES = 8
_MODELS = (".onnx", ".tflite")
_TRACES = (".yaml", ".yml", ".csv")
_SUFFIXES = (*_TRACES, *_MODELS)
_SHEETS = (".xlsx", ".xls", ".xlsm", ".ods", ".tsv", ".tab", ".txt")
#: Keys of the files of Timeloop, which hwsim has none of.
_TIMELOOP = ("problem", "architecture", "mapping", "ERT", "ERT_summary", "sparse_optimizations")


def library(folder: str) -> Path:
    """A data folder of the package; in the source tree it lies next to the package."""
    package = Path(hwsim.__file__).parent
    inside = package / folder
    return inside if inside.is_dir() else package.parent / folder


def _workload_paths(search: Iterable[Path | str]) -> dict[str, Path]:
    """Paths of workloads by name, in the search folders and then in the package; the first of a name wins."""
    paths: dict[str, Path] = {}
    for folder in [*map(Path, search), library("workloads")]:
        try:
            files = sorted(path for path in folder.iterdir() if path.suffix in (".yaml", ".csv"))
        except OSError:
            continue
        for path in reversed(files):  # a YAML file comes before a CSV file of the same name
            paths.setdefault(path.name.removesuffix(path.suffix), path)
    return paths


def workload_names(search: Iterable[Path | str] = ()) -> list[str]:
    """Names that `load_workload` knows, in alphabetical order."""
    return sorted(_workload_paths(search))


def load_workload(
    name_or_path: str | Path,
    search: Iterable[Path | str] = (),
    *,
    shape: Mapping[str, int | Sequence[int]] | None = None,
    allow_missing: bool = False,
) -> Workload:
    """Read a workload.

    Parameters
    ----------
    name_or_path : str or Path
        A name in ``workloads/``, or a path to a ``.yaml``, ``.csv``, ``.onnx`` or ``.tflite`` file.
    search : paths, optional
        Folders to look for the name in before the package's own.
    shape : mapping, optional
        Of an ``.onnx`` or ``.tflite`` file: shapes by the name of an input, as ``{"ids": (1, 128)}``; of an ``.onnx``
        file also sizes by the name of a symbolic dimension, as ``{"batch": 1, "sequence": 128}``.
    allow_missing : bool
        Read a model file too if operators with stored weights, or more than half of it, are in no layer.

    Raises
    ------
    InputError
        For an unknown name, and for every fault of a file with its place.
    """
    if not isinstance(name_or_path, str | Path):
        raise InputError(f"a workload must be a name or a path, not {excerpt(name_or_path)}")
    folders = items_of(search)
    if folders is None or not all(isinstance(folder, str | Path) for folder in folders):
        raise InputError(f"search must be a list of folders, not {excerpt(search)}")
    if shape is not None and not isinstance(shape, Mapping):
        raise InputError(f"shape must be sizes by name, as {{'batch': 1}}, not {excerpt(shape)}")
    if Path(str(name_or_path)).suffix.lower() in _MODELS:
        return _model(Path(name_or_path), shape, allow_missing)
    _no_shape(shape, name_or_path)
    return _load(name_or_path, [Path(folder) for folder in folders], ())


class ModelFile(Protocol):
    """The result of a reader of model files."""

    @property
    def workload(self) -> Workload:
        """The network."""

    @property
    def warnings(self) -> tuple[Message, ...]:
        """Parts of the file that were not imported."""


def read_model(
    path: str | Path,
    name: str = "",
    *,
    shape: Mapping[str, int | Sequence[int]] | None = None,
    allow_missing: bool = False,
) -> ModelFile:
    """Read an ``.onnx`` or ``.tflite`` file: the network with its metadata."""
    path = Path(path)
    check_suffix(path, _MODELS)
    if path.suffix.lower() == ".onnx":
        from hwsim.workload import onnx

        return onnx.read_model(path, name, shape=shape, allow_missing=allow_missing)
    from hwsim.workload import tflite

    return tflite.read_model(path, name, shape=shape, allow_missing=allow_missing)


def check_suffix(path: Path, suffixes: Sequence[str]) -> None:
    """Refuse a file whose name has another suffix; of a table that a spreadsheet writes, say how to save it."""
    suffix = path.suffix.lower()
    if suffix not in suffixes:
        hint = "; save the table as CSV" if suffix in _SHEETS else ""
        allowed = f"{', '.join(suffixes[:-1])} or {suffixes[-1]}"
        raise InputError(f"must be a {allowed} file, not {suffix or 'one with no suffix'!r}{hint}", str(path))


def check_no_timeloop(document: Document) -> None:
    """Refuse a file of Timeloop in the place of one of hwsim's own."""
    data = document.data
    if (
        isinstance(data, dict)
        and not {"kind", "base", "layers"} & data.keys()
        and any(key in data for key in _TIMELOOP)
    ):
        message = f"is a file of Timeloop: `hwsim import {document.name} -o FILE.yaml` makes a file that hwsim runs"
        raise InputError(message, document.name)


def _model(path: Path, shape: Mapping[str, int | Sequence[int]] | None = None, allow_missing: bool = False) -> Workload:
    model = read_model(path, shape=shape, allow_missing=allow_missing)
    for warning in model.warnings:
        warnings.warn(f"{path}: {sentence(warning)}", HwsimWarning, stacklevel=3)
    return model.workload


def _no_shape(shape: object, path: str | Path) -> None:
    if shape:
        raise InputError("shape can be given for .onnx and .tflite files alone, which may leave sizes open", str(path))


def trace_document(name_or_path: str | Path) -> tuple[Document, Callable[[str], Workload]] | None:
    """The document that `read_trace` takes, to change a key first; None if the workload is not a YAML file."""
    path = Path(name_or_path)
    if path.suffix.lower() not in (".yaml", ".yml"):
        paths = _workload_paths(())
        if str(name_or_path) not in paths or paths[str(name_or_path)].suffix != ".yaml":
            return None
        path = paths[str(name_or_path)]
    return parse_yaml(read_text(path), str(path)), lambda base: _load(base, [path.parent], (path.resolve(),))


def _load(name_or_path: str | Path, search: list[Path], bases: tuple[Path, ...]) -> Workload:
    text = str(name_or_path)
    path = Path(text)
    suffix = path.suffix.lower()
    if isinstance(name_or_path, Path) or suffix in _SUFFIXES or "/" in text or "\\" in text:
        check_suffix(path, _SUFFIXES)
        if bases:
            path = search[0] / path
    else:
        paths = _workload_paths(search)
        if text not in paths:
            if isfile(text) or suffix in _SHEETS:
                check_suffix(path, _SUFFIXES)
            if f"{text}.yaml" in {model.name for model in (library("workloads") / "llm").glob("*.yaml")}:
                raise InputError(f"{text} is a language model: hwsim llm MACHINE {text}")
            raise InputError(
                f"must be a known workload or a path to a file, not {excerpt(text, 80)}"
                + nearest(text, paths, "`hwsim list workloads` has all")
            )
        path = paths[text]
    try:
        real_path = path.resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"cannot be read: {error}", text) from None
    if real_path in bases or len(bases) >= MAX_BASES:
        raise InputError(f"bases must form a chain of at most {MAX_BASES} files, none of them twice; see {path.name}")
    if path.suffix.lower() in _MODELS:
        return _model(path)
    if path.suffix.lower() == ".csv":
        return read_table(read_sheet_text(path), str(path), path.stem)
    document = parse_yaml(read_text(path), str(path))
    check_no_timeloop(document)
    nearby = [path.parent, *search]
    try:
        return read_trace(document, lambda base: _load(base, nearby, (*bases, real_path)))
    except RecursionError:
        raise InputError([Fault(str(path), "", "must be nested less deeply")]) from None
