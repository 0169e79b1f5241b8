import json

import pytest

from experiments import bolts
from sagan_jax.data.bolts.scenes import KINDS
from sagan_jax.flags import parse_as


def parse(argv):
    return parse_as(bolts.Bolts, "python -m experiments.bolts", argv)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "bolts"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bolts, "QUICK", {"train": 20, "test_normal": 4, "test_abnormal": 10})
        small = ["--size=16", "--method=mean_detector:METHOD", "--epochs=1", "--batch-size=8"]
        assert bolts.main(["--quick", *small, f"--out={folder}", f"--cache-dir={folder.parent / 'scenes'}"]) == 0
    return folder


def test_a_run_is_judged_by_image_by_pixel_and_by_kind(folder):
    result = json.loads((folder / "result.json").read_text())
    assert result["images"] == {"train": 19, "held_out": 1, "test_normal": 4, "test_abnormal": 10}
    for name in ("auroc", "pixel_auroc", "aupro"):
        interval = result["strict"][name]
        assert 0 <= interval["low"] <= interval["value"] <= interval["high"] <= 1
    assert [kind["name"] for kind in result["kinds"]] == list(KINDS)
    assert all(kind["images"] == 2 and 0 <= kind["aupro"] <= 1 for kind in result["kinds"])


def test_it_is_said_to_be_synthetic_wherever_it_is_shown(folder):
    assert "synthetic" in json.loads((folder / "result.json").read_text())["dataset"]
    page = (folder / "report.html").read_text()
    assert "<strong>Synthetic:</strong>" in page
    assert "<title>bolts at a station (synthetic)" in page


def test_the_paper_and_the_quick_run_set_the_defaults():
    options = parse([])
    assert options.site == "station"
    assert (options.size, options.training.epochs, options.training.batch_size) == (128, 15, 32)
    assert parse(["--quick"]).training.epochs == bolts.QUICK_EPOCHS
    assert parse(["--quick", "--epochs=2"]).training.epochs == 2
    assert parse(["--method=skip_ganomaly"]).training.batch_size == 64
