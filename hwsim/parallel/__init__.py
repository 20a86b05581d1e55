"""Training on many devices: how a network is split over a cluster, and the step that follows."""

from hwsim.parallel.gpt import Gpt
from hwsim.parallel.split import Parallel, parallel_of
from hwsim.parallel.step import ClusterStep, cluster_step
from hwsim.parallel.train import train
from hwsim.parallel.volume import Moved, moved

__all__ = ["ClusterStep", "Gpt", "Moved", "Parallel", "cluster_step", "moved", "parallel_of", "train"]
