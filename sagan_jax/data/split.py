"""From a labelled set of images to normal training images and a test set of normal and abnormal ones."""

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Int32, Shaped, UInt8

from sagan_jax.data.groups import Groups
from sagan_jax.data.image_file import USUAL, Reading
from sagan_jax.data.patches import Patches
from sagan_jax.data.photographs import Masks, Photographs
from sagan_jax.errors import UserError


class Dataset(NamedTuple):
    """A classification set, before any of its classes is called abnormal.

    Attributes:
        name: What the set is called in reports and file names, for instance ``"cifar10"``.
        class_names: One name a class; label ``i`` is ``class_names[i]``.
        images: C is 1 (grey) or 3 (RGB).
        labels: Indices into ``class_names``.
        ids: One string an image, its part of the set and its place there: ``"train/00017"``, ``"test/00003"``.
        is_test: True for the images of the set's own official test part.
    """

    name: str
    class_names: tuple[str, ...]
    images: UInt8[np.ndarray, "n height width channel"]
    labels: Int32[np.ndarray, " n"]
    ids: Shaped[np.ndarray, " n"]
    is_test: Bool[np.ndarray, " n"]


class Split(NamedTuple):
    """What a run sees: normal images to learn from, normal and abnormal ones to be tested on.

    Attributes:
        name: The data set's name.
        abnormal: What is abnormal here, a class's name.
        train: Normal images only.
        train_ids: The ids of ``train``.
        test: Normal images first, then the abnormal ones: the order the reference protocol depends on.
        test_labels: True = abnormal.
        test_ids: The ids of ``test``.
        test_kinds: What is wrong with each of ``test`` in a word, "good" for normal ones; None if unknown.
        test_masks: True where an image is abnormal; None if there are no masks.
        test_mask_known: Whether ``test_masks`` says what is abnormal in an image, or nothing is. Pixel metrics leave
            the others out. None if they use all.
        patches: How ``train`` and ``test``, then photographs of any size, are cut; None if they are taken whole.
        reading: How image files were read, and how later ones must be.
        groups: Which of ``train`` are held out together; None if each is held out on its own.
        notes: What a reader of the result should know about how the data were read, a sentence each.
    """

    name: str
    abnormal: str
    train: UInt8[np.ndarray, "n height width channel"] | Photographs
    train_ids: Shaped[np.ndarray, " n"]
    test: UInt8[np.ndarray, "m height width channel"] | Photographs
    test_labels: Bool[np.ndarray, " m"]
    test_ids: Shaped[np.ndarray, " m"]
    test_kinds: Shaped[np.ndarray, " m"] | None = None
    test_masks: Bool[np.ndarray, "m height width"] | Masks | None = None
    test_mask_known: Bool[np.ndarray, " m"] | None = None
    patches: Patches | None = None
    reading: Reading = USUAL
    groups: Groups | None = None
    notes: tuple[str, ...] = ()


def image_shape(split: Split) -> tuple[int, ...]:
    """[H, W, C] of what a detector is given of a split: images, or patches of them."""
    if split.patches is None:
        return split.train.shape[1:]
    assert isinstance(split.train, Photographs)
    return split.patches.shape(split.train.channels)


def image_count(split: Split, chosen: Int[np.ndarray, " chosen"]) -> int:
    """How many images, or patches of them, these of the training images come to."""
    if split.patches is None:
        return len(chosen)
    assert isinstance(split.train, Photographs)
    return split.train.take(chosen).count_patches(split.patches)


def train_checksum(split: Split) -> str:
    """A checksum of the training images: of their ids and pixels, or, of photographs on disk, of ids and lengths."""
    if not isinstance(split.train, Photographs):
        return content_checksum(split.train_ids, split.train)
    lengths = np.array([path.stat().st_size for path in split.train.paths], "<i8")
    return _checksum(split.train_ids, lengths.tobytes())


def content_checksum(ids: Sequence[Any] | np.ndarray, images: np.ndarray | Photographs) -> str:
    """A checksum of images by their ids and what they show: pixels, or the digests of photographs on disk."""
    if isinstance(images, Photographs):
        return _checksum(ids, b"".join(images.digests))
    return _checksum(ids, np.ascontiguousarray(images).data)


def _checksum(ids: Sequence[Any] | np.ndarray, content: bytes | memoryview) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in ids:
        digest.update(str(name).encode(errors="surrogateescape") + b"\0")
    digest.update(content)
    return digest.hexdigest()


def take(images: np.ndarray | Photographs | Masks, indices: Int[np.ndarray, " count"]) -> Any:
    """Some of the images or masks, of the kind they are: those on disk stay there."""
    return images[indices] if isinstance(images, np.ndarray) else images.take(indices)


def even_part(images: Shaped[np.ndarray, "count *shape"], most: int) -> Shaped[np.ndarray, "part *shape"]:
    """At most that many of the images, evenly spread over all."""
    return images[np.unique(np.linspace(0, len(images) - 1, min(len(images), most)).astype(int))]


def leave_one_out(dataset: Dataset, abnormal: str) -> Split:
    """Makes one class abnormal and all the others normal, as the paper's section 3 does.

    The official training images of the other classes are the training set. Their official test images are the normal
    part of the test set; its abnormal part is every image of the abnormal class, training and test images alike, since
    no training run sees that class. For CIFAR-10 that is 45,000 for training, and 9,000 + 6,000 for the test.

    Args:
        dataset: A whole set.
        abnormal: The abnormal class, by its name in ``dataset.class_names``.

    Returns:
        The split; within each of its parts the images keep the order they have in ``dataset``.

    Raises:
        UserError: If the set has no such class, two of one name, or labels that are not indices of its classes.
    """
    count = len(dataset.class_names)
    if len(set(dataset.class_names)) < count:
        raise UserError(f"{dataset.name} has two classes of one name: {', '.join(dataset.class_names)}")
    labels = dataset.labels
    if not np.issubdtype(labels.dtype, np.integer) or (labels.size and not 0 <= labels.min() <= labels.max() < count):
        raise UserError(f"{dataset.name} has labels that are not integers from 0 to {count - 1}, one a class")
    if abnormal not in dataset.class_names:
        raise UserError(f"{dataset.name} has no class {abnormal!r}; its classes are {', '.join(dataset.class_names)}")
    is_abnormal = dataset.labels == dataset.class_names.index(abnormal)
    train = np.flatnonzero(~is_abnormal & ~dataset.is_test)
    normal = np.flatnonzero(~is_abnormal & dataset.is_test)
    test = np.concatenate([normal, np.flatnonzero(is_abnormal)])
    return Split(
        name=dataset.name,
        abnormal=abnormal,
        train=np.asarray(dataset.images[train]),
        train_ids=dataset.ids[train],
        test=np.asarray(dataset.images[test]),
        test_labels=is_abnormal[test],
        test_ids=dataset.ids[test],
    )


def thinned(split: Split, train_images: int | None = None, test_images: int | None = None) -> Split:
    """The split with part of its images, evenly spread, in their order.

    Args:
        split: A whole split.
        train_images: How many training images are kept; None keeps all.
        test_images: How many test images are kept; None keeps all.

    Returns:
        The smaller split; the test set has normal and abnormal images in about the proportion it had.

    Raises:
        UserError: If there are not as many.
    """

    def spread(part: str, count: int | None, available: int) -> Int[np.ndarray, " kept"]:
        count = available if count is None else count
        if not 2 <= count <= available:
            raise UserError(f"{split.name} has {available} {part} images here; {count} of them cannot be kept")
        return np.linspace(0, available - 1, count).round().astype(int)

    train = spread("training", train_images, len(split.train))
    test = spread("test", test_images, len(split.test))
    return split._replace(
        train=take(split.train, train),
        train_ids=split.train_ids[train],
        groups=None if split.groups is None else split.groups.of(train),
        test=take(split.test, test),
        test_labels=split.test_labels[test],
        test_ids=split.test_ids[test],
        test_kinds=None if split.test_kinds is None else split.test_kinds[test],
        test_masks=None if split.test_masks is None else take(split.test_masks, test),
        test_mask_known=None if split.test_mask_known is None else split.test_mask_known[test],
    )


def hold_out(
    count: int, fraction: float, seed: int, groups: Groups | None = None
) -> tuple[Int[np.ndarray, " kept"], Int[np.ndarray, " held_out"]]:
    """Sets a random part of ``count`` images aside, the same part for the same seed.

    Args:
        count: How many images there are, at least 2.
        fraction: The part to hold out, more than 0 and less than 1. It is rounded to whole images, of which at least
            one is held out and at least one is kept.
        seed: Any integer from 0 up.
        groups: Images that are held out together; as many whole groups as come nearest to the fraction.

    Returns:
        The indices kept and the indices held out, each ascending; together they are 0 ... count - 1.

    Raises:
        UserError: If the fraction is out of range or there are fewer than two images.
    """
    held_out = held_out_count(count, fraction)
    rng = np.random.default_rng(seed)
    if groups is not None:
        chosen = np.isin(groups.numbers, _groups_of_about(held_out, np.bincount(groups.numbers), rng))
        return np.flatnonzero(~chosen), np.flatnonzero(chosen)
    order = rng.permutation(count)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def _groups_of_about(wanted: int, sizes: Int[np.ndarray, " groups"], rng: np.random.Generator) -> list[int]:
    """Random groups that have about as many images as wanted: one group or more, but not all."""
    order = rng.permutation(len(sizes))
    chosen: list[int] = []
    missing = wanted
    for group in order:
        if len(chosen) < len(sizes) - 1 and sizes[group] < 2 * missing:  # brings the sum nearer
            chosen.append(int(group))
            missing -= sizes[group]
    return chosen or [int(order[sizes[order].argmin()])]


def held_out_count(count: int, fraction: float) -> int:
    """How many of ``count`` images `hold_out` sets aside; raises UserError as it does."""
    if not 0 < fraction < 1:
        raise UserError(f"the fraction held out is {fraction}; it must lie between 0 and 1, both excluded")
    if count < 2:
        raise UserError(f"holding images out needs at least 2 of them, here there are {count}")
    return min(max(1, round(count * fraction)), count - 1)


def official_ids(is_test: Bool[np.ndarray, " n"]) -> Shaped[np.ndarray, " n"]:
    """Names every image by its official part and its place there, from 0: ``"train/00017"``, ``"test/00003"``."""
    place = np.where(is_test, np.cumsum(is_test), np.cumsum(~is_test)) - 1
    return np.array([f"{'test' if test else 'train'}/{i:05d}" for test, i in zip(is_test, place, strict=True)])
