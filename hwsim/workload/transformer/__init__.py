"""Decoder transformers by their sizes: files of models, and the networks of one step."""

from hwsim.workload.transformer.loader import is_llm, llm_names, load_llm
from hwsim.workload.transformer.model import LlmSpec
from hwsim.workload.transformer.network import Formats, decode_network, prefill_network

__all__ = ["Formats", "LlmSpec", "decode_network", "is_llm", "llm_names", "load_llm", "prefill_network"]
