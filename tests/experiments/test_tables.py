"""Tables from results: what is read, kept, averaged and owned up to; and a small cell from the command line on."""

import json
from pathlib import Path

import pytest
from mean_detector import METHOD

from experiments import tables as module
from experiments.paper import TABLES, Table
from experiments.record import Row, collect, merged_rows, read_table_rows, result_lines, write_results
from experiments.tables import HEADER, TABLE_FORMATS, interval_over_seeds, main, table_lines
from experiments.variants import VARIANTS, Variant, recognise
from sagan_jax import run_folder
from sagan_jax.config import INSPECTION, sagan_preset, settings_to_json
from sagan_jax.methods.table import METHODS

SMALL = Table(
    "two classes", "d", ("a", "b"), {"sagan": {"a": 0.9}}, size=32, epochs=15, train_images=100, test_images=50
)


def row(**changes):
    values = {"dataset": "d", "method": "sagan", "preset": "paper", "abnormal": "a", "protocol": "strict", "seed": 0}
    values |= {"size": 32, "epochs": 15, "train_images": 100, "test_images": 50, "auroc": 0.6, "low": 0.5, "high": 0.7}
    return Row(**values | {"commit": "c", "date": "t", "machine": "m", "command": "x"} | changes)


def printed(*rows):
    return {(line.method, line.abnormal): line for line in table_lines(rows, SMALL)}


def test_the_papers_averages_are_those_of_its_rows():
    """Table 2 prints 0.496, 0.728, 0.777 and 0.967."""
    averages = {name: sum(row.values()) / len(row) for name, row in TABLES[2].paper.items()}
    expected = {"egbad": 0.496, "ganomaly": 0.728, "skip_ganomaly": 0.777, "sagan": 0.967}
    assert averages == pytest.approx(expected, abs=6e-4)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_configuration_is_recognised_and_a_changed_one_is_not_taken_for_it(name):
    variant = VARIANTS[name]
    model = settings_to_json(variant.model("paper"))  # as results have it
    assert recognise(variant.method, model, {}) == (name, "paper")
    assert recognise(variant.method, model | {"learning_rate": 0.123}, {}) == (variant.method, "other")
    assert recognise(variant.method, {key: value for key, value in model.items() if key != "beta2"}, {})[0] == name
    assert recognise(variant.method, model, {"flip": True}) == (name, "paper, flip=True")
    assert recognise(variant.method, model, {"steps": 100}) == (name, "paper, steps=100")


def test_a_method_of_ones_own_is_named_as_it_is():
    assert recognise("autoencoder", {"width": 3}, {"batch_size": 32}) == ("autoencoder", "other")


def test_the_inspection_preset_is_recognised_by_its_number_of_steps_too():
    model, training = settings_to_json(sagan_preset("inspection")), INSPECTION.as_json()
    assert recognise("sagan", model, training) == ("sagan", "inspection")
    assert recognise("sagan", model, training | {"steps": 200}) == ("sagan", "inspection, steps=200")
    del training["steps"]  # as a run has it that trains whole passes
    assert recognise("sagan", model, training) == ("sagan", "inspection, steps=None")


def test_a_committed_run_is_collected_with_what_made_it(tmp_path):
    rows = collect(Path(module.__file__).parent / "results", TABLES[2])
    strict = next(row for row in rows if (row.abnormal, row.protocol, row.epochs) == ("cat", "strict", 3))
    assert (strict.method, strict.preset, strict.auroc, strict.train_images) == ("sagan", "paper", 0.5503, 45_000)
    assert strict.command.startswith("python -m experiments.cifar --abnormal=cat")
    write_results(tmp_path / "t.csv", result_lines(rows, {}))
    assert read_table_rows(tmp_path / "t.csv") == rows


def test_a_file_of_rows_from_another_machine_is_collected_as_runs_are(tmp_path):
    rows = [row(dataset="cifar10"), row(dataset="bolts at a station", abnormal="damaged")]
    run_folder.write_csv(tmp_path / "brought.csv", Row._fields, rows)
    assert collect(tmp_path / "brought.csv", TABLES[2]) == rows[:1]
    assert collect(tmp_path / "brought.csv", TABLES[3]) == rows[1:]


def test_a_cell_measured_again_replaces_the_old_row_and_no_other():
    old, other, new = row(auroc=0.1), row(seed=1), row(auroc=0.2)
    assert merged_rows([old, other], [new]) == [new, other]


def test_a_cell_never_run_says_so():
    assert printed()["SAGAN", "b"].trained == "never run"
    assert printed()["SAGAN", "b"].strict == "–"


def test_a_cell_short_of_the_protocol_says_in_what():
    line = printed(row(size=16, epochs=3, train_images=10))["SAGAN", "a"]
    assert line.trained == "16 of 32 pixels a side; 3 of 15 epochs; 10 of 100 training images"
    assert printed(row())["SAGAN", "a"].trained == ""


def test_of_several_runs_the_longest_counts_and_the_paper_and_both_protocols_stand_side_by_side():
    short, reference = row(epochs=1, auroc=0.1), row(protocol="reference", auroc=0.8, low=None, high=None)
    line = printed(short, row(), reference)["SAGAN", "a"]
    assert (line.paper, line.strict, line.reference) == ("0.900", "0.600 [0.500, 0.700]", "0.800")


def test_seeds_are_averaged_with_students_interval():
    mean, low, high = interval_over_seeds([0.5, 0.6, 0.7])
    assert (mean, high - mean) == pytest.approx((0.6, 4.3027 * 0.1 / 3**0.5), rel=1e-4)  # t(0.975, 2 degrees) = 4.3027
    assert mean - low == pytest.approx(high - mean)
    assert interval_over_seeds([0.1, 0.9]) == (0.5, 0.0, 1.0)  # no AUROC lies beyond
    line = printed(*(row(seed=seed, auroc=auroc) for seed, auroc in enumerate((0.5, 0.6, 0.7))))["SAGAN", "a"]
    assert line.strict == "0.600 [0.352, 0.848]"
    assert line.trained == "3 seeds"


def test_other_settings_never_stand_in_a_methods_own_row():
    result = printed(row(preset="other", auroc=0.99))
    assert result["SAGAN", "a"].trained == "never run"
    assert result["SAGAN (other)", "a"].strict.startswith("0.990")


def test_a_mean_is_of_the_classes_that_were_run_and_says_if_their_runs_differ():
    first, second = row(auroc=0.5), row(abnormal="b", auroc=0.7)
    leaking = [row(abnormal=name, protocol="reference", auroc=auroc) for name, auroc in (("a", 0.8), ("b", 0.9))]
    mean = printed(first, second, *leaking)["SAGAN", "mean of 2"]
    assert (mean.paper, mean.strict, mean.reference, mean.trained) == ("0.900", "0.600", "0.850", "")
    assert printed(first, row(abnormal="b", epochs=3))["SAGAN", "mean of 2"].trained == "the runs are of unequal size"
    assert ("SAGAN", "mean of 1") not in printed(first)


def test_table_3_is_of_a_station_and_never_has_the_fields_figures(capsys):
    assert main(["--table=3"]) == 0
    station = capsys.readouterr().out
    assert main(["--table=3", "--site=field"]) == 0
    field = capsys.readouterr().out
    on_record = read_table_rows(Path(module.__file__).parent / "results" / "table3.csv")
    figures = [
        f"{row.auroc:.3f} [" for row in on_record if (row.dataset, row.protocol) == ("bolts (synthetic)", "strict")
    ]
    assert figures
    assert all(figure in field and figure not in station for figure in figures)


@pytest.mark.parametrize("name", TABLE_FORMATS)
def test_every_format_has_every_cell(name):
    text = TABLE_FORMATS[name]([HEADER, *table_lines([row()], SMALL)])
    assert all(part in text for part in ("strict AUROC", "0.600 [0.500, 0.700]", "0.900", "never run"))


def test_a_small_cell_is_trained_once_recorded_and_passed_over_while_in_work(tmp_path, capsys, monkeypatch):
    from sagan_jax.data import leave_one_out, load_digits

    digits = Table("digits", "digits", ("3", "4"), {}, size=16, epochs=15, train_images=1271, test_images=526)
    monkeypatch.setitem(TABLES, 2, digits)
    monkeypatch.setitem(METHODS, "mean", METHOD)
    monkeypatch.setitem(VARIANTS, "mean", Variant("Mean", "mean"))
    monkeypatch.setattr(module, "load_splits", lambda *_: lambda name: leave_one_out(load_digits(16), name))
    flags = ["--table=2", "--train", "--collect", "--methods", "mean", "--epochs=1", f"--runs={tmp_path}"]
    flags += ["--train-images=150", "--test-images=20", f"--record={tmp_path / 'record.csv'}"]
    cells = tmp_path / "table2" / "mean-paper"
    with run_folder.locked(cells / "4" / "seed0"):
        assert main(flags) == 0
    printed = capsys.readouterr()
    assert "4/seed0 is being trained elsewhere" in printed.err
    assert "1 of 15 epochs; 150 of 1,271 training images; 20 of 526 test images" in printed.out
    result = cells / "3" / "seed0" / "result.json"
    auroc, before = json.loads(result.read_text())["strict"]["auroc"]["value"], result.stat().st_mtime_ns
    assert {row.protocol: row.auroc for row in read_table_rows(tmp_path / "record.csv")}["strict"] == pytest.approx(
        auroc, abs=1e-4
    )
    assert main([*flags, "--classes", "3"]) == 0
    assert result.stat().st_mtime_ns == before


def test_an_unknown_method_is_refused_by_name(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--table=2", "--methods", "sagan", "nothing"])
    assert ended.value.code == 2
    assert "methods has nothing" in " ".join(capsys.readouterr().err.split())
