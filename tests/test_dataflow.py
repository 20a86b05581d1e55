"""A dataflow is one declaration: what a file may name, how it is planned and what its lower bound is follow from it."""

from math import ceil

import pytest

import hwsim
from hwsim.cli.schema import machine_schema
from hwsim.errors import InputError
from hwsim.mapping import DATAFLOWS, Dataflow, NestConstraints
from hwsim.validation.nests import validate_layers

TOY = "transposed_input_stationary"


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> str:
    """A unit holds its input as in input stationary, but rows of it lie down the array and inner products across."""
    declaration = Dataflow(
        NestConstraints(("P", "Q"), ("C",), tuple("NGCPQRSK")), NestConstraints(("M",), ("K",), tuple("BMKN"))
    )
    monkeypatch.setitem(DATAFLOWS, TOY, declaration)
    return TOY


@pytest.mark.parametrize(("m", "n", "k"), [(31, 127, 257), (1, 1, 1), (40, 7, 24)])
def test_a_new_dataflow_on_a_systolic_array(toy: str, m: int, n: int, k: int) -> None:
    """Folds of ceil(M/R) x ceil(K/C); each loads its inputs row by row, then streams N columns of weights."""
    rows, cols = 8, 12
    machine = hwsim.load_machine("systolic_is", set={"dataflow": toy, "array.rows": rows, "array.cols": cols})
    layer = hwsim.Gemm("g", m=m, n=n, k=k)
    plan = machine.plan(hwsim.Workload("one", [layer]), batch=1)["g"]
    down, across = ceil(m / rows), ceil(k / cols)
    assert plan.compute_cycles == down * across * (2 * rows + cols + n - 2)
    assert plan.counts["pe", "ifmap", "read"] == m * n * k
    bound = machine.lower_bound(layer, 1)
    assert bound.seconds <= hwsim.simulate(machine, hwsim.Workload("one", [layer])).summary.latency_s
    assert all(plan.counts[action] >= count for action, count in bound.counts.items())


def test_a_new_dataflow_on_a_multicast_network(toy: str) -> None:
    """The search plans with it, and the executed nest counts what the plan counts."""
    changes = {"dataflow": toy, "mapper.rules": None, "mapper.rf_area": None}
    machine = hwsim.load_machine("eyeriss_isca16", set=changes)
    network = hwsim.Workload("one", [hwsim.Conv2d("c", c=5, h=13, w=11, k=7, r=3, s=3, pad=1)])
    plan = machine.plan(network, batch=1)
    mapping, problem = plan["c"].mapping, plan["c"].problem
    assert mapping is not None
    assert problem is not None
    assert max(mapping.spatial_extents(problem).values()) > 1
    (check,) = validate_layers(plan)
    assert check.passed
    assert check.compared > 0


def test_rules_of_a_study_do_not_take_a_dataflow_that_it_does_not_have(toy: str) -> None:
    machine = hwsim.load_machine("eyeriss_isca16", set={"dataflow": toy})
    with pytest.raises(InputError, match=f"dataflow: must be one of the dataflows of rules isca16, not {toy}"):
        machine.plan(hwsim.Workload("one", [hwsim.Gemm("g", m=8, n=8, k=8)]), batch=1)["g"]


def test_files_may_name_what_is_declared(toy: str) -> None:
    assert toy in str(machine_schema()["anyOf"])
    with pytest.raises(InputError, match=toy):
        hwsim.load_machine("systolic_is", set={"dataflow": "transposed"})
    with pytest.raises(
        InputError, match="must be one of weight_stationary, output_stationary, input_stationary, trans"
    ):
        hwsim.load_machine("systolic_is", set={"dataflow": "row_stationary"})


@pytest.mark.parametrize(
    ("name", "tensor"),
    [("weight_stationary", "weight"), ("output_stationary", "ofmap"), ("input_stationary", "ifmap")],
)
def test_the_stationary_tensor_lacks_the_dim_in_time(name: str, tensor: str) -> None:
    fold = DATAFLOWS[name].fold
    assert fold is not None
    assert fold.stationary == tensor
    assert {fold.stationary, fold.along_rows, fold.along_columns} == {"ifmap", "weight", "ofmap"}


@pytest.mark.parametrize("name", ["row_stationary", "no_local_reuse"])
def test_no_systolic_array_runs_what_needs_a_network(name: str) -> None:
    assert DATAFLOWS[name].fold is None
