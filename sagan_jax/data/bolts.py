"""Photographs of axle bolts of the project's own making, sound and damaged, with exact masks.

The paper's railway images (section 4.1) are private; this stands in for them in the same counts and sizes. Every
scene is a height field with materials, lit, seen through a camera with its faults, and stored as JPEG would store it.
Results on it are results on synthetic images, and must be shown as such.
"""

import contextlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage

from sagan_jax.data.bolt_surface import (
    BLACKENED,
    DARK_RUST,
    RUST,
    STEEL,
    Bolt,
    Fasteners,
    Field,
    Surface,
    add_grime,
    add_head,
    add_washer,
    distance,
    head_shape,
    hexagon,
    local,
    make_cover,
    ramp,
    rust_bolt,
    texture,
)
from sagan_jax.data.image_cache import UNREADABLE
from sagan_jax.data.split import Split
from sagan_jax.errors import UserError
from sagan_jax.whole_file import replacing

KINDS: tuple[str, ...] = ("missing", "broken", "cracked", "loose", "foreign")
PARTS: tuple[str, ...] = ("train", "test_normal", "test_abnormal")
VERSION = 1  # of the scenes: part of a cache file's name; raised whenever a picture changes
SENSOR = 128  # smaller pictures are this one, reduced
COVERAGE = 0.25  # of a pixel that must be abnormal for its mask to say so; the most abnormal pixel always does


class Camera(NamedTuple):
    """Where the camera stands, its light, and its faults. Angles in radians."""

    zoom: float  # apothems from the centre to the edge of the picture
    center: tuple[float, float]
    tilt: float  # tangent of the angle from the perpendicular
    direction: float  # to which the tilted camera has moved
    light: float  # azimuth
    elevation: float
    softness: float
    ambient: float
    warmth: float
    exposure: float
    vignette: float
    blur: float  # of depth of field, in pixels of a 128-pixel picture
    focus: float
    shake: float  # length of motion blur, likewise
    shake_direction: float
    noise: float
    quality: int  # JPEG


def bolt_scene(
    seed: int, index: int, *, size: int = SENSOR, abnormal: str | None = None, part: str = "train"
) -> tuple[UInt8[np.ndarray, "size size 3"], Bool[np.ndarray, "size size"]]:
    """Photograph number `index`, the same whenever and in whatever order it is made.

    The anomaly changes nothing else: cover, camera, light and noise are those of the same number without it.

    Args:
        seed: Of the whole set.
        index: Of the photograph, from 0.
        size: Side in pixels, at least 16. Sizes up to 128 are the same photograph, reduced.
        abnormal: What is wrong with the bolt in the middle, or beside it ("foreign"); None for a sound one.
        part: Which part of the set is numbered; parts share no photograph.

    Returns:
        The RGB photograph and its mask: True where the anomaly is, or where the thing that is gone should be.

    Raises:
        UserError: The size, kind or part is not one of those allowed, or a number is negative.
    """
    if abnormal not in (None, *KINDS):
        raise UserError(f"abnormal={abnormal!r} is unknown; allowed are None, {', '.join(KINDS)}")
    if part not in PARTS:
        raise UserError(f"part={part!r} is unknown; allowed are {', '.join(PARTS)}")
    if size < 16 or seed < 0 or index < 0:
        raise UserError(f"size={size}, seed={seed}, index={index}: size must be at least 16, seed and index 0 or more")
    # The last word keeps the streams apart; it is never 0, which a seed sequence would not tell from nothing.
    scene, finding, sensor = (
        np.random.default_rng([seed, PARTS.index(part), index, stream])
        for stream in (1, 2 if abnormal is None else 3 + KINDS.index(abnormal), 99)
    )
    side = 2 * max(size, SENSOR)  # rendered at twice the sensor's resolution
    camera = _camera(scene)
    surface = _build(scene, finding, camera, side, abnormal)
    image, mask = _photograph(surface, camera, side)
    return _develop(sensor, image, mask, camera, size)


def load_bolts(
    *,
    size: int = SENSOR,
    seed: int = 0,
    train: int = 4000,
    test_normal: int = 500,
    test_abnormal: int = 500,
    cache_dir: str | os.PathLike[str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Split:
    """The bolt set in the paper's counts; abnormal kinds take turns, so that each is a fifth.

    Args:
        size: Side of the pictures in pixels.
        seed: Of the set; image i does not depend on the counts.
        train: Normal training images.
        test_normal: Normal test images.
        test_abnormal: Abnormal test images.
        cache_dir: If given, the set is kept there (one .npz) and read back the next time.
        progress: Called with the number of scenes made so far.

    Raises:
        UserError: As `bolt_scene`, or a count is negative.
    """
    counts = dict(zip(PARTS, (train, test_normal, test_abnormal), strict=True))
    if train < 1 or min(counts.values()) < 0:
        raise UserError(f"counts of {counts} are impossible; at least one training image, and none below 0")
    cache = None
    if cache_dir is not None:
        cache = Path(cache_dir) / f"bolts-v{VERSION}-{size}px-seed{seed}-{train}-{test_normal}-{test_abnormal}.npz"
        with contextlib.suppress(*UNREADABLE), np.load(cache, allow_pickle=False) as stored:
            return _split(stored["images"], stored["masks"], counts)

    jobs = [(part, index) for part in PARTS for index in range(counts[part])]
    images, masks = np.empty((len(jobs), size, size, 3), np.uint8), np.empty((len(jobs), size, size), bool)

    def make(place: int) -> None:
        part, index = jobs[place]
        kind = KINDS[index % len(KINDS)] if part == "test_abnormal" else None
        images[place], masks[place] = bolt_scene(seed, index, size=size, abnormal=kind, part=part)

    with ThreadPoolExecutor() as pool:
        for done, _ in enumerate(pool.map(make, range(len(jobs))), start=1):
            if progress:
                progress(done)
    if cache:
        cache.parent.mkdir(parents=True, exist_ok=True)
        with replacing(cache) as file:
            np.savez(file, allow_pickle=False, images=images, masks=masks)
    return _split(images, masks, counts)


def _split(images: np.ndarray, masks: np.ndarray, counts: dict[str, int]) -> Split:
    train, normal, abnormal = counts.values()
    kinds = ["good"] * normal + [KINDS[index % len(KINDS)] for index in range(abnormal)]
    ids = [f"{part}/{index:05d}" for part in PARTS for index in range(counts[part])]
    return Split(
        name="bolts (synthetic)",
        abnormal="damaged",
        train=images[:train],
        train_ids=np.array(ids[:train]),
        test=images[train:],
        test_labels=np.arange(normal + abnormal) >= normal,
        test_ids=np.array(ids[train:], dtype=np.str_),
        test_kinds=np.array(kinds, dtype=np.str_),
        test_masks=masks[train:],
    )


def _camera(rng: np.random.Generator) -> Camera:
    zoom = rng.uniform(2.1, 3.7)
    return Camera(
        zoom=zoom,
        center=(rng.uniform(-0.4, 0.4) * zoom, rng.uniform(-0.4, 0.4) * zoom),
        tilt=rng.uniform(0.05, 0.45),
        direction=rng.uniform(0, 2 * np.pi),
        light=rng.uniform(0, 2 * np.pi),
        elevation=rng.uniform(0.5, 1.1),
        softness=rng.uniform(0.1, 0.6),
        ambient=rng.uniform(0.18, 0.6),
        warmth=rng.normal(0, 0.06),
        exposure=rng.uniform(0.10, 0.24),
        vignette=rng.uniform(0, 0.25),
        blur=rng.uniform(0, 1.6),
        focus=rng.uniform(-0.6, 0.6),
        shake=rng.uniform(1.0, 3.2) if rng.random() < 0.25 else 0.0,
        shake_direction=rng.uniform(0, np.pi),
        noise=rng.uniform(0.002, 0.010),
        quality=int(rng.integers(55, 95)),
    )


def _build(
    rng: np.random.Generator, finding: np.random.Generator, camera: Camera, side: int, abnormal: str | None
) -> Surface:
    """The fastened, weathered cover with its anomaly, over the picture and a margin around it."""
    margin = side // 16
    axis = ((np.arange(side + 2 * margin) + 0.5 - margin) * (2 / side) - 1).astype(np.float32)
    x, y = np.meshgrid(axis, axis)
    along = x * np.float32(np.cos(camera.direction)) + y * np.float32(np.sin(camera.direction))
    scale = np.float32(camera.zoom) / (1 + np.float32(0.35 * camera.tilt) * along)  # nearer parts look larger
    stretch = along * np.float32(np.hypot(1, camera.tilt) - 1)  # and all is foreshortened along the tilt
    u = (x + stretch * np.float32(np.cos(camera.direction))) * scale + np.float32(camera.center[0])
    v = (y + stretch * np.float32(np.sin(camera.direction))) * scale + np.float32(camera.center[1])
    surface, fasteners, bolts = make_cover(rng, u, v, 2 * camera.zoom / side, 2.2 * camera.zoom + 1.5)

    down = rng.normal(np.pi / 2, 0.25)
    for place, bolt in enumerate(bolts):
        kind = abnormal if place == 0 else None
        if kind == "missing":
            _add_hole(finding, surface, fasteners, bolt)
        else:
            add_washer(surface, fasteners, bolt)
            if kind == "loose":
                _add_loose_head(finding, surface, fasteners, bolt)
            else:
                add_head(surface, fasteners, bolt)
        rust_bolt(rng, surface, fasteners, bolt)
        if kind == "broken":
            _break(finding, surface, fasteners, bolt)
        if kind == "cracked":
            _crack(finding, surface, fasteners, bolt)
    add_grime(rng, surface, _hollow(surface, 0.3), bolts, down)
    if abnormal == "foreign":
        _add_foreign_object(finding, surface, camera, bolts)
    return surface


def _add_hole(rng: np.random.Generator, surface: Surface, fasteners: Fasteners, bolt: Bolt) -> None:
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
    _, head = head_shape(fasteners, *local(near, bolt.u, bolt.v, bolt.turn))
    near.abnormal |= head if washer_left else r < fasteners.washer


def _add_loose_head(rng: np.random.Generator, surface: Surface, fasteners: Fasteners, bolt: Bolt) -> None:
    """A loose bolt: it has backed out, leans, and has turned away from its torque stripe."""
    lean, slope = rng.uniform(0, 2 * np.pi), rng.uniform(0.10, 0.28)
    shift = rng.uniform(-0.09, 0.09, 2)
    add_head(
        surface,
        fasteners,
        bolt._replace(u=bolt.u + shift[0], v=bolt.v + shift[1]),
        lift=rng.uniform(0.3, 0.65),
        tilt=(slope * np.cos(lean), slope * np.sin(lean)),
        turned=rng.uniform(0.3, 0.9) * (1 if rng.random() < 0.5 else -1),
    )


def _break(rng: np.random.Generator, surface: Surface, fasteners: Fasteners, bolt: Bolt) -> None:
    """A broken head: a piece sheared off along a rough face, or all of it, which leaves the end of the shank."""
    near = surface.window(bolt.u, bolt.v, 1.3)
    rows, columns = near.u.shape
    grain, mottle = (texture(rng, name, surface.u.shape)[:rows, :columns] for name in ("grain", "mottle"))
    p, q = local(near, bolt.u, bolt.v, bolt.turn)
    _, head = head_shape(fasteners, p, q)
    seat = bolt.base + fasteners.washer_height
    fresh = rng.random() < 0.65
    color, metal = (np.array(STEEL) * 0.6, 0.35) if fresh else (np.array(RUST), 0.05)
    face_color = color[:, None, None] * (1 + 0.08 * grain + 0.12 * mottle).clip(0.4, 1.6)
    turn, slope = rng.uniform(0, 2 * np.pi), rng.uniform(2.5, 6.0)
    if rng.random() < 0.7:
        t = p * np.cos(turn) + q * np.sin(turn) + 0.09 * mottle
        past = t - rng.uniform(-0.2, 0.45)
        lost = head & (past > 0)
        left = seat + rng.uniform(0.0, 0.35) * fasteners.head
        face = np.maximum(left, seat + fasteners.head * 0.8 - slope * past) + 0.009 * grain + 0.022 * mottle
        near.height[lost] = np.minimum(near.height, face)[lost]
        near.cover(lost, face_color, metal=metal, gloss=0.15)
    else:
        lost = head
        shank = distance(near, bolt.u, bolt.v) < 0.63
        near.height[lost] = seat + 0.004 * grain[lost]
        near.cover(0.8 * (lost & ~shank), np.array(fasteners.color) * 0.8, metal=fasteners.metal, gloss=0.2)
        end = rng.uniform(-0.25, 0.3) + 0.1 * slope * (p * np.cos(turn) + q * np.sin(turn)) * 0.5
        near.height[shank] = (seat + end + 0.010 * grain + 0.03 * mottle)[shank]
        near.cover(shank, face_color, metal=metal, gloss=0.15)
        near.cover(0.8 * ((np.abs(distance(near, bolt.u, bolt.v) - 0.65)) < 0.04), BLACKENED)
    near.abnormal |= lost


def _crack(rng: np.random.Generator, surface: Surface, fasteners: Fasteners, bolt: Bolt) -> None:
    """A cracked head: a jagged open line across it, with a branch, as fatigue leaves it."""
    near = surface.window(bolt.u, bolt.v, 1.3)
    _, head = head_shape(fasteners, *local(near, bolt.u, bolt.v, bolt.turn))
    turn, width, end = rng.uniform(0, 2 * np.pi), rng.uniform(0.025, 0.06), rng.uniform(0.2, 1.25)
    knots = np.linspace(-1.25, 1.25, 12)
    jag = np.cumsum(rng.normal(0, 0.11, 12))
    jag += rng.uniform(-0.3, 0.3) - jag[6]
    s, t = local(near, bolt.u, bolt.v, turn)
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


def _add_foreign_object(rng: np.random.Generator, surface: Surface, camera: Camera, bolts: list[Bolt]) -> None:
    """Something that does not belong: a wire, a stone, a rag, or a nut where there is no bolt."""
    u, v = np.array(camera.center)[:, None] + rng.uniform(-0.6, 0.6, (2, 24)) * camera.zoom
    clearance = np.min([np.hypot(u - bolt.u, v - bolt.v) for bolt in bolts], axis=0)
    best = int(np.argmax(np.minimum(clearance, 2.1)))  # of 24 places the first with room, else the roomiest
    place, turn = (float(u[best]), float(v[best])), rng.uniform(0, 2 * np.pi)
    kind = rng.choice(["wire", "stone", "rag", "nut"])
    s, t = local(surface, *place, turn)
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


def _hollow(surface: Surface, radius: float) -> Field:
    """How far each point lies under the mean of its surroundings, at two scales, in apothems."""
    coarse = surface.height[::4, ::4].clip(-1.2, None)
    sigma = radius / (4 * surface.pitch)
    blurred = 0.5 * (ndimage.gaussian_filter(coarse, sigma) + ndimage.gaussian_filter(coarse, 2.5 * sigma))
    return (_enlarge(blurred, surface.height.shape) - surface.height).clip(0, 1.5)


def _enlarge(field: Field, shape: tuple[int, ...]) -> Float[np.ndarray, "height width"]:
    from PIL import Image

    return np.asarray(Image.fromarray(field).resize((shape[1], shape[0]), Image.Resampling.BILINEAR))


def _photograph(
    surface: Surface, camera: Camera, side: int
) -> tuple[Float[np.ndarray, "3 side side"], Bool[np.ndarray, "side side"]]:
    """Lights the surface and looks at it: linear RGB, not yet exposed, and the mask as the camera sees it."""
    lit = _shade(surface, camera)
    rows, columns, level = _line_of_sight(surface, camera)
    margin = side // 16
    inner = np.s_[margin : margin + side, margin : margin + side]
    where = (rows * surface.u.shape[1] + columns)[inner]
    image = np.stack([plane.ravel()[where] for plane in lit])
    image *= 1 - 0.85 * (level[inner] < surface.gap.ravel()[where])
    return image, surface.abnormal.ravel()[where]


def _shade(surface: Surface, camera: Camera) -> Float[np.ndarray, "3 rows columns"]:
    """Blinn-Phong under one soft lamp and an ambient sky; bare metal mirrors both; cast shadows and occlusion."""
    rounded = ndimage.gaussian_filter(surface.height, 0.6 / 256 * len(surface.height), truncate=2)  # edges catch light
    down, right = np.gradient(rounded, np.float32(surface.pitch))
    nz = 1 / np.sqrt(1 + down**2 + right**2)
    nx, ny = -right * nz, -down * nz
    cos, sin = np.cos(camera.light), np.sin(camera.light)
    lamp = np.array([cos * np.cos(camera.elevation), sin * np.cos(camera.elevation), np.sin(camera.elevation)])
    half = lamp + np.array([0, 0, 1])  # between the lamp and the eye
    half /= np.linalg.norm(half)

    def towards(direction: np.ndarray) -> Field:
        a, b, c = direction.astype(np.float32)
        return (nx * a + ny * b + nz * c).clip(0, None)

    light = 1 - _shadow(surface, camera)
    occlusion = 1 / (1 + 3.2 * _hollow(surface, 0.22))
    diffuse = towards(lamp) * light + np.float32(camera.ambient) * occlusion * (0.55 + 0.45 * nz)
    glint = towards(half)
    wide = glint**2 * glint**2
    wide = wide * wide * wide  # to the 12th
    sharp = wide * wide * wide * wide  # to the 48th
    highlight = surface.gloss * light * (0.18 * wide + 1.1 * surface.gloss * sharp)
    # A mirror that looks along r = 2 (n.z) n - z sees the lamp's wide glow, a bright strip of sky, and dark ground.
    # What is mirrored is near, so it changes with the place too, and flat faces show gradients.
    a, b = np.float32(-sin / camera.zoom), np.float32(cos / camera.zoom)
    place = (surface.u - np.float32(camera.center[0])) * a + (surface.v - np.float32(camera.center[1])) * b
    sky = ramp(2 * nz * (nx * np.float32(-sin) + ny * np.float32(cos)) + 0.35 * place - 0.1, 0.8)
    mirrored = 0.10 + 0.55 * sky * occlusion + (0.9 * wide * wide + 0.25 * towards(lamp)) * light
    mirrored *= 0.35 + 0.65 * occlusion
    tint = np.array([1 + camera.warmth, 1, 1 - camera.warmth], np.float32)
    body = (1 - 0.85 * surface.metal) * diffuse + 0.9 * surface.metal * mirrored
    return (surface.albedo * body + 0.5 * highlight) * tint[:, None, None]


def _shadow(surface: Surface, camera: Camera) -> Field:
    """0 in the light to 1 in the shadow of something between a point and the lamp."""
    height, rise = surface.height, np.float32(np.tan(camera.elevation))
    reach = min((float(height.max()) - float(np.median(height)) + 0.3) / rise / surface.pitch, 0.45 * len(height))
    pad = int(reach) + 2
    padded = np.pad(height, pad, mode="edge")
    shadow = np.zeros_like(height)
    for far in np.unique((reach * np.linspace(0.05, 1, 20) ** 1.2).round()):
        row, column = pad + round(far * np.sin(camera.light)), pad + round(far * np.cos(camera.light))
        above = padded[row : row + height.shape[0], column : column + height.shape[1]] - height
        run = np.float32(max(far, 1.0) * surface.pitch)
        above -= run * rise
        above *= 1 / (np.float32(camera.softness) * run + np.float32(0.03))
        np.maximum(shadow, above, out=shadow)
    return ndimage.uniform_filter(shadow.clip(0, 1), 3)


def _line_of_sight(surface: Surface, camera: Camera) -> tuple[np.ndarray, np.ndarray, Field]:
    """Which point of the surface each pixel of the tilted camera sees: rows, columns, and the height seen there.

    A point at height z appears displaced by z tan(tilt), away from where the camera has moved. Layers are tried from
    the highest down, a pixel's displacement apart; what is hit first is seen.
    """
    shape, pixels = surface.height.shape, camera.tilt / surface.pitch
    lean = -pixels * np.array([np.sin(camera.direction), np.cos(camera.direction)])  # rows, columns per height
    top, bottom = float(surface.height.max()), max(float(surface.height.min()), -1.2)
    levels = np.linspace(top, bottom, max(2, int(np.ceil((top - bottom) * pixels)) + 1)).astype(np.float32)
    moves = np.rint(levels[:, None] * lean).astype(int)  # [L, 2]
    pad = int(np.abs(moves).max()) + 1
    padded = np.pad(surface.height, pad, mode="edge")
    seen = np.full(shape, len(levels) - 1, np.int16)
    unseen = np.ones(shape, bool)
    for layer, (level, (row, column)) in enumerate(zip(levels, moves, strict=True)):
        hit = padded[pad - row : pad - row + shape[0], pad - column : pad - column + shape[1]] >= level
        hit &= unseen
        np.copyto(seen, layer, where=hit)
        unseen ^= hit
    rows = (np.arange(shape[0])[:, None] - moves[seen, 0]).clip(0, shape[0] - 1)
    columns = (np.arange(shape[1])[None, :] - moves[seen, 1]).clip(0, shape[1] - 1)
    return rows, columns, levels[seen]


def _develop(
    rng: np.random.Generator, image: np.ndarray, mask: np.ndarray, camera: Camera, size: int
) -> tuple[UInt8[np.ndarray, "size size 3"], Bool[np.ndarray, "size size"]]:
    """Lens, exposure, sensor noise, tone curve and JPEG; then the reduction to the size asked for."""
    from PIL import Image

    sensor = image.shape[1] // 2
    image = 0.25 * (image[:, ::2, ::2] + image[:, 1::2, ::2] + image[:, ::2, 1::2] + image[:, 1::2, 1::2])
    grain = sensor / SENSOR
    axis = np.linspace(-1, 1, sensor, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    blurred = ndimage.gaussian_filter(image, (0, camera.blur * grain, camera.blur * grain))
    depth = x * np.float32(np.cos(camera.direction)) + y * np.float32(np.sin(camera.direction))
    far = ramp(np.abs(depth - np.float32(camera.focus)) * np.float32(0.4 + 1.5 * camera.tilt) - 0.5, 1.0)
    image += far * (blurred - image)
    if camera.shake:
        steps = np.linspace(-0.5, 0.5, 5) * camera.shake * grain
        moves = np.rint(np.outer(steps, [np.sin(camera.shake_direction), np.cos(camera.shake_direction)])).astype(int)
        pad = int(np.abs(moves).max())
        padded = np.pad(image, ((0, 0), (pad, pad), (pad, pad)), mode="edge")
        image = np.mean([padded[:, pad + r : pad + r + sensor, pad + c : pad + c + sensor] for r, c in moves], axis=0)
    image *= 1 - np.float32(camera.vignette) * 0.5 * (x**2 + y**2)
    image *= camera.exposure / image.mean()  # automatic exposure, never quite the same
    noise = rng.standard_normal(image.shape, np.float32)
    image += noise * np.sqrt(
        np.float32(camera.noise) ** 2 + np.float32(0.3 * camera.noise) * image.clip(0, None) * 0.25
    )
    image = (1 - np.exp(-1.5 * image.clip(0, None))) ** np.float32(1 / 2.2)
    image += 0.65 * (image * image * (3 - 2 * image) - image)  # contrast
    photograph = Image.fromarray((image * 255).clip(0, 255).astype(np.uint8).transpose(1, 2, 0))
    stored = BytesIO()
    photograph.save(stored, "JPEG", quality=camera.quality)
    photograph = Image.open(stored)
    covered = Image.fromarray(mask.astype(np.float32)).resize((size, size), Image.Resampling.BOX)
    coverage = np.asarray(covered)
    if size != sensor:
        photograph = photograph.resize((size, size), Image.Resampling.BOX)
    return np.array(photograph), (coverage > 0) & (coverage >= min(COVERAGE, coverage.max()))
