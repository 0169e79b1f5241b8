"""What is reckoned from measured points of scoring."""

from experiments.scoring_growth import ScoringRow, line_through, reckoning


def test_a_hundred_million_are_reckoned_from_what_one_more_takes():
    rows = [ScoringRow(count, 1, 32, 5 + 0.0864 * count, 400 + count // 1024) for count in (1024, 2048, 4096)]
    start, each = line_through(rows, "seconds")
    assert (round(start, 6), round(each, 6)) == (5, 0.0864)
    said = reckoning([*rows, ScoringRow(1024, 2, 32, 1.0, 1)]).splitlines()
    assert len(said) == 1 + 4 + 1  # nothing is reckoned from one point
    assert said[-1].startswith("1 actors: 5.0 s to start, 86.40 ms a photograph; 100,000,000 would take such a machine")
    assert "machine 100.0 days, and the starting process 95 GiB" in said[-1]
