"""The `sagan` command, from its command line to its exit code."""

import json
import subprocess
import sys

import numpy as np
import pytest
from photographs import picture, save

import experiments.folder
from sagan_jax.cli import main, parse

SMALL = ["--size=16", "--width=4", "--latent-size=8", "--epochs=1", "--batch-size=8"]


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
    assert result["images"] == {"train": 19, "held_out": 1, "test_normal": 2, "test_abnormal": 2}
    assert (result["dataset"], result["abnormal"]) == ("bottles", "broken")
    assert 0 <= result["strict"]["auroc"]["value"] <= 1
    assert main(["info", str(run_of_bottles)]) == 0
    said = capsys.readouterr().out
    for words in ("sagan on bottles", "16 x 16, RGB", "1 of 1 epochs", "AUROC", "threshold", "depth_multiplier 2"):
        assert words in said


def test_the_experiment_is_the_same_command_with_the_folder_as_a_flag(bottles, run_of_bottles, tmp_path):
    assert experiments.folder.main([f"--data={bottles}", *SMALL, f"--out={tmp_path / 'run'}"]) == 0
    assert (tmp_path / "run/scores.csv").read_bytes() == (run_of_bottles / "scores.csv").read_bytes()


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


def test_a_folder_without_a_run_is_no_model(tmp_path, capsys):
    assert main(["info", str(tmp_path)]) == 2
    assert "holds no run" in capsys.readouterr().err


def test_method_and_preset_set_the_flags_and_their_defaults():
    assert parse(["train", "x", "--preset=reference"]).model.pool == "soft"
    assert parse(["train", "x"]).model.pool == "max"
    other = parse(["train", "x", "--method=skip_ganomaly"])
    assert (type(other.model).__name__, other.training.batch_size) == ("SkipGanomalyConfig", 64)


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
