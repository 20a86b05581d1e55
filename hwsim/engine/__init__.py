"""Events above the buffer transfer: pipelines of stages on shared resources, run by SimPy in integer ticks."""

from hwsim.engine.activity import Interval, PipelineSpan, ResourceTotals, StageTotals
from hwsim.engine.clock import Timebase
from hwsim.engine.program import Pipeline, Program, Run, Stage
from hwsim.engine.simulation import simulate
from hwsim.engine.timeline import Timeline, concatenate

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
