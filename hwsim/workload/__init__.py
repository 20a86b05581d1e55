"""What is to be run: layers, networks of them, and the files they are read from."""

from hwsim.workload.attention import Attention
from hwsim.workload.conv import Conv2d, Pool2d
from hwsim.workload.experts import ExpertGemm, Moe
from hwsim.workload.layer import Layer
from hwsim.workload.loader import library, load_workload, trace_document, workload_names
from hwsim.workload.matmul import BatchedMatmul, Embedding, Gemm, Gru, Lstm
from hwsim.workload.network import INPUT, Live, Node, Workload
from hwsim.workload.number_format import DTYPES, NumberFormat
from hwsim.workload.pointwise import Activation, Concat, DataMovement, Elementwise, Normalization, Opaque, Softmax
from hwsim.workload.tensor import FORMATS, PATTERNS, TensorSpec, TensorType
from hwsim.workload.trace import read_trace

__all__ = [
    "DTYPES",
    "FORMATS",
    "INPUT",
    "PATTERNS",
    "Activation",
    "Attention",
    "BatchedMatmul",
    "Concat",
    "Conv2d",
    "DataMovement",
    "Elementwise",
    "Embedding",
    "ExpertGemm",
    "Gemm",
    "Gru",
    "Layer",
    "Live",
    "Lstm",
    "Moe",
    "Node",
    "Normalization",
    "NumberFormat",
    "Opaque",
    "Pool2d",
    "Softmax",
    "TensorSpec",
    "TensorType",
    "Workload",
    "library",
    "load_workload",
    "read_trace",
    "trace_document",
    "workload_names",
]
