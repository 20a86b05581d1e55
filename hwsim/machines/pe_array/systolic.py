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
from hwsim.machines.pe_array.work import GemmWork, as_gemm, mac_actions
from hwsim.machines.plan import LayerPlan
from hwsim.mapping import Counts, Fold, Keep, Loop, Mapping, Node, Problem, batched_gemm_problem, counts, footprints
from hwsim.workload import Layer

__all__ = ["fold_cycles", "folds_of", "plan_systolic"]


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
    nests = []
    for first, second in (((row, rows), (col, cols)), ((col, cols), (row, rows))):
        folds: list[Node] = [Loop(*first), Loop(*second)]
        places: dict[int, list[str]] = {0: [], 1: [], 2: []}
        amount = 0
        for tensor in sorted(problem.tensors, key=problem.words):
            # A tensor that fits nowhere streams through the buffer in order: each word is used once in a fold.
            for place in (0, 1, 2):
                trial = Mapping((*outer, *folds[:place], Keep(buffer, (tensor,)), *folds[place:], *inner))
                bits = footprints(problem, trial)[buffer, tensor] * problem.operand(tensor).bits
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


def _dram_words(problem: Problem, totals: Counts, dram: str, raw_ifmap: int) -> dict[tuple[str, str], int]:
    """Words between DRAM and the chip. DRAM holds the image, not its im2col matrix: its share of the matrix is read."""
    ifmap = totals.actions.get((dram, "ifmap", "read"), 0)
    return {
        ("ifmap", "read"): -(-ifmap * raw_ifmap // problem.words("ifmap")),
        ("weight", "read"): totals.actions.get((dram, "weight", "read"), 0),
        ("ofmap", "read"): totals.actions.get((dram, "ofmap", "read"), 0),
        ("ofmap", "update"): totals.actions.get((dram, "ofmap", "update"), 0),
    }


def plan_systolic(array: Array, layer: Layer, batch: int) -> LayerPlan:
    """Plan a layer on a systolic array."""
    spec = array.spec
    work = as_gemm(layer, batch)
    assert work is not None
    bits = array.bits(layer)
    width = dict(zip(("ifmap", "weight", "ofmap"), bits))
    problem = batched_gemm_problem(work.b, work.m, work.n, work.k, bits=bits)
    raw_ifmap = min(layer.inputs * batch, problem.words("ifmap"))
    folds, steps = folds_of(spec.fold, spec.array.rows, spec.array.cols, work)
    cycles = fold_cycles(spec.fold, spec.array.rows, spec.array.cols, steps)
    best: tuple[int, Mapping, Counts, dict[tuple[str, str], int]] | None = None
    for mapping in _nests(array, problem):
        totals = counts(problem, mapping)
        dram = _dram_words(problem, totals, spec.dram, raw_ifmap)
        traffic = sum(words * width[tensor] for (tensor, _), words in dram.items())
        if best is None or traffic < best[0]:
            best = (traffic, mapping, totals, dram)
    assert best is not None
    _, mapping, totals, dram = best
    loads = sum(w * width[t] for (t, action), w in dram.items() if action == "read")
    stores = sum(w * width[t] for (t, action), w in dram.items() if action == "update")
    actions = {
        k: n for k, n in totals.actions.items() if k[0] != spec.dram and k[2] in ("read", "fill", "update", "drain")
    }
    actions |= {(spec.dram, tensor, action): words for (tensor, action), words in dram.items() if words}
    actions |= mac_actions(layer, work.macs, spec.array)
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
        bounds={"load": "dram", "compute": "compute", "store": "dram"},
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
