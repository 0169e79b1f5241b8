"""One batch split over 1, 2 and 8 devices (simulated on the CPU) gives the same losses and the same state."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

PROGRAM = """
import json
import flax.linen as nn, jax, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from sagan_jax.ops import pooling
from sagan_jax.methods.adversarial import reconstruction_gan
from sagan_jax.config import AdversarialConfig, TrainingConfig
from sagan_jax.methods.layers import CBAM
from sagan_jax.methods.dcgan import Discriminator
from sagan_jax.methods.sagan import DoubleConv
from sagan_jax.detector import normalise
from sagan_jax.training.loop import fit

class OneLevel(nn.Module):  # every layer of SAGAN's generator, once
    @nn.compact
    def __call__(self, images, train):
        x = DoubleConv(16, 16, 2)(images, train)
        x = CBAM()(pooling.max_pool(x), train)
        return DoubleConv(1, 1, 0)(pooling.upsample(x), train)

def train(devices):
    config = AdversarialConfig(width=4, latent_size=8, learning_rate=1e-5)
    detector = reconstruction_gan(lambda shape: (OneLevel(), Discriminator(4, 8)), config, None)
    state = detector.init(jax.random.key(0), (16, 16, 1))
    mesh = Mesh(np.array(jax.devices()[:devices]), ("batch",))
    images = np.random.default_rng(0).integers(0, 256, (16, 16, 16, 1), np.uint8)
    *_, (_, state, metrics) = fit(detector, state, images, TrainingConfig(epochs=2, batch_size=8), mesh=mesh)
    score = jax.jit(lambda state, images: detector.score(state, images).total)
    batch = jax.device_put(normalise(images), NamedSharding(mesh, PartitionSpec("batch")))
    fixed = jax.device_put(detector.init(jax.random.key(1), (16, 16, 1)), NamedSharding(mesh, PartitionSpec()))
    scores = {"same_state": score(fixed, batch), "its_own_state": score(state, batch)}
    statistics = jax.tree.leaves((state.generator.statistics, state.discriminator.statistics))
    return {"metrics": metrics, "statistics": [leaf.tolist() for leaf in statistics],
            "scores": {name: values.tolist() for name, values in scores.items()},
            "devices": len(state.step.sharding.device_set)}

print(json.dumps({devices: train(devices) for devices in (1, 2, 8)}))
"""


@pytest.fixture(scope="module")
def results():
    flags = {"XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=8"}
    command = [sys.executable, "-c", PROGRAM]
    result = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | flags)
    return {int(devices): values for devices, values in json.loads(result.stdout).items()}


@pytest.mark.parametrize("devices", [2, 8])
def test_losses_and_statistics_are_those_of_one_device(results, devices):
    """The learning rate is low: a bias before BatchNorm has no gradient but rounding, which Adam makes a full step of.

    With statistics of its own, a device with one of eight images would normalise quite differently.
    """
    one, many = results[1], results[devices]
    assert (one["devices"], many["devices"]) == (1, devices)
    for name, value in one["metrics"].items():
        assert many["metrics"][name] == pytest.approx(value, rel=1e-3), name
    for wanted, got in zip(one["statistics"], many["statistics"], strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("devices", [2, 8])
@pytest.mark.parametrize("state", ["same_state", "its_own_state"])
def test_strict_scores_are_those_of_one_device_to_1e_5(results, devices, state):
    one, many = (np.array(results[count]["scores"][state]) for count in (1, devices))
    assert one.shape == (16,)
    assert one.std() > 1e-4  # the images do differ
    assert np.abs(many - one).max() < 1e-5
