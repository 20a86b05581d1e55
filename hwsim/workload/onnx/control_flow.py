"""Control flow of ONNX, in line: the branch of an If that runs, and the trips of a Loop or a Scan one after the other.

The bodies' operators take the place of the operator that runs them, while shapes are inferred: conditions and trip
counts are often computed from shapes. Where a condition depends on values, the costlier branch is taken; where a trip
count does, one trip.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from hwsim.errors import InputError
from hwsim.message import Message
from hwsim.workload.onnx.canonical import Op
from hwsim.workload.onnx.constant_values import ConstantValues
from hwsim.workload.onnx.graph import Tensor
from hwsim.workload.onnx.lowering import FREE
from hwsim.workload.onnx.records import MAX_OPERATORS, Operator, Subgraph, ValueInfo, text

__all__ = ["BRANCH", "INLINED", "START", "ControlFlow"]

#: Operators that run a body.
INLINED = ("If", "Loop", "Scan")

#: Operators that loops stand for, at most, and as many that compute nothing; a loop of more has one trip.
MAX_UNROLLED = 8000
#: A row for the stored weights of a branch that does not run.
BRANCH = "Branch"
#: A row for the first state of a loop, if that is constant: no trip is computed before the network runs.
START = "Start"
_MULTIPLYING = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum", "LSTM", "GRU", "RNN")


class Inference(Protocol):
    """The shape inference that control flow is part of."""

    ops: list[Op]
    tensors: dict[str, Tensor]
    unknown: dict[str, str]
    value_info: dict[str, ValueInfo]
    warnings: list[Message]
    values: ConstantValues

    def take(self, operator: Operator) -> None:
        """Infer the outputs of an operator and add it to `ops`."""


class ControlFlow:
    """Puts bodies in line; `count` is the index of the next operator."""

    def __init__(self, inference: Inference, count: int) -> None:
        self.inference = inference
        self.count = count
        self.bodies = 0
        self.unrolled = self.idle = 0
        #: Operators of trips that would be too many to count, at least, by the loop.
        self.uncounted: dict[str, int] = {}
        #: Constants of branches that do not run, by identity.
        self.idle_arrays: set[int] = set()
        #: Constants that an operator of a body writes, by the operator and what it reads: once for all trips.
        self.constant_results: dict[tuple[int, tuple[str, ...]], list[str]] = {}

    def expand(self, operator: Operator) -> bool:
        """Take the operators of an If, a Loop or a Scan; False if it is none, or has another form."""
        expand = {"If": self.branch, "Loop": self.loop, "Scan": self.scan}.get(operator.code)
        return expand is not None and expand(operator)

    # An If

    def branch(self, operator: Operator) -> bool:
        then, other = (operator.options.get(key) for key in ("then_branch", "else_branch"))
        bodies = [body for body in (then, other) if isinstance(body, Subgraph)]
        if len(bodies) != 2 or any(len(body.outputs) != len(operator.outputs) for body in bodies):
            return False
        condition = self.truth(operator.inputs[0])
        if condition is not None:
            self.alias(operator, self.instance(operator, bodies[not condition], {}), operator.outputs)
            return True
        inference, before = self.inference, self.inference.ops
        trials: list[tuple[list[Op], list[Message], list[str]]] = []
        fault: InputError | None = None
        warnings = inference.warnings
        for body in bodies:
            inference.ops, inference.warnings = [], []
            try:
                outputs = self.instance(operator, body, {})
                trials.append((inference.ops, inference.warnings, outputs))
            except InputError as error:
                fault = error
        inference.ops, inference.warnings = before, warnings
        if not trials:
            assert fault is not None
            raise fault
        trials.sort(key=lambda trial: self.macs(trial[0]))
        ops, added, outputs = trials[-1]
        before += ops
        warnings += added
        template = "{operator}: which branch runs depends on values; the costlier one is counted"
        warnings.append(Message("import.branch", template, {"operator": str(operator)}, "warning"))
        self.alias(operator, outputs, operator.outputs)
        if len(trials) == 2:
            self.store(operator, trials[0][0])
        return True

    def store(self, operator: Operator, idle: Sequence[Op]) -> None:
        """Add a row for the matrices of the file that the branch that does not run reads: once for all trips."""
        constants = self.inference.values.constants
        computed = {name for op in idle for name in op.outputs}
        computed.update(name for names in self.constant_results.values() for name in names)
        names: list[str] = []
        for name in (name for op in idle for name in op.inputs if name in constants and name not in computed):
            stored = constants[name].stored
            if len(stored.shape) > 1 and id(stored) not in self.idle_arrays:
                self.idle_arrays.add(id(stored))
                names.append(name)
        if names and operator.inputs[0] not in self.inference.unknown:
            out = self.name(operator, "other")
            self.inference.tensors[out] = Tensor(out, "bool", (1,))
            inputs = [operator.inputs[0], *names]
            self.inference.ops.append(
                Op(self.index(), BRANCH, BRANCH, f"{operator.name}/other", inputs, [out], {}, operator.proto)
            )

    def macs(self, ops: Iterable[Op]) -> tuple[int, int]:
        """About the multiply-accumulates of operators, and the values that they write."""
        inference = self.inference
        macs = values = 0
        for op in ops:
            shapes = [inference.tensors[name].shape or () for name in op.inputs if name in inference.tensors]
            outs = [inference.tensors[name].elements for name in op.outputs if name in inference.tensors]
            values += sum(outs)
            if not outs or len(shapes) < 2 or not shapes[0] or op.code.rpartition(".")[2] not in _MULTIPLYING:
                continue
            if op.code == "Conv":
                macs += outs[0] * math.prod(shapes[1][1:])
            elif op.code == "ConvTranspose":
                macs += math.prod(shapes[0]) * math.prod(shapes[1][1:])
            elif op.code in ("LSTM", "GRU", "RNN"):
                macs += math.prod(shapes[0][:2]) * sum(math.prod(shape) for shape in shapes[1:3])
            else:
                macs += outs[0] * shapes[0][-2 if op.options.get("transA") else -1]
        return macs, values

    # Loops

    def loop(self, operator: Operator) -> bool:
        body, inputs = operator.options.get("body"), operator.inputs
        if not isinstance(body, Subgraph) or len(inputs) < 2 or len(body.inputs) != len(inputs):
            return False
        carried = len(inputs) - 2
        if len(body.outputs) != 1 + len(operator.outputs) or len(operator.outputs) < carried:
            return False
        most = self.whole(inputs[0]) if inputs[0] else None
        condition = self.truth(inputs[1]) if inputs[1] else True
        state = self.start(operator, body, inputs[2:], zip(body.inputs[2:], body.outputs[1:]))
        stacks: list[list[str]] = [[] for _ in operator.outputs[carried:]]
        known = condition is not None and (most is not None or not inputs[0])
        trips = 0
        while condition is not False and (most is None or trips < most):
            step = self.name(operator, f"trip {trips}")
            self.inference.values.learn(step, np.asarray(trips, np.int64))
            flag = self.name(operator, f"condition {trips}")
            self.inference.values.learn(flag, np.asarray(True))
            first = len(self.inference.ops)
            results = self.instance(operator, body, dict(zip(body.inputs, (step, flag, *state))), trips)
            state = results[1 : 1 + carried]
            for stack, name in zip(stacks, results[1 + carried :]):
                stack.append(name)
            trips += 1
            condition = self.truth(results[0])
            known = known and condition is not None
            size, room = self.room(first, 1 if most is None else most - trips)
            if not known or not room:
                if known and condition and trips != most and size:
                    self.uncounted[str(operator)] = size * (1 if most is None else most - trips)
                    known = False
                break
        self.finish(operator, trips, most, known)
        self.alias(operator, state, operator.outputs[:carried])
        for stack, out in zip(stacks, operator.outputs[carried:]):
            self.stack(operator, stack, out, 0, most if str(operator) in self.uncounted else None)
        return True

    def scan(self, operator: Operator) -> bool:
        body, count = operator.options.get("body"), int(operator.options.get("num_scan_inputs", 0))
        carried = len(operator.inputs) - count
        if not isinstance(body, Subgraph) or carried < 0 or len(body.inputs) != len(operator.inputs) or count < 1:
            return False
        if len(body.outputs) != len(operator.outputs) or len(operator.outputs) < carried:
            return False
        tensors, scanned = self.inference.tensors, operator.inputs[carried:]
        if any(name not in tensors for name in scanned):
            return False
        axes = _integers(operator, "scan_input_axes", count)
        shapes = [tensors[name].shape or () for name in scanned]
        if any(not -len(shape) <= axis < len(shape) for axis, shape in zip(axes, shapes)):
            return False
        lengths = {shape[axis] for axis, shape in zip(axes, shapes)}
        if len(lengths) != 1:
            return False
        most = lengths.pop()
        state, trips = self.start(operator, body, operator.inputs[:carried], zip(body.inputs, body.outputs)), 0
        stacks: list[list[str]] = [[] for _ in operator.outputs[carried:]]
        known = True
        while trips < most:
            first = len(self.inference.ops)
            index = self.name(operator, f"trip {trips}")
            self.inference.values.learn(index, np.asarray(trips, np.int64))
            parts = []
            for name, axis in zip(scanned, axes):
                parts.append(self.name(operator, f"{name} {trips}"))
                self.add("Gather", [name, index], parts[-1], axis=axis)
            results = self.instance(operator, body, dict(zip(body.inputs, (*state, *parts))), trips)
            state = results[:carried]
            for stack, name in zip(stacks, results[carried:]):
                stack.append(name)
            trips += 1
            size, room = self.room(first, most - trips)
            if not room:
                known = trips == most
                self.uncounted |= {} if known or not size else {str(operator): size * (most - trips)}
                break
        self.finish(operator, trips, most, known)
        self.alias(operator, state, operator.outputs[:carried])
        outputs = _integers(operator, "scan_output_axes", len(stacks))
        for stack, out, axis in zip(stacks, operator.outputs[carried:], outputs):
            self.stack(operator, stack, out, axis, most)
        return True

    def start(
        self, operator: Operator, body: Subgraph, names: Sequence[str], states: Iterable[tuple[str, str]]
    ) -> list[str]:
        """The first states of a loop, whose names in its body and after a trip are `states`.

        Constant real ones that a trip changes become tensors, so that the products of the first trip count.
        """
        tensors, constants = self.inference.tensors, self.inference.values.constants
        dynamic = [
            tensors[name]
            for name in (*operator.inputs, *operator.captures)
            if name in tensors and name not in constants and tensors[name].shape and name not in self.inference.unknown
        ]
        if not dynamic or not any(inner.code in _MULTIPLYING for inner in body.operators):
            return list(names)
        source = min(dynamic, key=lambda tensor: tensor.elements).name
        same = {inner.outputs[0]: inner.inputs[0] for inner in body.operators if inner.code == "Identity"}
        first: dict[str, str] = {}
        for name, (before, after) in zip(names, states):
            while after in same:
                after = same.pop(after)
            constant = constants.get(name)
            if constant is None or constant.elements < 2 or constant.dtype[:5] != "float" or before == after:
                continue
            if name not in first:
                first[name] = out = self.name(operator, f"first {name}")
                tensors[out] = Tensor(out, constant.dtype, constant.shape)
                label = f"{operator.name or operator.code.lower()}/start"
                self.inference.ops.append(Op(self.index(), START, START, label, [source], [out], {}, operator.proto))
        return [first.get(name, name) for name in names]

    def room(self, first: int, trips: int) -> tuple[int, bool]:
        """How many operators that compute the last trip has, and whether more trips like it may be taken."""
        added, constants = self.inference.ops[first:], self.inference.values.constants
        size = sum(op.code not in FREE and not all(name in constants for name in op.outputs) for op in added)
        self.unrolled += size
        self.idle += len(added) - size
        idle = self.idle + (len(added) - size) * trips
        return size, self.unrolled + size * trips <= MAX_UNROLLED and idle <= MAX_UNROLLED

    def finish(self, operator: Operator, trips: int, most: int | None, known: bool) -> None:
        """Tell how many trips are counted."""
        values: dict[str, Any] = {"operator": str(operator), "trips": trips}
        if known:
            template = "{operator}: its {trips:count trip} are layers of their own"
            self.inference.warnings.append(Message("import.trips", template, values))
            return
        template = "{operator}: {trips:count trip} counted; how many run depends on values"
        if most is not None and most > trips:
            template = "{operator}: {trips:count trip} of at most {most:,} counted"
            values["most"] = most
        self.inference.warnings.append(Message("import.trips", template, values, "warning"))

    def stack(self, operator: Operator, names: list[str], out: str, axis: int, trips: int | None) -> None:
        """Join the parts that the trips wrote along a new axis, of as many as there are trips if that is constant."""
        tensors = [self.inference.tensors.get(name) for name in names]
        if not out:
            return
        if not names or any(tensor is None for tensor in tensors):
            self.inference.unknown[out] = f"the shape of {text(out)!r}, which {operator} writes, is not known"
            return
        parts = []
        for name, tensor in zip(names, tensors):
            shape = list((tensor.shape if tensor is not None else None) or ())
            shape.insert(axis % (len(shape) + 1), 1)
            sizes = self.name(operator, f"sizes of {name}")
            self.inference.values.learn(sizes, np.asarray(shape, np.int64))
            parts.append(self.name(operator, f"part {name}"))
            self.add("Reshape", [name, sizes], parts[-1])
        if len(parts) > 1:
            self.add("Concat", parts, out, axis=axis % len(shape))
        elif trips is None or trips == 1:
            self.add("Identity", parts, out)
        else:
            shape[axis % len(shape)] = trips
            sizes = self.name(operator, f"sizes of {out}")
            self.inference.values.learn(sizes, np.asarray(shape, np.int64))
            self.add("Expand", [*parts, sizes], out)

    # Bodies

    def instance(self, operator: Operator, body: Subgraph, names: dict[str, str], trip: int = 0) -> list[str]:
        """Take the operators of a body, whose inputs have these names in the graph; returns its outputs' names."""
        inference = self.inference
        self.bodies += 1
        place = f"{self.bodies}"
        own = dict(body.names) | names
        for name, constant in body.constants.items():
            own[name] = self.name(operator, f"{id(body)} {name}")
            if own[name] not in inference.values.constants:
                inference.values.constants[own[name]] = constant
                inference.tensors[own[name]] = Tensor(own[name], constant.dtype, constant.shape)
        for inner in body.operators:
            key = (id(inner), tuple(own.get(name, name) for name in inner.inputs))
            if not inner.captures and (results := self.constant_results.get(key)) is not None:
                own.update(zip(inner.outputs, results))  # the same in every trip
                continue
            for name in filter(None, inner.outputs):
                own[name] = self.name(operator, f"{place} {name}")
                if name in body.value_info and name not in inference.value_info:
                    inference.value_info[own[name]] = body.value_info[name]
            copy = self.copy(inner, own)
            if operator.code != "If":
                copy.name = f"{operator.name or operator.code.lower()}/{trip}/{inner.name or inner.code.lower()}"
            inference.take(copy)
            if copy.outputs and all(name in inference.values.constants for name in copy.outputs if name):
                self.constant_results[key] = copy.outputs
        return [own.get(name, name) for name in body.outputs]

    def copy(self, inner: Operator, own: Mapping[str, str]) -> Operator:
        """An operator of a body under the names of the graph."""
        inputs, outputs = ([own.get(name, name) for name in names] for names in (inner.inputs, inner.outputs))
        proto = inner.proto
        options = dict(inner.options)
        bodies = {key: body for key, body in options.items() if isinstance(body, Subgraph)}
        for key, body in bodies.items():
            options[key] = replace(body, names=dict(body.names) | {n: own[n] for n in inner.captures if n in own})
        if not bodies:
            proto = type(inner.proto)()
            proto.CopyFrom(inner.proto)
            del proto.input[:], proto.output[:]
            proto.input.extend(inputs)
            proto.output.extend(outputs)
        captures = tuple(own.get(name, name) for name in inner.captures)
        return Operator(
            self.index(), inner.code, inner.name, inputs, outputs, options, proto, captures, inner.subgraphs
        )

    def alias(self, operator: Operator, sources: Sequence[str], outputs: Sequence[str]) -> None:
        """Give the results of a body the names of the operator's outputs."""
        for source, out in zip(sources, outputs):
            if source and out:
                self.add("Identity", [source], out)

    def add(self, code: str, inputs: list[str], output: str, **attributes: int) -> None:
        """Take an operator that is in no body."""
        from onnx import helper

        proto = helper.make_node(code, inputs, [output])
        proto.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        self.inference.take(Operator(self.index(), code, "", inputs, [output], dict(attributes), proto))

    def index(self) -> int:
        self.count += 1
        if self.count > 2 * MAX_OPERATORS:
            raise InputError(f"must have at most {MAX_OPERATORS} operators, and its bodies stand for more")
        return self.count - 1

    def name(self, operator: Operator, what: str) -> str:
        """A name of a tensor that no tensor of the file has."""
        return f"{what} (in {operator.index})"

    def truth(self, name: str) -> bool | None:
        """The value of a condition, if it is constant."""
        value = self.inference.values.of(name) if name else None
        return bool(value.ravel()[0]) if value is not None and value.size == 1 else None

    def whole(self, name: str) -> int | None:
        """The value of a constant integer."""
        value = self.inference.values.of(name)
        return int(value.ravel()[0]) if value is not None and value.size == 1 else None


def _integers(operator: Operator, key: str, count: int) -> list[int]:
    """Numbers of an attribute, by default zeros."""
    option = operator.options.get(key) or (0,) * count
    numbers = [int(item) for item in option] if isinstance(option, tuple) else []
    return numbers if len(numbers) == count else [0] * count
