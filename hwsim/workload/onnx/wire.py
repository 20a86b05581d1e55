"""The wire format of an ONNX file: large arrays stay in the file and are read on demand.

A parsed model holds a second copy of everything. Here the large arrays of the graph's initializers are recorded by
their place in the file; only the rest, a few percent of a usual file, goes to the protobuf parser.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hwsim.errors import InputError
from hwsim.files import FileView

__all__ = ["ArraySpan", "slim"]


#: Arrays of at least this size stay in the file.
LARGE_BYTES = 4096
#: Maximum size of the rest.
MAX_SLIM_BYTES = 256 * 2**20
MAX_FIELDS = 4_000_000

GRAPH = 7  # of a ModelProto
INITIALIZER = 5  # of a GraphProto
#: Fields of a TensorProto with packed little-endian numbers: float_data, raw_data, double_data.
ARRAYS = {4: "float", 9: "raw", 10: "double"}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True, slots=True)
class ArraySpan:
    """An array in the file: its field (``raw``, ``float`` or ``double``), offset and length in bytes."""

    field: str
    offset: int
    size: int


class _Walk:
    def __init__(self, data: FileView) -> None:
        self.data = data
        self.fields = 0
        self.copied_bytes = 0

    def varint(self, at: int, end: int) -> tuple[int, int]:
        value = shift = 0
        while at < end and shift < 70:
            byte = self.data.at(at)
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
            shift += 7
        raise InputError("must be a whole ONNX file; a number in it is cut off")

    def message(self, start: int, end: int) -> Iterator[tuple[int, int, int, int, int]]:
        """Each field of a message: its number, wire type, first byte, first byte of its content, and end."""
        at = start
        while at < end:
            self.fields += 1
            if self.fields > MAX_FIELDS:
                raise InputError(f"must have at most {MAX_FIELDS} fields")
            head = at
            tag, at = self.varint(at, end)
            number, kind = tag >> 3, tag & 7
            content = at
            if kind == _VARINT:
                _, at = self.varint(at, end)
            elif kind == _FIXED64:
                at += 8
            elif kind == _FIXED32:
                at += 4
            elif kind == _BYTES:
                size, content = self.varint(at, end)
                at = content + size
            else:
                raise InputError(f"must be an ONNX file; byte {head} starts no field of one")
            if at > end or not number:
                raise InputError("must be a whole ONNX file; a field in it is cut off")
            yield number, kind, head, content, at

    def keep(self, start: int, end: int) -> bytes:
        """A copy of a part of the file, within the limit."""
        self.copied_bytes += end - start
        if self.copied_bytes > MAX_SLIM_BYTES:
            raise InputError(f"must have at most {MAX_SLIM_BYTES // 2**20} MiB beside the arrays of its initializers")
        return self.data.read(start, end - start)


def _field(number: int, content: bytes) -> bytes:
    size, head = len(content), bytearray([number << 3 | _BYTES])
    while size > 0x7F:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes(head) + bytes([size]) + content


def slim(data: FileView) -> tuple[bytes, dict[int, ArraySpan]]:
    """The serialized model without its large arrays, and the arrays by the initializer's index.

    Raises
    ------
    InputError
        If the bytes are not a protobuf message, or the rest is too large.
    """
    walk = _Walk(data)
    spans: dict[int, ArraySpan] = {}
    model: list[bytes] = []
    count = 0
    for number, kind, head, content, end in walk.message(0, len(data)):
        if (number, kind) != (GRAPH, _BYTES):
            model.append(walk.keep(head, end))
            continue
        graph: list[bytes] = []
        for number_, kind_, head_, content_, end_ in walk.message(content, end):
            if (number_, kind_) != (INITIALIZER, _BYTES):
                graph.append(walk.keep(head_, end_))
                continue
            tensor: list[bytes] = []
            for field, how, first, start, last in walk.message(content_, end_):
                if field in ARRAYS and how == _BYTES and last - start >= LARGE_BYTES:
                    if count in spans:
                        raise InputError(f"initializer {count} must have its values once")
                    spans[count] = ArraySpan(ARRAYS[field], start, last - start)
                else:
                    tensor.append(walk.keep(first, last))
            graph.append(_field(INITIALIZER, b"".join(tensor)))
            count += 1
        model.append(_field(GRAPH, b"".join(graph)))
    return b"".join(model), spans
