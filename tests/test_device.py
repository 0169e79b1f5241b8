"""How float32 is multiplied is told as it is: on a CPU, and on GPUs that round by default."""

from types import SimpleNamespace

import jax
import pytest

from sagan_jax import device
from sagan_jax.ops import native


def test_a_cpu_multiplies_float32_as_float32():
    assert device.float32_products() == "float32"


@pytest.mark.parametrize(
    ("capability", "wanted", "told"),
    [("9.0", None, "TF32"), ("9.0", "highest", "float32"), ("9.0", "high", "TF32"), ("7.5", None, "float32")],
)
def test_a_gpu_rounds_its_products_unless_told_otherwise(capability, wanted, told, monkeypatch):
    card = SimpleNamespace(platform="gpu", compute_capability=capability)
    monkeypatch.setattr(jax, "local_devices", lambda backend: [card])
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    with jax.default_device(None), jax.default_matmul_precision(wanted):
        assert device.float32_products() == told


def test_the_default_device_may_be_told_by_its_platform():
    (first, *_) = jax.local_devices(backend="cpu")
    for told in ("cpu", first, None):
        with jax.default_device(told):
            assert native.default_device() == first
            assert device.start() == device.start("cpu")
            assert native.for_cpu()
