"""Ways to run a collective between the devices of a cluster: closed forms of time and bytes.

For n ranks, a message of m bytes on each and R bytes a second around the ring (or into the switch) of each device:

    ring       2 (n - 1) steps, each a chunk of m / n to the next:  start + 2 (n - 1) (latency + m / (n R))
    tree       sums go up two trees and down again, as a stream:    start + path + 2 m / R
    in_switch  the switches sum:                                    start + (n - 1) latency + (1 + 1 / n) m / R
    server     all send to k servers and get the sum back:          start + 2 latency + 2 n m / (k R)

All-gathers, reduce-scatters and all-to-alls take n - 1 steps of a ring; their message is the whole tensor.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

__all__ = ["Way"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Way:
    """One algorithm on the links of one class, for so many ranks.

    Attributes
    ----------
    op, name : str
        The collective, and ``ring``, ``tree``, ``in_switch`` or ``server``.
    links : str
        The class of links.
    ranks : int
    rings : int
        Rings, or servers, that share the message.
    start_s, step_s : float
        Of the collective, and of a step besides its bytes.
    path_s : float
        Of a tree: latency from the leaves to the root and back.
    bytes_per_s : float
        Of all rings of a device together.
    above, upto : float
        Bytes of a chunk of a ring that it is for.
    network : float
        Share of the bytes that go between nodes.
    """

    op: str
    name: str
    links: str
    ranks: int
    rings: int
    start_s: float
    step_s: float
    bytes_per_s: float
    path_s: float = 0.0
    above: float = -1.0
    upto: float = float("inf")
    network: float = 0.0

    @property
    def steps(self) -> int:
        """Steps of a ring; of a switch how many further ranks it serves."""
        return (2 if self.op == "all_reduce" and self.name == "ring" else 1) * (self.ranks - 1)

    def seconds(self, size: Floats | float) -> Floats:
        """Time for messages of so many bytes; infinite for those that it is not for."""
        size = np.asarray(size, np.float64)
        if self.name == "tree":
            return self.start_s + self.path_s + 2 * size / self.bytes_per_s
        if self.name == "server":
            return self.start_s + 2 * self.step_s + 2 * self.ranks * size / (self.rings * self.bytes_per_s)
        if self.name == "in_switch":
            volume = (1 + 1 / self.ranks) * size
            return self.start_s + self.steps * self.step_s + volume / self.bytes_per_s
        chunk = size / (self.ranks * self.rings)
        time = self.start_s + self.steps * (self.step_s + size / (self.ranks * self.bytes_per_s))
        return np.where((chunk > self.above) & (chunk <= self.upto), time, np.inf)

    def sent_bytes(self, size: float) -> float:
        """Bytes that all devices together send."""
        if self.name == "in_switch":
            return (self.ranks + 1) * size
        if self.name == "server":
            return 2 * self.ranks * size
        both = 2 if self.op == "all_reduce" else 1
        return both * (self.ranks - 1) * size

    def through_servers(self, servers: int) -> Way:
        """The same links to so many parameter servers, each with those of one device."""
        return replace(self, name="server", rings=servers, path_s=0.0, above=-1.0, upto=float("inf"))
