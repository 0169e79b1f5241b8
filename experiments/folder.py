"""Anybody's own folder of photographs: MVTec AD's layout, GANomaly's, or one with nothing but normal images.

    python -m experiments.folder --data=DIR

The same as `sagan train DIR`, beside the other experiments.
"""

import sys
from collections.abc import Sequence

from sagan_jax.cli import Train, parse_as
from sagan_jax.exit_codes import guarded


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the experiment as a command; returns the exit code, see `sagan_jax.exit_codes.guarded`."""
    argv = sys.argv[1:] if argv is None else list(argv)

    def work() -> object:
        return parse_as(Train, "python -m experiments.folder", argv)()

    return guarded(work)


if __name__ == "__main__":
    raise SystemExit(main())
