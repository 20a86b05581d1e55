"""Law 12: a property that has no effect is told by name, on every machine; and what is told has none."""

from collections.abc import Iterator
from functools import cache

import pytest

import hwsim
from hwsim.machines import machine_names
from hwsim.machines.properties import Unused
from hwsim.workload.tensor import DTYPES, FORMATS

LAYERS: dict[str, hwsim.Layer] = {
    "conv": hwsim.Conv2d("conv", c=16, h=13, w=13, k=31, r=3, pad=1),
    "depthwise": hwsim.Conv2d("depthwise", c=24, h=9, w=9, k=24, r=3, pad=1, groups=24),
    "gemm": hwsim.Gemm("gemm", m=7, n=127, k=258),
    "matmul": hwsim.BatchedMatmul("matmul", b=3, m=17, n=31, k=64),
}


@cache
def machine(name: str) -> hwsim.Machine:
    return hwsim.load_machine(name)


def one(name: str, layer: hwsim.Layer) -> hwsim.Report:
    return hwsim.simulate(machine(name), hwsim.Workload("one", [layer]))


def cost(report: hwsim.Report) -> tuple[object, ...]:
    """All that a user pays for: time, energy, bytes over DRAM, and each component's actions on each tensor."""
    actions: dict[tuple[str, str], list[float]] = {}
    for _, component, tensor, _, count, energy in report.action_rows():
        total = actions.setdefault((component, tensor), [0, 0.0])
        total[0] += count
        total[1] = round(total[1] + energy, 6)
    return report.summary.latency_s, report.summary.dram_bytes, repr(actions)


def changes(layer: hwsim.Layer) -> Iterator[tuple[str, hwsim.Layer]]:
    """A property at a time."""
    for tensor in ("input", "weight", "output"):
        if not getattr(layer, tensor).elements:
            continue
        for density in (0.25, 0.75):
            yield f"{tensor}.density", layer.with_density(**{tensor: density})
        for form in FORMATS[1:]:
            if form != "2:4":
                yield f"{tensor}.format", layer.with_tensors(**{tensor: {"format": form}})
    if isinstance(layer, hwsim.Conv2d) and layer.groups == 1:
        yield "dead_out", layer.with_(dead_out=8)
        yield "dead_in", layer.with_(dead_in=4)
    if hasattr(layer, "activation"):
        yield "activation", layer.with_(activation="tanh")


@pytest.mark.parametrize("name", machine_names())
@pytest.mark.parametrize("kind", LAYERS)
def test_a_property_is_told_exactly_where_it_has_no_effect(name: str, kind: str) -> None:
    layer = LAYERS[kind]
    plain = one(name, layer)
    assert not [item for item in plain.unused if item.what == "unused"]
    for path, changed in changes(layer):
        report = one(name, changed)
        told = {item.property for item in report.unused if item.what == "unused"}
        assert told == ({path} if cost(report) == cost(plain) else set()), (path, changed)


@pytest.mark.parametrize("name", machine_names())
@pytest.mark.parametrize("kind", LAYERS)
def test_a_pattern_is_told_where_it_costs_what_zeros_at_random_cost(name: str, kind: str) -> None:
    """The 2:4 format included, which a sparse tensor core takes: then nothing is told of weights."""
    layer = LAYERS[kind]
    if not layer.weight.elements:
        return
    random = one(name, layer.with_density(weight=0.5))
    for form in ("dense", "2:4"):
        report = one(name, layer.with_tensors(weight={"pattern": "2:4", "format": form}))
        told = {item.property for item in report.unused if item.what == "unused"}
        same = {"weight.pattern"} if cost(report) == cost(random) else set()
        kept = {"weight.format"} if form == "2:4" and same else set()
        dense = {"weight.density"} if cost(report) == cost(one(name, layer)) else set()
        assert told == same | kept | dense


def formats(report: hwsim.Report) -> list[Unused]:
    return [item for item in report.unused if item.what == "format"]


@pytest.mark.parametrize("name", machine_names())
@pytest.mark.parametrize("kind", LAYERS)
def test_a_number_format_is_run_refused_or_told(name: str, kind: str) -> None:
    """Two formats of other bits that nothing is said of never cost the same; one that runs as another costs as much."""
    layer, silent = LAYERS[kind], dict[str, tuple[object, ...]]()
    for dtype in DTYPES:
        changed = layer.with_dtype(input=dtype, weight=dtype if layer.weight.elements else None, output=dtype)
        try:
            report = one(name, changed)
        except hwsim.HwsimError as error:
            assert dtype in str(error), "a refusal names the format"
            continue
        told = formats(report)
        for item in told:
            assert item.value == dtype
            if item.reason.startswith("run as "):
                other = item.reason.split()[2]
                as_other = layer.with_dtype(input=other, weight=other if layer.weight.elements else None, output=other)
                assert cost(one(name, as_other)) == cost(report)
        if not told:
            alike = [known for known, paid in silent.items() if paid == cost(report) and DTYPES[known] != DTYPES[dtype]]
            assert not alike, f"{dtype} costs what {alike} costs"
            silent[dtype] = cost(report)
    if machine(name).kind != "mcu" or "int8" in machine(name).library.runs:
        assert silent or told, "some format runs as it is"


@pytest.mark.parametrize("name", machine_names())
@pytest.mark.parametrize("dtype", ["int4", "binary", "int16", "fp16"])
def test_weights_of_another_format_are_told_or_cost_something_else(name: str, dtype: str) -> None:
    layer = LAYERS["gemm"]
    plain = one(name, layer)
    try:
        report = one(name, layer.with_dtype(weight=dtype))
    except hwsim.HwsimError as error:
        assert dtype in str(error)
        return
    told = [item for item in formats(report) if item.property == "weight.dtype"]
    assert told or cost(report) != cost(plain)
