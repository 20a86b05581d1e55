"""hwsim: latency, energy and the reason for each layer of a neural network on real hardware.

``load_machine``, ``load_workload`` and ``simulate`` are the way in; heavy imports wait until they are needed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

# Module -> public names that it holds.
_NAMES = {
    "hwsim.compression.compressed": "Compressed compress",
    "hwsim.errors": "HwsimError HwsimWarning InputError MappingError",
    "hwsim.exploration.exploration": "Exploration",
    "hwsim.exploration.search": "explore",
    "hwsim.machines": "Gpu Machine Mcu NetworkPlan PeArray load_machine machine_names",
    "hwsim.mapping": "Counts Mapping",
    "hwsim.report.comparison": "compare",
    "hwsim.report.report": "Report",
    "hwsim.requests.load": "Load",
    "hwsim.requests.serve": "serve",
    "hwsim.requests.shared": "Tenant serve_shared",
    "hwsim.scenario": "duty_cycle",
    "hwsim.serving.load": "TokenLoad",
    "hwsim.serving.serve": "serve_llm",
    "hwsim.serving.table": "llm",
    "hwsim.simulation": "simulate",
    "hwsim.sweeps.sweep": "sweep",
    "hwsim.parallel.train": "train",
    "hwsim.workload": "Layer Workload load_workload workload_names",
    "hwsim.workload.torch": "from_torch",
}
_PUBLIC = {name: module for module, names in _NAMES.items() for name in names.split()}
_LAYERS = "hwsim.workload.layers"  # its names, the kinds of layer, are public too

if TYPE_CHECKING:
    from hwsim.compression.compressed import Compressed as Compressed, compress as compress
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
    from hwsim.parallel.train import train as train
    from hwsim.report.comparison import compare as compare
    from hwsim.report.report import Report as Report
    from hwsim.requests.load import Load as Load
    from hwsim.requests.serve import serve as serve
    from hwsim.requests.shared import Tenant as Tenant, serve_shared as serve_shared
    from hwsim.scenario import duty_cycle as duty_cycle
    from hwsim.serving.load import TokenLoad as TokenLoad
    from hwsim.serving.serve import serve_llm as serve_llm
    from hwsim.serving.table import llm as llm
    from hwsim.simulation import simulate as simulate
    from hwsim.sweeps.sweep import sweep as sweep
    from hwsim.workload import (
        Layer as Layer,
        Workload as Workload,
        load_workload as load_workload,
        workload_names as workload_names,
    )
    from hwsim.workload.layers import *  # noqa: F403
    from hwsim.workload.torch import from_torch as from_torch


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return __dir__()
    # Only classes are kinds of layer: `from hwsim import cli` asks for a module here and need not import them.
    if name in _PUBLIC or (name[0].isupper() and name in import_module(_LAYERS).__all__):
        value = getattr(import_module(_PUBLIC.get(name, _LAYERS)), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'hwsim' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(["__version__", *_PUBLIC, *import_module(_LAYERS).__all__])
