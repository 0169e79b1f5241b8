"""Starting JAX: the devices and hosts asked for, and compiled programs kept between runs."""

import math
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sagan_jax.cache_folder import cache_folder
from sagan_jax.config import Device, HardwareConfig, Streaming
from sagan_jax.errors import UserError, one_line

if TYPE_CHECKING:
    from jax.sharding import Mesh, Sharding

_NO_DEVICE = (RuntimeError, AssertionError)  # what JAX raises: an assertion if a platform's plugin is not installed


class Machine(NamedTuple):
    """What a run computes on.

    Attributes:
        name: The devices in words, such as "2 x NVIDIA H100 80GB HBM3".
        mesh: The devices that each batch is split over, along one axis, a `jax.sharding.Mesh`; None for a single one.
        image_memory: How many bytes decoded training images may take before they are streamed instead.
        config: The settings it came from.
    """

    name: str
    mesh: Any
    image_memory: float
    config: HardwareConfig


def start(device: Device = "auto") -> str:
    """Chooses the device, makes its kernels ready and turns on the cache of compiled programs; call it first of all.

    Args:
        device: "auto" takes an accelerator where there is one.

    Returns:
        The device in words, such as "cpu (2 cores)" or "NVIDIA H100 80GB HBM3"; on a CPU without the project's own
        kernels "cpu (2 cores, XLA's kernels)".

    Raises:
        UserError: If JAX has no such device here.
    """
    import jax

    from sagan_jax.ops import native

    if not (os.environ.get("JAX_COMPILATION_CACHE_DIR") or jax.config.values.get("jax_compilation_cache_dir")):
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    try:
        if device == "auto":
            found = native.default_device()
        else:
            found = jax.local_devices(backend=device)[0]
            jax.config.update("jax_default_device", found)
    except _NO_DEVICE as error:
        raise UserError(f"there is no device {device} here; {_seen()}") from error
    if found.platform != "cpu":
        return found.device_kind
    kernels = "" if native.registered() else ", XLA's kernels"
    return f"cpu ({os.cpu_count()} cores{kernels})"


def float32_products() -> str:
    """How a float32 product is computed here: "float32", or "TF32", with mantissas of 10 bits, as GPUs do by default.

    The environment variable `JAX_DEFAULT_MATMUL_PRECISION=highest` has GPUs compute them in float32.
    """
    import jax

    from sagan_jax.ops.native import default_device

    found, wanted = default_device(), jax.config.values.get("jax_default_matmul_precision")
    exact = wanted in ("highest", "float32") or os.environ.get("NVIDIA_TF32_OVERRIDE") == "0"
    if found.platform == "cpu" or exact:
        return "float32"
    if found.platform == "gpu":
        old = float(getattr(found, "compute_capability", None) or 8) < 8  # before Ampere
        return "float32" if old else "TF32"
    return f"the device's default ({wanted or 'default'})"


def _seen() -> str:
    """What JAX finds here, in words: its kinds of devices, or why it finds none."""
    import jax

    try:
        return f"JAX sees {', '.join(sorted({device.platform for device in jax.devices()}))}"
    except _NO_DEVICE as error:
        wanted = os.environ.get("JAX_PLATFORMS")
        cause = f"JAX_PLATFORMS is {wanted!r}, and " if wanted else ""
        why = one_line(str(error))
        return f"{cause}JAX starts no device{': ' if why else ''}{why}"


def _image_memory(streaming: Streaming) -> float:
    """How many bytes decoded training images may take before they are streamed instead.

    Args:
        streaming: "auto" allows a quarter of the host's memory or of the device's, whichever is less; of several hosts'
            the least, so that all stream or none does.
    """
    if streaming != "auto":
        return 0.0 if streaming == "always" else math.inf
    import jax

    host = min(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), group_memory())
    device = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit", math.inf)
    memory = min(host, device) / 4
    return memory if jax.process_count() == 1 else float(_least_on_all_hosts(int(memory / 2**20))) * 2**20


def group_memory(root: Path = Path("/sys/fs/cgroup"), of: Path = Path("/proc/self/cgroup")) -> float:
    """How many bytes the control groups of this process may take, as a container or Slurm sets them; else infinity.

    Args:
        root: Where the groups are.
        of: Says which are this process's: the second version has one line, `0::/path`.
    """
    limits = [math.inf]
    try:
        lines = of.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        base, name = (root / "memory", "memory.limit_in_bytes") if controllers else (root, "memory.max")
        group = base / path.lstrip("/")
        for folder in (group, *group.parents):  # in a container the own group is mounted as the root
            with suppress(OSError, ValueError):
                limits.append(float((folder / name).read_text(encoding="ascii")))
            if folder == base:
                break
    return min(limits)


def start_run(config: HardwareConfig) -> Machine:
    """`start` for a run: joins the other hosts and, on a CPU, makes the devices; call it before anything else of JAX.

    Args:
        config: Devices and hosts.

    Returns:
        What the run computes on.

    Raises:
        UserError: If the other hosts cannot be reached, or JAX has no such devices here.
    """
    import jax

    if config.coordinator is not None and not jax.distributed.is_initialized():
        address = None if config.coordinator == "auto" else config.coordinator
        try:
            jax.distributed.initialize(address, config.processes, config.process)
        except (RuntimeError, ValueError) as error:
            raise UserError(f"the hosts of this run cannot be joined: {one_line(str(error))}") from error
    if config.device == "cpu" and (config.devices or 1) > 1:
        jax.config.update("jax_platforms", "cpu")
        with suppress(RuntimeError):  # there are devices already, as many as there will be
            jax.config.update("jax_num_cpu_devices", (config.devices or 1) // (config.processes or 1))
    name = start(config.device)
    mesh = _mesh(config)
    return Machine(name if mesh is None else f"{mesh.size} x {name}", mesh, _image_memory(config.streaming), config)


def _mesh(config: HardwareConfig) -> "Mesh | None":
    """The devices that each batch is split over, along one axis; None for a single one.

    Raises:
        UserError: If there are not as many.
    """
    import jax
    import numpy as np
    from jax.sharding import Mesh

    there = jax.devices() if config.device == "auto" else jax.devices(config.device)
    count = config.devices or (len(there) if jax.process_count() > 1 else 1)
    if count > len(there):
        raise UserError(f"devices is {count}; there are {len(there)} {there[0].platform} devices")
    if jax.process_count() > 1 and count != len(there):
        raise UserError(f"devices is {count}; a run over several hosts uses all {len(there)} of theirs")
    return Mesh(np.array(there[:count]), ("batch",)) if count > 1 else None


def is_first_host() -> bool:
    """Whether this process is the one that writes; in a run on one host it is."""
    import jax

    return jax.process_index() == 0


def wait_for_all_hosts() -> None:
    """Returns once every host has come this far."""
    from jax.experimental import multihost_utils

    multihost_utils.sync_global_devices("sagan_jax")


def same_on_all_hosts(number: int) -> int:
    """The first host's number."""
    from jax.experimental import multihost_utils

    return int(multihost_utils.broadcast_one_to_all(number))


def _least_on_all_hosts(number: int) -> int:
    """The least of the hosts' numbers."""
    import numpy as np
    from jax.experimental import multihost_utils

    return int(np.min(multihost_utils.process_allgather(np.int32(number))))


def put(tree: Any, sharding: "Sharding") -> Any:
    """`jax.device_put`; over several hosts, of a tree that is the same on each, to be whole on every device."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    def put_one(leaf: Any) -> Any:
        if getattr(leaf, "sharding", None) == sharding:
            return leaf
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(put_one(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf))
        return jax.device_put(np.asarray(leaf), sharding)  # only from the host's memory to other hosts' devices

    return jax.device_put(tree, sharding) if jax.process_count() == 1 else jax.tree.map(put_one, tree)


def local(tree: Any) -> Any:
    """A tree of arrays, each whole on every device, as arrays of this host's first device."""
    import jax

    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)
