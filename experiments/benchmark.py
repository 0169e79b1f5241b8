"""Speed of a training step and of scoring, against the same SAGAN in PyTorch, in one run.

    pip install -e '.[benchmark]' -c constraints.txt
    python -m experiments.benchmark --out=experiments/results/benchmark.json

Both are first shown to compute the same function. Then they are timed in turn, round by round, so that a machine that
slows down slows down both, and medians are compared. PyTorch runs eagerly, contiguous and channels-last, and compiled.

A step of the restoration preset is timed as well, and the part of it that damage takes.

Half an hour on 2 cores; `--cases main` measures 32 px, batch 64 alone. Expect 2.4 times the training speed of eager
PyTorch there, and 2.2 times its scoring speed (docs/performance.md).

On a GPU both sides multiply float32 alike, exactly or by TF32, and a third time the networks run in bf16. There the
share of the card's peak is printed too, the seconds of an epoch of CIFAR-10, and the images a second of ten models that
train as one program. `--arithmetics`, `--epoch-images` and `--models` ask for the same on a CPU.
"""

import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from experiments.benchmark_sides import Case, our_calls, peer_calls, precision_of, same_function, torch_device
from experiments.cards import Arithmetic, flushed_denormals, peak, use
from experiments.restoration_step import restoration_step
from experiments.timing import in_turn, timed
from sagan_jax.config import Device
from sagan_jax.errors import require
from sagan_jax.flags import run_experiment

BenchmarkCase = Literal["main", "batch_32", "batch_128", "size_128", "plain", "restoration"]
BENCHMARK_CASES: tuple[BenchmarkCase, ...] = get_args(BenchmarkCase)


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Measure training and scoring against the same SAGAN in PyTorch."""

    cases: tuple[BenchmarkCase, ...] = BENCHMARK_CASES
    """What is measured. `main` is 32 px, batch 64; the next ones differ in the batch or the size, `plain` in its
    convolutions, which are not depthwise-separable. `restoration` is a step of the restoration preset."""
    rounds: int = 5
    """How often each is timed."""
    compiled: bool = True
    """Measure `torch.compile` too, at 32 px and batch 64; it needs a C++ compiler."""
    device: Device = "auto"
    """Where both sides run; auto takes an accelerator where there is one."""
    arithmetics: tuple[Arithmetic, ...] | None = None
    """How products are computed; by default float32 on a CPU, and all three on an accelerator."""
    epoch_images: int | None = None
    """Time an epoch of this many images of 32 px; 0 is none. By default 45,000 on an accelerator, none on a CPU."""
    models: int | None = None
    """Time this many models as one program; 0 is none. By default 10 on an accelerator, none on a CPU."""
    out: Path = Path("benchmark.json")
    """The JSON file."""

    def __post_init__(self) -> None:
        """Raises UserError for a value nothing can be measured with."""
        require(len(self.cases) > 0, "cases", self.cases, f"some of {', '.join(BENCHMARK_CASES)}")
        require(self.rounds >= 1, "rounds", self.rounds, "at least 1")

    def __call__(self) -> None:
        """Measures, prints and writes."""
        from sagan_jax.run_folder import write_json
        from sagan_jax.runs.provenance import command, provenance

        self.out.parent.mkdir(parents=True, exist_ok=True)
        where = start_beside_torch(self.device)
        on_cpu = torch_device() == "cpu"
        product = matmul_peak()
        print(f"{where}: a large matrix product runs at {product:.0f} GFLOP/s", flush=True)
        everything: dict[str, Any] = {
            "device": where,
            "matmul_peak_gflops": product,
            "provenance": provenance(command(), where),
        }
        results, chosen = [], measured_cases(self, on_cpu)
        for case in chosen:
            results.append(measure(case, self.rounds, where))
            print(show(results[-1]), flush=True)
            write_json(self.out, everything | {"cases": results})
        arithmetics = arithmetics_of(self, on_cpu)
        images, models = (
            default * (not on_cpu) if value is None else value
            for value, default in ((self.epoch_images, 45_000), (self.models, 10))
        )
        if "restoration" in self.cases:
            step = everything["restoration_step"] = restoration_step(self.rounds)
            said = f"{step['images_per_second']:.1f} images/s, {step['damage_share']['median']:.1%} of it damage"
            print(f"a step of the restoration preset, {step['size']} px, batch {step['batch']}: {said}", flush=True)
            write_json(self.out, everything | {"cases": results})
        for arithmetic in arithmetics if images else ():
            seconds = epoch_seconds(images, arithmetic)
            everything.setdefault("epoch_seconds", {"images": images})[arithmetic] = round(seconds, 3)
            print(f"an epoch of {images:,} images, batch 64, {arithmetic}: {seconds:.2f} s", flush=True)
            write_json(self.out, everything | {"cases": results})
        for arithmetic in arithmetics if models else ():
            rates = many_models(models, steps_of(on_cpu), arithmetic, self.rounds)
            everything.setdefault("many_models", {"models": models})[arithmetic] = rates
            said = ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items())
            print(f"{models} models, batch 32, {arithmetic}, images/s of all: {said}", flush=True)
            write_json(self.out, everything | {"cases": results})


STEPS_ON_ACCELERATOR = 64

CASES: dict[BenchmarkCase, Case] = {
    "main": Case(compiled=True),
    "batch_32": Case(batch=32),
    "batch_128": Case(batch=128),
    "size_128": Case(size=128, batch=16),
    "plain": Case(depthwise=False),
}


def measured_cases(options: Benchmark, on_cpu: bool) -> list[Case]:
    """What is measured: the main case in every arithmetic, the others in the last."""
    arithmetics = arithmetics_of(options, on_cpu)
    steps = steps_of(on_cpu)
    return [
        replace(case, arithmetic=arithmetic, steps=steps, compiled=case.compiled and options.compiled)
        for name, case in CASES.items()
        if name in options.cases
        for arithmetic in (arithmetics if name == "main" else arithmetics[-1:])
    ]


def arithmetics_of(options: Benchmark, on_cpu: bool) -> tuple[Arithmetic, ...]:
    """How products are computed."""
    return options.arithmetics or (("float32",) if on_cpu else ("float32", "tf32", "bf16"))


def steps_of(on_cpu: bool) -> int:
    """How many steps a timing is of."""
    return CASES["main"].steps if on_cpu else STEPS_ON_ACCELERATOR


def epoch_seconds(images: int, arithmetic: Arithmetic) -> float:
    """Seconds of a whole epoch of images of 32 px, batch 64, as one dispatch; the second one, when all is compiled."""
    import jax
    import numpy as np

    from sagan_jax.config import SaganConfig, TrainingConfig
    from sagan_jax.methods.sagan import sagan
    from sagan_jax.training.loop import fit

    use(arithmetic)
    detector, shape = sagan(SaganConfig(precision=precision_of(arithmetic))), (32, 32, 3)
    pixels = np.random.default_rng(0).integers(0, 256, (images, *shape), np.uint8)
    training = TrainingConfig(epochs=2, batch_size=64)
    epochs = fit(detector, detector.init(jax.random.key(0), shape), pixels, training)
    jax.block_until_ready(next(epochs))
    return timed(lambda: jax.block_until_ready(next(epochs)))


def many_models(models: int, steps: int, arithmetic: Arithmetic, rounds: int) -> dict[str, float]:
    """Images a second of that many models at 32 px, batch 32: one after the other, in turn, side by side."""
    from experiments import many

    use(arithmetic)
    seconds = in_turn(many.calls(many.ManyCase(32, 64, 32, models), steps, precision_of(arithmetic)), rounds)
    return {name: models * steps * 32 / statistics.median(values) for name, values in seconds.items()}


def matmul_peak(arithmetic: Arithmetic = "float32") -> float:
    """GFLOP/s of a large matrix product, the best of several: what the machine can do."""
    import jax
    import jax.numpy as jnp

    use(arithmetic)
    n = 2048 if torch_device() == "cpu" else 8192
    a = jnp.ones((n, n), jnp.bfloat16 if arithmetic == "bf16" else jnp.float32)
    product = jax.jit(lambda a: a @ a)
    product(a).block_until_ready()
    return 2 * n**3 / min(timed(lambda: product(a).block_until_ready()) for _ in range(8)) / 1e9


def peak_memory(side: str, case: Case) -> int:
    """MiB that a process of its own takes at most, of a GPU if it has one, in which one side trains for a few steps."""
    name = "ours" if side == "our" else "PyTorch channels-last"
    program = (
        "from experiments.benchmark import device_peak_memory, start_beside_torch\n"
        "from experiments.benchmark_sides import Case, our_calls, peer_calls\n"
        "from experiments.timing import own_peak_memory\n"
        f"start_beside_torch({torch_device()!r})\n"
        f"{side}_calls({replace(case, compiled=False)!r})[0][{name!r}]()\n"
        f"print(device_peak_memory({side!r}) or own_peak_memory())"
    )
    result = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return int(result.stdout)


def start_beside_torch(device: str = "auto") -> str:
    """Starts JAX, which leaves the GPU's memory to PyTorch too; the device in words."""
    from sagan_jax import device as devices

    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    return devices.start({"cuda": "gpu"}.get(device, device))


def device_peak_memory(side: str) -> int | None:
    """MiB of a GPU that this process had at most; None on a CPU."""
    import jax

    if torch_device() == "cpu":
        return None
    if side == "our":
        return round((jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0) / 2**20)
    import torch

    return round(torch.cuda.max_memory_allocated() / 2**20)


def measure(case: Case, rounds: int, card: str) -> dict[str, Any]:
    """One case: images a second, ratios with their spread over rounds, GFLOP/s, compile times, memory."""
    product, data_sheet = matmul_peak(case.arithmetic), peak(card, case.arithmetic)
    differences = same_function(case)
    ours, compile_times = our_calls(case)
    with flushed_denormals():
        theirs, flops = peer_calls(case)
        seconds = in_turn(ours | theirs, rounds)
    rates = {name: case.steps * case.batch / statistics.median(values) for name, values in seconds.items()}

    def ratio(mine: str, peers: list[str]) -> dict[str, Any] | None:
        if not peers:
            return None
        best = max(peers, key=lambda name: rates[name])  # PyTorch in whatever form it is fastest here
        by_round = [theirs / ours for theirs, ours in zip(seconds[best], seconds[mine], strict=True)]
        return {"against": best, "median": statistics.median(by_round), "low": min(by_round), "high": max(by_round)}

    eager = [name for name in theirs if "scoring" not in name and "compiled" not in name]
    gflops = flops / case.batch * rates["ours"] / 1e9
    return {
        "case": asdict(case),
        "greatest_difference": differences,
        "images_per_second": {name: round(rate, 2) for name, rate in rates.items()},
        "train_ratio_eager": ratio("ours", eager),
        "train_ratio_compiled": ratio("ours", [name for name in theirs if "compiled" in name]),
        "score_ratio_eager": ratio("ours, scoring", [name for name in theirs if "scoring" in name]),
        "gflop_per_image": flops / case.batch / 1e9,
        "gflops": gflops,
        "matmul_gflops": product,
        "share_of_matmul_peak": gflops / product,
        "share_of_data_sheet": data_sheet and gflops / 1e3 / data_sheet,
        **compile_times,
        "peak_memory_mib": {"ours": peak_memory("our", case), "PyTorch channels-last": peak_memory("peer", case)},
    }


def show(result: dict[str, Any]) -> str:
    """One case as text."""
    case = result["case"]
    kind = "with DSCs" if case["depthwise"] else "without DSCs"
    lines = [f"{case['size']} px, batch {case['batch']}, {kind}, {case['arithmetic']}"]
    lines += [f"  {name:<34}{rate:>9.1f} images/s" for name, rate in result["images_per_second"].items()]
    for name in ("train_ratio_eager", "train_ratio_compiled", "score_ratio_eager"):
        if ratio := result[name]:
            spread = f"{ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})"
            lines.append(f"  {name:<34}{spread} against {ratio['against']}")
    lines.append(f"  {result['gflops']:.0f} GFLOP/s, {result['share_of_matmul_peak']:.0%} of a matrix product's")
    if share := result["share_of_data_sheet"]:
        lines[-1] += f", {share:.1%} of the card's peak"
    lines.append(f"  first step {result['first_step']:.1f} s, from the cache {result['first_step_cached']:.1f} s")
    return "\n".join([*lines, f"  peak memory, MiB: {result['peak_memory_mib']}"])


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the experiment as a command; returns the exit code, see `sagan_jax.exit_codes.guarded`."""
    return run_experiment(Benchmark, "benchmark", argv)


if __name__ == "__main__":
    raise SystemExit(main())
