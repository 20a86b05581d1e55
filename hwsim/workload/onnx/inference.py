"""ONNX's own shape inference, in a process of its own under limits of time and memory.

It is C++ that takes what a file says: a few bytes can make it loop for ever or end its process.
"""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import sys
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import IO, Any

from hwsim.errors import InputError

__all__ = ["infer_node_outputs", "start"]

SECONDS = 10.0
"""The time that one operator may take, beside that of the start."""
_START_SECONDS = 60.0
_MAX_ANSWER = 2**24
_SERVER = Path(__file__).with_name("_inference_server.py")


class _Server:
    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.ready = False

    def start(self) -> subprocess.Popen[bytes]:
        if self.process is None or self.process.poll() is not None:
            environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
            self.process = subprocess.Popen(
                [sys.executable, "-P", str(_SERVER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the command, which ends its server
                env=environment,
            )
            weakref.finalize(self, _end, self.process)
            self.ready = False
        return self.process

    def stop(self) -> None:
        if self.process is not None:
            _end(self.process)
        self.process = None

    def ask(self, request: bytes) -> bytes:
        process = self.start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            if not self.ready:
                self.ready = bool(_line(process.stdout, _START_SECONDS))
            process.stdin.write(request)
            process.stdin.flush()
            return _line(process.stdout, SECONDS)
        except OSError:
            self.stop()
            raise InputError("ONNX's shape inference breaks off") from None
        except BaseException:
            self.stop()
            raise


def _line(stream: IO[bytes], seconds: float) -> bytes:
    """A line that another process writes, within a time."""
    end, line = monotonic() + seconds, b""
    while not line.endswith(b"\n"):
        if not select.select([stream], [], [], max(end - monotonic(), 0))[0]:
            raise InputError(f"ONNX's shape inference takes longer than {seconds:g} s")
        part = os.read(stream.fileno(), 2**16)
        line += part
        if not part or len(line) > _MAX_ANSWER:
            raise InputError("ONNX's shape inference breaks off")
    return line


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(OSError):
        process.kill()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with suppress(OSError):
                stream.close()
    process.wait()


_server = _Server()
_owner = os.getpid()


def _own() -> _Server:
    """The server of this process: one that was forked has none yet."""
    global _server, _owner
    if os.getpid() != _owner:
        _server, _owner = _Server(), os.getpid()
    return _server


def start() -> None:
    """Begin to start the process, as it takes a moment."""
    with suppress(OSError):
        _own().start()


def infer_node_outputs(
    code: str,
    version: int,
    domain: str,
    node: Any,
    types: Mapping[str, Any],
    data: Mapping[str, Any],
    opsets: Sequence[tuple[str, int]],
) -> tuple[dict[str, bytes], str]:
    """The serialized types of a node's outputs, and the reason if there are none.

    Parameters
    ----------
    code, version, domain
        The operator's schema.
    node, types, data : protobuf messages
        A NodeProto, and by name the TypeProto of each input and the TensorProto of each that is constant.
    opsets : sequence of (domain, version)

    Raises
    ------
    InputError
        If the inference takes too long, too much memory, or ends its process.
    """

    def packed(message: Any) -> str:
        return base64.b64encode(message.SerializeToString()).decode()

    request = {
        "code": code,
        "version": version,
        "domain": domain,
        "node": packed(node),
        "types": {name: packed(kind) for name, kind in types.items()},
        "data": {name: packed(value) for name, value in data.items()},
        "opsets": list(opsets),
    }
    answer = json.loads(_own().ask(json.dumps(request).encode() + b"\n"))
    if "error" in answer:
        return {}, str(answer["error"])
    return {name: base64.b64decode(kind) for name, kind in answer["outputs"].items()}, ""
