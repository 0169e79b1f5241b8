"""What the bolt scenes are made of: a height field with materials, and the noise and shapes it is worked with.

Lengths are in apothems of the bolt head (half its width across flats); u runs right, v down, heights towards the
camera.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

Field = Float[np.ndarray, "rows columns"]
Mask = Bool[np.ndarray, "rows columns"]
Color = tuple[float, float, float]

# Linear RGB reflectances.
PAINTS: tuple[Color, ...] = (
    (0.30, 0.31, 0.32),
    (0.12, 0.145, 0.175),
    (0.055, 0.10, 0.07),
    (0.05, 0.05, 0.055),
    (0.50, 0.49, 0.46),
    (0.20, 0.17, 0.13),
)
STEEL, ZINC, BLACKENED = (0.40, 0.39, 0.38), (0.47, 0.46, 0.41), (0.06, 0.06, 0.065)
RUST, DARK_RUST, DIRT, DUST, GREASE = (
    (0.155, 0.062, 0.028),
    (0.055, 0.024, 0.015),
    (0.055, 0.045, 0.036),
    (0.27, 0.23, 0.18),
    (0.018, 0.015, 0.011),
)
MARKERS: tuple[Color, ...] = ((0.75, 0.55, 0.04), (0.60, 0.05, 0.03), (0.75, 0.75, 0.72), (0.75, 0.25, 0.03))


@dataclass
class Surface:
    """What the camera looks at, as fields over the plane of the cover.

    Attributes:
        u, v: Coordinates of each pixel.
        pitch: Apothems per pixel.
        height: Towards the camera.
        albedo: Linear RGB reflectance; planes lie apart, which NumPy works through several times faster.
        metal: 0 (paint, dirt) to 1 (bare metal).
        gloss: 0 (matt) to 1 (wet).
        gap: What lies under this height is air beneath an overhang (a lifted head), and dark.
        abnormal: Where the anomaly is.
    """

    u: Field
    v: Field
    pitch: float
    height: Field
    albedo: Float[np.ndarray, "3 rows columns"]
    metal: Field
    gloss: Field
    gap: Field
    abnormal: Mask

    def window(self, u: float, v: float, radius: float) -> "Surface":
        """The part around a point, as views: to write to it is to write to the whole."""
        step = 8  # a coarse look finds the box, which one more step makes safe
        reach = radius + 2 * step * self.pitch
        near = (np.abs(self.u[::step, ::step] - u) < reach) & (np.abs(self.v[::step, ::step] - v) < reach)
        rows, columns = step * np.flatnonzero(near.any(1)), step * np.flatnonzero(near.any(0))
        box = np.s_[rows[0] : rows[-1] + step, columns[0] : columns[-1] + step] if len(rows) else np.s_[:0, :0]
        fields = {name: value[..., *box] for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        return Surface(pitch=self.pitch, **fields)

    def cover(
        self,
        amount: Field | Mask,
        color: Sequence[float | Field] | np.ndarray,
        *,
        metal: float = 0.0,
        gloss: float = 0.15,
    ) -> None:
        """Lays a material over the surface: `amount` from 0 (none) to 1 (opaque), `color` a number or field a plane."""
        amount = amount.astype(np.float32, copy=False)
        for plane, value in zip(self.albedo, color, strict=True):
            plane += amount * (value - plane)
        self.metal += amount * (metal - self.metal)
        self.gloss += amount * (gloss - self.gloss)


@lru_cache(maxsize=1)
def _texture_bank() -> dict[str, np.ndarray]:
    """Tileable noise of zero mean and unit variance, [1024, 1024], from which every scene cuts its own pieces."""
    side, rng = 1024, np.random.default_rng(20210919)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :])
    frequency[0, 0] = 1.0
    spectra = {
        "cloud": np.maximum(frequency, 1 / 200) ** -1.9,
        "mottle": np.maximum(frequency, 1 / 90) ** -1.25,
        "grain": np.exp(-(((frequency - 0.11) / 0.07) ** 2)),
    }
    bank = {}
    for name, spectrum in spectra.items():
        white = np.fft.rfft2(rng.standard_normal((side, side)))
        noise = np.fft.irfft2(white * spectrum * (frequency < 1), s=(side, side))
        bank[name] = ((noise - noise.mean()) / noise.std()).astype(np.float32)
    return bank


def texture(rng: np.random.Generator, name: str, shape: tuple[int, int]) -> Field:
    """A random piece of noise ("cloud", "mottle" or "grain"); the same scene at any resolution gets the same one."""
    pixels = 288
    top, left = rng.integers(0, 1024 - pixels, 2)
    flip, mirror, swap = rng.integers(0, 2, 3)
    piece = _texture_bank()[name][top : top + pixels, left : left + pixels][:: 1 - 2 * flip, :: 1 - 2 * mirror]
    piece = piece.T if swap else piece
    if shape == piece.shape:
        return piece
    from PIL import Image

    return np.asarray(
        Image.fromarray(np.ascontiguousarray(piece)).resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
    )


def ramp(x: Field, width: float) -> Field:
    """0 to 1 across x = 0, smoothly over `width`."""
    t = np.clip(x * np.float32(1 / width) + np.float32(0.5), 0, 1)
    return t * t * (3 - 2 * t)


def in_plane(surface: Surface, u: float, v: float, turn: float) -> tuple[Field, Field]:
    """Coordinates about a point, along `turn` and across it."""
    p, q = surface.u - np.float32(u), surface.v - np.float32(v)
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    return p * cos + q * sin, q * cos - p * sin


def distance(surface: Surface, u: float, v: float) -> Field:
    """Distance from a point."""
    return np.hypot(surface.u - np.float32(u), surface.v - np.float32(v))


def rust_color(mottle: Field) -> list[Field]:
    """From dark, old rust to bright."""
    age = (0.4 + 0.35 * mottle).clip(0, 1.3)
    return [dark + age * (bright - dark) for dark, bright in zip(DARK_RUST, RUST, strict=True)]


def hexagon(p: Field, q: Field) -> Field:
    """Distance like a radius: 1 on the flats of a hexagon of apothem 1."""
    s, c = np.float32(np.sqrt(3) / 2), np.float32(0.5)
    a, b = q * s, p * c
    return np.maximum(np.abs(p), np.maximum(np.abs(b + a), np.abs(b - a)))


def hollow(surface: Surface, radius: float) -> Field:
    """How far each point lies under the mean of its surroundings, at two scales, in apothems."""
    coarse = surface.height[::4, ::4].clip(-1.2, None)
    sigma = radius / (4 * surface.pitch)
    blurred = 0.5 * (ndimage.gaussian_filter(coarse, sigma) + ndimage.gaussian_filter(coarse, 2.5 * sigma))
    return (_enlarge(blurred, surface.height.shape) - surface.height).clip(0, 1.5)


def _enlarge(field: Field, shape: tuple[int, ...]) -> Float[np.ndarray, "height width"]:
    from PIL import Image

    return np.asarray(Image.fromarray(field).resize((shape[1], shape[0]), Image.Resampling.BILINEAR))
