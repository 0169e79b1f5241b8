"""How float32 is multiplied is told as it is: on a CPU, and on GPUs that round by default."""

from types import SimpleNamespace

import jax
import pytest

from sagan_jax import device


def test_a_cpu_multiplies_float32_as_float32():
    assert device.float32_products() == "float32"


@pytest.mark.parametrize(
    ("capability", "wanted", "told"),
    [("9.0", None, "TF32"), ("9.0", "highest", "float32"), ("9.0", "high", "TF32"), ("7.5", None, "float32")],
)
def test_a_gpu_rounds_its_products_unless_told_otherwise(capability, wanted, told, monkeypatch):
    monkeypatch.setattr(jax, "local_devices", lambda: [SimpleNamespace(platform="gpu", compute_capability=capability)])
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    with jax.default_device(None), jax.default_matmul_precision(wanted):
        assert device.float32_products() == told
