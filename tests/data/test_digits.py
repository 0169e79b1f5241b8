import numpy as np
import pytest
from sklearn import datasets

from sagan_jax.data.digits import load_digits
from sagan_jax.data.split import leave_one_out
from sagan_jax.errors import UserError


@pytest.fixture(scope="module")
def digits():
    return load_digits()


def test_all_1797_scans_are_there_as_grey_bytes_with_their_labels(digits):
    assert digits.images.shape == (1797, 32, 32, 1)
    assert digits.images.dtype == np.uint8
    assert digits.labels.tolist() == datasets.load_digits().target.tolist()
    assert digits.class_names == ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")


def test_at_the_scans_own_size_16_becomes_255_and_nothing_else_changes():
    scans = datasets.load_digits().images  # 0..16
    images = load_digits(size=8).images[..., 0]
    assert images.max() == 255
    assert np.array_equal(np.rint(images * (16 / 255)), scans)


def test_resizing_is_bilinear_between_pixel_centres(digits):
    scan, image = load_digits(size=8).images[0, ..., 0].astype(float), digits.images[0, ..., 0]
    # At 4 times the size, centre 9 lies at (9 + 0.5) / 4 - 0.5 = 1.875 of the scan, centre 16 at 3.625.
    by_hand = 0.125 * (0.375 * scan[1, 3] + 0.625 * scan[1, 4]) + 0.875 * (0.375 * scan[2, 3] + 0.625 * scan[2, 4])
    assert image[9, 16] == pytest.approx(by_hand, abs=1.5)  # rounded once for either axis


def test_the_official_like_split_cuts_between_two_forms(digits):
    first_test = int(np.argmax(digits.is_test))
    assert (first_test, digits.is_test.sum()) == (1415, 382)
    assert digits.is_test[first_test:].all()
    # A form starts by counting to 9 three times, and nowhere within is there the like.
    counting = np.tile(np.arange(10), 3)
    starts = [i for i in range(1797 - 30) if np.array_equal(digits.labels[i : i + 30], counting)]
    assert first_test in starts
    assert starts.index(first_test) >= 10
    assert np.bincount(digits.labels[digits.is_test]).min() == 35


def test_leaving_3_out_gives_1271_for_training_and_343_and_183_for_the_test(digits):
    split = leave_one_out(digits, "3")
    assert len(split.train) == 1271
    assert (len(split.test), split.test_labels.sum()) == (343 + 183, 183)
    assert split.test_ids[0] == "test/00000"


def test_a_size_of_nothing_is_an_error():
    with pytest.raises(UserError, match="size is 0"):
        load_digits(size=0)
