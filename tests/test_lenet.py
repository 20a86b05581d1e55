"""The worked example of docs/compression.md, on digits that are drawn here: its network learns, shrinks and is priced."""

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import hwsim

DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture(scope="module")
def lenet() -> ModuleType:
    spec = importlib.util.spec_from_file_location("lenet", DOCS / "lenet.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def drawn() -> tuple[np.ndarray, np.ndarray]:
    """Ten patterns of 8 x 8 with noise."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 10, 1000)
    images = rng.random((10, 64))[labels] + 0.3 * rng.normal(size=(1000, 64))
    return images.astype(np.float32), labels


def test_the_example_trains_prunes_and_shares(lenet: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    images, labels = drawn()
    network = lenet.small()
    net = lenet.Net([64, 100, 50, 10])
    net.train(images, labels, epochs=4, rate=0.05)
    assert net.accuracy(images, labels) > 0.95
    for kept in (0.5, 0.2):
        net.prune(dict.fromkeys(lenet.KEPT, kept))
        net.train(images, labels, epochs=2, rate=0.02)
    assert {name: np.count_nonzero(w) / w.size for name, w in net.weights.items()} == pytest.approx(
        dict.fromkeys(lenet.KEPT, 0.2), abs=0.005
    )
    net.share()
    net.train(images, labels, epochs=1, rate=0.001)
    assert all(len(np.unique(w)) <= 65 for w in net.weights.values())
    packed = hwsim.compress(
        network, {"ip*": {"share": {"bits": 6}, "index": {"bits": 5}, "huffman": True}}, weights=net.weights
    )
    assert all((packed.weights[name] == w).all() for name, w in net.weights.items())
    assert not packed.expected
    net.weights = {name: w.astype(np.float32) for name, w in packed.weights.items()}
    assert net.accuracy(images, labels) > 0.95
    lenet.price(network, packed.workload)
    assert "eie" in capsys.readouterr().out


def test_the_notebook_is_the_example(lenet: ModuleType) -> None:
    """Its cells are Python, and use what the script has."""
    cells = json.loads((DOCS / "compression.ipynb").read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    compile(code, "compression.ipynb", "exec")
    names = set(re.findall(r"lenet\.(\w+)", code))
    assert {"digits", "Net", "price"} <= names
    assert all(hasattr(lenet, name) for name in names)
