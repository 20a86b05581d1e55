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


def test_an_output_to_an_open_descriptor_keeps_what_was_written(tmp_path: Path) -> None:
    """`--csv /dev/stdout >> keep.log` is no new file at the place of keep.log."""
    (tmp_path / "mine.yaml").write_text(TRACE.format(name="mine"))
    keep = tmp_path / "keep.log"
    keep.write_text("important\n")
    shell = f"{sys.executable} -c 'from hwsim.cli import main; main()' run systolic_ws mine.yaml --csv"
    for place in ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"):
        subprocess.run(["bash", "-c", f"{shell} {place} >> keep.log"], cwd=tmp_path, timeout=120, check=True)
    text = keep.read_text()
    assert text.startswith("important\nlayer,op,")
    assert text.count("layer,op,") == text.count("mine on systolic_ws") == 3


def test_a_loop_of_links_is_a_line(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(InputError, match="loop: cannot be written: Too many levels of symbolic links"):
        write_text(loop, "x")
    assert loop.is_symlink()


def test_a_pipe_without_a_reader_does_not_wait_forever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hwsim import files

    monkeypatch.setattr(files, "_READER_S", 0.1)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(InputError, match="cannot be written: it is a pipe that nothing reads"):
        write_text(pipe, "x")
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE, text=True) as reader:
        monkeypatch.setattr(files, "_READER_S", 20)
        write_text(pipe, "x" * 100_003)
        assert reader.communicate(timeout=60)[0] == "x" * 100_003


def test_outputs_are_checked_before_the_work(tmp_path: Path, capsys) -> None:
    from commands import call

    twice = str(tmp_path / "a"), f"{tmp_path}/./a"
    for words, message in (
        (("--json", ""), "--json must name a file"),
        (("--json", twice[0], "--csv", twice[1]), "--json and --csv must not write to one file"),
        (("--json", "-", "--csv", "-"), "--json and --csv must not write to one file"),
        (("--html", tmp_path / "absent" / "x"), "absent/x: cannot be written: No such file or directory"),
        (("--trace", tmp_path), "it is a directory"),
    ):
        code, out, err = call(capsys, "run", "systolic_ws", "no such network", *words)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert message in err
    code, _, err = call(capsys, "calibrate", "--quick", "-o", tmp_path / "absent" / "x")
    assert (code, err.count("\n")) == (2, 1)
    assert "cannot be written" in err
    for command in ("sweep", "explore"):
        assert call(capsys, command, "x.yaml", "-o", "")[::2] == (
            2, "hwsim: -o must name a folder for the results, as -o results\n"
        )  # fmt: skip


def test_a_stream_of_errors_that_is_full_keeps_the_exit_code(tmp_path: Path) -> None:
    for words in (["run", "eyeriss_v1", "absent.yaml"], ["no_such_command"]):
        command = [sys.executable, "-c", "from hwsim.cli import main; main()", *words]
        with open("/dev/full", "w") as full:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=full, cwd=tmp_path, timeout=120, check=False)
        assert (done.returncode, done.stdout) == (2, b"")


def test_a_pipe_that_is_closed_early_is_no_fault() -> None:
    """The schema is longer than a pipe holds."""
    code = "from hwsim.cli import main; main()"
    command = [sys.executable, "-c", code, "schema", "machine"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stdout.readline() == "{\n"
        run.stdout.close()
        assert (run.wait(timeout=120), run.stderr.read()) == (0, "")


@pytest.mark.slow
def test_control_c_is_silent_while_the_commands_load() -> None:
    code = "import os, sys, signal\n" \
        "class Stop:\n" \
        "    def find_spec(self, name, *_):\n" \
        "        if name == sys.argv[2]: os.kill(os.getpid(), signal.SIGINT)\n" \
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n" \
        "sys.meta_path.insert(0, Stop())\n" \
        "from hwsim.cli import main; main()"  # fmt: skip
    for module in ("click", "hwsim.cli.commands", "hwsim.cli.validate", "hwsim.report.catalogue"):
        command = [sys.executable, "-c", code, "list", "machines"]
        done = subprocess.run(
            [*command[:2], code.replace("sys.argv[2]", repr(module)), *command[3:]],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stdout, done.stderr.strip()) == (130, "", ""), module


@pytest.mark.parametrize("words", [{}, {"COMP_WORDS": "hwsim run", "COMP_CWORD": "abc"}])
def test_completion_without_the_variables_of_a_shell_is_a_line(capsys, monkeypatch, words: dict[str, str]) -> None:
    from commands import call

    monkeypatch.setenv("_HWSIM_COMPLETE", "bash_complete")
    for name, value in words.items():
        monkeypatch.setenv(name, value)
    code, out, err = call(capsys)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "must come with COMP_WORDS and COMP_CWORD" in err


def test_data_of_python_that_holds_itself_or_has_methods_of_its_own() -> None:
    class Hostile(dict):
        def __iter__(self):
            raise RuntimeError

        items = __iter__

    class Text(str):
        __slots__ = ()

        def __repr__(self) -> str:
            raise RuntimeError

        __eq__ = __repr__
        __hash__ = str.__hash__

    loop: list[object] = []
    loop += [loop] * 10
    circle: dict[str, object] = {}
    circle["a"] = circle
    for value in (loop, circle, Hostile(a=1)):
        with pytest.raises(InputError, match="--set memories: must"):
            hwsim.load_machine("eyeriss_v1", set={"memories": value})
    with pytest.raises(InputError, match="set must be values by dotted key"):
        hwsim.load_machine("eyeriss_v1", set=Hostile(a=1))
    layer = hwsim.Gemm(Text("a"), m=1, n=1, k=1, input=Text("int8"))
    network = hwsim.Workload(Text("n"), [(layer, [Text("input")])])
    assert hwsim.simulate(hwsim.load_machine("systolic_ws"), network).summary.macs == 1
    assert type(layer.name) is type(layer.input.spec.dtype) is type(network.inputs["a"][0]) is str


def test_what_set_cannot_read_is_told_with_its_key(capsys) -> None:
    from commands import call

    for change, message in (
        ("memories.glb=null", "--set memories.glb: must not be empty"),
        ("array.rows=1_0", "array.rows: must be a valid integer, not '1_0'"),
    ):
        code, _, err = call(capsys, "run", "eyeriss_v1", "kws", "--set", change)
        assert code == 2
        assert message in err


@pytest.mark.parametrize("machine", ["eyeriss_v1", "nucleo_l4r5zi", "xeon_8280", "a100"])
def test_machines_and_reports_are_copied_and_pickled(machine: str) -> None:
    import copy
    import pickle

    report = hwsim.simulate(hwsim.load_machine(machine), hwsim.load_workload("kws"))
    text = report.to_json()
    assert pickle.loads(pickle.dumps(report)).to_json() == copy.deepcopy(report).to_json() == text
    again = pickle.loads(pickle.dumps(report.machine))
    assert hwsim.simulate(again, hwsim.load_workload("kws")).to_json() == text


def test_a_concatenation_of_many_parts_is_read_at_once(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    parts = 30_011
    node = onnx.helper.make_node("Concat", ["x"] * parts, ["y"], axis=0)
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph([node], "g", [value("x", 1, [1, 3])], [value("y", 1, [parts, 3])])
    (tmp_path / "x.onnx").write_bytes(onnx.helper.make_model(graph).SerializeToString())
    begin = process_time()
    (layer,) = hwsim.load_workload(tmp_path / "x.onnx")
    assert process_time() - begin < 10
    assert (layer.output.shape, len(layer.operands)) == ((parts, 3), parts)
    assert layer.likeness == layer.with_(name="other").likeness
