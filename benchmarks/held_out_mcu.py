"""How far off a microcontroller is that was not measured: rows left out, everything fitted again, the rows predicted.

    python benchmarks/held_out_mcu.py        # writes the tables of docs/mcu.md, about a minute
    python benchmarks/held_out_mcu.py fit    # fits all rows, and writes cores, libraries and boards first

The model is that of `hwsim.machines.mcu`. Each cost is a prior from the instructions of the inner loop times factors of
the library's family, of its version, of the core, of family and version on the core, and of the board; the logarithm of
each factor has a normal prior, and all of them are fitted at once (maximum a posteriori, Levenberg-Marquardt).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import hwsim
from hwsim.machines.mcu.features import CLASSES, SIGNAL, features, weight_bytes
from hwsim.machines.mcu.library import load_library
from hwsim.machines.mcu.spec import McuSpec
from hwsim.units import parse
from hwsim.yaml_source import read_yaml

ROOT = Path(__file__).parent.parent
# Cycles of a Cortex-M4 (of a Cortex-M55 for `mve`) by the instructions of the inner loops: 20 for 16 MACs and as much
# again for loads from flash; a depthwise MAC 2.5 and 2.5 to widen; 25 to 30 to requantize, with bias, clamp and store.
OPTIMIZED = {
    "pointwise_mac": 1.6, "conv_mac": 1.6, "narrow_mac": 1.6, "depthwise_mac": 5, "multiplied_mac": 5,
    "window_mac": 5,    "depthwise_output": 40, "dense_mac": 1.8, "output": 30, "dense_output": 40, "patch": 15, "patch_byte": 2,
    "element": 25, "averaged": 7.5, "compared": 7.5, "softmax": 500, "operator": 2500,
}  # fmt: skip
PRIORS = {
    # A call for each tap of a patch; sums of several outputs for a channel in registers (4.5) or in memory (8.5).
    "cmsis": OPTIMIZED | {"patch": 45, "multiplied_mac": 6.5},
    # Other windows than 3 x 3 by a plain loop.
    "xcube": OPTIMIZED | {"window_mac": 15},
    "mve": {
        "pointwise_mac": 0.21, "conv_mac": 0.21, "narrow_mac": 0.5, "depthwise_mac": 3.5, "multiplied_mac": 4,
        "window_mac": 3.5, "depthwise_output": 2.5, "dense_mac": 0.5, "output": 17, "dense_output": 30, "patch": 36, "patch_byte": 0.5,
        "element": 8, "averaged": 1.5, "compared": 1.5, "softmax": 150, "operator": 1000,
    },
}  # fmt: skip
# Standard deviation of the logarithm of a family's cost over the prior; half of it for a version over its family.
SPREADS = {
    "pointwise_mac": 0.3, "conv_mac": 0.2, "narrow_mac": 0.25, "depthwise_mac": 0.4, "multiplied_mac": 0.3,
    "window_mac": 0.4,    "depthwise_output": 0.5, "dense_mac": 0.4, "output": 0.5, "dense_output": 0.3, "patch": 0.35, "patch_byte": 0.3,
    "element": 0.4, "averaged": 0.4, "compared": 0.4, "softmax": 0.4, "operator": 0.4,
}  # fmt: skip
CORES = {"cortex-m33": 0.87, "cortex-m7": 0.6, "cortex-m0plus": 5.5, "cortex-m85": 0.75}
SPREAD_MEASURED = 0.035
# Of a family on a core, for all its code and for each class of it; of a version beside its family there.
SPREAD_FAMILY, SPREAD_CLASS, SPREAD_VERSION = 0.08, 0.2, 0.05
# Versions with the kernels of another one.
SAME = {"x-cube-ai-10": "x-cube-ai-9.0"}


@dataclass(frozen=True)
class Row:
    """A published latency, in cycles of the core."""

    board: str
    core: str
    library: str
    network: str
    cycles: float


def published() -> list[Row]:
    """Every published latency of a whole network on a board."""
    found = []
    for path in sorted((ROOT / "arch_configs" / "measured").glob("*.yaml")):
        if not isinstance(hwsim.load_machine(path.stem), hwsim.Mcu):
            continue
        for run in read_yaml(path).data["runs"]:
            if "latency_s" in run["total"]:
                machine = hwsim.load_machine(path.stem, set=run.get("set", {}))
                seconds = float(parse(run["total"]["latency_s"], "time"))
                clock = float(machine.spec.clock_hz(machine.core_clock))
                library = SAME.get(machine.library.name, machine.library.name)
                found.append(Row(path.stem, machine.spec.core, library, run["workload"], seconds * clock))
    return found


def flash_wait(board: str) -> float:
    """The prior of cycles that a byte of weights takes: by wait states and line, or as the board's file has it."""
    spec = hwsim.load_machine(board).spec
    assert isinstance(spec, McuSpec)
    if "flash.weight_byte" not in spec.fitted:
        return spec.flash.weight_byte
    if spec.flash.wait_states is None or spec.flash.line is None:
        return 0.3
    return (spec.flash.wait_states + 1) / float(spec.flash.line)


class Fit:
    """All factors of some rows: the logarithm of cost k is `prior[k]` + `design[k]` @ factors."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows
        self.names: dict[Hashable, int] = {}
        self.spreads: list[float] = []
        parts = [(index, *part) for index, row in enumerate(rows) for part in self._parts(row)]
        self.prior = np.array([part[1] for part in parts])
        self.units = np.array([part[2] for part in parts])
        self.design = np.zeros((len(parts), len(self.names)))
        self.sums = np.zeros((len(rows), len(parts)))
        for place, (row, _, _, factors) in enumerate(parts):
            self.sums[row, place] = 1
            for factor in factors:
                self.design[place, factor] += 1
        self.wanted = np.log([row.cycles for row in rows])
        self.all = self.solve(range(len(rows)), np.zeros(len(self.names)))

    def _factor(self, spread: float, *name: Hashable) -> int:
        if name not in self.names:
            self.spreads.append(spread)
        return self.names.setdefault(name, len(self.names))

    def _parts(self, row: Row) -> list[tuple[float, float, list[int]]]:
        """Prior, units and factors of each term of a row, and of its bytes of weights."""
        library, network = load_library(row.library), hwsim.load_workload(row.network)
        family, units = library.family, dict.fromkeys(OPTIMIZED, 0.0)
        found: list[tuple[float, float, list[int]]] = []
        for layer in network:
            for term, count in features(layer, library.drops).items():
                if term in SIGNAL:
                    found.append((float(np.log(library.cycles(term, row.core))), count, []))
                else:
                    units[term] += count
        board = self._factor(0.02 if row.board in FIRST else 0.06, "board", row.board)
        for term, count in units.items():
            if not count:
                continue
            factors = [board, self._factor(0.6, "family", family), self._factor(0.3, "version", row.library)]
            for kind in {term, "pointwise_mac"} if term in ("conv_mac", "narrow_mac") else {term}:
                factors.append(self._factor(SPREADS[kind], "family", family, kind))
                factors.append(self._factor(SPREADS[kind] / 2, "version", row.library, kind))
            code = CLASSES[term]
            if row.core in CORES:
                factors.append(self._factor(0.25 if row.core == "cortex-m0plus" else 0.35, "core", row.core))
                factors.append(self._factor(0.1 if code == "conv" else 0.15, "core", row.core, code))
                factors.append(self._factor(SPREAD_CLASS, "family on core", family, row.core, code))
                factors.append(self._factor(SPREAD_VERSION, "version on core", row.library, row.core))
            factors.append(self._factor(SPREAD_FAMILY, "family on core", family, row.core))
            prior = PRIORS.get(family, OPTIMIZED)[term] * CORES.get(row.core, 1)
            found.append((float(np.log(prior)), count, factors))
        stored = sum(weight_bytes(layer, library.drops) for layer in network)
        return [*found, (float(np.log(flash_wait(row.board))), stored, [self._factor(0.3, "flash", row.board)])]

    def solve(self, train: Sequence[int], start: np.ndarray) -> np.ndarray:
        """The factors that rows `train` make most likely."""
        sums, wanted, weight = self.sums[list(train)], self.wanted[list(train)], 1 / np.square(self.spreads)

        def costs(factors: np.ndarray) -> np.ndarray:
            return np.exp(self.prior + self.design @ factors) * self.units

        def loss(factors: np.ndarray) -> float:
            errors = wanted - np.log(sums @ costs(factors))
            return float((errors**2).sum() / SPREAD_MEASURED**2 + (factors**2 * weight).sum())

        factors, damping = start.copy(), 1e-3
        now = loss(factors)
        for _ in range(60):
            cycles = costs(factors)
            totals = sums @ cycles
            slopes = (sums * cycles / totals[:, None]) @ self.design
            square = slopes.T @ slopes / SPREAD_MEASURED**2 + np.diag(weight)
            gradient = slopes.T @ (wanted - np.log(totals)) / SPREAD_MEASURED**2 - factors * weight
            while True:
                step = np.linalg.solve(square + damping * np.diag(np.diag(square)), gradient)
                after = loss(factors + step)
                if after <= now or damping > 1e6:
                    break
                damping *= 4
            done, now, factors, damping = now - after < 1e-6 * max(now, 1), after, factors + step, damping / 5
            if done:
                break
        return factors

    def _square(self, factors: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The square of the slopes of some rows, and their slopes times their errors."""
        cycles = np.exp(self.prior + self.design @ factors) * self.units
        totals = self.sums[rows] @ cycles
        slopes = (self.sums[rows] * cycles / totals[:, None]) @ self.design / SPREAD_MEASURED
        return slopes.T @ slopes, slopes.T @ (self.wanted[rows] - np.log(totals)) / SPREAD_MEASURED

    def nearly_left_out(self, key: Callable[[Row], Hashable], steps: int = 3) -> np.ndarray:
        """What `left_out` gives, by a few undamped steps from the fit on all rows; one is enough to leave out one row."""
        weight = 1 / np.square(self.spreads)
        every, _ = self._square(self.all, np.ones(len(self.rows), bool))
        errors = np.zeros(len(self.rows))
        keys = [key(row) for row in self.rows]
        for held in dict.fromkeys(keys):
            here = np.array([other == held for other in keys])
            own, pull = self._square(self.all, here)
            factors = self.all - np.linalg.solve(every - own + np.diag(weight), pull)
            for _ in range(steps - 1):
                square, pull = self._square(factors, ~here)
                factors = factors + np.linalg.solve(square + np.diag(weight), pull - factors * weight)
            cycles = self.sums[here] @ (np.exp(self.prior + self.design @ factors) * self.units)
            errors[here] = cycles / np.exp(self.wanted[here]) - 1
        return errors

    def left_out(self, key: Callable[[Row], Hashable]) -> np.ndarray:
        """The error of each row, predicted by a fit on all rows of another key."""
        errors = np.zeros(len(self.rows))
        keys = [key(row) for row in self.rows]
        for held in dict.fromkeys(keys):
            train = [index for index, other in enumerate(keys) if other != held]
            factors = self.solve(train, self.all)
            cycles = self.sums @ (np.exp(self.prior + self.design @ factors) * self.units)
            here = np.array([other == held for other in keys])
            errors[here] = (cycles / np.exp(self.wanted) - 1)[here]
        return errors

    def factor(self, *names: tuple[Hashable, ...]) -> float:
        """The product of some factors; one that no row has is 1."""
        return float(np.exp(sum(self.all[self.names[name]] for name in names if name in self.names)))

    def cost(self, library: str, term: str) -> float:
        """Cycles of a term on the core of the priors."""
        family = load_library(library).family
        kinds = {term, "pointwise_mac"} if term in ("conv_mac", "narrow_mac") else {term}
        names: list[tuple[Hashable, ...]] = [("family", family), ("version", library)]
        names += [name for kind in kinds for name in (("family", family, kind), ("version", library, kind))]
        return PRIORS.get(family, OPTIMIZED)[term] * self.factor(*names)

    def times(self, library: str, core: str, code: str) -> float:
        """The factor of a library on a core, for a class of code."""
        family, on = load_library(library).family, "family on core"
        return self.factor((on, family, core), (on, family, core, code), ("version on core", library, core))


FIRST = ("nucleo_l4r5zi", "stm32u575", "stm32f746", "stm32g0b1", "ra8d1")  # the first board of each core


def tables() -> str:
    """The tables of docs/mcu.md."""
    rows = published()
    fit = Fit(rows)
    boards = fit.left_out(lambda row: row.board)
    known = np.array([any(o.library == r.library and o.board != r.board for o in rows) for r in rows])
    carried = np.array([any(o.library == r.library and o.core != r.core for o in rows) for r in rows])
    lines = ["| left out | rows | median | 90th percentile |", "|---|---:|---:|---:|"]
    for name, errors in (
        ("a library's rows of one network", fit.left_out(lambda row: (row.library, row.network))),
        (
            "a library's rows on one core, known from another core",
            fit.left_out(lambda row: (row.library, row.core))[carried],
        ),
        ("a network, under all libraries", fit.left_out(lambda row: row.network)),
        ("a board, whose library is known from another one", boards[known]),
        ("a board, with the libraries that were measured on it alone", boards),
        ("a library, known by its family alone", fit.left_out(lambda row: row.library)),
    ):
        size = np.abs(errors)
        lines.append(f"| {name} | {len(size)} | {np.median(size):.1%} | {np.quantile(size, 0.9):.1%} |")
    lines += ["", "| board left out | rows | median | mean with sign | largest |", "|---|---:|---:|---:|---:|"]
    for board in sorted({row.board for row in rows}):
        chosen = np.array([row.board == board for row in rows])
        if (chosen & known).any():
            chosen &= known
        size = np.abs(boards[chosen])
        cells = f"{len(size)} | {np.median(size):.1%} | {boards[chosen].mean():+.1%} | {size.max():.1%}"
        lines.append(f"| `{board}` | {cells} |")
    return "\n".join(lines)


def write(fit: Fit) -> None:
    """Write what was fitted into the files of cores, libraries and boards."""
    cores, classes = {row.core for row in fit.rows} & {*CORES}, dict.fromkeys(CLASSES.values())
    folder = ROOT / "hwsim" / "machines" / "mcu"
    for core in cores - {"cortex-m85"}:
        factors = {kind: CORES[core] * fit.factor(("core", core), ("core", core, kind)) for kind in classes}
        change(folder / "cores.yaml", rf"(\n  {core}:.*?optimized: ){{.*?}}", flow(factors))
    fitted = {row.library for row in fit.rows}
    for path in (folder / "libraries").glob("*.yaml"):
        library = load_library(path.stem)
        name = SAME.get(library.name, library.name)
        if library.code != "optimized" or (name not in fitted and library.name != "tflm-cmsis-nn-2021"):
            continue
        for term in library.costs:
            change(path, rf"(\n  {term}: )[\d.]+", f"{fit.cost(name, term):.4g}")
        for core in (core for core, use in library.cores.items() if use.source is None):
            times = {kind: fit.times(name, core, kind) for kind in classes}
            each = flow(times) if len({*times.values()}) > 1 else f"{times['other']:.4g}"
            change(path, rf"(\n  {core}: {{(?:times: )?)(?:[\d.]+|{{.*?}})?(?=[,}}])", each, "times: ")
    for board in {row.board for row in fit.rows} - {"ra8d1"}:
        path = ROOT / "arch_configs" / f"{board}.yaml"
        fitted_keys = hwsim.load_machine(board).spec.fitted
        if "flash.weight_byte" in fitted_keys:
            change(path, r"(\n  weight_byte: )[\d.]+", f"{flash_wait(board) * fit.factor(('flash', board)):.3g}")
        if "pace" in fitted_keys:
            change(path, r"(\npace: )[\d.]+", f"{fit.factor(('board', board)):.4g}")


def flow(values: dict[str, float]) -> str:
    """A mapping on one line."""
    return "{" + ", ".join(f"{key}: {value:.4g}" for key, value in values.items()) + "}"


def change(path: Path, pattern: str, value: str, key: str = "") -> None:
    """Put a value where a pattern's first group ends; the key, too, if the group does not end in it."""
    text = path.read_text(encoding="utf-8")
    made, count = re.subn(
        pattern, lambda m: m[1] + ("" if m[1].endswith(key) else key) + value, text, count=1, flags=re.DOTALL
    )
    if not count:
        raise ValueError(f"{path.name} has no {pattern}")
    path.write_text(made, encoding="utf-8")


def main() -> None:
    """Write the tables."""
    if "fit" in sys.argv[1:]:
        write(Fit(published()))
    page = ROOT / "docs" / "mcu.md"
    between = re.compile(r"(<!-- held out: begin -->\n).*?(<!-- held out: end -->)", re.DOTALL)
    found = tables()
    page.write_text(between.sub(lambda m: f"{m[1]}{found}\n{m[2]}", page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
