"""Predictions beside published measurements; nests, graphs and kernels executed."""
