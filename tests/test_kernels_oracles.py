"""The int8 kernels against onnxruntime and TFLite, bit for bit, on random cases.

A few dozen cases of each operator run by default. All of them, 1,000 of each:

    HWSIM_CASES=1000 python -m pytest tests/test_kernels_oracles.py

Each case is seeded by its number, which a failure names.
"""

import os

import numpy as np
import pytest

from hwsim import kernels
from hwsim.validation.kernels import checks
from hwsim.validation.oracles import OPERATORS

CASES = int(os.environ.get("HWSIM_CASES", "30"))


@pytest.mark.parametrize("operator", OPERATORS)
def test_bit_exact(operator: str) -> None:
    if operator.startswith("onnxruntime") and "avx512vnni" not in kernels.available():
        pytest.skip("onnxruntime saturates int16 sums of products where the processor has no VNNI")
    try:
        for seed, ours, theirs in OPERATORS[operator](CASES):
            np.testing.assert_array_equal(ours, theirs, f"{operator}, seed {seed}")
    except ModuleNotFoundError as error:
        pytest.skip(f"{error.name} is not installed")


def test_the_command_checks_the_same() -> None:
    found = list(checks(3))
    assert not [check for check in found if check.differs]
    # A product and a convolution of each instruction set, four checks that know of none, and the runtimes' operators.
    assert len(found) == 2 * len(kernels.available()) + 4 + len(OPERATORS)


def test_a_wrong_kernel_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = kernels.gemm_int8
    monkeypatch.setattr(kernels, "gemm_int8", lambda *args, **named: right(*args, **named) + 1)
    assert [check for check in checks(2) if check.differs]
