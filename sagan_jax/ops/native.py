"""Kernels of the project's own for CPUs: compiled from `kernels/` by the machine's C++ compiler when first wanted.

The libraries lie in the user's cache folder, one of each source for every version of it, compiler and processor. Where
there is no compiler (g++, clang++ or `$CXX`; an empty `$CXX` is none), XLA's own kernels serve: the same to within
rounding, and slower.
"""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import Array, lax
from jax.custom_batching import sequential_vmap
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sagan_jax.atomic_file import replacing
from sagan_jax.cache_folder import cache_folder

SOURCES = Path(__file__).parent / "kernels"
FLAGS = ("-std=c++20", "-O3", "-DNDEBUG", "-fPIC", "-shared")
KERNELS = {
    "convolution": ("sagan_conv", "sagan_conv_by_image", "sagan_conv_by_kernel"),
    "depthwise": ("sagan_depthwise_forward", "sagan_depthwise_backward"),
    "winograd": ("sagan_winograd", "sagan_winograd_by_kernel"),
}
"""The kernels of each source file by name, in its library and in XLA's programs."""


def compiler() -> str | None:
    """The C++ compiler: `$CXX` if it is set, or else the first of the usual names."""
    names = [os.environ["CXX"]] if "CXX" in os.environ else ["g++", "clang++", "c++"]
    return next((found for name in names if name and (found := shutil.which(name))), None)


def processor() -> str:
    """What the compiler makes code for: the processor's name and what it can do, as Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    told = {line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))}
    return "\n".join([platform.machine(), platform.processor(), *sorted(told)])


def library_name(source: str, compiler_version: str) -> str:
    """The name of a source file's library; another for other sources, compilers, processors or versions of XLA."""
    texts = [path.read_text() for path in sorted(SOURCES.iterdir()) if path.stem == source or path.suffix == ".h"]
    parts = [compiler_version, processor(), version("jaxlib"), *FLAGS, *texts]
    return f"{source}-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:16]}.so"


def compiled(source: str) -> Path | None:
    """A source file's library, compiled if it is not there yet; None if it cannot be."""
    command = compiler()
    if command is None:
        return None
    machine = "-mcpu=native" if platform.machine() in ("aarch64", "arm64") else "-march=native"
    try:
        told = subprocess.run([command, "--version"], check=True, capture_output=True, text=True).stdout
        library = cache_folder() / "kernels" / library_name(source, told)
        if not library.exists():
            library.parent.mkdir(parents=True, exist_ok=True)
            with replacing(library) as file:
                places = ["-isystem", jax.ffi.include_dir(), str(SOURCES / f"{source}.cc"), "-o", file.name]
                subprocess.run([command, *FLAGS, machine, *places], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return library


@cache
def registered() -> bool:
    """Whether XLA has the kernels; the first call compiles them, in some seconds, or finds them compiled."""
    with ThreadPoolExecutor() as pool:
        paths = list(pool.map(compiled, KERNELS))
    try:
        libraries = [ctypes.CDLL(str(path)) for path in paths if path is not None]
    except OSError:
        return False
    if len(libraries) < len(KERNELS):
        return False
    for library, names in zip(libraries, KERNELS.values(), strict=True):
        for name in names:
            jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(getattr(library, name)), platform="cpu")
    return True


def default_device() -> Any:
    """The device that computes where nothing else is said, `jax.Device`; JAX takes it or its platform as setting."""
    chosen: Any = jax.config.values.get("jax_default_device")
    return chosen if hasattr(chosen, "platform") else jax.local_devices(backend=chosen)[0]


def for_cpu() -> bool:
    """Whether what is traced now is to run on a CPU."""
    return default_device().platform == "cpu"


def usable(*operands: Array) -> bool:
    """Whether a program that is traced now can call the kernels on these arrays."""
    return for_cpu() and all(operand.dtype == "float32" for operand in operands) and registered()


def call(
    name: str,
    shapes: Sequence[Sequence[int | None]],
    *operands: Array,
    batched: Sequence[int] = (0,),
    attributes: Mapping[str, int] | None = None,
) -> tuple[Array, ...]:
    """The results of a kernel; under `vmap` it runs for one model after the other.

    Args:
        name: One of `KERNELS`.
        shapes: Of its results, float32. None stands for the batch; a result without is a sum over the batch, and where
            the batch is split over devices, the sum over these.
        operands: What it takes.
        batched: Which of them have the batch on their first axis.
        attributes: The integers it takes, by name.
    """
    integers: Any = {attribute: np.int64(value) for attribute, value in (attributes or {}).items()}

    def kernel(*operands: Array) -> tuple[Array, ...]:
        batch = len(operands[batched[0]])
        sizes = [tuple(batch if size is None else size for size in shape) for shape in shapes]
        results = [jax.ShapeDtypeStruct(size, "float32") for size in sizes]
        return tuple(jax.ffi.ffi_call(name, results, vmap_method="sequential")(*operands, **integers))

    if jax.device_count("cpu") == 1:
        return kernel(*operands)
    return sequential_vmap(_over_devices(kernel, [shape[0] is None for shape in shapes], operands, batched))(*operands)


def _over_devices(
    kernel: Callable[..., tuple[Array, ...]],
    batched_results: Sequence[bool],
    operands: Sequence[Array],
    batched: Sequence[int],
) -> Callable[..., tuple[Array, ...]]:
    """The kernel on each device's part of the batch; XLA, which does not know it, would gather all of it on each."""

    def partition(mesh: Mesh, arguments: Any, _: Any) -> Any:
        axes = next(iter(arguments[batched[0]].sharding.spec), None)
        split, whole = NamedSharding(mesh, PartitionSpec(axes)), NamedSharding(mesh, PartitionSpec())

        def part(*operands: Array) -> tuple[Array, ...]:
            results = zip(kernel(*operands), batched_results, strict=True)
            return tuple(x if is_batched or axes is None else lax.psum(x, axes) for x, is_batched in results)

        placed = tuple(split if i in batched else whole for i in range(len(arguments)))
        return mesh, part, tuple(split if is_batched else whole for is_batched in batched_results), placed

    # Of the axes, only the batch's may be split.
    ranks = [x.ndim for x in operands] + [x.ndim for x in jax.eval_shape(kernel, *operands)]
    has_batch = [i in batched for i in range(len(operands))] + list(batched_results)
    names = [
        ["batch" if axis == 0 and first else f"axis{i}x{axis}" for axis in range(rank)]
        for i, (rank, first) in enumerate(zip(ranks, has_batch, strict=True))
    ]
    sides = (", ".join(" ".join(axes) for axes in side) for side in (names[: len(operands)], names[len(operands) :]))
    split_kernel = custom_partitioning(kernel)
    split_kernel.def_partition(
        partition,
        sharding_rule=" -> ".join(sides),
        need_replication_factors=tuple(axis for axes in names for axis in axes if axis != "batch"),
        reduction_factors=() if any(batched_results) else ("batch",),
    )
    return split_kernel
