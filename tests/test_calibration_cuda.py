"""A CUDA device is calibrated from published times in the form of a recorded run; no GPU is asked. No time is judged."""

import csv
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from tables import BESIDE, DATA

import hwsim
from hwsim.calibration.gpu import (
    Device,
    GpuMeasurement,
    Product,
    Properties,
    Recorder,
    Recording,
    gpu_text,
    measure_device,
)
from hwsim.calibration.gpu.cupy import CupyDevice
from hwsim.calibration.gpu.libraries import open_device
from hwsim.calibration.gpu.rounds import CUDA_GRID, GRID, LARGE
from hwsim.calibration.gpu.sheet import kin_of
from hwsim.calibration.gpu.torch import TorchDevice
from hwsim.cli import cli
from hwsim.errors import InputError
from hwsim.kernels.probe import Timing
from hwsim.machines import Machine
from hwsim.report.catalogue import kind_of

PUBLISHED = Path(__file__).parent / "data" / "a100_published.yaml"
#: Published times of an A100: a sample of them, and all where they lie beside the project.
SAMPLE, ALL = (folder / "gpu" / "gemm_a100_h100.csv" for folder in (DATA, BESIDE))


@pytest.fixture(scope="module")
def published() -> GpuMeasurement:
    return measure_device(Recording(PUBLISHED))


def load(text: str, folder: Path) -> Machine:
    path = folder / "cuda.yaml"
    path.write_text(text)
    return hwsim.load_machine(path)


def times(table: Path) -> dict[tuple[int, int, int], float]:
    """Published seconds of an A100 in bf16, by shape."""
    with table.open() as file:
        return {
            (int(row["M"]), int(row["N"]), int(row["K"])): float(row["latency_ms"]) * 1e-3
            for row in csv.DictReader(line for line in file if not line.startswith("#"))
            if (row["device"], row["precision"]) == ("A100-SXM4-80GB", "bf16")
        }


def test_the_published_run_is_the_published_table() -> None:
    """Its shapes are those of a calibration, in order; no time beats the data sheet: 312 TFLOP/s."""
    runs = yaml.safe_load(PUBLISHED.read_text())["runs"]
    shapes = [tuple(run["matmul"]) for run in runs]
    assert shapes == [shape for shape in GRID if shape in shapes]
    assert len(shapes) > len(GRID) / 2
    for (m, n, k), run in zip(shapes, runs, strict=True):
        (microseconds,) = run["us"]
        assert microseconds > 2 * m * n * k / 312e6
    table = times(ALL if ALL.is_file() else SAMPLE)
    if ALL.is_file():
        assert shapes == [shape for shape in GRID if shape in table]
    for shape, run in zip(shapes, runs, strict=True):
        if shape in table:
            assert run["us"] == [pytest.approx(table[shape] * 1e6, rel=1e-5)]


def test_an_a100_comes_out_as_its_data_sheet_with_constants_near_its_generations(
    published: GpuMeasurement, tmp_path: Path
) -> None:
    written = gpu_text(published, source="published")
    machine, shipped = load(written.text, tmp_path), hwsim.load_machine("a100")
    data = yaml.safe_load(written.text)
    for key in ("clocks", "sms", "sm", "generation"):
        assert getattr(machine.spec, key) == getattr(shipped.spec, key)
    assert machine.spec.memories["dram"].bandwidth == shipped.spec.memories["dram"].bandwidth
    # What was fitted is marked, told with its spread, and no more than three numbers of one type.
    assert set(data["fitted"]) == {"launch", "constants.tensor.efficiency", "constants.tensor.dram_share"}
    assert set(data["spread"]) == set(data["fitted"])
    own = shipped.timer.constants["tensor"]
    assert data["constants"]["tensor"]["efficiency"] == pytest.approx(own.efficiency, rel=0.05)
    assert data["constants"]["tensor"]["dram_share"] == pytest.approx(own.dram_share, rel=0.05)
    # What was not published is the generation's, and the file says so.
    assert "cuda" not in data["constants"]
    assert machine.timer.constants["cuda"] == shipped.timer.constants["cuda"]
    assert "no dram copy was timed" in written.text
    assert "one value: the spread is unknown" in written.text


@pytest.mark.parametrize(
    ("table", "size"), [(path, size) for path, size in ((SAMPLE, 240), (ALL, 5000)) if path.is_file()]
)
def test_rows_that_were_not_fitted_on_are_predicted_about_as_well_as_by_the_shipped_a100(
    published: GpuMeasurement, tmp_path: Path, table: Path, size: int
) -> None:
    rest = np.array([(*shape, seconds) for shape, seconds in times(table).items() if shape not in set(GRID)]).T
    assert rest.shape[1] > size

    def error(machine: Machine) -> float:
        return float(np.abs(machine.gemm_times(*rest[:3], "bf16", "bf16") / rest[3] - 1).mean())

    calibrated = error(load(gpu_text(published).text, tmp_path))
    # The shipped constants were fitted on all of these rows, the calibration on 45 others: 7.3 % beside 7.1 %.
    assert calibrated < error(hwsim.load_machine("a100")) + 0.005


def made(constants: dict[str, float], launch: str, dtype: str = "bf16") -> GpuMeasurement:
    """What would be timed of an A100 with other constants, by the model itself."""
    machine = hwsim.load_machine("a100", set={"launch": launch, "constants": {"tensor": constants}})
    told = Properties(
        name="made", capability="8.0", sms=108, memory="80 GB", clock="1410 MHz", l2="40 MB", dram="2039 GB/s",
        board="400 W", date="2026-01-02", graphs=True,
    )  # fmt: skip
    m, n, k = np.array(GRID).T
    times = machine.gemm_times(m, n, k, dtype, dtype)
    products = tuple(
        Product(*shape, dtype, Timing((float(t) * 1e9,), 1.0)) for shape, t in zip(GRID, times, strict=True)
    )
    return GpuMeasurement(told, products, {}, {}, ())


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_constants_are_found_again_from_times_that_they_made(dtype: str) -> None:
    fit = gpu_text(made({"efficiency": 0.8, "dram_share": 0.6}, "6 us", dtype)).fits[0]
    assert fit.dtype == dtype
    assert fit.values["constants.tensor.efficiency"] == pytest.approx(0.8, rel=0.03)
    assert fit.values["constants.tensor.dram_share"] == pytest.approx(0.6, rel=0.03)
    assert fit.values["launch"] == pytest.approx(6e-6, rel=0.05)
    assert fit.after < 0.02 < fit.before
    assert max(fit.spread.values()) < 0.05


def test_few_products_leave_the_generations_constants(tmp_path: Path) -> None:
    whole = made({}, "3 us")
    few = GpuMeasurement(whole.properties, whole.products[:4], {}, {}, ())
    written = gpu_text(few)
    assert not written.fits
    assert load(written.text, tmp_path).timer.constants == hwsim.load_machine("a100").timer.constants
    assert "too few bf16 GEMMs" in written.text


def test_copies_are_the_shares_that_cuda_cores_stream(tmp_path: Path) -> None:
    whole = made({}, "3 us")
    bandwidth = {"dram copy": Timing((1e6 + 2e3, 1.2e6), 1.6e9), "l2 copy": Timing((5e3,), 6e6)}
    found = GpuMeasurement(whole.properties, whole.products, bandwidth, {"graph": Timing((2e3,), 1.0)}, ())
    machine = load(gpu_text(found).text, tmp_path)
    constants = machine.timer.constants["cuda"]
    # 1.6 GB in 1 ms beside the launch, of 2039 GB/s; 6 MB in 3 us, of 64 B a cycle and SM.
    assert constants.dram_share == pytest.approx(1600 / 2039, rel=1e-3)
    assert constants.l2_share == pytest.approx(6e6 / 3e-6 / (64 * 108 * 1.41e9), rel=1e-3)
    assert machine.spec.spread["constants.cuda.dram_share"] == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("capability", ["7.0", "8.6", "9.0"])
def test_what_a_driver_does_not_tell_is_taken_and_told(capability: str, tmp_path: Path) -> None:
    told = Properties(name="bare", capability=capability, sms=114, memory="80 GB", date="2026-01-02", graphs=False)
    written = gpu_text(GpuMeasurement(told, made({}, "3 us", "fp16").products, {}, {}, ()))
    machine, kin = load(written.text, tmp_path), hwsim.load_machine(kin_of((int(capability[0]), int(capability[2])))[0])
    links = {name: price for name, price in kin.timer.prices.items() if name == "link"}  # a driver tells of none
    assert machine.timer.prices | links == kin.timer.prices
    assert machine.spec.sm == kin.spec.sm
    assert machine.spec.harness == "stream"
    assert machine.spec.sms == 114
    for what in ("the clock", "the DRAM bandwidth", "the size of L2", "the limit of the power", "shared memory"):
        assert f"the driver does not report {what}: " in written.text
    # No number claims a driver that did not tell it.
    for part in (machine.spec.memories["dram"], machine.spec.memories["l2"], machine.spec.power):
        assert kin.name in part.source
        assert "driver" not in part.source


@pytest.mark.parametrize(
    "capability, kin, noted", [((8, 0), "a100", False), ((8, 7), "a10", True), ((12, 0), "h100", True)]
)
def test_a_capability_has_the_sm_of_a_shipped_machine(capability: tuple[int, int], kin: str, noted: bool) -> None:
    found, note = kin_of(capability)
    assert found == kin
    assert bool(note) == noted


def test_capabilities_without_a_generation_are_refused() -> None:
    with pytest.raises(InputError, match=r"compute capability must be 6.0 or later, not 5.2"):
        kin_of((5, 2))


@pytest.mark.parametrize("device", ["published", "torch"])
def test_what_is_recorded_is_read_again(device: str, tmp_path: Path) -> None:
    first = Recorder(Recording(PUBLISHED) if device == "published" else TorchDevice(Torch(), 2))
    found = measure_device(first)
    path = tmp_path / "run.yaml"
    path.write_text(first.text())
    again = measure_device(Recording(path))
    assert again.properties == found.properties
    # The file has six digits.
    assert [one.seconds for one in again.products] == pytest.approx([one.seconds for one in found.products], rel=1e-5)
    for measured, read in ((found.bandwidth, again.bandwidth), (found.empty, again.empty)):
        assert set(measured) == set(read)
        assert all(read[name].rate == pytest.approx(timing.rate, rel=1e-4) for name, timing in measured.items())


@pytest.mark.parametrize(
    "change, told",
    [
        (("bf16, us: [2.49173]", "bf16, us: [0]"), r"greater than 0"),
        (("type: bf16, us: [2.49173]", "us: [2.49173]"), "a product must say its type"),
        (("sms: 108", "sm: 108"), "did you mean 'sms'|sms"),
        (("{matmul: [1, 32, 32], type: bf16,", "{"), "exactly one of matmul, copy, read or empty"),
    ],
)
def test_faults_of_a_recorded_run_have_their_line(change: tuple[str, str], told: str, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    assert change[0] in PUBLISHED.read_text()
    path.write_text(PUBLISHED.read_text().replace(*change, 1))
    with pytest.raises(InputError, match=told) as caught:
        Recording(path)
    assert "run.yaml:" in str(caught.value)


def test_constants_that_no_unit_has_are_refused() -> None:
    with pytest.raises(InputError, match=r"constants.tensor names 'eficiency', which is none"):
        hwsim.load_machine("a100", set={"constants": {"tensor": {"eficiency": 0.9}}})


def test_the_command_replays_and_cuda_is_the_file_in_this_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"^cuda.yaml is not in this folder: `hwsim calibrate --device cuda` measures"):
        hwsim.load_machine("cuda")
    result = CliRunner().invoke(cli, ["calibrate", "--device", "cuda", "--replay", str(PUBLISHED)])
    assert result.exit_code == 0, result.output
    assert "written: cuda.yaml" in result.output
    assert kind_of("cuda") == "machine"  # as in hwsim compare cuda NETWORK
    report = hwsim.simulate(hwsim.load_machine("cuda"), hwsim.Workload("one", [hwsim.Gemm("fc", m=64, n=512, k=512)]))
    assert report.summary.latency_s > 2e-6


@pytest.mark.parametrize(
    "options, told",
    [
        (["--device", "cuda", "--threads", "2"], "--threads must be left out with --device cuda"),
        (["--through", "torch"], "--through must be left out with --device cpu"),
    ],
)
def test_options_of_the_other_device_are_refused(options: list[str], told: str) -> None:
    result = CliRunner().invoke(cli, ["calibrate", *options])
    assert isinstance(result.exception, InputError) or result.exit_code == 2
    assert told in str(result.exception) + result.output


def test_without_a_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hwsim.calibration.gpu.libraries.find_spec", lambda name: None)
    with pytest.raises(
        InputError, match=r"torch or cupy must be installed to measure a CUDA device: pip install torch"
    ):
        open_device()
    with pytest.raises(InputError, match=r"^cupy must be installed"):
        open_device("cupy")


class Tensor:
    """What the made-up torch hands out: a shape, and whether it was turned."""

    def __init__(self, torch: "Torch", shape: tuple[int, ...], turned: bool = False) -> None:
        self.torch, self.shape, self.turned = torch, shape, turned

    def t(self) -> "Tensor":
        return Tensor(self.torch, self.shape[::-1], True)

    def add_(self, _: float) -> None:
        self.torch.kernel(2e-6)


class Torch:
    """A made-up torch on a made-up device: every kernel adds to a clock; kernels of a capture do so when replayed."""

    __version__ = "0.made"
    version = SimpleNamespace(cuda="12.made")
    float16, bfloat16, float32, int8, int32 = "float16", "bfloat16", "float32", "int8", "int32"
    rates = {"float16": 120e12, "bfloat16": 120e12, "float32": 8e12, "tf32": 55e12, "int8": 200e12}

    def __init__(self, devices: int = 1, memory: int = 80 * 10**9) -> None:
        self.clock = 0.0
        self.captured: list[float] | None = None
        self.multiplied: set[tuple[object, ...]] = set()
        self.backends = SimpleNamespace(cuda=SimpleNamespace(matmul=SimpleNamespace(allow_tf32=False)))
        told = SimpleNamespace(
            name="Made A100", major=8, minor=0, multi_processor_count=108, total_memory=memory, clock_rate=1410000,
            L2_cache_size=40 * 2**20, memory_clock_rate=1593000, memory_bus_width=5120,
            regs_per_multiprocessor=65536, shared_memory_per_multiprocessor=167936,
        )  # fmt: skip
        torch = self

        class Graph:
            def replay(self) -> None:
                for seconds in self.kernels:
                    torch.kernel(seconds)

            kernels: list[float] = []

        class Event:
            def __init__(self, enable_timing: bool) -> None:
                assert enable_timing

            def record(self) -> None:
                self.at = torch.clock

            def elapsed_time(self, other: "Event") -> float:
                return (other.at - self.at) * 1e3

        @contextmanager
        def graph(into: Graph):
            torch.captured = []
            yield
            into.kernels, torch.captured = torch.captured, None

        @contextmanager
        def stream(_: object):
            yield

        def synchronize() -> None:
            assert torch.captured is None, "a capture must not wait"

        self.cuda = SimpleNamespace(
            is_available=lambda: devices > 0, current_device=lambda: 0, get_device_properties=lambda _: told,
            Stream=object, stream=stream, synchronize=synchronize, CUDAGraph=Graph, graph=graph, Event=Event,
            empty_cache=lambda: None,
        )  # fmt: skip

    def kernel(self, seconds: float) -> None:
        if self.captured is not None:
            self.captured.append(seconds)
        else:
            self.clock += seconds

    def randn(self, shape: tuple[int, int], device: str, dtype: str) -> Tensor:
        return Tensor(self, shape)

    def randint(self, low: int, high: int, shape: tuple[int, int], dtype: str, device: str) -> Tensor:
        assert (low, high) == (-128, 128)
        return Tensor(self, shape)

    def empty(self, shape: tuple[int, ...], device: str, dtype: str = "float32") -> Tensor:
        out = Tensor(self, shape)
        out.dtype = dtype
        return out

    def zeros(self, size: int, device: str) -> Tensor:
        return Tensor(self, (size,))

    def empty_like(self, x: Tensor) -> Tensor:
        return Tensor(self, x.shape)

    def _multiply(self, a: Tensor, w: Tensor, out: Tensor, dtype: str) -> None:
        (m, k), (inner, n) = a.shape, w.shape
        assert k == inner
        assert out.shape == (m, n)
        self.multiplied.add((dtype, m, n, k, w.turned))
        self.kernel(2e-6 + max(m * n * k / self.rates[dtype], 2 * n * k / 1.6e12))

    def mm(self, a: Tensor, w: Tensor, out: Tensor) -> None:
        tf32 = out.dtype == "float32" and self.backends.cuda.matmul.allow_tf32
        self._multiply(a, w, out, "tf32" if tf32 else out.dtype)

    def _int_mm(self, a: Tensor, w: Tensor, out: Tensor) -> None:
        assert out.dtype == "int32"
        self._multiply(a, w, out, "int8")

    def add(self, x: Tensor, _: float, out: Tensor) -> None:
        self.kernel(2e-6 + 8 * x.shape[0] / 1.6e12)

    def amax(self, x: Tensor, dim: int, out: Tensor) -> None:
        self.kernel(2e-6 + 4 * x.shape[0] / 1.7e12)


@pytest.fixture(autouse=True)
def no_smi(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hwsim.calibration.gpu.device.smi", lambda name: {"power.limit": "400.00"})


def test_torch_is_asked_for_every_type_and_its_times_come_back(tmp_path: Path) -> None:
    torch = Torch()
    device: Device = TorchDevice(torch, repeats=2)
    assert float(device.properties.dram.amount) == pytest.approx(2039.04e9)  # 2 x 1593 MHz x 5120 bit
    found = measure_device(device)
    assert {dtype for dtype, *_ in torch.multiplied} == {"bfloat16", "float16", "float32", "tf32", "int8"}
    assert not torch.backends.cuda.matmul.allow_tf32
    assert {shape[1:4] for shape in torch.multiplied if shape[0] == "bfloat16"} == set(GRID)
    assert {shape[1:4] for shape in torch.multiplied if shape[0] == "float32"} >= set(CUDA_GRID)
    assert all(turned == (dtype == "int8") for dtype, *_, turned in torch.multiplied)
    for one in found.products:
        rate = Torch.rates[{"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}.get(one.dtype, one.dtype)]
        assert one.seconds >= one.m * one.n * one.k / rate
    assert found.empty["graph"].least_ns == pytest.approx(2e3)
    assert found.bandwidth["dram copy"].rate == pytest.approx(1600, rel=0.02)
    written = gpu_text(found)
    machine = load(written.text, tmp_path)
    assert machine.timer.constants["cuda"].dram_share == pytest.approx(1600 / 2039, rel=0.01)
    # Four numbers: three of the tensor cores, one of the CUDA cores.
    assert len(machine.spec.fitted) == 4
    assert "int8, with nothing fitted" in written.text


def test_torch_that_sees_no_device_says_so() -> None:
    with pytest.raises(InputError, match=r"a CUDA device must be visible to be measured: torch 0.made sees none"):
        TorchDevice(Torch(devices=0), 2)


def test_products_that_do_not_fit_are_left_out_and_told() -> None:
    found = measure_device(TorchDevice(Torch(memory=10**9), 2))
    assert LARGE not in {(one.m, one.n, one.k) for one in found.products}
    assert any("no room for six copies" in note for note in found.notes)


def test_a_kernel_that_torch_refuses_was_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("not implemented for this device")

    monkeypatch.setattr(Torch, "_int_mm", refuse)
    device = TorchDevice(Torch(), 2)
    assert device.time_matmul(*LARGE, "int8", 6) is None
    assert "a kernel was refused: not implemented for this device" in measure_device(device).notes
    monkeypatch.setattr(Torch, "mm", refuse)
    with pytest.raises(InputError, match="at least 4 products must be timed on Made A100, not 0: not implemented"):
        measure_device(TorchDevice(Torch(), 2))


class Cupy:
    """A made-up cupy: launches one by one."""

    __version__ = "0.made"

    def __init__(self, devices: int = 1) -> None:
        self.clock = 0.0
        made = self

        class Event:
            def record(self) -> None:
                self.at = made.clock

            def synchronize(self) -> None:
                pass

        class RawKernel:
            def __init__(self, code: str, name: str) -> None:
                assert f"void {name}()" in code

            def __call__(self, *_: object) -> None:
                made.clock += 5e-6

        told = {
            "name": b"Made V100", "major": 7, "minor": 0, "multiProcessorCount": 80, "totalGlobalMem": 16 * 2**30,
            "l2CacheSize": 6 * 2**20, "clockRate": 1530000, "memoryClockRate": 877000, "memoryBusWidth": 4096,
        }  # fmt: skip
        runtime = SimpleNamespace(
            getDeviceCount=lambda: devices, CUDARuntimeError=RuntimeError, runtimeGetVersion=lambda: 12040,
            getDeviceProperties=lambda _: told,
        )  # fmt: skip
        self.RawKernel = RawKernel
        self.cuda = SimpleNamespace(
            runtime=runtime, Device=lambda: SimpleNamespace(id=0), Event=Event,
            get_elapsed_time=lambda begin, end: (end.at - begin.at) * 1e3,
            memory=SimpleNamespace(OutOfMemoryError=MemoryError),
        )  # fmt: skip
        self.random = SimpleNamespace(standard_normal=self.empty)

    def get_default_memory_pool(self) -> SimpleNamespace:
        return SimpleNamespace(free_all_blocks=lambda: None)

    def empty(self, shape: tuple[int, int], dtype: str) -> SimpleNamespace:
        return SimpleNamespace(shape=shape, dtype=dtype, astype=lambda kind: self.empty(shape, kind))

    def zeros(self, size: int, dtype: str) -> SimpleNamespace:
        def largest() -> None:
            self.clock += 5e-6 + 4 * size / 0.75e12

        return SimpleNamespace(nbytes=4 * size, max=largest)

    def empty_like(self, x: SimpleNamespace) -> SimpleNamespace:
        return x

    def add(self, x: SimpleNamespace, _: float, out: SimpleNamespace) -> None:
        self.clock += 5e-6 + 2 * x.nbytes / 0.75e12

    def matmul(self, a: SimpleNamespace, w: SimpleNamespace, out: SimpleNamespace) -> None:
        assert a.dtype == w.dtype == out.dtype
        (m, k), (_, n) = a.shape, w.shape
        rate = {"float16": 50e12, "float32": 7e12}[out.dtype]
        self.clock += 5e-6 + max(m * n * k / rate, 2 * n * k / 0.75e12)


def test_cupy_launches_one_by_one_in_the_types_that_it_has(tmp_path: Path) -> None:
    found = measure_device(CupyDevice(Cupy(), 2))
    assert {one.dtype for one in found.products} == {"fp16", "fp32"}
    assert set(found.empty) == {"stream"}
    machine = load(gpu_text(found).text, tmp_path)
    assert (machine.spec.harness, machine.spec.generation) == ("stream", "volta")
    assert float(machine.spec.launch) >= 5e-6  # no product is shorter than an empty kernel
    with pytest.raises(InputError, match=r"must be visible to be measured: cupy 0.made sees none"):
        CupyDevice(Cupy(devices=0), 2)
