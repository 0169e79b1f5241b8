"""SAGAN trained to repair: its map, its loss, its statistics, and what of it the paper's SAGAN does not have."""

import json
from dataclasses import replace
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sagan_jax.config import (
    RestorationConfig,
    SaganConfig,
    SkipGanomalyConfig,
    sagan_preset,
    settings_from_json,
    settings_to_json,
)
from sagan_jax.detector import normalise, worst_share
from sagan_jax.errors import UserError
from sagan_jax.methods.adversarial import AdversarialState, Player
from sagan_jax.methods.feature_distance import (
    NormalFeatures,
    example_count,
    fit_features,
    gather_features,
    no_features,
    sum_features,
    unfamiliar,
    with_examples,
)
from sagan_jax.methods.layers import BatchNorm
from sagan_jax.methods.normal_images import Normal
from sagan_jax.methods.repair_map import (
    Level,
    abnormality,
    fit_components,
    fit_level,
    lines,
    no_components,
    no_level,
    readings,
    unexplained,
)
from sagan_jax.methods.restoration import (
    RestorationState,
    Restorer,
    damage_loss,
    damaged_example,
    repair_loss,
    restoration_gan,
)
from sagan_jax.methods.sagan import sagan
from sagan_jax.methods.skip_ganomaly import skip_ganomaly
from sagan_jax.ops.blur import gaussian

SMALL = SaganConfig(width=2, latent_size=4)
REPAIRS = replace(SMALL, repair=RestorationConfig(restoration=True))
LINES = jax.jit(lines)


def slow_lines(images):
    """As `lines`, in loops over pixels."""
    count, height, width, channels = images.shape
    side = height / 64

    def blurred(picture, sigma):  # [H, W]
        result = np.zeros_like(picture)
        for row in range(height):
            for column in range(width):
                down = np.exp(-0.5 * ((np.arange(height) - row) / sigma) ** 2)
                across = np.exp(-0.5 * ((np.arange(width) - column) / sigma) ** 2)
                result[row, column] = down / down.sum() @ picture @ (across / across.sum())
        return result

    def mirrored(place, length):  # beyond an edge, the pixels come back: ... 1 0 | 0 1 ...
        place %= 2 * length
        return place if place < length else 2 * length - 1 - place

    offsets = [tap * side for tap in range(-15, 16)]
    weights = np.exp(-0.5 * (np.array(offsets) / (6 * side)) ** 2)
    weights /= weights.sum()
    energy = np.zeros((count, 8, height, width))
    for image, picture in enumerate(images.astype(np.float64)):
        for channel in range(channels):
            fine = picture[..., channel] - blurred(picture[..., channel], 8 * side)
            fine = blurred(fine, side)
            for direction in range(8):
                angle = np.pi * direction / 8
                for row in range(height):
                    for column in range(width):
                        along = sum(
                            weight
                            * fine[
                                mirrored(row + round(offset * np.sin(angle)), height),
                                mirrored(column + round(offset * np.cos(angle)), width),
                            ]
                            for offset, weight in zip(offsets, weights, strict=True)
                        )
                        energy[image, direction, row, column] += along**2 / channels
    return energy.max(axis=1)


def test_lines_are_those_of_a_plain_loop_over_pixels():
    images = np.random.default_rng(0).uniform(-1, 1, (2, 8, 12, 2)).astype(np.float32)
    np.testing.assert_allclose(LINES(images), slow_lines(images), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("bright", [0.5, -0.5])
def test_a_line_a_pixel_wide_scores_higher_than_noise_of_its_energy(bright):
    rng = np.random.default_rng(0)
    line = np.zeros((64, 64), np.float32)
    line[20, 8:56] = bright
    noise = rng.permutation((line * rng.choice([-1, 1], line.shape)).ravel()).reshape(64, 64)
    assert (noise**2).sum() == (line**2).sum()
    pictures = np.stack([line, line.T, noise])[..., None].astype(np.float32)
    across, down, none = np.asarray(worst_share(LINES(pictures)))
    assert across == pytest.approx(down, rel=1e-4)
    assert across > 3 * none


def test_the_loss_of_the_repair_counts_damaged_pixels_once_more_by_hand():
    images = jnp.zeros((1, 2, 2, 2))
    repaired = images.at[0, 0, 0].set(jnp.array([0.2, -0.6])).at[0, 1, 1].set(0.4)  # errors 0.4 and 0.4
    mask = jnp.array([[[1.0, 1.0], [0.0, 0.0]]])
    assert repair_loss(images, repaired, mask) == pytest.approx(0.8 / 4 + 0.4 / (2 + 1), rel=1e-6)


def test_the_loss_of_the_damage_channel_is_cross_entropy_and_dice_by_hand():
    mask = jnp.array([[[1.0, 1.0], [0.0, 0.0]]])
    dice = (2 * 1 + 1) / (2 + 2 + 1)  # everywhere a half: 1 of the 2 damaged pixels found, 2 in all
    assert damage_loss(jnp.zeros((1, 2, 2)), mask) == pytest.approx(np.log(2) + 0.3 * (1 - dice), rel=1e-6)
    found = 20.0 * (2 * mask - 1)
    assert damage_loss(found, mask) == pytest.approx(0, abs=1e-6)
    assert damage_loss(-found, mask) == pytest.approx(20 + 0.3 * (1 - 1 / 5), rel=1e-6)


class Normalised(nn.Module):
    """Not a generator, without layers to look at: its statistics are those of the images themselves."""

    @nn.compact
    def __call__(self, images, train):
        normalised = BatchNorm()(images, train)
        return jnp.concatenate([normalised, normalised[..., :1]], axis=-1)


def untrained(restorer, image_shape, key):
    """A detector of such a network, and its state, without the cost of SAGAN's."""
    variables = restorer.init(key, jnp.zeros((1, *image_shape)), train=False)
    player = Player(variables["params"], variables["batch_stats"], None)
    normal = Normal(player.statistics, *no_components(image_shape), no_features(image_shape, 0), no_level())
    state = RestorationState(AdversarialState(jnp.zeros(()), player, player), normal)
    return restoration_gan(lambda shape: (restorer, restorer), SMALL, None), state


def test_before_normal_images_were_fitted_no_score_is_a_number(key):
    detector, unfitted = untrained(Restorer(Normalised()), (16, 16, 3), key)
    scores = detector.score(unfitted, jnp.zeros((2, 16, 16, 3)))
    assert np.isnan(scores.total).all()
    assert np.isnan(scores.map).all()


def test_the_population_is_the_mean_of_what_batches_of_images_have_as_training_shows_them(key):
    images = np.random.default_rng(0).integers(0, 256, (90, 4, 4, 2), np.uint8)
    detector, trained = untrained(Restorer(Normalised()), (4, 4, 2), key)
    assert detector.fit_normal is not None
    fitted = detector.fit_normal(trained, images, key)
    (population,) = fitted.normal.population["generator"].values()

    choice_key, damage_key = jax.random.split(key)
    chosen = jax.random.choice(choice_key, 90, (12, 64))
    shown = [
        damaged_example(SMALL.repair, normalise(batch), batch_key).given
        for batch, batch_key in zip(images[np.asarray(chosen)], jax.random.split(damage_key, 12), strict=True)
    ]
    batches = np.asarray(shown, np.float64)  # [12, 64, 4, 4, 2]
    batches -= batches.mean(axis=(2, 3), keepdims=True)  # the generator is shown no mean colour
    np.testing.assert_allclose(population["mean"], batches.mean(axis=(1, 2, 3)).mean(axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(population["var"], batches.var(axis=(1, 2, 3)).mean(axis=0), rtol=2e-3)
    jax.tree.map(np.testing.assert_array_equal, fitted.training, trained.training)


def test_what_components_do_not_explain_is_the_residual_of_a_plain_projection():
    images = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 2), np.uint8)
    mean, components = fit_components(images)
    assert components.shape == (128, 8, 8, 2)
    assert np.asarray(components[8:] == 0).all()  # nine images have eight directions
    flat = np.asarray(normalise(images), np.float64).reshape(9, -1)
    _, _, rows = np.linalg.svd(flat - flat.mean(axis=0))
    test = np.random.default_rng(1).uniform(-1, 1, (3, 8, 8, 2)).astype(np.float32)
    rest = test.reshape(3, -1) - flat.mean(axis=0)
    expected = (rest - rest @ rows[:8].T @ rows[:8]).reshape(3, 8, 8, 2)
    np.testing.assert_allclose(unexplained(jnp.asarray(test), mean, components), expected, rtol=1e-3, atol=1e-5)
    trained_on = unexplained(normalise(images), mean, components)
    np.testing.assert_allclose(trained_on, np.zeros((9, 8, 8, 2)), atol=1e-5)


def test_larger_images_are_reduced_to_64_pixels_for_their_components():
    small = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 1), np.uint8)
    large = small.repeat(2, axis=1).repeat(2, axis=2)
    for given, expected in zip(fit_components(large), fit_components(small), strict=True):
        np.testing.assert_allclose(given, expected, atol=1e-5)
    test = np.random.default_rng(1).uniform(-1, 1, (1, 64, 64, 1)).astype(np.float32)
    known = fit_components(small)
    twice = unexplained(jnp.asarray(test.repeat(2, axis=1).repeat(2, axis=2)), *known)
    np.testing.assert_allclose(twice, unexplained(jnp.asarray(test), *known), rtol=1e-4, atol=1e-6)


def test_one_normal_image_has_a_mean_and_no_directions():
    mean, components = fit_components(np.full((1, 8, 8, 1), 255, np.uint8))
    np.testing.assert_array_equal(mean, np.ones((8, 8, 1)))
    assert not np.asarray(components).any()


@pytest.mark.parametrize("factor", [1, 2])
def test_the_readings_are_those_of_plain_arrays(factor):
    rng = np.random.default_rng(0)
    low = rng.uniform(-1, 1, (2, 8, 8, 1)).astype(np.float32)
    images = low.repeat(factor, axis=1).repeat(factor, axis=2)
    logits, strange = rng.normal(size=(2, *images.shape[:3])).astype(np.float32)
    rest = rng.uniform(-1, 1, low.shape).astype(np.float32)
    strength = np.asarray(LINES(low))
    one_pixel = gaussian(8 * factor, 1.0)
    found = np.log1p(np.exp(np.einsum("hi,bij,wj->bhw", one_pixel, logits, one_pixel)))
    relative = strength / (strength.mean(axis=(1, 2), keepdims=True) + 1e-6)

    def enlarged(maps):
        return maps.repeat(factor, axis=1).repeat(factor, axis=2)

    expected = np.stack(
        [
            enlarged(np.asarray(LINES(rest))),
            enlarged(np.sqrt(relative)) * (0.1 + found),
            enlarged(rest[..., 0] ** 2),
            strange,
            found,
        ]
    )
    got = readings(*(jnp.asarray(array) for array in (images, logits, rest, strange)), 0.1)
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-7)


def test_features_are_layers_averaged_over_cells_or_repeated():
    rng = np.random.default_rng(0)
    fine, coarse = rng.normal(size=(2, 16, 16, 3)), rng.normal(size=(2, 2, 2, 1))
    got = gather_features({"a": (jnp.asarray(fine),), "b": (jnp.asarray(coarse),)}, jnp.zeros((2, 16, 16, 3)))
    assert got.shape == (2, 4, 4, 4)
    np.testing.assert_allclose(got[1, 2, 3, :3], fine[1, 8:12, 12:16].mean(axis=(0, 1)), rtol=1e-5)
    np.testing.assert_allclose(got[1, 2, 3, 3], coarse[1, 1, 1, 0], rtol=1e-6)


def test_features_far_larger_than_their_differences_have_the_covariance_of_these():
    """Images that look much alike: in float32 the sums of products themselves would lose the differences."""
    apart = np.random.default_rng(0).normal(size=(200, 2, 2, 6)) * [1, 1, 0.1, 0.1, 0.01, 0.01]
    features = jnp.asarray(1000 + apart, jnp.float32)
    origin = features[:32].mean(axis=0)
    mean, whitening = fit_features(sum_features(features, jnp.ones(200), origin), origin)
    white = np.einsum("nhwf,fg->nhwg", np.asarray(features, np.float64) - np.asarray(mean), whitening)
    variances = np.square(white).mean(axis=(0, 1, 2)) * 6
    shrunk = 0.003 * (2 + 0.02 + 0.0002) / 6
    expected = np.array([1, 1, 0.01, 0.01, 1e-4, 1e-4])
    np.testing.assert_allclose(variances, expected / (expected + shrunk), rtol=0.15)


def test_the_distance_of_features_is_that_of_plain_arrays():
    """Mahalanobis's around the mean of each cell, and that to the nearest of 128 images in 3 x 3 cells, multiplied."""
    rng = np.random.default_rng(0)
    mix = np.linspace(1, 2, 70)[:, None] * np.linalg.qr(rng.normal(size=(70, 70)))[0]
    features = (rng.normal(size=(400, 2, 3, 70)) @ mix + rng.normal(size=(2, 3, 70))).astype(np.float32)
    filler = np.full((4, 2, 3, 70), 99, np.float32)  # fills the batch, and does not count
    counted = jnp.asarray(np.r_[np.ones(200), np.zeros(4)], jnp.float32)
    origin = jnp.asarray(features[:20].mean(axis=0))
    parts = [
        sum_features(jnp.asarray(np.r_[half, filler]), counted, origin) for half in (features[:200], features[200:])
    ]
    normal = with_examples(*fit_features(jax.tree.map(jnp.add, *parts), origin), jnp.asarray(features[:128]))
    shown = features[120:150]

    centred = (features - features.mean(axis=0)).astype(np.float64)
    flat = centred.reshape(-1, 70)
    covariance = flat.T @ flat / len(flat)
    covariance += 0.003 * np.trace(covariance) / 70 * np.eye(70)
    distance = np.einsum("nhwf,fg,nhwg->nhw", centred, np.linalg.inv(covariance), centred) / 70
    np.testing.assert_allclose(distance.mean(), 1, atol=0.05)  # less what shrinks it
    variance, direction = np.linalg.eigh(covariance)
    along = (centred @ direction / np.sqrt(variance * 70))[..., ::-1][..., :64]
    nearest = np.empty((30, 2, 3))
    for image, row, column in np.ndindex(nearest.shape):
        examples = along[:128, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
        apart = np.square(examples - along[120 + image, row, column]).sum(axis=-1)
        nearest[image, row, column] = apart.min()
    assert np.all(nearest[:8] == 0)  # these are examples themselves, and count as 0.01 away
    product = np.sqrt(distance[120:150] * np.maximum(nearest, 0.01))
    relative = product / np.exp(np.log(product + 1e-6).mean(axis=(1, 2), keepdims=True)) ** 0.5
    got = unfamiliar(jnp.asarray(shown), normal, (8, 12, 3))
    assert got.shape == (30, 8, 12)
    np.testing.assert_allclose(got[:, ::4, ::4], relative, rtol=2e-3)
    np.testing.assert_array_equal(got[:, 3::4, 3::4], got[:, ::4, ::4])


def test_fewer_images_are_kept_to_compare_with_the_larger_they_are():
    assert [example_count((side, side, 3)) for side in (32, 64, 128, 256)] == [128, 128, 64, 16]


def test_a_network_without_layers_to_look_at_finds_nothing_unfamiliar():
    images = jnp.ones((3, 8, 8, 1))
    features = gather_features({}, images)
    fitted = fit_features(sum_features(features, jnp.ones(3), features[0]), features[0])
    normal = with_examples(*fitted, gather_features({}, jnp.ones((128, 8, 8, 1))))
    assert isinstance(normal, NormalFeatures)
    assert features.shape == (3, 2, 2, 0)
    np.testing.assert_array_equal(unfamiliar(features, normal, (8, 8, 1)), np.zeros((3, 8, 8)))


def test_the_map_by_hand_and_far_above_the_level_without_overflow():
    usual = jnp.array([1.0, 2.0, 4.0, 8.0, 16.0])
    level = Level(jnp.log(usual), jnp.full(5, 0.5))
    at_level = usual.reshape(5, 1, 1, 1)
    assert abnormality(at_level, level) == pytest.approx(np.log(1 + 5), rel=1e-3)
    one_above = at_level.at[2].multiply(np.e)  # one reading two deviations above: exp(1.5 * 2)
    assert abnormality(one_above, level) == pytest.approx(np.log(1 + 4 + np.exp(3)), rel=1e-3)
    for reading in (1, 3, 4):  # two deviations of the network's count as log(1 + 2)
        strange = at_level.at[reading].multiply(np.e)
        assert abnormality(strange, level) == pytest.approx(np.log(1 + 4 + 3**1.5), rel=1e-3)
    below = at_level.at[3].multiply(np.exp(-2))  # and four below as four below
    assert abnormality(below, level) == pytest.approx(np.log(1 + 4 + np.exp(-6)), rel=1e-3)
    far = abnormality(at_level.at[0].set(1e30), level)
    assert far == pytest.approx(3 * np.log(1e30), rel=1e-3)


def test_the_level_is_the_mean_and_the_spread_of_the_logarithms():
    worst = jnp.array([[1.0, np.e], [1.0, 1.0], [np.e, np.e], [np.e**3] * 2, [1.0, np.e**2]])
    level = fit_level(worst)
    np.testing.assert_allclose(level.mean, [0.5, 0, 1, 3, 1], atol=1e-3)
    np.testing.assert_allclose(level.spread, [0.5, 0.05, 0.05, 0.05, 1], atol=1e-3)


def test_normal_images_are_read_by_what_is_known_of_others(key):
    """Noise that 20 directions explain without rest in their own images: the level is that of new noise."""
    detector, state = untrained(Restorer(Normalised()), (16, 16, 1), key)
    noise = np.random.default_rng(0).integers(0, 256, (60, 16, 16, 1), np.uint8)
    assert detector.fit_normal is not None
    level = detector.fit_normal(state, noise[:20], key).normal.level
    known = fit_components(noise[:10])
    new, own = (
        np.log(worst_share(jnp.square(unexplained(normalise(part), *known)).mean(axis=-1)) + 4e-9)
        for part in (noise[20:], noise[:10])
    )
    assert np.asarray(own).max() < np.asarray(new).min() - 5
    assert np.asarray(level.mean)[2] == pytest.approx(np.asarray(new).mean(), abs=0.2)


class Copy(nn.Module):
    """Not a generator: gives back what it is shown, which has no mean colour, and no damage."""

    @nn.compact
    def __call__(self, images, train):
        np.testing.assert_allclose(images.mean(axis=(1, 2)), 0, atol=1e-6)
        return jnp.concatenate([images, 0 * images[..., :1]], axis=-1)


def test_the_generator_does_not_see_how_bright_or_blue_an_image_is():
    images = jax.random.uniform(jax.random.key(0), (2, 4, 4, 3), minval=-1)
    colour = jnp.array([0.3, -0.2, 0.1]).reshape(1, 1, 1, 3)
    for shown in (images, images + colour):
        repaired, logits = Restorer(Copy()).apply({}, shown, train=False)
        np.testing.assert_allclose(repaired, shown, atol=1e-6)  # its mean colour is added again
        assert logits.shape == (2, 4, 4)


@pytest.mark.parametrize(
    "build",
    [
        partial(sagan, REPAIRS),
        partial(skip_ganomaly, SkipGanomalyConfig(width=2, latent_size=4, repair=REPAIRS.repair)),
    ],
)
def test_a_state_a_step_and_a_score_have_the_shapes_and_types_of_a_detector(build, key):
    detector = build(10)
    state = jax.eval_shape(lambda key: detector.init(key, (16, 16, 3)), key)
    batch = jax.ShapeDtypeStruct((5, 16, 16, 3), jnp.float32)
    after, metrics = jax.eval_shape(detector.update, state, batch, key)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), after) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), state
    )
    assert {"generator_loss", "discriminator_loss", "generator_damage", "generator_latent"} <= set(metrics)
    assert all((metric.shape, metric.dtype) == ((), jnp.float32) for metric in metrics.values())
    scores = jax.eval_shape(detector.score, state, batch)
    shapes = [field.shape for field in scores]
    assert shapes == [(5,), (5,), (5,), (5, 16, 16), (5, 16, 16, 3)]
    last = state.training.generator.params["generator"]
    assert (last["out"]["Conv_0"] if "out" in last else last["up1"])["kernel"].shape[-1] == 4  # RGB and damage
    assert state.normal.features.mean.shape[:2] == (4, 4)
    assert state.normal.features.mean.shape[-1] > 10
    assert jax.tree.structure(state.normal.population) == jax.tree.structure(state.training.generator.statistics)


def test_the_papers_sagan_has_nothing_of_it(key):
    detector = sagan(SMALL)
    state = jax.eval_shape(lambda key: detector.init(key, (16, 16, 3)), key)
    assert isinstance(state, AdversarialState)
    assert {"encoder1", "attention1", "decoder1", "out"} <= set(state.generator.params)
    assert state.generator.params["out"]["Conv_0"]["kernel"].shape[-1] == 3
    assert detector.fit_normal is None


def test_settings_of_the_paper_are_written_as_before_there_was_repair_and_older_ones_read_back():
    for preset in ("paper", "reference"):
        assert "repair" not in settings_to_json(sagan_preset(preset))
    older = json.loads(json.dumps(settings_to_json(sagan_preset("reference"))))
    assert settings_from_json(SaganConfig, older) == sagan_preset("reference")
    inspection = sagan_preset("inspection")
    written = json.loads(json.dumps(settings_to_json(inspection)))
    assert written["repair"]["restoration"] is True
    assert settings_from_json(SaganConfig, written) == inspection


@pytest.mark.parametrize(
    ("name", "value"), [("whole", 1.5), ("lines", -0.1), ("opacity", 0.0), ("worst_share", 0.0), ("damage_floor", -1.0)]
)
def test_a_share_that_is_none_is_refused_by_name(name, value):
    with pytest.raises(UserError, match=name):
        RestorationConfig(**{name: value})
