"""What a run's threshold rests on: held-out images, or, in the epoch that is judged, all normal images by halves."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from mean_detector import MEAN, METHOD, MeanConfig
from photographs import picture

from sagan_jax.config import HardwareConfig, JudgingConfig, TrainingConfig
from sagan_jax.data.split import Split
from sagan_jax.detector import Statistics, normalise
from sagan_jax.device import start_run
from sagan_jax.judging.calibration import calibrate
from sagan_jax.run_folder import read_metrics
from sagan_jax.runs.checkpoint import Checkpoint
from sagan_jax.runs.evaluate import evaluate
from sagan_jax.runs.model import load_model
from sagan_jax.runs.prepare import prepare
from sagan_jax.runs.run import run
from sagan_jax.runs.run_state import Trained


def fit_normal(state, images, key):
    return state | {"mean": normalise(images).mean(axis=0)}


FITTED = MEAN._replace(fit_normal=fit_normal, crossed=True)
LAST, BEST = JudgingConfig(), JudgingConfig(select="best")
IMAGES = np.stack([picture(i, (16, 16, 3)) for i in range(60)])


def prepared_run(count, judging, detector):
    names = np.array([f"{i:03d}" for i in range(60)])
    labels = np.arange(10) >= 5
    split = Split("noise", "odd", IMAGES[:count], names[:count], IMAGES[50:], labels, names[50:])
    method = METHOD._replace(build=lambda settings, steps=None: detector)
    training = TrainingConfig(epochs=2, batch_size=8, validation_fraction=0.2)
    return method, prepare(split, method, MeanConfig(), training, judging)


def trained(folder, count, judging=LAST, detector=FITTED):
    method, prepared = prepared_run(count, judging, detector)
    result = run(prepared, folder, start_run(HardwareConfig()), ["test"])
    rows = [row["calibration_images"] for row in read_metrics(folder / "metrics.jsonl")]
    return result, rows, load_model(folder, method=method)


def test_the_last_epochs_threshold_is_of_all_normal_images_each_half_scored_by_the_mean_of_the_other(tmp_path):
    result, rows, model = trained(tmp_path / "run", 50)
    assert rows == [10, 50]
    assert result["strict"]["threshold"]["calibration_images"] == 50
    images = IMAGES[:50].astype(np.float32) / 127.5 - 1
    apart = images[:25] - images[25:].mean(axis=0), images[25:] - images[:25].mean(axis=0)
    scores = np.concatenate([np.abs(part).mean(axis=(1, 2, 3)) for part in apart])
    np.testing.assert_allclose(model.calibration.quantiles, calibrate(scores).quantiles, rtol=1e-5)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "set by 50 normal images, each half scored by what is known of the other; 10 held-out" in page


@pytest.mark.parametrize(
    ("count", "judging", "detector", "expected"),
    [
        (50, BEST, FITTED, [50, 50]),  # any epoch may be judged
        (39, LAST, FITTED, [8, 8]),  # too few to halve
        (50, LAST, FITTED._replace(crossed=False), [10, 10]),
        (50, LAST, MEAN, [10, 10]),  # nothing is fitted
    ],
)
def test_it_is_of_held_out_images_where_halves_are_of_no_use(tmp_path, count, judging, detector, expected):
    result, rows, _ = trained(tmp_path / "run", count, judging, detector)
    assert rows == expected
    assert result["strict"]["threshold"]["calibration_images"] == expected[-1]
    said = "each half scored" in (tmp_path / "run" / "report.html").read_text()
    assert said == (expected[-1] == count)
    assert json.loads((tmp_path / "run" / "result.json").read_text())["images"]["held_out"] == round(0.2 * count)


def test_it_is_of_held_out_images_where_far_too_many_of_them_exceed_that_by_halves(tmp_path):
    def fit_count(state, images, key):
        return state | {"mean": jnp.full(images.shape[1:], float(len(images)))}

    def score(state, images, statistics: Statistics = "running"):  # 25 by a half, 40 by all that are trained on
        scores = MEAN.score(state, images, statistics=statistics)
        return scores._replace(total=jnp.full_like(scores.total, state["mean"].max()))

    detector = FITTED._replace(fit_normal=fit_count, score=score)
    result, rows, model = trained(tmp_path / "run", 50, detector=detector)
    assert rows == [10, 10]
    assert read_metrics(tmp_path / "run" / "metrics.jsonl")[1]["held_out_exceeding"] == 10
    assert result["strict"]["threshold"]["calibration_images"] == 10
    np.testing.assert_array_equal(model.calibration.quantiles, calibrate(np.full(10, 40, np.float32)).quantiles)
    assert any(note.startswith("10 of 10 held-out images, which were not trained") for note in result["notes"])


def test_held_out_images_that_exceed_the_threshold_far_too_often_are_told_of(key):
    _, prepared = prepared_run(50, JudgingConfig(false_positive_rate=0.1), FITTED)
    state = MEAN.init(key, IMAGES.shape[1:])

    def notes(normal_score):
        judged = Checkpoint(2, state, calibrate(np.full(40, normal_score, np.float32)))
        return evaluate(prepared, Trained(judged, judged, ())).notes

    (note,) = notes(0.0)  # all images score higher
    assert note.startswith("10 of 10 held-out images, which were not trained on, exceed the threshold, where 10 %")
    assert notes(9.0) == ()
