"""Loop nests over memories: the problem, the mapping, its exact counts, and the search for a good one."""

from hwsim.mapping.counts import Compiled, Counts, Policy, compile_template, counts, evaluate
from hwsim.mapping.dataflow import DATAFLOWS, Dataflow, Fold, Level, NestConstraints, templates
from hwsim.mapping.nest import Capacity, Keep, Loop, Mapping, Node, check_capacity, footprints
from hwsim.mapping.problem import Axis, Operand, Problem, batched_gemm_problem, conv_problem, distinct, gemm_problem
from hwsim.mapping.search import Bound, Found, candidates, search

__all__ = [
    "DATAFLOWS",
    "Axis",
    "Bound",
    "Capacity",
    "Compiled",
    "Counts",
    "Dataflow",
    "Fold",
    "Found",
    "Keep",
    "Level",
    "Loop",
    "Mapping",
    "NestConstraints",
    "Node",
    "Operand",
    "Policy",
    "Problem",
    "batched_gemm_problem",
    "candidates",
    "check_capacity",
    "compile_template",
    "conv_problem",
    "counts",
    "distinct",
    "evaluate",
    "footprints",
    "gemm_problem",
    "search",
    "templates",
]
