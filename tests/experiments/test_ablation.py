"""The ablation of the paper's two parts: what is trained, and the paired difference by hand."""

import dataclasses

import pytest
from photographs import picture, save

from experiments.ablation import ABLATED, DAMAGED, Run, difference_table, main, paired_difference, recorded, settings_of


def test_the_paired_difference_is_students_by_hand():
    mean, low, high = paired_difference([0.5, 0.7, 0.9], [0.4, 0.5, 0.6])
    half = 4.3027 * 0.1 / 3**0.5  # t of two degrees of freedom; the differences are 0.1, 0.2, 0.3
    assert (mean, low, high) == pytest.approx((0.2, 0.2 - half, 0.2 + half), abs=1e-4)
    assert paired_difference([0.5], [0.4])[1:] == (-float("inf"), float("inf"))


@pytest.mark.parametrize("training", ["published", "restoration"])
def test_the_three_differ_in_the_part_alone(training):
    whole, how = settings_of(Run("set", training, "whole", 3, 32, 8, 100))
    assert (whole.attention, whole.depthwise, whole.width, how.seed, how.steps) == (True, True, 8, 3, 100)
    for part, changed in ABLATED.items():
        settings, same = settings_of(Run("set", training, part, 3, 32, 8, 100))
        assert settings == dataclasses.replace(whole, **changed)
        assert same == how


def test_a_kind_of_damage_that_is_not_drawn_is_all_that_differs():
    whole, how = settings_of(Run("set", "restoration", "whole", 3, 32, 8, 100))
    for part, changed in DAMAGED.items():
        settings, same = settings_of(Run("set", "restoration", part, 3, 32, 8, 100))
        assert settings.repair == dataclasses.replace(whole.repair, **changed)
        assert (dataclasses.replace(settings, repair=whole.repair), same) == (whole, how)


def test_a_seed_without_its_pair_does_not_count():
    made = {"dataset": "screws", "training": "published", "size": 32, "width": 16, "steps": 600}
    lines = [
        made | {"part": "whole", "seed": 0, "auroc": 0.8},
        made | {"part": "whole", "seed": 1, "auroc": 0.6},
        made | {"part": "no attention", "seed": "0", "auroc": "0.7"},
        made | {"part": "plain convolutions", "seed": 2, "auroc": 0.9},
        made | {"part": "opaque", "seed": 0, "auroc": 0.6},
    ]
    _, line, damage = difference_table(lines).splitlines()
    assert damage.split()[:6] == ["screws", "published", "opaque", "1", "0.800", "0.600"]
    assert line.split()[:6] == ["screws", "published", "attention", "1", "0.800", "0.700"]
    assert "+0.100" in line
    assert recorded(lines[2]) == Run("screws", "published", "no attention", 0, 32, 16, 600)


@pytest.mark.parametrize("parts", ["claims", "damage"])
def test_a_folder_without_a_test_set_is_refused_by_either_command(parts, tmp_path, capsys):
    for i in range(3):
        save(tmp_path / "photographs" / "train" / "good" / f"{i}.png", picture(i, (32, 32, 3)))
    flags = [f"--parts={parts}", "--folders", str(tmp_path / "photographs"), f"--out={tmp_path / 'out.csv'}"]
    assert main(flags) == 2
    assert "has no test set with normal and abnormal images" in capsys.readouterr().err
    assert not (tmp_path / "out.csv").exists()
