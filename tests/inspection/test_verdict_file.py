"""Files of verdicts grow as verdicts come; whatever stops that, what was finished is kept and gone on with."""

import csv
import errno
import json
import os
from contextlib import contextmanager
from pathlib import Path

import pytest

from sagan_jax.errors import UserError
from sagan_jax.inspection import verdict_file
from sagan_jax.inspection.verdict_file import read_rows, remaining, row_of, written_to
from sagan_jax.inspection.verdicts import Verdict

LIMIT = 0.1 + 0.2
NAMES = [
    "a.png",
    'quo"te,comma.png',
    "line\nbreak.png",
    "carriage\rreturn.png",
    os.fsdecode(b"no \xff text.png"),
    "снег.png",
]
VERDICTS = [
    Verdict(name, "abnormal" if i % 2 else "normal", 0.123456789 * i, i / 7, LIMIT, "", "")
    for i, name in enumerate(NAMES)
]
VERDICTS[3] = Verdict(NAMES[3], "unusable", None, None, LIMIT, "damaged, or cut short", "")
FORMS = pytest.mark.parametrize("suffix", [".csv", ".json", ".jsonl"])


def write_all(path, verdicts=VERDICTS, **options):
    with written_to(path, LIMIT, **options) as growing:
        left = remaining([Path(verdict.file) for verdict in verdicts], growing.files)
        for verdict in verdicts:
            if Path(verdict.file) in left:
                growing.write(verdict)
    return path.read_bytes()


def stop_after(path, count, error=KeyboardInterrupt, **options):
    """Writes so many verdicts, and is stopped; returns the part that is left."""

    def stopped():
        with written_to(path, LIMIT, **options) as growing:
            for verdict in VERDICTS[:count]:
                growing.write(verdict)
            raise error

    with pytest.raises(error):
        stopped()
    return path.with_name(f"{path.name}.part")


@FORMS
def test_a_file_is_utf_8_whatever_the_names_and_has_a_row_a_verdict(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    text = write_all(path).decode()
    if suffix == ".csv":
        rows = list(csv.DictReader(text.splitlines(keepends=True)))
    else:
        rows = json.loads(text) if suffix == ".json" else [json.loads(line) for line in text.splitlines()]
    assert [tuple(row) for row in rows] == [Verdict._fields] * len(NAMES)
    assert [row["verdict"] for row in rows] == [verdict.verdict for verdict in VERDICTS]
    assert [row["file"] for row in rows] == [*NAMES[:4], r"no \udcff text.png", NAMES[5]]
    assert [path.name for path in tmp_path.iterdir()] == [path.name]


@FORMS
def test_each_verdict_is_in_the_part_as_soon_as_it_is_written(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    with written_to(path, LIMIT) as growing:
        for done, verdict in enumerate(VERDICTS[:2], start=1):
            growing.write(verdict)
            rows = (tmp_path / f"a{suffix}.part").read_bytes().splitlines()
            assert len(rows) == done + (suffix == ".csv")
        assert not path.exists()


@FORMS
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, RuntimeError, OSError])
def test_what_was_finished_is_kept_however_it_was_stopped_and_gone_on_with(tmp_path, suffix, error, capsys):
    whole = write_all(tmp_path / f"whole{suffix}")
    path = tmp_path / f"a{suffix}"
    part = stop_after(path, 4, error)
    assert not path.exists()
    assert f"4 verdicts are in {part}; the same command with --resume goes on" in capsys.readouterr().err
    with pytest.raises(UserError, match="go on with --resume, or remove it"), written_to(path, LIMIT):
        pass
    stop_after(path, 0, error, resume=True)  # and stopped again
    with written_to(path, LIMIT, resume=True) as growing:
        assert sum(growing.files.values()) == 4
        assert growing.counts == {"normal": 2, "abnormal": 1, "unusable": 1}
        for verdict in VERDICTS[4:]:
            growing.write(verdict)
    assert path.read_bytes() == whole
    assert not part.exists()


@FORMS
def test_a_part_cut_anywhere_as_by_a_kill_is_gone_on_with_to_the_same_bytes(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda file: None)  # for speed
    whole = write_all(tmp_path / f"whole{suffix}")
    path = tmp_path / f"a{suffix}"
    content = stop_after(path, 6).read_bytes()
    last_row = stop_after(tmp_path / f"b{suffix}", 5).stat().st_size
    for length in (*range(5), *range(last_row - 1, len(content), 3), len(content) - 1):
        (tmp_path / f"a{suffix}.part").write_bytes(content[:length])
        assert write_all(path, resume=True) == whole, length
        path.unlink()


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_part_cut_at_any_byte_has_the_rows_that_are_whole(tmp_path, suffix):
    names = ["a.png", "снег☃.png", 'quo"te\n"".png', "🙂\r\n,.png"]
    verdicts = [Verdict(name, "normal", 0.5, 0.5, LIMIT, "", f"maps/{name}") for name in names]
    path = tmp_path / f"a{suffix}"
    part, ends, rows = tmp_path / f"a{suffix}.part", [], [row_of(verdict, suffix) for verdict in verdicts]
    with written_to(path, LIMIT) as growing:
        for verdict in verdicts:
            growing.write(verdict)
            ends.append(part.stat().st_size)
        content = part.read_bytes()
    for length in range(len(content) + 1):
        part.write_bytes(content[:length])
        found, _ = read_rows(part, LIMIT, suffix)
        assert found == rows[: sum(end <= length for end in ends)], length


@FORMS
def test_a_finished_file_is_gone_on_with_too_and_stays_until_the_new_one_is_whole(tmp_path, suffix):
    whole = write_all(tmp_path / f"whole{suffix}")
    path = tmp_path / f"a{suffix}"
    before = write_all(path, VERDICTS[:3])
    stop_after(path, 0, resume=True)
    assert path.read_bytes() == before
    assert write_all(path, resume=True) == whole


def test_nothing_finished_leaves_nothing_behind(tmp_path):
    assert not stop_after(tmp_path / "a.csv", 0).exists()


@FORMS
def test_a_part_by_another_threshold_or_of_something_else_is_refused_and_left_alone(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    part = stop_after(path, 4)
    content = part.read_bytes()
    with pytest.raises(UserError, match=r"has verdicts by the threshold 0\.3"), written_to(path, 0.5, resume=True):
        pass
    assert part.read_bytes() == content
    strangers = [
        b"\xff\xfe",
        b"notes",
        b"notes\n",
        content + b"notes\n",
        b"name,score\nx,1\n",
        b'{"a": 1}\n',
        b"[1]\n",
        b"1\n2\n",
    ]
    for other in (*strangers, content + b"notes\n", content[:60] + b"\n" + content):
        part.write_bytes(other)
        with pytest.raises(UserError, match="move it away to begin anew"), written_to(path, LIMIT, resume=True):
            pass
        assert part.read_bytes() == other


@FORMS
def test_a_file_of_something_else_is_refused_and_left_alone(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    lost = {".csv": b"file,verdict\na.png,normal\n", ".json": b"{}", ".jsonl": b'{"file": "a.png"}'}[suffix]
    for other in (b"notes", b"notes\n", b"\xff\xfe", b"[" * 100_000, lost):
        path.write_bytes(other)
        for resume in (False, True):
            with (
                pytest.raises(UserError, match=r"file of verdicts .*begin anew|than verdicts"),
                written_to(path, LIMIT, resume=resume),
            ):
                pass
            assert path.read_bytes() == other
    path.unlink()
    part = stop_after(path, 2)
    content = part.read_bytes()
    path.write_bytes(b"notes\n")
    with pytest.raises(UserError, match="begin anew"), written_to(path, LIMIT, resume=True):
        pass
    assert (path.read_bytes(), part.read_bytes()) == (b"notes\n", content)
    part.unlink()
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UserError, match="is not a regular file"), written_to(path, LIMIT):
        pass
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@FORMS
def test_a_file_of_verdicts_or_of_nothing_is_replaced_once_all_are_there(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.touch()
    write_all(path, VERDICTS[:4])
    path.write_bytes(path.read_bytes().removesuffix(b"\n"))  # as some editors leave it
    before = path.read_bytes()
    with written_to(path, 0.5) as growing:
        growing.write(VERDICTS[0]._replace(threshold=0.5))
        assert path.read_bytes() == before
    rows, _ = read_rows(path, 0.5, suffix)
    assert [row["file"] for row in rows] == NAMES[:1]


def test_two_commands_do_not_write_one_file(tmp_path):
    path = tmp_path / "a.csv"
    with written_to(path, LIMIT) as growing:
        growing.write(VERDICTS[0])
        with pytest.raises(UserError, match="another process"), written_to(path, LIMIT, resume=True):
            pass
        growing.write(VERDICTS[1])
    assert len(path.read_bytes().splitlines()) == 3


def test_a_file_that_is_named_twice_has_two_verdicts(tmp_path):
    with written_to(tmp_path / "a.csv", LIMIT) as growing:
        growing.write(VERDICTS[0])
    with written_to(tmp_path / "a.csv", LIMIT, resume=True) as growing:
        assert remaining([Path("a.png"), Path("b.png"), Path("a.png")], growing.files) == [Path("b.png"), Path("a.png")]


@FORMS
def test_a_full_disk_while_a_finished_file_is_gone_on_with_loses_none_of_it(tmp_path, suffix, monkeypatch):
    path = tmp_path / f"a{suffix}"
    whole = write_all(path)

    @contextmanager
    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device")
        yield

    with monkeypatch.context() as disk:
        disk.setattr(verdict_file, "replacing", full)
        with pytest.raises(OSError, match="No space"), written_to(path, LIMIT, resume=True):
            pass
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    with written_to(path, LIMIT, resume=True) as growing:
        assert sum(growing.files.values()) == len(VERDICTS)
        assert growing.unusable == {verdict_file.as_text(NAMES[3]): "damaged, or cut short"}
    assert path.read_bytes() == whole
