"""The camera of the bolt scenes: light and shadow, its place, its faults, and the JPEG it stores."""

from io import BytesIO
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage

from sagan_jax.data.bolts.surface import Field, Surface, hollow, ramp

SENSOR = 128  # smaller pictures are this one, reduced
_COVERAGE = 0.25  # of a pixel that must be abnormal for its mask to say so; the most abnormal pixel always does


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
    gain: float | None = None  # fixed exposure; None exposes each picture to a mean of `exposure`


def random_camera(rng: np.random.Generator) -> Camera:
    """A camera that somebody held in front of the bolt, more or less well."""
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


def photograph(
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
    occlusion = 1 / (1 + 3.2 * hollow(surface, 0.22))
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


def develop(
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
    image *= camera.gain or camera.exposure / image.mean()  # automatic exposure, never quite the same
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
    return np.array(photograph), (coverage > 0) & (coverage >= min(_COVERAGE, coverage.max()))
