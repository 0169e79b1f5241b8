"""Growth and many models: what is measured and how it is summed up; the measuring itself on the least there is."""

import csv

import pytest
from mean_detector import MEAN

from experiments import growth, many


def test_the_exponent_of_a_square_law_is_2():
    assert growth.exponent([1, 2, 4], [3, 12, 48]) == pytest.approx(2)


def test_points_vary_one_thing_an_axis():
    points = growth.points(growth.Growth())
    assert [point.along for point in points if point.axis == "images"] == [5_000, 15_000, 45_000]
    assert [point.along for point in points if point.axis == "pixels"] == [32**2, 64**2, 128**2, 256**2]
    assert {point.size for point in points if point.axis == "batch"} == {32}


def test_a_point_a_process_is_measured_drawn_and_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(growth, "points", lambda options: [growth.Point("batch", 16, 32, 8)])
    out = tmp_path / "growth"
    assert growth.main(["--width=2", f"--out={out}"]) == 0
    with out.with_suffix(".csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["axis"], row["batch"], row["width"]) == ("batch", "8", "2")
    assert float(row["seconds"]) > 0
    assert 100 < int(row["memory_mib"]) < 10_000
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out.count("\n") == 2


def test_the_table_says_the_powers_that_time_and_memory_grow_by():
    rows = [growth.PointRow("pixels", 48, size, 8, 16, size**2 / 100, 1.0, size) for size in (32, 64, 128)]
    assert growth.growth_table(rows).splitlines()[-1] == "with pixels: time to the power 1.00, memory to the power 0.50"


def test_each_way_of_training_many_is_measured_against_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("sagan_jax.methods.sagan.sagan", lambda config: MEAN)
    out = tmp_path / "many.csv"
    assert many.main([f"--out={out}", "--steps=1", "--rounds=1"]) == 0
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["how"] for row in rows] == ["alone", "map", "vmap"] * len(many.MANY_CASES)
    assert all(float(row["times_faster"]) == 1 for row in rows[::3])
    assert all(float(row["milliseconds"]) > 0 for row in rows)
