"""What is no trained model is refused by name."""

import json

import pytest

from sagan_jax.errors import UserError
from sagan_jax.runs.model import load_model


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no run"):
        load_model(tmp_path)


@pytest.mark.parametrize("config", ["{", "[]", "{}"])
def test_a_configuration_that_is_none_is_refused(tmp_path, config):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(UserError, match=r"config\.json|damaged or of another version"):
        load_model(tmp_path)


def test_a_method_that_is_not_known_is_named_with_the_flag_that_says_where_it_is(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.json").write_text(json.dumps({"image_shape": [16, 16, 1], "method": "other"}))
    with pytest.raises(UserError, match=r"is of the method 'other', which is none of sagan, .* --method=MODULE:NAME"):
        load_model(tmp_path)


def test_a_configuration_of_a_newer_format_is_not_guessed_at(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(UserError, match="is of format 99, which a newer version of sagan-jax wrote"):
        load_model(tmp_path)


def test_a_run_whose_generator_gave_a_correction_is_not_read_as_one_that_gives_the_image(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    config = {"format": 1, "model": {"repair": {"restoration": True}}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"gives a correction of the image .*; train it anew"):
        load_model(tmp_path)
