"""The ``config.json`` of a Hugging Face model as the sizes of a transformer."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hwsim.errors import Fault, HwsimWarning, InputError, excerpt, nearest
from hwsim.files import read_text
from hwsim.workload.transformer.model import LlmSpec

__all__ = ["MODEL_TYPES", "read_config"]

_ACTIVATIONS = {"silu": "silu", "swish": "silu", "relu": "relu"} | dict.fromkeys(
    ("gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "gelu_python", "quick_gelu"), "gelu"
)

Config = Mapping[str, Any]
Sizes = dict[str, Any]

#: Their blocks are not those of a dense decoder.
_OTHERS = {
    "mixtral": "experts", "qwen2_moe": "experts", "qwen3_moe": "experts", "gpt_oss": "experts", "dbrx": "experts",
    "deepseek_v2": "experts and latent attention", "deepseek_v3": "experts and latent attention", "olmoe": "experts",
    "llama4": "experts", "minimax": "experts", "granitemoe": "experts", "phimoe": "experts",
    "mamba": "a state space", "mamba2": "a state space", "jamba": "experts and a state space", "rwkv": "recurrence",
    "bert": "an encoder (`hwsim run` reads its .onnx)", "t5": "an encoder", "whisper": "an encoder",
}  # fmt: skip


class _Reader:
    """Values of a config by key, each checked; all faults at once."""

    def __init__(self, config: Config, path: str) -> None:
        self.config, self.path = config, path
        self.faults: list[Fault] = []

    def whole(self, key: str, default: int | None = None, least: int = 1) -> int:
        value = self.config.get(key)
        if value is None and default is not None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= 2**31:
            what = (
                "must be given"
                if value is None
                else f"must be a whole number of at least {least}, not {excerpt(value)}"
            )
            self.faults.append(Fault(self.path, key, what))
            return 1
        return value

    def flag(self, key: str, default: bool) -> bool:
        value = self.config.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.faults.append(Fault(self.path, key, f"must be true or false, not {excerpt(value)}"))
            return default
        return value

    def activation(self, key: str, default: str) -> str:
        value = self.config.get(key) or default
        if not isinstance(value, str) or value not in _ACTIVATIONS:
            self.faults.append(
                Fault(self.path, key, f"must be a known activation, not {excerpt(value)}{nearest(value, _ACTIVATIONS)}")
            )
            return "silu"
        return _ACTIVATIONS[value]


def _llama(read: _Reader) -> Sizes:
    heads, hidden = read.whole("num_attention_heads"), read.whole("hidden_size")
    return {
        "hidden": hidden,
        "layers": read.whole("num_hidden_layers"),
        "heads": heads,
        "kv_heads": read.whole("num_key_value_heads", heads),
        "head": read.whole("head_dim", max(1, hidden // heads)),
        "ffn": read.whole("intermediate_size"),
        "vocabulary": read.whole("vocab_size"),
        "activation": read.activation("hidden_act", "silu"),
        "context": read.whole("max_position_embeddings", 0, 0),
        "tied": read.flag("tie_word_embeddings", False),
        "qkv_bias": read.flag("attention_bias", False),
        "out_bias": read.flag("attention_bias", False),
        "ffn_bias": read.flag("mlp_bias", False),
    }


def _mistral(read: _Reader) -> Sizes:
    return _llama(read) | {"window": read.whole("sliding_window", 0, 0), "qkv_bias": False, "out_bias": False}


def _qwen2(read: _Reader) -> Sizes:
    window = read.whole("sliding_window", 0, 0) if read.flag("use_sliding_window", False) else 0
    return _llama(read) | {"qkv_bias": True, "out_bias": False, "window": window}


def _qwen3(read: _Reader) -> Sizes:
    return _qwen2(read) | {
        "head": read.whole("head_dim", 128),
        "qkv_bias": read.flag("attention_bias", False),
        "out_bias": read.flag("attention_bias", False),
        "qk_norm": True,
    }


def _gemma(read: _Reader) -> Sizes:
    return _llama(read) | {"head": read.whole("head_dim", 256), "tied": True, "activation": "gelu"}


def _gemma2(read: _Reader) -> Sizes:
    return _gemma(read) | {"norms": 4, "window": read.whole("sliding_window", 4096, 0), "window_every": 2}


def _phi3(read: _Reader) -> Sizes:
    window = read.whole("sliding_window", 0, 0)
    return _llama(read) | {"window": 0 if window > read.whole("max_position_embeddings", 4096) else window}


def _phi(read: _Reader) -> Sizes:
    """Both halves of a block read one normalization; all products have biases."""
    return _llama(read) | {
        "norm": "layer", "norms": 1, "gated": False, "activation": read.activation("hidden_act", "gelu_new"),
        "qkv_bias": True, "out_bias": True, "ffn_bias": True, "head_bias": True,
    }  # fmt: skip


def _gptj(read: _Reader) -> Sizes:
    hidden = read.whole("n_embd")
    return {
        "hidden": hidden,
        "layers": read.whole("n_layer"),
        "heads": read.whole("n_head"),
        "ffn": read.whole("n_inner", 4 * hidden),
        "vocabulary": read.whole("vocab_size"),
        "context": read.whole("n_positions", 0, 0),
        "activation": read.activation("activation_function", "gelu_new"),
        "gated": False,
        "norm": "layer",
        "norms": 1,
        "ffn_bias": True,
        "head_bias": True,
        "tied": read.flag("tie_word_embeddings", False),
    }


def _gpt2(read: _Reader) -> Sizes:
    positions = read.whole("n_positions", 1024)
    return _gptj(read) | {
        "norms": 2, "qkv_bias": True, "out_bias": True, "head_bias": False, "tied": True, "positions": positions,
    }  # fmt: skip


#: Readers of the sizes of each ``model_type``.
MODEL_TYPES: dict[str, Callable[[_Reader], Sizes]] = {
    "gemma": _gemma, "gemma2": _gemma2, "gpt2": _gpt2, "gptj": _gptj, "llama": _llama, "mistral": _mistral,
    "phi": _phi, "phi3": _phi3, "qwen2": _qwen2, "qwen3": _qwen3,
}  # fmt: skip


def _mapping(pairs: list[tuple[str, Any]]) -> Config:
    """A mapping of keys that are there once; raises ValueError for another."""
    values = dict(pairs)
    if len(values) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"{excerpt(twice, 40)} is there twice")
    return values


def read_config(path: str | Path) -> LlmSpec:
    """Read the sizes of a model from its ``config.json``.

    Parameters
    ----------
    path : str or Path

    Raises
    ------
    InputError
        If it is no such file, or the model is no dense decoder; with every fault of the sizes.
    """
    path = Path(path)
    try:
        config = json.loads(read_text(path), object_pairs_hook=_mapping)
    except (ValueError, RecursionError) as error:
        raise InputError([Fault(str(path), "", f"must be JSON: {excerpt(str(error), 120)}")]) from None
    if not isinstance(config, dict):
        raise InputError([Fault(str(path), "", f"must be a mapping of keys to values, not {excerpt(config)}")])
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in MODEL_TYPES:
        why = f": it has {_OTHERS[kind]}" if isinstance(kind, str) and kind in _OTHERS else nearest(kind, MODEL_TYPES)
        what = "must be given" if kind is None else f"must be one of {', '.join(MODEL_TYPES)}, not {excerpt(kind)}{why}"
        raise InputError([Fault(str(path), "model_type", what)])
    if isinstance(own := config.get("quantization_config"), dict):
        method = excerpt(own.get("quant_method"), 40)
        text = f"{path.name}: its weights are quantized ({method}); their format is that of --weights, not the file's"
        warnings.warn(text, HwsimWarning, stacklevel=2)
    for key in ("num_local_experts", "num_experts", "n_routed_experts"):
        if isinstance(config.get(key), int) and config[key] > 1:
            raise InputError([Fault(str(path), key, f"must be at most 1, not {config[key]}: experts are not modeled")])
    reader = _Reader(config, str(path))
    sizes = MODEL_TYPES[kind](reader)
    if reader.faults:
        raise InputError(reader.faults)
    name = path.parent.name if path.name == "config.json" and path.parent.name not in ("", ".", "..") else path.stem
    own = config.get("_name_or_path")
    if isinstance(own, str) and own.strip("/").rsplit("/", 1)[-1].isprintable() and own.strip("/"):
        name = own.strip("/").rsplit("/", 1)[-1]
    try:
        return LlmSpec.model_validate({"kind": "llm", "name": name[:100], "source": f"{path.name}, {kind}"} | sizes)
    except ValueError as error:
        errors = getattr(error, "errors", None)
        if errors is None:
            raise
        faults = [
            Fault(str(path), ".".join(map(str, item["loc"])), item["msg"].removeprefix("Value error, "))
            for item in errors(include_url=False)
        ]
        raise InputError(faults) from None
