"""The weights of SAGAN in PyTorch, as its authors' code names them, read into a state that scores; and the way back.

The generator's names are those of the SmaAt-UNet family (`inc.double_conv.0.depthwise.weight`), the discriminator's
DCGAN's (`feat.pyramid-64-128-conv.weight`). PyTorch has channels first, and the copies a depthwise convolution makes of
a channel lie innermost there, outermost here.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from sagan_jax.atomic_file import replacing
from sagan_jax.config import SaganConfig, sagan_preset
from sagan_jax.detector import Detector, State, abstract_state
from sagan_jax.errors import UserError, one_line, printable
from sagan_jax.export.weights import check_tensors
from sagan_jax.methods.adversarial import AdversarialState, Player
from sagan_jax.methods.sagan import sagan

Tensors = dict[str, np.ndarray]
Rules = tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]

_GENERATOR: Rules = (
    (r"^encoder1\.", "inc.double_conv."),
    (r"^encoder(\d)\.", lambda found: f"down{int(found[1]) - 1}.maxpool_conv.1.double_conv."),
    (r"^decoder(\d)\.", lambda found: f"up{5 - int(found[1])}.conv.double_conv."),
    (r"^attention(\d)\.channel\.Dense_0\.", r"cbam\1.channel_att.MLP.1."),
    (r"^attention(\d)\.channel\.Dense_1\.", r"cbam\1.channel_att.MLP.3."),
    (r"^attention(\d)\.spatial\.Conv_0\.Conv_0\.", r"cbam\1.spatial_att.conv."),
    (r"^attention(\d)\.spatial\.BatchNorm_0\.", r"cbam\1.spatial_att.bn."),
    (r"^out\.Conv_0\.", "outc.conv."),
    (r"\.DepthwiseSeparableConv_(\d)\.(\w+)_", lambda found: f".{3 * int(found[1])}.{found[2]}."),
    (r"\.Conv_(\d)\.Conv_0\.", lambda found: f".{3 * int(found[1])}."),
    (r"\.BatchNorm_(\d)\.", lambda found: f".{3 * int(found[1]) + 1}."),
)
_DISCRIMINATOR: Rules = (
    (r"^conv1\.", "feat.initial-conv-{inputs}-{outputs}."),
    (r"^conv\d\.", "feat.pyramid-{inputs}-{outputs}-conv."),
    (r"^norm\d\.", "feat.pyramid-{outputs}-batchnorm."),
    (r"^latent\.Conv_0\.", "feat.final-{inputs}-1-conv."),
    (r"^classifier\.Conv_0\.", "clas.classifier."),
)
_LEAVES: Rules = (
    (r"\.(kernel|scale)$", ".weight"),
    (r"\.mean$", ".running_mean"),
    (r"\.var$", ".running_var"),
)
_COUNTER = "num_batches_tracked"
"""PyTorch's count of the batches a BatchNorm has seen; not part of its result."""


class Imported(NamedTuple):
    """A SAGAN made of PyTorch's weights.

    Attributes:
        config: Its settings: what the tensors' shapes tell, the rest as given.
        image_shape: [H, W, C] of the images it takes.
        detector: Its pure functions.
        state: The weights, with optimisers that have not begun; it scores, and can be trained on.
    """

    config: SaganConfig
    image_shape: tuple[int, int, int]
    detector: Detector
    state: AdversarialState


class StateDicts(NamedTuple):
    """Both networks' `state_dict`s, for `load_state_dict`."""

    generator: dict[str, Any]
    discriminator: dict[str, Any]


class Place(NamedTuple):
    """Where a tensor of PyTorch's lies here, and how.

    Attributes:
        collection: "params" or "statistics".
        leaf: Which leaf of it, in the order of `jax.tree`.
        axes: The order of our axes there.
        ordered: The shape with the axes in that order.
        shape: The shape there: as ordered, some of the axes merged.
    """

    collection: str
    leaf: int
    axes: tuple[int, ...]
    ordered: tuple[int, ...]
    shape: tuple[int, ...]


def places(player: Player, rules: Rules) -> dict[str, Place]:
    """Where each tensor of one network lies, by PyTorch's name; needs no more than the shapes of the player."""
    found = {}
    for collection in ("params", "statistics"):
        leaves = jax.tree_util.tree_leaves_with_path(getattr(player, collection))
        for index, (path, leaf) in enumerate(leaves):
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            for pattern, replacement in (*rules, *_LEAVES):
                name = re.sub(pattern, replacement, name)
            name = name.format(inputs=leaf.shape[-2] if leaf.ndim > 1 else 0, outputs=leaf.shape[-1])
            axes = order(path[-1].key, leaf.ndim)
            ordered = tuple(leaf.shape[axis] for axis in axes)
            found[name] = Place(collection, index, axes, ordered, _merged(path[-1].key, ordered))
    return found


def order(leaf: str, rank: int) -> tuple[int, ...]:
    """The order PyTorch has the axes of a leaf of this name in."""
    if leaf in ("kernel", "depthwise_kernel") and rank == 4:
        return (3, 2, 0, 1)  # [H, W, I, O] to [O, I, H, W]; [3, 3, k, C] to [C, k, 3, 3]
    return tuple(reversed(range(rank)))  # [k, C, O] to [O, C, k], [I, O] to [O, I]


def _merged(leaf: str, ordered: tuple[int, ...]) -> tuple[int, ...]:
    """The shape PyTorch has it in: a channel and its copies are one axis there."""
    if leaf == "depthwise_kernel":
        return (ordered[0] * ordered[1], 1, 3, 3)
    if leaf == "depthwise_bias":
        return (ordered[0] * ordered[1],)
    if leaf == "pointwise_kernel":
        return (ordered[0], ordered[1] * ordered[2], 1, 1)
    return ordered


def load_torch(
    generator: Mapping[str, Any] | str | Path,
    discriminator: Mapping[str, Any] | str | Path,
    config: SaganConfig | None = None,
) -> Imported:
    """Reads the PyTorch weights of a SAGAN.

    Width, depth multiplier, depthwise-separable or plain convolutions, attention, latent size, channels and image size
    are told by the shapes. A prefix `module.` (of DataParallel) and a dictionary around the weights that has them as
    `state_dict` are seen through. Statistics come as they are, so strict scores are PyTorch's in evaluation mode.

    Args:
        generator: Its `state_dict`, or a file: safetensors, or one of `torch.save`, read with `weights_only=True`.
        discriminator: The same of the discriminator.
        config: What no shape tells: pooling, the score's weights, training. By default the authors' code's
            (`sagan_preset("reference")`), which has SoftPool; for weights trained with max pooling say so.

    Returns:
        A detector with a state that scores.

    Raises:
        UserError: If a file cannot be read, or a tensor is missing, extra or mis-shaped; the message names it.
    """
    config = config or sagan_preset("reference")
    if config.repair.restoration:
        raise UserError("weights of PyTorch are of a SAGAN as published; take settings without restoration")
    tensors = read(generator, "generator"), read(discriminator, "discriminator")
    config, image_shape = _inferred(*tensors, config)
    detector = sagan(config)
    like: AdversarialState = abstract_state(detector, image_shape)
    there = places(like.generator, _GENERATOR), places(like.discriminator, _DISCRIMINATOR)
    for what, network, wanted in zip(("generator", "discriminator"), tensors, there, strict=True):
        shapes = {name: jax.ShapeDtypeStruct(place.shape, np.float32) for name, place in wanted.items()}
        check_tensors(f"the {what}", network, shapes)
        for name, values in network.items():
            if np.iscomplexobj(values) or not np.isfinite(np.asarray(values, np.float32)).all():
                raise UserError(f"the {what} has values in {name} that are not finite float32 numbers")
            if name.endswith("running_var") and (np.asarray(values) < 0).any():
                raise UserError(f"the {what} has variances below 0 in {name}")
    state: AdversarialState = detector.init(jax.random.key(0), image_shape)  # for optimisers that have not begun
    players = (
        filled(player, network, wanted)
        for player, network, wanted in zip((state.generator, state.discriminator), tensors, there, strict=True)
    )
    return Imported(config, image_shape, detector, AdversarialState(state.step, *players))


def filled(player: Player, tensors: Tensors, there: Mapping[str, Place]) -> Player:
    """The player with these tensors as its parameters and statistics."""
    leaves = {name: list(jax.tree.leaves(getattr(player, name))) for name in ("params", "statistics")}
    for name, place in there.items():
        values = tensors[name].reshape(place.ordered).transpose(np.argsort(place.axes))
        leaves[place.collection][place.leaf] = jax.numpy.asarray(values)
    return player._replace(
        **{name: jax.tree.unflatten(jax.tree.structure(getattr(player, name)), leaves[name]) for name in leaves}
    )


def _inferred(
    generator: Tensors, discriminator: Tensors, config: SaganConfig
) -> tuple[SaganConfig, tuple[int, int, int]]:
    """The settings and the image shape that the shapes tell; raises UserError if there is no tensor to tell one by."""

    def size(tensors: Tensors, what: str, name: str, axis: int) -> int:
        if name not in tensors or tensors[name].ndim <= axis:
            raise UserError(f"the {what} does not fit: {name} is missing")
        return tensors[name].shape[axis]

    width = size(generator, "generator", "inc.double_conv.1.weight", 0)
    depthwise = any(".depthwise." in name for name in generator)
    copies = size(generator, "generator", "inc.double_conv.3.depthwise.weight", 0) if depthwise else width
    found = {
        "width": width,
        "depthwise": depthwise,
        "depth_multiplier": max(1, copies // max(1, width)) if depthwise else config.depth_multiplier,
        "attention": any(name.startswith("cbam") for name in generator),
        "latent_size": size(discriminator, "discriminator", "clas.classifier.weight", 1),
    }
    channels = size(generator, "generator", "outc.conv.weight", 0)
    halvings = 1 + sum(bool(re.fullmatch(r"feat\.pyramid-\d+-\d+-conv\.weight", name)) for name in discriminator)
    return replace(config, **found), (4 * 2**halvings, 4 * 2**halvings, channels)


def read(source: Mapping[str, Any] | str | Path, what: str) -> Tensors:
    """A network's tensors by name, float32, without PyTorch's counters of batches.

    Raises:
        UserError: If the file cannot be read or holds no tensors.
    """
    values: Any = source if isinstance(source, Mapping) else _read_file(Path(source))
    while isinstance(values, Mapping) and isinstance(values.get("state_dict"), Mapping):
        values = values["state_dict"]
    if not isinstance(values, Mapping):
        raise UserError(f"the {what} is {type(values).__name__}; it must be a state dict: tensors by name")
    tensors = {}
    for name, value in values.items():
        name = str(name).removeprefix("module.")
        if name.rpartition(".")[2] == _COUNTER:
            continue
        try:
            value = value.detach().cpu().float().numpy() if hasattr(value, "detach") else value
            tensors[name] = np.asarray(value, np.float32)
        except (TypeError, ValueError) as error:
            raise UserError(f"the {what} has no tensor as {printable(name)}: {type(value).__name__}") from error
    return tensors


def _read_file(path: Path) -> Any:
    """What a safetensors file or one of `torch.save` holds."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.numpy import load_file

            return load_file(path)
        import torch

        return torch.load(path, map_location="cpu", weights_only=True)
    except ImportError as error:
        raise UserError(f"{printable(path)} is read with PyTorch, which is not installed: pip install torch") from error
    except Exception as error:  # of many kinds; a file that would run code is among them
        raise UserError(f"{printable(path)} cannot be read as PyTorch weights: {one_line(str(error))}") from error


def arrays(state: State) -> tuple[Tensors, Tensors]:
    """The generator's and the discriminator's tensors under PyTorch's names, with counters of batches.

    Raises:
        UserError: If the state is not one of SAGAN as published.
    """
    ours = isinstance(state, AdversarialState) and "inc.double_conv.1.weight" in places(state.generator, _GENERATOR)
    if not ours:
        raise UserError("PyTorch's names are those of SAGAN as published; this state is of another method or preset")

    def network(player: Player, rules: Rules) -> Tensors:
        leaves = {name: jax.tree.leaves(getattr(player, name)) for name in ("params", "statistics")}
        tensors = {
            name: np.array(leaves[place.collection][place.leaf]).transpose(place.axes).reshape(place.shape)
            for name, place in places(player, rules).items()
        }
        counters = [name for name in tensors if name.endswith("running_mean")]
        return tensors | {name.replace("running_mean", _COUNTER): np.zeros((), np.int64) for name in counters}

    return network(state.generator, _GENERATOR), network(state.discriminator, _DISCRIMINATOR)


def to_torch(state: State) -> StateDicts:
    """A SAGAN's weights as PyTorch `state_dict`s, which the authors' modules load with `strict=True`.

    Args:
        state: A state of `sagan`.

    Returns:
        Both networks' tensors.

    Raises:
        UserError: If PyTorch is not installed (`save_torch` does without it), or the state is not one of SAGAN as
            published.
    """
    try:
        import torch
    except ImportError as error:
        raise UserError("to_torch needs PyTorch: pip install torch; save_torch does without it") from error
    generator, discriminator = (
        {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in network.items()}
        for network in arrays(state)
    )
    return StateDicts(generator, discriminator)


def save_torch(state: State, generator: str | Path, discriminator: str | Path) -> None:
    """Writes a SAGAN's weights as two safetensors files under PyTorch's names, whole or not at all.

    Args:
        state: A state of `sagan`.
        generator: The generator's file.
        discriminator: The discriminator's file.

    Raises:
        UserError: If the two files are one, or the state is not one of SAGAN as published.
    """
    from safetensors.numpy import save

    if Path(generator).resolve() == Path(discriminator).resolve():
        raise UserError(f"the generator and the discriminator go to two files, not both to {printable(generator)}")
    for path, tensors in zip((generator, discriminator), arrays(state), strict=True):
        with replacing(Path(path)) as file:
            file.write(save({name: np.ascontiguousarray(values) for name, values in tensors.items()}))
