"""A folder that is watched: what is whole gets its verdict, once."""

import os
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Timer

import jax
import numpy as np
import pytest
from mean_detector import MEAN
from photographs import picture, save

from sagan_jax.errors import UserError
from sagan_jax.inspection import arriving_files
from sagan_jax.inspection import watch as watching
from sagan_jax.inspection.verdicts import judge_files
from sagan_jax.inspection.watch import latencies, watch
from sagan_jax.judging.calibration import calibrate
from sagan_jax.runs.model import Model, scorer_of

STATE = MEAN.init(jax.random.key(0), (16, 16, 3))
CALIBRATION = calibrate(np.linspace(0.5, 1.5, 50, dtype=np.float32))
SCORER = scorer_of(Model("mean", None, (16, 16, 3), MEAN, STATE, CALIBRATION, 1, 0.05, {}))
LIMIT = 1.0


@contextmanager
def watched(folder, **options):
    """The verdicts on a folder, as they come; a test that waits in vain ends after a minute."""
    stopped = Event()
    timer = Timer(60, stopped.set)
    timer.start()
    arrivals = watch(SCORER, folder, LIMIT, stopped=stopped, **options)
    try:
        yield arrivals, stopped
    finally:
        timer.cancel()
        arrivals.close()


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(arriving_files, "PATIENCE", 0.1)
    monkeypatch.setattr(arriving_files, "SETTLE", 0.1)
    monkeypatch.setattr(arriving_files, "SEARCH", 0.2)


def test_files_that_are_there_come_first_and_each_has_the_verdict_of_score(tmp_path, quick):
    there = [save(tmp_path / name, picture(i)) for i, name in enumerate(("a.png", "sub/b.jpg"))]
    with watched(tmp_path) as (arrivals, _):
        found = [next(arrivals) for _ in there]
        assert all(arrival.seconds is None for arrival in found)
        later = save(tmp_path / "c.png", picture(3))
        found.append(next(arrivals))
        assert found[-1].seconds is not None
    expected = list(judge_files(SCORER, [*there, later], LIMIT))
    assert sorted(arrival.verdict for arrival in found) == sorted(expected)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of files that are closed")
def test_a_file_is_whole_when_it_is_closed_or_moved_into_place(tmp_path, monkeypatch):
    monkeypatch.setattr(arriving_files, "SETTLE", 1000.0)  # so that nothing but what the system tells counts
    folder = tmp_path / "in"
    (folder / "@eaDir").mkdir(parents=True)
    whole = save(tmp_path / "whole.png", picture(1)).read_bytes()
    with watched(folder) as (arrivals, _):
        os.utime(save(folder / "first.png", picture(2)), (0, 0))
        assert Path(next(arrivals).verdict.file).name == "first.png"  # it is old; from now on the folder is watched
        with (folder / "slow.png").open("wb") as slow:
            slow.write(whole[:100])
            slow.flush()
            (folder / ".hidden.png").write_bytes(whole)
            (folder / "@eaDir/thumbnail.png").write_bytes(whole)
            (folder / "notes.txt").write_text("no image")
            (folder / "b.png.tmp").write_bytes(whole)
            (folder / "b.png.tmp").rename(folder / "b.png")
            assert Path(next(arrivals).verdict.file).name == "b.png"
            slow.write(whole[100:])
        assert Path(next(arrivals).verdict.file).name == "slow.png"
        (tmp_path / "whole.png").rename(folder / "moved.png")
        assert Path(next(arrivals).verdict.file).name == "moved.png"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of files that are closed")
def test_a_file_whose_writer_pauses_is_scored_when_it_is_closed(tmp_path, quick, monkeypatch):
    monkeypatch.setattr(arriving_files, "SEARCH", 1000.0)  # a search may come before the system's word
    monkeypatch.setattr(arriving_files, "SETTLE", 0.3)
    whole = save(tmp_path / "whole.bmp", picture(1)).read_bytes()
    folder = tmp_path / "in"
    folder.mkdir()
    with watched(folder) as (arrivals, _):
        os.utime(save(folder / "first.png", picture(2)), (0, 0))
        next(arrivals)  # from now on the folder is watched
        with (folder / "empty.bmp").open("wb") as empty, (folder / "reserved.bmp").open("wb") as reserved:
            reserved.truncate(len(whole))
            reserved.write(whole[: len(whole) // 3])
            reserved.flush()
            begun, number = time.monotonic(), 0
            while time.monotonic() - begun < 3 * (arriving_files.SETTLE + arriving_files.PATIENCE):
                number += 1
                save(folder / f"{number}.png", picture(2))
                assert Path(next(arrivals).verdict.file).name == f"{number}.png"
            reserved.write(whole[len(whole) // 3 :])
            empty.write(whole)
        found = [next(arrivals).verdict for _ in range(2)]
        assert {Path(verdict.file).name for verdict in found} == {"empty.bmp", "reserved.bmp"}
        (expected,) = judge_files(SCORER, [tmp_path / "whole.bmp"], LIMIT)
        assert {verdict.score for verdict in found} == {expected.score}
        os.link(tmp_path / "whole.bmp", folder / "linked.bmp")  # a name that is new, of a file that nobody closes
        assert next(arrivals).verdict._replace(file="") == expected._replace(file="")


def test_a_file_that_was_unusable_has_a_further_verdict_once_it_is_whole(tmp_path, quick):
    content = save(tmp_path / "whole.png", picture(1)).read_bytes()
    folder = tmp_path / "in"
    folder.mkdir()
    path = folder / "a.png"
    path.write_bytes(content[:200])
    with watched(folder) as (arrivals, stopped):
        assert next(arrivals).verdict[:2] == (str(path), "unusable")
        with path.open("ab") as rest:
            rest.write(content[200:])
        assert next(arrivals).verdict[:2] == (str(path), "normal")
        path.write_bytes(content[:300])  # a verdict that is none of unusable stays
        save(folder / "b.png", picture(2))
        assert Path(next(arrivals).verdict.file).name == "b.png"
        stopped.set()
        assert list(arrivals) == []


def test_what_nobody_tells_of_is_found_once_it_has_settled(tmp_path, quick, monkeypatch):
    @contextmanager
    def no_events(folder):
        yield SimpleQueue()

    monkeypatch.setattr(watching, "events_in", no_events)
    with watched(tmp_path) as (arrivals, _):
        save(tmp_path / "a.png", picture(1))
        assert Path(next(arrivals).verdict.file).name == "a.png"


def test_a_file_that_cannot_be_read_costs_a_line_and_nothing_else(tmp_path, quick):
    (tmp_path / "bad.png").write_bytes(b"no image")
    with watched(tmp_path) as (arrivals, stopped):
        bad = next(arrivals).verdict
        assert (bad.verdict, bad.reason[:29]) == ("unusable", "not an image of an allowed fo")
        save(tmp_path / "good.png", picture(1))
        assert next(arrivals).verdict.verdict == "normal"
        stopped.set()
        assert list(arrivals) == []


def test_a_folder_that_cannot_be_read_is_told_of_once(tmp_path, quick, monkeypatch):
    (tmp_path / "barred").mkdir()
    searched = arriving_files.images_below
    monkeypatch.setattr(arriving_files, "images_below", lambda folder: [*searched(folder), tmp_path / "barred"])
    with watched(tmp_path) as (arrivals, stopped):
        assert next(arrivals).verdict[:2] == (str(tmp_path / "barred"), "unusable")
        save(tmp_path / "good.png", picture(1))
        assert next(arrivals).verdict.verdict == "normal"
        stopped.set()
        assert list(arrivals) == []


def test_a_file_closed_too_early_is_scored_when_it_is_whole(tmp_path, quick, monkeypatch):
    monkeypatch.setattr(arriving_files, "PATIENCE", 1000.0)
    content = save(tmp_path / "source" / "a.png", picture(1)).read_bytes()
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.png").write_bytes(content[:200])
    with watched(folder) as (arrivals, _):
        save(folder / "b.png", picture(2))
        assert Path(next(arrivals).verdict.file).name == "b.png"
        with (folder / "a.png").open("ab") as rest:
            rest.write(content[200:])
        assert next(arrivals).verdict[:2] == (str(folder / "a.png"), "normal")


def test_what_has_a_verdict_from_before_is_left_out(tmp_path, quick):
    for i in range(3):
        save(tmp_path / f"{i}.png", picture(i))
    with watched(tmp_path, known=lambda path: path.name != "1.png") as (arrivals, stopped):
        assert Path(next(arrivals).verdict.file).name == "1.png"
        stopped.set()
        assert list(arrivals) == []


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with watched(tmp_path / "none") as (arrivals, _), pytest.raises(UserError, match="is not a folder"):
        next(arrivals)


def test_latencies_are_the_median_and_the_99th_percentile():
    seconds = [i / 1000 for i in range(101)]
    assert latencies(seconds) == "from a file's close to its verdict: p50 50 ms, p99 99 ms (101 files)"
    assert latencies([]) == "no file came"
