"""Preparing CIFAR-10, MNIST, Fashion-MNIST, KMNIST and SVHN (cropped) for TFDS without TensorFlow.

TFDS's own builders of these sets read their archives and write their images through TensorFlow. Those here are the same
builders (name, version, features, addresses, checksums) with another way of reading and writing, so that what they
prepare is what TFDS would have, and TFDS reads it. This module imports TFDS and is itself imported only when a set must
be prepared.
"""

import contextlib
import importlib.util
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError
from tensorflow_datasets.core.download.resource import get_dl_fname
from tensorflow_datasets.datasets.svhn_cropped.svhn_cropped_dataset_builder import Builder as _SVHN

from sagan_jax.data.archives import (
    LabelledImages,
    read_cifar10,
    read_idx,
    read_svhn,
    reading_archive,
    require_ten_labels,
)
from sagan_jax.errors import UserError

# Debian and Ubuntu package the archives of one set; they are packed again, so their checksums are not the known ones.
_PACKAGED_ARCHIVES = {"fashion_mnist": Path("/usr/share/datasets/fashion-mnist")}
_TIMEOUT = 10  # seconds to wait for a host

Builder = Any  # a tfds.core.DatasetBuilder; TFDS's own annotations are too wide to check against


class Cifar10(tfds.image_classification.Cifar10, skip_registration=True):
    """CIFAR-10 from its binary archive."""

    url_infos = tfds.image_classification.Cifar10.url_infos
    archives: Path | None = None

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> Any:
        paths = _archive_paths(self, dl_manager)
        class_names, train, test = read_cifar10(paths["cifar-10-binary.tar.gz"])
        features: Any = self.info.features
        features["label"].names = class_names
        return {"train": _examples(train, id_prefix="train_"), "test": _examples(test, id_prefix="test_")}


class MNIST(tfds.image_classification.MNIST, skip_registration=True):
    """MNIST from its four idx files."""

    url_infos = tfds.image_classification.MNIST.url_infos
    archives: Path | None = None

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> Any:
        return _mnist_splits(_archive_paths(self, dl_manager))


class FashionMNIST(tfds.image_classification.FashionMNIST, skip_registration=True):
    """Fashion-MNIST from its four idx files, which are named as MNIST's are."""

    url_infos = tfds.image_classification.FashionMNIST.url_infos
    archives: Path | None = None

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> Any:
        return _mnist_splits(_archive_paths(self, dl_manager))


class KMNIST(tfds.image_classification.KMNIST, skip_registration=True):
    """Kuzushiji-MNIST from its four idx files, which are named as MNIST's are."""

    url_infos = tfds.image_classification.KMNIST.url_infos
    archives: Path | None = None

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> Any:
        return _mnist_splits(_archive_paths(self, dl_manager))


class SvhnCropped(_SVHN, skip_registration=True):
    """SVHN's cropped digits from its MATLAB files: the training and the test part, not the 1.2 GiB named extra."""

    pkg_dir_path = _SVHN._get_pkg_dir_path()
    url_infos = {url: info for url, info in (_SVHN.url_infos or {}).items() if "extra" not in url}  # noqa: RUF012
    archives: Path | None = None

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> Any:
        paths = _archive_paths(self, dl_manager)
        parts = {part: read_svhn(paths[f"{part}_32x32.mat"]) for part in ("train", "test")}
        return {part: _examples(images, id_prefix=f"{part}_", digits=6) for part, images in parts.items()}


_OWN: dict[str, Any] = {
    "cifar10": Cifar10,
    "mnist": MNIST,
    "fashion_mnist": FashionMNIST,
    "kmnist": KMNIST,
    "svhn_cropped": SvhnCropped,
}
"""The sets that are prepared without TensorFlow, by their names in TFDS."""


def prepare_set(builder: Builder, archives: Path | None = None) -> None:
    """Downloads a set and writes it to its TFDS data folder, in the array_record format.

    TFDS's download manager fetches the archives and checks them against the checksums TFDS has on record. An archive
    put into the data folder's ``downloads/manual`` under its own name is checked and used in place of a download.

    Args:
        builder: TFDS's own builder of the set, made with the data folder.
        archives: A folder that holds the set's archives, used as they are. Default: for Fashion-MNIST the files of the
            Debian package dataset-fashion-mnist, where it is installed; else none, and they are downloaded.

    Raises:
        UserError: If an archive cannot be found, downloaded or read, if the set needs TensorFlow to be prepared and
            that is not installed, or if the folder cannot be written to.
    """
    folder = Path(builder.data_dir_root)
    if builder.name in _OWN:
        builder = _OWN[builder.name](data_dir=folder)
        packaged = _PACKAGED_ARCHIVES.get(builder.name)
        builder.archives = archives or (packaged if packaged and packaged.is_dir() else None)
        if builder.archives is None:
            _require_network(builder, folder)
    elif importlib.util.find_spec("tensorflow") is None:
        raise UserError(
            f"{builder.name} is not prepared in {folder}, and TFDS prepares it with TensorFlow alone. Once, in an "
            "environment of its own:\n"
            f"  python -m venv tfds && tfds/bin/pip install tensorflow tensorflow-datasets\n"
            f"  {_build_command(builder, folder)}\n"
            "then run this again; a set is read if it has the parts train, and test or validation. Or do so on another "
            "machine and point --data-dir (or TFDS_DATA_DIR) at a copy of the folder. "
            f"Without TensorFlow there are {', '.join(_OWN)}"
        )
    try:
        with contextlib.redirect_stdout(sys.stderr):  # TFDS prints what it does
            builder.download_and_prepare(
                file_format="array_record",
                download_config=tfds.download.DownloadConfig(try_download_gcs=False),
            )
    except NonMatchingChecksumError as error:
        artifact = str(error).splitlines()[0].rstrip(":")
        raise UserError(f"{artifact}; remove that file and run this again") from error
    except (requests.RequestException, tfds.download.DownloadError) as error:
        raise _unobtainable(builder, folder, f"downloading it failed ({error})") from error
    except OSError as error:
        if not (builder.data_path / "dataset_info.json").exists():  # else another process was quicker
            raise UserError(f"{builder.name} cannot be prepared in {folder}: {error}") from error


def _build_command(builder: Builder, folder: Path) -> str:
    """The command of TFDS that prepares a set in a folder, in the format that is read without TensorFlow."""
    config = f"/{builder.builder_config.name}" if builder.builder_config else ""
    words = ["tfds/bin/tfds", "build", f"{builder.name}{config}", f"--data_dir={folder}", "--file_format=array_record"]
    return shlex.join(words)


def _mnist_splits(paths: dict[str, Path]) -> dict[str, Iterator]:
    splits = {}
    for split, prefix in (("train", "train"), ("test", "t10k")):
        images_path, labels_path = paths[f"{prefix}-images-idx3-ubyte.gz"], paths[f"{prefix}-labels-idx1-ubyte.gz"]
        images, labels = read_idx(images_path), read_idx(labels_path)
        with reading_archive(images_path, "a file of 28x28 images"):
            if images.shape[1:] != (28, 28):
                raise ValueError(f"it holds an array of shape {images.shape}")
        with reading_archive(labels_path, f"the labels of {images_path}"):
            if labels.shape != images.shape[:1]:
                raise ValueError(f"it holds an array of shape {labels.shape} for {len(images)} images")
            require_ten_labels(labels)
        splits[split] = _examples(LabelledImages(images, labels))
    return splits


def _examples(part: LabelledImages, id_prefix: str | None = None, digits: int = 5) -> Iterator[tuple[int, dict]]:
    """Yields each image with its place in the archive as key: by the keys TFDS picks the order, so it is TFDS's own."""
    for i, (image, label) in enumerate(zip(part.images, part.labels, strict=True)):
        example = {"image": Image.fromarray(image), "label": int(label)}  # TFDS writes Pillow's images as PNG
        yield i, example if id_prefix is None else example | {"id": f"{id_prefix}{i:0{digits}d}"}


def _archive_paths(builder: Builder, dl_manager: Any) -> dict[str, Path]:
    """Finds the set's archives by their names, in the folder given or through TFDS's download manager."""
    if builder.archives is not None:
        return {info.filename: builder.archives / info.filename for info in builder.url_infos.values()}
    paths = dl_manager.download({info.filename: url for url, info in builder.url_infos.items()})
    return {name: Path(path) for name, path in paths.items()}


def _require_network(builder: Builder, folder: Path) -> None:
    """Asks once for the first archive that is not here yet: TFDS itself would try for minutes."""
    downloads = folder / "downloads"
    for url, info in builder.url_infos.items():
        downloaded = downloads / builder.name / get_dl_fname(url, info.checksum)
        if downloaded.exists() or (downloads / "manual" / info.filename).exists():
            continue
        try:
            requests.head(url, allow_redirects=True, timeout=_TIMEOUT).raise_for_status()
        except requests.HTTPError as error:
            raise _unobtainable(builder, folder, str(error)) from error
        except requests.RequestException as error:
            reason = f"{urlsplit(url).netloc} cannot be reached ({type(error).__name__})"
            raise _unobtainable(builder, folder, reason) from error
        return


def _unobtainable(builder: Builder, folder: Path, reason: str) -> UserError:
    archives = ", ".join(info.filename for info in builder.url_infos.values())
    packaged = _PACKAGED_ARCHIVES.get(builder.name)
    package = "- or, on Debian and Ubuntu, install the package dataset-fashion-mnist;\n" if packaged else ""
    return UserError(
        f"{builder.name} is not prepared in {folder}, and {reason}. Either\n"
        f"- run this with --data-dir=FOLDER where there is a network, copy FOLDER/{builder.name} here\n"
        f"  and point --data-dir (or TFDS_DATA_DIR) at the folder it lies in;\n"
        f"- or put {archives}\n  into {folder / 'downloads' / 'manual'};\n"
        f"{package}"
        "- or take the data that needs no download: python -m experiments.digits"
    )
