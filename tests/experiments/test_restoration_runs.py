"""A generator that repairs has what every method has: runs that resume to the bit, and several as one program."""

import csv

import numpy as np
import pytest

from experiments.digits import main
from sagan_jax.runs import checkpoint

RUN = [
    *("--abnormal=3", "--preset=inspection", "--width=2", "--latent-size=4", "--size=16"),
    *("--batch-size=16", "--epochs=2", "--steps=8"),
]
pytestmark = pytest.mark.slow


def scores(folder):
    with (folder / "scores.csv").open(newline="") as file:
        return np.array([float(row["score"]) for row in csv.DictReader(file)])


def test_a_run_that_was_stopped_resumes_to_the_bits_of_one_that_was_not(tmp_path, monkeypatch):
    assert main([*RUN, f"--out={tmp_path / 'whole'}"]) == 0
    save, saved = checkpoint.save, []

    def save_once_then_stop(*arguments):
        if saved:
            raise KeyboardInterrupt
        saved.append(save(*arguments))

    monkeypatch.setattr(checkpoint, "save", save_once_then_stop)
    assert main([*RUN, f"--out={tmp_path / 'stopped'}"]) == 130
    monkeypatch.setattr(checkpoint, "save", save)
    assert main([*RUN, f"--out={tmp_path / 'stopped'}", "--resume"]) == 0
    assert (tmp_path / "stopped" / "scores.csv").read_bytes() == (tmp_path / "whole" / "scores.csv").read_bytes()
    assert scores(tmp_path / "whole").std() > 0


def test_two_seeds_trained_as_one_program_end_as_each_alone(tmp_path):
    for how in ("no", "vmap"):
        assert main([*RUN, "--seeds=2", f"--together={how}", f"--out={tmp_path / how}"]) == 0
    names = sorted(path.parent.relative_to(tmp_path / "no") for path in (tmp_path / "no").rglob("scores.csv"))
    assert len(names) == 2
    for name in names:
        alone = scores(tmp_path / "no" / name)
        together = scores(tmp_path / "vmap" / name)  # rounding of other programs grows with every step
        np.testing.assert_allclose(together, alone, rtol=0.1, atol=1e-3 * alone.max())
        assert np.corrcoef(together, alone)[0, 1] > 0.99
