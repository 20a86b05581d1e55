"""hwsim: latency, energy and the reason for each layer of a neural network on real hardware.

``load_machine``, ``load_workload`` and ``simulate`` are the way in; heavy imports wait until they are needed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Public name -> module that holds it.
_PUBLIC = {
    "Activation": "hwsim.workload",
    "Attention": "hwsim.workload",
    "BatchedMatmul": "hwsim.workload",
    "Concat": "hwsim.workload",
    "Conv2d": "hwsim.workload",
    "Counts": "hwsim.mapping",
    "DataMovement": "hwsim.workload",
    "Elementwise": "hwsim.workload",
    "Exploration": "hwsim.exploration.exploration",
    "Embedding": "hwsim.workload",
    "ExpertGemm": "hwsim.workload",
    "Gemm": "hwsim.workload",
    "Gpu": "hwsim.machines",
    "Gru": "hwsim.workload",
    "HwsimError": "hwsim.errors",
    "HwsimWarning": "hwsim.errors",
    "InputError": "hwsim.errors",
    "Layer": "hwsim.workload",
    "Lstm": "hwsim.workload",
    "Machine": "hwsim.machines",
    "Mapping": "hwsim.mapping",
    "Mcu": "hwsim.machines",
    "MappingError": "hwsim.errors",
    "NetworkPlan": "hwsim.machines",
    "Moe": "hwsim.workload",
    "Normalisation": "hwsim.workload",
    "Opaque": "hwsim.workload",
    "PeArray": "hwsim.machines",
    "Pool2d": "hwsim.workload",
    "Report": "hwsim.report.report",
    "Softmax": "hwsim.workload",
    "Workload": "hwsim.workload",
    "duty_cycle": "hwsim.scenario",
    "compare": "hwsim.report.beside",
    "explore": "hwsim.exploration.search",
    "load_machine": "hwsim.machines",
    "load_workload": "hwsim.workload",
    "machine_names": "hwsim.machines",
    "simulate": "hwsim.simulation",
    "sweep": "hwsim.sweeps.sweep",
    "workload_names": "hwsim.workload",
}

__all__ = ["__version__", *_PUBLIC]  # noqa: PLE0604 - names, all of them strings

if TYPE_CHECKING:
    from hwsim.errors import HwsimError as HwsimError
    from hwsim.errors import HwsimWarning as HwsimWarning
    from hwsim.errors import InputError as InputError
    from hwsim.errors import MappingError as MappingError
    from hwsim.exploration.exploration import Exploration as Exploration
    from hwsim.exploration.search import explore as explore
    from hwsim.machines import (
        Gpu as Gpu,
    )
    from hwsim.machines import (
        Machine as Machine,
    )
    from hwsim.machines import (
        Mcu as Mcu,
    )
    from hwsim.machines import (
        NetworkPlan as NetworkPlan,
    )
    from hwsim.machines import (
        PeArray as PeArray,
    )
    from hwsim.machines import (
        load_machine as load_machine,
    )
    from hwsim.machines import (
        machine_names as machine_names,
    )
    from hwsim.mapping import Counts as Counts
    from hwsim.mapping import Mapping as Mapping
    from hwsim.report.beside import compare as compare
    from hwsim.report.report import Report as Report
    from hwsim.scenario import duty_cycle as duty_cycle
    from hwsim.simulation import simulate as simulate
    from hwsim.sweeps.sweep import sweep as sweep
    from hwsim.workload import (
        Activation as Activation,
    )
    from hwsim.workload import (
        Attention as Attention,
    )
    from hwsim.workload import (
        BatchedMatmul as BatchedMatmul,
    )
    from hwsim.workload import (
        Concat as Concat,
    )
    from hwsim.workload import (
        Conv2d as Conv2d,
    )
    from hwsim.workload import (
        DataMovement as DataMovement,
    )
    from hwsim.workload import (
        Elementwise as Elementwise,
    )
    from hwsim.workload import (
        Embedding as Embedding,
    )
    from hwsim.workload import (
        ExpertGemm as ExpertGemm,
    )
    from hwsim.workload import (
        Gemm as Gemm,
    )
    from hwsim.workload import (
        Gru as Gru,
    )
    from hwsim.workload import (
        Layer as Layer,
    )
    from hwsim.workload import (
        Lstm as Lstm,
    )
    from hwsim.workload import (
        Moe as Moe,
    )
    from hwsim.workload import (
        Normalisation as Normalisation,
    )
    from hwsim.workload import (
        Opaque as Opaque,
    )
    from hwsim.workload import (
        Pool2d as Pool2d,
    )
    from hwsim.workload import (
        Softmax as Softmax,
    )
    from hwsim.workload import (
        Workload as Workload,
    )
    from hwsim.workload import (
        load_workload as load_workload,
    )
    from hwsim.workload import (
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
