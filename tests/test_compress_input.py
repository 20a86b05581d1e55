"""Compression of what users bring: arrays of other layouts, quantized models, recipes that leave no room for each other."""

import json
from pathlib import Path

import numpy as np
import pytest
from commands import call

import hwsim
from hwsim.compression.arrays import read_weights
from hwsim.errors import InputError, nearest
from hwsim.workload import mask as masks
from hwsim.workload.mask import Mask, read_masks
from hwsim.workload.tensor import TensorSpec
from hwsim.workload.trace_text import trace_text
from hwsim.workload.zeros import counted, kept_of, pattern_of


def network() -> hwsim.Workload:
    layers = [
        hwsim.Conv2d("c", c=5, h=9, w=7, k=31, r=3, bias=False, weight="fp32"),
        hwsim.Gemm("fc", k=32, n=127, bias=False, weight="fp32"),
    ]
    return hwsim.Workload("net", layers, graph=False)


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).laplace(size=shape)


SHARED = {"*": {"share": {"bits": 4}, "huffman": True}}


def test_values_of_n_of_m_groups_have_one_width() -> None:
    """2,032 codes of 4 bits with places of 2, and 16 fp32 values: 12,704 bits; no code table, as nothing has codes."""
    recipe = {"fc": {"prune": {"pattern": "2:4"}, "share": {"bits": 4}, "huffman": True}}
    exact = hwsim.compress(network(), recipe, weights={"fc": drawn(32, 127)})
    expected = hwsim.compress(network(), recipe)
    for packed in (exact, expected):
        size = next(layer.size for layer in packed.layers if layer.name == "fc")
        assert size.weight_bits == 32 * 127 / 2 * (4 + 2) + 32 * 16 == 12_704
        assert size.bits["tables"] == 0
        assert [str(note) for note in packed.notes if note.code == "compression.unused"] == [
            "no effect of huffman of values: groups of 2:4 have N values and their places in the group"
        ]


@pytest.mark.parametrize(
    "words, told",
    [
        (["--prune", "2:4", "--index", "4bit"], "no effect of index: groups of 2:4"),
        (["--prune", "2:4", "--format", "csr"], "no effect of format: groups of 2:4"),
        (["--prune", "1:4", "--format", "bitmask"], "no effect of format: groups of 1:4"),
        (["--prune", "channel:0.5", "--index", "4bit"], "no effect of index: filters that are left out take no index"),
        (["--prune", "channel:0.5", "--format", "csr"], "no effect of format: filters that are left out"),
        (["--prune", "block4x4:0.5", "--index", "4bit"], "no effect of index: blocks have a bit each"),
        (["--index", "4bit"], "no effect of index: no weights are pruned"),
    ],
)
def test_what_has_no_effect_is_told(capsys: pytest.CaptureFixture[str], words: list[str], told: str) -> None:
    code, out, _ = call(capsys, "compress", "lenet_300_100", *words)
    assert code == 0
    assert told in out


@pytest.mark.parametrize("method", ["--binary", "--ternary"])
@pytest.mark.parametrize("other", [("--index", "4bit"), ("--format", "csr")], ids=str)
def test_one_and_two_bit_weights_have_no_index(
    capsys: pytest.CaptureFixture[str], method: str, other: tuple[str, str]
) -> None:
    code, _, err = call(capsys, "compress", "lenet_300_100", method, "*", *other)
    assert code == 2
    assert f"{other[0][2:]} must be left out where weights are binary or ternary" in err


def test_axes_in_another_order_are_no_weights_of_the_layer() -> None:
    """HWIO arrays have the size of OIHW, and another meaning; sizes of 1 may be left out."""
    filters = drawn(31, 5, 3, 3)
    with pytest.raises(
        InputError, match=r"shape \[31, 5, 3, 3\] \(filters, inputs, rows, columns\), not \[3, 3, 5, 31\]"
    ):
        hwsim.compress(network(), SHARED, weights={"c": filters.transpose(2, 3, 1, 0)})
    with pytest.raises(InputError, match="must have the shape"):
        hwsim.compress(network(), SHARED, weights={"c": filters.reshape(31, -1)})
    line = hwsim.Workload("net", [hwsim.Conv2d("c", c=5, h=9, w=1, k=31, r=3, s=1, weight="fp32")], graph=False)
    packed = hwsim.compress(line, {"c": {"prune": {"density": 1}}}, weights={"c": filters[:, :, :, 0]})
    assert (packed.weights["c"][..., 0] == filters[:, :, :, 0]).all()


def test_a_matrix_that_is_transposed_is_told() -> None:
    matrix = drawn(32, 127)
    packed = hwsim.compress(network(), {"fc": {"prune": {"density": 1}}}, weights={"fc": matrix.T})
    assert (packed.weights["fc"] == matrix).all()
    (note,) = (note for note in packed.notes if note.code == "compression.transposed")
    assert note.layers == ("fc",)


@pytest.mark.parametrize(
    "value, message",
    [
        (drawn(32, 127) * 1e39, r"must be at most 3\.403e\+38"),
        (drawn(32, 127).astype(np.longdouble), "must be numbers of at most 64 bits"),
        ([[1, 2], [3]], "must be an array of numbers, its rows of one length"),
        ([[10**400]], "must be"),
        (np.full((32, 127), np.nan), "must be finite"),
        ("words", "must be numbers"),
    ],
    ids=["large", "longdouble", "ragged", "huge", "nan", "text"],
)
def test_arrays_that_are_no_weights_are_errors(value: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        hwsim.compress(network(), SHARED, weights={"fc": value})


def test_archives_name_the_array_that_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "w.npz"
    np.savez(path, fc=np.full((32, 127), np.nan))
    for words in ([path], ["lenet_300_100", "--weights", path]):
        code, _, err = call(capsys, "compress", *words, "--share", "4bit")
        assert code == 2
        assert f"{path}: 'fc'" in err
    with pytest.raises(InputError, match="'fc': a mask must be of finite numbers"):
        read_masks(path)
    with pytest.raises(InputError, match="finite"):
        Mask.of([1.0, np.inf])


def test_arrays_in_fortran_order_are_read(tmp_path: Path) -> None:
    """numpy writes a transposed matrix so."""
    matrix = drawn(32, 127)
    np.savez(tmp_path / "w.npz", fc=np.asfortranarray(matrix), flat=np.arange(3))
    assert (read_weights(tmp_path / "w.npz").arrays["fc"] == matrix).all()


def test_archives_are_bounded_before_they_are_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Zeros of a thousand times the size of the file; the sum of all arrays counts, whatever the archive says of them."""
    path = tmp_path / "w.npz"
    np.savez_compressed(path, a=np.zeros((1000, 1000)), b=np.zeros((1000, 1000)))
    assert path.stat().st_size < 2**15
    monkeypatch.setattr(masks, "MAX_BYTES", 15 * 10**6)
    with pytest.raises(InputError, match="must have arrays of at most"):
        read_masks(path)
    monkeypatch.setattr(masks, "MAX_BYTES", 17 * 10**6)
    assert set(read_masks(path)) == {"a", "b"}


def test_zero_points_of_each_channel(tmp_path: Path) -> None:
    """uint8 weights with a zero point for each filter: QDQ, behind a transposition, and QLinearConv."""
    onnx = pytest.importorskip("onnx")
    helper, arrays, kinds = onnx.helper, onnx.numpy_helper, onnx.TensorProto
    rng = np.random.default_rng(0)
    filters, middle = rng.integers(100, 160, (31, 8, 3, 3)).astype("u1"), rng.integers(120, 136, 31).astype("u1")
    matrix, center = rng.integers(0, 255, (10, 31 * 35)).astype("u1"), rng.integers(100, 150, 10).astype("u1")
    real = filters.astype(int) - middle.reshape(-1, 1, 1, 1)
    stored = {
        "w": filters, "s": np.full(31, 0.1, "f4"), "z": middle, "m": matrix, "ms": np.full(10, 0.1, "f4"), "mz": center,
        "one": np.float32(1), "none": np.uint8(0),
    }  # fmt: skip
    constants = [arrays.from_array(np.asarray(value), name) for name, value in stored.items()]

    def read(nodes: list[object], kind: int, shape: list[int]) -> dict[str, np.ndarray]:
        ports = [helper.make_tensor_value_info(n, kind, s) for n, s in (("x", [1, 8, 7, 5]), ("y", shape))]
        graph = helper.make_graph(nodes, "net", ports[:1], ports[1:], constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.save(model, tmp_path / "m.onnx")
        return dict(read_weights(tmp_path / "m.onnx").arrays)

    pairs = [
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["wr"], axis=0),
        helper.make_node("Conv", ["x", "wr"], ["c"], name="conv", pads=[1] * 4),
        helper.make_node("Flatten", ["c"], ["f"]),
        helper.make_node("DequantizeLinear", ["m", "ms", "mz"], ["mr"], axis=0),
        helper.make_node("Transpose", ["mr"], ["mt"], perm=[1, 0]),
        helper.make_node("MatMul", ["f", "mt"], ["y"], name="fc"),
    ]
    weights = read(pairs, kinds.FLOAT, [1, 10])
    assert (weights["conv"] == real).all()
    assert (weights["fc"] == matrix.T.astype(int) - center).all()
    inputs = ["x", "one", "none", "w", "s", "z", "one", "none"]
    linear = [helper.make_node("QLinearConv", inputs, ["y"], name="conv", pads=[1] * 4)]
    assert (read(linear, kinds.UINT8, [1, 31, 7, 5])["conv"] == real).all()


def test_filters_that_a_model_transposes_are_written_back(tmp_path: Path) -> None:
    """A model with HWIO filters, as of TensorFlow, gets its pruned filters in that order."""
    onnx = pytest.importorskip("onnx")
    helper, arrays, kinds = onnx.helper, onnx.numpy_helper, onnx.TensorProto
    filters = drawn(3, 3, 8, 31).astype("f4")
    nodes = [
        helper.make_node("Transpose", ["k"], ["w"], perm=[3, 2, 0, 1]),
        helper.make_node("Conv", ["x", "w"], ["y"], name="conv", pads=[1] * 4),
    ]
    ports = [helper.make_tensor_value_info(n, kinds.FLOAT, s) for n, s in (("x", [1, 8, 7, 5]), ("y", [1, 31, 7, 5]))]
    graph = helper.make_graph(nodes, "net", ports[:1], ports[1:], [arrays.from_array(filters, "k")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "m.onnx")
    packed = hwsim.compress(tmp_path / "m.onnx", {"conv": {"prune": {"density": 0.25}}})
    from hwsim.compression.output import model_bytes

    (written,) = onnx.load_model_from_string(model_bytes(packed, "m2.onnx")).graph.initializer
    after = arrays.to_array(written)
    assert np.count_nonzero(after) == round(filters.size / 4)
    assert (after[after != 0] == filters[after != 0]).all()


def test_densities_beside_counts_must_agree() -> None:
    """14 of 24 values; 0.58 is that, rounded."""
    counts = (2, 6, 6)
    with pytest.raises(InputError, match=r"density must be that of nonzeros, 0\.5833, or be left out, not 0\.5"):
        hwsim.Gemm("fc", k=3, n=8, weight=TensorSpec("int8", 0.5, nonzeros=counts))
    assert hwsim.Gemm("fc", k=3, n=8, weight=TensorSpec("int8", 0.58, nonzeros=counts)).weight.density == 14 / 24
    mask = Mask.of(np.ones((3, 8)))
    with pytest.raises(InputError, match="density must be that of mask, 1,"):
        hwsim.Gemm("fc", k=3, n=8, weight=TensorSpec("int8", 0.5, mask=mask))


def test_densities_of_a_trace_beside_counts_and_masks(tmp_path: Path) -> None:
    """A base may be changed; what one file says twice must agree."""
    path = tmp_path / "net.yaml"
    line = "name: n\nsource: t\ninput: [3]\nlayers:\n  - {fc: a, n: 8, weight: {nonzeros: [2, 6, 6]}}\n"
    path.write_text(line + "density: {'*': {weight: 0.25}}\n")
    with pytest.raises(InputError, match=r"net.yaml:6:.*density must be that of nonzeros"):
        hwsim.load_workload(path)
    path.write_text(line)
    np.savez(tmp_path / "m.npz", a=np.eye(3, 8))
    masked = tmp_path / "masked.yaml"
    masked.write_text("name: n\nsource: t\nbase: net.yaml\nmasks: m.npz\ndensity: {a: {weight: 0.5}}\n")
    with pytest.raises(InputError, match=r"a: weight: density must be that of mask, 0\.125"):
        hwsim.load_workload(masked)
    masked.write_text("name: n\nsource: t\nbase: net.yaml\nmasks: m.npz\n")
    assert hwsim.load_workload(masked)["a"].weight.density == 0.125


@pytest.mark.parametrize(
    "recipe, message",
    [
        ({"fc": {"svd": {"rank": 33}}}, "rank of svd must be at most 32"),
        ({"c": {"low_rank": {"filters": 32}}}, "filters of low_rank must be at most 31"),
        ({"fc": {"tensor_train": {"modes": [[127, 1], [4, 8]], "rank": 9}}}, "rank of tensor_train must be at most 8"),
    ],
    ids=["svd", "low_rank", "tensor_train"],
)
def test_no_matrix_has_a_rank_beyond_its_sizes(recipe: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        hwsim.compress(network(), recipe)


def test_small_gains_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """``=`` stands where both values are printed alike, and nowhere else."""
    from hwsim.report.gains import _change

    assert _change(1.003, 1) == "1.003x"
    assert _change(1, 1.003) == "0.997x"
    assert _change(1.00004, 1) == "1.00004x"
    assert _change(13.456, 1) == "13.5x"
    code, out, _ = call(
        capsys, "compress", "lenet_300_100", "--prune", "0.1", "--on", "eyeriss_v1,eie,a100", "--csv", "/dev/null"
    )
    assert code == 0
    for line in out.splitlines():
        cells = [cell for cell in line.split("  ") if cell.strip()]
        for before, after, change in zip(cells, cells[1:], cells[2:]):
            assert (change.strip() != "=") or before.strip() == after.strip()


def test_advice_can_be_pasted(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Words of 16 bits do not hold fp32: the option that the message names runs."""
    path = tmp_path / "net.yaml"
    path.write_text("name: n\nsource: t\ninput: [31]\ndtype: fp32\nlayers:\n  - {fc: a, n: 127}\n")
    words = ("compress", path, "--prune", "0.3")
    code, out, _ = call(capsys, *words, "--on", "eie")
    assert code == 0
    assert out.rstrip().endswith("or run it as if it were with --on eie+precision=int16")
    code, out, _ = call(capsys, *words, "--on", "eie+precision=int16")
    assert code == 0
    assert "eie+precision=int16  " in out
    _, out, _ = call(capsys, "compress", "lenet_300_100", "--prune", "0.3", "--on", "nucleo_l4r5zi+precision=fp16")
    assert out.rstrip().endswith("--on nucleo_l4r5zi+precision=int8")


@pytest.mark.parametrize("given", ["lenet5", "LeNet-5", "lenet_5"])
def test_a_name_that_begins_so_is_nearest(given: str) -> None:
    """By letters in common, AlexNet is nearer to ``lenet5`` than ``lenet5_caffe``."""
    names = hwsim.workload.loader.workload_names()
    assert nearest(given, names) == "; nearest: 'lenet5_caffe'"
    assert nearest("vgg", names) == "; nearest: 'vgg16'"
    assert nearest("alexnetcaffe", names) == "; nearest: 'alexnet_caffe'"
    assert nearest("alexnett", names) == "; nearest: 'alexnet'"  # a slip, not the first letters of alexnet_torchvision


def test_zeros_of_files_are_used(tmp_path: Path) -> None:
    """Weights that were pruned elsewhere: runs of an .npz file are those of the same weights given to a network."""
    matrix = drawn(32, 127) * (np.random.default_rng(2).random((32, 127)) < 0.2)
    np.savez(tmp_path / "w.npz", fc=matrix)
    recipe = {"fc": {"index": {"bits": 3}}}
    alone = hwsim.compress(tmp_path / "w.npz", recipe)
    beside = hwsim.compress(network(), recipe, weights={"fc": matrix})
    assert alone.layers[0].size.bits == beside.layers[1].size.bits
    nonzeros = np.count_nonzero(matrix)
    assert alone.layers[0].size.bits["runs"] == 3 * nonzeros
    assert (alone.weights["fc"] == matrix).all()


@pytest.mark.parametrize("block", [(4, 1), (1, 4), (8, 8)], ids=str)
def test_zeros_within_blocks_are_stored(block: tuple[int, int]) -> None:
    """A block has one bit: its values are stored whole, zeros among them. 37 filters leave a smaller block at the edge."""
    rng = np.random.default_rng(5)
    high, wide = block
    tiles = rng.random((-(-37 // high), 64 // wide)) < 0.5
    blocks = np.kron(tiles, np.ones(block, bool))[:37]
    few = rng.random((37, 64)) < 0.02
    few[36] = False  # a block of one value would be gone
    weights = rng.laplace(size=(37, 64)) * blocks * ~few
    net = hwsim.Workload("net", [hwsim.Gemm("fc", k=64, n=37, bias=False, weight="fp32")], graph=False)
    packed = hwsim.compress(net, {"fc": {"huffman": True}}, weights={"fc": weights.T})
    assert packed.workload["fc"].weight.spec.coding.block == block
    assert packed.layers[0].size.bits["values"] == 32 * np.count_nonzero(blocks)
    assert packed.layers[0].size.bits["runs"] == tiles.size
    assert packed.layers[0].size.kept == np.count_nonzero(weights)


def test_zeros_within_channels_are_stored() -> None:
    """31 filters of which 20 are left, and 4 of 5 channels: 20 x 4 x 9 values, zeros among them, and no index."""
    rng = np.random.default_rng(5)
    weights = rng.laplace(size=(31, 5, 3, 3)) * (rng.random((31, 5, 3, 3)) > 0.02)
    weights[20:] = 0
    weights[:, 2] = 0
    packed = hwsim.compress(network(), {"c": {"huffman": True}}, weights={"c": weights})
    size = packed.layers[0].size
    assert packed.workload["c"].weight.pattern == "channel"
    assert (size.weight_bits, size.kept) == (32 * 20 * 4 * 9, np.count_nonzero(weights))


def test_one_of_four_runs_as_two_of_four() -> None:
    """Sparse tensor cores take two of four, and may find one; storage of one of four is half as large."""
    rng = np.random.default_rng(3)
    mask = np.zeros((31, 32, 4), bool)
    np.put_along_axis(mask, rng.integers(0, 4, (31, 32, 1)), True, axis=2)
    kept = kept_of(mask.reshape(31, 128), ("oi", 1))
    assert pattern_of(kept).name == "1:4"
    assert counted(TensorSpec("int8", 0.25), kept).pattern == "2:4"
    net = hwsim.Workload("net", [hwsim.Gemm("fc", k=128, n=31, bias=False, weight="fp16")], graph=False)
    packed = hwsim.compress(net, {"fc": {"huffman": True}}, weights={"fc": mask.reshape(31, 128).T.astype(float)})
    assert packed.layers[0].size.weight_bits == 31 * 32 * (16 + 2)


def test_pruning_brings_no_weights_back(tmp_path: Path) -> None:
    """Half of the weights of a layer of which 9 % are left: 9 %, and a note; a fifth of them: fewer."""
    packed = hwsim.compress("alexnet_pruned", {"fc*": {"prune": {"density": 0.5}}, "fc8": {"prune": {"density": 0.2}}})
    assert [packed.workload[name].weight.density for name in ("fc6", "fc7", "fc8")] == [0.09, 0.09, 0.2]
    (note,) = (note for note in packed.notes if note.code == "compression.unused")
    assert (str(note), note.layers) == ("no effect of prune: more weights are zero already", ("fc6", "fc7"))
    halves = hwsim.compress("alexnet_pruned", {"fc6": {"prune": {"pattern": "2:4"}}})
    assert (halves.workload["fc6"].weight.density, halves.workload["fc6"].weight.pattern) == (0.09, "2:4")
    filters = hwsim.compress("alexnet_pruned", {"fc6": {"prune": {"density": 0.5, "pattern": "channel"}}})
    assert filters.workload["fc6"].weight.density == 0.045
    np.savez(tmp_path / "w.npz", fc=drawn(32, 127) * (np.random.default_rng(2).random((32, 127)) < 0.2))
    whole = hwsim.compress(tmp_path / "w.npz", {"fc": {"prune": {"density": 1}, "index": {"bits": 4}}})
    assert whole.workload["fc"].weight.density == pytest.approx(0.2, abs=0.02)
    assert whole.layers[0].size.bits["runs"] == 4 * whole.layers[0].size.kept


def test_layers_without_any_weight_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All zeros, no zeros, one weight, one channel, and an array that is no layer."""
    np.savez(
        tmp_path / "odd.npz", a=drawn(31, 127), b=drawn(257, 1, 3, 3), c=drawn(1, 1, 1, 1), z=np.zeros((31, 257)),
        one=np.ones((127, 31)), bias=np.ones(3),
    )  # fmt: skip
    words = ("compress", tmp_path / "odd.npz", "--index", "4bit", "--huffman")
    code, out, _ = call(capsys, *words, "--prune", "0")
    assert code == 0
    assert "70.9 KiB in fp32, 0 B as stored: none is left" in out
    assert "left out: 'bias'" in out
    code, out, _ = call(capsys, *words, "--prune", "0", "--json", "-")
    assert json.loads(out)["ratio"] is None
    code, out, _ = call(capsys, *words, "--share", "4bit", "--csv", "-")
    parts = [line.split(",") for line in out.splitlines()]
    assert [float(row[2]) for row in parts if row[:2] == ["one", "values"]] == [-(-127 * 31 / 8)]  # a bit each


def test_both_runs_have_the_zeros_of_real_weights() -> None:
    """A layer that is not touched costs the same before and after, though its zeros are known after encoding."""
    kernel = drawn(64, 1, 3, 3)
    kernel[5, 0, 1, 1] = 0
    net = hwsim.Workload(
        "net",
        [
            hwsim.Conv2d("dw", c=64, h=25, w=5, k=64, r=3, pad=1, groups=64),
            hwsim.Conv2d("pw", c=64, h=25, w=5, k=31, r=1),
        ],
    )
    packed = hwsim.compress(net, {"pw": {"share": {"bits": 4}}}, weights={"dw": kernel})
    before, after = (
        hwsim.simulate(hwsim.load_machine("eie"), network).layers.cycles[0]
        for network in (packed.original, packed.workload)
    )
    assert before == after


@pytest.mark.parametrize(
    "recipe",
    [
        {"prune": {"density": 0.05}, "index": {"bits": 2}},
        {"prune": {"density": 0.5}, "format": "dense"},
        {"prune": {"density": 0.05}, "index": {"bits": 2}, "huffman": True},
        {"prune": {"pattern": "2:4"}},
        {},
    ],
    ids=str,
)
def test_every_code_has_a_value(recipe: dict[str, object]) -> None:
    """3 bits tell 8 values apart, zero among them where zeros are stored; Huffman codes have one more symbol."""
    packed = hwsim.compress(network(), {"fc": {"share": {"bits": 3}, **recipe}}, weights={"fc": drawn(32, 127)})
    values = np.unique(packed.weights["fc"])
    symbols = 9 if "huffman" in recipe else 8
    assert len(values) <= symbols + (recipe.get("prune") == {"pattern": "2:4"})  # zeros of 2:4 are not stored
    assert packed.arrays["fc"]["codes"].max() < symbols
    assert len(values) >= 8 - (0 in values)


def test_factors_of_a_matrix_with_zeros_have_none(tmp_path: Path) -> None:
    """8 % of ip1 are left; its factors are full, stored dense and computed on whole."""
    packed = hwsim.compress("lenet_300_100_pruned", {"ip1": {"svd": {"rank": 20}}})
    assert [packed.workload[name].weight.density for name in ("ip1_1", "ip1")] == [1, 1]
    assert packed.layers[0].size.weight_bits == 8 * 784 * 20
    matrix = drawn(32, 127) * (np.random.default_rng(2).random((32, 127)) < 0.2)
    np.savez(tmp_path / "w.npz", fc=matrix)
    real = hwsim.compress(tmp_path / "w.npz", {"fc": {"svd": {"rank": 7}, "index": {"bits": 4}}})
    assert sum(layer.size.weight_bits for layer in real.layers) == 32 * 7 * (32 + 127)


def test_signs_have_no_zeros_and_ternary_weights_have_some(tmp_path: Path) -> None:
    assert hwsim.compress("alexnet_pruned", {"fc6": {"binary": True}}).workload["fc6"].weight.density == 1
    matrix = drawn(32, 127) * (np.random.default_rng(2).random((32, 127)) < 0.2)
    packed = hwsim.compress(network(), {"fc": {"ternary": True}}, weights={"fc": matrix})
    assert packed.workload["fc"].weight.spec.mask.nonzeros == np.count_nonzero(packed.weights["fc"])
    signs = hwsim.compress(network(), {"fc": {"binary": True}}, weights={"fc": matrix})
    assert signs.workload["fc"].weight.density == 1


def test_a_trace_of_pruned_weights_is_read_again(tmp_path: Path) -> None:
    """Densities and patterns of blocks, channels, groups and random zeros are those that were written."""
    rng = np.random.default_rng(4)
    blocks = np.kron(rng.random((8, 4)) < 0.4, np.ones((4, 4)))
    fours = np.zeros((32, 4, 4))
    np.put_along_axis(fours, rng.random(fours.shape).argsort(2)[:, :, :2], 1, axis=2)
    arrays = {
        "random": rng.random((16, 32)) < 0.3,
        "block": blocks.T,
        "channel": np.ones((16, 32)) * (np.arange(32) % 3 > 0),
    }
    arrays["fours"] = fours.reshape(32, 16).T
    np.savez(tmp_path / "w.npz", **{name: array * drawn(16, 32) for name, array in arrays.items()})
    packed = hwsim.compress(tmp_path / "w.npz", {"*": {"share": {"bits": 3}}})
    (tmp_path / "w.yaml").write_text(trace_text(packed.workload))
    again = hwsim.load_workload(tmp_path / "w.yaml")
    for layer in packed.workload:
        before, after = layer.weight, again[layer.name].weight
        assert (before.pattern, before.density, before.format) == (after.pattern, after.density, after.format), (
            layer.name
        )
        assert before.spec.coding == after.spec.coding


def test_names_of_weights_are_those_of_layers_that_have_some() -> None:
    with pytest.raises(InputError) as caught:
        hwsim.compress("lenet5_caffe", SHARED, weights={"zz": np.ones((3, 3))})
    assert str(caught.value).endswith("valid: 'conv1', 'conv2', 'ip1', 'ip2'")


def test_batches_that_no_machine_plans_end_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "compress", "lenet_300_100", "--prune", "0.1", "--on", "eie", "--batch", "0")
    assert code == 2
    assert "batch must be a whole number" in err


def test_tables_can_be_larger_than_what_they_code(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """16 KiB of 4,096 shared values and a code of 12 bits each, for 1,000 weights of 4 B: 4.5 times larger."""
    np.savez(tmp_path / "w.npz", fc=drawn(40, 25))
    code, out, _ = call(capsys, "compress", tmp_path / "w.npz", "--share", "12bit")
    assert code == 0
    assert f"{(4 * 4096 + 1.5 * 1000) / 4000:.1f} times larger" in out
