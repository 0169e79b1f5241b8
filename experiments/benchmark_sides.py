"""The two sides of `experiments.benchmark`: the training step and the scoring of SAGAN here, and in PyTorch."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from experiments.cards import Arithmetic, use
from experiments.timing import timed


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


def torch_device() -> str:
    """Where PyTorch runs: where JAX does."""
    from sagan_jax.ops import native

    return "cpu" if native.for_cpu() else "cuda"


def precision_of(arithmetic: Arithmetic) -> Any:
    """The networks' setting for an arithmetic."""
    return "bf16" if arithmetic == "bf16" else "float32"


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
    detector = sagan(SaganConfig(depthwise=case.depthwise, precision=precision_of(case.arithmetic)))
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
