"""Kernels of the project's own for CPUs: compiled from `kernels/` by the machine's C++ compiler when first wanted.

The library lies in the user's cache folder, one for each version of the sources, the compiler and the processor. Where
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
TARGETS = (
    "sagan_conv",
    "sagan_conv_by_image",
    "sagan_conv_by_kernel",
    "sagan_depthwise_forward",
    "sagan_depthwise_backward",
    "sagan_winograd",
    "sagan_winograd_by_kernel",
)
"""The kernels by name, in the library and in XLA's programs."""


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


def library_name(compiler_version: str) -> str:
    """The file's name for this version of the compiler; another for other sources, processors or versions of XLA."""
    sources = (path.read_text() for path in sorted(SOURCES.iterdir()))
    parts = [compiler_version, processor(), version("jaxlib"), *FLAGS, *sources]
    return f"{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:16]}.so"


def compiled() -> Path | None:
    """The library, compiled if it is not there yet; None if it cannot be."""
    command = compiler()
    if command is None:
        return None
    machine = "-mcpu=native" if platform.machine() in ("aarch64", "arm64") else "-march=native"
    units = [str(path) for path in sorted(SOURCES.glob("*.cc"))]
    try:
        told = subprocess.run([command, "--version"], check=True, capture_output=True, text=True).stdout
        library = cache_folder() / "kernels" / library_name(told)
        if not library.exists():
            library.parent.mkdir(parents=True, exist_ok=True)
            with replacing(library) as file:
                arguments = [*FLAGS, machine, "-isystem", jax.ffi.include_dir(), *units, "-o", file.name]
                subprocess.run([command, *arguments], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return library


@cache
def registered() -> bool:
    """Whether XLA has the kernels; the first call compiles them, in a few seconds, or finds them compiled."""
    path = compiled()
    if path is None:
        return False
    try:
        library = ctypes.CDLL(str(path))
    except OSError:
        return False
    for name in TARGETS:
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
