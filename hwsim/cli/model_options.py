"""Options of every command that serves a language model: formats, devices, the library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from hwsim.cli.completion import words
from hwsim.errors import InputError, excerpt

__all__ = ["model_options", "numbers_of"]

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


def numbers_of(text: str) -> list[int]:
    """Whole numbers of --concurrency, separated by commas."""
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1 or len(numbers) > 1000:
        raise InputError(f"--concurrency must be whole numbers of at least 1, as 1,4,16, not {excerpt(text)}")
    return numbers
