"""Many runs as one program: each leaves what it would leave alone."""

import csv
import json

import numpy as np
import pytest
from mean_detector import METHOD, MeanConfig

from experiments.digits import main
from sagan_jax import device
from sagan_jax.config import HardwareConfig, SaganConfig, TrainingConfig
from sagan_jax.data.digits import load_digits
from sagan_jax.data.split import leave_one_out, thinned
from sagan_jax.errors import UserError
from sagan_jax.methods.table import METHODS
from sagan_jax.runs import checkpoint
from sagan_jax.runs.many_runs import _shared_images, choose_program, obstacle, run_many
from sagan_jax.runs.prepare import prepare

SMALL = ["--size=8", "--epochs=3", "--batch-size=100", "--protocol=both", "--train-images=900", "--test-images=60"]
SMALL += ["--method=mean_detector:METHOD"]
SEEDS = ["--abnormal=3", "--seed=5", "--seeds=2", *SMALL]
NAMES = ("digits-3-mean-paper-seed5", "digits-3-mean-paper-seed6")


@pytest.fixture(scope="module")
def digits():
    return load_digits(8)


def scores(folder):
    with (folder / "scores.csv").open(newline="") as file:
        return np.array([float(row["score"]) for row in csv.DictReader(file)])


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    """The folder of two runs, one after the other."""
    folder = tmp_path_factory.mktemp("alone")
    assert main([*SEEDS, f"--out={folder}", "--together=no"]) == 0
    return folder


@pytest.mark.parametrize("how", ["vmap", "map"])
def test_each_of_many_ends_as_alone(how, apart, tmp_path, capsys):
    assert main([*SEEDS, f"--out={tmp_path / how}", f"--together={how}"]) == 0
    assert f"2 models as one program ({how})" in capsys.readouterr().err
    for name in NAMES:
        alone, together = apart / name, tmp_path / how / name
        assert {path.name for path in alone.iterdir()} == {path.name for path in together.iterdir()}
        np.testing.assert_allclose(scores(together), scores(alone), rtol=1e-6)
        histories = [(f / "metrics.jsonl").read_text().splitlines() for f in (alone, together)]
        for one, other in zip(*histories, strict=True):
            losses = [json.loads(line)["generator_loss"] for line in (one, other)]
            assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert not np.allclose(*(scores(tmp_path / how / name) for name in NAMES), rtol=1e-3)


def test_runs_stopped_between_two_checkpoints_go_on_from_the_epoch_all_have(tmp_path, monkeypatch):
    assert main([*SEEDS, f"--out={tmp_path / 'whole'}", "--together=map"]) == 0
    saved, save = [], checkpoint.save

    def save_three_then_stop(*arguments):
        if len(saved) == 3:
            raise KeyboardInterrupt
        saved.append(save(*arguments))

    monkeypatch.setattr(checkpoint, "save", save_three_then_stop)
    assert main([*SEEDS, f"--out={tmp_path / 'stopped'}", "--together=map"]) == 130
    monkeypatch.setattr(checkpoint, "save", save)
    assert main([*SEEDS, f"--out={tmp_path / 'stopped'}", "--together=map", "--resume"]) == 0
    for name in NAMES:
        stopped, whole = tmp_path / "stopped" / name, tmp_path / "whole" / name
        assert (stopped / "scores.csv").read_bytes() == (whole / "scores.csv").read_bytes()
        assert len((stopped / "metrics.jsonl").read_text().splitlines()) == 3


def test_shared_images_hold_each_training_image_once(digits):
    splits = [thinned(leave_one_out(digits, name), 900) for name in digits.class_names]
    images, places = _shared_images(splits)
    assert len(images) == len({name for split in splits for name in split.train_ids})
    assert len(images) < sum(len(split.train) for split in splits) / 5
    for split, place in zip(splits, places, strict=True):
        np.testing.assert_array_equal(images[place], split.train)


def test_what_cannot_be_one_program_is_refused_before_anything_is_written(digits, tmp_path):
    machine = device.start_run(HardwareConfig())

    def prepared(name):
        return prepare(leave_one_out(digits, name), METHOD, MeanConfig(), TrainingConfig())

    unequal = [prepared("1"), prepared("3")]
    assert obstacle([unequal[0]] * 2, machine) is None
    with pytest.raises(UserError, match=r"together: they have 1,\d+ to 1,\d+ training images"):
        run_many(unequal, [tmp_path / "1", tmp_path / "3"], machine, ["test"])
    split = machine._replace(config=HardwareConfig(devices=2))
    assert "several devices" in (obstacle([unequal[0]] * 2, split) or "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("size", "width", "auto"), [(16, 4, "vmap"), (16, 16, "vmap"), (16, 32, None), (32, 16, None)])
def test_on_a_cpu_only_small_models_stand_side_by_side_unless_asked_for(size, width, auto):
    """Where the line lies: `experiments/results/many.csv` has what side by side gains at these sizes."""
    split = thinned(leave_one_out(load_digits(size), "1"), 100, 10)
    prepared = prepare(split, METHODS["sagan"], SaganConfig(width=width), TrainingConfig(batch_size=32))
    assert choose_program("auto", prepared) == auto
    assert choose_program("no", prepared) is None
    assert choose_program("map", prepared) == "map"


def test_classes_of_unequal_size_are_refused_together_with_exit_code_2(tmp_path, capsys):
    command = ["--abnormal=all", "--size=8", "--method=mean_detector:METHOD", f"--out={tmp_path}", "--together=vmap"]
    assert main(command) == 2
    assert "cannot be trained together" in capsys.readouterr().err
