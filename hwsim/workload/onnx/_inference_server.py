"""A process that runs ONNX's shape inference for another one: a script of its own, which imports onnx alone.

Requests and answers are lines of JSON; protobuf messages are in base64.
"""

import base64
import json
import resource
import sys
from contextlib import suppress

MAX_BYTES = 2 * 2**30
"""Address space: what the library itself takes, and a gigabyte."""
MAX_SECONDS = 20
"""Processor time of a request: a loop without end outlives the process that asked, if that was killed."""


def _limit_time() -> None:
    """From now on, so much processor time is left until the next request; then the system ends this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CPU, (int(usage.ru_utime + usage.ru_stime) + MAX_SECONDS, hard))


def main() -> None:
    """Say that it is ready, then answer each line of standard input by one of standard output, until the input ends."""
    import onnx
    from onnx import defs, helper, shape_inference

    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (MAX_BYTES, MAX_BYTES))
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        _limit_time()
        try:
            schema = defs.get_schema(request["code"], request["version"], request["domain"])
            outputs = shape_inference.infer_node_outputs(
                schema,
                onnx.NodeProto.FromString(base64.b64decode(request["node"])),
                # Older versions of onnx look for the type of an input that is left out too.
                {"": onnx.TypeProto()}
                | {name: onnx.TypeProto.FromString(base64.b64decode(kind)) for name, kind in request["types"].items()},
                {name: onnx.TensorProto.FromString(base64.b64decode(raw)) for name, raw in request["data"].items()},
                opset_imports=[helper.make_opsetid(domain, version) for domain, version in request["opsets"]],
            )
            answer = {name: base64.b64encode(kind.SerializeToString()).decode() for name, kind in outputs.items()}
            print(json.dumps({"outputs": answer}), flush=True)
        except Exception as error:  # what the C++ library raises has no common type
            print(json.dumps({"error": " ".join(str(error).split())[:2000]}), flush=True)


if __name__ == "__main__":
    main()
