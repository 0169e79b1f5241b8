"""`python -m sagan_jax`: the `sagan` command."""

from sagan_jax.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
