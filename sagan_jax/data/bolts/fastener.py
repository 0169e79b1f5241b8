"""The bolts of the bolt scenes: their make, heads and washers, and the rust on them."""

from typing import NamedTuple

import numpy as np

from sagan_jax.data.bolts.surface import (
    BLACKENED,
    DIRT,
    MARKERS,
    PAINTS,
    STEEL,
    ZINC,
    Color,
    Field,
    Mask,
    Surface,
    distance,
    hexagon,
    in_plane,
    ramp,
    rust_color,
    texture,
)


class Fasteners(NamedTuple):
    """The one make of bolt that a cover is fastened with."""

    socket: bool
    head: float  # height
    washer: float  # radius
    washer_height: float
    color: Color
    metal: float
    gloss: float
    marks: int  # raised radial strokes on a hexagon head
    witness: Color | None  # torque stripe painted across head, washer and cover
    rust: float


class Bolt(NamedTuple):
    """One bolt's place, the turn of its head and the direction of its torque stripe (radians), and what it sits on."""

    u: float
    v: float
    turn: float
    stripe: float
    base: float  # height of the cover under its washer


def random_fasteners(rng: np.random.Generator, rust: tuple[float, float]) -> Fasteners:
    """One make for a whole cover, as rusty as `rust` allows."""
    color, metal, gloss = [(STEEL, 0.85, 0.4), (ZINC, 0.9, 0.5), (BLACKENED, 0.35, 0.4)][rng.integers(3)]
    if rng.random() < 0.25:  # painted together with the cover
        color, metal, gloss = PAINTS[rng.integers(len(PAINTS))], 0.0, 0.35
    return Fasteners(
        socket=bool(rng.random() < 0.25),
        head=rng.uniform(0.62, 0.85),
        washer=rng.uniform(1.24, 1.42),
        washer_height=rng.uniform(0.08, 0.18),
        color=color,
        metal=metal,
        gloss=gloss,
        marks=int(rng.choice([0, 0, 3, 6])),
        witness=MARKERS[rng.integers(len(MARKERS))] if rng.random() < 0.5 else None,
        rust=rng.uniform(*rust),
    )


def add_washer(surface: Surface, fasteners: Fasteners, bolt: Bolt) -> None:
    """A flat washer with a small chamfer."""
    near = surface.window(bolt.u, bolt.v, fasteners.washer + 0.1)
    depth = fasteners.washer - distance(near, bolt.u, bolt.v)
    top = bolt.base + fasteners.washer_height * np.clip(depth / 0.07, 0, 1)
    inside = depth > 0
    near.height[inside] = np.maximum(near.height, top)[inside]
    near.cover(inside, np.array(fasteners.color) * 0.9, metal=fasteners.metal, gloss=fasteners.gloss)


def head_shape(fasteners: Fasteners, p: Field, q: Field) -> tuple[Field, Mask]:
    """Height of a bolt head over its bearing face, and where it is, in its own coordinates."""
    r = np.hypot(p, q)
    if fasteners.socket:
        inside = r < 1
        top = fasteners.head * 1.15 - np.maximum(0, r - 0.88) * 0.9
        top -= 0.62 * ramp(0.60 - hexagon(p, q), 0.05) + 0.05 * ramp(0.66 - hexagon(p, q), 0.08)
        top += 0.02 * np.sin(np.arctan2(q, p) * 44) * (r > 0.9)  # knurled
    else:
        across = hexagon(p, q)
        inside = across < 1
        top = fasteners.head - np.maximum(0, r - 0.93) * 0.577  # 30 degree chamfer
        if fasteners.marks:
            sector = 2 * np.pi / fasteners.marks
            off = (np.arctan2(q, p) + sector / 2) % sector - sector / 2
            top += 0.035 * ((np.abs(off) * r < 0.05) & (r > 0.42) & (r < 0.8))
    return top.astype(np.float32), inside


def add_head(
    surface: Surface,
    fasteners: Fasteners,
    bolt: Bolt,
    *,
    lift: float = 0.0,
    tilt: tuple[float, float] = (0.0, 0.0),
    turned: float = 0.0,
) -> None:
    """Puts a head on its washer, with its torque stripe.

    Args:
        surface: Changed in place.
        fasteners: The make.
        bolt: The place.
        lift: Air between washer and head: a loose bolt, marked as abnormal.
        tilt: Slope of the head along u and v.
        turned: Radians it has turned since the stripe was painted.
    """
    near = surface.window(bolt.u, bolt.v, 1.3)
    p, q = in_plane(near, bolt.u, bolt.v, bolt.turn + turned)
    top, inside = head_shape(fasteners, p, q)
    seat = bolt.base + fasteners.washer_height
    top += seat + lift + tilt[0] * (near.u - bolt.u) + tilt[1] * (near.v - bolt.v)
    near.height[inside] = top[inside]
    near.cover(inside, fasteners.color, metal=fasteners.metal, gloss=fasteners.gloss)
    if lift:
        near.gap[inside] = seat + lift
        near.abnormal |= inside
    if fasteners.witness:
        wide = surface.window(bolt.u, bolt.v, 2.1)
        for turn, head in ((bolt.stripe, False), (bolt.stripe + turned, True)):
            s, t = in_plane(wide, bolt.u, bolt.v, turn)
            stripe = ((np.abs(t) < 0.13) & (s > 0.1) & (s < 1.9)).astype(np.float32)
            on_head = wide.height > seat + 0.2
            wide.cover(0.85 * stripe * (on_head == head), fasteners.witness, gloss=0.3)


def rust_bolt(
    rng: np.random.Generator, surface: Surface, fasteners: Fasteners, bolt: Bolt, spread: float, dulled: float
) -> None:
    """Rust, worn edges and a film of brake dust on one bolt and its washer, on some bolts more than on others.

    Args:
        rng: Source of randomness.
        surface: Changed in place.
        fasteners: The make.
        bolt: The place.
        spread: How far rust goes beyond or short of the make's.
        dulled: Share of the colour that the film takes at most.
    """
    shape, level = surface.u.shape, fasteners.rust + rng.uniform(-spread, spread)
    mottle, cloud = texture(rng, "mottle", shape), texture(rng, "cloud", shape)
    near = surface.window(bolt.u, bolt.v, fasteners.washer + 0.3)
    rows, columns = near.u.shape
    mottle, cloud = mottle[:rows, :columns], cloud[:rows, :columns]
    r = distance(near, bolt.u, bolt.v)
    amount = (
        0.9 * ramp(0.5 * mottle + 0.6 * cloud + level + 0.5 * (r - 0.8), 1.6) * ramp(fasteners.washer + 0.12 - r, 0.3)
    )
    near.height += 0.012 * amount * mottle + 0.02 * cloud * (r < 1)  # forged, not ground
    near.cover(amount, rust_color(mottle), gloss=0.04)
    if dulled:
        film = rng.uniform(0, dulled) * ramp(fasteners.washer - r, 0.1) * (1 + 0.2 * cloud).clip(0, 1.5)
        near.cover(film, DIRT, gloss=0.05)
