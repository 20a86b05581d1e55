"""The networks in workloads/: every layer's shape and the published totals."""

import pytest
from tables import DATA, rows

from hwsim.workload import Conv2d, Gemm, Lstm, Softmax, load_workload, workload_names

# MACs, weights, biases (without those that stand for a folded batch normalization), and parameters as published, where
# a batch normalization counts two a channel. Sources are in the files; totals were confirmed against Han et al. 2015
# (LeNet, AlexNet), TF-slim (MobileNet) and torchvision (the others).
PUBLISHED = {
    "lenet_300_100": (266200, 266200, 410, 266610),
    "lenet5_caffe": (2293000, 430500, 580, 431080),
    "alexnet_caffe": (724406816, 60954656, 10568, 60965224),
    "alexnet_torchvision": (714188480, 61090496, 10344, 61100840),
    "vgg16": (15470264320, 138344128, 13416, 138357544),
    "googlenet": (1582671872, 6990272, 8280, 6998552),
    "googlenet_torchvision": (1498376192, 6609344, 1000, 6624904),
    "resnet50_v1": (3857973248, 25502912, 1000, 25557032),
    "resnet50_v1_5": (4089184256, 25502912, 1000, 25557032),
    "mobilenet_v1_1.0_224": (568740352, 4209088, 1000, 4231976),
    "mobilenet_v1_0.5_128": (49160192, 1319648, 1000, 1331592),
    "mobilenet_v2_1.0_224": (300774272, 3469760, 1000, 3504872),
    "squeezenet_v1.0": (818924576, 1244448, 3976, 1248424),
    "squeezenet_v1.1": (349151936, 1231552, 3944, 1235496),
    "inception_v3": (5713216096, 23799136, 1000, 23834568),
    "ds_cnn_s": (2656768, 22016, 12, 23180),
    "ds_cnn_m": (9816384, 133472, 12, 136580),
    "ds_cnn_l": (28327812, 407652, 12, 413736),
    "micro_speech_tiny_conv": (336000, 16640, 12, 16652),
    "gnmt_4layer_1024": (131661824, 131661824, 69184, 131731008),
    "eie_bench": (192870216, 192870216, 0, 192870216),
}
#: Networks with folded batch normalizations: each channel of a convolution has a bias that is not counted above.
FOLDED = {name for name, (_, weights, biases, published) in PUBLISHED.items() if weights + biases != published}

# Chen et al., JSSC 52(1) 2017, table V: percent of zeros in the input of each convolution.
ZEROS = {
    "alexnet": {"conv1": 0.01, "conv2": 38.7, "conv3": 72.5, "conv4": 79.3, "conv5": 77.6},
    "vgg16": {
        "conv1_1": 1.6, "conv1_2": 47.7, "conv2_1": 24.8, "conv2_2": 38.7, "conv3_1": 39.7, "conv3_2": 58.1,
        "conv3_3": 58.7, "conv4_1": 64.3, "conv4_2": 74.7, "conv4_3": 85.4, "conv5_1": 79.4, "conv5_2": 87.4,
        "conv5_3": 88.5,
    },
}  # fmt: skip

# Weights and MACs that are left of all, rounded to percent: Han et al., NIPS 2015.
PRUNED = {
    "lenet_300_100_pruned": (8, 8),
    "lenet5_pruned": (8, 16),
    "alexnet_pruned": (11, 30),
    "vgg16_pruned": (7.5, 21),
}

each = pytest.mark.parametrize("name", PUBLISHED)


@each
def test_published_totals(name):
    net = load_workload(name)
    macs, weights, biases, parameters = PUBLISHED[name]
    folded = sum(layer.biases for layer in net if isinstance(layer, Conv2d)) if name in FOLDED else 0
    assert (net.name, net.macs, net.weights) == (name, macs, weights)
    assert net.biases - folded == biases
    assert weights + biases + 2 * folded == parameters
    assert net.params == weights + biases + folded


@each
def test_networks_are_whole_graphs(name):
    net = load_workload(name)
    if name == "eie_bench":
        assert not net.graph
        return
    assert net.graph
    assert net.source
    read = {producer for producers in net.inputs.values() for producer in producers}
    outputs = [layer for layer in net if layer.name not in read]
    assert [type(layer) for layer in outputs] == [Softmax]
    assert net.peak_activation_bytes() >= max(
        layer.output.bytes() + sum(net[p].output.bytes() for p in {*net.inputs[layer.name]} - {"input"})
        for layer in net
    )


@pytest.mark.parametrize("name", ZEROS)
def test_densities_measured_on_the_eyeriss_chip(name):
    net = load_workload(name)
    for layer in net:
        zeros = ZEROS[name].get(layer.name, 0)
        assert layer.input.density == pytest.approx(1 - zeros / 100)
        assert (layer.input.bits, layer.weight.bits, layer.output.bits) == (16, 16, 16)
        assert layer.weight.density == 1


def test_alexnet_is_the_caffe_network():
    one, other = load_workload("alexnet"), load_workload("alexnet_caffe")
    assert one.inputs == other.inputs
    assert [layer.macs for layer in one] == [layer.macs for layer in other]


def test_residuals_of_resnet():
    net = load_workload("resnet50_v1_5")
    assert net.inputs["res2a_add"] == ("res2a_1x1c", "res2a_proj")
    assert net.inputs["res2b_add"] == ("res2b_1x1c", "res2a_add")
    assert [net[name].stride for name in ("res3a_1x1a", "res3a_3x3b", "res3a_proj")] == [(1, 1), (2, 2), (2, 2)]
    assert load_workload("resnet50_v1")["res3a_1x1a"].stride == (2, 2)
    # while the last convolution of a first block runs, its 64-channel input is gone; shortcut and sum are 256 x 56 x 56
    assert net.peak() == ("res2a_add", 3 * 256 * 56 * 56)


def test_concatenations_of_googlenet():
    net = load_workload("googlenet")
    assert [net[f"{stage}_concat"].output.shape[0] for stage in ("3a", "3b", "4a", "4e", "5b")] == [
        256,
        480,
        512,
        832,
        1024,
    ]


def test_every_file_loads_under_its_name():
    for name in workload_names():
        assert load_workload(name).name == name


@each
def test_every_layer_of_the_reference_tables(name):
    net = load_workload(name)
    table = {row["name"]: row for row in rows(f"networks/{name}")}
    assert {layer.name for layer in net if layer.weights} == table.keys()
    for layer in net:
        if layer.weights:
            row = {key: int(value) for key, value in table[layer.name].items() if value.isdigit()}
            assert (layer.macs, layer.weights) == (row["macs"], row["weights"])
            if isinstance(layer, Conv2d):
                assert layer.biases == (row["bias"] or row["K"])
                shape = (layer.c, layer.h, layer.w, layer.k, layer.r, layer.s, layer.groups, layer.p, layer.q)
                assert shape == tuple(row[key] for key in ("C", "H", "W", "K", "R", "S", "groups", "P", "Q"))
                assert (*layer.stride, *layer.pad) == tuple(
                    row[key] for key in ("stride_h", "stride_w", "pad_top", "pad_left", "pad_bottom", "pad_right")
                )
            elif isinstance(layer, Gemm):
                assert (layer.m, layer.k, layer.n, layer.biases) == (1, row["C"], row["K"], row["bias"])
            else:
                assert isinstance(layer, Lstm)
                assert (layer.input_size, layer.hidden_size, layer.biases) == (row["C"], row["K"], row["bias"])


@each
def test_reference_tables_are_traces_of_the_same_layers(name):
    trace, net = load_workload(DATA / "networks" / f"{name}.csv"), load_workload(name)
    assert (trace.macs, trace.weights, trace.graph) == (net.macs, net.weights, False)


@pytest.mark.parametrize("name", PRUNED)
def test_pruned_networks_keep_what_was_published(name):
    """The densities of each layer add to the published totals, those of the paper rounded to a percent each."""
    layers = [layer for layer in load_workload(name) if layer.weights]
    kept = sum(layer.weights * layer.weight.density for layer in layers) / sum(layer.weights for layer in layers)
    left = sum(layer.macs * layer.weight.density * layer.input.density for layer in layers)
    weights, macs = PRUNED[name]
    assert 100 * kept == pytest.approx(weights, abs=0.8)
    assert 100 * left / sum(layer.macs for layer in layers) == pytest.approx(macs, abs=2.5)


def test_bert_with_2_4_weights_keeps_half_of_its_projections():
    layers = [layer for layer in load_workload("bert_base_2_4") if isinstance(layer, Gemm)]
    assert len(layers) == 72
    assert {(layer.weight.density, layer.weight.pattern, layer.weight.format) for layer in layers} == {
        (0.5, "2:4", "2:4")
    }
