"""What is to be run: layers, networks of them, and the files they are read from."""

from hwsim.workload import layers
from hwsim.workload.layer import Layer
from hwsim.workload.layers import *  # noqa: F403
from hwsim.workload.loader import library, load_workload, trace_document, workload_names
from hwsim.workload.network import INPUT, Live, Node, Workload
from hwsim.workload.tensor import DTYPES, FORMATS, PATTERNS, TensorSpec, TensorType
from hwsim.workload.trace import read_trace

__all__ = [
    "DTYPES",
    "FORMATS",
    "INPUT",
    "PATTERNS",
    "Layer",
    "Live",
    "Node",
    "TensorSpec",
    "TensorType",
    "Workload",
    "library",
    "load_workload",
    "read_trace",
    "trace_document",
    "workload_names",
]
__all__ += layers.__all__
