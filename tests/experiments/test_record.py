"""Results on record say what made them, and experiments have one shape."""

import importlib
import json
from dataclasses import is_dataclass
from pathlib import Path

import pytest

import experiments
from experiments.record import made_by, read_results, result_lines, write_results
from experiments.table1 import Count
from sagan_jax.runs.provenance import PROVENANCE

ROOT = Path(experiments.__file__).parent
RESULTS = ROOT / "results"
FILES = sorted([*RESULTS.rglob("*.csv"), *RESULTS.rglob("result.json"), RESULTS / "benchmark.json"])
COMMANDS = sorted(path.stem for path in ROOT.glob("*.py") if "\ndef main(" in path.read_text(encoding="utf-8"))


def test_there_is_a_file_of_results_an_experiment_and_the_commands_are_found():
    assert len(FILES) >= 14
    assert {"audit", "benchmark", "better", "bolts", "growth", "many", "table1", "tables", "thresholds"} <= set(
        COMMANDS
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(RESULTS)))
def test_every_committed_result_says_what_made_it(path):
    if path.suffix == ".json":
        lines = [json.loads(path.read_text(encoding="utf-8"))["provenance"]]
    else:
        lines = read_results(path)
        header = path.read_text(encoding="utf-8").splitlines()[0].split(",")
        assert set(PROVENANCE) <= set(header)
        assert "platform" not in header
    assert lines
    for line in lines:
        assert set(PROVENANCE) <= set(line)
        assert line["command"].startswith(("python -m ", "sagan "))
        assert line["date"]
        int(line["seed"])


def test_rows_are_written_with_what_made_them_and_read_back(tmp_path):
    made = made_by("cpu (2 cores)", seed=7)
    assert tuple(made) == PROVENANCE
    assert made["machine"].startswith("cpu (2 cores), ")
    write_results(tmp_path / "r.csv", result_lines([Count(1, 2, 3, 4)], made))
    (line,) = read_results(tmp_path / "r.csv")
    assert (line["attention_mlps"], line["seed"], line["command"]) == ("3", "7", made["command"])


def test_a_row_keeps_its_own_seed_and_what_an_older_file_lacks_is_empty(tmp_path):
    write_results(tmp_path / "r.csv", [{"auroc": 0.5, "seed": 3}])
    (line,) = read_results(tmp_path / "r.csv")
    assert (line["auroc"], line["seed"], line["machine"]) == ("0.5", "3", "")
    (tmp_path / "old.csv").write_text("auroc\n0.5\n")
    assert read_results(tmp_path / "old.csv") == [{"auroc": "0.5"} | dict.fromkeys(PROVENANCE, "")]
    assert read_results(tmp_path / "none.csv") == []


@pytest.mark.parametrize("name", COMMANDS)
def test_an_experiment_is_a_frozen_dataclass_that_is_called_and_opens_with_its_command(name, monkeypatch):
    module = importlib.import_module(f"experiments.{name}")
    assert f"python -m experiments.{name}" in (module.__doc__ or "")
    ran = []
    monkeypatch.setattr(module, "run_experiment", lambda *given: ran.append(given) or 7)
    assert module.main(["--x"]) == 7
    ((kind, told, argv),) = ran
    assert (told, argv) == (name, ["--x"])
    assert is_dataclass(kind)
    assert kind.__dataclass_params__.frozen  # pyright: ignore[reportAttributeAccessIssue]
    assert callable(kind.__call__)


def test_flags_of_several_experiments_are_declared_once():
    sources = {path.stem: path.read_text(encoding="utf-8") for path in ROOT.glob("*.py")}
    for flag in ("data_dir: Path | None", "hardware: HardwareConfig", "judging: JudgingConfig"):
        assert [name for name, text in sources.items() if f"\n    {flag}" in text] == (
            ["datasets"] if flag.startswith("data_dir") else []
        )
