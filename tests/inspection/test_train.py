"""What stands between a folder and a run of it."""

import csv

import numpy as np
import pytest
from photographs import picture, save

from sagan_jax import run_folder
from sagan_jax.config import INSPECTION, FolderConfig, OutputConfig, TrainingConfig, sagan_preset
from sagan_jax.data.folder import load_folder
from sagan_jax.data.patches import Patches
from sagan_jax.data.split import Split
from sagan_jax.detector import Scores
from sagan_jax.errors import UserError
from sagan_jax.inspection import train
from sagan_jax.inspection.train import fitting_batch, train_on_folder
from sagan_jax.methods.dcgan import check_image_shape
from sagan_jax.methods.table import METHODS


@pytest.fixture
def ten(tmp_path):
    for i in range(10):
        save(tmp_path / f"ten/{i}.png", picture(i))
    return tmp_path / "ten"


def test_a_default_batch_is_lowered_to_the_images_there_are(ten):
    split, _ = load_folder(ten, size=16)
    training, noted = fitting_batch(32, TrainingConfig(validation_fraction=0.2), split)
    assert training.batch_size == 8
    assert noted.notes == ("the batch size is 8 in place of 32: there are no more images to train on",)
    chosen = TrainingConfig(batch_size=31)  # whoever chose it is told that it cannot be had, when the run begins
    assert fitting_batch(32, chosen, split) == (chosen, split)
    assert fitting_batch(64, TrainingConfig(batch_size=64), split)[0].batch_size == 9
    inspection, _ = fitting_batch(METHODS["sagan"].training("inspection").batch_size, INSPECTION, split)
    assert (inspection.batch_size, inspection.steps) == (8, INSPECTION.steps)


def test_patches_count_where_photographs_are_cut(ten):
    split, _ = load_folder(ten, patches=Patches(16, 8))
    assert fitting_batch(32, TrainingConfig(), split) == (TrainingConfig(), split)  # 9 x 2 x 3 of them
    split, _ = load_folder(ten, patches=Patches(20, 10))
    assert fitting_batch(32, TrainingConfig(validation_fraction=0.5), split)[0].batch_size == 5 * 1 * 2


@pytest.mark.parametrize(
    ("side", "near"),
    [
        (80, "; the nearest are 64 and 128"),
        (17, "; the nearest are 16 and 32"),
        (300, "; the nearest are 256 and 512"),
        (8, ""),
    ],
)
def test_a_size_that_is_not_allowed_names_the_nearest(side, near):
    with pytest.raises(UserError, match=f"they must be square.* a power of two from 16 up{near}$"):
        check_image_shape((side, side, 3))


def test_a_size_that_is_not_allowed_is_told_before_anything_is_decoded(ten):
    for file in ten.iterdir():
        file.write_text("no image")
    with pytest.raises(UserError, match="nearest are 64 and 128"):
        train_on_folder(ten, FolderConfig(size=80), METHODS["sagan"], "paper", sagan_preset("paper"), TrainingConfig())


def test_scores_of_files_whose_names_are_no_text_are_text(tmp_path):
    image, one = picture(0, (1, 8, 8, 3)), np.ones(1, np.float32)
    split = Split("x", "none", image, np.array(["a"]), image, np.array([True]), np.array(["caf\udce9.png"]))
    scores = Scores(one, one, one)
    run_folder.write_scores(tmp_path / "scores.csv", split, scores, one)
    (row,) = csv.DictReader((tmp_path / "scores.csv").read_bytes().decode().splitlines())
    assert row["id"] == r"caf\udce9.png"


@pytest.mark.parametrize(
    ("stored", "margin"),
    [(None, 2), ({}, 0), ({"reading": {"white": 255}}, 0), ({"reading": {"jpeg_margin": 4}}, 4)],
)
def test_a_run_that_is_gone_on_with_reads_jpegs_as_before(tmp_path, stored, margin):
    if stored is not None:
        run_folder.write_json(tmp_path / "config.json", stored)
    resumed = OutputConfig(out=tmp_path, resume=True)
    assert train._jpeg_margin(FolderConfig(), resumed) == margin
    assert train._jpeg_margin(FolderConfig(jpeg_margin=3), resumed) == 3
    assert train._jpeg_margin(FolderConfig(), OutputConfig(out=tmp_path)) == 2
