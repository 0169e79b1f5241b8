"""The progress bar of a training run: losses, images a second, time left."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from sagan_jax.training.loop import Progress


@contextmanager
def progress_bar(epochs: int, batch_size: int) -> Iterator[Progress]:
    """A bar over all images of all epochs on stderr, for `training.loop.fit`.

    Args:
        epochs: Epochs in all.
        batch_size: Images a step, of all models if there are many.

    Yields:
        What `fit` calls. If stderr is not a terminal, it prints a line every half minute in place of a bar.
    """
    from tqdm import tqdm

    with tqdm(unit="image", unit_scale=True, desc="compiling", **pace()) as bar:

        def report(epoch: int, done: int, steps: int, metrics: dict[str, Any]) -> None:
            bar.total = epochs * steps * batch_size
            images = (epoch * steps + done) * batch_size
            if not bar.n and not done:  # the start, or where a resumed run goes on
                bar.initial = bar.n = images
                bar.unpause()
            if metrics:
                bar.set_description(f"epoch {epoch + 1}/{epochs}", refresh=False)
                losses = {key: value for key, value in metrics.items() if key == "loss" or key.endswith("_loss")}
                means = {key.removesuffix("_loss"): f"{np.mean(value):.3g}" for key, value in losses.items()}
                bar.set_postfix(means, refresh=False)  # of many models, the mean
            bar.update(images - bar.n)

        yield report


def pace() -> dict[str, Any]:
    """How often a bar of tqdm's is drawn: often on a terminal, else a line every half minute."""
    interval = 0.5 if sys.stderr.isatty() else 30.0
    return {"mininterval": interval, "maxinterval": interval}
