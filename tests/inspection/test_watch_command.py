"""`sagan watch`: it ends clean, goes on where it was, and does not score what it draws."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from photographs import picture, save

from sagan_jax import cli
from sagan_jax.inspection import verdict_file
from sagan_jax.inspection.verdicts import Verdict


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("watched")
    for i in range(20):
        save(root / f"train/good/{i:03d}.png", picture(i))
    small = ["--size=16", "--epochs=1", "--batch-size=8", "--validation-fraction=0.2"]
    method = "--method=mean_detector:METHOD"
    assert cli.main(["train", str(root), method, *small, f"--out={root / 'run'}"]) == 0
    return root / "run"


def test_the_command_ends_clean_when_stopped_and_goes_on_without_scoring_twice(run, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "verdicts.jsonl"
    save(folder / "0.png", picture(0))
    command = [sys.executable, "-m", "sagan_jax", "watch", str(run), str(folder), f"--out={out}"]
    command += ["--method=mean_detector:METHOD"]
    places = [str(Path(cli.__file__).parent.parent), str(Path(__file__).parent.parent)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(places)}

    def watch_for(number, *, stop):
        with subprocess.Popen(command, stdout=-1, stderr=-1, text=True, env=environment) as process:
            lines = []
            for line in process.stdout:
                lines.append(line)
                if len(lines) == 1:
                    save(folder / f"{number}.png", picture(number))
                if len(lines) == 2:
                    process.send_signal(stop)
            errors = process.stderr.read()
        return process.returncode, lines, errors

    code, first, errors = watch_for(1, stop=signal.SIGTERM)
    assert (code, len(first)) == (0, 2), errors
    assert "# 0 normal, 2 abnormal, 0 unusable; from a file's close to its verdict: p50 " in errors
    assert out.read_text() == "".join(first)
    save(folder / "2.png", picture(2))  # unusable before the command was stopped, and whole since
    limit = json.loads(first[0])["threshold"]
    with verdict_file.written_to(out, limit, resume=True) as growing:
        growing.write(Verdict(str(folder / "2.png"), "unusable", None, None, limit, "the file is empty", ""))
    first.append(out.read_text().splitlines(keepends=True)[-1])
    code, second, errors = watch_for(3, stop=signal.SIGINT)
    assert (code, len(second)) == (0, 2), errors
    assert out.read_text() == "".join([*first, *second])
    names = sorted(Path(json.loads(line)["file"]).name for line in (*first[:2], *second))
    assert names == [f"{i}.png" for i in range(4)]
    score = ["score", str(run), str(folder), f"--out={tmp_path / 'a.csv'}", "--method=mean_detector:METHOD"]
    assert cli.main(score) == 1  # two are abnormal
    with (tmp_path / "a.csv").open() as file:
        scores = {row["file"]: np.float32(row["score"]) for row in csv.DictReader(file)}
    assert {row["file"]: np.float32(row["score"]) for row in map(json.loads, (*first[:2], *second))} == scores


def test_pictures_do_not_go_where_they_would_be_scored(run, tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    for maps, why in ((folder / "maps", "pictures would be scored"), (tmp_path, "where the pictures are to go")):
        assert cli.main(["watch", str(run), str(folder), f"--maps={maps}", "--method=mean_detector:METHOD"]) == 2
        assert why in capsys.readouterr().err
