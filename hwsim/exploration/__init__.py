"""Exploration: the Pareto front of a space of designs from a part of its points."""

from hwsim.exploration.exploration import Exploration
from hwsim.exploration.search import explore

__all__ = ["Exploration", "explore"]
