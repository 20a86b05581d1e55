"""Runs a model through onnxruntime on this machine, as a user has it, and times every node by its profiler."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from hwsim.calibration.cores import Cores, Runs
from hwsim.calibration.host import Binding, Energy, Host, Load
from hwsim.calibration.measure.inputs import Shapes, random_inputs
from hwsim.calibration.measure.nodes import GraphNode
from hwsim.calibration.measure.profile import NodeTime, line_of, parse_profile, without_profiler
from hwsim.calibration.operators import chain_model
from hwsim.errors import InputError, nearest
from hwsim.message import Message

__all__ = ["RUNTIMES", "Measurement", "measure"]

RUNTIMES = ("onnxruntime",)
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
"""What onnxruntime calls the devices that it runs a model on."""
WARM_RUNS, LEAST_RUNS, MOST_RUNS = 2, 5, 300
LEAST_NEAR = 3
"""Runs on near cores below which all runs count."""
SHARED = 0.15
"""Processors that other programs may keep busy beyond those that are free."""
WATCHED_NODES, WATCHED_RUNS = 64, 50
Tell = Callable[[str, int, int], None]
"""Current step, completed units, total units."""


@dataclass(frozen=True)
class Measurement:
    """A measured run of a model.

    Attributes
    ----------
    nodes : tuple of NodeTime
        In the order they ran. The profiler counts whole microseconds and adds one or two to each node. None on a
        CUDA device, whose profile has the launches of kernels, not their times.
    latency_s, median_s : float
        Least and median time of a whole run without the profiler.
    optimized, original : tuple of GraphNode
        The graph as the runtime ran it, and as the file has it.
    energy_j : float or None
        Energy of the processor's packages for one run, where available (RAPL).
    """

    model: str
    runtime: str
    threads: int
    batch: int
    runs: int
    nodes: tuple[NodeTime, ...]
    latency_s: float
    median_s: float
    optimized: tuple[GraphNode, ...]
    original: tuple[GraphNode, ...]
    energy_j: float | None
    notes: tuple[Message, ...]

    @property
    def nodes_s(self) -> float:
        """The least times of all nodes together."""
        return math.fsum(node.least_s for node in self.nodes)


def measure(
    model: str | Path,
    runtime: str = "onnxruntime",
    threads: int = 1,
    batch: int = 1,
    runs: int | None = None,
    shapes: Shapes | None = None,
    tell: Tell | None = None,
    seconds: float = 10.0,
    device: str = "cpu",
) -> Measurement:
    """Run a model on this machine and time it, as a whole and node by node.

    Parameters
    ----------
    model : str or Path
        An ``.onnx`` file.
    runtime : str
        ``onnxruntime``.
    threads : int
        Threads of an operator.
    batch : int
        The first size of each input, where the model leaves it open.
    runs : int, optional
        Number of runs; by default as many as fit `seconds`, 5 to 300. Two warm-up runs go first.
    shapes : mapping, optional
        Other sizes that the model leaves open, by their names; or shapes of inputs, by the names of these.
    tell : callable, optional
        Called with the current step, completed units and total units.
    seconds : float
        Duration of the measurement, unless `runs` is given.
    device : str
        ``cpu``, or ``cuda``: then inputs and outputs stay on the device, and only whole runs are timed.

    Raises
    ------
    InputError
        If the runtime is not installed or has no such device, or the model cannot be read or run.
    """
    check_request(model, runtime, threads, batch, runs, device)
    onnx, ort = _library("onnx"), _library("onnxruntime")
    _check_provider(ort, device, ort.get_available_providers())
    with tempfile.TemporaryDirectory(prefix="hwsim") as folder:
        return _Run(onnx, ort, Path(model), Path(folder), threads, tell or (lambda *_: None), device).measure(
            batch, dict(shapes or {}), runs, seconds
        )


def check_request(
    model: str | Path, runtime: str, threads: int, batch: int, runs: int | None, device: str = "cpu"
) -> None:
    """Raise for invalid arguments before any file is read."""
    if runtime not in RUNTIMES:
        raise InputError(
            f"the runtime must be one of {', '.join(RUNTIMES)}, not {runtime!r}{nearest(runtime, RUNTIMES)}"
        )
    if device not in PROVIDERS:
        raise InputError(
            f"the device must be one of {', '.join(PROVIDERS)}, not {device!r}{nearest(device, PROVIDERS)}"
        )
    _whole("threads", threads, 1024)
    _whole("batch", batch, 65536)
    if runs is not None:
        _whole("runs", runs, 10**6)
    if Path(model).suffix.lower() != ".onnx":
        raise InputError("a model that onnxruntime runs must be an .onnx file", str(model))
    if not Path(model).is_file():
        raise InputError("must be a file", str(model))


def _whole(name: str, value: int, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise InputError(f"{name} must be a whole number from 1 to {most}, not {value!r}")


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise InputError(f"{name} is not installed: pip install 'hwsim[onnx]' onnxruntime") from None


def _check_provider(ort: Any, device: str, providers: Sequence[str]) -> None:
    """Raise if onnxruntime or its session does not run on the device: it would silently use the CPU."""
    if PROVIDERS[device] not in providers:
        raise InputError(
            f"onnxruntime {ort.__version__} must have {PROVIDERS[device]} to run on {device}, and here it has "
            f"{', '.join(providers)}: pip install onnxruntime-gpu, with the CUDA and cuDNN libraries of its version"
        )


class _Run:
    """One model in one folder for what the runtime writes."""

    def __init__(
        self, onnx: Any, ort: Any, path: Path, folder: Path, threads: int, tell: Tell, device: str = "cpu"
    ) -> None:
        self.onnx, self.ort = onnx, ort
        self.path, self.folder = path, folder
        self.threads, self.tell, self.device = threads, tell, device
        self.notes: list[Message] = []
        self.source: str | bytes = str(path)
        self.binding = Binding(threads if device == "cpu" else 1)

    def graph(self, path: Path) -> Any:
        try:
            return self.onnx.load(str(path), load_external_data=False)
        except Exception as error:  # protobuf and onnx raise types of their own
            raise InputError(f"cannot be read as ONNX: {line_of(error)}", str(self.path)) from None

    def file_nodes(self) -> tuple[GraphNode, ...]:
        """The file's nodes; unnamed ones get the name of their first output, for the profiler."""
        model = self.graph(self.path)
        nodes = model.graph.node
        if all(node.name for node in nodes):
            return _nodes(model)
        outside = any(tensor.data_location == self.onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer)
        if outside or model.ByteSize() > 2**31 - 2**20:
            template = "some nodes have no name, and weights lie outside the file: these nodes are not matched"
            self.notes.append(Message("measure.unnamed", template))
            return _nodes(model)
        names = {node.name for node in nodes}
        for node in nodes:
            if not node.name and node.output and node.output[0] not in names:
                node.name = node.output[0]
        self.source = model.SerializeToString()
        return _nodes(model)

    def profiler_overhead_s(self) -> float:
        """What the profiler adds to a node at least: a chain of tiny ones with it and without."""
        self.source, feeds = chain_model(WATCHED_NODES)
        plain, profiler = self.session(profile=False), self.session(profile=True)
        whole = min(self.run(plain, feeds) for _ in range(WATCHED_RUNS))
        for _ in range(WATCHED_RUNS):
            self.run(profiler, feeds)
        text = Path(profiler.end_profiling()).read_text(encoding="utf-8", errors="replace")
        nodes = parse_profile(text, WATCHED_RUNS)
        return max(0.0, (math.fsum(node.least_s for node in nodes) - whole) / len(nodes))

    def session(self, profile: bool) -> Any:
        options = self.ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = 4
        if self.binding.workers:
            options.add_session_config_entry("session.intra_op_thread_affinities", self.binding.workers)
        if profile:
            options.enable_profiling = True
            options.profile_file_prefix = str(self.folder / "profile")
            options.optimized_model_filepath = str(self.folder / "optimized.onnx")
            # Only the graph, not its weights.
            key = "session.optimized_model_external_initializers"
            options.add_session_config_entry(f"{key}_file_name", "weights.bin")
            options.add_session_config_entry(f"{key}_min_size_in_bytes", "64")
        try:
            session = self.ort.InferenceSession(self.source, options, providers=[PROVIDERS[self.device]])
        except Exception as error:
            raise InputError(f"onnxruntime cannot load it: {line_of(error)}", str(self.path)) from None
        _check_provider(self.ort, self.device, session.get_providers())
        return session

    def bind_inputs(self, session: Any, feeds: Mapping[str, Any]) -> Any:
        """The inputs where the model runs: on a CUDA device they and the outputs stay there between runs."""
        if self.device == "cpu":
            return feeds
        binding = session.io_binding()
        for name, value in feeds.items():
            binding.bind_ortvalue_input(name, self.ort.OrtValue.ortvalue_from_numpy(value, self.device, 0))
        for output in session.get_outputs():
            binding.bind_output(output.name, self.device, 0)
        return binding

    def run(self, session: Any, feeds: Any) -> float:
        start = perf_counter()
        try:
            if self.device == "cpu":
                session.run(None, feeds)
            else:
                session.run_with_iobinding(feeds)
                feeds.synchronize_outputs()
        except Exception as error:
            raise InputError(f"onnxruntime cannot run it: {line_of(error)}", str(self.path)) from None
        return perf_counter() - start

    def measure(self, batch: int, shapes: Shapes, runs: int | None, seconds: float) -> Measurement:
        with self.binding:
            return self.measure_bound(batch, shapes, runs, seconds)

    def measure_bound(self, batch: int, shapes: Shapes, runs: int | None, seconds: float) -> Measurement:
        original = self.file_nodes()
        if self.binding.processors:
            template = "each thread was bound to a processor of its own: {processors}"
            self.notes.append(Message("measure.bound", template, {"processors": list(self.binding.processors)}))
        load = Load.now()
        plain = self.session(profile=False)
        feeds = self.bind_inputs(plain, random_inputs(plain.get_inputs(), batch, shapes, str(self.path)))
        for _ in range(WARM_RUNS):
            once = self.run(plain, feeds)
        count = runs or max(LEAST_RUNS, min(MOST_RUNS, int(seconds / 2 / max(once, 1e-6))))
        cores = Cores(self.binding)

        def timed(session: Any, step: str, before: int) -> Runs:
            def tell(done: int) -> None:
                self.tell(step, before + done, 2 * count)

            return cores.runs(lambda: self.run(session, feeds), seconds / 2, count, tell)

        whole = timed(plain, "whole runs", 0)
        if self.device != "cpu":
            template = "{provider} is asynchronous: only whole runs are timed"
            self.notes.append(Message("measure.whole_runs", template, {"provider": PROVIDERS[self.device]}))
            return self.result(original, (), (), batch, whole.times, None)
        joules = self.energy_of(plain, feeds, count)
        del plain  # its threads would compete with those of the next session
        profiler = self.session(profile=True)
        for _ in range(WARM_RUNS):
            self.run(profiler, feeds)
        profiled = timed(profiler, "runs with the profiler", count)
        if self.binding.processors and len(whole.near) < LEAST_NEAR:  # the profiled ones saw the threads nearer
            whole = timed(self.session(profile=False), "whole runs", 0)
        times, counts = self.near(whole, profiled)
        profile = Path(profiler.end_profiling()).read_text(encoding="utf-8", errors="replace")
        try:
            optimized = _nodes(self.graph(self.folder / "optimized.onnx"))
        except InputError:
            optimized = ()
            template = "onnxruntime did not write the graph that it ran: fused nodes are matched by name alone"
            self.notes.append(Message("measure.no_graph", template))
        nodes = parse_profile(profile, WARM_RUNS + len(counts), [*[False] * WARM_RUNS, *counts])
        nodes, watching = without_profiler(nodes, min(times), self.profiler_overhead_s())
        if watching:
            template = "the profiler overhead, {overhead_us:.1f} us per node, is subtracted"
            self.notes.append(Message("measure.profiler", template, {"overhead_us": watching * 1e6}))
        noise = Load.now().since(load)
        self.notes += noise.notes()
        if self.threads > 1 and noise.others + self.threads > Host().processors + SHARED:
            template = (
                "noise: {threads} threads shared their processors with other programs; an operator ends with its last "
                "thread, so whole runs are not those of {threads} processors"
            )
            self.notes.append(Message("noise.threads", template, {"threads": self.threads}, "warning"))
        return self.result(original, optimized, nodes, batch, times, joules)

    def energy_of(self, session: Any, feeds: Any, count: int) -> float | None:
        """Joules of a run, of runs one after the other; None where no counter is readable."""
        before = Energy.now()
        if before.joules_since(before) is None:
            self.notes.append(Message("measure.no_energy", "energy: no RAPL counter is readable on this machine"))
            return None
        for _ in range(count):
            self.run(session, feeds)
        joules = Energy.now().joules_since(before)
        return None if joules is None else joules / count

    def near(self, whole: Runs, profiled: Runs) -> tuple[list[float], list[bool]]:
        """The times of runs whose threads shared an L3, and which profiled runs are of these; all where too few."""
        counted = [len(runs.near) for runs in (whole, profiled)]
        values = {"threads": self.threads, "counted": sum(counted), "runs": len(whole.times) + len(profiled.times)}
        if min(counted) < min(LEAST_NEAR, len(whole.times)):
            template = (
                "noise: in {counted} of {runs} runs the {threads} threads met as fast as they can; in the others the "
                "hypervisor ran them on cores further apart. All runs count: they are slower than those of near cores"
            )
            self.notes.append(Message("noise.cores", template, values, "warning"))
            return whole.times, [True] * len(profiled.times)
        if self.threads > 1:
            template = "{counted} of {runs} runs count: those in which the {threads} threads met as fast as they can"
            self.notes.append(Message("measure.cores", template, values))
        return whole.near, profiled.counts

    def result(
        self,
        original: tuple[GraphNode, ...],
        optimized: tuple[GraphNode, ...],
        nodes: tuple[NodeTime, ...],
        batch: int,
        times: Sequence[float],
        energy_j: float | None,
    ) -> Measurement:
        """What became of it, with how far the runs scatter."""
        if len(times) < LEAST_RUNS:
            template = "noise: only {runs} runs: the first ones read code and weights from memory"
            self.notes.append(Message("noise.few", template, {"runs": len(times)}, "warning"))
        spread = float(np.median(times)) / min(times) - 1
        if spread > 0.1:
            template = "noise: the median run took {spread:.0%} longer than the fastest"
            self.notes.append(Message("noise.runs", template, {"spread": spread}, "warning"))
        provider = "" if self.device == "cpu" else f" ({PROVIDERS[self.device]})"
        return Measurement(
            str(self.path),
            f"onnxruntime {self.ort.__version__}{provider}",
            self.threads,
            batch,
            len(times),
            nodes,
            min(times),
            float(np.median(times)),
            optimized,
            original,
            energy_j,
            tuple(self.notes),
        )


def _nodes(model: Any) -> tuple[GraphNode, ...]:
    return tuple(
        GraphNode(node.name, node.op_type, tuple(filter(None, node.input)), tuple(filter(None, node.output)))
        for node in model.graph.node
    )
