"""A folder is one process's at a time; what a dead process or a silent machine claimed is taken over."""

import os
import subprocess
import sys

from experiments import claims
from experiments.claims import STALE, claimed


def test_a_claim_keeps_others_out_until_it_is_let_go(tmp_path):
    folder = tmp_path / "cell"
    with claimed(folder) as first, claimed(folder) as second:
        assert (first, second) == (True, False)
    with claimed(folder) as third:
        assert third
    assert list(folder.iterdir()) == []


def test_the_claim_of_a_killed_process_is_taken_over_at_once(tmp_path):
    program = (
        "import os, sys; from pathlib import Path; from experiments.claims import claimed\n"
        "with claimed(Path(sys.argv[1])) as mine:\n"
        "    assert mine; os.kill(os.getpid(), 9)"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert ended.returncode == -9
    assert [path.name for path in tmp_path.iterdir()] == ["claim-1"]
    with claimed(tmp_path) as mine, claimed(tmp_path) as other:
        assert (mine, other) == (True, False)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["claim-1", "claim-2"]
    assert list(tmp_path.iterdir()) == []


def test_another_machines_claim_holds_while_it_gives_signs_of_life(tmp_path):
    theirs = tmp_path / "claim-1"
    theirs.write_text("another kernel")
    with claimed(tmp_path) as mine:
        assert not mine
    silent = theirs.stat().st_mtime - STALE - 1
    os.utime(theirs, (silent, silent))
    with claimed(tmp_path) as mine:
        assert mine


def test_a_claim_gives_signs_of_life(tmp_path, monkeypatch):
    import time

    monkeypatch.setattr(claims, "TOUCHED", 0.01)
    with claimed(tmp_path):
        claim = tmp_path / "claim-1"
        os.utime(claim, (0, 0))
        ends = time.monotonic() + 10
        while claim.stat().st_mtime == 0 and time.monotonic() < ends:
            time.sleep(0.01)
        assert claim.stat().st_mtime > 0
