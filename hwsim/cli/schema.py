"""JSON Schemas of the YAML files, for completion and checks in editors."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from hwsim.machines.registry import kinds

__all__ = ["machine_schema", "report_schema", "sweep_schema", "workload_schema"]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def machine_schema() -> dict[str, Any]:
    """The schema of a machine file: one branch per kind; a file with `base:` may omit required keys."""
    branches, definitions = [], dict[str, Any]()
    for name, kind in kinds().items():
        schema = TypeAdapter(kind.spec_class).json_schema(ref_template="#/$defs/{model}")
        definitions |= schema.pop("$defs", {})
        schema["properties"]["kind"] = {"const": name}
        schema["properties"]["base"] = {"type": "string", "description": "a machine whose keys this one changes"}
        complete = {key: value for key, value in schema.items() if key != "required"}
        branches.append(
            complete | {"if": {"not": {"required": ["base"]}}, "then": {"required": schema.get("required", [])}}
        )
    return {"$schema": _DIALECT, "title": "hwsim machine", "anyOf": branches, "$defs": definitions}


def workload_schema() -> dict[str, Any]:
    """The schema of a workload file."""
    from hwsim.workload.trace_spec import workload_spec

    return {"$schema": _DIALECT, "title": "hwsim workload"} | TypeAdapter(workload_spec()).json_schema()


def sweep_schema() -> dict[str, Any]:
    """The schema of a sweep file."""
    from hwsim.sweeps.spec import SweepSpec

    return {"$schema": _DIALECT, "title": "hwsim sweep"} | TypeAdapter(SweepSpec).json_schema()


def report_schema() -> dict[str, Any]:
    """The schema of what ``hwsim run --json`` writes."""
    from hwsim.report.saved import SavedReport

    return {"$schema": _DIALECT, "title": "hwsim report"} | TypeAdapter(SavedReport).json_schema()
