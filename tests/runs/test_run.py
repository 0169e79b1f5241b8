"""One small run from the command line to its folder, and the same run stopped half-way and gone on with."""

import csv
import json
import subprocess

import jax
import numpy as np
import pytest

from experiments.digits import main
from sagan_jax.run_folder import read_result, write_json
from sagan_jax.runs import checkpoint, provenance
from sagan_jax.runs.model import load_model
from sagan_jax.runs.provenance import PROVENANCE

SMALL = ["--abnormal=3", "--size=16", "--width=4", "--latent-size=8", "--epochs=2", "--batch-size=128"]


def flags(folder, *more):
    return [*SMALL, f"--out={folder}", *more]


@pytest.fixture(scope="module", autouse=True)
def figures_stay_empty():
    """They are drawn here: all that a run leaves."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert main(flags(folder, "--protocol=both")) == 0
    return folder


def test_the_folder_has_all_that_is_promised(folder):
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "metrics.jsonl",
        "checkpoints",
        "scores.csv",
        "result.json",
        "scores.png",
        "roc.png",
        "losses.png",
        "images.png",
        "gallery.json",
        "report.html",
    }


def test_metrics_have_a_line_an_epoch_with_every_loss(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    for name in ("generator_loss", "discriminator_loss", "generator_gradient_norm", "validation_reconstruction"):
        assert all(np.isfinite(line[name]) for line in lines), name


def test_scores_and_result_agree(folder):
    with (folder / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    result = json.loads((folder / "result.json").read_text())
    labels = np.array([int(row["label"]) for row in rows])
    r, latent, score = (np.array([float(row[name]) for row in rows]) for name in ("R", "L", "score"))
    assert (len(rows), labels.sum()) == (526, 183)
    np.testing.assert_allclose(score, 0.2 * r + 0.8 * latent, rtol=1e-5)
    wins = (score[labels == 1][:, None] > score[labels == 0][None, :]).mean()  # AUROC by its meaning, no ties here
    assert result["strict"]["auroc"]["value"] == pytest.approx(wins, abs=1e-6)
    assert result["images"] == {"train": 1207, "held_out": 64, "test_normal": 343, "test_abnormal": 183}
    made = result["provenance"]
    assert set(PROVENANCE) <= set(made)
    assert made["machine"].startswith(f"{result['device']}, ")
    assert made["seed"] == result["training"]["seed"]


def test_the_reference_protocol_stands_beside_the_strict_result_and_is_no_result(folder):
    reference = json.loads((folder / "result.json").read_text())["reference"]
    strict = json.loads((folder / "result.json").read_text())["strict"]
    assert reference["note"].startswith("Not a result")
    assert reference["running_statistics_last_epoch"] == pytest.approx(strict["auroc"]["value"])
    assert reference["batch_statistics_in_order_best_test_epoch"] >= reference["batch_statistics_in_order_last_epoch"]


def test_a_run_judged_strictly_is_not_continued_with_the_reference_protocol(tmp_path, capsys):
    assert main(flags(tmp_path / "strict")) == 0
    before = (tmp_path / "strict" / "config.json").read_bytes()
    assert main(flags(tmp_path / "strict", "--protocol=both", "--resume")) == 2
    assert "on record as scored by the reference protocol" in capsys.readouterr().err
    assert (tmp_path / "strict" / "config.json").read_bytes() == before


def test_a_run_stopped_and_resumed_ends_in_the_same_bits(folder, tmp_path, monkeypatch):
    save = checkpoint.save

    def save_then_stop(*arguments):
        save(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save", save_then_stop)
    assert main(flags(tmp_path / "stopped", "--protocol=both")) == 130
    assert not (tmp_path / "stopped" / "result.json").exists()
    monkeypatch.setattr(checkpoint, "save", save)
    assert main(flags(tmp_path / "stopped", "--protocol=both", "--resume")) == 0

    whole, resumed = load_model(folder), load_model(tmp_path / "stopped")
    jax.tree.map(np.testing.assert_array_equal, resumed.state, whole.state)
    np.testing.assert_array_equal(resumed.calibration.quantiles, whole.calibration.quantiles)
    assert (tmp_path / "stopped" / "scores.csv").read_bytes() == (folder / "scores.csv").read_bytes()


def test_a_folder_in_use_is_not_written_over(folder, capsys):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert main(flags(folder)) == 2
    assert "is not empty" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_going_on_under_another_configuration_is_refused_and_loses_nothing(folder, capsys):
    config = (folder / "config.json").read_bytes()
    assert main(flags(folder, "--resume", "--learning-rate=0.5")) == 2
    assert "another configuration: learning_rate is 0.002, not 0.5" in capsys.readouterr().err
    assert (folder / "config.json").read_bytes() == config
    assert load_model(folder).epoch == 2


def test_the_best_epoch_can_be_judged_in_place_of_the_last(folder, capsys):
    assert main(flags(folder, "--resume", "--select=best")) == 0
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    best = min(rows, key=lambda row: row["validation_reconstruction"])["epoch"]
    assert json.loads((folder / "result.json").read_text())["strict"]["epoch"] == best
    assert f"epoch {best} of 2" in capsys.readouterr().out


def test_the_result_of_fewer_epochs_is_none_while_a_run_goes_on(tmp_path):
    write_json(tmp_path / "result.json", {"training": {"epochs": 2}})
    assert read_result(tmp_path, {"training": {"epochs": 2}}) == {"training": {"epochs": 2}}
    assert read_result(tmp_path, {"training": {"epochs": 4}}) == {}
    assert read_result(tmp_path / "none", {"training": {"epochs": 2}}) == {}


def test_a_copy_in_the_clone_of_another_project_has_no_commit(tmp_path, monkeypatch):
    (tmp_path / "provenance.py").write_text("")
    for arguments in (["init", "-q"], ["-c", "user.name=a", "-c", "user.email=a", "commit", "-qm.", "--allow-empty"]):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    assert provenance.commit() is None
    subprocess.run(["git", "add", "."], cwd=tmp_path, check=True)
    assert provenance.commit().endswith("+")


def test_the_result_of_another_way_of_judging_is_none_of_the_run(tmp_path):
    config = {"training": {"epochs": 1}, "run": {"false_positive_rate": 0.5, "select": "last"}}
    write_json(tmp_path / "result.json", {"judging": {"false_positive_rate": 0.05, "select": "last"}})
    assert read_result(tmp_path, config) == {}
    write_json(tmp_path / "result.json", {"judging": {"false_positive_rate": 0.5, "select": "last"}})
    assert read_result(tmp_path, config)
