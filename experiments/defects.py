r"""Further sets to develop on: real photographs that Python packages ship, with defects drawn into copies of them.

    python -m experiments.defects --source=brick --out=sets/brick
    python -m experiments.defects --source=fashion_mnist --normal="Ankle boot" --out=sets/boots
    python -m experiments.defects --source=cloth.png --out=sets/cloth

Writes a folder in MVTec AD's layout: train/good, test/good, test/<kind of defect>, and masks. The images are real; the
defects are synthetic, and of eight kinds that training with damage does not draw. Results on them say so. A photograph
of your own, or `brick`, `grass`, `gravel` (scikit-image), is cut into squares, those of the test from the right of it,
those of training from tiles of its left: `sagan train --group='tile\d+'` holds out whole tiles, for squares of one
overlap. Any data set of the other experiments gives whole images of one class. Some seconds on 2 cores.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from experiments.datasets import TfdsConfig, load_dataset
from sagan_jax.data.image_file import read_image
from sagan_jax.data.image_format import IMAGE_SUFFIXES
from sagan_jax.errors import UserError, printable, require
from sagan_jax.flags import run_experiment

SHIPPED = ("brick", "grass", "gravel")
TRAINED_ON = 0.6
"""The part of a photograph's width that training squares are cut from."""
_SEEN = 0.004
"""The share of an image that a defect must change for it to be seen."""

_Square = Float[np.ndarray, "height width channel"]
_Plane = Float[np.ndarray, "height width"]


@dataclass(frozen=True, kw_only=True)
class Defects:
    """Write a folder of real images, some of them with a synthetic defect, and masks of these."""

    source: str
    """A photograph's file; `brick`, `grass` or `gravel`; or a data set as in the other experiments."""
    out: Path
    """The folder to be made."""
    normal: str | None = None
    """The class of the data set that is normal; all of them by default."""
    size: int = 64
    """Side in pixels of the images."""
    train_images: int = 300
    test_images: int = 160
    """Test images: one of three has no defect."""
    seed: int = 0
    tfds: TfdsConfig = field(default_factory=TfdsConfig)

    def __post_init__(self) -> None:
        """Raises UserError for a value no set can have."""
        require(self.size >= 16, "size", self.size, "at least 16")
        require(self.train_images >= 1, "train_images", self.train_images, "at least 1")
        require(self.test_images >= 3, "test_images", self.test_images, "at least 3")
        require(self.seed >= 0, "seed", self.seed, "at least 0")

    def __call__(self) -> None:
        """Writes the files and says how many."""
        if self.out.exists() and any(self.out.iterdir()):
            raise UserError(f"{self.out} is there already, and not empty; name a folder to be made")
        rng = np.random.default_rng(self.seed)
        if self.source in SHIPPED:
            train, test = self._squares(rng, _shipped(self.source))
        elif Path(self.source).is_file():
            train, test = self._squares(rng, read_image(self.source))
        elif Path(self.source).suffix.lower() in IMAGE_SUFFIXES:
            raise UserError(f"{printable(self.source)}: there is no such file")
        else:
            train, test = self._classes(rng)
        for name, image in train.items():
            _save(self.out / "train" / "good" / f"{name}.png", image)
        kinds = list(DEFECTS)
        for i, image in enumerate(test):
            if i % 3 == 0:
                _save(self.out / "test" / "good" / f"{i:04}.png", image)
                continue
            first = (i - i // 3 - 1) % len(kinds)
            kind, spoiled, mask = _seen_defect(rng, image, (*kinds[first:], *kinds[:first]))
            _save(self.out / "test" / kind / f"{i:04}.png", spoiled)
            _save(self.out / "ground_truth" / kind / f"{i:04}_mask.png", np.where(mask, 255, 0).astype(np.uint8))
        print(f"{len(train)} and {len(test)} images written to {self.out}")

    def _squares(self, rng: Generator, photograph: np.ndarray) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
        """Squares of a photograph, for training and for the test: no pixel is in both, nor in two tiles of training."""
        height, width = photograph.shape[:2]
        cut = round(TRAINED_ON * width)
        if self.size > min(height, cut, width - cut):
            raise UserError(f"{self.source} has {width} x {height} pixels: too few for squares of {self.size}")

        def squares(count: int, tiles: Int[np.ndarray, "tile 4"]) -> list[np.ndarray]:
            top_left, bottom_right = np.split(np.resize(tiles, (count, 4)), 2, axis=1)  # the tiles in turn
            places = rng.integers(top_left, bottom_right - self.size + 1)
            return [photograph[y : y + self.size, x : x + self.size] for y, x in places]

        tiles = _tiles(height, cut, self.size)
        train = squares(self.train_images, tiles)
        named = {f"tile{i % len(tiles):02}_{i:04}": square for i, square in enumerate(train)}
        return named, squares(self.test_images, np.array([[0, cut, height, width]]))

    def _classes(self, rng: Generator) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
        """Images of a class of a data set, for training by name and for the test."""
        dataset = load_dataset(self.source, self.size, self.tfds.data_dir)
        chosen = np.arange(len(dataset.images))
        if self.normal is not None:
            if self.normal not in dataset.class_names:
                raise UserError(
                    f"normal is {self.normal!r}; {self.source} has {', '.join(map(repr, dataset.class_names))}"
                )
            chosen = np.flatnonzero(np.asarray(dataset.labels) == dataset.class_names.index(self.normal))
        wanted = self.train_images + self.test_images
        if len(chosen) < wanted:
            raise UserError(f"{wanted} images are wanted; {self.source} has {len(chosen)} such images")
        images = [np.squeeze(dataset.images[i]) for i in rng.permutation(chosen)[:wanted]]
        train = {f"{i:04}": image for i, image in enumerate(images[: self.train_images])}
        return train, images[self.train_images :]


def _shipped(name: str) -> UInt8[np.ndarray, "height width"]:
    """A photograph that scikit-image ships."""
    try:
        data = import_module("skimage.data")  # no dependency of this project
    except ImportError as error:
        raise UserError("scikit-image ships this photograph: pip install scikit-image") from error
    return np.asarray(getattr(data, name)())


def _tiles(height: int, width: int, size: int) -> Int[np.ndarray, "tile 4"]:
    """A photograph in tiles half again as long as a square is, about: top, left, bottom, right of each."""
    rows, columns = (np.linspace(0, side, max(1, int(side / (1.5 * size))) + 1).astype(int) for side in (height, width))
    return np.array([(top, left, bottom, right) for top, bottom in pairwise(rows) for left, right in pairwise(columns)])


def _seen_defect(
    rng: Generator, image: UInt8[np.ndarray, "..."], kinds: Sequence[str]
) -> tuple[str, UInt8[np.ndarray, "..."], np.ndarray]:
    """The first of these kinds that can be seen on an image (a smear of one colour cannot), with what it gives."""
    for kind in kinds:
        spoiled, mask = with_defect(rng, image, kind)
        if mask.mean() >= _SEEN:
            return kind, spoiled, mask
    raise UserError("an image of one colour, on which no defect can be seen; name another source")


def with_defect(
    rng: Generator, image: UInt8[np.ndarray, "..."], kind: str
) -> tuple[UInt8[np.ndarray, "..."], np.ndarray]:
    """Draws a defect into a copy of an image until it can be seen, or twenty times.

    Args:
        rng: Decides everything drawn.
        image: uint8, [H, W] or [H, W, C].
        kind: A key of `DEFECTS`.

    Returns:
        The image with the defect, as the image was; where it differs by 8 grey levels or more, bool [H, W].
    """
    square = np.atleast_3d(image).astype(np.float32) / 255.0  # [H, W, C]
    spoiled, changed = square, np.zeros(square.shape[:2], bool)
    for _ in range(20):
        spoiled = np.clip(DEFECTS[kind](rng, square), 0, 1)
        changed = np.abs(spoiled - square).max(axis=-1) >= 8 / 255
        if changed.mean() >= _SEEN:
            break
    return np.rint(spoiled * 255).astype(np.uint8).reshape(image.shape), changed


def _stamp(rng: Generator, square: _Square) -> _Square:
    """Letters in ink, lighter or darker than what is under them."""
    height, width = square.shape[:2]
    drawing = Image.new("F", (width, height))
    size = int(rng.integers(height // 6, height // 3))
    letters = "".join(rng.choice(list("ABCEFHKNRSTXZ2458"), int(rng.integers(1, 4))))
    left, top = rng.integers((0, 0), (width * 2 // 3, height * 2 // 3))
    ImageDraw.Draw(drawing).text((float(left), float(top)), letters, fill=1.0, font=ImageFont.load_default(size))
    ink = np.asarray(drawing)[..., None] * rng.uniform(0.4, 0.9)
    return square * (1 - ink) + ink * rng.choice([0.05, 0.95])


def _swirl(rng: Generator, square: _Square) -> _Square:
    """The surface turned about a point, as cloth or wood grain is."""
    y, x, distance, radius = _around(rng, square, (0.1, 0.25))
    turn = rng.choice([-1, 1]) * rng.uniform(1.2, 3.0) * np.exp(-((distance / (0.6 * radius)) ** 2))
    cos, sin = np.cos(turn), np.sin(turn)
    return _moved(square, y * cos - x * sin - y, y * sin + x * cos - x)


def _drop(rng: Generator, square: _Square) -> _Square:
    """A drop of water: it enlarges what is under it, and has a bright spot."""
    y, x, distance, radius = _around(rng, square, (0.07, 0.16))
    inside = _soft(radius - distance)
    seen = _moved(square, -0.5 * y * inside, -0.5 * x * inside)
    spot = np.exp(-(((y + 0.4 * radius) ** 2 + (x + 0.4 * radius) ** 2) / (0.25 * radius) ** 2)) * inside
    rim = np.exp(-(((distance - radius) / 1.2) ** 2)) * 0.25
    return seen + (0.7 * spot - rim)[..., None]


def _rows(rng: Generator, square: _Square) -> _Square:
    """Rows or columns of a sensor that are dead or too bright."""
    spoiled = square.copy()
    lines = spoiled if rng.random() < 0.5 else spoiled.swapaxes(0, 1)
    first, count = int(rng.integers(len(lines) - 4)), int(rng.integers(1, 4))
    start, end = np.sort(rng.integers(0, len(lines), 2)) if rng.random() < 0.5 else (0, len(lines))
    lines[first : first + count, start:end] += rng.choice([-1, 1]) * rng.uniform(0.15, 0.4)
    return spoiled


def _hole(rng: Generator, square: _Square) -> _Square:
    """A drilled hole: dark, with a lit and a shaded rim."""
    y, x, distance, radius = _around(rng, square, (0.04, 0.1))
    angle = rng.uniform(0, 2 * np.pi)
    shade = (y * np.sin(angle) + x * np.cos(angle)) / (distance + 1e-3)
    rim = np.exp(-(((distance - radius) / 1.2) ** 2)) * shade * 0.4
    inside = _soft(radius - distance)[..., None]
    return square * (1 - inside) + 0.08 * inside + rim[..., None]


def _hair(rng: Generator, square: _Square) -> _Square:
    """A hair or a fibre: a thin smooth curve that crosses itself now and then."""
    height, width = square.shape[:2]
    ends = rng.uniform(0, 1, (4, 2)) * (height, width)
    t = np.linspace(0, 1, 4 * height)[:, None]
    curve = (1 - t) ** 3 * ends[0] + 3 * (1 - t) ** 2 * t * ends[1] + 3 * (1 - t) * t**2 * ends[2] + t**3 * ends[3]
    large = Image.new("L", (4 * width, 4 * height))
    points = [(float(4 * x), float(4 * y)) for y, x in curve]
    ImageDraw.Draw(large).line(points, fill=255, width=int(rng.integers(3, 7)))
    ink = np.asarray(large.resize((width, height), Image.Resampling.BOX), np.float32)[..., None] / 255
    return square * (1 - ink) + ink * rng.choice([0.05, 0.9])


def _turned(rng: Generator, square: _Square) -> _Square:
    """A piece put in the wrong way round: turned by a quarter or a half, or mirrored."""
    height, width = square.shape[:2]
    side = int(rng.uniform(0.2, 0.4) * min(height, width))
    top, left = rng.integers(0, (height - side + 1, width - side + 1))
    piece = square[top : top + side, left : left + side]
    turn = int(rng.integers(4))
    piece = np.flipud(piece) if turn == 0 else np.rot90(piece, turn)
    spoiled = square.copy()
    spoiled[top : top + side, left : left + side] = piece
    return spoiled


def _smear(rng: Generator, square: _Square) -> _Square:
    """A part of the surface rubbed in one direction."""
    _, _, distance, radius = _around(rng, square, (0.12, 0.3))
    length = int(rng.uniform(0.15, 0.3) * len(square))
    rubbed = ndimage.uniform_filter1d(square, length, axis=int(rng.integers(2)), mode="nearest")
    inside = _soft((radius - distance) / 2)[..., None]
    return square * (1 - inside) + rubbed * inside


DEFECTS: dict[str, Callable[[Generator, _Square], _Square]] = {
    "stamp": _stamp,
    "swirl": _swirl,
    "drop": _drop,
    "dead_rows": _rows,
    "hole": _hole,
    "hair": _hair,
    "turned_piece": _turned,
    "smear": _smear,
}


def _around(rng: Generator, square: _Square, radius: tuple[float, float]) -> tuple[_Plane, _Plane, _Plane, float]:
    """Pixels' places from a random point, their distances, and a random radius of that part of the side."""
    height, width = square.shape[:2]
    side = min(height, width)
    y = np.arange(height, dtype=np.float32)[:, None] - rng.uniform(0.15, 0.85) * height
    x = np.arange(width, dtype=np.float32)[None] - rng.uniform(0.15, 0.85) * width
    y, x = (np.broadcast_to(part, (height, width)) for part in (y, x))
    return y, x, np.hypot(y, x), float(rng.uniform(*radius)) * side


def _soft(depth: _Plane) -> _Plane:
    """1 well inside, 0 well outside, over two pixels or so."""
    return 1 / (1 + np.exp(-np.clip(2 * depth, -50, 50)))


def _moved(square: _Square, down: _Plane, across: _Plane) -> _Square:
    """Each pixel taken from so far away (linear interpolation)."""
    rows, columns = np.indices(square.shape[:2], dtype=np.float32)
    places = (rows + down, columns + across)
    channels = [
        ndimage.map_coordinates(square[..., c], places, order=1, mode="reflect") for c in range(square.shape[2])
    ]
    return np.stack(channels, axis=-1)


def _save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the experiment as a command; returns the exit code, see `sagan_jax.exit_codes.guarded`."""
    return run_experiment(Defects, "defects", argv)


if __name__ == "__main__":
    raise SystemExit(main())
