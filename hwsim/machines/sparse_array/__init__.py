"""Arrays that compute on compressed operands and skip zeros: EIE, SCNN, Eyeriss v2."""

from hwsim.machines.sparse_array.machine import SparseArray

__all__ = ["SparseArray"]
