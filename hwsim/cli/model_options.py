"""Options of every command that serves a language model: formats, devices, the library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from hwsim.cli.completion import words

__all__ = ["model_options"]

_OPTIONS = (
    click.option(
        "--weights",
        default="",
        metavar="FORMAT",
        shell_complete=words("bf16", "fp16", "fp32", "fp8", "w8a8", "int8", "int4"),
        help="bf16, fp16, fp8, w8a8, int8, int4 (default: bf16, else fp16).",
    ),
    click.option(
        "--kv",
        default="",
        metavar="FORMAT",
        shell_complete=words("bf16", "fp16", "fp32", "fp8", "int8"),
        help="Of the key and value cache (default: by library, else that of activations).",
    ),
    click.option(
        "--activations",
        default="",
        metavar="FORMAT",
        shell_complete=words("bf16", "fp16", "fp32", "int8"),
        help="Between layers (default: bf16).",
    ),
    click.option("--tp", type=int, default=1, show_default=True, metavar="N", help="Devices that share each block."),
    click.option(
        "--library",
        default="",
        metavar="NAME",
        shell_complete=words("tensorrt-llm", "vllm", "sglang"),
        help="tensorrt-llm, vllm or sglang on a GPU.",
    ),
)


def model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
