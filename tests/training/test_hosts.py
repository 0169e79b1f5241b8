"""Two processes joined as two hosts are, and two devices of one process, train as one device does alone."""

import json
import os
import socket
import subprocess
import sys

import pytest

from sagan_jax.config import HardwareConfig
from sagan_jax.errors import UserError

PROGRAM = """
import json, sys
import flax.linen as nn, jax, numpy as np
from sagan_jax import device
from sagan_jax.methods.adversarial import reconstruction_gan
from sagan_jax.config import AdversarialConfig, HardwareConfig, TrainingConfig
from sagan_jax.methods.layers import BatchNorm, Conv
from sagan_jax.methods.dcgan import Discriminator
from sagan_jax.training.loop import fit

class Small(nn.Module):
    @nn.compact
    def __call__(self, images, train):
        return BatchNorm()(Conv(1, 3, padding=1)(images), train)

config = HardwareConfig(device="cpu", **json.loads(sys.argv[1]))
where, mesh, *_ = device.start_run(config)
loss = AdversarialConfig(width=4, latent_size=8, learning_rate=1e-5)  # low, or Adam would magnify rounding
detector = reconstruction_gan(lambda shape: (Small(), Discriminator(4, 8)), loss, None)
state = detector.init(jax.random.key(0), (16, 16, 1))
images = np.random.default_rng(0).integers(0, 256, (16, 16, 16, 1), np.uint8)
training = TrainingConfig(epochs=2, batch_size=8)
history = []
for _, state, metrics in fit(
    detector, state, images, training, progress=lambda *_: None, mesh=mesh
):
    history.append(metrics)
device.wait_for_all_hosts()
print(json.dumps({"where": where, "metrics": history, "steps": int(device.local(state).step)}))
"""


def start(**config):
    command = [sys.executable, "-c", PROGRAM, json.dumps(config)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ))


def result(process):
    output, _ = process.communicate(timeout=500)
    assert process.returncode == 0
    return json.loads(output.splitlines()[-1])


@pytest.fixture(scope="module")
def alone():
    return result(start())


def same(metrics, expected):
    for epoch, expected_epoch in zip(metrics, expected, strict=True):
        assert epoch == pytest.approx(expected_epoch, rel=1e-3)


def test_two_hosts_train_as_one_device_does(alone):
    with socket.socket() as server:
        server.bind(("localhost", 0))
        address = f"localhost:{server.getsockname()[1]}"
    for host in [start(coordinator=address, processes=2, process=i) for i in range(2)]:
        joined = result(host)
        assert joined["where"].startswith("2 x cpu")
        assert joined["steps"] == 4
        same(joined["metrics"], alone["metrics"])


def test_two_devices_train_as_one_does(alone):
    split = result(start(devices=2))
    assert split["where"].startswith("2 x cpu")
    same(split["metrics"], alone["metrics"])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"devices": 0}, "devices is 0"),
        ({"processes": 2}, "left out without --coordinator"),
        ({"coordinator": "somewhere", "processes": 2, "process": 0}, "host:port, or auto"),
        ({"coordinator": "somewhere:1", "processes": 2}, "given on every host"),
        ({"coordinator": "somewhere:1", "processes": 2, "process": 2}, "from 0 to processes - 1"),
    ],
)
def test_impossible_devices_and_hosts_are_refused(flags, message):
    with pytest.raises(UserError, match=message):
        HardwareConfig(**flags)


def test_more_devices_than_there_are_are_refused():
    from sagan_jax import device

    with pytest.raises(UserError, match=r"devices is 64; there are \d+ cpu devices"):
        device._mesh(HardwareConfig(device="cpu", devices=64))
