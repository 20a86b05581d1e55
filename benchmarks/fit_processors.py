"""Fit the constants of the inference libraries and of the clock rule again, and see what rows left out say of them.

    python benchmarks/fit_processors.py operators [--held-out]    # ONNX Runtime: needs the table of measured operators
    python benchmarks/fit_processors.py networks [--held-out]     # OpenVINO: throughputs of arch_configs/measured

Numbers are fitted in their logarithms with a robust loss, from the values of today on; `--held-out` fits them without a quarter of the
weight shapes, or without one processor, in turn. What it prints is written into the YAML files by hand.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np

import hwsim
from hwsim.machines.cpu.core import rule
from hwsim.machines.cpu.library import load_library
from hwsim.machines.cpu.sustained import sustained_hz
from hwsim.report.published import measurements_of

ROOT = Path(__file__).parent.parent


def fitted(predict, names, start, rows, measured, groups=None):
    """Values of the named constants; `predict(values, rows)` in the unit of `measured`."""
    from scipy.optimize import least_squares

    # Clocks are whole MHz: a step must be long beside that.
    def residuals(logs):
        return np.log(np.array(predict(dict(zip(names, np.exp(logs))), rows)) / measured)

    found = least_squares(
        residuals, np.log([start[name] for name in names]), loss="soft_l1", f_scale=0.1, diff_step=0.02
    )
    return dict(zip(names, np.exp(found.x)))


def report(label, errors):
    print(
        f"{label:44} mean {np.mean(np.abs(errors)):6.1%}  median {np.median(np.abs(errors)):6.1%}  largest {errors[np.argmax(np.abs(errors))]:+.0%}",
        flush=True,
    )


def operators(held_out: bool) -> None:
    """Products first, then what convolutions add, for each number format."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    table = generate.operator_errors()
    library = load_library("onnxruntime-1.31")
    stages = {
        "int8": (
            ("session", "thread", "accumulate", "l3"),
            ("reorder_thread", "output", "reorder", "patch", "requantize"),
        ),
        "fp32": (("session", "thread", "accumulate", "page", "l3", "dram"), ("reorder_thread", "output", "reorder")),
    }
    for dtype, steps in stages.items():
        costs = dict(library.types[dtype].costs)
        memory = hwsim.load_machine("epyc_zen5").spec.memories
        costs |= {"l3": float(memory["l3"].core.amount), "dram": float(memory["dram"].core.amount)}
        for names, op in zip(steps, ("gemm", "conv")):
            rows = table[(table.dtype == dtype) & (table.op == op)]

            def predict(values, rows, costs=costs, dtype=dtype):
                now = costs | values
                kind = library.types[dtype].model_copy(
                    update={
                        "costs": {k: v for k, v in now.items() if k not in ("l3", "dram")}
                        | {"conv_thread": now["thread"]}
                    }
                )
                machines = {}
                for threads in (1, 2):
                    change = {
                        "threads": threads,
                        "precision": dtype,
                        **{f"memories.{m}.core": f"{now[m]:.9f} B/cycle" for m in ("l3", "dram")},
                    }
                    machines[threads] = hwsim.load_machine("epyc_zen5", set=change)
                    machines[threads].use(library.model_copy(update={"types": library.types | {dtype: kind}}))
                return [
                    machines[r.threads].estimate(hwsim.Workload("w", [generate.operator(r)]))[0] * 1e6
                    for r in rows.itertuples()
                ]

            values = fitted(predict, names, costs, rows, rows.min_us.to_numpy())
            print(dtype, op, {name: round(float(value), 3) for name, value in values.items()})
            shapes = (
                rows.N.astype(str)
                + rows.K.astype(str)
                + rows.C.astype(str)
                + rows.H.astype(str)
                + rows.Kout.astype(str)
                + rows.stride.astype(str)
            )
            predicted = np.array(predict(values, rows))
            if held_out:
                order = np.random.default_rng(0).permutation(np.array(sorted(shapes.unique()), dtype=object))
                for part in np.array_split(order, 4):
                    out = shapes.isin(list(part)).to_numpy()
                    less = fitted(predict, names, costs, rows[~out], rows.min_us.to_numpy()[~out])
                    predicted[out] = predict(less, rows[out])
            errors = predicted / rows.min_us.to_numpy() - 1
            for group in sorted(rows.group.unique()):
                for threads in (1, 2):
                    report(
                        f"{dtype} {group}, {threads} threads",
                        errors[((rows.group == group) & (rows.threads == threads)).to_numpy()],
                    )
            costs |= values


class OpenVino:
    """The clock rule and the costs of OpenVINO together, against published throughputs: what is fitted, and on what."""

    def __init__(self):
        self.library, self.rule = load_library("openvino-2024.3"), rule()
        cpus = [name for name in hwsim.machine_names() if hwsim.load_machine(name).spec.kind == "cpu"]
        self.rows = [
            (name, run.workload, run.set["precision"], float(run.total["inferences_per_s"]))
            for name in cpus
            if name != "atom_x6425e"
            and (measurements := measurements_of(name, ROOT / "arch_configs")) is not None
            and measurements.source.startswith("OpenVINO 2024.3")
            for run in measurements.spec.runs
            if "inferences_per_s" in run.total
        ]
        self.machines = {
            (name, dtype): hwsim.load_machine(name, set={"streams": "all", "precision": dtype})
            for name in {row[0] for row in self.rows}
            for dtype in ("int8", "fp32")
        }
        self.loads = {workload: hwsim.load_workload(workload) for workload in {row[1] for row in self.rows}}
        library, now = self.library, self.rule
        self.start = {
            "scale": now.scale,
            "node": now.node,
            "server": now.server,
            "maddubs": library.factors["maddubs"]["function"],
        }
        self.start |= {
            "amx": library.factors["amx_int8"]["efficiency"],
            "efficiency": library.types["int8"].efficiency,
        }
        self.start |= {name: library.types["int8"].costs[name] for name in ("output", "function")}
        self.measured = np.array([row[3] for row in self.rows])

    def predict(self, values, rows):
        """Throughput of each row with other values of what is fitted."""
        rules = self.rule.model_copy(update={name: values[name] for name in ("scale", "node", "server")})
        types = {}
        for dtype, kind in self.library.types.items():
            costs = (
                kind.costs
                | {"function": values["function"]}
                | ({"output": values["output"]} if "output" in kind.costs else {})
            )
            types[dtype] = kind.model_copy(update={"efficiency": values["efficiency"], "costs": costs})
        factors = {
            "maddubs": {"function": values["maddubs"]},
            "amx_int8": {"function": 0.5, "efficiency": values["amx"]},
        }
        changed = self.library.model_copy(update={"types": types, "factors": factors})
        found = []
        for name, workload, dtype, _ in rows:
            machine = self.machines[name, dtype]
            machine.use(changed)
            spec = machine.spec
            cores = spec.cores + (rules.efficient * spec.efficient.cores if spec.efficient else 0)
            width = float(spec.own_core.rate(spec.own_core.best("fp32"))) / 16
            spec.clocks["core"] = sustained_hz(spec.sustained_clock, rules, cores, width, float(spec.node) * 1e9)
            seconds, streams = machine.estimate(self.loads[workload])
            found.append(streams / seconds)
        return found


def networks(held_out: bool) -> None:
    """Fit the clock rule and the costs of OpenVINO again."""
    fit = OpenVino()
    rows, measured, start = fit.rows, fit.measured, fit.start
    values = fitted(fit.predict, list(start), start, rows, measured)
    print({name: round(float(value), 4) for name, value in values.items()})
    report("all processors", np.array(fit.predict(values, rows)) / measured - 1)
    if held_out:
        every = []
        for name in sorted({row[0] for row in rows}):
            out = np.array([row[0] == name for row in rows])
            less = fitted(fit.predict, list(start), start, [row for row in rows if row[0] != name], measured[~out])
            errors = np.array(fit.predict(less, [row for row in rows if row[0] == name])) / measured[out] - 1
            report(f"without {name}", errors)
            every.append(errors)
        report("each left out", np.concatenate(every))


if __name__ == "__main__":
    {"operators": operators, "networks": networks}[sys.argv[1]]("--held-out" in sys.argv)
