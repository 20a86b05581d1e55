"""The closed form against a plain walk of the nest that moves every word, one by one, and adds up real partial sums."""

from __future__ import annotations

from collections import Counter as Bag
from collections.abc import Iterator
from itertools import pairwise, product

import pytest
from hypothesis import given, settings, strategies as st

from hwsim.mapping import Keep, Loop, Mapping, Operand, Policy, Problem, conv_problem, counts, gemm_problem

Index = tuple[int, ...]
Word = tuple[int, ...]


class Walk:
    """One nest, walked step by step with a set of words for every buffer."""

    def __init__(self, problem: Problem, mapping: Mapping, policy: Policy) -> None:
        self.problem, self.loops, self.policy = problem, mapping.loops, policy
        self.got: Bag[tuple[str, str, str]] = Bag()
        for operand in problem.operands:
            keeps = list(mapping.keeps(operand.name))
            if operand.output:
                self.outputs(operand, keeps)
            else:
                for (parent, above), (child, below) in pairwise(keeps):
                    self.inputs(operand, parent, above, child, below)
                self.inputs(operand, *keeps[-1], None, len(self.loops))

    def steps(self, below: int) -> Iterator[Index]:
        """Temporal indices (0 for spatial loops) of the first `below` loops; loops run as often as in instance 0."""

        def run(at: int, size: dict[str, int]) -> Iterator[Index]:
            if at == below:
                yield ()
                return
            loop = self.loops[at]
            whole = size[loop.dim]
            for i in range(1 if loop.spatial else -(-whole // loop.tile)):
                for rest in run(at + 1, {**size, loop.dim: min(loop.tile, whole - i * loop.tile)}):
                    yield (i, *rest)

        return run(0, dict(self.problem.dims))

    def instances(self, below: int) -> list[Index]:
        """Indices of all instances (0 for temporal loops) that the first `below` loops ever make."""
        size = dict(self.problem.dims)
        ranges = []
        for loop in self.loops[:below]:
            ranges.append(range(-(-size[loop.dim] // loop.tile)) if loop.spatial else range(1))
            size[loop.dim] = loop.tile
        return list(product(*ranges))

    def box(self, step: Index, instance: Index) -> dict[str, range] | None:
        """Iterations of each dim below the loops of `step`, None if idle."""
        box = {dim: range(size) for dim, size in self.problem.dims.items()}
        for loop, i, k in zip(self.loops, step, instance, strict=False):
            old = box[loop.dim]
            box[loop.dim] = old[(i + k) * loop.tile : (i + k + 1) * loop.tile]
            if not box[loop.dim]:
                return None
        return box

    def tile(self, operand: Operand, step: Index, instance: Index) -> frozenset[Word] | None:
        """Words of the tensor that an instance needs, None if it is idle."""
        box = self.box(step, instance)
        if box is None:
            return None
        axes = [{sum(x) for x in product(*[[c * i for i in box[dim]] for dim, c in axis])} for axis in operand.axes]
        return frozenset(product(*axes))

    def shows(self, operand: Operand, loop: int) -> bool:
        return self.loops[loop].dim in operand.dims

    def inputs(self, operand: Operand, parent: str, above: int, child: str | None, below: int) -> None:
        before: Index | None = None
        old: dict[Index, frozenset[Word] | None] = {}
        instances = self.instances(below)
        name = operand.name
        reuse = "refill" if child in self.policy.refill else self.policy.reuse
        for step in self.steps(below):
            moved = range(below) if before is None else [i for i in range(below) if step[i] != before[i]]
            now = {instance: self.tile(operand, step, instance) for instance in instances}
            new: dict[Index, frozenset[Word]] = {}
            for instance, words in now.items():
                if words is None:
                    continue
                had = old.get(instance) or frozenset()
                if child is None or before is None:
                    new[instance] = words
                elif not any(self.shows(operand, i) for i in moved):
                    continue
                elif reuse == "keep" or (reuse == "slide" and len(moved) == 1):
                    new[instance] = words - had
                else:
                    new[instance] = words
            groups: dict[Index, set[Word]] = {}
            for instance, words in new.items():
                self.got[parent, name, "deliver"] += len(words)
                if child is not None:
                    self.got[child, name, "fill"] += len(words)
                if self.policy.multicast == "none":
                    key = instance
                elif self.policy.multicast == "tile":
                    key = tuple(k if i < above or self.shows(operand, i) else 0 for i, k in enumerate(instance))
                else:
                    key = instance[:above]
                groups.setdefault(key, set()).update(words)
            self.got[parent, name, "read"] += sum(map(len, groups.values()))
            before, old = step, now

    def outputs(self, operand: Operand, keeps: list[tuple[str, int]]) -> None:
        """Every level holds real partial sums; what is not there yet has never been accumulated."""
        name, n = operand.name, len(self.loops)
        above = [position for _, position in keeps]
        levels = range(len(keeps))
        held: list[dict[Index, dict[Word, int | None]]] = [{} for _ in levels]
        held[0][()] = dict.fromkeys(product(*[range(self.problem.dims[axis[0][0]]) for axis in operand.axes]))
        instances = [self.instances(position) for position in above]
        got = self.got

        def leads(instance: Index, level_above: int) -> bool:
            return not any(k for i, k in enumerate(instance) if i >= level_above and not self.shows(operand, i))

        def receive(level: int, sums: dict[Index, dict[Word, int | None]]) -> None:
            """Children (instance to words) hand their sums to the memory of `level`."""
            memory, position = keeps[level]
            groups: dict[tuple[Index, Word], list[tuple[bool, int]]] = {}
            for instance, words in sums.items():
                for word, value in words.items():
                    assert value is not None, "a tile is drained without a MAC in it"
                    groups.setdefault((instance[:position], word), []).append((leads(instance, position), value))
            for (home, word), values in groups.items():
                assert sum(leader for leader, _ in values) == 1
                held[level][home][word] = sum(value for _, value in values)
                extra = len(values) - 1
                if self.policy.reduction == "tree":
                    got[memory, name, "reduce"] += extra
                    got[memory, name, "update"] += 1
                else:
                    got[memory, name, "update"] += 1 + extra
                    got[memory, name, "read"] += extra

        def drain(level: int) -> None:
            got[keeps[level][0], name, "drain"] += sum(map(len, held[level].values()))
            receive(level - 1, held[level])
            held[level] = {}

        before: Index | None = None
        for step in self.steps(n):
            changed = [
                before is None or any(step[i] != before[i] and self.shows(operand, i) for i in range(above[level]))
                for level in levels
            ]
            for level in reversed(levels[1:]):
                if changed[level] and before is not None:
                    drain(level)
            for level in levels[1:]:
                for instance in instances[level]:
                    words = self.tile(operand, step[: above[level]], instance)
                    if words is None:
                        continue
                    if not changed[level]:
                        assert instance in held[level], "an instance wakes up in the middle of a visit"
                        continue
                    home = held[level - 1][instance[: above[level - 1]]]
                    mine: dict[Word, int | None] = {}
                    for word in words:
                        fills = leads(instance, above[level - 1]) and home[word] is not None
                        mine[word] = home[word] if fills else None
                        got[keeps[level][0], name, "fill"] += fills
                        got[keeps[level - 1][0], name, "read"] += fills
                    held[level][instance] = mine
            sums: dict[Index, dict[Word, int | None]] = {}
            for instance in self.instances(n):
                words = self.tile(operand, step, instance)
                if words is not None:
                    (word,) = words
                    value = held[-1][instance[: above[-1]]][word]
                    reads = leads(instance, above[-1]) and value is not None
                    got[keeps[-1][0], name, "read"] += reads
                    sums[instance] = {word: 1 + (value if reads and value is not None else 0)}
            receive(len(keeps) - 1, sums)
            before = step
        for level in reversed(levels[1:]):
            drain(level)
        for value in held[0][()].values():
            assert value == self.problem.macs // self.problem.words(name), "the nest does not compute its output"


def check(problem: Problem, mapping: Mapping, policy: Policy) -> None:
    walk = Walk(problem, mapping, policy)
    result = counts(problem, mapping, policy)
    assert result.macs == problem.macs
    assert result.cycles == sum(1 for _ in walk.steps(len(mapping.loops)))
    first = next(walk.steps(len(mapping.loops)))
    assert result.instances == sum(walk.box(first, i) is not None for i in walk.instances(len(mapping.loops)))
    assert {key: n for key, n in result.actions.items() if n} == {key: n for key, n in walk.got.items() if n}
    for (memory, tensor), n in result.used.items():
        above = dict(mapping.keeps(tensor))[memory]
        assert n == sum(walk.box(first[:above], i) is not None for i in walk.instances(above))


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    small = st.integers(1, 5)
    if draw(st.booleans()):
        return gemm_problem(draw(st.integers(1, 7)), draw(st.integers(1, 7)), draw(st.integers(1, 7)))
    window = st.sampled_from([1, 2, 3])
    big = draw(st.sampled_from(["rows", "cols", "channels"]))
    one = st.integers(1, 2)
    return conv_problem(
        n=draw(one) if big == "channels" else 1,
        g=draw(one) if big == "channels" else 1,
        k=draw(small if big == "channels" else one),
        c=draw(small if big == "channels" else one),
        p=draw(st.integers(1, 9)) if big == "rows" else draw(one),
        q=draw(st.integers(1, 9)) if big == "cols" else draw(one),
        r=draw(st.integers(1, 4)) if big == "rows" else draw(one),
        s=draw(st.integers(1, 4)) if big == "cols" else draw(one),
        stride=(draw(window), draw(window)),
        dilation=(draw(window), draw(window)),
    )


@st.composite
def nests(draw: st.DrawFn, problem: Problem) -> Mapping:
    chains = {}
    for dim, size in problem.dims.items():
        chain: list[int] = []
        while size > 1 and len(chain) < 3:
            size = draw(st.integers(1, size))
            chain.append(size)
        if size > 1:
            chain.append(1)
        chains[dim] = chain
    order = draw(st.permutations([dim for dim, chain in chains.items() for _ in chain]))
    loops = []
    for dim in order:
        spatial = draw(st.sampled_from([None, None, "rows", "cols"]))
        loops.append(Loop(dim, chains[dim].pop(0), spatial))
    at: dict[int, list[Keep]] = {}
    position = dict.fromkeys(problem.tensors, 0)
    for memory in ("glb", "buffer", "spad"):
        places: dict[int, list[str]] = {}
        for tensor in problem.tensors:
            if draw(st.booleans()):
                position[tensor] = draw(st.integers(position[tensor], len(loops)))
                places.setdefault(position[tensor], []).append(tensor)
        for place, tensors in places.items():
            at.setdefault(place, []).append(Keep(memory, tuple(tensors)))
    nodes: list[Loop | Keep] = [Keep("dram", problem.tensors)]
    for i in range(len(loops) + 1):
        nodes.extend(at.get(i, []))
        nodes.extend(loops[i : i + 1])
    return Mapping(tuple(nodes))


policies = st.builds(
    Policy,
    reuse=st.sampled_from(["slide", "keep", "refill"]),
    multicast=st.sampled_from(["word", "tile", "none"]),
    reduction=st.sampled_from(["tree", "none"]),
    refill=st.sampled_from([(), ("spad",), ("glb", "buffer")]),
)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.data())
def test_counts_equal_a_walk_of_the_nest(data: st.DataObject) -> None:
    problem = data.draw(problems())
    mapping = data.draw(nests(problem))
    check(problem, mapping, data.draw(policies))


@pytest.mark.slow
@pytest.mark.parametrize("multicast", ["word", "tile", "none"])
@pytest.mark.parametrize("reuse", ["slide", "keep", "refill"])
@pytest.mark.parametrize(
    "lines",
    [
        # 13 rows of output on 14-wide hardware cut as 5, 5, 3; filter rows down, diagonals shared (row stationary)
        ["for P by 5", "glb keeps ifmap, ofmap", "for Q by 1", "spatial R by 1 on rows", "spatial P by 1 on cols",
         "spad keeps ifmap, weight, ofmap", "for C by 1", "for S by 1", "for K by 1"],
        # a temporal loop inside a spatial one of the same sliding dim, ragged inside ragged
        ["spatial P by 5 on rows", "for P by 2", "for R by 2", "glb keeps ifmap", "spatial P by 1 on cols",
         "for Q by 2", "for R by 1", "spad keeps ifmap, ofmap", "for C by 1", "for Q by 1", "for S by 1", "for K by 1"],
        # idle instances in a dim that the ifmap does not have
        ["for C by 1", "for K by 2", "for Q by 1", "spatial K by 1 on rows", "spad keeps ifmap", "for P by 1",
         "for R by 1", "for S by 1"],
    ],
)  # fmt: skip
def test_sliding_windows(lines: list[str], reuse: str, multicast: str) -> None:
    problem = conv_problem(k=3, c=2, p=13, q=3, r=3, s=2, stride=(2, 1))
    mapping = Mapping.parse(["dram keeps ifmap, weight, ofmap", *lines])
    check(problem, mapping, Policy(reuse, multicast))
