"""Any image classification set of TensorFlow Datasets (TFDS), read and prepared without TensorFlow."""

import difflib
import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sagan_jax.cache_folder import cache_folder, of_user
from sagan_jax.data import image_cache
from sagan_jax.data.split import Dataset, official_ids
from sagan_jax.errors import UserError, require

if TYPE_CHECKING:
    from sagan_jax.data.builders import Builder  # heavy

_CHUNK = 512  # images one thread reads and decodes at a time
_CACHE_FORMAT = 1  # to be raised when what is cached changes


def load_tfds(
    name: str,
    *,
    data_dir: str | Path | None = None,
    size: int | None = None,
    cache_dir: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Loads an image classification set by its TFDS name.

    A set found prepared in the data folder is read as it is and the network left alone. If it is not there, it is
    downloaded and prepared, for ``"cifar10"``, ``"mnist"``, ``"fashion_mnist"``, ``"kmnist"`` and ``"svhn_cropped"``
    without TensorFlow.

    The images are decoded once and then kept, uncompressed, in the cache folder. What is kept is used only as long as
    the prepared files are the same.

    Args:
        name: A TFDS name, with configuration and version where wanted: ``"cifar10"``, ``"emnist/letters"``,
            ``"cifar10:3.0.2"``. The set must have the features ``image`` and ``label`` and the parts ``train`` and
            ``test`` (or, failing that, ``validation``, which then is the test part). Other parts are left out.
        data_dir: Where TFDS data is kept. Default: ``$TFDS_DATA_DIR``, or else ``~/tensorflow_datasets``.
        size: Height and width to resize to, bilinearly with antialiasing and whatever the image's proportions. None
            keeps the images as they are, which they must all have in common.
        cache_dir: Where decoded images are kept. Default: ``$XDG_CACHE_HOME/sagan_jax``, or else
            ``~/.cache/sagan_jax``.
        progress: Called while decoding, now and then, with the number of images done and of all images.

    Returns:
        The set, training images first; the images are read-only and may be memory-mapped.

    Raises:
        UserError: If the set is unknown, unfit, or neither prepared nor obtainable.
    """
    require(size is None or size >= 1, "the image size", size, "at least 1 pixel")
    builder = _prepared_builder(name, _data_folder(data_dir))
    stem = _cache_folder(cache_dir) / _cache_name(builder, size)
    dataset = image_cache.read_cache(stem)
    if dataset is None:
        try:
            dataset = _decode(builder, size, progress)
        except (RuntimeError, OSError) as error:  # what array_record and Pillow raise
            advice = "prepare it again or copy it whole"
            raise UserError(f"{builder.data_path} cannot be read; {advice}: {error}") from error
        image_cache.write_cache(stem, dataset)
    return dataset


def _data_folder(data_dir: str | Path | None) -> Path:
    return of_user(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets", "TFDS_DATA_DIR")


def _cache_folder(cache_dir: str | Path | None) -> Path:
    return cache_folder() if cache_dir is None else of_user(cache_dir, "the cache folder")


def _prepared_builder(name: str, folder: Path) -> "Builder":
    """Finds the set in the data folder, in whatever version it is there, or else prepares it there."""
    import tensorflow_datasets as tfds

    try:
        # Asked for a version, even any, TFDS looks at the files first, and needs no code to read them.
        builder = tfds.builder(name if ":" in name else f"{name}:*.*.*", data_dir=folder)
    except tfds.core.DatasetNotFoundError as error:
        near = difflib.get_close_matches(name, sorted(set(tfds.list_builders(with_community_datasets=False))))
        hint = f"did you mean {' or '.join(near)}?" if near else "tensorflow.org/datasets/catalog lists them all"
        raise UserError(f"TFDS has no data set {name!r}, and none is prepared in {folder}; {hint}") from error
    except (ValueError, AssertionError) as error:
        raise UserError(f"{name!r} is neither prepared in {folder} nor known to TFDS: {error}") from error
    if (builder.data_path / "dataset_info.json").exists():
        return builder
    if builder.data_path.exists():
        raise UserError(f"{builder.data_path} holds no dataset_info.json, so it is not a complete TFDS set; remove it")
    from sagan_jax.data.builders import prepare_set

    _require_labelled_images(builder)  # before it is downloaded
    prepare_set(builder)
    return tfds.builder_from_directory(builder.data_path)


def _cache_name(builder: "Builder", size: int | None) -> str:
    """Names the set, its version and the size, and has a hash of the files that were decoded."""
    files = [(file.name, file.stat()) for file in sorted(Path(builder.data_path).iterdir())]
    identity = json.dumps([_CACHE_FORMAT, *[(name, stat.st_size, stat.st_mtime_ns) for name, stat in files]]).encode()
    sized = f"{size}px" if size else "native"
    return f"{builder.info.full_name.replace('/', '-')}-{sized}-{hashlib.sha256(identity).hexdigest()[:16]}"


def _decode(builder: "Builder", size: int | None, progress: Callable[[int, int], None] | None) -> Dataset:
    from PIL import Image

    shape = _image_shape(builder, size)
    mode = "L" if shape[2] == 1 else "RGB"
    train, test = _open_parts(builder)
    count = len(train) + len(test)
    images = np.empty((count, *shape), np.uint8)  # [N, H, W, C]
    labels = np.empty(count, np.int32)

    def decode_chunk(source: Any, start: int, first: int) -> int:
        """Decodes the images of ``source`` from ``start`` on to where ``first`` is the first one's place."""
        examples = source.__getitems__(list(range(start, min(start + _CHUNK, len(source)))))
        for i, example in enumerate(examples, first):
            with Image.open(BytesIO(example["image"])) as file:
                image = file.convert(mode)  # some sets have a few grey, palette or CMYK files among RGB ones
            if size is not None:
                image = image.resize((size, size), Image.Resampling.BILINEAR)
            images[i] = np.asarray(image).reshape(shape)
            labels[i] = example["label"]
        return len(examples)

    chunks = [(train, start, start) for start in range(0, len(train), _CHUNK)]
    chunks += [(test, start, len(train) + start) for start in range(0, len(test), _CHUNK)]
    done = 0
    with ThreadPoolExecutor() as threads:  # Pillow lets other threads run while it decodes
        for decoded in threads.map(decode_chunk, *zip(*chunks, strict=True)):
            done += decoded
            if progress is not None:
                progress(done, count)

    if labels.min() < 0:
        raise UserError(f"{builder.info.full_name} has images without a label, so nothing can be measured on it")
    images.flags.writeable = False
    is_test = np.arange(count) >= len(train)
    return Dataset(
        name=builder.info.full_name.rpartition("/")[0],  # without the version
        class_names=tuple(builder.info.features["label"].names),
        images=images,
        labels=labels,
        ids=official_ids(is_test),
        is_test=is_test,
    )


def _open_parts(builder: "Builder") -> list[Any]:
    """Opens the training and the test part for random access, the images left encoded."""
    import tensorflow_datasets as tfds

    name, parts = builder.info.full_name, list(builder.info.splits)
    test = "test" if "test" in parts else "validation"
    if not {"train", test} <= set(parts):
        raise UserError(f"{name} has the parts {', '.join(parts)}; it needs train, and test or validation")
    try:
        return builder.as_data_source(["train", test], decoders={"image": tfds.decode.SkipDecoding()})
    except NotImplementedError as error:
        raise UserError(
            f"{builder.data_path} was prepared as {builder.info.file_format.value}, which only TensorFlow reads; "
            'prepare it again with download_and_prepare(file_format="array_record")'
        ) from error


def _image_shape(builder: "Builder", size: int | None) -> tuple[int, int, int]:
    """Height, width and channels of the images to come; an error if the set is not one of labelled uint8 images."""
    _require_labelled_images(builder)
    name, features = builder.info.full_name, builder.info.features
    height, width, channels = features["image"].shape
    if size is not None:
        height = width = size
    if height is None or width is None:
        raise UserError(f"the images of {name} differ in size; give the size to resize them to")
    return height, width, 1 if channels == 1 else 3


def _require_labelled_images(builder: "Builder") -> None:
    import tensorflow_datasets as tfds

    name, features = builder.info.full_name, dict(builder.info.features.items())
    for key, kind in (("image", tfds.features.Image), ("label", tfds.features.ClassLabel)):
        if not isinstance(features.get(key), kind):
            wanted = "it needs image and label"
            raise UserError(f"{name} is not an image classification set: {wanted}, and has {[*features]}")
    if features["image"].np_dtype != np.uint8:
        raise UserError(f"the images of {name} are {np.dtype(features['image'].np_dtype)}; only uint8 ones are read")
