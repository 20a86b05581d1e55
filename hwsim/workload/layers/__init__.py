"""The kinds of layer: each module has a class, or a small family, with its line in traces and its row in tables."""

from hwsim.workload.layers.attention import Attention
from hwsim.workload.layers.collective import Collective
from hwsim.workload.layers.concat import Concat
from hwsim.workload.layers.conv import Conv2d
from hwsim.workload.layers.conv3d import Conv3d
from hwsim.workload.layers.elementwise import Elementwise
from hwsim.workload.layers.embedding import Embedding
from hwsim.workload.layers.expert_gemm import ExpertGemm
from hwsim.workload.layers.gated import Gated
from hwsim.workload.layers.gemm import Gemm
from hwsim.workload.layers.matmul import BatchedMatmul
from hwsim.workload.layers.moe import Moe
from hwsim.workload.layers.movement import DataMovement
from hwsim.workload.layers.opaque import Opaque
from hwsim.workload.layers.pointwise import Activation, Normalization, Softmax
from hwsim.workload.layers.pool import Pool2d
from hwsim.workload.layers.recurrent import Gru, Lstm, Rnn
from hwsim.workload.layers.rotary import Rotary
from hwsim.workload.layers.spectrum import LogMel

__all__ = [
    "Activation",
    "Attention",
    "BatchedMatmul",
    "Collective",
    "Concat",
    "Conv2d",
    "Conv3d",
    "DataMovement",
    "Elementwise",
    "Embedding",
    "ExpertGemm",
    "Gated",
    "Gemm",
    "Gru",
    "LogMel",
    "Lstm",
    "Moe",
    "Normalization",
    "Opaque",
    "Pool2d",
    "Rnn",
    "Rotary",
    "Softmax",
]
