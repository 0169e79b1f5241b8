"""Whether a GPU computes what a CPU does: one small SAGAN, trained and scored on both, in every arithmetic.

    python -m experiments.parity

SAGAN is trained for an epoch on scikit-learn's digits on the CPU, in float32. The test images are scored there,
strictly and by batch statistics, and by the same weights on the device: with exact products, with the products that it
makes by default (TF32 on most GPUs), in bf16. Then the epoch is trained on the device too, from the same start. The
differences are printed and written. Exact products have to agree to about 1e-4 of the largest score. Takes about two
minutes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from experiments.cards import Arithmetic, use
from experiments.record import made_by, result_lines, write_results
from sagan_jax.config import Device, SaganConfig, TrainingConfig
from sagan_jax.errors import require
from sagan_jax.flags import run_experiment

if TYPE_CHECKING:
    from sagan_jax.detector import Detector, State

ARITHMETICS: tuple[Arithmetic, ...] = ("float32", "tf32", "bf16")


class DeviceRow(NamedTuple):
    """What a device computes in one arithmetic, beside a CPU's float32.

    The differences are the greatest of any test image's score, as a share of the CPU's greatest score.
    """

    device: str
    arithmetic: str
    strict_difference: float
    batch_difference: float
    auroc: float
    auroc_cpu: float
    auroc_trained_here: float


class _Scored(NamedTuple):
    """A trained model's scores of the test images."""

    strict: Any
    batch: Any


@dataclass(frozen=True, kw_only=True)
class Parity:
    """Compare what a device computes with a CPU, in every arithmetic."""

    device: Device = "auto"
    """The device; auto takes an accelerator where there is one."""
    width: int = 16
    """Channels of the first level of both networks."""
    size: int = 32
    """Side of the images, in pixels."""
    images: int = 1000
    """How many training images."""
    arithmetics: tuple[Arithmetic, ...] = ARITHMETICS
    """How the device computes."""
    out: Path = Path("parity.csv")
    """The CSV file."""

    def __post_init__(self) -> None:
        """Raises UserError for a value no comparison can have."""
        for name in ("width", "images"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")

    def __call__(self) -> None:
        """Trains on the CPU, compares, prints and writes."""
        import jax

        from sagan_jax import device
        from sagan_jax.data.digits import load_digits
        from sagan_jax.data.split import leave_one_out, thinned
        from sagan_jax.judging.metrics import auroc

        split = thinned(leave_one_out(load_digits(self.size), "3"), self.images)
        images = split.train[:]
        training = TrainingConfig(epochs=1)

        def detector(arithmetic: Arithmetic) -> "Detector":
            from sagan_jax.methods.sagan import sagan

            settings = SaganConfig(width=self.width)
            return sagan(replace(settings, precision="bf16") if arithmetic == "bf16" else settings)

        def trained(detector: "Detector") -> "State":
            from sagan_jax.training.loop import fit

            ((_, state, _),) = fit(detector, detector.init(key(), images.shape[1:]), images, training)
            return jax.device_get(state)

        def key() -> Any:
            return jax.random.key(training.seed)

        def scored(detector: "Detector", state: "State") -> _Scored:
            from sagan_jax.judging.scoring import reference_protocol_scores, score_images

            batch = reference_protocol_scores(detector, state, split.test, batch_size=training.batch_size)
            return _Scored(score_images(detector, state, split.test).total, batch.total)

        def difference(here: Any, there: Any) -> float:
            return float(abs(here - there).max() / abs(there).max())

        def start(where: Device) -> str:
            jax.config.update("jax_default_device", None)
            return device.start(where)

        start("cpu")
        state = trained(detector("float32"))
        expected = scored(detector("float32"), state)
        there = auroc(split.test_labels, expected.strict)
        name, rows = start(self.device), []
        for arithmetic in self.arithmetics:
            use(arithmetic)
            found = scored(detector(arithmetic), state)
            own = scored(detector(arithmetic), trained(detector(arithmetic)))
            row = DeviceRow(
                device=name,
                arithmetic=arithmetic,
                strict_difference=difference(found.strict, expected.strict),
                batch_difference=difference(found.batch, expected.batch),
                auroc=auroc(split.test_labels, found.strict),
                auroc_cpu=there,
                auroc_trained_here=auroc(split.test_labels, own.strict),
            )
            rows.append(row)
            print(
                f"{name}, {arithmetic}: scores differ by {row.strict_difference:.1e} (by batch statistics "
                f"{row.batch_difference:.1e}) of the greatest; AUROC {row.auroc:.4f}, on the CPU {there:.4f}, "
                f"trained here {row.auroc_trained_here:.4f}",
                flush=True,
            )
        use("tf32")
        write_results(self.out, result_lines(rows, made_by(name, training.seed)))


def main(argv: Sequence[str] | None = None) -> int:
    """Compares as a command; returns its exit code."""
    return run_experiment(Parity, "parity", argv)


if __name__ == "__main__":
    raise SystemExit(main())
