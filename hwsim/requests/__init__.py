"""Many requests on one machine: arrivals, a batcher, streams and deadlines as discrete events.

Service times come from the plans of the machine; SimPy has the clock. `hwsim.serve` is the way in.
"""

from hwsim.requests.load import Load
from hwsim.requests.serve import serve
from hwsim.requests.shared import SharedLoad, Tenant, serve_shared

__all__ = ["Load", "SharedLoad", "Tenant", "serve", "serve_shared"]
