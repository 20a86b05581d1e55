"""Energy: cost tables, prices, and scaling between technology nodes. Knows nothing of time but the seconds passed."""

from hwsim.energy.origin import EnergyOrigin
from hwsim.energy.price import Action, Price, Prices, dynamic_energy, word_width
from hwsim.energy.scaling import energy_factor, scale_energy
from hwsim.energy.table import CostTable, load_table, plug_in_tables, table_names

__all__ = [
    "Action",
    "CostTable",
    "EnergyOrigin",
    "Price",
    "Prices",
    "dynamic_energy",
    "energy_factor",
    "load_table",
    "plug_in_tables",
    "scale_energy",
    "table_names",
    "word_width",
]
