"""Speed of a training step and of scoring, against the same SAGAN in PyTorch, in one run.

    pip install -e '.[benchmark]' -c constraints.txt
    python -m experiments.benchmark

Both are first shown to compute the same function. Then they are timed in turn, round by round, so that a machine that
slows down slows down both, and medians are compared. PyTorch runs eagerly, contiguous and channels-last, and compiled.

A step of the preset for inspection is timed as well, and the part of it that damage takes.

Half an hour on 2 cores; `--quick` measures 32 px, batch 64 alone. Expect 2.4 times the training speed of eager PyTorch
and 2.2 times its scoring speed at 32 px, batch 64 (docs/performance.md).

On a GPU both sides multiply float32 alike, exactly or by TF32, and a third time the networks run in bf16. There the
share of the card's peak is printed too, the seconds of an epoch of CIFAR-10, and the images a second of ten models that
train as one program. `--arithmetics`, `--epoch-images` and `--models` ask for the same on a CPU.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from experiments.cards import Arithmetic, flushed_denormals, peak, use
from experiments.restoration_step import restoration_step
from sagan_jax.config import Device
from sagan_jax.flags import run_experiment


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is measured once."""

    size: int = 32
    batch: int = 64
    depthwise: bool = True
    compiled: bool = False
    arithmetic: Arithmetic = "float32"
    steps: int = 4
    """Training steps, or batches scored, a timing: in training too, many steps make one call."""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Measure training and scoring against the same SAGAN in PyTorch."""

    quick: bool = False
    """Only 32 px, batch 64, with depthwise-separable convolutions."""
    rounds: int = 5
    """How often each is timed."""
    compiled: bool = True
    """Measure `torch.compile` too, at 32 px and batch 64; it needs a C++ compiler."""
    device: Device = "auto"
    """Where both sides run; auto takes an accelerator where there is one."""
    arithmetics: tuple[Arithmetic, ...] | None = None
    """How products are computed; by default float32 on a CPU, and all three on an accelerator."""
    epoch_images: int | None = None
    """Time a whole epoch of so many images of 32 px; 0 is none. By default 45,000 on an accelerator, none on a CPU."""
    models: int | None = None
    """Time so many models as one program; 0 is none. By default 10 on an accelerator, none on a CPU."""
    out: Path = Path("experiments/results/benchmark.json")
    """The JSON file."""

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
            headline = {
                name: results[0][name] and results[0][name]["median"]
                for name in ("train_ratio_eager", "train_ratio_compiled", "score_ratio_eager")
            }
            write_json(self.out, headline | everything | {"cases": results})
        arithmetics = list(dict.fromkeys(case.arithmetic for case in chosen))
        images, models = (
            default * (not on_cpu) if value is None else value
            for value, default in ((self.epoch_images, 45_000), (self.models, 10))
        )
        if not self.quick:
            step = everything["restoration_step"] = restoration_step(self.rounds)
            said = f"{step['images_per_second']:.1f} images/s, {step['damage_share']['median']:.1%} of it damage"
            print(f"a step of the inspection preset, {step['size']} px, batch {step['batch']}: {said}", flush=True)
            write_json(self.out, headline | everything | {"cases": results})
        for arithmetic in arithmetics if images else ():
            seconds = epoch_seconds(images, arithmetic)
            everything.setdefault("epoch_seconds", {"images": images})[arithmetic] = round(seconds, 3)
            print(f"an epoch of {images:,} images, batch 64, {arithmetic}: {seconds:.2f} s", flush=True)
            write_json(self.out, headline | everything | {"cases": results})
        for arithmetic in arithmetics if models else ():
            rates = many_models(models, chosen[0].steps, arithmetic, self.rounds)
            everything.setdefault("many_models", {"models": models})[arithmetic] = rates
            said = ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items())
            print(f"{models} models, batch 32, {arithmetic}, images/s of all: {said}", flush=True)
            write_json(self.out, headline | everything | {"cases": results})


STEPS_ON_ACCELERATOR = 64

MAIN = Case(compiled=True)
CASES = (
    MAIN,
    Case(batch=32),
    Case(batch=128),
    Case(size=128, batch=16),
    Case(depthwise=False),
)


def measured_cases(options: Benchmark, on_cpu: bool) -> list[Case]:
    """What is measured: the main case in every arithmetic, the others in the last."""
    arithmetics = options.arithmetics or (("float32",) if on_cpu else ("float32", "tf32", "bf16"))
    steps = MAIN.steps if on_cpu else STEPS_ON_ACCELERATOR
    chosen = [replace(MAIN, arithmetic=arithmetic) for arithmetic in arithmetics]
    if not options.quick:
        chosen += [replace(case, arithmetic=arithmetics[-1]) for case in CASES[1:]]
    return [replace(case, steps=steps, compiled=case.compiled and options.compiled) for case in chosen]


def torch_device() -> str:
    """Where PyTorch runs: where JAX does."""
    import jax

    on_cpu = jax.default_backend() == "cpu" or getattr(jax.config.jax_default_device, "platform", "") == "cpu"
    return "cpu" if on_cpu else "cuda"


def timed(call: Callable[[], Any]) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def in_turn(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each call in each round; a first round to warm up is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for i in range(rounds + 1):
        for name, call in calls.items():
            taken = timed(call)
            if i:
                seconds[name].append(taken)
    return seconds


def same_function(case: Case) -> dict[str, float]:
    """The greatest differences of reconstruction and latent with copied weights, in training mode.

    Raises:
        AssertionError: If one is 1e-4 or more.
    """
    import jax
    import numpy as np
    import torch

    from experiments import torch_peer
    from sagan_jax.config import SaganConfig
    from sagan_jax.methods.adversarial import apply_training
    from sagan_jax.methods.dcgan import Discriminator
    from sagan_jax.methods.sagan import SaganGenerator, sagan

    use("float32")
    config, where = SaganConfig(depthwise=case.depthwise), torch_device()
    state = sagan(config).init(jax.random.key(0), (case.size, case.size, 3))
    images = np.random.default_rng(0).uniform(-1, 1, (4, case.size, case.size, 3)).astype(np.float32)
    multiplier = config.depth_multiplier if case.depthwise else 0
    peers = torch_peer.TorchGenerator(3, multiplier).to(where), torch_peer.TorchDiscriminator(3, case.size).to(where)
    torch_peer.copy_generator(jax.device_get(state.generator.params), peers[0])
    torch_peer.copy_discriminator(jax.device_get(state.discriminator.params), peers[1])

    def ours(module: Any, player: Any) -> Any:
        return jax.jit(lambda x: apply_training(module, player.params, player.statistics, x)[0])(images)

    reconstructed = ours(SaganGenerator(3, multiplier=multiplier), state.generator)
    latent = ours(Discriminator(), state.discriminator)[1]
    with torch.no_grad():
        x = torch.from_numpy(images).permute(0, 3, 1, 2).to(where)
        their_reconstructed, their_latent = peers[0](x).permute(0, 2, 3, 1).cpu().numpy(), peers[1](x)[1].cpu().numpy()
    differences = {
        "reconstruction": float(np.abs(np.asarray(reconstructed) - their_reconstructed).max()),
        "latent": float(np.abs(np.asarray(latent) - their_latent).max()),
    }
    assert max(differences.values()) < 1e-4, differences
    return differences


def our_calls(case: Case) -> tuple[dict[str, Callable[[], Any]], dict[str, float]]:
    """A training step, in the very loop that trains, and scoring; with compile times."""
    import jax
    import numpy as np

    from sagan_jax.config import SaganConfig
    from sagan_jax.judging.scoring import score_batch, score_images
    from sagan_jax.methods.sagan import sagan
    from sagan_jax.training.loop import PLAIN_STEP, run_steps, start_totals
    from sagan_jax.training.plan import plan_epoch

    use(case.arithmetic)
    detector = sagan(SaganConfig(depthwise=case.depthwise, precision=_precision(case.arithmetic)))
    state = detector.init(jax.random.key(0), (case.size, case.size, 3))
    pixels = np.random.default_rng(0).integers(0, 256, (case.batch * case.steps, case.size, case.size, 3), np.uint8)
    images = jax.device_put(pixels)
    plan = plan_epoch(jax.random.key(1), 0, len(images), case.batch)
    held = {"state": state, "totals": start_totals(detector, state, images, plan, PLAIN_STEP)}

    def train(steps: int = case.steps) -> None:
        held["state"], held["totals"] = run_steps(detector, held["state"], held["totals"], images, plan, 0, steps)
        jax.block_until_ready(held)

    def score() -> None:
        if torch_device() == "cpu":
            score_images(detector, held["state"], pixels, batch_size=case.batch)
        else:  # PyTorch's batches are on the device too
            batches = (images[i : i + case.batch] for i in range(0, len(images), case.batch))
            jax.block_until_ready([score_batch(detector, held["state"], batch) for batch in batches])

    first = timed(lambda: train(1))  # compiles, unless the cache on disk has it
    jax.clear_caches()
    return {"ours": train, "ours, scoring": score}, {"first_step": first, "first_step_cached": timed(lambda: train(1))}


def peer_calls(case: Case) -> tuple[dict[str, Callable[[], Any]], float]:
    """PyTorch's training step and scoring, eager in both layouts and compiled; and the step's arithmetic in FLOP."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from experiments import torch_peer

    torch.set_num_threads(os.cpu_count() or 1)
    torch.backends.cudnn.benchmark = True
    use(case.arithmetic)
    where = torch_device()

    def built(layout: torch.memory_format) -> tuple[Any, Any, Any]:
        networks = torch_peer.build_peer(case.size, 2 if case.depthwise else 0)
        for network in networks:
            network.to(device=where, memory_format=layout)
        x = torch.rand(case.batch, 3, case.size, case.size, device=where).to(memory_format=layout) * 2 - 1
        return *networks, x

    def repeated(call: Callable[[Any], Any], x: Any) -> Callable[[], None]:
        def steps() -> None:
            with torch.autocast(where, torch.bfloat16, enabled=case.arithmetic == "bf16"):
                for _ in range(case.steps):
                    call(x)
            if where == "cuda":
                torch.cuda.synchronize()

        return steps

    calls: dict[str, Callable[[], Any]] = {}
    for layout, name in ((torch.contiguous_format, "contiguous"), (torch.channels_last, "channels-last")):
        *networks, x = built(layout)
        calls[f"PyTorch {name}"] = repeated(torch_peer.training_step(*networks, tuple(networks)), x)
        scoring = repeated(lambda x, networks=networks: torch_peer.score(*networks, x), x)

        def score(networks: Any = networks, scoring: Any = scoring) -> None:
            for network in networks:
                network.eval()
            scoring()
            for network in networks:
                network.train()

        calls[f"PyTorch {name}, scoring"] = score
    # A pass costs as much again by each of what it is differentiated by: the generator by image and weights; the
    # discriminator by its weights on real images, by image and weights on generated ones.
    flops = 0.0
    for network, passes in zip(torch_peer.build_peer(case.size, 2 if case.depthwise else 0), (3, 2 + 3), strict=True):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(torch.zeros(case.batch, 3, case.size, case.size))
        flops += passes * counter.get_total_flops()
    if case.compiled:
        *networks, x = built(torch.channels_last)
        compiled = [torch.compile(network) for network in networks]
        calls["PyTorch compiled"] = repeated(torch_peer.training_step(*compiled, tuple(networks)), x)
    return calls, flops


def _precision(arithmetic: Arithmetic) -> Any:
    """The networks' setting for an arithmetic."""
    return "bf16" if arithmetic == "bf16" else "float32"


def epoch_seconds(images: int, arithmetic: Arithmetic) -> float:
    """Seconds of a whole epoch of images of 32 px, batch 64, as one dispatch; the second one, when all is compiled."""
    import jax
    import numpy as np

    from sagan_jax.config import SaganConfig, TrainingConfig
    from sagan_jax.methods.sagan import sagan
    from sagan_jax.training.loop import fit

    use(arithmetic)
    detector, shape = sagan(SaganConfig(precision=_precision(arithmetic))), (32, 32, 3)
    pixels = np.random.default_rng(0).integers(0, 256, (images, *shape), np.uint8)
    training = TrainingConfig(epochs=2, batch_size=64)
    epochs = fit(detector, detector.init(jax.random.key(0), shape), pixels, training)
    jax.block_until_ready(next(epochs))
    return timed(lambda: jax.block_until_ready(next(epochs)))


def many_models(models: int, steps: int, arithmetic: Arithmetic, rounds: int) -> dict[str, float]:
    """Images a second of so many models at 32 px, batch 32: one after the other, in turn, side by side."""
    from experiments import many

    use(arithmetic)
    seconds = in_turn(many.calls(many.ManyCase(32, 64, 32, models), steps, _precision(arithmetic)), rounds)
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
        "from experiments.benchmark import *\n"
        f"start_beside_torch({torch_device()!r})\n"
        f"calls = {side}_calls(replace({case!r}, compiled=False))[0]\n"
        f"step = calls[{name!r}]\n"
        "step()\n"
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


def own_peak_memory() -> int:
    """MiB that this process had at most (Linux). getrusage would count its parent's at the fork; VmHWM does not."""
    with Path("/proc/self/status").open() as file:
        return round(next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024)


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
