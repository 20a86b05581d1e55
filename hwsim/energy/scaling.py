"""How the energy of a circuit changes with its technology node and supply voltage.

Polynomials of Stillmaker and Baas, "Scaling equations for the accurate prediction of CMOS device performance
from 180 nm to 7 nm", Integration 58 (2017): an operation's energy is proportional to ``a V^2 + b V + c``. Between two
of their nodes, energy is interpolated on log-log axes (node against energy at the same voltage).
"""

from __future__ import annotations

from math import log

from hwsim.errors import HwsimError

__all__ = ["NODES", "energy_factor", "neighbors", "scale_energy"]

# node in nm: (a, b, c); low-power devices down to 32 nm, high-performance ones below.
_POLYNOMIALS: dict[int, tuple[float, float, float]] = {
    130: (7.171, -6.709, 2.904),
    90: (4.762, -4.781, 2.092),
    65: (3.755, -4.398, 1.975),
    45: (1.103, -0.362, 0.2767),
    32: (0.9559, -0.7823, 0.471),
    20: (0.373, -0.1582, 0.04104),
    16: (0.2958, -0.1241, 0.03024),
    14: (0.2363, -0.09675, 0.02239),
    10: (0.2068, -0.09311, 0.02375),
    7: (0.1776, -0.09097, 0.02447),
}
NODES = tuple(_POLYNOMIALS)


def neighbors(node_nm: float) -> tuple[int, ...]:
    """The published nodes around a node: the next larger and the next smaller one, or the node itself.

    Raises
    ------
    HwsimError
        If the node is larger or smaller than all published ones.
    """
    if node_nm in _POLYNOMIALS:
        return (round(node_nm),)
    if not NODES[-1] < node_nm < NODES[0]:
        raise HwsimError(
            f"node must be within {NODES[-1]} and {NODES[0]} nm, not {node_nm:g} nm: "
            "no scaling beyond is published; give prices as energies of that node"
        )
    larger = [node for node in NODES if node > node_nm]
    return larger[-1], NODES[len(larger)]


def energy_factor(node_nm: float, voltage: float) -> float:
    """Relative energy of one operation at a node and voltage (only ratios of two factors mean anything).

    Raises
    ------
    HwsimError
        If the node is outside the published ones, or the voltage is outside 0.4 to 1.4 V.
    """
    if not 0.4 <= voltage <= 1.4:
        raise HwsimError(f"voltage must be within 0.4 and 1.4 V for the scaling polynomials, not {voltage} V")
    nodes = neighbors(node_nm)
    factors = [a * voltage**2 + b * voltage + c for a, b, c in (_POLYNOMIALS[node] for node in nodes)]
    share = log(node_nm / nodes[0]) / log(nodes[-1] / nodes[0]) if len(nodes) == 2 else 0.0
    return factors[0] * float((factors[-1] / factors[0]) ** share)


def scale_energy(energy: float, source: tuple[float, float], target: tuple[float, float]) -> float:
    """Carry an energy from one (node in nm, voltage) to another."""
    return energy * energy_factor(*target) / energy_factor(*source)
