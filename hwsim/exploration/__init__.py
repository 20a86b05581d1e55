"""Exploration: the Pareto front of a space of designs from a part of its points."""

from hwsim.exploration.exploration import Exploration, explore
from hwsim.exploration.front import front, hypervolume

__all__ = ["Exploration", "explore", "front", "hypervolume"]
