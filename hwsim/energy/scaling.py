"""How the energy of a circuit changes with its technology node and supply voltage.

Polynomials of Stillmaker and Baas, "Scaling equations for the accurate prediction of CMOS device performance
from 180 nm to 7 nm", Integration 58 (2017): an operation's energy is proportional to ``a V^2 + b V + c``.
"""

from __future__ import annotations

from hwsim.errors import HwsimError

__all__ = ["NODES", "energy_factor", "scale_energy"]

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


def energy_factor(node_nm: int, voltage: float) -> float:
    """Relative energy of one operation at a node and voltage (only ratios of two factors mean anything).

    Raises
    ------
    HwsimError
        If the node has no published polynomial, or the voltage is outside 0.4 to 1.4 V.
    """
    if node_nm not in _POLYNOMIALS:
        raise HwsimError(f"node must be one of {', '.join(map(str, NODES))} nm, not {node_nm} nm")
    if not 0.4 <= voltage <= 1.4:
        raise HwsimError(f"voltage must be within 0.4 and 1.4 V for the scaling polynomials, not {voltage} V")
    a, b, c = _POLYNOMIALS[node_nm]
    return a * voltage**2 + b * voltage + c


def scale_energy(energy: float, source: tuple[int, float], target: tuple[int, float]) -> float:
    """Carry an energy from one (node in nm, voltage) to another."""
    return energy * energy_factor(*target) / energy_factor(*source)
