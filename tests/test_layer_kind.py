"""A kind of layer is one declaration: this one, in a test, is read, written, simulated and completed by editors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import ClassVar

import pytest

import hwsim
from hwsim.cli.schema import workload_schema
from hwsim.errors import InputError
from hwsim.machines import machine_names
from hwsim.machines.registry import kinds as machine_kinds
from hwsim.workload import Gemm, Layer, Workload, read_trace
from hwsim.workload.layer import Shape, Sublayer, kind
from hwsim.workload.line import LINES, Line, axes
from hwsim.workload.table import own_columns, read_table
from hwsim.workload.trace_text import trace_text
from hwsim.yaml_source import parse_yaml


def declare() -> type[Layer]:
    @kind
    class LowRank(Layer):
        """An m x k by k x n product whose weights are the product of k x rank and rank x n matrices."""

        m: int = 1
        n: int
        k: int
        rank: int
        bias: bool = True

        _lines: ClassVar[tuple[Line, ...]] = (
            Line(
                "low_rank",
                "A product with weights of low rank.",
                sizes="m k",
                source="a matrix",
                notes={"rank": "rank of the weights"},
                read=axes("m k"),
                row=lambda row: {"n": row.integer("k"), "k": row.integer("c"), "rank": row.integer("rank")},
                columns="c k rank",
            ),
        )
        _op: ClassVar[str] = "low_rank"
        _sizes: ClassVar[tuple[str, ...]] = ("m", "n", "k", "rank")
        _flags: ClassVar[tuple[str, ...]] = ("bias",)

        def _input_shape(self) -> Shape:
            return (self.m, self.k)

        def _weight_shape(self) -> Shape:
            return (self.weights,)

        def _output_shape(self) -> Shape:
            return (self.m, self.n)

        @property
        def macs(self) -> int:
            return self.m * self.weights

        @property
        def weights(self) -> int:
            return self.rank * (self.n + self.k)

        @property
        def biases(self) -> int:
            return self.n if self.bias else 0

        @property
        def sublayers(self) -> tuple[Sublayer, ...]:
            down = Gemm(
                f"{self.name}.down", m=self.m, n=self.rank, k=self.k, bias=False,
                input=self.input, weight=self.weight, output=self.input.dtype,
            )  # fmt: skip
            up = Gemm(
                f"{self.name}.up", m=self.m, n=self.n, k=self.rank, bias=self.bias,
                input=self.input.dtype, weight=self.weight, output=self.output,
            )  # fmt: skip
            return (down, (0,)), (up, (down.name,))

    return LowRank


@pytest.fixture
def low_rank() -> Iterator[type[Layer]]:
    """The kind, for the time of one test."""
    before = dict(LINES)
    yield declare()
    LINES.clear()
    LINES.update(before)


TRACE = """
name: net
source: test
input: [31, 127]
blocks:
  unit: [{low_rank: a, n: 127, rank: $rank}]
layers:
  - {use: unit, name: first, with: {rank: 7}}
  - {low_rank: second, n: 257, rank: 13, bias: false, weight: int16}
  - {softmax: last}
"""


def read(text: str) -> Workload:
    return read_trace(parse_yaml(text, "net.yaml"), hwsim.load_workload)


def test_its_lines_are_read(low_rank) -> None:
    net = read(TRACE)
    assert net["first_a"] == low_rank("first_a", m=31, n=127, k=127, rank=7)
    assert net["second"] == low_rank("second", m=31, n=257, k=127, rank=13, bias=False, weight="int16")
    assert net.macs == 31 * (7 * (127 + 127) + 13 * (127 + 257))


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("low_rank: a, n: 3", "net.yaml:5:5: layers[0].rank: must be given"),
        ("low_rank: a, n: 3, rnk: 2, rank: 1", "net.yaml:5:30: layers[0].rnk: unknown key; nearest: 'rank'"),
        ("low_rank: a, n: x, rank: 2", "net.yaml:5:22: layers[0].n: must be an integer, not 'x'"),
        ("low_rank: a, m: 3, k: 3, n: 3, rank: 0", "net.yaml:5:43: a: rank must be an integer from 1 to 2^31, not 0"),
        (
            "low_rank: a, n: 3, rank: 2",
            "net.yaml:5:5: a: m, k must be given, or read from a matrix; what it reads is (3, 8, 8)",
        ),
        (
            "low_rnk: a, n: 3",
            "net.yaml:5:5: layers[0]: must start with a kind of layer and its name, "
            "such as 'conv: conv1'; nearest: 'low_rank'",
        ),
    ],
)
def test_its_faults_have_their_place(low_rank, line: str, fault: str) -> None:
    with pytest.raises(InputError) as caught:
        read(f"name: n\nsource: s\ninput: [3, 8, 8]\nlayers:\n  - {{{line}}}\n")
    assert [str(item) for item in caught.value.faults] == [fault]


def test_it_is_written_without_what_the_reader_puts_in_place(low_rank) -> None:
    net = read(TRACE)
    text = trace_text(net)
    assert "  - {low_rank: first_a, n: 127, rank: 7}\n" in text
    assert read(text) == net
    plain = Workload("plain", net.layers[:2], graph=False)
    assert "  - {low_rank: first_a, m: 31, n: 127, k: 127, rank: 7}\n" in trace_text(plain)
    assert read(trace_text(plain)) == plain
    assert read(trace_text(net.lowered())) == net.lowered()


def test_the_schema_has_its_keys(low_rank) -> None:
    schema = workload_schema()
    spec = schema["$defs"]["LowRankSpec"]
    assert spec["required"] == ["low_rank", "n", "rank"]
    assert spec["properties"]["rank"]["description"] == "rank of the weights"
    assert "#/$defs/LowRankSpec" in json.dumps(schema["properties"]["layers"])


def test_a_table_has_its_rows_and_columns(low_rank) -> None:
    assert "rank" in own_columns()
    net = read_table("name,type,C,K,rank,bias\na,low_rank,127,31,5,0\nb,fc,127,31\n", "t.csv", "t")
    assert list(net) == [low_rank("a", n=31, k=127, rank=5, bias=False), Gemm("b", n=31, k=127)]


@pytest.mark.parametrize("machine_kind", sorted(set(machine_kinds()) - {"cluster"}))
def test_every_kind_of_machine_runs_it(low_rank, machine_kind: str) -> None:
    machine = next(item for item in map(hwsim.load_machine, machine_names()) if item.kind == machine_kind)
    layer = low_rank("a", m=31, n=127, k=257, rank=11)
    report = hwsim.simulate(machine, Workload("net", [layer], graph=True))
    assert report.layers["macs"].sum() == layer.macs == 31 * 11 * (127 + 257)
    parts = [Gemm("a.down", m=31, n=11, k=257, bias=False), Gemm("a.up", m=31, n=127, k=11)]
    assert report.summary.latency_s == hwsim.simulate(machine, Workload("net", parts, graph=True)).summary.latency_s
    assert report.summary.latency_s > 0


def test_nothing_of_it_stays() -> None:
    assert "low_rank" not in LINES
    assert "LowRankSpec" not in workload_schema()["$defs"]
