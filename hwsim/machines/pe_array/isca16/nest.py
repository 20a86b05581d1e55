"""The dataflow study of Eyeriss as loop nests, and which of a nest's counts the study charges."""

from __future__ import annotations

from hwsim.errors import MappingError
from hwsim.machines.pe_array.isca16.study import Choice, Word
from hwsim.machines.pe_array.work import ConvWork
from hwsim.mapping import Counts, Keep, Loop, Mapping, Node, Policy, Problem, counts

__all__ = ["LINE", "count", "nest", "nest_words"]

LINE = "line_buffer"
"""Words on their way between neighboring PEs, or along a line buffer: held by the nest, not charged, not bounded."""

_ALL = ("ifmap", "weight", "ofmap")
_AXIS = "pe"


def nest(choice: Choice, work: ConvWork, names: dict[str, str]) -> Mapping:
    """The loop nest of a choice; `names` are the memories that play "dram", "glb" and "rf"."""
    build = _BUILDERS.get(choice.dataflow, _output_stationary)
    nodes = [Keep(names["dram"], _ALL), Loop("G", 1), *build(choice, work, names["glb"], names["rf"])]
    current = {dim: getattr(work, dim.lower()) for dim in "NGKCPQRS"}
    tree: list[Node] = []
    for node in nodes:
        if isinstance(node, Loop):
            # A tile size of the study may exceed the piece that is left of a dim.
            node = Loop(node.dim, min(node.tile, current[node.dim]), node.spatial)
            current[node.dim] = node.tile
        tree.append(node)
    return Mapping(tuple(tree))


def _row_stationary(choice: Choice, work: ConvWork, glb: str, rf: str) -> list[Node]:
    t = choice.tiles
    return [
        Loop("K", t["m"]), Loop("P", t["e"]), Loop("N", t["n"]), Keep(glb, ("ofmap",)),
        Loop("C", t["q"] * t["r"]), Keep(glb, ("ifmap",)),
        Loop("K", t["p"] * t["t"]),
        Loop("K", t["p"], _AXIS), Loop("C", t["q"], _AXIS), Loop("R", 1, _AXIS), Loop("P", 1, _AXIS),
        Keep(rf, ("weight",)),
        Loop("N", 1), Loop("Q", 1), Keep(rf, ("ifmap", "ofmap")),
        Loop("K", 1), Loop("C", 1), Loop("S", 1),
    ]  # fmt: skip


def _no_local_reuse(choice: Choice, work: ConvWork, glb: str, rf: str) -> list[Node]:
    t = choice.tiles
    return [
        Loop("K", t["m"]), Loop("P", t["e"]), Loop("N", t["n"]), Keep(glb, ("ofmap",)),
        Loop("C", t["c"]), Keep(glb, ("ifmap",)),
        # The weights of all m filters have their place in the buffer, but each block is fetched when its turn comes.
        Loop("K", t["ms"]), Keep(glb, ("weight",)),
        Loop("N", 1), Loop("P", 1), Loop("Q", 1), Loop("R", 1), Loop("S", 1),
        Loop("K", 1, _AXIS), Loop("C", 1, _AXIS),
    ]  # fmt: skip


def _weight_stationary(choice: Choice, work: ConvWork, glb: str, rf: str) -> list[Node]:
    t = choice.tiles
    return [
        Loop("K", t["m"]), Keep(glb, ("ofmap",)),
        # Ifmaps stream through the buffer: the nest keeps an image there, of which no room is charged.
        Loop("C", t["c"]), Loop("N", 1), Keep(glb, ("ifmap",)),
        Loop("K", 1, _AXIS), Loop("C", 1, _AXIS), Loop("R", 1, _AXIS), Loop("S", 1, _AXIS),
        Keep(rf, ("weight",)),
        Keep(LINE, ("ifmap",)), Loop("P", 1), Loop("Q", 1),
    ]  # fmt: skip


def _output_stationary(choice: Choice, work: ConvWork, glb: str, rf: str) -> list[Node]:
    t = choice.tiles
    filters: list[Node] = [Loop("K", t["m"]), Keep(glb, ("weight",))]
    ifmaps: list[Node] = [Loop("N", t["n"]), Loop("P", t["y"]), Loop("Q", t["x"]), Keep(glb, ("ifmap",))]
    patch: list[Node] = [] if choice.dataflow.endswith("C") else [Keep(LINE, ("ifmap",))]
    return [
        *(ifmaps + filters if t["order"] else filters + ifmaps),
        Loop("K", t["ms"]), Loop("N", t["im"]),
        Loop("N", 1, _AXIS), Loop("K", 1, _AXIS), Loop("P", 1, _AXIS), Loop("Q", 1, _AXIS),
        Keep(rf, ("ofmap",)),
        Loop("C", 1), *patch, Loop("R", 1), Loop("S", 1),
    ]  # fmt: skip


_BUILDERS = {
    "row_stationary": _row_stationary,
    "no_local_reuse": _no_local_reuse,
    "weight_stationary": _weight_stationary,
}


def count(choice: Choice, problem: Problem, mapping: Mapping, names: dict[str, str]) -> Counts:
    """Counts of the nest: every tile in the buffer, and every patch of the array, loads its halo again."""
    halo = (names["glb"], LINE)
    try:
        return counts(problem, mapping, Policy(multicast="word", refill=halo))
    except MappingError:  # more neighbors than word multicast can be counted for: the closed form prices the reads
        return counts(problem, mapping, Policy(multicast="tile", refill=halo))


def nest_words(choice: Choice, totals: Counts, names: dict[str, str]) -> dict[Word, int]:
    """The words of a nest that the study charges, by level and tensor; see `study` for its conventions.

    They are those of the closed form, but where loops have one step: when they come round, the nest finds the tile in
    its place and moves nothing, and the study moves it all the same.
    """
    dram, glb, rf = names["dram"], names["glb"], names["rf"]

    def psums(memory: str) -> int:
        arrivals = totals.of(memory, "ofmap", "update")
        return 2 * (arrivals - totals.of(memory, "ofmap", "drain")) if arrivals else 0

    def sender(tensor: str) -> str:
        """The memory that sends a tensor to the PEs."""
        return glb if (glb, tensor) in totals.used else dram

    words: dict[Word, int] = {("dram", "ofmap"): totals.of(dram, "ofmap", "update")}
    for tensor in ("ifmap", "weight"):
        words["dram", tensor] = totals.of(dram, tensor, "read")
        words["glb", tensor] = totals.of(glb, tensor, "read")
        words["noc", tensor] = totals.of(sender(tensor), tensor, "deliver")
        words["rf", tensor] = totals.of(rf, tensor, "read")
    # Weights that no two PEs share and no PE keeps are free on the network.
    if choice.dataflow == "no_local_reuse":
        words["noc", "weight"] = 0
    # What shifts from PE to PE in a line buffer crosses the network for each MAC.
    if choice.dataflow in ("weight_stationary", "output_stationary_A", "output_stationary_B"):
        words["noc", "ifmap"] = totals.macs
    words["glb", "ofmap"] = psums(glb)
    words["noc", "ofmap"] = totals.of(sender("ofmap"), "ofmap", "reduce")
    words["rf", "ofmap"] = psums(rf)
    return {key: n for key, n in words.items() if n}
