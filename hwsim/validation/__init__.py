"""Predictions of published measurements; nests, graphs and kernels executed."""
