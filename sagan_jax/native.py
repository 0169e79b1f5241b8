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
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import Array

from sagan_jax.device import cache_folder
from sagan_jax.whole_file import replacing

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


def for_cpu() -> bool:
    """Whether what is traced now is to run on a CPU."""
    default: Any = jax.config.values.get("jax_default_device")
    return (jax.default_backend() if default is None else default.platform) == "cpu"


def usable(*operands: Array) -> bool:
    """Whether a program that is traced now can call the kernels on these."""
    return for_cpu() and all(operand.dtype == "float32" for operand in operands) and registered()


def call(name: str, shapes: Sequence[Sequence[int]], *operands: Array, **attributes: int) -> tuple[Array, ...]:
    """The float32 results of a kernel, by their shapes; under `vmap` it runs for one after the other."""
    results = [jax.ShapeDtypeStruct(tuple(shape), "float32") for shape in shapes]
    integers: Any = {attribute: np.int64(value) for attribute, value in attributes.items()}
    return tuple(jax.ffi.ffi_call(name, results, vmap_method="sequential")(*operands, **integers))
