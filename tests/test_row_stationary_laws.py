"""Laws 5, 10 and 11 of a row-stationary chip whose mappings minimize latency, energy or their product."""

import random
from dataclasses import replace
from functools import cache

import pytest

import hwsim
from hwsim.machines.pe_array.row_stationary import limits_of
from hwsim.machines.pe_array.rs_cost import OBJECTIVES, choose_cheapest, cost_of, rates_of
from hwsim.machines.pe_array.rs_mapper import RsMapping, bands, choose, ragged, strips
from hwsim.machines.pe_array.work import ConvWork, as_conv
from hwsim.validation.nests import validate_layers
from hwsim.workload.coding import Coding

SIZES = (*range(1, 18), 31, 32, 33, 55, 62, 63, 64, 65, 96, 127, 128, 129, 174, 175, 224, 225, 241, 255, 256, 257)
INT16 = {"input": "int16", "weight": "int16", "output": "int16"}


@cache
def chip(objective: str, *changes: tuple[str, object]) -> hwsim.Machine:
    return hwsim.load_machine("eyeriss_v1", set={"mapper.objective": objective, **dict(changes)})


def conv(**sizes: int) -> hwsim.Conv2d:
    sizes = {"c": 64, "h": 28, "w": 28, "k": 64, "r": 3, "pad": 1} | sizes
    return hwsim.Conv2d("conv", **sizes, **INT16)


def gemm(**sizes: int) -> hwsim.Gemm:
    return hwsim.Gemm("gemm", **({"m": 4, "n": 96, "k": 96} | sizes), **INT16)


def cost(machine: hwsim.Machine, layer: hwsim.Layer, batch: int = 1) -> dict[str, float]:
    """Seconds, pJ and their product, as a report has them."""
    summary = hwsim.simulate(machine, hwsim.Workload("one", [layer]), batch=batch).summary
    latency, energy = summary.latency_s, summary.energy_pj
    return {"latency": latency, "energy": energy, "edp": latency * energy}


def rising(values: list[float]) -> None:
    """No value is above a later one."""
    least = float("inf")
    for index, value in reversed(list(enumerate(values))):
        assert value <= least * (1 + 1e-9), f"value {index} of {len(values)} is {value / least:.5f} times a later one"
        least = min(least, value)


AXES = {
    "filters": lambda size: (conv(k=size, c=31), 1),
    "filters 1x1": lambda size: (conv(k=size, r=1, pad=0), 1),
    "channels": lambda size: (conv(c=size, k=62), 1),
    "batch": lambda size: (conv(c=17, h=9, w=9, k=31), size),
    "rows": lambda size: (conv(c=7, h=size, k=31).with_density(input=0.5, output=0.5), 1),
    "rows of a stride": lambda size: (conv(c=7, h=size, stride=2, k=31), 3),
    "gemm m": lambda size: (gemm(m=size), 1),
    "gemm n": lambda size: (gemm(n=size), 1),
    "gemm k": lambda size: (gemm(k=size), 1),
    "vector k": lambda size: (gemm(k=size, m=1), 1),
    "depthwise": lambda size: (conv(c=size, k=size, groups=size, h=9, w=9), 1),
}


@pytest.mark.slow
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("axis", AXES)
def test_a_larger_layer_never_costs_less(axis: str, objective: str) -> None:
    """A tile of the larger layer, cut to the smaller one, is one of its tiles."""
    sizes = [size for size in SIZES if axis not in ("rows", "rows of a stride") or size <= 129]
    rising([cost(chip(objective), *AXES[axis](size))[objective] for size in sizes])


@pytest.mark.slow
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("array.rows", [3, 5, 7, 11, 12, 13, 16, 31]),
        ("array.cols", [1, 5, 13, 14, 15, 20, 27, 64]),
        ("memories.glb.size", ["52 KiB", "60 KiB", "64 KiB", "76 KiB", "100 KiB", "128 KiB", "152 KiB", "400 KiB"]),
        ("memories.glb.ports.ofmap", ["1 words/cycle", "3 words/cycle", "4 words/cycle", "31 words/cycle"]),
        ("memories.glb.ports.ifmap", ["1 words/cycle", "3 words/cycle", "4 words/cycle", "31 words/cycle"]),
        ("memories.filter_buffer.size", ["4 KiB", "7 KiB", "8 KiB", "31 KiB"]),
        ("memories.filter_buffer.ports.weight", ["1 words/cycle", "3 words/cycle", "4 words/cycle", "31 words/cycle"]),
        ("memories.weight_spad.size", ["64 B", "100 B", "448 B", "1 KiB"]),
        ("memories.ifmap_spad.size", ["6 B", "14 B", "24 B", "64 B"]),
        ("memories.psum_spad.size", ["2 B", "14 B", "48 B", "256 B"]),
        ("memories.dram.bandwidth", ["1 B/cycle", "3 B/cycle", "8 B/cycle", "31 B/cycle"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_more_hardware_never_costs_more(objective: str, key: str, values: list[object]) -> None:
    """Prices are fixed, so the mapping of less hardware costs no more on more of it."""
    machines = [chip(objective, (key, value)) for value in values]
    layers = ((conv(c=24, h=13, w=13, k=31), 3), (conv(c=16, k=127, r=1, pad=0), 1), (gemm(n=127, k=257), 1))
    for layer, batch in layers:
        rising([cost(machine, layer, batch)[objective] for machine in machines[::-1]])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layer", "batch"),
    [(conv(c=31, k=62), 1), (conv(k=62, r=1, pad=0), 1), (gemm(m=7, n=127, k=257), 1), (gemm(m=1, n=1, k=1), 1)],
    ids=["3x3", "1x1", "gemm", "one"],
)
def test_no_objective_is_beaten_at_its_own(layer: hwsim.Layer, batch: int) -> None:
    """The fewest DRAM words are the rule of the chip's publication; it never beats a search for the cost itself."""
    costs = {objective: cost(chip(objective), layer, batch) for objective in (*OBJECTIVES, "dram")}
    for objective in OBJECTIVES:
        assert costs[objective][objective] <= min(other[objective] for other in costs.values()) * (1 + 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("axis", AXES)
def test_a_margin_bounds_what_the_fewest_words_cost(axis: str) -> None:
    """At most 15 % above the least latency and energy, so that no layer costs 15 % more than a larger one."""
    sizes = [1, 2, 3, 7, 18, 19, 31, 62, 63, 64, 127, 128, 129]
    costs = {objective: [cost(chip(objective), *AXES[axis](size)) for size in sizes] for objective in OBJECTIVES}
    bounded = [cost(chip("dram", ("mapper.margin", 0.15)), *AXES[axis](size)) for size in sizes]
    for objective in ("latency", "energy"):
        for mine, least in zip(bounded, costs[objective], strict=True):
            assert mine[objective] <= 1.15 * least[objective] * (1 + 1e-9)
        for index, mine in enumerate(bounded):
            assert mine[objective] <= 1.15 * min(larger[objective] for larger in bounded[index:]) * (1 + 1e-9)


def test_a_margin_keeps_the_published_mappings() -> None:
    """They take up to 10.5 % longer than the fastest mapping and 7.6 % more energy than the most frugal."""
    for name, batch, layers in (("alexnet", 4, "conv*"), ("vgg16", 3, "conv[134]_[12]")):
        network = hwsim.load_workload(name).select(layers)
        bounded, default = (
            hwsim.simulate(machine, network, batch=batch).rows
            for machine in (chip("dram", ("mapper.margin", 0.15)), chip("dram"))
        )
        assert bounded == default


def test_a_batch_costs_no_more_than_its_inferences() -> None:
    layer = conv(c=17, h=13, w=13, k=31)
    for objective in OBJECTIVES:
        one = cost(chip(objective), layer)
        for batch in (2, 3, 7):
            assert cost(chip(objective), layer, batch)[objective] <= batch * one[objective] * (
                batch if objective == "edp" else 1
            )


FORMS = ("rlc", "csr", "csc", "bitmask", "codebook", "2:4")


@pytest.mark.parametrize("zeros", ["gate", "skip", "compute"])
@pytest.mark.parametrize("halo", ["refill", "slide"])
def test_the_search_ranks_by_what_is_reported(zeros: str, halo: str) -> None:
    """Ticks and joules of a mapping in closed form are those of the engine and of the counted nest; ragged ones too."""
    draw = random.Random(f"{zeros} {halo}")
    for _ in range(12):
        operands = draw.choice(["ifmap", "weight", "both"])
        changes = {"array.zeros": zeros, "array.zero_operands": operands, "mapper.halo": halo}
        ranks_by_what_is_reported(changes, draw, "latency", {})


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("tensor", ["input", "weight", "output"])
def test_the_search_ranks_by_the_bytes_of_a_format(form: str, tensor: str) -> None:
    """Bytes that are not in proportion to rows: of the network's own formats, and of those that the chip writes."""
    draw, name = random.Random(f"{form} {tensor}"), {"input": "ifmap", "weight": "weight", "output": "ofmap"}[tensor]
    stored: dict[str, object] = {"format": form, **({"pattern": "2:4", "density": 0.5} if form == "2:4" else {})}
    keys: list[dict[str, object]] = [{"memories.dram.compress": {}, "memories.dram.formats": {name: [form]}}]
    if form not in ("codebook", "2:4"):
        keys.append({"memories.dram.compress": {name: form}})
    if form == "csc":
        stored["coding"] = Coding(run_bits=4)
    for changes in keys:
        for objective in OBJECTIVES:
            for _ in range(3):
                ranks_by_what_is_reported(changes, draw, objective, {tensor: stored})


def ranks_by_what_is_reported(
    changes: dict[str, object], draw: random.Random, objective: str, tensors: dict[str, dict[str, object]]
) -> None:
    """A layer that is drawn, with these tensors, in the cheapest mapping and in the one with the fewest DRAM words."""
    machine, default = (
        hwsim.load_machine("eyeriss_v1", set=changes | {"mapper.objective": name, "mapper.margin": None})
        for name in (objective, "dram")
    )
    r = draw.choice([1, 2, 3, 5])
    size = {name: draw.randint(r, 33) for name in "hw"} | {name: draw.randint(1, 67) for name in "ck"}
    layer: hwsim.Layer = conv(**size, r=r, stride=draw.choice([1, 2]), pad=draw.choice([0, r // 2]))
    if draw.random() < 0.3:
        layer = gemm(m=draw.randint(1, 9), n=draw.randint(1, 257), k=draw.randint(1, 257))
    densities = {name: draw.choice([1.0, 0.3, 0.07]) for name in ("input", "weight", "output")}
    layer, batch = layer.with_density(**densities).with_tensors(**tensors), draw.choice([1, 1, 3, 7])
    work = as_conv(layer, batch)
    assert work is not None
    limits, names = limits_of(machine.array, 16)
    rates = rates_of(machine.array, layer, work, limits, names)
    cheapest, fewest = choose_cheapest(work, limits, rates, objective), choose(work, limits)
    for mapping, array in ((cheapest, machine), (fewest, default)):
        assert mapping is not None
        ticks, energy = cost_of(work, limits, rates, mapping)
        report = hwsim.simulate(array, hwsim.Workload("one", [layer]), batch=batch)
        assert report.rows[0]["mapping"] == mapping.text()
        assert report.results[0].timeline.end == ticks
        assert report.summary.energy_pj == pytest.approx(energy, rel=1e-12)
    # The bytes that a word takes at the least only leave out groups that cannot win.
    if objective == "energy":
        loose = replace(rates, codes=tuple((*code[:-1], 0.0) for code in rates.codes))
        assert choose_cheapest(work, limits, loose, objective) == cheapest


@pytest.mark.parametrize(("h", "pad", "stride"), [(13, 1, 1), (31, 3, 2), (7, 0, 1), (5, 2, 1), (1, 1, 1), (17, 0, 3)])
def test_strips_meet_the_padding_at_the_edges(h: int, pad: int, stride: int) -> None:
    """Row by row: the rows of a strip that lie in the image, of each strip from the top."""
    work = as_conv(conv(h=h, w=9, pad=pad, stride=stride), 1)
    assert work is not None
    for e in range(1, work.p + 1):
        walked: dict[tuple[int, int], int] = {}
        top = -pad
        for height, number in strips(work.p, e):
            for _ in range(number):
                under = {top + i * stride + j for i in range(height) for j in range(3)}
                covered = range(min(under), max(under) + 1)
                inside = max(1, sum(0 <= row < h for row in covered))
                walked[height, inside] = walked.get((height, inside), 0) + 1
                top += height * stride
        assert bands(work, e) == walked


def test_a_chip_of_passes_runs_them_for_any_objective() -> None:
    """The rules of the publication set the model; without them, an objective other than DRAM words searches all nests."""
    layer = conv(k=31)
    for objective in (*OBJECTIVES, "dram"):
        assert chip(objective).plan(hwsim.Workload("one", [layer]))["conv"].algorithm == "row stationary"
    assert chip("latency", ("mapper.rules", None)).array.planner == "search"  # type: ignore[attr-defined]


@pytest.mark.parametrize("objective", [*OBJECTIVES, "dram"])
def test_ragged_passes_compute_the_layer(objective: str) -> None:
    """Executed on real words: outputs are those of the convolution, every count is measured; all groups leave a rest."""
    layers = [
        conv(c=13, h=17, w=11, k=31, r=3, stride=2),
        conv(c=7, h=9, w=15, k=67, r=5, pad=2),
        conv(c=29, h=13, w=5, k=62, r=1, pad=0),
        gemm(m=7, n=127, k=67),
        gemm(m=1, n=31, k=127),
    ]
    network = hwsim.Workload("ragged", [layer.named(f"layer{i}") for i, layer in enumerate(layers)])
    for batch in (1, 3):
        for check in validate_layers(chip(objective).plan(network, batch=batch)):
            assert check.passed, check.difference
            assert not check.skipped


def test_a_swap_keeps_the_sets_of_a_strip() -> None:
    """A short strip with channels in place of filters uses as many PEs."""
    work = as_conv(conv(h=29, k=64, c=64), 1)
    assert work is not None
    mapping = RsMapping(1, 64, 14, 16, 1, 1, 4, 28, swaps=1)
    short = ragged(work, mapping, 1, 2048)
    assert (short.r, short.t) == (2, 2)
    assert ragged(work, mapping, 14, 2048) == mapping
    assert ragged(work, replace(mapping, swaps=None), 1, 2048).t == 1


def test_strips_of_padding_alone_take_no_time_to_count() -> None:
    """An image of 16 rows below 2^31 rows of padding, a filter of 3 rows, strips of 4 outputs that see 6 rows."""
    work = ConvWork(1, 1, 1, 1, 2**31 + 14, 16, 3, 3, (1, 1), (1, 1), 2**31 + 16, 18, 2**31, 16, 16)
    parts = bands(work, 4)
    assert sum(height * number for (height, _), number in parts.items()) == work.p
    assert parts[4, 6] == 3
    assert parts[4, 1] == 2**29 - 1
