"""Streaming: the same bits as from memory, an order that seed and epoch decide, errors that name the file."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from mean_detector import MEAN
from photographs import picture, save

from sagan_jax.config import TrainingConfig
from sagan_jax.data.patches import Patches, extract, windows
from sagan_jax.data.photographs import Photographs
from sagan_jax.errors import UserError
from sagan_jax.training.loop import fit
from sagan_jax.training.plan import plan_epoch
from sagan_jax.training.streaming import WAITING, Stream, fit_stream, fitted_images, open_epoch, training_images

CONFIG = TrainingConfig(epochs=3, batch_size=4, flip=True, seed=5)
CUT = Patches(8, 5)


@pytest.fixture
def photographs(tmp_path):
    paths = [save(tmp_path / f"{i:02d}.png", picture(i, (20 + i, 30, 3))) for i in range(10)]
    return Photographs(tuple(paths), np.array([(20 + i, 30) for i in range(10)]), 3, (8, 8))


def start(shape=(8, 8, 3)):
    return MEAN.init(jax.random.key(0), shape)


def test_whole_photographs_give_the_same_bits_streamed_as_from_memory(photographs):
    calls = []
    progress = lambda *call: calls.append(call[:3])  # noqa: E731
    streamed = list(fit_stream(MEAN, start(), Stream(photographs, None), CONFIG, progress=progress))
    assert [call for call in calls if call[1] in (0, 2)] == [(e, done, 2) for e in range(3) for done in (0, 2)]
    in_memory = list(fit(MEAN, start(), photographs[:], CONFIG))
    assert [epoch for epoch, _, _ in streamed] == [1, 2, 3]
    for (_, left, metrics), (_, right, expected) in zip(streamed[-1:], in_memory[-1:], strict=True):
        jax.tree.map(np.testing.assert_array_equal, left, right)
        assert 0 <= metrics.pop(WAITING) <= 1
        assert metrics == expected


@pytest.mark.parametrize("patches", [None, CUT])
def test_a_stream_taken_up_at_an_epoch_goes_on_in_the_same_bits(photographs, patches):
    stream = Stream(photographs if patches is None else unresized(photographs), patches)
    whole = [
        (jax.tree.map(np.asarray, state), metrics) for _, state, metrics in fit_stream(MEAN, start(), stream, CONFIG)
    ]
    ((state, _),) = [
        (state, metrics) for epoch, state, metrics in fit_stream(MEAN, whole[1][0], stream, CONFIG, first_epoch=2)
    ]
    jax.tree.map(np.testing.assert_array_equal, state, whole[-1][0])


def unresized(photographs):
    return replace(photographs, size=None)


def patches_of(epoch, photographs, seed=5):
    stream = Stream(photographs, CUT)
    plan = plan_epoch(jax.random.key(seed), epoch, len(stream), 4)
    batches = open_epoch(stream, plan, seed, epoch)
    try:
        return np.concatenate([np.asarray(next(batches)) for _ in range(len(stream) // 4)])
    finally:
        batches.close()


def test_an_epoch_deals_every_patch_once_in_an_order_that_seed_and_epoch_decide(photographs):
    photographs = unresized(photographs)
    dealt = patches_of(0, photographs)
    every = np.concatenate([extract(image, windows(*image.shape[:2], *CUT), 8) for image in photographs])
    assert len(every) == photographs.count_patches(CUT)
    assert len(dealt) == len(every) // 4 * 4
    left, right = ({patch.tobytes() for patch in patches} for patches in (dealt, every))
    assert left <= right
    assert len(left) == len(dealt)  # noise: no two patches are alike
    np.testing.assert_array_equal(patches_of(0, photographs), dealt)
    assert (patches_of(1, photographs) != dealt).any()
    assert (patches_of(0, photographs, seed=6) != dealt).any()


@pytest.mark.parametrize("steps", [None, 40])
def test_what_is_fitted_on_a_stream_has_each_image_once_as_from_memory(photographs, steps):
    config = replace(CONFIG, steps=steps)
    np.testing.assert_array_equal(fitted_images(Stream(photographs, None), config), photographs[:])
    cut = fitted_images(Stream(unresized(photographs), CUT), config)
    assert len(cut) == unresized(photographs).count_patches(CUT) // 4 * 4
    assert len({patch.tobytes() for patch in cut}) == len(cut)


def test_what_fits_in_memory_is_not_streamed(photographs):
    whole = unresized(photographs)
    count = whole.count_patches(CUT)
    array = training_images(whole, CUT, memory=count * 8.0 * 8 * 3)
    assert isinstance(array, np.ndarray)
    assert array.shape == (count, 8, 8, 3)
    np.testing.assert_array_equal(array[0], whole[0][:8, :8])
    assert isinstance(training_images(whole, CUT, memory=count * 8.0 * 8 * 3 - 1), Stream)


def test_a_file_that_is_gone_ends_the_epoch_with_its_name(photographs):
    photographs.paths[3].unlink()
    with pytest.raises(UserError, match=r"03\.png"):
        list(fit_stream(MEAN, start(), Stream(photographs, None), CONFIG))
