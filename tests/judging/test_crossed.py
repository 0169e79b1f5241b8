"""Scores for the calibration: of images that the statistics were not fitted on."""

import jax.numpy as jnp
import numpy as np
import pytest

from sagan_jax.data.groups import Groups
from sagan_jax.detector import Detector, Scores, normalise
from sagan_jax.judging.crossed import crossed_scores, too_many_over


def images_of(count):
    """Each of one grey, its number."""
    return np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 16, 16, 1))


def knowing_images(of=lambda number: number):
    """Its score: 1,000 for each fitted image whose number is `of` the same, plus how many images were fitted."""

    def fit_normal(state, images, key):
        return jnp.zeros(256).at[of(np.asarray(images)[:, 0, 0, 0])].add(1.0)

    def score(state, images, statistics="running"):
        numbers = jnp.round((images[:, 0, 0, 0] + 1) * 127.5).astype(int)
        total = 1000 * state[of(numbers)] + state.sum()
        return Scores(total, total, total, images[..., 0], images)

    return Detector(lambda key, shape: jnp.zeros(256), lambda state, batch, key: (state, {}), score, fit_normal)


def test_the_detector_here_knows_what_it_was_fitted_on(key):
    detector = knowing_images()
    state = detector.fit_normal(None, images_of(20)[:15], key)
    totals = detector.score(state, normalise(images_of(20))).total
    np.testing.assert_array_equal(totals, [1015] * 15 + [15] * 5)


@pytest.mark.parametrize("count", [40, 101])
def test_each_image_is_scored_once_by_what_is_known_of_the_other_half(count):
    scores = crossed_scores(knowing_images(), None, images_of(count), seed=1)
    first, second = (count + 1) // 2, count // 2  # the images of each half
    np.testing.assert_array_equal(scores, [second] * first + [first] * second)


def test_of_many_images_256_are_scored_and_of_fewer_than_40_none():
    many = np.concatenate([images_of(200), images_of(200)])
    assert len(crossed_scores(knowing_images(), None, many, seed=1)) == 256
    assert len(crossed_scores(knowing_images(), None, images_of(39), seed=1)) == 0


def test_neighbours_are_known_together_or_not_at_all():
    scores = crossed_scores(knowing_images(lambda number: number // 5), None, images_of(100), seed=2)
    np.testing.assert_array_equal(scores, [50] * 100)


def test_so_are_images_of_a_group():
    groups = Groups(".", np.arange(100) % 20)  # 0, 20, 40, 60 and 80 are of one
    scores = crossed_scores(knowing_images(lambda number: number % 20), None, images_of(100), seed=2, groups=groups)
    np.testing.assert_array_equal(scores, [50] * 100)


def test_halves_are_of_images_where_groups_are_unequal():
    groups = Groups(".", np.repeat(np.arange(5), [10, 10, 50, 20, 10]))
    scores = crossed_scores(knowing_images(), None, images_of(100), seed=2, groups=groups)
    np.testing.assert_array_equal(scores, [30] * 70 + [70] * 30)


def test_groups_that_leave_too_few_to_a_half_are_not_crossed():
    for sizes in ([81, 19], [100]):
        groups = Groups(".", np.repeat(np.arange(len(sizes)), sizes))
        assert len(crossed_scores(knowing_images(), None, images_of(100), seed=2, groups=groups)) == 0


def test_held_out_images_speak_up_once_more_exceed_the_threshold_than_chance_has():
    crossed = np.arange(100, dtype=np.float32)  # for 5 % the threshold is near 95

    def held_out(over):
        return np.repeat(np.array([50, 200], np.float32), [40 - over, over])

    # more than 6 of 40, at 5 %, come once in 300 times, more than 5 once in 70
    assert [too_many_over(crossed, held_out(over)) for over in (0, 2, 6, 7, 20)] == [0, 0, 0, 7, 20]
    assert too_many_over(crossed[:0], held_out(20)) == 0
