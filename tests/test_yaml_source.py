"""Strict YAML: what it says is what is read, and no text does anything but read or raise InputError."""

import contextlib
import math

import pytest
import yaml
from hypothesis import example, given, strategies as st

from hwsim.errors import InputError
from hwsim.files import read_text
from hwsim.yaml_source import parse_yaml, read_yaml


def faults(text):
    with pytest.raises(InputError) as caught:
        parse_yaml(text, "f.yaml")
    return [str(fault) for fault in caught.value.faults]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-7", -7),
        ("1_000", 1000),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("true", True),
        ("null", None),
        ("010", "010"),
        ("0x10", "0x10"),
        ("12:30", "12:30"),
        ("no", "no"),
        ("off", "off"),
        ("2001-01-01", "2001-01-01"),
        ("'1'", "1"),
        ("200 MHz", "200 MHz"),
        ("$k", "$k"),
    ],
)
def test_scalars(text, value):
    given = parse_yaml(f"a: {text}").data["a"]
    assert given == value
    assert type(given) is type(value)


def test_every_value_and_key_has_a_place():
    document = parse_yaml("a: 1\nb:\n  - {c: 2, d: x}\n", "f.yaml")
    assert document.data == {"a": 1, "b": [{"c": 2, "d": "x"}]}
    assert document.where(("b", 0, "d")) == "f.yaml:3:15"
    assert document.where(("b", 0, "nothing")) == "f.yaml:3:5"
    assert document.where(("nothing",)) == "f.yaml:1:1"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3\n", ["f.yaml:3:1: a: key is given twice; first at f.yaml:1:4"]),
        ("a: &x 1\nb: *x\n", None),
        ("--- 1\n--- 2\n", None),
        ("a: !!python/object:os.system 1\n", None),
        ("a: [1, 2\n", None),
        ("", ["f.yaml: must not be empty"]),
        ("{[1]: 2}", None),
        ("[" * 50, None),
    ],
)
def test_refused(text, expected):
    given = faults(text)
    assert given
    assert all(fault.startswith("f.yaml") for fault in given)
    if expected is not None:
        assert given == expected


DEEP = {
    "flow sequences": lambda n: "[" * n + "1" + "]" * n,
    "flow mappings": lambda n: "{a: " * n + "1" + "}" * n,
    "flow of both": lambda n: "[{a: " * (n // 2) + "[" * (n % 2) + "1" + "]" * (n % 2) + "}]" * (n // 2),
    "block sequences": lambda n: "- " * n + "1",
    "block mappings": lambda n: "".join(" " * i + "a:\n" for i in range(n - 1)) + " " * n + "a: 1\n",
    "block and flow": lambda n: "- " * (n // 2) + "[" * (n - n // 2) + "1" + "]" * (n - n // 2),
}


@pytest.mark.parametrize("form", DEEP)
def test_the_limit_of_nesting_is_the_same_in_every_form(form):
    """Forty deep is read, more is refused where it lies, however much more it is and whatever the library's own limit is."""
    assert parse_yaml(DEEP[form](40), "f.yaml").data
    (first,) = faults(DEEP[form](41))
    assert first.endswith("must have at most 300000 values, nested at most 40 deep")
    for depth in (42, 257, 999, 1001, 5000):
        if depth < 2000 or form != "block mappings":  # those take memory by the square
            (fault,) = faults(DEEP[form](depth))
            assert fault.endswith("must have at most 300000 values, nested at most 40 deep")
            place = [int(number) for number in fault.split(":")[1:3]]
            assert place <= [41, len(DEEP[form](41))], fault


def test_sequences_that_stay_open_are_too_deep_first():
    assert faults("[" * 5000) == ["f.yaml:1:42: must have at most 300000 values, nested at most 40 deep"]


def test_a_fault_above_the_limit_of_nesting_is_still_told_as_yaml():
    (fault,) = faults("a: [1, 2\nb: }\nc: " + "[" * 5000)
    assert fault.startswith("f.yaml:2:2: must be YAML: ")


def test_all_duplicate_keys_are_told_at_once():
    assert len(faults("a: 1\na: 2\nb: {c: 1, c: 2}\n")) == 2


def test_override_by_dotted_path():
    document = parse_yaml("clocks: {core: 200 MHz}\nmemories:\n  - {name: glb, size: 1 KiB}\n")
    document.override({"clocks.core": "250 MHz", "memories.glb.size": "2 KiB"})
    assert document.data["clocks"]["core"] == "250 MHz"
    assert document.data["memories"][0]["size"] == "2 KiB"
    assert document.where(("clocks", "core")) == "--set clocks.core"
    document.override({"mapper.halo": "refill"})
    assert document.data["mapper"] == {"halo": "refill"}, "a block that the file leaves out may be begun"
    with pytest.raises(InputError, match="'x' is not a key here"):
        document.override({"clocks.core.x": 1})
    with pytest.raises(InputError, match="'gbl' is not an item here; nearest: 'glb'"):
        document.override({"memories.gbl.size": "1 KiB"})


def test_a_key_with_a_dot_of_its_own():
    text = "prices: {mac: {entry: a}, mac.gated: {entry: b}}\nlayers: [{name: conv1.0, k: 3}, {name: conv1, k: 5}]\n"
    document = parse_yaml(text)
    document.override({"prices.mac.gated.entry": "c", 'prices."mac.fp16"': {}, 'prices."mac.fp16".entry': "d"})
    assert document.data["prices"] == {"mac": {"entry": "a"}, "mac.gated": {"entry": "c"}, "mac.fp16": {"entry": "d"}}
    document.override({"prices.mac.entry": "e", "layers.conv1.0.k": 7})
    assert document.data["prices"]["mac"] == {"entry": "e"}
    assert [layer["k"] for layer in document.data["layers"]] == [7, 5]
    assert document.where(("prices", "mac.gated", "entry")) == "--set prices.mac.gated.entry"
    with pytest.raises(InputError, match="'' is not a key here"):
        document.override({"prices.mac.entry.": 1})


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "latin1").write_bytes(b"a: \xe9\n")
    (tmp_path / "zero").write_bytes(b"a: \0\n")
    (tmp_path / "large").write_bytes(b"a" * 101)
    for name in ("absent", "latin1", "zero", "."):
        with pytest.raises(InputError, match=r"must be|cannot be"):
            read_yaml(tmp_path / name)
    with pytest.raises(InputError, match="at most 0 MiB"):
        read_text(tmp_path / "large", 100)


@given(st.text())
@example("a: 1e999")
@example("? a")
@example("a: |\n  b")
@example("%YAML 9.9\n---\na")
@example("\ufeffa: 1")
@example("- - - a: {b: [c, {d: e}]}")
@example("{: }")
@example("a:\n\t- b")
def test_any_text_reads_or_is_an_input_error(text):
    with contextlib.suppress(InputError):
        parse_yaml(text)


@given(st.binary(max_size=200))
def test_any_file_reads_or_is_an_input_error(tmp_path_factory, raw):
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_bytes(raw)
    with contextlib.suppress(InputError):
        read_yaml(path)


WORDS = st.text(st.characters(codec="ascii", categories=["L", "N", "P", "Zs"]), max_size=12)
PLAIN = st.recursive(
    st.one_of(WORDS, st.integers(-(10**9), 10**9), st.booleans(), st.floats(allow_nan=False, allow_infinity=False)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(WORDS, inner, max_size=4)),
    max_leaves=12,
)


@pytest.mark.slow
@given(st.dictionaries(WORDS, PLAIN, min_size=1, max_size=5))
def test_what_a_strict_writer_writes_is_read_back(data):
    def quoted(value):  # words in quotes, so that none of them looks like a number
        if isinstance(value, str):
            return _Quoted(value)
        if isinstance(value, dict):
            return {_Quoted(key): quoted(item) for key, item in value.items()}
        return [quoted(item) for item in value] if isinstance(value, list) else value

    def equal(a, b):
        if isinstance(a, float):
            return math.isclose(a, float(b), rel_tol=1e-12)
        if isinstance(a, dict):
            return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
        if isinstance(a, list):
            return len(a) == len(b) and all(map(equal, a, b))
        return a == b

    assert equal(data, parse_yaml(yaml.dump(quoted(data), Dumper=_Dumper)).data)


class _Quoted(str):
    __slots__ = ()


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data):
        return True


_Dumper.add_representer(_Quoted, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))
