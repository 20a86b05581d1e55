"""The fast tests run first. Timings are never pass or fail: hypothesis has no deadline. Under CI it draws the same cases."""

import pytest
from hypothesis import settings

# settings() is the profile that hypothesis chose: its own for CI does not draw at random.
settings.register_profile("hwsim", settings(), deadline=None)
settings.load_profile("hwsim")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Machines of a user for the laws."""
    parser.addoption("--machine", action="append", default=[], metavar="FILE", help="hold test_laws.py against it too")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the slow tests behind the others."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)
