"""Exploration: the front of a space of designs from a part of its points."""
