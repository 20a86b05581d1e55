"""Tables of layers: our own columns and SCALE-Sim's two topologies, with changed cells, columns and rows."""

from __future__ import annotations

from pathlib import Path
from random import Random

import hwsim
from tests.fuzz.case import Case, check_report
from tests.fuzz.mutation import encoded
from tests.fuzz.seeds import machines

OWN = """name,type,c,h,w,k,r,s,stride,pad_top,groups,bias,dilation,weight_density
c1,conv,3,32,32,8,3,3,2,1,1,8,1,
d1,dwconv,8,16,16,8,3,3,1,1,,,,
f1,fc,512,,,10,,,,,,,,0.5
p1,pwconv,127,7,7,31,1,1,1,0,1,,,
"""
CONV = """Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,
Conv1,224,224,7,7,3,64,2,
Conv2,56,56,3,3,64,64,1,
Conv3,31,31,1,1,127,257,1,
"""
GEMM = """Layer, M, N, K,
G1,128,64,256,
G2,1,1000,2048,
G3,31,127,257,
"""
CELLS = (
    "", "0", "-1", "1", "2", "7", "1e3", "1e400", "nan", "inf", "2147483647", "2147483648", "99999999999999999999", "２",
    "²", "0.5", "1.5", '"', '""', "=cmd|'/c calc'!A1", "@x", "conv", "dwconv", "fc", "lstm", "gru", "softmax", "int8",
    "fp32", "2:4", "<script>", "[/]", "a" * 300, "\0", "\x1b[31m", "\r", '"a\nb"', "true", "/etc/passwd", "\u202e", "é",
    "\ud800", " 3 ", "+3", "３", "1_0",
)  # fmt: skip


def _changed(draw: Random, text: str) -> str:
    for _ in range(draw.choice((1, 1, 2, 3))):
        lines = text.split("\n")
        place = draw.randrange(len(lines))
        cells = lines[place].split(",")
        column = draw.randrange(len(cells))
        way = draw.random()
        if way < 0.6:
            cells[column] = draw.choice(CELLS)
        elif way < 0.7:
            cells.insert(column, draw.choice(CELLS))
        elif way < 0.8:
            cells.pop(column)
        elif way < 0.9:
            cells[column] *= draw.choice((2, 5, 50))
        else:
            lines.append(lines[place])
        lines[place] = ",".join(cells)
        text = "\n".join(lines)
    return text


def _case(draw: Random, folder: Path, text: str) -> Case:
    path = folder / "table.csv"
    machine, whole = draw.choice(machines()), draw.random() < 0.01

    def action() -> None:
        check_report(hwsim.simulate(machine, hwsim.load_workload(path)), whole)

    return Case(action, {path.name: encoded(_changed(draw, text))}, f"on {machine.name}")


def case(draw: Random, folder: Path) -> Case:
    """A changed table of our own columns on one machine."""
    return _case(draw, folder, OWN)


def scale_sim_case(draw: Random, folder: Path) -> Case:
    """A changed topology of SCALE-Sim's on one machine."""
    return _case(draw, folder, draw.choice((CONV, GEMM)))
