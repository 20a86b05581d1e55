"""Zeros of weights in files: which values are left of each channel, in which pattern, from TFLite and ONNX alike."""

import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import tflite_builder
from hypothesis import given, settings, strategies as st
from onnx import helper
from onnx_builder import Graph
from tflite_builder import T

import hwsim
from hwsim.workload.tensor import TensorSpec
from hwsim.workload.tflite.file import read_tables
from hwsim.workload.trace_text import trace_text
from hwsim.workload.zeros import counted, few_channels, kept_of, pattern_of


def levels_of(mask, order, blocked, block, sparse, width):
    """SparsityParameters of a mask, and the places of the values in the order that they are stored, by definition."""
    rank = mask.ndim
    sizes = list(mask.shape)
    for axis, size in zip(blocked, block):
        sizes[axis] //= size
    sizes += list(block)

    def place(index):
        at = list(index[:rank])
        for i, axis in enumerate(blocked):
            at[axis] = at[axis] * block[i] + index[rank + i]
        return tuple(at)

    def alive(index, left):
        """Whether a subtree has a value that is not zero."""
        if not left:
            return bool(mask[place(index)])
        return any(alive((*index[: left[0]], n, *index[left[0] + 1 :]), left[1:]) for n in range(sizes[left[0]]))

    nodes, levels = [(0,) * len(sizes)], []
    for step, axis in enumerate(order):
        segments, indices, below = [0], [], []
        for node in nodes:
            for n in range(sizes[axis]):
                child = (*node[:axis], n, *node[axis + 1 :])
                if axis not in sparse or alive(child, order[step + 1 :]):
                    indices.append(n)
                    below.append(child)
            segments.append(len(indices))
        levels.append((np.array(segments, width), np.array(indices, width)) if axis in sparse else sizes[axis])
        nodes = below
    return (order, blocked, levels), [place(node) for node in nodes]


def tflite_file(path: Path, mask, sparsity, values) -> Path:
    """A convolution with filters k x r x s x c, widened from float16 by DENSIFY."""
    k, _, _, c = mask.shape
    tensors = [
        T((1, 5, 5, c), "FLOAT32", scale=None),
        T(mask.shape, "FLOAT32", data=np.asarray(values, np.float32), scale=None, sparsity=sparsity),
        T(mask.shape, "FLOAT32", scale=None),
        T((1, 5, 5, k), "FLOAT32", scale=None),
    ]
    densify = tflite_builder.Op("DENSIFY", [1], [2])
    conv = tflite_builder.conv([0, 2], [3])
    path.write_bytes(tflite_builder.build(tensors, [densify, conv], [0], [3]))
    return path


@settings(max_examples=30, deadline=None)
@given(
    st.tuples(
        st.sampled_from([4, 8, 12]), st.sampled_from([1, 3]), st.sampled_from([1, 2]), st.sampled_from([4, 8, 20])
    ),
    st.floats(0.05, 0.9),
    st.sampled_from([(), (0,), (3,), (3, 0)]),
    st.sampled_from(["int32", "uint16", "uint8"]),
    st.integers(0, 99),
)
def test_sparse_tensors_of_tflite_are_placed(tmp_path_factory, shape, density, blocked, width, seed) -> None:
    draw = np.random.default_rng(seed)
    block = tuple(4 for _ in blocked)
    small = tuple(size // 4 if axis in blocked else size for axis, size in enumerate(shape))
    mask = draw.random(small) < density
    for axis in blocked:
        mask = np.repeat(mask, 4, axis)
    if not mask.any():
        mask[...] = True
    width = "int32" if mask.size > 200 and width == "uint8" else width
    order = (*draw.permutation(4).tolist(), *range(4, 4 + len(blocked)))
    sparse = {int(order[3]), int(order[1])} - set(range(4, 8))
    sparsity, places = levels_of(mask, order, blocked, block, sparse, width)
    path = tflite_file(tmp_path_factory.mktemp("s") / "m.tflite", mask, sparsity, draw.random(len(places)) + 1)
    tensor = read_tables(path).tensors[1]
    kept = tensor.sparse.kept(tensor.shape, len(places))
    # Every stored place is kept; those are the places of the mask, and zeros within blocks or dense levels.
    assert kept.sum() == len(places)
    assert all(kept[place] for place in places)
    assert (kept | mask == kept).all()
    (layer,) = (layer for layer in hwsim.load_workload(str(path)) if layer.macs)
    assert layer.weight.format == "csr"
    assert layer.weight.density == len(places) / mask.size
    if len(places) < mask.size:
        assert layer.nonzeros("weight") == tuple(kept.sum((0, 1, 2)).tolist())
        if blocked:
            assert layer.weight.pattern == "block"


@pytest.mark.parametrize(
    "change",
    [
        lambda order, blocked, levels: ((0, 1, 2, 2), blocked, levels),
        lambda order, blocked, levels: (order, (7,), [*levels, 2]),
        lambda order, blocked, levels: (order, blocked, levels[:3]),
        lambda order, blocked, levels: (order, blocked, [9, *levels[1:]]),
        lambda order, blocked, levels: (order, blocked, [*levels[:3], (levels[3][0][:-1], levels[3][1])]),
        lambda order, blocked, levels: (order, blocked, [*levels[:3], (levels[3][0], levels[3][1] + 31)]),
        lambda order, blocked, levels: (order, blocked, [*levels[:3], (levels[3][0][::-1], levels[3][1])]),
        lambda order, blocked, levels: (order, blocked, [2**31 - 1] * 4),
    ],
)
def test_wrong_sparsity_is_told(tmp_path: Path, change) -> None:
    mask = np.random.default_rng(7).random((8, 1, 1, 12)) < 0.3
    sparsity, places = levels_of(mask, (0, 1, 2, 3), (), (), {3}, "int32")
    path = tflite_file(tmp_path / "m.tflite", mask, change(*sparsity), np.ones(len(places)))
    with pytest.raises(hwsim.InputError, match=r"m\.tflite: .*sparsity must"):
        hwsim.load_workload(str(path))


def test_groups_that_do_not_divide_the_outputs_are_not_counted() -> None:
    assert few_channels((12, 3, 3, 5), ("otti", 2))
    assert not any(few_channels((12, 3, 3, 5), ("otti", groups)) for groups in (0, 5, 7))
    assert not few_channels((12, 3, 3), ("otti", 1))
    assert not few_channels((1, 4097), ("oi", 1))


def draw(shape, density, seed=0):
    return np.random.default_rng(seed).random(shape) < density


def test_patterns_are_seen_and_chance_is_none() -> None:
    """Of a mask of groups x outputs x inputs x taps."""
    for density in (0.02, 0.1, 0.25, 0.5, 0.9, 0.99):
        for seed, shape in enumerate(((1, 64, 64, 1), (1, 31, 127, 9), (257, 1, 1, 9), (1, 8, 16, 1), (2, 12, 20, 3))):
            assert pattern_of(draw(shape, density, seed)).name == "random", (density, shape)
    fours = np.zeros((1, 31, 32, 4, 9), bool)
    two = np.argsort(np.random.default_rng(1).random(fours.shape), axis=3)[:, :, :, :2]
    np.put_along_axis(fours, two, True, axis=3)
    mask = fours.reshape(1, 31, 128, 9)
    assert pattern_of(mask).name == "2:4"
    assert pattern_of(mask & draw(mask.shape, 0.97)).name == "2:4"  # some of what is left rounds to zero
    broken = mask.copy()
    broken[0, 3, :4] = True
    assert pattern_of(broken).name == "random"
    for block in ((1, 4), (4, 1), (4, 4), (1, 2), (16, 1)):
        small = draw((1, 64 // block[0], 64 // block[1], 1), 0.3)
        assert pattern_of(small.repeat(block[0], 1).repeat(block[1], 2)).name == "block"
    channels = np.ones((1, 31, 127, 9), bool)
    channels[:, 17] = False
    assert pattern_of(channels).name == "random"  # less than 5 %
    channels[:, ::3] = False
    channels[:, :, 5:50] = False
    assert pattern_of(channels).name == "channel"
    assert pattern_of(channels & draw(channels.shape, 0.98)).name == "channel"


def test_counts_follow_the_order_of_the_layer() -> None:
    """Groups come first; a channel of a depthwise layer has the taps of all of its filters."""
    spec = TensorSpec("int8", 0.5)
    conv = draw((12, 5, 3, 2), 0.5)  # o, i of one of 2 groups, taps
    found = counted(spec, kept_of(conv, ("oitt", 2)))
    assert found.nonzeros == (*conv[:6].sum((0, 2, 3)), *conv[6:].sum((0, 2, 3)))
    assert found.density == conv.mean()
    layer = hwsim.Conv2d("c", c=10, h=7, w=7, k=12, r=3, s=2, groups=2, weight=found)
    assert layer.nonzeros("weight") == found.nonzeros
    depthwise = draw((1, 3, 3, 14), 0.5)  # 7 channels, multiplier 2
    assert counted(spec, kept_of(depthwise, ("itto", 7))).nonzeros == tuple(
        depthwise.reshape(9, 7, 2).sum((0, 2)).tolist()
    )
    dense = draw((31, 127), 0.5)
    assert counted(spec, kept_of(dense, ("io", 1))).nonzeros == tuple(dense.sum(1).tolist())
    assert counted(spec, kept_of(dense, ("oi", 1))).nonzeros == tuple(dense.sum(0).tolist())


def test_initializers_of_onnx_are_counted(tmp_path: Path) -> None:
    graph = Graph()
    x = graph.input("x", [1, 8, 9, 9])
    weights = np.random.default_rng(3).normal(size=(12, 8, 3, 3)).astype(np.float32) * draw((12, 8, 3, 3), 0.3)
    two = np.random.default_rng(4).normal(size=(31, 128)).astype(np.float32)
    gone = np.random.default_rng(6).random((31, 32, 4)).argsort(axis=2)[:, :, :2]
    np.put_along_axis(two.reshape(31, 32, 4), gone, 0, axis=2)
    deep = np.random.default_rng(5).normal(size=(12, 1, 3, 3)).astype(np.float32) * draw((12, 1, 3, 3), 0.5)
    nodes = [
        helper.make_node("Conv", [x, graph.constant("w", weights)], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["a", graph.constant("d", deep)], ["b"], pads=[1, 1, 1, 1], group=12),
        helper.make_node("GlobalAveragePool", ["b"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", graph.constant("m", np.ones((12, 128), np.float32))], ["g"]),
        helper.make_node("Gemm", ["g", graph.constant("t", two)], ["y"], transB=1),
    ]
    graph.output("y", [1, 31])
    model = helper.make_model(
        helper.make_graph(nodes, "n", graph.inputs, graph.outputs, graph.constants),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    onnx.save(model, str(tmp_path / "m.onnx"))
    conv, depthwise, dense, half = (layer for layer in hwsim.load_workload(str(tmp_path / "m.onnx")) if layer.macs)
    assert conv.nonzeros("weight") == tuple((weights != 0).sum((0, 2, 3)).tolist())
    assert depthwise.nonzeros("weight") == tuple((deep != 0).sum((1, 2, 3)).tolist())
    assert (dense.weight.density, dense.nonzeros("weight")) == (1.0, ())
    assert (half.weight.pattern, half.weight.density, half.weight.format) == ("2:4", 0.5, "dense")
    assert half.nonzeros("weight") == tuple((two != 0).sum(0).tolist())
    # A trace keeps what was found.
    network = hwsim.load_workload(str(tmp_path / "m.onnx"))
    (tmp_path / "m.yaml").write_text(trace_text(network), encoding="utf-8")
    again = [layer.weight for layer in hwsim.load_workload(str(tmp_path / "m.yaml")) if layer.macs]
    assert again == [layer.weight for layer in network if layer.macs]


#: MediaPipe 0.10.14 (Apache-2.0): sparse tensors, their values, and how many are stored.
MODELS = {
    "face_detection/face_detection_full_range_sparse": (46, 462_592, 138_776),
    "pose_detection/pose_detection": (38, 2_723_584, 680_895),
}


@pytest.mark.parametrize("name", MODELS)
def test_sparse_models_of_mediapipe(name: str, tmp_path: Path) -> None:
    """Where its wheel lies beside the project."""
    wheels = sorted((Path(__file__).parents[2] / "shared").glob("**/mediapipe-0.10.14-*.whl"))
    if not wheels:
        pytest.skip("the wheel is not there")
    with zipfile.ZipFile(wheels[0]) as wheel:
        path = tmp_path / "model.tflite"
        path.write_bytes(wheel.read(f"mediapipe/modules/{name}.tflite"))
    layers = [layer for layer in hwsim.load_workload(str(path)) if layer.weights and layer.weight.format == "csr"]
    nonzeros = [sum(layer.nonzeros("weight")) for layer in layers]
    assert (len(layers), sum(layer.weights for layer in layers), sum(nonzeros)) == MODELS[name]
    assert {layer.weight.pattern for layer in layers} == {"random"}


def test_a_sparse_tensor_with_few_zeros_is_counted(tmp_path: Path) -> None:
    """One zero of 32: less than 5 %, but the file says where it is."""
    mask = np.ones((4, 1, 1, 8), bool)
    mask[2, 0, 0, 3] = False
    sparsity, places = levels_of(mask, (0, 1, 2, 3), (), (), {3}, "int32")
    path = tflite_file(tmp_path / "m.tflite", mask, sparsity, np.ones(len(places)))
    (layer,) = (layer for layer in hwsim.load_workload(str(path)) if layer.macs)
    assert layer.nonzeros("weight") == (4, 4, 4, 3, 4, 4, 4, 4)
    assert layer.weight.density == 31 / 32
