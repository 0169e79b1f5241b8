"""What can happen to a training process: killed, stopped, out of disk, diverging. Nothing finished is ever lost."""

import contextlib
import json
import multiprocessing
import os
import random
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sagan_jax import device
from sagan_jax.config import GanomalyConfig, HardwareConfig, JudgingConfig, OutputConfig, SaganConfig, TrainingConfig
from sagan_jax.data.split import Split
from sagan_jax.detector import Detector, Scores
from sagan_jax.exit_codes import guarded
from sagan_jax.methods.table import METHODS, Method
from sagan_jax.runs import checkpoint
from sagan_jax.runs.prepare import prepare
from sagan_jax.runs.run import run


@dataclass(frozen=True, kw_only=True)
class LinearConfig:
    """A denoising linear autoencoder: a method that compiles in no time."""

    latent_size: int = 4
    diverges_at: int = -1


class LinearState(NamedTuple):
    params: dict[str, Any]
    optimiser: Any
    step: Any


def linear(config, steps):
    optimiser = optax.adam(1e-3)

    def init(key, image_shape):
        size = int(np.prod(image_shape))
        encode, decode = jax.random.normal(key, (2, size, config.latent_size)) * 0.02
        params = {"encode": encode, "decode": decode.T}
        return LinearState(params, optimiser.init(params), jnp.zeros((), jnp.int32))

    def reconstruct(params, images):
        return (images.reshape(len(images), -1) @ params["encode"] @ params["decode"]).reshape(images.shape)

    def update(state, batch, key):
        def loss(params):
            return jnp.mean((reconstruct(params, batch + 0.1 * jax.random.normal(key, batch.shape)) - batch) ** 2)

        value, gradients = jax.value_and_grad(loss)(state.params)
        updates, moments = optimiser.update(gradients, state.optimiser)
        value = jnp.where(state.step == config.diverges_at, jnp.nan, value)
        return LinearState(optax.apply_updates(state.params, updates), moments, state.step + 1), {"loss": value}

    def score(state, images, statistics="running"):
        reconstructed = reconstruct(state.params, images)
        residual = (images - reconstructed) ** 2
        total = residual.mean(axis=(1, 2, 3))
        return Scores(total, total, jnp.zeros(len(images)), residual.mean(axis=-1), reconstructed)

    return Detector(init, update, score)


LINEAR = Method("linear", {"paper": LinearConfig()}, linear)
MODELS = {
    "linear": LinearConfig(),
    "ganomaly": GanomalyConfig(width=2, latent_size=4),
    "sagan": SaganConfig(width=2, latent_size=4),
}


def prepared(method="linear", epochs=8, model=None, judging=None):
    rng = np.random.default_rng(0)
    train, test = (rng.integers(0, 256, (count, 16, 16, 1), dtype=np.uint8) for count in (43, 20))
    labels = np.arange(20) >= 10
    split = Split("noise", "more noise", train, np.arange(43).astype(str), test, labels, np.arange(20).astype(str))
    training = TrainingConfig(epochs=epochs, batch_size=8, seed=1)
    chosen = LINEAR if method == "linear" else METHODS[method]
    return prepare(split, chosen, model or MODELS[method], training, judging)


def command(out, *arguments, **settings):
    """A run as a command: its exit code."""
    judging = JudgingConfig(**{k: settings.pop(k) for k in ("select", "protocol") if k in settings})
    output = OutputConfig(resume=True, **{k: settings.pop(k) for k in ("keep",) if k in settings})

    def work():
        machine = device.start_run(HardwareConfig())
        run(prepared(*arguments, judging=judging, **settings), out, machine, ["pytest"], output=output)

    return guarded(work)


def process_main(cache, *arguments):
    """The whole of a run in a process of its own, which ends with the command's exit code; stderr goes to a file.

    Args:
        cache: The folder of compiled programs; None compiles afresh.
        arguments: Those of `command`.
    """
    descriptor = os.open(f"{arguments[0]}.err", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, 2)
    jax.config.update("jax_enable_compilation_cache", cache is not None)
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    os._exit(command(*arguments))


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Starts a run in a process: forked from a server that has imported everything, so that a kill costs little."""
    context = multiprocessing.get_context("forkserver")
    heavy = ["orbax.checkpoint", "matplotlib.figure", "scipy.stats", "sklearn.metrics", "sagan_jax.report.plots"]
    context.set_forkserver_preload([__name__, *heavy])
    cache = str(tmp_path_factory.mktemp("cache"))
    started = []

    def start(*arguments, cache=cache):
        started.append(context.Process(target=process_main, args=(cache, *arguments)))
        started[-1].start()
        return started[-1]

    yield start
    for process in started:
        process.kill()


def last_checkpoint(out, method="linear", **settings):
    """The last checkpoint, verified, and its fingerprint."""
    wanted = prepared(method, **settings)
    with checkpoint.open_checkpoints(out / "checkpoints", wanted.identity, keep=None) as checkpoints:
        last = checkpoint.restore(checkpoints, wanted.like)
    stored = json.loads((out / f"checkpoints/{last.epoch}/integrity/metadata").read_text())
    return last, stored["fingerprint"]


def rows(out):
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if "second" not in name} for line in lines]


def half_written(out):
    folder = out / "checkpoints"
    return {path.name for path in folder.iterdir() if "tmp" in path.name} if folder.exists() else set()


def wait_for(event, process, seconds=300):
    """Waits for an event; false if the process ends before it."""
    until = time.monotonic() + seconds
    while not event():
        assert time.monotonic() < until
        if not process.is_alive():
            return False
        time.sleep(0.001)
    return True


class Killed(NamedTuple):
    kills: int
    while_writing: int
    whole: str
    fingerprints: list[str]


def kill_again_and_again(start, folder, method, epochs, kills):
    """Runs left alone and runs killed at random moments: how often, and the fingerprints all of them end with."""
    whole = folder / "whole"
    for out in (whole, folder / "warm"):  # the first compiles, the second tells how long a run takes
        began = time.monotonic()
        alone = start(out, method, epochs)
        alone.join()
        assert alone.exitcode == 0, out.with_suffix(".err").read_text()
        seconds = time.monotonic() - began
    _, wanted = last_checkpoint(whole, method, epochs=epochs)

    rng = random.Random(0)
    killed, while_writing, fingerprints = 0, 0, []
    while killed < kills or not fingerprints:  # a run may well end before all kills are spent: the next takes the rest
        out = folder / f"killed{len(fingerprints)}"
        process = start(out, method, epochs)
        if killed < kills:
            if killed % 2:
                process.join(rng.uniform(0.0, 0.7 * seconds))  # at any moment, from the imports on
            else:
                left_over = half_written(out)
                wait_for(lambda out=out, before=left_over: half_written(out) - before, process)
                time.sleep(rng.uniform(0.0, 0.02))
            process.kill()
        process.join()
        if process.exitcode == -signal.SIGKILL:
            killed += 1
            while_writing += bool(half_written(out))
        else:
            assert process.exitcode == 0, out.with_suffix(".err").read_text()
            _, fingerprint = last_checkpoint(out, method, epochs=epochs)
            fingerprints.append(fingerprint)
            assert rows(out) == rows(whole)
            assert (out / "scores.csv").read_bytes() == (whole / "scores.csv").read_bytes()
            assert {path.name for path in out.iterdir()} == {path.name for path in whole.iterdir()}
    return Killed(killed, while_writing, wanted, fingerprints)


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_a_run_killed_again_and_again_ends_in_the_bits_of_one_left_alone(start, tmp_path, capsys, kills):
    log = kill_again_and_again(start, tmp_path, "linear", 12, kills)
    with capsys.disabled():
        print(f"\n{log.kills} kills, {log.while_writing} of them with a checkpoint half written")
        print(f"left alone  {log.whole}", *(f"killed      {fingerprint}" for fingerprint in log.fingerprints), sep="\n")
    assert log.kills == kills
    assert log.while_writing >= kills // 4
    assert set(log.fingerprints) == {log.whole}


def test_the_same_seed_gives_the_same_bits_in_any_process_whether_programs_are_kept_or_compiled_afresh(start, tmp_path):
    fingerprints = []
    for out, settings in ((tmp_path / "kept", {}), (tmp_path / "read", {}), (tmp_path / "afresh", {"cache": None})):
        process = start(out, "ganomaly", 1, **settings)
        process.join()
        assert process.exitcode == 0, out.with_suffix(".err").read_text()
        fingerprints.append(last_checkpoint(out, "ganomaly", epochs=1)[1])
    assert len(set(fingerprints)) == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_stopped_by_a_signal_says_how_to_go_on_and_a_second_process_keeps_out(
    start, tmp_path, capsys, number, code
):
    out = tmp_path / "run"
    process = start(out, "linear", 100_000)
    assert wait_for((out / "checkpoints/2").exists, process)
    assert command(out, epochs=100_000) == 2
    assert "is in use by another process" in capsys.readouterr().err
    os.kill(process.pid, number)
    process.join()
    assert process.exitcode == code
    assert "--resume continues from the last whole epoch" in out.with_suffix(".err").read_text()
    assert "Traceback" not in out.with_suffix(".err").read_text()
    last, _ = last_checkpoint(out, epochs=100_000)
    assert [row["epoch"] for row in rows(out)][: last.epoch] == list(range(1, last.epoch + 1))


@contextlib.contextmanager
def mounted(folder, options):
    """A file system in memory; only root can make one."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder]
    made = subprocess.run(mount, check=False, capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no file system can be mounted here: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_ends_a_run_with_2_and_nothing_lost_and_it_goes_on_once_there_is_room(tmp_path, capsys):
    whole = tmp_path / "whole"
    assert command(whole) == 0
    with mounted(tmp_path / "disk", "size=256k") as disk:
        out = disk / "run"
        assert command(out, keep=8) == 2
        said = capsys.readouterr().err
        assert "No space left on device" in said
        assert "--resume" in said
        last, _ = last_checkpoint(out)
        assert 1 <= last.epoch < 8
        assert rows(out)[: last.epoch] == rows(whole)[: last.epoch]
        subprocess.run(["mount", "-o", "remount,size=16m", disk], check=True)
        assert command(out, keep=8) == 0
        assert last_checkpoint(out)[1] == last_checkpoint(whole)[1]


def test_a_folder_that_cannot_be_written_to_is_refused_before_anything_is_done(tmp_path, capsys):
    with mounted(tmp_path / "disk", "ro") as disk:
        assert command(disk / "run") == 2
        assert "Read-only file system; name another folder with --out" in capsys.readouterr().err
        assert command(disk) == 2
        assert "cannot be written to; name another folder with --out" in capsys.readouterr().err


def test_a_run_that_diverges_says_where_and_keeps_the_last_good_checkpoint(tmp_path, capsys):
    out, model = tmp_path / "run", LinearConfig(diverges_at=12)
    assert command(out, model=model) == 2
    assert "not finite in epoch 3, step 3 of 5: loss" in capsys.readouterr().err
    last, _ = last_checkpoint(out, model=model)
    assert last.epoch == 2
    assert [row["epoch"] for row in rows(out)] == [1, 2]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(last.state))


def test_a_damaged_checkpoint_stops_a_run_which_goes_on_from_the_one_it_names(tmp_path, capsys):
    out, whole = tmp_path / "run", tmp_path / "whole"
    assert command(whole) == 0
    assert command(out) == 0
    parts = (out / "checkpoints/8/state/ocdbt.process_0/d").iterdir()
    largest = max(parts, key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)
    before = (out / "metrics.jsonl").read_bytes()
    assert command(out) == 2
    said = capsys.readouterr().err
    assert "checkpoints/8 is damaged" in said
    assert "that of epoch 7 is whole" in said
    assert (out / "metrics.jsonl").read_bytes() == before
    (out / "checkpoints/8").rename(tmp_path / "8")
    assert command(out) == 0
    assert last_checkpoint(out)[1] == last_checkpoint(whole)[1]


def test_a_gpu_asked_for_where_there_is_none_is_an_error_that_says_what_there_is(capsys):
    assert guarded(lambda: device.start_run(HardwareConfig(device="gpu"))) == 2
    assert "there is no device gpu here; JAX sees cpu" in capsys.readouterr().err
