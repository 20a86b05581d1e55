"""Events above the buffer transfer: pipelines of stages on shared resources, run by SimPy in integer ticks."""

from hwsim.clock import Timebase
from hwsim.engine.simulation import simulate
from hwsim.engine.timeline import Interval, PipelineSpan, ResourceTotals, StageTotals, Timeline, concatenate
from hwsim.program import Pipeline, Program, Run, Stage

__all__ = [
    "Interval",
    "Pipeline",
    "PipelineSpan",
    "Program",
    "ResourceTotals",
    "Run",
    "Stage",
    "StageTotals",
    "Timebase",
    "Timeline",
    "concatenate",
    "simulate",
]
