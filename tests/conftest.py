"""Timings are never pass or fail: hypothesis has no deadline on any machine."""

from hypothesis import settings

settings.register_profile("hwsim", deadline=None)
settings.load_profile("hwsim")
