"""How fast many models train as one program, side by side or in turn, against one after the other.

    python -m experiments.many

The same SAGAN, several times, over shared images: `alone` takes a model's steps and then the next one's, `map` every
model's first step, then every model's second, and `vmap` all models' steps at once. They are timed in turn, round by
round, and medians are compared.

Five minutes on 2 cores, most of it compiling. Expect `vmap` to be 1.5 times as fast as `alone` for ten models of width
4 on 16 px, and slower than it at 32 px (docs/performance.md).
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from experiments.record import made_by, result_lines, write_results
from experiments.timing import in_turn
from sagan_jax.config import Precision
from sagan_jax.flags import run_experiment


class ManyCase(NamedTuple):
    """What is measured once."""

    size: int
    width: int
    batch: int
    models: int


MANY_CASES = (
    ManyCase(16, 4, 16, 10),
    ManyCase(16, 16, 32, 10),
    ManyCase(32, 16, 32, 4),
    ManyCase(32, 64, 32, 2),
)


class WayRow(NamedTuple):
    """One way on one case: milliseconds of a step of one model, and how many times faster than alone."""

    size: int
    width: int
    batch: int
    models: int
    how: str
    milliseconds: float
    times_faster: float


@dataclass(frozen=True, kw_only=True)
class Many:
    """Measure how fast many models train as one program, against one after the other."""

    steps: int = 8
    """Steps of each model a timing."""
    rounds: int = 5
    """How often each way is timed."""
    out: Path = Path("many.csv")
    """The CSV file."""

    def __call__(self) -> None:
        """Measures, prints, writes."""
        from sagan_jax import device

        machine = device.start()
        print(machine, flush=True)
        made, rows = made_by(machine), []
        for case in MANY_CASES:
            rows += measure_ways(case, self)
            for row in rows[-3:]:
                print(
                    f"{row.size} px, width {row.width}, batch {row.batch}, {row.models} models, {row.how:<5}"
                    f"{row.milliseconds:9.2f} ms a model's step, {row.times_faster:.2f} times as fast",
                    flush=True,
                )
            write_results(self.out, result_lines(rows, made))


def calls(case: ManyCase, steps: int, precision: Precision = "float32") -> dict[str, Callable[[], Any]]:
    """Each way of taking that many steps of every model."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from sagan_jax.config import SaganConfig
    from sagan_jax.methods.sagan import sagan
    from sagan_jax.training.loop import PLAIN_STEP, run_steps, start_totals
    from sagan_jax.training.plan import plan_epoch

    detector = sagan(SaganConfig(width=case.width, precision=precision))
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


def measure_ways(case: ManyCase, options: Many) -> list[WayRow]:
    """Every way on one case."""
    seconds = in_turn(calls(case, options.steps), options.rounds)
    medians = {how: statistics.median(values) for how, values in seconds.items()}
    return [
        WayRow(*case, how, round(1e3 * taken / options.steps / case.models, 3), round(medians["alone"] / taken, 2))
        for how, taken in medians.items()
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the experiment as a command; returns the exit code, see `sagan_jax.exit_codes.guarded`."""
    return run_experiment(Many, "many", argv)


if __name__ == "__main__":
    raise SystemExit(main())
