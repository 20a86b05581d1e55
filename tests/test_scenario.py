"""Duty cycles by hand: average power, duty, missed deadlines, battery life; the same with and without fast-forward."""

import json
from pathlib import Path

import pytest
from made import MCU_LIBRARY as LIBRARY

import hwsim
from hwsim.cli import main
from hwsim.errors import InputError
from hwsim.report.report import Report
from hwsim.scenario import BATTERIES, DutyCycle, duty_cycle, parse_battery

BOARD = """
kind: mcu
name: board
source: test
clocks: {core: 1 MHz}
core: cortex-m4
library: mine.yaml
flash: {size: 64 KiB, weight_byte: 0, source: test}
ram: {size: 16 KiB, reserved: 1 KiB, source: test}
power: {active: 100 mW, sleep: 1 mW, deep_sleep: 10 uW, wake_up: 0 s, source: test}
"""
DAY = 86_400


@pytest.fixture
def report(tmp_path: Path):
    """An inference of 10 ms on a board of round numbers: 1000 cycles and 450 elements of 20 at 1 MHz."""
    (tmp_path / "mine.yaml").write_text(LIBRARY)
    (tmp_path / "board.yaml").write_text(BOARD)

    def run(elements: int = 450, **power: str) -> Report:
        machine = hwsim.load_machine(tmp_path / "board.yaml", set={f"power.{k}": v for k, v in power.items()})
        layer = hwsim.Elementwise("add", shape=(elements,))
        return hwsim.simulate(machine, hwsim.Workload("w", (layer,), graph=False))

    return run


def same(one: DutyCycle, other: DutyCycle) -> bool:
    """Equal but for how many events it took."""
    names = ("window_s", "inferences", "missed", "duty", "time_s", "energy_j")
    return all(getattr(one, name) == getattr(other, name) for name in names)


def test_average_power_and_life_by_hand(report) -> None:
    found = duty_cycle(report(), every="1 s", battery="CR2032")
    # 10 ms at 100 mW and 990 ms at 10 uW: 1 mJ + 9.9 uJ a second.
    assert found.average_w == pytest.approx(1.0099e-3, rel=1e-12)
    assert found.duty == 0.01
    assert (found.inferences, found.missed, found.window_s) == (DAY, 0, DAY)
    assert found.life_s == pytest.approx(0.225 * 3600 * 3 / 1.0099e-3, rel=1e-12)
    assert found.energy_j == {"inference": pytest.approx(86.4), "deep sleep": pytest.approx(0.99 * DAY * 10e-6)}


def test_waking_up_draws_active_power_and_counts_as_duty(report) -> None:
    found = duty_cycle(report(wake_up="5 ms"), every="100 ms", duration="10 s")
    assert found.time_s == {"inference": 1.0, "wake-up": 0.5, "deep sleep": 8.5}
    assert found.average_w == pytest.approx((1.5 * 0.1 + 8.5 * 10e-6) / 10)
    assert found.duty == 0.15


@pytest.mark.parametrize("slow", [False, True])
def test_capture_sleeps_lightly_and_the_rest_deeply(report, slow: bool) -> None:
    found = duty_cycle(report(), every="1 s", capture="200 ms", duration="50 s", fast_forward=not slow)
    assert found.time_s == {"inference": 0.5, "sleep": 10.0, "deep sleep": 39.5}
    assert found.average_w == pytest.approx((0.5 * 0.1 + 10 * 1e-3 + 39.5 * 10e-6) / 50)


def test_the_next_capture_fills_while_the_core_works(report) -> None:
    found = duty_cycle(report(), every="100 ms", capture="95 ms", duration="10 s")
    # 5 ms of each capture pass while the core works.
    assert found.time_s == {"inference": 1.0, "sleep": 9.0}
    assert found.missed == 0


def test_latency_longer_than_the_period_misses_every_deadline(report) -> None:
    found = duty_cycle(report(), every="8 ms", duration="8 s")
    assert (found.inferences, found.missed, found.duty) == (1000, 1000, 1.0)
    assert found.window_s == 10.0
    assert found.average_w == pytest.approx(0.1)
    assert duty_cycle(report(), every="10 ms", duration="8 s").missed == 0


@pytest.mark.parametrize(
    ("every", "capture", "wake_up"),
    [("1 s", "0 s", "0 s"), ("1 s", "300 ms", "7 us"), ("9 ms", "1 ms", "0 s"), ("11 ms", "11 ms", "1 ms"),
     ("11 ms", "10 ms", "2 ms"), ("10 ms", "1 ms", "0 s")],
)  # fmt: skip
def test_fast_forward_equals_the_full_run(report, every: str, capture: str, wake_up: str) -> None:
    ran = report(wake_up=wake_up)
    quick = duty_cycle(ran, every, capture=capture, duration="3 s")
    full = duty_cycle(ran, every, capture=capture, duration="3 s", fast_forward=False)
    assert same(quick, full)
    assert sum(quick.time_s.values()) == pytest.approx(quick.window_s)


def test_a_day_and_ten_years_take_as_many_events(report) -> None:
    ran = report()
    day = duty_cycle(ran, "1 s")
    decade = duty_cycle(ran, "1 s", duration="315576000 s")
    assert day.timeline.events == decade.timeline.events < 100
    assert day.average_w == pytest.approx(decade.average_w)


def test_jitter_is_seeded_and_delays_some(report) -> None:
    ran = report()
    one = duty_cycle(ran, "12 ms", duration="12 s", jitter="4 ms", seed=1)
    assert same(one, duty_cycle(ran, "12 ms", duration="12 s", jitter="4 ms", seed=1))
    assert not same(one, duty_cycle(ran, "12 ms", duration="12 s", jitter="4 ms", seed=2))
    # A period is below 10 ms for a quarter of the draws.
    assert 0.2 < one.missed / one.inferences < 0.6
    assert one.window_s == pytest.approx(12, rel=0.05)


def test_jitter_of_next_to_nothing_is_no_jitter(report) -> None:
    ran = report(wake_up="1 ms")
    even = duty_cycle(ran, "100 ms", duration="5 s", capture="92 ms")
    odd = duty_cycle(ran, "100 ms", duration="5 s", capture="92 ms", jitter="1 us")
    assert odd.average_w == pytest.approx(even.average_w, rel=1e-4)
    assert odd.time_s["sleep"] == pytest.approx(even.time_s["sleep"], rel=1e-4)


def test_a_burst_brings_up_to_so_many_inputs_one_capture_apart(report) -> None:
    found = duty_cycle(report(), "100 ms", duration="20 s", capture="12 ms", burst=4, seed=3)
    begun = [round(i.start / 1e3) for i in found.timeline.each_interval() if i.stage == "capture"]
    by_period = [[at for at in begun if at // 100 == n] for n in range(200)]
    assert {len(inputs) for inputs in by_period} == {1, 2, 3, 4}
    assert all(inputs == [n * 100 + 12 * k for k in range(len(inputs))] for n, inputs in enumerate(by_period))
    # 10 ms of work fit in 12 ms of capture.
    assert (found.missed, found.backlog, found.inferences) == (0, 1, len(begun))
    assert 2.2 < found.inferences / 200 < 2.8


def test_a_burst_faster_than_the_core_is_late_and_waits(report) -> None:
    found = duty_cycle(report(), "100 ms", duration="20 s", capture="4 ms", burst=6, seed=3)
    # Six inputs, full every 4 ms and worked off every 10 ms: at the last, 20 ms after the first, two are done.
    assert found.backlog == 4
    assert found.missed > 0
    alike = duty_cycle(report(), "100 ms", duration="20 s", capture="4 ms", burst=6, seed=3, fast_forward=False)
    assert same(found, alike)


def test_a_sensor_draws_power_while_it_captures(report) -> None:
    found = duty_cycle(report(), "1 s", "CR2032", capture="200 ms", duration="50 s", sensor="4 mW")
    # 200 ms at 4 mW a second beside the core, which draws 100 mW at most.
    assert found.energy_j["sensor"] == pytest.approx(50 * 0.2 * 4e-3)
    assert found.average_w == pytest.approx((0.5 * 0.1 + 10 * 1e-3 + 39.5 * 10e-6) / 50 + 0.8e-3)
    assert found.peak_w == pytest.approx(0.104)
    assert sum(found.time_s.values()) == pytest.approx(50)


def test_waking_up_may_draw_a_power_of_its_own(report) -> None:
    found = duty_cycle(report(wake_up="5 ms", waking="200 mW"), every="100 ms", duration="10 s")
    assert found.energy_j["wake-up"] == pytest.approx(0.1)
    assert found.peak_w == pytest.approx(0.2)


def test_a_cell_that_cannot_deliver_the_current_is_told(report) -> None:
    # 100 mW at 3 V are 33 mA; a coin cell gives 15 mA in pulses, and 0.19 mA all the time.
    coin = duty_cycle(report(), "1 s", "CR2032")
    assert [warning.code for warning in coin.warnings] == ["battery.peak_current", "battery.average_current"]
    peak, average = (warning.values for warning in coin.warnings)
    assert (peak["peak_ma"], peak["pulse_ma"]) == (pytest.approx(100 / 3), 15)
    assert (average["average_ma"], average["rated_ma"]) == (pytest.approx(0.337, abs=5e-4), 0.19)
    assert "WARNING: peak current 33.33 mA" in "\n".join(coin.lines())
    assert duty_cycle(report(), "1 s", "2xAA").warnings == ()
    assert len(duty_cycle(report(), "1 s", "1000 mAh 3.7 V 20 mA").warnings) == 1
    assert duty_cycle(report(), "1 s", "1000 mAh 3.7 V").warnings == ()
    _, shelf = duty_cycle(report(deep_sleep="1 uW"), "1 h", "CR2032", duration="10 days").warnings
    assert (shelf.code, shelf.values) == ("battery.shelf_life", {"battery": "CR2032", "shelf_years": 10})


def test_a_linear_regulator_on_a_battery_draws_the_measured_current(report) -> None:
    plain = {"measured_supply": "1.5 V", "regulator": "ldo"}
    found = duty_cycle(report(**plain), "1 s", "CR2032")
    # 100 mW at 1.5 V are 66.7 mA; so they are from a cell of 3 V.
    assert found.average_w == pytest.approx(2 * 1.0099e-3)
    assert found.battery.current_ma(found.peak_w) == pytest.approx(0.1 / 1.5 * 1e3)
    values = {"battery": "CR2032", "measured_v": 1.5, "battery_v": 3, "factor": 2}
    assert [note.values for note in found.notes if note.code == "scenario.unregulated"] == [values]
    converted = duty_cycle(report(**plain, supply="1.5 V"), "1 s", "CR2032")
    assert converted.average_w == duty_cycle(report(), "1 s", "CR2032").average_w == pytest.approx(1.0099e-3)


def test_times_of_hours_and_days(report) -> None:
    ran = report()
    assert same(duty_cycle(ran, "1 min", duration="2 days"), duty_cycle(ran, "60 s", duration="48 h"))
    assert duty_cycle(ran, "1 min", duration="2 days").inferences == 2880


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("more", [{}, {"jitter": "20 ms"}, {"burst": 2}])
def test_the_timeline_shows_sleep_and_the_first_inference(report, slow: bool, more: dict[str, object]) -> None:
    ran = report(wake_up="5 ms")
    found = duty_cycle(ran, "100 ms", duration="5 s", capture="30 ms", fast_forward=not slow, **more)
    timeline = found.timeline
    per_s = timeline.timebase.rate_hz
    busy = dict.fromkeys(("sleep", "deep sleep", "wake-up", "inference"), 0)
    for interval in timeline.each_interval():
        if interval.resource == "core":
            busy[interval.stage] += interval.busy
    # The window starts when the first capture is full, and the core is watched from the start of it to its last work.
    assert busy["inference"] / per_s == pytest.approx(found.time_s["inference"])
    assert busy["wake-up"] / per_s == pytest.approx(found.time_s["wake-up"])
    assert sum(busy.values()) == timeline.end
    assert busy["sleep"] / per_s == pytest.approx(found.time_s["sleep"], abs=0.03)
    layers = [i for i in timeline.each_interval() if i.resource == "layers"]
    first = min((i for i in timeline.each_interval() if i.stage == "inference"), key=lambda i: i.start)
    assert (layers[0].start, layers[-1].end) == (first.start, first.end)
    events = json.loads(timeline.to_json())["traceEvents"]
    slept = [e for e in events if e["name"] == "duty cycle/sleep"]
    assert (slept[0]["ts"], slept[0]["dur"]) == (0, 30_000)
    assert len(events) < (200 if not slow and not more else 1000)


def test_many_unequal_periods_are_cut_and_told(report) -> None:
    found = duty_cycle(report(), "1 s", jitter="10 ms")
    assert found.inferences == 10_000
    assert found.notes[-1].values == {"simulated": 10_000, "periods": 86_400}


@pytest.mark.parametrize("key", ["sleep", "deep_sleep", "wake_up", "active"])
def test_an_unknown_power_is_never_zero(report, key: str) -> None:
    found = duty_cycle(report(**{key: "unknown"}), "1 s", "CR2032", capture="100 ms")
    if key == "deep_sleep":
        # Without deep sleep it is sleep all the way.
        assert found.average_w == pytest.approx(0.01 * 0.1 + 0.99 * 1e-3)
        assert found.notes[-1].code == "scenario.light_sleep"
        return
    assert found.average_w is None
    assert found.life_s is None
    text = "\n".join(found.lines())
    assert "average power unknown, at least" in text
    assert f"power.{key}" in text


def test_batteries_by_name_and_by_what_they_hold() -> None:
    assert parse_battery("cr2032") is BATTERIES["CR2032"]
    assert parse_battery("CR2032").energy_j == 0.225 * 3600 * 3
    assert parse_battery("1000 mAh 3.7 V").energy_j == pytest.approx(3600 * 3.7)
    assert parse_battery("2 Ah 1.5 V").energy_j == pytest.approx(2 * 3600 * 1.5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"every": "0 s"}, "every must be more than zero, not '0 s'"),
        ({"every": "-1 s"}, "every must be a time"),
        ({"every": "1"}, "the unit is missing"),
        ({"every": "1 s", "battery": "CR2023"}, "nearest: 'CR2032'"),
        ({"every": "1 s", "battery": "0 mAh 3 V"}, "battery must have a capacity above zero"),
        ({"every": "1 s", "battery": "10 mAh 3 W"}, "battery must be a voltage"),
        ({"every": "1 s", "duration": "10 ms"}, "duration must be at least a period of 1 s, not '10 ms'"),
        ({"every": "1 s", "capture": "2 s"}, "must fit in a period of 1 s"),
        ({"every": "1 s", "jitter": "1 s"}, "must fit in a period of 1 s"),
        ({"every": "1 s", "capture": "300 ms", "burst": 4}, "4 captures and jitter must fit in a period of 1 s"),
        ({"every": "1 s", "burst": 0}, "burst must be from 1 to 10,000 inputs, not 0"),
        ({"every": "1 s", "sensor": "1 mW"}, "must take time to capture: give capture"),
        ({"every": "1 s", "sensor": "1 mA"}, "sensor must be a power such as '278 mW'"),
    ],
)
def test_what_cannot_be_is_told(report, given: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        duty_cycle(report(), **given)


def test_only_a_microcontroller_sleeps() -> None:
    network = hwsim.load_workload("lenet5_caffe")
    with pytest.raises(InputError, match="must be that of a board, systolic_ws is of kind pe_array"):
        duty_cycle(hwsim.simulate(hwsim.load_machine("systolic_ws"), network), "1 s")


def test_the_command_prints_it(capsys, monkeypatch, tmp_path: Path) -> None:
    def call(*arguments: str) -> str:
        monkeypatch.setattr("sys.argv", ["hwsim", "run", "nucleo_l4r5zi", "kws", *arguments])
        main()
        return capsys.readouterr().out

    out = call("--every", "1 s", "--battery", "CR2032")
    assert "86,400 inferences in 1 day\n" in out
    assert "missed deadlines 0" in out
    assert "battery life" in out
    found = json.loads(call("--every", "1 s", "--for", "12 h", "--json", "-"))
    assert found["summary"]["machine"] == "nucleo_l4r5zi"
    assert found["scenario"]["inferences"] == DAY // 2
    call(
        "--every",
        "1 s",
        "--capture",
        "100 ms",
        "--sensor",
        "1 mW",
        "--burst",
        "2",
        "--for",
        "1 min",
        "--trace",
        str(tmp_path / "t"),
    )
    names = {event["name"] for event in json.loads((tmp_path / "t").read_text())["traceEvents"]}
    assert {f"duty cycle/{state}" for state in ("capture", "wake-up", "inference", "sleep", "deep sleep")} <= names
    assert "conv_0/kernel/mac" in names
    with pytest.raises(SystemExit):
        call("--battery", "CR2032")
    assert "--battery must come with --every" in capsys.readouterr().err


@pytest.mark.parametrize("jitter", [0, 3])
@pytest.mark.parametrize("every", [9, 11, 12, 14, 25])
@pytest.mark.parametrize("capture", [0, 1, 6])
@pytest.mark.parametrize("waking", [0, 2])
def test_the_engine_agrees_with_a_clock_of_milliseconds(
    report, every: int, capture: int, waking: int, jitter: int
) -> None:
    count = 40
    ran = report(wake_up=f"{waking} ms")
    found = duty_cycle(
        ran, f"{every} ms", duration=f"{every * count} ms", capture=f"{capture} ms", jitter=f"{jitter} ms"
    )
    # Where each capture began is read off the timeline only if the periods are drawn.
    timer = [i.end / 1e6 for i in found.timeline.intervals if i.stage == "period"] if jitter else []
    starts = [0.0, *timer] if jitter else [k * every * 1e-3 for k in range(count)]
    end, ends = 0.0, []
    for start in starts:
        end = max(end, start + capture * 1e-3) + (waking + 10) * 1e-3
        ends.append(end)
    assert found.timeline.end / 1e6 == pytest.approx(end)
    following = [*starts[1:], float("inf") if jitter else count * every * 1e-3]
    late = sum(e > s + capture * 1e-3 + 1e-9 for e, s in zip(ends, following, strict=True))
    # When the last period of a drawn series ends, the timeline does not tell.
    assert found.missed - late in ((0, 1) if jitter else (0,))
    assert found.time_s["inference"] == pytest.approx(count * 10e-3)
    assert sum(found.time_s.values()) == pytest.approx(found.window_s)
