"""Networks that no cost was fitted on: they are those that were published, and each layer of them is compared."""

from pathlib import Path

import pytest

import hwsim

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
networks = pytest.importorskip("onnx_networks", reason="the builders of ONNX models are not in this tree")
onnx_builder = pytest.importorskip("onnx_builder", reason="the builders of ONNX models are not in this tree")

from hwsim.calibration.measure import compare_measured  # noqa: E402
from hwsim.workload.onnx import read_model  # noqa: E402

#: MACs: Keras's table of MobileNetV2 (0.5, 128: 32 M); Ultralytics' of YOLOv8n (8.7 GFLOPs at 640 x 640, a quarter of the pixels
#: here); convolutions of VGG-11 (7.49 G at 224 x 224) with the layers behind them; the formula of two layers of BERT.
MACS = {
    "mobilenet_v2_0.5": (32.6e6, 0.02),
    "yolov8n": (8.7e9 / 2 / 4, 0.01),
    "vgg11": (7.49e9 * (128 / 224) ** 2 + 512 * 4 * 4 * 1024 + 1024 * 1000, 0.003),
    "bert_block": (2 * (12 * 128 * 768 * 768 + 2 * 128 * 128 * 768), 1e-6),
}


@pytest.mark.parametrize("name", MACS)
def test_the_networks_have_the_macs_that_were_published(name: str, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(networks.NETWORKS[name](), path)
    macs, rel = MACS[name]
    assert read_model(path).workload.macs == pytest.approx(macs, rel=rel)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v2_0.5", "pp_ocr"])
@pytest.mark.parametrize("dtype", ["fp32", "int8"])
def test_each_layer_is_compared_with_what_ran_it(name: str, dtype: str, tmp_path: Path) -> None:
    """No node is left over but quantization that the file has and the reader dropped; rows cover the run."""
    model = networks.NETWORKS[name]()
    path = tmp_path / "net.onnx"
    onnx.save(onnx_builder.quantized(model) if dtype == "int8" else model, path)
    machine = hwsim.load_machine("epyc_zen4", set={"threads": 1})
    found = compare_measured(machine, path, runs=3)
    assert not found.only_predicted
    assert len(found.only_measured) <= 0.02 * len(found.measurement.nodes)
    assert {row.kind for row in found.rows} >= {"depthwise convolution", "pointwise convolution", "other"}
    parts = sum(row.measured_s for row in found.rows) + sum(seconds for _, seconds in found.only_measured)
    assert parts == pytest.approx(found.measurement.nodes_s)
