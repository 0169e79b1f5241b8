"""Starting JAX: the device asked for, and compiled programs kept between runs."""

import math
import os
from pathlib import Path

from sagan_jax.config import Device, Streaming
from sagan_jax.errors import UserError


def cache_folder() -> Path:
    """The user's cache folder for this project: `$XDG_CACHE_HOME` or `~/.cache`, then `sagan_jax`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "sagan_jax"


def start(device: Device = "auto") -> str:
    """Chooses the device and turns on the persistent compilation cache; call it before any computation.

    Args:
        device: "auto" takes an accelerator where there is one.

    Returns:
        The device in words, such as "cpu (2 cores)" or "NVIDIA H100 80GB HBM3".

    Raises:
        UserError: If JAX has no such device here.
    """
    import jax

    if not (os.environ.get("JAX_COMPILATION_CACHE_DIR") or jax.config.values.get("jax_compilation_cache_dir")):
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    try:
        if device == "auto":
            found = jax.devices()[0]
        else:
            found = jax.devices(device)[0]
            jax.config.update("jax_default_device", found)
    except RuntimeError as error:
        raise UserError(
            f"device {device} is not to be had here; JAX sees {', '.join(sorted({d.platform for d in jax.devices()}))}"
        ) from error
    return f"cpu ({os.cpu_count()} cores)" if found.platform == "cpu" else found.device_kind


def image_memory(streaming: Streaming) -> float:
    """How many bytes decoded training images may take before they are streamed instead.

    Args:
        streaming: "auto" allows a quarter of the host's memory or of the device's, whichever is less.
    """
    if streaming != "auto":
        return 0.0 if streaming == "always" else math.inf
    import jax

    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    device = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit", math.inf)
    return min(host, device) / 4
