"""Which files of a folder are whole, and what it takes to know."""

import os
import time
from queue import SimpleQueue
from types import SimpleNamespace

import pytest

from sagan_jax.inspection import arriving_files
from sagan_jax.inspection.arriving_files import ArrivingFiles


def all_of(folder):
    return ArrivingFiles(folder, known=lambda path: False)


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is moved."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(arriving_files, "time", SimpleNamespace(monotonic=lambda: clock.now, time=time.time))
    return clock


def heard(files, *events):
    """The files that are whole after these events."""
    queue = SimpleQueue()
    for event in events:
        queue.put(event)
    files.hear(queue)
    return list(files.whole(10))


def test_a_file_that_is_being_written_is_waited_for_until_it_is_closed(tmp_path, clock):
    path, files = tmp_path / "a.png", all_of(tmp_path)
    path.write_bytes(b"half")
    assert heard(files, (path, "there"), (path, "written")) == []
    for _ in range(12):
        clock.now += 4.0
        assert heard(files) == []  # nor does a search take it for one that nobody told of
    assert heard(files, (path, "whole"), (path, "written")) == []  # opened again before it was read
    assert heard(files, (path, "whole")) == [path]


def test_a_file_whose_closing_was_missed_is_whole_a_minute_after_its_last_change(tmp_path, clock):
    path, files = tmp_path / "a.png", all_of(tmp_path)
    path.write_bytes(b"half")
    heard(files, (path, "written"))
    clock.now += 50.0
    path.write_bytes(b"whole")
    assert heard(files) == []
    clock.now += 50.0
    assert heard(files) == []
    clock.now += 20.0
    assert heard(files) == [path]


def test_a_file_that_no_event_says_is_being_written_settles(tmp_path, clock):
    path, told_of, files = tmp_path / "a.png", tmp_path / "b.png", all_of(tmp_path)
    for each in (path, told_of):
        each.write_bytes(b"x")
    files.search()
    assert heard(files, (told_of, "there")) == []
    clock.now += 1.0
    assert heard(files) == [path, told_of]


@pytest.mark.parametrize("state", ["there", "written", "whole"])
def test_a_file_that_was_unusable_is_scored_again_once_it_has_changed(tmp_path, clock, state):
    path, files = old_files(tmp_path, 1)[0], all_of(tmp_path)
    heard(files, (path, "whole"))
    assert not files.gives_up(path)  # it may not be finished
    clock.now += 2.5
    files.hear(SimpleQueue())
    (before,) = files.whole(1).values()
    assert files.gives_up(path)
    files.unusable[path] = before
    clock.now += 2.5
    assert heard(files, (path, state)) == []  # it is what it was
    assert not files.waiting
    path.write_bytes(b"y")
    clock.now += 2.5
    whole = heard(files, (path, state))
    assert whole == ([path] if state == "whole" else [])
    if state == "there":
        clock.now += 1.0
        assert heard(files) == [path]
    if state == "written":
        clock.now += 10.0
        assert heard(files) == []
        assert heard(files, (path, "whole")) == [path]
    assert not files.gives_up(path)  # as one that was never seen


def old_files(folder, count):
    """Files that have lain there for long, and are no images."""
    paths = [folder / f"{number:05d}.png" for number in range(count)]
    for path in paths:
        path.write_bytes(b"x")
        os.utime(path, (0, 0))
    return paths


def test_a_search_compares_each_file_a_few_times_however_many_are_whole(tmp_path, monkeypatch):
    compared = 0

    class Counted(type(tmp_path)):
        def __eq__(self, other):
            nonlocal compared
            compared += 1
            return os.fspath(self) == os.fspath(other)

        __hash__ = type(tmp_path).__hash__

    paths = old_files(tmp_path, 300)
    monkeypatch.setattr(arriving_files, "images_below", lambda folder: [Counted(path) for path in paths])
    files = all_of(tmp_path)
    files.search()
    files.settle()
    assert len(files.ready) == len(paths)
    compared = 0
    files.search()
    assert compared <= 4 * len(paths)
    assert list(files.ready) == paths  # in order, each once


def test_files_that_cannot_be_read_are_looked_at_a_few_times_each_while_others_are_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(arriving_files, "PATIENCE", 1000.0)
    monkeypatch.setattr(arriving_files, "SEARCH", 1000.0)
    looks = 0
    like = arriving_files._like

    def counted(path):
        nonlocal looks
        looks += 1
        return like(path)

    monkeypatch.setattr(arriving_files, "_like", counted)
    paths = old_files(tmp_path, 1600)
    files = all_of(tmp_path)
    files.search()
    files.settle()
    while files.ready:
        assert not any(files.gives_up(path) for path in files.whole(32))
        files.hear(SimpleQueue())
    assert set(files.waiting) == set(paths)
    assert looks <= 7 * len(paths)
