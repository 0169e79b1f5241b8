"""Run folders written by hand, for tests of what reads them."""

import json

import numpy as np

from sagan_jax import run_folder
from sagan_jax.data.split import Split
from sagan_jax.detector import Scores
from sagan_jax.judging import evaluation
from sagan_jax.judging.calibration import calibrate, calibrated, threshold_for
from sagan_jax.report import thumbnails

HOSTILE = (
    "<img src=x onerror=alert(1)>.png",
    "</script><script>alert(2)</script>.png",
    "\"'`${alert(3)}{{ 7*7 }}&amp;.png",
    "\u202egnp.\u2028exe",
)
CONFIG = {
    "dataset": "screws & </title><script>alert(4)</script>",
    "abnormal": "scratched,bent",
    "image_shape": [16, 16, 3],
    "train_images": 100,
    "method": "sagan",
    "model": {"width": 4},
    "training": {"epochs": 2, "batch_size": 8},
    "run": {"select": "last"},
}
PROVENANCE = {"command": "python -m experiments.<b>x</b>", "commit": None, "packages": {"jax": "1"}}


def make_split(normal=60, abnormal=40, names=HOSTILE):
    """Test images of noise, whose names are hostile as far as those go."""
    rng = np.random.default_rng(0)
    count = normal + abnormal
    labels = np.arange(count) >= normal
    masks = np.zeros((count, 16, 16), bool)
    masks[normal:, 4:9, 4:9] = True
    ids = [f"test/{index:03d}.png" for index in range(count)]
    ids[:2], ids[-2:] = names[:2], names[2:]
    images = rng.integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)
    kinds = np.where(labels, np.where(np.arange(count) % 2, "bent", "scratched"), "good")
    return Split("screws", "scratched,bent", images[:1], np.array(["a"]), images, labels, np.array(ids), kinds, masks)


def write_run(folder, split, *, finished=True):
    """A run's folder as far as reports read it; returns the scores and the threshold."""
    rng = np.random.default_rng(1)
    folder.mkdir(parents=True, exist_ok=True)
    run_folder.write_json(folder / "config.json", CONFIG)
    both = {"seconds": 1.0, "validation_reconstruction": 0.2}
    history = [{"epoch": 1, "generator_loss": 2.0, "discriminator_loss": 1.4} | both]
    history.append({"epoch": 2, "generator_loss": 0.05, "discriminator_loss": 1.3} | both)
    run_folder.write_metrics(folder / "metrics.jsonl", history)
    scores = (rng.gamma(2.0, 0.01, len(split.test)) + 0.01 * split.test_labels).astype(np.float32)
    if len(scores):
        scores[[0, 1, -2, -1]] = 0.2, 0.001, 0.3, 0.002  # extremes, so that the hostile names are shown
    calibration = calibrate(rng.gamma(2.0, 0.01, 200).astype(np.float32))
    threshold = threshold_for(calibration, 0.05)
    if not finished:
        return scores, threshold
    strict = {"threshold": {"value": threshold, "false_positive_rate_wanted": 0.05}}
    if len(scores):
        strict = evaluation.evaluate_strict(split.test_labels, scores, calibration, 0.05)
    shares = calibrated(calibration, scores)
    run_folder.write_scores(folder / "scores.csv", split, Scores(scores, scores, scores), shares)
    labels = split.test_labels
    result = CONFIG | {
        "strict": {"epoch": 2} | strict,
        "images": {
            "train": 95,
            "held_out": 5,
            "test_normal": int((~labels).sum()),
            "test_abnormal": int(labels.sum()),
        },
        "provenance": PROVENANCE,
    }
    run_folder.write_json(folder / "result.json", json.loads(json.dumps(result)))
    if not len(scores):
        return scores, threshold
    shown = thumbnails.choose(scores, labels, threshold)
    views = thumbnails.Views(
        images=split.test[shown],
        reconstructed=rng.uniform(-1, 1, (len(shown), 16, 16, 3)).astype(np.float32),
        maps=rng.uniform(0, 1, (len(shown), 16, 16)).astype(np.float32),
        masks=None if split.test_masks is None else split.test_masks[shown],
    )
    thumbnails.write_thumbnails(folder / thumbnails.FILE, split, shown, views, scores, shares)
    return scores, threshold
