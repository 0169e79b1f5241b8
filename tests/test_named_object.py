"""MODULE:NAME finds an object, and what cannot be found is refused by name."""

import math
import sys

import pytest

from experiments.datasets import load_dataset
from sagan_jax.errors import UserError
from sagan_jax.named_object import import_named


def test_an_object_is_found_in_an_installed_module():
    assert import_named("constant", "math:pi") == math.pi


def test_a_module_of_the_working_folder_is_found(tmp_path, monkeypatch):
    (tmp_path / "named_object_of_a_test.py").write_text("VALUE = 7\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    assert import_named("value", "named_object_of_a_test:VALUE") == 7


@pytest.mark.parametrize("name", ["nowhere_at_all:x", "math:nothing"])
def test_what_cannot_be_imported_is_refused_by_name(name):
    with pytest.raises(UserError, match=f"thing is '{name}', which cannot be imported"):
        import_named("thing", name)


@pytest.mark.parametrize("name", ["math", "math:", ":pi", ""])
def test_another_form_of_name_is_refused(name):
    with pytest.raises(UserError, match="it must be MODULE:NAME"):
        import_named("thing", name)


def test_a_data_set_is_found_in_the_same_way():
    with pytest.raises(UserError, match="dataset is 'nowhere_at_all:load', which cannot be imported"):
        load_dataset("nowhere_at_all:load", 16)
