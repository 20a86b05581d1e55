"""Reports as HTML: complete in one file, safe against what they show, and right in a real browser."""

import math
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from browser import needs_chromium, open_page
from hypothesis import given, settings, strategies as st

import hwsim
from hwsim.engine import Interval, Pipeline, Program, Run, Stage, simulate as run_program
from hwsim.report.breakdown import binding, busy_shares, energy_parts, latency_parts
from hwsim.report.html.gantt import busy_shares as slices, gantt
from hwsim.report.html.provenance import machine_rows
from hwsim.report.html.svg import escape, linear_ticks, log_ticks
from hwsim.scenario import duty_cycle
from hwsim.validation.predictions import of_machine

HOSTILE = "</title><script>alert(1)</script><img src=x onerror=alert(2)>\"'&amp;`"
RUNS = [("eyeriss_v1", "alexnet", 4), ("systolic_ws", "lenet5_caffe", 1), ("tpu_v1", "tpu_mlp0", 2), ("nvdla_256", "kws", 1),
        ("eyeriss_isca16", "lenet5_caffe", 1), ("nucleo_l4r5zi", "kws", 1), ("atmega328p", "ad", 1)]  # fmt: skip


def report(machine: str, workload: str, batch: int = 1) -> hwsim.Report:
    return hwsim.simulate(hwsim.load_machine(machine), hwsim.load_workload(workload), batch=batch)


@pytest.fixture(scope="module", params=RUNS, ids=lambda run: f"{run[0]}-{run[1]}")
def ran(request) -> hwsim.Report:
    return report(*request.param)


class Tags(HTMLParser):
    """Every element with its attributes; fails where tags do not nest."""

    VOID = {"meta", "br", "img", "link", "rect", "circle", "path", "line"}

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag, attrs) -> None:
        self.found.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_startendtag(self, tag, attrs) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag) -> None:
        while self.open[-1] != tag and self.open[-1] in self.VOID:
            self.open.pop()
        assert self.open.pop() == tag


def tags(html: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Tags()
    parser.feed(html)
    parser.close()
    assert not [tag for tag in parser.open if tag not in Tags.VOID]
    return parser.found


def test_parts_of_a_layer_add_up(ran) -> None:
    for result in ran.results:
        assert math.fsum(latency_parts(result).values()) == pytest.approx(result.latency_s)
        if not math.isnan(result.energy_pj):
            assert math.fsum(energy_parts(result).values()) == pytest.approx(result.energy_pj, rel=1e-9)
        for by_stage in (False, True):
            assert all(0 <= share <= 1 + 1e-12 for share in busy_shares(result, by_stage).values())
        resource = "the array" if result.bound.startswith("array shape") else result.bound
        assert resource in binding(result) or "in sequence" in binding(result)


def test_no_layer_is_above_a_roof(ran) -> None:
    """Time is at least what each memory takes to move the bytes, and what the array takes for the MACs."""
    machine = ran.machine
    hz = machine.timebase.clocks[machine.core_clock]
    for result in ran.results:
        for traffic in machine.traffic(result.plan):
            assert traffic.bytes / traffic.bytes_per_s <= result.latency_s * (1 + 1e-6), traffic
        assert result.plan.macs_executed <= result.plan.peak_macs_per_cycle * hz * result.latency_s * (1 + 1e-9)


def test_the_outermost_roof_is_the_one_of_the_file() -> None:
    """Eyeriss moves 8 bytes of its 60 MHz link a cycle: 480 MB/s; its ofmap port 4 words of 16 bits at 200 MHz."""
    ran = report("eyeriss_v1", "alexnet", 4)
    found = {t.memory: t for t in ran.machine.traffic(ran.results[0].plan)}
    assert found["dram"].bytes_per_s == 480e6
    assert found["dram"].bytes == ran.results[0].plan.dram_bytes
    assert found["glb ofmap"].bytes_per_s == 1.6e9


@pytest.mark.slow
def test_page_is_whole_and_loads_nothing(ran) -> None:
    html = ran.to_html()
    found = tags(html)
    assert [tag for tag, _ in found].count("script") == 1
    for tag, attributes in found:
        assert not {"src", "srcset", "data", "action", "background", "poster"} & set(attributes), tag
        assert not [name for name in attributes if name.startswith("on")]
        assert attributes.get("href", "#").startswith("#")
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
    assert "@import" not in html
    assert "url(" not in html
    ids = [attributes["id"] for _, attributes in found if "id" in attributes]
    assert len(ids) == len(set(ids))
    for heading in ("Latency and energy of each layer", "Bottleneck of each layer", "Roofline", "Memory over the run",
                    "Timeline", "Accuracy", "Machine as used", "Workload as used"):  # fmt: skip
        assert f">{heading}</h2>" in html


@pytest.mark.slow
def test_charts_are_xml_with_text_alternatives(ran) -> None:
    pictures = re.findall(r"<svg.*?</svg>", ran.to_html(), re.DOTALL)
    assert len(pictures) >= 4
    for text in pictures:
        svg = ElementTree.fromstring(text)
        assert svg.get("role") == "img"
        title, desc = svg.get("aria-labelledby").split()
        told = {child.get("id"): child.text for child in svg if child.tag in ("title", "desc")}
        assert told[title]
        assert len(told[desc]) > 20
        assert "nan" not in re.sub(r"<(title|desc|text).*?</\1>", "", text).lower()


@pytest.mark.slow
def test_what_files_say_is_escaped() -> None:
    names = [HOSTILE, "]]>", "<!--", "a\u202eb" if "a\u202eb".isprintable() else "b", "ünï 层 𝒳"]
    layers = [hwsim.Conv2d(f"{name} {i}", c=4, h=8, w=8, k=4, r=3, pad=1) for i, name in enumerate(names)]
    network = hwsim.Workload(HOSTILE, layers, source=HOSTILE)
    for machine in ("systolic_ws", "nucleo_l4r5zi"):
        ran = hwsim.simulate(hwsim.load_machine(machine), network)
        for html in (ran.to_html(), ran._repr_html_()):
            found = tags(html)
            assert [tag for tag, _ in found].count("script") <= 1
            assert not [tag for tag, _ in found if tag == "img"]
            assert "<!--" not in html
            assert "alert(1)</script>" not in html
            assert escape("ünï 层 𝒳 4") in html


@given(st.text())
@settings(max_examples=50)
def test_escaped_text_is_text(text: str) -> None:
    parser = Tags()
    safe = escape(text)
    parser.feed(f'<p title="{safe}">{safe}</p>')
    parser.close()
    assert [tag for tag, _ in parser.found] == ["p"]
    ElementTree.fromstring(f'<p title="{safe}">{safe}</p>')


@given(st.floats(1e-12, 1e15))
def test_ticks_are_round_and_few(top: float) -> None:
    ticks = linear_ticks(top)
    assert 2 <= len(ticks) <= 7
    assert ticks[0] == 0
    assert ticks[-1] <= top * 1.001
    step = ticks[1] / 10 ** math.floor(math.log10(ticks[1]) + 1e-9)
    assert any(math.isclose(step, m, rel_tol=1e-6) for m in (1, 2, 5, 10))


@pytest.mark.slow
@given(st.floats(1e-6, 1e6), st.floats(1.5, 1e12))
def test_logarithmic_ticks_are_within_the_range(low: float, factor: float) -> None:
    ticks = log_ticks(low, low * factor)
    assert len(ticks) <= 10
    assert all(low * 0.99 <= tick <= low * factor * 1.01 for tick in ticks)


@pytest.mark.slow
@given(
    st.lists(
        st.tuples(st.integers(0, 80), st.integers(1, 20), st.integers(1, 9), st.integers(0, 12)), min_size=1, max_size=8
    )
)
@settings(max_examples=60)
def test_slices_of_the_timeline_hold_all_work(pieces) -> None:
    """However a stretch is told, the slices hold the ticks that were worked, and none more than there are."""
    found, at = [], 0
    for gap, work, repeat, pause in pieces:
        at += gap
        found.append(Interval("r", "p", "s", 0, at, at + work, repeat, work + pause))
        at = found[-1].last_end
    shares = slices(found, at, 1, 37)
    assert shares.sum() * at / 37 == pytest.approx(sum(i.busy for i in found))
    assert shares.min() >= 0
    assert shares.max() <= 1


def test_of_very_many_resources_the_busiest_are_drawn() -> None:
    stages = [Stage(f"s{i}", f"core {i}") for i in range(30)]
    tiles = (Run(3, tuple(range(1, 31))),)
    timeline = run_program(Program({stage.resource: 1 for stage in stages}, (Pipeline("p", tuple(stages), tiles),)))
    chart = gantt("Timeline", timeline, 1e6, [("layer", timeline.end)])
    assert "The 12 busiest of 30 resources" in chart.description
    text = chart.svg.render("k", "t", "d")
    assert "core 29" in text
    assert "core 5<" not in text


@pytest.mark.slow
def test_every_value_of_a_machine_file_has_a_source() -> None:
    machine = hwsim.load_machine("nucleo_l4r5zi")
    rows = {".".join(path): source for path, _, source in machine_rows(machine.document.data)}
    assert "RM0432" in rows["flash.weight_byte"]
    assert "MLPerf" in rows["power.active.zephyr"]
    html = report("nucleo_l4r5zi", "kws").to_html()
    assert "x-cube-ai-9.0: pointwise_mac" in html, "the library's constants are there too"


def test_the_error_of_the_model_is_told() -> None:
    ran = report("eyeriss_v1", "lenet5_caffe")
    predictions = of_machine(ran.machine)
    html = ran.to_html(predictions=predictions)
    assert "mean latency error" in html
    assert f"compared with {len(predictions)} published quantities" in html
    assert "hwsim validate eyeriss_v1" in escape(ran.to_html()), "what has the predictions, where the page has none"
    assert of_machine(hwsim.load_machine("systolic_ws")) == []
    assert "There is no published measurement for systolic_ws" in report("systolic_ws", "lenet5_caffe").to_html()
    changed = hwsim.load_machine("eyeriss_v1", set={"clocks.core": "250 MHz"})
    assert [row.predicted for row in of_machine(changed)] == [row.predicted for row in predictions]
    html = hwsim.simulate(changed, hwsim.load_workload("lenet5_caffe")).to_html(predictions=predictions)
    assert "This run overrides keys of the machine" in html
    assert "changed for this run (--set)" in html


def test_a_warning_of_the_battery_stands_out() -> None:
    """A CR2032 is rated for 0.19 mA; its warnings are marked, and its figures are not."""
    ran = report("nucleo_l4r5zi", "kws")
    scenario = duty_cycle(ran, "1 s", battery="CR2032")
    assert scenario.warnings
    html = ran.to_html(scenario)
    for text in scenario.warnings:
        assert f'<p class="bad">{escape(text)}</p>' in html
    for line in scenario.figures():
        assert f"<p>{escape(line.strip())}</p>" in html


def test_a_page_runs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page is written from the result alone: no machine is loaded or planned for it, and no program is run."""
    ran = report("eyeriss_v1", "lenet5_caffe")
    expected = ran.to_html()
    for place in ("hwsim.simulation.run_program", "hwsim.simulation._simulate", "hwsim.machines.Machine.layer_plan"):
        monkeypatch.setattr(place, None)
    assert ran.to_html() == expected


@pytest.mark.slow
def test_unknown_energy_is_said_and_not_drawn() -> None:
    machine = hwsim.load_machine("nucleo_l4r5zi", set={"power.active": "unknown"})
    html = hwsim.simulate(machine, hwsim.load_workload("kws")).to_html()
    assert "Energy of 13 layers is unknown" in html
    assert ">energy</text>" not in html, "there is no panel of it"
    assert not re.search(r"\bnan\b", re.sub(r"<(style|script)>.*?</\1>", "", html, flags=re.DOTALL), re.IGNORECASE)


@pytest.mark.slow
def test_resnet50_is_small_enough_to_mail() -> None:
    assert len(report("nvdla_256", "resnet50_v1").to_html().encode()) < 500_000


@pytest.mark.slow
def test_many_layers_are_folded() -> None:
    layers = [hwsim.Gemm(f"g{i}", m=1, n=8, k=8 + i % 5) for i in range(3000)]
    ran = hwsim.simulate(hwsim.load_machine("systolic_ws"), hwsim.Workload("long", layers))
    html = ran.to_html()
    assert len(html) < 2_000_000
    assert "faster layers" in html


def test_fragment_is_for_a_notebook(ran) -> None:
    html = ran._repr_html_()
    found = tags(html)
    assert html.startswith('<div class="hwsim">')
    assert not [tag for tag, _ in found if tag in ("script", "html", "body", "link")]
    style = re.sub(r"@(media|page)[^{]*\{", "", re.search(r"<style>(.*?)</style>", html, re.DOTALL)[1])
    for selector in re.findall(r"([^{}]+)\{", style):
        assert all(one.strip().startswith((".hwsim", "@")) for one in selector.split(",")), selector


@pytest.mark.slow
def test_run_writes_the_page(tmp_path: Path, capsys) -> None:
    import sys

    from hwsim import cli

    sys.argv = [
        "hwsim",
        "run",
        "nucleo_l4r5zi",
        "kws",
        "--every",
        "1 s",
        "--battery",
        "CR2032",
        "--html",
        str(tmp_path / "r.html"),
    ]
    cli.main()
    html = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert ">Duty cycle</h2>" in html
    assert "battery life" in html
    assert "bound by" in capsys.readouterr().out


@needs_chromium
@pytest.mark.parametrize(
    "run", [("eyeriss_v1", "alexnet", 4), ("nucleo_l4r5zi", "kws", 1), ("nvdla_256", "resnet50_v1", 1)]
)
def test_in_a_browser(run, tmp_path: Path) -> None:
    ran = report(*run)
    scenario = duty_cycle(ran, "1 s", "CR2032") if run[0] == "nucleo_l4r5zi" else None
    opened = open_page(ran.to_html(scenario), tmp_path)
    assert opened.console == []
    charts = {chart["title"]: chart for chart in opened.found["charts"]}
    assert {"Latency and energy of each layer", "Roofline", "Timeline"} <= set(charts)
    assert ("Time and energy by state" in charts) == (scenario is not None)
    for title, chart in charts.items():
        assert min(chart["box"]) > 20, title
        assert chart["shapes"] > 1, title
        assert chart["outside"] == [], title
    assert not opened.found["wide"], "the page does not scroll sideways"
    column = opened.found["sorted"]
    assert column == sorted(column)


@needs_chromium
def test_dark_where_the_system_is_dark(tmp_path: Path) -> None:
    html = report("systolic_ws", "lenet5_caffe").to_html()
    light = open_page(html, tmp_path).found["back"]
    dark = open_page(html, tmp_path, "--blink-settings=preferredColorScheme=0").found["back"]
    brightness = [sum(map(int, re.findall(r"\d+", back))) for back in (light, dark)]
    assert brightness[0] > 600
    assert brightness[1] < 200


@needs_chromium
def test_a_hostile_name_does_nothing_in_a_browser(tmp_path: Path) -> None:
    network = hwsim.Workload(HOSTILE, [hwsim.Gemm(f"{HOSTILE}{i}", m=2, n=8, k=8) for i in range(2)], source=HOSTILE)
    html = hwsim.simulate(hwsim.load_machine("systolic_ws"), network).to_html()
    opened = open_page(
        html.replace("<head>", "<head><script>window.alert = () => { window.alerted = 1 }</script>"), tmp_path
    )
    assert opened.found["alerts"] == 0
    assert opened.console == []


@pytest.mark.slow
@pytest.mark.parametrize(("name", "said"), [("t4", "dram: 320 GB/s"), ("core_i3_8100", "dram: 38.4 GB/s")])
def test_processors_and_gpus_have_a_roofline(name: str, said: str) -> None:
    page = hwsim.simulate(hwsim.load_machine(name), hwsim.load_workload("resnet50_v1_5")).to_html()
    assert said in page
    assert "Constants of its libraries" in page


def test_a_network_that_caches_hold_is_told_to_have_no_slanted_roof() -> None:
    network = hwsim.load_workload("mobilenet_v2_1.0_224")
    page = hwsim.simulate(hwsim.load_machine("epyc_zen5", set={"threads": 4}), network).to_html()
    assert "all data stays in caches" in page


def test_a_memory_faster_than_any_number_has_no_roof() -> None:
    """A knee of zero operations a byte has no place on a logarithmic axis."""
    machine = hwsim.load_machine("rp2040", set={"flash.weight_byte": 1e-308})
    assert "<svg" in hwsim.simulate(machine, hwsim.load_workload("kws")).to_html()
