"""Table 1 of the paper, number of parameters, from the real modules, with both ways of counting.

    python -m experiments.table1

Takes seconds. Expect the paper's totals, 18,498,481 and 5,181,089: they result exactly if the generator is counted with
12 input channels and 1 output channel and the MLP of each attention block twice, since it is called twice. What trains
on RGB images at 32 px has 18,415,575 and 5,102,035.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sagan_jax.flags import run_experiment

PAPER = {False: 18_498_481, True: 5_181_089}  # by whether convolutions are depthwise-separable


class Count(NamedTuple):
    """Parameters: the generator without its attention, its attention, the attention's MLPs, the discriminator."""

    convolutions: int
    attention: int
    attention_mlps: int
    discriminator: int

    @property
    def trained(self) -> int:
        """Every parameter once."""
        return self.convolutions + self.attention + self.discriminator

    @property
    def papers(self) -> int:
        """The attention's MLPs twice, as a counter gives that counts at every call."""
        return self.trained + self.attention_mlps


def count(depthwise: bool, input_channels: int, output_channels: int) -> Count:
    """Counts the parameters of SAGAN's networks at 32 px without making them."""
    import jax
    import jax.numpy as jnp

    from sagan_jax.methods.dcgan import Discriminator
    from sagan_jax.methods.sagan import SaganGenerator

    def size(tree) -> int:
        return sum(leaf.size for leaf in jax.tree.leaves(tree))

    def params(module, channels: int):
        images = jnp.zeros((1, 32, 32, channels))
        return jax.eval_shape(lambda key: module.init(key, images, train=False)["params"], jax.random.key(0))

    generator = params(SaganGenerator(output_channels, multiplier=2 if depthwise else 0), input_channels)
    blocks = [block for name, block in generator.items() if name.startswith("attention")]
    return Count(
        convolutions=size(generator) - size(blocks),
        attention=size(blocks),
        attention_mlps=size([block["channel"] for block in blocks]),
        discriminator=size(params(Discriminator(), 3)),
    )


def parameter_table() -> str:
    """The table as text."""
    printed = [count(depthwise, 12, 1) for depthwise in PAPER]
    trained = [count(depthwise, 3, 3) for depthwise in PAPER]
    rows = [
        ("the paper prints", *PAPER.values()),
        ("counted its way", *(c.papers for c in printed)),
        ("  generator, 12 channels in, 1 out", *(c.convolutions for c in printed)),
        ("  attention, its MLPs twice", *(c.attention + c.attention_mlps for c in printed)),
        ("  discriminator, RGB, 32 px", *(c.discriminator for c in printed)),
        ("what trains", *(c.trained for c in trained)),
        ("  generator, RGB in and out", *(c.convolutions for c in trained)),
        ("  attention", *(c.attention for c in trained)),
        ("  discriminator, RGB, 32 px", *(c.discriminator for c in trained)),
    ]
    lines = [f"{'':<36}{'without DSCs':>14}{'with DSCs':>14}"]
    lines += [f"{name:<36}{without:>14,}{separable:>14,}" for name, without, separable in rows]
    return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class Table1:
    """Print Table 1 of the paper, the number of parameters, counted in both ways."""

    def __call__(self) -> None:
        """Counts and prints."""
        print(parameter_table())


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the experiment as a command; returns the exit code, see `sagan_jax.exit_codes.guarded`."""
    return run_experiment(Table1, "table1", argv)


if __name__ == "__main__":
    raise SystemExit(main())
