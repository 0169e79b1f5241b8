"""A method whose scoring kills its process, once: whoever traces it first while the file `DIES` names is there."""

import os
import signal
from pathlib import Path

import mean_detector

from sagan_jax.methods.table import Method

DIES = "DIES"


def dying(settings, steps=None):
    detector = mean_detector.mean(settings, steps)

    def score(state, images, statistics="running"):
        flag = os.environ.get(DIES)
        if flag is not None and Path(flag).exists():
            Path(flag).unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return detector.score(state, images, statistics)

    return detector._replace(score=score)


METHOD = Method("mean", {"paper": mean_detector.MeanConfig()}, dying, batch_size=8)
