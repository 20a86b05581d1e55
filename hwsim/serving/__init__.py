"""Models that are served: the steps of a decoder transformer, and tokens a second in closed form.

Queues and percentiles of requests are no part of it: `Served.decode` and `Served.prefill` are the steps that a
simulation of them would run.
"""

from hwsim.serving.memory import ServedMemory
from hwsim.serving.served import Served, ServedPoint
from hwsim.serving.table import llm

__all__ = ["Served", "ServedMemory", "ServedPoint", "llm"]
