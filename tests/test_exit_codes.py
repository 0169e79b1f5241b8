"""Exit codes of commands, and what a signal leaves of a run."""

import errno
import os
import pwd
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import jax
import pytest
import tyro

from sagan_jax.cache_folder import cache_folder
from sagan_jax.cli import COMMANDS, main
from sagan_jax.data.tfds_images import load_tfds
from sagan_jax.errors import UserError
from sagan_jax.exit_codes import TRACEBACK, guarded
from sagan_jax.run_folder import locked


def fail(error):
    raise error


def test_what_the_user_can_mend_ends_in_2_with_the_reason(capsys):
    assert guarded(lambda: fail(UserError("width is 0"))) == 2
    assert capsys.readouterr().err == "error: width is 0\n"


def test_a_full_disk_ends_in_2_with_the_file(capsys):
    assert guarded(lambda: fail(OSError(errno.ENOSPC, "No space left on device", "run/result.json"))) == 2
    assert "run/result.json" in capsys.readouterr().err


@pytest.mark.parametrize("number", [errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EMFILE, errno.EIO])
def test_a_name_or_limit_of_the_system_ends_in_2_with_the_file(number, capsys):
    assert guarded(lambda: fail(OSError(number, "says the system", "maps/a.png"))) == 2
    assert capsys.readouterr().err.startswith(
        f"error: [Errno {number}] says the system: 'maps/a.png'; what was written"
    )


def test_a_working_folder_that_is_gone_ends_in_2(tmp_path, monkeypatch, capsys):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert guarded(Path.cwd) == 2
    assert capsys.readouterr().err == "error: the working folder is no longer there; go to one that is\n"


def test_a_name_that_the_terminal_has_no_letters_for_is_printed_as_an_escape():
    script = "from sagan_jax.exit_codes import guarded; guarded(lambda: print('Ü.png'))"
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=True)
    assert done.stdout == b"\\xdc.png\n"


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "No such file"),
        RuntimeError("two\nlines"),
        MemoryError(),
        RecursionError("deep"),
        AssertionError(),
        KeyError("name"),
    ],
)
def test_any_other_exception_ends_in_70_with_one_line_that_says_how_to_see_the_traceback(error, capsys, monkeypatch):
    monkeypatch.delenv(TRACEBACK, raising=False)
    assert guarded(lambda: fail(error)) == 70
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert type(error).__name__ in said
    assert "SAGAN_TRACEBACK=1" in said
    monkeypatch.setenv(TRACEBACK, "1")
    assert guarded(lambda: fail(error)) == 70
    said = capsys.readouterr().err
    assert said.startswith("Traceback (most recent call last)")
    assert "in fail" in said
    assert said.splitlines()[-1].startswith("error: a bug in the program")


class Broken:
    """Settings that nothing can be done with."""

    def __call__(self):
        raise RuntimeError("no one foresaw this")

    def __getattr__(self, name):
        raise RuntimeError("no one foresaw this")


EXPERIMENTS = sorted(
    path.stem for path in (Path(__file__).parents[1] / "experiments").glob("*.py") if "__main__" in path.read_text()
)


@pytest.fixture(params=["while its flags are read", "at work"])
def broken(request, monkeypatch):
    """Has every command crash."""
    monkeypatch.delenv(TRACEBACK, raising=False)

    def cli(*arguments, **options):
        return Broken() if request.param == "at work" else fail(RuntimeError("no one foresaw this"))

    monkeypatch.setattr(tyro, "cli", cli)
    monkeypatch.setattr(jax, "eval_shape", lambda *arguments: fail(RuntimeError("no one foresaw this")))  # no flags


@pytest.mark.parametrize("name", COMMANDS)
def test_a_crash_of_any_command_ends_in_70_never_in_1(name, broken, capsys):
    assert main([name, "x"]) == 70
    assert "RuntimeError: no one foresaw this" in capsys.readouterr().err


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_crash_of_any_experiment_ends_in_70_never_in_1(name, broken, capsys, monkeypatch):
    module = f"experiments.{name}"
    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr(sys, "argv", [module])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(module, run_name="__main__")
    assert ended.value.code == 70
    assert "RuntimeError: no one foresaw this" in capsys.readouterr().err


def test_a_device_that_is_not_there_ends_every_command_that_needs_one_in_2(tmp_path):
    train, score = ["train", str(tmp_path)], ["score", str(tmp_path), "a.png"]
    commands = [train, score, [*train, "--device=gpu"], [*score, "--device=gpu"], ["export", str(tmp_path)]]
    program = f"from sagan_jax.cli import main\nprint([main(command) for command in {commands!r}])"
    environment = os.environ | {"JAX_PLATFORMS": "cuda"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "[2, 2, 2, 2, 2]\n"
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert [line.split(" here; ")[0] for line in errors] == [
        f"error: there is no device {name}" for name in ("auto", "auto", "gpu", "gpu", "auto")
    ]
    assert all("JAX_PLATFORMS is 'cuda'" in line for line in errors)


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch, tmp_path, capsys):
    def nobody(number):
        raise KeyError(number)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    for name in ("HOME", "XDG_CACHE_HOME", "TFDS_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match="no home folder is known; set HOME or XDG_CACHE_HOME"):
        cache_folder()
    with pytest.raises(UserError, match="no home folder is known; set HOME or TFDS_DATA_DIR"):
        load_tfds("mnist")
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    before = jax.config.values["jax_compilation_cache_dir"]
    jax.config.update("jax_compilation_cache_dir", None)
    try:
        assert main(["score", str(tmp_path), "a.png"]) == 2
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    assert "set HOME or XDG_CACHE_HOME" in capsys.readouterr().err


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


def test_of_a_folder_only_what_a_killed_run_left_half_written_is_removed(tmp_path):
    mine, others = (
        ".result.json.123.partial",
        [".big.iso.partial", ".result.json.partial", "result.json", ".a.1.partial"],
    )
    for name in (mine, *others):
        (tmp_path / name).write_text("")
    with locked(tmp_path):
        assert {path.name for path in tmp_path.iterdir()} == set(others)


def test_a_file_in_the_way_of_a_folder_is_named(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(UserError, match="run cannot be made"), locked(tmp_path / "run"):
        pass
