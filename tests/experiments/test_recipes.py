"""The guide's recipes for a method and a data set of one's own, followed to the letter: a file, and the commands."""

import json
import re
import shlex
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sagan_jax import cli

GUIDE = (Path(__file__).parents[2] / "docs" / "guide.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
_BASH = re.findall(r"```bash\n(.*?)```", GUIDE, re.DOTALL)
COMMANDS = [shlex.split(line) for block in _BASH for line in block.replace("\\\n", "").splitlines()]


def python(*parts):
    """The guide's Python blocks that have one of these words, with the imports of all before them."""
    chosen = [block for block in BLOCKS if any(part in block for part in parts)]
    imports = [line for block in BLOCKS for line in block.splitlines() if re.match(r"(from|import) ", line)]
    return "\n".join(dict.fromkeys(imports)) + "\n\n" + "\n".join(chosen)


@pytest.fixture(scope="module", autouse=True)
def figures_stay_empty():
    """They are drawn here, of another method's losses."""


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


@pytest.fixture
def run(folder, monkeypatch, capsys):
    """Runs the guide's command that has this word, in the folder: its exit code and what it says."""
    monkeypatch.chdir(folder)

    def run(word, *extra):
        return call(next(command for command in COMMANDS if word in command), *extra)

    def call(command, *extra):
        program, *arguments = command
        main = cli.main
        if program == "python":
            _, module, *arguments = arguments  # python -m module
            main = import_module(module).main
        with monkeypatch.context() as patch:  # each command has to find the modules anew
            patch.setattr(sys, "path", sys.path.copy())
            for name in ("autoencoder", "stripes"):
                sys.modules.pop(name, None)
            code = main([*arguments, *extra])
        return (code, *capsys.readouterr())

    run.call = call
    yield run
    for name in ("autoencoder", "stripes"):
        sys.modules.pop(name, None)


def test_a_method_in_one_file_is_trained_scored_and_exported_by_the_guides_commands(folder, run):
    code, out, err = run("--out=runs/autoencoder")
    assert code == 0, err
    assert "autoencoder, epoch 3 of 3" in out
    assert "reconstruction=" in err  # its own loss, on the progress bar
    result = json.loads((folder / "runs/autoencoder/result.json").read_text())
    assert result["method"] == "autoencoder"
    rows = [json.loads(line) for line in (folder / "runs/autoencoder/metrics.jsonl").read_text().splitlines()]
    assert all("reconstruction_loss" in row for row in rows)
    assert (folder / "runs/autoencoder/losses.png").stat().st_size > 5000

    code, out, err = run("score")
    assert code in (0, 1), err
    assert "photograph.png" in out
    code, _, err = run("export")
    assert code == 0, err
    assert (folder / "runs/autoencoder/scorer.stablehlo").exists()

    code, _, err = run.call(["sagan", "score", "runs/autoencoder", "photograph.png"])
    assert code == 2
    assert "--method=MODULE:NAME" in err


def test_two_seeds_of_it_are_trained_as_one_program(run):
    code, out, err = run("--together=vmap", "--train-images=100", "--test-images=40")
    assert code == 0, err
    assert "2 models as one program (vmap)" in err
    assert out.count("autoencoder, epoch 3 of 3") == 2


def test_a_data_set_in_one_file_is_taken_by_the_experiments(run):
    command = ["--dataset=stripes:load_stripes", "--abnormal=flat", "--size=16", "--epochs=1"]
    assert command[0] in next(c for c in COMMANDS if "experiments.leave_one_out" in c)
    quick = ["--method=mean_detector:METHOD", "--batch-size=8", "--out=runs/stripes"]
    code, out, err = run("experiments.leave_one_out", *quick)
    assert code == 0, err
    assert "stripes, abnormal: flat" in out
    code, out, err = run("experiments.floor")
    assert code == 0, err
    assert "flat" in out
