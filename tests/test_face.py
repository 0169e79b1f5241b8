"""The package's own names: there at once, heavy only when used, and the same whatever else was imported."""

import importlib
import pkgutil
import subprocess
import sys
from types import ModuleType

import pytest

import sagan_jax


def test_importing_the_package_and_listing_its_names_imports_nothing_heavy():
    program = (
        "import sys, sagan_jax\n"
        "assert {'sagan', 'fit', 'load_model', '__version__'} <= set(dir(sagan_jax))\n"
        "sagan_jax.SaganConfig, sagan_jax.sagan_preset, sagan_jax.UserError\n"
        "heavy = {'jax', 'flax', 'numpy', 'matplotlib', 'PIL', 'orbax'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def test_no_submodule_takes_the_place_of_a_name():
    for module in pkgutil.walk_packages(sagan_jax.__path__, "sagan_jax."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in sagan_jax.__all__:
        found = getattr(sagan_jax, name)
        assert not isinstance(found, ModuleType)
        assert found.__name__ == name
        assert found is getattr(importlib.import_module(found.__module__), name)
    assert isinstance(sagan_jax.export, ModuleType)


def test_every_name_is_listed_once_and_has_a_home():
    assert sagan_jax.__all__ == sorted(set(sagan_jax.__all__))
    assert set(sagan_jax.__all__) == set(sagan_jax._HOMES)
    assert set(sagan_jax.__all__) <= set(dir(sagan_jax))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'saga'"):
        sagan_jax.saga  # noqa: B018
