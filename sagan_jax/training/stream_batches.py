"""A stream's batches: photographs decoded, cut and put on the devices while the step runs.

Whole photographs come in the same order, and with the same keys, as from memory, so streaming changes no bit of the
result. Patches are taken from a group of photographs at a time, each decoded once an epoch; their order depends on the
seed and the epoch alone.

Over several hosts each decodes what its own devices compute. Of whole photographs these are its columns of every batch,
so the batches are those of one host. Photographs to be cut are shared out, those of an epoch's order in turn, and each
host deals the patches of its own; so the batches depend on the number of hosts too.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding
from jaxtyping import Int, UInt8

from sagan_jax.data.patches import Patches, windows
from sagan_jax.data.photographs import Photographs
from sagan_jax.errors import UserError
from sagan_jax.training.plan import Plan

_GROUP_BYTES = 2**29  # of decoded photographs whose patches are shuffled together; two groups are in memory at a time
_THREADS = 8  # that decode


@dataclass(frozen=True, eq=False)
class Stream:
    """Training images that are decoded when needed: whole photographs of one size, or patches of photographs.

    Attributes:
        photographs: Where they come from.
        patches: How they are cut, if they are.
    """

    photographs: Photographs
    patches: Patches | None

    def __len__(self) -> int:
        return len(self.photographs) if self.patches is None else self.photographs.count_patches(self.patches)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """[H, W, C] of each image."""
        if self.patches is None:
            return self.photographs.shape[1:]
        return self.patches.shape(self.photographs.channels)


def open_epoch(stream: Stream, plan: Plan, seed: int, epoch: int, sharding: Sharding | None = None) -> Any:
    """An epoch's batches, uint8 on the devices, as grain's iterator; decoding begins at once.

    Args:
        stream: The images.
        plan: Their order, if they are whole photographs, and the batch size.
        seed: With `epoch`, all that the order of patches depends on.
        epoch: The epoch's number from 0.
        sharding: How a batch is split over the devices of this host or of all; None puts it on one device of this host.

    Raises:
        UserError: If there are fewer photographs to cut than hosts.
    """
    steps, batch_size = plan.order.shape
    photographs, threads = stream.photographs, min(_THREADS, os.cpu_count() or 1)
    sharding = jnp.zeros(()).sharding if sharding is None else sharding
    columns = _own_columns(sharding, batch_size)
    if stream.patches is None:
        order = np.asarray(plan.order)[:, columns].ravel()
        images = grain.MapDataset.source(photographs.take(order)).to_iter_dataset(
            grain.ReadOptions(threads, 2 * len(columns))
        )
    else:
        host, hosts = (0, 1) if sharding.is_fully_addressable else (jax.process_index(), jax.process_count())
        rng = np.random.default_rng((seed, epoch))
        order = _own_photographs(photographs, stream.patches, steps * len(columns), rng, host, hosts)
        group = max(2, _GROUP_BYTES // (int(photographs.sizes.prod(axis=1).max()) * photographs.channels))
        decoded = grain.MapDataset.source(photographs.take(order)).to_iter_dataset(grain.ReadOptions(threads, group))
        groups = decoded.batch(group, drop_remainder=False, batch_fn=list)
        images = grain.experimental.FlatMapIterDataset(groups, Deal(stream.patches, rng))

    def put(batch: UInt8[np.ndarray, "own height width channel"]) -> jax.Array:
        return jax.make_array_from_process_local_data(sharding, batch, (batch_size, *batch.shape[1:]))

    batches = grain.experimental.ThreadPrefetchIterDataset(
        images.batch(len(columns), drop_remainder=True), prefetch_buffer_size=2
    )
    iterator = iter(grain.experimental.ThreadPrefetchIterDataset(batches.map(put), prefetch_buffer_size=2))
    iterator.start_prefetch()
    return iterator


def _own_columns(sharding: Sharding, batch_size: int) -> Int[np.ndarray, " own"]:
    """Which images of a batch this host's devices compute, in order."""
    slices = sharding.addressable_devices_indices_map((batch_size,)).values()
    return np.unique(np.concatenate([np.arange(batch_size)[index or ...] for index in slices]))


def _own_photographs(
    photographs: Photographs, patches: Patches, needed: int, rng: np.random.Generator, host: int, hosts: int
) -> Int[np.ndarray, " photograph"]:
    """The photographs that this host cuts in an epoch: of each pass over all every `hosts`-th, until they are enough.

    Args:
        photographs: All of them.
        patches: How they are cut.
        needed: How many patches this host takes in the epoch.
        rng: Gives the order of each pass.
        host: This host's number.
        hosts: How many there are.

    Raises:
        UserError: If there are fewer photographs than hosts.
    """
    if len(photographs) < hosts:
        raise UserError(f"{len(photographs)} photographs cannot be shared by {hosts} hosts; take as many hosts at most")
    counts = np.array([len(windows(int(height), int(width), *patches)) for height, width in photographs.sizes])
    own: list[np.ndarray] = []
    while needed > 0:
        own.append(rng.permutation(len(photographs))[host::hosts])
        needed -= int(counts[own[-1]].sum())
    return np.concatenate(own)


class Dealt:
    """The patches of a group of photographs, shuffled together, each cut when it is asked for."""

    def __init__(self, photographs: Sequence[np.ndarray], patches: Patches, rng: np.random.Generator) -> None:
        self.photographs, self.size = photographs, patches.size
        corners = [windows(image.shape[0], image.shape[1], *patches) for image in photographs]
        owners = np.repeat(np.arange(len(corners)), [len(places) for places in corners])
        self.places = rng.permutation(np.column_stack([owners, np.concatenate(corners)]))  # photograph, row, column

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: Any) -> np.ndarray:
        photograph, row, column = self.places[index]
        return self.photographs[photograph][row : row + self.size, column : column + self.size]


class Deal(grain.experimental.FlatMapTransform):
    """grain's name for turning one element into many: a group of photographs into its patches."""

    max_fan_out = 2**31

    def __init__(self, patches: Patches, rng: np.random.Generator) -> None:
        self.patches, self.rng = patches, rng

    def flat_map(self, element: Sequence[np.ndarray]) -> Any:
        """Shuffles the group's patches; called in the order of the groups, by one thread."""
        return Dealt(element, self.patches, self.rng)
