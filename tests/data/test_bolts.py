from itertools import combinations

import numpy as np
import pytest
from scipy import ndimage

from sagan_jax.data.bolts.cover import make_cover
from sagan_jax.data.bolts.fastener import head_shape
from sagan_jax.data.bolts.scenes import KINDS, PARTS, SITES, bolt_scene, build, load_bolts
from sagan_jax.data.bolts.station import SEVERITY, at_station
from sagan_jax.data.bolts.surface import in_plane
from sagan_jax.errors import UserError


def test_a_scene_is_the_same_whenever_it_is_made():
    first = bolt_scene(3, 1, size=32, abnormal="broken")
    bolt_scene(3, 0, size=32)
    again = bolt_scene(3, 1, size=32, abnormal="broken")
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert first[0].shape == (32, 32, 3)
    assert first[1].shape == (32, 32)


def test_seed_part_and_index_each_make_another_scene():
    scenes = [bolt_scene(seed, index, size=32, part=part)[0] for seed in (0, 1) for index in (0, 1) for part in PARTS]
    assert len({scene.tobytes() for scene in scenes}) == 12


@pytest.mark.parametrize("site", SITES)
def test_normal_scenes_are_unmarked(site):
    assert not any(bolt_scene(0, index, size=32, site=site)[1].any() for index in range(3))


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("kind", KINDS)
def test_an_anomaly_is_marked_where_it_changes_the_picture(kind, site):
    # Outside there are its shadow and, in the field, the automatic exposure's answer; inside only the thing itself.
    inside, outside, areas = [], [], []
    for index in range(3):
        image, mask = bolt_scene(0, index, abnormal=kind, site=site)
        change = np.abs(image.astype(float) - bolt_scene(0, index, site=site)[0]).mean(-1)
        inside.append(change[mask].mean())
        outside.append(change[~mask].mean())
        areas.append(mask.mean())
    assert np.mean(inside) > (20 if kind == "cracked" else 2.5) * np.mean(outside)
    assert min(areas) > 0.001
    assert max(areas) < 0.5


def test_small_pictures_are_the_large_one_reduced():
    large, large_mask = bolt_scene(0, 2, size=128, abnormal="missing")
    for size in (32, 64):
        small, mask = bolt_scene(0, 2, size=size, abnormal="missing")
        factor = 128 // size
        blocks = large.reshape(size, factor, size, factor, 3).mean((1, 3))
        np.testing.assert_allclose(small, blocks, atol=1)
        assert abs(mask.mean() - large_mask.mean()) < 0.03


def test_a_larger_picture_shows_the_same_scene():
    large, _ = bolt_scene(0, 2, size=256, site="field")
    reduced = large.reshape(128, 2, 128, 2, 3).mean((1, 3))
    small = bolt_scene(0, 2, site="field")[0]
    correlation = np.corrcoef(reduced.ravel(), small.ravel())[0, 1]
    assert correlation > 0.9
    assert correlation > np.corrcoef(bolt_scene(0, 3, site="field")[0].ravel(), small.ravel())[0, 1] + 0.2


def test_a_set_is_its_scenes_in_the_order_of_the_protocol():
    split = load_bolts(size=32, seed=5, train=3, test_normal=2, test_abnormal=6)
    assert split.train.shape == (3, 32, 32, 3)
    assert split.test_labels.tolist() == [False] * 2 + [True] * 6
    assert split.test_kinds is not None
    assert split.test_kinds.tolist() == ["good"] * 2 + [*KINDS, KINDS[0]]
    assert split.test_ids[2] == "test_abnormal/00000"
    assert split.test_masks is not None
    assert split.test_masks.any((1, 2)).tolist() == split.test_labels.tolist()
    np.testing.assert_array_equal(split.train[2], bolt_scene(5, 2, size=32)[0])
    image, mask = bolt_scene(5, 3, size=32, abnormal=KINDS[3], part="test_abnormal")
    np.testing.assert_array_equal(split.test[5], image)
    np.testing.assert_array_equal(split.test_masks[5], mask)


def test_a_cached_set_is_read_back_and_not_made_again(tmp_path):
    made = []
    counts = {"size": 16, "train": 2, "test_normal": 1, "test_abnormal": 2, "cache_dir": tmp_path / "new"}
    first = load_bolts(**counts, progress=made.append)
    again = load_bolts(**counts, progress=made.append)
    assert made == [1, 2, 3, 4, 5]
    for left, right in zip(first[2:], again[2:], strict=True):
        np.testing.assert_array_equal(left, right)
    assert load_bolts(**counts | {"seed": 1}).train.tobytes() != first.train.tobytes()
    in_the_field = load_bolts(**counts, site="field")
    assert in_the_field.train.tobytes() != first.train.tobytes()
    assert (first.name, in_the_field.name) == ("bolts at a station (synthetic)", "bolts (synthetic)")
    assert len(list((tmp_path / "new").iterdir())) == 3


@pytest.mark.parametrize(
    ("seed", "index", "abnormal", "quarters"),
    [
        (0, 0, None, [[[145.4, 128.9, 110.3], [138.8, 120.7, 103.1]], [[151.8, 134.3, 117.0], [159.2, 144.1, 125.3]]]),
        (
            0,
            1,
            "broken",
            [[[108.3, 136.8, 123.7], [138.5, 156.6, 146.4]], [[92.1, 111.2, 102.7], [97.9, 103.5, 102.8]]],
        ),
        (
            3,
            2,
            "foreign",
            [[[150.0, 147.9, 148.0], [144.3, 140.3, 137.0]], [[128.4, 127.1, 129.7], [130.8, 129.5, 132.3]]],
        ),
    ],
)
def test_field_scenes_are_those_of_the_results_on_record(seed, index, abnormal, quarters):
    # Mean colours of the quarters: the last bit of a pixel may differ between processors and JPEG libraries.
    image, _ = bolt_scene(seed, index, size=64, abnormal=abnormal, site="field")
    np.testing.assert_allclose(image.reshape(2, 32, 2, 32, 3).mean((1, 3)), quarters, atol=1)


def difference(seed, site):
    """Mean absolute difference of two normal photographs at 16 pixels, over pairs."""
    images = [bolt_scene(seed, index, size=16, site=site)[0].astype(float) for index in range(5)]
    return np.mean([np.abs(left - right).mean() for left, right in combinations(images, 2)])


@pytest.mark.parametrize("seed", [0, 1])
def test_a_stations_photographs_are_much_closer_to_each_other(seed):
    assert difference(seed, "station") < 0.6 * difference(seed, "field")


def test_stations_differ_as_much_as_parts_in_the_field_do():
    images = [bolt_scene(seed, 0, size=16)[0].astype(float) for seed in range(5)]
    across = np.mean([np.abs(left - right).mean() for left, right in combinations(images, 2)])
    assert across > 1.3 * difference(0, "station")


def fastened(seed, index):
    """A sound part at a station: its surface, make and middle bolt, in a small picture."""
    rng = np.random.default_rng([index, 1])
    subject, camera = at_station(seed, rng)
    surface = build(subject, rng, camera, 64, None)
    again, _ = at_station(seed, np.random.default_rng([index, 1]))
    cover = make_cover(again, surface.u, surface.v, surface.pitch)
    return subject, surface, cover.fasteners, cover.bolts[0]


@pytest.mark.parametrize("seed", range(6))
def test_a_stations_design_is_the_same_whatever_the_wear(seed):
    parts = [fastened(seed, index) for index in range(4)]
    assert len({str(subject.design.bit_generator.state) for subject, *_ in parts}) == 1
    assert len({fasteners for _, _, fasteners, _ in parts}) == 1
    assert len({bolt.turn for *_, bolt in parts}) == 4  # heads end wherever the spanner left them


@pytest.mark.parametrize("seed", range(4))
def test_wear_leaves_a_head_on_its_seat_far_below_the_least_loose_one(seed):
    for index in range(4):
        _, surface, fasteners, bolt = fastened(seed, index)
        top, inside = head_shape(fasteners, *in_plane(surface, bolt.u, bolt.v, bolt.turn))
        lifted = surface.height - top - bolt.base - fasteners.washer_height
        assert abs(np.median(lifted[inside])) < 0.04 < SEVERITY.lift[0] / 2
        assert not surface.abnormal.any()


def test_a_stations_exposure_does_not_answer_to_what_it_sees():
    changes = {}
    for site in SITES:
        image, mask = bolt_scene(0, 1, abnormal="foreign", site=site)
        far = ~ndimage.binary_dilation(mask, iterations=24)  # pixels from it, beyond its shadow
        changes[site] = np.abs(image.astype(float) - bolt_scene(0, 1, site=site)[0])[far].mean()
    assert changes["station"] < 0.3
    assert changes["field"] > 1


def test_what_is_not_allowed_is_said():
    with pytest.raises(UserError, match="allowed are None, missing, broken, cracked, loose, foreign"):
        bolt_scene(0, 0, abnormal="rusty")
    with pytest.raises(UserError, match="allowed are train, test_normal, test_abnormal"):
        bolt_scene(0, 0, part="test")
    with pytest.raises(UserError, match="site='depot' is unknown; allowed are station, field"):
        bolt_scene(0, 0, site="depot")
    with pytest.raises(UserError, match="allowed are station, field"):
        load_bolts(site="depot")
    with pytest.raises(UserError, match="size must be at least 16"):
        bolt_scene(0, 0, size=8)
    with pytest.raises(UserError, match="at least one training image"):
        load_bolts(train=0)
