"""The `sagan` command, from its command line to its exit code."""

import csv
import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mean_detector import METHOD
from photographs import picture, save
from PIL import Image

import experiments.folder
from sagan_jax import cli
from sagan_jax.cli import parse
from sagan_jax.config import INSPECTION, SaganConfig
from sagan_jax.data.file_list import list_files
from sagan_jax.data.patches import extract, windows
from sagan_jax.errors import UserError
from sagan_jax.export.programs import metadata
from sagan_jax.inspection import verdicts
from sagan_jax.inspection.judge_image import judge_image
from sagan_jax.inspection.verdicts import judge_files
from sagan_jax.judging.scoring import score_images
from sagan_jax.runs.configuration import configuration
from sagan_jax.runs.describe import describe
from sagan_jax.runs.model import load_judged, load_model

MEAN = "--method=mean_detector:METHOD"
SMALL = [MEAN, "--size=16", "--epochs=1", "--batch-size=8", "--validation-fraction=0.2"]


def main(argv):
    """The command, of a mean image if no other method is named: SAGAN takes its time to compile."""
    of_a_method = argv[:1] in (["train"], ["score"], ["info"], ["export"])
    named = any(argument.startswith("--method") for argument in argv)
    return cli.main([*argv, MEAN] if of_a_method and not named else argv)


@pytest.fixture(scope="module")
def bottles(tmp_path_factory):
    root = tmp_path_factory.mktemp("photographs") / "bottles"
    for i in range(20):
        save(root / f"train/good/{i:03d}.png", picture(i))
    for i in range(2):
        save(root / f"test/good/{i:03d}.jpg", picture(100 + i))
        save(root / f"test/broken/{i:03d}.png", picture(200 + i) // 2)
        save(root / f"ground_truth/broken/{i:03d}_mask.png", np.full((20, 30), 255, np.uint8))
    return root


@pytest.fixture(scope="module")
def run_of_bottles(bottles, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "bottles"
    assert main(["train", str(bottles), *SMALL, f"--out={out}"]) == 0
    return out


def test_training_on_a_folder_leaves_a_run_and_info_tells_of_it(run_of_bottles, capsys):
    result = json.loads((run_of_bottles / "result.json").read_text())
    assert result["images"] == {"train": 16, "held_out": 4, "test_normal": 2, "test_abnormal": 2}
    assert (result["dataset"], result["abnormal"]) == ("bottles", "broken")
    assert 0 <= result["strict"]["auroc"]["value"] <= 1
    counted = {"size": [16, 16], "normal_images": 2, "marked_images": 2, "left_out": 0, "marked_pixels": 512}
    assert result["pixels"] == counted
    reduced, wide = result["notes"]
    assert reduced == "masks are reduced to 16 x 16: a pixel is abnormal if anything marked falls on it"
    assert wide.startswith("the masks of 2 of 2 images mark more than half of them")
    assert main(["info", str(run_of_bottles)]) == 0
    said = capsys.readouterr().out
    for words in ("mean on bottles", "16 x 16, RGB", "1 of 1 epochs", "AUROC", "threshold", "rate 0.1"):
        assert words in said
    assert "pixels counted at 16 x 16: 512 abnormal ones in 2 images, beside 2 images without any" in said


def test_streaming_changes_no_score(bottles, run_of_bottles, tmp_path):
    assert main(["train", str(bottles), *SMALL, f"--out={tmp_path / 'run'}", "--streaming=always"]) == 0
    assert (tmp_path / "run/scores.csv").read_bytes() == (run_of_bottles / "scores.csv").read_bytes()
    (row,) = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert 0 <= row["waiting_for_images"] <= 1


@pytest.mark.parametrize("streaming", ["always", "never"])
def test_large_photographs_are_trained_on_and_scored_in_patches(bottles, tmp_path, streaming):
    flags = ["--patch=16", "--epochs=1", "--batch-size=8", "--validation-fraction=0.2", f"--streaming={streaming}"]
    assert main(["train", str(bottles), *flags, f"--out={tmp_path / 'run'}"]) == 0
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert (config["patches"], config["image_shape"]) == ({"size": 16, "stride": 8}, [16, 16, 3])
    assert config["kept_patches"] == 16 * 2 * 3  # 20 x 30 pixels: rows 0, 4; columns 0, 8, 14
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert result["images"] == {"train": 16, "held_out": 4, "test_normal": 2, "test_abnormal": 2}
    assert 0 <= result["strict"]["aupro"]["value"] <= 1  # of photographs at their own size
    assert (tmp_path / "run/images.png").exists()
    assert load_model(tmp_path / "run", method=METHOD).patches == (16, 8)
    assert "16 x 16, RGB patches, 8 pixels apart" in describe(tmp_path / "run", METHOD)
    assert main(["train", str(bottles), *flags, f"--out={tmp_path / 'b'}", "--protocol=both"]) == 2


def test_patches_that_were_streamed_are_not_continued_from_memory_in_another_order(bottles, tmp_path, capsys):
    train = [
        "train",
        str(bottles),
        "--patch=16",
        "--batch-size=8",
        "--validation-fraction=0.2",
        f"--out={tmp_path / 'r'}",
    ]
    assert main([*train, "--epochs=1", "--streaming=always"]) == 0
    before = (tmp_path / "r/config.json").read_bytes()
    assert main([*train, "--epochs=2", "--resume", "--streaming=never"]) == 2
    assert (tmp_path / "r/config.json").read_bytes() == before
    assert "streamed from disk so far; continue it with --streaming=always" in capsys.readouterr().err
    assert main([*train, "--epochs=1", "--resume", "--streaming=never"]) == 0  # nothing is left to train
    assert main([*train, "--epochs=2", "--resume", "--streaming=always"]) == 0


def test_pieces_of_one_photograph_are_held_out_together(tmp_path, capsys):
    for i in range(60):
        save(tmp_path / f"crops/train/good/{i // 3:02}_{'abc'[i % 3]}.png", picture(i))
    train = ["train", str(tmp_path / "crops"), *SMALL, "--validation-fraction=0.5", f"--out={tmp_path / 'run'}"]
    assert main([*train[:-1], f"--out={tmp_path / 'alone'}"]) == 0
    assert "judging by their names, the 60 normal training images are of 20 things" in capsys.readouterr().out
    assert main([*train, r"--group=\d+"]) == 0
    assert "60 normal training images are of 20 groups (--group)" in capsys.readouterr().out
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert (config["group"], config["held_out"], load_model(tmp_path / "run", method=METHOD).held_out) == (
        r"\d+",
        30,
        30,
    )
    assert r"held out together by --group=\d+" in describe(tmp_path / "run", METHOD)
    for pattern, message in (
        ("x", "does not match 60 of 60 images"),
        ("png", "puts all 60 images into one group"),
        (r"\w\.", "group is '"),  # the same run with other images held out
    ):
        assert main([*train, "--epochs=2", "--resume", f"--group={pattern}"]) == 2
        assert message in capsys.readouterr().err
    assert main([*train, "--epochs=2", "--resume"]) == 2  # and with none
    assert "not absent" in capsys.readouterr().err
    assert main([*train, "--epochs=2", "--resume", r"--group=\d+"]) == 0


def test_the_experiment_is_the_same_command_with_the_folder_as_a_flag(bottles, run_of_bottles, tmp_path):
    assert experiments.folder.main([f"--data={bottles}", *SMALL, f"--out={tmp_path / 'run'}"]) == 0
    assert (tmp_path / "run/scores.csv").read_bytes() == (run_of_bottles / "scores.csv").read_bytes()


def test_a_finished_run_goes_on_for_more_epochs(bottles, run_of_bottles, tmp_path, capsys):
    out = tmp_path / "run"
    shutil.copytree(run_of_bottles, out)
    command = ["train", str(bottles), *SMALL, f"--out={out}", "--resume"]
    assert main([*command, "--epochs=3"]) == 0
    said = capsys.readouterr()
    assert (
        "continuing to epoch 3; the run was started for 1. A learning rate that decays follows the schedule of 3"
        in said.err
    )
    assert "epoch 3 of 3" in said.out
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert rows[0] == json.loads((run_of_bottles / "metrics.jsonl").read_text())
    assert json.loads((out / "result.json").read_text())["training"]["epochs"] == 3
    assert load_model(out, method=METHOD).epoch == 3
    assert load_model(out, 2, METHOD).epoch == 2
    assert main([*command, "--epochs=2"]) == 2
    assert "another configuration: epochs is 3, not 2" in capsys.readouterr().err
    assert main([*command, "--epochs=4", "--batch-size=4"]) == 2
    assert "another configuration: batch_size is 8, not 4" in capsys.readouterr().err
    assert load_model(out, method=METHOD).epoch == 3


def test_an_epoch_keeps_its_steps_when_a_run_goes_on_for_more(bottles, tmp_path, capsys):
    command = ["train", str(bottles), *SMALL, "--steps=4", f"--out={tmp_path / 'run'}"]
    assert main(command) == 0
    for epochs, said in ((2, "8 steps, not 4: each epoch has 4 as before"), (2, ""), (1, None)):
        assert main([*command, f"--epochs={epochs}", "--resume"]) == (2 if said is None else 0)
        err = capsys.readouterr().err
        assert "epochs is 2, not 1" in err if said is None else said in err
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert (result["training"]["epochs"], result["training"]["steps"]) == (2, 8)


def test_a_bare_folder_trains_and_calibrates_and_says_there_was_nothing_to_test_on(tmp_path, capsys):
    for i in range(20):
        save(tmp_path / f"data/{i}.png", picture(i))
    (tmp_path / "data/notes.txt").write_text("")
    assert main(["train", str(tmp_path / "data"), *SMALL, f"--out={tmp_path / 'run'}"]) == 0
    said = capsys.readouterr()
    assert "nothing to test on" in said.out
    assert "not used: " in said.err
    assert "notes.txt" in said.err
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert set(result["strict"]) == {"epoch", "threshold"}
    assert (tmp_path / "run/scores.csv").read_text().count("\n") == 1
    assert main(["train", str(tmp_path / "data"), *SMALL, f"--out={tmp_path / 'b'}", "--protocol=both"]) == 2
    assert "the folder lacks them" in capsys.readouterr().err


def test_a_bad_file_is_refused_or_named_and_skipped(tmp_path, capsys):
    for i in range(20):
        save(tmp_path / f"data/{i}.png", picture(i))
    (tmp_path / "data/broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    command = ["train", str(tmp_path / "data"), *SMALL, f"--out={tmp_path / 'run'}"]
    assert main(command) == 2
    assert "broken.png" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert main([*command, "--on-bad=skip"]) == 0
    assert "not used: " in capsys.readouterr().err


def scored(folder, tmp_path, *files, flags=(), code=0):
    out = tmp_path / "scores.csv"
    assert main(["score", str(folder), *map(str, files), f"--out={out}", *flags]) == code or code is None
    with out.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def normal_files(run_of_bottles, bottles, tmp_path_factory):
    """Those the model finds most normal, in order."""
    out = tmp_path_factory.mktemp("scores") / "scores.json"
    main(["score", str(run_of_bottles), str(bottles / "train/good"), f"--out={out}"])
    return [Path(row["file"]) for row in sorted(json.loads(out.read_text()), key=lambda row: row["score"])]


def test_every_file_gets_its_score_whatever_the_others_are(run_of_bottles, bottles, normal_files, tmp_path, capsys):
    (tmp_path / "cut.png").write_bytes(normal_files[0].read_bytes()[:99])
    (tmp_path / "empty.png").touch()
    black = save(tmp_path / "black.png", np.zeros((9, 9, 3), np.uint8))
    files = [normal_files[0], tmp_path / "cut.png", tmp_path / "no.png", tmp_path / "empty.png", black, normal_files[1]]
    rows = scored(run_of_bottles, tmp_path, *files, code=1)
    assert [row["file"] for row in rows] == [str(file) for file in files]
    assert [row["verdict"] for row in rows] == ["normal", *["unusable"] * 3, "abnormal", "normal"]
    assert [row["reason"] != "" for row in rows] == [False, True, True, True, False, False]
    assert "empty" in rows[3]["reason"]
    assert rows[1]["score"] == rows[1]["calibrated"] == ""
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("# threshold")
    assert said[3].startswith("unusable")
    assert "cut.png: damaged" in said[3]
    assert said[-1] == "# 2 normal, 1 abnormal, 3 unusable"

    one_by_one = [scored(run_of_bottles, tmp_path, file)[0]["score"] for file in (normal_files[0], normal_files[1])]
    assert one_by_one == [rows[0]["score"], rows[5]["score"]]


def test_a_test_image_scores_as_it_did_in_the_run(run_of_bottles, bottles, tmp_path):
    with (run_of_bottles / "scores.csv").open() as file:
        before = {row["id"]: float(row["score"]) for row in csv.DictReader(file)}
    rows = scored(run_of_bottles, tmp_path, bottles / "test", code=1)
    found = {os.path.relpath(row["file"], bottles): float(row["score"]) for row in rows}
    assert found == pytest.approx(before, rel=1e-6)


def test_exit_codes_are_for_scripts(run_of_bottles, normal_files, tmp_path, capsys):
    black = save(tmp_path / "black.png", np.zeros((9, 9, 3), np.uint8))

    def code(*arguments):
        return main(["score", str(run_of_bottles), *map(str, arguments)])

    assert code(normal_files[0]) == 0
    assert code(normal_files[0], black) == 1
    assert code(normal_files[0], "gone.png") == 3
    assert code(normal_files[0], "gone.png", black) == 1
    assert code("gone.png") == 2
    assert code() == 2
    assert code(tmp_path / "run") == 2
    assert code(normal_files[0], "--out=scores.txt") == 2
    assert "allowed are .csv, .json, .jsonl" in capsys.readouterr().err
    assert code(normal_files[0], f"--out={tmp_path}/nowhere/scores.csv") == 2
    assert code(normal_files[0], "--false-positive-rate=2") == 2


@pytest.mark.skipif(os.name == "nt", reason="POSIX names")
def test_names_that_are_no_text_are_in_files_that_are(run_of_bottles, normal_files, tmp_path):
    name = tmp_path / "new" / os.fsdecode(b"caf\xe9.png")
    name.parent.mkdir()
    name.write_bytes(normal_files[0].read_bytes())
    for suffix in (".csv", ".json"):
        assert main(["score", str(run_of_bottles), str(name.parent), f"--out={tmp_path / 'scores'}{suffix}"]) == 0
        text = (tmp_path / f"scores{suffix}").read_bytes().decode()
        rows = json.loads(text) if suffix == ".json" else list(csv.DictReader(text.splitlines()))
        assert [row["file"] for row in rows] == [str(name.parent / r"caf\udce9.png")]


def test_images_in_a_folder_that_are_not_read_are_named_and_counted(run_of_bottles, normal_files, tmp_path, capsys):
    (tmp_path / "new").mkdir()
    (tmp_path / "new/a").write_bytes(normal_files[0].read_bytes())
    save(tmp_path / "new/b.gif", picture(0))
    (tmp_path / "new/c.txt").write_text("no image")
    rows = scored(run_of_bottles, tmp_path, tmp_path / "new", code=3)
    assert [row["verdict"] for row in rows] == ["normal", "unusable"]
    assert rows[1]["reason"].startswith(".gif files are not read; allowed are PNG")
    assert capsys.readouterr().out.endswith("# 1 normal, 0 abnormal, 1 unusable\n")


def test_a_run_that_has_not_ended_says_so_and_scores(run_of_bottles, normal_files, tmp_path, capsys):
    shutil.copytree(run_of_bottles, tmp_path / "run")
    scored(run_of_bottles, tmp_path, normal_files[0])
    assert "has not ended" not in capsys.readouterr().err
    (tmp_path / "run/result.json").unlink()
    scored(tmp_path / "run", tmp_path, normal_files[0])
    assert f"note: {tmp_path / 'run'} has not ended" in capsys.readouterr().err


def test_json_has_what_csv_has(run_of_bottles, normal_files, tmp_path):
    rows = scored(run_of_bottles, tmp_path, normal_files[0], "gone.png", code=3)
    out = tmp_path / "scores.json"
    assert main(["score", str(run_of_bottles), str(normal_files[0]), "gone.png", f"--out={out}"]) == 3
    values = json.loads(out.read_text())
    assert [list(value) for value in values] == [list(row) for row in rows]
    assert values[0]["score"] == pytest.approx(float(rows[0]["score"]), rel=1e-8)
    assert values[1]["score"] is None


@pytest.mark.parametrize("ending", ["\n", "\0"])
def test_a_list_on_standard_input_names_files_and_folders(run_of_bottles, bottles, normal_files, ending, tmp_path):
    odd = save(tmp_path / ("line\nbreak.png" if ending == "\0" else "шуруп.png"), picture(0))
    listed = ending.join([str(normal_files[3]), str(odd), str(bottles / "test/good"), ""])
    files = list_files(["-"], listed.encode)
    assert files == [normal_files[3], odd, bottles / "test/good/000.jpg", bottles / "test/good/001.jpg"]


def test_the_false_positive_rate_sets_the_threshold(run_of_bottles, bottles, tmp_path):
    flags = [bottles / "train/good", "--false-positive-rate=0.9"]
    strict, lax = scored(run_of_bottles, tmp_path, flags[0], code=1), scored(run_of_bottles, tmp_path, *flags, code=1)
    for rows in (strict, lax):
        (limit,) = {float(row["threshold"]) for row in rows}
        assert [row["verdict"] for row in rows] == [
            "abnormal" if float(row["score"]) > limit else "normal" for row in rows
        ]
    assert [row["score"] for row in strict] == [row["score"] for row in lax]
    assert sum(row["verdict"] == "normal" for row in strict) > sum(row["verdict"] == "normal" for row in lax)


def test_a_rate_that_so_few_images_cannot_support_is_refused_and_what_they_can_is_said(
    run_of_bottles, bottles, normal_files, tmp_path, capsys
):
    assert main(["score", str(run_of_bottles), str(normal_files[0])]) == 0
    said = capsys.readouterr().out
    assert "for 20 % false positives; 4 held-out normal images can support a rate of 20 % and more" in said
    for rate in ("0.001", "0.05", "0.19"):
        assert main(["score", str(run_of_bottles), str(normal_files[0]), f"--false-positive-rate={rate}"]) == 2
        assert f"rate is {rate}; 4 held-out normal images can support" in capsys.readouterr().err
    assert main(["score", str(run_of_bottles), str(normal_files[0]), "--false-positive-rate=0.2"]) == 0
    command = ["train", str(bottles), *SMALL, f"--out={tmp_path / 'run'}", "--false-positive-rate=0.05"]
    assert main(command) == 2
    assert "4 held-out normal images can support a rate of 20 % and more" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_info_report_and_exports_say_what_the_threshold_rests_on(run_of_bottles, tmp_path, capsys):
    assert main(["info", str(run_of_bottles)]) == 0
    resting = "4 held-out normal images can support a rate of 20 % and more"
    assert resting in capsys.readouterr().out
    assert main(["report", str(run_of_bottles)]) == 0
    assert resting in (run_of_bottles / "report.html").read_text()
    about = metadata(load_model(run_of_bottles, method=METHOD))
    assert [about[name] for name in ("false_positive_rate", "held_out", "least_false_positive_rate")] == [0.2, 4, 0.2]


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_a_stopped_scoring_goes_on_where_it_was(run_of_bottles, bottles, tmp_path, monkeypatch, capsys, suffix):
    out, whole = tmp_path / f"scores{suffix}", tmp_path / f"whole{suffix}"
    command = ["score", str(run_of_bottles), str(bottles / "train/good"), str(bottles / "test")]
    code = main([*command, f"--out={whole}"])

    def stopped(*arguments):
        yield from itertools.islice(judge_files(*arguments), 7)
        raise KeyboardInterrupt

    monkeypatch.setattr(verdicts, "judge_files", stopped)
    assert main([*command, f"--out={out}"]) == 130
    assert f"7 verdicts are in {out}.part; the same command with --resume goes on" in capsys.readouterr().err
    monkeypatch.undo()
    assert main([*command, f"--out={out}"]) == 2
    assert main([*command, "--resume"]) == 2
    assert "--resume goes on with the file that --out names" in capsys.readouterr().err
    assert main([*command, f"--out={out}", "--resume"]) == code
    said = capsys.readouterr().out.splitlines()
    assert "# 7 verdicts are there from before; 17 files are to be scored" in said
    assert out.read_bytes() == whole.read_bytes()
    assert main([*command, f"--out={out}", "--resume"]) == code  # all are there already
    assert capsys.readouterr().out.splitlines()[-1] == said[-1]
    assert out.read_bytes() == whole.read_bytes()


def test_maps_are_pictures_beside_each_other_as_the_files_are(run_of_bottles, bottles, tmp_path):
    rows = scored(run_of_bottles, tmp_path, bottles / "test", flags=[f"--maps={tmp_path / 'maps'}"], code=1)
    pictures = [Path(row["map"]) for row in rows]
    assert len(set(pictures)) == 4
    for row in rows:
        assert row["map"] == str(tmp_path / "maps" / row["file"].lstrip("/")) + ".png"
        with Image.open(row["map"]) as drawn:
            assert drawn.size == (30, 20)


def test_a_command_that_cannot_end_well_is_refused_before_it_begins(run_of_bottles, normal_files, tmp_path, capsys):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").write_bytes(b"")
    for flag in (
        f"--out={tmp_path / 'folder.csv'}",
        f"--maps={tmp_path / 'file'}",
        f"--out={tmp_path / ('l' * 260)}.csv",
    ):
        assert main(["score", str(run_of_bottles), *map(str, normal_files), flag]) == 2
        assert "\nnormal " not in capsys.readouterr().out


def test_an_export_is_not_named_as_another_format(run_of_bottles, tmp_path, capsys):
    assert main(["export", str(run_of_bottles), f"--out={tmp_path / 'model.onnx'}"]) == 2
    assert "say --format=onnx" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_list_on_standard_input_needs_one(run_of_bottles, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", None)  # as Python has it if the command was started without
    assert main(["score", str(run_of_bottles), "-"]) == 2
    assert "standard input" in capsys.readouterr().err


def test_a_flag_with_a_tilde_is_in_the_home_folder_not_in_one_called_tilde(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    given = ["score", "run", "~/a.png", "--out=~/x.csv", "--maps=~", "--method=a:~/b"]
    assert cli.with_home(given) == ["score", "run", "~/a.png", f"--out={tmp_path}/x.csv", "--maps=~", "--method=a:~/b"]


def test_an_image_in_memory_gets_the_verdict_of_its_file(run_of_bottles, bottles, tmp_path):
    files = [bottles / "test/broken/000.png", bottles / "test/good/000.jpg"]
    rows = scored(run_of_bottles, tmp_path, *files, flags=[f"--maps={tmp_path / 'maps'}"], code=1)
    model, _ = load_judged(run_of_bottles, METHOD)
    for file, row in zip(files, rows, strict=True):
        found = judge_image(model, file.read_bytes())
        assert (found.verdict, np.float32(found.score)) == (row["verdict"], np.float32(row["score"]))
        assert (np.float32(found.calibrated), np.float32(found.threshold)) == (
            np.float32(row["calibrated"]),
            np.float32(row["threshold"]),
        )


def test_a_large_photograph_is_scored_by_its_worst_patch(bottles, tmp_path):
    flags = ["--patch=16", "--epochs=1", "--batch-size=8"]
    assert main(["train", str(bottles), *flags, f"--out={tmp_path / 'run'}"]) == 0
    photograph = picture(7, (60, 80, 3))
    photograph[30:46, 40:56] = 0  # covers the patch at row 32, column 40 but for its lowest rows
    small = save(tmp_path / "small.png", picture(3, (15, 40, 3)))
    large = save(tmp_path / "large.png", photograph)
    out = [f"--maps={tmp_path / 'maps'}"]
    (row, other) = scored(tmp_path / "run", tmp_path, large, small, flags=out, code=1)
    assert (row["verdict"], other["verdict"]) == ("abnormal", "unusable")
    assert other["reason"] == "15 x 40 is smaller than a patch of 16 x 16"
    model = load_model(tmp_path / "run", method=METHOD)
    corners = windows(60, 80, 16, 8)
    scores = score_images(model.detector, model.state, extract(photograph, corners, 16)).total
    assert float(row["score"]) == pytest.approx(scores.max(), rel=1e-6)


def test_what_was_found_of_a_camera_and_allowed_is_kept_with_the_run(tmp_path, capsys):
    for i in range(20):
        twelve_bits = np.rint(picture(i)[..., 0] * (4095 / 255)).astype(np.uint16)
        save(tmp_path / f"data/train/good/{i}.png", twelve_bits)
    eight = save(tmp_path / "eight.png", picture(3)[..., 0])
    flags = [*SMALL, "--channels=1", "--max-pixels=600", f"--out={tmp_path / 'run'}"]
    assert main(["train", str(tmp_path / "data"), *flags]) == 0
    assert "white is 4095 in 16-bit grey files" in capsys.readouterr().out
    model = load_model(tmp_path / "run", method=METHOD)
    assert model.reading == (600, 4095, 2)
    assert metadata(model)["reading"] == {"max_pixels": 600, "white": 4095, "jpeg_margin": 2}
    assert "max_pixels 600, white 4095" in describe(tmp_path / "run", METHOD)
    larger = save(tmp_path / "larger.png", picture(0, (21, 30)))
    rows = scored(tmp_path / "run", tmp_path, tmp_path / "data/train/good/3.png", eight, larger, code=None)
    assert rows[0]["score"] == rows[1]["score"]  # the same picture in 12 bits of 16 and in 8 bits
    assert rows[2]["reason"] == "30 x 21 is more than 600 pixels"
    config = json.loads((tmp_path / "run/config.json").read_text())
    for value in (0, "4095", None, 2.5):
        with pytest.raises(UserError):
            configuration(config | {"reading": {"white": value}}, tmp_path, METHOD)


def test_a_folder_without_a_run_is_no_model(tmp_path, capsys):
    assert main(["info", str(tmp_path)]) == 2
    assert "holds no run" in capsys.readouterr().err


def test_method_and_preset_set_the_flags_and_their_defaults():
    assert parse(["train", "x", "--preset=reference"]).model.pool == "soft"
    assert parse(["train", "x", "--preset=paper"]).model == SaganConfig()
    usual = parse(["train", "x"])
    assert (usual.preset, usual.model.repair.restoration) == ("inspection", True)
    assert usual.training == INSPECTION
    other = parse(["train", "x", "--method=skip_ganomaly"])
    assert (type(other.model).__name__, other.training.batch_size) == ("SkipGanomalyConfig", 16)
    published = parse(["train", "x", "--method=skip_ganomaly", "--preset=paper"])
    assert (published.model.repair.restoration, published.training.batch_size) == (False, 64)


@pytest.mark.parametrize("argv", [[], ["nonsense"], ["train"], ["train", "x", "--epochs=0"], ["info", "x", "--no"]])
def test_a_wrong_command_line_ends_with_2(argv, capsys):
    with pytest.raises(SystemExit) as ended:
        main(argv)
    assert ended.value.code == 2
    assert capsys.readouterr().err


@pytest.mark.parametrize("argv", [["--help"], ["train", "--help"], ["info", "--help"]])
def test_help_imports_nothing_heavy_and_nothing_outside_the_package(argv, tmp_path):
    program = (
        f"import sys; sys.argv = ['sagan', *{argv!r}]; import runpy\n"
        "try: runpy.run_module('sagan_jax', run_name='__main__')\n"
        "except SystemExit as ended: assert ended.code == 0\n"
        "heavy = {'jax', 'flax', 'numpy', 'matplotlib', 'PIL', 'orbax', 'experiments'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def test_pictures_of_a_test_set_that_is_gone_are_gone(tmp_path):
    for i in range(20):
        save(tmp_path / f"b/train/good/{i:03d}.png", picture(i))
    save(tmp_path / "b/test/good/0.png", picture(30))
    train = ["train", str(tmp_path / "b"), *SMALL, f"--out={tmp_path / 'r'}"]
    assert main(train) == 0
    (tmp_path / "r/roc.png").write_bytes(b"of abnormal images that there were")
    assert "test/good/0" in (tmp_path / "r/report.html").read_text()
    shutil.rmtree(tmp_path / "b/test")
    assert main([*train, "--resume"]) == 0
    assert not {"scores.png", "roc.png", "images.png", "gallery.json"} & {p.name for p in (tmp_path / "r").iterdir()}
    assert "test/good/0" not in (tmp_path / "r/report.html").read_text()


def test_photographs_of_the_same_names_and_lengths_that_show_something_else_are_not_continued_with(tmp_path, capsys):
    for i in range(20):
        save(tmp_path / f"b/train/good/{i:03d}.bmp", picture(i))
    train = ["train", str(tmp_path / "b"), *SMALL[:-1], "--streaming=always", f"--out={tmp_path / 'r'}", "--resume"]
    assert main(train) == 0
    for i in range(20):
        save(tmp_path / f"b/train/good/{i:03d}.bmp", 255 - picture(i))
    assert main([*train, "--epochs=2"]) == 2
    assert "photographs show something else than before" in capsys.readouterr().err


def test_the_reference_protocol_picks_among_epochs_scored_on_one_test_set(tmp_path, capsys):
    for i in range(20):
        save(tmp_path / f"b/train/good/{i:03d}.png", picture(i))
    for i in range(2):
        save(tmp_path / f"b/test/good/{i}.png", picture(30 + i))
        save(tmp_path / f"b/test/bad/{i}.png", picture(40 + i))
    train = ["train", str(tmp_path / "b"), *SMALL, "--protocol=both", f"--out={tmp_path / 'r'}", "--resume"]
    assert main(train) == 0
    save(tmp_path / "b/test/bad/0.png", picture(99))
    assert main([*train, "--epochs=2"]) == 2
    assert "the test images are not those that the run's epochs were scored on" in capsys.readouterr().err
    (tmp_path / "r/metrics.jsonl").unlink()
    save(tmp_path / "b/test/bad/0.png", picture(40))
    assert main([*train, "--epochs=2"]) == 2
    assert "not all of the run's epochs are on record" in capsys.readouterr().err


def test_a_run_whose_metrics_are_gone_is_judged_again(bottles, tmp_path):
    train = ["train", str(bottles), *SMALL, f"--out={tmp_path / 'r'}"]
    assert main(train) == 0
    (tmp_path / "r/metrics.jsonl").unlink()
    assert main([*train, "--resume"]) == 0


def test_a_run_of_a_newer_version_is_not_continued(bottles, tmp_path, capsys):
    train = ["train", str(bottles), *SMALL, f"--out={tmp_path / 'r'}"]
    assert main(train) == 0
    config = json.loads((tmp_path / "r/config.json").read_text())
    (tmp_path / "r/config.json").write_text(json.dumps(config | {"format": 99}))
    assert main([*train, "--resume"]) == 2
    assert "of format 99, which a newer version" in capsys.readouterr().err


def test_an_export_of_a_run_that_has_not_ended_says_so(run_of_bottles, tmp_path, capsys):
    shutil.copytree(run_of_bottles, tmp_path / "r")
    (tmp_path / "r/result.json").unlink()
    assert main(["export", str(tmp_path / "r"), "--format=safetensors"]) == 0
    assert "has not ended; it is scored by what it has learned so far" in capsys.readouterr().err
