"""The `sagan` command. Each subcommand is a frozen dataclass: its fields are the flags, calling it does the work.

Nothing heavy is imported here, so that `sagan --help` answers at once; the work imports what it needs.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union

from sagan_jax.config import Device, FolderConfig, Preset
from sagan_jax.errors import UserError
from sagan_jax.exit_codes import guarded
from sagan_jax.flags import TrainingFlags, parse_as, with_home
from sagan_jax.methods.table import find_method, own_method


@dataclass(frozen=True, kw_only=True)
class Train(TrainingFlags):
    """Train on a folder of photographs of normal things; if it has test images, judge by them."""

    data: Path
    """A folder in the layout of MVTec AD (train/good, test/<kind>, ground_truth/<kind>), MVTec LOCO, BTAD, VisA or
    GANomaly (train/0.normal, test/0.normal, test/1.abnormal), or one with only normal images."""
    preset: Preset = "inspection"
    """Trained to repair, which finds most; or the settings of the method's paper, or of its authors' released code. A
    method without the first has its paper's by default."""
    folder: FolderConfig = field(default_factory=FolderConfig)

    def __call__(self) -> None:
        """Trains and prints the result."""
        from sagan_jax.inspection.train import train_on_folder
        from sagan_jax.report import text

        result, out = train_on_folder(
            self.data,
            self.folder,
            find_method(self.method),
            self.preset,
            self.model,
            self.training,
            output=self.output,
            judging=self.judging,
            hardware=self.hardware,
        )
        print(f"{text.summary(result)}\n\nwritten to {out}")


@dataclass(frozen=True, kw_only=True)
class Score:
    """Score image files with a trained model: a verdict each, and a heat map if wanted.

    Ends with 0 if every file is normal, 1 if one is abnormal, 3 if none is but some could not be scored, 2 if nothing
    could be scored or the command was wrong. A file that cannot be scored is named with the reason.
    """

    run: Path
    """The folder of the run that trained the model."""
    images: tuple[str, ...]
    """Image files, folders to search for them, or - for a list of these on standard input, a line each; with --ray also
    URLs, such as s3://bucket/folder."""
    out: Path | None = None
    """Write the verdicts to this file too, .csv, .json or .jsonl, or as Parquet to a folder, .parquet. It grows as they
    come, as .part until it is whole."""
    resume: bool = False
    """Continue the file that --out names; files that have a verdict in it are not scored again."""
    maps: Path | None = None
    """Write each photograph with its heat map laid over it to this folder, as PNG."""
    false_positive_rate: float | None = None
    """The share of normal images that may be called abnormal; it sets the threshold. By default the run's; one that the
    run's held-out images cannot support is refused."""
    device: Device = "auto"
    """Where it runs; auto takes an accelerator if there is one."""
    ray: str | None = None
    """Score on many machines by Ray Data: the address of its head node, HOST:6379, or auto on a machine of the cluster;
    local starts one on this machine alone."""
    method: str | None = None
    """MODULE:NAME of the run's method, where it is one of your own."""

    def __call__(self) -> int:
        """Prints a line a file, then the counts; returns the exit code."""
        import contextlib
        from collections import Counter

        from tqdm import tqdm

        from sagan_jax.inspection import verdict_file, verdict_folder, verdicts
        from sagan_jax.training.progress import pace

        if self.resume and self.out is None:
            raise UserError("--resume goes on with the file that --out names; name it")
        files = self._files()
        if not files:
            raise UserError("no images are named; name files, folders that hold some, or - to read a list")
        if self.maps is not None:
            verdicts.check_pictures(files, self.maps)
        opened = _opened(self)
        counts: Counter[verdicts.Called] = Counter()
        print(opened.said)
        print("# verdict, calibrated, score, file")
        with contextlib.ExitStack() as stack:
            grown = None
            if self.out is not None:
                parquet = self.out.suffix == verdict_folder.SUFFIX
                written_to = verdict_folder.parquet_to if parquet else verdict_file.written_to
                grown = stack.enter_context(written_to(self.out, opened.threshold, resume=self.resume))
                files, counts = verdict_file.remaining(files, grown.files), grown.counts
                if self.resume:
                    print(f"# {counts.total():,} verdicts are there from before; {len(files):,} files are to be scored")
            bar = stack.enter_context(tqdm(total=len(files), unit="file", **pace()))
            say = bar.write if sys.stderr.isatty() else print  # beside a bar, lines go over it
            for verdict in self._judge(files, opened) if files else ():
                say(verdict_file.line(verdict), file=sys.stdout)
                if grown is not None:
                    grown.write(verdict)
                counts[verdict.verdict] += 1
                bar.update()
        print(f"# {verdict_file.told(counts)}")
        return verdict_file.exit_code(counts)

    def _files(self) -> list[Any]:
        """The files to score: paths, or with Ray photographs that may be in an object store."""
        from sagan_jax.data.file_list import list_files

        if self.ray is None:
            url = next((name for name in self.images if "://" in name and not Path(name).exists()), None)
            if url is not None:
                raise UserError(f"{url} is a URL; those are read with --ray")
            return list_files(self.images, standard_input)
        if self.maps is not None:
            raise UserError("--maps is not drawn with --ray; score what is abnormal once more, without it")
        from sagan_jax.inspection.ray_verdicts import require_ray

        require_ray()
        from sagan_jax.data.object_store import list_source_files

        return list_source_files(self.images, standard_input)

    def _judge(self, files: list[Any], opened: "_Opened") -> Iterator[Any]:
        """The verdicts on the files, in order."""
        from sagan_jax.inspection import verdicts

        if self.ray is None:
            return verdicts.judge_files(opened.scorer, files, opened.threshold, opened.draw)
        from sagan_jax.inspection.ray_verdicts import judge_on_ray

        patches = opened.scorer.patches is not None
        return judge_on_ray(
            self.ray, files, self.run, opened.threshold, patches=patches, device=self.device, method=self.method
        )


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Score each image that is written to a folder, as soon as it is whole: a line of JSON each, on standard output.

    What is there already is scored first; nothing is scored twice that has a line in --out. SIGTERM and Ctrl-C end it
    with the counts and the latencies, on standard error, and exit code 0.
    """

    run: Path
    """The folder of the run that trained the model."""
    folder: Path
    """The folder that images are written to; folders in it are watched too."""
    out: Path | None = None
    """Write the verdicts to this file too, .csv, .json or .jsonl, and go on with it where it was stopped."""
    maps: Path | None = None
    """Write each photograph with its heat map laid over it to this folder, as PNG."""
    false_positive_rate: float | None = None
    """The share of normal images that may be called abnormal; by default the run's. As in `sagan score`."""
    device: Device = "auto"
    """Where it runs; auto takes an accelerator where there is one."""
    method: str | None = None
    """MODULE:NAME of the run's method, where it is one of your own."""

    def __call__(self) -> None:
        """Prints a line a file until it is stopped."""
        import contextlib
        from collections import Counter

        from sagan_jax.inspection import verdict_file, verdicts
        from sagan_jax.inspection import watch as watching

        if self.maps is not None and self.maps.resolve().is_relative_to(self.folder.resolve()):
            raise UserError(f"--maps={self.maps} lies in the folder that is watched: pictures would be scored in turn")
        if self.maps is not None:
            verdicts.check_pictures([self.folder], self.maps)
        opened = _opened(self)
        print(opened.said, file=sys.stderr)
        counts: Counter[verdicts.Called] = Counter()
        seconds: list[float] = []
        with watching.stopped_by_signals() as stopped, contextlib.ExitStack() as stack:
            grown = None
            if self.out is not None:
                grown = stack.enter_context(verdict_file.written_to(self.out, opened.threshold, resume=True))
            unusable = {} if grown is None else dict(grown.unusable)  # each may have changed meanwhile
            names = set() if grown is None else set(grown.files) - set(unusable)
            arrivals = watching.watch(
                opened.scorer,
                self.folder,
                opened.threshold,
                opened.draw,
                known=lambda path: verdict_file.as_text(str(path)) in names,
                stopped=stopped,
            )
            print(f"# watching {self.folder}; {len(names):,} verdicts are there from before", file=sys.stderr)
            for verdict, taken in arrivals:
                reason = unusable.pop(verdict_file.as_text(verdict.file), None)
                if verdict.verdict == "unusable" and verdict_file.as_text(verdict.reason) == reason:
                    continue  # as it was
                sys.stdout.write(verdict_file.serialised([verdict_file.row_of(verdict, ".jsonl")], ".jsonl"))
                sys.stdout.flush()
                if grown is not None:
                    grown.write(verdict)
                counts[verdict.verdict] += 1
                seconds += [] if taken is None else [taken]
        print(f"# {verdict_file.told(counts)}; {watching.latencies(seconds)}", file=sys.stderr)


_NOT_ENDED = "note: {run} has not ended; it is scored by what it has learned so far"


class _Opened(NamedTuple):
    """A run opened to give verdicts: what scores, the threshold and how to say it, what draws maps if wanted."""

    scorer: Any
    threshold: float
    said: str
    draw: Any


def _opened(command: Score | Watch) -> _Opened:
    """Starts the device and opens the run of a command that gives verdicts."""
    from sagan_jax import device
    from sagan_jax.inspection import verdicts
    from sagan_jax.judging.calibration import threshold_for
    from sagan_jax.judging.false_positive_rate import percent, rate_or, resting_on
    from sagan_jax.runs.judged import open_judged

    on_ray = isinstance(command, Score) and command.ray is not None
    if on_ray:  # accelerators are left to the actors
        import jax

        jax.config.update("jax_platforms", "cpu")
    device.start("cpu" if on_ray else command.device)
    method = own_method(command.method)
    scorer, known, result = open_judged(command.run, () if command.maps is None else ("map",), method)
    if not result:
        print(_NOT_ENDED.format(run=command.run), file=sys.stderr)
    rate = rate_or(known.false_positive_rate, command.false_positive_rate, known.held_out)
    threshold = threshold_for(scorer.calibration, rate)
    said = f"# threshold {threshold:.6g} for {percent(rate)} false positives; {resting_on(known.held_out)}"
    draw = None if command.maps is None else verdicts.drawing_to(command.maps, result.get("map_limit"))
    return _Opened(scorer, threshold, said, draw)


@dataclass(frozen=True, kw_only=True)
class Info:
    """Print what a trained model is, how it was made, how well it did and what its threshold is."""

    folder: Path
    """The run's folder."""
    method: str | None = None
    """MODULE:NAME of the run's method, where it is one of your own."""

    def __call__(self) -> None:
        """Prints it."""
        from sagan_jax.runs.describe import describe

        print(describe(self.folder, own_method(self.method)))


@dataclass(frozen=True, kw_only=True)
class Report:
    """Write a run's report.html again, from what is in its folder."""

    folder: Path
    """The run's folder."""

    def __call__(self) -> None:
        """Writes it and prints where it is."""
        from sagan_jax.report.page import write_report

        print(write_report(self.folder))


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a trained model as one file that scores images without this package, its metadata inside."""

    run: Path
    """The run's folder; the epoch is the one it was judged by."""
    format: Literal["stablehlo", "onnx", "safetensors"] = "stablehlo"
    """StableHLO for JAX alone, on a CPU or an NVIDIA GPU; ONNX; or the weights alone, as safetensors."""
    out: Path | None = None
    """The file, which must not exist yet; by default scorer.FORMAT in the run's folder."""
    method: str | None = None
    """MODULE:NAME of the run's method, where it is one of your own."""

    def __call__(self) -> None:
        """Writes it and prints where it is."""
        from sagan_jax import device
        from sagan_jax.export.programs import export_model
        from sagan_jax.runs.model import load_judged

        out = self.out or self.run / f"scorer.{self.format}"
        named = {".onnx": "onnx", ".safetensors": "safetensors"}.get(out.suffix.lower(), self.format)
        if named != self.format:
            raise UserError(
                f"{out} has the suffix of another format than {self.format}; say --format={named} if it is wanted"
            )
        device.start()
        model, result = load_judged(self.run, own_method(self.method))
        if not result:
            print(_NOT_ENDED.format(run=self.run), file=sys.stderr)
        export_model(model, self.format, out)
        print(out)


COMMANDS: dict[str, type] = {
    "train": Train,
    "score": Score,
    "watch": Watch,
    "info": Info,
    "report": Report,
    "export": Export,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: The command line without the program's name; None takes the process's.

    Returns:
        The exit code, see `sagan_jax.exit_codes.guarded`.
    """
    argv = with_home(sys.argv[1:] if argv is None else argv)

    def work() -> object:  # a wrong command line is an error as any other
        command = parse(argv)
        return command()

    return guarded(work, resumable=argv[:1] == ["train"])


def standard_input() -> bytes:
    """All of standard input; raises UserError if the command was started without one."""
    try:
        return sys.stdin.buffer.read()
    except (AttributeError, OSError) as error:  # Python has None for one that is closed
        raise UserError("- is for a list on standard input, and there is none") from error


def parse(argv: list[str]) -> Any:
    """The subcommand with its settings, to be called. Unknown flags and values end the process with exit code 2."""
    import tyro

    if argv and argv[0] in COMMANDS:
        return parse_as(COMMANDS[argv[0]], f"sagan {argv[0]}", argv[1:], tyro.conf.PositionalRequiredArgs)
    everything: Any = Union[  # noqa: UP007 (made at run time)
        tuple(Annotated[kind, tyro.conf.subcommand(name)] for name, kind in COMMANDS.items())
    ]
    text = "Anomaly detection by a GAN: train on normal images, score any image, show where."
    return tyro.cli(everything, prog="sagan", description=text, args=argv)  # help, or what is wrong with the command
