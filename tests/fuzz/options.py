"""Options of the command line: hostile values of each, on commands that are otherwise right."""

from __future__ import annotations

from pathlib import Path
from random import Random

from tests.fuzz.case import Case
from tests.fuzz.command import call
from tests.fuzz.mutation import KEY, VALUES, mutated
from tests.fuzz.seeds import MACHINES, machine_texts

SETS = (
    "clocks.core=250 MHz", "array.rows=64", "threads=4", "batch=2", "library=tflm-2023", "memories.glb.size=54 KiB",
    'energy.prices."mac.int8"={entry: int8_mac}', "power.active.board=1 mW", "dataflow=output_stationary", "streams=2",
    "energy.node=16 nm", "memories.dram.bandwidth=1 B/cycle", "precision=fp16", "name=x", "kind=cpu",
)  # fmt: skip
TIMES = ("1 s", "10 ms", "1 h", "1 day", "10 us", "0 s", "1e-21 s", "1e9 s")
BATTERIES = ("CR2032", "2xAA", "1000 mAh 3.7 V", "1e9 mAh 1 V", "0 mAh 1 V")
METHODS = {
    "--prune": ("0.3", "ip*=0.09", "2:4", "channel:0.5", "block4x4:0.25"), "--share": ("5bit", "ip*=4bit"), "--index": ("4bit",),
    "--svd": ("ip2=7",), "--low-rank": ("conv2=5",), "--tensor-train": ("ip1=4x75,28x28,2",), "--binary": ("ip*",),
    "--ternary": ("conv*",), "--on": ("eie", "a100,kws"), "--weights": ("absent.npz", "/dev/zero"), "--calibrate": ("x.npz",),
    "--batch": ("1", "3"), "-o": ("x.npz", "/dev/null/x.yaml"),
}  # fmt: skip
WORKLOADS = ("lenet5_caffe", "lenet_300_100", "kws")


def _hostile(draw: Random, values: tuple[str, ...]) -> str:
    if draw.random() < 0.3:
        return draw.choice(values)
    text = mutated(draw, draw.choice(values), values) if draw.random() < 0.6 else draw.choice(VALUES)
    return text.encode("utf-8", "replace").decode().replace("\0", "\\0")


def _set(draw: Random, machine: str) -> str:
    keys = tuple(KEY.findall(machine_texts().get(machine, "")))
    if draw.random() < 0.5 and keys:
        path = ".".join(draw.choice(keys).rstrip(":") for _ in range(draw.choice((1, 2, 2, 3))))
        return f"{path}={_hostile(draw, VALUES)}"
    return _hostile(draw, SETS)


def case(draw: Random, folder: Path) -> Case:
    """One command with one to three options."""
    machine, workload = draw.choice(MACHINES), draw.choice(WORKLOADS)
    command = draw.choice(
        ("run", "run", "run", "explain", "compare", "show", "list", "schema", "validate", "sweep", "compress")
    )
    words = [command]
    if command in ("run", "explain"):
        words += [machine if draw.random() < 0.9 else _hostile(draw, MACHINES), workload]
        if command == "explain":
            words.append(_hostile(draw, ("conv1", "fc1", "conv*")))
        for _ in range(draw.choice((1, 1, 2, 3))):
            option = draw.choice(("--set", "--set", "--batch", "--layers", "--shape"))
            if command == "run":
                option = draw.choice(
                    (option, option, "--every", "--battery", "--for", "--jitter", "--burst", "--sensor", "--seed")
                )
            value = {
                "--set": lambda: _set(draw, machine),
                "--batch": lambda: _hostile(draw, ("1", "3", "65536", "2147483648")),
                "--layers": lambda: _hostile(draw, ("conv*", "fc1", "[a", "*")),
                "--shape": lambda: _hostile(draw, ("batch=1", "ids=1x128", "a=1,b=2")),
                "--battery": lambda: _hostile(draw, BATTERIES),
                "--burst": lambda: _hostile(draw, ("1", "5")),
                "--seed": lambda: _hostile(draw, ("0", "7")),
                "--sensor": lambda: _hostile(draw, ("1.2 mW",)),
            }.get(option, lambda: _hostile(draw, TIMES))()
            words += [option, value]
            if option in ("--battery", "--for", "--jitter", "--burst", "--sensor", "--seed"):
                words += ["--every", draw.choice(TIMES)]
    elif command == "compare":
        words += [f"{machine}+{_set(draw, machine)}", machine, workload]
    elif command == "compress":
        words += [workload if draw.random() < 0.9 else _hostile(draw, WORKLOADS)]
        for option in draw.sample(sorted(METHODS), draw.choice((1, 2, 3))):
            words += [option, _hostile(draw, METHODS[option])]
    elif command in ("show", "list", "schema"):
        words.append(_hostile(draw, (*MACHINES, *WORKLOADS, "machines", "workloads", "machine", "sweep")))
    elif command == "validate":
        words += [_hostile(draw, MACHINES), _hostile(draw, WORKLOADS), "--layer", _hostile(draw, ("conv1", "fc1"))]
    else:
        words += [
            _hostile(draw, ("absent.yaml", "/dev/zero", str(folder), ".")),
            "--shard",
            _hostile(draw, ("2/8", "1/1")),
        ]
    return Case(lambda: call(*words), {"command.txt": "\n".join(words).encode("utf-8", "replace")}, command)
