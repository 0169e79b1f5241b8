"""Photographs of axle bolts of the project's own making, sound and damaged, with exact masks.

The paper's railway images (section 4.1) are private; these scenes replace them, in the same counts and sizes. Every
scene is a height field with materials, lit, seen through a camera with its faults, and stored as JPEG would store it.
A set is taken at one of two sites. At a station one rig looks at one type of part: the seed decides part, paint,
layout, camera and lamp, and photographs differ in pose, light, wear and dirt. In the field every photograph has
another part in another paint under another lamp.
Results on it are results on synthetic images, and must be shown as such.
"""

import contextlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import get_args

import numpy as np
from jaxtyping import Bool, UInt8

from sagan_jax.atomic_file import replacing
from sagan_jax.config import Site
from sagan_jax.data.bolts.anomalies import (
    Severity,
    add_foreign_object,
    add_hole,
    add_loose_head,
    break_head,
    crack_head,
)
from sagan_jax.data.bolts.camera import SENSOR, Camera, develop, photograph, random_camera
from sagan_jax.data.bolts.cover import Condition, Subject, add_grime, make_cover
from sagan_jax.data.bolts.fastener import add_head, add_washer, rust_bolt
from sagan_jax.data.bolts.station import at_station, station_camera
from sagan_jax.data.bolts.surface import Surface, hollow
from sagan_jax.data.image_cache import UNREADABLE
from sagan_jax.data.split import Split
from sagan_jax.errors import UserError

KINDS: tuple[str, ...] = ("missing", "broken", "cracked", "loose", "foreign")
PARTS: tuple[str, ...] = ("train", "test_normal", "test_abnormal")
SITES: tuple[str, ...] = get_args(Site)
_SETS: dict[str, str] = {"station": "bolts at a station (synthetic)", "field": "bolts (synthetic)"}
VERSION: dict[str, int] = {"station": 1, "field": 2}  # part of a cache file's name; raised whenever a picture changes


def bolt_scene(
    seed: int,
    index: int,
    *,
    size: int = SENSOR,
    abnormal: str | None = None,
    part: str = "train",
    site: str = "station",
) -> tuple[UInt8[np.ndarray, "size size 3"], Bool[np.ndarray, "size size"]]:
    """Scene number `index`, the same whenever and in whatever order it is made.

    The anomaly changes nothing else: cover, camera, light and noise are those of the same number without it.

    Args:
        seed: Of the whole set.
        index: Of the photograph, from 0.
        size: Side in pixels, at least 16. Sizes up to 128 are the same photograph, reduced.
        abnormal: What is wrong with the bolt in the middle, or beside it ("foreign"); None for a sound one.
        part: Which part of the set is numbered; parts share no photograph.
        site: "station": the design is the seed's, and photographs differ little; "field": each has its own.

    Returns:
        The RGB photograph and its mask: True where the anomaly is, or where the thing that is gone should be.

    Raises:
        UserError: The size, kind, part or site is not one of those allowed, or a number is negative.
    """
    if abnormal not in (None, *KINDS):
        raise UserError(f"abnormal={abnormal!r} is unknown; allowed are None, {', '.join(KINDS)}")
    if part not in PARTS:
        raise UserError(f"part={part!r} is unknown; allowed are {', '.join(PARTS)}")
    if site not in SITES:
        raise UserError(f"site={site!r} is unknown; allowed are {', '.join(SITES)}")
    if size < 16 or seed < 0 or index < 0:
        raise UserError(f"size={size}, seed={seed}, index={index}: size must be at least 16, seed and index 0 or more")
    # The last word keeps the streams apart; it is never 0, which a seed sequence would not tell from nothing.
    scene, finding, sensor = (
        np.random.default_rng([seed, PARTS.index(part), index, stream])
        for stream in (1, 2 if abnormal is None else 3 + KINDS.index(abnormal), 99)
    )
    side = 2 * max(size, SENSOR)  # rendered at twice the sensor's resolution
    if site == "station":
        subject, camera = at_station(seed, scene)
        camera = camera._replace(gain=_station_gain(seed) * scene.normal(1, 0.06))
    else:
        camera = random_camera(scene)
        subject = Subject(scene, scene, Condition(), Severity(), reach=2.2 * camera.zoom + 1.5)
    image, mask = photograph(build(subject, finding, camera, side, abnormal), camera, side)
    return develop(sensor, image, mask, camera, size)


@lru_cache(maxsize=16)
def _station_gain(seed: int) -> float:
    """The exposure that a station's rig was set to, on a sound part."""
    subject, _ = at_station(seed, np.random.default_rng(0))
    camera = station_camera(seed)
    image, _ = photograph(build(subject, subject.wear, camera, 2 * SENSOR, None), camera, 2 * SENSOR)
    return camera.exposure / float(image.mean())


def load_bolts(
    *,
    size: int = SENSOR,
    seed: int = 0,
    site: str = "station",
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
        site: "station" or "field", as for `bolt_scene`.
        train: Normal training images.
        test_normal: Normal test images.
        test_abnormal: Abnormal test images.
        cache_dir: If given, the set is kept there (one .npz) and read back the next time.
        progress: Called with the number of scenes made so far.

    Raises:
        UserError: As `bolt_scene`, or a count is negative.
    """
    if site not in SITES:
        raise UserError(f"site={site!r} is unknown; allowed are {', '.join(SITES)}")
    counts = dict(zip(PARTS, (train, test_normal, test_abnormal), strict=True))
    if train < 1 or min(counts.values()) < 0:
        raise UserError(f"counts of {counts} are impossible; at least one training image, and none below 0")
    cache = None
    if cache_dir is not None:
        name = f"bolts{'' if site == 'field' else '-station'}-v{VERSION[site]}"
        cache = Path(cache_dir) / f"{name}-{size}px-seed{seed}-{train}-{test_normal}-{test_abnormal}.npz"
        with contextlib.suppress(*UNREADABLE), np.load(cache, allow_pickle=False) as stored:
            return _split(site, stored["images"], stored["masks"], counts)

    jobs = [(part, index) for part in PARTS for index in range(counts[part])]
    images, masks = np.empty((len(jobs), size, size, 3), np.uint8), np.empty((len(jobs), size, size), bool)

    def make(place: int) -> None:
        part, index = jobs[place]
        kind = KINDS[index % len(KINDS)] if part == "test_abnormal" else None
        images[place], masks[place] = bolt_scene(seed, index, size=size, abnormal=kind, part=part, site=site)

    with ThreadPoolExecutor() as pool:
        for done, _ in enumerate(pool.map(make, range(len(jobs))), start=1):
            if progress:
                progress(done)
    if cache:
        cache.parent.mkdir(parents=True, exist_ok=True)
        with replacing(cache) as file:
            np.savez(file, allow_pickle=False, images=images, masks=masks)
    return _split(site, images, masks, counts)


def _split(site: str, images: np.ndarray, masks: np.ndarray, counts: dict[str, int]) -> Split:
    train, normal, abnormal = counts.values()
    kinds = ["good"] * normal + [KINDS[index % len(KINDS)] for index in range(abnormal)]
    ids = [f"{part}/{index:05d}" for part in PARTS for index in range(counts[part])]
    return Split(
        name=_SETS[site],
        abnormal="damaged",
        train=images[:train],
        train_ids=np.array(ids[:train]),
        test=images[train:],
        test_labels=np.arange(normal + abnormal) >= normal,
        test_ids=np.array(ids[train:], dtype=np.str_),
        test_kinds=np.array(kinds, dtype=np.str_),
        test_masks=masks[train:],
    )


def build(subject: Subject, finding: np.random.Generator, camera: Camera, side: int, abnormal: str | None) -> Surface:
    """The fastened, weathered cover with its anomaly, over the picture and a margin around it."""
    margin = side // 16
    axis = ((np.arange(side + 2 * margin) + 0.5 - margin) * (2 / side) - 1).astype(np.float32)
    x, y = np.meshgrid(axis, axis)
    along = x * np.float32(np.cos(camera.direction)) + y * np.float32(np.sin(camera.direction))
    scale = np.float32(camera.zoom) / (1 + np.float32(0.35 * camera.tilt) * along)  # nearer parts look larger
    stretch = along * np.float32(np.hypot(1, camera.tilt) - 1)  # and all is foreshortened along the tilt
    u = (x + stretch * np.float32(np.cos(camera.direction))) * scale + np.float32(camera.center[0])
    v = (y + stretch * np.float32(np.sin(camera.direction))) * scale + np.float32(camera.center[1])
    surface, fasteners, bolts = make_cover(subject, u, v, 2 * camera.zoom / side)

    condition = subject.condition
    down = subject.design.normal(np.pi / 2, 0.25)
    for place, bolt in enumerate(bolts):
        kind = abnormal if place == 0 else None
        if kind == "missing":
            add_hole(finding, surface, fasteners, bolt)
        else:
            add_washer(surface, fasteners, bolt)
            if kind == "loose":
                add_loose_head(finding, surface, fasteners, bolt, subject.severity)
            else:
                add_head(surface, fasteners, bolt)
        rust_bolt(subject.wear, surface, fasteners, bolt, condition.rust_spread, condition.dulled)
        if kind == "broken":
            break_head(finding, surface, fasteners, bolt, subject.severity)
        if kind == "cracked":
            crack_head(finding, surface, fasteners, bolt, subject.severity)
    add_grime(subject, surface, hollow(surface, 0.3), bolts, down)
    if abnormal == "foreign":
        add_foreign_object(finding, surface, camera, bolts)
    return surface
