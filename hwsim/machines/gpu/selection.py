"""The kernel that the library selects for a product: tile, time terms, counts and traffic."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil

import numpy as np

from hwsim.machines.gpu.demand import Load
from hwsim.machines.gpu.lower import Phases
from hwsim.machines.gpu.parts import Tile
from hwsim.machines.gpu.tiles import Products
from hwsim.machines.gpu.timing import GemmTiming, Timer, Unit, shared_bytes
from hwsim.machines.gpu.work import TiledProduct, Types
from hwsim.machines.plan import Action

__all__ = ["Selection"]

_PASS = 0.85  # share of the DRAM bandwidth that a kernel which streams reaches
_TERMS = ("mma", "l2", "shared", "step", "dram", "store", "split", "wave")


@dataclass(frozen=True, eq=False)
class Selection:
    """A product, its sizes as arrays of one, the unit that multiplies it, and the kernel with its time."""

    timer: Timer
    work: TiledProduct
    unit: Unit
    products: Products
    gemms: GemmTiming

    @classmethod
    def of(cls, timer: Timer, work: TiledProduct, unit: Unit, types: Types, read: int, slow: float) -> Selection:
        """What the library selects; fused layers `read` in addition, the power cap makes the clock so much `slow`er."""
        one = np.ones(1)
        each = unit.input_bytes(types.a)
        image = work.image * each * 8 / types.a
        a, w, o = work.scale
        products = Products(
            one * work.b, one * work.m, one * work.n, one * work.k, one * image, one * (work.read + read),
            a * each, w * unit.weight_bytes(types.w), o * types.o / 8,
        )  # fmt: skip
        return cls(timer, work, unit, products, timer.products(products, unit, slow))

    @property
    def tile(self) -> Tile:
        """The tile of a threadblock."""
        return self.unit.kernels.tiles[int(self.gemms.timing.best[0])][0]

    @property
    def split(self) -> int:
        """Parts of the inner dimension that are summed apart."""
        return self.unit.kernels.tiles[int(self.gemms.timing.best[0])][1]

    @property
    def tiles(self) -> int:
        """Tiles of the product."""
        return int(self.gemms.timing.tiles[0])

    @property
    def fill(self) -> float:
        """How full the waves are on average."""
        return self.tiles / (int(self.gemms.timing.per_sm[0]) * self.timer.spec.sms)

    @property
    def vector(self) -> bool:
        """Whether the kernel set has a kernel for so few rows."""
        vector = self.unit.menu.vector
        return vector is not None and self.work.m <= vector.rows

    @property
    def name(self) -> str:
        """Tile, step and split, as a user reads them."""
        if self.vector:
            return "vector kernel"
        if self.work.winograd:
            return self.work.algorithm
        name = f"{self.tile.rows}x{self.tile.columns}x{self.unit.menu.step}"
        return name + (f", split {self.split} ways" if self.split > 1 else "")

    @property
    def us(self) -> float:
        """Microseconds of the layer."""
        return float(self.gemms.time[0]) * self.work.times + self.around_us + self.timer.floor * self.work.around

    @property
    def around_us(self) -> float:
        """Microseconds in which kernels around the product move bytes."""
        return self.work.moved / (_PASS * self.timer.dram)

    @property
    def floor(self) -> float:
        """Microseconds of its launches."""
        return self.unit.floor * self.work.times + self.timer.floor * self.work.around

    @cached_property
    def terms(self) -> dict[str, float]:
        """Microseconds of each limit of the kernel."""
        return {name: float(getattr(self.gemms.timing, name)[0]) * self.work.times for name in _TERMS}

    @cached_property
    def words(self) -> dict[str, float]:
        """Microseconds by what a user could give more of; idle SMs of the last wave apart from limits of full ones."""
        if self.vector:
            limits = self.timer.vector_terms(self.products, self.unit)
            own = {name: float(value[0]) * self.work.times for name, value in limits.items()}
            return {"launch": self.floor, "L2": own["L2"], "dram": own["dram"], "issue": own["issue"] + own["steps"]}
        terms, tile = self.terms, self.tile
        core = {"L2": terms["l2"], "shared memory": terms["shared"], "dram": max(terms["dram"], terms["step"])}
        tensor = self.unit.instruction.unit == "tensor"
        inefficient = 64 * (tile.rows + tile.columns) / (tile.rows * tile.columns) > 1.5
        core["tensor" if tensor and not inefficient else "issue"] = terms["mma"]
        limit = max(core, key=lambda word: core[word])
        words = {"launch": self.floor + terms["split"] + terms["wave"], **core}
        if limit in ("tensor", "issue", "shared memory") or core["dram"] == terms["step"]:
            words["wave tail"] = words[limit] * (1 - self.fill)
            words[limit] *= self.fill
        words["dram"] += terms["store"] + self.around_us
        return words

    @cached_property
    def phases(self) -> Phases:
        """Whole ticks that add up to the predicted time."""
        timer, work, timing = self.timer, self.work, self.gemms.timing
        # The mean over good kernels is a little more than the best: every phase is stretched alike, the launch is not.
        floor = self.unit.floor * work.times
        best = float(timing.best_time[0]) * work.times - floor
        stretch = max(0.0, float(self.gemms.time[0]) * work.times - floor) / max(best, 1e-12)
        terms = {name: value * stretch for name, value in self.terms.items()}
        total = timer.ticks(self.us)
        launch = min(timer.ticks(self.floor), total)
        rest = total - launch
        write = min(timer.ticks(terms["store"] + terms["wave"]), rest)
        reduce = min(timer.ticks(terms["split"]), rest - write)
        multiply = rest - write - reduce
        l2 = min(timer.ticks(terms["l2"]), multiply)
        dram = min(timer.ticks(terms["dram"] + self.around_us), multiply)
        return Phases(launch, multiply, write, reduce, l2, dram, int(timing.waves[0]) * work.times)

    def load(self, ideal: float) -> Load:
        """What the kernel takes of what streams share; of the SMs at the least the microseconds that are `ideal`."""
        timer, c, work, timing = self.timer, self.unit.constants, self.work, self.gemms.timing
        us, fill = self.us - self.floor, 1.0 if self.vector else self.fill
        quantize = 0.0
        if self.unit.menu.quantize is not None:
            quantize = work.times * work.b * work.m * work.k / (self.unit.menu.quantize * timer.spec.sms * timer.clock)
        busy = fill * max(0.0, us - quantize) + quantize
        l2 = float(timing.l2_bytes[0]) / (c.l2_share * 64 * timer.spec.sms * timer.clock)
        # A single stream overlaps the write of the output with the next kernel; concurrent streams wait for it.
        output_bytes = work.b * work.m * work.n * self.products.bytes_o
        dram = float(timing.dram[0]) + output_bytes / (c.dram_share * timer.dram)
        amounts = timer.amounts(self.products, self.unit, timing)
        around = {"dram": work.moved / work.times, "l2": work.moved / work.times}
        shares = tuple((name, float(amount[0]) + around.get(name, 0.0)) for name, amount in amounts.items())
        sms, l2 = min(us, max(busy, ideal)), min(us, l2 * work.times)
        us, slow, once = self.us / work.times, float(self.gemms.slowdown[0]), self.unit.menu.once
        return Load(self.phases, sms, l2, dram * work.times, us, shares, slow, once)

    def executed(self, macs: int) -> int:
        """MACs that are done for those of the layer: Winograd has fewer, and 2:4 weights."""
        work = self.work
        return min(macs, work.b * work.m * work.n * work.k) if work.winograd else round(macs * self.unit.executed)

    def counts(self, macs: int) -> dict[Action, int]:
        """MACs of the layer, instructions with their padding, and bytes at each level."""
        p, unit, work, tile, split = self.products, self.unit, self.work, self.tile, self.split
        times, step, timing = work.times, unit.menu.step, self.gemms.timing
        ks = max(ceil(ceil(work.k / split) / step), 1 + (split > 1)) * step
        run = self.executed(macs)
        one = unit.shape
        mma_count = self.tiles * -(-tile.rows // one[0]) * -(-tile.columns // one[1]) * -(-ks // one[2]) * times
        grid = -(-work.m // tile.rows), -(-work.n // tile.columns)
        # Rows outside the product are not fetched.
        rows = round(work.b * split * grid[1] * work.m * ks * p.bytes_a) * times
        columns = round(work.b * split * grid[0] * work.n * ks * p.bytes_w) * times
        out = round(work.b * work.m * work.n * p.bytes_o) * times
        sums = 4 * (split + 1) * work.b * work.m * work.n * times if split > 1 else 0
        dram, output_bytes = int(timing.dram_bytes[0]), int(timing.dram_written[0])
        read_bytes = (dram - output_bytes) * times + work.moved // 2
        weights = min(read_bytes, round(work.b * work.n * work.k * p.bytes_w) * times)
        counts: dict[Action, int] = {
            ("mac", "", unit.math): run,
            ("mac", "", "skipped"): macs - run,
            ("instruction", "", unit.name): ceil(mma_count * unit.issued),
            ("shared", "operands", "read"): round(macs * shared_bytes(p, unit)),
            ("shared", "ifmap", "fill"): rows,
            ("shared", "weight", "fill"): columns,
            ("l2", "ifmap", "read"): rows,
            ("l2", "weight", "read"): columns,
            ("l2", "psum", "move"): sums,
            ("l2", "ofmap", "write"): out + work.moved,
            ("dram", "ifmap", "read"): read_bytes - weights,
            ("dram", "weight", "read"): weights,
            ("dram", "ofmap", "write"): output_bytes * times + work.moved - work.moved // 2,
        }
        return {key: n for key, n in counts.items() if n}
