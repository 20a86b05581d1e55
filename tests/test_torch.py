"""PyTorch modules as networks: names, shapes and MACs, against a count of PyTorch and by hand."""

from __future__ import annotations

import copy
import sys
import warnings
from typing import Any

import pytest

import hwsim

try:
    import torch
    from torch import nn
    from torch.utils.flop_counter import FlopCounterMode
except ImportError:
    torch = None

needs_torch = pytest.mark.skipif(torch is None, reason="PyTorch is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")


def test_without_pytorch_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(hwsim.InputError, match="pip install torch"):
        hwsim.from_torch(None)


if torch is not None:

    class Block(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(channels)
            self.relu = nn.ReLU(inplace=True)
            self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
            self.bn2 = nn.BatchNorm2d(channels)

        def forward(self, x: Any) -> Any:
            y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
            y += x
            return self.relu(y)

    class Image(nn.Module):
        def __init__(self, channels: int = 31) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, channels, 7, stride=2, padding=3)
            self.pool = nn.MaxPool2d(3, 2, 1)
            self.layer1 = nn.Sequential(Block(channels), Block(channels))
            self.avg, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(channels, 10)

        def forward(self, x: Any) -> Any:
            return self.fc(torch.flatten(self.avg(self.layer1(self.pool(self.stem(x)))), 1))

    class Text(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(127, 32)
            layer = nn.TransformerEncoderLayer(32, 4, 61, batch_first=True)
            self.encoder, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(32, 7)

        def forward(self, tokens: Any) -> Any:
            return self.head(self.encoder(self.embed(tokens))[:, 0])

    class RMSNorm(nn.Module):
        def __init__(self, dim: int) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(dim))

        def forward(self, x: Any) -> Any:
            y = x.float()
            return self.weight * (y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + 1e-6)).to(x.dtype)

    class Grouped(nn.Module):
        """A block of a language model: four heads of queries share each head of keys."""

        def __init__(self) -> None:
            super().__init__()
            self.norm, self.q = RMSNorm(64), nn.Linear(64, 64, bias=False)
            self.k, self.v = nn.Linear(64, 16, bias=False), nn.Linear(64, 16, bias=False)

        def forward(self, x: Any) -> Any:
            y = self.norm(x)
            heads = (t.unflatten(-1, (-1, 8)).transpose(1, 2) for t in (self.q(y), self.k(y), self.v(y)))
            q, k, v = heads
            k, v = (t[:, :, None].expand(-1, -1, 4, -1, -1).flatten(1, 2) for t in (k, v))
            mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril()
            y = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
            return x + y.transpose(1, 2).flatten(2)


def both(model: Any, *args: Any) -> tuple[hwsim.Workload, int]:
    """The network, and the MACs that PyTorch counts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hwsim.HwsimWarning)
        network = hwsim.from_torch(model, *args)
    model, args = copy.deepcopy(model).eval().to("meta"), [arg.to("meta") for arg in args]
    # Without gradients encoders take a fused path that is not counted, as attention on a processor is not.
    with FlopCounterMode(display=False) as counter:
        model(*args)
    return network, counter.get_total_flops() // 2


@needs_torch
@pytest.mark.slow
def test_a_network_of_images() -> None:
    network, macs = both(Image(), torch.zeros(1, 3, 65, 65))
    assert network.macs == macs
    assert network.names == (
        "stem", "pool", "layer1.0.conv1", "layer1.0.conv2", "layer1.0.add", "layer1.1.conv1", "layer1.1.conv2",
        "layer1.1.add", "avg", "fc",
    )  # fmt: skip
    assert network.inputs["layer1.0.add"] == ("layer1.0.conv2", "pool")
    first, second = network["layer1.0.conv1"], network["layer1.0.conv2"]
    assert (first.activation, first.bias, first.input.dtype) == ("relu", True, "fp32")
    assert (second.depthwise, second.activation, network["layer1.0.add"].activation) == (True, "none", "relu")
    assert hwsim.simulate("a100", network, 3).summary.macs == 3 * macs


@needs_torch
@pytest.mark.slow
def test_the_batch_of_the_example_changes_nothing() -> None:
    networks = [hwsim.from_torch(Image(5), torch.zeros(batch, 3, 33, 33)) for batch in (1, 2, 7)]
    assert networks[0].layers == networks[1].layers == networks[2].layers


@needs_torch
@pytest.mark.slow
def test_a_network_of_text() -> None:
    network, macs = both(Text(), torch.zeros(1, 17, dtype=torch.int64))
    assert network.macs == macs
    assert network.graph
    attention = network["encoder.layers.0.self_attn.attention"]
    assert (attention.queries, attention.context, attention.heads, attention.dim) == (17, 17, 4, 8)
    assert network["encoder.layers.0.self_attn.in_proj"].weights == 32 * 96


@needs_torch
@pytest.mark.slow
def test_a_block_of_a_language_model_without_values() -> None:
    with torch.device("meta"):
        model = Grouped().to(torch.bfloat16)
    with pytest.warns(hwsim.HwsimWarning, match="taken as a causal one"):
        network = hwsim.from_torch(model, torch.zeros(1, 31, 64, dtype=torch.bfloat16, device="meta"))
    attention = next(layer for layer in network if layer.op == "attention")
    assert (attention.heads, attention.kv_heads, attention.causal, attention.input.dtype) == (8, 2, True, "bf16")
    assert [layer.op for layer in network].count("norm") == 1
    assert network.macs == 31 * 64 * (64 + 16 + 16) + 8 * 8 * 2 * (31 * 32 // 2)


@needs_torch
def test_what_cannot_be_exported_is_an_input_error() -> None:
    class Odd(nn.Module):
        def forward(self, x: Any) -> Any:
            return x if x.sum().item() > 0 else -x

    with pytest.raises(hwsim.InputError):
        hwsim.from_torch(Odd(), torch.zeros(3, 3))
    with pytest.raises(hwsim.InputError, match="not a str"):
        hwsim.from_torch("resnet50", torch.zeros(1))


@needs_torch
@pytest.mark.slow
def test_an_operator_without_a_model_is_named() -> None:
    class Odd(nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.fft.rfft(x).real

    with pytest.warns(hwsim.HwsimWarning, match="no model"):
        assert hwsim.from_torch(Odd(), torch.zeros(1, 31)).macs == 0


@needs_torch
@pytest.mark.slow
def test_what_was_quantized_is_multiplied_as_such() -> None:
    import torch.ao.quantization.fx._decomposed

    ops, as_int8 = torch.ops.quantized_decomposed, (0.1, 0, -128, 127, torch.int8)

    class Quantized(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("stored", torch.zeros(31, 127, dtype=torch.int8))

        def forward(self, x: Any) -> Any:
            y = ops.dequantize_per_tensor(ops.quantize_per_tensor(x, *as_int8), *as_int8)
            return nn.functional.linear(y, ops.dequantize_per_tensor(self.stored, *as_int8))

    (layer,) = hwsim.from_torch(Quantized(), torch.zeros(1, 127))
    assert (layer.input.dtype, layer.weight.dtype, layer.output.dtype) == ("int8", "int8", "fp32")
    assert layer.macs == 31 * 127
