"""Training on many devices: how a network is split over a cluster, and the step that follows."""

from hwsim.parallel.compare import SplitRow, compare_splits
from hwsim.parallel.gpt import Gpt
from hwsim.parallel.result import ClusterStep
from hwsim.parallel.split import Parallel, parallel_of
from hwsim.parallel.step import cluster_step
from hwsim.parallel.train import train
from hwsim.parallel.volume import Moved, moved

__all__ = [
    "ClusterStep",
    "Gpt",
    "Moved",
    "Parallel",
    "SplitRow",
    "cluster_step",
    "compare_splits",
    "moved",
    "parallel_of",
    "train",
]
