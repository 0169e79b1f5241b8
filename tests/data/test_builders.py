import gzip
import hashlib
import http.server
import importlib.util
import io
import shlex
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import simple_parsing
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.core.download.checksums import UrlInfo

from sagan_jax.data import archives, builders
from sagan_jax.data.tfds_images import load_tfds
from sagan_jax.errors import UserError

CLASS_NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
DEBIAN_FILES = Path("/usr/share/datasets/fashion-mnist")
IDX_FILES = [f"{part}-{kind}-ubyte.gz" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]


def build_args():
    """The arguments of TFDS's command `build`."""
    from tensorflow_datasets.scripts.cli import build

    return build.Args


def cifar10_records(count, seed):
    """Bytes as in the binary archive: the label, then 1,024 red, green and blue pixels each."""
    records = np.random.default_rng(seed).integers(0, 256, (count, 3073), np.uint8)
    records[:, 0] = np.arange(count) % 10
    return records


def write_cifar10(path, change=None):
    """Writes an archive of 5 times 4 training images and 12 test images; ``change`` may alter its files before."""
    records = {f"data_batch_{i}.bin": cifar10_records(4, seed=i) for i in range(1, 6)}
    records["test_batch.bin"] = cifar10_records(12, seed=6)
    files = {name: record.tobytes() for name, record in records.items()}
    files |= {"batches.meta.txt": "\n".join([*CLASS_NAMES, ""]).encode(), "readme.html": b"<html>"}
    if change is not None:
        change(files)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return np.concatenate(list(records.values())[:5]), records["test_batch.bin"]


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(header + array.tobytes()))


def write_mnist(folder, train=30, test=10, shape=(28, 28)):
    rng = np.random.default_rng(0)
    for prefix, count in (("train", train), ("t10k", test)):
        write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", rng.integers(0, 256, (count, *shape), np.uint8))
        write_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", (np.arange(count) % 10).astype(np.uint8))


def official(name, folder):
    return tfds.builder(name, data_dir=folder)


def known_as(monkeypatch, cls, path, url):
    """Has TFDS expect the file at ``path`` under ``url``, as it expects the true archive by its checksum."""
    content = path.read_bytes()
    info = UrlInfo(size=len(content), checksum=hashlib.sha256(content).hexdigest(), filename=path.name)
    monkeypatch.setattr(cls, "url_infos", {url: info})


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A folder whose files a local web server gives out, the server's address, and what was asked of it."""
    folder, asked = tmp_path / "served", []
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def do_GET(self):
            if "cut-off" in self.path:
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                self.wfile.write(bytes(500))  # and no more
            else:
                super().do_GET()

        def log_request(self, code="-", size="-"):
            asked.append(f"{self.command} {self.path}")

        def log_message(self, format, *args):
            pass

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


def test_a_cifar_10_record_is_a_label_and_three_planes(tmp_path):
    train, test = write_cifar10(tmp_path / "cifar-10-binary.tar.gz")
    class_names, read_train, read_test = archives.read_cifar10(tmp_path / "cifar-10-binary.tar.gz")
    assert class_names == CLASS_NAMES
    assert read_train.images.shape == (20, 32, 32, 3)
    assert read_test.images.shape == (12, 32, 32, 3)
    assert read_train.labels.tolist() == [0, 1, 2, 3] * 5
    # Row 5, column 7 of training image 6 (the third of the second file): byte 1 + 5 * 32 + 7 of its record is red.
    assert read_train.images[6, 5, 7].tolist() == train[6, [168, 168 + 1024, 168 + 2048]].tolist()
    assert np.array_equal(read_test.images[11, :, :, 2].ravel(), test[11, 2049:])


def test_an_idx_file_is_a_big_endian_shape_and_bytes(tmp_path):
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 10, 11, 12, 20, 21, 255])))
    assert archives.read_idx(path).tolist() == [[10, 11, 12], [20, 21, 255]]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda files: files.pop("data_batch_3.bin"), "no data_batch_3.bin"),
        (lambda files: files.pop("batches.meta.txt"), "no batches.meta.txt"),
        (lambda files: files.update({"batches.meta.txt": b"ant\nbee\n"}), "names 2 classes"),
        (lambda files: files.update({"test_batch.bin": files["test_batch.bin"][:-1]}), "multiple"),
        (lambda files: files.update({"test_batch.bin": b"\x0a" + bytes(3072)}), "label 10"),
    ],
)
def test_a_foreign_cifar_10_archive_is_named_with_what_is_wrong(tmp_path, change, reason):
    write_cifar10(tmp_path / "cifar-10-binary.tar.gz", change)
    with pytest.raises(UserError, match=rf"cifar-10-binary\.tar\.gz is not.*{reason}"):
        archives.read_cifar10(tmp_path / "cifar-10-binary.tar.gz")


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.6, 0.99])
def test_a_truncated_cifar_10_archive_is_named(tmp_path, kept):
    path = tmp_path / "cifar-10-binary.tar.gz"
    write_cifar10(path)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(UserError, match=r"cifar-10-binary\.tar\.gz is not"):
        archives.read_cifar10(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        gzip.compress(b"hello", mtime=0),
        gzip.compress(bytes([0, 0, 9, 1, 0, 0, 0, 1, 5]), mtime=0),  # signed bytes
        gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 3, 5, 6]), mtime=0),  # three announced, two there
        gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 1, 5, 6]), mtime=0),  # one announced, two there
        gzip.compress(bytes([0, 0, 8, 3, 0, 0]), mtime=0),
        gzip.compress(bytes([0, 0, 8]), mtime=0),
        gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 1, 5]), mtime=0)[:-5],
    ],
)
def test_a_truncated_or_foreign_idx_file_is_named(tmp_path, content):
    (tmp_path / "x.gz").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.gz is not a gzipped idx file"):
        archives.read_idx(tmp_path / "x.gz")


def test_a_prepared_cifar_10_is_to_tfds_its_own(tmp_path):
    train, test = write_cifar10(tmp_path / "archives" / "cifar-10-binary.tar.gz")
    builders.prepare_set(official("cifar10", tmp_path), archives=tmp_path / "archives")
    prepared = tfds.builder("cifar10", data_dir=tmp_path)
    assert prepared.info.full_name == "cifar10/3.0.2"
    assert prepared.info.features["label"].names == CLASS_NAMES
    assert prepared.info.file_format == tfds.core.FileFormat.ARRAY_RECORD
    for split, records in (("train", train), ("test", test)):
        examples = {example["id"].decode(): example for example in prepared.as_data_source(split)}
        assert sorted(examples) == [f"{split}_{i:05d}" for i in range(len(records))]
        for i, record in enumerate(records):
            example = examples[f"{split}_{i:05d}"]
            assert example["label"] == record[0]
            assert np.array_equal(example["image"].transpose(2, 0, 1).ravel(), record[1:])


@pytest.mark.parametrize(("name", "first_class"), [("mnist", "0"), ("fashion_mnist", "T-shirt/top"), ("kmnist", "o")])
def test_mnist_and_its_kin_are_prepared_and_read(tmp_path, name, first_class):
    write_mnist(tmp_path / "archives", train=30, test=10)
    builders.prepare_set(official(name, tmp_path), archives=tmp_path / "archives")
    dataset = load_tfds(name, data_dir=tmp_path, cache_dir=tmp_path / "cache")
    assert dataset.images.shape == (40, 28, 28, 1)
    assert dataset.is_test.sum() == 10
    assert dataset.class_names[0] == first_class
    archived = archives.read_idx(tmp_path / "archives" / "train-images-idx3-ubyte.gz")
    stored = dataset.images[~dataset.is_test][..., 0]
    assert sorted(image.tobytes() for image in stored) == sorted(image.tobytes() for image in archived)
    place = [image.tobytes() for image in archived].index(stored[4].tobytes())
    assert dataset.labels[4] == place % 10  # the labels moved with their images


@pytest.mark.parametrize(
    ("file", "array", "reason"),
    [
        ("train-images-idx3-ubyte.gz", np.zeros((30, 27, 28), np.uint8), r"shape \(30, 27, 28\)"),
        ("train-images-idx3-ubyte.gz", np.zeros((0, 28, 28), np.uint8), r"shape \(30,\) for 0 images"),
        ("t10k-labels-idx1-ubyte.gz", np.zeros(9, np.uint8), r"shape \(9,\) for 10 images"),
        ("t10k-labels-idx1-ubyte.gz", np.full(10, 10, np.uint8), "label 10"),
    ],
)
def test_archives_that_do_not_go_together_are_named_and_nothing_is_prepared(tmp_path, file, array, reason):
    write_mnist(tmp_path / "archives", train=30, test=10)
    write_idx(tmp_path / "archives" / file, array)
    with pytest.raises(UserError, match=reason):
        builders.prepare_set(official("mnist", tmp_path), archives=tmp_path / "archives")
    assert list(tmp_path.glob("mnist/*")) == []


def test_a_missing_archive_is_named(tmp_path):
    with pytest.raises(UserError, match=r"cifar-10-binary\.tar\.gz.*No such file"):
        builders.prepare_set(official("cifar10", tmp_path), archives=tmp_path)


def test_tfds_knows_the_checksum_of_every_archive():
    archives = {
        builders.Cifar10: ["cifar-10-binary.tar.gz"],
        builders.MNIST: IDX_FILES,
        builders.FashionMNIST: IDX_FILES,
        builders.KMNIST: IDX_FILES,
        builders.SvhnCropped: ["train_32x32.mat", "test_32x32.mat"],
    }
    for cls, names in archives.items():
        assert {info.filename for info in cls.url_infos.values()} == set(names)
        assert all(len(info.checksum) == 64 for info in cls.url_infos.values())


def test_an_archive_is_downloaded_checked_and_prepared_at_the_first_load(tmp_path, served, monkeypatch):
    folder, address, asked = served
    write_cifar10(folder / "cifar-10-binary.tar.gz")
    url = f"{address}/cifar-10-binary.tar.gz"
    known_as(monkeypatch, builders.Cifar10, folder / "cifar-10-binary.tar.gz", url)
    dataset = load_tfds("cifar10", data_dir=tmp_path, cache_dir=tmp_path / "cache")
    assert dataset.images.shape == (32, 32, 32, 3)
    assert asked == ["HEAD /cifar-10-binary.tar.gz", "GET /cifar-10-binary.tar.gz"]
    again = load_tfds("cifar10", data_dir=tmp_path, cache_dir=tmp_path / "other")
    assert np.array_equal(again.images, dataset.images)
    assert len(asked) == 2


def test_a_download_with_another_checksum_is_not_used(tmp_path, served, monkeypatch):
    folder, address, _ = served
    path = folder / "cifar-10-binary.tar.gz"
    write_cifar10(path)
    known_as(monkeypatch, builders.Cifar10, path, f"{address}/{path.name}")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="wrong checksum"):
        load_tfds("cifar10", data_dir=tmp_path, cache_dir=tmp_path / "cache")
    assert list(tmp_path.glob("cifar10/*")) == []


def test_an_archive_put_there_by_hand_needs_no_network(tmp_path, monkeypatch):
    path = tmp_path / "downloads" / "manual" / "cifar-10-binary.tar.gz"
    write_cifar10(path)
    known_as(monkeypatch, builders.Cifar10, path, "http://127.0.0.1:9/cifar-10-binary.tar.gz")
    monkeypatch.setattr(builders.requests, "head", lambda *args, **kwargs: pytest.fail("the network was asked"))
    assert len(load_tfds("cifar10", data_dir=tmp_path, cache_dir=tmp_path / "cache").images) == 32


def test_without_a_network_the_error_comes_at_once_and_says_what_to_do(tmp_path, monkeypatch):
    write_cifar10(tmp_path / "cifar-10-binary.tar.gz")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    url = "http://127.0.0.1:9/cifar-10-binary.tar.gz"  # the discard port: nobody listens
    known_as(monkeypatch, builders.Cifar10, tmp_path / "cifar-10-binary.tar.gz", url)
    start = time.monotonic()
    with pytest.raises(UserError) as raised:
        load_tfds("cifar10", data_dir=tmp_path / "data", cache_dir=tmp_path / "cache")
    assert time.monotonic() - start < 5
    for said in (str(tmp_path / "data"), "127.0.0.1:9", "--data-dir", "TFDS_DATA_DIR", "python -m experiments.digits"):
        assert said in str(raised.value)


def test_a_host_that_has_it_no_longer_is_told_from_no_network(tmp_path, served, monkeypatch):
    _, address, asked = served
    write_cifar10(tmp_path / "cifar-10-binary.tar.gz")
    known_as(monkeypatch, builders.Cifar10, tmp_path / "cifar-10-binary.tar.gz", f"{address}/gone.tar.gz")
    with pytest.raises(UserError, match=r"404(.|\n)*experiments\.digits"):
        load_tfds("cifar10", data_dir=tmp_path / "data", cache_dir=tmp_path / "cache")
    assert asked == ["HEAD /gone.tar.gz"]  # nothing was tried after the first answer


def test_a_download_that_breaks_off_says_what_else_can_be_done(tmp_path, served, monkeypatch):
    folder, address, _ = served
    write_cifar10(folder / "cut-off.tar.gz")
    known_as(monkeypatch, builders.Cifar10, folder / "cut-off.tar.gz", f"{address}/cut-off.tar.gz")
    with pytest.raises(UserError, match=r"downloading it failed(.|\n)*experiments\.digits"):
        load_tfds("cifar10", data_dir=tmp_path / "data", cache_dir=tmp_path / "cache")


def test_a_folder_that_cannot_be_written_to_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    write_mnist(tmp_path / "archives")
    folder = tmp_path / "file" / "data"
    with pytest.raises(UserError, match="mnist cannot be prepared"):
        builders.prepare_set(official("mnist", folder), archives=tmp_path / "archives")


def test_losing_a_race_against_another_process_is_no_error(tmp_path, monkeypatch):
    write_mnist(tmp_path / "archives")

    def also_prepared_elsewhere(paths):
        monkeypatch.undo()
        builders.prepare_set(official("mnist", tmp_path), archives=tmp_path / "archives")
        return builders._mnist_splits(paths)

    monkeypatch.setattr(builders, "_mnist_splits", also_prepared_elsewhere)
    builders.prepare_set(official("mnist", tmp_path), archives=tmp_path / "archives")
    assert len(load_tfds("mnist", data_dir=tmp_path, cache_dir=tmp_path / "cache").images) == 40
    assert [path.name for path in (tmp_path / "mnist").iterdir()] == ["3.0.1"]


@pytest.mark.parametrize(
    ("name", "built"),
    [("oxford_iiit_pet", "oxford_iiit_pet"), ("eurosat", "eurosat/rgb"), ("emnist", "emnist/byclass")],
)
def test_sets_that_tfds_prepares_with_tensorflow_come_with_a_command_that_tfds_takes(
    tmp_path, name, built, monkeypatch
):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    folder = tmp_path / "a folder"
    with pytest.raises(UserError, match=f"{name} is not prepared in .*TensorFlow") as raised:
        builders.prepare_set(official(name, folder))
    (command,) = [line for line in str(raised.value).splitlines() if " build " in line]
    program, *arguments = shlex.split(command)
    assert program == "tfds/bin/tfds"
    parser = simple_parsing.ArgumentParser()  # the parser of TFDS's own command
    parser.add_subparsers(dest="command").add_parser("build").add_arguments(build_args(), dest="build")
    parsed = parser.parse_args(arguments).build
    assert parsed.positional_datasets == [built]
    assert Path(parsed.paths.data_dir) == folder
    assert parsed.generation.file_format == "array_record"


def test_a_set_without_labels_is_refused_before_it_is_downloaded(tmp_path, monkeypatch):
    monkeypatch.setattr(builders, "prepare_set", lambda builder: pytest.fail("it was to be prepared"))
    with pytest.raises(
        UserError, match=r"celeb_a/2\.1\.0 is not an image classification set: it needs image and label"
    ):
        load_tfds("celeb_a", data_dir=tmp_path)


def write_svhn(path, count, seed):
    """Writes a MATLAB file of so many images, labelled 1 to 10; returns images and labels."""
    images = np.random.default_rng(seed).integers(0, 256, (32, 32, 3, count), np.uint8)
    labels = (1 + np.arange(count) % 10).astype(np.uint8)[:, None]
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, {"X": images, "y": labels})
    return images, labels


def test_svhn_is_prepared_as_tfds_would_have_it(tmp_path):
    for part, count in (("train", 30), ("test", 11)):
        images, labels = write_svhn(tmp_path / f"archives/{part}_32x32.mat", count, seed=count)
    builders.prepare_set(official("svhn_cropped", tmp_path), archives=tmp_path / "archives")
    prepared = tfds.builder("svhn_cropped", data_dir=tmp_path)
    assert prepared.info.full_name == "svhn_cropped/3.1.0"
    examples = {example["id"].decode(): example for example in prepared.as_data_source("test")}
    assert sorted(examples) == [f"test_{i:06d}" for i in range(11)]
    for i in range(11):
        example = examples[f"test_{i:06d}"]
        assert np.array_equal(example["image"], images[..., i])
        assert example["label"] == labels[i, 0] % 10  # the file has 10 for a 0
    dataset = load_tfds("svhn_cropped", data_dir=tmp_path, cache_dir=tmp_path / "cache")
    assert dataset.images.shape == (41, 32, 32, 3)
    assert dataset.class_names == tuple("0123456789")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"X": np.zeros((32, 32, 3, 4), np.uint8)}, "no y in it"),
        ({"X": np.zeros((32, 32, 3, 4), np.uint8), "y": np.ones((3, 1))}, r"shape \(3, 1\) for 4 images"),
        ({"X": np.zeros((32, 32, 3, 4), np.uint8), "y": np.zeros((4, 1))}, "labels from 0 to 0"),
        ({"X": np.zeros((32, 32, 3, 4)), "y": np.ones((4, 1))}, "X is float64"),
        (b"", "a MATLAB file of SVHN"),
        (b"MATLAB 5.0" + bytes(500), "a MATLAB file of SVHN"),
        (bytes(range(256)) * 9, "a MATLAB file of SVHN"),
    ],
)
def test_a_foreign_file_of_svhn_is_named_with_what_is_wrong(tmp_path, content, reason):
    path = tmp_path / "train_32x32.mat"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        scipy.io.savemat(path, content)
    with pytest.raises(UserError, match=rf"train_32x32\.mat is not.*{reason}"):
        archives.read_svhn(path)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_a_truncated_file_of_svhn_is_named(tmp_path, kept):
    path = tmp_path / "train_32x32.mat"
    write_svhn(path, 20, seed=0)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(UserError, match=r"train_32x32\.mat is not a MATLAB file of SVHN"):
        archives.read_svhn(path)


def test_with_tensorflow_other_sets_are_prepared_by_tfds_itself(tmp_path, monkeypatch):
    class Dots(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {"image": tfds.features.Image(shape=(2, 2, 3)), "label": tfds.features.ClassLabel(names=["a"])}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples(), "test": self._generate_examples()}

        def _generate_examples(self):
            yield 0, {"image": Image.fromarray(np.full((2, 2, 3), 9, np.uint8)), "label": 0}

    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *args: name == "tensorflow" or find_spec(name, *args))
    builders.prepare_set(Dots(data_dir=tmp_path))
    dataset = load_tfds("dots", data_dir=tmp_path, cache_dir=tmp_path / "cache")
    assert (dataset.images == 9).all()


@pytest.mark.skipif(not DEBIAN_FILES.is_dir(), reason="the Debian package dataset-fashion-mnist is not installed")
def test_the_files_of_debians_package_are_read_and_prepared(tmp_path):
    arrays = {file: archives.read_idx(DEBIAN_FILES / file) for file in IDX_FILES}
    assert [array.shape for array in arrays.values()] == [(60000, 28, 28), (60000,), (10000, 28, 28), (10000,)]
    assert np.bincount(arrays["train-labels-idx1-ubyte.gz"]).tolist() == [6000] * 10
    for file, array in arrays.items():
        write_idx(tmp_path / file, array[:500])  # all of them would take ten seconds
    builders.prepare_set(official("fashion_mnist", tmp_path), archives=tmp_path)
    dataset = load_tfds("fashion_mnist", data_dir=tmp_path, cache_dir=tmp_path / "cache")
    assert dataset.images.shape == (1000, 28, 28, 1)
    # A sneaker lies at the bottom of its picture; trousers reach to the top.
    top = {name: dataset.images[dataset.labels == i, :4].mean() for i, name in enumerate(dataset.class_names)}
    assert top["Sneaker"] < 1 < 20 < top["Trouser"]


@pytest.mark.skipif(not DEBIAN_FILES.is_dir(), reason="the Debian package dataset-fashion-mnist is not installed")
def test_debians_package_is_used_where_it_is_installed(tmp_path, monkeypatch):
    monkeypatch.setattr(builders.requests, "head", lambda *args, **kwargs: pytest.fail("the network was asked"))
    used = []
    monkeypatch.setattr(
        builders.FashionMNIST, "download_and_prepare", lambda self, **kwargs: used.append(self.archives)
    )
    builders.prepare_set(official("fashion_mnist", tmp_path))
    assert used == [DEBIAN_FILES]
