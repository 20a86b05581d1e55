"""Timeloop's files: problems as workloads; architectures, mappings and energy reference tables as machines."""

from hwsim.timeloop.files import Imported, read_files

__all__ = ["Imported", "read_files"]
