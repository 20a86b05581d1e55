"""Every constant that times of a GPU rest on, with its source, and what it was fitted on."""

from __future__ import annotations

from hwsim.machines.gpu.attention_plan import FusedAttention
from hwsim.machines.gpu.parts import GpuLibrary
from hwsim.machines.gpu.spec import GpuSpec
from hwsim.machines.gpu.timing import Timer
from hwsim.machines.plan import Constant
from hwsim.workload.layers.collective import COLLECTIVES

__all__ = ["constants_of"]

_UNITS = {"step": " cycles", "split": " cycles", "wave": " cycles", "store": " B/cycle"}


def constants_of(spec: GpuSpec, timer: Timer) -> tuple[Constant, ...]:
    """The generation's constants, the launch floor of the harness, and constants of the library's kernel sets."""
    generation, library, harness = timer.generation, timer.library, timer.harness
    constants = [
        Constant(
            f"{harness.name}: empty kernel",
            f"{timer.floor:.4g} us",
            spec.source if spec.launch is not None else harness.source,
            harness.fitted.get(f"floors.{generation.name}"),
        )
    ]
    for math, instruction in generation.instructions.items():
        if instruction.sparse_gain is not None and math in spec.sm.macs:
            fitted = generation.fitted.get(f"instructions.{math}.sparse_gain")
            where = "2:4 kernels over dense ones; not measured: that of the values of equal width"
            name, value = f"{generation.name} {math}: sparse_gain", f"{instruction.sparse_gain:.4g}"
            constants.append(Constant(name, value, generation.source if fitted else where, fitted))
    for unit, kind in generation.constants.items():
        where = kind.source or generation.source
        values = kind.model_dump(exclude={"source", "fitted"})
        fitted = kind.fitted
        constants += [
            Constant(f"{generation.name} {unit}: {name}", f"{value:.4g}{_UNITS.get(name, '')}", where, fitted)
            for name, value in values.items()
        ]
    for kernel in FusedAttention.all_of(timer):
        head = f"{timer.attention_library.name} {kernel.phase} attention, {', '.join(kernel.types)}"
        where = "; ".join([kernel.source, *(f"{what}: {why}" for what, why in kernel.unmeasured.items())])
        constants += [Constant(f"{head}: {name}", value, where, kernel.fitted) for name, value in kernel.fits()]
    for menu in library.menus:
        if generation.name in menu.generations:
            own = menu.constants | ({"vector.step": float(menu.vector.step)} if menu.vector else {})
            head = f"{library.name} {', '.join(menu.types)}{' of 2:4 weights' if menu.sparse else ''}"
            constants += [
                Constant(f"{head}: {name}", f"{value:.4g}", menu.source, menu.fitted) for name, value in own.items()
            ]
    constants += _collectives(library, generation.name)
    if harness.request is not None:
        request = harness.request
        call = f"{float(request.call) * 1e6:.4g} us"
        constants.append(Constant(f"{harness.name}: call of a batch", call, request.source, request.fitted))
    if library.serving is not None:
        serving = library.serving
        values = {
            "first": f"{float(serving.first) * 1e3:.4g} ms", "token": f"{float(serving.token) * 1e6:.4g} us",
        }  # fmt: skip
        for name, host in {"": serving, **serving.formats}.items():
            of = f"{name} " if name else ""
            values |= {
                f"{of}host": f"{float(host.host) * 1e3:.4g} ms",
                f"{of}sequence": f"{float(host.sequence) * 1e6:.4g} us",
                f"{of}prompts": f"{host.prompts:.4g}",
            }  # fmt: skip
        head = f"{library.name} serving"
        constants += [
            Constant(f"{head}: {name}", value, serving.source, serving.fitted) for name, value in values.items()
        ]
    return tuple(constants)


def _collectives(library: GpuLibrary, generation: str) -> list[Constant]:
    """Those of each algorithm of each collective."""
    constants = []
    for op in COLLECTIVES:
        own = library.collective(op, generation)
        for algorithm in own.algorithms if own is not None else ():
            times = f"{float(algorithm.start) * 1e6:.4g} us, {float(algorithm.rank) * 1e6:.4g} us for each further rank"
            name = f"{library.name} {op}, {algorithm.name}"
            value = f"{times}, {algorithm.share:.4g} of the link"
            constants.append(Constant(name, value, own.source if own else "", own.fitted if own else None))
    return constants
