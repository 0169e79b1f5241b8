"""The axle end cover that the bolt scenes show: its shape as a height field, and what it is made of.

All of it is an invention of this project, drawn from no photograph. Lengths are in apothems of the bolt head
(half its width across flats); u runs right, v down, heights towards the camera.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

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


class Cover(NamedTuple):
    """The casting, its finish, and where its bolts are; the first bolt is the one in the middle of the picture."""

    surface: Surface
    fasteners: Fasteners
    bolts: list[Bolt]


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


def texture(rng: np.random.Generator, name: str, shape: tuple[int, int], pixels: int = 288) -> Field:
    """A random piece of noise ("cloud", "mottle" or "grain"); the same scene at any resolution gets the same one."""
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


def local(surface: Surface, u: float, v: float, turn: float) -> tuple[Field, Field]:
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


def make_cover(rng: np.random.Generator, u: Field, v: Field, pitch: float, reach: float) -> Cover:
    """A random casting with its finish and its fasteners' places, still without bolts.

    Bolts further from the first than `reach` are left out: the picture does not show them.
    """
    shape = u.shape
    circle, count = rng.uniform(3.6, 7.5), int(rng.integers(3, 9))
    count = min(count, int(np.pi / np.arcsin(1.75 / circle)))  # neighbours must leave room for a spanner
    around = rng.uniform(0, 2 * np.pi)
    center = circle * np.cos(around), circle * np.sin(around)
    angles = around + np.pi + 2 * np.pi * np.arange(count) / count
    places = np.stack([center[0] + circle * np.cos(angles), center[1] + circle * np.sin(angles)], axis=1)
    places = places[np.hypot(*places.T) < reach].tolist()

    r = np.hypot(u - np.float32(center[0]), v - np.float32(center[1]))
    rim = ramp(circle + rng.uniform(1.6, 2.8) - r, rng.uniform(0.12, 0.5))  # 1 on the cover, 0 on the axle box
    boss = ramp(circle - rng.uniform(1.6, 2.3) - r, rng.uniform(0.1, 0.6))
    height = rng.uniform(0.35, 1.0) * (rim - 1) + rng.uniform(0.08, 0.45) * (1 if rng.random() < 0.5 else -1) * boss
    surface = Surface(
        u=u,
        v=v,
        pitch=pitch,
        height=height.astype(np.float32),
        albedo=np.empty((3, *shape), np.float32),
        metal=np.zeros(shape, np.float32),
        gloss=np.full(shape, 0.1, np.float32),
        gap=np.full(shape, -np.inf, np.float32),
        abnormal=np.zeros(shape, bool),
    )
    finish = rng.choice(["paint", "paint", "cast", "machined"])
    cloud, mottle, grain = (texture(rng, name, shape) for name in ("cloud", "mottle", "grain"))
    paint = np.array(PAINTS[rng.integers(len(PAINTS))]) * rng.uniform(0.8, 1.2)
    base = {"paint": paint, "cast": np.array([0.15, 0.14, 0.13]), "machined": np.array(STEEL) * 0.8}[finish]
    surface.albedo[:] = base[:, None, None]
    surface.albedo *= 1 + 0.07 * cloud + 0.05 * mottle
    surface.gloss[:] = {"paint": rng.uniform(0.15, 0.55), "cast": 0.12, "machined": 0.35}[finish]
    surface.metal[:] = {"paint": 0.0, "cast": 0.25, "machined": 0.8}[finish]
    surface.height += {"paint": 0.003, "cast": 0.008, "machined": 0.0015}[finish] * grain + 0.006 * mottle
    if finish == "machined":  # turned on a lathe: fine grooves about the cover's centre
        surface.height += 0.004 * np.sin(r * rng.uniform(35, 60) + 0.4 * mottle)
    surface.cover(1 - rim, np.array(PAINTS[rng.integers(len(PAINTS))]) * 0.7, gloss=0.1)

    if rng.random() < 0.5:  # bolts sit on machined spot faces
        depth, radius = -0.07 if rng.random() < 0.5 else 0.16, rng.uniform(1.5, 1.75)
        bare = rng.random() < 0.5
        for x, y in places:
            near = surface.window(x, y, radius + 0.4)
            face = ramp(radius - distance(near, x, y), 0.14)
            near.height += depth * face
            if bare:
                near.cover(0.7 * face, STEEL, metal=0.7, gloss=0.3)
    if rng.random() < 0.35:  # cast ribs between the bolts
        half = np.pi / count
        angle = np.arctan2(v - np.float32(center[1]), u - np.float32(center[0])) - np.float32(around + np.pi + half)
        off = (angle + half) % (2 * half) - half  # from the nearest rib
        surface.height += rng.uniform(0.15, 0.4) * ramp(0.28 - np.abs(off) * r, 0.25) * (rim - boss).clip(0, 1)

    _weather(rng, surface, cloud, mottle, chips=finish == "paint")
    bolts = []
    for x, y in places:
        near = surface.window(x, y, 1.52)
        ring = np.abs(distance(near, x, y) - 1.46) < 0.05
        base = float(np.median(near.height[ring])) if ring.any() else 0.0
        bolts.append(Bolt(x, y, turn=rng.uniform(0, np.pi / 3), stripe=rng.uniform(0, 2 * np.pi), base=base))
    return Cover(surface, _fasteners(rng), bolts)


def _fasteners(rng: np.random.Generator) -> Fasteners:
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
        rust=rng.uniform(-2.2, 0.9),
    )


def _weather(rng: np.random.Generator, surface: Surface, cloud: Field, mottle: Field, *, chips: bool) -> None:
    """Chipped paint, rust and scratches on the casting itself."""
    from PIL import Image, ImageDraw

    if chips:
        amount = ramp(0.7 * mottle + 0.7 * cloud - rng.uniform(1.2, 3.2), 0.25)
        surface.height -= 0.02 * amount
        surface.cover(amount, RUST if rng.random() < 0.6 else STEEL, metal=0.3)
    amount = ramp(cloud + 0.45 * mottle - rng.uniform(0.6, 3.2), 1.4) * 0.85
    surface.height += 0.012 * amount * mottle
    surface.cover(amount, rust_color(mottle), gloss=0.03)

    rows, columns = surface.height.shape
    drawing = Image.new("L", (columns, rows))
    pen = ImageDraw.Draw(drawing)
    for _ in range(int(rng.integers(0, 6))):
        x, y, angle, length = (
            rng.uniform(0, columns),
            rng.uniform(0, rows),
            rng.uniform(0, np.pi),
            rng.uniform(0.1, 0.6),
        )
        ends = [(x, y), (x + length * columns * np.cos(angle), y + length * columns * np.sin(angle))]
        pen.line(ends, fill=int(rng.integers(90, 255)), width=max(1, rows // 288))
    lines = np.asarray(drawing, np.float32) / 255
    surface.height -= 0.012 * lines
    surface.cover(0.6 * lines, STEEL, metal=0.6, gloss=0.3)
    if rng.random() < 0.3:
        _stencil(rng, surface)


def _stencil(rng: np.random.Generator, surface: Surface) -> None:
    """An inventory number, painted or cast in, somewhere on the cover."""
    from PIL import Image, ImageDraw, ImageFont

    rows, columns = surface.height.shape
    text = "".join(rng.choice(list("0123456789ABEHKLRT"), int(rng.integers(2, 6))))
    size = int(rng.uniform(0.7, 1.3) / surface.pitch)
    drawing = Image.new("L", (columns, rows))
    place = int(rng.uniform(-0.1, 0.7) * columns), int(rng.uniform(0, 0.9) * rows)
    ImageDraw.Draw(drawing).text(place, text, fill=255, font=ImageFont.load_default(size))
    drawing = drawing.rotate(rng.uniform(-180, 180), Image.Resampling.BILINEAR)
    letters = np.asarray(drawing, np.float32) / 255
    if rng.random() < 0.5:
        surface.height += 0.08 * letters
    else:
        surface.cover(0.75 * letters, MARKERS[2] if rng.random() < 0.7 else MARKERS[0], gloss=0.2)


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
    p, q = local(near, bolt.u, bolt.v, bolt.turn + turned)
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
            s, t = local(wide, bolt.u, bolt.v, turn)
            stripe = ((np.abs(t) < 0.13) & (s > 0.1) & (s < 1.9)).astype(np.float32)
            on_head = wide.height > seat + 0.2
            wide.cover(0.85 * stripe * (on_head == head), fasteners.witness, gloss=0.3)


def rust_bolt(rng: np.random.Generator, surface: Surface, fasteners: Fasteners, bolt: Bolt) -> None:
    """Rust and worn edges of one bolt and its washer, some bolts more than others."""
    shape, level = surface.u.shape, fasteners.rust + rng.uniform(-0.5, 0.5)
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


def add_grime(rng: np.random.Generator, surface: Surface, hollow: Field, bolts: list[Bolt], down: float) -> None:
    """Brake dust in the hollows, dust patches, and grease that has run from bolts.

    Args:
        rng: Source of randomness.
        surface: Changed in place.
        hollow: How far a point lies under its surroundings.
        bolts: Grease runs from some of them.
        down: Direction of gravity in the picture, in radians.
    """
    shape = surface.u.shape
    cloud, mottle = texture(rng, "cloud", shape), texture(rng, "mottle", shape)
    level = rng.uniform(-0.5, 0.5)
    dirt = ramp(6.0 * hollow + 0.25 * cloud + 0.2 * mottle + level - 0.6, 1.3) * rng.uniform(0.4, 0.95)
    surface.cover(dirt, DIRT if rng.random() < 0.75 else DUST, gloss=0.03)
    dust = ramp(cloud * -0.8 + 0.3 * mottle - rng.uniform(0.4, 2.5), 1.5) * rng.uniform(0.2, 0.6)
    surface.cover(dust, DUST if rng.random() < 0.5 else DIRT, gloss=0.02)
    for bolt in bolts:
        chance, (wander, width, length, phase) = (
            rng.random(),
            rng.uniform([-0.3, 0.12, 1, 0], [0.3, 0.4, 4, 6]).tolist(),
        )
        if chance < 0.22:
            s, t = local(surface, bolt.u, bolt.v, down + 0.2 * wander)
            path = t - wander - 0.12 * np.sin(1.7 * s + phase)
            streak = np.exp(-((path / width) ** 2)) * ramp(s - 0.9, 0.6) * np.exp(-np.maximum(s, 0) / length)
            surface.cover(0.9 * ramp(streak + 0.03 * mottle - 0.3, 0.5), GREASE, gloss=0.6)
