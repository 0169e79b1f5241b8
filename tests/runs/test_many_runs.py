"""Many runs as one program: each leaves what it would leave alone."""

import csv
import json

import numpy as np
import pytest
from mean_detector import MEAN

from experiments.digits import DIGITS
from experiments.leave_one_out import main
from sagan_jax.config import RunConfig, SaganConfig, TrainingConfig
from sagan_jax.data.digits import load_digits
from sagan_jax.data.split import leave_one_out, thinned
from sagan_jax.errors import UserError
from sagan_jax.methods.table import METHODS
from sagan_jax.runs import checkpoint
from sagan_jax.runs.many_runs import chosen, obstacle, run_together, shared_images
from sagan_jax.runs.run_state import Experiment

SMALL = ["--size=8", "--epochs=3", "--batch-size=100", "--protocol=both", "--train-images=900", "--test-images=60"]
SEEDS = ["--abnormal=3", "--seed=5", "--seeds=2", *SMALL]
NAMES = ("digits-3-paper-seed5", "digits-3-paper-seed6")


@pytest.fixture(autouse=True)
def _mean_detector(monkeypatch):
    monkeypatch.setitem(METHODS, "sagan", METHODS["sagan"]._replace(build=lambda config, steps: MEAN))


@pytest.fixture(scope="module")
def digits():
    return load_digits(8)


def scores(folder):
    with (folder / "scores.csv").open(newline="") as file:
        return np.array([float(row["score"]) for row in csv.DictReader(file)])


@pytest.mark.parametrize("how", ["vmap", "map"])
def test_each_of_many_ends_as_alone(how, tmp_path, capsys):
    assert main(DIGITS, [*SEEDS, f"--out={tmp_path / 'alone'}", "--together=no"]) == 0
    assert main(DIGITS, [*SEEDS, f"--out={tmp_path / how}", f"--together={how}"]) == 0
    assert f"2 models as one program ({how})" in capsys.readouterr().err
    for name in NAMES:
        alone, together = tmp_path / "alone" / name, tmp_path / how / name
        assert {path.name for path in alone.iterdir()} == {path.name for path in together.iterdir()}
        np.testing.assert_allclose(scores(together), scores(alone), rtol=1e-6)
        histories = [(f / "metrics.jsonl").read_text().splitlines() for f in (alone, together)]
        for one, other in zip(*histories, strict=True):
            losses = [json.loads(line)["generator_loss"] for line in (one, other)]
            assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert not np.allclose(*(scores(tmp_path / how / name) for name in NAMES), rtol=1e-3)


def test_runs_stopped_between_two_checkpoints_go_on_from_the_epoch_all_have(tmp_path, monkeypatch):
    assert main(DIGITS, [*SEEDS, f"--out={tmp_path / 'whole'}", "--together=map"]) == 0
    saved, save = [], checkpoint.save

    def save_three_then_stop(*arguments):
        if len(saved) == 3:
            raise KeyboardInterrupt
        saved.append(save(*arguments))

    monkeypatch.setattr(checkpoint, "save", save_three_then_stop)
    assert main(DIGITS, [*SEEDS, f"--out={tmp_path / 'stopped'}", "--together=map"]) == 130
    monkeypatch.setattr(checkpoint, "save", save)
    assert main(DIGITS, [*SEEDS, f"--out={tmp_path / 'stopped'}", "--together=map", "--resume"]) == 0
    for name in NAMES:
        stopped, whole = tmp_path / "stopped" / name, tmp_path / "whole" / name
        assert (stopped / "scores.csv").read_bytes() == (whole / "scores.csv").read_bytes()
        assert len((stopped / "metrics.jsonl").read_text().splitlines()) == 3


def test_shared_images_hold_each_training_image_once(digits):
    splits = [thinned(leave_one_out(digits, name), 900) for name in digits.class_names]
    images, places = shared_images(splits)
    assert len(images) == len({name for split in splits for name in split.train_ids})
    assert len(images) < sum(len(split.train) for split in splits) / 5
    for split, place in zip(splits, places, strict=True):
        np.testing.assert_array_equal(images[place], split.train)


def test_what_cannot_be_one_program_is_refused_before_anything_is_written(digits, tmp_path):
    def described(name, **settings):
        split = leave_one_out(digits, name)
        return Experiment(split, "sagan", None, TrainingConfig(), RunConfig(**settings), tmp_path / name)

    unequal = [described("1"), described("3")]
    assert obstacle([unequal[0]] * 2) is None
    with pytest.raises(UserError, match=r"together: they have 1,\d+ to 1,\d+ training images"):
        run_together(unequal, ["test"])
    assert "several devices" in (obstacle([described("1", devices=2)] * 2) or "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("width", "auto"), [(16, "vmap"), (64, "vmap"), (65, None)])
def test_on_a_cpu_only_small_models_stand_side_by_side_unless_asked_for(digits, tmp_path, width, auto):
    """32 images of 8 px at width 64 have 131,072 numbers in their first maps, the limit."""
    model, training = SaganConfig(width=width), TrainingConfig(batch_size=32)
    split = leave_one_out(digits, "1")
    described = Experiment(split, "sagan", model, training, RunConfig(), tmp_path)
    assert split.train.shape[1:3] == (8, 8)
    assert chosen("auto", described) == auto
    assert chosen("no", described) is None
    assert chosen("map", described) == "map"


def test_classes_of_unequal_size_are_refused_together_with_exit_code_2(tmp_path, capsys):
    command = ["--abnormal=all", "--size=8", f"--out={tmp_path}", "--together=vmap"]
    assert main(DIGITS, command) == 2
    assert "cannot be trained together" in capsys.readouterr().err
