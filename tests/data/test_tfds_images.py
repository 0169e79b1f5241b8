import io
import json
import os
import socket
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from sagan_jax.data import tfds_images
from sagan_jax.data.split import leave_one_out
from sagan_jax.data.tfds_images import load_tfds
from sagan_jax.errors import UserError

TFDS_DATA_DIR = Path(os.environ.get("TFDS_DATA_DIR", ""))


def png(image, mode=None):
    file = io.BytesIO()
    Image.fromarray(image).convert(mode).save(file, "PNG")
    return file.getvalue()


def prepare(folder, name, parts, *, shape=(4, 6, 3), label=None, image=None):
    """Writes a data set with TFDS, which then knows nothing of it but the files.

    Args:
        folder: The TFDS data folder.
        name: The set's name.
        parts: For each part of the set a list of (encoded image, label).
        shape: What the set declares its images to be.
        label: Its label feature; classes ant, bee and cat by default.
        image: Its image feature, if more than the shape is to be said.
    """
    image = image or tfds.features.Image(shape=shape)
    label = label or tfds.features.ClassLabel(names=["ant", "bee", "cat"])

    class Images(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.2.0")

        def _info(self):
            features = tfds.features.FeaturesDict({"image": image, "label": label})
            return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

        def _split_generators(self, dl_manager):
            return {part: self._generate_examples(examples) for part, examples in parts.items()}

        def _generate_examples(self, examples):
            for i, (encoded, value) in enumerate(examples):
                yield i, {"image": encoded, "label": value}

    Images.name = name
    Images(data_dir=folder).download_and_prepare(file_format="array_record")
    return folder / name / "1.2.0"


@pytest.fixture
def pictures():
    """Five 4x6 RGB images; the last two are the test part."""
    return np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), np.uint8)


@pytest.fixture
def insects(tmp_path, pictures):
    """The folder of a prepared set of these pictures, with labels 0, 1, 2, 1, 0."""
    examples = [(png(picture), label) for picture, label in zip(pictures, [0, 1, 2, 1, 0], strict=True)]
    return prepare(tmp_path, "insects", {"train": examples[:3], "test": examples[3:]})


@pytest.fixture
def load(tmp_path):
    def load(name="insects", **arguments):
        return load_tfds(name, **{"data_dir": tmp_path, "cache_dir": tmp_path / "cache"} | arguments)

    return load


def test_a_prepared_set_is_read_without_its_code_image_by_image(insects, load, pictures):
    dataset = load()
    assert dataset.name == "insects"
    assert dataset.class_names == ("ant", "bee", "cat")
    assert np.array_equal(dataset.images, pictures)
    assert dataset.labels.tolist() == [0, 1, 2, 1, 0]
    assert dataset.labels.dtype == np.int32
    assert dataset.ids.tolist() == ["train/00000", "train/00001", "train/00002", "test/00000", "test/00001"]
    assert dataset.is_test.tolist() == [False, False, False, True, True]


def test_reading_a_prepared_set_leaves_the_network_alone(insects, load, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: pytest.fail("a host was looked up"))
    monkeypatch.setattr(socket.socket, "connect", lambda *args: pytest.fail("a connection was made"))
    assert len(load().images) == 5


def test_images_are_resized_as_pillow_does_it(insects, load, pictures):
    expected = [Image.fromarray(picture).resize((3, 3), Image.Resampling.BILINEAR) for picture in pictures]
    assert np.array_equal(load(size=3).images, np.stack([np.asarray(image) for image in expected]))


def test_shrinking_is_antialiased(tmp_path, load):
    stripes = np.zeros((64, 64, 1), np.uint8)
    stripes[:, ::2] = 200
    examples = [(png(stripes[..., 0]), 0)]
    prepare(tmp_path, "stripes", {"train": examples, "test": examples}, shape=(64, 64, 1))
    inner = load("stripes", size=8).images[0, 2:6, 2:6, 0]
    assert inner == pytest.approx(100, abs=4)  # without it, all stripes dark or all of them bright


def test_images_of_many_sizes_need_to_be_told_one(tmp_path, load, pictures):
    examples = [(png(pictures[0]), 0), (png(pictures[1, :2]), 1)]
    prepare(tmp_path, "mixed", {"train": examples, "test": examples}, shape=(None, None, 3))
    with pytest.raises(UserError, match=r"mixed.*differ in size"):
        load("mixed")
    images = load("mixed", size=5).images
    assert images.shape == (4, 5, 5, 3)
    wide = Image.fromarray(pictures[1, :2]).resize((5, 5), Image.Resampling.BILINEAR)
    assert np.array_equal(images[1], np.asarray(wide))


def test_grey_palette_and_transparent_files_become_what_the_set_promises(tmp_path, load, pictures):
    examples = [(png(pictures[0], mode), 0) for mode in ("RGB", "L", "P", "RGBA")]
    prepare(tmp_path, "modes", {"train": examples, "test": examples[:1]}, shape=(4, 6, 3))
    images = load("modes").images
    assert images.shape == (5, 4, 6, 3)
    assert np.array_equal(images[1, ..., 0], images[1, ..., 2])
    assert np.array_equal(images[3], pictures[0])


def test_a_second_load_decodes_nothing(insects, load, monkeypatch):
    first = load(size=3)
    monkeypatch.setattr(tfds_images, "_decode", lambda *args: pytest.fail("decoded again"))
    second = load(size=3)
    assert isinstance(second.images, np.memmap)
    for name, value in first._asdict().items():
        assert np.array_equal(getattr(second, name), value), name


def test_every_size_has_its_own_cache(insects, load):
    assert [load(size=size).images.shape[1:3] for size in (3, None, 5)] == [(3, 3), (4, 6), (5, 5)]


def test_images_cannot_be_changed_whether_cached_or_not(insects, load):
    for _ in range(2):
        with pytest.raises(ValueError, match="read-only"):
            load().images[0] = 0


def test_another_source_under_the_same_name_is_not_taken_from_the_cache(insects, load, tmp_path, pictures):
    assert np.array_equal(load().images[0], pictures[0])
    for file in insects.iterdir():
        file.unlink()
    insects.rmdir()
    examples = [(png(255 - picture), 0) for picture in pictures]
    prepare(tmp_path, "insects", {"train": examples[:3], "test": examples[3:]})
    assert np.array_equal(load().images[0], 255 - pictures[0])


def test_a_cut_off_cache_is_decoded_anew(insects, load, tmp_path, pictures):
    load()
    for suffix in (".npy", ".npz"):
        (file,) = (tmp_path / "cache").glob(f"*{suffix}")
        whole = file.read_bytes()
        os.truncate(file, len(whole) // 2)
        assert np.array_equal(load().images, pictures)
        assert len(file.read_bytes()) == len(whole)


def test_a_cache_folder_that_cannot_be_written_to_is_done_without(insects, load, tmp_path, pictures):
    (tmp_path / "file").write_text("")
    assert np.array_equal(load(cache_dir=tmp_path / "file" / "cache").images, pictures)


def test_the_data_folder_is_the_one_given_or_the_variables_or_tfds_own(insects, tmp_path, monkeypatch):
    cache_dir = tmp_path / "cache"
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="nowhere"):
        load_tfds("insects", cache_dir=cache_dir)
    assert len(load_tfds("insects", data_dir=tmp_path, cache_dir=cache_dir).images) == 5
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert len(load_tfds("insects", cache_dir=cache_dir).images) == 5
    monkeypatch.delenv("TFDS_DATA_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "tensorflow_datasets").symlink_to(tmp_path)
    assert len(load_tfds("insects", cache_dir=cache_dir).images) == 5


def test_the_cache_is_in_the_users_cache_folder(insects, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    load_tfds("insects", data_dir=tmp_path)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    load_tfds("insects", data_dir=tmp_path)
    for folder in ("xdg/sagan_jax", "home/.cache/sagan_jax"):
        assert len(list((tmp_path / folder).glob("insects-1.2.0-native-*.np[yz]"))) == 2


def test_progress_counts_up_to_all_images(insects, load, monkeypatch):
    monkeypatch.setattr(tfds_images, "_CHUNK", 2)
    calls = []
    load(progress=lambda done, count: calls.append((done, count)))
    assert calls == [(2, 5), (3, 5), (5, 5)]


def test_a_configuration_is_part_of_the_name(tmp_path, load, pictures):
    folder = prepare(tmp_path, "letters", {part: [(png(pictures[0]), 0)] for part in ("train", "test")})
    info = json.loads((folder / "dataset_info.json").read_text()) | {"configName": "big"}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    (folder.parent / "big").mkdir()
    folder.rename(folder.parent / "big" / "1.2.0")
    assert load("letters/big").name == "letters/big"


def test_validation_is_the_test_part_where_there_is_no_other(tmp_path, load, pictures):
    one = [(png(pictures[0]), 1)]
    prepare(tmp_path, "judged", {"train": one, "validation": one * 2})
    assert load("judged").is_test.tolist() == [False, True, True]
    prepare(tmp_path, "both", {"train": one, "validation": one * 2, "test": one * 3})
    assert load("both").is_test.tolist() == [False, True, True, True]


def test_a_set_without_a_test_part_is_an_error(tmp_path, load, pictures):
    prepare(tmp_path, "lessons", {"train": [(png(pictures[0]), 0)]})
    with pytest.raises(UserError, match=r"lessons.*parts train;.*test or validation"):
        load("lessons")


@pytest.mark.parametrize(
    ("features", "value", "reason"),
    [
        ({"label": tfds.features.Text()}, "ant", "needs image and label"),
        ({"label": tfds.features.ClassLabel(names=["ant"])}, -1, "without a label"),
        ({"image": tfds.features.Image(shape=(4, 6, 3), dtype=np.uint16, encoding_format="png")}, 0, "uint16"),
    ],
)
def test_sets_that_are_not_labelled_bytes_are_an_error(tmp_path, load, pictures, features, value, reason):
    one = [(png(pictures[0]), value)]
    prepare(tmp_path, "odd", {"train": one, "test": one}, **features)
    with pytest.raises(UserError, match=rf"odd.*{reason}"):
        load("odd")


def test_records_only_tensorflow_reads_are_said_to_be_so(insects, load):
    info = json.loads((insects / "dataset_info.json").read_text()) | {"fileFormat": "tfrecord"}
    (insects / "dataset_info.json").write_text(json.dumps(info))
    with pytest.raises(UserError, match="tfrecord, which only TensorFlow reads"):
        load()


def half(records):
    os.truncate(records, records.stat().st_size // 2)


def scribble(records):
    content = bytearray(records.read_bytes())
    content[300:400] = bytes(100)
    records.write_bytes(content)


@pytest.mark.parametrize("damage", [half, scribble, Path.unlink])
def test_broken_records_name_their_folder(insects, load, damage):
    (records,) = insects.glob("*test.array_record*")
    damage(records)
    with pytest.raises(UserError, match=r"insects.1\.2\.0 cannot be read"):
        load()


def test_a_folder_without_its_description_is_an_error(tmp_path, load):
    (tmp_path / "mnist" / "3.0.1").mkdir(parents=True)
    with pytest.raises(UserError, match=r"mnist.3\.0\.1 holds no dataset_info\.json"):
        load("mnist")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("cifr10", "did you mean cifar10"),
        ("svhn_croped", r"did you mean svhn_cropped\?"),  # TFDS may know a set twice
        ("emnist/lettrs", "lettrs"),
        ("cifar10:9.9.9", r"only: 3\.0\.2"),
        ("qqqqqqqq", "catalog lists them all"),
        ("no such thing", "neither prepared"),
    ],
)
def test_an_unknown_name_is_answered_with_what_is_near(load, name, hint):
    with pytest.raises(UserError, match=hint):
        load(name)


def test_a_size_of_nothing_is_an_error(load):
    with pytest.raises(UserError, match="size is 0"):
        load(size=0)


@pytest.mark.skipif(not (TFDS_DATA_DIR / "cifar10").is_dir(), reason="no CIFAR-10 in TFDS_DATA_DIR")
def test_cifar_10_leaves_45000_for_training_and_9000_and_6000_for_the_test(tmp_path):
    cifar = load_tfds("cifar10", data_dir=TFDS_DATA_DIR, cache_dir=tmp_path)
    assert cifar.images.shape == (60000, 32, 32, 3)
    assert np.bincount(cifar.labels[~cifar.is_test]).tolist() == [5000] * 10
    assert np.bincount(cifar.labels[cifar.is_test]).tolist() == [1000] * 10
    split = leave_one_out(cifar, "cat")
    assert len(split.train) == 45000
    assert (np.flatnonzero(split.test_labels) == np.arange(9000, 15000)).all()
    # Frogs sit in the green, ships on blue water and under blue sky.
    red, green, blue = np.moveaxis(cifar.images.reshape(60000, -1, 3).mean(axis=1), -1, 0)
    blueness = [float((blue - red)[cifar.labels == i].mean()) for i in range(10)]
    assert {cifar.class_names[i] for i in np.argsort(blueness)[-2:]} == {"airplane", "ship"}
    assert cifar.class_names[int(np.argmin(blueness))] == "frog"
