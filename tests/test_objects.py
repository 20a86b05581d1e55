"""Machines, networks, plans and reports as objects of Python: names in their place, copies, text."""

from __future__ import annotations

import copy
import pickle
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hwsim
from hwsim.errors import InputError
from hwsim.machines import machine_folder

#: A machine of each kind with a network that it runs.
KINDS = {
    "eyeriss_v1": "lenet5_caffe",
    "systolic_ws": "kws",
    "epyc_zen5": "kws",
    "h100": "bert_base",
    "nucleo_l4r5zi": "kws",
    "eie": "lenet_300_100_pruned",
    "gap9": "kws",
}


def pickled(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


@pytest.mark.parametrize("copied", [pickled, copy.deepcopy])
@pytest.mark.parametrize("name", KINDS)
def test_copies_answer_alike(name: str, copied: Callable[[Any], Any]) -> None:
    machine, network = hwsim.load_machine(name), hwsim.load_workload(KINDS[name])
    report = hwsim.simulate(machine, network, batch=3)
    assert hwsim.simulate(copied(machine), copied(network), 3).summary == report.summary
    assert hwsim.simulate(copied(machine.plan(network, 3))).summary == report.summary
    twin = copied(report)
    assert twin.summary == report.summary
    assert twin.layers.equals(report.layers)
    assert copied(report.timeline).end == report.timeline.end


_SIDES = {"name": "s", "machines": ["eyeriss_v1"], "workloads": ["lenet5_caffe"], "set": {"array.cols": [14, 13, 7]}}
#: Results of each kind; every whole number is one of numpy.
RESULTS: dict[str, Callable[[], Any]] = {
    "train": lambda: hwsim.train("h100", "alexnet", np.int64(31)),
    "cluster": lambda: hwsim.train("dgx1_v100", "alexnet", np.int64(32)),
    "serve": lambda: hwsim.serve("h100", "kws", rate_per_s=np.int64(101), queries=np.int64(257), seed=np.int64(3)),
    "serve_llm": lambda: hwsim.serve_llm(
        "h100", "llama3_8b", rate_per_s=1, requests=np.int64(31), input=np.int64(127), output=np.int64(31)
    ),
    "explore": lambda: hwsim.explore(_SIDES, budget=np.int64(2), seed=np.int64(31), workers=1),
    "compare": lambda: hwsim.compare(*(hwsim.simulate(name, "lenet5_caffe") for name in ("eyeriss_v1", "systolic_ws"))),
}


@pytest.mark.parametrize("copied", [pickled, copy.deepcopy])
@pytest.mark.parametrize("kind", RESULTS)
def test_results_of_each_kind_are_copied_and_have_a_short_text(kind: str, copied: Callable[[Any], Any]) -> None:
    result = RESULTS[kind]()
    assert repr(copied(result)) == repr(result)
    assert len(repr(result)) < 127
    if hasattr(result, "to_json"):
        assert copied(result).to_json() == result.to_json()


def test_names_and_paths_stand_for_what_they_name() -> None:
    machine, network = hwsim.load_machine("eyeriss_v1"), hwsim.load_workload("alexnet")
    expected = hwsim.simulate(machine, network, batch=4).summary
    assert hwsim.simulate("eyeriss_v1", "alexnet", batch=4).summary == expected
    assert hwsim.simulate(machine_folder() / "eyeriss_v1.yaml", network, 4).summary == expected
    assert hwsim.simulate(machine, "alexnet", 4).summary == expected


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("eyeris_v1", "alexnet"), "eyeriss_v1"),
        (("eyeriss_v1", "alexnett"), "alexnet"),
        (("eyeriss_v1",), "a machine and a workload"),
        (("alexnet", "eyeriss_v1"), "no machine is called 'alexnet'"),
        ((3, "alexnet"), "a machine and a workload"),
        (("h100", "llama3_8b"), "llama3_8b"),
        ((Path("missing.yaml"), "alexnet"), "missing.yaml"),
    ],
)
def test_other_names_are_refused(arguments: tuple[Any, ...], words: str) -> None:
    with pytest.raises(InputError) as error:
        hwsim.simulate(*arguments)
    assert words in str(error.value)


@pytest.mark.parametrize("name", KINDS)
def test_text_says_what_it_is(name: str) -> None:
    machine, network = hwsim.load_machine(name), hwsim.load_workload(KINDS[name])
    assert name in repr(machine)
    assert network.name in repr(network)
    plan = machine.plan(network)
    for value in (plan, hwsim.simulate(plan)):
        assert name in repr(value)
        assert network.name in repr(value)


def _hinted() -> list[Any]:
    values = [getattr(hwsim, name) for name in hwsim.__all__ if name != "__version__"]
    members = [member for value in values if isinstance(value, type) for member in vars(value).values()]
    parts = [getattr(member, "fget", None) or getattr(member, "func", None) or member for member in members]
    return [*values, *(part for part in parts if callable(part) and hasattr(part, "__annotations__"))]


def test_type_hints_of_everything_public_resolve() -> None:
    for value in _hinted():
        hints = typing.get_type_hints(value)
        assert not [name for name, hint in hints.items() if isinstance(hint, str)], value


def test_a_summary_is_read_as_a_mapping() -> None:
    summary = hwsim.simulate("eyeriss_v1", "lenet5_caffe", batch=3).summary
    assert dict(summary)["latency_s"] == summary.latency_s == summary["latency_s"]
    assert summary["inferences_per_s"] == summary.inferences_per_s
    assert set(dict(summary)) == set(summary.keys()) >= {"tops", "energy_pj", "machine"}
    with pytest.raises(KeyError, match="latency_ms"):
        summary["latency_ms"]
    with pytest.raises(KeyError):
        summary["keys"]


@pytest.mark.parametrize("name", KINDS)
def test_numbers_of_numpy_are_numbers(name: str) -> None:
    network = hwsim.load_workload(KINDS[name])
    assert hwsim.simulate(name, network, np.int64(3)).summary == hwsim.simulate(name, network, 3).summary
