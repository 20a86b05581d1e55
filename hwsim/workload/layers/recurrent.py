"""Recurrent layers: LSTM, GRU and plain RNN."""

from __future__ import annotations

from typing import ClassVar

from hwsim.workload.layer import Layer, Shape, kind
from hwsim.workload.line import Line, Values
from hwsim.workload.product import Product
from hwsim.workload.row import Row

__all__ = ["Gru", "Lstm", "Rnn"]


def _read(values: Values, shapes: tuple[Shape, ...]) -> Values:
    if shapes and len(shapes[0]) <= 3:
        steps, sequences = (*shapes[0][:-1], 1, 1)[:2]
        values = {"input_size": shapes[0][-1], "steps": steps, "sequences": sequences} | values
    return values


def _row(row: Row) -> Values:
    c, _, _, k = row.image()
    return {"input_size": c, "hidden_size": k, "steps": row.integer("steps", 1)}


def _line(key: str, description: str, more: str = "") -> Line:
    return Line(
        key,
        description,
        keys=f"hidden input_size steps sequences bias{more}",
        sizes="input_size",
        source="a sequence",
        follows="steps sequences",
        read=_read,
        write=lambda layer, shapes: {} if shapes else {"steps": layer.steps, "sequences": layer.sequences},
        row=_row,
        columns="c k steps",
    )


@kind
class _Recurrent(Layer):
    """What LSTM, GRU and RNN share: `gates` matrices of hidden x (input + hidden), used once a step.

    One inference reads `sequences` of `steps` tokens, which run side by side.
    """

    input_size: int
    hidden_size: int
    steps: int = 1
    sequences: int = 1
    bias: bool = True

    _gates: ClassVar[int] = 0
    _sizes: ClassVar[tuple[str, ...]] = ("input_size", "hidden_size", "steps", "sequences")
    _flags: ClassVar[tuple[str, ...]] = ("bias",)

    def _input_shape(self) -> Shape:
        return self._sequence(self.input_size)

    def _weight_shape(self) -> Shape:
        return (self.gates * self.hidden_size, self.input_size + self.state)

    def _output_shape(self) -> Shape:
        return self._sequence(self.hidden_size)

    def _sequence(self, size: int) -> Shape:
        return (self.steps, size) if self.sequences == 1 else (self.steps, self.sequences, size)

    @property
    def gates(self) -> int:
        """How many gate matrices there are."""
        return self._gates

    @property
    def state(self) -> int:
        """Values of the step before that a step reads."""
        return self.hidden_size

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all steps of one inference; with one step, of one token."""
        return self.steps * self.sequences * self.weights

    @property
    def weights(self) -> int:
        """Stored weights."""
        return self.gates * self.hidden_size * (self.input_size + self.state)

    @property
    def biases(self) -> int:
        """Stored biases, one a gate and hidden value."""
        return self.gates * self.hidden_size if self.bias else 0

    def lower(self, batch: int) -> Product:
        """One product of all gates a step, which waits for the step before."""
        n, k = self.gates * self.hidden_size, self.input_size + self.state
        return Product(batch, 1, batch * self.sequences, n, k, steps=self.steps, recurrent=True)


@kind
class Lstm(_Recurrent):
    """A long short-term memory: 4 * hidden_size * (input_size + hidden_size) weights, `steps` tokens an inference.

    With `peepholes`, three gates also read the cell: a vector of weights each, stored beside the biases. `coupled`
    input and forget gates are one. A projection makes `state_size` values of the hidden ones for the next step: it is
    a GEMM after this layer; 0, the default, is no projection.
    """

    peepholes: bool = False
    coupled: bool = False
    state_size: int = 0

    _lines: ClassVar[tuple[Line, ...]] = (_line("lstm", "A long short-term memory.", " peepholes coupled state_size"),)
    _flags: ClassVar[tuple[str, ...]] = ("bias", "peepholes", "coupled")
    _counts: ClassVar[tuple[str, ...]] = ("state_size",)
    _op: ClassVar[str] = "lstm"

    @property
    def gates(self) -> int:
        """Three where the input and forget gates are coupled, else four."""
        return 3 if self.coupled else 4

    @property
    def state(self) -> int:
        """Values of the step before that a step reads."""
        return self.state_size or self.hidden_size

    @property
    def biases(self) -> int:
        """Stored biases, one a gate and hidden value, and peepholes."""
        return super().biases + ((self.gates - 1) * self.hidden_size if self.peepholes else 0)

    @property
    def ops(self) -> int:
        """Five functions, three products and one sum for each hidden value and step; three products of peepholes."""
        return (12 if self.peepholes else 9) * self.outputs


@kind
class Gru(_Recurrent):
    """A gated recurrent unit: 3 * hidden_size * (input_size + hidden_size) weights, `steps` tokens an inference."""

    _lines: ClassVar[tuple[Line, ...]] = (_line("gru", "A gated recurrent unit."),)
    _op: ClassVar[str] = "gru"
    _gates: ClassVar[int] = 3

    @property
    def ops(self) -> int:
        """Three functions, three products and two sums for each hidden value and step."""
        return 8 * self.outputs


@kind
class Rnn(_Recurrent):
    """A plain recurrent layer: hidden_size * (input_size + hidden_size) weights, `steps` tokens an inference."""

    _lines: ClassVar[tuple[Line, ...]] = (_line("rnn", "A plain recurrent layer."),)
    _op: ClassVar[str] = "rnn"
    _gates: ClassVar[int] = 1

    @property
    def ops(self) -> int:
        """A function for each hidden value and step."""
        return self.outputs
