"""The extension modules under AddressSanitizer and UndefinedBehaviorSanitizer, in a copy of the project.

    python -m tests.sanitize            builds them with GCC and runs the tests of the kernels and of the search
    python -m tests.sanitize -k conv    those of a name

Reads and writes outside of an array, overflow of signed numbers, misaligned accesses and shifts that are too long end
the run with the place in the source. Needs setuptools, Cython and libasan of GCC.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.mutants import copy

FLAGS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer", "-g", "-O1"]
TESTS = (
    "test_kernels_int8", "test_kernels_hostile", "test_kernels_sparse", "test_kernels_winograd",
    "test_kernels_instructions", "test_kernels_attention", "test_kernels_grouped", "test_nest", "test_counts_by_hand",
)  # fmt: skip
BUILD = f"""
from pathlib import Path
from tomllib import loads
from Cython.Build import cythonize
from setuptools import Distribution, Extension
from setuptools.command.build_ext import build_ext

modules = []
for options in loads(Path("pyproject.toml").read_text())["tool"]["setuptools"]["ext-modules"]:
    module = Extension(**{{key.replace("-", "_"): value for key, value in options.items()}})
    module.extra_compile_args = [*module.extra_compile_args, *{FLAGS!r}]
    module.extra_link_args = [*module.extra_link_args, *{FLAGS!r}]
    modules.append(module)
modules = cythonize(modules, force=True, nthreads=2, shared_utility_qualified_name="hwsim._cyutility")
command = build_ext(Distribution({{"name": "hwsim", "ext_modules": modules, "packages": ["hwsim"]}}))
command.inplace, command.force, command.parallel = True, True, True
command.ensure_finalized()
command.run()
"""


def main() -> int:
    """Build and run; arguments are those of pytest."""
    with tempfile.TemporaryDirectory() as folder:
        root = copy(Path(folder))
        path = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH", ""))))
        environment = os.environ | {"PYTHONPATH": path, "CI": "true"}
        subprocess.run([sys.executable, "-c", BUILD], cwd=root, env=environment, check=True, stdout=subprocess.DEVNULL)
        library = subprocess.run(["gcc", "-print-file-name=libasan.so"], check=True, capture_output=True, text=True)
        environment |= {
            "LD_PRELOAD": library.stdout.strip(),
            "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",  # Python keeps what it has until it ends
            "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
            "PYTHONMALLOC": "malloc",  # blocks of their own, with guards around each
        }
        tests = [f"tests/{name}.py" for name in TESTS]
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *sys.argv[1:], *tests]
        return subprocess.run(command, cwd=root, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
