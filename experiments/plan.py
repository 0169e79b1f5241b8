"""The plan of `experiments.reproduce`: which cells come first, what each takes here, and what a budget holds."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from experiments.cells import CellRun, RunSettings
from experiments.paper import TABLES
from experiments.speed import (
    Kind,
    Speed,
    arithmetic,
    device_memory,
    measure_speed,
    models_that_fit,
    program_memory,
    reckoned,
)
from experiments.variants import VARIANTS
from sagan_jax.config import Device
from sagan_jax.methods.table import METHODS

FIRST = ("cat", "frog")
"""Classes that come before the others: the README's example, and the paper's easiest."""
MEASURING = 40.0
"""Seconds after which nothing more is measured; what is left of a minute is for reckoning."""
COUNTED = 32
"""Side of the images for which arithmetic is counted."""
ENDING = 15.0
"""Seconds a run takes at its end, beside scoring: intervals, pictures, report."""


class KindName(NamedTuple):
    """What names the runs that take the same programs."""

    table: int
    method: str
    preset: str


class Part(NamedTuple):
    """Cells that are run together, or a single one.

    Attributes:
        runs: They train as one program if there are several.
        epochs: How many each still has to train.
        starting: Seconds before the first epoch.
        epoch: Seconds an epoch.
        ending: Seconds after the last epoch.
        measured: Whether that was measured, or reckoned from another kind.
    """

    runs: tuple[CellRun, ...]
    epochs: int
    starting: float
    epoch: float
    ending: float
    measured: bool

    @property
    def seconds(self) -> float:
        """What it takes in all."""
        return self.starting + self.epochs * self.epoch + self.ending

    @property
    def title(self) -> str:
        """The cells in words."""
        first = self.runs[0]
        if len(self.runs) == 1:
            return first.title
        classes, seeds = ({run.abnormal for run in self.runs}, sorted({run.seed for run in self.runs}))
        seeds_said = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
        method = f"table {first.table}, {VARIANTS[first.method].title} ({first.preset})"
        return f"{method}, {len(classes)} classes, {seeds_said}, as one program"


class Chosen(NamedTuple):
    """What a budget holds: parts to run whole, one to begin, and those it cannot hold."""

    whole: list[Part]
    begun: list[Part]
    left_out: list[Part]


def kind_name(run: CellRun) -> KindName:
    """The kind that a cell is of."""
    return KindName(run.table, run.method, run.preset)


def value(run: CellRun, methods: Sequence[str], seeds: Sequence[int], presets: Sequence[str]) -> tuple[int, ...]:
    """What cells are sorted by, the most valuable first: seed, method, the classes `FIRST`, the bolts, the others."""
    table = TABLES[run.table]
    early = FIRST.index(run.abnormal) if run.abnormal in FIRST else len(FIRST) + (run.table == 2)
    place = table.classes.index(run.abnormal)
    return seeds.index(run.seed), methods.index(run.method), early, run.table, place, presets.index(run.preset)


def on_cpu(device: Device) -> bool:
    """Whether the runs are on a CPU."""
    import jax

    return device == "cpu" or jax.default_backend() == "cpu"


def counts(settings: RunSettings, run: CellRun) -> tuple[int, int, int]:
    """Images of a cell: trained on, held out, tested."""
    from sagan_jax.data.split import held_out_count

    table = settings.of_table(run.table)
    train = settings.thinning.train_images or table.train_images
    held_out = held_out_count(train, settings.training(run).validation_fraction)
    return train - held_out, held_out, settings.thinning.test_images or table.test_images


def cell_kind(settings: RunSettings, run: CellRun, classes: int) -> Kind:
    """What a cell is run with, beside that of the other classes; the detector is the one of the run itself."""
    from sagan_jax.runs.prepare import make_detector

    variant, training = VARIANTS[run.method], settings.training(run)
    kept, held_out, _ = counts(settings, run)
    detector = make_detector(METHODS[variant.method], variant.model(run.preset), training, kept)
    size, all_classes = settings.size_of(run.table), len(TABLES[run.table].classes)
    # Each class lacks its own images: two classes have all of them between them.
    shared = kept if classes == 1 else round((kept + held_out) * all_classes / max(1, all_classes - 1))
    return Kind(detector, (size, size, 3), kept, shared, training)


def models_at_once(kind: Kind, models: int) -> int:
    """How many of the models the device trains as one program without running out of memory; all on a CPU."""
    limit = device_memory()
    image_bytes = kind.shared * kind.image_shape[0] * kind.image_shape[1] * kind.image_shape[2]
    while limit is not None and models > 1:
        fit = models_that_fit(limit, image_bytes, program_memory(kind, models), models)
        if fit >= models:
            break
        models = fit
    return models


def measure_kinds(
    settings: RunSettings,
    left: Sequence[CellRun],
    together: bool,
    say: Callable[[str], None],
    measured: Callable[[Kind, int, Path], Speed] | None = None,
    *,
    always: bool = False,
) -> dict[KindName, Speed]:
    """The speed of every kind of cell: measured for most of a minute, from there on reckoned by arithmetic.

    Args:
        settings: What the runs are of.
        left: The cells, the most valuable first.
        together: Whether those of a kind and a seed are to train as one program.
        say: Takes a line on what was measured.
        measured: Measures one kind; by default `measure_speed`.
        always: Train them as one program even where one after the other is faster.
    """
    measured = measured or measure_speed
    speeds: dict[KindName, Speed] = {}
    first: tuple[Speed, CellRun] | None = None  # what was measured first
    counted: dict[tuple[str, str], float] = {}
    started, longest = time.monotonic(), 0.0

    def work(run: CellRun) -> float:
        """Operations an image: counted at `COUNTED` pixels a side, for that takes seconds; they grow as the pixels."""
        key = (run.method, run.preset)
        if key not in counted:
            counted[key] = arithmetic(cell_kind(settings, run, 1)._replace(image_shape=(COUNTED, COUNTED, 3)))
        return counted[key] * (settings.size_of(run.table) / COUNTED) ** 2

    with TemporaryDirectory() as scratch:
        for run in left:
            name = kind_name(run)
            if name in speeds:
                continue
            fellows = {other.abnormal for other in left if kind_name(other) == name} if together else {run.abnormal}
            kind = cell_kind(settings, run, len(fellows))
            begun = time.monotonic()
            if first is None or begun - started + longest < MEASURING:
                models = models_at_once(kind, len(fellows)) if together else 1
                speed = measured(kind, models, Path(scratch) / f"{len(speeds)}")
                if first is None and models > 1 and not always:
                    alone = measured(cell_kind(settings, run, 1), 1, Path(scratch) / "alone")
                    say(f"as one program {speed.training:.0f} images/s, one model alone {alone.training:.0f}")
                    if alone.training > speed.training:
                        together, speed = False, alone
                first = first or (speed, run)
                longest = max(longest, time.monotonic() - begun)
                say(
                    f"{name.method} ({name.preset}), table {name.table}, {speed.models} "
                    f"{'models' if speed.models > 1 else 'model'}: {speed.training:.1f} training images/s, "
                    f"{speed.scoring:.1f} scored, compiled in {speed.compiling:.0f} s"
                )
            else:
                speed = reckoned(first[0], work(run) / work(first[1]))
                speed = speed._replace(models=len(fellows) if together else 1)
            speeds[name] = speed
    return speeds


def epochs_done(folder: Path) -> int:
    """How many epochs a run has checkpoints of."""
    there = (folder / "checkpoints").glob("*")
    return max((int(path.name) for path in there if path.name.isdigit()), default=0)


def parts(
    settings: RunSettings, left: Sequence[CellRun], speeds: Mapping[KindName, Speed], *, join_seeds: bool = False
) -> list[Part]:
    """The cells in the parts they are run in, the most valuable first, each with what it takes.

    Args:
        settings: What the runs are of.
        left: The cells, the most valuable first.
        speeds: Of every kind of them; those of more than one model train as one program.
        join_seeds: Train several seeds as one program too.
    """
    done = {run: epochs_done(settings.folder(run)) for run in left}
    groups: list[list[CellRun]] = []
    for run in left:

        def joins(group: list[CellRun], run: CellRun = run) -> bool:
            first = group[0]
            alike = kind_name(first) == kind_name(run) and (join_seeds or first.seed == run.seed)
            # They go on from one epoch that all have; a process that died may have left some of them one ahead.
            near = bool(done[run]) == bool(done[first]) and abs(done[run] - done[first]) <= 1
            return alike and near and speeds[kind_name(run)].models > 1

        group = next(filter(joins, groups), None)
        if group is None:
            groups.append([run])
        else:
            group.append(run)
    result, compiled = [], set[KindName]()
    for runs in groups:
        name = kind_name(runs[0])
        speed, (kept, held_out, test) = speeds[name], counts(settings, runs[0])
        models = len(runs)
        result.append(
            Part(
                runs=tuple(runs),
                epochs=settings.epochs - min(done[run] for run in runs),
                starting=0.0 if name in compiled else speed.compiling,
                epoch=models * (kept / speed.training + (held_out + test) / speed.scoring + speed.keeping),
                ending=models * (2 * test / speed.scoring + ENDING),
                measured=speed.measured,
            )
        )
        compiled.add(name)
    return result


def fill_budget(parts: Iterable[Part], seconds: float) -> Chosen:
    """What a budget holds: in order of value, each part that still fits whole; then one to begin, if an epoch fits.

    Args:
        parts: The most valuable first.
        seconds: The budget.
    """
    whole: list[Part] = []
    left_out: list[Part] = []
    for part in parts:
        if part.seconds <= seconds:
            seconds -= part.seconds
            whole.append(part)
        else:
            left_out.append(part)
    begun = [part for part in left_out[:1] if part.epochs and part.starting + part.epoch <= seconds]
    return Chosen(whole, begun, left_out)


def plan_text(chosen: Chosen) -> str:
    """The plan in words, a line a part: minutes, minutes since the start, what it is."""
    lines, total = [], 0.0
    for part in chosen.whole:
        total += part.seconds / 60
        lines.append(f"{_minutes(part):>12}  until {total:7.1f} min  {part.title}")
    head = f"to be run: {sum(len(part.runs) for part in chosen.whole)} cells, {total:.1f} minutes" if lines else ""
    if chosen.left_out:
        needed = sum(part.seconds for part in chosen.left_out) / 60
        cells = sum(len(part.runs) for part in chosen.left_out)
        lines.append(f"not held by the budget: {cells} cells, which take {needed:.1f} minutes more")
        lines += [f"{_minutes(part):>12}  {'':17}  {part.title}" for part in chosen.left_out]
        lines += [
            f"begun within what is left: {part.title}; the same command goes on from its last whole epoch"
            for part in chosen.begun
        ]
        if not chosen.whole and not chosen.begun:
            first = chosen.left_out[0]
            least = (first.starting + first.epoch) / 60
            lines.append(f"nothing fits: one epoch of the first cell takes {least:.1f} minutes")
    if any(not part.measured for part in chosen.whole + chosen.left_out):
        lines.append("~ was not measured, but reckoned by its arithmetic from the first that was")
    return "\n".join([head, *lines] if head else lines)


def _minutes(part: Part) -> str:
    """What a part takes, and whether that was measured."""
    return f"{'' if part.measured else '~ '}{part.seconds / 60:.1f} min"
