"""Compressed networks: published rates and sizes, formulas by hand, real codes that decode to what they were."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from commands import call
from hypothesis import given, settings, strategies as st

import hwsim
from hwsim.compression.binary import binarize, ternarize, xnor_speedup
from hwsim.compression.codebook import share
from hwsim.compression.huffman import HuffmanCode, code_lengths
from hwsim.compression.low_rank import tensor_train, train_matrix
from hwsim.compression.pruning import pruning_mask
from hwsim.compression.sizes import PARTS, file_bytes, filler_rate, run_lengths, stored_size
from hwsim.compression.storage import expected_bits
from hwsim.errors import InputError
from hwsim.workload.coding import Coding
from hwsim.workload.factors import train_numbers
from hwsim.workload.recipe import Prune
from hwsim.workload.tensor import TensorSpec, TensorType
from hwsim.workload.trace import read_trace
from hwsim.workload.trace_text import trace_text
from hwsim.yaml_source import parse_yaml

DATA = Path(__file__).parent / "data"
with (DATA / "deep_compression.csv").open() as file:
    RATES = [row for row in csv.DictReader(file) if row["layer"] != "TOTAL"]


def stored(row: dict[str, str], coded: tuple[str, ...], density: float | None = None) -> float:
    """Percent of fp32 that a layer's weights take, from its shape, density and bits."""
    coding = Coding(int(float(row["weight_bits_PQ"])), int(row["index_bits_PQ"]), coded)
    share = float(row["kept_pct"]) / 100 if density is None else density
    tensor = TensorType((int(row["weights"]),), TensorSpec("fp32", share, format="csc", coding=coding))
    size = stored_size(tensor)
    return 100 * (size.weight_bits - size.bits["tables"]) / (32 * tensor.elements)


def test_pruned_and_shared_layers_are_as_small_as_published() -> None:
    """Han, Mao, Dally, ICLR 2016, tables 2 to 4: mean error 2.5 % over convolutions, 5 % over all layers."""
    errors = {row["net"] + row["layer"]: stored(row, ()) / float(row["rate_PQ_pct"]) - 1 for row in RATES}
    convolutions = [abs(error) for name, error in errors.items() if "conv" in name]
    assert np.mean(convolutions) <= 0.025
    assert np.mean([abs(error) for error in errors.values()]) <= 0.05


def test_without_fillers_sizes_would_be_too_small() -> None:
    """A model without fillers is 8 to 10 % short in the sparse layers of LeNet-300-100."""
    row = RATES[0]
    rate = filler_rate(0.08, 5)
    assert rate == pytest.approx(0.92**32 / (1 - 0.92**32))
    with_fillers = stored(row, ()) / float(row["rate_PQ_pct"]) - 1
    assert abs(with_fillers) < 0.05 < abs((1 + with_fillers) / (1 + rate) - 1)


def test_random_masks_are_the_upper_bound_of_coded_runs() -> None:
    """Zeros at random have the most entropy of all masks: coded indices are never below published by more than 1 %."""
    for row in RATES:
        coding = Coding(int(float(row["weight_bits_PQ"])), int(row["index_bits_PQ"]), ("indices",))
        density = float(row["kept_pct"]) / 100
        tensor = TensorType((int(row["weights"]),), TensorSpec("fp32", density, format="csc", coding=coding))
        assert stored_size(tensor).about["index_bits"] >= 0.99 * float(row["index_bits_PQH"])


HAN2015 = {  # shares of weights that are kept: Han et al., NIPS 2015
    "lenet_300_100": ({"ip1": 8, "ip2": 9, "ip3": 26}, {"ip*": 6}, {"ip*": 5}, 40),
    "lenet5_caffe": ({"conv1": 66, "conv2": 12, "ip1": 8, "ip2": 19}, {"conv*": 8, "ip*": 5}, {"*": 5}, 39),
    "alexnet_caffe": (
        {"conv1": 84, "conv2": 38, "conv3": 35, "conv4": 37, "conv5": 37, "fc6": 9, "fc7": 9, "fc8": 25},
        {"conv*": 8, "fc*": 5}, {"*": 4}, 35,
    ),
    "vgg16": (
        {
            "conv1_1": 58, "conv1_2": 22, "conv2_1": 34, "conv2_2": 36, "conv3_1": 53, "conv3_2": 24, "conv3_3": 42,
            "conv4_1": 32, "conv4_2": 27, "conv4_3": 34, "conv5_1": 35, "conv5_2": 29, "conv5_3": 36, "fc6": 4,
            "fc7": 4, "fc8": 23,
        },
        {"conv*": 8, "fc*": 5}, {"*": 5}, 49,
    ),
}  # fmt: skip


@pytest.mark.parametrize("network", HAN2015)
def test_whole_networks_are_as_small_as_published(network: str) -> None:
    """Table 1 of the paper: within 8 % from shape, density and bits alone, with the tables of codes that it leaves out.

    Its totals are not the sums of its own rows: those of VGG-16 add to 52.7 times.
    """
    kept, shared, runs, published = HAN2015[network]
    recipes: dict[str, dict[str, object]] = {name: {"prune": {"density": d / 100}} for name, d in kept.items()}
    recipes["*"] = {"huffman": True}
    for key, bits in (("share", shared), ("index", runs)):
        for pattern, number in bits.items():
            recipes[pattern] = {**recipes.get(pattern, {}), key: {"bits": number}}
    packed = hwsim.compress(network, recipes)
    assert packed.ratio == pytest.approx(published, rel=0.08)
    assert packed.expected
    assert packed.whole_ratio < packed.ratio
    assert set(packed.sizes.columns) == {"layer", "part", "bytes", "expected"}
    assert set(packed.sizes.part) == set(PARTS)
    weights = packed.sizes[packed.sizes.part != "bias"].bytes.sum()
    assert packed.fp32_bytes / weights == pytest.approx(packed.ratio)
    assert packed.workload[next(iter(kept))].weight.density == next(iter(kept.values())) / 100


def test_the_file_of_squeezenet_to_the_byte() -> None:
    """675,763 B of the authors' file; seven of its layers, decoded, and the sum over all 26."""
    layers = {  # filters, stored entries, bytes in the file
        "conv1": (96, 13902, 22261), "fire2/squeeze1x1": (16, 1528, 3380), "fire2/expand1x1": (64, 1020, 2810),
        "fire2/expand3x3": (64, 3073, 5890), "fire5/expand3x3": (128, 12343, 20051),
        "fire7/squeeze1x1": (48, 9205, 15024), "conv10": (1000, 105973, 163984),
    }  # fmt: skip
    for filters, entries, size in layers.values():
        assert file_bytes(entries, filters, 8, 4, head=0) == size
    network = [layer for layer in hwsim.load_workload("squeezenet_v1.0") if layer.weights]
    assert len(network) == 26
    filters, entries, odd = sum(layer.biases for layer in network), 422_083, 13
    whole = 26 * file_bytes(0, 0, 8, 4) + 4 * filters + entries + (entries + odd) // 2
    assert whole == 675_763
    six_bits = 26 * file_bytes(0, 0, 6, 4, head=0) + 4 * filters + entries * 6 // 8 + 129_189
    assert six_bits == 468_311


def test_fillers_as_real_masks_have_them() -> None:
    """A long random mask has as many fillers as the formula says; zeros behind the last value are not stored."""
    rng = np.random.default_rng(7)
    for density, bits in ((0.08, 5), (0.04, 4), (0.3, 2)):
        mask = rng.random(1_000_003) < density
        entries = run_lengths(mask, bits)
        fillers = int((entries.places < 0).sum())
        assert fillers / mask.sum() == pytest.approx(filler_rate(density, bits), rel=0.03)
        assert entries.runs.max() == (1 << bits) - 1


@given(st.lists(st.integers(0, 1), max_size=300), st.integers(1, 6))
def test_entries_decode_to_the_mask(bits: list[int], run_bits: int) -> None:
    mask = np.array(bits, dtype=bool)
    entries = run_lengths(mask, run_bits)
    values = np.where(entries.places < 0, 0.0, 1.0)
    assert (entries.decode(values, mask.size) == mask).all()


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=80))
def test_huffman_codes_are_within_a_bit_of_the_entropy(counts: list[int]) -> None:
    lengths = code_lengths(counts)
    used = np.array(counts) > 0
    assert ((lengths > 0) == used).all()
    if used.sum() > 1:
        assert sum(2.0 ** -lengths[used]) == pytest.approx(1.0)
        odds = np.array(counts)[used] / sum(counts)
        entropy = -(odds * np.log2(odds)).sum()
        assert entropy - 1e-9 <= (odds * lengths[used]).sum() < entropy + 1


def test_a_huffman_code_by_hand() -> None:
    """Counts 5, 2, 1, 1: lengths 1, 2, 3, 3; a a b d c is 0 0 10 111 110."""
    code = HuffmanCode.of([5, 2, 1, 1])
    assert code.lengths.tolist() == [1, 2, 3, 3]
    stream = code.encode(np.array([0, 0, 1, 3, 2]))
    assert np.unpackbits(np.frombuffer(stream, np.uint8))[:10].tolist() == [0, 0, 1, 0, 1, 1, 1, 1, 1, 0]
    assert code.decode(stream, 5).tolist() == [0, 0, 1, 3, 2]


@settings(max_examples=50)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=500))
def test_huffman_streams_decode_to_what_they_were(symbols: list[int]) -> None:
    data = np.array(symbols)
    counts = np.bincount(data, minlength=41).astype(float)
    code = HuffmanCode.of(counts)
    stream = code.encode(data)
    assert len(stream) == -(-code.bits(counts) // 8)
    assert (code.decode(stream, data.size) == data).all()


def test_long_codes_decode_too() -> None:
    """Counts that grow as Fibonacci's make the longest codes: 31 symbols, up to 30 bits."""
    counts = [1, 1]
    while len(counts) < 31:
        counts.append(counts[-1] + counts[-2])
    code = HuffmanCode.of(counts)
    assert code.lengths.max() == 30
    data = np.arange(31)
    assert (code.decode(code.encode(data), 31) == data).all()


def test_shared_values_are_means_of_those_that_have_them() -> None:
    """Lloyd's condition: every value has the nearest center, a linear start is kept where nothing is near."""
    rng = np.random.default_rng(5)
    values = rng.laplace(size=10_007)
    shared = share(values, 5)
    assert shared.counts.sum() == values.size
    assert (np.abs(values[:, None] - shared.table).argmin(1) == shared.codes).mean() > 0.999
    few = share(np.array([1.0, 2.0, 2.0, 5.0]), 2)
    assert few.decode().tolist() == [1.0, 2.0, 2.0, 5.0]


def test_pruning_keeps_what_is_largest() -> None:
    rng = np.random.default_rng(3)
    matrix = rng.normal(size=(31, 127))
    mask = pruning_mask(matrix, Prune(density=0.25))
    assert mask.sum() == round(31 * 127 / 4)
    assert np.abs(matrix[mask]).min() >= np.abs(matrix[~mask]).max()
    groups = pruning_mask(matrix[:, :124], Prune(pattern="2:4"))
    assert (groups.reshape(31, 31, 4).sum(2) == 2).all()
    channels = pruning_mask(matrix, Prune(density=0.5, pattern="channel"))
    assert set(channels.sum(1).tolist()) == {0, 127}
    assert channels.any(1).sum() == round(15.5)
    blocks = pruning_mask(matrix, Prune(density=0.5, pattern="block", block=[4, 8]))
    assert len({bool(tile) for tile in blocks[:4, :8].ravel()}) == 1


def test_the_tensor_train_of_vgg16_to_the_number() -> None:
    """Novikov et al., NIPS 2015: fc6 as modes 2, 7, 8, 8, 7, 4 by 4^6 with ranks 1, 2, 4: 194,622 times for rank 2."""
    inputs, outputs = (2, 7, 8, 8, 7, 4), (4,) * 6
    numbers = [train_numbers(outputs, inputs, rank) for rank in (1, 2, 4)]
    assert numbers == [144, 528, 2016]
    assert [25088 * 4096 // n for n in numbers] == [713_614, 194_622, 50_972]
    packed = hwsim.compress("vgg16", {"fc6": {"tensor_train": {"modes": [list(outputs), list(inputs)], "rank": 2}}})
    fc6 = [layer for layer in packed.layers if layer.name.startswith("fc6")]
    assert sum(layer.stored for layer in fc6) == 528
    assert sum(layer.weights for layer in fc6) == 25088 * 4096


def test_a_train_of_full_rank_is_the_matrix() -> None:
    matrix = np.random.default_rng(2).normal(size=(2 * 3 * 5, 4 * 2 * 3))
    cores = tensor_train(matrix, (4, 2, 3), (2, 3, 5), 64)
    assert np.allclose(train_matrix(cores), matrix)


def test_low_rank_by_hand() -> None:
    """k^2 c d' + d' d against k^2 c d, and MACs by the same ratio; r (m + n) of a matrix."""
    network = hwsim.Workload(
        "net", [hwsim.Conv2d("c", c=31, h=17, w=13, k=64, r=3, pad=1, bias=False), hwsim.Gemm("fc", k=257, n=127, bias=False)],
        graph=False,
    )  # fmt: skip
    packed = hwsim.compress(network, {"c": {"low_rank": {"filters": 13}}, "fc": {"svd": {"rank": 7}}})
    sizes = {layer.name: layer.stored for layer in packed.layers}
    assert sizes == {"c_1": 9 * 31 * 13, "c": 13 * 64, "fc_1": 257 * 7, "fc": 7 * 127}
    assert packed.workload.macs == 17 * 13 * (9 * 31 * 13 + 13 * 64) + 7 * (257 + 127)


def test_binary_and_ternary_weights() -> None:
    """One bit a weight and a scale a filter; two bits and two scales a layer. 62.27 times for c 256, 3x3, 14x14."""
    assert xnor_speedup(256, 9, 14 * 14) == pytest.approx(62.27, abs=0.01)
    network = hwsim.Workload("net", [hwsim.Conv2d("c", c=256, h=14, w=14, k=31, r=3, pad=1)], graph=False)
    packed = hwsim.compress(network, {"c": {"binary": True}})
    n = 256 * 31 * 9
    assert packed.weight_bytes == (n + 32 * 31) / 8
    assert packed.ratio == pytest.approx(32, rel=0.02)
    assert hwsim.compress(network, {"c": {"ternary": True}}).weight_bytes == (2 * n + 64) / 8
    signs, scales = binarize(np.array([[1.0, -3.0], [2.0, 0.0]]))
    assert signs.tolist() == [[1, -1], [1, 1]]
    assert scales.tolist() == [2.0, 1.0]
    codes, (low, high) = ternarize(np.array([[1.0, -3.0], [0.1, 2.0]]))
    assert codes.tolist() == [[1, -1], [0, 1]]
    assert (low, high) == (3.0, 1.5)


def test_two_of_four() -> None:
    """Half of the values and two bits each: 56.25 % of fp16, 62.5 % of int8."""
    for dtype, percent in (("fp16", 56.25), ("int8", 62.5)):
        network = hwsim.Workload("net", [hwsim.Gemm("fc", k=64, n=31, bias=False, weight=dtype)], graph=False)
        packed = hwsim.compress(network, {"fc": {"prune": {"pattern": "2:4"}}})
        assert 100 * 8 * packed.weight_bytes / (64 * 31 * network["fc"].weight.bits) == percent


@pytest.mark.parametrize(
    "recipe",
    [
        {"prune": {"density": 0.09}, "share": {"bits": 5}, "index": {"bits": 4}, "huffman": True},
        {"prune": {"density": 0.5}, "share": {"bits": 3}, "huffman": ["values"]},
        {"prune": {"density": 0.3}},
        {"prune": {"pattern": "1:3"}, "share": {"bits": 2}},
        {"prune": {"density": 0.5, "pattern": "channel"}},
        {"prune": {"density": 0.4, "pattern": "block", "block": [2, 8]}, "index": {"bits": 3}},
        {"share": {"bits": 4}, "huffman": True},
        {"svd": {"rank": 5}},
    ],
    ids=str,
)
def test_counted_sizes_are_near_the_expected(recipe: dict[str, object]) -> None:
    """The same methods on drawn weights; within 8 %, as Laplacian weights have the expected distribution."""
    rng = np.random.default_rng(11)
    network = hwsim.Workload("net", [hwsim.Gemm("fc", k=255, n=128, weight="fp32")], graph=False)
    array = rng.laplace(size=(255, 128))
    packed = hwsim.compress(network, {"fc": recipe}, weights={"fc": array})
    expected = hwsim.compress(network, {"fc": recipe})
    assert not packed.expected
    assert packed.weight_bytes == pytest.approx(expected.weight_bytes, rel=0.08)
    for name, weights in packed.weights.items():
        layer = packed.workload[name]
        assert np.count_nonzero(weights) / weights.size == pytest.approx(layer.weight.density, abs=0.01)
    if "prune" not in recipe and "share" not in recipe:
        product = packed.weights["fc_1"] @ packed.weights["fc"]
        values = np.linalg.svd(array, compute_uv=False)
        assert np.linalg.norm(array - product) == pytest.approx(math.sqrt((values[5:] ** 2).sum()))


def test_hostile_recipes_are_one_line() -> None:
    for recipe in (
        {"ip*": {"prun": {}}}, {"ip*": {"prune": {"density": 2}}}, {"ip*": {"share": {"bits": 0}}}, {"no": {}},
        {"ip*": {"prune": {"pattern": "5:4"}}}, {"ip1": {"low_rank": {"filters": 3}}}, {"prob": {"share": {"bits": 3}}}, 3,
        {"ip1": {"tensor_train": {"modes": [[3, 100], [2, 392]], "rank": 2}, "svd": {"rank": 3}}},
        {"ip1": {"tensor_train": {"modes": [[3, 100], [2, 391]], "rank": 2}}},
    ):  # fmt: skip
        with pytest.raises(InputError) as caught:
            hwsim.compress("lenet_300_100", recipe)  # type: ignore[arg-type]
        assert len(str(caught.value).splitlines()) == 1


ALL_METHODS = ("--prune", "0.3", "--share", "fc*=5bit", "--index", "4bit", "--huffman")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A convolution, a matrix that is stored transposed and one that is not, with Laplacian weights."""
    onnx = pytest.importorskip("onnx")
    helper, arrays, kinds = onnx.helper, onnx.numpy_helper, onnx.TensorProto
    rng = np.random.default_rng(0)

    def weights(name: str, *shape: int) -> object:
        return arrays.from_array(rng.laplace(size=shape).astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["c"], name="conv1", pads=[1] * 4),
        helper.make_node("Flatten", ["c"], ["f"]),
        helper.make_node("Gemm", ["f", "w1"], ["g"], name="fc1", transB=1),
        helper.make_node("MatMul", ["g", "w2"], ["y"], name="fc2"),
    ]
    ports = [helper.make_tensor_value_info(n, kinds.FLOAT, s) for n, s in (("x", [1, 4, 7, 5]), ("y", [1, 10]))]
    stored = [weights("w0", 12, 4, 3, 3), weights("w1", 31, 12 * 35), weights("w2", 31, 10)]
    graph = helper.make_graph(nodes, "net", ports[:1], ports[1:], stored)
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def test_the_weights_of_a_model_are_compressed_and_written(capsys, model: Path, tmp_path: Path) -> None:
    """The file that is written has what stored values decode to; its zeros are those of the masks, to the value."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    np.savez(tmp_path / "data.npz", x=np.random.default_rng(1).normal(size=(3, 4, 7, 5)).astype(np.float32))
    written = tmp_path / "small.onnx"
    options = (*ALL_METHODS, "--calibrate", tmp_path / "data.npz", "-o", written)
    code, out, _ = call(capsys, "compress", model, *options)
    assert code == 0
    assert "counted" in out
    assert "output 0 on 3 inputs" in out
    before, after = (
        {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(p).graph.initializer} for p in (model, written)
    )
    packed = hwsim.compress(
        model, {"*": {"prune": {"density": 0.3}, "index": {"bits": 4}, "huffman": True}, "fc*": {"share": {"bits": 5}}}
    )
    for name, layer in (("w0", "conv1"), ("w1", "fc1"), ("w2", "fc2")):
        values = packed.weights[layer].T if name == "w1" else packed.weights[layer]
        assert (after[name] == values.astype(np.float32)).all()
        assert np.count_nonzero(after[name]) == round(0.3 * before[name].size)
        assert len(np.unique(after[name])) <= 33 or layer == "conv1"
        assert packed.workload[layer].weight.spec.mask.nonzeros == np.count_nonzero(after[name])
    kept = before["w0"] * (after["w0"] != 0)
    assert (after["w0"] == kept).all()  # pruned, not shared


def test_masks_and_traces_are_read_again(capsys, model: Path, tmp_path: Path) -> None:
    assert call(capsys, "compress", model, *ALL_METHODS, "-o", tmp_path / "small.npz")[0] == 0
    (tmp_path / "masked.yaml").write_text("name: masked\nsource: test\nbase: m.onnx\nmasks: small.npz\n")
    packed = hwsim.compress(model, {"*": {"prune": {"density": 0.3}}})
    masked = hwsim.load_workload(tmp_path / "masked.yaml")
    for layer in ("conv1", "fc1", "fc2"):
        assert masked[layer].weight.spec.mask == packed.workload[layer].weight.spec.mask
    assert call(capsys, "compress", model, *ALL_METHODS, "-o", tmp_path / "small.yaml")[0] == 0
    trace = hwsim.load_workload(tmp_path / "small.yaml")
    assert trace["fc1"].weight.spec.coding == Coding(5, 4, ("values", "indices"))
    assert trace["fc1"].weight.density == packed.workload["fc1"].weight.density


def test_arrays_alone_and_arrays_of_a_workload(capsys, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    arrays = {
        "ip1": rng.laplace(size=(784, 300)),
        "ip2": rng.laplace(size=(100, 300)),
        "ip3": rng.laplace(size=(100, 10)),
    }
    np.savez(tmp_path / "w.npz", **arrays)
    code, out, _ = call(capsys, "compress", tmp_path / "w.npz", "--prune", "0.1", "--json", "-")
    assert code == 0
    assert json.loads(out)["expected"] is False
    code, out, _ = call(
        capsys, "compress", "lenet_300_100", "--weights", tmp_path / "w.npz", "--binary", "ip*", "--csv", "-"
    )
    assert code == 0
    rows = list(csv.DictReader(out.splitlines()))
    assert {row["layer"] for row in rows} == {"ip1", "ip2", "ip3"}
    ip1 = {row["part"]: float(row["bytes"]) for row in rows if row["layer"] == "ip1"}
    assert ip1["values"] == 784 * 300 / 8
    assert ip1["codebook"] == 4 * 300


def test_machines_say_why_they_gain_nothing(capsys) -> None:
    """EIE skips both operands' zeros; a microcontroller saves flash alone; a GPU nothing without 2:4."""
    machines = "eie,nucleo_l4r5zi,eyeriss_v1,a100"
    code, out, _ = call(
        capsys,
        "compress",
        "lenet_300_100",
        "--prune",
        "0.08",
        "--share",
        "6bit",
        "--index",
        "5bit",
        "--on",
        machines,
        "--json",
        "-",
    )
    assert code == 0
    runs = {run["machine"]: run for run in json.loads(out)["machines"]}
    change = {
        (name, key): run["before"][key] / run["after"][key]
        for name, run in runs.items()
        for key in ("held_bytes", "latency_s", "energy_pj")
    }
    assert change["eie", "latency_s"] > 3
    assert change["eie", "held_bytes"] > 10
    assert change["nucleo_l4r5zi", "held_bytes"] > 7
    for name in ("nucleo_l4r5zi", "eyeriss_v1", "a100"):
        assert change[name, "latency_s"] == change[name, "energy_pj"] == 1
        assert any("weight.density" in reason["text"] for reason in runs[name]["reasons"])
    for name in ("eyeriss_v1", "a100"):
        assert change[name, "held_bytes"] == 1


def test_flash_holds_compressed_weights_in_their_format_alone() -> None:
    """Zeros save flash only where a format leaves them out."""
    machine = hwsim.load_machine("nucleo_l4r5zi")

    def flash(network: hwsim.Workload) -> int:
        return dict(machine.memories(network, 1)[1].parts)["weights"]

    dense, pruned = hwsim.load_workload("lenet_300_100"), hwsim.load_workload("lenet_300_100_pruned")
    assert flash(dense) == flash(pruned)
    packed = hwsim.compress(pruned, {"ip*": {"share": {"bits": 6}, "index": {"bits": 5}, "huffman": True}})
    saved = flash(dense) - flash(packed.workload)
    assert saved == pytest.approx(266_200 - packed.weight_bytes, abs=3)


def test_the_compression_of_a_trace(tmp_path: Path) -> None:
    """Patterns of layers, the later one first; what a trace says of compression is what `compress` makes of it."""
    (tmp_path / "net.yaml").write_text(
        "name: net\nsource: test\nbase: alexnet_caffe\ndensity: {'*': {input: 0.5}}\ncompression:\n"
        "  'conv*': {prune: {density: 0.35}, share: {bits: 8}, index: {bits: 4}, huffman: [values, indices]}\n"
        "  conv3: {low_rank: {filters: 31}}\n"
        "  fc8: {prune: {pattern: '2:4'}}\n"
    )  # fmt: skip
    network = hwsim.load_workload(tmp_path / "net.yaml")
    assert network["conv3_1"].k == network["conv3"].c == 31
    assert network["conv1"].weight.density == 0.35
    assert network["conv1"].weight.spec.coding == Coding(8, 4, ("values", "indices"))
    assert (network["fc8"].weight.pattern, network["fc8"].weight.format) == ("2:4", "2:4")
    assert network["fc7"].input.density == 0.5
    assert read_trace(parse_yaml(trace_text(network), "again.yaml"), hwsim.load_workload) == network


@pytest.mark.parametrize(
    "words",
    [
        ["--prune", "banana"], ["--prune", "ip*=nan"], ["--prune", "ip*=1e999"], ["--share", "ip*=99bit"], ["--index", "x"],
        ["--svd", "ip1=0"], ["--tensor-train", "ip1=3x3,4x4,2"], ["--prune", "=0.3"], ["--low-rank", "ip1=3"], [],
        ["--prune", "zz*=0.3"], ["--huffman", "--on", "nothing"], ["--huffman", "--calibrate", "x.npz"],
        ["--huffman", "-o", "x.npz"], ["--huffman", "-o", "x.exe"], ["--huffman", "--weights", "none.npz"],
        ["--prune", "block0x4:0.5"], ["--prune", "4:2"], ["--share", "\x1b=3bit"],
    ],
    ids=str,
)  # fmt: skip
def test_hostile_options_are_told_in_a_line(capsys, words: list[str]) -> None:
    code, out, err = call(capsys, "compress", "lenet_300_100", *words)
    assert code == 2
    assert not out
    assert len([line for line in err.splitlines() if line]) == 1


def test_patterns_of_real_zeros_are_recognized() -> None:
    """What was pruned elsewhere: whole filters, blocks, 2:4 among input channels; zeros at random are none of these."""
    rng = np.random.default_rng(9)
    network = hwsim.Workload("net", [hwsim.Conv2d("c", c=32, h=7, w=7, k=48, r=3, weight="fp32")], graph=False)
    array = rng.laplace(size=(48, 32, 3, 3))
    for prune, pattern in (
        ({"density": 0.3}, "random"),
        ({"pattern": "2:4"}, "2:4"),
        ({"density": 0.5, "pattern": "channel"}, "channel"),
        ({"density": 0.4, "pattern": "block", "block": [4, 8]}, "block"),
    ):
        pruned = hwsim.compress(network, {"c": {"prune": prune}}, weights={"c": array}).weights["c"]
        again = hwsim.compress(network, {"c": {"share": {"bits": 8}}}, weights={"c": pruned})
        assert again.workload["c"].weight.pattern == pattern, prune
        assert ((again.weights["c"] != 0) == (pruned != 0)).all()
    matrix = hwsim.Workload("net", [hwsim.Gemm("fc", k=64, n=40, weight="fp32")], graph=False)
    blocks = {"fc": {"prune": {"density": 0.25, "pattern": "block", "block": [8, 8]}}}
    pruned = hwsim.compress(matrix, blocks, weights={"fc": rng.laplace(size=(64, 40))}).weights["fc"]
    again = hwsim.compress(matrix, {"fc": {"huffman": True}}, weights={"fc": pruned})
    assert again.workload["fc"].weight.spec.coding == Coding(huffman=("values", "indices"), block=(8, 8))
    assert again.weight_bytes == (10 * 64 * 32 + 40) / 8


@settings(max_examples=60)
@given(st.floats(0.01, 1), st.floats(0.01, 1), st.integers(1, 8), st.integers(1, 8), st.integers(1, 8))
def test_more_zeros_and_fewer_bits_never_store_more(a: float, b: float, c: int, d: int, runs: int) -> None:
    """Law 7, for pruned and shared weights with fillers."""
    (sparse, full), (narrow, wide) = sorted((a, b)), sorted((c, d))

    def size(density: float, bits: int) -> float:
        spec = TensorSpec("fp32", density, format="csc", coding=Coding(bits, runs if density < 1 else 0))
        return stored_size(TensorType((127, 257), spec)).weight_bits

    if full < 1:
        assert size(sparse, narrow) <= size(full, wide) * (1 + 1e-9)


def test_a_known_mask_is_counted() -> None:
    """The runs of a mask, without the weights themselves."""
    rng = np.random.default_rng(8)
    network = hwsim.Workload("net", [hwsim.Gemm("fc", k=127, n=31, bias=False, weight="int8")], graph=False)
    array = rng.integers(1, 100, (127, 31)) * (rng.random((127, 31)) < 0.1)
    exact = hwsim.compress(network, {"fc": {"index": {"bits": 3}, "huffman": ["indices"]}}, weights={"fc": array})
    known = hwsim.compress(exact.workload, {"fc": {"index": {"bits": 3}, "huffman": ["indices"]}})
    assert not known.expected
    assert known.weight_bytes == pytest.approx(exact.weight_bytes)


def test_codebooks_of_arrays_have_sixteen_entries() -> None:
    """Eyeriss with a codebook for weights in DRAM takes weights of 4-bit codes, and leaves others dense."""
    machine = hwsim.load_machine("eyeriss_v1", set={"memories.dram.formats": "{weight: [codebook]}"})
    network = hwsim.Workload(
        "net", [hwsim.Conv2d("c", c=32, h=14, w=14, k=64, r=3, weight="int16", input="int16")], graph=False
    )

    def moved(bits: int) -> int:
        return hwsim.simulate(
            machine, hwsim.compress(network, {"c": {"share": {"bits": bits}}}).workload
        ).summary.dram_bytes

    dense = hwsim.simulate(machine, network).summary.dram_bytes
    assert moved(8) == dense
    assert moved(4) < dense


def test_a_later_method_takes_the_place_of_one_that_it_excludes() -> None:
    """All layers pruned and shared, but one binary; another of low rank as it is not for all."""
    recipes = {"*": {"prune": {"density": 0.1}, "share": {"bits": 4}, "index": {"bits": 4}}, "ip2": {"binary": True}}
    packed = hwsim.compress("lenet_300_100", recipes)
    assert packed.workload["ip1"].weight.density == 0.1
    assert packed.workload["ip2"].weight.dtype == "binary"
    assert (packed.workload["ip2"].weight.density, packed.workload["ip2"].weight.spec.coding) == (1, None)
    ranks = hwsim.compress("lenet_300_100", {"*": {"svd": {"rank": 7}}, "ip2": {"svd": {"rank": 3}}})
    assert [layer.stored for layer in ranks.layers] == [784 * 7, 7 * 300, 300 * 3, 3 * 100, 100 * 7, 7 * 10]


def test_real_weights_of_low_rank() -> None:
    """A convolution by 1x1 filters over fewer filters is the nearest of its rank; a train's products are its matrix."""
    rng = np.random.default_rng(6)
    network = hwsim.Workload(
        "net", [hwsim.Conv2d("c", c=5, h=9, w=7, k=31, r=3, weight="fp32"), hwsim.Gemm("fc", k=24, n=30, weight="fp32")],
        graph=False,
    )  # fmt: skip
    filters, matrix = rng.normal(size=(31, 5, 3, 3)), rng.normal(size=(24, 30))
    recipes = {"c": {"low_rank": {"filters": 7}}, "fc": {"tensor_train": {"modes": [[2, 3, 5], [4, 3, 2]], "rank": 10}}}
    packed = hwsim.compress(network, recipes, weights={"c": filters, "fc": matrix})
    assert not packed.expected
    product = packed.weights["c"].reshape(31, 7) @ packed.weights["c_1"].reshape(7, -1)
    values = np.linalg.svd(filters.reshape(31, -1), compute_uv=False)
    assert np.linalg.norm(filters.reshape(31, -1) - product) == pytest.approx(math.sqrt((values[7:] ** 2).sum()))
    x = rng.normal(size=24)
    state = x.reshape(1, 1, 4, 3, 2)  # outputs so far, rank, input modes to come
    for number, (out, mode) in enumerate(zip((2, 3, 5), (4, 3, 2)), 1):
        core = packed.weights[f"fc_{number}"]
        rank = core.shape[0] // mode
        state = state.reshape(state.shape[0], rank, mode, -1).transpose(0, 3, 1, 2)
        done, rest = state.shape[:2]
        state = (state.reshape(done * rest, rank * mode) @ core).reshape(done, rest, out, -1)
        state = state.transpose(0, 2, 3, 1).reshape(done * out, -1, rest)
    assert np.allclose(state.ravel(), x @ matrix)


def test_no_weights_left_take_tables_alone() -> None:
    """Nothing is stored but codebooks and tables of codes, whatever the bits of runs."""
    for bits in (1, 4, 5, 16):
        recipe = {"*": {"prune": {"density": 0}, "index": {"bits": bits}, "share": {"bits": 4}, "huffman": True}}
        sizes = hwsim.compress("lenet_300_100", recipe).sizes.groupby("part").bytes.sum()
        assert (sizes["values"], sizes["runs"], sizes["fillers"]) == (0, 0, 0)
        assert sizes["codebook"] == 3 * 16 * 4
        assert sizes["tables"] > 0


def test_recipes_are_swept_on_the_layers_of_a_base(tmp_path) -> None:
    """Of no weights, of some and of all, an array that skips zeros takes no time, some and all of it."""
    path = tmp_path / "pruned.yaml"
    recipe = "compression: {'ip*': {prune: {density: 0.3}}}"
    path.write_text(f"name: pruned\nsource: made up\nbase: lenet_300_100\n{recipe}\n", encoding="utf-8")
    densities = [0.0, 1e-6, 0.1, 1.0]
    changes = {"workload.compression.ip*.prune.density": densities}
    frame = hwsim.sweep({"machines": ["eie"], "workloads": [str(path)], "set": changes})
    dense = hwsim.simulate(hwsim.load_machine("eie"), hwsim.load_workload("lenet_300_100")).summary.latency_s
    none, few, some, everything = frame.latency_s
    assert none == 0 < few < some < everything == dense


def test_what_fits_only_when_compressed_is_said(capsys, tmp_path) -> None:
    """A Cortex-M4 has 2 MiB of flash for 4.6 MiB of fp32 weights; CSR of a dense matrix has an index more a value."""
    for name, k, n in (("large", 9472, 127), ("small", 1600, 257)):
        trace = f"name: {name}\nsource: made up\ninput: [{k}, 1, 1]\ndtype: fp32\nlayers:\n  - {{fc: ip, n: {n}}}\n"
        (tmp_path / f"{name}.yaml").write_text(trace, encoding="utf-8")
    for name, options, said in (
        ("large", ("--prune", "0.09", "--index", "4bit"), "the network fits its memory only when compressed"),
        ("large", ("--prune", "0.9", "--index", "4bit"), "the network does not fit its memory"),
        ("small", ("--prune", "0.999", "--format", "csr"), "the network fits its memory only uncompressed"),
        ("small", ("--prune", "0.5", "--index", "4bit"), ""),
    ):
        code, out, _ = call(capsys, "compress", str(tmp_path / f"{name}.yaml"), *options, "--on", "nucleo_l4r5zi")
        assert code == 0
        assert f"nucleo_l4r5zi: {said}" in out if said else "fits" not in out


def test_csr_where_a_library_runs_it(capsys) -> None:
    """A processor whose library has CSR kernels gains by fully connected layers in that format, in fp32, and no other."""
    prune = ("compress", "alexnet_caffe", "--prune", "fc*=0.09", "--on", "core_i7_5930k+precision=fp32", "--json", "-")
    gains = {}
    for form in ("csr", "bitmask"):
        code, out, _ = call(capsys, *prune, "--format", f"fc*={form}")
        assert code == 0
        (run,) = json.loads(out)["machines"]
        gains[form] = run["before"]["latency_s"] / run["after"]["latency_s"]
        small = run["before"]["held_bytes"] / run["after"]["held_bytes"]
        assert (small > 4) == (form == "csr")
    assert gains["csr"] > 1.3
    assert gains["bitmask"] == 1
    packed = hwsim.compress(
        "lenet_300_100", {"*": {"index": {"bits": 4}, "prune": {"density": 0.1}}, "ip2": {"format": "csr"}}
    )
    assert (packed.workload["ip1"].weight.format, packed.workload["ip2"].weight.format) == ("csc", "csr")
    csr = expected_bits("csr", (300, 100), 0.1, 8) / 8
    assert sum(size for part, size in packed.layers[1].bytes.items() if part != "bias") == pytest.approx(csr)


def test_a_density_by_pattern_that_masks_take_the_place_of_is_told(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", fc=np.eye(31, 127, dtype=bool))
    text = """
name: net
source: a test
graph: false
masks: m.npz
density: {"*": {weight: 0.9}}
layers:
  - {fc: fc, n: 127, k: 31}
  - {fc: last, n: 12, k: 127}
"""
    (tmp_path / "net.yaml").write_text(text, encoding="utf-8")
    with pytest.warns(hwsim.HwsimWarning, match=r"density\.\*\.weight is not used in fc: masks"):
        network = hwsim.load_workload(tmp_path / "net.yaml")
    assert network["fc"].weight.density == 31 / (31 * 127)
    assert network["last"].weight.density == 0.9
