import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from sagan_jax import cli
from sagan_jax.errors import UserError
from sagan_jax.report import thumbnails
from sagan_jax.report.page import CURVE_POINTS, curves_of, thin_curve, write_report
from tests.run_folders import HOSTILE, make_split, write_run


class Elements(HTMLParser):
    """The page's elements and their attributes, and the texts inside."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, text):
        self.texts.append(text)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    write_run(folder, make_split())
    write_report(folder)
    return folder


def test_no_name_becomes_markup(folder):
    page = Elements((folder / "report.html").read_text())
    texts = "".join(page.texts)
    assert all(name in texts for name in HOSTILE)
    assert [attributes.get("type") for tag, attributes in page.tags if tag == "script"] == [
        "application/json",
        None,
        None,
    ]
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert all(attributes["src"].startswith("data:") for tag, attributes in page.tags if "src" in attributes)


def test_nothing_is_loaded_from_anywhere(folder):
    text = (folder / "report.html").read_text()
    assert not re.search(r"<(link|iframe|object|embed|base)\b|@import|url\((?!data:)", text)
    policy = next(a["content"] for tag, a in Elements(text).tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy


def test_a_run_without_a_test_set_has_a_page(tmp_path):
    split = make_split()
    empty = split._replace(
        test=split.test[:0],
        test_labels=split.test_labels[:0],
        test_ids=split.test_ids[:0],
        test_kinds=None,
        test_masks=None,
    )
    write_run(tmp_path, empty)
    text = write_report(tmp_path).read_text()
    assert "has no result on labelled test images:" in text
    assert 'id="loss-0"' in text
    assert 'id="threshold"' not in text


def test_a_run_that_is_not_finished_has_a_page(tmp_path):
    write_run(tmp_path, make_split(), finished=False)
    assert "has no result on labelled test images yet:" in write_report(tmp_path).read_text()


def test_the_command_writes_the_report_again(folder, capsys):
    before = (folder / "report.html").read_bytes()
    (folder / "report.html").unlink()
    assert cli.main(["report", str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder / 'report.html'}\n"
    assert (folder / "report.html").read_bytes() == before


def test_a_name_that_is_no_text_is_shown_by_its_bytes(tmp_path):
    write_run(tmp_path, make_split())
    gallery = (tmp_path / "gallery.json").read_text()
    (tmp_path / "gallery.json").write_text(gallery.replace("test/", "\\udcff/", 1))
    assert "\\udcff/" in write_report(tmp_path).read_text()


def test_a_folder_without_a_run_and_damaged_files_are_told_of(tmp_path):
    with pytest.raises(UserError, match=r"not a run's folder: it has no config\.json"):
        write_report(tmp_path)
    write_run(tmp_path, make_split())
    (tmp_path / "scores.csv").write_text("id,label\nx,1\n")
    with pytest.raises(UserError, match=r"scores\.csv cannot be read"):
        write_report(tmp_path)
    (tmp_path / "result.json").write_text('{"strict":')
    with pytest.raises(UserError, match=r"result\.json cannot be read"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_thinned_curves_keep_their_ends_and_their_area():
    rng = np.random.default_rng(0)
    x, y = np.sort(rng.uniform(size=50_000)), np.sort(rng.uniform(size=50_000))
    thin = np.array(thin_curve(x, y))
    assert thin.shape[1] <= CURVE_POINTS
    np.testing.assert_allclose(thin[:, [0, -1]], [[x[0], x[-1]], [y[0], y[-1]]], rtol=1e-5)
    assert np.trapezoid(thin[1], thin[0]) == pytest.approx(np.trapezoid(y, x), abs=1e-3)


def test_the_roc_curve_has_the_points_of_its_definition():
    labels = np.array([False, False, True, True])
    curves = curves_of(labels, np.array([1, 3, 2, 4], np.float32))
    assert curves["roc"] == [[0, 0, 0.5, 0.5, 1], [0, 0.5, 0.5, 1, 1]]
    assert curves["pr"] == [[0.5, 0.5, 1, 1], [1, 0.5, pytest.approx(2 / 3, rel=1e-5), 0.5]]


def test_the_gallery_has_the_extremes_of_each_class_and_what_is_near_the_threshold():
    scores = np.arange(100, dtype=np.float32)
    labels = np.arange(100) % 2 == 1
    chosen = thumbnails.choose(scores, labels, 50.2, count=3)
    assert chosen.tolist() == [*range(6), *range(48, 54), *range(94, 100)]


def test_the_outline_of_a_mask_is_drawn_inside_it():
    image, warmth = np.zeros((160, 160, 3), np.uint8), np.zeros((160, 160, 3), np.uint8)
    mask = np.zeros((160, 160), bool)
    mask[40:60, 40:60] = True
    laid = thumbnails.overlay(image, warmth, mask)
    outline = (laid == thumbnails.OUTLINE).all(axis=-1)
    assert outline.sum() == 4 * 19
    assert not outline[41:59, 41:59].any()
    assert not outline[~mask].any()


def test_thumbnails_are_no_larger_than_promised(tmp_path):
    large = make_split()._replace(test=np.zeros((100, 400, 600, 3), np.uint8))
    views = thumbnails.Views(
        images=large.test[:1],
        reconstructed=np.zeros((1, 400, 600, 3), np.float32),
        maps=np.zeros((1, 400, 600), np.float32),
        masks=None,
    )
    ones = np.ones(100)
    thumbnails.write_thumbnails(tmp_path / "gallery.json", large, np.array([3]), views, ones, np.ones(100, np.float32))
    gallery = json.loads((tmp_path / "gallery.json").read_text())
    assert (gallery["of"], gallery["pixelated"], gallery["masked"]) == (100, False, False)
    assert len(gallery["cards"][0]["input"]) < 2000


def test_the_trivial_floor_stands_beside_the_networks_figure(tmp_path):
    write_run(tmp_path, make_split())
    result = json.loads((tmp_path / "result.json").read_text())
    area = {"value": 0.8374, "low": 0.8, "high": 0.9}
    result["floor"] = {"auroc_worst": area, "auroc_mean": area | {"value": 0.786}, "pixel_auroc": area}
    (tmp_path / "result.json").write_text(json.dumps(result))
    texts = "".join(Elements(write_report(tmp_path).read_text()).texts)
    assert "AUROC 0.837 [0.800, 0.900] by the worst 1 % of the pixels, 0.786 by their mean; pixel AUROC 0.837." in texts
    result["floor"] = {"left_out": "photographs are scored in patches"}
    (tmp_path / "result.json").write_text(json.dumps(result))
    texts = "".join(Elements(write_report(tmp_path).read_text()).texts)
    assert "The trivial floor is left out: photographs are scored in patches." in texts
