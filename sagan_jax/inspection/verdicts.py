"""Verdicts on anybody's image files: each gets a score, or the reason why it has none, whatever the others are."""

import operator
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, UInt8

from sagan_jax.atomic_file import replacing, shortened
from sagan_jax.data.image_file import as_array, decode, resize
from sagan_jax.data.patches import too_small
from sagan_jax.data.photographs import ahead_of
from sagan_jax.detector import Scores
from sagan_jax.errors import UnusableFile, UserError, printable
from sagan_jax.judging.calibration import called
from sagan_jax.judging.scorer import BATCH, Scorer
from sagan_jax.judging.scoring import filled_up, join_scores, score_photographs

_FEW = 2  # files that are read one after the other, without threads
_VIEW = 1024  # longer side of a photograph that a map is laid over, at most

Called = Literal["normal", "abnormal", "unusable"]


class Verdict(NamedTuple):
    """What is said of a file.

    Attributes:
        file: The file, as it was named.
        verdict: "unusable" if it could not be scored.
        score: The anomaly score; None if unusable.
        calibrated: The share of normal images that score lower, 0 to 1; None if unusable.
        threshold: What the score is compared with.
        reason: Why the file is unusable, else empty.
        map: The picture that shows where, if wanted.
    """

    file: str
    verdict: Called
    score: float | None
    calibrated: float | None
    threshold: float
    reason: str
    map: str


class Decoded(NamedTuple):
    """A file read: the image for the model and one to look at, or the reason why there is none."""

    path: Path
    image: UInt8[np.ndarray, "height width channel"] | None
    view: UInt8[np.ndarray, "view_height view_width channel"] | None
    reason: str


Draw = Callable[[Decoded, Float[np.ndarray, "height width"]], str]


def judge_files(
    scorer: Scorer,
    files: Sequence[Path],
    threshold: float,
    draw: Draw | None = None,
    content: Callable[[int], bytes | None] | None = None,
) -> Iterator[Verdict]:
    """A verdict a file, in order, as soon as it is there; memory does not grow with the number of files.

    Args:
        scorer: What scores them; with maps, if they are drawn.
        files: The files, decoded in parallel ahead of the scoring.
        threshold: The score above which an image is abnormal.
        draw: Given a file and its map [H, W], draws it and returns the picture's name; None draws nothing.
        content: Reads the content of the file of that number, or raises UserError; None, or if it gives None, the file
            is on a disk.

    Yields:
        The verdicts.
    """
    batch = BATCH if scorer.patches is None else 1
    for together in in_batches(_decoded(scorer, files, draw is not None, content), batch):
        yield from judge_decoded(scorer, together, threshold, draw)


def _decoded(
    scorer: Scorer, files: Sequence[Path], with_views: bool, content: Callable[[int], bytes | None] | None
) -> Iterable[Decoded]:
    """The files read, in order, those to come in threads meanwhile."""

    def read(number: int) -> Decoded:
        return read_for_scoring(
            scorer, files[number], with_views, None if content is None else partial(content, number)
        )

    if len(files) <= _FEW:
        return map(read, range(len(files)))
    import grain

    large = ahead_of(scorer.reading)
    whole = scorer.patches is None
    threads, kept = (min(8, os.cpu_count() or 1), 2 * BATCH) if whole else (min(2, large), large)
    dataset = grain.MapDataset.range(len(files)).map(read)
    return dataset.to_iter_dataset(grain.ReadOptions(threads, kept))


def read_for_scoring(
    scorer: Scorer, path: Path, with_view: bool, content: Callable[[], bytes | None] | None = None
) -> Decoded:
    """A file read as a scorer wants it, with an image to look at if that is wanted, or the reason why it cannot be.

    Args:
        scorer: What is to score it.
        path: The file.
        with_view: Whether there is to be an image to look at.
        content: Reads the file's content, or raises UserError, where it is not on a disk; the path then only names it.
            None, or if it gives None, the file is on a disk.
    """
    height, width, channels = scorer.image_shape
    try:
        wanted = (height, width) if scorer.patches is None else None
        held = None if content is None else content()
        photograph = decode(path, channels, scorer.reading, held, wanted)
        if wanted is None and (reason := too_small(photograph.height, photograph.width, height)):
            return Decoded(path, None, None, reason)
        image = as_array(photograph, wanted)
        if with_view and wanted is not None and scorer.reading.jpeg_margin:
            photograph = decode(path, channels, scorer.reading, held)  # to look at, all of it
    except UnusableFile as error:
        return Decoded(path, None, None, error.reason)
    if not with_view:
        return Decoded(path, image, None, "")
    photograph.thumbnail((_VIEW, _VIEW))
    return Decoded(path, image, as_array(photograph), "")


def judge_decoded(
    scorer: Scorer, together: Sequence[Decoded], threshold: float, draw: Draw | None = None
) -> Iterator[Verdict]:
    """Verdicts on a few files that are read, at most `BATCH` usable ones, or one of a model of patches."""
    images = [file.image for file in together if file.image is not None]
    scored = iter(_scores_of(scorer, images))
    for file in together:
        name = os.fspath(file.path)
        if file.image is None:
            yield Verdict(name, "unusable", None, None, threshold, file.reason, "")
            continue
        found = next(scored)
        if found is None:
            yield Verdict(name, "unusable", None, None, threshold, "the model gives it no finite score or map", "")
            continue
        score = float(found.total)
        verdict, share = called(scorer.calibration, score, threshold)
        picture = "" if draw is None else draw(file, found.map)
        yield Verdict(name, verdict, score, share, threshold, "", picture)


def _scores_of(scorer: Scorer, images: list[UInt8[np.ndarray, "height width channel"]]) -> list[Scores | None]:
    """The scores of each image, None where one is not finite: that must not cost the others theirs."""
    try:
        if not images:
            return []
        if scorer.patches is not None:
            return list(score_photographs(scorer.score, images, scorer.patches))
        scores = join_scores([filled_up(scorer.score, np.stack(images), BATCH)])
        return [jax.tree.map(operator.itemgetter(i), scores) for i in range(len(images))]
    except UserError:
        if len(images) == 1:
            return [None]
        return [scores for image in images for scores in _scores_of(scorer, [image])]


def in_batches(files: Iterable[Decoded], size: int) -> Iterator[list[Decoded]]:
    """Files in order, in lists of so many that can be scored and those between them that cannot."""
    together: list[Decoded] = []
    usable = 0
    for file in files:
        together.append(file)
        usable += file.image is not None
        if usable == size or len(together) >= 4 * size:
            yield together
            together, usable = [], 0
    if together:
        yield together


def picture_of(file: Path, folder: Path) -> Path:
    """Where a file's picture goes: in folders that mirror the file's, `..` as `__`."""
    parts = ["__" if part == ".." else part for part in file.parts if part != file.anchor]
    return folder.joinpath(*parts[:-1], f"{shortened(parts[-1] if parts else '.')}.png")  # a.png and a.jpg are two


def check_pictures(files: Iterable[Path], folder: Path) -> None:
    """Raises UserError if pictures can't go to a folder, two files would share one, or what is in it is to be scored.

    Args:
        files: All that are to be scored.
        folder: Where their pictures go.
    """
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not there.is_dir():
        raise UserError(f"{printable(there)}, where the pictures are to go, is not a folder")
    seen: dict[Path, Path] = {}
    inside = os.path.realpath(folder)
    lies_inside = cache(lambda place: Path(os.path.realpath(place)).is_relative_to(inside))
    for file in files:
        # Links to folders are followed, for they lead to what is in them; a link to a file lies where it is.
        if lies_inside(file if os.path.isdir(file) else file.parent):  # noqa: PTH112 (raises for too long a name)
            raise UserError(
                f"{printable(file)} is to be scored and lies in {printable(folder)}, where the pictures are to go; "
                "they are no photographs: name another folder with --maps"
            )
        other = seen.setdefault(picture_of(file, folder), file)
        if other != file:
            raise UserError(f"{printable(other)} and {printable(file)} would have one picture; score them apart")


def drawing_to(folder: Path, hottest: float | None) -> Draw:
    """Pictures of photographs with their maps laid over them, in a folder that mirrors where the files are.

    Args:
        folder: Where they go; made as needed.
        hottest: A map value that normal images rarely reach; it is the middle of the colours of every picture, so that
            pictures can be compared. None gives each picture the whole range.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from PIL import Image

    from sagan_jax.report.gallery import rgb
    from sagan_jax.report.thumbnails import overlay

    def draw(file: Decoded, heat: np.ndarray) -> str:
        assert file.view is not None
        heat = resize(heat, file.view.shape[:2])
        top = float(heat.max()) if hottest is None else 2 * hottest
        warmth = ScalarMappable(Normalize(0, top or 1.0), "inferno").to_rgba(heat, bytes=True)[..., :3]
        picture = picture_of(file.path, folder)
        picture.parent.mkdir(parents=True, exist_ok=True)
        with replacing(picture) as out:
            Image.fromarray(overlay(rgb(file.view), warmth)).save(out, "PNG")
        return os.fspath(picture)

    return draw
