"""Images that belong together are held out together."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagan_jax.config import FolderConfig
from sagan_jax.data.groups import Groups, groups_by, likely_groups
from sagan_jax.data.split import hold_out
from sagan_jax.errors import UserError

CROPS = np.array(["good/001_left.png", "good/002_left.png", "good/001_right.png", "good/010_left.png"])


@pytest.mark.parametrize(
    ("pattern", "numbers"),
    [
        (r"\d+", [0, 1, 0, 2]),
        (r"\d(\d)\d", [0, 0, 0, 1]),  # the bracket counts, not all that is found
        (r"left|right", [0, 0, 1, 0]),
        (r"(\d+)_left|(\d+)_right", [0, 1, 0, 2]),  # the bracket that took part, whichever it is
        (r"(?:00(\d)|01(\d))_(left|right)", [1, 2, 1, 0]),
        (r"(?:(x)y)?/(\d+)", [0, 1, 0, 2]),
    ],
)
def test_what_the_expression_finds_in_a_name_tells_the_group(pattern, numbers):
    assert groups_by(pattern, CROPS).numbers.tolist() == numbers


@pytest.mark.parametrize("pattern", [r"(10)?", r"x*", r"(x*)\d+", r"(1(?=0))?(2)?"])
def test_an_expression_that_finds_nothing_in_a_name_puts_it_into_no_group(pattern):
    with pytest.raises(UserError, match=r"finds nothing that names a group, in \d of 4 images: good/001_left\.png"):
        groups_by(pattern, CROPS)


def test_an_expression_that_tells_no_groups_is_refused():
    with pytest.raises(UserError, match=r"--group=left does not match 1 of 4 images: good/001_right\.png"):
        groups_by("left", CROPS)
    with pytest.raises(UserError, match="puts all 4 images into one group"):
        groups_by("0", CROPS)
    with pytest.raises(UserError, match=r"--group=\( is not a valid regular expression: missing \)"):
        FolderConfig(group="(")


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["good/01_a.png", "good/01_b.png", "good/02-1.png", "good/02-2.png"], [0, 0, 1, 1]),
        (["a_b/1-2_0.png", "a_b/1-2_1.png", "a_b/1-3_0.png", "a_b/1-3_1.png"], [0, 0, 1, 1]),
        (["good/0.png", "good/1.png", "good/2.png", "good/3.png"], None),
        (["IMG_0.png", "IMG_1.png", "IMG_2.png", "IMG_3.png"], None),  # one group alone
        (["01_a.png", "02_a.png", "03_a.png", "03_b.png"], None),  # hardly any belongs to another
    ],
)
def test_names_suggest_groups_where_several_images_have_the_same_beginning(names, numbers):
    groups = likely_groups(np.array(names))
    assert (groups and groups.numbers.tolist()) == numbers


def test_some_of_the_images_keep_their_groups():
    assert groups_by(r"\d+", CROPS).of(np.array([3, 2, 0])).numbers.tolist() == [1, 0, 0]


@given(
    numbers=st.lists(st.integers(0, 8), min_size=2, max_size=80).filter(lambda drawn: len(set(drawn)) > 1),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 3),
)
def test_a_group_is_held_out_whole_or_not_at_all(numbers, fraction, seed):
    groups = Groups("", np.unique(numbers, return_inverse=True)[1])
    kept, held_out = hold_out(len(numbers), fraction, seed, groups)
    assert sorted([*kept, *held_out]) == list(range(len(numbers)))
    assert len(kept) >= 1
    assert len(held_out) >= 1
    assert not set(groups.numbers[kept]) & set(groups.numbers[held_out])


def test_as_many_groups_are_held_out_as_come_nearest_to_the_fraction():
    tiles = Groups("", np.arange(300) % 15)  # of 20 images each; 15 % are 45
    assert len(hold_out(300, 0.15, 0, tiles)[1]) == 40
    assert len(hold_out(300, 0.17, 0, tiles)[1]) == 60  # 51
    assert len(hold_out(300, 0.01, 0, tiles)[1]) == 20  # one at least
    assert len(hold_out(300, 0.99, 0, tiles)[1]) == 280  # one is kept
    drawn = {tuple(np.unique(tiles.numbers[hold_out(300, 0.15, seed, tiles)[1]])) for seed in range(5)}
    assert len(drawn) > 1


def test_one_large_group_is_trained_on_and_the_small_one_held_out():
    film = Groups("", np.repeat([0, 1], [290, 10]))
    assert hold_out(300, 0.15, 0, film)[1].tolist() == list(range(290, 300))
