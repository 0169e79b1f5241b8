"""Verdicts as a folder of Parquet: whole or resumable, and never others than those asked for."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sagan_jax.errors import UserError
from sagan_jax.inspection import verdict_folder
from sagan_jax.inspection.verdict_folder import parquet_to
from sagan_jax.inspection.verdicts import Verdict

LIMIT = 0.3


def verdict(number):
    if number == 2:
        return Verdict("b/\udcff.png", "unusable", None, None, LIMIT, "the file is empty", "")
    return Verdict(f"a/{number}.png", "normal", 0.1 * number, 0.5, LIMIT, "", "")


@pytest.fixture(autouse=True)
def _small_files(monkeypatch):
    monkeypatch.setattr(verdict_folder, "ROWS", 2)


def write_and_stop(path, numbers):
    with parquet_to(path, LIMIT) as growing:
        for number in numbers:
            growing.write(verdict(number))
        raise KeyboardInterrupt


def test_a_folder_has_the_rows_in_order_and_only_in_the_end_its_name(tmp_path):
    path = tmp_path / "v.parquet"
    with parquet_to(path, LIMIT) as growing:
        for number in range(5):
            growing.write(verdict(number))
        assert not path.exists()
    assert sorted(file.name for file in path.iterdir()) == [f"{i:08d}.parquet" for i in range(3)]
    rows = pq.read_table(path).to_pylist()
    assert rows == [
        verdict(number)._asdict() | ({"file": "b/\\udcff.png"} if number == 2 else {}) for number in range(5)
    ]
    with parquet_to(tmp_path / "none.parquet", LIMIT):
        pass
    assert pq.read_table(tmp_path / "none.parquet").column_names == list(Verdict._fields)


def test_a_stopped_command_leaves_what_it_had_and_is_gone_on_with(tmp_path, capsys):
    path = tmp_path / "v.parquet"
    with pytest.raises(KeyboardInterrupt):
        write_and_stop(path, range(3))
    assert "3 verdicts are in" in capsys.readouterr().err
    with pytest.raises(UserError, match="go on with --resume, or remove it"), parquet_to(path, LIMIT):
        pass
    (tmp_path / "v.parquet.part/.00000009.parquet.1.partial").touch()  # of a process that was killed
    with parquet_to(path, LIMIT, resume=True) as growing:
        assert growing.files == {"a/0.png": 1, "a/1.png": 1, "b/\\udcff.png": 1}
        assert growing.counts == {"normal": 2, "unusable": 1}
        growing.write(verdict(3))
    with parquet_to(path, LIMIT, resume=True) as growing:  # of a finished one too
        growing.write(verdict(4))
    assert pq.read_table(path)["score"].to_pylist() == [verdict(number).score for number in range(5)]


def test_nothing_is_left_of_a_command_that_had_no_verdict(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write_and_stop(tmp_path / "v.parquet", [])
    assert not list(tmp_path.iterdir())


def test_other_folders_are_left_as_they_are(tmp_path):
    path = tmp_path / "v.parquet"
    with parquet_to(path, LIMIT) as growing:
        growing.write(verdict(0))
    refused = [
        (0.4, True, r"has verdicts by the threshold 0\.3, not 0\.4"),
        (LIMIT, False, "is there already; go on with --resume, or remove it"),
    ]
    for limit, resume, why in refused:
        with pytest.raises(UserError, match=why), parquet_to(path, limit, resume=resume):
            pass
    with (
        parquet_to(path, LIMIT, resume=True),
        pytest.raises(UserError, match="being written by another process"),
        parquet_to(path, LIMIT, resume=True),
    ):
        pass
    assert pq.read_table(path).num_rows == 1
    other = tmp_path / "other.parquet"
    other.mkdir()
    pq.write_table(pa.table({"file": ["a"]}), other / "x.parquet")
    (tmp_path / "text.parquet").mkdir()
    (tmp_path / "text.parquet/notes.txt").write_text("hello")
    for name, why in (("other", "something else in it than verdicts"), ("text", "is not a folder of verdicts")):
        with pytest.raises(UserError, match=why), parquet_to(tmp_path / f"{name}.parquet", LIMIT, resume=True):
            pass
        assert len(list((tmp_path / f"{name}.parquet").iterdir())) == 1
    (tmp_path / "v.parquet.part").mkdir()
    with pytest.raises(UserError, match="move one of them away"), parquet_to(path, LIMIT, resume=True):
        pass
    assert pq.read_table(path).num_rows == 1
