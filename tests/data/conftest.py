"""What several tests of reading images share."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def example():
    """The module that reads files for the examples, without the package."""
    place = Path(__file__).parents[2] / "examples/read_photograph.py"
    spec = importlib.util.spec_from_file_location("read_photograph", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
