"""What results say of what they were computed from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import hwsim
from hwsim.report.saved import read_report
from tests.commands import call


def made(**changes: object) -> dict[str, object]:
    machine = hwsim.load_machine("eyeriss_v1", set=changes.pop("set", {}))
    report = hwsim.simulate(machine, changes.pop("workload", "lenet5_caffe"), 3)
    return report.to_dict()["provenance"]


def test_a_digest_changes_with_what_it_is_of_alone() -> None:
    plain, faster, other = made(), made(set={"clocks.core": "251 MHz"}), made(workload="kws")
    assert plain == made()
    assert (plain["hwsim"], plain["set"]) == (hwsim.__version__, {})
    assert faster["set"] == {"clocks.core": "251 MHz"}
    assert faster["machine"] != plain["machine"]
    assert other["workload"] != plain["workload"]
    assert (faster["workload"], other["machine"]) == (plain["workload"], plain["machine"])
    assert plain["tables"] == faster["tables"] == other["tables"]


_DIGEST = "import hashlib, hwsim; print(hashlib.sha256(hwsim.simulate({!r}, {!r}, 3).to_json().encode()).hexdigest())"


@pytest.mark.parametrize(
    ("machine", "workload"), [("eyeriss_v1", "lenet5_caffe"), ("h100", "bert_base"), ("gap9", "kws")]
)
def test_a_result_is_the_same_bytes_whatever_the_order_of_sets(machine: str, workload: str) -> None:
    """Python orders sets of text by a seed that differs from process to process."""
    found = {
        subprocess.check_output(
            [sys.executable, "-c", _DIGEST.format(machine, workload)], env=os.environ | {"PYTHONHASHSEED": seed}
        )
        for seed in ("0", "31")
    }
    assert len(found) == 1


def test_pruned_weights_are_another_network() -> None:
    dense = hwsim.Workload("one", [hwsim.Gemm("fc", n=31, k=127)])
    pruned = hwsim.Workload("one", [hwsim.Gemm("fc", n=31, k=127, weight={"dtype": "int8", "density": 0.3})])
    assert made(workload=dense)["workload"] != made(workload=pruned)["workload"]


def test_a_table_has_its_provenance_beside_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert call(capsys, "run", "eyeriss_v1", "lenet5_caffe", "--batch", 3, "--csv", tmp_path / "layers.csv")[0] == 0
    assert json.loads((tmp_path / "layers.csv.provenance.json").read_text()) == made()
    assert "#" not in (tmp_path / "layers.csv").read_text()
    _, out, _ = call(capsys, "run", "eyeriss_v1", "lenet5_caffe", "--csv", "-")
    assert out.startswith("layer,")
    assert len(list(tmp_path.iterdir())) == 2


def test_reports_of_the_last_release_are_read(tmp_path: Path) -> None:
    data = hwsim.simulate("eyeriss_v1", "lenet5_caffe").to_dict()
    now, before, wrong = tmp_path / "now.json", tmp_path / "before.json", tmp_path / "wrong.json"
    now.write_text(json.dumps(data))
    before.write_text(json.dumps({key: value for key, value in data.items() if key != "provenance"}))
    wrong.write_text(json.dumps(data | {"provenance": {"hwsim": 3}}))
    assert read_report(str(now))["provenance"] == data["provenance"]
    assert read_report(str(before))["summary"]["machine"] == "eyeriss_v1"
    with pytest.raises(hwsim.InputError, match="provenance"):
        read_report(str(wrong))


def test_a_page_says_what_it_was_made_of() -> None:
    report = hwsim.simulate("eyeriss_v1", "lenet5_caffe", 3)
    assert f"machine {made()['machine'][:12]}, workload" in report.to_html()


def test_tables_of_a_sweep_say_what_they_were_computed_from(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Machine and network have the digests of a single run of them."""
    file = tmp_path / "sides.yaml"
    file.write_text(
        "name: sides\nmachines: [eyeriss_v1]\nworkloads: [lenet5_caffe]\nbatch: [1, 3]\nset: {array.cols: [14, 13]}\n"
    )
    code, _, err = call(capsys, "sweep", file, "-o", tmp_path, "--workers", 1)
    assert code == 0, err
    origin, one = json.loads((tmp_path / "sides.csv.provenance.json").read_text()), made()
    assert origin["machines"] == {"eyeriss_v1": one["machine"]}
    assert origin["workloads"] == {"lenet5_caffe": one["workload"]}
    assert origin["set"] == ["array.cols"]
    assert {key: origin[key] for key in ("hwsim", "format", "tables")} == {
        key: one[key] for key in ("hwsim", "format", "tables")
    }
