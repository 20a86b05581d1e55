"""Exploration: the Pareto front of a space of designs with few simulations."""

from hwsim.exploration.exploration import Exploration
from hwsim.exploration.search import explore

__all__ = ["Exploration", "explore"]
