"""What is reckoned from measured points of scoring."""

import subprocess
import sys

from experiments.scoring_growth import ProcessorSeconds, ScoringCost, line_through, reckoning


def test_a_hundred_million_are_reckoned_from_what_one_more_takes():
    rows = [ScoringCost(count, 1, 32, 1.0, 5 + 0.0864 * count, 400 + count // 1024) for count in (1024, 2048, 4096)]
    start, each = line_through(rows)
    assert (round(start, 6), round(each, 6)) == (5, 0.0864)
    said = reckoning([*rows, ScoringCost(1024, 2, 32, 1.0, 1.0, 1)]).splitlines()
    assert len(said) == 1 + 4 + 1  # nothing is reckoned from one point
    assert said[-1] == (
        "1 actors: 5.0 s of a core to start, 86.40 ms of a core a photograph; 100,000,000 would take a core 100.0 days"
    )


def test_processor_seconds_are_those_of_children_too_and_of_ended_ones():
    seconds = ProcessorSeconds()
    before = seconds.so_far()
    busy = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ninput()"
    with subprocess.Popen([sys.executable, "-c", busy], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        there = seconds.so_far()
        child.communicate(b"\n")
    assert there - before >= 0.28
    assert seconds.so_far() >= there
