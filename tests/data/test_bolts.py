import numpy as np
import pytest

from sagan_jax.data.bolts.scenes import KINDS, PARTS, bolt_scene, load_bolts
from sagan_jax.errors import UserError


def test_a_scene_is_the_same_whenever_it_is_made():
    first = bolt_scene(3, 1, size=32, abnormal="broken")
    bolt_scene(3, 0, size=32)
    again = bolt_scene(3, 1, size=32, abnormal="broken")
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert first[0].shape == (32, 32, 3)
    assert first[1].shape == (32, 32)


def test_seed_part_and_index_each_make_another_scene():
    scenes = [bolt_scene(seed, index, size=32, part=part)[0] for seed in (0, 1) for index in (0, 1) for part in PARTS]
    assert len({scene.tobytes() for scene in scenes}) == 12


def test_normal_scenes_are_unmarked():
    assert not any(bolt_scene(0, index, size=32)[1].any() for index in range(3))


@pytest.mark.parametrize("kind", KINDS)
def test_an_anomaly_is_marked_where_it_changes_the_picture(kind):
    # Outside there are its shadow and the automatic exposure's answer, inside only the thing itself.
    inside, outside, areas = [], [], []
    for index in range(3):
        image, mask = bolt_scene(0, index, abnormal=kind)
        change = np.abs(image.astype(float) - bolt_scene(0, index)[0]).mean(-1)
        inside.append(change[mask].mean())
        outside.append(change[~mask].mean())
        areas.append(mask.mean())
    assert np.mean(inside) > (20 if kind == "cracked" else 2.5) * np.mean(outside)
    assert min(areas) > 0.001
    assert max(areas) < 0.5


def test_small_pictures_are_the_large_one_reduced():
    large, large_mask = bolt_scene(0, 2, size=128, abnormal="missing")
    for size in (32, 64):
        small, mask = bolt_scene(0, 2, size=size, abnormal="missing")
        factor = 128 // size
        blocks = large.reshape(size, factor, size, factor, 3).mean((1, 3))
        np.testing.assert_allclose(small, blocks, atol=1)
        assert abs(mask.mean() - large_mask.mean()) < 0.03


def test_a_larger_picture_shows_the_same_scene():
    large, _ = bolt_scene(0, 2, size=256)
    reduced = large.reshape(128, 2, 128, 2, 3).mean((1, 3))
    small = bolt_scene(0, 2)[0]
    correlation = np.corrcoef(reduced.ravel(), small.ravel())[0, 1]
    assert correlation > 0.9
    assert correlation > np.corrcoef(bolt_scene(0, 3)[0].ravel(), small.ravel())[0, 1] + 0.2


def test_a_set_is_its_scenes_in_the_order_of_the_protocol():
    split = load_bolts(size=32, seed=5, train=3, test_normal=2, test_abnormal=6)
    assert split.train.shape == (3, 32, 32, 3)
    assert split.test_labels.tolist() == [False] * 2 + [True] * 6
    assert split.test_kinds is not None
    assert split.test_kinds.tolist() == ["good"] * 2 + [*KINDS, KINDS[0]]
    assert split.test_ids[2] == "test_abnormal/00000"
    assert split.test_masks is not None
    assert split.test_masks.any((1, 2)).tolist() == split.test_labels.tolist()
    np.testing.assert_array_equal(split.train[2], bolt_scene(5, 2, size=32)[0])
    image, mask = bolt_scene(5, 3, size=32, abnormal=KINDS[3], part="test_abnormal")
    np.testing.assert_array_equal(split.test[5], image)
    np.testing.assert_array_equal(split.test_masks[5], mask)


def test_a_cached_set_is_read_back_and_not_made_again(tmp_path):
    made = []
    counts = {"size": 16, "train": 2, "test_normal": 1, "test_abnormal": 2, "cache_dir": tmp_path / "new"}
    first = load_bolts(**counts, progress=made.append)
    again = load_bolts(**counts, progress=made.append)
    assert made == [1, 2, 3, 4, 5]
    for left, right in zip(first[2:], again[2:], strict=True):
        np.testing.assert_array_equal(left, right)
    assert load_bolts(**counts | {"seed": 1}).train.tobytes() != first.train.tobytes()
    assert len(list((tmp_path / "new").iterdir())) == 2


def test_what_is_not_allowed_is_said():
    with pytest.raises(UserError, match="allowed are None, missing, broken, cracked, loose, foreign"):
        bolt_scene(0, 0, abnormal="rusty")
    with pytest.raises(UserError, match="allowed are train, test_normal, test_abnormal"):
        bolt_scene(0, 0, part="test")
    with pytest.raises(UserError, match="size must be at least 16"):
        bolt_scene(0, 0, size=8)
    with pytest.raises(UserError, match="at least one training image"):
        load_bolts(train=0)
