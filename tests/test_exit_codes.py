"""Exit codes of commands, and what a signal leaves of a run."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from sagan_jax.errors import UserError
from sagan_jax.exit_codes import guarded
from sagan_jax.run_folder import locked


def fail(error):
    raise error


def test_what_the_user_can_mend_ends_in_2_with_the_reason(capsys):
    assert guarded(lambda: fail(UserError("width is 0"))) == 2
    assert capsys.readouterr().err == "error: width is 0\n"


def test_a_full_disk_ends_in_2_with_the_file(capsys):
    assert guarded(lambda: fail(OSError(errno.ENOSPC, "No space left on device", "run/result.json"))) == 2
    assert "run/result.json" in capsys.readouterr().err


def test_other_errors_of_the_system_are_not_hidden():
    with pytest.raises(FileNotFoundError):
        guarded(lambda: fail(FileNotFoundError(errno.ENOENT, "No such file")))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_in_128_and_its_number_and_says_how_to_go_on(number, code, capsys):
    before = signal.getsignal(signal.SIGTERM)
    assert guarded(lambda: os.kill(os.getpid(), number)) == code
    assert "--resume" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == before


def test_what_cannot_be_resumed_is_not_said_to_be(capsys):
    assert guarded(lambda: fail(KeyboardInterrupt()), resumable=False) == 130
    assert "--resume" not in capsys.readouterr().err


def test_a_reader_that_goes_away_ends_a_command_quietly():
    program = (
        "from sagan_jax.exit_codes import guarded\n"
        "raise SystemExit(guarded(lambda: [print('x' * 4096, flush=True) for _ in range(64)]))"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as command:
        command.stdout.close()
        assert command.stderr.read() == b""
    assert command.returncode == 141


def test_an_action_may_choose_its_own_code():
    assert [guarded(lambda: 1), guarded(lambda: None)] == [1, 0]


def test_a_folder_is_one_runs_at_a_time(tmp_path):
    with locked(tmp_path / "run"), pytest.raises(UserError, match="another process"), locked(tmp_path / "run"):
        pass
    with locked(tmp_path / "run"):
        assert list((tmp_path / "run").iterdir()) == []


def test_a_file_in_the_way_of_a_folder_is_named(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(UserError, match="run cannot be made"), locked(tmp_path / "run"):
        pass
