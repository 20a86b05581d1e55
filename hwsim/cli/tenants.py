"""``hwsim serve --beside``: networks that share the machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hwsim.cli.options import changes_of, console_of, network_of, write
from hwsim.errors import InputError, excerpt, nearest

if TYPE_CHECKING:
    from hwsim.requests import Tenant

__all__ = ["serve_beside"]

_KEYS = ("rate", "trace", "priority", "max-batch", "max-wait", "deadline")


def _number(key: str, text: str, whole: bool = False) -> float | int:
    try:
        return int(text) if whole else float(text)
    except ValueError:
        raise InputError(f"--beside: {key} must be a number, not {excerpt(text)}") from None


def _beside(text: str) -> Tenant:
    """A network of ``--beside``: its name, then keys and values, with commas between them."""
    from hwsim.requests import Tenant
    from hwsim.scenario.schedule import quantity

    name, *parts = (part.strip() for part in text.split(","))
    values: dict[str, str] = {}
    for part in parts:
        key, equal, value = (word.strip() for word in part.partition("="))
        if not equal or key not in _KEYS:
            raise InputError(f"--beside: must be KEY=VALUE, not {excerpt(part)}{nearest(key, _KEYS)}")
        if key in values:
            raise InputError(f"--beside: {key} must be given once")
        values[key] = value
    if not name or "=" in name:
        raise InputError(f"--beside must begin with a network, as 'kws, rate=5', not {excerpt(text)}")
    return Tenant(
        network_of(name, ()),
        rate_per_s=float(_number("rate", values["rate"])) if "rate" in values else None,
        trace=values.get("trace"),
        priority=int(_number("priority", values.get("priority", "0"), True)),
        max_batch=int(_number("max-batch", values["max-batch"], True)) if "max-batch" in values else None,
        max_wait_s=float(quantity("max-wait", values["max-wait"], "time")) if "max-wait" in values else 0.0,
        deadline_s=float(quantity("deadline", values["deadline"], "time")) if "deadline" in values else None,
    )


def serve_beside(
    machine: str,
    changes: tuple[str, ...],
    own: Tenant,
    beside: tuple[str, ...],
    json_file: str | None,
    **words: Any,
) -> None:
    """Serve several networks and say what each of them sees."""
    import hwsim
    from hwsim.report.json_text import json_text
    from hwsim.report.shared import print_shared

    tenants = [own, *map(_beside, beside)]
    load = hwsim.serve_shared(hwsim.load_machine(machine, set=changes_of(changes)), tenants, **words)
    if json_file:
        write(json_text(load.to_dict()), json_file)
    if json_file != "-":
        print_shared(load, console_of())
    if not load.fits:
        raise SystemExit(1)
