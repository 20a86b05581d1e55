"""hwsim: latency, energy and the reason for each layer of a neural network on real hardware.

``load_machine``, ``load_workload`` and ``simulate`` are the way in; heavy imports wait until they are needed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Module -> public names that it holds.
_NAMES = {
    "hwsim.errors": "HwsimError HwsimWarning InputError MappingError",
    "hwsim.exploration.exploration": "Exploration",
    "hwsim.exploration.search": "explore",
    "hwsim.machines": "Gpu Machine Mcu NetworkPlan PeArray load_machine machine_names",
    "hwsim.mapping": "Counts Mapping",
    "hwsim.report.comparison": "compare",
    "hwsim.report.report": "Report",
    "hwsim.scenario": "duty_cycle",
    "hwsim.simulation": "simulate",
    "hwsim.sweeps.sweep": "sweep",
    "hwsim.workload": (
        "Activation Attention BatchedMatmul Concat Conv2d DataMovement Elementwise Embedding ExpertGemm Gemm Gru "
        "Layer Lstm Moe Normalization Opaque Pool2d Softmax Workload load_workload workload_names"
    ),
}
_PUBLIC = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = ["__version__", *_PUBLIC]  # noqa: PLE0604 - names, all of them strings

if TYPE_CHECKING:
    from hwsim.errors import (
        HwsimError as HwsimError,
        HwsimWarning as HwsimWarning,
        InputError as InputError,
        MappingError as MappingError,
    )
    from hwsim.exploration.exploration import Exploration as Exploration
    from hwsim.exploration.search import explore as explore
    from hwsim.machines import (
        Gpu as Gpu,
        Machine as Machine,
        Mcu as Mcu,
        NetworkPlan as NetworkPlan,
        PeArray as PeArray,
        load_machine as load_machine,
        machine_names as machine_names,
    )
    from hwsim.mapping import Counts as Counts, Mapping as Mapping
    from hwsim.report.comparison import compare as compare
    from hwsim.report.report import Report as Report
    from hwsim.scenario import duty_cycle as duty_cycle
    from hwsim.simulation import simulate as simulate
    from hwsim.sweeps.sweep import sweep as sweep
    from hwsim.workload import (
        Activation as Activation,
        Attention as Attention,
        BatchedMatmul as BatchedMatmul,
        Concat as Concat,
        Conv2d as Conv2d,
        DataMovement as DataMovement,
        Elementwise as Elementwise,
        Embedding as Embedding,
        ExpertGemm as ExpertGemm,
        Gemm as Gemm,
        Gru as Gru,
        Layer as Layer,
        Lstm as Lstm,
        Moe as Moe,
        Normalization as Normalization,
        Opaque as Opaque,
        Pool2d as Pool2d,
        Softmax as Softmax,
        Workload as Workload,
        load_workload as load_workload,
        workload_names as workload_names,
    )


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'hwsim' has no attribute {name!r}")
    value = getattr(import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
