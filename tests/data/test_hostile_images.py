"""Images of strangers: each is decoded or refused by name, whatever its bytes are, in bounded memory."""

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hostile_images import GOOD, encoded, make_folder
from hypothesis import given, settings
from hypothesis import strategies as st
from mean_detector import METHOD, MeanConfig
from photographs import picture

from sagan_jax import device
from sagan_jax.cli import main
from sagan_jax.config import HardwareConfig, TrainingConfig
from sagan_jax.data.image_file import read_image
from sagan_jax.data.image_format import is_image
from sagan_jax.data.split import Split
from sagan_jax.errors import UserError
from sagan_jax.runs.prepare import prepare
from sagan_jax.runs.run import run

LIMIT = 3 * 2**29  # bytes of address space: 1.5 GiB, of which Python and its libraries take a part

PROGRAM = """
import json, pathlib, resource, sys
from sagan_jax.data.image_file import read_image
from sagan_jax.errors import UserError
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

def outcome(path):
    try:
        return list(read_image(path, size=16).shape)
    except UserError as error:
        return str(error)

said = {path.name: outcome(path) for path in sorted(pathlib.Path(sys.argv[1]).iterdir())}
status = pathlib.Path("/proc/self/status").read_text()  # getrusage's peak would be that of whoever started this
peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024
print(json.dumps({"said": said, "peak": peak}))
"""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    folder = tmp_path_factory.mktemp("strangers")
    return folder, make_folder(folder)


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's account of a process's memory")
def test_every_image_of_a_hostile_folder_is_decoded_or_refused_by_name_in_bounded_memory(hostile, capsys):
    folder, bad = hostile
    command = [sys.executable, "-c", PROGRAM, str(folder), str(LIMIT)]
    result = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120, env=os.environ)
    found = json.loads(result.stdout)
    said = found["said"]
    assert {name for name, shape in said.items() if shape == [16, 16, 3]} >= set(GOOD)
    assert len(said) >= 200
    for name, outcome in said.items():  # an image, or refused by name
        assert outcome == [16, 16, 3] or (isinstance(outcome, str) and name in outcome), name
    for name in bad:
        assert isinstance(said[name], str), name
        assert name in said[name]
        assert "\n" not in said[name]
    assert found["peak"] < 300 * 2**20
    reasons = {name: said[name].removeprefix(f"{folder}/{name}: ") for name in bad}
    with capsys.disabled():
        print(f"\npeak memory {found['peak'] / 2**20:.0f} MiB")
        print(f"{len(said)} files; of each reason an example")
        examples = {reason: name for name, reason in reasons.items()}
        print(*(f"{name:<22} {reason}" for reason, name in examples.items()), sep="\n")


@st.composite
def damaged_files(draw):
    """A whole image of some format with bytes changed, cut out or put in."""
    kind = draw(st.sampled_from(["PNG", "JPEG", "TIFF", "BMP", "WEBP"]))
    content = bytearray(encoded(kind, picture(draw(st.integers(0, 3)), (9, 11, 3))))
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, len(content) - 1))
        match draw(st.sampled_from(["change", "cut", "insert"])):
            case "change":
                content[place] = draw(st.integers(0, 255))
            case "cut":
                del content[place : place + draw(st.integers(1, 40))]
            case "insert":
                content[place:place] = draw(st.binary(min_size=1, max_size=8))
        if not content:
            break
    return bytes(content)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("scratch") / "image.png"


@given(content=damaged_files() | st.binary(max_size=200), channels=st.sampled_from([1, 3]))
@settings(max_examples=300)
def test_any_bytes_are_an_image_or_an_error(scratch, content, channels):
    scratch.write_bytes(content)
    try:
        image = read_image(scratch, channels=channels, size=16)
    except UserError as error:
        said = str(error)
    else:
        said = f"{scratch}: {image.dtype} {image.shape}"
    assert said.startswith(f"{scratch}: ")
    assert "\n" not in said
    assert "uint8" not in said or said.endswith(f"uint8 (16, 16, {channels})")


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    images = np.stack([picture(seed, (16, 16, 3)) for seed in range(20)])
    ids, none = np.arange(20).astype(str), np.zeros(0, bool)
    split = Split("noise", "none", images, ids, images[:0], none, ids[:0])
    prepared = prepare(split, METHOD, MeanConfig(), TrainingConfig(epochs=1, batch_size=8))
    run(prepared, out, device.start_run(HardwareConfig()), ["pytest"])
    return out


def test_a_hostile_folder_is_scored_to_its_end_and_the_good_images_have_scores(hostile, run_folder, tmp_path):
    folder, bad = hostile
    out = tmp_path / "verdicts.csv"
    assert main(["score", str(run_folder), str(folder), f"--out={out}", "--method=mean_detector:METHOD"]) in (1, 3)
    with out.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = {os.path.relpath(row["file"], folder): row for row in csv.DictReader(file)}
    there = {path.name for path in folder.iterdir() if not path.is_dir() and is_image(path)}
    assert there >= {*GOOD, *bad} - {"folder.png"}  # a folder is searched, not scored
    assert set(rows) == there
    assert all(row["verdict"] != "unusable" or row["reason"] for row in rows.values())
    for name in GOOD:
        assert rows[name]["verdict"] in ("normal", "abnormal"), name
        assert np.isfinite(float(rows[name]["score"]))
    for name in set(bad) - {"folder.png"}:
        assert rows[name]["verdict"] == "unusable", name
        assert rows[name]["reason"], name
