"""VisA's layout, whose split a table tells (Zou et al., "SPot-the-Difference self-supervised pre-training", 2022)."""

import csv
import os
from collections import Counter
from pathlib import Path

from sagan_jax.data.image_file import BadFile
from sagan_jax.data.image_format import is_image
from sagan_jax.data.listing import Listing
from sagan_jax.data.normal_words import means_normal
from sagan_jax.errors import UserError, few, one_line, printable

_TABLE = "split_csv/1cls.csv"  # beside the categories' folders; the split of the paper's one-class setting
_COLUMNS = {"object", "split", "label", "image", "mask"}
_NORMAL = "normal"  # the label


def scan_visa(root: Path, images: Path) -> Listing:
    """Lists one category of VisA by the set's own table of its split.

    Args:
        root: The category's folder.
        images: Its folder of images.

    Raises:
        UserError: If the table is not there, cannot be read, or says what no split can be.
    """
    home = root.resolve().parent
    rows = _rows(home / _TABLE, root.resolve().name)
    places = {row["image"]: root / _below(home, root, row["image"]) for row in rows}
    masks = {row["image"]: root / _below(home, root, row["mask"]) for row in rows if row["mask"]}
    train = sorted(places[row["image"]] for row in rows if row["split"] == "train")
    wrong = [row["image"] for row in rows if row["split"] == "train" and row["label"] != _NORMAL]
    if wrong or not train:
        raise UserError(f"{_TABLE}: training images are normal ones, here are {few(wrong) or 'none'}")
    tested = [row for row in rows if row["split"] == "test"]
    tested.sort(key=lambda row: (row["label"] != _NORMAL, row["image"]))
    listed = {place.resolve() for place in places.values()}
    rest = sorted(file for file in images.rglob("*") if is_image(file) and file.resolve() not in listed)
    return Listing(
        root,
        "visa",
        train=tuple(train),
        test=tuple(places[row["image"]] for row in tested),
        test_kinds=tuple("good" if row["label"] == _NORMAL else row["label"] for row in tested),
        test_masks=tuple(
            (masks[row["image"]],) if row["label"] != _NORMAL and row["image"] in masks else None for row in tested
        ),
        unread=tuple(BadFile(file, f"{_TABLE} does not have it") for file in rest),
    )


def _rows(table: Path, category: str) -> list[dict[str, str]]:
    if not table.is_file():
        raise UserError(
            f"{printable(table)} is not there; a folder with Data/Images is a category of VisA, and this file of the "
            "set says which of its images are for training and which for testing"
        )
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if missing := _COLUMNS - set(reader.fieldnames or ()):
                raise UserError(f"{printable(table)} lacks the columns {', '.join(sorted(missing))}")
            rows = [_checked(row, f"{printable(table)}, line {reader.line_num}") for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{printable(table)} cannot be read: {one_line(str(error))}") from error
    rows = [row for row in rows if row["object"].casefold() == category.casefold()]
    if not rows:
        raise UserError(f"{printable(table)} has no images of {printable(category)}")
    images = Counter(row["image"] for row in rows)
    if twice := [image for image, count in images.items() if count > 1]:
        raise UserError(f"{printable(table)} has images more than once: {few(twice)}")
    return rows


def _checked(row: dict[str, str], place: str) -> dict[str, str]:
    """A row of the table, its words in small letters; raises UserError, naming the place, unless it can be believed."""
    if None in row:
        raise UserError(f"{place}: more cells than columns")
    missing = sorted(name for name in _COLUMNS if row[name] is None or not (row[name].strip() or name == "mask"))
    if missing:
        raise UserError(f"{place}: nothing under {', '.join(missing)}")
    row = {name: row[name].strip() for name in _COLUMNS}
    row |= {name: row[name].lower() for name in ("split", "label")}
    if row["split"] not in ("train", "test"):
        raise UserError(f"{place}: the split is {printable(row['split'])!r}; allowed are 'train' and 'test'")
    if row["label"] != _NORMAL and means_normal(row["label"]):
        raise UserError(
            f"{place}: the label is {printable(row['label'])!r}; it must be {_NORMAL!r} if the image is normal, and "
            "another word if it is not"
        )
    return row


def _below(home: Path, root: Path, name: str) -> Path:
    """A path of the table, relative to the category's folder; a link there to a file elsewhere is what it is named."""
    try:
        return Path(os.path.normpath(home.resolve() / name)).relative_to(root.resolve())
    except ValueError:
        raise UserError(f"{_TABLE} names {printable(name)}, which is not in {printable(root)}") from None
