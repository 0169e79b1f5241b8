import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from sagan_jax.errors import UserError
from sagan_jax.report import plots


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures saved, in order."""
    figures: list[Figure] = []
    savefig = Figure.savefig

    def record(figure: Figure, *args, **kwargs):
        figures.append(figure)
        savefig(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", record)
    return figures


@pytest.fixture
def test_set() -> dict[str, np.ndarray]:
    """Twenty tiny RGB images with reconstructions, maps, scores and labels."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    reconstructed = rng.uniform(-1.2, 1.2, images.shape).astype(np.float32)
    maps = rng.uniform(0, 1, images.shape[:3]).astype(np.float32)
    return {
        "images": images,
        "reconstructed": reconstructed,
        "maps": maps,
        "scores": rng.permutation(20).astype(np.float32) / 8,
        "labels": np.arange(20) % 3 == 0,
    }


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


def test_roc_legend_tells_each_auroc(tmp_path: Path, drawn: list[Figure]):
    plots.roc(tmp_path / "roc.png", {"strict": (LABELS, SCORES), "reference": (LABELS, -SCORES)})
    assert png_size(tmp_path / "roc.png") == (720, 720)
    (axes,) = drawn[0].axes
    assert legend(axes) == ["chance: 0.500", "strict: 0.833", "reference: 0.167"]
    # The tied images are one straight step, from the point at 3 to the point at 2.
    np.testing.assert_allclose(axes.lines[1].get_xydata(), [[0, 0], [0, 0.5], [2 / 3, 1], [1, 1]])


def test_roc_of_many_curves_has_its_legend_beside_them(tmp_path: Path, drawn: list[Figure]):
    plots.roc(tmp_path / "roc.png", {f"class {index}": (LABELS, SCORES) for index in range(10)})
    (box,) = drawn[0].legends
    assert len(box.get_texts()) == 11
    (axes,) = drawn[0].axes
    assert box.get_window_extent().x0 > axes.get_window_extent().x1


def test_one_class_has_no_roc_and_no_curve_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="all 5 images are normal"):
        plots.roc(tmp_path / "roc.png", {"strict": (np.zeros(5, dtype=bool), SCORES)})
    with pytest.raises(UserError, match="no ROC curve"):
        plots.roc(tmp_path / "roc.png", {})
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


@pytest.mark.parametrize(
    ("scores", "count", "highest", "lowest"),
    [
        ([0.1, 0.9, 0.5, 0.3, 0.7], 2, [1, 4], [0, 3]),
        ([5.0, 5.0, 5.0, 5.0, 5.0], 2, [0, 1], [3, 4]),  # equal scores keep their order
        ([1.0, 2.0, 1.0, 2.0, 1.0, 2.0], 2, [1, 3], [2, 4]),
        ([0.1, 0.9, 0.5], 8, [1, 2], [0]),  # none twice
        ([0.4], 8, [0], []),
        ([], 8, [], []),
    ],
)
def test_extremes_are_in_order_and_apart(scores: list, count: int, highest: list, lowest: list):
    most, least = plots.extremes(np.array(scores, dtype=np.float32), count)
    assert (most.tolist(), least.tolist()) == (highest, lowest)


def test_extremes_of_extremes_are_the_same_again():
    for seed in range(20):
        scores = np.random.default_rng(seed).integers(0, 4, 30).astype(np.float32)
        chosen = np.concatenate(plots.extremes(scores, 5))
        np.testing.assert_array_equal(np.concatenate(plots.extremes(scores[chosen], 5)), np.arange(10))


def test_gallery_captions_and_pixels(tmp_path: Path, drawn: list[Figure], test_set: dict[str, np.ndarray]):
    path = tmp_path / "gallery.png"
    plots.gallery(path, **test_set, count=4)
    # Across: names, four tiles of 96 with 6 between, margin. Down, twice: heading, three rows, caption; then the scale.
    assert png_size(path) == (160 + 4 * 102 - 6 + 24, 2 * (44 + 3 * 102 + 48) + 60)
    assert path.stat().st_size < 200_000
    texts = [text.get_text() for text in drawn[0].axes[0].texts]
    highest, lowest = plots.extremes(test_set["scores"], 4)
    assert [text for text in texts if text[0].isdigit()] == [
        "2.38",
        "2.25",
        "2.12",
        "2.00",
        "0.00",
        "0.125",
        "0.250",
        "0.375",
    ]
    names = ["abnormal" if test_set["labels"][index] else "normal" for index in (*highest, *lowest)]
    assert [text for text in texts if text in ("normal", "abnormal")] == names
    # Every pixel of an image is a square of three by three: the first tile is the image with the highest score.
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    first = test_set["images"][highest[0]]
    np.testing.assert_array_equal(pixels[44 : 44 + 96, 160 : 160 + 96], first.repeat(3, axis=0).repeat(3, axis=1))
    below = np.rint((np.clip(test_set["reconstructed"][highest[0]], -1, 1) + 1) * 127.5).astype(np.uint8)
    np.testing.assert_array_equal(pixels[146 : 146 + 96, 160 : 160 + 96], below.repeat(3, axis=0).repeat(3, axis=1))


def test_gallery_of_the_extremes_alone_is_the_same_picture(tmp_path: Path, test_set: dict[str, np.ndarray]):
    chosen = np.concatenate(plots.extremes(test_set["scores"], 3))
    plots.gallery(tmp_path / "all.png", **test_set, count=3)
    plots.gallery(tmp_path / "chosen.png", **{name: values[chosen] for name, values in test_set.items()}, count=3)
    assert (tmp_path / "all.png").read_bytes() == (tmp_path / "chosen.png").read_bytes()


def test_gallery_maps_share_one_scale(tmp_path: Path, drawn: list[Figure], test_set: dict[str, np.ndarray]):
    test_set["maps"][:] = test_set["scores"][:, None, None]  # each map one colour: its score
    plots.gallery(tmp_path / "gallery.png", **test_set, count=2)
    shown = drawn[0].axes[0].images
    colours = [tuple(shown[place].get_array()[0, 0]) for place in (4, 5, 10, 11)]  # the third row of either block
    assert len(set(colours)) == 4
    assert colours[2][:3] == (0, 0, 3)  # inferno's first colour for 0, the lowest score
    bar = drawn[0].axes[1]
    assert bar.get_xlim() == (0, pytest.approx(test_set["scores"].max()))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_gallery_of_few_grey_images_without_any_anomaly(tmp_path: Path, count: int):
    grey = np.full((count, 8, 8, 1), 200, dtype=np.uint8)
    zeros = np.zeros((count, 8, 8), dtype=np.float32)
    plots.gallery(tmp_path / "gallery.png", grey, grey, zeros, zeros[:, 0, 0], np.zeros(count, dtype=bool))
    with Image.open(tmp_path / "gallery.png") as picture:
        assert picture.convert("RGB").getpixel((200, 90)) == (200, 200, 200)
        assert picture.height == (1 if count == 1 else 2) * (44 + 3 * 102 + 48) + 60


def test_gallery_of_nothing_is_refused(tmp_path: Path, test_set: dict[str, np.ndarray]):
    with pytest.raises(UserError, match="nothing to show of 20 images with a count of 0"):
        plots.gallery(tmp_path / "gallery.png", **test_set, count=0)
    with pytest.raises(UserError, match="nothing to show of 0 images"):
        plots.gallery(tmp_path / "gallery.png", **{name: values[:0] for name, values in test_set.items()})


def test_importing_the_plots_imports_no_heavy_library():
    code = "import sys, sagan_jax.report.plots; print(*{'matplotlib', 'sklearn', 'PIL', 'jax'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout == "\n"
