"""What can be wrong with a bolt: missing, loose, broken, cracked, or something beside it that does not belong.

Each changes the surface in place, draws on a source of randomness of its own, and marks what it changed.
"""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from sagan_jax.data.bolts.camera import Camera
from sagan_jax.data.bolts.fastener import Bolt, Fasteners, add_head, add_washer, head_shape
from sagan_jax.data.bolts.surface import (
    BLACKENED,
    DARK_RUST,
    RUST,
    STEEL,
    Surface,
    distance,
    hexagon,
    in_plane,
    ramp,
    texture,
)


class Severity(NamedTuple):
    """How plain damage is, as the ranges that are drawn from. The defaults are of the field."""

    lift: tuple[float, float] = (0.3, 0.65)  # of a loose head
    slope: tuple[float, float] = (0.10, 0.28)  # likewise
    turned: tuple[float, float] = (0.3, 0.9)  # likewise, in radians
    crack: tuple[float, float] = (0.025, 0.06)  # half its width
    left: tuple[float, float] = (-0.2, 0.45)  # of a broken head, from the middle to the fracture


def add_hole(rng: np.random.Generator, surface: Surface, fasteners: Fasteners, bolt: Bolt) -> None:
    """A missing bolt: the empty threaded hole, the print of the washer, sometimes the washer itself."""
    washer_left = rng.random() < 0.3
    if washer_left:
        add_washer(surface, fasteners, bolt)
    near = surface.window(bolt.u, bolt.v, 1.7)
    r = distance(near, bolt.u, bolt.v)
    print_of_washer = ramp(fasteners.washer - r, 0.1)
    if not washer_left:  # kept from dirt and paint
        near.height -= 0.03 * print_of_washer
        near.cover(rng.uniform(0.3, 0.7) * print_of_washer, STEEL if rng.random() < 0.6 else DARK_RUST, metal=0.5)
    depth, angle = ramp(0.57 - r, 0.16), np.arctan2(near.v - bolt.v, near.u - bolt.u)
    thread = 0.07 * np.sin(6 * 2 * np.pi * depth + angle) * 4 * depth * (1 - depth)
    near.height -= 0.12 * ramp(0.72 - r, 0.12) + 1.7 * depth - thread
    near.cover(ramp(0.70 - r, 0.08) * 0.6, STEEL, metal=0.8, gloss=0.4)
    near.cover(ramp(0.50 - r, 0.1), (0.01, 0.009, 0.008), gloss=0.3)
    _, head = head_shape(fasteners, *in_plane(near, bolt.u, bolt.v, bolt.turn))
    near.abnormal |= head if washer_left else r < fasteners.washer


def add_loose_head(
    rng: np.random.Generator, surface: Surface, fasteners: Fasteners, bolt: Bolt, severity: Severity
) -> None:
    """A loose bolt: it has backed out, leans, and has turned away from its torque stripe."""
    lean, slope = rng.uniform(0, 2 * np.pi), rng.uniform(*severity.slope)
    shift = rng.uniform(-0.09, 0.09, 2)
    add_head(
        surface,
        fasteners,
        bolt._replace(u=bolt.u + shift[0], v=bolt.v + shift[1]),
        lift=rng.uniform(*severity.lift),
        tilt=(slope * np.cos(lean), slope * np.sin(lean)),
        turned=rng.uniform(*severity.turned) * (1 if rng.random() < 0.5 else -1),
    )


def break_head(
    rng: np.random.Generator, surface: Surface, fasteners: Fasteners, bolt: Bolt, severity: Severity
) -> None:
    """A broken head: a piece sheared off along a rough face, or all of it, which leaves the end of the shank."""
    near = surface.window(bolt.u, bolt.v, 1.3)
    rows, columns = near.u.shape
    grain, mottle, cloud = (
        texture(rng, name, surface.u.shape)[:rows, :columns] for name in ("grain", "mottle", "cloud")
    )
    p, q = in_plane(near, bolt.u, bolt.v, bolt.turn)
    _, head = head_shape(fasteners, p, q)
    seat = bolt.base + fasteners.washer_height
    fresh = rng.random() < 0.65
    # Fresh fractures are dull and grey, of grains too fine to see; what is seen are the smooth waves a crack leaves.
    color, metal = (np.array(STEEL) * 0.42, 0.12) if fresh else (np.array(RUST) * 0.8, 0.05)
    face_color = color[:, None, None] * (1 + 0.05 * grain + 0.10 * mottle + 0.10 * cloud).clip(0.4, 1.6)
    turn, slope = rng.uniform(0, 2 * np.pi), rng.uniform(2.5, 6.0)
    if rng.random() < 0.7:
        t = p * np.cos(turn) + q * np.sin(turn) + 0.12 * cloud + 0.03 * mottle
        past = t - rng.uniform(*severity.left)
        lost = head & (past > 0)
        left = seat + rng.uniform(0.0, 0.35) * fasteners.head
        face = np.maximum(left, seat + fasteners.head * 0.8 - slope * past)
        face += 0.003 * grain + 0.012 * mottle + 0.05 * cloud
        near.height[lost] = np.minimum(near.height, face)[lost]
        near.cover(lost, face_color, metal=metal, gloss=0.15)
    else:
        lost = head
        shank = distance(near, bolt.u, bolt.v) < 0.63
        near.height[lost] = seat + 0.004 * grain[lost]
        near.cover(0.8 * (lost & ~shank), np.array(fasteners.color) * 0.8, metal=fasteners.metal, gloss=0.2)
        end = rng.uniform(-0.25, 0.3) + 0.1 * slope * (p * np.cos(turn) + q * np.sin(turn)) * 0.5
        near.height[shank] = (seat + end + 0.003 * grain + 0.012 * mottle + 0.06 * cloud)[shank]
        near.cover(shank, face_color, metal=metal, gloss=0.15)
        near.cover(0.8 * ((np.abs(distance(near, bolt.u, bolt.v) - 0.65)) < 0.04), BLACKENED)
    near.abnormal |= lost


def crack_head(
    rng: np.random.Generator, surface: Surface, fasteners: Fasteners, bolt: Bolt, severity: Severity
) -> None:
    """A cracked head: a jagged open line across it, with a branch, as fatigue leaves it."""
    near = surface.window(bolt.u, bolt.v, 1.3)
    _, head = head_shape(fasteners, *in_plane(near, bolt.u, bolt.v, bolt.turn))
    turn, width, end = rng.uniform(0, 2 * np.pi), rng.uniform(*severity.crack), rng.uniform(0.2, 1.25)
    knots = np.linspace(-1.25, 1.25, 12)
    jag = np.cumsum(rng.normal(0, 0.11, 12))
    jag += rng.uniform(-0.3, 0.3) - jag[6]
    s, t = in_plane(near, bolt.u, bolt.v, turn)
    open_by = width * ramp(end - s, 0.7) - np.abs(t - np.interp(s, knots, jag))
    fork = rng.uniform(-0.7, 0.3)
    branch = np.interp(fork, knots, jag) + rng.uniform(0.5, 1.0) * (1 if rng.random() < 0.5 else -1) * (s - fork)
    open_by = np.maximum(open_by, 0.7 * width * ramp(fork + 0.7 - s, 0.5) * (s > fork) - np.abs(t - branch))
    crack = head & (open_by > 0)
    bleed = head * ramp(open_by + 0.10, 0.2) * rng.uniform(0.0, 0.7)
    near.cover(bleed, RUST, gloss=0.05)
    near.cover(crack * ramp(open_by, 0.05), (0.006, 0.005, 0.004), gloss=0.0)
    near.height[crack] -= np.minimum(0.35, 8 * open_by[crack])
    near.abnormal |= crack


def add_foreign_object(rng: np.random.Generator, surface: Surface, camera: Camera, bolts: list[Bolt]) -> None:
    """Something that does not belong: a wire, a stone, a rag, or a nut where there is no bolt."""
    u, v = np.array(camera.center)[:, None] + rng.uniform(-0.6, 0.6, (2, 24)) * camera.zoom
    clearance = np.min([np.hypot(u - bolt.u, v - bolt.v) for bolt in bolts], axis=0)
    best = int(np.argmax(np.minimum(clearance, 2.1)))  # of 24 places the first with room, else the roomiest
    place, turn = (float(u[best]), float(v[best])), rng.uniform(0, 2 * np.pi)
    kind = rng.choice(["wire", "stone", "rag", "nut"])
    s, t = in_plane(surface, *place, turn)
    shape = surface.u.shape
    grain, mottle, cloud = (texture(rng, name, shape) for name in ("grain", "mottle", "cloud"))
    rest = ndimage.gaussian_filter(ndimage.maximum_filter(surface.height[::4, ::4], 5), 3)
    rest = np.kron(rest, np.ones((4, 4), np.float32))[: shape[0], : shape[1]]
    ground = float(np.median(surface.height[distance(surface, *place) < 0.5]))
    if kind == "wire":
        waves, radius = rng.uniform(-1, 1, 4), rng.uniform(0.05, 0.11)
        path = 0.8 * waves[0] * np.sin(0.9 * s + 3 * waves[1]) + 0.35 * waves[2] * np.sin(2.3 * s + 3 * waves[3])
        slope = 0.72 * waves[0] * np.cos(0.9 * s + 3 * waves[1]) + 0.8 * waves[2] * np.cos(2.3 * s + 3 * waves[3])
        off = (t - path) / np.hypot(1, slope)
        where = (np.abs(off) < radius) & (np.abs(s) < rng.uniform(1.2, 3.0))
        top = rest + 0.06 + np.sqrt(np.maximum(radius**2 - off**2, 0))
        color, metal, gloss = [((0.45, 0.22, 0.11), 0.8, 0.5), (STEEL, 0.8, 0.4), (RUST, 0.1, 0.1)][rng.integers(3)]
    elif kind == "stone":
        r, angle = np.hypot(s, t * rng.uniform(1.0, 1.5)), np.arctan2(t, s)
        size = rng.uniform(0.5, 1.0)
        edge = size * (1 + sum(rng.uniform(-0.12, 0.12) * np.cos(k * angle + rng.uniform(0, 6)) for k in (2, 3, 4, 5)))
        where = r < edge
        dome = np.sqrt(np.maximum(1 - (r / edge) ** 2, 0))
        facets = rng.uniform(-0.5, 0.5, (2, 5))
        planes = [0.75 * size + a * s + b * t for a, b in facets.T]
        top = ground + np.minimum(0.95 * size * dome, np.min(planes, axis=0)) + 0.012 * mottle + 0.005 * grain
        color, metal, gloss = (
            np.array([0.24, 0.22, 0.20]) * rng.uniform(0.6, 1.4) + [rng.uniform(0, 0.05), 0, 0],
            0.0,
            0.08,
        )
    elif kind == "rag":
        size, bend, phase = rng.uniform(1.1, 1.8), rng.uniform(0.2, 0.5), rng.uniform(0, 6)
        a, b = s / size, (t + bend * np.sin(1.4 * s + phase)) / (size * rng.uniform(0.5, 0.8))
        fold = np.abs(np.sin(rng.uniform(3.5, 6) * b + rng.uniform(0.8, 1.8) * np.sin(1.7 * a + phase) + 0.4 * cloud))
        where = np.abs(a) ** 3 + np.abs(b) ** 3 + 0.015 * mottle + 0.35 * fold * np.sin(5 * a + phase) * b < 0.8
        top = np.maximum(rest, ground) + 0.08 + 0.4 * fold * (1 - 0.5 * np.sin(2.5 * a + phase) ** 2)
        top += 0.003 * (np.sin(s * 60) + np.sin(t * 60))  # weave
        stain = 1 - 0.5 * ramp(cloud + mottle - 0.6, 1.2)
        dye = [(0.06, 0.12, 0.30), (0.40, 0.38, 0.34), (0.35, 0.05, 0.04), (0.30, 0.15, 0.04)][rng.integers(4)]
        color, metal, gloss = np.array(dye)[:, None, None] * stain, 0.0, 0.02
    else:
        size = rng.uniform(0.6, 0.9)
        p, q = s / size, t / size
        r = np.hypot(p, q)
        where = (hexagon(p, q) < 1) & (r > 0.58)
        top = ground + size * 0.8 + rng.uniform(-0.2, 0.2) * s - 0.577 * size * np.maximum(0, r - 0.93)
        top -= size * np.maximum(0, 0.68 - r) * 1.5
        color, metal, gloss = [(STEEL, 0.85, 0.4), (RUST, 0.1, 0.1)][rng.integers(2)]
        surface.abnormal |= r < 0.6  # its hole is part of it
    if kind in ("stone", "nut"):  # lies against what is there already
        top = np.maximum(top, surface.height + 0.02)
    surface.height[where] = top[where]
    surface.cover(where, list(color), metal=metal, gloss=gloss)
    surface.cover(where * 0.5 * ramp(mottle + 0.5 * cloud - 0.8, 1.0), (0.06, 0.05, 0.04), gloss=0.05)
    surface.abnormal |= where
