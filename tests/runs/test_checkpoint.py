import itertools
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sagan_jax.errors import UserError
from sagan_jax.judging.calibration import calibrate
from sagan_jax.runs.checkpoint import (
    Checkpoint,
    differences,
    epochs,
    fingerprint,
    open_checkpoints,
    read_epoch,
    restore,
    save,
)
from sagan_jax.runs.identity import with_more_epochs

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


def test_a_folder_that_orbax_takes_for_a_pattern_is_refused_but_may_be_moved_to(folder, tmp_path):
    """It would write checkpoints there, without an error, that nothing can read."""
    odd = pytest.raises(UserError, match=r"cannot be kept in a folder with \[ in its path")
    with odd, open_checkpoints(tmp_path / "[lot 5]" / "checkpoints", CONFIG):
        pass
    assert not (tmp_path / "[lot 5]").exists()
    moved = tmp_path / "[lot 5]*?"
    folder.rename(moved)
    with open_checkpoints(moved, CONFIG, keep=None) as checkpoints:
        assert restore(checkpoints, LIKE).epoch == 5


def test_the_last_ones_and_the_best_are_kept_and_no_others(folder):
    with open_checkpoints(folder, CONFIG) as checkpoints:
        assert epochs(checkpoints) == [2, 4, 5]
        assert restore(checkpoints, LIKE, "best").epoch == 2
        assert restore(checkpoints, LIKE, np.int64(4)).epoch == 4
        with pytest.raises(UserError, match="the epoch is 'latest'; it must be 'last', 'best' or a number"):
            restore(checkpoints, LIKE, "latest")


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


def bits(checkpoint):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves((checkpoint.state, checkpoint.calibration))]


def flip(content):
    rng = np.random.default_rng(len(content))
    content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    return content


DAMAGES = (flip, lambda content: content[: len(content) // 2], lambda content: bytes(len(content)), None)


# orbax gives up a read with others under way; on a busy machine one of them ends when its event loop is closed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_damaged_checkpoint_is_the_same_bits_or_an_error_whichever_file_it_is(folder, tmp_path):
    refused = 0
    files = sorted(path.relative_to(folder) for path in (folder / "5").rglob("*") if path.is_file())
    for file, damage in zip(files, itertools.cycle(DAMAGES), strict=False):
        copy = tmp_path / "copy"
        shutil.copytree(folder, copy)
        (copy / file).write_bytes(damage(bytearray((copy / file).read_bytes()))) if damage else (copy / file).unlink()
        try:
            with open_checkpoints(copy, CONFIG) as checkpoints:
                assert bits(read_epoch(checkpoints, LIKE, 5)) == bits(checkpoint(5)), file
        except UserError:
            refused += 1
        shutil.rmtree(copy)
    assert refused >= 5  # the other files say nothing of the arrays


def test_a_bit_flipped_in_an_array_is_found_by_the_fingerprint_and_a_whole_checkpoint_is_named(folder):
    part = max((folder / "5/state/ocdbt.process_0/d").iterdir(), key=lambda path: path.stat().st_size)
    whole = part.read_bytes()
    with open_checkpoints(folder, CONFIG) as checkpoints:
        for place in range(len(whole) // 2, len(whole), 50):  # not every bit of a compressed block says something
            part.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            try:
                restore(checkpoints, LIKE)
            except UserError as error:
                if "it is not what was written" in str(error):
                    break
        with pytest.raises(UserError, match=r"5 is damaged: it is not what was written.* that of epoch 4 is whole"):
            restore(checkpoints, LIKE)
        assert restore(checkpoints, LIKE, "best").epoch == 2
        assert epochs(checkpoints) == [2, 4, 5]
    shutil.move(folder / "5", folder.parent / "5")  # as the message says
    with open_checkpoints(folder, CONFIG) as checkpoints:
        assert bits(restore(checkpoints, LIKE)) == bits(checkpoint(4))


def test_a_fingerprint_is_of_every_bit():
    def of(state, epoch=1, config=CONFIG, loss=1.0):
        return fingerprint(checkpoint(1)._replace(epoch=epoch, state=state), config, {"loss": loss})

    state = {"a": np.array([0.0, 1.0], np.float32), "b": np.zeros((), np.int32)}
    others = [
        of(state | {"a": np.array([-0.0, 1.0], np.float32)}),
        of(state | {"a": np.array([[0.0, 1.0]], np.float32)}),
        of(state | {"a": np.array([0.0, 1.0], np.float32).view(np.int32)}),
        of({"a": state["a"], "c": state["b"]}),
        of(state, epoch=2),
        of(state, config={}),
        of(state, loss=np.nextafter(1.0, 2.0)),
    ]
    assert of(state) == of(jax.tree.map(jnp.asarray, state))
    assert len({of(state), *others}) == 1 + len(others)


@pytest.mark.parametrize("content", [{}, {"default": b"not a checkpoint"}, {"state/_METADATA": b"{}"}])
def test_a_foreign_folder_is_no_checkpoint(folder, content):
    for name, text in content.items():
        (folder / "9" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "9" / name).write_bytes(text)
    (folder / "9").mkdir(exist_ok=True)
    with open_checkpoints(folder, CONFIG) as checkpoints:
        try:
            assert restore(checkpoints, LIKE).epoch == 5  # not taken for one
        except UserError as error:
            assert "9 is damaged, or was written by another version of this program" in str(error)  # noqa: PT017
    shutil.rmtree(folder / "9")
    with open_checkpoints(folder, CONFIG) as checkpoints:
        assert restore(checkpoints, LIKE).epoch == 5  # the others are as they were


def test_a_newer_versions_checkpoint_is_not_guessed_at(folder):
    path = folder / "5/integrity/metadata"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with (
        open_checkpoints(folder, CONFIG) as checkpoints,
        pytest.raises(UserError, match="is of format 99, which a newer version of sagan-jax wrote"),
    ):
        restore(checkpoints, LIKE)


def test_a_checkpoint_from_before_fingerprints_is_read(folder):
    shutil.rmtree(folder / "5/integrity")
    with open_checkpoints(folder, CONFIG) as checkpoints:
        assert bits(restore(checkpoints, LIKE)) == bits(checkpoint(5))


def test_a_checkpoint_made_on_another_kind_of_device_is_read_on_this_one(folder):
    path = folder / "5/state/_sharding"
    there = path.read_text()
    assert "cpu:0" in there.lower()
    path.write_text(there.replace("cpu:0", "cuda:0").replace("CPU:0", "cuda:0"))
    with open_checkpoints(folder, CONFIG) as checkpoints:
        assert bits(restore(checkpoints, LIKE)) == bits(checkpoint(5))


def test_reading_alone_touches_nothing_that_a_running_process_may_be_writing(folder):
    half = folder / "6.orbax-checkpoint-tmp"
    half.mkdir()
    with open_checkpoints(folder, CONFIG, keep=None) as checkpoints:
        assert restore(checkpoints, LIKE).epoch == 5
        assert restore(checkpoints, LIKE, "best").epoch == 2
    assert half.exists()
    with open_checkpoints(folder, CONFIG) as checkpoints:
        save(checkpoints, checkpoint(7), 3.0)
    assert not half.exists()


def test_nothing_on_disk_is_a_pickle(folder):
    for path in folder.rglob("*"):
        assert path.is_dir() or not path.read_bytes().startswith(b"\x80"), path


def test_differences_name_nested_and_absent_settings():
    assert differences({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}}) == ["c is 2, not 3"]
    assert differences({"a": 1}, {"d": 2}) == ["a is 1, not absent", "d is absent, not 2"]


@pytest.mark.parametrize(
    ("epochs", "steps", "agrees"), [(10, 26, True), (10, 25, True), (10, 13, False), (4, 10, False)]
)
def test_more_epochs_keep_their_steps_to_within_what_two_roundings_lose(epochs, steps, agrees):
    stored, wanted = ({"training": {"epochs": e, "steps": s}} for e, s in ((5, 13), (epochs, steps)))
    assert (with_more_epochs(stored, wanted) == wanted) == agrees


def test_training_images_are_compared_where_both_runs_know_theirs():
    assert differences({"a": 1}, {"a": 1, "train_checksum": "f0"}) == []
    (told,) = differences({"train_checksum": "f0"}, {"train_checksum": "0f"})
    assert told.startswith("the training images are others, or were kept in memory and are now streamed")
