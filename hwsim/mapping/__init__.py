"""Loop nests over memories: the problem, the mapping, its exact counts, and the search for a good one."""

from hwsim.mapping.capacity import check_capacity, footprints, partial_sums
from hwsim.mapping.cost import Cost, Rate, Timing, timing
from hwsim.mapping.counts import Compiled, Counts, Policy, compile_template, counts, evaluate
from hwsim.mapping.dataflow import DATAFLOWS, Dataflow, Fold, Level, NestConstraints, templates
from hwsim.mapping.nest import Capacity, Keep, Loop, Mapping, Node
from hwsim.mapping.problem import Axis, Operand, Problem, batched_gemm_problem, conv_problem, distinct, gemm_problem
from hwsim.mapping.search import Optimum, search

__all__ = [
    "DATAFLOWS",
    "Axis",
    "Capacity",
    "Compiled",
    "Cost",
    "Counts",
    "Dataflow",
    "Fold",
    "Keep",
    "Level",
    "Loop",
    "Mapping",
    "NestConstraints",
    "Node",
    "Operand",
    "Optimum",
    "Policy",
    "Problem",
    "Rate",
    "Timing",
    "batched_gemm_problem",
    "check_capacity",
    "compile_template",
    "conv_problem",
    "counts",
    "distinct",
    "evaluate",
    "footprints",
    "gemm_problem",
    "partial_sums",
    "search",
    "templates",
    "timing",
]
