"""What becomes of scores that are no numbers, and where pictures go."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mean_detector import MEAN
from photographs import picture, save

from sagan_jax.atomic_file import replacing
from sagan_jax.data.patches import Patches
from sagan_jax.errors import UserError
from sagan_jax.inspection.judge_image import judge_image
from sagan_jax.inspection.verdict_file import row_of
from sagan_jax.inspection.verdicts import check_pictures, drawing_to, judge_files, picture_of
from sagan_jax.judging.calibration import calibrate
from sagan_jax.runs.model import Model, scorer_of


def model_of(mean):
    state = MEAN.init(jax.random.key(0), (16, 16, 3)) | {"mean": jnp.full((16, 16, 3), mean)}
    calibration = calibrate(np.linspace(0.5, 1.5, 50, dtype=np.float32))
    return Model("mean", None, (16, 16, 3), MEAN, state, calibration, 1, 0.05, {"held_out": 50})


@pytest.mark.parametrize("mean", [np.nan, np.inf])
def test_a_score_that_is_no_number_is_no_verdict(mean, tmp_path):
    """Nothing is greater than NaN and NaN is greater than nothing: it would be called normal."""
    path = save(tmp_path / "a.png", picture(0))
    (verdict,) = judge_files(scorer_of(model_of(mean)), [path], 1.0)
    assert verdict.verdict == "unusable"
    assert verdict.reason == "the model gives it no finite score or map"
    json.dumps(row_of(verdict, ".json"), allow_nan=False)
    with pytest.raises(UserError, match="not finite"):
        judge_image(model_of(mean), picture(0))


@pytest.mark.parametrize("patches", [None, Patches(16, 8)])
def test_an_image_without_a_finite_score_costs_no_other_its_own(patches, tmp_path):
    model = model_of(0.0)._replace(patches=patches)

    def score(state, images, statistics="running"):
        found = MEAN.score(state, images, statistics)
        white = (images > 0.9).all(axis=(1, 2, 3))
        return found._replace(total=jnp.where(white, jnp.nan, found.total))

    broken = model._replace(detector=MEAN._replace(score=score))
    files = [
        save(tmp_path / f"{i}.png", picture(i) if i != 1 else np.full((20, 30, 3), 255, np.uint8)) for i in range(3)
    ]
    found, sound = (list(judge_files(scorer_of(each), files, 1.0)) for each in (broken, model))
    assert [verdict.verdict == "unusable" for verdict in found] == [False, True, False]
    assert [found[0], found[2]] == [sound[0], sound[2]]


def test_pictures_of_different_files_are_different_files(tmp_path):
    names = [
        "a.png",
        "a.jpg",
        "a..b/a.png",
        "a__b/a.png",
        "b/a.png",
        f"{'l' * 251}.png",
        f"{'l' * 251}.jpg",
        f"{'ü' * 125}.png",
    ]
    pictures = {picture_of(Path(name), tmp_path) for name in names}
    assert len(pictures) == len(names)
    assert picture_of(Path("../up/a.png"), tmp_path) == tmp_path / "__/up/a.png.png"
    for drawn in pictures:
        drawn.parent.mkdir(exist_ok=True)
        with replacing(drawn) as file:
            file.write(b"x")
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == pictures


def test_a_picture_of_a_file_with_the_longest_name_is_drawn(tmp_path):
    path = save(tmp_path / f"{'l' * 251}.png", picture(0))
    (verdict,) = judge_files(scorer_of(model_of(0.0), ("map",)), [path], 1.0, drawing_to(tmp_path / "maps", None))
    assert Path(verdict.map).is_file()


def test_two_files_are_not_given_one_picture(tmp_path):
    relative, absolute = Path("x/a.png"), Path("/x/a.png")
    check_pictures([relative, relative, Path("y/a.png")], tmp_path)  # a file may be named twice
    with pytest.raises(UserError, match=r"x/a\.png and /x/a\.png would have one picture"):
        check_pictures([relative, absolute], tmp_path)


def test_pictures_of_an_earlier_command_are_not_scored_with_the_photographs(tmp_path):
    check_pictures([tmp_path / "a.png"], tmp_path / "maps")
    with pytest.raises(UserError, match=r"maps/a\.png is to be scored and lies in .*maps"):
        check_pictures([tmp_path / "a.png", tmp_path / "new/../maps/a.png"], tmp_path / "maps")


def test_pictures_are_known_by_whatever_name_their_folder_has(tmp_path):
    (tmp_path / "disk/new/maps/sub").mkdir(parents=True)
    (tmp_path / "link").symlink_to("disk")
    (tmp_path / "into").symlink_to("disk/new/maps/sub")
    link, real = tmp_path / "link/new", tmp_path / "disk/new"
    for file, maps in (
        (link / "maps/a.png", link / "maps"),
        (link / "maps/a.png", real / "maps"),
        (real / "maps/sub/a.png", link / "maps"),
        (tmp_path / "into/a.png", link / "maps"),
        (tmp_path / "into/../a.png", real / "maps"),  # the folder above what the link leads to
        (tmp_path / "into", real / "maps"),
    ):
        with pytest.raises(UserError, match="is to be scored and lies in"):
            check_pictures([file], maps)
    picture_of_before = save(real / "maps/b.png", picture(0))
    (real / "b.png").symlink_to(picture_of_before)
    check_pictures([real / "a.png", real / "b.png", link / "c.png"], link / "maps")  # a link to a file lies where it is


def test_pictures_do_not_go_where_a_file_is(tmp_path):
    for folder in (save(tmp_path / "a.png", picture(0)), tmp_path / "a.png/below"):
        with pytest.raises(UserError, match="is not a folder"):
            check_pictures([], folder)
