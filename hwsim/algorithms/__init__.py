"""Convolution as a choice of algorithm: what Winograd's and the FFT's forms multiply, add, move and round."""

from hwsim.algorithms.choice import ALGORITHMS, TRANSFORMED, Algorithm, Requested, Requests, algorithm_of, shape_of
from hwsim.algorithms.fft import Fft
from hwsim.algorithms.toom_cook import Matrices, integers, matrices
from hwsim.algorithms.transform import Tally, TransformCost, apply, apply_twice, cost_of
from hwsim.algorithms.winograd import Bits, Winograd

__all__ = [
    "ALGORITHMS",
    "TRANSFORMED",
    "Algorithm",
    "Bits",
    "Fft",
    "Matrices",
    "Requested",
    "Requests",
    "Tally",
    "TransformCost",
    "Winograd",
    "algorithm_of",
    "apply",
    "apply_twice",
    "cost_of",
    "integers",
    "matrices",
    "shape_of",
]
