"""Asking for huge pages: what the environment variable becomes, and that the command is the same one afterwards."""

import json
import os
import subprocess
import sys

import pytest

from sagan_jax import huge_pages

ASKED = "always [madvise] never"


@pytest.mark.parametrize(
    ("tunables", "kernel", "asking"),
    [
        ("", ASKED, "glibc.malloc.hugetlb=1"),
        ("glibc.malloc.check=3", ASKED, "glibc.malloc.check=3:glibc.malloc.hugetlb=1"),
        ("glibc.malloc.hugetlb=1", ASKED, None),
        ("glibc.malloc.hugetlb=0", ASKED, None),  # a user's own choice
        ("", "[always] madvise never", None),  # there are some without asking
        ("", "always madvise [never]", None),
    ],
)
def test_huge_pages_are_asked_for_where_that_changes_something(tunables, kernel, asking):
    assert huge_pages._asking(tunables, kernel) == asking


PROGRAM = """
import json, os, sys
from pathlib import Path
from sagan_jax import huge_pages
huge_pages._KERNEL = Path(sys.argv[1])
print(json.dumps([os.getpid(), sys.argv, os.environ.get("GLIBC_TUNABLES")]), flush=True)
if os.environ.get("TAKEN_AWAY"):
    os.environ.pop("GLIBC_TUNABLES", None)  # as glibc does for programs with rights of their own
huge_pages.restart_with_huge_pages()
print("the work", flush=True)
"""


def start(kernel, **environment):
    """What the program says each time it starts, and its number."""
    ours = ("GLIBC_TUNABLES", huge_pages._ASKED)
    inherited = {name: value for name, value in os.environ.items() if name not in ours}
    command = [sys.executable, "-c", PROGRAM, str(kernel), "--flag=a b"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=inherited | environment) as process:
        assert process.stdout is not None
        *said, work = process.stdout.read().splitlines()
    assert process.returncode == 0
    assert work == "the work"
    return [json.loads(line) for line in said], process.pid


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such file to read")
def test_a_command_is_started_anew_once_with_its_arguments_and_its_number(tmp_path):
    (tmp_path / "enabled").write_text(ASKED)
    said, pid = start(tmp_path / "enabled")
    arguments = ["-c", str(tmp_path / "enabled"), "--flag=a b"]
    assert said == [[pid, arguments, None], [pid, arguments, "glibc.malloc.hugetlb=1"]]
    said, pid = start(tmp_path / "enabled", GLIBC_TUNABLES="glibc.malloc.hugetlb=0")
    assert said == [[pid, arguments, "glibc.malloc.hugetlb=0"]]
    said, _ = start(tmp_path / "enabled", TAKEN_AWAY="1")
    assert len(said) == 2


def test_without_the_kernels_word_a_command_goes_on_as_it_is(tmp_path):
    said, pid = start(tmp_path / "not there")
    assert [line[0] for line in said] == [pid]
