"""Models that are served: the steps of a decoder transformer, and requests that share them.

`Served` has the steps; `Batcher` puts requests into them as a library does, as discrete events. `hwsim.llm` is a closed
loop of clients, `hwsim.serve_llm` arrivals, bounds and percentiles.
"""

from hwsim.serving.load import TokenLoad
from hwsim.serving.memory import ServedMemory
from hwsim.serving.serve import serve_llm
from hwsim.serving.served import Served, ServedPoint
from hwsim.serving.table import llm

__all__ = ["Served", "ServedMemory", "ServedPoint", "TokenLoad", "llm", "serve_llm"]
