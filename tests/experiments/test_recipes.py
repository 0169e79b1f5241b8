"""The guide's recipes for a method and a data set of one's own, followed to the letter: a file, and the commands."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

GUIDE = (Path(__file__).parents[2] / "docs" / "guide.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
_BASH = re.findall(r"```bash\n(.*?)```", GUIDE, re.DOTALL)
COMMANDS = [shlex.split(line) for block in _BASH for line in block.replace("\\\n", "").splitlines()]


def python(*parts):
    """The guide's Python blocks that have one of these words, with the imports of all before them."""
    chosen = [block for block in BLOCKS if any(part in block for part in parts)]
    imports = [line for block in BLOCKS for line in block.splitlines() if re.match(r"(from|import) ", line)]
    return "\n".join(dict.fromkeys(imports)) + "\n\n" + "\n".join(chosen)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working folder with the two files, and a picture to score."""
    folder = tmp_path_factory.mktemp("recipes")
    method = python("-> Detector:").split("def by_worst_pixels")[0]
    settings = next(block for block in BLOCKS if "METHOD = Method(" in block)
    line = next(line for line in settings.splitlines() if line.startswith("METHOD = "))
    (folder / "autoencoder.py").write_text(f"{method}\n\n{line}\n")
    (folder / "stripes.py").write_text(python("def load_stripes"))
    pixels = np.random.default_rng(0).integers(0, 256, (20, 20), np.uint8)
    Image.fromarray(pixels).save(folder / "photograph.png")
    return folder


def run(folder, word, *extra):
    """The guide's command that has this word, in the folder; its completed process."""
    command = next(command for command in COMMANDS if word in command)
    program = {"python": [sys.executable], "sagan": [sys.executable, "-m", "sagan_jax"]}[command[0]]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}  # where `experiments` is
    arguments = [*program, *command[1:], *extra]
    return subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_method_in_one_file_is_trained_scored_and_exported_by_the_guides_commands(folder):
    trained = run(folder, "--out=runs/autoencoder")
    assert trained.returncode == 0, trained.stderr
    assert "autoencoder, epoch 3 of 3" in trained.stdout
    assert "reconstruction=" in trained.stderr  # its own loss, on the progress bar
    result = json.loads((folder / "runs/autoencoder/result.json").read_text())
    assert result["method"] == "autoencoder"
    rows = [json.loads(line) for line in (folder / "runs/autoencoder/metrics.jsonl").read_text().splitlines()]
    assert all("reconstruction_loss" in row for row in rows)
    assert (folder / "runs/autoencoder/losses.png").stat().st_size > 5000

    scored = run(folder, "score")
    assert scored.returncode in (0, 1), scored.stderr
    assert "photograph.png" in scored.stdout
    exported = run(folder, "export")
    assert exported.returncode == 0, exported.stderr
    assert (folder / "runs/autoencoder/scorer.stablehlo").exists()

    without = subprocess.run(
        [sys.executable, "-m", "sagan_jax", "score", "runs/autoencoder", "photograph.png"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert without.returncode == 2
    assert "--method=MODULE:NAME" in without.stderr


def test_two_seeds_of_it_are_trained_as_one_program(folder):
    many = run(folder, "--together=vmap")
    assert many.returncode == 0, many.stderr
    assert "2 models as one program (vmap)" in many.stderr
    assert many.stdout.count("autoencoder, epoch 3 of 3") == 2


def test_a_data_set_in_one_file_is_taken_by_the_experiments(folder):
    command = ["--dataset=stripes:load_stripes", "--abnormal=flat", "--size=16", "--epochs=1"]
    assert command[0] in next(c for c in COMMANDS if "experiments.leave_one_out" in c)
    tiny = ["--width=2", "--latent-size=4", "--batch-size=8", "--out=runs/stripes"]
    trained = run(folder, "experiments.leave_one_out", *tiny)
    assert trained.returncode == 0, trained.stderr
    assert "stripes, abnormal: flat" in trained.stdout
    floor = run(folder, "experiments.floor")
    assert floor.returncode == 0, floor.stderr
    assert "flat" in floor.stdout
