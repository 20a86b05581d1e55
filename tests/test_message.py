"""Facts for a user as data, and how they read."""

import json
import pickle

import pytest

import hwsim
from hwsim.message import Message, as_message, layer_names, merged, sentence
from hwsim.report.messages import table


@pytest.mark.parametrize(
    ("template", "value", "text"),
    [
        ("{x:.0%}", 0.127, "13%"),
        ("{x:si W}", 0.0127, "12.7 mW"),
        ("{x:si Hz 2}", 31.7e6, "32 MHz"),
        ("{x:size}", 257 * 1024, "257.0 KiB"),
        ("{x:count tile}", 1, "1 tile"),
        ("{x:count tile}", 2048, "2,048 tiles"),
        ("{x:.0%}", {"mac": 0.5, "flash": 0.25}, "mac 50%, flash 25%"),
        ("{x:,}", [1000, 2], "1,000, 2"),
        ("{x}", ["a", "b"], "a, b"),
        ("{x}", "{y}", "{y}"),
        ("since {x}", Message("inner", "{n} words", {"n": 3}), "since 3 words"),
    ],
)
def test_a_template_says_values_with_their_units(template: str, value: object, text: str) -> None:
    assert str(Message("test", template, {"x": value})) == text


def test_a_sentence_without_data_is_a_message() -> None:
    message = as_message("100 {percent}")
    assert (str(message), message.code) == ("100 {percent}", "text")
    assert as_message(message) is message


def test_messages_that_differ_in_their_layers_alone_are_one() -> None:
    def padded(layer: str, share: float) -> Message:
        return Message("padding", "{share:.0%} padding", {"share": share}, layers=(layer,))

    one, two = merged([padded("a", 0.5), padded("b", 0.25), padded("c", 0.5), padded("a", 0.5)])
    assert (one.layers, two.layers) == (("a", "c"), ("b",))
    assert sentence(one) == "a, c: 50% padding"
    assert layer_names([f"c{n}" for n in range(31)]) == "c0, c1, c2 and 28 more"
    assert layer_names(["a", "b", "c"], 3) == "all 3 layers"


def test_a_table_shows_each_column_in_its_unit() -> None:
    rows = ({"format": "int8", "latency_s": 0.0127, "change": -0.25}, {"format": "fp32", "latency_s": None})
    assert table(Message("test", "by format:", rows=rows)) == (
        ["format", "latency", "change"],
        [["int8", "12.7 ms", "-25%"], ["fp32", "", ""]],
    )


@pytest.mark.parametrize(
    "name", ["eyeriss_v1", "nvdla_256", "tpu_v1", "eyeriss_isca16", "nucleo_l4r5zi", "xeon_8280", "t4"]
)
def test_every_message_of_a_machine_is_data(name: str) -> None:
    """Each reads, survives a process, goes into JSON as it is, and all of one code have the same values by name."""
    machine = hwsim.load_machine(name)
    plan = machine.plan(hwsim.load_workload("lenet5_caffe"), 3)
    messages = [message for layer in plan for message in layer.why]
    messages += [message for layer in plan.names for message in machine.advice(plan, layer)]
    report = hwsim.simulate(plan)
    names: dict[str, set[str]] = {}
    for message in (*messages, *report.messages):
        assert str(message)
        assert "." in message.code
        assert pickle.loads(pickle.dumps(message)) == message
        assert json.loads(json.dumps(message.to_dict(), allow_nan=False)) == message.to_dict()
    for message in messages:
        assert names.setdefault(message.code, set(message.values)) == set(message.values)
    assert [message["text"] for message in report.to_dict()["messages"]] == list(map(str, report.messages))
