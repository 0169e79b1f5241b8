import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sagan_jax.checkpoint import Checkpoint, differences, epochs, open_checkpoints, restore, save
from sagan_jax.errors import UserError
from sagan_jax.scoring import calibrate

CONFIG = {"method": "sagan", "model": {"width": 4}}
LIKE = {"step": jax.ShapeDtypeStruct((), jnp.int32), "w": jax.ShapeDtypeStruct((2, 3), jnp.float32)}


def checkpoint(epoch):
    state = {"step": jnp.full((), epoch, jnp.int32), "w": jnp.full((2, 3), epoch / 3)}
    return Checkpoint(epoch, state, calibrate(np.linspace(0, epoch, 50)))


@pytest.fixture
def folder(tmp_path):
    """Five epochs, the second of them with the lowest validation loss, two to be kept."""
    with open_checkpoints(tmp_path / "checkpoints", CONFIG, keep=2) as checkpoints:
        for epoch, loss in enumerate((3.0, 1.0, 2.0, 2.5, 2.2), start=1):
            save(checkpoints, checkpoint(epoch), loss)
    return tmp_path / "checkpoints"


def test_a_checkpoint_comes_back_bit_for_bit(folder):
    with open_checkpoints(folder, CONFIG) as checkpoints:
        got = restore(checkpoints, LIKE)
    assert got.epoch == 5
    jax.tree.map(np.testing.assert_array_equal, got.state, checkpoint(5).state)
    np.testing.assert_array_equal(got.calibration.quantiles, checkpoint(5).calibration.quantiles)


def test_the_last_ones_and_the_best_are_kept_and_no_others(folder):
    with open_checkpoints(folder, CONFIG) as checkpoints:
        assert epochs(checkpoints) == [2, 4, 5]
        assert restore(checkpoints, LIKE, "best").epoch == 2


def test_a_run_gone_on_with_still_knows_the_best(folder):
    with open_checkpoints(folder, CONFIG, keep=1) as checkpoints:
        save(checkpoints, checkpoint(6), 1.5)
        assert epochs(checkpoints) == [2, 6]


def test_another_configuration_is_refused_by_the_names_of_its_settings(folder):
    with (
        open_checkpoints(folder, {"method": "sagan", "model": {"width": 8}}) as checkpoints,
        pytest.raises(UserError, match=r"another configuration: width is 4, not 8"),
    ):
        restore(checkpoints, LIKE)


def test_an_empty_folder_has_no_checkpoint(tmp_path):
    with open_checkpoints(tmp_path / "new", CONFIG) as checkpoints:
        assert epochs(checkpoints) == []
        with pytest.raises(UserError, match="there is no checkpoint in"):
            restore(checkpoints, LIKE)


def test_nothing_on_disk_is_a_pickle(folder):
    for path in folder.rglob("*"):
        assert path.is_dir() or not path.read_bytes().startswith(b"\x80"), path


def test_differences_name_nested_and_absent_settings():
    assert differences({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}}) == ["c is 2, not 3"]
    assert differences({"a": 1}, {"d": 2}) == ["a is 1, not absent", "d is absent, not 2"]
