"""Which files of a folder are whole, and what it takes to know."""

import os
from queue import SimpleQueue

from sagan_jax.inspection import arriving_files
from sagan_jax.inspection.arriving_files import ArrivingFiles


def all_of(folder, known=lambda path: False):
    return ArrivingFiles(folder, known)


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
