"""Two products around a softmax become one kernel of attention where that is faster."""

from __future__ import annotations

import pytest

import hwsim
from hwsim.workload import Attention, BatchedMatmul, Elementwise, Gemm, Layer, Softmax, Workload
from hwsim.workload.attention_pattern import with_attention


def network(size: int, heads: int = 3, dim: int = 40, between: int = 1, read_twice: bool = False) -> Workload:
    t = {"input": "bf16", "weight": "bf16", "output": "bf16"}
    width = heads * dim
    items: list[tuple[Layer, list[str]]] = [
        (Gemm(name, m=size, n=width, k=width, **t), ["input"])  # type: ignore[arg-type]
        for name in ("query", "key", "value")
    ]
    items.append((BatchedMatmul("scores", b=heads, m=size, n=size, k=dim, **t), ["query", "key"]))  # type: ignore[arg-type]
    last = "scores"
    for place in range(between):
        shape = (heads, size, size)
        items.append((Elementwise(f"scale{place}", type="mul", n=1, shape=shape, **t), [last]))  # type: ignore[arg-type]
        last = f"scale{place}"
    items.append((Softmax("softmax", shape=(heads, size, size), **t), [last]))  # type: ignore[arg-type]
    items.append((BatchedMatmul("context", b=heads, m=size, n=dim, k=size, **t), ["softmax", "value"]))  # type: ignore[arg-type]
    items.append((Gemm("out", m=size, n=width, k=width, **t), ["context"]))  # type: ignore[arg-type]
    if read_twice:
        items.append((Softmax("again", shape=(heads, size, size), **t), [last]))  # type: ignore[arg-type]
    return Workload("net", items, input_shape=(size, width))


@pytest.mark.parametrize("size", [1, 31, 127, 257])
@pytest.mark.parametrize("between", [0, 1, 2])
def test_it_has_the_shapes_of_what_it_replaces(size: int, between: int) -> None:
    before = network(size, between=between)
    after = with_attention(before, lambda layer: True)
    assert after.names == ("query", "key", "value", "context", "out")
    attention = after["context"]
    assert isinstance(attention, Attention)
    assert (attention.heads, attention.queries, attention.context, attention.dim) == (3, size, size, 40)
    assert after.inputs["context"] == ("query", "key", "value")
    assert after.macs == before.macs
    assert after["context"].output.shape == (size, 120)


def test_what_is_read_by_others_stays() -> None:
    assert with_attention(network(31, read_twice=True), lambda layer: True).names[3] == "scores"
    assert with_attention(network(31), lambda layer: False).names[3] == "scores"
    plain = Workload("plain", list(network(31)), graph=False)
    assert with_attention(plain, lambda layer: True) is plain


@pytest.mark.parametrize("machine", ["a100", "h100"])
@pytest.mark.parametrize("size", [31, 127, 509, 1021, 2053])
def test_the_faster_of_both_runs(machine: str, size: int) -> None:
    """One kernel where scores are many, products for short sequences: never slower than either alone."""
    net = network(size, heads=16, dim=64, between=0)
    report = hwsim.simulate(hwsim.load_machine(machine), net, batch=4)
    assert report.summary.macs == 4 * net.macs
    own = [r for r in report.results if r.name in ("scores", "softmax", "context")]
    layer = Attention("a", queries=size, context=size, heads=16, dim=64, input="bf16", weight="bf16", output="bf16")
    gpu = hwsim.load_machine(machine)
    whole = hwsim.simulate(gpu, Workload("whole", [layer]), batch=4).summary.latency_s
    parts = sum(gpu.plan(part, 4).seconds for part, _ in layer.sublayers)  # type: ignore[attr-defined]
    assert len(own) == (1 if whole < parts else 3)
    assert len(own) == 1 or size < 1000
    slow = report.plan.context("context").slow
    assert sum(r.latency_s for r in own) <= min(whole, parts) * slow * 1.05
