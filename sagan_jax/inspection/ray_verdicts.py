"""Verdicts on more photographs than one machine scores in time: the work of Ray Data, a model in each of its actors.

The starting process lists the files and hands their names out in blocks. An actor reads the files of a block, from a
disk that every machine has or from an object store, and scores them exactly as `judge_files` does. Verdicts come back
in order. A block whose actor dies is given to another.
"""

import logging
import os
import signal
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sagan_jax.config import Device
from sagan_jax.data.object_store import SourceFile, read_from_store
from sagan_jax.errors import UserError, one_line
from sagan_jax.inspection.verdicts import Verdict, judge_files
from sagan_jax.methods.table import own_method
from sagan_jax.runs.judged import open_judged

if TYPE_CHECKING:
    import pyarrow as pa

_BLOCK = 1024  # files that one task scores, at most; what is done again if its actor dies
_BLOCK_OF_PATCHES = 32  # photographs of a model of patches, each of which takes long
_BLOCKS_AN_ACTOR = 4  # at least, of a job with few files
_TRIES = 3  # more, of a block whose actor died
_STORE_BYTES = 500_000_000  # bytes of memory that a Ray of this machine keeps names and verdicts in; more goes to disk
_RUN_FILES = ("config.json", "result.json", "checkpoints")  # of a run's folder, what scoring reads


class Judge:
    """A model in an actor of Ray's."""

    def __init__(self, run: Any, threshold: float, device: Device, method: str | None) -> None:
        """Opens the model.

        Args:
            run: What `_RUN_FILES` names of the run's folder: contents by path; or a reference of Ray's to them.
            threshold: The score above which an image is abnormal.
            device: Where it runs.
            method: MODULE:NAME of the run's method, where it is the user's own.
        """
        import ray

        from sagan_jax import device as devices

        devices.start(device)
        contents: Mapping[str, bytes] = ray.get(run) if isinstance(run, ray.ObjectRef) else run
        with tempfile.TemporaryDirectory(prefix="sagan-run-") as folder:
            for name, content in contents.items():
                path = Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            self.scorer = open_judged(Path(folder), method=own_method(method)).scorer
        self.threshold = threshold

    def __call__(self, block: "pa.Table") -> "pa.Table":
        """The verdicts on a block of files, as `files_block` has them."""
        import pyarrow as pa

        uris = block["uri"].to_pylist()
        paths = [os.fsdecode(path) for path in block["path"].to_pylist()]

        def content(number: int) -> bytes | None:
            return read_from_store(uris[number], paths[number]) if uris[number] else None

        rows = list(judge_files(self.scorer, [Path(path) for path in paths], self.threshold, content=content))
        columns = {name: [getattr(row, name) for row in rows] for name in ("verdict", "score", "calibrated", "reason")}
        types = {"verdict": pa.string(), "score": pa.float64(), "calibrated": pa.float64(), "reason": pa.string()}
        return pa.table(
            {"number": block["number"]} | {name: pa.array(values, types[name]) for name, values in columns.items()}
        )


def require_ray() -> None:
    """Raises UserError if Ray Data is not installed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # or it reports to its makers
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # as its next version, of which it warns
    try:
        import ray.data  # noqa: F401
    except ImportError as error:
        raise UserError('--ray needs Ray Data: pip install "sagan-jax[ray]"') from error


@contextmanager
def started(address: str) -> Iterator[None]:
    """Ray, joined at an address or, for "local", started on this machine; one that this process has is used as it is.

    Raises:
        UserError: If it is not installed or cannot be reached.
    """
    require_ray()
    import ray

    logging.getLogger("ray.data").setLevel(logging.WARNING)
    if ray.is_initialized():
        yield
        return
    quiet: dict[str, Any] = {"logging_level": logging.WARNING, "log_to_driver": False}
    here = {"include_dashboard": False, "object_store_memory": _STORE_BYTES} if address == "local" else {}
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address, **quiet, **here)
    except Exception as error:  # Ray has one of every kind, also for a machine too busy to start in time
        raise UserError(f"--ray={address} cannot be joined or started: {one_line(str(error))}") from error
    with suppress(ValueError):  # another thread than the main one has no say
        signal.signal(signal.SIGTERM, handler)  # Ray has its own, which would change the exit code
    try:
        yield
    finally:
        ray.shutdown()


def judge_on_ray(
    address: str,
    files: Sequence[SourceFile],
    run: Path,
    threshold: float,
    *,
    patches: bool = False,
    device: Device = "auto",
    method: str | None = None,
) -> Iterator[Verdict]:
    """A verdict a file, in order, by an actor for each GPU that Ray has, or for each CPU.

    Args:
        address: Where Ray is, as in `started`.
        files: The files.
        run: The folder of the run that trained the model; only this process needs it.
        threshold: The score above which an image is abnormal.
        patches: Whether the model takes patches.
        device: Where the actors run; "auto" takes GPUs if Ray has any.
        method: MODULE:NAME of the run's method, where it is the user's own.

    Yields:
        The verdicts.

    Raises:
        UserError: As `started`, or if Ray has no such device, or it gave up on a block.
    """
    with started(address):
        judged = _plan(files, run, threshold, patches, device, method)
        yield from _in_order(judged, files, threshold)


def _plan(
    files: Sequence[SourceFile], run: Path, threshold: float, patches: bool, device: Device, method: str | None
) -> Any:
    """The data set of Ray's whose rows are verdicts; nothing is done before they are asked for."""
    import ray

    there = ray.cluster_resources()
    kind = "GPU" if device == "gpu" or (device == "auto" and there.get("GPU", 0) >= 1) else "CPU"
    kind = "TPU" if device == "tpu" else kind
    actors = int(there.get(kind, 0))
    if actors < 1:
        raise UserError(f"Ray has no {kind}; it has {', '.join(f'{n:g} {name}' for name, n in there.items())}")
    most = _BLOCK_OF_PATCHES if patches else _BLOCK
    block = max(1, min(most, len(files) // (_BLOCKS_AN_ACTOR * actors)))
    blocks = [files_block(files, start, start + block) for start in range(0, len(files), block)]
    kept = [path for name in _RUN_FILES for path in sorted({run / name, *(run / name).rglob("*")}) if path.is_file()]
    contents = ray.put({os.fspath(path.relative_to(run)): path.read_bytes() for path in kept})
    resources: dict[str, Any] = {"GPU": {"num_gpus": 1}, "CPU": {"num_cpus": 1}, "TPU": {"resources": {"TPU": 1}}}[kind]
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_options.preserve_order = True
    with warnings.catch_warnings():
        # How often an actor may die has no parameter of its own; without, Ray would try one block for ever.
        warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated")
        return ray.data.from_arrow(blocks).map_batches(
            Judge,
            batch_size=block,  # as many as there are in one; on GPUs Ray wants to know
            batch_format="pyarrow",
            zero_copy_batch=True,
            compute=ray.data.ActorPoolStrategy(size=actors),
            fn_constructor_args=(contents, threshold, device if kind != "CPU" else "cpu", method),
            max_restarts=-1,
            max_task_retries=_TRIES,
            **resources,
        )


def files_block(files: Sequence[SourceFile], start: int, stop: int) -> "pa.Table":
    """The table of some of the files, as an actor takes it: `number`, `uri` of an object store or "", `path`."""
    import pyarrow as pa

    some = files[start:stop]
    return pa.table(
        {
            "number": pa.array(range(start, start + len(some)), pa.int64()),
            "uri": pa.array(["" if file.place is None else file.place.uri for file in some], pa.string()),
            "path": pa.array([os.fsencode(file.path) for file in some], pa.binary()),
        }
    )


def _in_order(judged: Any, files: Sequence[SourceFile], threshold: float) -> Iterator[Verdict]:
    """The rows of that data set as verdicts; each must be there, and in its place."""
    from ray.exceptions import RayError, UserCodeException

    done = 0
    try:
        for batch in judged.iter_batches(batch_size=None, batch_format="pyarrow"):
            for row in batch.to_pylist():
                if row["number"] != done:
                    raise RuntimeError(f"Ray gave verdict {row['number']} in the place of {done}")
                verdict = Verdict(
                    files[done].name, row["verdict"], row["score"], row["calibrated"], threshold, row["reason"], ""
                )
                done += 1
                yield verdict
    except RayError as error:
        if isinstance(error, UserCodeException):  # a bug, which no other actor mends
            raise
        said = str(error).strip().splitlines() or [""]  # the last line has what an actor could not be made for
        why = " … ".join(dict.fromkeys(one_line(line) for line in (said[0], said[-1])))
        raise UserError(f"Ray gave up on a block of files: {why}") from error
    if done != len(files):
        raise RuntimeError(f"Ray gave {done:,} verdicts on {len(files):,} files")
