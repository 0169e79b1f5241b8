"""The audit's table says what its readings say, and a small audit goes from the command line to its files."""

import pytest

from experiments.audit import SCORES, STATISTICS, EpochReading, chosen, leak_table, main, reading_of
from experiments.record import read_results, write_results
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


def test_a_small_audit_is_gone_on_with_and_writes_what_it_prints(tmp_path, capsys):
    flags = [
        "--method=ganomaly",
        "--dataset=digits",
        "--abnormal=3",
        "--size=16",
        "--width=2",
        "--latent-size=4",
        "--batch-size=256",
    ]
    flags += ["--test-images=20", "--epochs=1", f"--out={tmp_path / 'audit'}"]
    assert main(flags) == 0
    printed = capsys.readouterr().out
    lines = read_results(tmp_path / "audit" / "audit.csv")
    assert all(lines[0][name] for name in PROVENANCE if name != "commit")
    readings = [reading_of(line) for line in lines]
    assert len(readings) == len(STATISTICS) * len(SCORES)
    assert leak_table(readings) in printed
    assert (tmp_path / "audit" / "audit.png").stat().st_size > 5000
    assert main(flags) == 0  # nothing is left to do
    assert capsys.readouterr().out == printed
    others = [line | {"test_images": "19", "auroc": "0.0"} for line in lines]
    write_results(tmp_path / "audit" / "audit.csv", others)
    assert main(flags) == 0  # judged anew: those were of other test images
    assert capsys.readouterr().out == printed
    assert main([*flags, "--test-images=10000"]) == 2
