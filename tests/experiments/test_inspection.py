"""The restoration preset on sets and seeds: rows from what runs left, the table by hand."""

import json
from contextlib import nullcontext

import pytest

from experiments.inspection import collect_inspection, inspection_table, main

PROVENANCE = {"commit": "abc", "date": "2026-01-01", "machine": "cpu", "command": "sagan train screws"}


def result_of(seed, auroc, *, restoration=True, masks=True, **training):
    """As a run's `result.json`, of what is read from it."""
    strict = {
        "auroc": {"value": auroc, "low": auroc - 0.05, "high": auroc + 0.01},
        "threshold": {
            "false_positive_rate": 0.08,
            "false_positive_rate_interval": {"low": 0.04, "high": 0.12},
            "recall": 0.75,
        },
    }
    if masks:
        strict["pixel_auroc"] = {"value": 0.9}
    return {
        "dataset": "screws",
        "method": "sagan",
        "image_shape": [64, 64, 3],
        "model": {"repair": {"restoration": restoration}},
        "training": {"seed": seed, "epochs": 2, "batch_size": 16} | training,
        "strict": strict,
        "floor": {"auroc_worst": {"value": 0.3}},
        "images": {"train": 250, "held_out": 44},
        "train_seconds": 280.0,
        "provenance": PROVENANCE | {"seed": seed, "python": "3.11"},
    }


def test_runs_are_collected_with_what_made_them_and_a_line_a_set_and_score_has_their_mean(tmp_path, capsys):
    made = {
        "a": result_of(0, 0.9, steps=2000),
        "b": result_of(1, 0.98, steps=2000, masks=False),
        "c": result_of(0, 0.3, restoration=False),
        "d": result_of(0, 0.4, restoration=False, scoring="density"),
        "e": result_of(0, 0.5) | {"method": "ganomaly"},
        "f": result_of(0, 0.7, steps=2000) | {"group": r"\d+"},
    }
    for name, result in made.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text(json.dumps(result))
    assert main([f"--runs={tmp_path}", f"--out={tmp_path / 'out.csv'}"]) == 0
    _, line, *others = capsys.readouterr().out.splitlines()
    expected = [
        "screws",
        "64",
        "restoration",
        "2000",
        "2",
        "0.940",
        "0.900,",
        "0.980",
        "0.900",
        "0.300",
        "0.080",
        "0.750",
    ]
    assert line.split() == expected
    first, second, *rest = collect_inspection(tmp_path)
    assert (first["auroc"], first["low"], first["held_out"], first["commit"]) == (0.9, 0.85, 44, "abc")
    assert (second["pixel_auroc"], second["seed"]) == ("", 1)
    two_epochs = 2 * (250 // 16)
    assert [(row["score"], row["steps"]) for row in rest[:2]] == [("published", two_epochs), ("density", two_epochs)]
    assert (rest[2]["auroc"], rest[2]["group"], first["group"]) == (0.7, r"\d+", "")
    assert [line.split()[2] for line in others[:2]] == ["published", "density"]
    assert others[2].split()[:8] == [
        "screws",
        "by",
        r"\d+",
        "64",
        "restoration",
        "2000",
        "1",
        "0.700",
    ]  # not in the mean
    assert inspection_table([first]).splitlines()[1].split()[4:6] == ["1", "0.900"]


@pytest.mark.parametrize(("flag", "message"), [("--seeds=0", "at least 1"), ("--runs=nowhere", "no finished run")])
def test_what_cannot_be_ends_with_2(flag, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) if flag == "--seeds=0" else nullcontext() as ended:
        code = main([flag])
    assert (ended.value.code if ended else code) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "inspection.csv").exists()


def test_a_run_of_another_size_or_set_is_not_taken_for_one_on_record(tmp_path, capsys):
    run = tmp_path / "runs" / "screws" / "restoration" / "seed0"
    run.mkdir(parents=True)
    (run / "result.json").write_text(json.dumps(result_of(0, 0.9, steps=2000)))
    flags = [f"--runs={tmp_path / 'runs'}", f"--out={tmp_path / 'out.csv'}", "--seeds=1"]
    (tmp_path / "screws").mkdir()
    assert main([*flags, "--folders", str(tmp_path / "screws"), "--size=64"]) == 0
    assert main([*flags, "--folders", str(tmp_path / "screws"), "--size=32"]) == 2
    assert "a run of 64 pixels, --group=None; name another folder" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*flags, "--folders", str(tmp_path / "screws"), str(tmp_path / "other" / "screws")])
    assert "folders of different names" in " ".join(capsys.readouterr().err.split())
