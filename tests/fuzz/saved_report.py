"""Reports that ``hwsim run --json`` wrote, edited: values of another kind, keys that are gone, text that is cut."""

from __future__ import annotations

import copy
import json
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from hwsim import load_machine, load_workload, simulate
from hwsim.report.groups import read_entry
from hwsim.scenario import duty_cycle
from tests.fuzz.case import Case
from tests.fuzz.command import call
from tests.fuzz.mutation import mutated_bytes

VALUES = (
    None, True, False, 0, -1, 1, 2**63, 10**400, 0.5, float("nan"), float("inf"), -0.0, "", "x", "[/]", "[red]", "\x1b[31m",
    "=1+1", "\u202e", "1e3", [], [1], {}, {"a": 1}, "a" * 5000, ["x"], [None], [[]],
)  # fmt: skip


@cache
def _reports() -> tuple[dict[str, Any], ...]:
    board = simulate(load_machine("nucleo_l4r5zi"), load_workload("lenet5_caffe"))
    extra = {"scenario": duty_cycle(board, "10 s", "CR2032").to_dict()}
    made = [json.loads(board.to_json(extra)), json.loads(board.to_json())]
    made += [
        json.loads(simulate(load_machine(n), load_workload("lenet5_caffe")).to_json()) for n in ("eyeriss_v1", "t4")
    ]
    return tuple(made)


def _edit(draw: Random, data: Any) -> None:
    """Change one value, at a random depth."""
    node = data
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return
        key = draw.choice(keys)
        if isinstance(node[key], (dict, list)) and node[key] and draw.random() < 0.85:
            node = node[key]
            continue
        way = draw.random()
        if way < 0.2:
            del node[key]
        elif way < 0.3 and isinstance(node, dict):
            node[draw.choice(("x", "[/]", "\x1b[2J", ""))] = node.pop(key)
        elif way < 0.4:
            node[key] = node
            node[key] = copy.deepcopy({k: v for k, v in node.items() if k != key}) if isinstance(node, dict) else []
        else:
            node[key] = copy.deepcopy(draw.choice(VALUES))
        return


def case(draw: Random, folder: Path) -> Case:
    """An edited report, read; and some of the time compared with one that is whole."""
    data = copy.deepcopy(draw.choice(_reports()))
    if draw.random() < 0.15:
        raw = mutated_bytes(draw, json.dumps(data).encode())
    else:
        for _ in range(draw.choice((1, 1, 2, 3))):
            _edit(draw, data)
        raw = json.dumps(data).encode()
    path, good = folder / "edited.json", folder / "good.json"
    whole, html = draw.random() < 0.3, draw.random() < 0.2

    def action() -> None:
        read_entry(str(path))
        if whole:
            call("compare", str(path), str(good), *(("--html", str(folder / "out.html")) if html else ()))

    return Case(action, {path.name: raw, good.name: json.dumps(draw.choice(_reports())).encode()})
