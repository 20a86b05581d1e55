"""Signs of 8-bit operands: kernels of ONNX Runtime for u8s8, u8u8 and s8s8, against measured ratios."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import hwsim
from hwsim.machines.cpu import core_names, load_core
from hwsim.workload.tensor import TensorSpec
from hwsim.workload.trace_text import trace_text

PAIRS = {"u8s8": ("uint8", "sint8"), "u8u8": ("uint8", "uint8"), "s8s8": ("sint8", "sint8")}


def conv(pair: str, c: int, size: int, k: int, r: int, groups: int = 1) -> hwsim.Conv2d:
    left, right = PAIRS[pair]
    types = {"input": left, "weight": right, "output": left}
    return hwsim.Conv2d("c", c=c, h=size, w=size, k=k, r=r, s=r, pad=r // 2, groups=groups, bias=False, **types)


def gemm(pair: str, m: int, n: int, k: int) -> hwsim.Gemm:
    left, right = PAIRS[pair]
    return hwsim.Gemm("g", m=m, n=n, k=k, bias=False, input=left, weight=right)


def scaled_gemm(pair: str, m: int, n: int, k: int) -> hwsim.Gemm:
    """QLinearMatMul or QGemm, which write 8 bits; MatMulInteger writes sums."""
    return gemm(pair, m, n, k).with_dtype(output=PAIRS[pair][0])


def seconds(machine: hwsim.Machine, layer: hwsim.Layer) -> float:
    return hwsim.simulate(machine, hwsim.Workload("one", [layer])).summary.latency_s


def zen4() -> hwsim.Machine:
    return hwsim.load_machine("epyc_zen4", set={"threads": 1, "clocks.core": "3.69 GHz"})


# ONNX Runtime 1.32, one core of a Zen 4 (EPYC, Genoa), CPU time, least of several runs, alone on the machine.
MEASURED = [
    (conv, (96, 80, 32, 3), 907.5, 3.13, 12.21),
    (conv, (64, 56, 64, 3), 572.4, 2.71, 12.16),
    (conv, (256, 14, 256, 1), 75.0, 2.30, 11.91),
    (conv, (32, 80, 96, 1), 209.3, 2.06, 8.93),
    (conv, (128, 28, 128, 1), 85.3, 2.26, 8.98),
    (conv, (512, 7, 512, 3), 591.1, 2.43, 21.29),
    (gemm, (128, 768, 768), 362.6, 2.49, 12.56),
    (gemm, (257, 127, 31), 11.7, 1.64, 8.30),
    (gemm, (7, 64, 2048), 10.2, 1.65, 12.61),
    (scaled_gemm, (128, 768, 768), 369.4, 2.44, 12.42),
    (scaled_gemm, (257, 127, 31), 18.8, 1.40, 5.60),
    (scaled_gemm, (512, 512, 128), 216.7, 2.08, 9.58),
]


@pytest.mark.parametrize(("layer", "shape", "us", "u8u8", "s8s8"), MEASURED)
def test_each_pair_of_signs_takes_as_long_as_measured(layer, shape, us, u8u8, s8s8) -> None:
    machine = zen4()
    for pair, times in (("u8s8", 1.0), ("u8u8", u8u8), ("s8s8", s8s8)):
        assert seconds(machine, layer(pair, *shape)) * 1e6 == pytest.approx(us * times, rel=0.15), pair


# The same machine: channels of 3 x 3 filters, filters of one pixel, 8-bit depthwise filters in all signs.
ALIGNED = [
    ((28, 14, 32, 3), 16.2), ((31, 14, 32, 3), 22.4), ((32, 14, 32, 3), 17.0), ((63, 14, 32, 3), 34.6),
    ((64, 14, 32, 3), 26.2), ((32, 28, 28, 1), 14.7), ((32, 28, 31, 1), 25.8), ((32, 28, 32, 1), 14.7),
    ((32, 28, 33, 1), 22.3), ((32, 28, 63, 1), 38.4), ((32, 28, 64, 1), 22.7),
]  # fmt: skip


@pytest.mark.parametrize(("shape", "us"), ALIGNED)
def test_convolutions_of_groups_of_four_channels_and_filters_copy_no_patches(shape, us) -> None:
    """32 channels run before 31, and 32 filters before 31: only whole groups of four have kernels of their own."""
    assert seconds(zen4(), conv("u8s8", *shape)) * 1e6 == pytest.approx(us, rel=0.2)


@pytest.mark.parametrize(("size", "r", "groups", "times"), [(28, 3, 96, 1.54), (7, 3, 960, 1.56), (112, 3, 32, 1.44)])
def test_depthwise_filters_of_other_signs_scale_their_sums_in_a_pass(size, r, groups, times) -> None:
    machine = zen4()
    for pair in ("u8u8", "s8s8"):
        ratio = seconds(machine, conv(pair, groups, size, groups, r, groups)) / seconds(
            machine, conv("u8s8", groups, size, groups, r, groups)
        )
        assert ratio == pytest.approx(times, rel=0.15)


@pytest.mark.parametrize("dtype", ["int8", "fp32"])
def test_no_layer_takes_longer_than_a_larger_one_on_one_thread(dtype: str) -> None:
    """In rows, columns and depth of a product, and in the batch; of 8-bit convolutions in groups of four channels."""
    machine = zen4()

    def rises(make, sizes) -> None:
        times = [seconds(machine, make(size).with_dtype(input=dtype, weight=dtype, output=dtype)) for size in sizes]
        assert times == sorted(times)

    rises(lambda n: hwsim.Gemm("g", m=31, n=n, k=127), range(1, 100))
    rises(lambda m: hwsim.Gemm("g", m=m, n=64, k=127), range(1, 100))
    rises(lambda k: hwsim.Gemm("g", m=31, n=64, k=k), range(1, 300, 3))
    rises(lambda c: hwsim.Conv2d("c", c=c, h=14, w=14, k=32, r=3, s=3, pad=1), range(4, 100, 4))
    rises(lambda k: hwsim.Conv2d("c", c=16, h=14, w=14, k=k, r=3, s=3, pad=1), range(4, 100, 4))
    gemm = hwsim.Gemm("g", m=127, n=255, k=511).with_dtype(input=dtype, weight=dtype, output=dtype)
    times = [
        hwsim.simulate(machine, hwsim.Workload("one", [gemm]), batch=batch).summary.latency_s
        for batch in (1, 2, 3, 5, 7)
    ]
    assert times == sorted(times)


def test_signs_that_no_layer_says_are_those_of_the_fastest_kernels() -> None:
    machine = zen4()
    plain = hwsim.Conv2d("c", c=31, h=13, w=13, k=127, r=3, s=3, pad=1, bias=False)
    assert seconds(machine, plain) == seconds(machine, conv("u8s8", 31, 13, 127, 3))


@pytest.mark.parametrize("core", core_names())
def test_signs_cost_time_where_the_own_kernels_take_unsigned_by_signed(core: str) -> None:
    """NEON multiplies any signs alike; every x86 core has a sequence for each pair."""
    machine = hwsim.load_machine("epyc_zen4", set={"core": core, "threads": 1})
    times = [seconds(machine, conv(pair, 64, 31, 64, 3)) for pair in PAIRS]
    if any(name.startswith("neon") for name in load_core(core).sequences):
        assert times[0] == times[1] == times[2]
    else:
        assert times[0] < times[1] < times[2]


@pytest.mark.parametrize("name", ["xeon_8280", "nucleo_l4r5zi", "systolic_ws", "eyeriss_v1", "a100"])
def test_other_libraries_and_machines_take_any_signs(name: str) -> None:
    machine = hwsim.load_machine(name)
    assert len({seconds(machine, conv(pair, 31, 13, 127, 3)) for pair in PAIRS}) == 1


def test_a_note_says_how_much_longer_and_what_to_do() -> None:
    machine = zen4()
    shape = (64, 56, 64, 3)
    report = hwsim.simulate(machine, hwsim.Workload("one", [conv("s8s8", *shape)]))
    (note,) = [note for note in report.messages if note.code == "cpu.signs"]
    times = report.summary.latency_s / seconds(machine, conv("u8s8", *shape))
    assert note.values["times"] == pytest.approx(times, rel=1e-3)
    assert str(note) == f"s8s8 takes {times:.1f} times as long here as u8s8: quantize with QUInt8 activations"
    plain = hwsim.simulate(machine, hwsim.Workload("one", [conv("u8s8", *shape)]))
    assert not [note for note in plain.messages if note.code == "cpu.signs"]


def test_signed_activations_by_unsigned_weights_are_priced_as_s8s8() -> None:
    machine, shape = zen4(), {"m": 31, "n": 127, "k": 257}
    layers = [hwsim.Gemm("g", **shape, input="sint8", weight=weight) for weight in ("uint8", "sint8")]
    reports = [hwsim.simulate(machine, hwsim.Workload("one", [layer])) for layer in layers]
    assert reports[0].summary.latency_s == reports[1].summary.latency_s
    note = next(str(note) for note in reports[0].messages if note.code == "cpu.signs")
    assert note.startswith("s8u8 is priced as s8s8: it takes ")
    assert note.endswith("quantize with QUInt8 activations and QInt8 weights")


def test_a_thread_packs_the_weights_of_a_loop_again_for_each_of_its_tasks() -> None:
    """512 x 7 x 7 in tasks of 16 of 49 pixels: 4 packings of 9 x 512 x 512 bytes at 2.18 cycles, by hand."""
    machine = zen4()
    plan = machine.plan(conv("s8s8", 512, 7, 512, 3))
    assert plan.columns["packing_cycles"] == pytest.approx(4 * 9 * 512 * 512 * 2.18, rel=1e-6)


def test_names_of_signs() -> None:
    assert (TensorSpec("uint8").dtype, TensorSpec("uint8").signed, TensorSpec("uint8").name) == ("int8", False, "uint8")
    assert (TensorSpec("sint8").dtype, TensorSpec("sint8").signed) == ("int8", True)
    assert TensorSpec("int8").signed is None
    assert TensorSpec("uint8").merged({"density": 0.5}).name == "uint8"
    assert TensorSpec("uint8").merged("int8").signed is None
    with pytest.raises(hwsim.InputError, match="not 'uint9'; nearest: 'uint8'"):
        TensorSpec("uint9")


def test_traces_and_tables_say_signs(tmp_path: Path) -> None:
    network = hwsim.Workload("net", [conv(pair, 3, 31, 7, 3).with_(name=pair) for pair in PAIRS], graph=False)
    path = tmp_path / "net.yaml"
    path.write_text(trace_text(network))
    again = hwsim.load_workload(path)
    assert [(layer.input.spec.name, layer.weight.spec.name) for layer in again] == list(PAIRS.values())
    table = tmp_path / "net.csv"
    table.write_text("name,type,c,h,w,k,r,s,input,weight\na,conv,3,31,31,7,3,3,uint8,sint8\n")
    (layer,) = hwsim.load_workload(table)
    assert (layer.input.signed, layer.weight.signed) == (False, True)


def onnx_conv(pair: str, quantized: bool) -> bytes:
    """A QLinearConv, or a Conv between DequantizeLinear and QuantizeLinear."""
    types = [{"uint8": np.uint8, "sint8": np.int8}[name] for name in PAIRS[pair]]
    x, w = types
    constants = {
        "s": np.float32(0.1), "xz": np.array(128 if x is np.uint8 else 0, x),
        "wz": np.array(128 if w is np.uint8 else 0, w), "w": np.ones((16, 3, 3, 3), w),
    }  # fmt: skip
    if quantized:
        nodes = [helper.make_node("QLinearConv", ["x", "s", "xz", "w", "s", "wz", "s", "xz"], ["y"])]
    else:
        nodes = [
            helper.make_node("DequantizeLinear", ["x", "s", "xz"], ["xf"]),
            helper.make_node("DequantizeLinear", ["w", "s", "wz"], ["wf"]),
            helper.make_node("Conv", ["xf", "wf"], ["yf"]),
            helper.make_node("QuantizeLinear", ["yf", "s", "xz"], ["y"]),
        ]
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(x))
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", kind, [1, 3, 31, 31])],
        [helper.make_tensor_value_info("y", kind, [1, 16, 29, 29])],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


@pytest.mark.parametrize("quantized", [True, False])
@pytest.mark.parametrize("pair", PAIRS)
def test_onnx_files_say_signs(pair: str, quantized: bool, tmp_path: Path) -> None:
    """Between DequantizeLinear and QuantizeLinear, onnxruntime on x64 makes int8 activations uint8."""
    path = tmp_path / "net.onnx"
    path.write_bytes(onnx_conv(pair, quantized))
    (layer,) = [layer for layer in hwsim.load_workload(path) if layer.macs]
    left, right = PAIRS[pair]
    assert (layer.input.spec.name, layer.weight.spec.name) == (left if quantized else "uint8", right)


# 409,600 values, one thread of the same machine: table look-ups, and loops of 32-bit floats.
FUNCTIONS = {"sigmoid": 126, "leaky_relu": 71, "hardswish": 124, "erf": 215, "tanh": 115, "exp": 78, "relu": 45}


@pytest.mark.parametrize(("function", "us"), FUNCTIONS.items())
def test_activations_take_as_long_as_measured(function: str, us: float) -> None:
    layer = hwsim.Activation("a", type=function, shape=(64, 80, 80), input="fp32", output="fp32")
    assert seconds(zen4(), layer) * 1e6 == pytest.approx(us, rel=0.06)


@pytest.mark.parametrize("function", ["sigmoid", "leaky_relu"])
def test_quantized_functions_look_up_a_table(function: str) -> None:
    layer = hwsim.Activation("a", type=function, shape=(64, 80, 80))
    assert seconds(zen4(), layer) * 1e6 == pytest.approx(107, rel=0.04)


# 32-bit floats, one thread of the same machine: the axis is moved last and back, by blocks or value by value.
SOFTMAX = [
    ((16, 4, 8400), 0, 4634), ((64, 80, 80), 0, 3491), ((64, 80, 80), 2, 200), ((64, 80, 80), 1, 433),
    ((8, 31, 127), 0, 295), ((8, 31, 127), 2, 20.2), ((21, 64, 64), 0, 710), ((12, 128, 128), 1, 179),
]  # fmt: skip


@pytest.mark.parametrize(("shape", "axis", "us"), SOFTMAX)
def test_a_softmax_takes_as_long_as_measured_over_its_axis(shape: tuple[int, ...], axis: int, us: float) -> None:
    layer = hwsim.Softmax("s", shape=shape, axis=axis, input="fp32", output="fp32")
    assert seconds(zen4(), layer) * 1e6 == pytest.approx(us, rel=0.16)


def test_the_axis_of_a_softmax(tmp_path: Path) -> None:
    assert hwsim.Softmax("s", shape=(3, 31, 7), axis=2) == hwsim.Softmax("s", shape=(3, 31, 7))
    with pytest.raises(hwsim.InputError, match="axis must be one of the 3 axes of the shape, not 3"):
        hwsim.Softmax("s", shape=(3, 31, 7), axis=3)
    for opset, axis, read in ((17, 1, 0), (17, 2, 1), (17, 3, -1), (17, -3, 0), (17, None, -1), (11, 1, -1)):
        options = {} if axis is None else {"axis": axis}
        values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 3, 31, 7]) for name in "xy"]
        graph = helper.make_graph([helper.make_node("Softmax", ["x"], ["y"], **options)], "net", values[:1], values[1:])
        path = tmp_path / "net.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
        (layer,) = hwsim.load_workload(path)
        assert layer.axis == read, (opset, axis)
        network = hwsim.load_workload(path)
        again = tmp_path / "net.yaml"
        again.write_text(trace_text(network))
        assert hwsim.load_workload(again)[layer.name] == layer
