import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagan_jax.data.photographs import Photographs
from sagan_jax.data.split import Dataset, hold_out, leave_one_out, official_ids, train_checksum
from sagan_jax.errors import UserError


def numbered(labels, is_test, class_names):
    """A set of one-pixel images, each of which is its own index modulo 256."""
    labels, is_test = np.asarray(labels, np.int32), np.asarray(is_test, bool)
    images = np.arange(len(labels)).astype(np.uint8).reshape(-1, 1, 1, 1)
    return Dataset("numbered", class_names, images, labels, official_ids(is_test), is_test)


@pytest.fixture
def animals():
    #                  0  1  2  3  4  5  6  7, of which 3, 6 and 7 are the official test images
    return numbered([0, 1, 2, 0, 1, 2, 1, 2], [0, 0, 0, 1, 0, 0, 1, 1], ("ant", "bee", "cat"))


def test_normal_test_images_come_first_and_then_all_abnormal_ones(animals):
    split = leave_one_out(animals, "bee")
    assert split.train.ravel().tolist() == [0, 2, 5]
    assert split.test.ravel().tolist() == [3, 7, 1, 4, 6]
    assert split.test_labels.tolist() == [False, False, True, True, True]
    assert split.train_ids.tolist() == ["train/00000", "train/00002", "train/00004"]
    assert split.test_ids.tolist() == ["test/00000", "test/00002", "train/00001", "train/00003", "test/00001"]
    assert (split.name, split.abnormal) == ("numbered", "bee")


def test_no_image_is_in_both_parts(animals):
    for name in animals.class_names:
        split = leave_one_out(animals, name)
        assert not set(split.train_ids) & set(split.test_ids)


def test_a_set_of_cifar_10s_counts_splits_into_45000_and_9000_and_6000():
    labels = np.tile(np.arange(10), 6000)
    split = leave_one_out(numbered(labels, np.arange(60000) >= 50000, tuple("abcdefghij")), "d")
    assert split.train.shape == (45000, 1, 1, 1)
    assert split.test.shape == (15000, 1, 1, 1)
    assert split.test_labels.sum() == 6000
    assert not split.test_labels[:9000].any()
    assert len(set(split.train_ids) | set(split.test_ids)) == 60000  # 5,000 + 1,000 of class d are all in the test


def test_an_unknown_class_is_answered_with_those_there_are(animals):
    with pytest.raises(UserError, match=r"no class 'dog'.*ant, bee, cat"):
        leave_one_out(animals, "dog")


def test_ids_count_within_each_official_part():
    ids = official_ids(np.array([True, False, False, True]))
    assert ids.tolist() == ["test/00000", "train/00000", "train/00001", "test/00001"]


@given(count=st.integers(2, 300), fraction=st.floats(0.001, 0.999), seed=st.integers(0, 5))
def test_both_sides_of_a_hold_out_are_the_whole_and_neither_is_empty(count, fraction, seed):
    kept, held_out = hold_out(count, fraction, seed)
    assert sorted([*kept, *held_out]) == list(range(count))
    assert len(kept) >= 1
    assert len(held_out) >= 1
    assert abs(len(held_out) - count * fraction) <= 1


def test_five_percent_of_45000_is_2250_and_depends_on_the_seed_alone():
    kept, held_out = hold_out(45000, 0.05, seed=7)
    assert (len(kept), len(held_out)) == (42750, 2250)
    assert np.array_equal(held_out, hold_out(45000, 0.05, seed=7)[1])
    assert not np.array_equal(held_out, hold_out(45000, 0.05, seed=8)[1])
    assert abs(held_out.mean() - 22500) < 1000  # drawn from everywhere; a standard error is 274


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_a_fraction_that_leaves_a_side_empty_is_an_error(fraction):
    with pytest.raises(UserError, match="between 0 and 1"):
        hold_out(100, fraction, seed=0)


def test_one_image_cannot_be_shared_between_two_sides():
    with pytest.raises(UserError, match="at least 2"):
        hold_out(1, 0.5, seed=0)


def test_the_checksum_tells_other_pixels_other_names_and_another_order(animals, tmp_path):
    split = leave_one_out(animals, "bee")
    swapped = split._replace(train=split.train[::-1], train_ids=split.train_ids[::-1])
    others = [split._replace(train=split.train + 1), split._replace(train_ids=split.train_ids[::-1]), swapped]
    assert len({train_checksum(one) for one in (split, *others)}) == 4
    assert train_checksum(split) == train_checksum(split._replace(test=split.test + 1, name="other"))


def test_the_checksum_of_photographs_on_disk_tells_a_file_of_another_length(tmp_path, animals):
    paths = [tmp_path / name for name in "ab"]
    for path in paths:
        path.write_bytes(b"some")
    photographs = Photographs(tuple(paths), np.ones((2, 2), int))
    split = leave_one_out(animals, "bee")._replace(train=photographs, train_ids=np.array(["a", "b"]))
    before = train_checksum(split)
    assert train_checksum(split) == before
    paths[1].write_bytes(b"others")
    assert train_checksum(split) != before


@pytest.mark.parametrize(
    ("names", "labels", "why"),
    [
        (("a", "b"), [1, 2], "labels that are not integers from 0 to 1"),
        (("a", "b"), [0.0, 1.0], "labels that are not integers"),
        (("a", "a"), [0, 1], "two classes of one name"),
    ],
)
def test_labels_that_name_no_class_are_refused(names, labels, why):
    images, ids = np.zeros((2, 4, 4, 1), np.uint8), np.array(["x", "y"])
    with pytest.raises(UserError, match=why):
        leave_one_out(Dataset("set", names, images, np.array(labels), ids, np.zeros(2, bool)), "a")
