"""Photographs that are streamed over devices and hosts: each decodes its own part, the training is that of one."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from photographs import picture, save

from sagan_jax.data.patches import Patches
from sagan_jax.data.photographs import Photographs
from sagan_jax.errors import UserError
from sagan_jax.training.stream_batches import _own_photographs

TIMES = ("seconds", "images_per_second", "waiting_for_images")
WHOLE, CUT = ["--size=16"], ["--patch=32", "--stride=8"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("streamed")
    for i in range(25):
        save(folder / "photographs" / "train" / "good" / f"{i:02d}.png", picture(i, (40 + i, 48, 3)))
    return folder


def start(folder, out, *flags, **environment):
    command = [sys.executable, "-m", "sagan_jax", "train", str(folder / "photographs"), f"--out={folder / out}"]
    settings = ["--method=mean_detector:METHOD", "--device=cpu", "--streaming=always", "--epochs=2"]
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent.parent), *sys.path])
    return subprocess.Popen(
        [*command, *settings, *flags], stderr=subprocess.PIPE, text=True, env=os.environ | environment
    )


def metrics(folder, out, processes):
    """Those of every epoch, without times, once the processes are done."""
    for process in processes:
        _, said = process.communicate(timeout=500)
        assert process.returncode == 0, said
    rows = [json.loads(line) for line in (folder / out / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


def train_alone(folder, out, *flags):
    return metrics(folder, out, [start(folder, out, *flags)])


def train_on_two_hosts(folder, out, *flags):
    with socket.socket() as server:
        server.bind(("localhost", 0))
        hosts = [f"--coordinator=localhost:{server.getsockname()[1]}", "--processes=2"]
    return metrics(folder, out, [start(folder, out, *flags, *hosts, f"--process={i}") for i in range(2)])


def train_under_slurm(folder, out, *flags):
    """As `srun --ntasks=2` starts them; JAX makes the port of the job's number."""
    job = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2"}
    tasks = [{"SLURM_PROCID": str(i), "SLURM_LOCALID": str(i)} for i in range(2)]
    return metrics(folder, out, [start(folder, out, *flags, "--coordinator=auto", **job, **task) for task in tasks])


@pytest.mark.slow
def test_two_hosts_and_eight_devices_train_on_streamed_photographs_as_one_device_does(folder):
    alone = train_alone(folder, "alone", *WHOLE)
    assert [row["epoch"] for row in alone] == [1, 2]
    assert alone[1]["generator_loss"] < alone[0]["generator_loss"]
    for split in (train_on_two_hosts(folder, "hosts", *WHOLE), train_alone(folder, "devices", *WHOLE, "--devices=8")):
        for row, expected in zip(split, alone, strict=True):
            assert row == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_two_hosts_that_cut_photographs_go_on_in_the_same_bits_after_a_stop(folder):
    whole = train_on_two_hosts(folder, "cut", *CUT)
    assert train_on_two_hosts(folder, "stopped", *CUT, "--epochs=1") == whole[:1]
    assert train_under_slurm(folder, "stopped", *CUT, "--resume") == whole


def test_hosts_share_the_photographs_of_a_pass_and_cut_until_they_have_enough():
    sizes = np.array([(8 + 4 * (i % 3), 8) for i in range(7)])  # of 1, 2 and 3 patches: 13 in all
    photographs, patches = Photographs(tuple(Path(str(i)) for i in range(7)), sizes), Patches(8, 4)

    def own(host, hosts, needed):
        return _own_photographs(photographs, patches, needed, np.random.default_rng(3), host, hosts).tolist()

    shared = [own(host, 3, 1) for host in range(3)]  # one pass each
    assert sorted(np.concatenate(shared)) == list(range(7))
    assert [len(part) for part in shared] == [3, 2, 2]
    assert sorted(own(0, 1, 13)) == list(range(7))
    twice = own(0, 1, 14)
    assert sorted(twice) == sorted(2 * list(range(7)))
    assert twice[:7] != twice[7:]
    with pytest.raises(UserError, match="7 photographs cannot be shared by 8 hosts"):
        own(0, 8, 1)
