"""How fast many models train as one program, side by side or in turn, against one after the other.

    python -m experiments.many

The same SAGAN, so many times, over shared images: `alone` takes a model's steps and then the next one's, `map` every
model's first step, then every model's second, and `vmap` all models' steps at once. They are timed in turn, round by
round, and medians are compared. Takes about five minutes on 2 cores, most of it compiling.
"""

import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from experiments.benchmark import in_turn
from experiments.record import MADE_BY, made_by
from sagan_jax.cli import parse_as
from sagan_jax.exit_codes import guarded


class Case(NamedTuple):
    """What is measured once."""

    size: int
    width: int
    batch: int
    models: int


CASES = (Case(16, 4, 16, 10), Case(16, 16, 32, 10), Case(32, 16, 32, 4), Case(32, 64, 32, 2))


class Row(NamedTuple):
    """One way on one case: milliseconds of a step of one model, and how many times faster than alone."""

    size: int
    width: int
    batch: int
    models: int
    how: str
    milliseconds: float
    times_faster: float


@dataclass(frozen=True, kw_only=True)
class Options:
    """How it is measured, and where it is written."""

    steps: int = 8
    """Steps of each model a timing."""
    rounds: int = 5
    """How often each way is timed."""
    out: Path = Path("many.csv")
    """The CSV file."""


def calls(case: Case, steps: int) -> dict[str, Callable[[], Any]]:
    """Each way of taking so many steps of every model."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from sagan_jax.config import SaganConfig
    from sagan_jax.methods.sagan import sagan
    from sagan_jax.training.loop import PLAIN_STEP, plan_epoch, run_steps, start_totals

    detector = sagan(SaganConfig(width=case.width))
    shape = (case.size, case.size, 3)
    images = jax.device_put(np.random.default_rng(0).integers(0, 256, (case.batch * steps, *shape), np.uint8))
    keys = jax.random.split(jax.random.key(0), case.models)
    plan = plan_epoch(jax.random.key(1), 0, len(images), case.batch)
    plans = jax.vmap(plan_epoch, in_axes=(0, None, None, None))(keys, 0, len(images), case.batch)
    states = [detector.init(key, shape) for key in keys]

    def program(state: Any, plan: Any, config: Any) -> Callable[[], None]:
        held = [(state, start_totals(detector, state, images, plan, config))]

        def train() -> None:
            held[0] = run_steps(detector, *held[0], images, plan, 0, steps, config)
            jax.block_until_ready(held)

        return train

    def stacked() -> Any:
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)

    together = {how: program(stacked(), plans, PLAIN_STEP._replace(many=how)) for how in ("map", "vmap")}
    each = [program(state, plan, PLAIN_STEP) for state in states]
    return {"alone": lambda: [train() for train in each], **together}


def measure(case: Case, options: Options) -> list[Row]:
    """Every way on one case."""
    seconds = in_turn(calls(case, options.steps), options.rounds)
    medians = {how: statistics.median(values) for how, values in seconds.items()}
    return [
        Row(*case, how, round(1e3 * taken / options.steps / case.models, 3), round(medians["alone"] / taken, 2))
        for how, taken in medians.items()
    ]


def many(options: Options) -> None:
    """Measures, prints, writes."""
    from sagan_jax import device, run_folder

    print(device.start(), flush=True)
    made, rows = made_by(), []
    for case in CASES:
        rows += measure(case, options)
        for row in rows[-3:]:
            print(
                f"{row.size} px, width {row.width}, batch {row.batch}, {row.models} models, {row.how:<5}"
                f"{row.milliseconds:9.2f} ms a model's step, {row.times_faster:.2f} times as fast",
                flush=True,
            )
        run_folder.write_csv(options.out, (*Row._fields, *MADE_BY), [(*row, *made) for row in rows])


def main(argv: Sequence[str] | None = None) -> int:
    """Measures as a command; returns its exit code."""
    argv = sys.argv[1:] if argv is None else list(argv)
    return guarded(lambda: many(parse_as(Options, "python -m experiments.many", argv)))


if __name__ == "__main__":
    raise SystemExit(main())
