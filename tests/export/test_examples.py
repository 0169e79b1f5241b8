"""The examples, which score without this package, read files as it does and say what it says."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import hostile_images
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from file_kinds import make_kinds
from mean_detector import MEAN, METHOD, MeanConfig
from photographs import picture, save

from sagan_jax.data.image_file import Reading, decode, read_image
from sagan_jax.data.image_format import kind_of
from sagan_jax.data.patches import Patches, extract, windows
from sagan_jax.errors import UserError
from sagan_jax.export import programs
from sagan_jax.inspection.verdicts import judge_files
from sagan_jax.judging.calibration import calibrate, threshold_for
from sagan_jax.runs.model import Model, scorer_of

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def reading():
    """The module that both examples read files with."""
    spec = importlib.util.spec_from_file_location("read_photograph", EXAMPLES / "read_photograph.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Every kind of file, and hostile ones."""
    hostile, zeros = tmp_path_factory.mktemp("hostile"), hostile_images.zeros
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hostile_images, "zeros", lambda count: zeros(min(count, 10**6)))  # bombs that only promise
        hostile_images.make_folder(hostile)
    names = [path for path in sorted(hostile.iterdir()) if not path.is_dir()]
    return [*make_kinds(tmp_path_factory.mktemp("kinds")), *names]


def the_package_alone_takes(reading, path):
    """Whether a file is of a format or has a suffix that the examples refuse, whatever the package does."""
    return path.suffix.lower() not in reading.SUFFIXES or kind_of(path) in ("AVIF", "HEIF")


@pytest.mark.parametrize("channels", [1, 3])
def test_every_kind_of_file_is_read_as_the_package_reads_it_or_refused_by_both(reading, files, channels):
    refused = []
    for path in files:
        about = {"image_shape": [16, 24, channels], "patches": None}
        try:
            expected = read_image(path, channels=channels, size=(16, 24))
        except UserError:
            refused.append(path.name)
            with pytest.raises(reading.Refused):
                reading.read(path, about)
            continue
        if the_package_alone_takes(reading, path):
            refused.append(path.name)
            with pytest.raises(reading.Refused):
                reading.read(path, about)
            continue
        np.testing.assert_array_equal(reading.read(path, about), expected[None], err_msg=path.name)
    assert {"large float.tiff", "more than twelve bits.tiff", "too many bits.tiff", "text.png"} <= {*refused}
    assert len(files) - len(refused) >= 40


def test_what_is_white_and_how_large_a_photograph_may_be_come_from_the_metadata(reading, tmp_path):
    path = save(tmp_path / "twelve bits.png", np.linspace(0, 4095, 16 * 24).astype(np.uint16).reshape(16, 24))
    about = {"image_shape": [16, 24, 1], "patches": None, "reading": {"max_pixels": 16 * 24, "white": 4095}}
    expected = read_image(path, channels=1, size=(16, 24), reading=Reading(16 * 24, 4095))
    assert expected.max() == 255
    np.testing.assert_array_equal(reading.read(path, about), expected[None])
    for changed, said in (
        ({"white": 4094}, "0 to 4095; allowed are 0 to 4094"),
        ({"max_pixels": 383}, "more than 383"),
    ):
        with pytest.raises(reading.Refused, match=said):
            reading.read(path, about | {"reading": about["reading"] | changed})


@pytest.mark.parametrize(("height", "width", "stride"), [(16, 16, 8), (37, 53, 8), (32, 17, 16), (16, 40, 5)])
def test_photographs_are_cut_into_the_packages_patches(reading, tmp_path, height, width, stride):
    path = save(tmp_path / "a.png", picture(0, (height, width, 3)))
    about = {"image_shape": [16, 16, 3], "patches": {"size": 16, "stride": stride}}
    photograph = np.asarray(decode(path, 3))
    expected = extract(photograph, windows(height, width, 16, stride), 16)
    np.testing.assert_array_equal(reading.read(path, about), expected)
    with pytest.raises(reading.Refused, match="15 x 40 is smaller than a patch of 16 x 16"):
        reading.read(save(tmp_path / "b.png", picture(0, (15, 40, 3))), about)


@pytest.fixture(scope="module", params=["whole", "patches"])
def exported(request, files, tmp_path_factory):
    """A model of whole images or of patches, and a folder with it as ONNX and as StableHLO."""
    state = MEAN.init(jax.random.key(0), (16, 16, 3))
    config = {"train_images": 100, "training": {"validation_fraction": 0.5}}
    patches = Patches(16, 8) if request.param == "patches" else None
    model = Model(METHOD, MeanConfig(), (16, 16, 3), MEAN, state, calibrate(np.ones(1)), 1, 0.5, config, patches)
    scores = [verdict.score for verdict in judge_files(scorer_of(model), files, 1.0) if verdict.score is not None]
    model = model._replace(calibration=calibrate(np.linspace(0.97 * min(scores), 1.03 * max(scores), 50)))
    folder = tmp_path_factory.mktemp("exported")
    for form in ("onnx", "stablehlo"):
        programs.export_model(model, form, folder / form)
    return model, folder


@pytest.mark.parametrize("form", ["onnx", "stablehlo"])
def test_the_examples_say_of_files_what_the_package_says(exported, reading, files, form):
    model, folder = exported
    threshold = threshold_for(model.calibration, model.false_positive_rate)
    named = [path for path in files if path.name.isprintable() and not the_package_alone_takes(reading, path)]
    expected = list(judge_files(scorer_of(model), named, threshold))
    command = [sys.executable, "-W", "error", EXAMPLES / f"score_{form}.py", folder / form, *named]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    found = [line.split("\t") for line in done.stdout.splitlines()]
    assert [(name, verdict.split(":")[0]) for name, *_, verdict in found] == [(v.file, v.verdict) for v in expected]
    assert {verdict.verdict for verdict in expected} == {"normal", "abnormal", "unusable"}
    for (_, score, share, _), verdict in zip(found, expected, strict=True):
        if verdict.score is not None:
            assert float(score) == pytest.approx(verdict.score, rel=1e-5)
            assert float(share) == pytest.approx(verdict.calibrated, abs=2e-3)


@pytest.mark.parametrize("form", ["onnx", "stablehlo"])
def test_the_examples_give_no_verdict_on_a_score_that_is_no_number(form, tmp_path):
    state = MEAN.init(jax.random.key(0), (16, 16, 3)) | {"mean": jnp.full((16, 16, 3), jnp.nan)}
    config = {"train_images": 100, "training": {"validation_fraction": 0.5}}
    model = Model(METHOD, MeanConfig(), (16, 16, 3), MEAN, state, calibrate(np.ones(1)), 1, 0.5, config)
    programs.export_model(model, form, tmp_path / "model")
    path = save(tmp_path / "a.png", picture(0))
    command = [sys.executable, EXAMPLES / f"score_{form}.py", tmp_path / "model", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert done.stdout == f"{path}\t\t\tunusable: the model gives it the score nan\n"


def test_an_array_that_the_model_does_not_take_is_refused(exported, tmp_path):
    model, folder = exported
    for images in (np.zeros((2, 16, 16, 3), np.float32), np.zeros((2, 64, 64, 3), np.uint8), None):
        if images is None and model.patches is None:
            continue
        np.save(tmp_path / "images.npy", np.zeros((2, 16, 16, 3), np.uint8) if images is None else images)
        command = [sys.executable, EXAMPLES / "score_stablehlo.py", folder / "stablehlo", tmp_path / "images.npy"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (2, "")


def test_a_large_jpeg_is_read_as_the_package_reads_it(reading, tmp_path):
    path = save(tmp_path / "a.jpg", picture(0, (200, 300, 3)))
    about = {"image_shape": [16, 24, 3], "patches": None}
    for margin in (0, 2):
        how = Reading(jpeg_margin=margin)
        expected = read_image(path, size=(16, 24), reading=how)
        np.testing.assert_array_equal(reading.read(path, about | {"reading": how._asdict()}), expected[None])
    assert not np.array_equal(expected, read_image(path, size=(16, 24)))
