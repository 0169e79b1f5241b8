"""One image in memory gets the verdict that its file gets."""

import inspect
import io

import jax
import numpy as np
import pytest
from mean_detector import MEAN
from photographs import picture, save
from PIL import Image

from sagan_jax.data.image_file import Reading, resize
from sagan_jax.data.patches import Patches
from sagan_jax.errors import UserError
from sagan_jax.inspection.judge_image import judge_image
from sagan_jax.inspection.verdicts import judge_files
from sagan_jax.judging.calibration import calibrate, threshold_for
from sagan_jax.runs.model import Model, scorer_of


def make_model(channels=3, patches=None):
    state = MEAN.init(jax.random.key(0), (16, 16, channels))
    calibration = calibrate(np.linspace(0.5, 1.5, 50, dtype=np.float32))
    return Model("mean", None, (16, 16, channels), MEAN, state, calibration, 1, 0.05, {"held_out": 99}, patches)


def file_verdict(model, path):
    """What `sagan score --maps` finds for the file: the verdict and the map."""
    maps = []
    threshold = threshold_for(model.calibration, model.false_positive_rate)
    (verdict,) = judge_files(scorer_of(model, ("map",)), [path], threshold, lambda file, heat: maps.append(heat) or "")
    return verdict, maps[0]


@pytest.mark.parametrize("patches", [None, Patches(16, 8)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(40, 50, 3), (40, 50, 1), (40, 50)])
def test_an_array_its_bytes_and_its_file_have_the_verdict_of_the_command(shape, channels, patches, tmp_path):
    model = make_model(channels, patches)
    image = picture(1, shape)
    path = save(tmp_path / "image.png", image.squeeze())
    expected, heat = file_verdict(model, path)
    for given in (image, path.read_bytes(), path, str(path)):
        found = judge_image(model, given)
        assert found[:4] == (expected.verdict, expected.score, expected.calibrated, expected.threshold)
        assert (found.map.shape, found.map.dtype) == ((40, 50), np.float32)
        np.testing.assert_array_equal(found.map, resize(heat, (40, 50)) if patches is None else heat)


def test_a_file_in_memory_is_read_as_on_disk(tmp_path):
    model, image = make_model(), Image.fromarray(picture(2))
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    image.save(tmp_path / "turned.jpg", exif=exif)
    found = judge_image(model, (tmp_path / "turned.jpg").read_bytes())
    assert found.score == file_verdict(model, tmp_path / "turned.jpg")[0].score
    assert found.map.shape == (30, 20)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_tiff_on_its_side_has_one_verdict_and_an_upright_map(tmp_path, mode):
    model, image = make_model(), Image.fromarray(picture(2)).convert(mode)
    image.save(tmp_path / "turned.tif", tiffinfo={274: 6})
    image.transpose(Image.Transpose.ROTATE_270).save(tmp_path / "upright.png")
    expected = judge_image(model, tmp_path / "upright.png")
    for given in (tmp_path / "turned.tif", (tmp_path / "turned.tif").read_bytes()):
        found = judge_image(model, given)
        assert found.score == expected.score
        np.testing.assert_array_equal(found.map, expected.map)
    assert found.map.shape == (30, 20)


def test_a_file_is_read_by_what_is_white_for_the_model_and_its_limit_of_pixels(tmp_path):
    eight = picture(3)[..., 0]
    path = save(tmp_path / "twelve.png", np.rint(eight * (4095 / 255)).astype(np.uint16))
    model = make_model(1)._replace(reading=Reading(white=4095))
    assert len({judge_image(model, given).score for given in (path, path.read_bytes(), eight)}) == 1
    with pytest.raises(UserError, match="the image: 30 x 20 is more than 9 pixels"):
        judge_image(model._replace(reading=Reading(max_pixels=9)), path.read_bytes())


def test_the_false_positive_rate_sets_the_threshold():
    model, image = make_model(), picture(3)
    score = judge_image(model, image).score
    found = {rate: judge_image(model, image, false_positive_rate=rate) for rate in (0.01, 0.5)}
    for rate, verdict in found.items():
        assert verdict.threshold == threshold_for(model.calibration, rate)
        assert verdict.verdict == ("abnormal" if score > verdict.threshold else "normal")
    with pytest.raises(UserError, match="false-positive rate is 1"):
        judge_image(model, image, false_positive_rate=1.0)
    with pytest.raises(UserError, match=r"99 held-out normal images can support a rate of 1 % and more"):
        judge_image(model, image, false_positive_rate=0.009)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (picture(4) / 255.0, r"images are float64 from 0 to 1; they must be uint8"),
        (picture(4)[None], r"the image has the shape \(1, 20, 30, 3\); it must be \[H, W\] or \[H, W, C\]"),
        (np.moveaxis(picture(4), -1, 0), r"the channels last, .*np\.moveaxis\(image, 0, -1\)"),
        (picture(4, (20, 30, 4)), r"1 \(grey\) or 3 \(RGB\)"),
        (picture(4)[:0], r"the image has the shape \(0, 30, 3\)"),
        ([[0, 1]], "of type list; they must be a NumPy or JAX array"),
        (b"", "the image: the file is empty"),
        (b"not an image", "the image: not an image of an allowed format"),
        ("nowhere.png", "nowhere.png: cannot be read"),
    ],
)
def test_what_is_no_image_is_refused_with_what_is_wanted(image, message):
    with pytest.raises(UserError, match=message):
        inspect.unwrap(judge_image)(make_model(), image)


def test_an_image_smaller_than_a_patch_is_refused():
    with pytest.raises(UserError, match="15 x 40 is smaller than a patch of 16 x 16"):
        judge_image(make_model(patches=Patches(16, 8)), picture(5, (15, 40, 3)))


def test_a_damaged_file_in_memory_is_refused():
    file = io.BytesIO()
    Image.fromarray(picture(6)).save(file, "PNG")
    with pytest.raises(UserError, match="the image: damaged or cut short"):
        judge_image(make_model(), file.getvalue()[:200])


def test_a_large_jpeg_is_read_as_the_command_reads_it(tmp_path):
    model = make_model()._replace(reading=Reading(jpeg_margin=2))
    path = save(tmp_path / "a.jpg", picture(1, (200, 300, 3)))
    expected, heat = file_verdict(model, path)
    whole, _ = file_verdict(make_model(), path)
    assert expected.score != whole.score  # noise: decoded smaller it is another image
    for given in (path, path.read_bytes()):
        found = judge_image(model, given)
        assert found.score == expected.score
        np.testing.assert_array_equal(found.map, resize(heat, (200, 300)))
