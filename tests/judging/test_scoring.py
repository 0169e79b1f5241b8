import jax
import numpy as np
import pytest
from small_gan import SMALL_GAN

from sagan_jax.errors import UserError
from sagan_jax.judging import scoring
from sagan_jax.judging.calibration import Calibration, calibrate, calibrated, threshold_for
from sagan_jax.judging.scoring import reference_protocol_scores, score_batch, score_images
from sagan_jax.transforms.maps import mapped as mapped_detector

IMAGES = np.random.default_rng(0).integers(0, 256, (11, 16, 16, 1), np.uint8)
PICTURES = ("map", "reconstructed")


@pytest.fixture(scope="module")
def state():
    return SMALL_GAN.init(jax.random.key(0), (16, 16, 1))


@pytest.fixture(scope="module")
def scores(state):
    return score_images(SMALL_GAN, state, IMAGES, batch_size=4, pictures=PICTURES)


def test_the_score_is_the_weighted_sum_of_its_two_terms(scores):
    np.testing.assert_allclose(scores.total, 0.2 * scores.reconstruction + 0.8 * scores.latent, rtol=1e-6)


def test_the_reconstruction_term_and_the_map_are_the_squared_residual(scores):
    residual = (IMAGES.astype(np.float32) / 127.5 - 1 - scores.reconstructed) ** 2
    np.testing.assert_allclose(scores.map, residual.mean(axis=-1), rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(scores.reconstruction, residual.mean(axis=(1, 2, 3)), rtol=1e-5)


def test_strict_scores_do_not_depend_on_the_order_of_the_images(state, scores):
    order = np.random.default_rng(1).permutation(len(IMAGES))
    shuffled = score_images(SMALL_GAN, state, IMAGES[order], batch_size=4)
    np.testing.assert_array_equal(shuffled.total, scores.total[order])


def test_strict_scores_do_not_depend_on_batch_size_or_padding(state, scores):
    alone = score_images(SMALL_GAN, state, IMAGES[:1], batch_size=4)  # three of four are padding
    np.testing.assert_array_equal(alone.total, scores.total[:1])
    other = score_images(SMALL_GAN, state, IMAGES, batch_size=11)
    np.testing.assert_allclose(other.total, scores.total, rtol=1e-5, atol=1e-7)


def test_a_batch_of_several_parts_scores_as_small_ones_do(state, scores):
    many = np.arange(128) % len(IMAGES)  # two parts of 64 images of 16 px
    in_parts = score_images(SMALL_GAN, state, IMAGES[many], batch_size=128, pictures=PICTURES)
    for parts, whole in zip(in_parts, scores, strict=True):
        np.testing.assert_allclose(parts, whole[many], rtol=1e-5, atol=1e-6)
    program = str(jax.make_jaxpr(lambda images: score_batch(SMALL_GAN, state, images))(IMAGES[many]))
    assert "scan[" in program  # over the parts
    for count in (1, 64, 65):  # of so many, to the bit, without those that only fill up
        some = score_batch(SMALL_GAN, state, IMAGES[many], count=count)
        np.testing.assert_array_equal(some.total[:count], in_parts.total[:count])


def test_reference_protocol_scores_do_depend_on_the_company_an_image_keeps(state):
    in_order = reference_protocol_scores(SMALL_GAN, state, IMAGES, batch_size=4)
    order = np.random.default_rng(1).permutation(len(IMAGES))
    shuffled = reference_protocol_scores(SMALL_GAN, state, IMAGES, batch_size=4, order=order)
    assert np.abs(in_order.total - shuffled.total).max() > 1e-4
    # Dealt by hand: the first batch is images order[:4], and their scores come back to their own places.
    by_hand = score_batch(SMALL_GAN, state, IMAGES[order[:4]], "batch")
    np.testing.assert_array_equal(shuffled.total[order[:4]], by_hand.total)


def test_an_accelerator_scores_many_batches_in_one_call_with_the_same_result(state, monkeypatch):
    order = np.random.default_rng(1).permutation(len(IMAGES))
    expected = reference_protocol_scores(SMALL_GAN, state, IMAGES, batch_size=4, order=order)
    called, together = [], scoring._score_batches
    monkeypatch.setattr(scoring, "_score_batches", lambda *operands: called.append(1) or together(*operands))
    monkeypatch.setattr(scoring, "_BATCHES", 2)
    monkeypatch.setattr(scoring.native, "for_cpu", lambda: False)
    found = reference_protocol_scores(SMALL_GAN, state, IMAGES, batch_size=4, order=order)
    assert called == [1]  # two batches of the three; the last has three images
    for name in ("reconstruction", "latent", "total"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-4)


def test_only_the_wanted_pictures_come_back_and_are_computed(state):
    mapped = mapped_detector(SMALL_GAN, "latent_gradient")
    scores = score_images(mapped, state, IMAGES, batch_size=4, pictures=("map",))
    assert scores.reconstructed is None
    assert scores.map.shape == (11, 16, 16)
    assert score_images(SMALL_GAN, state, IMAGES, batch_size=4).map is None
    operations = [
        score_batch.lower(mapped, state, IMAGES[:4], pictures=pictures).compile().cost_analysis()["flops"]
        for pictures in ((), ("map",))
    ]
    assert operations[0] < operations[1]  # no gradient


def test_a_batch_of_no_images_is_refused(state):
    with pytest.raises(UserError, match="batch_size is 0; it must be 1 or more"):
        score_images(SMALL_GAN, state, IMAGES, batch_size=0)


def test_scores_that_are_not_finite_are_an_error_that_counts_them(state):
    broken = jax.tree.map(lambda leaf: leaf * np.nan if leaf.dtype == np.float32 else leaf, state)
    with pytest.raises(UserError, match=r"11 of 11 images have a total that is not finite"):
        score_images(SMALL_GAN, broken, IMAGES, batch_size=4)


def test_no_images_is_an_error(state):
    for score in (score_images, reference_protocol_scores):
        with pytest.raises(UserError, match="no images to score"):
            score(SMALL_GAN, state, IMAGES[:0], batch_size=4)


def test_the_threshold_leaves_the_chosen_share_of_normal_images_above_it():
    normal = np.random.default_rng(0).normal(size=4000).astype(np.float32)
    calibration = calibrate(normal)
    for rate in (0.01, 0.05, 0.5):
        assert (normal > threshold_for(calibration, rate)).mean() == pytest.approx(rate, abs=1e-3)
    with pytest.raises(UserError, match="false-positive rate is 1"):
        threshold_for(calibration, 1.0)


def test_a_calibrated_score_is_the_share_of_normal_images_below_it():
    calibration = Calibration(np.linspace(0, 10, 1001, dtype=np.float32))
    shares = calibrated(calibration, np.array([-1, 0.005, 5.005, 9.995, 11], np.float32))
    np.testing.assert_allclose(shares, [0, 0, 0.5, 1, 1], atol=1.1e-3)
    assert (np.diff(shares) >= 0).all()
