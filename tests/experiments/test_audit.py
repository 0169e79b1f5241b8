"""The audit's table says what its readings say, and a small audit goes from the command line to its files."""

import csv
import json

import numpy as np
import pytest

from experiments.account import SCALED, account, aurocs, described
from experiments.audit import SCORES, STATISTICS, EpochReading, chosen, leak_table, main, reading_of
from experiments.record import read_results, write_results
from sagan_jax.detector import Scores
from sagan_jax.runs.provenance import PROVENANCE

AUROC = {1: 0.4, 2: 0.7, 3: 0.6}
VALIDATION = {1: 0.1, 2: 0.3, 3: 0.2}
READINGS = [
    EpochReading(20, epoch, VALIDATION[epoch], statistics, score, AUROC[epoch] + 0.1 * STATISTICS.index(statistics))
    for epoch in AUROC
    for statistics in STATISTICS
    for score in SCORES
]


@pytest.mark.parametrize(("selection", "epoch"), [("last", 3), ("best by test", 2), ("best by validation", 1)])
def test_an_epoch_is_chosen_by_what_the_selection_says(selection, epoch):
    assert chosen(READINGS, "running", "R", selection).epoch == epoch


def test_the_table_says_what_each_leak_adds():
    text = leak_table(READINGS)
    assert "against the strict 0.600" in text
    assert "choosing the epoch by the test set  0.700 (+0.100), |AUROC - 0.5| 0.200" in text
    assert "statistics of batches in order      0.800 (+0.200), |AUROC - 0.5| 0.300" in text


def test_the_account_has_every_choice_by_itself_against_the_strict_figure():
    lines = {line.choice: line for line in account(READINGS, "R")}
    assert next(iter(lines)) == "strict: running statistics, last epoch, R"
    assert lines["statistics: batches in order"].change == pytest.approx(0.2)
    assert lines["epoch: the best by the test set"].auroc == pytest.approx(0.7)
    assert lines["labels: abnormal = 0"].auroc == pytest.approx(0.4)
    assert lines["reference protocol: batches in order, the best epoch by the test set"].auroc == pytest.approx(0.9)
    assert lines["the most of any combination, abnormal = 1"].auroc == pytest.approx(1.0)
    assert lines["the most of any combination, abnormal = 0"].auroc == pytest.approx(0.6)


def test_an_epoch_that_is_known_from_the_history_alone_counts_in_the_reference_protocol():
    last = [reading for reading in READINGS if reading.epoch == 3]
    lines = {line.choice: line.auroc for line in account(last, "R", best_of_epochs=0.95)}
    assert "epoch: the best by the test set" not in lines
    assert lines["reference protocol: batches in order, the best epoch by the test set"] == 0.95
    assert "the paper prints 0.960: +0.010 beyond the reference protocol" in described(
        account(last, "R", best_of_epochs=0.95), 0.96
    )


def test_scaling_each_term_over_the_test_set_can_change_the_order_and_scaling_their_sum_cannot():
    """R tells nothing here and is a hundred times L, which tells all: scaled, both weigh the same."""
    labels = np.array([False, False, True, True])
    scores = Scores(
        total=np.zeros(4), reconstruction=np.array([100.0, 300.0, 150.0, 200.0]), latent=np.array([1.0, 2.0, 3.0, 4.0])
    )
    found = aurocs(labels, scores, {"both": 0.5, "R": 1.0, "L": 0.0})
    # Sums: 101, 302, 153, 204 / 2; scaled: 0 + 0, 1 + 1/3, 1/4 + 2/3, 1/2 + 1.
    assert found == {"both": 0.5, "R": 0.5, "L": 1.0, "both" + SCALED: 0.75}


def test_a_small_audit_is_gone_on_with_and_writes_what_it_prints(tmp_path, capsys):
    flags = [
        "--method=ganomaly",
        "--dataset=digits",
        "--abnormal=3",
        "--size=16",
        "--width=2",
        "--latent-size=4",
        "--batch-size=256",
        "--batch-sizes=8",
    ]
    flags += ["--test-images=20", "--epochs=1", f"--out={tmp_path / 'audit'}"]
    assert main(flags) == 0
    printed = capsys.readouterr().out
    lines = read_results(tmp_path / "audit" / "audit.csv")
    assert all(lines[0][name] for name in PROVENANCE if name != "commit")
    readings = [reading_of(line) for line in lines]
    assert len(readings) == (len(STATISTICS) + 1) * (len(SCORES) + 2)
    assert leak_table(readings) in printed
    assert (tmp_path / "audit" / "audit.png").stat().st_size > 5000
    assert main(flags) == 0  # nothing is left to do
    assert capsys.readouterr().out == printed
    others = [line | {"test_images": "19", "auroc": "0.0"} for line in lines]
    write_results(tmp_path / "audit" / "audit.csv", others)
    assert main(flags) == 0  # judged anew: those were of other test images
    assert capsys.readouterr().out == printed
    assert main([*flags, "--test-images=10000"]) == 2
    run, accounts = tmp_path / "audit", tmp_path / "accounts"
    assert main([f"--finished={run}", "--dataset=digits", "--batch-sizes=8", f"--out={accounts}"]) == 0
    with (accounts / "account.csv").open(newline="") as file:
        rows = {row["choice"]: row for row in csv.DictReader(file)}
    strict = json.loads((run / "result.json").read_text())["strict"]["auroc"]["value"]
    assert float(rows["strict: running statistics, last epoch, L"]["auroc"]) == pytest.approx(strict, abs=1e-6)
    assert "statistics: batches of 8 in order" in rows
    (file,) = accounts.glob("scores-digits-ganomaly-*.npz")
    saved = np.load(file)
    assert saved["batches of 8 in order: L"].shape == saved["labels"].shape == (20,)
    assert main([f"--finished={tmp_path / 'none'}", "--dataset=digits"]) == 2
    with pytest.raises(SystemExit, match="2"):
        main([])
