"""Training on one device: gradients as layers, executed; laws of a step; memory; what is refused."""

from __future__ import annotations

import importlib.util
import math
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import hwsim
from hwsim.errors import InputError
from hwsim.training import TrainingRecipe, input_gradient, training_step, weight_gradient
from hwsim.training.passes import parameters
from hwsim.workload import Conv2d, Gemm, Layer, Workload
from hwsim.workload.product import Product


def product(layer: Layer | None, batch: int) -> Product:
    assert layer is not None
    x = layer.lower(batch)
    assert isinstance(x, Product)
    return x


def columns(image: np.ndarray, conv: Conv2d) -> np.ndarray:
    """Windows of an image (channels, rows, columns) by output position: positions x groups x (channels, taps)."""
    top, left, bottom, right = conv.pad
    padded = np.pad(image, ((0, 0), (top, bottom), (left, right)))
    windows = np.empty((conv.p, conv.q, conv.c, conv.r, conv.s))
    for p in range(conv.p):
        for q in range(conv.q):
            rows = p * conv.stride[0] + conv.dilation[0] * np.arange(conv.r)
            cols = q * conv.stride[1] + conv.dilation[1] * np.arange(conv.s)
            windows[p, q] = padded[:, rows[:, None], cols[None, :]]
    return windows.reshape(conv.p * conv.q, conv.groups, -1)


def forward(images: np.ndarray, weights: np.ndarray, conv: Conv2d) -> np.ndarray:
    filters = weights.reshape(conv.groups, conv.k // conv.groups, -1)
    out = [np.einsum("pgx,gkx->gkp", columns(image, conv), filters).reshape(conv.k, -1) for image in images]
    return np.stack(out)


def numerical(function, at: np.ndarray) -> np.ndarray:
    """Derivative of a linear function, value by value."""
    zero = function(np.zeros_like(at))
    gradient = np.empty(at.size)
    for i in range(at.size):
        unit = np.zeros(at.size)
        unit[i] = 1.0
        gradient[i] = function(unit.reshape(at.shape)) - zero
    return gradient.reshape(at.shape)


CONVOLUTIONS = [
    Conv2d("plain", c=3, h=5, w=4, k=2, r=3),
    Conv2d("stride and pad", c=2, h=7, w=6, k=3, r=3, stride=2, pad=1),
    Conv2d("uneven", c=1, h=6, w=5, k=2, r=2, s=3, stride=(2, 1), pad=(0, 1, 1, 0)),
    Conv2d("dilation", c=2, h=7, w=7, k=2, r=3, dilation=2, pad=2),
    Conv2d("groups", c=4, h=4, w=5, k=6, r=3, groups=2, pad=1),
    Conv2d("depthwise", c=3, h=5, w=5, k=3, r=3, groups=3, stride=2),
    Conv2d("pointwise", c=5, h=3, w=3, k=4, r=1, stride=2),
]


@pytest.mark.parametrize("conv", CONVOLUTIONS, ids=lambda conv: conv.name)
def test_gradients_of_a_convolution_are_its_derivatives(conv: Conv2d) -> None:
    """The products that are priced, of their sizes, executed: they are the derivatives of the forward pass."""
    rng, batch = np.random.default_rng(31), 3
    images = rng.integers(-3, 4, (batch, conv.c, conv.h, conv.w)).astype(float)
    weights = rng.integers(-3, 4, (conv.k, conv.c // conv.groups, conv.r, conv.s)).astype(float)
    above = rng.integers(-3, 4, (batch, conv.k, conv.p * conv.q)).astype(float)
    by_group = above.reshape(batch, conv.groups, -1, conv.p * conv.q)

    x = product(weight_gradient(conv), batch)
    left = np.stack([columns(image, conv) for image in images]).reshape(batch * conv.p * conv.q, conv.groups, -1)
    left = left.transpose(1, 2, 0)
    right = by_group.transpose(1, 0, 3, 2).reshape(conv.groups, batch * conv.p * conv.q, -1)
    assert left.shape == (x.b, x.m, x.k)
    assert right.shape == (x.b, x.k, x.n)
    assert x.macs == x.b * x.m * x.n * x.k == conv.macs * batch
    loss = numerical(lambda w: float((forward(images, w, conv) * above).sum()), weights)
    assert np.array_equal((left @ right).transpose(0, 2, 1).reshape(weights.shape), loss)

    x = product(input_gradient(conv), batch)
    left = by_group.transpose(1, 0, 3, 2).reshape(conv.groups, batch * conv.p * conv.q, -1)
    right = weights.reshape(conv.groups, conv.k // conv.groups, -1)
    assert left.shape == (x.b, x.m, x.k)
    assert right.shape == (x.b, x.k, x.n)
    assert x.macs == x.b * x.m * x.n * x.k == conv.macs * batch
    spread = (left @ right).reshape(conv.groups, batch, conv.p * conv.q, -1)
    places = columns(np.arange(1, conv.c * conv.h * conv.w + 1).reshape(conv.c, conv.h, conv.w), conv)
    summed = np.zeros((batch, conv.c * conv.h * conv.w + 1))
    for image in range(batch):
        np.add.at(summed[image], places.astype(int), spread[:, image].transpose(1, 0, 2))
    one = numerical(lambda im: float((forward(im, weights, conv) * above).sum()), images)
    assert np.array_equal(summed[:, 1:].reshape(images.shape), one)


def test_gradients_of_a_product() -> None:
    fc, batch = Gemm("fc", m=7, n=31, k=127), 5
    dx, dw = product(input_gradient(fc), batch), product(weight_gradient(fc), batch)
    assert (dx.m, dx.n, dx.k) == (35, 127, 31)
    assert (dw.m, dw.n, dw.k) == (127, 31, 35)
    assert dx.macs == dw.macs == fc.macs * batch
    assert input_gradient(hwsim.Softmax("s", shape=(31,))) is None


@pytest.mark.parametrize(
    ("network", "batch"), [("resnet50_v1_5", 31), ("vgg16", 3), ("googlenet", 7), ("bert_base", 1)]
)
def test_macs_of_a_step_are_three_forward_passes_less_the_first_gradient(network: str, batch: int) -> None:
    """The first layer needs no gradient of its inputs; each other product has both gradients."""
    workload = hwsim.load_workload(network)
    step = training_step("v100", workload, batch)
    first = next(layer for layer in workload if layer.macs)
    spared = first.macs if network != "bert_base" else 0  # the table of words comes before the first product
    assert step.macs == batch * (3 * workload.macs - spared)


def test_parameters_are_those_published() -> None:
    """Each folded batch normalization has a scale and an offset: torchvision's counts."""
    published = {
        "resnet18": 11_689_512, "resnet34": 21_797_672, "resnet50_v1_5": 25_557_032, "resnet101": 44_549_160,
        "resnet152": 60_192_808, "vgg16": 138_357_544, "vgg19": 143_667_240, "inception_v3": 23_834_568,
        "inception_v4": 42_679_816,
    }  # fmt: skip
    for name, params in published.items():
        assert sum(parameters(hwsim.load_workload(name)).values()) == params


def test_parameters_of_bert_large_are_those_published() -> None:
    """Devlin et al. (NAACL 2019) publish 340 M; the heads of tasks, which differ, make less than 1 % of it.

    Counted by hand: 24 blocks of four products of attention, two of the network between, and two normalizations; the
    tables of words, places and sorts; the pooler.
    """
    hidden, inner, words, places = 1024, 4096, 30522, 512
    block = 4 * (hidden * hidden + hidden) + 2 * hidden * inner + inner + hidden + 4 * hidden
    tables = (words + places + 2) * hidden + 2 * hidden
    pooler = hidden * hidden + hidden
    published = 24 * block + tables + pooler
    assert published == 335_141_888
    for name in ("bert_large", "bert_large_128"):
        count = sum(parameters(hwsim.load_workload(name)).values())
        assert 333e6 < count < 340e6
        assert count == pytest.approx(published, rel=0.01)


def test_law_of_macs_of_a_step_with_accumulation() -> None:
    """Batches between two updates have the work of as many: of 31 inputs, 7 times that of one."""
    one = training_step("v100", "alexnet", 31)
    seven = training_step("v100", "alexnet", 31, TrainingRecipe(accumulate=7))
    assert seven.macs == 7 * one.macs
    assert seven.batch_s == pytest.approx(one.batch_s)


def test_law_of_batches() -> None:
    """A larger batch takes no less time, whether or not tiles divide it."""
    times = [training_step("a100", "resnet18", batch).step_s for batch in (1, 7, 31, 127, 257)]
    assert times == sorted(times)


@pytest.mark.parametrize(
    ("machine", "recipe", "message"),
    [
        ("p100", {"precision": "tf32"}, r"precision must be what p100 multiplies \(fp64, fp32, fp16\), not tf32"),
        ("v100", {"precision": "mixed", "half": "bf16"}, "half must be what v100 multiplies .*, not bf16"),
        ("a100", {"half": "bf16"}, "half must be of mixed precision: with precision fp32 leave bf16 out"),
        (
            "xeon_8280",
            {"precision": "mixed"},
            "precision must be fp32 on xeon_8280: its library has no 16-bit products",
        ),
        ("xeon_8480", {"precision": "mixed", "half": "fp16"}, "half must be bf16 on xeon_8480, not fp16"),
    ],
)
def test_formats_that_a_machine_has_not_are_refused(machine: str, recipe: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        hwsim.train(machine, "alexnet", 31, **recipe)


MACHINES = sorted((Path(hwsim.__file__).parent.parent / "arch_configs").glob("*.yaml"))


@pytest.mark.parametrize("file", MACHINES, ids=lambda file: file.stem)
def test_each_precision_of_each_machine_runs_or_says_why(file: Path) -> None:
    """On GPUs tf32 and bf16 came with Ampere; P100, V100 and later multiply fp16; before, mixed only halves bytes."""
    machine = hwsim.load_machine(file)
    if machine.kind not in ("gpu", "cpu"):
        return
    net = Workload("n", [Conv2d("a", c=31, h=17, w=17, k=127, r=3, pad=1), Gemm("b", n=31, k=127 * 17 * 17)])
    whole = hwsim.train(machine, net, 31)
    for precision, half in (("tf32", ""), ("mixed", ""), ("mixed", "fp16"), ("mixed", "bf16")):
        wanted = "tf32" if precision == "tf32" else half or "fp16"
        try:
            step = hwsim.train(machine, net, 31, precision=precision, half=half)
        except InputError as error:
            able = machine.kind == "gpu" and wanted in machine.spec.sm.macs
            assert not able
            assert re.search(f"(half|precision) must be .*{machine.name}", str(error))
            continue
        codes = [note.code for note in step.messages]
        if machine.kind == "gpu":
            assert ("training.no_half" in codes) == (wanted not in machine.spec.sm.macs)
            assert wanted in machine.spec.sm.macs or precision == "mixed"
        if precision == "mixed":
            assert step.memory.saved_bytes < whole.memory.saved_bytes


def test_what_a_step_does_not_do_is_a_note() -> None:
    def codes(machine: str, network: str, **recipe: str) -> set[str]:
        return {note.code for note in hwsim.train(machine, network, 7, **recipe).messages}

    assert "training.dense" in codes("v100", "lenet5_pruned")
    assert "training.dense" not in codes("v100", "lenet5_caffe")
    assert "training.layout" in codes("a100", "bert_base", precision="mixed", layout="nchw")
    assert "training.layout" in codes("a100", "alexnet", layout="nchw")
    assert "training.layout" in codes("p100", "alexnet", layout="nchw", precision="mixed")
    assert "training.layout" not in codes("a100", "alexnet", layout="nchw", precision="tf32")
    for machine in ("m40", "k80", "gtx1080ti", "p40"):
        assert "training.no_half" in codes(machine, "lenet5_caffe", precision="mixed")
    plain = hwsim.train("p100", "alexnet", 7, precision="mixed")
    assert hwsim.train("p100", "alexnet", 7, precision="mixed", layout="nchw").step_s == plain.step_s


def test_a_processor_trains_in_its_own_16_bits() -> None:
    step = hwsim.train("xeon_8480", "alexnet", 31, precision="mixed")
    assert step.recipe.half == "bf16"
    assert step.recipe.scaling_bytes == 0
    assert step.step_s < hwsim.train("xeon_8480", "alexnet", 31).step_s


def test_laws_of_accumulation_and_recomputation() -> None:
    one = training_step("v100", "resnet50_v1_5", 31)
    four = training_step("v100", "resnet50_v1_5", 31, TrainingRecipe(accumulate=4))
    again = training_step("v100", "resnet50_v1_5", 31, TrainingRecipe(recompute=True))
    assert four.step_s - four.update_s == pytest.approx(4 * (one.step_s - one.update_s))
    assert four.samples_per_s > one.samples_per_s
    assert again.step_s - one.step_s == pytest.approx(one.forward_s)
    assert again.memory.saved_bytes <= one.memory.saved_bytes


def test_a_step_is_the_sum_of_its_layers() -> None:
    step = training_step("p100", "alexnet", 127)
    assert step.step_s == pytest.approx(math.fsum(layer.seconds for layer in step.layers) + step.host_s + step.update_s)
    assert step.gradient_bytes == 4 * step.weight_count == 4 * hwsim.load_workload("alexnet").params


@pytest.fixture(scope="module")
def docs() -> ModuleType:
    """What writes docs/training.md, with the measured rows."""
    path = Path(__file__).parent.parent / "docs" / "generate_training.py"
    spec = importlib.util.spec_from_file_location("generate_training", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["generate_training"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_resnet_50_trains_at_the_measured_rates(docs) -> None:
    """V100 and A100, fp32, TF32 and mixed, four frameworks (NVIDIA DeepLearningExamples)."""
    rows = docs.one_gpu()
    ratios = docs.rates(rows[rows.network == "resnet50_v1_5"])
    assert len(ratios) == 16
    assert np.abs(ratios - 1).mean() < 0.06
    assert np.abs(ratios - 1).max() < 0.15


@pytest.mark.slow
@pytest.mark.parametrize(
    ("device", "op", "mean"),
    [
        ("V100-SXM2", "conv_bwd_inputs", 0.12),
        ("V100-SXM2", "conv_bwd_params", 0.20),
        ("T4", "conv_bwd_inputs", 0.16),
        ("T4", "conv_bwd_params", 0.34),
    ],
)
def test_gradients_of_convolutions_take_the_measured_time(docs, device: str, op: str, mean: float) -> None:
    """fp16 on tensor cores, DeepBench."""
    rows = docs.backward()
    rows = rows[(rows.device == device) & (rows.op == op) & (rows.precision != "fp32")]
    assert np.abs(docs.gradients(rows) - 1).mean() < mean


def test_other_kinds_of_machine_are_refused_by_name() -> None:
    with pytest.raises(InputError, match="eyeriss_v1 is of kind pe_array"):
        training_step("eyeriss_v1", "alexnet")


def test_a_processor_trains() -> None:
    step = hwsim.train("xeon_8280", Workload("n", [Conv2d("a", c=3, h=31, w=31, k=17, r=3)]), 7)
    assert step.layers[0].input_gradient_s == 0.0
    assert step.layers[0].weight_gradient_s > 0.0
