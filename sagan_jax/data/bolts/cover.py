"""The axle end cover that the bolts hold: a casting with its finish, its wear and its dirt.

All of it is an invention of this project, drawn from no photograph.
"""

from typing import NamedTuple

import numpy as np

from sagan_jax.data.bolts.anomalies import Severity
from sagan_jax.data.bolts.fastener import Bolt, Fasteners, random_fasteners
from sagan_jax.data.bolts.surface import (
    DIRT,
    DUST,
    GREASE,
    MARKERS,
    PAINTS,
    RUST,
    STEEL,
    Field,
    Surface,
    distance,
    in_plane,
    ramp,
    rust_color,
    texture,
)


class Condition(NamedTuple):
    """How worn, rusty and dirty sound parts are, as the ranges that are drawn from. The defaults are of the field."""

    chips: tuple[float, float] = (1.2, 3.2)  # in chips, rust and dust the least is the worst
    rust: tuple[float, float] = (0.6, 3.2)
    bolt_rust: tuple[float, float] = (-2.2, 0.9)
    scratches: int = 5  # at most
    dirt: tuple[float, float] = (-0.5, 0.5)
    dirt_opacity: tuple[float, float] = (0.4, 0.95)
    dust: tuple[float, float] = (0.4, 2.5)
    dust_opacity: tuple[float, float] = (0.2, 0.6)
    greasy: float = 0.22  # share of bolts
    rust_spread: float = 0.5  # between the bolts of one part, either way
    splashes: int = 0  # of oil and mud, at most
    dulled: float = 0.0  # share of a head's and washer's colour that brake dust takes at most


class Subject(NamedTuple):
    """What is before the camera: where its looks are drawn from.

    Attributes:
        design: Source of all that parts of one type share. At a station it starts again for each photograph; nothing
            drawn from `wear` may decide how often it is asked.
        wear: Source of all that is this one part's own.
        condition: How worn sound parts are.
        severity: How plain damage is.
        reach: Bolts further from the first than this are left out: no picture shows them.
        turned: Radians by which the part lies turned about its first bolt.
        stripe_spread: Standard deviation in radians of a torque stripe's direction, as it is painted by hand.
    """

    design: np.random.Generator
    wear: np.random.Generator
    condition: Condition
    severity: Severity
    reach: float
    turned: float = 0.0
    stripe_spread: float = 0.0


class Cover(NamedTuple):
    """The casting, its finish, and where its bolts are; the first bolt is the one in the middle of the picture."""

    surface: Surface
    fasteners: Fasteners
    bolts: list[Bolt]


def make_cover(subject: Subject, u: Field, v: Field, pitch: float) -> Cover:
    """A casting with its finish and its fasteners' places, still without bolts."""
    shape, rng, wear = u.shape, subject.design, subject.wear
    circle, count = rng.uniform(3.6, 7.5), int(rng.integers(3, 9))
    count = min(count, int(np.pi / np.arcsin(1.75 / circle)))  # neighbours must leave room for a spanner
    around = rng.uniform(0, 2 * np.pi) + subject.turned
    center = circle * np.cos(around), circle * np.sin(around)
    angles = around + np.pi + 2 * np.pi * np.arange(count) / count
    places = np.stack([center[0] + circle * np.cos(angles), center[1] + circle * np.sin(angles)], axis=1)
    places = places[np.hypot(*places.T) < subject.reach].tolist()

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
    cloud, mottle, grain = (texture(wear, name, shape) for name in ("cloud", "mottle", "grain"))
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

    _weather(subject, surface, cloud, mottle, chips=finish == "paint")
    bolts = []
    for x, y in places:
        near = surface.window(x, y, 1.52)
        ring = np.abs(distance(near, x, y) - 1.46) < 0.05
        base = float(np.median(near.height[ring])) if ring.any() else 0.0
        turn, stripe = wear.uniform(0, np.pi / 3), rng.uniform(0, 2 * np.pi) + subject.turned
        if subject.stripe_spread:
            stripe += wear.normal(0, subject.stripe_spread)
        bolts.append(Bolt(x, y, turn=turn, stripe=stripe, base=base))
    return Cover(surface, random_fasteners(rng, subject.condition.bolt_rust), bolts)


def _weather(subject: Subject, surface: Surface, cloud: Field, mottle: Field, *, chips: bool) -> None:
    """Chipped paint, rust and scratches on the casting itself."""
    from PIL import Image, ImageDraw

    rng, condition = subject.wear, subject.condition
    if chips:
        amount = ramp(0.7 * mottle + 0.7 * cloud - rng.uniform(*condition.chips), 0.25)
        surface.height -= 0.02 * amount
        surface.cover(amount, RUST if rng.random() < 0.6 else STEEL, metal=0.3)
    amount = ramp(cloud + 0.45 * mottle - rng.uniform(*condition.rust), 1.4) * 0.85
    surface.height += 0.012 * amount * mottle
    surface.cover(amount, rust_color(mottle), gloss=0.03)

    rows, columns = surface.height.shape
    drawing = Image.new("L", (columns, rows))
    pen = ImageDraw.Draw(drawing)
    for _ in range(int(rng.integers(0, condition.scratches + 1))):
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
    if subject.design.random() < 0.3:
        _number(subject, surface)


def _number(subject: Subject, surface: Surface) -> None:
    """An inventory number, painted or cast in: each part has its own, parts of one type at the same place."""
    from PIL import Image, ImageDraw, ImageFont

    rows, columns = surface.height.shape
    rng = subject.design
    text = "".join(subject.wear.choice(list("0123456789ABEHKLRT"), int(rng.integers(2, 6))))
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


def add_grime(subject: Subject, surface: Surface, hollow: Field, bolts: list[Bolt], down: float) -> None:
    """Brake dust in the hollows, dust patches, and grease that has run from bolts.

    Args:
        subject: What is before the camera.
        surface: Changed in place.
        hollow: How far a point lies under its surroundings.
        bolts: Grease runs from some of them.
        down: Direction of gravity in the picture, in radians.
    """
    rng, condition, shape = subject.wear, subject.condition, surface.u.shape
    cloud, mottle = texture(rng, "cloud", shape), texture(rng, "mottle", shape)
    level = rng.uniform(*condition.dirt)
    dirt = ramp(6.0 * hollow + 0.25 * cloud + 0.2 * mottle + level - 0.6, 1.3) * rng.uniform(*condition.dirt_opacity)
    surface.cover(dirt, DIRT if rng.random() < 0.75 else DUST, gloss=0.03)
    dust = ramp(cloud * -0.8 + 0.3 * mottle - rng.uniform(*condition.dust), 1.5) * rng.uniform(*condition.dust_opacity)
    surface.cover(dust, DUST if rng.random() < 0.5 else DIRT, gloss=0.02)
    if condition.splashes:
        _splash(subject, surface, mottle)
    for bolt in bolts:
        chance, (wander, width, length, phase) = (
            rng.random(),
            rng.uniform([-0.3, 0.12, 1, 0], [0.3, 0.4, 4, 6]).tolist(),
        )
        if chance < condition.greasy:
            s, t = in_plane(surface, bolt.u, bolt.v, down + 0.2 * wander)
            path = t - wander - 0.12 * np.sin(1.7 * s + phase)
            streak = np.exp(-((path / width) ** 2)) * ramp(s - 0.9, 0.6) * np.exp(-np.maximum(s, 0) / length)
            surface.cover(0.9 * ramp(streak + 0.03 * mottle - 0.3, 0.5), GREASE, gloss=0.6)


def _splash(subject: Subject, surface: Surface, mottle: Field) -> None:
    """Spots of oil and mud on cover and bolts alike: flat, round and soft at the edge, as no crack is."""
    rng = subject.wear
    for _ in range(int(rng.integers(0, subject.condition.splashes + 1))):
        u, v = rng.uniform(-0.5, 0.5, 2) * subject.reach
        radius, stretch, opacity = rng.uniform([0.1, 1.0, 0.4], [0.4, 1.6, 0.9])
        near = surface.window(u, v, 1.5 * radius * stretch)
        rows, columns = near.u.shape
        s, t = in_plane(near, u, v, rng.uniform(0, np.pi))
        spot = ramp(radius * (1 + 0.12 * mottle[:rows, :columns]) - np.hypot(s / stretch, t), 0.12)
        color, gloss = [(GREASE, 0.5), (DIRT, 0.03), (DUST, 0.02)][rng.integers(3)]
        near.cover(opacity * spot, color, gloss=gloss)
