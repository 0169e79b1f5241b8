"""An inspection station: one rig before one type of part. The seed decides both; photographs differ in the rest.

Pose, light and exposure wander a little; every part has its own wear, rust, dirt and turn of its bolt heads. Wear
never looks like damage: it is flat, lies on the casting or films a head, and leaves every head whole and on its seat.
"""

import numpy as np

from sagan_jax.data.bolts.anomalies import Severity
from sagan_jax.data.bolts.camera import Camera
from sagan_jax.data.bolts.cover import Condition, Subject

_CONDITION = Condition(
    chips=(1.5, 3.2),
    rust=(1.0, 3.2),
    bolt_rust=(-1.3, -0.7),
    rust_spread=0.8,
    scratches=5,
    dirt=(-0.6, 0.3),
    dirt_opacity=(0.3, 0.8),
    dust=(0.8, 2.5),
    dust_opacity=(0.1, 0.5),
    greasy=0.2,
    splashes=6,
    dulled=0.7,
)
SEVERITY = Severity(lift=(0.12, 0.4), slope=(0.04, 0.16), turned=(0.2, 0.6), crack=(0.02, 0.04), left=(0.0, 0.6))
RIG, PART = 201, 202  # streams of the seed: what is fixed for the whole set


def station_camera(seed: int) -> Camera:
    """The rig's camera and lamp as they were set up: the bolt in the middle, in focus, evenly lit, standing still."""
    rng = np.random.default_rng([seed, RIG])
    zoom = rng.uniform(2.3, 2.8)
    return Camera(
        zoom=zoom,
        center=(rng.uniform(-0.08, 0.08) * zoom, rng.uniform(-0.08, 0.08) * zoom),
        tilt=rng.uniform(0.12, 0.28),
        direction=rng.uniform(0, 2 * np.pi),
        light=rng.uniform(0, 2 * np.pi),
        elevation=rng.uniform(0.65, 0.95),
        softness=rng.uniform(0.2, 0.5),
        ambient=rng.uniform(0.35, 0.6),
        warmth=rng.normal(0, 0.03),
        exposure=rng.uniform(0.14, 0.2),
        vignette=rng.uniform(0, 0.15),
        blur=rng.uniform(0, 0.5),
        focus=rng.uniform(-0.2, 0.2),
        shake=0.0,
        shake_direction=0.0,
        noise=rng.uniform(0.003, 0.006),
        quality=int(rng.integers(88, 95)),
    )


def at_station(seed: int, rng: np.random.Generator) -> tuple[Subject, Camera]:
    """The next part that comes before the rig, and the camera as it stands to it."""
    rig = station_camera(seed)
    zoom = rig.zoom * rng.normal(1, 0.02)
    camera = rig._replace(
        zoom=zoom,
        center=(rig.center[0] + rng.normal(0, 0.14), rig.center[1] + rng.normal(0, 0.14)),
        light=rig.light + rng.normal(0, 0.1),
        elevation=rig.elevation + rng.normal(0, 0.03),
        ambient=rig.ambient * rng.normal(1, 0.12),  # daylight that strays in
        warmth=rig.warmth + rng.normal(0, 0.015),
    )
    subject = Subject(
        design=np.random.default_rng([seed, PART]),
        wear=rng,
        condition=_CONDITION,
        severity=SEVERITY,
        reach=2.2 * rig.zoom + 1.5,
        turned=rng.normal(0, 0.08),
        stripe_spread=0.08,
    )
    return subject, camera
