"""Files of a user: nothing waits, nothing is lost, nothing half written, and one line says what is wrong."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from time import process_time

import pytest

import hwsim
from hwsim.errors import HwsimError, InputError, printable
from hwsim.files import FileView, csv_cell, read_bytes, read_text, write_file, write_text
from hwsim.units import parse

TRACE = "name: {name}\nsource: mine\ninput: [1, 8]\nlayers:\n  - {{fc: f, n: 3}}\n"


def run(*words: object, cwd: Path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from hwsim.cli import main; main()", *map(str, words)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False)


@pytest.mark.parametrize("kind", ["fifo", "folder", "device", "absent", "zero byte"])
@pytest.mark.parametrize("suffix", [".yaml", ".csv", ".onnx", ".tflite"])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, kind: str, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "zero byte":
        path = tmp_path / f"x\0{suffix}"
    signal.alarm(20)
    try:
        with pytest.raises(InputError, match=r"must be a file|cannot be read"):
            hwsim.load_workload(path)
    finally:
        signal.alarm(0)


def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    with path.open("wb") as stream:
        stream.truncate(2**40)
    with pytest.raises(InputError, match="must be at most 8 MiB"):
        hwsim.load_workload(path)
    with pytest.raises(InputError, match="must be at most"):
        hwsim.load_workload(path.rename(tmp_path / "large.onnx"))


def test_a_view_reads_what_is_there_and_tells_a_file_that_was_cut(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    data = bytes(range(256)) * 1031
    path.write_bytes(data)
    view = FileView(path, 2**20)
    assert len(view) == len(data)
    places = [0, 1, 65535, 65536, 131_071, len(data) - 1, 77]
    assert [view.at(place) for place in places] == [data[place] for place in places]
    assert view.read(65530, 100_003) == data[65530:165_533]
    os.truncate(path, 1000)
    with pytest.raises(InputError, match="was cut short while it was read"):
        view.read(2000, 10)


def test_an_output_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("old")
    path.chmod(0o640)

    def fails(target: Path) -> None:
        target.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match=r"out\.csv: cannot be written: No space left on device"):
        write_file(path, fails)
    assert path.read_text() == "old"
    write_text(path, "new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["out.csv"]
    link = tmp_path / "link.csv"
    link.symlink_to(path)
    write_text(link, "through")
    assert link.is_symlink()
    assert path.read_text() == "through"
    with pytest.raises(InputError, match="cannot be written"):
        write_text(tmp_path / "absent" / "x", "")
    with pytest.raises(InputError, match="it is a directory"):
        write_text(tmp_path, "")


@pytest.mark.parametrize("way", ["name", "hard link", "symbolic link"])
def test_an_input_is_never_replaced(tmp_path: Path, way: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(TRACE.format(name="mine"))
    hwsim.load_workload(path)
    target = path if way == "name" else tmp_path / "other.yaml"
    if way == "hard link":
        target.hardlink_to(path)
    elif way == "symbolic link":
        target.symlink_to(path)
    with pytest.raises(InputError, match="must not be an input of this command"):
        write_text(target, "gone")
    assert path.read_text() == TRACE.format(name="mine")


def test_a_file_in_place_of_an_old_input_may_be_written(tmp_path: Path) -> None:
    """An inode that is used again is another file."""
    path = tmp_path / "mine.yaml"
    path.write_text("a")
    read_bytes(path)
    path.unlink()
    write_text(path, "b")
    write_text(path, "c")
    assert path.read_text() == "c"


def test_commands_keep_their_inputs(tmp_path: Path) -> None:
    text = TRACE.format(name="mine")
    (tmp_path / "mine.yaml").write_text(text)
    for option in ("--csv", "--json", "--html", "--trace"):
        done = run("run", "systolic_ws", "mine.yaml", option, "mine.yaml", cwd=tmp_path)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert "must not be an input of this command" in done.stderr
        assert (tmp_path / "mine.yaml").read_text() == text


def test_streams_that_are_full_closed_or_gone(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-c", "from hwsim.cli import main; main()", "list", "machines"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["hwsim: standard output or a file: No space left on device"]
    shell = f"{sys.executable} -c 'from hwsim.cli import main; main()' list machines"
    for rest in (">&-", ">&- 2>&-", "| head -n 1 >/dev/null"):
        done = subprocess.run(
            ["bash", "-c", f"{shell} {rest}"], capture_output=True, text=True, timeout=120, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_a_fault_of_hwsim_itself_is_one_line(monkeypatch, capsys) -> None:
    from test_cli import call

    from hwsim.report import catalogue

    def fails(console: object) -> None:
        raise RuntimeError("a\nb")

    monkeypatch.setattr(catalogue, "print_machines", fails)
    code, out, err = call(capsys, "list", "machines")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "a fault of hwsim itself" in err
    assert "RuntimeError: a" in err


@pytest.mark.parametrize("name", ["\x1b[31mred", "a\u202eb", "a\x07", "\u2066x"])
def test_names_that_a_terminal_would_run_are_refused_or_escaped(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="printable"):
        hwsim.Gemm(name, m=1, n=1, k=1)
    workload = hwsim.Workload(name, [hwsim.Gemm("f", m=1, n=1, k=1)])
    assert workload.name.isprintable()
    quoted = "".join(f"\\u{ord(char):04x}" for char in name)
    path = tmp_path / "mine.yaml"
    path.write_text(TRACE.format(name=f'"{quoted}"'))
    with pytest.raises(InputError, match=r"mine\.yaml:1:7: must be printable text"):
        hwsim.load_workload(path)
    with pytest.raises(InputError, match=r"printable|control characters"):
        hwsim.load_machine("systolic_ws", set={"name": name})


def test_printable_text_is_left_alone() -> None:
    for text in ("", "3x3 conv, 64 → 128 µJ", "ünïcode\tand\nlines", "non-breaking\u00a0space", "日本語"):
        assert printable(text) == text
    assert printable("a\x1b[0mb\u202e") == "a\\x1b[0mb\\u202e"


@pytest.mark.parametrize("cell", ["=1+1", "@SUM(A1)", "+1", "-1", "\t=1", "\r=1"])
def test_a_cell_that_a_spreadsheet_would_run_is_text(cell: str) -> None:
    assert csv_cell(cell) == f"'{cell}"
    name = cell.strip()
    workload = hwsim.Workload("w", [hwsim.Gemm(name, m=1, n=1, k=1)])
    report = hwsim.simulate(hwsim.load_machine("systolic_ws"), workload)
    assert f"'{name}," in (report.to_csv() or "")


def test_other_cells_stay() -> None:
    assert [csv_cell(cell) for cell in ("conv1", -1.5, 3, None, "a=b")] == ["conv1", -1.5, 3, None, "a=b"]


@pytest.mark.parametrize("text", ["1e-320 Hz", "1e-300 pJ", "１２ MHz", "²0 MHz", "1e999 Hz"])
def test_quantities_are_of_a_believable_size_and_in_ascii_digits(text: str) -> None:
    dimension = "energy" if text.endswith("J") else "frequency"
    with pytest.raises(ValueError, match="must be"):
        parse(text, dimension)


def test_many_faults_are_told_in_a_hundred_lines(tmp_path: Path) -> None:
    path = tmp_path / "faulty.yaml"
    layers = "".join(f"  - {{fc: f{i}, m: x}}\n" for i in range(5000))
    path.write_text(f"name: mine\nsource: mine\ninput: [1, 8]\nlayers:\n{layers}")
    done = run("run", "systolic_ws", path, cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) <= 102
    assert "more" in done.stderr.splitlines()[-1]


def test_text_must_be_text(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="must be UTF-8 text; byte 0 is not"):
        read_text(path)
    path.write_bytes(b"a: \0")
    with pytest.raises(InputError, match="zero byte"):
        read_text(path)


def test_what_many_keys_and_layers_take_grows_with_their_number(tmp_path: Path) -> None:
    """60,000 keys over as many of a base, 25,000 layers with faults, 6,000 layers that live to the end."""
    keys = 60_000
    base = "kind: cpu\nname: x\nnote:\n" + "".join(f"  k{i}: {{a: 1}}\n" for i in range(keys))
    (tmp_path / "base.yaml").write_text(base)
    (tmp_path / "top.yaml").write_text("base: base.yaml\nnote:\n" + "".join(f"  k{i}: [1]\n" for i in range(keys)))
    layers = "".join(f"  - {{fc: f{i}, k: x{i}, n: 8}}\n" for i in range(25_000))
    (tmp_path / "faulty.yaml").write_text(f"name: n\nsource: s\ngraph: false\nlayers:\n{layers}")
    begin = process_time()
    with pytest.raises(InputError, match="note: unknown key"):
        hwsim.load_machine(tmp_path / "top.yaml")
    with pytest.raises(InputError, match="24,900 more"):
        hwsim.load_workload(tmp_path / "faulty.yaml")
    assert process_time() - begin < 30, "it was hours"


def test_what_lives_to_the_end_is_not_written_once_a_layer() -> None:
    chain = [hwsim.Conv2d(f"c{i}", c=4, h=4, w=4, k=4) for i in range(3000)]
    network = hwsim.Workload("wide", [(layer, ["input"]) for layer in chain])
    assert network.live_bytes()[-1] == network.peak_activation_bytes() == 64 * 3001, "the input is read to the end"
    assert network.held([1])[1].tensors == (("input", 64), ("c0", 64), ("c1", 64))
    assert network.spans()["c7"] == (64, 7, 2999)
    assert [moment.bytes for moment in network.select("c?").liveness()] == [128] * 10


@pytest.mark.parametrize("machine", ["xeon_8280", "nucleo_l4r5zi", "eyeriss_v1", "systolic_ws", "eyeriss_isca16"])
@pytest.mark.parametrize("shape", [{"h": 2**31, "w": 1, "r": 3, "s": 1}, {"h": 8, "w": 1, "r": 2**31 - 1, "s": 1}])
def test_a_side_of_two_thousand_million_is_planned_at_once(machine: str, shape: dict[str, int]) -> None:
    layer = hwsim.Conv2d("c", c=1, k=1, pad="same", **shape)
    begin = process_time()
    with suppress(HwsimError):
        hwsim.simulate(hwsim.load_machine(machine), hwsim.Workload("w", [layer]))
    assert process_time() - begin < 10
