"""JSON with a value a line, as ``json.dumps(value, indent=1)`` writes it, but by the encoder in C, which is fast."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

__all__ = ["json_text"]


@cache
def _encoder(depth: int) -> json.JSONEncoder:
    return json.JSONEncoder(allow_nan=False, separators=(f",\n{' ' * depth}", ": "))


def json_text(value: Any, depth: int = 0) -> str:
    """Plain data as text; raises ValueError for NaN and infinity."""
    encode = _encoder(depth + 1).encode
    if not isinstance(value, dict | list | tuple) or not value:
        return encode(value)
    items = list(value.values()) if isinstance(value, dict) else value
    line = f"\n{' ' * (depth + 1)}"
    if not any(isinstance(item, dict | list | tuple) for item in items):
        body = encode(value)[1:-1]
    else:
        texts = [json_text(item, depth + 1) for item in items]
        if isinstance(value, dict):
            texts = [f"{encode({key: 0})[1:-4]}: {text}" for key, text in zip(value, texts, strict=True)]
        body = f",{line}".join(texts)
    first, last = "{}" if isinstance(value, dict) else "[]"
    return f"{first}{line}{body}\n{' ' * depth}{last}"
