"""Timings are never pass or fail: hypothesis has no deadline on any machine. Under CI it draws the same cases each time."""

from hypothesis import settings

# settings() is the profile that hypothesis chose: its own for CI does not draw at random.
settings.register_profile("hwsim", settings(), deadline=None)
settings.load_profile("hwsim")
