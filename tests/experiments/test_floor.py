"""The trivial floor: its scores by hand, and from the command line to its file."""

import csv

import numpy as np
import pytest
from PIL import Image

from experiments.floor import FloorRow, floor_table, main, png_bytes


def test_a_plain_image_takes_fewer_bytes_than_a_noisy_one():
    noisy = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), np.uint8)
    plain, noise = png_bytes(np.concatenate([np.full_like(noisy, 7), noisy]))
    assert plain < 100 < 16 * 16 * 3 < noise


def test_the_table_has_a_line_a_class_and_the_mean():
    rows = [FloorRow("d", "PCA", name, auroc, 0, 1, 1, 1, 0) for name, auroc in (("cat", 0.2), ("dog", 0.6))]
    assert floor_table(rows).split() == ["abnormal", "PCA", "cat", "0.200", "dog", "0.600", "mean", "0.400"]


def test_the_floor_of_one_digit_is_measured_and_written(tmp_path, capsys):
    out = tmp_path / "floor.csv"
    assert main(["--dataset=digits", "--abnormal=3", "--size=16", f"--out={out}"]) == 0
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["abnormal"] for row in rows] == ["3"] * 4
    assert all(0 <= float(row["low"]) <= float(row["auroc"]) <= float(row["high"]) <= 1 for row in rows)
    assert f"{float(rows[0]['auroc']):.3f}" in capsys.readouterr().out
    assert float(rows[3]["auroc"]) == pytest.approx(0.9, abs=0.05)  # the mixture knows this digit for a stranger
    assert main(["--dataset=digits", "--abnormal=ten", "--size=16"]) == 2


def test_a_folder_is_measured_with_its_own_test_images(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for part, count in (("train/good", 12), ("test/good", 3), ("test/torn", 3)):
        (tmp_path / part).mkdir(parents=True)
        for i in range(count):
            image = np.full((16, 16, 3), 100, np.uint8) + rng.integers(0, 9, (16, 16, 3), np.uint8)
            if part == "test/torn":
                image[4:8, 4:8] = 255
            Image.fromarray(image).save(tmp_path / part / f"{i}.png")
    assert main([f"--data={tmp_path}", "--size=16"]) == 0
    header, torn, _ = capsys.readouterr().out.splitlines()
    assert "worst 1 %" in header
    assert torn.split()[:3] == ["torn", "1.000", "1.000"]
