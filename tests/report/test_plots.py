import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from sagan_jax.errors import UserError
from sagan_jax.report import plots


def png_size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return image.size


def legend(axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


LABELS = np.array([False, False, False, True, True])
SCORES = np.array([1.0, 2.0, 2.0, 2.0, 3.0], dtype=np.float32)  # AUROC 5/6


def test_histogram_counts_each_class_over_the_same_bins():
    bins = plots.histogram(SCORES, LABELS)
    assert (bins.edges[0], bins.edges[-1], bins.normal.size) == (1, 3, 20)
    assert bins.normal.nonzero()[0].tolist() == [0, 10]  # 1 opens the first bin, 2 the eleventh
    assert bins.abnormal.nonzero()[0].tolist() == [10, 19]  # 3 closes the last
    assert (bins.normal[0], bins.normal[10], bins.abnormal[10], bins.abnormal[19]) == (1, 2, 1, 1)
    assert (bins.hidden, bins.logarithmic) == (0, False)


def test_histogram_leaves_out_a_few_extreme_scores_and_counts_them():
    scores = np.concatenate([np.linspace(0, 1, 1000), [1e6, -1e6], np.linspace(0, 1, 1000), [1e6]])
    bins = plots.histogram(scores, np.arange(2003) >= 1002)
    np.testing.assert_allclose(bins.edges[[0, -1]], [-0.25, 1.25], atol=0.01)
    assert (bins.normal.sum(), bins.abnormal.sum(), bins.hidden) == (1000, 1000, 3)


def test_histogram_shows_a_rare_class_far_away():
    scores = np.concatenate([np.linspace(-1, 1, 5000), np.full(5, 40.0)])
    bins = plots.histogram(scores, np.arange(5005) >= 5000)
    assert (bins.abnormal.sum(), bins.hidden) == (5, 0)


@pytest.mark.parametrize("value", [0.0, 0.03, -2.0])
def test_histogram_of_equal_scores_holds_them_all(value: float):
    bins = plots.histogram(np.full(50, value, dtype=np.float32), np.arange(50) >= 20)
    assert (bins.normal.max(), bins.abnormal.max(), bins.hidden) == (20, 30, 0)
    assert bins.edges[0] < value < bins.edges[-1]


def test_histogram_of_scores_over_many_decades_has_bins_of_one_ratio():
    bins = plots.histogram(np.geomspace(1e-4, 1e2, 1000), np.arange(1000) % 2 == 0)
    assert bins.logarithmic
    np.testing.assert_allclose(bins.edges[1:] / bins.edges[:-1], bins.edges[1] / bins.edges[0])
    # The 0.5th and the 99.5th percentile are the outermost edges: two or three of 500 images of a class on either side.
    assert 8 <= bins.hidden <= 12


@pytest.mark.parametrize("decades", [1, 5])
def test_score_histogram_draws_densities_of_the_whole_class(tmp_path: Path, drawn: list[Figure], decades: int):
    labels = np.arange(1000) % 4 == 0
    scores = 10 ** np.random.default_rng(0).uniform(0, decades, 1000)
    plots.score_histogram(tmp_path / "scores.png", scores, labels, title="Digits", threshold=1e9)
    assert png_size(tmp_path / "scores.png") == (960, 540)
    assert [path.name for path in tmp_path.iterdir()] == ["scores.png"]  # nothing left beside it
    (axes,) = drawn[0].axes
    bins = plots.histogram(scores, labels)
    assert axes.get_xscale() == ("log" if decades == 5 else "linear")
    widths = np.diff(np.log10(bins.edges) if decades == 5 else bins.edges)
    areas = [np.sum(stairs.get_data().values * widths) for stairs in axes.patches]
    np.testing.assert_allclose(areas, np.repeat([bins.normal.sum() / 750, bins.abnormal.sum() / 250], 2))
    assert legend(axes) == ["normal (750)", "abnormal (250)", "threshold 1e+09 (off scale)"]
    if bins.hidden:
        assert axes.get_xlabel() == f"anomaly score ({bins.hidden} of 1,000 images off scale)"


def test_score_histogram_tells_the_auroc(tmp_path: Path, drawn: list[Figure]):
    plots.score_histogram(tmp_path / "scores.png", SCORES, LABELS, title="Digits", threshold=2.5)
    (axes,) = drawn[0].axes
    assert axes.get_legend().get_title().get_text() == "Digits: AUROC 0.833"
    assert legend(axes)[-1] == "threshold 2.5"
    assert axes.get_xlabel() == "anomaly score"


def test_roc_legend_tells_the_auroc(tmp_path: Path, drawn: list[Figure]):
    plots.roc(tmp_path / "roc.png", LABELS, SCORES)
    assert png_size(tmp_path / "roc.png") == (720, 720)
    (axes,) = drawn[0].axes
    assert legend(axes) == ["chance: 0.500", "strict: 0.833"]
    # The tied images are one straight step, from the point at 3 to the point at 2.
    np.testing.assert_allclose(axes.lines[1].get_xydata(), [[0, 0], [0, 0.5], [2 / 3, 1], [1, 1]])


def test_one_class_has_no_roc(tmp_path: Path):
    with pytest.raises(UserError, match="all 5 images are normal"):
        plots.roc(tmp_path / "roc.png", np.zeros(5, dtype=bool), SCORES)
    assert not list(tmp_path.iterdir())


def history(epochs: int) -> list[dict[str, float | None]]:
    return [
        {
            "epoch": epoch,
            "generator_loss": 30 / epoch,
            "generator_latent": 0.5,
            "generator_gradient_norm": 3.0,
            "discriminator_loss": 1.0 + epoch,
            "discriminator_gradient_norm": 2.0,
            "discriminator_reinitialised": 0.0,
            "validation_reconstruction": None if epoch == 2 else 0.1,
            "images_per_second": 900.0,
        }
        for epoch in range(1, epochs + 1)
    ]


def test_losses_have_a_panel_each_for_what_belongs_together(tmp_path: Path, drawn: list[Figure]):
    plots.losses(tmp_path / "losses.png", history(3))
    assert png_size(tmp_path / "losses.png") == (960, 840)
    assert {axes.get_legend().get_title().get_text(): legend(axes) for axes in drawn[0].axes} == {
        "Generator": ["loss", "latent"],
        "Discriminator": ["loss"],
        "Held-out normal images": ["reconstruction"],
        "Gradient norm": ["generator", "discriminator"],
    }
    generator, discriminator, held_out, _ = drawn[0].axes
    assert (generator.get_yscale(), discriminator.get_yscale()) == ("log", "linear")  # 0.5 to 30; 2 to 4
    np.testing.assert_allclose(generator.lines[0].get_xydata(), [[1, 30], [2, 15], [3, 10]])
    np.testing.assert_array_equal(held_out.lines[0].get_ydata(), [0.1, np.nan, 0.1])


def test_losses_of_one_epoch_are_dots_over_its_number(tmp_path: Path, drawn: list[Figure]):
    plots.losses(tmp_path / "losses.png", history(1))
    for axes in drawn[0].axes:
        assert {line.get_marker() for line in axes.lines} == {"o"}
        low, high = axes.get_xlim()
        assert [tick for tick in axes.get_xticks() if low <= tick <= high] == [1]


def test_losses_without_validation_have_no_panel_for_it(tmp_path: Path, drawn: list[Figure]):
    rows = [{"epoch": 1, "generator_loss": 2.0, "validation_reconstruction": None}]
    plots.losses(tmp_path / "losses.png", rows)
    assert len(drawn[0].axes) == 1
    assert png_size(tmp_path / "losses.png") == (480, 420)


@pytest.mark.parametrize("rows", [[], [{"epoch": 1, "images_per_second": 900.0}]])
def test_a_history_without_losses_is_refused(tmp_path: Path, rows: list):
    with pytest.raises(UserError, match=r"there is no loss to draw; no row has a metric of training"):
        plots.losses(tmp_path / "losses.png", rows)


def test_importing_the_plots_imports_no_heavy_library():
    code = "import sys, sagan_jax.report.plots; print(*{'matplotlib', 'sklearn', 'PIL', 'jax'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout == "\n"
