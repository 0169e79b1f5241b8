import os

import numpy as np
import pytest

from sagan_jax.data import image_cache
from sagan_jax.data.split import Dataset, official_ids


@pytest.fixture
def dataset():
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3), np.uint8)
    labels, is_test = np.array([0, 1, 1], np.int32), np.array([False, False, True])
    return Dataset("name", ("plain", "T-shirt/top"), images, labels, official_ids(is_test), is_test)


@pytest.fixture
def stem(tmp_path, dataset):
    stem = tmp_path / "cache" / "set-1.0.0-native"  # the dots are part of the name
    image_cache.write_cache(stem, dataset)
    return stem


def test_what_is_read_is_what_was_written(stem, dataset):
    read = image_cache.read_cache(stem)
    assert isinstance(read.images, np.memmap)
    assert not read.images.flags.writeable
    for name, value in dataset._asdict().items():
        assert np.array_equal(getattr(read, name), value), name
        assert getattr(value, "dtype", None) == getattr(getattr(read, name), "dtype", None)
    assert all(type(class_name) is str for class_name in read.class_names)
    assert sorted(path.name for path in stem.parent.iterdir()) == [f"{stem.name}.npy", f"{stem.name}.npz"]


def cut(path):
    os.truncate(path, path.stat().st_size - 100)


def empty(path):
    os.truncate(path, 0)


def remove(path):
    path.unlink()


def flip_last_bit(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut, empty, remove, flip_last_bit])
def test_damaged_images_are_as_good_as_none(stem, damage):
    damage(stem.with_name(stem.name + ".npy"))
    assert image_cache.read_cache(stem) is None


@pytest.mark.parametrize("damage", [cut, empty, remove])
def test_damaged_labels_are_as_good_as_none(stem, damage):
    damage(stem.with_name(stem.name + ".npz"))
    assert image_cache.read_cache(stem) is None


def test_images_of_another_run_do_not_go_with_these_labels(stem, dataset):
    np.save(stem.with_name(stem.name + ".npy"), 255 - dataset.images)
    assert image_cache.read_cache(stem) is None


def test_objects_are_never_unpickled(stem):
    np.savez(stem.with_name(stem.name + ".npz"), crc32=np.array([object()], object))
    assert image_cache.read_cache(stem) is None


def test_a_folder_that_cannot_be_written_to_is_said_and_no_error(tmp_path, dataset, caplog):
    (tmp_path / "file").write_text("")
    image_cache.write_cache(tmp_path / "file" / "set", dataset)
    assert "not kept" in caplog.text


def test_a_write_cut_short_leaves_nothing_behind(tmp_path, dataset, monkeypatch):
    def full_disk(file, array, **kwargs):
        file.write(b"some bytes")
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "save", full_disk)
    image_cache.write_cache(tmp_path / "set", dataset)
    assert list(tmp_path.iterdir()) == []
