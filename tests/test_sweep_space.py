"""What a sweep file means: its points are the product that it says, and a fault of it is told where it is."""

import contextlib
import itertools
import math
import pickle
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

import hwsim
from hwsim.errors import InputError
from hwsim.sweeps.evaluation import Evaluator
from hwsim.sweeps.expression import NUMBER, Expression, Kind, column_kind, measure
from hwsim.sweeps.reader import read_space
from hwsim.sweeps.results import Results
from hwsim.sweeps.spec import values_of

BASE = {"machines": "systolic_ws", "workloads": "lenet5_caffe"}
SIDES = st.lists(st.integers(1, 64), min_size=1, max_size=4, unique=True)


def faults(given: object) -> str:
    with pytest.raises(InputError) as caught:
        read_space(given)
    return str(caught.value)


@given(rows=SIDES, cols=SIDES, batches=SIDES, limit=st.integers(1, 5000))
@settings(max_examples=40, deadline=None)
def test_points_are_the_product_that_the_conditions_leave(rows, cols, batches, limit) -> None:
    where = [f"array.rows * array.cols <= {limit} or batch == {batches[0]}", "not array.rows > 60"]
    wanted = [
        (batch, row, col)
        for batch, row, col in itertools.product(batches, rows, cols)
        if (row * col <= limit or batch == batches[0]) and row <= 60
    ]
    given = BASE | {"batch": batches, "set": {"array.rows": rows, "array.cols": cols}, "where": where}
    space = read_space(given)
    assert space.size == len(rows) * len(cols) * len(batches)
    if not wanted:
        with pytest.raises(InputError, match="allows none"):
            space.numbers()
        return
    points = [space.point(number) for number in space.numbers()]
    found = [tuple(p.values[name] for name in ("batch", "array.rows", "array.cols")) for p in points]
    assert found == wanted
    assert all(space.allows(point.number) for point in points)


@given(rows=SIDES, cols=SIDES, batches=SIDES)
@settings(max_examples=25, deadline=None)
def test_a_zip_goes_together(rows, cols, batches) -> None:
    given = BASE | {
        "batch": batches,
        "set": {"array.rows": rows, "array.cols": cols},
        "zip": [["array.rows", "array.cols"]],
    }
    if len(rows) != len(cols):
        assert "equal numbers of values" in faults(given)
        return
    space = read_space(given)
    found = [
        tuple(space.point(n).values[name] for name in ("batch", "array.rows", "array.cols")) for n in space.numbers()
    ]
    assert found == [(batch, row, col) for batch in batches for row, col in zip(rows, cols)]


@given(n=st.integers(1, 200), parts=st.integers(1, 9))
@settings(max_examples=30, deadline=None)
def test_shards_are_a_partition(n: int, parts: int) -> None:
    space = read_space(BASE | {"batch": list(range(1, n + 1))})
    shards = [space.numbers((part, parts)) for part in range(1, parts + 1)]
    assert sorted(itertools.chain(*shards)) == list(range(n))


def test_places_and_numbers_are_inverse() -> None:
    space = read_space(BASE | {"batch": [1, 2, 3], "set": {"array.rows": [8, 16], "array.cols": [4, 8, 16, 32]}})
    for number in range(space.size):
        values = space.point(number).values
        places = [axis[0].values.index(values[axis[0].name]) for axis in space.axes]
        assert space.number(places) == number
    copy = pickle.loads(pickle.dumps(space))
    assert [copy.point(n) for n in range(space.size)] == [space.point(n) for n in range(space.size)]


@pytest.mark.parametrize(
    ("given", "values"),
    [
        (3, [3]),
        ([1, "2 MHz"], [1, "2 MHz"]),
        ({"range": [8, 16], "step": 4}, [8, 12, 16]),
        ({"range": [8, 15], "step": 4}, [8, 12]),
        ({"range": [8, 16], "steps": 3}, [8, 12, 16]),
        ({"range": [0.5, 1.0], "steps": 3}, [0.5, 0.75, 1.0]),
        ({"range": [1, 2], "step": 0.5}, [1.0, 1.5, 2.0]),
        ({"range": ["100 MHz", "0.4 GHz"], "steps": 4}, ["100 MHz", "200 MHz", "300 MHz", "400 MHz"]),
        ({"range": ["1 B/cycle", "2 B/cycle"], "step": "0.5 B/cycle"}, ["1 B/cycle", "1.5 B/cycle", "2 B/cycle"]),
        ({"powers_of_two": [1, 9]}, [1, 2, 4, 8]),
        ({"powers_of_two": ["64 KiB", "0.25 MiB"]}, ["64 KiB", "128 KiB", "256 KiB"]),
        ({"ifmap": "1 KiB"}, [{"ifmap": "1 KiB"}]),
    ],
)
def test_values_are_what_a_range_says(given, values) -> None:
    assert list(values_of(given)) == values


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "at least one value"),
        ([1, 1], "given twice"),
        ({"range": [1, 4], "steps": 3}, "whole numbers"),
        ({"range": [4, 1], "step": 1}, "smaller bound first"),
        ({"range": ["1 MHz", "4 KiB"], "step": 1}, "one unit"),
        ({"range": ["1 MHz", "4 MHz"], "step": 1}, "unit of the bounds"),
        ({"range": [1, 4], "step": 0}, "above zero"),
        ({"range": [1, 10**12], "step": 1}, "at most 1,000,000 values"),
        ({"range": [1, 4], "stepp": 1}, "nearest: 'step'"),
        ({"range": [1, 4], "step": 1, "steps": 2}, "must be {range"),
        ({"range": [1, 4]}, "must be {range"),
        ({"range": 4, "step": 1}, "two bounds"),
        ({"powers_of_two": [0, 4]}, "above zero"),
    ],
)
def test_what_is_no_range_is_told(given, message) -> None:
    with pytest.raises(InputError, match=message):
        values_of(given)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
                        st.sampled_from(["range", "step", "steps", "powers_of_two", "x"]), inner, max_size=3)))  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_any_values_are_taken_or_told(given) -> None:
    with contextlib.suppress(InputError):
        assert values_of(given)


KINDS = {
    "n": NUMBER,
    "size": measure("1 KiB")[1],
    "clock": measure("1 MHz")[1],
    "word": Kind("word"),
    "latency_s": column_kind("latency_s"),
    "fits": column_kind("fits", True),
}
VALUES = {"n": 3, "size": Fraction(2048), "clock": Fraction(10**8), "word": "ws", "latency_s": 0.25, "fits": True}


@pytest.mark.parametrize(
    ("text", "truth"),
    [
        ("n < 4", True),
        ("1 < n < 3", False),
        ("1 < n <= 3 and not n == 2", True),
        ("n == 1 or n == 3 and fits", True),
        ("(n == 1 or n == 3) and not fits", False),
        ("2 * n + 1 == 7", True),
        ("n - 1 - 1 == 1", True),
        ("12 / 2 / n == 2", True),
        ("-n < - 2", True),
        ("size == 2 KiB", True),
        ("size >= 2.1 kB", False),
        ("2 * size == 4KiB", True),
        ("clock == 0.1 GHz", True),
        ("5 / clock < 1 us", True),
        ("latency_s <= 0.25", True),
        ("latency_s < 250 ms", False),
        ("latency_s * clock > 10", True),
        ("word == 'ws'", True),
        ('word != "os"', True),
        ("fits", True),
        ("not not fits", True),
        ("fits == true", True),
    ],
)
def test_conditions_mean_what_they_say(text: str, truth: bool) -> None:
    assert Expression(text, KINDS)(VALUES) is truth
    assert pickle.loads(pickle.dumps(Expression(text, KINDS)))(VALUES) is truth


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be text"),
        ("n", "must be true or false"),
        ("n <", "must go on"),
        ("n < 4)", "end or go on"),
        ("(n < 4", "close each"),
        ("n < 4 4", "end or go on"),
        ("nn < 4", "nearest: 'n'"),
        ("size < 4", "is a unit missing"),
        ("size < 4 MHz", "must not put"),
        ("n < 4 KiBB", "nearest: 'KiB'"),
        ("word < 'a'", "must not order"),
        ("word == n", "must not put"),
        ("n and fits", "must have comparisons"),
        ("fits + 1 == 2", "must not put"),
        ("__import__('os')", "must use a known name"),
        ("n.__class__ == 1", "must use a known name"),
        ("n ** 2 > 1", "must have a number"),
        ("[n for n in n]", "must be made of"),
        ("n; n", "must be made of"),
        ("lambda: n", "must be made of"),
        ("(" * 40 + "fits" + ")" * 40, "at most 32 deep"),
        ("fits and " * 200 + "fits", "at most 1000 characters"),
        ("9e999 > n", "end or go on"),
        ("n > ３", "must be made of"),  # a full-width digit
        ("𝟛 > n", "must be made of"),
        ("n := 3", "must be made of"),
        ("n if n else n", "end or go on"),
        ("n not in n", "end or go on"),
        ("n is n", "end or go on"),
        ("len(word) > 1", "must use a known name"),
        ("n(3) > 1", "end or go on"),
        ("1 + not fits", "must have a number"),
        ("fits == - - fits", "must have numbers"),
        ("(" * 10**6, "at most 1000 characters"),
    ],
)
def test_what_is_no_condition_is_told(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Expression(text, KINDS)


@pytest.mark.parametrize(
    ("text", "truth"),
    [
        ("-" * 990 + "n > 0", True),
        ("not " * 240 + "fits", True),
        ("1 + " * 240 + "n == 243", True),
        ("n <= " * 190 + "n", True),
        ("fits and " * 110 + "fits", True),
        ("(" * 32 + "fits" + ")" * 32, True),
        ("9" * 990 + " > n", True),
        ("1e99 * " * 140 + "n > 0", True),
        (" / ".join(["n", *["7"] * 200]) + " > 0", True),
    ],
)
def test_conditions_may_be_as_long_as_the_limit(text: str, truth: bool) -> None:
    assert Expression(text, KINDS)(VALUES) is truth


def test_names_may_be_words_of_python() -> None:
    kinds = {"class": NUMBER, "None": NUMBER, "lambda.if": NUMBER, "__debug__": NUMBER, "_0": NUMBER}
    values = dict(zip(kinds, range(5)))
    for name, value in values.items():
        assert Expression(f"{name} == {value}", kinds)(values)
        assert Expression(f"{name} + 1 > {value}", kinds).names == {name}


def test_division_by_zero_is_told() -> None:
    with pytest.raises(InputError, match="divides by zero"):
        Expression("1 / (n - 3) > 1", KINDS)(VALUES)


PIECES = [
    "n",
    "size",
    "fits",
    "word",
    "'ws'",
    "3",
    "2 KiB",
    "and",
    "or",
    "not",
    "(",
    ")",
    "+",
    "-",
    "*",
    "/",
    "<",
    "==",
]


@given(st.lists(st.sampled_from(PIECES), max_size=30).map(" ".join) | st.text(max_size=60))
@settings(max_examples=400, deadline=None)
def test_any_text_is_a_condition_or_told(text: str) -> None:
    with contextlib.suppress(InputError):
        assert Expression(text, KINDS)(VALUES) in (True, False)


@st.composite
def arithmetic(draw: st.DrawFn, depth: int = 4) -> str:
    """An expression of numbers that Python reads alike."""
    if depth == 0 or draw(st.booleans()):
        return str(draw(st.integers(0, 9)))
    left, right = draw(arithmetic(depth - 1)), draw(arithmetic(depth - 1))
    text = f"{left} {draw(st.sampled_from('+-*'))} {right}"
    return f"({text})" if draw(st.booleans()) else text


@pytest.mark.slow
@given(arithmetic(), arithmetic())
@settings(max_examples=200, deadline=None)
def test_arithmetic_is_that_of_python(left: str, right: str) -> None:
    assert Expression(f"{left} < {right}", {})({}) is eval(f"{left} < {right}")


def test_every_fault_has_its_place(tmp_path: Path) -> None:
    path = tmp_path / "sizes.yaml"
    path.write_text(
        "machines: [eyeriss_v1]\nworkloads: [alexnet]\nset:\n  array.row: [12]\n  clocks.cor: [1 MHz]\n"
        "  array.cols: [12, 1 MHz]\n  memories.glb.size: 3\n  workload.layers: ['cnv*']\n"
    )
    told = faults(path)
    assert f"{path}:4:14: set.array.row: unknown key; nearest: 'rows'" in told
    assert f"{path}:5:15: set.clocks.cor: 'cor' does not exist; nearest: 'core'" in told
    assert f"{path}:6:15: set.array.cols: must be a valid integer, not '1 MHz'" in told
    assert f"{path}:7:22: set.memories.glb.size: must be a size such as '108 KiB', not 3" in told
    assert f"{path}:8:20: set.workload.layers: a layer of alexnet must match 'cnv*'" in told


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"machines": "systolc_ws"},
            "machines[0]: must be a known machine or a path to a file, not 'systolc_ws'; nearest: 'systolic_ws'",
        ),
        ({"machines": "nothing*"}, "must match some machines"),
        ({"machines": []}, "machines: "),
        ({"workloads": "lenet"}, "workloads[0]: must be a known workload or a path to a file, not 'lenet'"),
        ({"batch": 0}, "batch: must be whole numbers from 1 to 65536"),
        ({"sets": {}}, "sets: unknown key; nearest: 'set'"),
        ({"set": {"array.rows": []}}, "set.array.rows: must have at least one value"),
        ({"zip": [["array.rows", "array.cols"]]}, "zip[0]: must name a parameter of the sweep, not 'array.rows'"),
        ({"where": "array.rows"}, "where[0]: condition 'array.rows' must be true or false"),
        ({"where": ["batch < 2", "array.row < 3"]}, "where[1]: condition 'array.row < 3' must use a known name"),
        ({"set": {"kind": [{}]}}, "set.kind: must be a kind of machine, not {}"),
        ({"set": {"workload.layers": 3}}, "set.workload.layers: must be a pattern"),
        ({"set": {"workload.layers.conv9.k": 3}}, "'conv9' is not an item here"),
    ],
)
def test_bad_files_are_told(change, message) -> None:
    assert message in faults(BASE | change)


def test_a_machine_that_is_at_fault_itself_is_told(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("base: systolic_ws\nname: bad\narray: {rows: none, cols: 4, wiring: systolic}\n")
    told = faults(BASE | {"machines": str(path), "set": {"array.cols": [4, 8]}})
    assert told == f"{path}:3:15: array.rows: must be a valid integer, not 'none'"
    whole = read_space(BASE | {"machines": str(path), "set": {"array.rows": [4, 8]}})
    assert [Evaluator(whole).outcome(number).error for number in whole.numbers()] == [None, None]


def test_a_trillion_points_are_told_at_once() -> None:
    rows = {"range": [1, 60000], "step": 1}
    space = read_space(
        BASE | {"set": {"array.rows": rows, "array.cols": rows}, "batch": {"range": [1, 1000], "step": 1}}
    )
    assert space.size == 3_600_000_000_000
    with pytest.raises(InputError, match=r"at most 1,000,000 points, not 3,600,000,000,000 \(batch 1,000 x array.rows"):
        space.numbers()


def test_machines_and_networks_may_be_patterns_paths_and_objects(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text(f"base: systolic_ws\nname: {name}\n")
    (tmp_path / "sweep.yaml").write_text("machines: ['*.yaml', 'systolic_?s']\nworkloads: lenet5_caffe\n")
    (tmp_path / "sweep.yaml").rename(tmp_path / "sweep.yml")
    space = read_space(tmp_path / "sweep.yml")
    assert list(space.machines) == ["a.yaml", "b.yaml", "systolic_is", "systolic_os", "systolic_ws"]
    network = hwsim.Workload("mine", [hwsim.Gemm("g", m=4, n=8, k=16)])
    space = read_space({"machines": [hwsim.load_machine("systolic_ws")], "workloads": [network, "lenet5_caffe"]})
    assert list(space.workloads) == ["mine", "lenet5_caffe"]


def test_keys_of_the_workload_are_those_of_its_file() -> None:
    source = read_space(BASE).workloads["lenet5_caffe"]
    conv2 = source.network["conv2"]
    changed = source.workload({"dtype": "int4", "layers.conv1.k": 7})
    assert changed["conv1"].k == changed["conv2"].c == 7 != conv2.c
    assert {layer.input.dtype for layer in changed} == {"int4"}
    assert source.selection({"layers": "conv*"}) == ("conv*",)
    assert source.workload({"layers": "conv*"}) == source.network, "layers are selected of the plan of all"
    assert source.digest({}) != source.digest({"dtype": "int4"}) != source.digest({"layers": "conv*"})
    alexnet = read_space(BASE | {"workloads": "alexnet"}).workloads["alexnet"]
    sparse = alexnet.workload({"density.conv3.input": 0.5})
    assert sparse["conv3"].input.density == 0.5
    assert sparse["conv4"].input.density == alexnet.network["conv4"].input.density
    made = read_space({"machines": "systolic_ws", "workloads": [alexnet.network]}).workloads["alexnet"]
    assert made.workload({"density.conv3.input": 0.5}).layers == sparse.layers


def test_numbers_of_ranges_are_close_to_what_was_asked() -> None:
    low, high = Fraction(100), Fraction(200)
    values = values_of({"range": ["100 MHz", "200 MHz"], "steps": 8})
    for place, value in enumerate(values):
        wanted = (low + (high - low) * place / 7) * 10**6
        assert math.isclose(measure(value)[0], wanted, rel_tol=1e-5)
    assert values[3] == "142.857 MHz", "six digits where there is no end of them"


def test_clocks_that_have_no_common_tick_are_told() -> None:
    given = {"machines": "eyeriss_v1", "workloads": "lenet5_caffe", "set": {"clocks.core": "122.222222222 MHz"}}
    message = r"^sweep: set.clocks.core: The common multiple of all clocks must be at most 10\*\*18 Hz"
    with pytest.raises(InputError, match=message):
        read_space(given)


def test_a_digest_is_of_the_resolved_machine(tmp_path: Path) -> None:
    """Whatever way it came to its values: a file, changes, or changes of what is changed already."""
    (tmp_path / "big.yaml").write_text("base: systolic_ws\narray: {rows: 64, cols: 32, wiring: systolic}\n")
    space = read_space({"machines": ["systolic_ws", str(tmp_path / "big.yaml")], "workloads": "lenet5_caffe"})
    plain, big = space.machines.values()
    assert plain.digest({"array.rows": 64}) == big.digest({}) == big.digest({"array.rows": 64})
    assert plain.digest({"array.rows": 64, "array.cols": 32}) == big.digest({"array.cols": 32})
    assert plain.digest({}) == plain.digest({"array": {"cols": 32, "wiring": "systolic", "rows": 32}})
    others = [
        {},
        {"array.rows": 64},
        {"array.cols": 64},
        {"array.rows": 6, "array.cols": 4},
        {"name": '"'},
        {"name": "\\0"},
    ]
    assert len({plain.digest(changes) for changes in others}) == len(others)


def test_a_digest_has_the_tables_that_a_machine_names_by_path(tmp_path: Path) -> None:
    from hwsim.energy.table import _TABLES

    text = (_TABLES / "horowitz_45nm.yaml").read_text()
    found = []
    for energy in ("0.23 pJ", "0.24 pJ"):
        (tmp_path / "prices.yaml").write_text(text.replace("0.2 pJ", energy))
        (tmp_path / "mine.yaml").write_text("base: systolic_ws\nenergy: {table: prices.yaml}\n")
        found.append(read_space(BASE | {"machines": str(tmp_path / "mine.yaml")}).machines.popitem()[1].digest({}))
    assert text.count("0.2 pJ")
    assert found[0] != found[1]


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(max_size=6)
    | st.sampled_from(["1 KiB", "2 MHz", "array.rows", "batch", "systolic_ws", "conv*", "batch < 2", "a.yaml"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["range", "step", "powers_of_two", "array.rows", "clocks", "workload.dtype",
                                       "workload.layers", "memories.sram.split", "array.rows.x", "", "."]), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["batch", "set", "zip", "where", "constraints", "metrics", "name"]), ANYTHING))
@settings(max_examples=150, deadline=None)
def test_any_file_is_a_sweep_or_told(changes) -> None:
    with contextlib.suppress(InputError):
        space = read_space(BASE | changes)
        if space.size < 1000:
            for number in space.numbers()[:2]:
                Evaluator(space).digest(number)
                assert Evaluator(space).outcome(number).number == number
        Results(space)
