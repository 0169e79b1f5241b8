import json
import re
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import pytest

from sagan_jax.config import (
    JudgingConfig,
    OutputConfig,
    RestorationConfig,
    SaganConfig,
    TrainingConfig,
    presets,
    sagan_preset,
)
from sagan_jax.config.as_json import settings_from_json, settings_to_json
from sagan_jax.config.field_types import check_field_types
from sagan_jax.errors import UserError


def test_the_paper_preset_has_the_papers_constants():
    c = sagan_preset("paper")
    assert (c.weight_adversarial, c.weight_reconstruction, c.weight_latent) == (1, 40, 1)
    assert (c.learning_rate, c.decay, c.beta1, c.beta2) == (2e-3, "linear", 0.5, 0.999)
    assert (c.score_weight, c.depth_multiplier, c.pool, c.latent_in_discriminator) == (0.2, 2, "max", False)


def test_the_reference_preset_has_the_authors_codes_constants():
    c = sagan_preset("reference")
    assert (c.weight_adversarial, c.weight_reconstruction, c.weight_latent) == (1, 50, 1)
    assert (c.learning_rate, c.decay, c.beta1, c.beta2) == (2e-4, "constant", 0.5, 0.999)
    assert (c.score_weight, c.depth_multiplier, c.pool, c.latent_in_discriminator) == (0.9, 1, "soft", True)
    assert c.reinitialise_below == 1e-5


@pytest.mark.parametrize(
    ("settings", "values"),
    [
        (SaganConfig, {"width": 0}),
        (SaganConfig, {"depth_multiplier": 0}),
        (SaganConfig, {"learning_rate": 0.0}),
        (SaganConfig, {"learning_rate": float("nan")}),
        (SaganConfig, {"weight_latent": -1.0}),
        (SaganConfig, {"weight_reconstruction": float("inf")}),
        (SaganConfig, {"beta1": 1.0}),
        (SaganConfig, {"score_weight": 1.1}),
        (TrainingConfig, {"epochs": 0}),
        (TrainingConfig, {"batch_size": 0}),
        (TrainingConfig, {"validation_fraction": 1.0}),
        (TrainingConfig, {"seed": -1}),
        (JudgingConfig, {"false_positive_rate": 0.0}),
        (OutputConfig, {"keep": 0}),
    ],
)
def test_an_impossible_value_is_named_with_what_is_allowed(settings, values):
    (name,) = values
    with pytest.raises(UserError, match=rf"^{name} is .*; it must be "):
        settings(**values)


def test_a_methods_own_scoring_is_left_out_so_that_older_runs_are_read():
    assert "scoring" not in TrainingConfig().as_json()
    assert TrainingConfig(scoring="density").as_json() == TrainingConfig().as_json() | {"scoring": "density"}
    assert TrainingConfig(**TrainingConfig().as_json()) == TrainingConfig()


def test_settings_come_back_from_json_and_what_older_runs_lack_is_left_out():
    settings = sagan_preset("inspection")
    stored = json.loads(json.dumps(settings_to_json(settings)))
    assert "not_drawn" not in stored["repair"]
    assert settings_from_json(SaganConfig, stored) == settings
    changed = replace(settings, repair=replace(settings.repair, not_drawn=("curve", "light")))
    stored = settings_to_json(changed)
    assert stored == json.loads(json.dumps(stored))  # or a checkpoint would differ from its own configuration
    assert settings_from_json(SaganConfig, stored) == changed
    assert "repair" not in settings_to_json(SaganConfig())


@dataclass(frozen=True)
class Settings:
    """Of every kind of field that settings have. Those of the package are checked by the tests' own type checker."""

    pool: Literal["max", "soft"] = "max"
    depthwise: bool = True
    width: int = 64
    rate: float = 0.1
    steps: int | None = None
    repair: RestorationConfig = field(default_factory=RestorationConfig)
    not_drawn: tuple[Literal["curve", "scratch"], ...] = ()


@pytest.mark.parametrize(
    ("values", "allowed"),
    [
        ({"pool": "average"}, "pool is 'average'; it must be one of max, soft"),
        ({"depthwise": "off"}, "depthwise is 'off'; it must be True or False"),
        ({"depthwise": 1}, "depthwise is 1; it must be True or False"),
        ({"width": 16.5}, "a whole number"),
        ({"width": True}, "a whole number"),
        ({"rate": "0.1"}, "a number"),
        ({"steps": 2.5}, "a whole number or None"),
        ({"repair": {"restoration": True}}, "a RestorationConfig"),
        ({"not_drawn": ("scratches",)}, "a tuple, each part one of curve, scratch"),
        ({"not_drawn": "scratch"}, "a tuple"),
    ],
)
def test_a_word_or_a_kind_of_value_that_there_is_not_is_refused(values, allowed):
    with pytest.raises(UserError, match=re.escape(allowed)):
        check_field_types(Settings(**values))


def test_numbers_of_numpy_and_whole_numbers_for_others_are_taken():
    check_field_types(Settings(width=np.int64(8), rate=1, steps=np.int32(3), not_drawn=("curve", "scratch")))
    check_field_types(Settings(rate=np.float32(0.5)))


def test_a_preset_that_there_is_not_is_refused():
    with pytest.raises(UserError, match="the preset is 'Reference'; it must be one of paper, reference, inspection"):
        presets._check_preset("Reference")
