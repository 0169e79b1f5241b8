"""Kept weights and a kept program give the very verdicts that the checkpoint gives, or are not used."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from mean_detector import MEAN, METHOD
from photographs import picture, save

from sagan_jax import cli, run_folder
from sagan_jax.config import HardwareConfig, OutputConfig, TrainingConfig
from sagan_jax.data.split import Split
from sagan_jax.device import start_run
from sagan_jax.errors import UserError
from sagan_jax.inspection.verdicts import judge_files
from sagan_jax.judging import kept_program
from sagan_jax.judging.calibration import calibrate
from sagan_jax.methods.table import METHODS
from sagan_jax.runs import checkpoint, judged
from sagan_jax.runs.configuration import configuration, read_config
from sagan_jax.runs.judged import open_judged
from sagan_jax.runs.model import load_judged, scorer_of
from sagan_jax.runs.prepare import prepare
from sagan_jax.runs.run_state import first_state, open_run
from sagan_jax.runs.scoring_weights import NAME, keep_weights, read_weights


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A mean image, which compiles in no time, after two epochs."""
    return trained(tmp_path_factory.mktemp("judged"), "--size=16", "--epochs=2", "--method=mean_detector:METHOD")


def trained(root, *flags):
    for i in range(12):
        save(root / f"parts/train/good/{i:03d}.png", picture(i))
    common = ["--batch-size=4", "--validation-fraction=0.3", f"--out={root / 'run'}"]
    assert cli.main(["train", str(root / "parts"), *flags, *common]) == 0
    return root


@pytest.fixture(autouse=True)
def of_the_table(monkeypatch):
    """The mean image is one of the package's own methods here: others' are not kept."""
    monkeypatch.setattr(judged, "METHODS", {**METHODS, "mean": METHOD})


@pytest.fixture(scope="module")
def files(root):
    return [save(root / f"new/{i}.png", picture(100 + i)) for i in range(5)]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(kept_program, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache" / "programs"


@pytest.fixture
def run(root, tmp_path):
    shutil.copytree(root / "run", tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture(scope="module")
def ordinary(root, files):
    return by_the_checkpoint(root / "run", files)


def by_the_checkpoint(run, files):
    """Verdicts and maps of all at once, the same as one by one."""
    scorer = scorer_of(load_judged(run, method_of(run))[0], ("map",))
    verdicts, maps = judged_by(scorer, files)
    assert [next(judge_files(scorer, [file], 0.1)) for file in files] == verdicts
    return verdicts, maps


def method_of(run):
    return METHOD if read_config(run)["method"] == "mean" else None


def judged_by(scorer, files):
    maps = []
    verdicts = list(judge_files(scorer, files, 0.1, lambda file, heat: maps.append(heat) or ""))
    return verdicts, maps


def by_what_is_kept(run, files):
    return judged_by(open_judged(run, ("map",), method_of(run)).scorer, files)


def refuse(*_):
    raise AssertionError("the checkpoint is read, or the detector made")


def agrees(run, files, expected, cache, monkeypatch):
    """What is kept gives those very verdicts and maps, first compiled and then loaded."""
    for how in ("compiled", "kept"):
        found, maps = by_what_is_kept(run, files)
        assert found == expected[0]
        np.testing.assert_array_equal(maps, expected[1], err_msg=how)
        assert len(list(cache.iterdir())) == 1
        monkeypatch.setattr(judged, "_detector", refuse)  # the second time nothing is compiled
        for state in run.glob("checkpoints/*/state"):
            shutil.rmtree(state)  # and orbax's arrays are not read


def test_verdicts_are_those_of_the_checkpoint_to_the_bit(run, files, ordinary, cache, monkeypatch):
    agrees(run, files, ordinary, cache, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["paper", "inspection"])
def test_verdicts_of_sagan_are_those_of_the_checkpoint_to_the_bit(preset, tmp_path, files, cache, monkeypatch):
    method = METHODS["sagan"]
    settings = replace(method.presets[preset], width=4, latent_size=4)
    images = np.stack([picture(i, (32, 32, 3)) for i in range(40)])
    names = np.array([str(i) for i in range(40)])
    split = Split("noise", "none", images, names, images[:0], np.zeros(0, bool), names[:0])
    prepared = prepare(split, method, settings, TrainingConfig(batch_size=4))
    with open_run(prepared, tmp_path, start_run(HardwareConfig()), OutputConfig()) as state:
        last = checkpoint.Checkpoint(1, first_state(prepared), calibrate(np.linspace(0, 1, 20)))
        checkpoint.save(state.checkpoints, last, 0.5)
        keep_weights(state.checkpoints, last, prepared.detector, prepared.image_shape)
    agrees(tmp_path, files, by_the_checkpoint(tmp_path, files), cache, monkeypatch)


def test_what_is_kept_is_opened_without_orbax_and_flax(run, files, cache):
    by_what_is_kept(run, files)
    program = (
        "import sys, pathlib\n"
        "from mean_detector import METHOD\n"
        "from sagan_jax.judging import kept_program\n"
        "from sagan_jax.runs import judged\n"
        "from sagan_jax.inspection.verdicts import judge_files\n"
        f"kept_program.cache_folder = lambda: pathlib.Path({str(cache.parent)!r})\n"
        "judged.METHODS = {'mean': METHOD}\n"
        f"scorer = judged.open_judged(pathlib.Path({str(run)!r}), ('map',), METHOD).scorer\n"
        f"(verdict,) = judge_files(scorer, [pathlib.Path({str(files[0])!r})], 0.1)\n"
        "print(sorted({'orbax', 'flax', 'optax', 'sklearn', 'scipy', 'matplotlib', 'grain'} & set(sys.modules)))\n"
    )
    places = os.pathsep.join([str(Path(cli.__file__).parent.parent), str(Path(__file__).parent.parent)])
    environment = os.environ | {"PYTHONPATH": places}
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, env=environment)
    assert done.stdout == "[]\n"


def test_a_program_of_anything_else_is_not_found(run, files, cache, monkeypatch):
    by_what_is_kept(run, files)
    monkeypatch.setattr(kept_program, "_version", lambda package: "another")
    by_what_is_kept(run, files)
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
    by_what_is_kept(run, files)
    assert len(list(cache.iterdir())) == 3


def test_a_damaged_program_is_compiled_anew(run, files, ordinary, cache):
    by_what_is_kept(run, files)
    (path,) = cache.iterdir()
    whole = path.read_bytes()
    for content in (b"", whole[:1000], whole[:-1] + bytes([whole[-1] ^ 1])):
        path.write_bytes(content)
        assert by_what_is_kept(run, files)[0] == ordinary[0]
        assert path.stat().st_size > 1000


def test_old_programs_go(run, files, cache, monkeypatch):
    cache.mkdir(parents=True)
    for i in range(5):
        (cache / f"{i}.program").write_bytes(b"old")
    monkeypatch.setattr(kept_program, "KEPT", 3)
    by_what_is_kept(run, files)
    assert len(list(cache.iterdir())) == 3


def weights_of(run):
    known = configuration(read_config(run), run, METHOD)
    return read_weights(run / "checkpoints", "last", known.identity)


def test_weights_are_used_only_with_the_checkpoint_that_they_are_of(run):
    whole = weights_of(run)
    assert whole is not None
    assert whole.epoch == 2
    leaves = jax.tree.leaves(load_judged(run, METHOD)[0].state)
    assert 0 < len(whole.leaves) < len(leaves)  # no optimiser
    second = run / "checkpoints" / "2"
    path = second / NAME
    content = path.read_bytes()
    for damaged in (b"", content[:500], content[:-1] + bytes([content[-1] ^ 1]), b"\xff" * 100):
        path.write_bytes(damaged)
        assert weights_of(run) is None
    path.write_bytes((run / "checkpoints" / "1" / NAME).read_bytes())  # of another epoch
    assert weights_of(run) is None
    path.write_bytes(content)
    integrity = second / "integrity" / "metadata"
    said = json.loads(integrity.read_text())
    integrity.write_text(json.dumps(said | {"fingerprint": "0" * 64}))  # the checkpoint was made anew
    assert weights_of(run) is None
    integrity.write_text(json.dumps(said))
    assert weights_of(run) is not None
    config = run_folder.read_json(run / "config.json")
    config["training"]["seed"] = 7
    run_folder.write_json(run / "config.json", config)
    assert weights_of(run) is None


def test_a_run_without_kept_weights_is_scored_as_before(run, files, ordinary, cache):
    for path in run.glob(f"checkpoints/*/{NAME}"):
        path.unlink()
    assert by_what_is_kept(run, files)[0] == ordinary[0]
    assert not cache.exists()


def test_what_another_version_of_a_method_kept_is_refused_as_its_checkpoint_is(run, cache, monkeypatch):
    def init(key, image_shape):
        return {"mean": jax.numpy.zeros((*image_shape, 2)), "step": jax.numpy.zeros((), np.int32)}

    other = METHOD._replace(build=lambda *_: MEAN._replace(init=init))
    monkeypatch.setattr(judged, "METHODS", {**METHODS, "mean": other})
    with pytest.raises(UserError, match="written by another version"):
        open_judged(run, ("map",), other)
    assert not cache.exists()


def test_the_best_epoch_is_the_one_with_the_lowest_loss(run):
    known = configuration(read_config(run), run, METHOD)
    for epoch, loss in ((1, 0.1), (2, 0.2)):
        path = run / "checkpoints" / str(epoch) / "metrics" / "metrics"
        path.write_text(json.dumps({"validation_reconstruction": loss}))
    assert read_weights(run / "checkpoints", "best", known.identity).epoch == 1
    path.write_text(json.dumps({"validation_reconstruction": 0.1}))
    assert read_weights(run / "checkpoints", "best", known.identity) is None  # which of the two, orbax is asked
