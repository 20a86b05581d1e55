"""Clusters: devices, their links, and collectives on them as discrete events."""

from hwsim.machines.cluster.machine import Cluster
from hwsim.machines.cluster.spec import ClusterSpec
from hwsim.machines.cluster.way import Way

__all__ = ["Cluster", "ClusterSpec", "Way"]
