"""What a terminal shows: nothing wraps at 80 or 100 columns, names stay whole, and a pipe gets plain text."""

import io
import os
import re
import subprocess
import sys
from random import Random

import pytest
import rich.console
from rich.console import Console
from rich.text import Text
from test_html import report

import hwsim
from hwsim.energy import table_names
from hwsim.machines import cluster_names, load_machine, machine_names
from hwsim.report.catalogue import print_machines, print_workloads, show_any
from hwsim.report.comparison_table import print_comparison
from hwsim.report.explain import print_explanation
from hwsim.report.published import measurements_of
from hwsim.report.table import print_predictions, print_report
from hwsim.report.terminal import Column, bar, print_columns
from hwsim.validation.predictions import of_machine
from hwsim.workload import workload_names
from hwsim.workload.transformer import llm_names


def terminal(width: int) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None, highlight=False)


def lines(console: Console) -> list[str]:
    return [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in console.file.getvalue().splitlines()]


RUNS = [
    ("eyeriss_v1", "alexnet", 4),
    ("nucleo_l4r5zi", "kws", 1),
    ("nvdla_256", "mobilenet_v1_1.0_224", 1),
    ("tpu_v1", "tpu_mlp0", 1),
]


@pytest.mark.parametrize("width", [80, 100, 200])
@pytest.mark.parametrize("run", RUNS, ids=lambda run: run[0])
def test_a_run_fits(run, width: int) -> None:
    ran = report(*run)
    console = terminal(width)
    print_report(ran, console, measurements_of(ran.machine.name, ran.machine.folder))
    found = lines(console)
    assert max(map(len, found)) <= min(width, 100)
    for result in ran.results:
        if result.cycles:
            (row,) = [line for line in found if line.split()[:1] == [result.name]]
            assert row.count("%") >= 2
    assert any("█" in line for line in found)


@pytest.mark.slow
@pytest.mark.parametrize("width", [80, 100])
def test_other_commands_fit(width: int) -> None:
    console = terminal(width)
    for machine, workload, layer in (("eyeriss_v1", "alexnet", "conv3"), ("nucleo_l4r5zi", "kws", "conv_0")):
        one = hwsim.load_workload(workload).select(layer)
        print_explanation(hwsim.simulate(load_machine(machine), one), console)
    print_comparison(
        hwsim.compare(*(report(name, "kws") for name in ("nucleo_l4r5zi", "stm32h7a3", "stm32u575"))), console
    )
    print_predictions(of_machine(load_machine("nrf5340")), console)
    print_machines(console)
    print_workloads(console)
    show_any("kws", {}, console)
    assert max(map(len, lines(console))) <= width


def test_names_are_never_cut_in_a_list() -> None:
    console = terminal(80)
    print_machines(console)
    print_workloads(console)
    firsts = {line.split()[0] for line in lines(console) if line}
    assert set(machine_names()) | set(workload_names()) <= firsts


def test_many_runs_side_by_side_fit() -> None:
    runs = [report("stm32h7a3", "ad") for _ in range(14)]
    console = terminal(80)
    print_comparison(hwsim.compare(*runs[:8]), console)
    print_comparison(hwsim.compare(*runs), console)
    assert max(map(len, lines(console))) <= 80
    heads = [line.split()[1:] for line in lines(console) if line.startswith("layer ")]
    assert [str(run) for run in range(1, 15)] == [*heads[-2], *heads[-1]]  # folded: no run is left out


def test_columns_are_left_out_then_cut() -> None:
    columns = [
        Column("name", ["a" * 30], least=8),
        Column("one", ["1" * 10], rank=1),
        Column("two", ["2" * 10], rank=2),
    ]
    shown = []
    for width in (60, 46, 32, 20):
        console = terminal(width)
        print_columns(console, columns)
        shown.append(lines(console)[1].split())
    assert [len(cells) for cells in shown] == [3, 2, 1, 1]
    assert shown[3] == ["a" * 19 + "…"]


def test_a_bar_is_as_long_as_its_share() -> None:
    console = terminal(80)
    assert [bar(share, 8, console).plain for share in (0, 1e-9, 0.5, 1, 7)] == ["", "▏", "████", "████████", "████████"]
    assert bar(0.5, 8, Console(file=io.StringIO())).plain == "####"


def piped(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; sys.argv = ['hwsim', *sys.argv[1:]]; from hwsim.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False, env=os.environ | environment
    )


@pytest.mark.slow
def test_a_pipe_gets_plain_text() -> None:
    done = piped("run", "nucleo_l4r5zi", "kws", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    assert "####" in done.stdout
    assert not [line for line in done.stdout.splitlines() if line != line.rstrip()], "no blanks at the end of lines"
    notes = [line for line in done.stdout.splitlines() if line.startswith("power:")]
    assert len(notes) == 1, "nothing wraps in a pipe"


@pytest.mark.slow
def test_completion_names_machines_workloads_and_layers() -> None:
    def complete(*words: str) -> set[str]:
        done = piped(
            COMP_WORDS=" ".join(("hwsim", *words)), COMP_CWORD=str(len(words)), _HWSIM_COMPLETE="bash_complete"
        )
        return {line.partition(",")[2] for line in done.stdout.splitlines()}

    assert complete("comp") == {"compare", "completion", "compress"}
    assert complete("run", "nucleo") == {name for name in machine_names() if name.startswith("nucleo")}
    assert complete("explain", "eyeriss_v1", "alexnet", "conv") == {f"conv{i}" for i in range(1, 6)}
    assert complete("run", "") == set(machine_names())
    assert complete("run", "eyeriss_v1", "") == set(workload_names())
    assert complete("compare", "") == {*machine_names(), *workload_names()}
    assert complete("show", "") == {*machine_names(), *cluster_names(), *workload_names(), *llm_names(), *table_names()}
    assert complete("llm", "h100", "llama") == {name for name in llm_names() if name.startswith("llama")}
    assert complete("list", "t") == {"tables"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_is_printed(shell: str) -> None:
    done = piped("completion", shell)
    assert done.returncode == 0, done.stderr
    assert f"_HWSIM_COMPLETE={shell}_complete" in done.stdout


@pytest.mark.slow
def test_a_run_imports_no_page() -> None:
    """Pages, pandas and other commands' modules wait until they are asked for."""
    code = "import sys; sys.argv = ['hwsim', 'run', 'systolic_ws', 'lenet5_caffe']; from hwsim.cli import main; main(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert not [name for name in loaded if name.startswith(("hwsim.report.html", "pandas", "hwsim.report.comparison"))]


def test_a_table_without_colors_is_that_with_colors() -> None:
    """Tables in pipes, and long ones, are laid out here, as rich takes half a millisecond a row."""
    random = Random(31)
    texts = ["", "a", "日本語テキスト", "x" * 31, "é1", " lead", "trail ", "a b c", Text("red", style="red")]
    for _ in range(257):
        rows = random.choice([1, 2, 7])
        columns = [
            Column(
                random.choice(["", "name", "a longer name"]), [random.choice(texts) for _ in range(rows)],
                right=random.random() < 0.5, rank=random.randrange(3), least=random.choice([None, 1, 3]),
                most=random.choice([None, 5, 12]),
            )
            for _ in range(random.randint(1, 5))
        ]  # fmt: skip
        shares = [random.random() for _ in range(rows)] if random.random() < 0.5 else None
        width = random.choice([20, 40, 79, 1000])
        plain, colors = terminal(width), terminal(width)
        colors._color_system = rich.console.ColorSystem.STANDARD
        for console in (plain, colors):
            print_columns(console, columns, shares)
        assert lines(plain) == lines(colors)


@pytest.mark.slow
@pytest.mark.parametrize("words", [("run", "eyeriss_v1"), ("show",)], ids=lambda words: words[0])
def test_twenty_thousand_layers_take_seconds(tmp_path, words) -> None:
    """The most layers that a network may have, each with a row of the table: 5 s, where the table alone took 10."""
    if words[0] == "run":
        words = (*words, "--all")
    lines = "".join(f"  - {{fc: f{i}, n: 10}}\n" for i in range(20_000))
    (tmp_path / "long.yaml").write_text(f"name: long\nsource: mine\ninput: [1, 8]\nlayers:\n{lines}")
    command = [sys.executable, "-c", "from hwsim.cli import main; main()", *words, "long.yaml"]
    before = os.times().children_user
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=True)
    assert "f19999 " in done.stdout
    assert os.times().children_user - before < 12
