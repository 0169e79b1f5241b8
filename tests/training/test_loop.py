import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sagan_jax.config import TrainingConfig
from sagan_jax.detector import Detector
from sagan_jax.errors import UserError
from sagan_jax.training.loop import NotFiniteError, batch_at, fit, fit_many, normalise, train_epoch
from sagan_jax.training.plan import all_steps, plan_configured_epoch, plan_epoch, steps_of_epoch, steps_per_epoch

IMAGES = np.arange(20, dtype=np.uint8).reshape(20, 1, 1, 1) * np.ones((1, 2, 2, 1), np.uint8)


def summing_detector(bad_step=-1):
    """Not a method: remembers what it is shown, so that the loop around a method can be checked."""

    def init(key, image_shape):
        return {"step": jnp.zeros((), jnp.int32), "seen": jnp.zeros(256), "noise": jnp.zeros(())}

    def update(state, batch, key):
        values = ((batch[:, 0, 0, 0] + 1) * 127.5).round().astype(jnp.int32)
        loss = jnp.where(state["step"] == bad_step, jnp.nan, batch.mean())
        noise = state["noise"] + jax.random.uniform(key)
        state = {"step": state["step"] + 1, "seen": state["seen"].at[values].add(1), "noise": noise}
        return state, {"loss": loss, "other": jnp.ones(())}

    return Detector(init, update, score=lambda *_: None)


def test_normalisation_takes_bytes_to_minus_one_to_one():
    np.testing.assert_allclose(normalise(jnp.array([0, 255, 51], jnp.uint8)), [-1, 1, -0.6], rtol=1e-6)


def test_an_epoch_shows_every_image_once_but_for_the_remainder(key):
    detector = summing_detector()
    state, metrics = train_epoch(detector, detector.init(key, (2, 2, 1)), jnp.array(IMAGES), plan_epoch(key, 0, 20, 3))
    assert state["step"] == 6
    assert sorted(np.asarray(state["seen"][:20])) == [0, 0] + [1] * 18
    assert metrics["other"] == 1


def test_each_epoch_has_an_order_of_its_own_the_same_for_the_same_key(key):
    orders = [np.asarray(plan_epoch(key, epoch, 20, 5).order) for epoch in (0, 0, 1)]
    np.testing.assert_array_equal(orders[0], orders[1])
    assert (orders[0] != orders[2]).any()
    assert sorted(orders[2].ravel()) == list(range(20))


def test_without_a_number_of_steps_an_epoch_is_one_permutation(key):
    order_key, _ = jax.random.split(jax.random.fold_in(key, 2))
    expected = jax.random.permutation(order_key, 20)[:18].reshape(6, 3)
    np.testing.assert_array_equal(plan_epoch(key, 2, 20, 3).order, expected)
    np.testing.assert_array_equal(plan_configured_epoch(key, 2, 20, TrainingConfig(batch_size=3)).order, expected)


@pytest.mark.parametrize(("steps", "shown"), [(2, {0, 1}), (15, {2, 3}), (20, {3})])
def test_a_number_of_steps_is_kept_and_every_image_is_shown_as_often_but_for_one_time(key, steps, shown):
    plan = plan_epoch(key, 0, 20, 3, steps=steps)
    assert plan.order.shape == (steps, 3)
    assert set(np.bincount(plan.order.ravel(), minlength=20).tolist()) == shown


def test_steps_are_spread_over_the_epochs_however_many_images_there_are(key):
    detector, config = summing_detector(), TrainingConfig(epochs=2, steps=16, batch_size=5)
    assert steps_per_epoch(20, config) == steps_per_epoch(2000, config) == 8
    epochs = fit(detector, detector.init(key, (2, 2, 1)), IMAGES, config)
    assert int(next(epochs)[1]["step"]) == 8
    _, state, _ = next(epochs)
    assert int(state["step"]) == 16
    np.testing.assert_array_equal(state["seen"][:20], [4] * 20)  # 16 steps of 5 are four times the 20 images


@pytest.mark.parametrize("progress", [None, lambda *_: None])
def test_steps_that_the_epochs_do_not_divide_are_all_taken(key, progress):
    detector, config = summing_detector(), TrainingConfig(epochs=3, steps=11, batch_size=5)
    assert [steps_of_epoch(epoch, 20, config) for epoch in range(3)] == [3, 4, 4]
    assert (steps_per_epoch(20, config), all_steps(20, config)) == (4, 11)
    taken = [
        int(state["step"])
        for _, state, _ in fit(detector, detector.init(key, (2, 2, 1)), IMAGES, config, progress=progress)
    ]
    assert taken == [3, 7, 11]
    states = jax.tree.map(lambda leaf: leaf[None], detector.init(key, (2, 2, 1)))
    *_, (_, many, _) = fit_many(detector, states, IMAGES, np.arange(20)[None], [0], config)
    assert int(many["step"][0]) == 11


@pytest.mark.parametrize(("steps", "epochs"), [(1000, 7), (5, 5), (29, 3)])
def test_steps_are_spread_evenly_and_none_is_lost(steps, epochs):
    config = TrainingConfig(epochs=epochs, steps=steps)
    spread = [steps_of_epoch(epoch, 100, config) for epoch in range(epochs)]
    assert sum(spread) == steps
    assert max(spread) - min(spread) <= 1
    assert max(spread) == steps_per_epoch(100, config)


def test_where_the_calls_are_cut_changes_nothing(key):
    detector = summing_detector()
    seen = []
    whole = list(
        fit(detector, detector.init(key, (2, 2, 1)), IMAGES, TrainingConfig(epochs=2, batch_size=3, flip=True))
    )
    cut = fit(
        detector,
        detector.init(key, (2, 2, 1)),
        IMAGES,
        TrainingConfig(epochs=2, batch_size=3, flip=True),
        progress=lambda epoch, done, steps, metrics: seen.append((epoch, done, steps)),
    )
    *_, (epochs, state, metrics) = cut
    assert epochs == 2
    jax.tree.map(np.testing.assert_array_equal, state, whole[-1][1])
    assert metrics == whole[-1][2]
    assert seen[:2] == [(0, 0, 6), (0, 1, 6)]
    assert seen[-1] == (1, 6, 6)


def test_a_run_gone_on_with_ends_like_one_never_stopped(key):
    detector, config = summing_detector(), TrainingConfig(epochs=3, batch_size=4)
    *_, (_, whole, _) = fit(detector, detector.init(key, (2, 2, 1)), IMAGES, config)
    _, half, _ = next(fit(detector, detector.init(key, (2, 2, 1)), IMAGES, config))
    *_, (_, resumed, _) = fit(detector, half, IMAGES, config, first_epoch=1)
    jax.tree.map(np.testing.assert_array_equal, resumed, whole)


def test_a_loss_that_is_not_finite_stops_the_run_and_says_where(key):
    detector = summing_detector(bad_step=8)
    epochs = fit(detector, detector.init(key, (2, 2, 1)), IMAGES, TrainingConfig(epochs=3, batch_size=4))
    assert next(epochs)[0] == 1
    with pytest.raises(NotFiniteError, match=r"not finite in epoch 2, step 4 of 5: loss$"):
        next(epochs)


def test_flips_mirror_whole_images_left_to_right_about_half_the_time(key):
    images = jnp.tile(jnp.array([[0, 255]], jnp.uint8)[None, :, :, None], (400, 1, 1, 1))  # [400, 1, 2, 1]
    batch = batch_at(images, jnp.arange(400), key, flip=True)
    first = np.asarray(batch[:, 0, 0, 0])
    assert set(first) == {-1.0, 1.0}
    np.testing.assert_array_equal(first, -np.asarray(batch[:, 0, 1, 0]))
    assert 150 < (first == 1).sum() < 250
    np.testing.assert_array_equal(batch_at(images, jnp.arange(3), key, flip=False)[:, 0, 0, 0], [-1] * 3)


def test_too_few_images_for_a_batch_are_refused():
    assert steps_per_epoch(10, TrainingConfig(batch_size=5)) == 2
    with pytest.raises(UserError, match="4 training images do not fill one batch of 5"):
        steps_per_epoch(4, TrainingConfig(batch_size=5))


@pytest.mark.parametrize("how", ["vmap", "map"])
def test_many_models_at_once_come_out_as_each_alone(key, how):
    detector, config = summing_detector(), TrainingConfig(epochs=2, batch_size=4)
    subsets = np.stack([np.arange(0, 16), np.arange(4, 20)])
    states = jax.vmap(lambda key: detector.init(key, (2, 2, 1)))(jax.random.split(key, 2))
    *_, (epochs, states, metrics) = fit_many(detector, states, IMAGES, subsets, [7, 8], config, how=how)
    assert epochs == 2
    for model, (subset, seed) in enumerate(zip(subsets, (7, 8), strict=True)):
        alone_config = TrainingConfig(epochs=2, batch_size=4, seed=seed)
        *_, (_, alone, alone_metrics) = fit(detector, detector.init(key, (2, 2, 1)), IMAGES[subset], alone_config)
        np.testing.assert_array_equal(states["seen"][model], alone["seen"])
        np.testing.assert_array_equal(states["noise"][model], alone["noise"])
        assert metrics["loss"][model] == pytest.approx(alone_metrics["loss"], rel=1e-6)


def test_all_calls_of_all_epochs_run_one_compiled_program(key, caplog):
    detector = summing_detector()
    config = TrainingConfig(batch_size=2, epochs=2)
    with jax.log_compiles(), caplog.at_level("WARNING"):
        for _ in fit(detector, detector.init(key, (2, 2, 1)), IMAGES, config, progress=lambda *_: None):
            pass
    compiled = [record.message for record in caplog.records if record.message.startswith("Compiling jit(run_steps)")]
    assert len(compiled) == 1


@pytest.mark.parametrize(
    ("subsets", "seeds", "why"),
    [
        (np.arange(40).reshape(2, 20), [7, 8], "subsets must be indices of the 20 images"),
        (np.arange(-1, 15).reshape(2, 8), [7, 8], "subsets must be indices"),
        (np.arange(16).reshape(2, 8), [7], r"states, subsets and seeds is \[1, 2\]; it must be the same"),
    ],
)
def test_many_models_are_given_indices_of_the_images_and_a_seed_each(key, subsets, seeds, why):
    detector = summing_detector()
    states = jax.vmap(lambda key: detector.init(key, (2, 2, 1)))(jax.random.split(key, 2))
    with pytest.raises(UserError, match=why):
        next(fit_many(detector, states, IMAGES, subsets, seeds, TrainingConfig(epochs=1, batch_size=4)))


def test_a_pass_over_fewer_images_than_a_batch_is_refused(key):
    with pytest.raises(UserError, match="batch_size is 8; it must be from 1 to the number of images, 5"):
        plan_epoch(key, 0, 5, 8)
