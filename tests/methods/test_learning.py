"""SAGAN learns: trained on normal digits alone, it tells an unseen digit apart far better than before training."""

import jax
import pytest

from sagan_jax.config import SaganConfig, TrainingConfig
from sagan_jax.data import leave_one_out, load_digits
from sagan_jax.judging.metrics import auroc
from sagan_jax.judging.scoring import score_images
from sagan_jax.methods.sagan import sagan
from sagan_jax.training.loop import fit
from sagan_jax.training.plan import steps_per_epoch


def test_the_strict_auroc_ends_well_above_its_value_at_initialisation():
    """Of "0": an untrained generator gives grey, so R is contrast, and 0s have the least of it."""
    split = leave_one_out(load_digits(16), "0")
    config = TrainingConfig(epochs=20, batch_size=100)
    steps = config.epochs * steps_per_epoch(len(split.train), config)
    detector = sagan(SaganConfig(width=4, latent_size=8, score_weight=1.0), steps)
    state = detector.init(jax.random.key(0), (16, 16, 1))

    def strict_auroc(state):
        return auroc(split.test_labels, score_images(detector, state, split.test).total)

    before = strict_auroc(state)
    *_, (_, state, metrics) = fit(detector, state, split.train, config)
    assert before == pytest.approx(0.04, abs=0.03)
    assert metrics["generator_reconstruction"] < 0.05  # of a range of 2
    assert strict_auroc(state) > before + 0.3
