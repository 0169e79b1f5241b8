"""One batch split over 1, 2 and 8 devices (simulated on the CPU) gives the same losses."""

import json
import os
import subprocess
import sys

import pytest

PROGRAM = """
import json, sys
import jax, numpy as np
from jax.sharding import Mesh
from sagan_jax.config import SaganConfig, TrainingConfig
from sagan_jax.sagan import sagan
from sagan_jax.training import fit

devices = int(sys.argv[1])
images = np.random.default_rng(0).integers(0, 256, (16, 16, 16, 1), np.uint8)
detector = sagan(SaganConfig(width=4, latent_size=8, learning_rate=1e-4), steps=4)
state = detector.init(jax.random.key(0), (16, 16, 1))
mesh = Mesh(np.array(jax.devices()[:devices]), ("batch",))
*_, (_, state, metrics) = fit(detector, state, images, TrainingConfig(epochs=2, batch_size=8), mesh=mesh)
print(json.dumps({"metrics": metrics, "devices": len(state.step.sharding.device_set)}))
"""


def run_on(devices):
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(devices)],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | flags,
    )
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def one_device():
    return run_on(1)


@pytest.mark.parametrize("devices", [2, 8])
def test_losses_and_gradient_norms_are_those_of_one_device(one_device, devices):
    """With statistics of its own, a device with one of eight images would normalise quite differently."""
    many = run_on(devices)
    assert (one_device["devices"], many["devices"]) == (1, devices)
    for name, value in one_device["metrics"].items():
        assert many["metrics"][name] == pytest.approx(value, rel=2e-3), name
