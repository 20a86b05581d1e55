"""Systolic arrays: folds of a product of matrices over the array, skewed at both ends.

The stationary operand is cut into tiles of rows x columns (a fold). With (Sr, Sc, T) = (K, N, M) weight stationary,
(K, M, N) input stationary and (M, N, K) output stationary, a layer takes

    ceil(Sr / R) ceil(Sc / C)  folds of  2 R + C + T - 2  cycles (R + C + T - 2 output stationary),

folds not overlapped (Samajdar et al., "A systematic methodology for characterizing scalability of DNN accelerators
using SCALE-Sim", ISPASS 2020). Loads and stores of the next fold run beside the current one.
"""

from __future__ import annotations

from hwsim.engine.program import Pipeline, Program, Stage, spread
from hwsim.machines.pe_array.array import Array
from hwsim.machines.pe_array.sums import split_sums
from hwsim.machines.pe_array.work import GemmWork, as_gemm, mac_actions
from hwsim.machines.plan import Action, LayerPlan
from hwsim.mapping import Counts, Fold, Keep, Loop, Mapping, Node, Problem, batched_gemm_problem, counts, footprints
from hwsim.workload import Layer

__all__ = ["fold_cycles", "folds_of", "plan_systolic"]

_ACCESSES = ("read", "fill", "update", "drain")


def fold_cycles(fold: Fold, rows: int, cols: int, steps: int) -> int:
    """Cycles of one fold: fill, `steps` in time, drain; an operand that stands still is first loaded, row by row."""
    fill = rows if fold.stationary == "ofmap" else 2 * rows
    return fill + cols + steps - 2


def folds_of(fold: Fold, rows: int, cols: int, work: GemmWork) -> tuple[int, int]:
    """Folds of a product of matrices, and the steps in time of each."""
    dims = {"M": work.m, "N": work.n, "K": work.k}
    return work.b * -(-dims[fold.row] // rows) * -(-dims[fold.col] // cols), dims[fold.time]


def _nests(array: Array, problem: Problem) -> list[Mapping]:
    """The nests worth pricing: both orders of the folds, each tensor held in the buffer from as far out as it fits."""
    spec = array.spec
    fold = spec.fold
    row, col = fold.row, fold.col
    rows, cols = min(spec.array.rows, problem.dims[row]), min(spec.array.cols, problem.dims[col])
    inner: list[Node] = [Loop(row, 1, "rows"), Loop(col, 1, "cols"), Keep("pe", (fold.stationary,)), Loop(fold.time, 1)]
    outer: list[Node] = [Keep(spec.dram, ("ifmap", "weight", "ofmap")), Loop("B", 1)]
    buffer = list(spec.memories)[1]
    limits = array.capacity_bits()[buffer]
    output = problem.output
    # Where K is folded, the buffer holds partial sums; output stationary, they are in the PEs.
    sums = fold.stationary != output.name and problem.dims["K"] > spec.array.rows
    width = {o.name: o.sum_bits if sums and o.output else o.bits for o in problem.operands}
    nests = []
    for first, second in (((row, rows), (col, cols)), ((col, cols), (row, rows))):
        folds: list[Node] = [Loop(*first), Loop(*second)]
        places: dict[int, list[str]] = {0: [], 1: [], 2: []}
        amount = 0
        for tensor in sorted(problem.tensors, key=problem.words):
            # A tensor that fits nowhere streams through the buffer in order: each word is used once in a fold.
            for place in (0, 1, 2):
                trial = Mapping((*outer, *folds[:place], Keep(buffer, (tensor,)), *folds[place:], *inner))
                bits = footprints(problem, trial)[buffer, tensor] * width[tensor]
                room = limits[tensor] if isinstance(limits, dict) else limits - amount
                if bits <= room or place == 2:
                    places[place].append(tensor)
                    amount += min(bits, room)
                    break
        nodes: list[Node] = list(outer)
        for place in (0, 1, 2):
            if places[place]:
                nodes.append(Keep(buffer, tuple(t for t in problem.tensors if t in places[place])))
            nodes += folds[place : place + 1]
        nests.append(Mapping((*nodes, *inner)))
    return nests


def _words(array: Array, problem: Problem, totals: Counts, raw_ifmap: int) -> dict[Action, int]:
    """Words that memories move. DRAM holds the image, not its im2col matrix: its share of the matrix is read."""
    dram, words = array.spec.dram, {}
    for (memory, tensor, action), number in totals.actions.items():
        if not number or action not in (("read", "update") if memory == dram else _ACCESSES):
            continue
        if (memory, tensor) == (dram, "ifmap"):
            number = -(-number * raw_ifmap // problem.words("ifmap"))
        words[memory, tensor, action] = number
    return split_sums(problem, words, "pe")


def plan_systolic(array: Array, layer: Layer, batch: int) -> LayerPlan:
    """Plan a layer on a systolic array."""
    spec = array.spec
    work = as_gemm(layer, batch)
    assert work is not None
    problem = batched_gemm_problem(
        work.b, work.m, work.n, work.k, array.bits(layer), accumulator_bits=array.accumulator_bits(layer)
    )
    width = array.widths(problem)
    raw_ifmap = min(layer.inputs * batch, problem.words("ifmap"))
    folds, steps = folds_of(spec.fold, spec.array.rows, spec.array.cols, work)
    cycles = fold_cycles(spec.fold, spec.array.rows, spec.array.cols, steps)
    best: tuple[int, int, Mapping, Counts, dict[Action, int]] | None = None
    for mapping in _nests(array, problem):
        totals = counts(problem, mapping)
        actions = _words(array, problem, totals, raw_ifmap)
        moved = {"read": 0, "update": 0}
        for (memory, tensor, action), words in actions.items():
            if memory == spec.dram:
                moved[action] += words * width[tensor]
        if best is None or sum(moved.values()) < best[0] + best[1]:
            best = (moved["read"], moved["update"], mapping, totals, actions)
    assert best is not None
    loads, stores, mapping, totals, actions = best
    actions |= mac_actions(layer, work.macs, spec.array)
    bound = array.compute_bound(work.macs, totals)
    outer = spec.memories[spec.dram]
    buffer = list(spec.memories)[1]

    def read(tensor: str) -> int:
        return totals.actions.get((buffer, tensor, "read"), 0)

    return LayerPlan(
        layer,
        batch,
        f"systolic, {spec.dataflow.replace('_', ' ')}",
        Program(
            {spec.dram: 1, "array": 1},
            (
                Pipeline(
                    "folds",
                    (Stage("load", spec.dram), Stage("compute", "array"), Stage("store", spec.dram)),
                    spread(
                        folds,
                        array.transfer_ticks(outer, -(-loads // 8)),
                        array.cycle_ticks(folds * cycles),
                        array.transfer_ticks(outer, -(-stores // 8)),
                    ),
                ),
            ),
        ),
        actions,
        macs=work.macs,
        macs_live=layer.macs_live * batch,
        macs_executed=work.macs,
        compute_cycles=folds * cycles,
        peak_macs_per_cycle=array.pes,
        dram_bytes=-(-(loads + stores) // 8),
        bounds={"load": "dram", "compute": bound, "store": "dram"},
        compute_bounds=("compute", bound),
        word_bits=width,
        problem=problem,
        mapping=mapping,
        cycles={"compute": folds * cycles},
        columns={
            "folds": folds,
            "ifmap_reads": read("ifmap"),
            "weight_reads": read("weight"),
            "ofmap_reads": read("ofmap"),
            "ofmap_writes": totals.actions.get((buffer, "ofmap", "update"), 0),
        },
    )
