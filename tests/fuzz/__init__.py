"""Hostile input, drawn by a seed: mutated files, options and arguments, each run under limits of time and memory.

``python -m tests.fuzz SECONDS`` in the top folder. What is promised: a result, or an `HwsimError` of printable lines.
"""
