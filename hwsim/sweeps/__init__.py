"""Sweeps: from one question to a space of designs."""
