"""Scoring by Ray Data gives the verdicts of one machine, whatever happens to files and workers."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from photographs import picture, save

from sagan_jax.cli import main
from sagan_jax.data.file_list import images_below
from sagan_jax.data.image_file import decode
from sagan_jax.data.object_store import SourceFile, list_source_files, read_from_store
from sagan_jax.errors import UserError
from sagan_jax.inspection.ray_verdicts import Judge, files_block
from sagan_jax.inspection.verdict_file import cells
from sagan_jax.inspection.verdicts import Verdict

pytest.importorskip("ray")

FILES = 40  # blocks of five for two actors
TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of a method of one's own, which compiles in no time."""
    data, out = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("run") / "run"
    for i in range(20):
        save(data / f"{i}.png", picture(i))
    flags = ["--method=mean_detector:METHOD", "--size=16", "--epochs=1", "--batch-size=8", "--validation-fraction=0.5"]
    assert main(["train", str(data), *flags, f"--out={out}"]) == 0
    return out


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Photographs of several formats and sizes, one of them cut short, and one name that needs care in a URL."""
    folder = tmp_path_factory.mktemp("photographs")
    for i in range(FILES - 2):
        kind = ("png", "jpg", "tif")[i % 3]
        save(folder / f"{i // 10}/{i:03d}.{kind}", picture(i) if i % 7 else np.full((30, 20, 3), i, np.uint8))
    (folder / "1/cut.png").write_bytes((folder / "0/003.png").read_bytes()[:99])
    save(folder / "1/a b#c%20d.png", picture(99))
    save(folder / ".hidden.png", picture(1))
    return folder


ON_RAY = """
import json, os, sys
import ray
try:
    gpus, store = int(os.environ["GPUS"]), 200_000_000
    ray.init(
        num_cpus=2, num_gpus=gpus, object_store_memory=store, include_dashboard=False, log_to_driver=False
    )
except Exception as error:  # Ray waits half a minute for its own processes
    sys.exit(f"Ray does not start: {error}")
from sagan_jax.cli import main
with open(sys.argv[2], "w") as file:
    json.dump([main(argv) for argv in json.loads(sys.argv[1])], file)
"""


def on_ray(folder, *commands, dies="nowhere", gpus=0):
    """Runs commands in a process with a Ray of two workers, which `--ray=local` uses as it is.

    A process of its own, as Ray leaves more behind in one than these tests' strictness about warnings allows.

    Args:
        folder: Where the exit codes may be written.
        commands: The commands' arguments.
        dies: The file that `dying_detector` looks for.
        gpus: How many Ray believes that there are; JAX, which finds none, computes on the CPU.

    Returns:
        The exit codes, and all that was printed on standard output.
    """
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)]),
        "DIES": str(dies),
        "GPUS": str(gpus),
    }
    codes = folder / "codes.json"
    python = [sys.executable, "-c", ON_RAY, json.dumps(commands), str(codes)]
    done = subprocess.run(python, env=env, capture_output=True, text=True, check=False)
    if "Ray does not start" in done.stderr:
        pytest.skip("Ray does not start on a machine as busy as this")
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr
    return json.loads(codes.read_text()), done.stdout


def command(run, out, *arguments, method="mean_detector:METHOD"):
    return ["score", *map(str, (run, *arguments)), f"--out={out}", f"--method={method}"]


@pytest.fixture(scope="module")
def of_one_machine(run, photographs, tmp_path_factory):
    """The verdicts that `sagan score` gives without Ray, as CSV, and its exit code."""
    out = tmp_path_factory.mktemp("one") / "one.csv"
    return main(command(run, out, photographs, "gone.png")), out


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_two_workers_give_the_verdicts_of_one_machine_from_disk_and_from_a_store(
    run, photographs, of_one_machine, tmp_path
):
    expected_code, expected = of_one_machine
    disk, store = tmp_path / "disk.csv", tmp_path / "store.parquet"
    codes, said = on_ray(
        tmp_path,
        command(run, disk, photographs, "gone.png", "--ray=local"),
        command(run, store, photographs.as_uri(), "gone.png", "--ray=local"),
    )
    assert codes == [expected_code] * 2
    assert disk.read_bytes() == expected.read_bytes()
    rows = rows_of(disk)
    (cut,) = [row for row in rows if row["file"].endswith("cut.png")]
    assert (cut["verdict"], cut["reason"][:8]) == ("unusable", "damaged ")
    assert f"cut.png: {cut['reason']}" in said
    table = pyarrow.parquet.read_table(store).to_pylist()
    for stored, row in zip(table, rows, strict=True):
        assert stored["file"].removeprefix("file://") == row["file"]
        assert cells(Verdict(**stored))[1:] == list(row.values())[1:]


@pytest.mark.slow
def test_a_worker_with_a_gpu_that_is_killed_costs_no_verdict(run, photographs, of_one_machine, tmp_path):
    (flag := tmp_path / "flag").touch()
    out = tmp_path / "killed.csv"
    arguments = (run, out, photographs, "gone.png", "--ray=local")
    codes, _ = on_ray(tmp_path, command(*arguments, method="dying_detector:METHOD"), dies=flag, gpus=2)
    assert not flag.exists()  # a worker met it, and was killed
    assert codes == [of_one_machine[0]]
    assert out.read_bytes() == of_one_machine[1].read_bytes()


def test_an_actor_scores_a_block_as_one_machine_does(run, photographs, of_one_machine):
    contents = {os.fspath(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.is_file()}
    expected = rows_of(of_one_machine[1])
    judge = Judge(contents, float(expected[0]["threshold"]), "cpu", "mean_detector:METHOD")
    files = [*list_source_files([str(photographs), photographs.as_uri()], bytes), SourceFile("gone.png", None)]
    found = judge(files_block(files, 7, len(files)))
    assert found["number"].to_pylist() == list(range(7, 7 + len(files) - 7))
    by_name = {row["file"]: row for row in expected}
    for file, row in zip(files[7:], found.to_pylist(), strict=True):
        alone = by_name[file.name.removeprefix("file://")]
        assert (row["verdict"], row["reason"]) == (alone["verdict"], alone["reason"])
        assert row["score"] == (None if alone["score"] == "" else pytest.approx(float(alone["score"]), rel=1e-8))


def test_a_url_is_searched_as_a_folder_is(photographs):
    found = list_source_files([photographs.as_uri()], bytes)
    assert sorted(file.path for file in found) == sorted(map(str, images_below(photographs)))
    assert len(found) == FILES
    (listed,) = list_source_files(["-"], f"file://{photographs}/0/000.png\n".encode)
    assert listed.name == f"file://{photographs}/0/000.png"
    assert read_from_store(listed.place.uri, listed.path) == (photographs / "0/000.png").read_bytes()
    (escaped,) = list_source_files([f"{(photographs / '1').as_uri()}/a%20b%23c%2520d.png"], bytes)
    assert escaped.path == f"{photographs}/1/a b#c%20d.png"
    with pytest.raises(UserError, match=r"nothing://at/all cannot be searched: .*nothing"):
        list_source_files(["nothing://at/all"], bytes)


def test_a_file_in_a_store_that_cannot_be_read_says_why(photographs):
    with pytest.raises(UserError, match=r"gone\.png: cannot be read \(No such file or directory\)"):
        read_from_store(photographs.as_uri(), f"{photographs}/gone.png")


def test_a_raw_file_of_a_camera_is_no_photograph_wherever_it_is(tmp_path):
    """It is a TIFF, and would be read as its thumbnail."""
    raw = save(tmp_path / "a.tif", picture(0)).rename(tmp_path / "a.xyz")
    for content in (None, raw.read_bytes()):
        with pytest.raises(UserError, match=r"\.xyz files are not read"):
            decode(raw, 3, content=content)


def test_what_ray_is_not_for_is_refused(run, photographs, tmp_path, monkeypatch, capsys):
    assert main(["score", str(run), str(photographs), "--ray=local", f"--maps={tmp_path}"]) == 2
    assert "--maps is not drawn with --ray" in capsys.readouterr().err
    assert main(["score", str(run), "s3://bucket/folder"]) == 2
    assert "s3://bucket/folder is a URL; those are read with --ray" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "ray.data", None)
    assert main(["score", str(run), str(photographs), "--ray=local"]) == 2
    assert '--ray needs Ray Data: pip install "sagan-jax[ray]"' in capsys.readouterr().err
