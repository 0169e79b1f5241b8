"""Scorings compared on one digit, from the command line to the file and the table."""

import csv

import pytest
from mean_detector import MEAN

from experiments import better

SMALL = [
    "--dataset=digits",
    "--abnormal=3",
    "--size=16",
    "--epochs=1",
    "--batch-size=128",
    "--train-images=300",
    "--test-images=60",
]
DENSITY = ["--patches=500", "--filters=8", "--kept=200", "--viewed=100", "--components=20", "--directions=8"]


def test_every_scoring_of_a_class_is_measured_once_and_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sagan_jax.methods.sagan.sagan", lambda config, steps: MEAN)
    out = tmp_path / "better.csv"
    assert better.main([*SMALL, *DENSITY, f"--out={out}"]) == 0
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == ["sagan"] * 8 + ["floor"] * 4
    assert all(row["low"] <= row["auroc"] <= row["high"] for row in rows)
    assert {row["chosen_on"] for row in rows} == {"False"}

    printed = capsys.readouterr().out
    monkeypatch.setattr(better, "measure_scorings", lambda *_: pytest.fail("measured again"))
    assert better.main([*SMALL, *DENSITY, f"--out={out}"]) == 0
    assert capsys.readouterr().out == printed
    assert better.main([*SMALL, *DENSITY, f"--out={out}", "--seed=5"]) == 2
    assert "results of other settings (seed 0, not 5)" in capsys.readouterr().err


def test_the_table_has_a_line_a_scoring_with_its_mean():
    lines = [
        {"abnormal": name, "scoring": scoring, "auroc": value}
        for name, scoring, value in (
            ("cat", "R", "0.5"),
            ("cat", "density", "0.6"),
            ("dog", "R", "0.4"),
            ("dog", "density", "0.7"),
        )
    ]
    assert better.scoring_table(lines).splitlines()[1:] == [
        "R             0.500       0.400       0.450",
        "density       0.600       0.700       0.650",
    ]
