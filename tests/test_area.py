"""Silicon area: of each part, in the report of a run."""

import json
import math
from io import StringIO

from rich.console import Console

import hwsim
from hwsim.report.table import print_report

NETWORK = hwsim.Workload("one", [hwsim.Conv2d("conv", c=31, h=31, w=31, k=127, r=3, pad=1)])


def test_the_area_of_parts_is_their_number_times_the_area_of_each() -> None:
    """12 x 14 PEs of 0.0666 mm2 and 100 KiB of buffer at 5.37 um2 a byte; the chip's core is 3.5 mm x 3.5 mm."""
    machine = hwsim.load_machine("eyeriss_v1")
    parts = machine.area_parts_mm2()
    assert math.isclose(parts["pe"], 12 * 14 * 0.0666)
    assert math.isclose(parts["glb"], 100 * 1024 * 5.37e-6)
    assert machine.area_mm2 is not None
    assert math.isclose(math.fsum(parts.values()), machine.area_mm2)
    assert math.isclose(machine.area_mm2, 3.5 * 3.5, rel_tol=1e-3)
    wider = hwsim.load_machine("eyeriss_v1", set={"array.cols": 31, "area.fixed": "2 mm2"}).area_parts_mm2()
    assert math.isclose(wider["pe"], 12 * 31 * 0.0666)
    assert wider["fixed"] == 2


def test_a_report_has_the_area_where_the_machine_has_it() -> None:
    report = hwsim.simulate(hwsim.load_machine("systolic_ws"), NETWORK)
    area = report.to_dict()["area"]
    assert area["total_mm2"] == report.machine.area_mm2
    assert math.isclose(math.fsum(area["parts_mm2"].values()), area["total_mm2"])
    page = report.to_html()
    assert "Area by component" in page
    assert report.machine.spec.area.source in page
    for name, lines in (("systolic_ws", 1), ("nvdla_256", 0)):
        text = StringIO()
        print_report(hwsim.simulate(hwsim.load_machine(name), NETWORK), Console(file=text))
        assert sum(line.startswith("area ") for line in text.getvalue().splitlines()) == lines


def test_a_report_without_area_says_nothing_of_it() -> None:
    report = hwsim.simulate(hwsim.load_machine("nvdla_256"), NETWORK)
    assert "area" not in json.loads(report.to_json())
    assert "Area by component" not in report.to_html()
