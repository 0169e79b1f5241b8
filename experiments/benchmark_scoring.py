"""How fast verdicts come: one file, a folder that a camera writes to, thousands of photographs beside PyTorch.

    pip install -e '.[benchmark]' -c constraints.txt
    python -m experiments.benchmark_scoring
    python -m experiments.benchmark_scoring --photographs=2000 --out=experiments/results/benchmark_scoring.json

The networks are not trained: speed does not depend on it. Photographs are a megapixel each, cut from those that
scikit-learn ships, as JPEGs. Whatever is compared is timed in turn, round by round, and medians are compared.

- one_file: `sagan score RUN one.jpg`, a process each time, with the weights and the program that are kept for it and
  without them.
- watch: photographs written to a folder ten a second; from a file's close to its verdict.
- photographs: `sagan score`'s own way from files to verdicts, beside a DataLoader of PyTorch and Pillow with the same
  network, images of the same size and as many processes as there are cores.
- reduced_jpeg: how far images and scores are from those of JPEGs decoded whole.

Takes ten minutes on 2 quiet cores. Expect a quarter of the time a file, and 2.3 times PyTorch's photographs a second.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Literal, get_args

from experiments.cards import flushed_denormals
from experiments.timing import in_turn
from sagan_jax.flags import run_experiment

if TYPE_CHECKING:
    import numpy as np

    from sagan_jax.judging.scorer import Scorer

HEIGHT, WIDTH = 864, 1160  # a megapixel
ScoringCase = Literal["one_file", "watch", "photographs", "reduced_jpeg"]
SCORING_CASES: tuple[ScoringCase, ...] = get_args(ScoringCase)


@dataclass(frozen=True, kw_only=True)
class ScoringBenchmark:
    """Measure how fast verdicts come."""

    cases: tuple[ScoringCase, ...] = SCORING_CASES
    """What is measured."""
    photographs: int = 300
    """How many are scored from end to end."""
    watched: int = 100
    """How many are written to the watched folder."""
    size: int = 64
    """Side in pixels of what the model takes."""
    rounds: int = 3
    """How often each thing is timed."""
    out: Path | None = None
    """A JSON file for the results, with what made them."""

    def __call__(self) -> None:
        """Measures, prints, and writes the results if asked to."""
        from sagan_jax import device
        from sagan_jax.run_folder import write_json
        from sagan_jax.runs.provenance import command, provenance

        where = device.start()
        measures = {
            "one_file": one_file,
            "watch": watch_folder,
            "photographs": photographs,
            "reduced_jpeg": reduced_jpeg,
        }
        results: dict[str, Any] = {"device": where, "size": self.size, "provenance": provenance(command(), where)}
        with tempfile.TemporaryDirectory(prefix="sagan-benchmark-") as folder:
            files = write_photographs(Path(folder) / "photographs", max(self.photographs, self.watched))
            for case in self.cases:
                results[case] = measures[case](self, files, Path(folder))
                print(case, *(f"  {name:<34}{value}" for name, value in results[case].items()), sep="\n", flush=True)
                if self.out:
                    write_json(self.out, results)


def write_photographs(folder: Path, count: int) -> list[Path]:
    """That many different JPEGs of a megapixel, cut from real photographs, mirrored and enlarged a little."""
    import numpy as np
    from PIL import Image, ImageOps
    from sklearn.datasets import load_sample_images

    folder.mkdir()
    sources = [Image.fromarray(image) for image in load_sample_images().images]
    random = np.random.default_rng(0)
    files = []
    for number in range(count):
        source = sources[number % len(sources)]  # 640 x 427
        width = int(random.integers(400, 560))
        height = width * HEIGHT // WIDTH
        left, top = (int(random.integers(0, free)) for free in (source.width - width, source.height - height))
        cut = source.crop((left, top, left + width, top + height)).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        files.append(folder / f"{number:05d}.jpg")
        (ImageOps.mirror(cut) if number % 3 else cut).save(files[-1], quality=90)
    return files


def make_scorer(size: int, *, inspection: bool, jpeg_margin: int) -> "Scorer":
    """SAGAN without training, as it is on photographs by default or as the paper has it."""
    import jax
    import numpy as np

    from sagan_jax.config import sagan_preset
    from sagan_jax.data.image_file import Reading
    from sagan_jax.judging.calibration import calibrate
    from sagan_jax.methods.sagan import sagan
    from sagan_jax.methods.table import METHODS
    from sagan_jax.runs.model import Model, scorer_of

    settings, shape = sagan_preset("inspection" if inspection else "paper"), (size, size, 3)
    detector = sagan(settings)
    state = detector.init(jax.random.key(0), shape)
    if detector.fit_normal:
        noise = np.random.default_rng(0).integers(0, 256, (64, *shape), np.uint8)
        state = detector.fit_normal(state, noise, jax.random.key(0))
    void, reading = calibrate(np.linspace(0, 1, 100, dtype=np.float32)), Reading(jpeg_margin=jpeg_margin)
    return scorer_of(Model(METHODS["sagan"], settings, shape, detector, state, void, 1, 0.05, {}, None, reading))


def ratios(slow: Sequence[float], fast: Sequence[float]) -> dict[str, float]:
    """How many times as fast, by round."""
    by_round = [a / b for a, b in zip(slow, fast, strict=True)]
    return {"median": statistics.median(by_round), "low": min(by_round), "high": max(by_round)}


def one_file(options: ScoringBenchmark, files: list[Path], folder: Path) -> dict[str, Any]:
    """Seconds of `sagan score RUN one.jpg`, a new process each time."""
    from sagan_jax.runs.scoring_weights import NAME

    run = write_run(folder / "run", options.size)
    (kept,) = run.glob(f"checkpoints/*/{NAME}")
    command = [sys.executable, "-m", "sagan_jax", "score", str(run), str(files[0])]

    def score() -> str:
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode in (0, 1), done.stderr
        return done.stdout

    def score_by_the_checkpoint() -> str:
        kept.rename(folder / NAME)
        try:
            return score()
        finally:
            (folder / NAME).rename(kept)

    assert score() == score_by_the_checkpoint()
    seconds = in_turn({"kept": score, "checkpoint": score_by_the_checkpoint}, options.rounds)
    return {
        "seconds": statistics.median(seconds["kept"]),
        "least_seconds": min(seconds["kept"]),
        "seconds_by_the_checkpoint": statistics.median(seconds["checkpoint"]),
        "ratio": ratios(seconds["checkpoint"], seconds["kept"]),
    }


def write_run(folder: Path, size: int) -> Path:
    """A run's folder whose one epoch had no step."""
    import numpy as np

    from sagan_jax import device
    from sagan_jax.config import INSPECTION, HardwareConfig, OutputConfig
    from sagan_jax.data.image_file import JPEG_MARGIN, Reading
    from sagan_jax.data.split import Split
    from sagan_jax.methods.table import METHODS
    from sagan_jax.runs.prepare import prepare
    from sagan_jax.runs.run_state import end_epoch, first_state, open_run

    images = np.random.default_rng(0).integers(0, 256, (200, size, size, 3), np.uint8)
    names, reading = np.array([str(i) for i in range(200)]), Reading(jpeg_margin=JPEG_MARGIN)
    split = Split("noise", "none", images, names, images[:0], np.zeros(0, bool), names[:0], reading=reading)
    method = METHODS["sagan"]
    prepared = prepare(split, method, method.presets["inspection"], INSPECTION)
    machine = device.start_run(HardwareConfig())
    folder.mkdir()
    with open_run(prepared, folder, machine, OutputConfig()) as state:
        end_epoch(state, lambda: images, 1, first_state(prepared), {}, 1.0)
    return folder


def watch_folder(options: ScoringBenchmark, files: list[Path], folder: Path) -> dict[str, Any]:
    """Milliseconds from a file's close to its verdict, photographs written ten a second."""
    import numpy as np

    from sagan_jax.inspection.watch import watch

    watched = folder / "watched"
    watched.mkdir()
    contents = [path.read_bytes() for path in files[: options.watched]]
    scorer = make_scorer(options.size, inspection=True, jpeg_margin=2)
    stopped, ready = Event(), Event()

    def write() -> None:
        ready.wait()
        for number, content in enumerate(contents):
            (watched / f"{number:05d}.jpg").write_bytes(content)
            time.sleep(0.1)

    writer = Thread(target=write)
    writer.start()
    (watched / "first.jpg").write_bytes(contents[0])
    seconds = []
    for _, taken in watch(scorer, watched, 1.0, stopped=stopped):
        ready.set()
        seconds += [] if taken is None else [taken]
        if len(seconds) == len(contents):
            stopped.set()
    writer.join()
    p50, p99 = np.quantile(seconds, (0.5, 0.99)) * 1e3
    return {"files": len(seconds), "p50_ms": float(p50), "p99_ms": float(p99), "greatest_ms": 1e3 * max(seconds)}


def photographs(options: ScoringBenchmark, files: list[Path], folder: Path) -> dict[str, Any]:
    """Photographs a second from files to verdicts, SAGAN as the paper has it, beside PyTorch and Pillow."""
    from sagan_jax.inspection.verdicts import judge_files

    files = files[: options.photographs]
    calls: dict[str, Callable[[], Any]] = {}
    for name, margin in (("ours", 2), ("ours, JPEGs decoded whole", 0)):
        scorer = make_scorer(options.size, inspection=False, jpeg_margin=margin)
        calls[name] = lambda scorer=scorer: list(judge_files(scorer, files, 1.0))
    with flushed_denormals():
        calls["PyTorch"] = peer(files, options.size)
        seconds = in_turn(calls, options.rounds)
    rates = {name: len(files) / statistics.median(values) for name, values in seconds.items()}
    return {"files": len(files), "photographs_per_second": rates} | {
        f"ratio, {name}": ratios(seconds["PyTorch"], seconds[name]) for name in calls if name != "PyTorch"
    }


class PeerPhotographs:
    """Files as a map-style data set of PyTorch: decoded whole, resized, bytes [C, H, W]."""

    def __init__(self, files: list[Path], size: int) -> None:
        self.files, self.size = files, size

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> "np.ndarray":
        """Decodes one."""
        import numpy as np
        from PIL import Image

        with Image.open(self.files[index]) as image:
            resized = image.convert("RGB").resize((self.size, self.size), Image.Resampling.BICUBIC)
        return np.array(resized).transpose(2, 0, 1)


def peer(files: list[Path], size: int) -> Callable[[], Any]:
    """What is mostly written: a DataLoader of PyTorch, Pillow in its processes, the network channels-last."""
    import torch
    from torch.utils.data import DataLoader

    from experiments import torch_peer

    cores = os.cpu_count() or 1
    torch.set_num_threads(cores)

    networks = torch_peer.build_peer(size, 2)
    for network in networks:
        network.eval()
        network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    # Not by a fork: JAX's threads are running.
    loader = DataLoader(
        PeerPhotographs(files, size),
        batch_size=32,
        num_workers=cores,
        multiprocessing_context="forkserver",
        persistent_workers=True,
    )

    def score() -> list[float]:
        scores: list[float] = []
        for batch in loader:
            images = (batch.float() / 127.5 - 1).to(memory_format=torch.channels_last)
            reconstruction, latent = torch_peer.score(*networks, images)
            scores += (0.2 * reconstruction + 0.8 * latent).tolist()
        return scores

    return score


def reduced_jpeg(options: ScoringBenchmark, files: list[Path], folder: Path) -> dict[str, Any]:
    """Differences in levels of 255, and of scores relative to their spread, by reduced decoding."""
    import numpy as np

    from sagan_jax.data.image_file import Reading, read_image
    from sagan_jax.inspection.verdicts import judge_files

    files = files[:100]

    def images(margin: int) -> "np.ndarray":
        return np.stack([read_image(path, size=options.size, reading=Reading(jpeg_margin=margin)) for path in files])

    def scores(margin: int) -> "np.ndarray":
        scorer = make_scorer(options.size, inspection=False, jpeg_margin=margin)
        return np.array([verdict.score for verdict in judge_files(scorer, files, 1.0)])

    apart = np.abs(images(0).astype(int) - images(2))
    whole, reduced = scores(0), scores(2)
    return {
        "files": len(files),
        "mean_level": float(apart.mean()),
        "p99_level": float(np.quantile(apart, 0.99)),
        "greatest_level": int(apart.max()),
        "greatest_score_change": float(np.abs(reduced / whole - 1).max()),
        "score_spread": float(whole.std() / whole.mean()),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the experiment as a command; returns the exit code, see `sagan_jax.exit_codes.guarded`."""
    return run_experiment(ScoringBenchmark, "benchmark_scoring", argv)


if __name__ == "__main__":
    raise SystemExit(main())
