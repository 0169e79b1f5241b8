"""Kept weights and a kept program give the very verdicts that the checkpoint gives, or are not used."""

import json
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from photographs import picture, save

from sagan_jax import cli, run_folder
from sagan_jax.inspection.verdicts import judge_files
from sagan_jax.judging import kept_program
from sagan_jax.runs import judged
from sagan_jax.runs.configuration import configuration, read_config
from sagan_jax.runs.judged import open_judged
from sagan_jax.runs.model import load_judged, scorer_of
from sagan_jax.runs.scoring_weights import NAME, read_weights


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """SAGAN of the inspection's kind, as small as can be, trained for two steps."""
    root = tmp_path_factory.mktemp("judged")
    for i in range(12):
        save(root / f"parts/train/good/{i:03d}.png", picture(i))
    small = ["--size=32", "--width=4", "--latent-size=4", "--batch-size=4", "--epochs=2", "--steps=2"]
    command = ["train", str(root / "parts"), *small, "--validation-fraction=0.3", f"--out={root / 'run'}"]
    assert cli.main(command) == 0
    return root


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
    """By the checkpoint, all at once and one by one."""
    scorer = scorer_of(load_judged(root / "run")[0], ("map",))
    maps = []
    verdicts = list(judge_files(scorer, files, 0.1, lambda file, heat: maps.append(heat) or ""))
    assert [next(judge_files(scorer, [file], 0.1)) for file in files] == verdicts
    return verdicts, maps


def by_what_is_kept(run, files):
    maps = []
    scorer = open_judged(run, ("map",)).scorer
    return list(judge_files(scorer, files, 0.1, lambda file, heat: maps.append(heat) or "")), maps


def refuse(*_):
    raise AssertionError("the checkpoint is read, or the detector made")


def test_verdicts_are_those_of_the_checkpoint_to_the_bit(run, files, ordinary, cache, monkeypatch):
    for program in ("compiled", "kept"):
        found, maps = by_what_is_kept(run, files)
        assert found == ordinary[0]
        np.testing.assert_array_equal(maps, ordinary[1], err_msg=program)
        assert len(list(cache.iterdir())) == 1
        monkeypatch.setattr(judged, "_detector", refuse)  # the second time nothing is compiled
        shutil.rmtree(run / "checkpoints" / "2" / "state", ignore_errors=True)  # and orbax's arrays are not read


def test_scoring_one_file_by_what_is_kept_imports_neither_orbax_nor_flax(run, files, cache):
    program = (
        "import sys, pathlib\n"
        "from sagan_jax import cli\n"
        "from sagan_jax.judging import kept_program\n"
        f"kept_program.cache_folder = lambda: pathlib.Path({str(cache.parent)!r})\n"
        f"assert cli.main(['score', {str(run)!r}, {str(files[0])!r}]) in (0, 1)\n"
        "heavy = {'orbax', 'flax', 'optax', 'sklearn', 'scipy', 'matplotlib', 'grain'} & set(sys.modules)\n"
        "print(sorted(heavy), file=sys.stderr)\n"
    )
    for expected in (True, False):  # compiled, and then kept
        done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
        assert ("flax" in done.stderr.splitlines()[-1]) == expected
    assert done.stderr.splitlines()[-1] == "[]"


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
    known = configuration(read_config(run), run)
    return read_weights(run / "checkpoints", "last", known.identity)


def test_weights_are_used_only_with_the_checkpoint_that_they_are_of(run):
    whole = weights_of(run)
    assert whole is not None
    assert whole.epoch == 2
    leaves = jax.tree.leaves(load_judged(run)[0].state)
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


def test_the_best_epoch_is_the_one_with_the_lowest_loss(run):
    known = configuration(read_config(run), run)
    for epoch, loss in ((1, 0.1), (2, 0.2)):
        path = run / "checkpoints" / str(epoch) / "metrics" / "metrics"
        path.write_text(json.dumps({"validation_reconstruction": loss}))
    assert read_weights(run / "checkpoints", "best", known.identity).epoch == 1
    path.write_text(json.dumps({"validation_reconstruction": 0.1}))
    assert read_weights(run / "checkpoints", "best", known.identity) is None  # which of the two, orbax is asked
