"""Speed of a training step and of scoring, against the same SAGAN in PyTorch, in one run.

    pip install -e '.[benchmark]' -c constraints.txt
    python -m experiments.benchmark

Both are first shown to compute the same function. Then they are timed in turn, round by round, so that a machine that
slows down slows down both, and medians are compared. PyTorch runs eagerly, contiguous and channels-last, and compiled.

Half an hour on 2 cores; `--quick` measures 32 px, batch 64 alone. Expect 2.4 times the training speed of eager PyTorch
and 2.2 times its scoring speed at 32 px, batch 64 (docs/performance.md).
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

from sagan_jax.flags import run_experiment


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is measured once."""

    size: int = 32
    batch: int = 64
    depthwise: bool = True
    compiled: bool = False


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Measure training and scoring against the same SAGAN in PyTorch."""

    quick: bool = False
    """Only 32 px, batch 64, with depthwise-separable convolutions."""
    rounds: int = 5
    """How often each is timed."""
    compiled: bool = True
    """Measure `torch.compile` too, at 32 px and batch 64; it needs a C++ compiler."""
    out: Path = Path("experiments/results/benchmark.json")
    """The JSON file."""

    def __call__(self) -> None:
        """Measures, prints and writes."""
        from sagan_jax import device
        from sagan_jax.run_folder import write_json
        from sagan_jax.runs.provenance import command, provenance

        machine = device.start()
        cases = (MAIN,) if self.quick else CASES
        peak = matmul_peak()
        print(f"{machine}: a large matrix product runs at {peak:.0f} GFLOP/s", flush=True)
        results = []
        for case in cases:
            results.append(measure(replace(case, compiled=case.compiled and self.compiled), self.rounds, peak))
            print(show(results[-1]), flush=True)
            headline = {
                name: results[0][name] and results[0][name]["median"]
                for name in ("train_ratio_eager", "train_ratio_compiled", "score_ratio_eager")
            }
            made = provenance(command(), machine)
            about = {"device": machine, "matmul_peak_gflops": peak, "provenance": made}
            write_json(self.out, headline | about | {"cases": results})


STEPS = 4
"""Training steps, or batches scored, a timing: in training too, many steps make one call."""

MAIN = Case(compiled=True)
CASES = (
    MAIN,
    Case(batch=32),
    Case(batch=128),
    Case(size=128, batch=16),
    Case(depthwise=False),
)


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
    from sagan_jax.methods.sagan import Discriminator, SaganGenerator, sagan

    config = SaganConfig(depthwise=case.depthwise)
    state = sagan(config).init(jax.random.key(0), (case.size, case.size, 3))
    images = np.random.default_rng(0).uniform(-1, 1, (4, case.size, case.size, 3)).astype(np.float32)
    multiplier = config.depth_multiplier if case.depthwise else 0
    peers = torch_peer.TorchGenerator(3, multiplier), torch_peer.TorchDiscriminator(3, case.size)
    torch_peer.copy_generator(jax.device_get(state.generator.params), peers[0])
    torch_peer.copy_discriminator(jax.device_get(state.discriminator.params), peers[1])

    def ours(module: Any, player: Any) -> Any:
        return jax.jit(lambda x: apply_training(module, player.params, player.statistics, x)[0])(images)

    reconstructed = ours(SaganGenerator(3, multiplier=multiplier), state.generator)
    latent = ours(Discriminator(), state.discriminator)[1]
    with torch.no_grad():
        x = torch.from_numpy(images).permute(0, 3, 1, 2)
        their_reconstructed, their_latent = peers[0](x).permute(0, 2, 3, 1).numpy(), peers[1](x)[1].numpy()
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
    from sagan_jax.judging.scoring import score_images
    from sagan_jax.methods.sagan import sagan
    from sagan_jax.training.loop import PLAIN_STEP, run_steps, start_totals
    from sagan_jax.training.plan import plan_epoch

    detector = sagan(SaganConfig(depthwise=case.depthwise))
    state = detector.init(jax.random.key(0), (case.size, case.size, 3))
    pixels = np.random.default_rng(0).integers(0, 256, (case.batch * STEPS, case.size, case.size, 3), np.uint8)
    images = jax.device_put(pixels)
    plan = plan_epoch(jax.random.key(1), 0, len(images), case.batch)
    held = {"state": state, "totals": start_totals(detector, state, images, plan, PLAIN_STEP)}

    def train(steps: int = STEPS) -> None:
        held["state"], held["totals"] = run_steps(detector, held["state"], held["totals"], images, plan, 0, steps)
        jax.block_until_ready(held)

    def score() -> None:
        score_images(detector, held["state"], pixels, batch_size=case.batch)

    first = timed(lambda: train(1))  # compiles, unless the cache on disk has it
    jax.clear_caches()
    return {"ours": train, "ours, scoring": score}, {"first_step": first, "first_step_cached": timed(lambda: train(1))}


def peer_calls(case: Case) -> tuple[dict[str, Callable[[], Any]], float]:
    """PyTorch's training step and scoring, eager in both layouts and compiled; and the step's arithmetic in FLOP."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from experiments import torch_peer

    torch.set_num_threads(os.cpu_count() or 1)
    torch.set_flush_denormal(True)
    calls: dict[str, Callable[[], Any]] = {}
    for layout, name in ((torch.contiguous_format, "contiguous"), (torch.channels_last, "channels-last")):
        networks = torch_peer.build_peer(case.size, 2 if case.depthwise else 0)
        for network in networks:
            network.to(memory_format=layout)  # pyright: ignore[reportCallIssue]
        x = torch.rand(case.batch, 3, case.size, case.size).to(memory_format=layout) * 2 - 1
        step = torch_peer.training_step(*networks, networks)
        calls[f"PyTorch {name}"] = lambda step=step, x=x: [step(x) for _ in range(STEPS)]

        def score(networks: Any = networks, x: Any = x) -> None:
            for network in networks:
                network.eval()
            for _ in range(STEPS):
                torch_peer.score(*networks, x)
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
        networks = torch_peer.build_peer(case.size, 2 if case.depthwise else 0)
        for network in networks:
            network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        compiled = [torch.compile(network) for network in networks]
        step = torch_peer.training_step(compiled[0], compiled[1], networks)
        x = torch.rand(case.batch, 3, case.size, case.size).to(memory_format=torch.channels_last) * 2 - 1
        calls["PyTorch compiled"] = lambda: [step(x) for _ in range(STEPS)]
    return calls, flops


def matmul_peak() -> float:
    """GFLOP/s of a large float32 matrix product, the best of several: what the machine can do."""
    import jax
    import jax.numpy as jnp

    n = 2048
    a = jnp.ones((n, n))
    product = jax.jit(lambda a: a @ a)
    product(a).block_until_ready()
    return 2 * n**3 / min(timed(lambda: product(a).block_until_ready()) for _ in range(8)) / 1e9


def peak_memory(side: str, case: Case) -> int:
    """MiB that a process of its own takes at most, in which one side trains for a few steps (Linux)."""
    name = "ours" if side == "our" else "PyTorch channels-last"
    program = (
        "from experiments.benchmark import *\n"
        f"calls = {side}_calls(replace({case!r}, compiled=False))[0]\n"
        f"step = calls[{name!r}]\n"
        "step()\n"
        "print(own_peak_memory())"
    )
    result = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return int(result.stdout)


def own_peak_memory() -> int:
    """MiB that this process had at most (Linux). getrusage would count its parent's at the fork; VmHWM does not."""
    with Path("/proc/self/status").open() as file:
        return round(next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024)


def measure(case: Case, rounds: int, peak: float) -> dict[str, Any]:
    """One case: images a second, ratios with their spread over rounds, GFLOP/s, compile times, memory."""
    differences = same_function(case)
    ours, compile_times = our_calls(case)
    theirs, flops = peer_calls(case)
    seconds = in_turn(ours | theirs, rounds)
    rates = {name: STEPS * case.batch / statistics.median(values) for name, values in seconds.items()}

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
        "share_of_matmul_peak": gflops / peak,
        **compile_times,
        "peak_memory_mib": {"ours": peak_memory("our", case), "PyTorch channels-last": peak_memory("peer", case)},
    }


def show(result: dict[str, Any]) -> str:
    """One case as text."""
    case = result["case"]
    kind = "with DSCs" if case["depthwise"] else "without DSCs"
    lines = [f"{case['size']} px, batch {case['batch']}, {kind}"]
    lines += [f"  {name:<34}{rate:>9.1f} images/s" for name, rate in result["images_per_second"].items()]
    for name in ("train_ratio_eager", "train_ratio_compiled", "score_ratio_eager"):
        if ratio := result[name]:
            spread = f"{ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})"
            lines.append(f"  {name:<34}{spread} against {ratio['against']}")
    lines.append(f"  {result['gflops']:.0f} GFLOP/s, {result['share_of_matmul_peak']:.0%} of a matrix product's")
    lines.append(f"  first step {result['first_step']:.1f} s, from the cache {result['first_step_cached']:.1f} s")
    return "\n".join([*lines, f"  peak memory, MiB: {result['peak_memory_mib']}"])


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the experiment as a command; returns the exit code, see `sagan_jax.exit_codes.guarded`."""
    return run_experiment(Benchmark, "benchmark", argv)


if __name__ == "__main__":
    raise SystemExit(main())
