"""The density of normal images: its parts by hand, the space it is fitted in, and a whole run scored by it."""

import csv
import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mean_detector import METHOD as METHOD_OF_MEANS

from experiments.digits import main
from sagan_jax.config import DensityConfig
from sagan_jax.data.digits import load_digits
from sagan_jax.data.split import leave_one_out
from sagan_jax.detector import Detector, Scores, normalise
from sagan_jax.errors import UserError
from sagan_jax.judging.scoring import score_images
from sagan_jax.runs.model import load_model
from sagan_jax.transforms import density, patch_features

SMALL = DensityConfig(patches=500, filters=8, kept=60, viewed=40, components=12, directions=4, neighbours=3)


def own_score(state, images, statistics="running"):
    """Of a method that reconstructs every image by one colour, its state."""
    reconstructed = jnp.broadcast_to(state[None, None, None], images.shape)
    error = jnp.square(images - reconstructed).mean(axis=-1)
    return Scores(error.mean(axis=(1, 2)), error.mean(axis=(1, 2)), error.max(axis=(1, 2)), error, reconstructed)


METHOD = Detector(
    init=lambda key, image_shape: jnp.zeros(3),
    update=lambda state, batch, key: (0.5 * state + 0.5 * batch.mean(axis=(0, 1, 2)), {"loss": batch.mean()}),
    score=own_score,
)
DETECTOR = density.with_density(METHOD, SMALL)


def pictures(count, seed=0):
    """Stripes of random colours, widths and directions, and noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:16, :16]
    turn, wide = rng.uniform(0, np.pi, (2, count, 1, 1))
    wave = np.sin((np.cos(turn) * x + np.sin(turn) * y) * (0.3 + wide))[..., None]
    images = 127 + 60 * wave * rng.uniform(-1, 1, (count, 1, 1, 3)) + rng.normal(0, 8, (count, 16, 16, 3))
    return images.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def state():
    key = jax.random.key(0)
    return DETECTOR.fit_normal(DETECTOR.init(key, (16, 16, 3)), pictures(80), key)


def test_fitting_gives_the_very_shapes_and_types_that_init_has(state):
    like = jax.eval_shape(lambda key: DETECTOR.init(key, (16, 16, 3)), jax.random.key(0))
    assert jax.tree.structure(like) == jax.tree.structure(state)
    for wanted, fitted in zip(jax.tree.leaves(like), jax.tree.leaves(state), strict=True):
        assert (wanted.shape, wanted.dtype) == (fitted.shape, fitted.dtype)


def test_before_normal_images_were_fitted_no_score_is_a_number_and_scoring_says_why():
    unfitted = DETECTOR.init(jax.random.key(0), (16, 16, 3))
    assert np.isnan(DETECTOR.score(unfitted, normalise(pictures(2))).total).all()
    with pytest.raises(UserError, match=r"3 of 3 images have a total that is not finite: .* `fit_normal` was not"):
        score_images(DETECTOR, unfitted, pictures(3), batch_size=2)


def test_a_score_depends_on_its_image_alone(state):
    images = pictures(21, seed=1)
    together = score_images(DETECTOR, state, images, batch_size=21).total
    apart = score_images(DETECTOR, state, images[::-1].copy(), batch_size=4).total[::-1]
    np.testing.assert_allclose(together, apart, atol=2e-5)
    assert together.std() > 0.01


def test_the_score_is_the_log_distance_less_what_complexity_explains(state):
    images = pictures(5, seed=2)
    scores = DETECTOR.score(state, normalise(images))
    space, bank, expected = jax.device_get(state.density)
    points = np.asarray(patch_features.place(space, normalise(images)), np.float64)
    cosines = points @ bank.T / np.linalg.norm(points, axis=1, keepdims=True)
    nearest = np.sort(np.sqrt(2 - 2 * cosines), axis=1)[:, : SMALL.neighbours].mean(axis=1)
    terms = np.asarray(density.complexity(normalise(images), points, scores.reconstruction, scores.latent))
    z = (terms - expected.mean) / expected.scale
    products = [z[:, i] * z[:, j] for i in range(density.TERMS) for j in range(i, density.TERMS)]
    explained = np.column_stack([np.ones(5), z, *products]) @ expected.weights
    np.testing.assert_allclose(scores.total, np.log(nearest) - explained, atol=1e-3)


def test_the_methods_own_terms_stay_as_they_are(state):
    images = normalise(pictures(3, seed=3))
    own = METHOD.score(state.method, images)
    scores = DETECTOR.score(state, images)
    for field in ("reconstruction", "latent", "map", "reconstructed"):
        np.testing.assert_array_equal(getattr(scores, field), getattr(own, field), err_msg=field)


def test_training_goes_on_as_without_a_density_and_leaves_it_alone(state):
    key, batch = jax.random.key(1), normalise(pictures(4))
    new, metrics = jax.jit(DETECTOR.update)(state, batch, key)
    plain, plain_metrics = jax.jit(METHOD.update)(state.method, batch, key)
    jax.tree.map(np.testing.assert_array_equal, (new.method, metrics), (plain, plain_metrics))
    jax.tree.map(np.testing.assert_array_equal, new.density, state.density)


def test_the_images_a_space_was_fitted_on_have_mean_0_and_variance_1_along_each_direction(state):
    chosen, _ = view_space_images()
    points = np.asarray(patch_features.place(state.density.space, normalise(chosen)))
    np.testing.assert_allclose(points[: SMALL.viewed].mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(points[: SMALL.viewed].std(axis=0), 1, atol=1e-3)
    np.testing.assert_allclose(state.density.bank, points / np.linalg.norm(points, axis=1)[:, None], atol=1e-4)


def test_no_more_normal_images_are_kept_than_fit_a_gigabyte():
    assert DensityConfig().kept_of((32, 32, 3)) == 50_000
    assert DensityConfig().kept_of((128, 128, 3)) == 21_845


def view_space_images():
    return density.choose_kept(jnp.asarray(pictures(80)), jax.random.key(0), SMALL)


def test_a_kept_image_is_no_neighbour_of_its_own():
    angles = np.radians([0.0, 10.0, 40.0, 100.0])
    bank = jnp.asarray(np.column_stack([np.cos(angles), np.sin(angles)]), jnp.float32)
    chords = 2 * np.sin(np.radians([10, 10, 30, 60]) / 2)
    np.testing.assert_allclose(density.bank_distance(bank, 4, 1), np.log(chords), atol=1e-5)
    np.testing.assert_allclose(density.bank_distance(bank, 2, 1), np.log(chords[:2]), atol=1e-5)


def test_the_regression_finds_a_quadratic_and_its_residuals_are_0():
    terms = np.random.default_rng(0).normal(size=(5000, 3)).astype(np.float32)
    target = jnp.asarray(1 + terms[:, 0] - 2 * terms[:, 1] * terms[:, 2] + terms[:, 2] ** 2)
    regression = density.fit_regression(jnp.asarray(terms), target)
    np.testing.assert_allclose(density.predict(regression, jnp.asarray(terms)), target, atol=0.02)


def test_a_term_that_never_varies_explains_nothing():
    terms = jnp.asarray(np.random.default_rng(0).normal(size=(50, 2)), jnp.float32).at[:, 1].set(3.0)
    regression = density.fit_regression(terms, terms[:, 0])
    assert float(jnp.abs(regression.weights[jnp.array([2, 4, 5])]).max()) < 1e-3


def test_directions_are_where_images_differ_and_views_do_not(key):
    rng = np.random.default_rng(0)
    images = rng.normal(size=(4000, 3))
    views = [images + rng.normal(size=(4000, 3)) * [0.01, 3.0, 1.0] for _ in range(2)]
    arrays = (jnp.asarray(x, jnp.float32) for x in (images, *views))
    _, directions = patch_features.fit_directions(*arrays, key, 3, 1)
    assert abs(directions[0, 0]) > 20 * np.abs(directions[1:, 0]).max()


def test_features_are_those_of_plain_numpy(key):
    images = np.asarray(normalise(pictures(2)), np.float64)
    kernel, offset = (np.asarray(jax.random.normal(key, shape)) for shape in ((6, 6, 3, 2), (2,)))
    responses = np.zeros((2, 6, 6, 2))
    for i, j in np.ndindex(6, 6):
        patch = images[:, 2 * i : 2 * i + 6, 2 * j : 2 * j + 6].reshape(2, -1)
        patch = patch - patch.mean(axis=1, keepdims=True)
        patch = patch / np.sqrt(patch.var(axis=1, keepdims=True) + patch_features.CONTRAST_FLOOR)
        responses[:, i, j] = patch @ kernel.reshape(-1, 2) - offset
    wanted = [
        np.maximum(sign * responses[:, rows, columns] - patch_features.THRESHOLD, 0).mean(axis=(1, 2))
        for sign in (1, -1)
        for rows in (slice(3), slice(3, 6))
        for columns in (slice(3), slice(3, 6))
    ]
    found = patch_features.features(jnp.asarray(kernel), jnp.asarray(offset), jnp.asarray(images, jnp.float32))
    np.testing.assert_allclose(found, np.sqrt(np.concatenate(wanted, axis=1)), rtol=1e-3, atol=1e-4)


def test_a_view_of_a_flat_grey_image_is_flat_and_in_range(key):
    seen = np.asarray(patch_features.view(jnp.full((8, 16, 16, 1), 0.2), key))
    assert seen.shape == (8, 16, 16, 1)
    assert seen.std(axis=(1, 2, 3)).max() < 1e-5
    assert np.abs(seen).max() <= 1
    assert seen.std() > 0.05  # the views are not all alike


def test_too_few_images_are_refused(key):
    with pytest.raises(UserError, match="keeps 60 normal images and there are 59"):
        density.choose_kept(pictures(59), key, SMALL)
    with pytest.raises(UserError, match="at least 96"):
        density.scored_by("density", DETECTOR, 63)


@pytest.mark.parametrize("length", [["--epochs=1"], ["--epochs=2", "--steps=40"]])  # 2,560 draws of 1,500 images
def test_a_run_scored_by_density_reads_back_with_the_scores_it_wrote(tmp_path, monkeypatch, length):
    monkeypatch.setattr(density, "DensityConfig", lambda: dataclasses.replace(SMALL, kept=2000))
    flags = ["--abnormal=3", "--size=16", "--method=mean_detector:METHOD", *length, "--batch-size=128"]
    assert main([*flags, "--scoring=density", f"--out={tmp_path / 'run'}"]) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["training"]["scoring"] == "density"
    model = load_model(tmp_path / "run", method=METHOD_OF_MEANS)
    test = leave_one_out(load_digits(16), "3")
    scores = score_images(model.detector, model.state, test.test).total
    assert scores.std() > 0.01
    with (tmp_path / "run" / "scores.csv").open(newline="") as file:
        written = {row["id"]: float(row["score"]) for row in csv.DictReader(file)}
    assert dict(zip(test.test_ids.tolist(), scores.tolist(), strict=True)) == pytest.approx(written, abs=1e-5)
    assert np.isfinite(model.calibration.quantiles).all()
