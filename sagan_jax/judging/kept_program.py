"""A compiled scoring program kept on disk: a command that scores one file need not trace, lower or compile anything.

It lies in the user's cache folder, as JAX's own compiled programs and the kernels do, never in a run's folder, which
may come from anywhere: a program that is loaded is run. Its name is a hash of all that makes it what it is, so one of
another version, machine or setting is not found. Without it everything works as with it, to the bit, only later.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
import numpy as np

import sagan_jax
from sagan_jax.atomic_file import replacing
from sagan_jax.cache_folder import cache_folder
from sagan_jax.detector import PICTURES, Detector, Picture, Scores, abstract_state, leaf_names
from sagan_jax.judging.scoring import ScoreBatch, score_batch
from sagan_jax.ops import native

KEPT = 64  # programs, of a megabyte or two each; the least lately used go first
_NEVER = 1e9  # seconds
_MADE_BY = ("jax", "jaxlib", "flax", "optax", "numpy", "jax-cuda12-plugin", "jax-cuda13-plugin")


class OtherStateError(Exception):
    """The leaves are of another state than the detector's: another version of a method may have other shapes."""


def scoring_program(
    make: Callable[[], Detector],
    leaves: Mapping[str, np.ndarray],
    image_shape: tuple[int, ...],
    batch_size: int,
    pictures: tuple[Picture, ...],
    made_from: Mapping[str, Any],
) -> ScoreBatch:
    """The program that scores a batch: loaded if it is kept, or else compiled and kept.

    Args:
        make: Makes the detector; called only if the program is not kept.
        leaves: What scoring reads of the state, by name.
        image_shape: [H, W, C] of the images.
        batch_size: How many it takes at once.
        pictures: Which pictures are wanted.
        made_from: All that the detector is made from, as JSON values.

    Raises:
        OtherStateError: The leaves do not fit the detector.
    """
    placed = [jax.device_put(leaf, native.default_device()) for _, leaf in sorted(leaves.items())]
    images = jax.ShapeDtypeStruct((batch_size, *image_shape), np.uint8)
    arguments = ([jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in placed], images, _COUNT)
    fields = [name for name in Scores._fields if name not in PICTURES or name in pictures]
    path = _path([made_from, str(arguments), fields, sorted(leaves)])
    program = _load(path, placed, arguments, len(fields))
    if program is None:
        program = _compile(make(), sorted(leaves), arguments, pictures)
        _keep(program, path)

    def score(images: np.ndarray, count: int) -> Scores:
        return Scores(**dict(zip(fields, program(placed, images, np.int32(count)), strict=True)))

    return score


_COUNT = jax.ShapeDtypeStruct((), np.int32)


def _compile(detector: Detector, names: Sequence[str], arguments: Any, pictures: tuple[Picture, ...]) -> Any:
    """The program compiled, past JAX's own cache: what a CPU has loaded from there lacks its code when kept again."""
    like = abstract_state(detector, arguments[1].shape[1:])
    structure, leaves = jax.tree.structure(like), dict(zip(leaf_names(like), jax.tree.leaves(like), strict=True))
    for name, given in zip(names, arguments[0], strict=True):
        if name not in leaves or leaves[name].shape != given.shape:
            raise OtherStateError

    def kept_program(given: list[Any], images: Any, count: Any) -> list[Any]:
        known = dict(zip(names, given, strict=True))
        state = [
            known[name] if name in known else jax.numpy.zeros(leaf.shape, leaf.dtype)  # not read, and so not made
            for name, leaf in leaves.items()
        ]
        scores = score_batch(detector, jax.tree.unflatten(structure, state), images, pictures=pictures, count=count)
        return [value for value in scores if value is not None]

    least: Any = jax.config.values["jax_persistent_cache_min_compile_time_secs"]
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _NEVER)  # not written there, it is not found there
    try:
        return jax.jit(kept_program).lower(*arguments).compile()
    finally:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", least)


def _keep(program: Any, path: Path) -> None:
    """Writes a program, after its own hash; what cannot be kept is compiled anew next time."""
    from jax.experimental.serialize_executable import serialize

    try:
        content = serialize(program)[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(hashlib.sha256(content).digest() + content)
        kept = sorted(path.parent.glob("*.program"), key=lambda other: other.stat().st_mtime)
        for old in kept[:-KEPT]:
            old.unlink(missing_ok=True)
    except Exception:  # the disk, or a backend that cannot
        return


def _load(path: Path, leaves: list[Any], arguments: Any, results: int) -> Any:
    """A program that is kept; None if there is none that is whole and runs."""
    from jax.experimental.serialize_executable import deserialize_and_load

    try:
        content = path.read_bytes()
        if hashlib.sha256(content[32:]).digest() != content[:32]:
            return None
        os.utime(path)
        takes, gives = jax.tree.structure((arguments, {})), jax.tree.structure([0] * results)
        device = native.default_device()
        program = deserialize_and_load(content[32:], takes, gives, device.client, [device])
        jax.block_until_ready(program(leaves, np.zeros(arguments[1].shape, np.uint8), np.int32(1)))
        return program
    except Exception:  # of another make after all, say: it is compiled anew
        return None


def _path(made_from: Any) -> Path:
    """Where the program lies that is made from this, on this machine, by this version."""
    device = native.default_device()
    settings = {
        name: repr(value) for name, value in jax.config.values.items() if "cache" not in name and "dir" not in name
    }
    here = [
        *(device.platform, device.device_kind, device.client.platform_version, jax.device_count(), native.processor()),
        device.platform == "cpu" and native.registered(),
        os.environ.get("XLA_FLAGS", ""),
        [_version(name) for name in _MADE_BY],
        _sources(),
        settings,
    ]
    said = json.dumps([made_from, here], sort_keys=True, default=repr)
    return cache_folder() / "programs" / f"{hashlib.sha256(said.encode()).hexdigest()[:32]}.program"


@cache
def _sources() -> str:
    """A hash of this package's own code, kernels among it."""
    root = Path(sagan_jax.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(path for suffix in ("*.py", "*.cc", "*.h") for path in root.rglob(suffix)):
        digest.update(f"{path.relative_to(root)}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
